#!/usr/bin/env python3
"""A recorded patient, replayed as a backlog through the whole running platform, gets the scores that `vigil evaluate`
gives; models are replaced while it runs.

The record is the folder's own made-up patient. Each prefix of it is one patient here: a backlog's scores speak of now, so
only a record whose last reading is now can be compared with the same hour of the evaluation.

    python3 same_scores.py VIGIL
"""
import csv
import datetime
import json
import pathlib
import shutil
import subprocess

import harness as h

COLUMNS = {"HR": "hr", "O2Sat": "spo2", "Temp": "temp", "SBP": "sys", "DBP": "dia", "Resp": "rr"}
HOURS = (3, 7, 11)


def recording():
    path = pathlib.Path(__file__).with_name("recorded-vitals.csv")
    with path.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def write_psv(path, rows):
    names = list(COLUMNS) + ["Age", "Gender", "ICULOS", "SepsisLabel"]
    with path.open("w") as file:
        file.write("|".join(names) + "\n")
        for number, row in enumerate(rows, 1):
            fields = [row.get(COLUMNS[name]) or "NaN" for name in COLUMNS]
            file.write("|".join(fields + ["72", "1", str(number), "0"]) + "\n")


def main(checks, work):
    check = checks.check
    rows = recording()
    models = work / "models"
    models.mkdir()
    for name in ("sepsis-vitals", "mortality-icu"):
        shutil.copytree(h.SOURCE / "models" / name, models / name)

    checks.heading("what `vigil evaluate` says of the recorded patient")
    folder = work / "recorded"
    folder.mkdir()
    write_psv(folder / "all.psv", rows)
    expected = {}
    hub = h.Program(work, score__model=models, score__history="24h")
    for name in ("sepsis-vitals", "mortality-icu"):
        said = work / f"{name}.csv"
        arguments = [h.program(), "evaluate", "--model", str(models / name), "--format", "physionet2019", "--predictions",
                     str(said), "--bootstrap", "0", str(folder)]
        done = subprocess.run(arguments, capture_output=True, check=False, text=True)
        check(f"{name} is evaluated", done.returncode, 0)
        with said.open() as file:
            expected[name] = {int(row["hour"]): float(row["probability"]) for row in csv.DictReader(file)}
    check("a prediction for each hour", len(expected["sepsis-vitals"]), len(rows))

    checks.heading("the same record through the platform")
    year = datetime.date.today().year - 72
    patients = [(f"p-{hours}", "Recordedmadeup", "Rea", f"{year}-01-01", "male", f"bed-{hours}") for hours in HOURS]
    hub.start()
    first_user, first_password = (hub.data / "first-login.txt").read_text().split()
    admin = h.Browserless(hub, first_user, first_password)
    hub.make_token()
    h.seed_patients(hub, patients)
    for hours in HOURS:
        hub.add_device(f"bed-{hours}")
        path = work / f"first-{hours}.psv"
        write_psv(path, rows[:hours])
        hub.cli("replay", str(path), "--device", f"bed-{hours}", "--password-file", str(work / f"password-bed-{hours}"),
                "--port", str(hub.ports["mqtts"]), "--ca", str(hub.ca))

    def final(patient, values):
        page = admin.get(f"/patients/{patient}")
        return page if page["model"] and len([v for v in page["vitals"] if v["state"] == "ok"]) >= values else None

    for hours in HOURS:
        want = expected["sepsis-vitals"][hours]

        def same():
            page = final(f"p-{hours}", 6)
            return page if page and abs(page["model"]["probability"] - want) < 1e-5 else None

        try:
            found = h.wait_for(f"hour {hours}", same, 20)["model"]["probability"]
        except h.Timeout:
            page = admin.get(f"/patients/p-{hours}")
            found = (page["model"] or {}).get("probability")
        check(f"after {hours} h the live probability is that of the evaluation", round(found, 5), round(want, 5))

    checks.heading("several models: one is shown, one is silent and in the record")
    page = admin.get(f"/patients/p-{HOURS[-1]}")
    check("the board has the one that is shown", page["model"]["name"], "sepsis-vitals")
    listed = {m["name"]: m for m in admin.get("/models")["models"]}
    check("two models run", sorted((name, m["mode"]) for name, m in listed.items()),
          [("mortality-icu", "silent"), ("sepsis-vitals", "show")])
    check("each with its card", all(m["card"]["name"] == name for name, m in listed.items()))

    checks.heading("`vigil model reload`")
    (models / "mortality-icu" / "live.json").write_text('{"mode":"show","units":["Ward 9"]}')
    code, out, _ = hub.cli("model", "reload")
    check("says what runs", (code, b"mortality-icu" in out), (0, True))
    (models / "mortality-icu" / "live.json").write_text('{"mode":"shown"}')
    code, out, said = hub.cli("model", "reload", check=False)
    check("a bad one is refused, and why", (code, "live.json: mode" in said), (1, True))
    status, _, body = hub.call("GET", "/api/health")
    check("health says so too", (status, [t["code"] for t in json.loads(body)["troubles"]]), (503, ["score.model"]))
    check("what was in force stays", {m["name"]: m["mode"] for m in admin.get("/models")["models"]}["mortality-icu"], "show")
    (models / "mortality-icu" / "live.json").unlink()
    check("put right", hub.cli("model", "reload")[0], 0)
    check("health is well", admin.get("/health")["ok"])
    hub.stop()


if __name__ == "__main__":
    h.run_script("same_scores", main)
