#!/bin/bash
# check.sh -- every test. Ends with "N passed, N failed" (", N skipped").
# VIGIL_FUZZ_SECONDS (default 10) is the time for each fuzz target.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=$(nproc)
log=build/check
mkdir -p "$log"
export VIGIL_ARTEFACTS=$PWD/build/artefacts
mkdir -p "$VIGIL_ARTEFACTS"
passed=0 failed=0 skipped=0

# ctest_in PRESET LABEL ARGUMENTS...: runs, shows what failed or was skipped, adds up.
ctest_in() {
    local preset=$1 name=$2
    shift 2
    echo "== $name"
    ctest --test-dir "build/$preset" --output-on-failure -j "$jobs" "$@" >"$log/$name.log" 2>&1
    grep -E '^ *[0-9]+/[0-9]+ Test' "$log/$name.log" | grep -v ' Passed ' || true
    grep -hE '^SKIPPED ' "$log/$name.log" || true
    if ! grep -q 'tests passed' "$log/$name.log"; then
        echo "$name: ctest ran no test"; failed=$((failed + 1)); tail -n 5 "$log/$name.log"; return
    fi
    local p f s
    s=$(grep -cE '\*\*\*Skipped' "$log/$name.log")
    f=$(grep -cE '\*\*\*(Failed|Timeout|Exception|Not Run)' "$log/$name.log")
    p=$(grep -cE ' Passed +[0-9.]+ sec' "$log/$name.log")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "   $p passed, $f failed, $s skipped"
    [ "$f" -eq 0 ] || sed -n '/Start/!p' "$log/$name.log" | grep -vE ' Passed ' | tail -n 120
}

# build PRESET [TARGET]
build() {
    cmake --preset "$1" >/dev/null &&
        cmake --build "build/$1" -j "$jobs" ${2:+--target "$2"} >"$log/build-$1.log" 2>&1 && return
    echo "== build $1 failed"; tail -n 40 "$log/build-$1.log"; failed=$((failed + 1))
    return 1
}

ctest_in dev unit -R '^(unit/|tidy|docs)'
build tsan && ctest_in tsan threads -L threads
build fuzz && ctest_in fuzz fuzz -R '^fuzz/'
build release for_scripts && ctest_in release scenario -R '^(scenario|fault|interop|score)/'

echo
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
