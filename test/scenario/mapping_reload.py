#!/usr/bin/env python3
"""mapping_reload.py -- mappings change under load, and by kill -9 in the middle of it.

Two devices send without pause. The mapping goes to and fro between two versions, whose measurements cannot
be mistaken for each other's; wrong ones are refused in between. Every message that was acknowledged has the
measurements of one version, all of them, once, and the Observations to go with them. Then the platform is
killed around activations: the old or the new version is active, and what was answered "active" is.
"""
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

DEVICES = ["bed-1", "bed-2"]
TYPES = {"a": ["a-hr"], "b": ["b-hr", "b-rr"]}  # what each version makes of a message
CODES = {"hr": "8867-4", "rr": "9279-1"}
RELOADS = 20
KILLS = 8
BASE_S = 1773482400


def device_mapping(which):
    return json.dumps({"templateType": "CollectionContent", "template": [
        {"templateType": "CalculatedContent", "template": {
            "typeName": name, "typeMatchExpression": f"$..[?(@Body.{name[2:]} != null)]",
            "deviceIdExpression": "$.SystemProperties.iothub-connection-device-id", "timestampExpression": "$.Body.time",
            "values": [{"valueName": "value", "valueExpression": f"$.Body.{name[2:]}", "required": True}]}}
        for name in TYPES[which]]}, indent=2)


def fhir_mapping():
    return json.dumps({"templateType": "CollectionFhir", "template": [
        {"templateType": "CodeValueFhir", "template": {
            "typeName": name, "periodInterval": 0, "codes": [{"code": CODES[name[2:]], "system": "http://loinc.org"}],
            "value": {"valueType": "Quantity", "valueName": "value", "unit": "/min"}}}
        for names in TYPES.values() for name in names]}, indent=2)


def payload(device, number):
    return json.dumps({"n": number, "time": h.iso(BASE_S + number / 100), "hr": 60 + number % 40, "rr": 10 + number % 10}).encode()


class Ward:
    def __init__(self, hub, passwords, first):
        self.clients = [h.LoadClient(hub, device, passwords[device], payload, pause_s=0.002) for device in DEVICES]
        for client in self.clients:
            client.sent = first  # numbers are never given out twice
            client.start()

    def acked(self):
        return sum(client.acked() for client in self.clients)

    def wait_more(self, count):
        until = self.acked() + count
        h.wait_for(f"{count} more acknowledged messages", lambda: self.acked() >= until, every_s=0.005)


def records(hub, topic):
    return [json.loads(line) for line in hub.cli("records", topic)[1].decode().splitlines()]


def history(hub):
    return json.loads(hub.cli("mapping", "versions", "--json")[1])


def look_at_sets(checks, hub, clients, versions, what):
    """Every acknowledged message: one set, of one version. Returns the records of the topic."""
    wanted = {(c.device, number) for c in clients for number, _ in c.ledger}

    def sets():
        names = {f"{r['partition']}-{r['seq']}": (r["key"], r["value"]["n"]) for r in records(hub, "device.raw")}
        found = collections.defaultdict(list)
        for r in records(hub, "iomt.normalized"):
            found[names[r["headers"]["trace"]]].append((r["headers"]["map"], r["value"]["Type"]))
        return found
    found = h.wait_for("every acknowledged message to be mapped", lambda: (lambda f: f if wanted <= f.keys() else None)(sets()), 60, 0.3)
    good = {tuple(sorted((versions[which], name) for name in TYPES[which])) for which in TYPES}
    checks.check(f"{what}: {len(wanted)} acknowledged messages, each with one set of one version",
                 [(k, found[k]) for k in wanted if tuple(sorted(found[k])) not in good][:5], [])
    return found


