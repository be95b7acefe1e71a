#!/usr/bin/env python3
"""full_disk.py -- the data folder's disk fills up while devices send, and has room again.

On a small tmpfs of its own. While there is no room nothing is acknowledged, and the platform says so; when
there is, it goes on by itself. What was acknowledged is all there. Skipped (77) where mounting is not allowed.
"""
import errno
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import load  # noqa: E402
from load import h  # noqa: E402

DISK_MIB = 192  # more than disk.low asks for
QUIET_S = 1.5


class Filler:
    """A file that takes all the room there is."""

    def __init__(self, path):
        self.path = path

    def fill(self):
        with open(self.path, "ab", buffering=0) as file:
            for size in (1 << 20, 1 << 16, 1 << 12):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self):
        self.path.unlink()


def main(checks, work):
    disk = work / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "vigil-full-disk", str(disk)],
                          capture_output=True, check=False)
    if done.returncode:
        h.skip(f"no small disk can be mounted here ({done.stderr.decode().strip()}): behaviour on a full disk was NOT tested")
    try:
        on_disk(checks, work, disk)
    finally:
        for process in list(h.Program.running):
            process.kill()
        subprocess.run(["umount", str(disk)], check=True)


def on_disk(checks, work, disk):
    hub = h.Program(work, "hub", data=disk / "data", stream__segment_bytes="1MiB", lake__flush="1s").start(60)
    hub.make_token()
    ward = load.Ward(3, padding=4000)
    ward.seed(hub)
    passwords = {device: hub.add_device(device) for device in ward.devices}
    clients = ward.clients(hub, passwords, window=16, pause_s=0.01)
    for client in clients:
        client.start()
    h.wait_for("the load", lambda: load.total_acked(clients) > 100)
    status, _, body = hub.call("GET", "/api/health")
    checks.check("health is well before", (status, json.loads(body)["troubles"]), (200, []))

    checks.heading("the disk is full")
    filler = Filler(disk / "filler")
    log_before = len(hub.log())
    seen = {"count": -1, "since": time.monotonic()}

    def is_quiet():
        filler.fill()
        now = load.total_acked(clients)
        if now != seen["count"]:
            seen.update(count=now, since=time.monotonic())
        return time.monotonic() - seen["since"] > QUIET_S
    h.wait_for("acknowledgements to stop", is_quiet, 90, every_s=0.1)
    checks.check("acknowledgements stop while messages wait", all(c.waiting for c in clients))
    checks.check("the program is alive", hub.is_alive())

    def unwell():
        answered, _, text = hub.call("GET", "/api/health")
        found = json.loads(text)
        return found if answered == 503 and any(t["area"] == "hub" for t in found["troubles"]) else None
    found = h.wait_for("health to say so", unwell, 20)
    checks.check("/api/health is 503 and names the doors", found["ok"], False)
    checks.note(h.short(json.dumps(found["troubles"]), 900))
    lines = [line for line in hub.log()[log_before:].splitlines() if "level=warn" in line or "level=error" in line]
    checks.check("the log says that there is no room", [line for line in lines if "space" in line.lower() or "full" in line.lower()], lambda f: len(f) > 0)
    checks.check("and does not say it a thousand times", len(lines), lambda n: n < 200)

    checks.heading("there is room again")
    acked = load.total_acked(clients)
    filler.free()
    h.wait_for("acknowledgements", lambda: load.total_acked(clients) > acked + 100, 60)
    checks.check("it goes on by itself", True)
    h.wait_for("health", lambda: hub.call("GET", "/api/health")[0] == 200, 60)
    checks.check("health is well again", True)

    checks.heading("the ledger is compared")
    load.finish(checks, clients)
    load.judge(checks, hub, ward, clients, work)
    checks.check("the hub ends cleanly", hub.stop(), 0)


if __name__ == "__main__":
    h.run_script("full_disk", main)
