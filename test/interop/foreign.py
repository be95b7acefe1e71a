#!/usr/bin/env python3
"""foreign.py VIGIL [medplum|hapi] -- our client and the whole platform on somebody else's FHIR server.

medplum: the in-memory engine of @medplum/fhir-router (medplum_server.mjs), which can be told to misbehave.
hapi:    a HAPI FHIR JPA server (hapi/run.sh); built from Maven Central at the first run, so that it is only run
         where it is built already or VIGIL_INTEROP=1 asks for it.

First the contract of fhir.h and the connector's tests against it, calm and with faults injected; then `vigil run` with
fhir.url: from MQTT to the Flag, while the server is away, and when it is there again. Exit code 77: skipped.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))
import harness as h  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
KIND = sys.argv[2] if len(sys.argv) > 2 else "medplum"
ILL = {"hr": 118, "rr": 24, "spo2": 92, "o2": 2, "sys": 98, "dia": 60, "temp": 38.9, "avpu": "A"}
VERY_ILL = {"hr": 128, "rr": 27, "spo2": 90, "o2": 4, "sys": 88, "dia": 52, "temp": 39.4, "avpu": "V"}
CHAOS = {"rate": 0.06, "seed": 7}


class Foreign:
    """The server's process, and a plain client of it that is not ours."""

    def __init__(self, work):
        self.work = work
        self.process = None
        self.port = 0
        self.start()

    def words(self):
        if KIND == "medplum":
            return ["node", str(HERE / "medplum_server.mjs"), "--port", str(self.port)]
        self.port = self.port or free_port()
        return [str(HERE / "hapi/run.sh"), str(self.port), str(self.work / "hapi-db")]

    def start(self):
        log = open(self.work / "server.log", "ab")
        self.process = subprocess.Popen(self.words(), stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        line = self.process.stdout.readline().decode().split()
        if not line or line[0] != "ready":
            raise RuntimeError(f"the foreign server did not start: {(self.work / 'server.log').read_text()[-2000:]}")
        self.url = line[1]
        self.port = int(self.url.split(":")[2].split("/")[0])

    def end(self):
        self.process.terminate()
        self.process.wait(30)

    def control(self, **what):
        return self.call("POST", self.url.replace("/fhir", "/control"), what)

    def call(self, method, url, body=None, **headers):
        request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/fhir+json", "Cache-Control": "no-cache", **headers})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def search(self, query):
        """All matches; OSError while it is away, which wait_for takes as not yet."""
        found, url = [], f"{self.url}/{query}"
        while url:
            bundle = self.call("GET", url)
            found += [entry["resource"] for entry in bundle.get("entry", [])]
            url = next((link["url"] for link in bundle.get("link", []) if link["relation"] == "next"), None)
        return found

    def fhir(self, method, path, resource=None):
        return self.call(method, self.url + path, resource)

    def go_away(self):
        if KIND == "medplum":
            self.control(down=True)
        else:
            self.end()

    def come_back(self):
        if KIND == "medplum":
            self.control(down=False)
        else:
            self.start()


def free_port():
    with h.socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def look_before():
    if KIND == "medplum":
        if not shutil.which("node") or not (h.SOURCE / "node_modules/@medplum/fhir-router").exists():
            h.skip("Medplum's FHIR engine is not installed: make deps")
    elif not (h.SOURCE / "build/hapi/classes/Main.class").exists() and os.environ.get("VIGIL_INTEROP") != "1":
        h.skip("HAPI FHIR is not built; `make interop` builds it from Maven Central (300 MB) and runs this")
    elif not shutil.which("java") or not shutil.which("javac"):
        h.skip("HAPI FHIR needs a JDK 17: apt-get install openjdk-17-jdk-headless maven")


def run_unit(checks, name, server, **env):
    """One of our test programs, with that server as its FHIR store."""
    path = pathlib.Path(h.program()).parent / name
    if not path.exists():
        checks.fail(name, "it is not built: cmake --build BUILD --target for_scripts")
        return
    settings = {"VIGIL_FHIR_URL": server.url, **env}
    if KIND == "medplum":
        settings |= {"VIGIL_FHIR_SIMPLE": "1", "VIGIL_FHIR_CONTROL": server.url.replace("/fhir", "/control")}
    began = time.monotonic()
    done = subprocess.run([str(path)], env={**os.environ, **settings}, capture_output=True, timeout=400, check=False)
    lines = done.stdout.decode(errors="replace").splitlines()
    bad = [line for line in lines if not line.startswith("ok ")][-30:]
    checks.check(f"{name} {env or 'without faults'}", (done.returncode, bad if done.returncode else []), (0, []))
    checks.note(f"{lines[-1] if lines else 'nothing said'} in {time.monotonic() - began:.1f} s")


def payload(at, reading):
    return json.dumps({"time": h.iso(at), **reading}, separators=(",", ":")).encode()


def troubles_of(hub):
    return {trouble["area"]: trouble["text"] for trouble in json.loads(hub.call("GET", "/api/health")[2])["troubles"]}


def moved_during_a_cut(checks, hub, far, send, sent):
    """Somebody puts the device on another patient while we cannot hear the server: what comes meanwhile waits."""
    check = checks.check

    def at(patient):
        return sorted(one["effectiveDateTime"] for one in far.search(f"Observation?patient=Patient/{patient}&code=8867-4&_count=200"))

    checks.heading("a device is moved while the way to the server is cut")
    hub.stop()
    hub.settings["connector.identity_age"] = "2s"
    hub.start(60)
    send(ILL)
    h.wait_for("its reading, while all is well", lambda: h.iso(sent[-1]) in at("p-sick"))
    before = {patient: at(patient) for patient in ("p-sick", "p-next")}
    far.go_away()
    h.wait_for("health says so", lambda: "fhir" in troubles_of(hub))
    time.sleep(3)  # the age that is allowed, and more
    send(ILL)
    unsure = sent.pop()
    h.wait_for("the readings wait", lambda: "connector.unconfirmed" in troubles_of(hub).get("connector", ""))
    time.sleep(0.01)  # a server's times have milliseconds
    far.call("PUT", far.url + "/Device/dev-bed-1", h.device_of("bed-1", "p-next"), **{"x-inside": "1"})
    time.sleep(0.01)
    send(VERY_ILL)
    moved = sent.pop()
    check("nobody has them yet", hub.care("SELECT max(time_us) AS t FROM reading")[0]["t"], lambda t: t < round(unsure * 1000) * 1000)
    count = len(hub.letters())
    far.come_back()
    h.wait_for("the reading after the move at the next patient", lambda: at("p-next") == sorted([*before["p-next"], h.iso(moved)]), 60)
    check("nothing more at the one before", at("p-sick"), before["p-sick"])
    letters = h.wait_for("the dead letter of the reading before it", lambda: hub.letters()[count:])
    check("by its reason", [letter["reason"] for letter in letters], ["connector.relinked"])


def test_platform(checks, work, far):
    check = checks.check
    checks.heading("the whole platform, with its patients on the foreign server")
    h.seed_patients(far, [("p-sick", "Foreignmadeup", "Fay", "1948-02-11", "female", "bed-1")])
    hub = h.Program(work, "hub", fhir__url=far.url, fhir__watch="200ms", score__tick="5s", care__report_every="5s")
    hub.start(60)
    check("health is well", troubles_of(hub), {})
    status, _, _ = hub.call("GET", "/fhir/Patient/p-sick")
    check("/fhir of the platform holds nothing", status, 404)
    password = hub.add_device("bed-1")
    sent = []

    def send(reading, count=1):
        rows = []
        for _ in range(count):
            sent.append(time.time())
            rows.append(payload(sent[-1], reading))
            time.sleep(0.002)  # readings of one instant would be one Observation
        done = h.mosquitto_pub(hub, "bed-1", password, rows)
        check("the hub takes what the device sends", done.returncode, 0)

    def rates():
        """When the heart rates there were measured, each once."""
        found = far.search("Observation?patient=Patient/p-sick&code=8867-4&_count=100")
        return sorted(one["effectiveDateTime"] for one in found)

    def all_there():
        return rates() == sorted(h.iso(at) for at in sent)

    checks.heading("steps 1 to 5, 13, 14: from MQTT to the Flag")
    send(ILL)
    h.wait_for("the Observation there", all_there)
    send(VERY_ILL)
    h.wait_for("a RiskAssessment there", lambda: far.search("RiskAssessment?patient=Patient/p-sick&_count=100"))
    flags = h.wait_for("the Flag there", lambda: far.search("Flag?patient=Patient/p-sick"))
    check("it is active", [flag["status"] for flag in flags], ["active"])
    row = h.wait_for("the patient in the repository", lambda: hub.care("SELECT * FROM patient"))[0]
    check("with the place that the foreign server knows", (row["patient_id"], row["unit"], row["location"]),
          ("p-sick", "Ward 4", "Ward 4, Bed 1"))

    checks.heading("a device is moved to another patient by somebody else")
    h.seed_patients(far, [("p-next", "Nextmadeup", "Nan", "1950-01-01", "female", None)])
    far.fhir("PUT", "/Device/dev-bed-1", h.device_of("bed-1", "p-next"))
    time.sleep(1.5)  # five looks (fhir.watch): nothing tells from outside that it was noticed
    before = len(sent)
    send(ILL)
    at = sent.pop()
    h.wait_for("its next reading at the new patient",
               lambda: [o["effectiveDateTime"] for o in far.search("Observation?patient=Patient/p-next&code=8867-4")] == [h.iso(at)])
    check("and nothing more at the one before", len(rates()), before)
    far.fhir("PUT", "/Device/dev-bed-1", h.device_of("bed-1", "p-sick"))
    time.sleep(1.5)
    send(ILL)
    h.wait_for("its reading at the first again", all_there)

    checks.heading("the server goes away")
    far.go_away()
    send(VERY_ILL, 20)
    trouble = h.wait_for("health says so", lambda: troubles_of(hub).get("fhir"))
    check("in words", trouble, lambda text: "waiting for FHIR server" in text)
    h.wait_for("all of them on our disk", lambda: "writes are kept back" in troubles_of(hub).get("fhir", "") and
               hub.care("SELECT max(time_us) AS t FROM reading WHERE patient_id = 'p-sick'")[0]["t"] == round(sent[-1] * 1000) * 1000)
    check("scoring goes on with them", hub.care("SELECT scored_us FROM patient WHERE patient_id = 'p-sick'")[0]["scored_us"],
          lambda us: us > sent[-20] * 1e6)
    check("it is in the log once", hub.log().count("area=fhir code=fhir.away"), 1)

    checks.heading("the hub is killed meanwhile, and starts again without the server")
    hub.kill()
    hub.start(60)
    send(VERY_ILL, 20)

    checks.heading("the server is there again")
    far.come_back()
    h.wait_for("every reading, once", all_there, max(90, h.DEADLINE_S))
    h.wait_for("health is well again", lambda: not troubles_of(hub), max(60, h.DEADLINE_S))
    check("and once only", len(rates()), len(sent))
    check("no dead letters", hub.letters(), [])

    if KIND == "medplum":
        checks.heading("what it refuses is a dead letter, and the rest goes on")
        mark = "118.5"
        far.control(refuse=mark)
        send({**ILL, "hr": 118.5})
        sent.pop()
        send(ILL)
        h.wait_for("the reading behind it", all_there)
        letter = h.wait_for("the dead letter", hub.letters)[0]
        check("with what the server said", letter["text"], lambda text: "is not wanted here" in text)
        moved_during_a_cut(checks, hub, far, send, sent)
    check("no secret and no name in the log", [w for w in ("Foreignmadeup", password) if w in hub.log()], [])
    hub.stop()


def main(checks, work):
    look_before()
    far = Foreign(work)
    try:
        if os.environ.get("VIGIL_INTEROP_ONLY") == "platform":
            return test_platform(checks, work, far)
        checks.heading(f"the contract of fhir.h, and the connector, on {KIND}")
        run_unit(checks, "fhir_fhir_contract_test", far)
        if KIND == "medplum":
            run_unit(checks, "connector_identity_test", far)
            run_unit(checks, "connector_identity_test", far, VIGIL_FHIR_CHAOS=json.dumps({"chaos": CHAOS}))
            run_unit(checks, "connector_connector_test", far)
            run_unit(checks, "connector_connector_test", far, VIGIL_FHIR_CHAOS=json.dumps({"chaos": CHAOS}))
            run_unit(checks, "connector_connector_test", far, VIGIL_FHIR_CHAOS=json.dumps({"strict": True}))
            far.control(clear=True)
        test_platform(checks, work, far)
    finally:
        far.end()


if __name__ == "__main__":
    h.run_script(f"interop-{KIND}", main)
