#!/usr/bin/env python3
"""whole_picture.py -- every one of the eighteen steps, once, through the real doors.

A hub with two webhooks, a gateway in front of one device, mosquitto_pub and an HTTPS post as devices,
a real browser. Two patients: one recorded (PhysioNet 2019, where the shared data is there; else a made-up
recording beside this file), who stays well, and one who deteriorates, through the gateway. The artefact of
each step is looked at from outside: archive, FHIR over REST, Delta log and Parquet by a second reader,
SQLite by SQLite, the card at its receiver, pixels in Chromium.
"""
import ctypes
import csv
import datetime
import json
import lzma
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

RECORDED, SICK = "p-recorded", "p-sick"
NAME_OF_SICK = "Sickmadeup"
CODES = {"hr": "8867-4", "rr": "9279-1", "spo2": "59408-5", "o2": "3151-8", "temp": "8310-5", "sys": "85354-9"}
UNITS = {"hr": "/min", "rr": "/min", "spo2": "%", "o2": "L/min", "temp": "Cel"}
STEPS = range(1, 19)


# ---- what is sent ----

def physionet_patient():
    """The last 12 h of the first recorded adult who has all the vital signs in them; None: no such file."""
    path = h.SOURCE.parent / "shared/data/physionet2019_train.psv.xz"
    if not path.exists():
        return None
    names = {"HR": "hr", "Resp": "rr", "O2Sat": "spo2", "SBP": "sys", "DBP": "dia", "Temp": "temp"}

    def reading(row):
        return {ours: float(row[theirs]) for theirs, ours in names.items() if row[theirs] not in ("", "NaN")}

    def is_good(rows):
        readings = [reading(row) for row in rows[-12:]]
        return len(rows) >= 12 and rows[0]["SepsisLabel"] == "0" and float(rows[0]["Age"] or 0) >= 18 and \
            all(sum(name in r for r in readings) >= 3 for name in names.values()) and \
            all(90 <= r.get("spo2", 97) <= 100 and r.get("rr", 15) <= 22 for r in readings)

    with lzma.open(path, "rt") as text:
        rows = []
        for row in csv.DictReader(text, delimiter="|"):
            if rows and rows[0]["Patient"] != row["Patient"]:
                if is_good(rows):
                    return rows[0]["Patient"], [reading(r) for r in rows[-12:]]
                rows = []
            rows.append(row)
    return None


def made_up_patient():
    path = pathlib.Path(__file__).with_name("recorded-vitals.csv")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return "made up", [{key: (value if key == "avpu" else float(value)) for key, value in row.items() if key != "hour" and value}
                       for row in csv.DictReader(lines)]


def payload(at, reading):
    numbers = {key: (int(value) if isinstance(value, float) and value == int(value) else value) for key, value in reading.items()}
    return json.dumps({"time": h.iso(at), **numbers}, separators=(",", ":")).encode()


WELL = {"hr": 74, "rr": 16, "spo2": 97, "o2": 0, "sys": 124, "dia": 78, "temp": 36.8, "avpu": "A"}
WORSE = {"hr": 96, "rr": 19, "spo2": 96, "o2": 0, "sys": 112, "dia": 70, "temp": 37.6, "avpu": "A"}
ILL = {"hr": 118, "rr": 24, "spo2": 92, "o2": 2, "sys": 98, "dia": 60, "temp": 38.9, "avpu": "A"}
VERY_ILL = {"hr": 128, "rr": 27, "spo2": 90, "o2": 4, "sys": 88, "dia": 52, "temp": 39.4, "avpu": "V"}


