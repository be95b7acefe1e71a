#!/usr/bin/env python3
"""subscriptions.py -- Subscriptions to a receiver that is there, down, slow, refuses, and comes back; and kill -9 in between.

Nothing that matched is lost, the order is kept, event numbers have no gap, and what comes twice has its number twice.
"""
import http.server
import json
import os
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import service as s  # noqa: E402
from service import h, patient, pulse  # noqa: E402

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"


class Receiver:
    """Remembers what it is told; `status` and `delay_s` may be changed at any time."""

    def __init__(self, port=0):
        self.told, self.refused, self.status, self.delay_s, self.lock = [], 0, 200, 0, threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(receiver.delay_s)  # how slow this receiver is; nothing is concluded from it
                with receiver.lock:
                    if receiver.status // 100 == 2:
                        receiver.told.append((self.command, self.path, dict(self.headers), body.decode()))
                    else:
                        receiver.refused += 1
                self.send_response(receiver.status)
                if receiver.status // 100 == 3:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = daemon_threads = True

            def handle_error(self, *_):  # a sender that was killed
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def events(self, path):
        """(number, id) in the order of arrival."""
        with self.lock:
            return [(int(head["X-Vigil-Event-Number"]), where.rsplit("/", 1)[1]) for _, where, head, _ in self.told
                    if where.startswith(path) and int(head["X-Vigil-Event-Number"])]


def subscription(id, endpoint, criteria, **more):
    channel = {"type": "rest-hook", "endpoint": endpoint} | more.pop("channel", {})
    return {"resourceType": "Subscription", "id": id, "status": "requested", "reason": "test", "criteria": criteria, "channel": channel} | more


def status_of(at, id):
    return at("GET", f"/Subscription/{id}").json["status"]


def becomes(at, id, wanted, deadline_s=20):
    return h.wait_for(f"{id} to be {wanted}", lambda: status_of(at, id) == wanted, deadline_s)


def firsts(events):
    """The events without their repetitions, in the order of arrival."""
    return list(dict.fromkeys(events))


