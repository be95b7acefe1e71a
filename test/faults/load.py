"""load.py -- what the fault scripts share: a loaded ward, and the judgement of its ledger.

The ledger holds what was acknowledged. The judgement: all of it is in the archive, in each device's order;
each message became its measurement exactly once; no resource and no card is there twice.
"""
import collections
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))
import harness as h  # noqa: E402

WELL = {"rr": 15, "spo2": 97, "o2": 0, "sys": 122, "dia": 78, "temp": 36.7, "avpu": "A"}
ILL = {"rr": 26, "spo2": 90, "o2": 3, "sys": 89, "dia": 55, "temp": 39.3, "avpu": "V"}
EPISODE = 60  # messages of health, then as many of illness


class Ward:
    """Beds with a patient each: bed-0 … bed-N, the first `ill_count` of them well and ill in turn."""

    def __init__(self, count, ill_count=0, padding=0):
        self.devices = [f"bed-{i}" for i in range(count)]
        self.ill = set(self.devices[:ill_count])
        self.padding = "x" * padding
        self.last_ms = dict.fromkeys(self.devices, 0)

    def seed(self, hub):
        h.seed_patients(hub, [(self.patient(d), f"Load{i}", "Lou", "1950-01-01", "female", d) for i, d in enumerate(self.devices)])

    @staticmethod
    def patient(device):
        return "p-" + device

    def make(self, device, number):
        """A message with a time of its own, and a pulse; the ill ones have everything."""
        self.last_ms[device] = max(self.last_ms[device] + 1, int(time.time() * 1000))
        reading = {"time": h.iso(self.last_ms[device] / 1000), "hr": 50 + number % 100, "n": number}
        if device in self.ill:
            is_ill = number // EPISODE % 2 == 1
            reading |= ILL if is_ill else WELL
            reading["hr"] = 125 if is_ill else 72
        if self.padding:
            reading["pad"] = self.padding
        return json.dumps(reading, separators=(",", ":")).encode()

    def clients(self, server, passwords, **options):
        return [h.LoadClient(server, device, passwords[device], self.make, **options) for device in self.devices]


def total_acked(clients):
    return sum(client.acked() for client in clients)


def finish(checks, clients, deadline_s=120):
    for client in clients:
        client.is_ending.set()
    for client in clients:
        client.finish(deadline_s)
    checks.check("every message that was ever sent is acknowledged at the end",
                 [c.device for c in clients if c.acked() != c.sent], [])
    checks.check("no acknowledgement that nobody waited for, no refused login", [c.wrong for c in clients if c.wrong], [])


def count(hub, query):
    return hub.fhir("GET", f"/{query}&_summary=count")["total"]


def judge(checks, hub, ward, clients, work):
    """Waits until the platform has caught up, then compares everything with the ledger."""
    ledgers = {c.device: [payload for _, payload in c.ledger] for c in clients}
    (work / "ledger.json").write_text(json.dumps({d: [p.decode()[:80] for p in l] for d, l in ledgers.items()}))
    all_count = sum(len(ledger) for ledger in ledgers.values())
    checks.note(f"{all_count} messages acknowledged, {sum(c.connections for c in clients)} connections")

    for client in clients:
        checks_order = [number for number, _ in client.ledger]
        if checks_order != sorted(checks_order):
            checks.fail("acknowledgements come in order", client.device)

    pulses = "SELECT deviceId, count(*) AS n, count(DISTINCT effectiveTime) AS times FROM {enriched} WHERE code = '8867-4' GROUP BY 1"

    def caught_up():
        rows = hub.lake_rows(pulses)
        return rows if sum(row["times"] for row in rows) >= all_count else None
    try:
        h.wait_for("the lake to hold every message's measurement", caught_up, 120, every_s=0.5)
    except h.Timeout as error:
        checks.fail("everything that was acknowledged arrives in the lake", str(error))

    archived = collections.defaultdict(list)
    h.wait_for("the archive", lambda: sum(len(set(v)) for v in read_archive(hub, archived).values()) >= all_count, 30, every_s=0.5)
    for device, ledger in ledgers.items():
        firsts = list(dict.fromkeys(archived[device]))  # a repeat (DUP) is archived as well: it was received
        missing = [p for p in ledger if p not in set(firsts)]
        checks.check(f"{device}: every acknowledged message is in the archive", missing, [])
        checks.check(f"{device}: nothing is in the archive that was not sent, and it has the order of sending", firsts == ledger, True)
    repeats = sum(len(v) - len(set(v)) for v in archived.values())
    checks.note(f"{repeats} messages were received twice (sent again after a broken connection)")
    checks.check("archive verify finds it whole", hub.cli("archive", "verify", check=False, deadline_s=120)[0], 0)

    rows = {row["deviceId"]: (row["n"], row["times"]) for row in hub.lake_rows(pulses)}
    checks.check("each message has its measurement in the lake exactly once (rows, distinct times)",
                 {d: rows.get(d) for d in ledgers}, {d: (len(l), len(l)) for d, l in ledgers.items()})
    wrong_order = hub.lake_rows(
        "SELECT deviceId, count(*) AS n FROM (SELECT deviceId, effectiveTime, lag(effectiveTime) OVER (PARTITION BY deviceId ORDER BY "
        "CAST(string_split(trace, '-')[2] AS BIGINT)) AS earlier FROM {enriched} WHERE code = '8867-4') WHERE earlier > effectiveTime GROUP BY 1")
    checks.check("measurements were made in each device's order", wrong_order, [])
    for device, ledger in ledgers.items():
        checks.check(f"{device}: one Observation of the pulse for each message",
                     count(hub, f"Observation?patient={ward.patient(device)}&code=http%3A%2F%2Floinc.org%7C8867-4"), len(ledger))
    checks.check("values are those that were sent", value_sums(hub), {d: sum(json.loads(p)["hr"] for p in l) for d, l in ledgers.items()})
    checks.check("no dead letters", [(l["key"], l["reason"], l["text"]) for l in hub.letters()][:5], [])


