#!/usr/bin/env python3
"""mapping_cli.py -- the contract of `vigil mapping`: its documents, its lines and its exit codes.

0: no error. 1: errors, said on standard output (test, validate) or standard error. 2: wrong usage, or a file
that is not there. What standard output holds is never mixed with anything else.
"""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

DEVICE = h.SOURCE / "mappings/ward-device.json"
FHIR = h.SOURCE / "mappings/ward-fhir.json"
GOOD = {"time": "2026-03-14T10:00:00Z", "hr": 72}
ENVELOPE = {"Body": GOOD, "Properties": {}, "SystemProperties": {"iothub-connection-device-id": "bed-4",
                                                                 "iothub-enqueuedtime": "2026-03-14T10:00:01.5Z"}}
RESULT = {"message", "measurements", "observations", "errors"}
ERROR = {"type", "message", "line", "column", "path"}


def vigil(work, *words):
    done = subprocess.run([h.program(), "mapping", *map(str, words)], cwd=work, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")


def line_of(path, part):
    text = path.read_text()
    return text[:text.index(part)].count("\n") + 1


def document(out):
    found = json.loads(out)
    is_whole = list(found) == ["results", "templateErrors"] and all(set(r) - {"warnings"} == RESULT for r in found["results"]) and \
        all(set(e) == ERROR for e in found["templateErrors"] + [e for r in found["results"] for e in r["errors"]])
    return found if is_whole else {"results": [], "templateErrors": [], "wrong": found}


def test_documents(checks, work, files):
    checks.heading("mapping test")
    rows = [  # words, exit code, what the document says
        ("a body has no device id", ["--device", DEVICE, files["good"]], 1,
         lambda d: d["results"][0]["errors"][0]["type"] == "IncompatibleDataException" and d["results"][0]["errors"][0]["line"] == 9),
        ("an envelope without a FHIR mapping", ["--device", DEVICE, "--envelope", files["envelope"]], 0,
         lambda d: d["results"][0]["measurements"] == [{
             "type": "heartrate", "occurrenceTimeUtc": "2026-03-14T10:00:00Z", "ingestionTimeUtc": "2026-03-14T10:00:01.5Z",
             "deviceId": "bed-4", "properties": [{"name": "hr", "value": "72"}]}] and d["results"][0]["observations"] == []),
        ("with one: an Observation", ["--device", DEVICE, "--fhir", FHIR, "--envelope", files["envelope"]], 0,
         lambda d: [o["valueQuantity"]["value"] for o in d["results"][0]["observations"]] == [72]),
        ("several messages, in their order", ["--device", DEVICE, "--envelope", files["envelope"], files["empty"], files["envelope"]], 0,
         lambda d: [(r["message"], len(r["measurements"])) for r in d["results"]] ==
         [(str(files["envelope"]), 1), (str(files["empty"]), 0), (str(files["envelope"]), 1)]),
        ("one that is wrong does not stop the others", ["--device", DEVICE, "--envelope", files["broken"], files["envelope"]], 1,
         lambda d: d["results"][0]["errors"][0]["type"] == "InvalidDataFormatException" and
         (d["results"][0]["errors"][0]["line"], d["results"][0]["errors"][0]["path"]) == (2, "") and
         len(d["results"][1]["measurements"]) == 1),
        ("compat is taken", ["--device", DEVICE, "--fhir", FHIR, "--compat", "medtech", "--envelope", files["envelope"]], 0,
         lambda d: "effectivePeriod" in d["results"][0]["observations"][0]),
        ("with errors in a mapping no message is tried", ["--device", files["wrong"], files["good"]], 1,
         lambda d: d["results"] == [] and d["templateErrors"][0]["type"] == "InvalidTemplateException" and
         d["templateErrors"][0]["line"] == 3),
    ]
    for what, words, code, is_right in rows:
        found = vigil(work, "test", *words)
        checks.check(what, (found[0], is_right(document(found[1])), found[2]), (code, True, ""))


def test_lines(checks, work, files):
    checks.heading("mapping validate")
    at = line_of(files["other"], '"template": {')
    rows = [  # words, exit code, lines of standard output, the end of standard error
        ("a pair that is right", ["--device", DEVICE, "--fhir", FHIR], 0, [], "0 errors, 0 warnings\n"),
        ("one alone", ["--fhir", FHIR], 0, [], "0 errors, 0 warnings\n"),
        ("an error has its place", ["--device", files["wrong"]], 1, [f"{files['wrong']}:3:"], "errors, 0 warnings\n"),
        ("a warning is no error", ["--device", files["other"], "--fhir", FHIR], 0, [f"{files['other']}:{at}:"], "0 errors, 1 warnings\n"),
    ]
    for what, words, code, starts, end in rows:
        found = vigil(work, "validate", *words)
        lines = found[1].splitlines()
        kind = " error: " if code else " warning: "
        checks.check(what, (found[0], [line.startswith(tuple(starts)) and kind in line for line in lines[:max(1, len(starts))]],
                            found[2].endswith(end)), (code, [True] * len(starts), True))


def test_aggregate(checks, work, files):
    checks.heading("many messages")
    found = vigil(work, "test", "--device", DEVICE, "--envelope", "--aggregate", files["broken"], files["bare"], files["envelope"], files["empty"],
                  files["bare"], files["broken"], files["bare"])
    results = json.loads(found[1])["results"]
    checks.check("each different error once, with its first message and how many have it",
                 (found[0], [(r["message"], len(r["errors"]), len(r.get("warnings", [])), r["aggregatedCount"]) for r in results], found[2]),
                 (1, [(str(files["broken"]), 1, 0, 2), (str(files["bare"]), 1, 0, 3), (str(files["empty"]), 0, 1, 1)], ""))
    checks.check("with its place", [(e["line"], e["path"]) for e in results[1]["errors"]], [(9, "template[0].template.deviceIdExpression")])
    found = vigil(work, "test", "--device", DEVICE, "--envelope", "--aggregate", files["envelope"])
    checks.check("nothing wrong, nothing told", (found[0], json.loads(found[1])), (0, {"results": [], "templateErrors": []}))


DEVICE_LINES = """{
  "templateType": "CollectionContent",
  "template": [
    {
      "templateType": "CalculatedContent",
      "template": {
        "typeName": "t",
        "typeMatchExpression": "$.Body",
        "deviceIdExpression": "$.Body.d",
        "timestampExpression": {"value": "Body.t", "language": "JmesPath"},
        "values": [
          {"valueName": "p", "valueExpression": "$.x", "required": true}
        ]
      }
    }
  ]
}"""
FHIR_LINES = """{
  "templateType": "CollectionFhir",
  "template": [
    {
      "templateType": "CodeValueFhir",
      "template": {
        "typeName": "t",
        "periodInterval": 60,
        "codes": [],
        "value": {"valueType": "Quantity", "valueName": "p"},
        "components": [
          {"codes": [], "value": {"valueType": "Quantity", "valueName": "q"}}
        ]
      }
    }
  ]
}"""
FAULTS = [  # in which file, what is written instead of what, what the error is about (its place), and a part of its text
    (0, '"$.Body.d"', '"$.Body["', '"$.Body["', "deviceIdExpression"), (0, '"$.Body.d"', "null", "null", "expected an expression"),
    (0, '"$.Body.d"', '""', '""', "expected an expression"), (0, '"$.Body.d"', "7", "7", "expected an expression"),
    (0, '        "deviceIdExpression": "$.Body.d",\n', "", '{\n        "typeName"', "'deviceIdExpression' is missing"),
    (0, '        "typeName": "t",\n', "", '{\n        "typeMatch', "'typeName' is missing"), (0, '"typeName": "t"', '"typeName": 5', "5,", "expected a text"),
    (0, '"JmesPath"', '"XPath"', '"XPath"', "expected JsonPath or JmesPath"), (0, '"Body.t"', '"Body..t"', '"Body..t"', "'value'"),
    (0, '"Body.t"', '"nothing(Body)"', '"nothing(Body)"', "'value'"), (0, '"Body.t"', '"add(Body)"', '"add(Body)"', "'value'"),
    (0, '"value": "Body.t", ', "", '{"language"', "'value' is missing"), (0, '"language"', '"lang"', '"JmesPath"', "unknown member 'lang'"),
    (0, '"required": true', '"required": "yes"', '"yes"', "expected true or false"), (0, '"valueName": "p", ', "", '{"valueExpression"', "'valueName' is missing"),
    (0, '"required": true', '"unit": "bpm"', '"bpm"', "unknown member 'unit'"), (0, '"CalculatedContent"', '"Other"', '"Other"', "as templateType, found 'Other'"),
    (0, '"CollectionContent"', '"Other"', '"Other"', "expected templateType CollectionContent"), (0, '"typeName": "t",', '"typeName": "t" ', '"typeMatchExpression"', "not JSON"),
    (1, '        "codes": [],\n', "", '{\n        "typeName"', "'codes' is missing"), (1, "60", "61", "61", "periodInterval"), (1, '"Quantity", "valueName": "p"', '"Number", "valueName": "p"', '{"valueType": "Number"', "valueType"),
    (1, '"Quantity", "valueName": "p"', '"SampledData", "valueName": "p"', '{"valueType": "Sampled', "defaultPeriod"),
    (1, '"Quantity", "valueName": "p"', '"CodeableConcept", "valueName": "p"', '{"valueType": "Codeable', "'codes' is missing"),
    (1, ', "value": {"valueType": "Quantity", "valueName": "q"}', "", '{"codes": []}', "'value' is missing"), (1, '"typeName": "t"', '"typeName": " "', '" "', "not blank"),
    (1, '"periodInterval": 60', '"interval": 60', "60", "unknown member 'interval'"), (1, '"CollectionFhir"', '"CollectionContent"', '"CollectionContent"', "expected templateType CollectionFhir"),
]


def test_places(checks, work):
    checks.heading("each error of a mapping at its line and column")
    for which, old, new, place, part in FAULTS:
        text = [DEVICE_LINES, FHIR_LINES][which]
        wrong = text.replace(old, new, 1)
        at = wrong.index(place, wrong.index(new) if new and new in place else 0)
        path = work / ("place-fhir.json" if which else "place-device.json")
        path.write_text(wrong)
        line, column = wrong[:at].count("\n") + 1, at - (wrong[:at].rfind("\n") + 1) + 1
        found = vigil(work, "validate", "--fhir" if which else "--device", path)
        lines = found[1].splitlines()
        checks.check(f"{old.strip()} -> {new or 'nothing'}", (found[0], len(lines), lines[0].startswith(f"{path}:{line}:{column}: error: "), part in lines[0]),
                     (1, 1, True, True))
    device, fhir = work / "place-device.json", work / "place-fhir.json"
    device.write_text(DEVICE_LINES.replace('"t",', '"T2",', 1).replace('"$.Body.d"', "0").replace('"required"', '"r"'))
    fhir.write_text(FHIR_LINES.replace("60", "61").replace('"t"', '""'))
    found = vigil(work, "validate", "--device", device, "--fhir", fhir)
    checks.check("several, from top to bottom, the device mapping first", [line.split(": error: ")[0].rsplit(":", 1)[0] for line in found[1].splitlines()],
                 [f"{device}:9", f"{device}:12", f"{fhir}:7", f"{fhir}:8"])
    device.write_text(DEVICE_LINES)
    fhir.write_text(FHIR_LINES.replace('"valueName": "p"', '"valueName": "P"').replace('"q"', '"Q"'))
    found = vigil(work, "validate", "--device", device, "--fhir", fhir)
    checks.check("a value that is not used: its place, and what is", (found[0], found[1]),
                 (0, f"{device}:12:49: warning: the FHIR mapping's template 't' does not use the value 'p'; it uses: P, Q\n"))
    fhir.write_text(FHIR_LINES.replace('"typeName": "t"', '"typeName": "u"'))
    found = vigil(work, "validate", "--device", device, "--fhir", fhir)
    checks.check("a type without a template: its place, and which there are", (found[0], found[1]),
                 (0, f"{device}:6:19: warning: the FHIR mapping has no template for type 't'; it has: u\n"))


def test_usage(checks, work, files):
    checks.heading("wrong usage and missing files")
    for what, words in [
            ("nothing", []), ("an unknown command", ["try"]), ("test without a message", ["test", "--device", DEVICE]),
            ("test without a device mapping", ["test", files["good"]]), ("validate without a file", ["validate"]),
            ("validate with a message", ["validate", "--device", DEVICE, files["good"]]),
            ("an unknown compat", ["test", "--device", DEVICE, "--compat", "old", files["good"]]),
            ("an unknown option", ["validate", "--device", DEVICE, "--quick"]),
            ("validate in groups", ["validate", "--device", DEVICE, "--aggregate"]),
            ("a rollback to nothing", ["rollback"]), ("a reload with words", ["reload", "now"]),
            ("a mapping that is not there", ["validate", "--device", work / "none.json"]),
            ("a message that is not there", ["test", "--device", DEVICE, work / "none.json"])]:
        found = vigil(work, *words)
        checks.check(what, (found[0], found[1], found[2].startswith(("usage: ", "vigil: "))), (2, "", True))
    for words in (["test", "--device", DEVICE, files["good"]], ["validate", "--device", files["wrong"]]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([h.program(), "mapping", *map(str, words)], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
        checks.check(f"{words[0]}: standard output takes nothing", (done.returncode, b"vigil: app.output: " in done.stderr), (1, True))
    for what, words, why in [
            ("no command", [], "expected test, validate"), ("an unknown option", ["test", "--device", DEVICE, "--quick", files["good"]], "--quick"),
            ("an option without its value", ["validate", "--device"], "--device"), ("no mapping", ["test", files["good"]], "expected --device FILE"),
            ("no message", ["test", "--device", DEVICE], "at least one MESSAGE"), ("a compat", ["test", "--device", DEVICE, "--compat", "old", files["good"]], "found 'old'"),
            ("a message to validate", ["validate", "--device", DEVICE, files["good"]], "takes no message"), ("a reload", ["reload", "now"], "reload: expected nothing more")]:
        checks.check(f"what is wrong is said: {what}", why in vigil(work, *words)[2].splitlines()[0], True)
    found = vigil(work, "--help")
    checks.check("help is no error", (found[0], found[1].startswith("usage: vigil mapping test"), found[2]), (0, True, ""))


def test_running(checks, work):
    checks.heading("with and without a platform")
    device = work / "running-device.json"
    device.write_text(DEVICE.read_text())
    hub = h.Program(work, connector__device_mapping=device, connector__fhir_mapping=FHIR, score__model="")
    checks.check("nobody runs: said, and what then", (lambda f: (f[0], f[1], "no platform runs on" in f[2]))(hub.cli("mapping", "reload", check=False)), (1, b"", True))
    checks.check("nothing was put in force yet", hub.cli("mapping", "versions", check=False)[0], 1)
    hub.start()
    first = json.loads(hub.cli("mapping", "versions", "--json")[1])
    checks.check("the history", ([set(e) for e in first], first[0]["how"], first[0]["who"]), ([{"version", "time", "who", "how"}], "start", "vigil"))
    one = first[0]["version"]
    checks.check("as it is", hub.cli("mapping", "reload")[1].decode(), f"{one} is active already\n")
    device.write_text(device.read_text() + "\n")
    out = hub.cli("mapping", "reload")[1].decode().split()
    checks.check("changed", (out[1:-1], out[-1]), (["is", "active,", "it", "was"], one))
    checks.check("back", hub.cli("mapping", "rollback", one)[1].decode(), f"{one} is active, it was {out[0]}\n")
    found = hub.cli("mapping", "rollback", "0123456789abcdef", check=False)
    checks.check("a version that never was", (found[0], found[1], "there is no version" in found[2]), (1, b"", True))
    device.write_text('{"templateType": "CollectionContent",\n  "template": [{}]}')
    found = hub.cli("mapping", "reload", check=False)
    checks.check("a wrong file: its place, and the old one stays", (found[0], found[1].decode().startswith(f"{device}:2:"), found[2].startswith("vigil: connector.mapping: ")), (1, True, True))
    lines = hub.cli("mapping", "versions")[1].decode().splitlines()
    checks.check("the list marks the active one", ([line[0] for line in lines], lines[0].split()[1], lines[0].split()[3]), (["*", " ", " "], one, "rollback"))
    checks.check("it ends in order", hub.stop(), 0)
    hub.start()
    checks.check("a start over the wrong file keeps the active one", json.loads(hub.cli("mapping", "versions", "--json")[1])[0]["version"], one)
    status, _, body = hub.call("GET", "/api/health")
    checks.check("and says so", (status, [t["code"] for t in json.loads(body)["troubles"]]), (503, ["connector.mapping"]))
    checks.check("it ends in order", hub.stop(), 0)


def main(checks, work):
    files = {name: work / f"{name}.json" for name in ("good", "envelope", "bare", "empty", "broken", "wrong", "other")}
    files["good"].write_text(json.dumps(GOOD))
    files["envelope"].write_text(json.dumps(ENVELOPE))
    files["bare"].write_text(json.dumps({"Body": GOOD}))
    files["empty"].write_text(json.dumps({**ENVELOPE, "Body": {}}))
    files["broken"].write_text('{"Body":\n]}')
    files["wrong"].write_text('{"templateType": "CollectionContent", "template": [\n  {"templateType": "CalculatedContent",\n   "template": {"typeName": 1}}]}')
    files["other"].write_text(json.dumps(json.loads(DEVICE.read_text())["template"][0], indent=2).replace("heartrate", "pulse"))
    files["other"].write_text('{"templateType": "CollectionContent", "template": [\n' + files["other"].read_text() + "]}")
    test_documents(checks, work, files)
    test_lines(checks, work, files)
    test_places(checks, work)
    test_aggregate(checks, work, files)
    test_usage(checks, work, files)
    test_running(checks, work)


h.run_script("mapping_cli", main)
