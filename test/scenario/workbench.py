#!/usr/bin/env python3
"""workbench.py -- an author in a real browser breaks, mends, activates and rolls back a mapping.

workbench.mjs is the author; here a device sends by MQTT in between, and each message is looked at on the
topic, in the trace, in FHIR and in the audit.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

DEVICE = "bed-4"
USERS = {"admin": {"user": "ann", "password": "mapping author 1"}, "nurse": {"user": "mira", "password": "ward nurse 1"}}


def send(hub, password, rate):
    """One message; its records on iomt.normalized."""
    body = '{"time":"%s","hr":%s,"rr":16}' % (h.iso(time.time()), rate)
    done = h.mosquitto_pub(hub, DEVICE, password, body.encode())
    if done.returncode:
        raise RuntimeError(done.stderr.decode())

    def found():
        out = hub.cli("records", "iomt.normalized", "--key", DEVICE)[1].decode()
        records = [json.loads(line) for line in out.splitlines()]
        mine = [r for r in records if any(float(p["Value"]) == float(rate) for p in r["value"]["Properties"])]
        return [r for r in records if mine and r["headers"]["trace"] == mine[0]["headers"]["trace"]]
    return h.wait_for("the measurements", found)


def look(checks, hub, records, kind, version):
    checks.check(f"the message is mapped as {kind}", sorted(r["value"]["Type"] for r in records), sorted([kind, "respiration"]))
    checks.check("its records name the version", {r["headers"]["map"] for r in records}, {version})
    trace = hub.trace(records[0]["headers"]["trace"])
    checks.check("and so does its trace", [s["text"] for s in trace["steps"] if s["step"] == 6][0].endswith(f", by mapping {version}"))
    fhir = json.loads([r for r in records if r["value"]["Type"] == kind][0]["headers"]["fhir"])
    checks.check("the Observation is of that mapping", hub.fhir("GET", f"/Observation/{fhir['observation']}")["code"]["text"], kind)


def main(checks, work):
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not os.path.exists(chromium):
        checks.fail("a browser is there", f"{chromium} is missing (Debian's package chromium)")
        return
    files = {name: work / f"{name}.json" for name in ("device", "fhir")}
    for name, path in files.items():
        shutil.copy(h.SOURCE / f"mappings/ward-{name}.json", path)
    hub = h.Program(work, connector__device_mapping=files["device"], connector__fhir_mapping=files["fhir"]).start()
    hub.make_token()
    for role, user in USERS.items():
        hub.add_user(user["user"], role, user["password"])
    h.seed_patients(hub, [("p1", "Workmadeup", "Wim", "1950-01-02", "male", DEVICE)])
    password = hub.add_device(DEVICE)
    first = send(hub, password, "71.50")
    letter = '{"time":"%s","hr":"fast"}' % h.iso(time.time())
    h.mosquitto_pub(hub, DEVICE, password, letter.encode(), topic=h.events_topic(DEVICE, "ward=4"))
    h.wait_for("the dead letter", hub.letters)

    task = {"url": f"https://localhost:{hub.ports['web']}", "users": USERS, "chromium": chromium, "out": str(work)}
    author = subprocess.Popen(["node", str(pathlib.Path(__file__).with_name("workbench.mjs")), json.dumps(task)],
                              cwd=h.SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    second = ""
    for line in author.stdout:
        word, _, version = line.rstrip("\n").partition(" ")
        if word == "activated":
            second = version
            look(checks, hub, send(hub, password, "81.50"), "pulse", version)
        elif word == "rolled-back":
            checks.check("the version rolled back to is the first", version, first[0]["headers"]["map"])
            look(checks, hub, send(hub, password, "91.50"), "heartrate", version)
        elif word == "dialog":
            hub.cli("mapping", "rollback", second)
        else:
            print(line, end="", flush=True)
            checks.passed += line.startswith("ok ")
            checks.failed += line.startswith("FAIL ")
            continue
        author.stdin.write("go on\n")
        author.stdin.flush()
    checks.check("the browser came to its end", author.wait(30), 0)

    audit = hub.care("SELECT person, subject FROM audit WHERE what = 'mapping.activate' ORDER BY rowid")
    first_version = first[0]["headers"]["map"]
    checks.check("who activated what is audited", [(a["person"].split(" ")[0], a["subject"]) for a in audit[:2]],
                 [("ann", f"{second}, it was {first_version}"), ("ann", f"{first_version}, it was {second}")])
    checks.check("also from the command line", "(command line)" in audit[2]["person"])
    checks.check("and who looked at messages", len(hub.care("SELECT 1 FROM audit WHERE person = 'ann' AND what = 'mapping.messages'")) > 0)
    checks.check("it ends in order", hub.stop(), 0)


h.run_script("workbench", main)
