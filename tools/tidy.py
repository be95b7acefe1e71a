#!/usr/bin/env python3
"""The rules of the house that no compiler knows. Prints what breaks them; exit code 1 if any do.

Stores hold, stages move: a store includes base alone; a stage includes base and the public headers
of stores; app knows every public header. A module's public header is x/x.h (base: all but *_int.h;
stream also has stream/stage.h and stream/deadletter.h, hub hub/registry.h and hub/archive.h). Tests, benchmarks and test/ may look further where marked below.
"""
import pathlib
import re
import sys

STORES = {"stream", "fhir", "lake", "care"}
STAGES = {"hub", "edge", "connector", "enrich", "capture", "score", "alert", "web"}
KNOWN = STORES | STAGES | {"base", "app"}
PUBLIC_TOO = {("stream", "stage"), ("stream", "deadletter"), ("hub", "registry"), ("hub", "archive"),
              ("connector", "decode"), ("connector", "debugger"), ("connector", "mapping_store"), ("connector", "workbench"),
              ("score", "watch")}
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|atof|localtime|gmtime)\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|TBD)\b")
INCLUDE = re.compile(r'#include "(\w+)/(\w+)\.h"')
COLUMNS = 100
LINES_WITHOUT_HEAD = 60

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
bad = []


def include_fault(module, target, header):
    """Why `module` must not include target/header.h; None: it may."""
    if target not in KNOWN:
        return f"there is no module {target}"
    if target == module:
        return None
    if target == "base":
        return f"base/{header}.h is private to base" if header.endswith("_int") else None
    if module == "base" or module in STORES:
        return f"{module} knows nobody but base, so not {target}"
    if target == "app":
        return f"{module} must not know app"
    if target in STAGES and module != "app":
        return f"{module} must not know the stage {target}"
    if header != target and (target, header) not in PUBLIC_TOO:
        return f"{target}/{header}.h is private to src/{target}"
    return None


def check_text(path, here, text):
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS:
            bad.append(f"{here}:{number}: {len(line)} columns, {COLUMNS} are allowed")
        if found := UNFINISHED.search(line):
            bad.append(f"{here}:{number}: {found.group()}: finish it or leave it out")
        if found := BANNED.search(line):
            bad.append(f"{here}:{number}: {found.group(1)} is banned")
        if line != line.rstrip():
            bad.append(f"{here}:{number}: blanks at the end of the line")
        if "\t" in line:
            bad.append(f"{here}:{number}: a tab")
    if text and not text.endswith("\n"):
        bad.append(f"{here}: no newline at the end")
    if path.suffix == ".c" and text.count("\n") > LINES_WITHOUT_HEAD and not text.startswith("/*"):
        bad.append(f"{here}: says nothing at the top about what it is")


def check_guard(here, text, guard):
    if f"#ifndef {guard}\n#define {guard}\n" not in text:
        bad.append(f"{here}: the header guard should be {guard}")


for path in sorted((root / "src").rglob("*.[ch]")):
    module = path.relative_to(root / "src").parts[0]
    here = path.relative_to(root)
    text = path.read_text(encoding="utf-8")
    if module not in KNOWN:
        bad.append(f"{here}: {module} is no module of ours: name it in tools/tidy.py")
    check_text(path, here, text)
    if path.suffix == ".h":
        check_guard(here, text, f"VG_{module.upper()}_{path.stem.upper()}_H")
    for number, line in enumerate(text.splitlines(), 1):
        if found := INCLUDE.match(line):
            if fault := include_fault(module, *found.groups()):
                bad.append(f"{here}:{number}: {fault}")

for folder in ("test", "bench"):
    for path in sorted((root / folder).rglob("*.[ch]")):
        if "node_modules" in path.parts:
            continue
        check_text(path, path.relative_to(root), path.read_text(encoding="utf-8"))

print("\n".join(bad) if bad else "tidy: nothing to say")
sys.exit(1 if bad else 0)
