#!/usr/bin/env python3
"""bad_input.py -- what is broken, foreign or wrong is refused with words, kept where it was promised to be
kept, and holds up nobody else.

Malformed MQTT, wrong passwords, other devices' topics, payloads that are too large, payloads that no mapping
reads, devices that FHIR does not know, and configurations that are wrong.
"""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

OVERSIZE = b"{" + b" " * (300 * 1024) + b"}"


class Steady:
    """A device that goes on while others misbehave: one connection, one message at a time."""

    def __init__(self, hub, device, password):
        self.hub, self.device = hub, device
        self.stream = h.tls_socket(hub)
        self.stream.sendall(h.mqtt_connect(device, password))
        assert h.mqtt_read(self.stream) == (2, b"\x00\x00")
        self.count = 0

    def is_served(self):
        """Sends one more good reading on the same connection; True when its PUBACK has come."""
        self.count += 1
        reading = f'{{"time":"{h.iso(time.time())}","hr":{60 + self.count}}}'.encode()
        self.stream.sendall(h.mqtt_publish(h.events_topic(self.device), self.count, reading))
        return h.mqtt_read(self.stream) == (4, self.count.to_bytes(2, "big"))


def is_closed(stream):
    """Reads to the end: true when the server has ended the connection (a PUBACK or DISCONNECT may come first)."""
    try:
        while True:
            packet = h.mqtt_read(stream)
            if packet is None:
                return True
            if packet[0] == 4:
                return False
    except TimeoutError:
        return False
    except OSError:
        return True  # a reset ends it as well


def malformed_packets(checks, hub, password, steady):
    good = h.mqtt_connect("bed-bad", password)
    rows = [
        ("bytes that are no MQTT", b"GET / HTTP/1.1\r\n\r\n", "hub."),
        ("a remaining length that never ends", good + b"\x30\xff\xff\xff\xff\xff\x01", "hub.malformed"),
        ("a PUBLISH of QoS 3", good + b"\x36\x08\x00\x01a\x00\x01xyz", "hub.malformed"),
        ("a topic that is longer than its packet", good + h.mqtt_packet(3, 2, b"\x00\x40abc"), "hub.malformed"),
        ("packet type 0", good + b"\x00\x00", "hub."),
        ("a second CONNECT", good + good, "hub.protocol"),
        ("packet identifier 0", good + h.mqtt_publish(h.events_topic("bed-bad"), 0, b"{}"), "hub."),
        ("a topic that is not ours", good + h.mqtt_publish("other/topic", 1, b"{}"), "hub.topic"),
    ]
    for what, data, code in rows:
        before = len(hub.log())
        stream = h.tls_socket(hub)
        stream.sendall(data)
        checks.check(f"{what} closes that connection", is_closed(stream))
        stream.close()

        def said():
            lines = [line for line in hub.log()[before:].splitlines() if f"code={code}" in line]
            return lines and lines[-1]
        try:
            line = h.wait_for("a line in the log", said, 5)
            checks.check(f"{what}: the log says why", "msg=" in line and len(line.split("msg=")[1]) > 5)
        except h.Timeout:
            checks.fail(f"{what}: the log says why", h.short(hub.log()[before:]) or "no line")
        checks.check(f"{what}: the neighbour is served on", steady.is_served())


def refusals(checks, hub, password, steady):
    done = h.mosquitto_pub(hub, "bed-bad", "not its password", b'{"hr":70}')
    checks.check("a wrong password is refused (MQTT 3.1.1)", done.returncode != 0 and b"bad user" in done.stderr.lower())
    done = h.mosquitto_pub(hub, "bed-bad", "not its password", b'{"hr":70}', version="mqttv5")
    checks.check("a wrong password is refused (MQTT 5)", done.returncode != 0 and b"bad user" in done.stderr.lower())
    done = h.mosquitto_pub(hub, "bed-nobody", "whatever-it-is", b'{"hr":70}')
    checks.check("an unknown device gets the same answer", done.returncode != 0)
    status, _, body = hub.call("POST", "/devices/bed-bad/messages/events", b'{"hr":70}',
                               {"Authorization": "Basic " + h.base64.b64encode(b"bed-bad:wrong").decode()}, port=hub.ports["https"])
    checks.check("and by HTTPS 401", status, 401)
    checks.check("no password stands in the log", [w for w in ("not its password", "whatever-it-is", password) if w in hub.log()], [])

    before = len(hub.log())
    stream = h.tls_socket(hub)
    stream.sendall(h.mqtt_connect("bed-bad", password) + h.mqtt_publish(h.events_topic("bed-good"), 1, b'{"hr":1}'))
    checks.check("publishing under another device's id ends the connection without a PUBACK", is_closed(stream))
    stream.close()
    h.wait_for("its line in the log", lambda: "code=hub.topic" in hub.log()[before:], 5)
    done = h.mosquitto_pub(hub, "bed-bad", password, b'{"hr":1}', version="mqttv5", topic=h.events_topic("bed-good"))
    checks.check("MQTT 5 is told that it may not", b"ot authori" in done.stderr)
    status, _, _ = hub.call("POST", "/devices/bed-good/messages/events", b'{"hr":1}',
                            {"Authorization": "Basic " + h.base64.b64encode(f"bed-bad:{password}".encode()).decode()}, port=hub.ports["https"])
    checks.check("and by HTTPS 401 or 403", status, lambda s: s in (401, 403))

    before = len(hub.log())
    done = h.mosquitto_pub(hub, "bed-bad", password, OVERSIZE, version="mqttv5")
    checks.check("a payload beyond 256 KiB is refused by MQTT", done.returncode != 0 or done.stderr != b"")
    h.wait_for("its line in the log", lambda: "code=hub.size" in hub.log()[before:], 5)
    try:
        status, _, _ = hub.call("POST", "/devices/bed-bad/messages/events", OVERSIZE,
                                {"Authorization": "Basic " + h.base64.b64encode(f"bed-bad:{password}".encode()).decode()}, port=hub.ports["https"])
    except OSError:
        status = 413  # ended while we were still sending
    checks.check("and by HTTPS with 413", status, 413)
    checks.check("the neighbour is served on", steady.is_served())


