#!/usr/bin/env python3
"""hl7_gatt.py -- bedside monitors over HL7 v2 and Bluetooth sensors, through the whole platform.

A monitor's MLLP client over TLS sends what four kinds of monitors send; each reading is asked for by REST on the
right patient, and what a monitor marks as none is nowhere. Messages that were acknowledged survive kill -9, once.
GATT bytes come by mosquitto_pub and HTTPS beside the ward's JSON, in the same platform.
"""
import base64
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness as h  # noqa: E402

HR, RR, SPO2, BP, TEMP, GLUCOSE = "8867-4", "9279-1", "59408-5", "85354-9", "8310-5", "2339-0"


# ---- four kinds of monitors ----

def stamp(seconds, zone="+0000"):
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(seconds)) + zone


def lines(*segments):
    return "\r".join(segments) + "\r"


def gateway_message(at, control="G1", mrn="MRN-p-icu5", rate=89):
    """A gateway for many beds: the bed is PV1-3; the patient is named; a cuff's pressure is older than the rest."""
    now, before = stamp(at), stamp(at - 180)
    return lines(
        f"MSH|^~\\&|GATEWAY^00A037EX01^EUI-64|MAKER|||{now}||ORU^R01^ORU_R01|{control}|P|2.6|||AL|NE||UNICODE UTF-8",
        f"PID|||{mrn}^^^Example^MR||Bedmadeup^Bea^^^^^L||19500102|F",
        "PV1||I|ICU^^5^EXAMPLE",
        f"OBR|1|{control}|{control}|182777000^monitoring of patient^SCT|||{now}",
        f"OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1.7.4|{rate}|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||{now}",
        f"OBX|2|NM|151562^MDC_RESP_RATE^MDC|1.7.1|22|264928^MDC_DIM_RESP_PER_MIN^MDC|||||R|||{now}",
        f"OBX|3|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1|96|262688^MDC_DIM_PERCENT^MDC|||||R|||{now}",
        f"OBX|4|NM|150301^MDC_PRESS_CUFF_SYS^MDC|1.1.9|104|266016^MDC_DIM_MMHG^MDC|||||R||APERIODIC|{before}",
        f"OBX|5|NM|150302^MDC_PRESS_CUFF_DIA^MDC|1.1.9|61|266016^MDC_DIM_MMHG^MDC|||||R||APERIODIC|{before}",
        f"OBX|6|NM|150344^MDC_TEMP^MDC|1.2.1|38.20|268192^MDC_DIM_DEGC^MDC|||||R|||{now}")


def device_message(at):
    """IHE's device tree: lines that only name parts; the equipment is OBX-18, the time the order's."""
    now = stamp(at)
    return lines(
        f"MSH|^~\\&|VSP^0800EX02^EUI-64|Maker|||{now}||ORU^R01^ORU_R01|D1|P|2.6|||NE|AL||UNICODE UTF-8",
        "PID|||MRN-p-vsp^^^PID^MR||Treemadeup^Ted^^^^^L|||", "PV1||E|ICU^^12",
        f"OBR|1|1|1|182777000^monitoring of patient^SCT|||{now}",
        "OBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X",
        "OBX|2||69798^MDC_DEV_PULS_OXIM_VMD^MDC|1.6.0.0|||||||X",
        "OBX|3|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.6.1.1|97|262688^MDC_DIM_PERCENT^MDC|||||R|||||||0800EX02^B1",
        "OBX|4|NM|149530^MDC_PULS_OXIM_PULS_RATE^MDC|1.6.1.2|77|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R|||||||0800EX02^B1")


