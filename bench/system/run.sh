#!/bin/bash
# run.sh BUILD [more options of ward_load] -- the whole platform under load, one key=value line.
#
# Starts `vigil run` on a fresh data folder, makes a ward of VIGIL_BENCH_BEDS (100) patients with a
# device each, and measures with ward_load (its head says what and how). VIGIL_BENCH_SECONDS (15) is
# the length of each of the two phases, VIGIL_BENCH_DIR (/var/tmp) where the data folder lies: a real
# disk, not tmpfs. VIGIL_BENCH_SET holds more settings ("NAME=VALUE ..."). The flags' closing time is
# shortened so that a patient can fall ill more than once; all else is as it ships.
set -eu
build=${1:?usage: run.sh BUILD [options]}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$build" && pwd)
beds=${VIGIL_BENCH_BEDS:-100}
seconds=${VIGIL_BENCH_SECONDS:-15}
dir=$(mktemp -d "${VIGIL_BENCH_DIR:-/var/tmp}/vigil-bench-XXXXXX")
pid=
finish() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    [ -n "${VIGIL_BENCH_KEEP:-}" ] || rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

settings=(--set web.port=0 --set hub.mqtts_port=0 --set hub.https_port=0 --set hub.plain=true
    --set hub.plain_port=0 --set alert.close=1s)
for setting in ${VIGIL_BENCH_SET:-}; do settings+=(--set "$setting"); done
cd "$root" # the mappings and the model
${VIGIL_BENCH_UNDER:-} "$build/vigil" run --data "$dir/data" "${settings[@]}" >"$dir/log" 2>&1 &
pid=$!
tries=0
until [ -s "$dir/data/run.json" ]; do
    tries=$((tries + 1))
    if [ $tries -ge 300 ] || ! kill -0 "$pid" 2>/dev/null; then
        echo "the platform did not start:" >&2
        tail -n 5 "$dir/log" >&2
        exit 1
    fi
    sleep 0.1
done
"$build/vigil" seed --data "$dir/data" --beds "$beds" >/dev/null
"$build/vigil" user add bench --role service --data "$dir/data" >/dev/null
"$build/vigil" user token bench --data "$dir/data" >"$dir/token"
"$build/bench/system/bench_ward_load" --data "$dir/data" --token "$dir/token" --beds "$beds" \
    --seconds "$seconds" "$@"
if grep -E 'level=(warn|error)' "$dir/log" >"$dir/troubles"; then
    echo "the platform's log has $(wc -l <"$dir/troubles") warnings and errors, the first:" >&2
    head -n 3 "$dir/troubles" >&2
fi
