#!/bin/bash
# run.sh -- the platform with a simulated ward beside it, until Ctrl-C.
# VIGIL_DATA (default: data) is the data folder, VIGIL_BEDS (default: 12) the size of the ward.
set -euo pipefail
cd "$(dirname "$0")/.."
vigil=build/release/vigil
data=${VIGIL_DATA:-data}
beds=${VIGIL_BEDS:-12}

platform='' ward=''
end() {
    set +e
    trap - EXIT INT TERM
    [ -z "$ward" ] || { kill "$ward" && wait "$ward"; } 2>/dev/null
    [ -z "$platform" ] || { kill "$platform" && wait "$platform"; } 2>/dev/null
}
trap end EXIT
trap 'end; exit 0' INT TERM

rm -f "$data/run.json"
"$vigil" run --data "$data" --set care.report_every=1m "$@" 2>>"${VIGIL_LOG:-/dev/stderr}" &
platform=$!
for ((i = 0; i < 300; i++)); do
    [ -e "$data/run.json" ] && break
    kill -0 "$platform" 2>/dev/null || { platform=; echo "vigil run did not start" >&2; exit 1; }
    read -rt 0.1 <> <(:) || true
done
[ -e "$data/run.json" ] || { echo "vigil run is not ready after 30 s" >&2; exit 1; }

"$vigil" seed --data "$data" --beds "$beds"
port=$(sed -n 's/.*"mqtts":\([0-9]*\).*/\1/p' "$data/run.json")
"$vigil" simulate --data "$data" --beds "$beds" --credentials "$data/ward-credentials.txt" \
    --port "$port" --ca "$data/tls/ca.crt" &
ward=$!
if [ -e "$data/first-login.txt" ]; then
    echo "open the board and log in as: $(cat "$data/first-login.txt")"
fi
wait "$platform"