def news2(r):
    """The Royal College of Physicians' chart, written down a second time."""
    def of(value, *bands):
        return next(points for limit, points in bands if value <= limit)

    top = 1e9
    return sum((
        of(r["rr"], (8, 3), (11, 1), (20, 0), (24, 2), (top, 3)),
        of(r["spo2"], (91, 3), (93, 2), (95, 1), (top, 0)),
        2 if r["o2"] > 0 else 0,
        of(r["sys"], (90, 3), (100, 2), (110, 1), (219, 0), (top, 3)),
        of(r["hr"], (40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (top, 3)),
        0 if r["avpu"] == "A" else 3,
        of(r["temp"], (35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), (top, 2))))


# ---- a second reader for the lake ----

def delta_files(table):
    """The live Parquet files of a Delta table, from its log alone: what was added and not removed."""
    live, form = {}, None
    for log in sorted((table / "_delta_log").glob("*.json")):
        for line in log.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = action["add"]
            elif "remove" in action:
                live.pop(action["remove"]["path"], None)
            elif "metaData" in action:
                form = action["metaData"]
    return [table / h.urllib.parse.unquote(path) for path in live], form


def duckdb_query(sql):
    """Rows (as text) by DuckDB's C library, called from here; None where it is not installed."""
    path = h.SOURCE / "node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so"
    if not path.exists():
        return None
    lib = ctypes.CDLL(str(path))
    database, connection, result = ctypes.c_void_p(), ctypes.c_void_p(), (ctypes.c_uint64 * 16)()
    lib.duckdb_value_varchar.restype = ctypes.c_void_p
    lib.duckdb_value_varchar.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]
    for name in ("duckdb_column_count", "duckdb_row_count"):
        getattr(lib, name).restype = ctypes.c_uint64
    lib.duckdb_result_error.restype = ctypes.c_char_p
    lib.duckdb_free.argtypes = [ctypes.c_void_p]
    assert lib.duckdb_open(None, ctypes.byref(database)) == 0
    assert lib.duckdb_connect(database, ctypes.byref(connection)) == 0
    try:
        if lib.duckdb_query(connection, sql.encode(), ctypes.byref(result)) != 0:
            raise RuntimeError(f"DuckDB: {lib.duckdb_result_error(ctypes.byref(result)).decode()}")
        rows = []
        for y in range(lib.duckdb_row_count(ctypes.byref(result))):
            row = []
            for x in range(lib.duckdb_column_count(ctypes.byref(result))):
                text = lib.duckdb_value_varchar(ctypes.byref(result), x, y)
                row.append(ctypes.string_at(text).decode() if text else None)
                lib.duckdb_free(text)
            rows.append(row)
        lib.duckdb_destroy_result(ctypes.byref(result))
        return rows
    finally:
        lib.duckdb_disconnect(ctypes.byref(connection))
        lib.duckdb_close(ctypes.byref(database))


# ---- the browser ----

