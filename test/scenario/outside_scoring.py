#!/usr/bin/env python3
"""outside_scoring.py -- a program outside that scores: it reads iomt.enriched and writes iomt.scored over HTTPS, and
alerts, board and lake go on from there. What it was cut off in comes again; what it sends twice is refused.

    python3 outside_scoring.py VIGIL
"""
import json
import time

import harness as h

PATIENT, DEVICE = "p-outside", "bed-outside"


def main(checks, work):
    check = checks.check
    hub = h.Program(work, lake__flush="1s", score__engine="none").start()
    hub.make_token()
    h.seed_patients(hub, [(PATIENT, "Outsidemadeup", "Otto", "1950-01-02", "male", DEVICE)])
    password = hub.add_device(DEVICE)

    def ask(method, path, body=None, token=None):
        headers = {"Content-Type": "application/json"}
        if token != "":
            headers["Authorization"] = f"Bearer {token or hub.token}"
        status, _, text = hub.call(method, "/api/topics/" + path, json.dumps(body).encode() if body is not None else None, headers)
        return status, json.loads(text)

    def send(pulse):
        payload = json.dumps({"time": h.iso(time.time()), "hr": pulse, "rr": 16}).encode()
        if h.mosquitto_pub(hub, DEVICE, password, payload).returncode != 0:
            raise RuntimeError("the reading was not taken")

    def read(count):
        return h.wait_for(f"{count} enriched records", lambda: (lambda a: a[1] if len(a[1]["records"]) >= count else None)(
            ask("GET", "iomt.enriched/0?count=100")))

    def scored(record, low):
        now = h.iso(time.time())
        return {"value": {
            "patientId": record["key"], "windowEnd": now, "scoredTime": now, "trigger": "reading",
            "news2": {"low": low, "high": low, "complete": True, "singleThree": False,
                      "band": "high" if low >= 7 else "low", "parts": []},
            "vitals": [], "models": [{"name": "outside-risk", "version": "7", "mode": "show", "probability": 0.4,
                                      "thresholds": {"medium": 0.1, "high": 0.3}, "horizonHours": 6, "band": "high", "contributions": []}]}}

    checks.heading("who may")
    check("nobody without a token", ask("GET", "iomt.enriched/0", token="")[0], 401)
    check("nor with a wrong one", ask("GET", "iomt.enriched/0", token="no")[0], 401)
    for path, status in (("device.raw/0", 404), ("iomt.enriched/9", 404), ("iomt.enriched/x", 404), ("iomt.enriched/0/more", 404),
                         ("iomt.enriched/x", 404), ("iomt.enriched/0?count=0", 400)):
        check(f"refused: {path}", ask("GET", path)[0], status)

    checks.heading("reading, scoring, writing")
    send(131)
    batch = read(2)
    first = [r for r in batch["records"] if r["key"] == PATIENT][0]
    check("a record with its patient", first["value"]["patientId"], PATIENT)
    check("asked again, the same come again", read(2)["records"][0]["seq"], batch["records"][0]["seq"])
    work_done = {"topic": "iomt.enriched", "next": batch["next"], "records": [scored(first, 9)]}
    for name, body, status in (
            ("no topic", {**work_done, "topic": "x"}, 400), ("no place", {**work_done, "next": 0}, 400),
            ("no time zone", {**work_done, "records": [{"value": {**scored(first, 9)["value"], "windowEnd": "2026-01-01T00:00:00"}}]}, 400),
            ("nobody's", {**work_done, "records": [{"value": {**scored(first, 9)["value"], "patientId": ""}}]}, 400)):
        check(f"refused: {name}", ask("POST", "iomt.scored/0", body)[0], status)
    check("no other topic is written", ask("POST", "iomt.enriched/0", work_done)[0], 409)
    status, answer = ask("POST", "iomt.scored/0", work_done)
    check("taken", (status, answer["count"]), (200, 1))
    check("sent again it is refused", ask("POST", "iomt.scored/0", work_done)[0], 409)
    check("there is nothing more to read", ask("GET", "iomt.enriched/0")[1], {"records": [], "next": batch["next"]})

    checks.heading("what follows")
    risk = h.wait_for("a RiskAssessment", lambda: hub.search(f"RiskAssessment?patient={PATIENT}"))
    check("it names the model outside", "outside-risk" in json.dumps(risk))
    send(133)
    batch = read(2)
    newest = [r for r in batch["records"] if r["key"] == PATIENT][-1]
    second = {"topic": "iomt.enriched", "next": batch["next"], "records": [scored(newest, 9)]}
    check("the second high score", ask("POST", "iomt.scored/0", second)[0], 200)
    flag = h.wait_for("a Flag", lambda: hub.search(f"Flag?patient={PATIENT}&status=active"))
    check("one Flag, for NEWS2", len(flag), 1)
    lake = f"SELECT * FROM {{scored}} WHERE patientId = '{PATIENT}' ORDER BY scoredTime"
    rows = h.wait_for("the lake", lambda: (lambda rows: rows if len(rows) > 1 else None)(hub.lake_rows(lake)))
    check("each once in the lake", [row["news2Low"] for row in rows], [9, 9])

    check("who read and wrote patient data is in the audit",
          {row["what"] for row in hub.care("SELECT what FROM audit WHERE person = 'loader'")} >= {"topics.read", "topics.write"})

    checks.heading("after kill -9 it goes on where it was")
    send(90)
    read(1)
    hub.kill()
    hub.start()
    batch = read(1)
    check("only what is new", all(r["seq"] >= second["next"] for r in batch["records"]))
    newest = [r for r in batch["records"] if r["key"] == PATIENT][-1]
    status, answer = ask("POST", "iomt.scored/0",
                         {"topic": "iomt.enriched", "next": batch["next"], "records": [scored(newest, 1)]})
    check("taken", status, 200)
    rows = h.wait_for("the lake", lambda: (lambda rows: rows if len(rows) > 2 else None)(hub.lake_rows(lake)))
    check("and once in the lake", [row["news2Low"] for row in rows], [9, 9, 1])
    hub.stop()

    checks.heading("where scoring is here")
    other = h.Program(work, name="scoring").start()
    other.make_token()
    status, _, _ = other.call("POST", "/api/topics/iomt.scored/0", json.dumps(work_done).encode(),
                              {"Content-Type": "application/json", "Authorization": f"Bearer {other.token}"})
    check("records are not taken from outside", status, 409)
    other.stop()


if __name__ == "__main__":
    h.run_script("outside_scoring", main)