def main(checks, work):
    row = checks.check
    at = s.Service(h.program(), work / "data").start()
    receiver = Receiver()
    home = f"http://127.0.0.1:{receiver.port}"
    at.put(patient("p1", "p1"))

    checks.heading("plain R4")
    at.put(subscription("plain", home + "/plain", "Observation?code=http://loinc.org|8867-4&value-quantity=gt100",
                        channel={"payload": "application/fhir+json", "header": ["Authorization: Bearer top-secret", "X-Ward: 4"]}))
    becomes(at, "plain", "active")
    at.put(subscription("ping", home + "/ping", "Flag?"))
    becomes(at, "ping", "active")
    row("header values are not shown, names are", at("GET", "/Subscription/plain").json["channel"]["header"], ["Authorization: ***", "X-Ward: ***"])
    row("nor in a search, nor in the history", ["top-secret" in at("GET", path).text for path in ("/Subscription", "/Subscription/plain/_history")], [False] * 2)
    row("what is hidden is not put back", at.put(at("GET", "/Subscription/plain").json).status, 422)
    at.put(pulse("low", value=72))
    at.put(pulse("high", value=130))
    at.put(pulse("other", value=130, code={"coding": [{"system": "http://loinc.org", "code": "9279-1"}]}))
    at.put(pulse("high", value=131))
    h.wait_for("two events", lambda: len(receiver.events("/plain")) == 2)
    row("what matches is told, in order, by its version", [(m, p, json.loads(b)["valueQuantity"]["value"], x["Authorization"], x["X-Ward"]) for m, p, x, b in receiver.told],
        [("PUT", "/plain/Observation/high", v, "Bearer top-secret", "4") for v in (130, 131)])
    at.put({"resourceType": "Flag", "id": "f", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"}})
    h.wait_for("the ping", lambda: any(p == "/ping" for _, p, _, _ in receiver.told))
    row("without payload an empty POST", [(m, b) for m, p, _, b in receiver.told if p == "/ping"], [("POST", "")])

    checks.heading("what is refused")
    for id, endpoint, criteria, more in (("far", "https://example.org/x", "Observation?code=1", {}), ("inside", "http://10.0.0.1/x", "Observation?code=1", {}),
                                         ("file", "file:///etc/passwd", "Observation?code=1", {}), ("unknown", home, "Observation?spam=1", {}),
                                         ("nothing", home, "Nothing?x=1", {}), ("mail", home, "Observation?code=1", {"channel": {"type": "email"}})):
        at.put(subscription(id, endpoint, criteria, **more))
        becomes(at, id, "error")
        row(f"{id}: status error, which says why", len(at("GET", f"/Subscription/{id}").json["error"]) > 10, True)

    checks.heading("the backport's Bundle")
    at.put(subscription("topic", home + "/topic", "Observation?code=http://loinc.org|8867-4&value-quantity=gt200", meta={"profile": [BACKPORT + "backport-subscription"]},
                        channel={"payload": "application/fhir+json", "_payload": {"extension": [{"url": BACKPORT + "backport-payload-content", "valueCode": "full-resource"}]},
                                 "extension": [{"url": BACKPORT + "backport-heartbeat-period", "valueUnsignedInt": 1}]}))
    becomes(at, "topic", "active")
    at.put(pulse("t1", value=210))
    at.put(pulse("t2", value=211))

    def told(kind):
        with receiver.lock:
            bundles = [json.loads(b) for _, p, _, b in receiver.told if p == "/topic"]
        found = []
        for bundle in bundles:
            values = {m["name"]: next((v for k, v in m.items() if k != "name"), None) for m in bundle["entry"][0]["resource"]["parameter"]}
            if values["type"] == kind:
                found.append((bundle, values))
        return found

    h.wait_for("two events", lambda: len(told("event-notification")) >= 2)
    bundle, values = told("event-notification")[0]
    row("a handshake came first", len(told("handshake")), 1)
    row("type history, Parameters first", (bundle["type"], bundle["entry"][0]["resource"]["resourceType"]), ("history", "Parameters"))
    row("events are numbered", [v["events-since-subscription-start"] for _, v in told("event-notification")], ["1", "2"])
    row("the resource comes along", bundle["entry"][1]["resource"]["id"], "t1")
    h.wait_for("a heartbeat", lambda: told("heartbeat"), 10)
    asked = {p["name"]: p for p in at("GET", "/Subscription/topic/$status").json["entry"][0]["resource"]["parameter"]}
    row("$status", (asked["status"]["valueCode"], asked["type"]["valueCode"], asked["events-since-subscription-start"]["valueString"]), ("active", "query-status", "2"))
    events = at("GET", "/Subscription/topic/$events?eventsSinceNumber=2&eventsUntilNumber=2").json
    row("$events", [e["resource"]["id"] for e in events["entry"][1:]], ["t2"])
    at("DELETE", "/Subscription/topic")

    checks.heading("a receiver that fails")
    before, wanted = len(receiver.events("/plain")), []

    def write(count):
        for _ in range(count):
            id = f"w{len(wanted)}"
            wanted.append(id)
            row_status = at.put(pulse(id, value=150)).status
            assert row_status == 201, row_status

    def caught_up(deadline_s=60):
        h.wait_for("all events", lambda: len(firsts(receiver.events("/plain"))) >= before + len(wanted), deadline_s)

    receiver.status = 500
    write(5)
    h.wait_for("it is tried again", lambda: receiver.refused >= 3, 20)
    becomes(at, "plain", "error")
    row("the error is said, without the address", at("GET", "/Subscription/plain").json["error"], "the receiver answers HTTP 500")
    receiver.status = 302
    refused = receiver.refused
    h.wait_for("a redirect is no delivery", lambda: receiver.refused > refused, 40)
    receiver.status = 200
    caught_up()
    becomes(at, "plain", "active")
    row("and is gone again when it is told", "error" in at("GET", "/Subscription/plain").json, False)
    receiver.close()
    write(5)
    receiver_down = receiver
    receiver = Receiver(receiver_down.port)
    receiver.told, receiver.delay_s = receiver_down.told, 0.05
    write(5)
    caught_up()

    checks.heading("kill -9 in between")
    for number in range(4):
        write(6)
        h.wait_for("some of it is told", lambda n=len(receiver.told): len(receiver.told) > n, 30)
        at.kill()
        at.start()
    write(3)
    caught_up()
    receiver.delay_s = 0
    found = receiver.events("/plain")
    once = firsts(found)
    row("nothing is lost, and the order is kept", [id for _, id in once[before:]], wanted)
    row("numbers have no gap", [n for n, _ in once], list(range(1, len(once) + 1)))
    address = at.base[:-len("/fhir")] + "/metrics"
    h.wait_for("the lag to be told as none", lambda: b'vigil_fhir_subscription_lag{subscription="plain"} 0\n' in urllib.request.urlopen(address).read())
    checks.note(f"{len(found) - len(once)} of {len(found)} were told twice")

    checks.heading("the end of a Subscription")
    soon = h.iso(time.time() + 2)
    at.put(subscription("short", home + "/short", "Flag?", end=soon))
    becomes(at, "short", "off", 20)
    at("PATCH", "/Subscription/plain", [{"op": "replace", "path": "/status", "value": "off"}], Content_Type="application/json-patch+json")
    at("DELETE", "/Subscription/ping")
    at.put(subscription("hung", home + "/hung", "Flag?"))
    becomes(at, "hung", "active")
    receiver.delay_s = 25
    at.put({"resourceType": "Flag", "id": "last", "status": "active", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"}})
    began = time.monotonic()
    row("it ends cleanly, also while a receiver hangs", (at.stop(), time.monotonic() - began < 10), (0, True))
    receiver.close()


if __name__ == "__main__":
    h.run_script("fhir_subscriptions", main)
