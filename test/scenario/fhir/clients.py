#!/usr/bin/env python3
"""clients.py -- runs clients.mjs: three real FHIR clients, and validators for everything that is answered."""
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import service as s  # noqa: E402
from service import h  # noqa: E402


def main(checks, work):
    if not (h.SOURCE / "node_modules" / "fhir-kit-client").exists():
        h.skip("the npm packages of the tests are not installed (npm ci)")
    ran = subprocess.run(["node", str(pathlib.Path(__file__).with_suffix(".mjs")), h.program(), str(work / "data")], capture_output=True, text=True,
                         encoding="utf-8", timeout=240)
    (work / "clients.log").write_text(ran.stdout + ran.stderr, encoding="utf-8")
    lines = ran.stdout.split("\n")
    for number, line in enumerate(lines):
        if line.startswith("ok   "):
            checks.check(line[5:], True)
        elif line.startswith("FAIL "):
            checks.fail(line[5:], "\n".join(lines[number + 1:number + 3]).strip())
    checks.check("node ends with 0", (ran.returncode, ran.stderr[-500:] if ran.returncode else ""), (0, ""))


if __name__ == "__main__":
    h.run_script("fhir_clients", main)