def read_archive(hub, archived):
    archived.clear()
    for _, device, payload in h.archive_payloads(hub):
        archived[device].append(payload)
    return archived


def value_sums(hub):
    rows = hub.lake_rows("SELECT deviceId, sum(value) AS s FROM {enriched} WHERE code = '8867-4' GROUP BY 1")
    return {row["deviceId"]: int(row["s"]) for row in rows}


def judge_alerts(checks, hub, ward, cards):
    """RiskAssessments, Flags and cards, after judge()."""
    for device in sorted(ward.ill)[:2]:
        patient = ward.patient(device)

        def all_scored(p=patient):
            windows = hub.lake_rows(f"SELECT count(DISTINCT windowEnd) AS n FROM {{scored}} WHERE patientId = '{p}'")[0]["n"]
            assessments = count(hub, f"RiskAssessment?patient={p}")
            return (windows, assessments) if windows == assessments else None
        try:
            windows, _ = h.wait_for("a RiskAssessment for each window", all_scored, 30, every_s=0.5)
            checks.check(f"{patient}: one RiskAssessment for each of its {windows} windows", True)
        except h.Timeout:
            checks.check(f"{patient}: one RiskAssessment for each window (lake, FHIR)",
                         (hub.lake_rows(f"SELECT count(DISTINCT windowEnd) AS n FROM {{scored}} WHERE patientId = '{patient}'")[0]["n"],
                          count(hub, f"RiskAssessment?patient={patient}")), lambda f: f[0] == f[1])
    flags = hub.care("SELECT flag_id, patient_id, closed_us FROM flag")
    in_fhir = [f for d in ward.ill for f in hub.search(f"Flag?patient={ward.patient(d)}&_count=200")]
    checks.check("episodes were flagged", len(flags), lambda n: n >= len(ward.ill))
    checks.check("FHIR and the repository have the same Flags, each once",
                 sorted((f["id"], f["status"]) for f in in_fhir),
                 sorted((f["flag_id"], "inactive" if f["closed_us"] else "active") for f in flags))
    open_ones = collections.Counter(f["patient_id"] for f in flags if not f["closed_us"])
    checks.check("no patient has two open flags", [p for p, n in open_ones.items() if n > 1], [])
    checks.check("each flag has one worklist item",
                 hub.care("SELECT count(*) AS n, count(DISTINCT flag_id) AS d FROM item")[0], {"n": len(flags), "d": len(flags)})
    h.wait_for("the outbox to empty itself", lambda: hub.care("SELECT count(*) AS n FROM card WHERE state = 'due'")[0]["n"] == 0, 60)
    rows = hub.care("SELECT card_key, flag_id, change_kind, severity FROM card")
    checks.check("one card for each change of a flag", len({(r["flag_id"], r["change_kind"], r["severity"]) for r in rows}), len(rows))
    taken = collections.defaultdict(set)
    for _, key, body in cards.taken():
        taken[key].add((body["flagId"], body["change"], body["severity"]))
    checks.check("the receiver has every card, and no others", sorted(taken), sorted(r["card_key"] for r in rows))
    checks.check("an Idempotency-Key stands for one card only", [k for k, v in taken.items() if len(v) != 1], [])
    events = collections.Counter(event for v in taken.values() for event in v)
    checks.check("no card is there under two keys", [e for e, n in events.items() if n > 1], [])
    checks.note(f"{len(flags)} flags, {len(rows)} cards, {len(cards.taken()) - len(taken)} of them delivered again with the same key, "
                f"{len(cards.requests) - len(cards.taken())} refusals by the receiver")
