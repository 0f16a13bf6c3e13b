#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Actuators that are devices: Redfish against an emulator, IPMI against OpenIPMI's ipmi_sim, links
in a network namespace. They are believed for what they say for a while, not for what they reply.

Usage: test_actuator_devices.py GUILLOTINE GUEST.elf...
"""

import json
import os
import shutil
import socket
import subprocess
import threading
import time

import redfish_emulator
from actuator_bench import (ACTUATOR, FOLDER, TIMEOUT_S, Done, act, config, confirmed, finish, path,
                            refused, state_dir, test, write)
from guest_test import Skip, wait_until
from redfish_emulator import PASSWORD, SESSIONS, SYSTEM, USER, Bmc, make_authority, make_certificate


# Redfish

@test("certificates for the emulator")
def check_certificates():
    for authority in ("ca", "other-ca"):
        make_authority(FOLDER, authority)
    make_certificate(FOLDER, "ca", "bmc")
    make_certificate(FOLDER, "other-ca", "stranger")
    make_certificate(FOLDER, "ca", "named", "DNS:bmc.example")
    make_certificate(FOLDER, "ca", "expired", days="-1")
    write("bmc.credentials", f"{USER}\n{PASSWORD}\n")


def redfish(bmc, **keys):
    keys = {"name": "bmc", "driver": "redfish", "class": "reversible", "target": "other",
            "host": "127.0.0.1", "port": bmc.port, "system": SYSTEM,
            "credentials": "bmc.credentials", "ca_file": "ca.pem", "timeout_ms": 3000,
            "retries": 0, "settle_ms": 200, **keys}
    return config({key: value for key, value in keys.items() if value is not None})


@test("redfish: power off and on, with a session and with basic authentication")
def check_redfish():
    for auth in ("session", "basic"):
        with Bmc(FOLDER) as bmc:
            confirmed(act("cut", redfish(bmc, auth=auth)), "bmc")
            assert bmc.power == "Off" and bmc.resets == ["ForceOff"], bmc.resets
            assert bmc.shows >= 2, "one reading was enough"
            confirmed(act("restore", redfish(bmc, auth=auth)), "bmc")
            confirmed(act("restore", redfish(bmc, auth=auth, restore_with="PowerCycle")), "bmc")
            assert bmc.resets == ["ForceOff", "On", "PowerCycle"], bmc.resets
            assert not bmc.tokens, "sessions are left"
            logins = [request for request in bmc.requests if request[1] == SESSIONS]
            assert bool(logins) == (auth == "session"), logins
            assert act("check", redfish(bmc, auth=auth)).status == 0
            assert len(bmc.resets) == 3, "a check resets"


@test("redfish: a lost reply is no failure, and no success: the read-back decides")
def check_redfish_lost():
    def obeys(bmc, handler, kind):
        bmc.obey(kind)
        handler.cut()

    def forgets(bmc, handler, kind):
        if len(bmc.resets) > 1:
            bmc.obey(kind)
        handler.cut()

    with Bmc(FOLDER, reset=obeys) as bmc:
        done = act("cut", redfish(bmc))
        confirmed(done, "bmc")
        assert len(bmc.resets) == 1 and "unsure" in done.detail(), (bmc.resets, str(done))
    with Bmc(FOLDER, reset=forgets) as bmc:
        done = act("cut", redfish(bmc, retries=1, timeout_ms=1500))
        confirmed(done, "bmc")
        assert done.kinds() == [("fired", "bmc"), ("failed", "bmc"), ("fired", "bmc"),
                                ("confirmed", "bmc")], done
    with Bmc(FOLDER, reset=lambda bmc, handler, kind: handler.cut()) as bmc:
        refused(act("cut", redfish(bmc, retries=1, timeout_ms=800)), "the read-back says on")


@test("redfish: a slow power off is waited for")
def check_redfish_slow():
    def slow(bmc, handler, kind):
        bmc.power = "PoweringOff"
        threading.Timer(0.7, bmc.obey, [kind]).start()
        handler.answer(202)

    with Bmc(FOLDER, reset=slow) as bmc:
        confirmed(act("cut", redfish(bmc)), "bmc")


@test("redfish: lying read-backs")
def check_redfish_lies():
    def nothing(bmc, handler, kind):
        handler.answer(204)

    def first_off(bmc, handler):
        bmc.power = "Off" if bmc.shows < 3 else "On"
        handler.answer(200, bmc.system())

    def flips(bmc, handler):
        bmc.power = "Off" if bmc.shows % 2 else "On"
        handler.answer(200, bmc.system())

    with Bmc(FOLDER, reset=nothing) as bmc:
        refused(act("cut", redfish(bmc, timeout_ms=1000)), "the read-back says on")
    with Bmc(FOLDER, reset=nothing, show=first_off) as bmc:
        refused(act("cut", redfish(bmc, settle_ms=1000)), "said off, then on: it is not believed")
    with Bmc(FOLDER, reset=nothing, show=flips) as bmc:
        refused(act("cut", redfish(bmc, settle_ms=1000, retries=2)), "it is not believed")


@test("redfish: refused credentials, sessions without token, errors, redirects")
def check_redfish_refusals():
    def status(number, headers=()):
        return lambda bmc, handler, kind: handler.answer(number, {}, headers)

    for auth in ("session", "basic"):
        with Bmc(FOLDER, denies=True) as bmc:
            refused(act("cut", redfish(bmc, auth=auth)), "401")
            assert not bmc.resets
    write("bmc.credentials", f"{USER}\nwrong\n")
    with Bmc(FOLDER) as bmc:
        refused(act("cut", redfish(bmc)), "401")
        assert not bmc.resets
    write("bmc.credentials", f"{USER}\n{PASSWORD}\n")
    for number in (400, 403, 404, 405, 409, 500, 503):
        with Bmc(FOLDER, reset=status(number)) as bmc:
            refused(act("cut", redfish(bmc, timeout_ms=800)), str(number))
    with Bmc(FOLDER) as target:
        # The other server would obey: same certificate, same credentials.
        url = f"https://127.0.0.1:{target.port}"
        for number in (301, 302, 303, 307, 308):
            place = [("Location", f"{url}{SYSTEM}/Actions/ComputerSystem.Reset")]
            with Bmc(FOLDER, reset=status(number, place)) as bmc:
                refused(act("cut", redfish(bmc, auth="basic", timeout_ms=800)),
                        "redirects are not followed")
        place = [("Location", url + SYSTEM)]
        with Bmc(FOLDER, show=lambda bmc, handler: handler.answer(307, {}, place)) as bmc:
            refused(act("cut", redfish(bmc, auth="basic", timeout_ms=800)),
                    "redirects are not followed")
        assert not target.requests, target.requests


@test("redfish: certificates that are not to be trusted get no credentials")
def check_redfish_certificates():
    pin = redfish_emulator.pin_of
    wrong = pin(FOLDER, "stranger")
    for certificate, keys in (("stranger", {}), ("expired", {}), ("named", {}),
                              ("bmc", {"spki_sha256": wrong}),
                              ("bmc", {"ca_file": "other-ca.pem"}),
                              ("bmc", {"ca_file": "missing.pem"}),
                              ("bmc", {"ca_file": None, "spki_sha256": wrong}),
                              ("bmc", {"server_name": "bmc.example"}),
                              ("stranger", {"spki_sha256": wrong}),
                              ("named", {"ca_file": None, "spki_sha256": pin(FOLDER, "named")}),
                              ("expired",
                               {"ca_file": None, "spki_sha256": pin(FOLDER, "expired")})):
        with Bmc(FOLDER, certificate) as bmc:
            for auth in ("session", "basic"):
                done = act("cut", redfish(bmc, auth=auth, timeout_ms=800, **keys))
                refused(done)
                assert not bmc.requests, (certificate, keys, bmc.requests)
    with Bmc(FOLDER, tls=False) as bmc:
        refused(act("cut", redfish(bmc, auth="basic", timeout_ms=800)))
        assert not bmc.requests, "plain text"


@test("redfish: a pinned key, with and without an authority; another name in the certificate")
def check_redfish_pin():
    pin = redfish_emulator.pin_of
    for certificate, keys in (("bmc", {"ca_file": None, "spki_sha256": pin(FOLDER, "bmc")}),
                              ("bmc", {"spki_sha256": pin(FOLDER, "bmc")}),
                              ("stranger",
                               {"ca_file": None, "spki_sha256": pin(FOLDER, "stranger")}),
                              ("named", {"server_name": "bmc.example"})):
        with Bmc(FOLDER, certificate) as bmc:
            confirmed(act("cut", redfish(bmc, **keys)), "bmc")


@test("redfish: huge, slow, broken and hostile replies")
def check_redfish_replies():
    def raw(data):
        def show(bmc, handler):
            handler.close_connection = True
            handler.wfile.write(data)
        return show

    def body(text):
        return lambda bmc, handler: handler.answer(200, text.encode())

    def drip(bmc, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            handler.close_connection = True

    def endless(bmc, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b" " * 65536)
        except OSError:
            handler.close_connection = True

    huge_header = b"HTTP/1.1 200 OK\r\n" + b"".join(
        b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(100)) + b"\r\n"
    for show, text in ((drip, ""), (endless, "too large"), (raw(huge_header), "too large"),
                       (body("[" * 100000), ""), (body(" " * 300000), "too large"),
                       (raw(b""), ""), (raw(b"garbage\r\n\r\n"), ""),
                       (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n"
                            b'{"PowerState":"Off"}'), ""),
                       (body(""), "expected"), (body('{"PowerState":"Off"'), "expected"),
                       (body('{"PowerState":"Off"} x'), "expected"),
                       (body('{"PowerState":"On","PowerState":"Off"}'), "duplicate"),
                       (body('{"PowerState":"off"}'), "not one of"),
                       (body('{"PowerState":"Off\\u0000"}'), "U+0000"),
                       (body('{"PowerState":null}'), "expected"),
                       (body('{"PowerState":["Off"]}'), "expected"),
                       (body('["PowerState","Off"]'), "object"),
                       (body('{"powerstate":"Off"}'), "no PowerState"),
                       (body('{"PowerState":"\\u001b[2J"}'), "not one of")):
        with Bmc(FOLDER, show=show) as bmc:
            done = act("cut", redfish(bmc, auth="basic", timeout_ms=1200))
            refused(done, text)
            assert bmc.resets, "no reset was asked for"
            assert all(0x20 <= ord(c) < 0x7f for c in done.detail()), done


@test("redfish: sessions that cannot be used")
def check_redfish_sessions():
    original = redfish_emulator.Handler.do_POST

    def answer(headers):
        def do_post(handler):
            if handler.path != SESSIONS:
                original(handler)
                return
            handler.server.bmc.requests.append(("POST", handler.path, b""))
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.answer(201, {}, headers)
        return do_post

    with Bmc(FOLDER) as other:
        for headers, text in (([], "no token"), ([("X-Auth-Token", "x" * 600)], "no token"),
                              ([("X-Auth-Token", "a b")], "no token"),
                              # Somewhere else, or not a session: nothing is deleted there.
                              ([("X-Auth-Token", "nope"),
                                ("Location", f"https://127.0.0.1:{other.port}/x")], "401"),
                              ([("X-Auth-Token", "nope"), ("Location", SYSTEM)], "401"),
                              ([("X-Auth-Token", "nope"),
                                ("Location", SESSIONS + "/../../Systems/1")], "401")):
            redfish_emulator.Handler.do_POST = answer(headers)
            try:
                with Bmc(FOLDER) as bmc:
                    refused(act("cut", redfish(bmc, timeout_ms=800)), text)
                    assert not [one for one in bmc.requests if one[0] == "DELETE"], bmc.requests
            finally:
                redfish_emulator.Handler.do_POST = original
        assert not other.requests, other.requests


@test("redfish: credentials that others can read are not used")
def check_redfish_credentials():
    with Bmc(FOLDER) as bmc:
        for text, mode in ((f"{USER}\n{PASSWORD}\n", 0o644), (f"{USER}\n", 0o600), ("", 0o600),
                           (f"{USER}\n{PASSWORD}\nmore\n", 0o600),
                           (f"{USER}\n{'x' * 200}\n", 0o600)):
            write("bad.credentials", text, mode)
            refused(act("cut", redfish(bmc, credentials="bad.credentials")), "bad.credentials")
        assert not bmc.requests, bmc.requests


@test("redfish: nobody there, a peer that never answers, and the next actuator")
def check_redfish_silence():
    silent = socket.create_server(("127.0.0.1", 0))

    class Peer:
        port = silent.getsockname()[1]

    refused(act("cut", redfish(Peer, timeout_ms=600)))
    silent.close()
    refused(act("cut", redfish(Peer, timeout_ms=600)), "onnect")
    first = json.loads(open(redfish(Peer, timeout_ms=600), encoding="utf-8").read())
    file = config(first["actuators"][0], {"name": "next", "driver": "simulated",
                                          "class": "reversible", "state_file": "next.state"})
    confirmed(act("cut", file), "next")


# IPMI

IPMI_LAN = """name "test"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{chassis} 0x20"
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "root" "test" admin 10 none md2 md5 straight
"""
IPMI_DEVICE = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
IPMI_CHASSIS = """#!/bin/sh
# Called with the address, get or set, and properties.
shift
operation=$1
shift
while [ $# -gt 0 ]; do
    case $operation in
    get) [ "$1" = power ] && echo "power:$(cat {power})"; shift ;;
    set) [ "$1" = power ] && [ ! -e {stuck} ] && echo "$2" >{power}; shift 2 ;;
    *) shift ;;
    esac
