#!/usr/bin/env python3
"""edge_outage.py -- the way from the gateway to the hub is cut while devices send to the gateway.

First the hub is stopped for a while in order, then killed; the gateway is killed while it catches up. What
the gateway acknowledged arrives at the hub: all of it, in each device's order, and counts once.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import load  # noqa: E402
from load import h  # noqa: E402

BACKLOG = 400  # messages that gather at the gateway in an outage


def main(checks, work):
    hub = h.Program(work, "hub", lake__flush="1s").start(60)
    hub.make_token()
    ward = load.Ward(2)
    ward.seed(hub)
    hub.add_device("gw-1", "--gateway")
    for device in ward.devices:
        hub.add_device(device, "--through", "gw-1")
    edge = h.Program(work, "edge", kind="edge", edge__upstream_host="127.0.0.1", edge__upstream_port=hub.ports["mqtts"],
                     edge__gateway="gw-1", edge__password=f"file:{work / 'password-gw-1'}", edge__ca=hub.ca)
    passwords = {device: edge.add_device(device) for device in ward.devices}
    edge.start(60)
    clients = ward.clients(edge, passwords, window=16, pause_s=0.01)
    for client in clients:
        client.start()

    def at_hub():
        return sum(len(set(v)) for v in load.read_archive(hub, load.collections.defaultdict(list)).values())
    h.wait_for("messages at the hub", lambda: at_hub() > 50, every_s=0.3)

    def outage(what, end):
        checks.heading(what)
        end()
        before = load.total_acked(clients)
        h.wait_for(f"{BACKLOG} acknowledgements of the gateway while the hub is away", lambda: load.total_acked(clients) > before + BACKLOG, 60)
        checks.check("the gateway goes on acknowledging while the hub is away", True)
        arrived = at_hub()
        checks.check("and the hub does not have them", arrived, lambda n: n <= before + 3 * 16)
        hub.start(60)
        return before

    before = outage("the hub is stopped in order", lambda: checks.check("the hub ends cleanly", hub.stop(), 0))
    h.wait_for("the backlog at the hub", lambda: at_hub() > before + BACKLOG, 60, every_s=0.3)
    checks.check("the backlog arrives when the hub is back", True)

    before = outage("the hub is killed; the gateway too, while it catches up", hub.kill)
    edge.kill()
    edge.start(60)
    h.wait_for("the backlog at the hub", lambda: at_hub() > before + BACKLOG, 60, every_s=0.3)
    checks.check("the backlog arrives all the same", True)

    checks.heading("the ledger is compared")
    load.finish(checks, clients)
    load.judge(checks, hub, ward, clients, work)
    checks.check("no dead letters at the gateway", edge.letters(), [])
    newest = hub.trace("--device", ward.devices[0])
    checks.check("the hub knows which gateway brought a message, and when that one had it",
                 [(s.get("text"), "time" in s) for s in newest["steps"] if s["step"] == 2], [("by gateway gw-1", True)])
    checks.check("the gateway ends cleanly", edge.stop(), 0)
    checks.check("the hub ends cleanly", hub.stop(), 0)


if __name__ == "__main__":
    h.run_script("edge_outage", main)
