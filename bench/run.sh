#!/bin/bash
# run.sh [BUILD [GROUP...]] -- all benchmarks, one key=value line each; docs/performance.md says what
# was seen.
#
#   unit     each part by itself: *_bench.c beside its source
#   hub      the hub beside Mosquitto and RabbitMQ (bench/hub/run.sh)
#   fhir     the FHIR service beside HAPI FHIR (bench/fhir/run.sh): some 25 minutes
#   system   the whole platform, plain and over TLS (bench/system/run.sh)
#
# BUILD is a build of preset release (build/release). Without GROUP: all. VIGIL_BENCH_DIR (/var/tmp)
# is where data lies while it runs: a real disk, not tmpfs. The first lines name the machine and what
# else it is doing: figures taken beside a compiler are worth little.
set -u
cd "$(dirname "$0")/.."
build=$(realpath "${1:-build/release}")
[ $# -gt 0 ] && shift
groups=${*:-unit hub fhir system}
disk=${VIGIL_BENCH_DIR:-/var/tmp}
failed=0

echo "machine cpu=\"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)\" cores=$(nproc)" \
    "memory_mib=$(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) / 1024))" \
    "filesystem=$(stat -f -c %T "$disk") kernel=$(uname -r)"
echo "run commit=$(git rev-parse --short HEAD 2>/dev/null || echo none)" \
    "changed=$(git status --porcelain -- src bench 2>/dev/null | grep -c -v '^??')" \
    "date=$(date -u +%Y-%m-%dT%H:%M:%SZ) load=$(cut -d' ' -f1 /proc/loadavg)"

# one WHAT COMMAND...: a benchmark that fails is named, the others go on
one() {
    what=$1
    shift
    "$@" || {
        echo "bench=$what failed=$?"
        failed=1
    }
}

unit() {
    work=$(mktemp -d "$disk/vigil-bench-XXXXXX")
    one json "$build/base_json_bench"
    one stream "$build/stream_stream_bench" "$work"
    one connector "$build/connector_connector_bench"
    one fhir "$build/fhir_fhir_bench" 200 "$work"
    one score bench/score/run.sh "$build"
    rm -rf "$work"
}

hub() {
    one hub bench/hub/run.sh "$build"
}

fhir() {
    one fhir bench/fhir/run.sh "$build"
}

system() {
    one system bench/system/run.sh "$build"
    one system-tls bench/system/run.sh "$build" --tls --label vigil-tls
}

for group in $groups; do
    case $group in
    unit | hub | fhir | system) "$group" ;;
    *)
        echo "run.sh: no group '$group': unit, hub, fhir, system" >&2
        exit 2
        ;;
    esac
done
exit $failed
