#!/usr/bin/env python3
"""mapping_rules.py -- what mappings make of messages, seen from outside: `vigil mapping test`, in both modes.

A row is a message's member x (as JSON text), an expression over it, and what comes out by default and with
`--compat medtech`: a text, NONE (no such value, no error), or the type of the error. The unit tests of the
connector go deeper; these are the answers that people compare with MedTech's.
"""
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

T = "2026-03-14T10:00:00Z"
D = "2019-02-01T22:46:01"
NONE = None
INCOMPATIBLE = "!IncompatibleDataException"
AMBIGUOUS = "!TemplateExpressionException"
FAILS = "!NormalizationDataMappingException"
NO_JSON = "!InvalidDataFormatException"
QUANTITY = "!InvalidQuantityFhirValueException"
REFUSED = "!InvalidTemplateException"
SAME = object()
X = "$.matchedToken.x"

# A value as the message has it, and as text. By default; with medtech where that is something else.
TEXTS = [
    ('"a text"', "a text"), ("12", "12"), ("-0", "0"), ("65.50", "65.5"), ("65.0", "65"), ("-0.0", "-0"), ("1E2", "100"),
    ("27.980980248719824", "27.980980248719824", "27.9809802487198"), ("0.30000000000000004", "0.30000000000000004", "0.3"),
    ("999999999999999.9", "999999999999999.9", "1E+15"), ("100000000000000.0", "100000000000000"), ("1e15", "1E+15"), ("0.0001", "0.0001"),
    ("0.00001", "1E-05"), ("9223372036854775807", "9223372036854775807"), ("9223372036854775808", NONE), ("1e400", "Infinity"),
    ("NaN", "NaN"), ("-Infinity", "-Infinity"), ("0x1F", "31"), ("017", "15"), ("true", "true", "True"), ("null", NONE), ("{}", NONE), ("[1]", NONE),
    ('""', ""), ('"  "', "  "), ("'it is \"so\"'", 'it is "so"'), ("/* why */ 5 // so", "5"), ('"\\ud83d\\ude00"', "\U0001f600"), ("08", NO_JSON), ('"\\x"', NO_JSON),
    (f'"{D}Z"', f"{D}Z", "02/01/2019 22:46:01"), (f'"{D}.875+02:00"', f"{D}.875+02:00", "02/01/2019 20:46:01"),
    (f'"{D}-0500"', f"{D}-0500", "02/02/2019 03:46:01"), ('"2019-02-01T24:00:00Z"', "2019-02-01T24:00:00Z", "02/02/2019 00:00:00"),
    ('"/Date(1549061161000)/"', "/Date(1549061161000)/", "02/01/2019 22:46:01"), (f'"{D}.12345678Z"', f"{D}.12345678Z"),
    ('"2019-02-29T22:46:01Z"', "2019-02-29T22:46:01Z"), ('"2019-02-01T22:46Z"', "2019-02-01T22:46Z"), ('"2019-02-01"', "2019-02-01"),
]

# A required text.
REQUIRED = [('"a"', "a"), ("null", INCOMPATIBLE), ('""', INCOMPATIBLE), ('" \\u00a0\\u3000"', INCOMPATIBLE), ("{}", INCOMPATIBLE), ("12345678901234567890", INCOMPATIBLE)]

TIMES = [
    (f'"{D}.875Z"', f"{D}.875Z"), (f'"{D}+02:00"', "2019-02-01T20:46:01Z"), (f'"{D}"', f"{D}Z"), ('"2019-02-01"', "2019-02-01T00:00:00Z"), ('"02/01/2019 10:46:01 PM"', f"{D}Z"),
    ('"Fri, 01 Feb 2019 22:46:01 GMT"', f"{D}Z"), ('"Thu, 01 Feb 2019 22:46:01 GMT"', INCOMPATIBLE), (f'"{D}.123456789Z"', f"{D}.1234568Z"),
    ('"2019-02-01T22:46:60Z"', "2019-02-01T22:46:59Z", INCOMPATIBLE), ("1549061161", INCOMPATIBLE), ('"20190201T224601Z"', INCOMPATIBLE), ('"1549061161"', INCOMPATIBLE),
    ("true", INCOMPATIBLE), ('""', INCOMPATIBLE), ("null", INCOMPATIBLE), ('"2019-02-30"', INCOMPATIBLE),
]

