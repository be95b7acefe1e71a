"""service.py -- `vigil fhir` for the FHIR scripts: started on a free port of loopback, asked over plain HTTP."""
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import harness as h  # noqa: E402

JSON = "application/fhir+json"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.text = status, headers, body

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def issue(self):
        """The first issue's code, when this is an OperationOutcome."""
        body = self.json
        return body["issue"][0]["code"] if body["resourceType"] == "OperationOutcome" else None

    def ids(self):
        return [e["resource"]["id"] for e in self.json.get("entry", []) if e.get("search", {}).get("mode", "match") == "match"]

    def link(self, relation):
        return next((l["url"] for l in self.json.get("link", []) if l["relation"] == relation), None)


class Service:
    """Runs until stop() or kill(); what is left is ended with the script."""

    def __init__(self, program, data, *options, secure=False):
        self.program, self.data, self.options, self.secure = program, pathlib.Path(data), options, secure
        self.port, self.process, self.local = 0, None, threading.local()

    def start(self, deadline_s=60):
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = open(self.data.with_suffix(".log"), "ab")
        self.process = subprocess.Popen([self.program, "fhir", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data),
                                         *([] if self.secure else ["--insecure-no-auth"]), *self.options], stdout=subprocess.PIPE, stderr=self.log)
        h.Program.running.append(self)
        self.base = self.process.stdout.readline().decode().strip()
        if not self.base:
            raise RuntimeError(f"vigil fhir ended with {self.process.wait(deadline_s)}, see {self.log.name}")
        self.port = urllib.parse.urlsplit(self.base).port
        self.local = threading.local()
        self.tls = ssl.create_default_context(cafile=str(self.data / "tls/ca.crt")) if self.secure else None
        h.wait_for("metadata", lambda: self("GET", "/metadata").status == 200, deadline_s)
        return self

    def kill(self):
        if self.process.poll() is not None:
            return
        self.process.kill()
        self.process.wait(30)
        self.process.stdout.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(60)
        self.process.stdout.close()
        return code

    def __call__(self, method, path, body=None, **headers):
        """path is below the base, or an address that the service gave. body: a dict or text. Headers: If_Match="…"."""
        if path.startswith(self.base):
            path = path[len(self.base):]
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        head = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None and "Content-Type" not in head:
            head["Content-Type"] = JSON
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            if not connection:
                connection = self.local.connection = \
                    http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.tls) if self.secure else \
                    http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request(method, "/fhir" + urllib.parse.quote(path, safe="/?&=%:|,$+*;@"), data.encode() if data is not None else None, head)
                answer = connection.getresponse()
                return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A connection that was idle too long. Only what can be asked twice is asked twice.
                self.local.connection = None
                if attempt == 2 or method not in ("GET", "HEAD"):
                    raise
            except Exception:
                self.local.connection = None
                raise

    def create(self, resource, **headers):
        answer = self("POST", "/" + resource["resourceType"], resource, **headers)
        assert answer.status == 201, (answer.status, answer.text)
        return answer.json

    def raw(self, text):
        """These bytes on a connection of their own, which the server then closes."""
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())

    def put(self, resource, **headers):
        return self("PUT", f"/{resource['resourceType']}/{resource['id']}", resource, **headers)


def patient(id=None, mrn=None, **more):
    made = {"resourceType": "Patient"}
    if id:
        made["id"] = id
    if mrn:
        made["identifier"] = [{"system": "urn:mrn", "value": mrn}]
    return made | more


def pulse(id=None, who="Patient/p1", value=72, at="2026-03-14T10:00:00Z", **more):
    made = {"resourceType": "Observation", "status": "final",
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}, "subject": {"reference": who}, "effectiveDateTime": at,
            "valueQuantity": {"value": value, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}}
    if id:
        made["id"] = id
    return made | more
