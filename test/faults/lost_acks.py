#!/usr/bin/env python3
"""lost_acks.py -- the acknowledgements never reach the device, and it sends everything again.

As many messages as the hub lets wait (hub.inflight_max), all stored, none known to be; then the connection
breaks, by itself or with a kill -9 of the hub, and each comes once more with DUP: to the hub, or to a gateway
before it, which may be killed too while it forwards. Each counts once.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import load  # noqa: E402
from load import h  # noqa: E402

COUNT = 256  # hub.inflight_max


def send_all(hub, device, password, messages, is_dup):
    stream = h.tls_socket(hub)
    stream.sendall(h.mqtt_connect(device, password, clean=False))
    assert h.mqtt_read(stream)[1][1] == 0
    for packet_id, payload in enumerate(messages, 1):
        stream.sendall(h.mqtt_publish(h.events_topic(device), packet_id, payload, is_dup))
    return stream


def main(checks, work):
    hub = h.Program(work, "hub", lake__flush="1s").start(60)
    hub.make_token()
    ward = load.Ward(4)
    ward.seed(hub)
    passwords = {device: hub.add_device(device) for device in ward.devices[:2]}
    hub.add_device("gw-1", "--gateway")
    for device in ward.devices[2:]:
        hub.add_device(device, "--through", "gw-1")
    edge = h.Program(work, "edge", kind="edge", edge__upstream_host="127.0.0.1", edge__upstream_port=hub.ports["mqtts"],
                     edge__gateway="gw-1", edge__password=f"file:{work / 'password-gw-1'}", edge__ca=hub.ca).start(60)
    passwords |= {device: edge.add_device(device) for device in ward.devices[2:]}

    def rows(device):
        found = hub.lake_rows(f"SELECT count(*) AS n, count(DISTINCT effectiveTime) AS times FROM {{enriched}} WHERE deviceId = '{device}'")[0]
        return found["n"], found["times"]

    for device, door, what, killed in (("bed-0", hub, "the connection breaks", None), ("bed-1", hub, "the hub is killed", hub),
                                       ("bed-2", edge, "the connection to the gateway breaks", None),
                                       ("bed-3", edge, "the gateway is killed", edge)):
        checks.heading(f"{COUNT} messages whose acknowledgements are lost: {what}")
        messages = [ward.make(device, number) for number in range(COUNT)]
        stream = send_all(door, device, passwords[device], messages, False)
        h.wait_for("all messages in the lake", lambda d=device: rows(d)[1] >= COUNT, 60, every_s=0.3)
        if killed:
            killed.kill()
        stream.close()
        if killed:
            killed.start(60)
        stream = send_all(door, device, passwords[device], messages, True)
        acked = [h.mqtt_read(stream) for _ in messages]
        checks.check("each repeat is acknowledged", [a[1] for a in acked], [n.to_bytes(2, "big") for n in range(1, COUNT + 1)])
        last = ward.make(device, COUNT)
        stream.sendall(h.mqtt_publish(h.events_topic(device), COUNT + 1, last))
        checks.check("and what comes after them", h.mqtt_read(stream), (4, (COUNT + 1).to_bytes(2, "big")))
        stream.close()
        h.wait_for("the last message in the lake", lambda d=device: rows(d)[1] > COUNT, 60, every_s=0.3)
        checks.check("each message counts once in the lake (rows, distinct times)", rows(device), (COUNT + 1, COUNT + 1))
        checks.check("each message is one Observation", load.count(hub, f"Observation?patient={ward.patient(device)}"), COUNT + 1)
    checks.check("no dead letters", hub.letters() + edge.letters(), [])
    checks.check("the gateway ends cleanly", edge.stop(), 0)
    checks.check("the hub ends cleanly", hub.stop(), 0)


if __name__ == "__main__":
    h.run_script("lost_acks", main)
