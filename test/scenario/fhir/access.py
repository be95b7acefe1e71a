#!/usr/bin/env python3
"""access.py -- who may do what at `vigil fhir`: SMART Backend Services with real keys, scopes in every interaction, audit; $import.

Keys and signatures are made by the openssl program.
"""
import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import service as s  # noqa: E402
from service import h, patient, pulse  # noqa: E402


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


class Key:
    """RS384 or ES384, with its JWK."""

    def __init__(self, work, alg, name="1"):
        self.alg, self.kid, self.path = alg, f"{alg}-{name}", str(work / f"{alg}-{name}.pem")
        if alg == "RS384":
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.path)
            modulus = bytes.fromhex(openssl("rsa", "-in", self.path, "-noout", "-modulus").decode().strip().split("=")[1])
            self.jwk = {"kty": "RSA", "kid": self.kid, "alg": alg, "n": b64(modulus), "e": "AQAB"}
        else:
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", self.path)
            point = openssl("ec", "-in", self.path, "-pubout", "-outform", "DER")[-96:]
            self.jwk = {"kty": "EC", "crv": "P-384", "kid": self.kid, "alg": alg, "x": b64(point[:48]), "y": b64(point[48:])}

    def sign(self, text):
        made = openssl("dgst", "-sha384", "-sign", self.path, data=text.encode())
        if self.alg == "RS384":
            return b64(made)
        parts, at = [], 2  # the two integers of the DER
        for _ in range(2):
            length = made[at + 1]
            parts.append(made[at + 2:at + 2 + length].lstrip(b"\0").rjust(48, b"\0"))
            at += 2 + length
        return b64(b"".join(parts))

    def assertion(self, client, audience, lifetime_s=240, **more):
        head = {"alg": self.alg, "kid": self.kid, "typ": "JWT"} | more.pop("head", {})
        claims = {"iss": client, "sub": client, "aud": audience, "exp": int(time.time()) + lifetime_s, "jti": str(uuid.uuid4())} | more
        text = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
        return text + "." + self.sign(text)


class Published:
    """A key set at an address of loopback; `hits` counts how often it was asked for."""

    def __init__(self, keys):
        published = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                published.hits += 1
                body = json.dumps({"keys": [key.jwk for key in published.keys]}).encode()
                self.send_response(200 if published.keys else 500)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.keys, self.hits = keys, 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/jwks.json"


def confused(key, client, audience):
    """alg HS256, the secret being the public key, as text: what a library that trusts `alg` takes."""
    pem = openssl("pkey", "-in", key.path, "-pubout")
    claims = {"iss": client, "sub": client, "aud": audience, "exp": int(time.time()) + 200, "jti": str(uuid.uuid4())}
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": key.kid, "typ": "JWT"}, claims))
    return text + "." + b64(hmac.new(pem, text.encode(), hashlib.sha256).digest())


