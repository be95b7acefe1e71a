#!/bin/bash
# run.sh BUILD -- Vigil's FHIR service beside a HAPI FHIR JPA server, the same load on both, one after the other on
# the same machine; one key=value line each (bench/fhir/fhir_load.c says what they hold).
#
# First 500 patients and VIGIL_BENCH_STORED (1000000) Observations by transactions of 100 from 8 clients, or as many as
# fit into VIGIL_BENCH_LOAD_S (600) seconds: that line has what=transaction and a count; `stored` of the next lines says
# how many there are. Then VIGIL_BENCH_SECONDS (10) of each of the phases below.
#
#   Vigil   as it ships: SQLite with synchronous=FULL (on the disk before it is answered), an AuditEvent for each
#           request. vigil-unaudited is the same with fhir.audit=false: HAPI writes no AuditEvents.
#   HAPI    test/interop/hapi: JPA on an H2 file, WRITE_DELAY=0 (each commit is written out when it is answered; H2
#           does not fsync, so a power cut may still take it), VIGIL_BENCH_MEMORY (4g) of heap. Without
#           Elasticsearch it has no $lastn: what=newest asks for eight codes one after the other. Needs Java 17 and
#           Maven; named and left out where they are not.
#
# VIGIL_BENCH_DIR (/var/tmp): where data lies; a real disk. VIGIL_BENCH_DATA: a folder that is kept, with what was
# loaded; the next run goes on from there. VIGIL_BENCH_PEERS ("vigil hapi"). Nothing is pinned to a core.
set -eu
build=$(realpath "${1:?usage: run.sh BUILD}")
cd "$(dirname "$0")/../.."
stored_want=${VIGIL_BENCH_STORED:-1000000}
load_s=${VIGIL_BENCH_LOAD_S:-600}
seconds=${VIGIL_BENCH_SECONDS:-10}
dir=${VIGIL_BENCH_DATA:-}
[ -n "$dir" ] || dir=$(mktemp -d "${VIGIL_BENCH_DIR:-/var/tmp}/vigil-bench-XXXXXX")
mkdir -p "$dir"
load=$build/bench/fhir/bench_fhir_load
port=${VIGIL_BENCH_PORT:-18490}
pid=
stop() {
    [ -n "$pid" ] || return 0
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
}
finish() {
    stop
    [ -n "${VIGIL_BENCH_DATA:-}" ] || rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

# start COMMAND...: until /fhir/metadata answers, at most 5 minutes
start() {
    "$@" >"$dir/log" 2>&1 &
    pid=$!
    tries=0
    until curl -fs -o "$dir/metadata" "http://127.0.0.1:$port/fhir/metadata"; do
        tries=$((tries + 1))
        if [ $tries -ge 1500 ] || ! kill -0 "$pid" 2>/dev/null; then
            echo "the server did not start:" >&2
            tail -n 5 "$dir/log" >&2
            return 1
        fi
        sleep 0.2
    done
}

# one LABEL WHAT [options]: goes on from where the label's database is
one() {
    stored=$(cat "$dir/$1.stored" 2>/dev/null || echo 0)
    line=$("$load" --port "$port" --pid "$pid" --label "$1" --what "$2" --stored "$stored" "${@:3}") || {
        echo "server=$1 what=$2 failed: $line" >&2
        return 1
    }
    echo "$line"
    echo "${line##*stored_after=}" >"$dir/$1.stored"
}

# phases LABEL WHAT:CLIENTS...
phases() {
    label=$1
    shift
    for phase in "$@"; do
        one "$label" "${phase%:*}" --clients "${phase#*:}" --seconds "$seconds" || true
    done
}

fill() {
    [ -e "$dir/$1.stored" ] || one "$1" seed --count 500 --seconds 600
    stored=$(cat "$dir/$1.stored")
    [ "$stored" -ge "$stored_want" ] ||
        one "$1" transaction --clients 8 --seconds "$load_s" --count $((stored_want - stored))
}

vigil() {
    start "$build/vigil" fhir --listen "127.0.0.1:$port" --data "$dir/vigil" --insecure-no-auth
    fill vigil
    phases vigil search:1 search:8 lastn:1 lastn:8 newest:1 read:1 read:8 create:1 create:8 create:64 transaction:1 \
        transaction:8
    stop
    start "$build/vigil" fhir --listen "127.0.0.1:$port" --data "$dir/vigil" --insecure-no-auth --set fhir.audit=false
    cp "$dir/vigil.stored" "$dir/vigil-unaudited.stored"
    phases vigil-unaudited search:1 create:1 create:8 create:64 transaction:1 transaction:8
    cp "$dir/vigil-unaudited.stored" "$dir/vigil.stored"
    stop
}

hapi() {
    if ! command -v javac >/dev/null || ! command -v mvn >/dev/null || ! test/interop/hapi/run.sh build; then
        echo "server=hapi skipped=not-built"
        return 0
    fi
    HAPI_MEMORY=${VIGIL_BENCH_MEMORY:-4g} HAPI_H2=';WRITE_DELAY=0' start test/interop/hapi/run.sh "$port" "$dir/hapi"
    fill hapi
    phases hapi search:1 search:8 newest:1 newest:8 read:1 read:8 create:1 create:8 create:64 transaction:1 \
        transaction:8
    stop
}

for peer in ${VIGIL_BENCH_PEERS:-vigil hapi}; do
    case $peer in
    vigil | hapi) "$peer" ;;
    *)
        echo "run.sh: no peer '$peer': vigil, hapi" >&2
        exit 2
        ;;
    esac
done