LIST = '[{"a":1,"b":"u"},{"a":2.0,"b":"v"},{"a":"2","b":"w"},{"a":null,"b":"n"},{"c":1,"b":"c"}]'


def one(value):
    return f'[{{"a":{value},"b":"hit"}}]'


PATHS = [  # expression, x, what comes out
    ("matchedToken.x", "1", "1"), ("$['matchedToken']('x')", "1", "1"), (X + "[0]", "[7,8]", "7"), (X + "[5]", "[7]", NONE), (X + "[-1]", "[7]", FAILS),
    (X + "[-1:]", "[7,8]", "8"), (X + "[0:2]", "[7,8]", AMBIGUOUS), (X + "[*]", "[7]", "7"), (X + "[*]", '{"a":7}', NONE), (X + ".*", '{"a":7}', "7"), (X + ".*", "[7]", NONE),
    (X + "['a','b']", '{"a":7}', "7"), ("$..x", "1", AMBIGUOUS), ("$.Body..x", "1", "1"), (X + "..[0]", "[7,[8]]", "7"), (X + "..*", "5", "5"),
    (X + "[?(@.a == 1)].b", LIST, "u"), (X + "[?(@a == 2)].b", LIST, "v"), (X + "[?(@.a == '2')].b", LIST, "w"), (X + "[?(@.a == null)].b", LIST, "n"), (X + "[?(@.c)].b", LIST, "c"),
    (X + "[?(@.none != 1)].b", LIST, NONE), (X + "[?(@.c <> 2)].b", LIST, "c"), (X + "[?(@.b =~ /^U$/i)].b", LIST, "u"), (X + "[?(@.b =~ /(?i)^U$/)].b", LIST, "u"),
    (X + "[?(@.a == 1 && @.b == 'x' || @.c == 1)].b", LIST, NONE), (X + "[?(@.c == 1 || @.b == 'x' && @.none == 1)].b", LIST, "c"),
    (X + "[?(@.a > 99)].b", one('"101"'), "hit"), (X + "[?(@.a > 99)].b", one('"abc"'), FAILS), (X + "[?(@.a > 10)].b", one('"12.5"'), FAILS), (X + "[?(@.a > 10.0)].b", one('"12.5"'), "hit"),
    (X + "[?(@.a == 101)].b", one('"101"'), NONE), (X + "[?(@.a != 1)].b", one("[1]"), "hit"), (X + "[?(@.a == $.Body.d)].b", one('"bed-4"'), "hit"),
    (X + f"[?(@.a == '{D}Z')].b", one(f'"{D}Z"'), "hit"), (X + "[?(@.a =~ /2019/)].b", one(f'"{D}Z"'), "hit", NONE),
    (X + "[?(@.a)].b", '{"k":{"a":1,"b":2}}', NONE), (X + "..[?(@.a)].b", '{"k":{"a":1,"b":2}}', "2"), (X + "[?(@ > 5)]", "[5,6]", "6"),
    ("$.a[?(!@.b)]", "1", REFUSED), ('$["a"]', "1", REFUSED), ("$.a[?(@.b =~ /(?=a)/)]", "1", REFUSED),
]