def dead_letters(checks, hub, passwords, steady):
    now = h.iso(time.time())
    rows = [  # what, device, payload, reason
        ("a payload that is not JSON", "bed-bad", b'{"hr": 70', "connector.json"),
        ("bytes that are no text", "bed-bad", b"\xff\xfe\x00\x01", "connector.json"),
        ("a payload that no template matches", "bed-bad", b'{"battery":81}', "connector.no_match"),
        ("a payload without the time that its template needs", "bed-bad", b'{"hr":70}', "connector.missing_value"),
        ("a time that is none", "bed-bad", b'{"time":"yesterday","hr":70}', lambda r: r.startswith("connector.")),
        ("a value that is no number", "bed-bad", f'{{"time":"{now}","hr":"many"}}'.encode(), lambda r: r.startswith("connector.")),
        ("a device that FHIR does not know", "bed-unknown", f'{{"time":"{now}","hr":81}}'.encode(), "connector.identity"),
        ("its second message", "bed-unknown", f'{{"time":"{h.iso(time.time() + 1)}","hr":82}}'.encode(), "connector.identity"),
    ]
    for what, device, payload, _ in rows:
        done = h.mosquitto_pub(hub, device, passwords[device], payload)
        checks.check(f"{what} is acknowledged: it is kept", (done.returncode, done.stderr), (0, b""))
        checks.check("the neighbour is served on", steady.is_served())
    letters = h.wait_for(f"{len(rows)} dead letters", lambda: (lambda found: found if len(found) >= len(rows) else None)(hub.letters()))
    for what, device, payload, reason in rows:
        text = payload.decode(errors="replace")
        mine = [l for l in letters if l["key"] == device and
                (l["payload"] == text or (l.get("payloadEncoding") == "base64" and h.base64.b64decode(l["payload"]) == payload))]
        checks.check(f"{what}: one dead letter, with payload and reason", [l["reason"] for l in mine],
                     lambda f, wish=reason: len(f) == 1 and (wish(f[0]) if callable(wish) else f[0] == wish))
        checks.check(f"{what}: its text says more", [len(l["text"]) > 10 for l in mine], [True])
    checks.check("nothing else is a dead letter", len(letters), len(rows))
    values = h.wait_for("the neighbour's readings, all of them", lambda: (lambda o: o if len(o) >= steady.count else None)(
        hub.search("Observation?patient=p-good&_count=200")))
    checks.check("nothing behind a bad message waits: each good reading is an Observation",
                 sorted(o["valueQuantity"]["value"] for o in values), [60 + i for i in range(1, steady.count + 1)])
    text = hub.cli("deadletter", "list")[1].decode()
    checks.check("deadletter list shows device and reason to people",
                 all(any(device in line and (callable(reason) or reason in line) for line in text.splitlines()) for _, device, _, reason in rows))
    return text