def fahrenheit_message(at):
    """Nobody admitted, no set ids, a far time zone, Fahrenheit, and a value that is none twice over."""
    now = stamp(at + 8 * 3600, "+0800")
    return lines(
        f"MSH|^~\\&||KC0001G|||{stamp(at + 8 * 3600, '.1000+0800')}||ORU^R01|F1|P|2.6", "PID|||||", "PV1||I|",
        f"OBR||||1^MDC_OBS^MDC|||{now}",
        f"OBX||NM|150021^MDC_PRESS_BLD_NONINV_SYS^MDC|1.1.1|128|266016^MDC_DIM_MMHG^MDC|||||F|||{now}||||KC0001",
        f"OBX||NM|150344^MDC_TEMP^MDC|1.4.1|98.6|268160^MDC_DIM_FAHR^MDC|||||F|||{now}||||KC0001",
        f"OBX||NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.6.1|8388607|262688^MDC_DIM_PERCENT^MDC|||||X|||{now}||||KC0001")


def sentinel_message(at):
    """Cables off: nothing but marks of no value; an old version, and no zone anywhere."""
    now = stamp(at, "")
    return lines(
        f"MSH|^~\\&|XH^00A037EX09^EUI-64||||{now}||ORU^R01^ORU_R01|41|P|2.4|||AL|NE||UNICODE UTF-8",
        "PID|||^^^^PI||^^^^^^L|||||", "PV1||I|^^^", f"OBR|1|41|41|182777000^monitoring of patient^SCT|||{now}",
        f"OBX|1|NM|150301^MDC_PRESS_CUFF_SYS^MDC|1.1.9|-999|266016^MDC_DIM_MMHG^MDC||||||||{now}",
        f"OBX|5|NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.3.1|-100|262688^MDC_DIM_PERCENT^MDC||||||||{now}",
        f"OBX|7|NM|150344^MDC_TEMP^MDC|1.13.1|-99.9|268192^MDC_DIM_DEGC^MDC||||||||{now}")


# ---- a monitor's client ----