JMESPATH = [
    ("X", "1", "1"), ("X[*]", "[7]", "7", NONE), ("X[*]", "[7,8]", AMBIGUOUS), ("X[*] | [0]", "[7,8]", "7"), ("X[?a==`2`].b", '[{"a":1,"b":5},{"a":2,"b":6}]', "6", NONE),
    ("X[?a]", '{"a":1}', NONE), ("to_array(X)[?a].a | [0]", '{"a":1}', "1"), ("X", "[7]", NONE), ("X && 'y'", "0", "y"), ("X || 'y'", "[]", "y"), ("X < 'b'", "1", NONE), ("X == `1`", '"1"', "false", "False"),
    ("to_number(X)", '" 12 "', "12"), ("to_number(X)", '"1e2"', "100"), ("to_number(X)", '"1,000"', NONE), ("to_string(X)", '{"a": [1, true]}', '{"a":[1,true]}'), ("abs(X)", "-3000000000", "3000000000", FAILS),
    ("ceil(X)", "1.2", "2"), ("sum(X)", "[1.5,1.5]", "3"), ("avg(X)", "[1,2]", "1.5"), ("join('-', X)", "[1]", FAILS), ("length(X)", "5", FAILS), ("length(X)", f'"{D}.875Z"', "24", "19"), ("contains(X, '2019')", f'"{D}Z"', "true", "False"),
    ("add(X, `2`)", "1", "3"), ("add(X, `2`)", '"1"', FAILS), ("add(none, `1`)", "1", FAILS), ("add(X, `1`)", "9223372036854775807", FAILS, "-9223372036854775808"), ("divide(X, `50`)", "40", "0.8", "0"),
    ("divide(X, `0`)", "4", FAILS), ("divide(X, `0.0`)", "4", FAILS, "Infinity"), ("pow(X, `-1`)", "2", "0.5", "0"), ("pow(X, `-1`)", "0.0", FAILS, "Infinity"), ("multiply(X, `0.5`)", "73", "36.5"),
    ("insertString(X, '-', `2`)", '"\U0001f600b"', "\U0001f600-b"), ("insertString(X, '-', `5`)", '"abcd"', FAILS), ("fromUnixTimestamp(X)", "1549061161", f"{D}Z", "02/01/2019 22:46:01"), ("fromUnixTimestamp(X)", "1.5", FAILS),
    ("fromUnixTimestampMs(X)", "1549061161875", f"{D}.875Z", "02/01/2019 22:46:01"), ("fromUnixTimestamp(X)", "253402300800", FAILS), ("Add(X, `1`)", "1", REFUSED), ("add(X)", "1", REFUSED), ("items(X)", "1", REFUSED), ("X..a", "1", REFUSED),
]

QUANTITIES = [
    ("72", 72), ('" 72.50 "', 72.5), ('"+5"', 5), ('"1,072.5"', QUANTITY, 1072.5), ('"5-"', QUANTITY, -5), ('"1E+2"', 100, QUANTITY), ("0.00001", 1e-5, QUANTITY), ('"NaN"', QUANTITY), ('"72 bpm"', QUANTITY),
    ("true", QUANTITY), ('"(5)"', QUANTITY), ('"0x10"', QUANTITY), ("NaN", QUANTITY), ('"99999999999999999999999999999999"', 10**32 - 1, QUANTITY), ("null", "!FhirDataMappingException", NONE),
]


def template(value=X, is_required=False, language="JsonPath", match="$.Body", time="$.matchedToken.t"):
    return {"templateType": "CalculatedContent", "template": {
        "typeName": "t", "typeMatchExpression": match, "deviceIdExpression": "$.Body.d", "timestampExpression": time,
        "values": [{"valueName": "p", "valueExpression": {"value": value, "language": language}, "required": is_required}]}}


FHIR = {"templateType": "CollectionFhir", "template": [{"templateType": "CodeValueFhir", "template": {
    "typeName": "t", "codes": [], "value": {"valueName": "p", "valueType": "Quantity", "unit": "bpm"}}}]}