def main(checks, work):
    chance = h.seeded("mapping_reload")
    device, fhir = work / "device.json", work / "fhir.json"
    device.write_text(device_mapping("a"))
    fhir.write_text(fhir_mapping())
    hub = h.Program(work, stream__partitions=2, connector__device_mapping=device, connector__fhir_mapping=fhir, score__model="").start()
    hub.make_token()
    h.seed_patients(hub, [(f"p{i}", "Reloadmadeup", "Ria", "1950-01-02", "female", name) for i, name in enumerate(DEVICES)])
    passwords = {name: hub.add_device(name) for name in DEVICES}

    def version_of(which):
        return hashlib.sha256((device_mapping(which) + fhir_mapping()).encode()).hexdigest()[:16]
    versions = {which: version_of(which) for which in TYPES}
    checks.check("the first start has put the files in force", [e["version"] for e in history(hub)], [versions["a"]])

    checks.heading(f"{RELOADS} reloads under load")
    ward = Ward(hub, passwords, 0)
    said = []
    for turn in range(RELOADS):
        which = "ab"[(turn + 1) % 2]
        ward.wait_more(20)
        device.write_text(device_mapping(which))
        began = time.monotonic()
        said.append(hub.cli("mapping", "reload")[1].decode().strip())
        took_s = time.monotonic() - began
        if turn == RELOADS // 2:
            wrong = device_mapping(which).replace("$.Body.time", "$.Body.[")
            line = wrong[:wrong.index("$.Body.[")].count("\n") + 1
            device.write_text(wrong)
            code, out, err = hub.cli("mapping", "reload", check=False)
            checks.check("a wrong mapping is refused with its place",
                         (code, out.decode().startswith(f"{device}:{line}:"), "connector.mapping" in err), (1, True, True))
            checks.check("and changes nothing", history(hub)[0]["version"], versions[which])
            ward.wait_more(20)
    expected = [f"{versions['ab'[(t + 1) % 2]]} is active, it was {versions['ab'[t % 2]]}" for t in range(RELOADS)]
    checks.check("each reload says what is active now", said, expected)
    for client in ward.clients:
        client.finish()
    found = look_at_sets(checks, hub, ward.clients, versions, "after the reloads")
    used = collections.Counter(version for of_message in found.values() for version, _ in of_message)
    checks.check("both versions had their messages", sorted(used), sorted(versions.values()))
    observations = hub.fhir("GET", "/Observation?_summary=count")["total"]
    checks.check("and there are as many Observations as measurements", observations, sum(used.values()))
    checks.check("nothing became a dead letter", hub.letters(), [])
    checks.check("the history names every one", [e["version"] for e in history(hub)][:RELOADS], [s.split()[0] for s in reversed(said)])

    checks.heading("kill -9 around activations")
    ward = Ward(hub, passwords, 1000000)
    outcomes = collections.Counter()
    for turn in range(KILLS):
        old = history(hub)[0]["version"]
        new = next(v for v in versions.values() if v != old)
        ward.wait_more(20)
        command = subprocess.Popen(hub.arguments("mapping", "rollback", new), cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(chance.uniform(0.3, 1.2) * took_s)  # the chance of where it is cut
        hub.kill()
        answer = command.communicate(timeout=30)[0].decode()
        state = json.loads((hub.data / "mappings/active.json").read_text())
        active = state["history"][-1]["version"]
        texts = [(hub.data / f"mappings/{active}.{name}.json").read_bytes() for name in ("device", "fhir")]
        right = active in (old, new) and hashlib.sha256(b"".join(texts)).hexdigest()[:16] == active
        if not right or ("is active" in answer and active != new):
            checks.fail("the old or the new is active, whole", f"old {old}, new {new}, found {active}, told: {answer}")
        outcomes["new" if active == new else "old"] += 1
        hub.start()
        if history(hub)[0]["version"] != active:
            checks.fail("a restart keeps what was active", f"{active}, now {history(hub)[0]}")
    checks.note(f"{dict(outcomes)}")
    checks.check("after each of them the old or the new was active", sum(outcomes.values()), KILLS)
    for client in ward.clients:
        client.finish()
        checks.check(f"{client.device} saw nothing wrong", client.wrong, [])
    look_at_sets(checks, hub, ward.clients, versions, "after the kills")
    checks.check("nothing became a dead letter", hub.letters(), [])
    checks.check("it ends in order", hub.stop(), 0)


h.run_script("mapping_reload", main)
