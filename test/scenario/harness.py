"""harness.py -- what the scenario and fault scripts share: the real program, real clients, checks.

A script starts `vigil` in folders of its own, waits for events (never for a while), and ends only what
it started. The program is the first argument or VIGIL; logs, data folders and screenshots stay in
VIGIL_ARTEFACTS/NAME, by default beside the program in test-artefacts/NAME.

Python's standard library and Debian's mosquitto-clients; no network but loopback.
"""
import base64
import collections
import http.client
import http.server
import json
import os
import pathlib
import random
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # exit code that ctest takes as skipped
DEADLINE_S = float(os.environ.get("VIGIL_DEADLINE_S", "30"))  # of one event


# ---- checks ----

class Checks:
    """Counts what holds and what does not, and says what was expected and found."""

    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = 0
        self.began = time.monotonic()
        self.lock = threading.Lock()

    def heading(self, text):
        print(f"\n== {text} ({time.monotonic() - self.began:.1f} s)", flush=True)

    def note(self, text):
        print(f"     {text}", flush=True)

    def check(self, what, found, expected=True):
        """`expected` is a value, or a function that says whether `found` is right."""
        is_right = expected(found) if callable(expected) else found == expected
        with self.lock:
            if is_right:
                self.passed += 1
                print(f"ok   {what}", flush=True)
            else:
                self.failed += 1
                wish = "what its condition says" if callable(expected) else short(expected)
                print(f"FAIL {what}\n     expected {wish}\n     found    {short(found)}", flush=True)
        return bool(is_right)

    def fail(self, what, why):
        with self.lock:
            self.failed += 1
        print(f"FAIL {what}\n     {why}", flush=True)

    def finish(self):
        print(f"\n{self.name}: {self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed else 0)


def short(value, limit=700):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def skip(why):
    print(f"SKIPPED {why}", flush=True)
    sys.exit(SKIPPED)


class Timeout(Exception):
    pass


def wait_for(what, ask, deadline_s=None, every_s=0.05):
    """Asks again and again until the answer is true, and returns it. What it last saw is in the error."""
    until = time.monotonic() + (deadline_s or DEADLINE_S)
    seen = None
    while True:
        try:
            answer = ask()
            if answer:
                return answer
            seen = answer
        except (OSError, http.client.HTTPException, Refused) as error:
            seen = error
        if time.monotonic() > until:
            raise Timeout(f"waited {deadline_s or DEADLINE_S:.0f} s for {what}; last seen: {short(seen)}")
        time.sleep(every_s)


def run_script(name, main):
    """main(checks, work): runs it with a fresh folder, ends what it left running, and exits."""
    checks = Checks(name)
    work = artefacts() / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        main(checks, work)
    except Exception as error:  # the script's own end: said in full, and it fails
        import traceback
        traceback.print_exc()
        checks.fail("the script ran to its end", f"{type(error).__name__}: {error}")
    finally:
        for process in list(Program.running):
            process.kill()
    checks.finish()


def program():
    path = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VIGIL", "")
    if not path or not os.access(path, os.X_OK):
        print(f"usage: {sys.argv[0]} PATH-OF-VIGIL (or VIGIL in the environment); got '{path}'", file=sys.stderr)
        sys.exit(2)
    return str(pathlib.Path(path).resolve())


def artefacts():
    return pathlib.Path(os.environ.get("VIGIL_ARTEFACTS") or pathlib.Path(program()).parent / "test-artefacts").resolve()


def iso(seconds):
    """A time as our devices write it: milliseconds, Z."""
    whole, part = divmod(round(seconds * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{part:03d}Z"


# ---- the program ----

class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {short(body, 300)}")
        self.status = status
        self.body = body


class Program:
    """One data folder and the process that runs on it: `vigil run`, or `vigil edge`."""

    running = []

    def __init__(self, work, name="hub", kind="run", data=None, **settings):
        self.kind = kind
        self.data = pathlib.Path(data) if data else work / name
        self.log_path = work / f"{name}.log"
        self.cwd = work
        self.settings = {
            "hub.mqtts_port": 0, "hub.https_port": 0, "web.port": 0,
            "connector.device_mapping": SOURCE / "mappings/ward-device.json",
            "connector.fhir_mapping": SOURCE / "mappings/ward-fhir.json",
            "score.model": SOURCE / "models/sepsis-vitals" if (SOURCE / "models/sepsis-vitals/model.json").exists() else "",
        }
        self.settings.update({key.replace("__", "."): value for key, value in settings.items()})
        # VIGIL_SET="score.model= log.level=debug": for trying something out
        self.settings.update(word.split("=", 1) for word in os.environ.get("VIGIL_SET", "").split())
        self.process = None
        self.ports = {}
        self.token = None

    # -- life --

    def arguments(self, *command):
        words = [program(), *command, "--data", str(self.data)]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value}"]
        return words

    def launch(self):
        """Starts the process and does not wait for it."""
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.arguments(self.kind), cwd=self.cwd, stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log)
        log.close()
        Program.running.append(self)

    def start(self, deadline_s=None):
        self.launch()
        self.wait_up(deadline_s)
        return self

    def wait_up(self, deadline_s=None):
        def is_up():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended with {self.process.returncode}; its last lines:\n{self.log()[-3000:]}")
            run = self.data / "run.json"
            if not run.exists():
                return None
            text = run.read_text()
            found = json.loads(text)
            return found if found["pid"] == self.process.pid else None  # else: left by a killed one
        self.ports = wait_for(f"{self.data}/run.json", is_up, deadline_s)
        # A restart comes back where the clients know it.
        for key, port in (("hub.mqtts_port", "mqtts"), ("hub.https_port", "https"), ("web.port", "web")):
            if self.ports.get(port):
                self.settings[key] = self.ports[port]

    def stop(self, deadline_s=60):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise Timeout(f"{self.kind} did not end within {deadline_s} s of SIGTERM:\n{self.log()[-2000:]}") from error
        self.forget()
        return code

    def kill(self):
        """kill -9, by the process's own id."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.forget()

    def forget(self):
        self.process = None
        if self in Program.running:
            Program.running.remove(self)

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # -- commands --

    def cli(self, *command, check=True, deadline_s=60):
        """Runs `vigil COMMAND…` on this data folder; returns (exit code, standard output, standard error)."""
        done = subprocess.run(self.arguments(*command), cwd=self.cwd, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=deadline_s, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"vigil {' '.join(command)} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-1500:]}")
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def add_device(self, device, *options, password=None):
        password = password or f"pw-{device}-0123456789"
        path = self.cwd / f"password-{device}"
        path.write_text(password + "\n")
        path.chmod(0o600)
        self.cli("device", "add", device, *options, "--password-file", str(path))
        if self.is_alive():  # the hub looks for news in the registry now and then
            wait_for(f"the hub to know {device}", lambda: self.may_connect(device, password), 10)
        return password

    def may_connect(self, device, password):
        stream = tls_socket(self)
        try:
            stream.sendall(mqtt_connect(device, password))
            return mqtt_read(stream) == (2, b"\x00\x00")
        finally:
            stream.close()

    def add_user(self, name, role, password):
        path = self.cwd / f"password-user-{name}"
        path.write_text(password + "\n")
        path.chmod(0o600)
        self.cli("user", "add", name, "--role", role, "--password-file", str(path))

    def make_token(self):
        """A program's bearer token, as an operator makes one."""
        self.cli("user", "add", "loader", "--role", "service")
        self.token = self.cli("user", "token", "loader")[1].decode().strip()
        return self.token

    def lake_rows(self, sql):
        return json.loads(self.cli("lake", "query", sql)[1])

    def records(self, topic, trace):
        out = self.cli("records", topic, "--trace", trace)[1].decode()
        return [json.loads(line) for line in out.splitlines()]

    def letters(self):
        out = self.cli("deadletter", "list", "--json")[1].decode()
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def trace(self, *what):
        return json.loads(self.cli("trace", *what, "--json")[1])

    # -- HTTPS, trusting the made authority and nothing else --

    @property
    def ca(self):
        return str(self.data / "tls/ca.crt")

    def call(self, method, path, body=None, headers=None, port=None, timeout_s=20):
        """(status, headers, body bytes)"""
        connection = http.client.HTTPSConnection("127.0.0.1", port or self.ports["web"], timeout=timeout_s,
                                                 context=ssl.create_default_context(cafile=self.ca))
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def fhir(self, method, path, resource=None):
        """JSON of the answer; Refused for anything but 2xx."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/fhir+json"}
        body = None
        if resource is not None:
            headers["Content-Type"] = "application/fhir+json"
            body = json.dumps(resource).encode()
        status, _, text = self.call(method, f"/fhir{path}", body, headers)
        if status // 100 != 2:
            raise Refused(status, text.decode(errors="replace"))
        return json.loads(text) if text else None

    def search(self, query):
        """All matches of a search, over all its pages."""
        found, path = [], f"/{query}"
        while path:
            bundle = self.fhir("GET", path)
            found += [entry["resource"] for entry in bundle.get("entry", []) if entry.get("search", {}).get("mode", "match") == "match"]
            following = [link["url"] for link in bundle.get("link", []) if link["relation"] == "next"]
            path = None
            if following:
                path = following[0][following[0].index("/fhir/") + len("/fhir"):]
        return found

    def care(self, sql, *values):
        """Rows of the SQL repository, read by SQLite itself and read-only."""
        connection = sqlite3.connect(f"file:{self.data / 'care.db'}?mode=ro", uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]
        finally:
            connection.close()


class Browserless:
    """A logged-in person's calls of docs/api.md, without a browser."""

    def __init__(self, hub, user, password):
        self.hub = hub
        status, headers, body = hub.call("POST", "/api/login", json.dumps({"user": user, "password": password}),
                                         {"Content-Type": "application/json"})
        if status != 200:
            raise Refused(status, body.decode(errors="replace"))
        self.cookie = headers["Set-Cookie"].split(";")[0]
        self.csrf = json.loads(body)["csrf"]

    def get(self, path):
        status, _, body = self.hub.call("GET", f"/api{path}", headers={"Cookie": self.cookie})
        if status != 200:
            raise Refused(status, body.decode(errors="replace"))
        return json.loads(body)

    def post(self, path, body=None):
        status, _, text = self.hub.call("POST", f"/api{path}", json.dumps(body or {}),
                                        {"Cookie": self.cookie, "X-Vigil-CSRF": self.csrf, "Content-Type": "application/json"})
        if status != 200:
            raise Refused(status, text.decode(errors="replace"))
        return json.loads(text)


# ---- who is in the beds ----

def seed_patients(hub, patients, ward="Ward 4"):
    """patients: (patient id, family, given, birth date, gender, device id). One transaction over REST."""
    def put(resource):
        return {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}

    entries = [put({"resourceType": "Location", "id": "ward-4", "status": "active", "name": ward})]
    for number, (patient, family, given, born, gender, device) in enumerate(patients, 1):
        entries += [
            put({"resourceType": "Location", "id": f"bed-{patient}", "status": "active", "name": f"Bed {number}",
                 "partOf": {"reference": "Location/ward-4"}}),
            put({"resourceType": "Patient", "id": patient, "identifier": [{"system": "urn:example:mrn", "value": f"MRN-{patient}"}],
                 "name": [{"family": family, "given": [given]}], "birthDate": born, "gender": gender}),
            put({"resourceType": "Encounter", "id": f"enc-{patient}", "status": "in-progress",
                 "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
                 "subject": {"reference": f"Patient/{patient}"},
                 "location": [{"location": {"reference": f"Location/bed-{patient}"}, "status": "active"}]}),
        ]
        if device:
            entries.append(put(device_of(device, patient)))
    return hub.fhir("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries})


def device_of(device, patient):
    return {"resourceType": "Device", "id": f"dev-{device}", "identifier": [{"value": device}], "status": "active",
            "patient": {"reference": f"Patient/{patient}"}}


# ---- devices ----

def events_topic(device, properties=""):
    return f"devices/{device}/messages/events/{properties}"


def mosquitto_pub(server, device, password, payloads, version="311", topic=None, client=None, user=None, deadline_s=30):
    """Debian's client, over TLS, QoS 1. One payload (bytes), or many one-line ones (-l). The result is the process's."""
    words = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(server.ports["mqtts"]), "--cafile", server.ca,
             "-i", client or device, "-u", user or device, "-P", password, "-V", version, "-q", "1",
             "-t", topic or events_topic(device)]
    if isinstance(payloads, bytes):
        return subprocess.run(words + ["-s"], input=payloads, capture_output=True, timeout=deadline_s, check=False)
    return subprocess.run(words + ["-l"], input=b"".join(p + b"\n" for p in payloads), capture_output=True,
                          timeout=deadline_s, check=False)


def tls_socket(server, port=None, timeout_s=10):
    raw = socket.create_connection(("127.0.0.1", port or server.ports["mqtts"]), timeout_s)
    return ssl.create_default_context(cafile=server.ca).wrap_socket(raw, server_hostname="127.0.0.1")


def mqtt_string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack(">H", len(data)) + data


def mqtt_packet(kind, flags, body):
    length, rest = b"", len(body)
    while True:
        rest, digit = rest >> 7, rest & 0x7F
        length += bytes([digit | (0x80 if rest else 0)])
        if not rest:
            return bytes([kind << 4 | flags]) + length + body


def mqtt_connect(device, password, clean=True, user=None):
    return mqtt_packet(1, 0, mqtt_string("MQTT") + bytes([4, 0xC0 | (2 if clean else 0)]) + struct.pack(">H", 60) +
                       mqtt_string(device) + mqtt_string(user or device) + mqtt_string(password))


def mqtt_publish(topic, packet_id, payload, is_dup=False):
    return mqtt_packet(3, 2 | (8 if is_dup else 0), mqtt_string(topic) + struct.pack(">H", packet_id) + payload)


def mqtt_read(stream):
    """One packet from a blocking socket: (kind, body); None at its end."""
    def exactly(count):
        data = b""
        while len(data) < count:
            more = stream.recv(count - len(data))
            if not more:
                return None
            data += more
        return data

    head = exactly(1)
    if not head:
        return None
    length = shift = 0
    while True:
        digit = exactly(1)
        if not digit:
            return None
        length |= (digit[0] & 0x7F) << shift
        shift += 7
        if not digit[0] & 0x80:
            break
    body = exactly(length) if length else b""
    return None if body is None else (head[0] >> 4, body)


class LoadClient(threading.Thread):
    """A device that sends QoS 1 without pause: MQTT 3.1.1 over TLS, a window of unacknowledged messages,
    which it sends again with DUP on a new connection. `ledger` holds what was acknowledged, in order of
    sending; a message is acknowledged when its PUBACK has been read, never before."""

    def __init__(self, server, device, password, make, window=16, pause_s=0.0, count=None):
        super().__init__(name=f"load-{device}", daemon=True)
        self.server, self.device, self.password, self.make = server, device, password, make
        self.window, self.pause_s, self.count = window, pause_s, count
        self.waiting = collections.OrderedDict()  # packet id -> (number, payload), in order of sending
        self.ledger = []                          # (number, payload)
        self.sent = 0                             # numbers given out: 0, 1, 2 …
        self.connections = 0
        self.wrong = []                           # what a server must not do
        self.is_ending = threading.Event()        # sends no more, waits for what is unacknowledged
        self.is_stopped = threading.Event()
        self.lock = threading.Lock()
        self.packet_id = 0

    def acked(self):
        with self.lock:
            return len(self.ledger)

    def run(self):
        while not self.is_stopped.is_set() and not self.is_done():
            try:
                self.session()
            except (OSError, ssl.SSLError):
                pass  # the server went away: that is the test
            self.is_stopped.wait(0.02)

    def is_done(self):
        is_all_sent = self.is_ending.is_set() or (self.count is not None and self.sent >= self.count)
        return is_all_sent and not self.waiting

    def session(self):
        stream = tls_socket(self.server, timeout_s=5)
        try:
            stream.sendall(mqtt_connect(self.device, self.password, clean=False))
            answer = mqtt_read(stream)
            if not answer or answer[0] != 2:
                return
            if answer[1][1] != 0:
                if answer[1][1] not in (3,):  # unavailable: try again
                    self.wrong.append(f"CONNACK code {answer[1][1]}")
                return
            self.connections += 1
            for packet_id, (_, payload) in self.waiting.items():
                stream.sendall(mqtt_publish(events_topic(self.device), packet_id, payload, is_dup=True))
            self.talk(stream)
        finally:
            stream.close()

    def talk(self, stream):
        next_at = 0.0
        while not self.is_stopped.is_set() and not self.is_done():
            may_send = len(self.waiting) < self.window and not self.is_ending.is_set() and \
                (self.count is None or self.sent < self.count)
            now = time.monotonic()
            if may_send and now >= next_at:
                self.send_one(stream)
                next_at = now + self.pause_s
                timeout = 0.0
            else:
                timeout = 0.2 if not may_send else min(0.2, next_at - now)
            while stream.pending() or select.select([stream], [], [], timeout)[0]:
                if not self.take(stream):
                    return
                timeout = 0.0

    def send_one(self, stream):
        number, self.sent = self.sent, self.sent + 1
        payload = self.make(self.device, number)
        self.packet_id = self.packet_id % 65535 + 1
        self.waiting[self.packet_id] = (number, payload)  # before it is sent: a broken send is sent again
        stream.sendall(mqtt_publish(events_topic(self.device), self.packet_id, payload))

    def take(self, stream):
        packet = mqtt_read(stream)
        if packet is None:
            return False
        kind, body = packet
        if kind == 4:
            packet_id = struct.unpack(">H", body[:2])[0]
            message = self.waiting.pop(packet_id, None)
            if message is None:
                self.wrong.append(f"PUBACK for packet {packet_id}, which was not waiting")
            else:
                with self.lock:
                    self.ledger.append(message)
        return True

    def finish(self, deadline_s=60):
        """Sends no more; all that was sent is acknowledged when this returns."""
        self.is_ending.set()
        self.join(deadline_s)
        if self.is_alive():
            self.is_stopped.set()
            self.join(10)
            raise Timeout(f"{self.device}: {len(self.waiting)} messages without PUBACK after {deadline_s} s")


# ---- the care team's channel ----

class CardReceiver:
    """Takes cards as Teams or a pager gateway would; remembers each with its Idempotency-Key.
    refuse(number) may answer True: that request gets 503."""

    def __init__(self, refuse=None):
        self.requests = []  # (path, key, body, status)
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with receiver.lock:
                    number = len(receiver.requests)
                    status = 503 if refuse and refuse(number) else 202
                    receiver.requests.append((self.path, self.headers.get("Idempotency-Key"), json.loads(body), status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"

    def taken(self, path=None):
        """(path, key, body) of what was answered with 2xx."""
        with self.lock:
            return [(p, key, body) for p, key, body, status in self.requests if status // 100 == 2 and path in (None, p)]


# ---- the journal's own words, by the tools ----

def archive_payloads(hub):
    """Every raw message in the archive: (trace id, device, payload bytes), from `vigil archive cat`."""
    out = hub.cli("archive", "cat", deadline_s=120)[1]
    found = []
    for line in out.splitlines():
        if not line.strip():
            continue
        record = json.loads(line)
        payload = record["payload"].encode() if record.get("payloadEncoding", "utf-8") == "utf-8" else base64.b64decode(record["payload"])
        found.append((record["trace"], record["device"], payload))
    return found


def quoted(text):
    return urllib.parse.quote(text, safe="")


def seeded(name):
    """Chance that can be had again: VIGIL_SEED, else fixed."""
    seed = int(os.environ.get("VIGIL_SEED", "20260314"))
    print(f"{name}: seed {seed} (VIGIL_SEED sets it)", flush=True)
    return random.Random(seed)
