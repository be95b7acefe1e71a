#!/bin/sh
# fuzz.sh TARGET CORPUS -- run one fuzz target for a bounded time from its kept corpus.
# VIGIL_FUZZ_SECONDS (default 10) is the time; what it finds beyond the corpus goes to a scratch folder.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$2"
exec_status=0
"$1" -max_total_time="${VIGIL_FUZZ_SECONDS:-10}" -rss_limit_mb=2048 -timeout=10 -print_final_stats=0 \
     -artifact_prefix="${VIGIL_FUZZ_ARTIFACTS:-$scratch/}" "$scratch" "$2" 2>"$scratch.log" || exec_status=$?
tail -n 25 "$scratch.log"
rm -f "$scratch.log"
exit $exec_status
