#!/usr/bin/env python3
"""hapi.py VIGIL -- foreign.py against a HAPI FHIR JPA server; skips where that is not built (make interop)."""
import os
import pathlib
import runpy
import sys

os.environ.setdefault("VIGIL_DEADLINE_S", "90")
sys.argv = [*sys.argv[:2], "hapi"]
runpy.run_path(str(pathlib.Path(__file__).with_name("foreign.py")), run_name="__main__")