class Browser:
    """board.mjs: says `ready` when the board is open, then goes on by itself."""

    def __init__(self, checks, hub, work, users):
        self.checks = checks
        self.process = None
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        if not os.path.exists(chromium):
            checks.fail("a browser is there", f"{chromium} is missing (Debian's package chromium)")
            return
        task = {"url": f"https://localhost:{hub.ports['web']}", "patient": SICK, "name": NAME_OF_SICK,
                "users": users, "chromium": chromium, "out": str(work)}
        self.process = subprocess.Popen(["node", str(pathlib.Path(__file__).with_name("board.mjs")), json.dumps(task)],
                                        cwd=h.SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read_until(self, word):
        """Takes over its lines; True when it said `word`, False when it ended before."""
        if not self.process:
            return False
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line == word:
                return True
            print(line, flush=True)
            self.checks.passed += line.startswith("ok ")
            self.checks.failed += line.startswith("FAIL ")
        return False

    def say(self, text):
        if self.process and self.process.poll() is None:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()

    def finish(self):
        if self.process:
            self.checks.check("the browser came to its end", self.process.wait(30), 0)


# ---- the story ----

def main(checks, work):
    check = checks.check
    cards = h.CardReceiver()
    hub = h.Program(work, "hub", lake__flush="1s", care__report_every="2s", score__tick="5s",
                    notify__teams_url=cards.url("/teams"), notify__webhook_url=cards.url("/webhook"))

    checks.heading("the platform starts by itself, from nothing")
    hub.start(60)
    check("tls/ca.crt, server.crt and first-login.txt were made",
          all((hub.data / name).exists() for name in ("tls/ca.crt", "tls/server.crt", "tls/server.key", "first-login.txt")))
    first_user, first_password = (hub.data / "first-login.txt").read_text().split()
    admin = h.Browserless(hub, first_user, first_password)
    check("the first login works", admin.get("/me")["user"]["role"], "admin")
    check("health is well", admin.get("/health")["ok"])
    users = {"nurse": {"user": "nora", "password": "a-nurse-at-night-7"}, "admin": {"user": first_user, "password": first_password}}
    hub.add_user("nora", "nurse", users["nurse"]["password"])
    hub.make_token()
    h.seed_patients(hub, [(RECORDED, "Recordedmadeup", "Rea", "1951-06-01", "female", "bed-1"),
                          (SICK, NAME_OF_SICK, "Sam", "1948-02-11", "male", "bed-2")])
    bed1 = hub.add_device("bed-1")
    gateway = hub.add_device("gw-1", "--gateway")
    hub.add_device("bed-2", "--through", "gw-1")

    edge = h.Program(work, "edge", kind="edge", edge__upstream_host="127.0.0.1", edge__upstream_port=hub.ports["mqtts"],
                     edge__gateway="gw-1", edge__password=f"file:{work / 'password-gw-1'}", edge__ca=hub.ca)
    bed2 = edge.add_device("bed-2")
    edge.start()

    checks.heading("step 1: devices send by MQTT 3.1.1, MQTT 5 and HTTPS")
    source, readings = physionet_patient() or made_up_patient()
    checks.note(f"recorded patient: {source}, {len(readings)} hourly readings")
    now = time.time()
    recorded = [(now - 60 - 3600 * (len(readings) - 1 - i), reading) for i, reading in enumerate(readings)]
    recorded_payloads = [payload(at, reading) for at, reading in recorded]
    done = h.mosquitto_pub(hub, "bed-1", bed1, recorded_payloads[:-2])
    check("mosquitto_pub -V 311 got its PUBACKs", (done.returncode, done.stderr), (0, b""))
    done = h.mosquitto_pub(hub, "bed-1", bed1, recorded_payloads[-2], version="mqttv5")
    check("mosquitto_pub -V mqttv5 got its PUBACK", (done.returncode, done.stderr), (0, b""))
    status, _, _ = hub.call("POST", "/devices/bed-1/messages/events?api-version=2020-03-13", recorded_payloads[-1],
                            {"Authorization": "Basic " + h.base64.b64encode(f"bed-1:{bed1}".encode()).decode(),
                             "Content-Type": "application/json"}, port=hub.ports["https"])
    check("an HTTPS post is answered with 204", status, 204)

    checks.heading("step 2: a gateway in front of bed-2")
    sick_payloads = []

    def send_sick(reading):
        sick_payloads.append(payload(time.time(), reading))
        sent = h.mosquitto_pub(edge, "bed-2", bed2, sick_payloads[-1], version="mqttv5",
                               topic=h.events_topic("bed-2", f"%24.mid=m{len(sick_payloads)}&ward=four"))
        if sent.returncode:
            checks.fail("the gateway takes the message", sent.stderr.decode())

    def score_of(patient):
        rows = hub.care("SELECT * FROM patient WHERE patient_id = ?", patient)
        return rows[0] if rows else None

    for reading in (WELL, WORSE):
        send_sick(reading)
        h.wait_for(f"NEWS2 {news2(reading)} of {SICK} in the repository",
                   lambda wish=news2(reading): (score_of(SICK) or {}).get("news2_low") == wish)
    check("no flag while the patient is well enough", hub.care("SELECT count(*) AS n FROM flag")[0]["n"], 0)

    browser = Browser(checks, hub, work, users)
    check("the board is open in the browser before anything happens", browser.read_until("ready"))

    send_sick(ILL)
    h.wait_for("the first high score", lambda: (score_of(SICK) or {}).get("news2_low") == news2(ILL))
    opened_at = time.monotonic()
    send_sick(VERY_ILL)
    flag = h.wait_for("the flag", lambda: hub.care("SELECT * FROM flag WHERE patient_id = ?", SICK))[0]
    checks.note(f"flag in the repository {1000 * (time.monotonic() - opened_at):.0f} ms after the device began to send")
    trace = h.wait_for("the trace of the flag's message", lambda: hub.trace("--flag", flag["flag_id"]))
    browser.say(trace["id"])
    h.wait_for("the very ill score", lambda: score_of(SICK)["news2_low"] == news2(VERY_ILL))
    check("the gateway is named in the trace of its message", [s for s in trace["steps"] if s["step"] == 2][0].get("text"),
          "by gateway gw-1")

    checks.heading("step 3: the archive holds what was published, byte for byte, and nobody can read it there")
    published = [("bed-1", p) for p in recorded_payloads] + [("bed-2", p) for p in sick_payloads]
    archived = h.wait_for("all messages in the archive",
                          lambda: (lambda found: found if len(found) >= len(published) else None)(h.archive_payloads(hub)))
    check("every published payload is in the archive, in its device's order, and nothing else",
          {d: [p for _, k, p in archived if k == d] for d in ("bed-1", "bed-2")},
          {d: [p for k, p in published if k == d] for d in ("bed-1", "bed-2")})
    raw = hub.cli("archive", "cat", "--raw")[1]
    check("archive cat --raw gives the published bytes", all(p in raw for _, p in published))
    files = [path for path in (hub.data / "archive").rglob("*") if path.is_file()]
    check("the archive's files hold no readable payload", bool(files) and not any(b'"spo2"' in path.read_bytes() for path in files))
    check("archive verify finds it whole", hub.cli("archive", "verify", check=False)[0], 0)

    stranger = hub.add_device("bed-stranger")  # for the page of dead letters: FHIR does not know it
    check("a device that nobody has linked to a patient is served too", h.mosquitto_pub(hub, "bed-stranger", stranger, payload(now, WELL)).returncode, 0)

    checks.heading("step 4: durable for the connector")
    newest = h.wait_for("bed-2's newest message", lambda: hub.trace("--device", "bed-2"))
    check("device.raw holds the message under its trace id", [p for i, k, p in archived if i == newest["id"]], sick_payloads[-1:])

    checks.heading("step 5: patient found, Observations written")
    for name, code in CODES.items():
        expected = [(h.iso(at), r[name]) for at, r in recorded if name in r]
        if not expected:
            continue
        found = h.wait_for(f"{len(expected)} Observations of {code}", lambda: (
            lambda o: o if len(o) >= len(expected) else None)(hub.search(f"Observation?patient={RECORDED}&code=http%3A%2F%2Floinc.org%7C{code}&_sort=date&_count=50")))

        def value_of(o):
            if name != "sys":
                return o["valueQuantity"]["value"]
            return next(c["valueQuantity"]["value"] for c in o["component"] if any(x["code"] == "8480-6" for x in c["code"]["coding"]))

        def time_of(o):
            text = o.get("effectiveDateTime") or o["effectivePeriod"]["start"]
            return h.iso(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
        check(f"{name} of the recorded patient: each reading one Observation with its time and value",
              sorted((time_of(o), float(value_of(o))) for o in found), sorted((t, float(v)) for t, v in expected))
        if name in UNITS:
            check(f"{name} in UCUM", {o["valueQuantity"].get("code") for o in found}, {UNITS[name]})
    one = hub.search(f"Observation?patient={SICK}&code=http%3A%2F%2Floinc.org%7C8867-4&_sort=-date")[0]
    check("an Observation names patient, device and encounter",
          (one["subject"]["reference"], one["device"]["reference"], one["encounter"]["reference"], one["status"]),
          (f"Patient/{SICK}", "Device/dev-bed-2", f"Encounter/enc-{SICK}", "final"))

    checks.heading("steps 6 to 8: normalized, patient merged, enriched")
    by_step = {}
    for line in newest["steps"]:
        by_step.setdefault(line["step"], []).append(line)
    for step in (6, 7, 8):
        check(f"the journal holds step {step} of bed-2's newest message, after receipt",
              [line.get("time", "") >= newest["received"] for line in by_step[step]], lambda f: f and all(f))
    records = {t: [r for r in hub.records(t, newest["id"]) if r["value"].get("Type", r["value"].get("type")) == "heartrate"]
               for t in ("iomt.normalized", "iomt.enriched")}
    check("the normalized record has MedTech's form",
          [(list(r["value"]), r["key"], [float(p["Value"]) for p in r["value"]["Properties"]]) for r in records["iomt.normalized"]],
          [(["Type", "OccurrenceTimeUtc", "IngestionTimeUtc", "DeviceId", "PatientId", "EncounterId", "CorrelationId", "Properties"],
            "bed-2", [float(VERY_ILL["hr"])])])
    check("the enriched record has the patient merged in, and is keyed by the patient",
          [(r["key"], r["value"]["patientId"], r["value"]["patient"]["gender"], r["value"]["location"], r["value"]["deviceId"],
            r["value"]["values"][0]["code"], float(r["value"]["values"][0]["value"])) for r in records["iomt.enriched"]],
          [(SICK, SICK, "male", "Ward 4, Bed 2", "bed-2", "8867-4", float(VERY_ILL["hr"]))])
    row = h.wait_for("the newest message in the lake", lambda: hub.lake_rows(
        f"SELECT patientId, deviceId, encounterId, location, unit, ageYears, gender, value, valueUnit, code, type FROM {{enriched}} "
        f"WHERE list_contains(string_split(trace, ' '), '{newest['id']}') AND code = '8867-4'"))[0]
    today = datetime.date.today()
    check("the enriched measurement carries the patient, the bed and the ward",
          row, {"patientId": SICK, "deviceId": "bed-2", "encounterId": f"enc-{SICK}", "location": "Ward 4, Bed 2", "unit": "Ward 4",
                "ageYears": today.year - 1948 - ((today.month, today.day) < (2, 11)), "gender": "male",
                "value": VERY_ILL["hr"], "valueUnit": "/min", "code": "8867-4", "type": row["type"]})

    checks.heading("step 9: Delta tables in the lake, read by another reader")
    values = sum(len([k for k in json.loads(p) if k != "time"]) for _, p in published)
    h.wait_for(f"{values} values in the lake", lambda: hub.lake_rows("SELECT count(*) AS n FROM {enriched}")[0]["n"] >= values)
    check("each value is one row of the table enriched", hub.lake_rows("SELECT count(*) AS n FROM {enriched}")[0]["n"], values)
    files, form = delta_files(hub.data / "lake/enriched")
    check("the Delta log names the table's columns",
          {f["name"] for f in json.loads(form["schemaString"])["fields"]} >= {"patientId", "effectiveTime", "code", "value", "valueUnit", "trace"})
    check("every file of the Delta log is there", all(path.exists() for path in files))
    names = ", ".join(f"'{path}'" for path in files)
    second = duckdb_query(f"SELECT count(*)::VARCHAR, count(DISTINCT trace)::VARCHAR FROM read_parquet([{names}], hive_partitioning = true)")
    if second is None:
        checks.fail("DuckDB reads the files that the Delta log names", "libduckdb.so is not installed (npm ci)")
    else:
        check("DuckDB, given only the Delta log's files, sees the same rows and messages", second, [[str(values), str(len(published))]])
    said = hub.cli("lake", "maintain")[1].decode()
    check("upkeep beside the running platform says what it did", said.split(" files merged")[0].isdigit())
    check("and every row is still there once", hub.lake_rows("SELECT count(*) AS n FROM {enriched}")[0]["n"] >= values)

    checks.heading("steps 10 to 12: windows and scores")
    h.wait_for("the very ill score in the lake", lambda: hub.lake_rows(
        f"SELECT 1 AS n FROM {{scored}} WHERE patientId = '{SICK}' AND news2Low = {news2(VERY_ILL)}"))
    check("NEWS2 of the last window is what the chart says, and complete", hub.lake_rows(
        f"SELECT news2Low, news2High, news2Complete, news2Band, trigger FROM {{scored}} WHERE patientId = '{SICK}' "
        "AND trigger = 'reading' ORDER BY windowEnd DESC LIMIT 1"),
          [{"news2Low": news2(VERY_ILL), "news2High": news2(VERY_ILL), "news2Complete": True, "news2Band": "high", "trigger": "reading"}])
    if hub.settings["score.model"]:
        risk = hub.lake_rows(f"SELECT probability FROM {{scored}} WHERE patientId = '{SICK}' ORDER BY windowEnd DESC LIMIT 1")
        check("the model gave a probability", risk[0]["probability"], lambda p: p is not None and 0 <= p <= 1)
    else:
        checks.note("no model in models/sepsis-vitals: NEWS2 alone was scored")
    check("step 11: the scored copy is in the lake, the journal holds step 12",
          [bool([line for line in by_step[step] if line.get("time")]) or "not yet" for step in (11, 12)],
          lambda f: f[1] is True)

    checks.heading("step 13: RiskAssessment and Flag in FHIR")
    flags = h.wait_for("the Flag", lambda: hub.search(f"Flag?patient={SICK}"))
    check("one active Flag, of this patient, with the repository's id",
          [(f["id"], f["status"], f["subject"]["reference"]) for f in flags], [(flag["flag_id"], "active", f"Patient/{SICK}")])
    check("the recorded patient has none", hub.search(f"Flag?patient={RECORDED}"), [])
    risks = hub.search(f"RiskAssessment?patient={SICK}&_sort=-date")
    check("each window has a RiskAssessment of its own", len({r["id"] for r in risks}), lambda n: n == len(risks) >= 4)
    text = f"NEWS2 {news2(VERY_ILL)} to {news2(VERY_ILL)} (high)"
    last = [r for r in risks if any(p.get("qualitativeRisk", {}).get("text") == text for p in r["prediction"])]
    check("the newest says NEWS2 and its band", bool(last))
    if last:
        basis = {b["reference"].split("/")[1] for b in last[0].get("basis", [])}
        check("its basis names the Observation that it rests on", one["id"] in basis)

    checks.heading("step 14: the SQL repository")
    row = score_of(SICK)
    check("the patient's row, read by SQLite",
          {k: row[k] for k in ("name", "identifier", "location", "unit", "news2_low", "news2_band", "gender")},
          {"name": f"Sam {NAME_OF_SICK}", "identifier": f"MRN-{SICK}", "location": "Ward 4, Bed 2", "unit": "Ward 4",
           "news2_low": news2(VERY_ILL), "news2_band": "high", "gender": "male"})
    item = hub.care("SELECT * FROM item WHERE flag_id = ?", flag["flag_id"])[0]
    check("a worklist item hangs on the flag", item["patient_id"], SICK)

    checks.heading("step 16: the scheduled report")
    report = h.wait_for("a report that knows the flag", lambda: (lambda r: r if r["openFlags"] else None)(admin.get("/report")))
    as_of, next_run = (datetime.datetime.fromisoformat(report[k].replace("Z", "+00:00")) for k in ("asOf", "nextRun"))
    check("it says as of when, and when the next one comes", ((next_run - as_of).total_seconds(), report["everySeconds"]), (2.0, 2))
    check("it counts both patients and the flag", (report["patients"], report["openFlags"]), (2, 1))
    h.wait_for("the next report, on its schedule", lambda: admin.get("/report")["asOf"] > report["asOf"])
    check("a later report came by itself", True)

    checks.heading("steps 15 to 17: board, worklist and architecture in Chromium")
    browser.read_until("end")
    browser.finish()
    item = hub.care("SELECT * FROM item WHERE flag_id = ?", flag["flag_id"])[0]
    check("step 17: the acknowledgement is kept with who, also when monitoring has ended", (item["state"], item["acknowledged_by"]), ("resolved", "nora"))
    acts = hub.care("SELECT * FROM item_act WHERE item_id = ? AND what LIKE 'acknowledge%'", item["id"])
    check("step 17: and with when", [(a["user_name"], abs(a["time_us"] / 1e6 - time.time()) < 300) for a in acts], [("nora", True)])
    check("the audit record names who acted", hub.care("SELECT count(*) AS n FROM audit WHERE person = 'nora' AND what LIKE '%acknowledge%'")[0]["n"],
          lambda n: n >= 1)

    checks.heading("step 18: cards at the care team's channel")
    for path in ("/teams", "/webhook"):
        h.wait_for(f"a card at {path}", lambda p=path: cards.taken(p))
    plain = [body for _, _, body in cards.taken("/webhook")]
    check("the webhook's card names flag, patient, severity and message",
          [(c["flagId"], c["patientId"], c["severity"], newest["id"] in c["trace"].split()) for c in plain if c["change"] == "opened"],
          [(flag["flag_id"], SICK, flag["severity"], True)])
    check("its link opens the patient's page of the board", plain[0]["link"], f"https://localhost:{hub.ports['web']}/patient/{SICK}")
    teams = cards.taken("/teams")[0][2]
    check("the Teams card is an Adaptive Card in a message",
          (teams["type"], teams["attachments"][0]["contentType"], teams["attachments"][0]["content"]["type"]),
          ("message", "application/vnd.microsoft.card.adaptive", "AdaptiveCard"))
    parsed = subprocess.run(["node", str(pathlib.Path(__file__).with_name("card.mjs"))], capture_output=True, text=True, timeout=60,
                            input=json.dumps(teams["attachments"][0]["content"]))
    check("the published Adaptive Cards parser takes it", (parsed.returncode, parsed.stdout + parsed.stderr), (0, ""))
    check("no card holds the patient's name", any(NAME_OF_SICK in json.dumps(body) for _, _, body in cards.taken()), False)
    keys = [key for _, key, _ in cards.taken()]
    check("each card has its own Idempotency-Key", (len(set(keys)), all(keys)), (len(keys), True))

    checks.heading("vigil trace: one message's journey through all eighteen steps")

    def whole_trace():
        found = hub.trace("--flag", flag["flag_id"])
        return found if {s["step"] for s in found["steps"] if s.get("time")} == set(STEPS) else None
    try:
        found = h.wait_for("every step with a time", whole_trace)
    except h.Timeout:
        found = hub.trace("--flag", flag["flag_id"])
    check("the flag's message went through every step, each with a time",
          sorted({s["step"] for s in found["steps"] if s.get("time")}), list(STEPS))
    check("it is bed-2's newest message", (found["device"], found["id"]), ("bed-2", newest["id"]))
    print(hub.cli("trace", "--flag", flag["flag_id"])[1].decode())
    steps = admin.get("/steps")["steps"]
    check("the architecture's steps count all eighteen", [s["step"] for s in steps if s["count"] == 0], [])
    check("the connector's error is the stranger's, nobody else has one", [(s["step"], "connector.identity" in s["error"]) for s in steps if s["error"]],
          lambda found: found in ([], [(5, True)]))
    status, _, body = hub.call("GET", "/metrics", headers={"Authorization": f"Bearer {hub.token}"})
    check("metrics answer a service token", (status, b"vigil_" in body), (200, True))

    checks.heading("the end, in order")
    check("the gateway ends cleanly on SIGTERM", edge.stop(), 0)
    check("the hub ends cleanly on SIGTERM", hub.stop(), 0)
    check("run.json is gone", (hub.data / "run.json").exists(), False)
    logs = hub.log() + edge.log()
    check("no password, token or patient's name in a log",
          [s for s in (bed1, bed2, gateway, hub.token, first_password, NAME_OF_SICK, "Recordedmadeup", users["nurse"]["password"])
           if s in logs.replace(f"login   {first_user} {first_password}", "")], [])
    check("no error in a log", [line for line in logs.splitlines() if "level=error" in line], [])


if __name__ == "__main__":
    h.run_script("whole_picture", main)
