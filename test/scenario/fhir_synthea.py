#!/usr/bin/env python3
"""fhir_synthea.py -- 94 patients of Synthea as transactions, and every resource back as it was.

Numbers are compared by their digits. What may differ: id, meta.versionId and meta.lastUpdated, and references
among the entries, which point at what the server has made of them.
"""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

DATA = h.SOURCE / "../shared/data/synthea_r4_94patients.tar.xz"


def read(text):
    """Numbers keep their digits."""
    return json.loads(text, parse_float=lambda digits: ("number", digits), parse_int=lambda digits: ("number", digits))


def as_transaction(bundle):
    """A collection's entries become creates; the rest is left as it was sent."""
    if bundle["type"] == "transaction":
        return False
    bundle["type"] = "transaction"
    for entry in bundle["entry"]:
        entry["request"] = {"method": "POST", "url": entry["resource"]["resourceType"]}
    return True


def with_new_names(node, names):
    """References (and the narrative) as the server must have written them."""
    if isinstance(node, dict):
        return {key: with_new_names(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [with_new_names(value, names) for value in node]
    return names.get(node, node) if isinstance(node, str) else node


def content(resource):
    kept = {key: value for key, value in resource.items() if key not in ("id", "meta")}
    meta = {key: value for key, value in resource.get("meta", {}).items() if key not in ("versionId", "lastUpdated")}
    return kept | ({"meta": meta} if meta else {})


def stubs(text):
    """Those that conditional references name, made before: (type, system, value)."""
    found = set()

    def look(node):
        if isinstance(node, dict):
            reference = node.get("reference")
            if isinstance(reference, str) and "?identifier=" in reference:
                kind, _, query = reference.partition("?identifier=")
                found.add((kind, *query.split("|", 1)))
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)
    look(text)
    return found


def main(checks, work):
    if not DATA.exists():
        h.skip(f"{DATA} is not there")
    folder = work / "synthea"
    folder.mkdir()
    subprocess.run(["tar", "-xJf", str(DATA), "-C", str(folder)], check=True)
    hub = h.Program(work).start()
    token = hub.make_token()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    files = sorted(folder.rglob("*.json"))
    checks.check("94 bundles are there", len(files), 94)
    made, count, spent, largest, differences = set(), 0, 0.0, 0, []
    for path in files:
        text = path.read_text()
        bundle = json.loads(text)
        if as_transaction(bundle):  # numbers as they stand: only the frame is written anew
            raw = read(path.read_text())
            as_transaction(raw)
            text = write(raw)
        sent = read(text)
        for kind, system, value in sorted(stubs(bundle)):
            if (kind, system, value) not in made:
                hub.fhir("POST", f"/{kind}", {"resourceType": kind, "identifier": [{"system": system, "value": value}]}
                         | ({"name": "x"} if kind in ("Organization", "Location") else {}))
                made.add((kind, system, value))
        began = time.monotonic()
        status, _, answer = hub.call("POST", "/fhir", text.encode(), headers, timeout_s=120)
        spent += time.monotonic() - began
        largest = max(largest, len(text))
        if status != 200:
            checks.fail(f"{path.name} is a transaction", f"{status} {h.short(answer.decode(errors='replace'), 400)}")
            continue
        answers = json.loads(answer)["entry"]
        names = {}
        for entry, done in zip(bundle["entry"], answers):
            kind, number = done["response"]["location"].split("/fhir/")[-1].split("/")[:2] \
                if "/fhir/" in done["response"]["location"] else done["response"]["location"].split("/")[:2]
            names[entry["fullUrl"]] = f"{kind}/{number}"
        at = list(names.values())
        # all of one patient's resources, by type
        found = {}
        for kind in sorted({name.split("/")[0] for name in at}):
            ids = [name.split("/")[1] for name in at if name.startswith(f"{kind}/")]
            for first in range(0, len(ids), 100):
                _, _, page = hub.call("GET", f"/fhir/{kind}?_count=100&_id={','.join(ids[first:first + 100])}", headers=headers, timeout_s=60)
                for entry in read(page).get("entry", []):
                    found[f"{kind}/{entry['resource']['id']}"] = entry["resource"]
        for entry, name in zip(sent["entry"], at):
            count += 1
            want = with_new_names(content(entry["resource"]), names)
            if not same(want, content(found.get(name, {}))) and len(differences) < 5:
                differences.append((path.name, name, difference(want, content(found.get(name, {})))))
    checks.check("every resource comes back as it was sent, digit by digit", differences, [])
    checks.note(f"{count} resources in {len(files)} transactions of up to {largest / 1e6:.1f} MB: {count / spent:.0f} resources/s")
    # conditional references and what they found
    observations = hub.fhir("GET", "/Observation?_summary=count")["total"]
    checks.check("the store counts them", observations > 8000, True)
    checks.check("and ends well", hub.stop(), 0)


def write(node):
    """JSON with the numbers' own digits."""
    if isinstance(node, tuple):
        return node[1]
    if isinstance(node, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{write(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ",".join(write(value) for value in node) + "]"
    return json.dumps(node)


def same(want, got):
    """A conditional reference is any reference of its type."""
    if isinstance(want, str) and isinstance(got, str) and "?identifier=" in want:
        return got.startswith(want.split("?")[0] + "/")
    if isinstance(want, dict) and isinstance(got, dict):
        return want.keys() == got.keys() and all(same(want[key], got[key]) for key in want)
    if isinstance(want, list) and isinstance(got, list):
        return len(want) == len(got) and all(same(a, b) for a, b in zip(want, got))
    return want == got


def difference(want, got, at=""):
    if isinstance(want, dict) and isinstance(got, dict):
        for key in want.keys() | got.keys():
            if not same(want.get(key), got.get(key)):
                return difference(want.get(key), got.get(key), f"{at}.{key}")
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for number, (a, b) in enumerate(zip(want, got)):
            if not same(a, b):
                return difference(a, b, f"{at}[{number}]")
    return f"{at}: {h.short(repr(want), 150)} became {h.short(repr(got), 150)}"


if __name__ == "__main__":
    h.run_script("fhir_synthea", main)
