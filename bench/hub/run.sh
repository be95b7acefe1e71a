#!/bin/sh
# run.sh BUILD -- durable QoS 1 publishing: Vigil's hub, Mosquitto (persistence off: not durable, its
# fastest form) and RabbitMQ (durable queue) in one run on one machine, one key=value line each.
#
# The generator has one core, the server the other. VIGIL_BENCH_SECONDS (5), VIGIL_BENCH_PAIRS
# ("50:20 50:1 1:1", connections:window), VIGIL_BENCH_DIR (where the journal lies; a real disk, not
# tmpfs). A peer that is not installed is named and left out.
set -eu
build=${1:?usage: run.sh BUILD}
seconds=${VIGIL_BENCH_SECONDS:-5}
pairs=${VIGIL_BENCH_PAIRS:-50:20 50:1 1:1}
dir=$(mktemp -d "${VIGIL_BENCH_DIR:-/var/tmp}/vigil-bench-XXXXXX")
load=$build/bench/hub/bench_mqtt_load
pids=
finish() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    for pid in $pids; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap finish EXIT INT TERM
cores=$(nproc)
if [ "$cores" -gt 1 ]; then on_server="taskset -c 0" on_load="taskset -c 1"; else on_server= on_load=; fi

# wait_port PORT: at most 60 s
wait_port() {
    tries=0
    until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null || bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || { echo "nothing listens on port $1" >&2; return 1; }
        sleep 0.1
    done
}

# measure LABEL PORT PID [more options]
measure() {
    label=$1 port=$2 pid=$3
    shift 3
    for pair in $pairs; do
        $on_load "$load" --label "$label" --port "$port" --pid "$pid" --connections "${pair%:*}" \
            --window "${pair#*:}" --seconds "$seconds" "$@" || echo "server=$label failed=1"
    done
}

# Vigil: authenticated, own topics only, on the disk before the PUBACK.
mkfifo "$dir/stop"
$on_server "$build/bench/hub/bench_hub_server" "$dir" 50 <"$dir/stop" >"$dir/ports" &
vigil=$!
pids="$pids $vigil"
exec 9>"$dir/stop"
tries=0
until [ -s "$dir/ports" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { echo "hub_server did not start" >&2; exit 1; }
    sleep 0.1
done
plain=$(sed 's/plain=\([0-9]*\).*/\1/' "$dir/ports")
tls=$(sed 's/.*tls=\([0-9]*\).*/\1/' "$dir/ports")
measure vigil "$plain" "$vigil" --password load-password
measure vigil-mqtt5 "$plain" "$vigil" --password load-password --version 5
measure vigil-tls "$tls" "$vigil" --password load-password --tls "$dir/ca.crt"
exec 9>&-
wait "$vigil"

if command -v mosquitto >/dev/null; then
    cat >"$dir/mosquitto.conf" <<END
listener 18831 127.0.0.1
allow_anonymous true
max_inflight_messages 0
max_queued_messages 0
persistence false
END
    $on_server mosquitto -c "$dir/mosquitto.conf" >"$dir/mosquitto.log" 2>&1 &
    mosquitto=$!
    pids="$pids $mosquitto"
    wait_port 18831
    measure mosquitto-volatile 18831 $mosquitto
    kill $mosquitto
else
    echo "server=mosquitto skipped=not-installed"
fi

if command -v rabbitmq-server >/dev/null && command -v mosquitto_sub >/dev/null; then
    mkdir -p "$dir/rabbit/mnesia" "$dir/rabbit/log"
    echo '[rabbitmq_mqtt].' >"$dir/rabbit/enabled_plugins"
    cat >"$dir/rabbit/rabbitmq.conf" <<END
mqtt.listeners.tcp.1 = 127.0.0.1:18871
listeners.tcp.1 = 127.0.0.1:15673
mqtt.allow_anonymous = true
END
    # Runs as whoever started this; its data, logs and cookie stay in our folder.
    HOME="$dir/rabbit" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=14369 RABBITMQ_NODENAME=vigilbench@localhost \
        RABBITMQ_DIST_PORT=15674 RABBITMQ_MNESIA_BASE="$dir/rabbit/mnesia" RABBITMQ_LOG_BASE="$dir/rabbit/log" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/rabbit/enabled_plugins" RABBITMQ_CONFIG_FILE="$dir/rabbit/rabbitmq.conf" \
        RABBITMQ_PID_FILE="$dir/rabbit/pid" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}" \
        $on_server /usr/lib/rabbitmq/bin/rabbitmq-server >"$dir/rabbit/out" 2>&1 &
    rabbit=$!
    pids="$pids $rabbit"
    if wait_port 18871; then
        beam=$(cat "$dir/rabbit/pid" 2>/dev/null || echo "$rabbit")
        pids="$pids $beam"
        # A durable queue that takes all: without one RabbitMQ stores nothing.
        mosquitto_sub -p 18871 -c -i durable -q 1 -t 'devices/#' -E
        measure rabbitmq-durable 18871 "$beam"
        kill "$beam" 2>/dev/null || true
        tries=0
        while kill -0 "$beam" 2>/dev/null && [ $tries -lt 200 ]; do
            tries=$((tries + 1))
            sleep 0.1
        done
    else
        echo "server=rabbitmq failed=did-not-start"
        tail -n 5 "$dir/rabbit/out" >&2
    fi
    # RabbitMQ leaves its port mapper behind: ours is the one on our port.
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=14369 epmd -kill >/dev/null 2>&1 || true
else
    echo "server=rabbitmq skipped=not-installed"
fi