def ask_token(at, assertion, scope, **more):
    form = {"grant_type": "client_credentials", "scope": scope, "client_assertion": assertion,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"} | more
    return at("POST", "/auth/token", urllib.parse.urlencode(form), Content_Type="application/x-www-form-urlencoded")


def main(checks, work):
    row = checks.check
    data = work / "data"
    inbox = work / "inbox"
    inbox.mkdir()
    at = s.Service(h.program(), data, "--set", f"fhir.import_dir={inbox}", secure=True).start()
    audience = at.base + "/auth/token"
    keys = {alg: Key(work, alg) for alg in ("RS384", "ES384")}

    def client(*arguments, code=0):
        ran = subprocess.run([h.program(), "fhir", "client", *arguments, "--data", str(data)], capture_output=True, text=True)
        row(f"vigil fhir client {arguments[0]} {' '.join(arguments[1:2])}", ran.returncode, code)
        return ran.stdout

    def register(name, key, scope):
        path = work / f"{name}.jwks"
        path.write_text(json.dumps({"keys": [key.jwk]}))
        client("add", name, "--jwks", str(path), "--scope", scope)

    checks.heading("clients")
    register("hub", keys["RS384"], "system/*.cruds")
    register("reader", keys["ES384"], "system/Observation.rs system/Patient.read")
    register("listener", keys["ES384"], "system/Subscription.cruds system/Observation.rs")
    row("list", client("list").split("\n")[:3:2], ["hub\tsystem/*.cruds", "reader\tsystem/Observation.rs system/Patient.read"])
    (work / "bad.jwks").write_text('{"keys":[{"kty":"oct","k":"AAAA"}]}')
    client("add", "bad", "--jwks", str(work / "bad.jwks"), "--scope", "system/*.read", code=1)

    checks.heading("tokens")
    row("no token is 401 with WWW-Authenticate", (lambda a: (a.status, a.headers["www-authenticate"], a.issue))(at("GET", "/Patient")), (401, "Bearer", "login"))
    row("metadata needs none", at("GET", "/metadata").status, 200)
    row("an unknown token is 401", at("GET", "/Patient", Authorization="Bearer vgf_" + "0" * 64).status, 401)
    rs, es = keys["RS384"], keys["ES384"]
    granted = ask_token(at, rs.assertion("hub", audience), "system/*.cruds")
    row("RS384", (granted.status, granted.json["token_type"], granted.json["expires_in"] <= 300, granted.json["scope"]), (200, "bearer", True, "system/*.cruds"))
    hub = {"Authorization": "Bearer " + granted.json["access_token"]}
    read = ask_token(at, es.assertion("reader", audience), "system/Observation.rs system/Patient.read system/Flag.rs")
    row("ES384, and no more than what is registered", (read.status, read.json["scope"]), (200, "system/Observation.rs system/Patient.rs"))
    reader = {"Authorization": "Bearer " + read.json["access_token"]}
    again = rs.assertion("hub", audience)
    row("an assertion is good once", (ask_token(at, again, "system/*.rs").status, ask_token(at, again, "system/*.rs").json["error"]), (200, "invalid_client"))
    for name, assertion in (
            ("another audience", rs.assertion("hub", "https://elsewhere.example.org/token")), ("expired", rs.assertion("hub", audience, -600)),
            ("valid for too long", rs.assertion("hub", audience, 3600)), ("iss is not sub", rs.assertion("hub", audience, iss="reader")),
            ("somebody else's key", es.assertion("hub", audience)), ("an unknown client", rs.assertion("nobody", audience)),
            ("alg none", rs.assertion("hub", audience, head={"alg": "none"})), ("no jti", rs.assertion("hub", audience, jti="")),
            ("alg none and no signature", rs.assertion("hub", audience, head={"alg": "none"}).rsplit(".", 1)[0] + "."),
            ("HS256 with the public key", confused(rs, "hub", audience)), ("ES384 of an RSA key", rs.assertion("hub", audience, head={"alg": "ES384"})),
            ("RS384 of an EC key", es.assertion("reader", audience, head={"alg": "RS384"})), ("RS256", rs.assertion("hub", audience, head={"alg": "RS256"})),
            ("the kid of another key", rs.assertion("hub", audience, head={"kid": es.kid})), ("a kid that leads out", rs.assertion("hub", audience, head={"kid": "../../etc/passwd"})),
            ("a key that it brings along", Key(work, "RS384", "own").assertion("hub", audience, head={"kid": "x", "jwk": rs.jwk, "jku": "http://127.0.0.1:1/"})),
            ("aud is the base", rs.assertion("hub", at.base)), ("no exp", rs.assertion("hub", audience, exp=None)), ("not yet", rs.assertion("hub", audience, nbf=int(time.time()) + 200)),
            ("changed after signing", rs.assertion("hub", audience)[:-8] + "AAAAAAAA"), ("nonsense", "a.b.c")):
        answer = ask_token(at, assertion, "system/*.rs")
        row(name, (answer.status, answer.json["error"]), (401, "invalid_client"))
    row("no scope that may be had", ask_token(at, es.assertion("reader", audience), "system/Flag.rs").json["error"], "invalid_scope")
    row("another grant", ask_token(at, rs.assertion("hub", audience), "system/*.rs", grant_type="password").json["error"], "unsupported_grant_type")

    checks.heading("keys by their address")
    first, second = Key(work, "RS384", "first"), Key(work, "ES384", "second")
    published = Published([first])
    client("add", "afar", "--jwks", published.url, "--scope", "system/Observation.rs")
    for name, url in (("http elsewhere", "http://keys.example.org/jwks"), ("no address", "https://"), ("another scheme", "ftp://127.0.0.1/x"),
                      ("with a name in it", "http://127.0.0.1@keys.example.org/")):
        row("refused: " + name, subprocess.run([h.program(), "fhir", "client", "add", "bad", "--jwks", url, "--scope", "system/*.read", "--data", str(data)],
                                               capture_output=True, check=False).returncode, 1)

    def afar(key):
        return ask_token(at, key.assertion("afar", audience), "system/Observation.rs").status

    row("the published key", (afar(first), afar(first), published.hits), (200, 200, 1))
    row("another key is not taken, and asked for once", (afar(second), afar(second), published.hits), lambda f: f[:2] == (401, 401) and f[2] <= 2)
    published.keys = [second]
    h.wait_for("the new key is known", lambda: afar(second) == 200, 30)
    row("the one before is worth nothing", afar(first), 401)
    published.keys = []
    row("a set that does not come leaves the last one", afar(second), 200)

    checks.heading("scopes")
    flag = {"resourceType": "Flag", "id": "f1", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"}}
    row("who may write writes", [at.put(r, **hub).status for r in (patient("p1", "p1"), {"resourceType": "Device", "id": "d1"}, pulse(
        "o1", device={"reference": "Device/d1"}), flag)], [201] * 4)
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": u}} for u in ("Patient/p1", "Flag/f1", "Flag?patient=p1")] +
              [{"request": {"method": "DELETE", "url": "Patient/p1"}}]}
    for name, found, want in (
            ("read", at("GET", "/Observation/o1", **reader).status, 200), ("read of another type", at("GET", "/Flag/f1", **reader).status, 403),
            ("it says so by an OperationOutcome", at("GET", "/Flag/f1", **reader).issue, "forbidden"),
            ("create", at("POST", "/Observation", pulse(), **reader).status, 403), ("update", at.put(pulse("o1", value=1), **reader).status, 403),
            ("delete", at("DELETE", "/Observation/o1", **reader).status, 403), ("search", at("GET", "/Observation?patient=p1", **reader).status, 200),
            ("POST _search of another type", at("POST", "/Flag/_search", "patient=p1", Content_Type="application/x-www-form-urlencoded", **reader).status, 403),
            ("history", (at("GET", "/Observation/o1/_history", **reader).status, at("GET", "/Flag/_history", **reader).status), (200, 403)),
            ("_include leaves out what may not be seen", [e["resource"]["resourceType"] for e in at(
                "GET", "/Observation?_id=o1&_include=Observation:device&_include=Observation:patient", **reader).json["entry"]], ["Observation", "Patient"]),
            ("_has of another type", at("GET", "/Patient?_has:Flag:patient:status=active", **reader).status, 403),
            ("a chain into another type", at("GET", "/Observation?device.identifier=x", **reader).status, 403),
            ("a chain of two into another type", at("GET", "/Observation?patient.organization.name=x", **reader).status, 403),
            ("going on from what may not be seen", at("GET", "/Observation?_id=o1&_include=Observation:device&_include:iterate=Device:patient", **reader).status, 403),
            ("a condition in an operation", at("GET", "/Observation/$lastn?patient=p1&code=x&device.identifier=y", **reader).status, 403),
            ("_revinclude leaves out", len(at("GET", "/Patient?_id=p1&_revinclude=Flag:patient", **reader).json["entry"]), 1),
            ("$everything leaves out", {e["resource"]["resourceType"] for e in at("GET", "/Patient/p1/$everything", **reader).json["entry"]}, {"Patient", "Observation"}),
            ("each entry of a batch", [e["response"]["status"][:3] for e in at("POST", "", bundle, **reader).json["entry"]], ["200", "403", "403", "403"]),
            ("a transaction with one that is forbidden", at("POST", "", bundle | {"type": "transaction"}, **reader).status, 403),
            ("$import", at("POST", "/$import", {"resourceType": "Parameters", "parameter": [{"name": "input", "part": [
                {"name": "type", "valueCode": "Patient"}, {"name": "url", "valueUri": "file:x.ndjson"}]}]}, **reader).status, 403)):
        row(name, found, want)

    register("writer", rs, "system/Observation.cu system/Patient.read system/Device.write")
    tokens = {}
    for scope in ("system/Observation.cu", "system/Observation.cu system/Patient.s", "system/Observation.r", "system/*.read", "system/*.write", "system/Device.d"):
        tokens[scope] = {"Authorization": "Bearer " + ask_token(at, rs.assertion("hub" if "*" in scope or ".r" in scope else "writer", audience), scope).json["access_token"]}
    by_mrn = pulse(value=5) | {"subject": {"reference": "Patient?identifier=urn:mrn|p1"}}

    def transact(scope, *entries):
        return at("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"request": {"method": m, "url": u}} | ({"resource": r} if r else {}) for m, u, r in entries]}, **tokens[scope])

    for name, found, want in (
            ("a conditional reference needs s of where it leads", (transact("system/Observation.cu", ("POST", "Observation", by_mrn)).status,
                                                                   transact("system/Observation.cu system/Patient.s", ("POST", "Observation", by_mrn)).status), (403, 200)),
            ("c and u without r", (at.put(pulse("cu", value=6), **tokens["system/Observation.cu"]).status, at("GET", "/Observation/cu", **tokens["system/Observation.cu"]).status,
                                   at("GET", "/Observation?patient=p1", **tokens["system/Observation.cu"]).status,
                                   at("DELETE", "/Observation/cu", **tokens["system/Observation.cu"]).status), (201, 403, 403, 403)),
            ("r without s reads and its history, and does not search", [at("GET", "/Observation" + p, **tokens["system/Observation.r"]).status for p in
                                                                        ("/cu", "/cu/_history", "/cu/_history/1", "?patient=p1", "/_history", "/$lastn?patient=p1&code=8867-4")],
             [200, 200, 200, 403, 403, 403]),
            ("read is r and s", [at("GET", "/Observation" + p, **tokens["system/*.read"]).status for p in ("/cu", "?patient=p1", "/_history")], [200, 200, 200]),
            ("write is c, u and d", (at.put(pulse("w"), **tokens["system/*.write"]).status, at("DELETE", "/Observation/w", **tokens["system/*.write"]).status,
                                     at("GET", "/Observation/w", **tokens["system/*.write"]).status), (201, 204, 403)),
            ("a write in a transaction that reads", transact("system/*.write", ("PUT", "Flag/f2", flag | {"id": "f2"}), ("GET", "Flag/f1", None)).status, 403),
            ("and nothing of it is there", at("GET", "/Flag/f2", **hub).status, 404),
            ("a conditional delete needs s", at("DELETE", "/Device?identifier=x", **tokens["system/Device.d"]).status, 403),
            ("a conditional create needs s", at("POST", "/Observation", pulse(), If_None_Exist="identifier=x", **tokens["system/Observation.cu"]).status, 403)):
        row(name, found, want)

    token = ask_token(at, es.assertion("listener", audience), "system/Subscription.cruds system/Observation.rs").json["access_token"]
    hook = {"resourceType": "Subscription", "id": "s", "status": "requested", "reason": "t", "criteria": "Observation?code=x",
            "channel": {"type": "rest-hook", "endpoint": "https://x.example.org/", "header": ["Authorization: Bearer top-secret"]}}
    listener = {"Authorization": "Bearer " + token}
    row("a Subscription to what may be read", at.put(hook, **listener).status, 201)
    row("nobody is told of what it may not read", at.put(hook | {"id": "s2", "criteria": "Flag?status=active"}, **listener).status, 403)
    row("nor by a patch or a Bundle", (at("PATCH", "/Subscription/s", [{"op": "replace", "path": "/criteria", "value": "Flag?"}],
                                          Content_Type="application/json-patch+json", **listener).status,
                                       at("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [
                                           {"resource": hook | {"id": "s2", "criteria": "Flag?"}, "request": {"method": "PUT", "url": "Subscription/s2"}}]}, **listener).status),
        (403, 403))
    row("headers are not patched out into the open", at("PATCH", "/Subscription/s", [{"op": "copy", "from": "/channel/header/0", "path": "/reason"}],
                                                       Content_Type="application/json-patch+json", **hub).status, 422)

    checks.heading("$import")
    lines = [json.dumps(pulse(f"im{i}", value=i)) for i in range(2500)] + [json.dumps(pulse(value=7)), '{"resourceType":"Observation","status":"x"}', "{", ""]
    (inbox / "vitals.ndjson").write_text("\n".join(lines) + "\n")
    (inbox / "link.ndjson").symlink_to("/etc/passwd")

    def begin(*names):
        return at("POST", "/$import", {"resourceType": "Parameters", "parameter": [{"name": "input", "part": [
            {"name": "type", "valueCode": "Observation"}, {"name": "url", "valueUri": name}]} for name in names]}, Prefer="respond-async", **hub)

    def count():
        return at("GET", "/Observation?_summary=count", **hub).json["total"]

    for name in ("/etc/passwd", "../data/fhir.db", "file:///etc/passwd", "https://example.org/x.ndjson", ".hidden"):
        row("refused: " + name, begin(name).status, 400)
    before = count()
    begun = begin("file:vitals.ndjson", "link.ndjson", "nothing.ndjson")
    row("202 with its place", (begun.status, begun.headers["content-location"].startswith(at.base)), (202, True))
    place = begun.headers["content-location"]
    at.kill()
    at.start()
    done = h.wait_for("the import", lambda: (lambda a: a if a.status == 200 else None)(at("GET", place, **hub)), 60).json
    row("each line once, over a kill -9", count() - before, 2501)
    row("its report", ([f["count"] for f in done["output"]], [f["count"] for f in done["error"]]), ([2501, 0, 0], [2, 1, 1]))
    row("a refused line says why", all(r["reason"] for r in done["refused"]) and len(done["refused"]), 4)
    again = begin("vitals.ndjson").headers["content-location"]
    h.wait_for("the second import", lambda: at("GET", again, **hub).status == 200, 60)
    row("the same again changes nothing", count() - before, 2501)

    checks.heading("audit")
    h.wait_for("events", lambda: at("GET", "/AuditEvent?_summary=count", **hub).json["total"] > 30, 10)
    found = [e["resource"] for e in at("GET", "/AuditEvent?_count=200&outcome=4", **hub).json["entry"]]
    refusals = [e for e in found if e["agent"][0].get("altId") == "reader"]
    row("what was refused is there, by whom", len(refusals), lambda n: n >= 10)
    logins = [e["resource"] for e in at("GET", "/AuditEvent?_count=1000&type=http://dicom.nema.org/resources/ontology/DCM|110114", **hub).json["entry"]]
    row("who asked for a token, and who was refused one", ({(e["agent"][0]["name"], e["outcome"]) for e in logins} >= {("hub", "0"), ("reader", "0"), ("not known", "4")},
                                                           any("entity" in e for e in logins)), (True, False))
    row("the query is kept", any(e.get("entity", [{}])[0].get("query") for e in found), True)
    row("no client writes over it", (at("DELETE", "/AuditEvent/" + found[0]["id"], **hub).status, at.put(found[0], **hub).status), (405, 405))
    made = at("GET", "/AuditEvent?_summary=count", **hub).json["total"]
    for _ in range(20):
        at("GET", "/Patient/p1", **hub)
    at.kill()
    at.start()
    row("a kill -9 loses none", at("GET", "/AuditEvent?_summary=count", **hub).json["total"], lambda n: n >= made + 20)
    client("remove", "reader")
    row("a removed client's token is worth nothing", at("GET", "/Patient/p1", **reader).status, 401)
    row("secrets are not in the log", [w for w in (hub["Authorization"][7:], "top-secret") if w in pathlib.Path(str(data) + ".log").read_text()], [])
    row("it ends cleanly", at.stop(), 0)


if __name__ == "__main__":
    h.run_script("fhir_access", main)
