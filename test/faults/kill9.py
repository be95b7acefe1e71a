#!/usr/bin/env python3
"""kill9.py -- the platform is killed twenty times, at any moment, while devices send.

What was acknowledged before a kill is there after it, once, in order; and so is what became of it.
VIGIL_ROUNDS and VIGIL_SEED change the number of kills and the moments.
"""
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import load  # noqa: E402
from load import h  # noqa: E402

ROUNDS = int(os.environ.get("VIGIL_ROUNDS", "20"))


def main(checks, work):
    chance = h.seeded("kill9")
    refusing = h.random.Random(chance.random())
    cards = h.CardReceiver(refuse=lambda number: refusing.random() < 0.3)
    hub = h.Program(work, "hub", lake__flush="1s", care__report_every="2s", alert__close="500ms", score__tick="2s", stream__partitions=2,
                    notify__webhook_url=cards.url("/webhook"))
    hub.start(60)
    hub.make_token()
    ward = load.Ward(6, ill_count=2)
    ward.seed(hub)
    passwords = {device: hub.add_device(device) for device in ward.devices}
    clients = ward.clients(hub, passwords, window=16, pause_s=0.01)
    for client in clients:
        client.start()
    h.wait_for("the load", lambda: load.total_acked(clients) > 50)

    checks.heading(f"{ROUNDS} times kill -9 under load")
    restarts, in_start, not_resumed = [], 0, 0
    for number in range(ROUNDS):
        # A kill hits a running platform, and now and then one that is just coming up.
        time.sleep(chance.uniform(0.05, 1.2))  # the moment is chance's, nothing is concluded from it
        hub.kill()
        if chance.random() < 0.3:
            hub.launch()
            time.sleep(chance.uniform(0.0, 0.6))
            hub.kill()
            in_start += 1
        acked, began = load.total_acked(clients), time.monotonic()
        hub.start(60)
        try:
            h.wait_for("the first acknowledgement after the restart", lambda n=acked: load.total_acked(clients) > n, 20, every_s=0.005)
        except h.Timeout as error:
            checks.fail(f"round {number}: devices are served again", str(error))
            not_resumed += 1
        restarts.append(time.monotonic() - began)
    checks.check("after each kill devices are served again", not_resumed, 0)
    checks.note(f"{ROUNDS} kills, {in_start} more while starting; start to first acknowledgement {min(restarts):.2f} to {max(restarts):.2f} s")

    checks.heading("the ledger is compared")
    load.finish(checks, clients)
    load.judge(checks, hub, ward, clients, work)
    load.judge_alerts(checks, hub, ward, cards)
    status, _, body = hub.call("GET", "/api/health")
    checks.check("health is well", (status, h.json.loads(body)["troubles"]), (200, []))
    checks.check("the hub ends cleanly", hub.stop(), 0)


if __name__ == "__main__":
    h.run_script("kill9", main)
