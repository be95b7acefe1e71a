#!/usr/bin/env python3
"""model_watch.py -- a ward whose patients are not those the model was made for: drift is found, shown,
measured against outcomes, a recalibration is proposed, and applied by a person.

model_watch.mjs looks at the page in a real browser.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

BEDS = 44  # half of them with the outcome: 20 of each are needed to judge
HOURS = 5  # what is older than a vital sign's expiry is not scored
NAME = "sepsis-vitals"
USERS = {"admin": {"user": "ann", "password": "model watcher 1"}, "nurse": {"user": "mira", "password": "ward nurse 1"}}


def is_ill(device):
    return int(re.sub(r"\D", "", device)) % 2 == 0


def payload_of(began):
    """Nobody measures a saturation, hearts race: not what training saw. Every second bed is ill."""
    def make(device, number):
        bed = int(re.sub(r"\D", "", device))
        body = {"time": h.iso(began + number * 3600), "hr": 118 + (bed * 7 + number * 3) % 10, "rr": 15 + (bed + number) % 3,
                "sys": 126 + (bed + number) % 12, "dia": 74, "map": 92, "temp": 36.7}
        if is_ill(device):
            body.update(hr=136 + bed % 20, rr=27 + (bed + number) % 6, sys=92 + bed % 8, dia=56, map=66, temp=38.9)
        return json.dumps(body).encode()
    return make


def metrics(hub):
    found = {}
    for line in hub.call("GET", "/metrics")[2].decode().splitlines():
        if line.startswith("vigil_model_") and f'model="{NAME}"' in line:
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def browse(checks, hub, work, stage):
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not os.path.exists(chromium):
        checks.fail("a browser is there", f"{chromium} is missing (Debian's package chromium)")
        return
    task = {"url": f"https://localhost:{hub.ports['web']}", "users": USERS, "chromium": chromium, "out": str(work), "stage": stage,
            "model": NAME}
    done = subprocess.run(["node", str(pathlib.Path(__file__).with_name("model_watch.mjs")), json.dumps(task)], cwd=h.SOURCE,
                          capture_output=True, text=True, check=False, timeout=180)
    for line in done.stdout.splitlines():
        if line.startswith(("ok ", "FAIL ")):
            what, _, rest = line.partition(" ")
            checks.check(rest.strip(), what == "ok")
        else:
            print(line, flush=True)
    checks.check(f"the browser came to its end ({stage})", done.stdout.rstrip().endswith("end"))
    if done.returncode:
        print(done.stderr[-3000:], flush=True)


def main(checks, work):
    check = checks.check
    models = work / "models"
    shutil.copytree(h.SOURCE / "models" / NAME, models / NAME)
    (models / NAME / "live.json").write_text('{"mode":"show"}')
    hub = h.Program(work, score__model=models, lake__flush="1s", score__tick="1s", score__watch_hours=150, score__watch_patients=20).start()
    hub.make_token()
    for role, user in USERS.items():
        hub.add_user(user["user"], role, user["password"])
    admin = h.Browserless(hub, USERS["admin"]["user"], USERS["admin"]["password"])

    checks.heading("before anything was scored")
    code, _, said = hub.cli("model", "watch", check=False)
    check("there is nothing to look at, and the command says so", (code, "watch.empty" in said), (1, True))
    check("nothing is known of it", admin.get(f"/models/{NAME}").get("result"), None)
    card = json.loads((models / NAME / "card.json").read_text())
    version = card["version"]

    checks.heading("a ward that training did not see")
    hub.cli("seed", "--beds", str(BEDS))
    login = dict(line.split() for line in (hub.data / "ward-credentials.txt").read_text().splitlines() if line and line[0] != "#")
    began = time.time() - (HOURS - 1) * 3600
    first = next(iter(login))
    h.wait_for("the hub to know the ward", lambda: hub.may_connect(first, login[first]), 20)
    clients = [h.LoadClient(hub, device, password, payload_of(began), window=1, pause_s=0.7, count=HOURS)
               for device, password in login.items()]
    for client in clients:
        client.start()
    for client in clients:
        client.join(240)
    check("every reading was taken", sum(client.acked() for client in clients), BEDS * HOURS)
    rows = h.wait_for("scored hours in the lake", lambda: (lambda n: n if n >= 200 else None)(hub.lake_rows(
        "SELECT count(DISTINCT patientId || (epoch_us(windowEnd) // 3600000000)) AS n FROM {scored} WHERE probability IS NOT NULL")[0]["n"]), 120)
    checks.note(f"{rows} patient-hours")

    checks.heading("watched now")
    code, out, _ = hub.cli("model", "watch", deadline_s=120)
    print(out.decode(), flush=True)
    result = admin.get(f"/models/{NAME}")["result"]
    features = {item["name"]: item for item in result["features"]["items"]}
    check("enough to conclude", result["features"]["state"], "ok")
    check("the pulse drifted", features["pulse_last"]["level"], "drift")
    check("so did the saturation, by not being there", (features["spo2_last"]["level"], features["spo2_last"]["missing"]), ("drift", 1))
    check("sex did not", features["sex"]["level"], lambda level: level != "drift")
    check("alerts are counted", result["alerts"]["medium"], lambda n: n is not None and n >= 0)
    check("calibration is not known, and not guessed", result["calibration"]["state"], "none")
    found = metrics(hub)
    check("metrics have it", found.get(f'vigil_model_features{{level="drift",model="{NAME}"}}'), float(result["features"]["drift"]))
    check("and no calibration", str(found.get(f'vigil_model_expected_to_observed{{model="{NAME}"}}')), "nan")
    browse(checks, hub, work, "drift")

    checks.heading("outcomes, and a proposal")
    devices = {r["identifier"][0]["value"]: r["patient"]["reference"].split("/")[1] for r in hub.search("Device?_count=200") if "patient" in r}
    lines = ["patient,time,outcome"]
    for device in login:
        ill = is_ill(device)
        lines.append(f"{devices[device]},{h.iso(time.time() + (0 if ill else 12 * 3600))},{int(ill)}")
    listed = work / "outcomes.csv"
    listed.write_text("\n".join(lines + ["p1,yesterday,1"]) + "\n")
    code, _, said = hub.cli("model", "outcomes", NAME, str(listed), check=False)
    check("a line that is wrong is named", (code, f"line {BEDS + 2}" in said), (1, True))
    listed.write_text("\n".join(lines) + "\n")
    check("the file is taken", hub.cli("model", "outcomes", NAME, str(listed))[1].decode().startswith(f"{BEDS} patients, {BEDS // 2} with"))
    hub.cli("model", "watch", deadline_s=120)
    calibration = admin.get(f"/models/{NAME}")["result"]["calibration"]
    check("calibration is judged", (calibration["state"], calibration["patients"], calibration["patientsWithOutcome"]), ("ok", BEDS, BEDS // 2))
    check("far too low", calibration["expectedToObservedHigh"], lambda ratio: ratio < 1)
    proposal = json.loads(hub.cli("model", "recalibrate", NAME)[1])
    check("a recalibration is proposed", (proposal["version"], proposal["newVersion"], proposal["file"]), (version, f"{version}-r1", "card.json"))
    check("and not made", json.loads((models / NAME / "card.json").read_text()), card)
    check("the metric says so", metrics(hub).get(f'vigil_model_recalibration_proposed{{model="{NAME}"}}'), 1.0)
    browse(checks, hub, work, "proposal")

    checks.heading("after a restart")
    before = metrics(hub)
    hub.stop()
    hub.start()
    check("the last result is there", {k: str(v) for k, v in metrics(hub).items()}, {k: str(v) for k, v in before.items()})

    checks.heading("applied by a person")
    code, out, _ = hub.cli("model", "recalibrate", NAME, "--apply")
    check("the command says the new version", f"{version}-r1" in out.decode())
    now = json.loads((models / NAME / "card.json").read_text())
    check("the card has it, and who did it", (now["version"], now["recalibrated"][0]["version"], "command line" in now["recalibrated"][0]["by"]),
          (f"{version}-r1", version, True))
    check("what it was is beside it", json.loads((models / NAME / f"card-{version}.json").read_text()), card)
    admin = h.Browserless(hub, USERS["admin"]["user"], USERS["admin"]["password"])
    h.wait_for("the new version to be in force", lambda: admin.get("/models")["models"][0].get("version") == f"{version}-r1")
    device = first
    done = h.mosquitto_pub(hub, device, login[device], payload_of(time.time())(device, 0))
    check("one more reading", done.returncode, 0)
    said = h.wait_for("a RiskAssessment of the new version", lambda: [
        text for text in (json.dumps(r) for r in hub.search(f"RiskAssessment?subject=Patient/{devices[device]}&_count=50"))
        if f"{version}-r1" in text], 60)
    check("the RiskAssessment names it", len(said), lambda n: n >= 1)
    code, _, said = hub.cli("model", "recalibrate", NAME, "--apply", check=False)
    check("once", (code, "nothing is proposed" in said), (1, True))
    browse(checks, hub, work, "applied")
    hub.stop()


if __name__ == "__main__":
    h.run_script("model_watch", main)
