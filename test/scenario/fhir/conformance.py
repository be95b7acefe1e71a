#!/usr/bin/env python3
"""conformance.py -- what R4 demands of a server, line by line, asked of `vigil fhir` over HTTP.

Each row is one demand.
"""
import base64
import concurrent.futures
import json
import os
import re
import sys
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import service as s  # noqa: E402
from service import h, patient, pulse  # noqa: E402

PATCH = "application/json-patch+json"
PAGE = "https://app.example.org"  # of fhir.cors_origins


def main(checks, work):
    server = s.Service(h.program(), work / "data", "--set", f"fhir.cors_origins={PAGE}, http://localhost:3000").start()
    row = checks.check
    for section in (writes, negotiation, pages, server_errors, types, search, bundles, history, metadata, operations):
        checks.heading(section.__doc__)
        section(server, row)
    checks.heading("the end")
    row("SIGTERM ends the service cleanly", server.stop(), 0)


def refused(answer, status, code=None):
    """An error is an OperationOutcome with a code and a severity of the required value sets."""
    body = answer.json
    return (answer.status, body["resourceType"], body["issue"][0]["severity"]) == (status, "OperationOutcome", "error") and \
        (code is None or body["issue"][0]["code"] == code)


def writes(at, row):
    """2.1 writes"""
    made = at("POST", "/Patient", patient("mine", "1", meta={"versionId": "7", "lastUpdated": "2020-01-01T00:00:00Z",
                                                              "tag": [{"system": "urn:t", "code": "a"}]}))
    body = made.json
    row("POST draws its own id", body["id"], lambda i: i != "mine")
    row("POST answers 201", made.status, 201)
    row("Location names the version", made.headers["location"], f"{at.base}/Patient/{body['id']}/_history/1")
    row("ETag is weak and has the version", made.headers["etag"], 'W/"1"')
    row("Last-Modified is a date of HTTP", made.headers["last-modified"], lambda t: t.endswith(" GMT"))
    row("meta's other members stay", body["meta"]["tag"][0]["code"], "a")
    row("versionId and lastUpdated are the server's", (body["meta"]["versionId"], body["meta"]["lastUpdated"] > "2024"), ("1", True))
    row("lastUpdated has milliseconds and a zone", body["meta"]["lastUpdated"], lambda t: re.fullmatch(r".*T..:..:..\.\d{3,}Z", t))
    row("another resourceType than the address is 400", refused(at("POST", "/Patient", pulse()), 400), True)
    row("an unknown type is 404 with an OperationOutcome", refused(at("GET", "/Nothing/1"), 404), True)
    row("types are case-sensitive", refused(at("GET", "/patient/p1"), 404), True)
    row("PUT that makes it is 201 with Location", (lambda a: (a.status, a.headers["location"]))(at.put(patient("p1", "p1"))),
        (201, f"{at.base}/Patient/p1/_history/1"))
    row("PUT on what is there is 200", at.put(patient("p1", "p1", active=True)).status, 200)
    row("PUT without an id in the body is 400", refused(at("PUT", "/Patient/p1", patient()), 400), True)
    row("PUT with another id is 400", refused(at("PUT", "/Patient/p1", patient("p2")), 400), True)
    row("equal content makes no new version", at.put(patient("p1", "p1", active=True)).headers["etag"], 'W/"2"')
    row("If-Match that fits", at.put(patient("p1", "p1", active=False), If_Match='W/"2"').status, 200)
    row("If-Match compares weakly", at.put(patient("p1", "p1", active=True), If_Match='"3"').status, 200)
    row("If-Match that does not fit is 412", refused(at.put(patient("p1"), If_Match='W/"1"'), 412), True)
    row("If-Match may be a list", (at.put(patient("p1", "p1", active=False), If_Match='W/"1", W/"4"').status,
                                   at.put(patient("p1", "p1", active=True), If_Match='W/"1", W/"2"').status), (200, 412))
    row("If-Match: * wants that there is one", (at.put(patient("p1", "p1", active=True), If_Match="*").status,
                                                at.put(patient("p-none"), If_Match="*").status), (200, 412))
    row("If-Match that is no list of versions is 400", refused(at.put(patient("p1"), If_Match="5"), 400), True)
    row("If-Match on what is not there is 412", at.put(patient("p-none"), If_Match='W/"1"').status, 412)
    row("If-None-Match: * on what is there is 412", at.put(patient("p1"), If_None_Match="*").status, 412)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        version = at("GET", "/Patient/p1").headers["etag"]
        found = [f.status for f in pool.map(lambda i: at.put(patient("p1", "p1", birthDate=f"19{i:02}-01-01"), If_Match=version), range(16))]
    row("of 16 writers with one If-Match one wins", sorted(found), [200] + [412] * 15)
    at.put(patient("p1", "p1"))

    row("conditional create of nobody is 201", at("POST", "/Patient", patient(None, "c1"), If_None_Exist="identifier=urn:mrn|c1").status, 201)
    again = at("POST", "/Patient", patient(None, "c1", active=True), If_None_Exist="identifier=urn:mrn|c1")
    row("of one is 200 with its Location, and nothing is written",
        (again.status, "active" in again.json, again.headers["etag"], again.headers["location"].endswith("/_history/1")), (200, False, 'W/"1"', True))
    at.create(patient(None, "c1"))
    row("of several is 412", refused(at("POST", "/Patient", patient(None, "c1"), If_None_Exist="identifier=urn:mrn|c1"), 412), True)
    for name, condition in (("an empty one", ""), ("a blank one", " "), ("one without a value", "identifier="), ("one that sorts", "_sort=_id"),
                            ("one that counts", "identifier=urn:mrn|c2&_summary=count")):
        row(name + " is refused, and nothing is written", refused(at("POST", "/Patient", patient(None, "c2"), If_None_Exist=condition), 400), True)
    row("of a parameter that is unknown is refused", at("POST", "/Patient", patient(), If_None_Exist="nonsense=1").status, 400)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda _: at("POST", "/Patient", patient(None, "race"), If_None_Exist="identifier=urn:mrn|race"), range(50)))
    row("50 conditional creates at once make one resource", (sorted(f.status for f in found), len({f.json["id"] for f in found}),
                                                           at("GET", "/Patient?identifier=urn:mrn|race&_summary=count").json["total"]),
        ([200] * 49 + [201], 1, 1))

    row("conditional update of nobody, no id: 201", at("PUT", "/Patient?identifier=urn:mrn|u1", patient(None, "u1")).status, 201)
    row("of nobody with an id: that id", at("PUT", "/Patient?identifier=urn:mrn|u2", patient("u2", "u2")).json["id"], "u2")
    row("of one, no id: 200", at("PUT", "/Patient?identifier=urn:mrn|u2", patient(None, "u2", active=True)).status, 200)
    row("of one with the same id: 200", at("PUT", "/Patient?identifier=urn:mrn|u2", patient("u2", "u2", active=False)).status, 200)
    row("of one with another id: 400", refused(at("PUT", "/Patient?identifier=urn:mrn|u2", patient("other", "u2")), 400), True)
    row("of several: 412", refused(at("PUT", "/Patient?identifier=urn:mrn|c1", patient(None, "c1")), 412), True)
    row("of one with If-None-Match: * is 412", at("PUT", "/Patient?identifier=urn:mrn|u2", patient(None, "u2"), If_None_Match="*").status, 412)
    row("conditional patch is refused openly", at("PATCH", "/Patient?identifier=1", "[]", Content_Type=PATCH).status, lambda c: 400 <= c < 500)

    row("DELETE is 204", at("DELETE", "/Patient/u2").status, 204)
    row("DELETE again is 204", at("DELETE", "/Patient/u2").status, 204)
    row("DELETE of what never was is 204", at("DELETE", "/Patient/never").status, 204)
    row("read after DELETE is 410", refused(at("GET", "/Patient/u2"), 410), True)
    row("vread of an old version is 200", at("GET", "/Patient/u2/_history/1").status, 200)
    gone = at("GET", "/Patient/u2/_history").json["entry"][0]
    row("vread of the deletion is 410", at("GET", "/Patient/u2/_history/" + gone["response"]["etag"][3:-1]).status, 410)
    row("search does not find it", at("GET", "/Patient?_id=u2").ids(), [])
    row("PUT revives it with a new version", (lambda a: (a.status, a.json["meta"]["versionId"]))(at.put(patient("u2", "u2"))), (201, "5"))
    row("conditional delete of nobody is 204", at("DELETE", "/Patient?identifier=urn:mrn|nobody").status, 204)
    row("of several is 412", at("DELETE", "/Patient?identifier=urn:mrn|c1").status, 412)
    row("of one is 204", (at("DELETE", "/Patient?identifier=urn:mrn|u1").status, at("GET", "/Patient?identifier=urn:mrn|u1").ids()), (204, []))
    row("an AuditEvent is not changed by clients", (at("DELETE", "/AuditEvent/x").status, at("PUT", "/AuditEvent/x", {"resourceType": "AuditEvent"}).status),
        (405, 405))

    at("PUT", "/Observation/ob", json.dumps(pulse("ob")).replace('"value": 72', '"value": 38.20').replace("10:00:00Z", "10:00:00.250+05:30"))
    text = at("GET", "/Observation/ob").text
    row("decimals come back digit by digit", '38.20' in text, True)
    row("offsets and fractions come back", '2026-03-14T10:00:00.250+05:30' in text, True)
    patched = at("PATCH", "/Observation/ob", [{"op": "test", "path": "/status", "value": "final"}, {"op": "replace", "path": "/status", "value": "amended"},
                                             {"op": "add", "path": "/note", "value": [{"text": "a/b~c"}]}], Content_Type=PATCH)
    row("PATCH", (patched.status, patched.json["status"], patched.headers["etag"]), (200, "amended", 'W/"2"'))
    row("PATCH leaves other digits alone", '38.20' in patched.text and '+05:30' in patched.text, True)
    for name, operations, status in (
            ("a failing test is 422", [{"op": "test", "path": "/status", "value": "final"}], 422),
            ("a path to nothing is 422", [{"op": "remove", "path": "/nothing/0"}], 422),
            ("id stays", [{"op": "replace", "path": "/id", "value": "x"}], 422),
            ("resourceType stays", [{"op": "replace", "path": "/resourceType", "value": "Patient"}], 422),
            ("an unknown op is 400", [{"op": "spam", "path": "/status"}], 400),
            ("what comes out is checked", [{"op": "remove", "path": "/code"}], lambda c: c in (400, 422)),
            ("no array is 400", {"op": "test"}, 400)):
        row("PATCH: " + name, at("PATCH", "/Observation/ob", operations, Content_Type=PATCH).status, status)
    row("PATCH honours If-Match", at("PATCH", "/Observation/ob", [], Content_Type=PATCH, If_Match='W/"1"').status, 412)
    row("PATCH of another media type is 415", at("PATCH", "/Observation/ob", "{}").status, 415)
    row("PATCH of what is not there is 404", at("PATCH", "/Observation/none", [], Content_Type=PATCH).status, 404)
    at.put(patient("nar", text={"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">male</div>'}, gender="male"))
    row("PATCH drops a generated narrative", "text" in at("PATCH", "/Patient/nar", [{"op": "replace", "path": "/gender", "value": "female"}],
                                                          Content_Type=PATCH).json, False)
    moved = at("PATCH", "/Patient/nar", [{"op": "add", "path": "/name", "value": [{"family": "A"}, {"family": "B"}]},
                                         {"op": "move", "from": "/name/0", "path": "/name/1"}, {"op": "copy", "from": "/name/0", "path": "/name/-"}],
               Content_Type=PATCH)
    row("PATCH: move and copy", [n["family"] for n in moved.json["name"]], ["B", "A", "B"])

    row("what is preferred is read in any case of letters", at("POST", "/Patient", patient(), Prefer="RETURN=minimal").text, "")
    row("return=minimal is empty", at("POST", "/Patient", patient(), Prefer="return=minimal").text, "")
    row("return=representation", at("POST", "/Patient", patient(), Prefer="return=representation").json["resourceType"], "Patient")
    row("return=OperationOutcome", at("POST", "/Patient", patient(), Prefer="return=OperationOutcome").json["resourceType"], "OperationOutcome")
    row("an error is an OperationOutcome whatever is preferred", refused(at("POST", "/Patient", patient(gender="x"), Prefer="return=minimal"), 400), True)
    row("no JSON is 400", refused(at("POST", "/Patient", "{"), 400), True)
    row("a rule that is broken is 422", refused(at("POST", "/RiskAssessment", {
        "resourceType": "RiskAssessment", "status": "final", "subject": {"reference": "Patient/p1"}, "prediction": [{"probabilityDecimal": 101}]}), 422), True)
    row("expression names the element", at("POST", "/Patient", patient(gender="x")).json["issue"][0]["expression"], ["Patient.gender"])


def negotiation(at, row):
    """2.2 negotiation"""
    row("content type out", at("GET", "/Patient/p1").headers["content-type"], lambda t: t.startswith("application/fhir+json"))
    for accept in ("application/fhir+json", "application/json", "text/json", "*/*", "application/fhir+json;q=0.01", "application/fhir+json, */*; q=0.1",
                   "application/fhir+xml;q=0.9, application/fhir+json;q=1.0", "application/fhir+json; fhirVersion=4.0"):
        row("Accept: " + accept, at("GET", "/Patient/p1", Accept=accept).status, 200)
    for accept in ("application/fhir+xml", "application/fhir+json;q=0.0", "text/html", "application/fhir+json; fhirVersion=3.0", "text/turtle, application/xml"):
        row("406 for " + accept, refused(at("GET", "/Patient/p1", Accept=accept), 406), True)
    for kind in ("application/fhir+xml", "text/plain", "application/fhir+json; fhirVersion=5.0"):
        row("415 for a body of " + kind, refused(at("POST", "/Patient", patient(), Content_Type=kind), 415), True)
    for format in ("json", "application/json", "application/fhir%2Bjson", "application/fhir+json"):
        row("_format=" + format, at("GET", "/Patient/p1?_format=" + format, Accept="application/fhir+xml").status, 200)
    row("_summary of one resource", at("GET", "/Patient/p1?_summary=true").json["meta"]["tag"][0]["code"], "SUBSETTED")
    row("_format beats Accept", at("GET", "/Patient/p1?_format=xml", Accept="application/fhir+json").status, 406)
    row("_format says nothing of the body", at("POST", "/Patient?_format=json", patient(), Content_Type="text/plain").status, 415)
    row("_pretty", at("GET", "/Patient/p1?_pretty=true").text.count("\n"), lambda n: n > 5)
    row("pretty is the same", at("GET", "/Patient/p1?_pretty=true").json, at("GET", "/Patient/p1").json)
    head = at("HEAD", "/Patient/p1")
    row("HEAD is GET without a body", (head.status, head.text, head.headers["etag"]), (200, "", at("GET", "/Patient/p1").headers["etag"]))
    row("HEAD of nothing is 404", at("HEAD", "/Patient/none").status, 404)
    row("If-None-Match that fits is 304", at("GET", "/Patient/p1", If_None_Match=head.headers["etag"]).status, 304)
    row("one of several", at("GET", "/Patient/p1", If_None_Match='W/"999", ' + head.headers["etag"]).status, 304)
    row("one that does not fit is 200", at("GET", "/Patient/p1", If_None_Match='W/"999"').status, 200)
    row("If-Modified-Since its time is 304", at("GET", "/Patient/p1", If_Modified_Since=head.headers["last-modified"]).status, 304)
    row("since long ago is 200", at("GET", "/Patient/p1", If_Modified_Since="Sun, 06 Nov 1994 08:49:37 GMT").status, 200)
    for path in ("", "/"):
        row(f"a Bundle is taken at base{path}", at("POST", path, {"resourceType": "Bundle", "type": "batch"}).status, 200)
    wrong = at("PUT", "/metadata", "{}")
    row("a method that is not there is 405 with Allow", (wrong.status, wrong.headers.get("allow", "")), lambda f: f[0] == 405 and "GET" in f[1])
    row("OPTIONS says what may be done", at("OPTIONS", "/Patient/p1").headers.get("allow", ""), lambda a: "PATCH" in a and "DELETE" in a)
    at.put(pulse("tz", at="2026-03-14T10:00:00+01:00"))
    for name, query in (("| raw", "code=http://loinc.org|8867-4"), ("%7C", "code=http://loinc.org%7C8867-4"), ("%3A", "date=ge2026-03-14T09%3A00%3A00Z"),
                        ("%2B", "date=2026-03-14T10:00:00%2B01:00"), ("a raw + in an offset", "date=2026-03-14T10:00:00+01:00")):
        answer = at("GET", "/Observation?_id=tz&" + query)
        row(f"{name} in an address", answer.ids() if answer.status == 200 else "400", lambda f, n=name: f == ["tz"] or ("raw +" in n and f == "400"))


def pages(at, row):
    """pages of other origins"""
    def allowed(answer):
        return answer.headers.get("access-control-allow-origin")

    asked = at("OPTIONS", "/Patient/p1", Origin=PAGE, Access_Control_Request_Method="PUT", Access_Control_Request_Headers="authorization,if-match")
    row("a preflight is answered", (asked.status, allowed(asked), "PUT" in asked.headers["access-control-allow-methods"],
                                    {"Authorization", "If-Match", "If-None-Exist", "Prefer"} <= set(asked.headers["access-control-allow-headers"].split(", "))),
        (204, PAGE, True, True))
    read = at("GET", "/Patient/p1", Origin=PAGE)
    row("the page may read the answer and its ETag", (read.status, allowed(read), "ETag" in read.headers["access-control-expose-headers"], read.headers["vary"]),
        (200, PAGE, True, "Origin"))
    row("and errors", allowed(at("GET", "/Patient/none", Origin="http://localhost:3000")), "http://localhost:3000")
    row("no cookies go along", read.headers.get("access-control-allow-credentials"), None)
    for origin in ("https://app.example.org.evil.example", "http://app.example.org", "null", "https://app.example.org,http://localhost:3000", ""):
        other = at("OPTIONS", "/Patient/p1", Origin=origin, Access_Control_Request_Method="GET")
        row(f"nobody else: {origin!r}", (allowed(other), allowed(at("GET", "/Patient/p1", Origin=origin))), (None, None))
    row("OPTIONS that is no preflight says what may be done", "PATCH" in at("OPTIONS", "/Patient/p1", Origin=PAGE).headers["allow"], True)


def server_errors(at, row):
    """what the HTTP server itself refuses below /fhir"""
    for name, head, status, code in (
            ("a path that leads out", "GET /fhir/../x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid"),
            ("a path with %00", "GET /fhir/Patient/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "invalid"),
            ("no Host", "GET /fhir/Patient HTTP/1.1\r\n\r\n", 400, "invalid"),
            ("a line that is no header", "GET /fhir/Patient?name=x HTTP/1.1\r\nHost: x\r\nspam\r\n\r\n", 400, "invalid"),
            ("two lengths", "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "invalid"),
            ("a body that is too large", "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413, "too-long"),
            ("headers that are too large", "GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nX: " + "x" * 40000 + "\r\n\r\n", 431, "too-long"),
            ("an address that is too long", "GET /fhir/Patient?name=" + "x" * 40000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414, "too-long"),
            ("too many headers", "GET /fhir/Patient HTTP/1.1\r\nHost: x\r\n" + "X: x\r\n" * 100 + "\r\n", 431, "too-long"),
            ("an unknown coding", "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not-supported"),
            ("another expectation", "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nExpect: spam\r\nContent-Length: 1\r\n\r\n", 417, "not-supported"),
            ("another HTTP", "GET /fhir/Patient HTTP/3.0\r\nHost: x\r\n\r\n", 505, "not-supported"),
            ("a chunk that is none", "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nspam\r\n", 400, "invalid")):
        answer = at.raw(head)
        row(name + f" is {status}, as an OperationOutcome", (refused(answer, status, code), answer.headers["content-type"]),
            (True, "application/fhir+json; charset=utf-8"))
    row("elsewhere it has the server's form", at.raw("GET /spam/../x HTTP/1.1\r\nHost: x\r\n\r\n").json["error"]["code"], "http.path")
    row("a name that begins like ours is elsewhere", "error" in at.raw("GET /fhirspam HTTP/1.1\r\nHost: x\r\n\r\n").json, True)


def types(at, row):
    """2.3 ids, references, data types"""
    for id, good in (("a-b.C9", True), ("x" * 64, True), ("x" * 65, False), ("a_b", False), ("a:b", False)):
        row(f"id {id[:10]}", at("PUT", f"/Patient/{urllib.parse.quote(id)}", patient(id)).status, 201 if good else 400)
    row("ids are case-sensitive", (at.put(patient("Case")).status, at.put(patient("case")).status), (201, 201))
    for value, good in (("2026-03-14T10:00:00Z", True), ("2026-03-14T10:00:00.123456789+14:00", True), ("2026", True), ("2026-03", True),
                        ("2026-03-14T10:00Z", False), ("2026-03-14T10:00:00", False), ("2026-13-01", False), ("14.3.2026", False)):
        row(f"dateTime {value}", at("POST", "/Observation", pulse(at=value)).status, 201 if good else 400)
    for number, good in (("1.2E+2", True), ("-0.50", True), ("01", False), (".5", False), ("5.", False), ("+5", False), ("NaN", False)):
        text = json.dumps(pulse()).replace('"value": 72', '"value": ' + number)
        row(f"decimal {number}", at("POST", "/Observation", text).status, 201 if good else 400)
    for name, change in (("an empty array", {"identifier": []}), ("an empty object", {"maritalStatus": {}}), ("null", {"gender": None}),
                         ("an unknown member", {"spam": 1}), ("an empty string", {"gender": ""}), ("a boolean as text", {"active": "true"}),
                         ("a date with a time", {"birthDate": "1970-01-01T00:00:00Z"})):
        row(name + " is 400", refused(at("POST", "/Patient", patient(**change)), 400), True)
    row("duplicate keys are 400", at("POST", "/Patient", '{"resourceType":"Patient","active":true,"active":false}').status, 400)
    row("two of value[x] are 400", at("POST", "/Observation", pulse(valueString="x")).status, 400)
    row("resourceType need not come first", at("POST", "/Patient", '{"active":true,"resourceType":"Patient"}').status, 201)
    row("null beside _name", at("POST", "/Patient", patient(name=[{"given": ["A", None], "_given": [None, {"extension": [
        {"url": "urn:x", "valueString": "y"}]}]}])).status, 201)
    row("a Quantity's code needs its system", at("POST", "/Observation", pulse(valueQuantity={"value": 1, "code": "mg"})).status, lambda c: c in (400, 422))
    row("a Period that ends before it starts", at("POST", "/Flag", {
        "resourceType": "Flag", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"},
        "period": {"start": "2026-02-01", "end": "2026-01-01"}}).status, lambda c: c in (400, 422))
    for reference in ("Patient/p1", "Patient/p1/_history/1", "https://other.example.org/fhir/Patient/7", "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"):
        row("reference " + reference, at("POST", "/Observation", pulse(who=reference)).status, 201)
    text = json.dumps(pulse("digits", code={"text": "@"}, issued="2026-03-14T10:00:00.123456789-12:00", component=[
        {"code": {"text": "x"}, "valueQuantity": {"value": n}} for n in range(6)]))
    written = ("1.50", "1e3", "0.000000001", "12345678901234567890", "-0.0", "1E-10")
    for n, digits in enumerate(written):
        text = text.replace(f'{{"value": {n}}}', f'{{"value": {digits}}}')
    text = text.replace("@", "\\u0041\\ud83d\\ude00 \\/ \\n \U0001f600")
    at("PUT", "/Observation/digits", text)
    found = at("GET", "/Observation/digits").text
    row("numbers of any form come back as they were written", [d for d in written if f'"value": {d}}}' not in found], [])
    row("escapes and characters come back as they were written", "\\u0041\\ud83d\\ude00 \\/ \\n \U0001f600" in found and ".123456789-12:00" in found, True)
    row("and are found by what they mean", at("GET", "/Observation?_id=digits&component-value-quantity=1000").ids(), ["digits"])
    for name, escape in (("half of a surrogate pair", "\\ud83d"), ("halves in the wrong order", "\\ude00\\ud83d"), ("\\u0000", "\\u0000"), ("\\x", "\\x"),
                         ("a bare control character", "\x01")):
        row(name + " is 400", refused(at("POST", "/Patient", '{"resourceType":"Patient","name":[{"family":"a' + escape + '"}]}'), 400), True)
    for name, body in (("too deep", '{"resourceType":"Patient","extension":[' + '{"url":"u","extension":[' * 100 + "]}" * 100 + "]}"), ("nothing", ""), ("an array", "[]"),
                       ("more after the end", '{"resourceType":"Patient"} x')):
        row(name + " is 400", refused(at("POST", "/Patient", body), 400), True)
    for body, words in (('{"resourceType":"Patient","extension":[' + '{"url":"u","extension":[' * 100, "nested deeper than 64"),
                        ('{"resourceType":"Patient",\n "active":true,"active":false}', "line 2, column 16: a member whose name"), ('{"a":"\\ud800"}', "surrogate")):
        row(f"it says {words!r}", words in at("POST", "/Patient", body).json["issue"][0]["diagnostics"], True)
    row("a string has a million characters at most", (at("POST", "/Patient", patient(name=[{"family": "é" * (1 << 20)}])).status, refused(
        at("POST", "/Patient", patient(name=[{"family": "é" * (1 << 20) + "x"}])), 400)), (201, True))
    for div, good in (("<p>it's on = 5, a&lt;b</p><a href='#x' title='on=1 > 0'>x</a>", True), ("<svg/onload=x>", False), ("<p onclick=x>", False),
                      ("<p title='>' OnClick ='x'>", False), ("<img src='x'onerror='y'/>", False), ("<ScRiPt>", False), ("<a href='JavaScript:x'>", False),
                      ("<style>p{}</style>", False)):
        text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{div}</div>'}
        row(f"a narrative with {div}", at("POST", "/Patient", patient(text=text)).status, 201 if good else 400)
    row("too large is 413", refused(at("POST", "/Patient", '{"resourceType":"Patient"' + " " * (9 << 20) + "}"), 413, "too-long"), True)
    for reference in ("Patient?identifier=x", "Patient?identifier=urn:mrn|x"):
        row(f"{reference} as a reference is for transactions", refused(at("POST", "/Observation", pulse(who=reference)), 400), True)
    at.put(pulse("own", who=at.base + "/Patient/p1"))
    row("our own base is the relative form in a search", at("GET", "/Observation?subject=Patient/p1&_id=own").ids(), ["own"])


def search(at, row):
    """2.4 search"""
    at.put(patient("s1", "s1", name=[{"family": "Müller", "given": ["Zoë"]}], gender="female"))
    for n in range(7):
        at.put(pulse(f"s{n}", "Patient/s1", 60 + n, f"2026-04-0{n + 1}T10:00:00Z"))
    none = at("GET", "/Observation?patient=nobody")
    row("nothing found is 200 and a searchset", (none.status, none.json["type"], none.json.get("entry")), (200, "searchset", None))
    row("a bad date is 400", refused(at("GET", "/Observation?date=23%20May"), 400), True)
    unknown = at("GET", "/Patient?_id=s1&colour=red")
    row("an unknown parameter is ignored, and not in self", (unknown.ids(), "colour" in unknown.link("self")), (["s1"], False))
    row("with handling=strict it is 400", refused(at("GET", "/Patient?colour=red", Prefer="handling=strict"), 400), True)
    row("an unsupported modifier is 400", refused(at("GET", "/Patient?gender:spam=x"), 400), True)
    row("an empty value is ignored", at("GET", "/Patient?_id=s1&gender=").ids(), ["s1"])
    row("POST _search", (lambda a: (sorted(a.ids()), "patient=" in a.link("self")))(at(
        "POST", "/Observation/_search", "patient=s1&date=ge2026-04-06", Content_Type="application/x-www-form-urlencoded")), (["s5", "s6"], True))
    row("another body for _search is 415", at("POST", "/Patient/_search", "{}").status, 415)
    first = at("GET", "/Observation?patient=s1&_count=3")
    row("_count bounds, newest first", first.ids(), ["s6", "s5", "s4"])
    at.put(pulse("s9", "Patient/s1", 99, "2026-05-01T10:00:00Z"))
    second = at("GET", first.link("next") + "&_count=1000")
    row("next goes on, takes another _count, neither skips nor repeats", second.ids(), ["s3", "s2", "s1", "s0"])
    row("the last page has no next", second.link("next"), None)
    row("no total unless asked", "total" in first.json, False)
    row("_total=accurate counts matches of all pages", at("GET", "/Observation?patient=s1&_count=2&_total=accurate&_include=Observation:subject").json["total"], 8)
    count = at("GET", "/Observation?patient=s1&_summary=count").json
    row("_summary=count", (count["total"], "entry" in count), (8, False))
    zero = at("GET", "/Observation?patient=s1&_count=0")
    row("_count=0 is the count", (zero.json["total"], "entry" in zero.json, zero.link("next")), (8, False, None))
    entry = at("GET", "/Observation?_id=s1&_include=Observation:subject").json["entry"]
    row("fullUrl is absolute and not versioned", entry[0]["fullUrl"], at.base + "/Observation/s1")
    row("search.mode tells matches from included", [e["search"]["mode"] for e in entry], ["match", "include"])
    row("no request or response in a searchset", any("request" in e or "response" in e for e in entry), False)
    row("_include with a type", len(at("GET", "/Observation?_id=s1&_include=Observation:subject:Patient").json["entry"]), 2)
    row("an included resource is there once", len(at("GET", "/Observation?patient=s1&_include=Observation:subject").json["entry"]), 9)
    row("_revinclude", len(at("GET", "/Patient?_id=s1&_revinclude=Observation:patient").json["entry"]), 9)
    for query, want in (("date=ge2026-04-02&date=lt2026-04-04", ["s1", "s2"]), ("date=2026-04-03", ["s2"]), ("date=sa2026-04-06", ["s6", "s9"]),
                        ("date=eb2026-04-02", ["s0"]), ("date=gt2026-04-06", ["s6", "s9"]), ("date=le2026-04-01", ["s0"]), ("date=ne2026-04-01&date=lt2026-04-03", ["s1"]),
                        ("value-quantity=gt65", ["s6", "s9"]), ("value-quantity=62", ["s2"]), ("value-quantity=62|http://unitsofmeasure.org|/min", ["s2"]),
                        ("value-quantity=62||/min", ["s2"]), ("value-quantity=62|http://unitsofmeasure.org|mg", []),
                        ("code=8867-4&date=2026-04-03", ["s2"]), ("code=|8867-4", []),
                        ("code=http://other|8867-4", []), ("code-value-quantity=http://loinc.org|8867-4$gt98", ["s9"]), ("_id=s1,s2", ["s1", "s2"]),
                        ("status:not=final", []), ("device:missing=false", []), ("patient.identifier=urn:mrn|s1&date=2026-04-03", ["s2"]),
                        ("subject:Patient.family=muller&date=2026-04-03", ["s2"])):
        row("Observation?" + query, sorted(at("GET", "/Observation?patient=s1&" + query).ids()), want)
    for query, want in (("name=mull", 1), ("name=MÜL", 1), ("identifier=urn:mrn|", 1), ("identifier=urn:other|", 0), ("family:exact=Müller", 1), ("family:exact=muller", 0), ("given:contains=o", 1), ("gender=female", 1),
                        ("gender:not=female", 0), ("_has:Observation:patient:code=8867-4", 1), ("_has:Observation:patient:code=1", 0), ("birthdate:missing=true", 1)):
        row("Patient?" + query, len(at("GET", "/Patient?_id=s1&" + query).ids()), want)
    for form in ("patient=s1", "patient=Patient/s1", "subject=Patient/s1", "subject:Patient=s1", "subject=" + at.base + "/Patient/s1"):
        row(form, at("GET", f"/Observation?{form}&_summary=count").json["total"], 8)
    for name in ("Device", "Group", "Location"):
        at.put({"resourceType": name, "id": "s1"} | ({"type": "person", "actual": True} if name == "Group" else {}))
    row("subject=id is the patient, when nothing else is meant by it", at("GET", "/Observation?subject=s1&_summary=count").json["total"], 8)
    at.put(pulse("sd", "Device/s1"))
    at.put(pulse("sg", "Group/s1"))
    row("subject=id is any type that it may be", sorted(at("GET", "/Observation?subject=s1&date=2026-03-14,2026-04-03").ids()), ["s2", "sd", "sg"])
    for form, want in (("subject=Device/s1", ["sd"]), ("subject:Device=s1", ["sd"]), ("subject:Group=s1", ["sg"]), ("patient=s1&date=2026-03-14", []),
                       ("patient=Device/s1", []), ("subject=s1,nobody&value-quantity=72", ["sd", "sg"])):
        row(form, sorted(at("GET", "/Observation?" + form).ids()), want)
    row("$lastn of subject=id is the patient's", at("GET", "/Observation/$lastn?subject=s1&code=8867-4").ids(), ["s9"])
    at.put({"resourceType": "Task", "id": "tf", "status": "requested", "intent": "order", "focus": {"reference": "RiskAssessment/any"}})
    row("an id alone, where any type may be meant", (at("GET", "/Task?focus=any").ids(), at("GET", "/Task?focus=none").ids()), (["tf"], []))
    panel = pulse("bp", "Patient/s1", code={"coding": [{"system": "http://loinc.org", "code": "85354-9"}]}, component=[
        {"code": {"coding": [{"system": "http://loinc.org", "code": c}]}, "valueQuantity": {"value": v, "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}}
        for c, v in (("8480-6", 118), ("8462-4", 95))])
    del panel["valueQuantity"]
    at.put(panel)
    for query, want in (("component-code-value-quantity=8462-4$gt90", 1), ("component-code-value-quantity=8462-4$gt100", 0), ("combo-code=8480-6", 1),
                        ("code=8480-6", 0)):
        row(query, len(at("GET", "/Observation?_id=bp&" + query).ids()), want)
    for n, digits in enumerate(("5.35", "5.45", "95", "105", "94")):
        at("PUT", f"/Observation/pr{n}", json.dumps(pulse(f"pr{n}", "Patient/pr")).replace('"value": 72', '"value": ' + digits))
    for value, want in (("5.4", ["pr0"]), ("1e2", ["pr2"]), ("1.0e2", ["pr2"]), ("95", ["pr2"]), ("ne5.4", ["pr1", "pr2", "pr3", "pr4"])):
        row(f"value-quantity={value}: as precise as it is written", sorted(at("GET", "/Observation?patient=pr&value-quantity=" + value).ids()), want)
    for n, coding in enumerate(([{"system": "urn:a", "code": "sc1"}], [{"code": "sc1"}], [{"system": "urn:b", "code": "sc1"}, {"system": "urn:a", "code": "sc2"}])):
        at.put(pulse(f"sc{n}", "Patient/sc", code={"coding": coding}, at=f"2026-03-0{n + 1}"))
    for query, want in (("code=urn:a|", ["sc0", "sc2"]), ("patient=sc&code=urn:b|", ["sc2"]), ("code=|sc1", ["sc1"]), ("code=urn:nobody|", []),
                        ("code=urn:b|,|sc1", ["sc1", "sc2"])):
        row(query, sorted(at("GET", "/Observation?" + query).ids()), want)
    row("$lastn of system|code is not another system's", at("GET", "/Observation/$lastn?patient=sc&code=urn:a|sc1").ids(), ["sc0"])
    for n in "cabed":
        at.put(pulse("tie" + n, "Patient/tie"))
    for sort, want in (("date,_id", "abcde"), ("-date,_id", "abcde"), ("-date,-_id", "edcba")):
        for count in (1, 2, 9):
            seen, url = [], f"/Observation?patient=tie&_sort={sort}&_count={count}"
            while url:
                page = at("GET", url)
                seen += page.ids()
                url = page.link("next")
            row(f"_sort={sort} by {count}: what is equal stands in the order of ids", seen, ["tie" + n for n in want])
    at.put(pulse("el", "#p", contained=[{"resourceType": "Patient", "id": "p"}], code={"text": "a pulse"}))
    for query, want in (("code:missing=true", []), ("code:missing=false", ["el"]), ("subject:missing=false", ["el"]), ("device:missing=true", ["el"])):
        row(query + " speaks of the element", at("GET", "/Observation?_id=el&" + query).ids(), want)
    row("a chain may have a modifier", [at("GET", "/Observation?code=8867-4&subject=Patient/s1&_count=1&patient." + c).ids() for c in
                                        ("family:exact=M%C3%BCller", "family:exact=muller", "gender:not=female", "birthdate:missing=true")],
        [["s9"], [], [], ["s9"]])
    at.put({"resourceType": "Organization", "id": "whole", "name": "Whole"})
    at.put({"resourceType": "Organization", "id": "part", "name": "Part", "partOf": {"reference": "Organization/whole"}})
    at.put(patient("chain", managingOrganization={"reference": "Organization/part"}))
    at.put(pulse("chain", "Patient/chain", performer=[{"reference": "Organization/part"}]))
    for query, want in (("organization.name=par", ["chain"]), ("organization.partof.name=who", ["chain"]), ("organization.partof.name=par", [])):
        row(f"Patient?{query}", at("GET", "/Patient?" + query).ids(), want)
    for query, want in (("patient.organization.partof.name=who", ["chain"]), ("subject:Patient.organization:Organization.name:exact=Part", ["chain"])):
        row(f"Observation?{query}", at("GET", "/Observation?" + query).ids(), want)
    row("a chain of four is refused", refused(at("GET", "/Observation?patient.organization.partof.partof.name=x"), 400), True)
    at.put({"resourceType": "Provenance", "id": "chain", "target": [{"reference": "Organization/whole"}], "recorded": "2026-03-14T10:00:00Z",
            "agent": [{"who": {"reference": "Organization/part"}}]})
    for query, want in (("_include=*", ["Organization/part", "Patient/chain"]), ("_include=Observation:*", ["Organization/part", "Patient/chain"]),
                        ("_include=Observation:patient&_include=Patient:organization", ["Patient/chain"]),
                        ("_include=Observation:patient&_include:iterate=Patient:organization", ["Organization/part", "Patient/chain"]),
                        ("_include=Observation:patient&_include:iterate=Patient:organization&_include:iterate=Organization:partof",
                         ["Organization/part", "Organization/whole", "Patient/chain"]),
                        ("_include=Observation:performer&_include:iterate=Organization:*&_revinclude:iterate=Provenance:target",
                         ["Organization/part", "Organization/whole", "Provenance/chain"])):
        found = at("GET", "/Observation?_id=chain&" + query)
        row(query, (sorted(f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in found.json["entry"] if e["search"]["mode"] == "include"),
                    found.link("self").count("include")), (want, query.count("include") - query.count("_include=Patient")))
    row("_revinclude=Type:*", sorted(e["resource"]["id"] for e in at("GET", "/Organization?_id=part&_revinclude=Provenance:*&_revinclude=Patient:*")
                                     .json["entry"]), ["chain", "chain", "part"])
    row("_revinclude=* is refused", refused(at("GET", "/Patient?_revinclude=*"), 400), True)
    row("what is not known is named", "colour" in at("GET", "/Patient?colour=red", Prefer="handling=strict").json["issue"][0]["diagnostics"], True)
    many = [r for n in range(450) for r in (patient(f"many{n}", gender="other"), pulse(f"many{n}", f"Patient/many{n}"))]
    at("POST", "", bundle("transaction", *[{"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}} for r in many]))
    row("a chain through many patients", at("GET", "/Observation?code=http://loinc.org|8867-4&patient.gender=other&_summary=count").json["total"], 450)
    row("many patients by name", at("GET", "/Observation?_summary=count&patient=" + ",".join(f"many{n}" for n in range(450))).json["total"], 450)
    seen, url = [], "/Observation?patient.gender=other&_count=99"
    while url:
        page = at("GET", url)
        seen += page.ids()
        url = page.link("next")
    row("and its pages", (len(seen), len(set(seen))), (450, 450))
    slim = at("GET", "/Observation?_id=s1&_elements=valueQuantity").json["entry"][0]["resource"]
    row("_elements keeps what is mandatory, and says SUBSETTED", ("status" in slim, "effectiveDateTime" in slim, slim["meta"]["tag"][0]["code"]),
        (True, False, "SUBSETTED"))
    last = at("GET", "/Observation/$lastn?patient=s1&category=vital-signs&max=2")
    row("$lastn", sorted(last.ids()), ["bp", "s6", "s9"])
    row("$lastn needs a patient and a code or category", (at("GET", "/Observation/$lastn?code=1").status, at("GET", "/Observation/$lastn?patient=s1").status),
        (400, 400))
    def coded(*codes, text=None):
        return {"coding": [{"system": s, "code": c} for s, c in codes]} if codes else {"text": text}

    kinds = (coded(("urn:l", "1")), coded(("urn:l", "1"), ("urn:x", "one")), coded(("urn:x", "one")), coded(("urn:l", "2")), coded(("urn:x", "1")),
             coded(text="a text"), coded(text="A text"))
    for n, kind in enumerate(kinds):
        for k in range(2):
            at.put(pulse(f"g{n}{k}", "Patient/g", code=kind, at=f"2026-03-{10 + n}T10:0{k}:00Z"))
    newest = at("GET", "/Observation/$lastn?patient=g&category=vital-signs")
    row("$lastn: a group is what shares a coding by some way, or has the same text; newest first", newest.ids(), ["g61", "g51", "g41", "g31", "g21"])
    row("$lastn: with max", at("GET", "/Observation/$lastn?patient=g&category=vital-signs&max=2").ids(),
        ["g61", "g60", "g51", "g50", "g41", "g40", "g31", "g30", "g21", "g20"])
    row("$lastn: several codes", at("GET", "/Observation/$lastn?patient=g&code=urn:l|1,urn:l|2&max=3").ids(), ["g31", "g30", "g11", "g10", "g01"])
    at.put(pulse("gt", "Patient/g", code=kinds[3], at="2026-03-13T11:01:00+01:00"))
    row("$lastn: of one time are all told", sorted(at("GET", "/Observation/$lastn?patient=g&code=urn:l|2").ids()), ["g31", "gt"])
    at.put(pulse("g61", "Patient/g", code=kinds[6], at="2026-03-16T10:01:00Z", status="entered-in-error"))
    row("$lastn: entered in error never counts", at("GET", "/Observation/$lastn?patient=g&category=vital-signs").ids()[:2], ["g60", "g51"])
    row("$lastn: self says what was understood", at("GET", "/Observation/$lastn?patient=g&category=vital-signs&max=2&colour=red").link("self"),
        at.base + "/Observation/$lastn?patient=g&category=vital-signs&max=2")
    row("$lastn: max is above 0", [at("GET", "/Observation/$lastn?patient=g&category=vital-signs&max=" + m).status for m in ("0", "-1", "x")], [400] * 3)
    row("a code that is a text is nobody's code", (at("GET", "/Observation?patient=g&code=a text").ids(), at("GET", "/Observation?patient=g&code=|").ids()), ([], []))
    row("_sort", at("GET", "/Observation?patient=s1&code=8867-4&_sort=date&_count=2").ids(), ["s0", "s1"])
    row("our own parameters: Flag?status", at("GET", "/Flag?status=active").status, 200)


def bundle(kind, *entries):
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def entry(method, url, resource=None, full=None, **request):
    made = {"request": {"method": method, "url": url} | request}
    return made | ({"resource": resource} if resource else {}) | ({"fullUrl": full} if full else {})


def bundles(at, row):
    """2.5 batch and transaction"""
    one, two = "urn:uuid:11111111-1111-4111-8111-111111111111", "urn:uuid:22222222-2222-4222-8222-222222222222"
    made = at("POST", "", bundle("transaction", entry("POST", "Observation", pulse(who=one, extension=[{"url": "urn:x", "valueUri": one}],
                                                                                    contained=[], **{}) | {"contained": [
        {"resourceType": "Device", "id": "d", "patient": {"reference": one}}], "device": {"reference": "#d"}}, two),
        entry("POST", "Patient", patient(None, "t1"), one), entry("GET", "Patient?identifier=urn:mrn|t1"),
        entry("PUT", "Device/td", {"resourceType": "Device", "id": "td", "patient": {"reference": "Patient?identifier=urn:mrn|t1"}})),
        Prefer="return=representation")
    body = made.json
    entries = body.get("entry", [])
    row("a transaction is 200 and a transaction-response", (made.status, body.get("type"), len(entries)), (200, "transaction-response", 4))
    who = "Patient/" + entries[1]["resource"]["id"]
    row("answers stand in the order of the entries", [e["response"]["status"][:3] for e in entries], ["201", "201", "200", "201"])
    row("with location, etag and lastModified", all(k in entries[0]["response"] for k in ("location", "etag", "lastModified")), True)
    stored = entries[0]["resource"]
    row("references to a fullUrl are rewritten: Reference, uri, contained",
        (stored["subject"]["reference"], stored["extension"][0]["valueUri"], stored["contained"][0]["patient"]["reference"]), (who, who, who))
    row("conditional references are resolved", entries[3]["resource"]["patient"]["reference"], who)
    row("GET sees the state after the writes", entries[2]["resource"]["entry"][0]["resource"]["id"], entries[1]["resource"]["id"])
    row("no bodies unless preferred", any("resource" in e for e in at("POST", "", bundle("transaction", entry("PUT", "Patient/t2", patient("t2")))).json["entry"]), False)
    for name, entries, status in (
            ("one bad entry fails all", [entry("PUT", "Patient/t9", patient("t9")), entry("POST", "Patient", patient(gender="x"))], 400),
            ("the same identity twice fails all", [entry("PUT", "Patient/t9", patient("t9")), entry("PUT", "Patient/t9", patient("t9", active=True))], 400),
            ("PUT and DELETE of one fail all", [entry("PUT", "Patient/t9", patient("t9")), entry("DELETE", "Patient/t9")], 400),
            ("a stale ifMatch fails all with 412", [entry("PUT", "Patient/t9", patient("t9")), entry("PUT", "Patient/t2", patient("t2", active=True), ifMatch='W/"9"')], 412),
            ("a conditional reference to nobody fails all", [entry("PUT", "Patient/t9", patient("t9")),
                                                            entry("POST", "Observation", pulse(who="Patient?identifier=urn:mrn|nobody"))], 412),
            ("an empty ifNoneExist fails all", [entry("PUT", "Patient/t9", patient("t9")), entry("POST", "Patient", patient(), ifNoneExist="")], 400),
            ("a reference to no entry's urn:uuid fails all", [entry("PUT", "Patient/t9", patient("t9")), entry("POST", "Observation", pulse(who=two))], 400),
            ("an entry without a request fails all", [{"resource": patient("t9")}], 400)):
        answer = at("POST", "", bundle("transaction", *entries))
        row(name, (answer.status, answer.json["resourceType"], at("GET", "/Patient/t9").status), (status, "OperationOutcome", 404))
    failed = at("POST", "", bundle("transaction", entry("GET", "Patient/p1"), entry("PUT", "Patient/t9", patient("t9")),
                                   entry("PUT", "Patient/t8", patient("t8", gender="x")))).json["issue"][0]
    row("a transaction says which entry it was", (failed["diagnostics"][:7], failed["expression"]), ("entry 2", ["Bundle.entry[2].resource.gender"]))
    stale = at("POST", "", bundle("transaction", entry("PUT", "Patient/t9", patient("t9")), entry("PUT", "Patient/p1", patient("p1"), ifMatch='W/"1"'))).json
    row("also when it was a condition", stale["issue"][0]["expression"], ["Bundle.entry[1]"])
    found = at("POST", "", bundle("transaction", entry("POST", "Patient", patient(None, "t1"), one, ifNoneExist="identifier=urn:mrn|t1"),
                                  entry("POST", "Observation", pulse(who=one))), Prefer="return=representation").json["entry"]
    row("what ifNoneExist finds is what the others mean", (found[0]["response"]["status"][:3], found[1]["resource"]["subject"]["reference"]), ("200", who))
    order = at("POST", "", bundle("transaction", entry("GET", "Patient/t3"), entry("PUT", "Patient/t3", patient("t3")), entry("DELETE", "Patient/t2"),
                                  entry("GET", "Patient?_id=t2"))).json["entry"]
    row("DELETE, POST, PUT, GET whatever the order", ([e["response"]["status"][:3] for e in order], "entry" in order[3]["resource"]),
        (["200", "201", "204", "200"], False))
    data = base64.b64encode(json.dumps([{"op": "add", "path": "/active", "value": True}]).encode()).decode()
    patched = at("POST", "", bundle("transaction", entry("PATCH", "Patient/t3", {"resourceType": "Binary", "contentType": PATCH, "data": data},
                                                         ifMatch='W/"1"')), Prefer="return=representation").json
    row("PATCH by a Binary", patched["entry"][0]["resource"]["active"], True)
    circle = at("POST", "", bundle("transaction", entry("POST", "Patient", patient(None, link=[{"type": "seealso", "other": {"reference": two}}]), one),
                                   entry("POST", "Patient", patient(None, link=[{"type": "seealso", "other": {"reference": one}}]), two)))
    row("circular references are legal", circle.status, 200)
    batch = at("POST", "", bundle("batch", entry("PUT", "Patient/b1", patient("b1")), entry("POST", "Patient", patient(gender="x")), entry("GET", "Patient/none"),
                                  entry("DELETE", "Patient/b-none"), entry("GET", "Patient/b1"), entry("HEAD", "Patient/b1")))
    entries = batch.json["entry"]
    versions = at("POST", "", bundle("batch", *[entry("GET", f"Patient/b1/_history/{v}") for v in ("1", "0", "x")]))
    row("a version that never was is 404 in a batch, too", [e["response"]["status"][:3] for e in versions.json["entry"]], ["200", "404", "404"])
    row("a batch is 200, each entry has its own status", (batch.status, [e["response"]["status"][:3] for e in entries]),
        (200, ["201", "400", "404", "204", "200", "200"]))
    row("errors of entries carry an outcome", entries[1]["response"]["outcome"]["resourceType"], "OperationOutcome")
    row("references between the entries of a batch are not resolved", at("POST", "", bundle(
        "batch", entry("POST", "Observation", pulse(who=one))), Prefer="return=representation").json["entry"][0]["resource"]["subject"]["reference"], one)
    asked = at("POST", "", bundle("batch", *[entry("GET", url) for url in ("Patient/b1/_history", "Observation/$stats?code=x", "Patient/b1/$everything")]))
    row("what a Bundle cannot ask is said to be so", [e["response"]["outcome"]["issue"][0]["code"] for e in asked.json["entry"]], ["not-supported"] * 3)
    row("an entry that is no array is 400", refused(at("POST", "", {"resourceType": "Bundle", "type": "batch", "entry": {}}), 400), True)
    row("an empty bundle is fine", at("POST", "", {"resourceType": "Bundle", "type": "transaction"}).json["type"], "transaction-response")
    row("another type of Bundle is 400", refused(at("POST", "", {"resourceType": "Bundle", "type": "collection"}), 400), True)
    row("too many entries are refused before work", at("POST", "", bundle("batch", *[entry("GET", "Patient/x")] * 10001)).issue, "too-costly")


def history(at, row):
    """2.6 history"""
    for n in range(5):
        at.put(patient("h1", active=n % 2 == 0))
    at("DELETE", "/Patient/h1")
    found = at("GET", "/Patient/h1/_history")
    entries = found.json["entry"]
    row("history is newest first, with the deletion", [e["request"]["method"] for e in entries], ["DELETE"] + ["PUT"] * 5)
    at.put(patient("h2"))
    at("DELETE", "/Patient/h2")
    at.put(patient("h2"))
    drawn = at("POST", "/Patient", patient()).json["id"]
    at.put(patient(drawn, active=True))
    for name, path, want in (
            ("PUT, DELETE, PUT", "h2", [("PUT", "201"), ("DELETE", "204"), ("PUT", "201")]), ("POST, PUT", drawn, [("PUT", "200"), ("POST", "201")])):
        made = at("GET", f"/Patient/{path}/_history").json["entry"]
        row(f"{name}: as it was asked and answered", [(e["request"]["method"], e["response"]["status"][:3]) for e in made], want)
        row("with versions and times", all(e["response"]["etag"] == f'W/"{len(made) - n}"' and e["response"]["lastModified"].endswith("Z") for n, e in enumerate(made)), True)
    row("a POST's url is the type", made[-1]["request"]["url"], "Patient")
    row("a deletion has no resource, the others have", ["resource" in e for e in entries], [False] + [True] * 5)
    row("request and response are both there", all("request" in e and "response" in e for e in entries), True)
    row("of what never was is 404", refused(at("GET", "/Patient/never-was/_history"), 404), True)
    page = at("GET", "/Patient/h1/_history?_count=4")
    row("history pages", (len(page.json["entry"]), len(at("GET", page.link("next")).json["entry"])), (4, 2))
    since = entries[2]["response"]["lastModified"]
    row("_since", len(at("GET", "/Patient/h1/_history?_since=" + urllib.parse.quote(since)).json["entry"]), 3)
    row("_at", [e["response"]["etag"] for e in at("GET", "/Patient/h1/_history?_at=" + urllib.parse.quote(entries[3]["response"]["lastModified"])).json["entry"]],
        [entries[3]["response"]["etag"]])
    seen, url = [], "/Patient/_history?_count=7"
    while url:
        page = at("GET", url)
        seen += [(e["fullUrl"], e["response"]["etag"]) for e in page.json.get("entry", [])]
        url = page.link("next")
    row("the history of a type, all pages, each version once", (len(seen), len(set(seen))), lambda f: f[0] == f[1] and f[0] > 40)
    row("a bad _since is 400", at("GET", "/Patient/_history?_since=yesterday").status, 400)
    row("the history of everything is declined", at("GET", "/_history").status, lambda c: 400 <= c < 500)


def metadata(at, row):
    """2.6 metadata"""
    said = at("GET", "/metadata").json
    row("fhirVersion", said["fhirVersion"], "4.0.1")
    row("kind=instance has implementation, date, format", all(said.get(k) for k in ("implementation", "date", "format", "software")) and said["kind"], "instance")
    rest = said["rest"][0]
    names = [r["type"] for r in rest["resource"]]
    row("mode and each type once", (rest["mode"], len(names) == len(set(names))), ("server", True))
    row("names of search parameters are unique in a type", [r["type"] for r in rest["resource"] if len({p["name"] for p in r.get("searchParam", [])}) !=
                                                            len(r.get("searchParam", []))], [])
    patient_rest = next(r for r in rest["resource"] if r["type"] == "Patient")
    for key in ("versioning", "readHistory", "updateCreate", "conditionalCreate", "conditionalRead", "conditionalUpdate", "conditionalDelete", "referencePolicy",
                "searchInclude"):
        row("it says " + key, key in patient_rest, True)
    codes = {i["code"] for i in patient_rest["interaction"]}
    row("interactions", codes, {"read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"})
    row("of the system", {i["code"] for i in rest["interaction"]}, {"transaction", "batch"})
    audit = next(r for r in rest["resource"] if r["type"] == "AuditEvent")
    row("an AuditEvent's say that nobody changes it", {i["code"] for i in audit["interaction"]} & {"update", "patch", "delete"}, set())
    row("operations have definitions", all(o["definition"] for r in rest["resource"] for o in r.get("operation", [])), True)
    row("patchFormat", said["patchFormat"], [PATCH])
    row("smart-configuration without a token", at("GET", "/.well-known/smart-configuration").json["token_endpoint"], at.base + "/auth/token")
    for path in ("/$export", "/Patient/$export", "/ValueSet/$expand", "/Patient/$match"):
        row("declined: " + path, refused(at("GET", path), 404), True)


def operations(at, row):
    """the operations of the feature table"""
    row("$validate of a good one is 200", at("POST", "/Patient/$validate", patient()).json["issue"][0]["severity"], "information")
    bad = at("POST", "/Patient/$validate", patient(gender="x", birthDate="soon"))
    row("of a bad one is 200 too, with all that is wrong", (bad.status, len(bad.json["issue"])), lambda f: f[0] == 200 and f[1] >= 2)
    row("Parameters with mode and profile", at("POST", "/Observation/$validate", {"resourceType": "Parameters", "parameter": [
        {"name": "mode", "valueCode": "create"}, {"name": "profile", "valueUri": "http://hl7.org/fhir/StructureDefinition/heartrate"},
        {"name": "resource", "resource": pulse()}]}).json["issue"][0]["severity"], lambda v: v in ("information", "warning"))
    row("of what is stored", at("GET", "/Patient/s1/$validate").json["resourceType"], "OperationOutcome")
    row("mode=update wants the id", at("POST", "/Patient/$validate?mode=update", patient()).json["issue"][0]["severity"], "error")
    row("no resource is 400", at("POST", "/Patient/$validate", {"resourceType": "Parameters"}).status, 400)

    at.put({"resourceType": "Device", "id": "ev", "deviceName": [{"name": "m", "type": "model-name"}]})
    at.put(pulse("ev1", "Patient/s1", 61, "2026-04-01T00:00:00Z", device={"reference": "Device/ev"}))
    at.put({"resourceType": "Flag", "id": "evf", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/s1"}})
    everything = at("GET", "/Patient/s1/$everything")
    names = [e["resource"]["resourceType"] + "/" + e["resource"]["id"] for e in everything.json["entry"]]
    row("$everything: the patient first, his resources, what they refer to", (names[0], {"Flag/evf", "Observation/ev1", "Device/ev"} <= set(names)),
        ("Patient/s1", True))
    row("each once", len(names), len(set(names)))
    seen, url = [], "/Patient/s1/$everything?_count=3"
    while url:
        page = at("GET", url)
        seen += [e["resource"]["id"] for e in page.json.get("entry", []) if e["search"]["mode"] == "match"]
        url = page.link("next")
    row("its pages hold the same", sorted(seen), sorted(e["resource"]["id"] for e in everything.json["entry"] if e["search"]["mode"] == "match"))
    row("_type", {e["resource"]["resourceType"] for e in at("GET", "/Patient/s1/$everything?_type=Flag").json["entry"]}, {"Flag"})
    row("start and end", sorted(e["resource"]["id"] for e in at("GET", "/Patient/s1/$everything?_type=Observation&start=2026-04-02&end=2026-04-03").json["entry"]),
        ["s1", "s2"])
    row("of nobody is 404", at("GET", "/Patient/nobody/$everything").status, 404)
    row("a compartment's members", at("GET", "/Patient/s1/Observation?code=8867-4&date=2026-04-03").ids(), ["s2"])

    stats = at("GET", "/Observation/$stats?subject=Patient/s1&code=8867-4&system=http://loinc.org&period=2026-04-01T12:00:00Z,2026-04-07&statistic=average,maximum,minimum,"
               "count,median,std-dev").json["parameter"]
    values = {c["code"]["coding"][0]["code"]: c["valueQuantity"]["value"] for c in stats[0]["resource"]["component"]}
    row("$stats", (values["average"], values["maximum"], values["minimum"], values["count"], values["median"], round(values["std-dev"], 3)),
        (63.5, 66, 61, 6, 63.5, 1.871))
    row("$stats without a statistic is 400", at("GET", "/Observation/$stats?subject=Patient/s1&code=8867-4").status, 400)
    row("an AuditEvent for each access", h.wait_for("an AuditEvent", lambda: at("GET", "/AuditEvent?_count=1").json.get("entry"), 10)[0]["resource"]["source"]
        ["type"][0]["code"], "4")


if __name__ == "__main__":
    h.run_script("fhir_conformance", main)
