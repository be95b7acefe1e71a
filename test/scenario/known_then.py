#!/usr/bin/env python3
"""known_then.py -- a reading that comes late: the score as known then and as known now, by the queries that
docs/records.md gives, as they are written there, on a lake that the platform made. And what a RiskAssessment rests on:
each Observation that it names is there, and has what the score counted.

    python3 known_then.py VIGIL
"""
import datetime
import json
import re
import time

import harness as h

PATIENT, DEVICE = "p-late", "bed-late"
MINUTE = 60


def documented_queries():
    """The SQL statements below "As known then, as known now", comments and semicolons as they stand."""
    text = (h.SOURCE / "docs/records.md").read_text()
    block = re.search(r"### As known then, as known now.*?```sql\n(.*?)```", text, re.DOTALL).group(1)
    found = [part + ";" for part in block.strip().split(";") if part.strip()]
    return [part.strip() + "\n" for part in found]


def for_this_patient(sql, moment=None):
    sql = sql.replace("'p1'", f"'{PATIENT}'")
    if moment is not None:
        text = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        sql, count = re.subn(r"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d'", f"'{text}'", sql)
        if count != 1:
            raise RuntimeError("the documented query has no moment")
    return sql


def main(checks, work):
    check = checks.check
    queries = documented_queries()
    check("two queries are documented", len(queries), 2)
    hub = h.Program(work, lake__flush="1s", score__tick="1s").start()
    hub.make_token()
    h.seed_patients(hub, [(PATIENT, "Latemadeup", "Lea", "1950-01-02", "female", DEVICE)])
    password = hub.add_device(DEVICE)
    now = int(time.time())

    def send(minutes_ago, **values):
        payload = json.dumps({"time": h.iso(now - minutes_ago * MINUTE), **values}, separators=(",", ":")).encode()
        done = h.mosquitto_pub(hub, DEVICE, password, payload)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace"))

    def scored(count, **named):
        where = " AND ".join([f"patientId = '{PATIENT}'", *(f"{key} = '{value}'" for key, value in named.items())])
        return h.wait_for(f"{count} scored {named}", lambda: (lambda rows: rows if len(rows) >= count else None)(
            hub.lake_rows(f"SELECT * FROM {{scored}} WHERE {where} ORDER BY scoredTime")))

    checks.heading("a reading that comes twenty minutes late")
    send(40, hr=72, spo2=97, sys=121, dia=76, temp=36.8)
    first = scored(1)[-1]
    send(1, hr=74, rr=16)
    h.wait_for("the newest moment in the lake", lambda: [row for row in scored(2) if row["windowEnd"] != first["windowEnd"]])
    time_between = time.time()
    send(20, rr=14, o2=4)
    late = scored(1, trigger="late")[-1]
    check("it speaks of the same moment", late["windowEnd"] != first["windowEnd"])
    check("oxygen by mask is two points more", late["news2Low"], 2)

    checks.heading("the documented queries, as they are written")
    then = hub.lake_rows(for_this_patient(queries[0], time_between))
    check("as known at a moment: one record, from before the late reading",
          [(row["news2Low"], row["windowEnd"], row["trigger"]) for row in then], [(0, late["windowEnd"], "reading")])
    known = hub.lake_rows(for_this_patient(queries[0], time.time() + 1))
    check("a little later: the late one", [(row["news2Low"], row["trigger"]) for row in known], [(2, "late")])
    both = {row["windowEnd"]: (row["knownThen"], row["knownNow"]) for row in hub.lake_rows(for_this_patient(queries[1]))}
    check("each moment as known then and now", both[late["windowEnd"]], (0, 2))
    check("a moment about which nothing came late is the same", both[first["windowEnd"]][0] == both[first["windowEnd"]][1])

    checks.heading("after kill -9 the same is known")
    hub.kill()
    hub.start()
    send(0, hr=75)
    newest = h.wait_for("a score after the restart", lambda: [
        row for row in scored(3) if row["windowEnd"] > late["windowEnd"]])[-1]
    check("with what was known before", newest["news2Low"], 2)
    check("and nothing was told twice", len(scored(1, trigger="late")), 1)

    checks.heading("what the RiskAssessment rests on")
    risk = h.wait_for("the newest RiskAssessment", lambda: (lambda found: found[0] if found else None)(
        [r for r in hub.search(f"RiskAssessment?patient={PATIENT}&_sort=-date&_count=1")
         if r["occurrenceDateTime"][:19] == newest["windowEnd"].replace(" ", "T")[:19]]))
    basis = [hub.fhir("GET", "/" + entry["reference"]) for entry in risk["basis"]]
    check("each Observation is there, once, and the patient's",
          (len({o["id"] for o in basis}) == len(basis), {o["subject"]["reference"] for o in basis}), (True, {f"Patient/{PATIENT}"}))
    values = {c["code"]: o["valueQuantity"]["value"] for o in basis if "valueQuantity" in o for c in o["code"]["coding"][:1]}
    check("they have what the score counted: the newest of each, the late oxygen among them",
          {code: values.get(code) for code in ("8867-4", "9279-1", "3151-8")}, {"8867-4": 75, "9279-1": 16, "3151-8": 4})
    hub.stop()


if __name__ == "__main__":
    h.run_script("known_then", main)