class Table:
    def __init__(self, checks, work):
        self.checks, self.work, self.count, self.has_right_exit = checks, work, 0, False

    def test(self, device, bodies, mode, *words):
        """The document's results, one of each body; template errors: as many of that."""
        self.count += 1
        mapping = self.work / f"{self.count}.device.json"
        mapping.write_text(device if isinstance(device, str) else json.dumps(device))
        paths = []
        for i, body in enumerate(bodies):
            paths.append(self.work / f"{self.count}.{i}.json")
            paths[-1].write_text(body)
        done = subprocess.run([h.program(), "mapping", "test", "--device", mapping, "--compat", mode, *words, *paths], cwd=self.work,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        found = json.loads(done.stdout)
        results = found["results"] or [{"measurements": [], "observations": [], "errors": found["templateErrors"]}] * len(bodies)
        self.has_right_exit = done.returncode == (1 if any(r["errors"] for r in results) else 0)
        return results

    def rows(self, heading, rows, device_of, body_of, answer_of, *words):
        """Rows of one mapping go in one run."""
        self.checks.heading(heading)
        groups = {}
        for row in rows:
            groups.setdefault(json.dumps(device_of(row)), []).append(row)
        for device, group in groups.items():
            for column, mode in ((0, "default"), (1, "medtech")):
                results = self.test(json.loads(device), [body_of(row) for row in group], mode, *words)
                self.checks.check("exit code", self.has_right_exit)
                for row, result in zip(group, results):
                    wants = [cell for cell in row if not isinstance(cell, Input)]
                    want = wants[column] if len(wants) > column else wants[0]
                    errors = ["!" + e["type"] for e in result["errors"]]
                    found = errors[0] if errors else answer_of(result)
                    self.checks.check(f"{mode}: {' of '.join(map(str, (c for c in row if isinstance(c, Input))))}", found, want)


class Input(str):
    """A cell that goes in; the others say what comes out."""


def inputs(rows, count):
    return [tuple(Input(cell) if i < count else cell for i, cell in enumerate(row)) for row in rows]


def value_of(result):
    values = [p["value"] for p in result["measurements"][0]["properties"]]
    return values[0] if values else NONE


def collection(*templates):
    return {"templateType": "CollectionContent", "template": list(templates)}


def body(x):
    return f'{{"d":"bed-4","t":"{T}","x":{x}\n}}'


def test_tables(table):
    table.rows("values as text", inputs(TEXTS, 1), lambda r: collection(template()), lambda r: body(r[0]), value_of)
    table.rows("required values", inputs(REQUIRED, 1), lambda r: collection(template(is_required=True)), lambda r: body(r[0]), value_of)
    table.rows("times", inputs(TIMES, 1), lambda r: collection(template(time=X)), lambda r: body(r[0]), lambda r: r["measurements"][0]["occurrenceTimeUtc"])
    table.rows("JSONPath", inputs(PATHS, 2), lambda r: collection(template(r[0])), lambda r: body(r[1]), value_of)
    table.rows("JMESPath", inputs(JMESPATH, 2), lambda r: collection(template(r[0].replace("X", "matchedToken.x"), language="JmesPath")), lambda r: body(r[1]), value_of)
    fhir = table.work / "fhir.json"
    fhir.write_text(json.dumps(FHIR))
    table.rows("Quantity", inputs(QUANTITIES, 1), lambda r: collection(template()), lambda r: body(r[0]),
               lambda r: r["observations"][0].get("valueQuantity", {}).get("value"), "--fhir", fhir)


def test_matches(table):
    """What a match makes, and what an error in one leaves of the others."""
    table.checks.heading("matches and errors")
    for what, match, x, want, medtech in [
            ("each element", "$.Body.x[*]", '[{"v":1},{"v":2}]', ["1", "2"], SAME),
            ("the outer before the inner", "$..[?(@.v)]", '{"v":{"v":5}}', [INCOMPATIBLE, "5"], [INCOMPATIBLE]),
            ("an explicit null is there", "$..[?(@.n)]", '{"n":null,"v":1}', ["1"], SAME),
            ("nothing matches", "$.Body.none", "1", [], SAME),
            ("one of three is wrong", "$.Body.x[*]", '[{"v":1},{},{"v":3}]', [INCOMPATIBLE, "1", "3"], [INCOMPATIBLE, "1"]),
            ("text is behind the body", "$.Body.x", '{"v":1}}} and more', [NO_JSON], ["1"])]:
        for mode, expected in (("default", want), ("medtech", want if medtech is SAME else medtech)):
            result = table.test(collection(template("$.matchedToken.v", True, match=match, time="$.Body.t")), [body(x)], mode)[0]
            table.checks.check(f"{mode}: {what}", ["!" + e["type"] for e in result["errors"]] +
                               [m["properties"][0]["value"] for m in result["measurements"]], expected)


# ---- whole templates, as people bring them ----

def calculated(**members):
    """A CalculatedContent over B; `...` leaves a member out."""
    own = {"typeName": "t", "typeMatchExpression": "$.Body", "deviceIdExpression": "$.Body.d", "timestampExpression": "$.Body.t",
           "values": [{"valueName": "p", "valueExpression": "$.Body.x"}], **members}
    return {"templateType": "CalculatedContent", "template": {name: own[name] for name in own if own[name] is not ...}}


def jmes(**members):
    return calculated(**{"defaultExpressionLanguage": "JmesPath", "typeMatchExpression": "Body", "deviceIdExpression": "Body.d",
                         "timestampExpression": "Body.t", "values": values("Body.x"), **members})


def legacy(kind, **members):
    own = calculated(**{"typeMatchExpression": "$..[?(@x)]", "deviceIdExpression": "$.d", "timestampExpression": "$.t", "values": values("$.x"), **members})
    return {**own, "templateType": kind}


def values(*expressions):
    return [{"valueName": name, "valueExpression": e} for name, e in zip("pqrs", expressions)]


B = {"d": "dev", "t": T, "x": 5}
HUB = {"Body": {"x": 5}, "Properties": {"iothub-creation-time-utc": "no time"}, "SystemProperties": {"iothub-connection-device-id": "hub-1", "iothub-enqueuedtime": T}}
LENIENT = """{/* ours */ templateType: 'collectioncontentTEMPLATE', template: [{TemplateType: 'calculatedCONTENT', remark: {}, template: {
  typeName: 'old', typeName: 't', TYPEMATCHEXPRESSION: '$.Body', deviceIdExpression: 'Body.d', timestampExpression: '$.Body.t',
  Values: [{valuename: 'p', valueExpression: {VALUE: 'Body.x', LANGUAGE: 'jmespath'}, REQUIRED: 'TRUE',}]}}] // end
}"""
# What, device templates (or the mapping's text), message, what comes out, with medtech where that is something else. A measurement is written
# "type device name=value…"; one of another time than T has that, too.
WHOLE = [
    ("names and types ignore case, JSON is lenient, the last of a name counts", LENIENT, B, ["t dev p=5"]),
    ("CalculatedContentTemplate is no alias", [{**calculated(), "templateType": "CalculatedContentTemplate"}], B, [REFUSED]),
    ("JsonPathContentTemplate is", [legacy("JsonPathContentTemplate")], B, ["t dev p=5"]),
    ("IotCentralJsonPathContentTemplate is none", [legacy("IotCentralJsonPathContentTemplate")], B, [REFUSED]),
    ("a type without a name", [calculated(typeName="")], B, [" dev p=5"]),
    ("no values in the list", [calculated(values=[])], B, ["t dev"]),
    ("no list of values", [calculated(values=...)], B, [REFUSED]),
    ("no list of values in JsonPathContent", [legacy("JsonPathContent", values=...)], B, ["t dev"]),
    ("required as a number and as a text", [calculated(values=[{"valueName": "p", "valueExpression": "$.none", "required": 0}, {"valueName": "q", "valueExpression": "$.Body.x", "required": "False"}])],
     B, ["t dev q=5"]),
    ("IoT Hub's own: the id written is ignored, the second time counts", [legacy("IotJsonPathContent", typeMatchExpression="$..[?(@Body.x)]", deviceIdExpression="$.none", values=values("$.Body.x"))],
     HUB, ["t hub-1 p=5"]),
    ("IoT Hub's own, matched inside: the device is out of reach", [legacy("IotJsonPathContentTemplate", deviceIdExpression=...)], HUB, [INCOMPATIBLE]),
    ("IoT Central's", [legacy("IotCentralJsonPathContent", typeMatchExpression="$..[?(@telemetry.hr)]", values=values("$.telemetry.hr"))],
     {"deviceId": "c-1", "enqueuedTime": T, "telemetry": {"hr": 61}}, ["t c-1 p=61"]),
    ("both languages in one template", [jmes(deviceIdExpression={"value": "$.Body.d", "language": "jsonpath"}, values=values("to_string(matchedToken.x)"))], B, ["t dev p=5"]),
    ("an expression's language is the template's", [jmes(values=[{"valueName": "p", "valueExpression": {"value": "Body.l[0]"}}])], {**B, "l": [9]}, ["t dev p=9"]),
    ("an expression without text", [calculated(deviceIdExpression={"language": "JsonPath"})], B, [REFUSED]),
    ("scalars match", [calculated(typeMatchExpression="$.Body.l[*]", values=values("$.matchedToken"))], {**B, "l": [1, "a", None, True, 2.50]},
     ["t dev p=1", "t dev p=a", "t dev", "t dev p=true", "t dev p=2.5"], ["t dev p=1", "t dev p=a", "t dev", "t dev p=True", "t dev p=2.5"]),
    ("a correlation id that is not there", [calculated(correlationIdExpression="$.Body.c")], B, [INCOMPATIBLE]),
    ("a patient id that is not there", [calculated(patientIdExpression="$.Body.c")], B, ["t dev p=5"]),
    ("a name of a value twice", [calculated(values=values("$.Body.x") + values("$.Body.d"))], B, ["t dev p=5 p=dev"]),
    ("inside one another: the outer first", [legacy("JsonPathContent")], {**B, "d": "o", "x": {**B, "d": "i"}}, ["t o", "t i p=5"]),
    ("an application property matches too", [legacy("JsonPathContent", deviceIdExpression="$.x")], {"Body": {}, "Properties": {"x": "px", "t": T}, "SystemProperties": {}}, ["t px p=px"]),
    ("false is a match", [jmes(typeMatchExpression="Body.x == `7`", values=values("matchedToken"))], B, ["t dev p=false"], ["t dev p=False"]),
    ("null is none", [jmes(typeMatchExpression="Body.none")], B, []),
    ("a list that is no projection matches once", [jmes(typeMatchExpression="[Body.x, Body.d]", values=values("matchedToken[1]"))], B, ["t dev p=dev"]),
    ("a projection that goes on behind a pipe", [jmes(typeMatchExpression="Body.l[*] | [?a > `1`]", values=values("matchedToken.a"))], {**B, "l": [{"a": 1}, {"a": 2}, {"a": 3}]}, ["t dev p=2", "t dev p=3"]),
    ("lists in an object's members", [jmes(typeMatchExpression="Body.l.*[]", values=values("matchedToken"))], {**B, "l": {"k": [1], "m": [2, 3]}}, ["t dev p=1", "t dev p=2", "t dev p=3"]),
    ("each second one", [calculated(typeMatchExpression="$.Body.l[::2]", values=values("$.matchedToken"))], {**B, "l": [1, 2, 3]}, ["t dev p=1", "t dev p=3"]),
    ("odd names", [calculated(values=values("Body.heart-rate", "$['Body']['o2 sat']", "$.Body.\u00e4$@#"))], {**B, "heart-rate": 1, "o2 sat": 2, "\u00e4$@#": 3}, ["t dev p=1 q=2 r=3"]),
    ("a filter that looks at the root", [calculated(typeMatchExpression="$.Body.l[?(@.k == $.Body.x)]", values=values("$.matchedToken.v"))], {**B, "l": [{"k": 4, "v": "no"}, {"k": 5.0, "v": "yes"}]}, ["t dev p=yes"]),
    ("ids that are numbers", [calculated(deviceIdExpression="$.Body.n")], {**B, "n": 4711}, ["t 4711 p=5"]),
    ("an id that is a time", [calculated(deviceIdExpression="$.Body.t")], B, [f"t {T} p=5"], ["t 03/14/2026 10:00:00 p=5"]),
    ("an id that is an object", [calculated(deviceIdExpression="$.Body.o")], {**B, "o": {}}, [INCOMPATIBLE]),
    ("two tokens for what is optional", [calculated(patientIdExpression="$.Body['d','x']")], B, [AMBIGUOUS]),
    ("templates in the file's order", [calculated(typeName="b"), calculated(typeName="a")], B, ["b dev p=5", "a dev p=5"]),
    ("Microsoft's time, with a zone that changes nothing", [calculated(timestampExpression="$.Body.w")], {**B, "w": "/Date(1549061161000+0200)/"}, [f"t dev {D}Z p=5"]),
    ("a time that is counted", [jmes(timestampExpression="fromUnixTimestampMs(Body.w)")], {**B, "w": 1549061161875}, [f"t dev {D}.875Z p=5"]),
    ("functions in functions", [jmes(values=values("multiply(add(to_number(Body.w), `1`), `2.5`)"))], {**B, "w": " 3 "}, ["t dev p=10"]),
    ("the body is a list", [calculated(typeMatchExpression="$.Body[*]", deviceIdExpression="$.matchedToken.d", timestampExpression="$.matchedToken.t", values=values("$.matchedToken.x"))], [B, {**B, "x": 6}],
     ["t dev p=5", "t dev p=6"]),
    ("an optional expression that is null, and one that is empty", [calculated(patientIdExpression=None), legacy("JsonPathContent", patientIdExpression="")], B, ["t dev p=5", "t dev p=5"]),
    ("an empty one in CalculatedContent", [calculated(patientIdExpression="")], B, [REFUSED]),
]


def line_of(m):
    time = "" if m["occurrenceTimeUtc"] == T else " " + m["occurrenceTimeUtc"]
    return f"{m['type']} {m['deviceId']}{time}" + "".join(f" {p['name']}={p['value']}" for p in m["properties"])


def test_whole(table):
    table.checks.heading("whole templates")
    for what, device, message, *wants in WHOLE:
        text = device if isinstance(device, str) else json.dumps(collection(*device))
        words = ["--envelope"] if isinstance(message, dict) and "SystemProperties" in message else []
        for mode, want in (("default", wants[0]), ("medtech", wants[-1])):
            result = table.test(text, [json.dumps(message)], mode, *words)[0]
            table.checks.check(f"{mode}: {what}", ["!" + e["type"] for e in result["errors"]] + [line_of(m) for m in result["measurements"]], want)


QUANTITY_OF = {"valueType": "Quantity", "valueName": "p", "unit": "bpm"}
SAMPLED = {"valueType": "SampledData", "valueName": "p", "defaultPeriod": 600000}
CONCEPT = {"valueType": "CodeableConcept", "valueName": "p", "text": "tx", "codes": [{"code": "a"}]}
S = "https://azure.microsoft.com/en-us/services/iomt-fhir-connector/"
# What, the FHIR template's members beside or instead of the usual, the device template's, what a look at the Observation says.
OBSERVATIONS = [
    ("the type ignores case; medtech has its own spelling", {"typeName": "T"}, {}, lambda o: o["code"]["text"], "T", "t"),
    ("medtech's own coding stands last", {"codes": [{"code": "1"}]}, {}, lambda o: [(c.get("system"), c["code"]) for c in o["code"]["coding"]], [(None, "1")], [(None, "1"), (S, "t")]),
    ("ValueType, and its value in any case; unknown members of a value", {"value": {"ValueType": "quantity", "valueName": "p", "remark": 1}}, {}, lambda o: o["valueQuantity"], {"value": 5}),
    ("VALUETYPE is nothing", {"value": {"VALUETYPE": "Quantity", "valueName": "p"}}, {}, None, REFUSED),
    ("an interval by its name", {"periodInterval": "Hourly", "value": SAMPLED}, {}, lambda o: o["valueSampledData"]["data"], "5 E E E E E"),
    ("an interval and a period as texts", {"periodInterval": "1440", "value": {**SAMPLED, "defaultPeriod": "21600000"}}, {}, lambda o: o["valueSampledData"]["data"], "E 5 E E"),
    ("samples of an instant", {"value": SAMPLED}, {}, lambda o: o["valueSampledData"]["data"], "5"),
    ("a correlation id that the measurement lacks", {"periodInterval": -1}, {}, None, "!CorrelationIdNotDefinedException"),
    ("one that it has", {"periodInterval": "CorrelationId", "value": SAMPLED}, {"correlationIdExpression": "$.Body.d"}, lambda o: (o["valueSampledData"]["data"], len(o["effectivePeriod"])), ("5", 2)),
    ("the value's name in another case", {"value": {**QUANTITY_OF, "valueName": "P"}}, {}, lambda o: "valueQuantity" in o, "!FhirDataMappingException", False),
    ("a name twice in one measurement: the first", {}, {"values": values("$.Body.x") + values("$.Body.y")}, lambda o: o["valueQuantity"]["value"], 5),
    ("a concept, whatever the value is", {"value": CONCEPT}, {}, lambda o: (o["valueCodeableConcept"]["text"], o["valueCodeableConcept"]["coding"]), ("tx", [{"code": "a"}])),
    ("a text of a number", {"value": {"valueType": "String", "valueName": "p"}}, {"values": values("$.Body.y")}, lambda o: o["valueString"], "65.5"),
    ("components without a value of the whole; one is missing", {"value": ..., "components": [{"codes": [], "value": {**QUANTITY_OF, "valueName": n}} for n in "pq"]}, {},
     lambda o: [(c["code"]["text"], c["valueQuantity"]["value"]) for c in o["component"]], [("p", 5)]),
    ("neither value nor components", {"value": ...}, {}, lambda o: "valueQuantity" in o, False),
    ("two templates of one type, in another case", [{}, {"typeName": "T"}], {}, None, REFUSED),
    ("a category", {"category": [{"text": "Vital", "codes": [{"code": "vital-signs"}]}]}, {}, lambda o: o["category"], [{"coding": [{"code": "vital-signs"}], "text": "Vital"}]),
]


def test_observations(table):
    table.checks.heading("whole FHIR templates")
    path = table.work / "whole.fhir.json"
    for what, members, device, look, *wants in OBSERVATIONS:
        own = [{"typeName": "t", "codes": [], "value": QUANTITY_OF, **m} for m in (members if isinstance(members, list) else [members])]
        path.write_text(json.dumps({"templateType": "CollectionFhir", "template": [
            {"templateType": "CodeValueFhir", "template": {k: v for k, v in t.items() if v is not ...}} for t in own]}))
        for mode, want in (("default", wants[0]), ("medtech", wants[-1])):
            result = table.test(collection(calculated(**device)), [json.dumps({**B, "y": 65.50})], mode, "--fhir", path)[0]
            errors = ["!" + e["type"] for e in result["errors"]]
            table.checks.check(f"{mode}: {what}", errors[0] if errors else look(result["observations"][0]), want)


def main(checks, work):
    table = Table(checks, work)
    test_whole(table)
    test_observations(table)
    test_tables(table)
    test_matches(table)


h.run_script("mapping_rules", main)