class Monitor:
    """One MLLP connection over TLS; sends again, on a new one, what was not acknowledged."""

    def __init__(self, hub):
        self.hub = hub
        self.stream = None

    def close(self):
        if self.stream:
            self.stream.close()
        self.stream = None

    def ask(self, message):
        """The acknowledgement's segments; OSError when the connection ends before."""
        if not self.stream:
            self.stream = h.tls_socket(self.hub, port=self.hub.ports["hl7"], timeout_s=10)
        self.stream.sendall(b"\x0b" + message.encode() + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            more = self.stream.recv(65536)
            if not more:
                raise OSError("the connection ended")
            answer += more
        return [segment.split("|") for segment in answer.strip(b"\x0b\x1c\r").decode().split("\r")]

    def send(self, message):
        """(MSA-1, MSA-2)"""
        return tuple(next(s for s in self.ask(message) if s[0] == "MSA")[1:3])

    def insist(self, message, until):
        """As a monitor with a buffer: until it is acknowledged."""
        while time.monotonic() < until:
            try:
                return self.send(message)
            except (OSError, KeyError):
                self.close()
                time.sleep(0.02)
        raise h.Timeout("no acknowledgement")


# ---- the story ----

def observations(hub, patient, code):
    return hub.search(f"Observation?patient={patient}&code=http%3A%2F%2Floinc.org%7C{code}&_sort=date&_count=200")


def value_of(resource, component=None):
    if component:
        resource = next((c for c in resource["component"] if any(x["code"] == component for x in c["code"]["coding"])), {})
    quantity = resource.get("valueQuantity", {})
    return quantity.get("value"), quantity.get("code")


def found(hub, patient, code, count=1):
    return h.wait_for(f"{count} Observations of {code} on {patient}",
                      lambda: (lambda o: o if len(o) >= count else None)(observations(hub, patient, code)))


def letters(hub):
    out = hub.cli("deadletter", "list", "--json", check=False)[1].decode()
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def others(hub):
    """Beside those of whom_it_speaks_for()."""
    return [x for x in letters(hub) if x["reason"] != "connector.sender" or x["key"] != "monitors"]


def monitors(checks, hub, at):
    check = checks.check
    monitor = Monitor(hub)
    check("a gateway is answered CA, as it asks for", monitor.send(gateway_message(at)), ("CA", "G1"))
    check("a device tree is answered AA, as it asks for", monitor.send(device_message(at)), ("AA", "D1"))
    check("an old monitor without enhanced mode is answered AA", monitor.send(fahrenheit_message(at)), ("AA", "F1"))
    check("a monitor without cables is answered too", monitor.send(sentinel_message(at)), ("CA", "41"))

    heart = found(hub, "p-icu5", HR)
    check("the heart rate is on the patient of the bed", (value_of(heart[0]), heart[0]["subject"]["reference"]),
          ((89, "/min"), "Patient/p-icu5"))
    check("its time is the reading's", heart[0]["effectiveDateTime"][:19], h.iso(at)[:19])
    pressure = found(hub, "p-icu5", BP)
    check("both cuff pressures are one Observation", (len(pressure), value_of(pressure[0], "8480-6"), value_of(pressure[0], "8462-4")),
          (1, (104, "mm[Hg]"), (61, "mm[Hg]")))
    check("the cuff's own, older time", pressure[0]["effectiveDateTime"][:19], h.iso(at - 180)[:19])
    check("temperature", value_of(found(hub, "p-icu5", TEMP)[0]), (38.2, "Cel"))
    check("respiration", value_of(found(hub, "p-icu5", RR)[0]), (22, "/min"))
    check("oxygen saturation", value_of(found(hub, "p-icu5", SPO2)[0]), (96, "%"))
    check("the equipment of OBX-18 has its patient", value_of(found(hub, "p-vsp", SPO2)[0]), (97, "%"))
    check("the pulse of the oximeter", value_of(found(hub, "p-vsp", HR)[0]), (77, "/min"))
    check("Fahrenheit stays Fahrenheit", value_of(found(hub, "p-nc5", TEMP)[0]), (98.6, "[degF]"))
    check("a time eight zones away is the same instant", found(hub, "p-nc5", BP)[0]["effectiveDateTime"][:19], h.iso(at)[:19])
    check("what is marked as none is nowhere", [len(observations(hub, "p-nc5", SPO2))] +
          [len(observations(hub, "p-xh", code)) for code in (SPO2, BP, TEMP)], [0, 0, 0, 0])
    check("and is no dead letter", others(hub), [])

    check("a message that names another patient is taken", monitor.send(gateway_message(at + 1, "G2", mrn="MRN-p-vsp")), ("CA", "G2"))
    h.wait_for("its dead letter", lambda: [x for x in letters(hub) if x["reason"] == "connector.mismatch"])
    check("its readings are on nobody", (len(observations(hub, "p-icu5", HR)), len(observations(hub, "p-vsp", HR))), (1, 1))
    answer = monitor.ask(gateway_message(at).replace("|P|2.6", "|T|2.6").replace("AL|NE", ""))
    check("training is refused", ([s[1] for s in answer if s[0] == "MSA"], [s[3].split("^")[0] for s in answer if s[0] == "ERR"]),
          (["AR"], ["202"]))
    monitor.close()


def whom_it_speaks_for(checks, hub, at):
    """A sender names the beds and monitors of its own list and no others."""
    check = checks.check
    monitor = Monitor(hub)

    def verdict(message):
        answer = monitor.ask(message)
        return [s[1] for s in answer if s[0] == "MSA"], [(s[2], s[3].split("^")[0]) for s in answer if s[0] == "ERR"]

    def refused(count):
        return h.wait_for(f"{count} dead letters of the sender",
                          lambda: (lambda found: found if len(found) == count else None)(
                              [x for x in letters(hub) if x["reason"] == "connector.sender"]))

    check("a monitor that it was not given is AE", verdict(device_message(at)), (["AE"], [("OBX^3^18", "204")]))
    letter = refused(1)[0]
    check("its dead letter names the sender and has the message", (letter["key"], letter["payload"]), ("monitors", device_message(at)))
    check("nothing of it is anywhere", observations(hub, "p-vsp", SPO2), [])
    hub.cli("device", "speaks-for", "monitors", "ICU^*, KC0001, 00A037EX09, 0800EX02")
    h.wait_for("the hub to know", lambda: verdict(device_message(at)) == (["AA"], []))
    check("sent again, it is taken", value_of(found(hub, "p-vsp", SPO2)[0]), (97, "%"))
    count = len([x for x in letters(hub) if x["reason"] == "connector.sender"])
    other = gateway_message(at, "O1", mrn="").replace("ICU^^5", "WARD^^5").replace("AL|NE", "NE|AL")
    check("a bed of another unit is AE", verdict(other), (["AE"], [("OBX^1^18", "204")]))
    refused(count + 1)
    monitor.close()


def kill_minus_nine(checks, hub, at):
    chance = h.seeded("hl7_gatt")
    monitor = Monitor(hub)
    count, kills = 60, 0
    for number in range(count):
        message = gateway_message(at + 10 + number, f"K{number}", rate=60 + number)
        if number % 12 == 5:  # sent, and killed before, while, or after it is acknowledged
            try:
                monitor.stream.sendall(b"\x0b" + message.encode() + b"\x1c\r")
            except (OSError, AttributeError):
                pass
            time.sleep(chance.uniform(0.0, 0.02))  # chance's moment
            hub.kill()
            kills += 1
            hub.start(60)
            monitor.close()
        got = monitor.insist(message, time.monotonic() + 30)
        if got != ("CA", f"K{number}"):
            checks.fail(f"message K{number} is acknowledged", repr(got))
    checks.note(f"{count} messages, {kills} kills")
    heart = found(hub, "p-icu5", HR, count + 1)
    checks.check("every acknowledged reading is there, once", sorted(value_of(o)[0] for o in heart),
                 sorted([89] + [60 + n for n in range(count)]))
    h.wait_for("the archive to have them all", lambda: sum(b"|K" in p for _, _, p in h.archive_payloads(hub)) >= count)
    monitor.close()


def bluetooth(checks, hub, passwords, at):
    check = checks.check
    form = "%24.ct=application%2Fvnd.bluetooth.gatt&characteristic="

    def publish(characteristic, hexed, **more):
        done = h.mosquitto_pub(hub, "belt-1", passwords["belt-1"], bytes.fromhex(hexed),
                               topic=h.events_topic("belt-1", form + characteristic), **more)
        check(f"{characteristic} by mosquitto_pub got its PUBACK", (done.returncode, done.stderr), (0, b""))

    publish("2a37", "064E")
    check("a heart rate from a belt", value_of(found(hub, "p-belt", HR)[0]), (78, "/min"))
    publish("2a37", "0450", version="mqttv5")  # no skin contact
    done = subprocess.run(["mosquitto_pub", "-s", "-V", "mqttv5", "-q", "1", "-h", "127.0.0.1", "-p", str(hub.ports["mqtts"]),
                           "--cafile", hub.ca, "-i", "belt-1", "-u", "belt-1", "-P", passwords["belt-1"],
                           "-D", "publish", "content-type", "application/vnd.bluetooth.gatt",
                           "-t", h.events_topic("belt-1", "characteristic=2a37")],
                          input=bytes.fromhex("064F"), capture_output=True, timeout=30, check=False)
    check("MQTT 5's own content type", (done.returncode, [value_of(o)[0] for o in found(hub, "p-belt", HR, 2)][:2]),
          lambda got: got[0] == 0 and sorted(got[1]) == [78, 79])
    day = time.gmtime(at)
    when = day.tm_year.to_bytes(2, "little") + bytes([day.tm_mon, day.tm_mday, day.tm_hour, day.tm_min, day.tm_sec])
    publish("2a35", "02780050006400" + when.hex())
    pressure = found(hub, "p-belt", BP)
    check("a blood pressure with its device's time", (value_of(pressure[0], "8480-6"), pressure[0]["effectiveDateTime"][:19]),
          ((120, "mm[Hg]"), h.iso(at)[:19]))
    publish("2a1c", "00FFFF7F00")  # NaN
    status, _, _ = hub.call("POST", "/devices/belt-1/messages/events?p.characteristic=2a5e", bytes.fromhex("0061004800"),
                            {"Authorization": "Basic " + base64.b64encode(f"belt-1:{passwords['belt-1']}".encode()).decode(),
                             "Content-Type": "application/vnd.bluetooth.gatt"}, port=hub.ports["https"])
    check("oxygen saturation over HTTPS is answered with 204", status, 204)
    check("and is there", value_of(found(hub, "p-belt", SPO2)[0]), (97, "%"))
    body = json.dumps([{"characteristic": "2a18", "value": "0201" + "00" + when.hex() + "5FB011", "encoding": "hex"},
                       {"characteristic": "2a5f", "value": base64.b64encode(bytes.fromhex("0062004B00")).decode(), "encoding": "base64",
                        "time": h.iso(at + 5)}]).encode()
    done = h.mosquitto_pub(hub, "belt-1", passwords["belt-1"], body,
                           topic=h.events_topic("belt-1", "%24.ct=application%2Fvnd.bluetooth.gatt%2Bjson"))
    check("a phone's list got its PUBACK", done.returncode, 0)
    check("glucose", value_of(found(hub, "p-belt", GLUCOSE)[0]), (95, "mg/dL"))
    check("continuous oximetry", [value_of(o)[0] for o in found(hub, "p-belt", SPO2, 2)], lambda v: sorted(v) == [97, 98])
    check("a reading without skin contact, and NaN, are nowhere",
          (sorted(value_of(o)[0] for o in observations(hub, "p-belt", HR)), observations(hub, "p-belt", TEMP)), ([72, 75, 78, 79], []))

    status, _, _ = hub.call("POST", "/devices/belt-1/messages/events", gateway_message(at + 5, "H1", rate=88).encode(),
                            {"Authorization": "Basic " + base64.b64encode(f"belt-1:{passwords['belt-1']}".encode()).decode(),
                             "Content-Type": "application/hl7-v2+er7"}, port=hub.ports["https"])
    check("HL7 over HTTPS is answered with 204", status, 204)
    h.wait_for("its reading", lambda: 88 in [value_of(o)[0] for o in observations(hub, "p-icu5", HR)])
    status, _, _ = hub.call("POST", "/devices/bed-1/messages/events", gateway_message(at + 6, "H2", rate=87).encode(),
                            {"Authorization": "Basic " + base64.b64encode(f"bed-1:{passwords['bed-1']}".encode()).decode(),
                             "Content-Type": "application/hl7-v2+er7"}, port=hub.ports["https"])
    check("HL7 over HTTPS for a bed that is not the sender's is stored", status, 204)
    h.wait_for("its dead letter", lambda: [x for x in letters(hub) if x["reason"] == "connector.sender" and x["key"] == "bed-1"])
    done = h.mosquitto_pub(hub, "bed-1", passwords["bed-1"], json.dumps({"time": h.iso(at), "hr": 71}).encode())
    check("the ward's own JSON beside them", (done.returncode, value_of(found(hub, "p-ward", HR)[0])), (0, (71, "/min")))
    check("nothing else is a dead letter", [x["reason"] for x in others(hub)], ["connector.mismatch", "connector.sender"])


def behind_a_gateway(checks, hub, work, at):
    """A monitor that speaks to vigil edge, which keeps and forwards."""
    hub.add_device("gw-1", "--gateway")
    hub.add_device("far-monitors", "--through", "gw-1", "--speaks-for", "ICU^*")
    edge = h.Program(work, "edge", kind="edge", edge__upstream_host="127.0.0.1", edge__upstream_port=hub.ports["mqtts"],
                     edge__gateway="gw-1", edge__password=f"file:{work / 'password-gw-1'}", edge__ca=hub.ca,
                     hl7__port=0, hl7__senders="127.0.0.1=far-monitors")
    edge.add_device("far-monitors")
    edge.start()
    monitor = Monitor(edge)
    checks.check("the gateway acknowledges", monitor.send(gateway_message(at + 7, "W1", rate=55)), ("CA", "W1"))
    h.wait_for("its reading", lambda: 55 in [value_of(o)[0] for o in observations(hub, "p-icu5", HR)])
    monitor.close()
    checks.check("the gateway ends cleanly", edge.stop(), 0)


def mapping_test(checks, hub, work, at):
    """vigil mapping test takes such files too."""
    def tried(name, content, *options):
        path = work / name
        path.write_bytes(content)
        code, out, error = hub.cli("mapping", "test", "--device", str(h.SOURCE / "mappings/all-device.json"), "--fhir",
                                   str(h.SOURCE / "mappings/all-fhir.json"), *options, str(path), check=False)
        result = json.loads(out)["results"][0]
        return code, len(result["measurements"]), len(result["observations"]), len(result["errors"]), error

    form = ("--content-type", "application/hl7-v2+er7")
    checks.check("an HL7 file", tried("gateway.hl7", gateway_message(at).encode(), *form), (0, 6, 6, 0, ""))
    checks.check("one whose times have no zone", tried("sentinel.hl7", sentinel_message(at).encode(), *form, "--zone", "")[0], 1)
    checks.check("one that is none", tried("bad.hl7", b"{}", *form)[:4], (1, 0, 0, 1))
    checks.check("bytes of a belt", tried("belt.bin", bytes.fromhex("0648"), "--content-type", "application/vnd.bluetooth.gatt",
                                          "--characteristic", "2a37", "--device-id", "belt-1"), (0, 1, 1, 0, ""))


def main(checks, work):
    hub = h.Program(work, "hub", connector__device_mapping=h.SOURCE / "mappings/all-device.json",
                    connector__fhir_mapping=h.SOURCE / "mappings/all-fhir.json", connector__zone="Z",
                    hl7__port=0, hl7__senders="127.0.0.1=monitors, 192.0.2.0/24=elsewhere")
    hub.start(60)
    hub.make_token()
    hub.settings["hl7.port"] = hub.ports["hl7"]
    h.seed_patients(hub, [("p-icu5", "Bedmadeup", "Bea", "1950-01-02", "female", None),
                          ("p-vsp", "Treemadeup", "Ted", "1951-01-02", "male", None),
                          ("p-nc5", "Farmadeup", "Fay", "1952-01-02", "female", None),
                          ("p-xh", "Offmadeup", "Ole", "1953-01-02", "male", None),
                          ("p-belt", "Beltmadeup", "Bob", "1954-01-02", "male", "belt-1"),
                          ("p-ward", "Wardmadeup", "Wim", "1955-01-02", "male", "bed-1")])
    for number, (device, patient) in enumerate((("ICU^^5^EXAMPLE", "p-icu5"), ("0800EX02", "p-vsp"), ("KC0001", "p-nc5"),
                                                ("00A037EX09", "p-xh"))):
        hub.fhir("PUT", f"/Device/mon-{number}", {**h.device_of(device, patient), "id": f"mon-{number}"})
    passwords = {device: hub.add_device(device, *names) for device, *names in (
        ("monitors", "--speaks-for", "ICU^*, KC0001, 00A037EX09"), ("belt-1", "--speaks-for", "ICU^^5^EXAMPLE"), ("bed-1",))}
    at = int(time.time()) - 300

    checks.heading("whom a sender speaks for")
    whom_it_speaks_for(checks, hub, at)
    checks.heading("four kinds of monitors")
    monitors(checks, hub, at)
    checks.heading("kill -9 while a monitor sends")
    kill_minus_nine(checks, hub, at)
    checks.heading("Bluetooth, HL7 over HTTPS, and the ward's JSON")
    bluetooth(checks, hub, passwords, at)
    checks.heading("HL7 v2 through a gateway")
    behind_a_gateway(checks, hub, work, at)
    checks.heading("vigil mapping test")
    mapping_test(checks, hub, work, at)
    checks.check("the hub ends cleanly", hub.stop(), 0)


if __name__ == "__main__":
    h.run_script("hl7_gatt", main)
