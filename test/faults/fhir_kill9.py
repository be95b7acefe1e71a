#!/usr/bin/env python3
"""fhir_kill9.py -- `vigil fhir` is killed again and again while ten thousand writes come in from many clients at once.

What was answered 2xx is there once, with the version that was answered; a version is never used for two contents; the
database is whole. Clients do not repeat what was not answered. VIGIL_WRITES and VIGIL_SEED change how much and when.
"""
import collections
import http.client
import os
import pathlib
import sqlite3
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario" / "fhir"))
import service as s  # noqa: E402
from service import h, patient, pulse  # noqa: E402

WRITES = int(os.environ.get("VIGIL_WRITES", "10000"))
CLIENTS = 16


class Client(threading.Thread):
    """Creates, updates and transactions; keeps what was answered."""

    def __init__(self, at, number, count):
        super().__init__(daemon=True)
        self.at, self.number, self.count = at, number, count
        self.creates, self.updates, self.transactions, self.unanswered, self.wrong = [], [], [], 0, []

    def write(self, n):
        tag = f"{self.number}-{n}"
        kind = n % 4
        if kind == 0:
            answer = self.at("POST", "/Patient", patient(None, f"k{tag}"), If_None_Exist=f"identifier=urn:mrn|k{tag}", Prefer="return=minimal")
            ledger, what = self.creates, f"k{tag}"
        elif kind == 1:
            # All clients write the same few resources: versions are fought for.
            answer = self.at("PUT", f"/Observation/hot{n % 8}", pulse(f"hot{n % 8}", value=self.number * 1000000 + n), Prefer="return=minimal")
            ledger, what = self.updates, (f"hot{n % 8}", self.number * 1000000 + n)
        elif kind == 2:
            answer = self.at("PUT", f"/Observation/o{tag}", pulse(f"o{tag}", value=n), Prefer="return=minimal")
            ledger, what = self.updates, (f"o{tag}", n)
        else:
            one = "urn:uuid:00000000-0000-4000-8000-%012d" % n
            answer = self.at("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": [
                {"fullUrl": one, "resource": patient(None, f"t{tag}"), "request": {"method": "POST", "url": "Patient"}},
                {"resource": pulse(f"t{tag}", one), "request": {"method": "PUT", "url": f"Observation/t{tag}"}}]}, Prefer="return=minimal")
            ledger, what = self.transactions, f"t{tag}"
        if answer.status // 100 == 2:
            ledger.append((what, answer.headers.get("etag")))
        elif answer.status != 503:
            self.wrong.append((what, answer.status, answer.text[:200]))

    def run(self):
        for n in range(self.count):
            try:
                self.write(n)
            except (OSError, http.client.HTTPException):
                self.unanswered += 1
                try:
                    h.wait_for("the service", self.is_there, 60)
                except h.Timeout as error:
                    self.wrong.append(str(error))
                    return

    def is_there(self):
        try:
            return self.at("GET", "/metadata").status == 200
        except (OSError, http.client.HTTPException):
            return False


def main(checks, work):
    chance = h.seeded("fhir_kill9")
    at = s.Service(h.program(), work / "data", "--set", "fhir.audit=false").start()
    clients = [Client(at, number, WRITES // CLIENTS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    checks.heading("kills under load")
    kills = 0
    while any(c.is_alive() for c in clients):
        time.sleep(chance.uniform(0.3, 1.5))  # the moment is chance's, nothing is concluded from it
        if any(c.is_alive() for c in clients) and kills < 20:
            at.kill()
            at.start()
            kills += 1
    for client in clients:
        client.join(60)
    checks.note(f"{kills} kills, {sum(c.unanswered for c in clients)} writes without an answer, "
                f"{sum(len(c.creates) + len(c.updates) + len(c.transactions) for c in clients)} answered")
    checks.check("no other answer than success or not now", [w for c in clients for w in c.wrong][:3], [])

    checks.heading("what was answered is there, once")
    at.kill()
    at.start()
    checks.check("it ends cleanly", at.stop(), 0)
    db = sqlite3.connect(work / "data" / "fhir.db")
    checks.check("PRAGMA integrity_check", db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    import json
    versions = collections.defaultdict(dict)  # (type, id) -> version -> body
    for key, id, version, body in db.execute("SELECT key, id, version, body FROM resource UNION ALL SELECT h.key, r.id, h.version, h.body FROM history h "
                                             "JOIN resource r ON r.key=h.key"):
        body = json.loads(bytes(body))
        names = versions[(body["resourceType"], id)]
        if version in names:
            checks.fail("a version is there once", f"{id} {version}")
        names[version] = body
    owners = collections.Counter(i["value"] for (kind, _), found in versions.items() if kind == "Patient" for i in found[max(found)]["identifier"])
    answered = [what for c in clients for what, _ in c.creates] + [what for c in clients for what, _ in c.transactions]
    checks.check("each create that was answered is there once", [w for w in answered if owners[w] != 1], [])
    checks.check("nothing is there twice", [w for w, n in owners.items() if n > 1], [])
    lost, told = [], {}
    for client in clients:
        for (id, value), etag in client.updates:
            version = int(etag[3:-1])
            if told.setdefault((id, version), value) != value:
                lost.append(f"{id} version {version} was told to two writers")
            if versions[("Observation", id)].get(version, {}).get("valueQuantity", {}).get("value") != value:
                lost.append(f"{id} version {version} is not what was answered")
    checks.check("each update that was answered is there as its version, and no version was used twice", lost[:3], [])
    gaps = [name for name, found in versions.items() if sorted(found) != list(range(1, len(found) + 1))]
    checks.check("versions have no gap", gaps[:3], [])
    torn = [what for c in clients for what, _ in c.transactions if ("Observation", what) not in versions]
    checks.check("a transaction is there as a whole", torn[:3], [])
    halves = [name for kind, name in versions if kind == "Observation" and name.startswith("t") and owners[name] != 1]
    checks.check("also one that was not answered", halves[:3], [])


if __name__ == "__main__":
    h.run_script("fhir_kill9", main)