def replay(checks, hub, listing):
    """The device is linked to its patient; one letter is replayed while the platform runs, one while it does not."""
    def readings():
        return sorted((o["valueQuantity"]["value"], o["subject"]["reference"], o["device"]["reference"])
                      for o in hub.search("Observation?patient=p-late"))
    expected = [(value, "Patient/p-late", "Device/dev-bed-unknown") for value in (81, 82)]
    checks.check("no Observation of the device that FHIR did not know", readings(), [])
    hub.fhir("PUT", "/Device/dev-bed-unknown", h.device_of("bed-unknown", "p-late"))
    ids = [line.split()[0] for line in listing.splitlines() if "bed-unknown" in line]

    admin = h.Browserless(hub, *(hub.data / "first-login.txt").read_text().split())
    letters = {letter["payload"]: letter for letter in admin.get("/deadletters?count=100")["letters"] if letter["key"] == "bed-unknown"}
    first = next(letter for payload, letter in letters.items() if '"hr":81' in payload)
    checks.check("the board's page has the letters under the same ids", sorted(letter["id"] for letter in letters.values()), sorted(ids))
    admin.post(f"/deadletters/{first['id']}/replay")
    h.wait_for("the replayed reading", readings)
    checks.check("replayed from the board, the reading is the right patient's", readings(), expected[:1])
    try:
        admin.post("/deadletters/0-999999/replay")
        checks.fail("an unknown letter is refused by the board", "it was not")
    except h.Refused as refused:
        checks.check("an unknown letter is refused by the board", refused.status, lambda s: s in (400, 404))

    other = next(i for i in ids if i != first["id"])
    code, _, error = hub.cli("deadletter", "replay", other, check=False)
    checks.check("replay by command beside the running platform is refused with words, not done by halves", code != 0 and len(error) > 20)
    checks.check("the hub ends cleanly", hub.stop(), 0)
    code, out, _ = hub.cli("deadletter", "replay", other)
    checks.check("deadletter replay puts it on device.raw again", other.encode() in out)
    hub.start()
    h.wait_for("the second reading", lambda: len(readings()) > 1)
    checks.check("and its reading is the right patient's too", readings(), expected)
    code, _, error = hub.cli("deadletter", "replay", "0-999999", check=False)
    checks.check("an unknown letter is refused", code != 0 and bool(error))


def configurations(checks, work):
    rows = [  # what, text of the file, words that must be in the error
        ("a key that is not there", "hub:\n  mqtts_prot: 8883\n", ("{file}:2", "mqtts_prot")),
        ("a value out of range", "hub:\n  mqtts_port: 70000\n", ("{file}:2", "hub.mqtts_port")),
        ("a word that is no choice", "log:\n  level: info\nfhir:\n  engine: oracle\n", ("{file}:4", "fhir.engine", "oracle")),
        ("a duration without a unit that exists", "lake:\n  flush: 3 parsecs\n", ("{file}:2", "lake.flush")),
        ("no YAML", "hub: [1\nlog: }\n", ("{file}:",)),
        ("a list where one value belongs", "log:\n  level: [info]\n", ("{file}:2", "log.level")),
    ]
    for number, (what, text, words) in enumerate(rows):
        path = work / f"wrong-{number}.yaml"
        path.write_text(text)
        data = work / f"wrong-data-{number}"
        done = h.subprocess.run([h.program(), "run", "--config", str(path), "--data", str(data)], cwd=work,
                                capture_output=True, timeout=30, check=False)
        error = done.stderr.decode()
        checks.check(f"configuration with {what}: exit 2", done.returncode, 2)
        missing = [w for w in (w.format(file=path) for w in words) if w not in error]
        checks.check(f"configuration with {what}: the error names file, line and key ({error.strip()[:160]})", missing, [])
        checks.check(f"configuration with {what}: nothing was made", data.exists(), False)

    hub = h.Program(work, "wrong-mapping")
    mapping = work / "wrong-mapping.json"
    mapping.write_text('{\n  "templateType": "CollectionContent",\n  "template": [ { "templateType": "NoSuchContent" } ]\n}\n')
    hub.settings["connector.device_mapping"] = mapping
    done = h.subprocess.run(hub.arguments("run"), cwd=work, capture_output=True, timeout=30, check=False)
    error = done.stderr.decode()
    checks.check("a wrong mapping: the program does not start", done.returncode, lambda code: code in (1, 2))
    checks.check(f"a wrong mapping: file and line are named ({error.strip()[-200:]})", (str(mapping) in error, "line 3" in error), (True, True))


def main(checks, work):
    checks.heading("wrong configurations")
    configurations(checks, work)

    hub = h.Program(work, "hub", lake__flush="1s").start(60)
    hub.make_token()
    h.seed_patients(hub, [("p-good", "Goodmadeup", "Gia", "1960-01-01", "female", "bed-good"),
                          ("p-bad", "Badmadeup", "Bo", "1961-01-01", "male", "bed-bad"),
                          ("p-late", "Latemadeup", "Lea", "1962-01-01", "female", None)])
    passwords = {device: hub.add_device(device) for device in ("bed-good", "bed-bad", "bed-unknown")}
    steady = Steady(hub, "bed-good", passwords["bed-good"])
    checks.check("a good device is served", steady.is_served())

    checks.heading("malformed MQTT")
    malformed_packets(checks, hub, passwords["bed-bad"], steady)
    checks.heading("who may not")
    refusals(checks, hub, passwords["bed-bad"], steady)
    checks.heading("what cannot be processed")
    listing = dead_letters(checks, hub, passwords, steady)
    checks.heading("replay, after the cause was mended")
    replay(checks, hub, listing)
    checks.check("the hub ends cleanly", hub.stop(), 0)


if __name__ == "__main__":
    h.run_script("bad_input", main)