done
exit 0
"""


class IpmiSim:
    """OpenIPMI's simulated management controller."""

    def __enter__(self):
        for program in ("ipmi_sim", "ipmitool"):
            if not shutil.which(program):
                raise Skip(f"{program} is missing")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        write("power", "1\n")
        if os.path.exists(path("stuck")):
            os.unlink(path("stuck"))
        chassis = write("chassis", IPMI_CHASSIS.format(power=path("power"), stuck=path("stuck")),
                        0o700)
        os.makedirs(path("ipmi-state"), exist_ok=True)
        self.process = subprocess.Popen(
            ["ipmi_sim", "-c", write("lan.conf", IPMI_LAN.format(port=self.port, chassis=chassis)),
             "-f", write("device.emu", IPMI_DEVICE), "-s", path("ipmi-state"), "-n"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        write("ipmi.password", "test\n")
        ready = wait_until(lambda: act("check", self.config()).status == 0, 20)
        assert ready, f"ipmi_sim does not answer: {act('check', self.config())}"
        return self

    def __exit__(self, *arguments):
        self.process.kill()
        self.process.wait()

    def config(self, **keys):
        return config({"name": "chassis", "driver": "ipmi", "class": "reversible",
                       "target": "other", "host": "127.0.0.1", "port": self.port, "user": "root",
                       "password_file": "ipmi.password", "retries": 0, "settle_ms": 200,
                       "timeout_ms": 12000, "cipher_suite": 3, **keys})

    def power(self):
        with open(path("power"), encoding="utf-8") as file:
            return file.read().strip()


@test("ipmi: ipmitool against OpenIPMI's ipmi_sim")
def check_ipmi():
    with IpmiSim() as sim:
        confirmed(act("cut", sim.config()), "chassis")
        assert sim.power() == "0"
        # Asking a device that does not answer for its suites takes ipmitool some seconds.
        confirmed(act("restore", config({key: value for key, value in json.load(
            open(sim.config(timeout_ms=60000), encoding="utf-8"))["actuators"][0].items()
                                         if key != "cipher_suite"})), "chassis")
        assert sim.power() == "1"
        confirmed(act("restore", sim.config()), "chassis")
        assert sim.power() == "1"
        write("stuck", "")
        refused(act("cut", sim.config(timeout_ms=4000)), "the read-back says on")
        os.unlink(path("stuck"))
        write("ipmi.password", "wrong\n")
        refused(act("cut", sim.config(timeout_ms=8000)), "ipmitool")
        assert sim.power() == "1"
        write("ipmi.password", "test\n", 0o640)
        refused(act("cut", sim.config()), "holds a secret")
        write("ipmi.password", "test\n")
        refused(act("cut", sim.config(target="this-host")), "--allow-host-cut")
        assert sim.power() == "1"
        sim.process.kill()
        sim.process.wait()
        refused(act("cut", sim.config(timeout_ms=1500)), "ipmitool")


@test("ipmi: what a false ipmitool says")
def check_ipmi_words():
    write("ipmi.password", "test\n")
    for script, good in (("echo Chassis Power is off", True), ("echo Chassis Power is offline", False),
                         ("echo off", False), ("echo Chassis Power is off; exit 1", False),
                         ("echo Chassis Power is on", False)):
        tool = write("tool", f"#!/bin/sh\n{script}\n", 0o700)
        file = config({"name": "chassis", "driver": "ipmi", "class": "reversible",
                       "target": "other", "host": "bmc", "user": "root", "program": tool,
                       "password_file": "ipmi.password", "timeout_ms": 600, "retries": 0,
                       "settle_ms": 0})
        assert (act("cut", file).status == 0) == good, script


# Links

def in_namespace(setup, *arguments):
    """Runs a command in a network namespace of its own, made by a script. Returns its result and
    the links afterwards, by name."""
    if not shutil.which("ip") or not shutil.which("unshare"):
        raise Skip("iproute2 or util-linux is missing")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run(["unshare", *user, "--net", "ip", "link", "add", "probe", "type", "veth"],
                      capture_output=True, check=False).returncode:
        raise Skip("network namespaces or veth interfaces are not allowed here")
    script = (f"set -e\n{setup}\n\"$@\" >{path('out')} 2>{path('err')} && code=0 || code=$?\n"
              f"ip -j -d link show >{path('links')}\nexit $code")
    done = subprocess.run(["unshare", *user, "--net", "/bin/sh", "-c", script, "sh", *arguments],
                          capture_output=True, timeout=TIMEOUT_S, check=False)
    with open(path("links"), encoding="utf-8") as file:
        links = {link["ifname"]: link for link in json.load(file)}
    with open(path("out"), "rb") as out, open(path("err"), "rb") as err:
        return Done(subprocess.CompletedProcess([], done.returncode, out.read(), err.read())), links


def link_act(setup, action, interface, *options, **keys):
    for name in ("out", "err", "links"):
        write(name, "[]" if name == "links" else "")
    file = config({"name": "l", "driver": "link", "class": "reversible", "interface": interface,
                   "timeout_ms": 3000, "retries": 0, "settle_ms": 200, **keys})
    return in_namespace(setup, ACTUATOR, "--state-dir", state_dir(), "--config", file, *options,
                        action)


def is_up(links, name):
    return "UP" in links[name]["flags"]


PAIR = """ip link add g0 type veth peer name g0p
ip link set g0p up
ip link set g0 up"""
DEFAULT = PAIR.replace("g0", "g1") + """
ip addr add 192.0.2.1/24 dev g1
ip route add default via 192.0.2.2 dev g1"""


@test("link: down and up")
def check_link():
    done, links = link_act(f"{PAIR}\n{DEFAULT}", "cut", "g0")
    confirmed(done, "l")
    assert not is_up(links, "g0") and is_up(links, "g1"), links
    done, links = link_act(PAIR + "\nip link set g0 down", "restore", "g0")
    confirmed(done, "l")
    assert is_up(links, "g0"), links


@test("link: the host's default route is not cut, whatever it is built from")
def check_link_default():
    vlan = PAIR + """
ip link add link g0 name g0.5 type vlan id 5
ip link set g0.5 up
ip addr add 192.0.2.1/24 dev g0.5
ip route add default via 192.0.2.2 dev g0.5"""
    macvlan = vlan.replace("type vlan id 5", "type macvlan")
    bridge = PAIR + """
ip link add b0 type bridge
ip link set g0 master b0
ip link set b0 up
ip addr add 192.0.2.1/24 dev b0
ip route add default via 192.0.2.2 dev b0"""
    six = PAIR + "\nip -6 route add default dev g0"
    table = PAIR + "\nip route add default dev g0 table 77"
    half = PAIR + "\nip route add 0.0.0.0/1 dev g0"
    paths_two = f"{PAIR}\n{PAIR.replace('g0', 'g2')}\n" + """
ip addr add 192.0.2.1/24 dev g0
ip addr add 198.51.100.1/24 dev g2
ip route add default nexthop via 198.51.100.2 dev g2 nexthop via 192.0.2.2 dev g0"""
    tried = 0
    for setup, name in ((DEFAULT, "g1"), (vlan, "g0"), (vlan, "g0.5"), (macvlan, "g0"),
                        (bridge, "g0"), (bridge, "b0"), (six, "g0"), (table, "g0"), (half, "g0"),
                        (paths_two, "g0")):
        done, links = link_act(setup, "cut", name)
        if not links:
            print(f"# WARNING: this kernel cannot set up: {setup.splitlines()[3:]}")
            continue
        tried += 1
        refused(done, "default route needs interface")
        assert is_up(links, name), (setup, links)
        done, links = link_act(setup, "cut", name, "--allow-host-cut")
        confirmed(done, "l")
        assert not is_up(links, name), (setup, links)
    assert tried >= 4, tried
    # Restoring needs no permission, and neither does one that no route needs.
    done, links = link_act(f"{PAIR}\n{DEFAULT}", "cut", "g0p")
    confirmed(done, "l")
    done, links = link_act(PAIR, "cut", "g0", target="this-host")
    refused(done, "--allow-host-cut")


@test("link: one that is missing, and one that somebody brings up again")
def check_link_trouble():
    done, links = link_act(PAIR, "cut", "g7")
    refused(done, "interface g7")
    busy = PAIR + "\n(while ip link set g0 up; do sleep 0.05; done) 2>/dev/null >/dev/null &"
    done, links = link_act(busy, "cut", "g0", settle_ms=1500)
    refused(done)
    # An alternative name is not the name.
    done, links = link_act(PAIR + "\nip link property add dev g0 altname uplink", "cut", "uplink")
    refused(done, "interface uplink")
    assert is_up(links, "g0"), links


@test("link: without the right to do it")
def check_link_rights():
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    for name in ("out", "err", "links"):
        write(name, "[]" if name == "links" else "")
    file = config({"name": "l", "driver": "link", "class": "reversible", "interface": "g0",
                   "timeout_ms": 1000, "retries": 0, "settle_ms": 0})
    done, links = in_namespace(PAIR, "setpriv", "--bounding-set", "-net_admin", "--inh-caps",
                               "-net_admin", ACTUATOR, "--state-dir", state_dir(), "--config",
                               file, "cut")
    refused(done, "Operation not permitted")
    assert is_up(links, "g0"), links


if __name__ == "__main__":
    finish()
