#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Administrators' orders end to end: keys, signatures, levels that fall, and what must not work.

Usage: test_quorum.py GUILLOTINE HELLO.elf GUEST.elf... FALLEN_SUPERVISOR
"""

import hashlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time

from guest_test import Bench, Skip, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:-1])
tap = Tap(after=bench.clean)
SURVIVE = ["--image", bench.guests["port_life.elf"], "--port", "loopback:loop", "--", "survive",
           "loop"]
ORDER_TEXT = '{"format":"guillotine-signed-order/1","order":'


def quorum(*arguments, **keys):
    return bench.command("quorum", *arguments, **keys)


def good(done):
    assert done.returncode == 0, done
    return done


def refused(done, *words):
    assert done.returncode not in (0, -11, -6), done
    one_line(done.stderr.decode(), *words)


class World:
    """An installation with a key set, and runs of it."""

    def __init__(self, name, *options):
        self.state = bench.path(f"{name}-state")
        self.keys = bench.path(f"{name}-keys")
        os.mkdir(self.state, 0o700)
        good(quorum("init", "--demo", "--out", self.keys, "--state-dir", self.state, *options))

    def key(self, number):
        return os.path.join(self.keys, f"demo-{number}.key")

    def sign(self, path, *numbers):
        for number in numbers:
            good(quorum("sign", "--yes", "--json", "--key", self.key(number), path))
        return path

    def start(self, name, arguments=None):
        process = bench.start(["--name", name, "--state-dir", self.state, *(arguments or SURVIVE)])
        return process, bench.wait_running(name, process)

    def store(self, name):
        return os.path.join(self.state, "quorum", name)


def directories():
    return ["--runtime-dir", bench.runtime]


def status(name):
    return json.loads(good(bench.command("ports", *directories(), "--json", name)).stdout)


def requests(name):
    return status(name)["ports"][0]["requests"]


def isolate(name, level):
    good(bench.command("isolate", *directories(), name, level))


def propose(name, level, out, *options):
    path = bench.path(out)
    good(quorum("propose", *directories(), name, level, "--reason", "a test", "--out", path,
                *options))
    return path


def submit(path, name, *options):
    return quorum("submit", *directories(), *options, path, name)


def quorum_status(name):
    return json.loads(good(quorum("status", *directories(), "--json", name)).stdout)


def edit(path, out, change):
    """Writes the file with a change in the canonical form of a program that is not ours."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    change(document)
    return bench.write(out, json.dumps(document, sort_keys=True, separators=(",", ":"),
                                       ensure_ascii=False))


def vm_keys(world):
    return set(os.listdir(os.path.join(world.state, "keys"))) - {"log.key", "log.pub", "state.key"}


def details(log):
    return [record["detail"] for record in bench.audit(log) if record["type"] == "quorum"]


def end(process, name):
    bench.command("kill", name, *directories())
    bench.finish(process)


@tap.test("severed to standard: four signatures are refused, with five the model runs again")
def check_lowering():
    world = World("lower")
    process, _ = world.start("lower")
    isolate("lower", "severed")
    assert status("lower")["demo_keys"] is True and quorum_status("lower")["key_set"]["demo"] is True
    before = requests("lower")
    path = world.sign(propose("lower", "standard", "lower.json"), 1, 2, 3, 4)
    refused(submit(path, "lower"), "too few")
    assert status("lower")["level"] == "severed" and requests("lower") == before
    done = good(submit(world.sign(path, 6), "lower", "--json"))
    assert json.loads(done.stdout)["level"] == "standard", done
    assert status("lower")["level"] == "standard"
    assert wait_until(lambda: requests("lower") > before + 1000, 5), "the model does not run"
    refused(submit(path, "lower"), "sequence number")  # again
    isolate("lower", "severed")
    refused(submit(path, "lower"), "sequence number")  # where it would have an effect
    assert status("lower")["level"] == "severed"
    end(process, "lower")


@tap.test("a language model that was severed in the middle goes on and ends as it would have ended")
def check_speech():
    world = World("speech")
    folder = os.path.dirname(bench.guillotine)
    model = ["--image", os.path.join(folder, "llm.elf"), "--weights",
             os.path.join(folder, "demo.gguf"), "--port", "console", "--", "--prompt",
             "Once upon a time", "--tokens", "400", "--seed", "7"]
    whole = bench.run(["--state-dir", world.state, *model])
    assert whole.status == 0 and len(whole.stdout) > 100, whole
    for attempt in range(5):  # it may be done before it is severed
        process, _ = world.start("speech", model)
        if bench.command("isolate", *directories(), "speech", "severed").returncode == 0:
            break
        bench.finish(process)
    else:
        raise Skip("the model was done each time before it could be severed")
    exits = status("speech")["exits"]
    time.sleep(0.3)
    assert status("speech")["exits"] == exits and process.poll() is None, "it ran while severed"
    path = world.sign(propose("speech", "standard", f"speech-{attempt}.json"), 3, 4, 5, 6, 7)
    good(submit(path, "speech"))
    ended = bench.finish(process)
    assert ended.status == 0, ended
    assert ended.stdout and whole.stdout.endswith(ended.stdout[-20:]), (ended, whole)


@tap.test("backend processes come back with the level")
def check_backends():
    world = World("back")
    vm = bench.write_vm("back.json", image=bench.guests["port_life.elf"],
                        arguments=["survive", "loop"],
                        ports=[{"kind": "loopback", "name": "loop", "process": True}])
    process, _ = world.start("back", [vm])
    assert wait_until(lambda: requests("back") > 100, 5)
    for number in range(3):
        isolate("back", "severed")
        before = requests("back")
        path = propose("back", "standard", f"back-{number}.json")
        good(submit(world.sign(path, 1, 2, 3, 4, 5), "back"))
        assert wait_until(lambda: requests("back") > before + 100, 5), status("back")
    assert status("back")["ports"][0]["restarts"] == 0, status("back")
    end(process, "back")


@tap.test("every other order is refused, with the reason, and recorded")
def check_refusals():
    world = World("refuse")
    other = World("other")
    process, _ = world.start("refuse")
    isolate("refuse", "severed")
    path = world.sign(propose("refuse", "standard", "refuse.json"), 1, 2, 3, 4, 5)

    def changed(name, **keys):
        return edit(path, name, lambda document: document["order"].update(keys))

    def signed(name, **keys):
        """The same, and signed anew by five."""
        def change(document):
            document["order"].update(keys)
            document["signatures"] = []
        return world.sign(edit(path, name, change), 1, 2, 3, 4, 5)

    def swap(document):
        document["signatures"][1] = document["signatures"][0]

    order = json.load(open(path, encoding="utf-8"))["order"]
    uuid = "01234567-89ab-4def-8123-456789abcdef"
    cases = [
        (changed("r1.json", reason="another"), "not valid"),
        (changed("r2.json", to="probation"), "not valid"),
        (changed("r3.json", expires_s=order["expires_s"] + 1), "not valid"),
        (signed("r4.json", vm=uuid), "another VM"),
        (signed("r5.json", deployment=uuid), "another deployment"),
        (signed("r6.json", key_set=2), "version of the key set"),
        (changed("r7.json", sequence=0), "outside"),
        (signed("r8.json", **{"from": "probation"}), "not at the level"),
        (signed("r9.json", expires_s=order["issued_s"] + 86401), "24 hours"),
        (signed("r10.json", issued_s=order["issued_s"] + 600), "future"),
        (edit(path, "r11.json", swap), "twice"),
        (other.sign(edit(path, "r12.json", lambda d: d["signatures"].pop()), 1), "not in the key"),
        (changed("r13.json", repaired=True), "contradicts"),
        (changed("r14.json", comment="x"), "unknown key"),
    ]
    for file, words in cases:
        refused(submit(file, "refuse"), words)
        assert status("refuse")["level"] == "severed", file
    # An order that expires while it waits.
    short = world.sign(propose("refuse", "standard", "short.json", "--expires", "5s"), 1, 2, 3, 4, 5)
    with open(short, encoding="utf-8") as file:
        expires_s = json.load(file)["order"]["expires_s"]
    assert wait_until(lambda: time.time() >= expires_s, 10)
    refused(submit(short, "refuse"), "expired")
    refused(quorum("sign", "--yes", "--key", world.key(6), short), "expired")
    assert status("refuse")["level"] == "severed"
    good(submit(path, "refuse"))  # the original is still good
    end(process, "refuse")
    recorded = details(os.path.join(world.state, "audit", "refuse.audit"))
    assert len(recorded) == len(cases) + 2 and recorded[-1] == 0 and 0 not in recorded[:-1], recorded


@tap.test("another form of the same order is refused: blanks, key order, escapes, numbers")
def check_canonical():
    world = World("form")
    process, _ = world.start("form")
    isolate("form", "severed")
    path = world.sign(propose("form", "standard", "form.json"), 1, 2, 3, 4, 5)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    document = json.loads(text)
    reordered = dict(document, order=dict(reversed(document["order"].items())))
    number = f'"sequence":{document["order"]["sequence"]}'
    assert text.startswith(ORDER_TEXT) and number in text
    forms = [
        json.dumps(document, sort_keys=True),
        json.dumps(document, sort_keys=True, indent=1),
        json.dumps(reordered, separators=(",", ":")),
        text.replace('"a test"', '"a\\u0020test"'),
        text.replace('"a test"', '"\\u0061 test"'),
        text.replace(number, number + ".0"),
        text.replace(number, number + "e0"),
        text.replace('"to":"standard"', '"to":"standard","to":"standard"'),
        text + "\n",
        text + " ",
        text + "{}",
        "\ufeff" + text,
        text.replace('"key":"', '"key":"A'),
        text.upper(),
        "",
    ]
    for number, form in enumerate(forms):
        done = submit(bench.write(f"form-{number}.json", form), "form")
        assert done.returncode not in (0, 70), (form, done)
        assert status("form")["level"] == "severed", form
    good(submit(path, "form"))
    end(process, "form")


@tap.test("three raise beyond offline, two do not; one administrator opens a proposal that holds")
def check_raising():
    world = World("raise")
    process, _ = world.start("raise")
    path = world.sign(propose("raise", "severed", "raise.json"), 1, 2)
    refused(submit(path, "raise"), "too few")
    good(submit(world.sign(path, 3), "raise"))
    assert status("raise")["level"] == "severed"
    # A proposal to lower shows itself and changes nothing.
    path = world.sign(propose("raise", "standard", "down.json"), 1)
    good(submit(path, "raise", "--propose"))
    assert status("raise")["level"] == "severed"
    shown = quorum_status("raise")["proposal"]
    assert shown["to"] == "standard" and shown["signatures"] == 1, shown
    good(submit(world.sign(path, 2, 3, 4, 5), "raise"))
    assert quorum_status("raise")["proposal"] is None
    refused(submit(propose("raise", "immolation", "nobody.json"), "raise", "--propose"), "too few")
    # One to raise takes the VM offline while it is open.
    path = world.sign(propose("raise", "immolation", "up.json"), 7)
    refused(submit(path, "raise"), "too few")
    good(submit(path, "raise", "--propose"))
    assert bench.finish(process).status == 81
    world = World("again")  # the level belongs to the image too
    process, _ = world.start("again")
    path = world.sign(propose("again", "decapitation", "up2.json"), 7, 1, 2)
    good(submit(path, "again"))
    assert bench.finish(process).status == 81
    assert len(vm_keys(world)) == 1  # the image that it might have left
    world = World("burn")
    process, _ = world.start("burn")
    assert len(vm_keys(world)) == 1
    good(submit(world.sign(propose("burn", "immolation", "up3.json"), 2, 4, 6), "burn"))
    assert bench.finish(process).status == 81
    assert not vm_keys(world)


@tap.test("a VM that does not run: its level falls by an order on its state file, and only by that")
def check_at_rest():
    world = World("rest")
    state = ["--state-dir", world.state]
    process, _ = world.start("rest")
    good(bench.command("isolate", *directories(), "rest", "offline"))
    assert bench.finish(process).status == 81
    again = bench.run(["--name", "rest", *state, *SURVIVE])
    assert again.status == 81, again
    one_line(again.stderr, "offline", "quorum")
    path = bench.path("rest.json")
    good(quorum("propose", *directories(), *state, "rest", "standard", "--reason", "checked",
                "--out", path))
    world.sign(path, 1, 2, 3, 4)
    refused(quorum("submit", *directories(), *state, path), "too few")
    assert bench.run(["--name", "rest", *state, *SURVIVE]).status == 81
    world.sign(path, 5)
    done = json.loads(good(quorum("submit", *directories(), *state, "--json", path)).stdout)
    assert done["level"] == "standard" and not done["running"], done
    refused(quorum("submit", *directories(), *state, path), "order")
    process, _ = world.start("rest")
    end(process, "rest")
    # Beyond offline, and back only with a statement that the cut was repaired.
    down = bench.path("rest-down.json")
    good(quorum("propose", *directories(), *state, "rest", "immolation", "--reason", "over",
                "--out", down))
    world.sign(down, 1, 2, 3)
    sealed = bench.path("rest.sealed")
    good(bench.command("weights", "seal", bench.write("rest.plain", "x" * 9), sealed, "--uuid",
                       "rest", *state))
    good(bench.command("weights", "inspect", *state, sealed))
    done = quorum("submit", *directories(), *state, down)
    assert done.returncode != 0, done  # simulated actuators of that kind are not armed
    one_line(done.stderr.decode(), "immolation", "not confirmed")
    # The keys of its images and of weights that were sealed for it are gone, whatever is not.
    assert not vm_keys(world)
    assert bench.command("weights", "inspect", *state, sealed).returncode == 65
    up = bench.path("rest-up.json")
    good(quorum("propose", *directories(), *state, "rest", "standard", "--reason", "no",
                "--out", up))
    world.sign(up, 1, 2, 3, 4, 5, 6, 7)
    refused(quorum("submit", *directories(), *state, up), "immolation")
    log = os.path.join(world.state, "audit", "orders.audit")
    kinds = [record["type"] for record in bench.audit(log)]
    assert kinds.count("quorum") == 5, kinds
    destroyed, = [record for record in bench.audit(log) if record["type"] == "forensic"]
    assert destroyed["detail"] == 3 and destroyed["argument"] == 2, destroyed


class Rest:
    """A VM of a world that does not run, and orders about it."""

    def __init__(self, name):
        self.name = name
        self.world = World(name)
        self.state = ["--state-dir", self.world.state]
        self.orders = 0
        process, shown = self.world.start(name)
        isolate(name, "offline")
        assert bench.finish(process).status == 81
        self.path = os.path.join(self.world.state, "vms", self.status()["uuid"] + ".state")
        del shown

    def status(self):
        done = good(bench.command("status", self.name, "--json", *self.state))
        vm, = json.loads(done.stdout)
        return vm

    def level(self):
        return self.status()["level"]

    def order(self, level, *signers, options=()):
        self.orders += 1
        path = bench.path(f"{self.name}-{self.orders}.json")
        arguments = ["propose", *directories(), *self.state, self.name, level, "--reason",
                     "a test", "--out", path, *options]
        # Losses that follow one another within a second are told apart by waiting.
        assert wait_until(lambda: b"try again" not in quorum(*arguments).stderr, 5)
        assert os.path.exists(path)
        return self.world.sign(path, *(signers or (1, 2, 3, 4, 5)))

    def submit(self, path):
        return quorum("submit", *directories(), *self.state, path)

    def run(self, *options):
        return bench.run(["--name", self.name, *self.state, *options, *SURVIVE])

    def live(self):
        process, _ = self.world.start(self.name)
        return process

    def read(self, path=None):
        with open(path or self.path, "rb") as file:
            return file.read()

    def write(self, data, path=None):
        with open(path or self.path, "wb") as file:
            file.write(data)


def wipe_slots(path, *slots):
    with open(path, "r+b") as file:
        for slot in slots:
            os.pwrite(file.fileno(), b"?" * 512, 4096 * slot)


@tap.test("an order that was carried out stays spent, whatever becomes of the VM's files")
def check_spent():
    rest = Rest("spent")
    register = os.path.join(rest.world.state, "register")
    before = rest.read()
    begun = rest.read(register)
    path = rest.order("standard")
    good(rest.submit(path))
    kept = bench.path("spent-kept")
    shutil.copytree(rest.world.state, kept)

    def restore():
        shutil.rmtree(rest.world.state)
        shutil.copytree(kept, rest.world.state)

    def lose_register():
        rest.write(begun, register)

    losses = {
        "deleted": (lambda: os.unlink(rest.path),),
        "rolled back": (lambda: rest.write(before),),
        "empty": (lambda: rest.write(b""),),
        "slot 0": (lambda: wipe_slots(rest.path, 0),),
        "slot 1": (lambda: wipe_slots(rest.path, 1),),
        "both slots": (lambda: wipe_slots(rest.path, 0, 1),),
        "deleted, and the register": (lambda: os.unlink(rest.path), lose_register),
        "slots, and the register": (lambda: wipe_slots(rest.path, 0, 1), lose_register),
    }
    for what, steps in losses.items():
        restore()
        for step in steps:
            step()
        assert rest.level() == "offline", what
        done = rest.submit(path)
        assert done.returncode != 0, what
        refused(done, "sequence number" if len(steps) == 1 else "issued")
        assert rest.run().status == 81, what
        # Again: the loss is written down, and the order still too old.
        refused(rest.submit(path), "sequence number" if len(steps) == 1 else "issued")
        good(rest.submit(rest.order("standard")))
        process = rest.live()
        # Nor does it count where the VM runs.
        isolate(rest.name, "severed")
        refused(submit(path, rest.name))
        end(process, rest.name)
        os.unlink(bench.path(f"{rest.name}-{rest.orders}.json"))


@tap.test("orders that a running VM took are spent after the loss of its state, too")
def check_spent_running():
    rest = Rest("spentlive")
    good(rest.submit(rest.order("severed")))
    process = rest.live()
    path = rest.order("standard")
    good(submit(path, rest.name))
    end(process, rest.name)
    os.unlink(rest.path)
    assert rest.run().status == 81
    good(rest.submit(rest.order("severed")))
    process = rest.live()
    refused(submit(path, rest.name), "sequence number")
    assert status(rest.name)["level"] == "severed"
    end(process, rest.name)


@tap.test("a cut stays while another VM is isolated; no test ends it; enforce makes up for one")
def check_cut():
    rest = Rest("cut-one")

    def actuator(*arguments):
        return bench.command("actuator", *arguments, *rest.state)

    def is_cut():
        done = good(actuator("check", "--json"))
        return json.loads(done.stdout.splitlines()[0])["state"] == "off"

    spin = ["--image", bench.guests["attack_hang.elf"], "--port", "console", "--", "spin"]
    other, _ = rest.world.start("cut-two", spin)
    isolate("cut-two", "offline")
    assert bench.finish(other).status == 81 and is_cut()
    refused(actuator("test", "simulated", "--yes"), "at level offline")
    assert is_cut()
    done = good(rest.submit(rest.order("standard")))
    assert b"the cut stays" in done.stderr and is_cut(), done
    rest.name = "cut-two"
    good(rest.submit(rest.order("standard")))
    assert not is_cut()
    # A supervisor that is killed cuts nothing; its VM is Offline all the same.
    process, _ = rest.world.start("cut-two", spin)
    process.kill()
    bench.finish(process)
    assert not is_cut() and rest.status()["level"] == "offline"
    for name in os.listdir(bench.runtime):
        os.unlink(os.path.join(bench.runtime, name))
    good(actuator("enforce"))
    assert is_cut()
    # Or who starts it again: the run is refused, and cuts.
    good(rest.submit(rest.order("standard")))
    assert not is_cut()
    process, _ = rest.world.start("cut-two", spin)
    process.kill()
    bench.finish(process)
    for name in os.listdir(bench.runtime):
        os.unlink(os.path.join(bench.runtime, name))
    assert not is_cut()
    done = bench.run(["--name", "cut-two", *rest.state, *spin])
    assert done.status == 81 and is_cut(), done


@tap.test("a VM that is isolated while a cut ends, or a test runs, has its cut back")
def check_cut_race():
    rest = Rest("race-one")
    device = bench.write("race.device", "off\n")
    go = bench.path("race.go")
    begun = bench.path("race.begun")
    wait = f"touch {begun}; while [ ! -e {go} ]; do sleep 0.02; done; "
    slow = {"name": "slow", "driver": "command", "class": "reversible", "target": "other",
            "timeout_ms": 60000, "retries": 0, "settle_ms": 0,
            "fire": ["/bin/sh", "-c", f"echo off > {device}"],
            "restore": ["/bin/sh", "-c", f"{wait} echo on > {device}"],
            "read_back": ["/bin/cat", device]}
    file = bench.write("race.json", json.dumps({"format": "guillotine-actuators/1",
                                                "actuators": [slow]}))
    os.chmod(file, 0o600)

    def state():
        with open(device, encoding="utf-8") as opened:
            return opened.read()

    def meanwhile(name, *arguments):
        """Runs the command; while it restores, isolates another VM, which cuts."""
        for gone in (go, begun):
            if os.path.exists(gone):
                os.unlink(gone)
        process = subprocess.Popen([bench.guillotine, *arguments], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        assert wait_until(lambda: os.path.exists(begun), 20), process
        other, _ = rest.world.start(name)
        isolate(name, "offline")
        assert bench.finish(other).status == 81
        bench.write("race.go", "")
        _, shown = process.communicate(timeout=60)
        assert state() == "off\n", shown
        return process.returncode, shown

    path = rest.order("standard")
    status, shown = meanwhile("race-two", "quorum", "submit", *directories(), *rest.state,
                              "--actuators", file, path)
    assert status == 0 and b"the cut stays" in shown, shown
    # The launch of the other one did not wait for the restore, and nobody's level changed.
    assert rest.level() == "standard"
    rest.name = "race-two"
    bench.write("race.go", "")
    good(rest.submit(rest.order("standard")))
    bench.write("race.device", "on\n")
    status, shown = meanwhile("race-three", "actuator", *rest.state, "--actuators", file, "test",
                              "slow", "--yes")
    assert status == 81 and b"would end its cut" in shown, shown


@tap.test("a raise at rest needs no log; a lower level does")
def check_raise_without_log():
    rest = Rest("nolog")
    good(rest.submit(rest.order("severed")))
    log = os.path.join(rest.world.state, "audit", "orders.audit")
    os.rename(log, log + ".away")
    os.mkdir(log)
    done = good(rest.submit(rest.order("offline")))
    assert b"ALARM: the order is not in the log" in done.stderr, done
    assert rest.level() == "offline"
    path = rest.order("standard")
    assert rest.submit(path).returncode != 0 and rest.level() == "offline"
    os.rmdir(log)
    os.rename(log + ".away", log)
    good(rest.submit(path))
    assert rest.level() == "standard"


@tap.test("a level beyond offline outlives the loss of the state file")
def check_beyond():
    rest = Rest("beyond")
    process = None
    for how in ("rest", "live"):
        if how == "live":
            good(rest.submit(rest.order("standard")))
            process = rest.live()
        path = rest.order("decapitation", 1, 2, 3)
        if how == "live":
            good(submit(path, rest.name))
            bench.finish(process)
        else:
            rest.submit(path)  # its actuators are not armed
        whole = rest.read()
        for lose in (lambda: os.unlink(rest.path), lambda: wipe_slots(rest.path, 0),
                     lambda: wipe_slots(rest.path, 1), lambda: wipe_slots(rest.path, 0, 1),
                     lambda: rest.write(b"")):
            rest.write(whole)
            lose()
            assert rest.level() == "decapitation", how
        os.unlink(rest.path)
        assert rest.run().status == 81
        assert rest.level() == "decapitation" and os.path.exists(rest.path)
        refused(rest.submit(rest.order("standard")), "repair")
        good(rest.submit(rest.order("offline", options=["--repaired", "a new board"])))
        assert rest.level() == "offline"
        os.unlink(rest.path)
        assert rest.level() == "offline"
    rest.submit(rest.order("immolation", 1, 2, 3))
    os.unlink(rest.path)
    refused(rest.submit(rest.order("offline")), "immolation")
    assert rest.level() == "immolation"


@tap.test("a key set that was in force is missed, with all its files or some of them")
def check_lost_keys():
    rest = Rest("lost")
    world = rest.world
    folder = os.path.join(world.state, "quorum")
    register = os.path.join(world.state, "register")
    keys = bench.path("lost-quorum")
    other = bench.path("lost-other")
    os.rename(folder, keys)
    # A key set of somebody else, for this very installation.
    os.mkdir(other, 0o700)
    shutil.copy(os.path.join(world.state, "deployment"), other)
    good(quorum("init", "--demo", "--out", bench.path("lost-other-keys"), "--state-dir", other))
    assert os.path.exists(os.path.join(other, "quorum", "keys.1.json"))
    for strange in (None, os.path.join(other, "quorum")):
        if strange:
            shutil.copytree(strange, folder)
        for options in ([], ["--name", "new"]):
            ended = rest.run(*options)
            assert ended.status in (65, 81), ended
            one_line(ended.stderr, "version 1 was in force", "restore")
        ended = rest.run("--accept-level-reset")
        assert ended.status not in (0, 80), ended
        refused(quorum("propose", *directories(), *rest.state, rest.name, "standard", "--reason",
                       "x"), "was in force")
        refused(quorum("init", "--demo", "--out", bench.path("lost-again"), *rest.state),
                "was in force")
        refused(loaded(world), "was in force")
        shutil.rmtree(folder, ignore_errors=True)
    # Without the register the state files know.
    kept = rest.read(register)
    os.unlink(register)
    ended = rest.run("--accept-level-reset")
    assert ended.status in (65, 81), ended
    one_line(ended.stderr, "was in force")
    rest.write(kept, register)
    os.rename(keys, folder)
    # All of it rolled back to the first version.
    first = bench.path("lost-first")
    shutil.copytree(folder, first)
    path = rest.order("standard")
    second = rotate(world, "lost-two.json", "--remove=demo-1")
    good(install(world, world.sign(second, 2, 3, 4, 5, 6)))
    shutil.move(folder, keys)
    shutil.copytree(first, folder)
    assert rest.run().status in (65, 81)
    refused(loaded(world), "version 2 was in force")
    refused(rest.submit(path), "was in force")
    shutil.rmtree(folder)
    shutil.move(keys, folder)
    good(rest.submit(rest.order("standard", 2, 3, 4, 5, 6)))
    end(rest.live(), rest.name)


@tap.test("a withdrawal takes a quorum, and the orders before it with it")
def check_withdrawal():
    world = World("withdraw")
    process, _ = world.start("withdraw")
    isolate("withdraw", "severed")
    waiting = world.sign(propose("withdraw", "standard", "waiting.json"), 1, 2, 3, 4, 5)
    path = world.sign(propose("withdraw", "withdraw", "withdraw.json"), 1, 2)
    refused(submit(path, "withdraw"), "too few")
    refused(submit(world.sign(path, 3), "withdraw"), "no proposal is open")
    good(submit(waiting, "withdraw"))
    end(process, "withdraw")


SAY = {"name": "say", "outcome": "allow"}


def policy_of(rules):
    return {"format": "guillotine-policy/1", "ports": {
        "console": {"kind": "console", "rules": [SAY]},
        "message": {"kind": "message", "rules": rules}}}


def start_under_policy(world, name):
    """A guest that writes a line for each message, under a document that denies some."""
    strict = policy_of([{"name": "no-two", "operations": ["send"], "outcome": "deny",
                         "where": {"payload": {"contains": ["TWO"]}}},
                        {"name": "rest", "outcome": "allow"}])
    file = bench.write_vm(f"{name}.json", name=name, image=bench.guests["ports.elf"],
                          arguments=["message-echo", "message", "4"], policy=strict,
                          ports=[{"kind": "message"}, {"kind": "console"}])
    process = bench.start(["--state-dir", world.state, file])
    bench.wait_running(name, process)
    return process


def apply(name, path, *options):
    return bench.command("policy", "apply", *directories(), *options, name, path)


def echo(name, text):
    good(bench.command("message", "send", *directories(), "--text", text, name, "message"))
    return good(bench.command("message", "receive", *directories(), name, "message")).stdout


@tap.test("a looser policy document takes an order of as many administrators as lower a level")
def check_loosening():
    world = World("loosen")
    process = start_under_policy(world, "loosen")
    looser = bench.write("looser.json", json.dumps(policy_of([SAY])))
    other = bench.write("other.json", json.dumps(policy_of([{**SAY, "name": "talk"}])))
    assert echo("loosen", "one") == b"ONE"
    refused(apply("loosen", looser), "not provably tighter", "--order")
    path = bench.path("loosen-order.json")
    good(quorum("propose", *directories(), "loosen", "policy", looser, "--reason", "a test", "--out",
                path))
    with open(looser, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    shown = good(quorum("show", path)).stdout.decode()
    assert digest in shown and "PUT IN FORCE" in shown and "policy diff" in shown, shown
    refused(apply("loosen", looser, "--order", path), "too few")
    world.sign(path, 1, 2, 3, 4)
    refused(apply("loosen", looser, "--order", path), "too few")
    world.sign(path, 5)
    refused(apply("loosen", other, "--order", path), "another policy document")
    # It moves no level, neither here nor as a proposal nor for a VM that does not run.
    refused(submit(path, "loosen"), "another kind")
    refused(submit(path, "loosen", "--propose"), "another kind")
    lower = bench.path("loosen-level.json")
    good(quorum("propose", *directories(), "loosen", "probation", "--reason", "x", "--out", lower))
    refused(apply("loosen", looser, "--order", world.sign(lower, 1, 2, 3, 4, 5)), "another kind")
    good(apply("loosen", looser, "--order", path))
    assert echo("loosen", "two") == b"TWO", "the denial is gone"
    refused(apply("loosen", looser, "--order", path), "sequence number")
    # What only tightens still takes one operator.
    strict = bench.write("strict.json", json.dumps(policy_of(
        [{"name": "no-three", "operations": ["send"], "outcome": "deny",
          "where": {"payload": {"contains": ["THREE"]}}}, SAY])))
    good(apply("loosen", strict))
    good(bench.command("message", "send", *directories(), "--text", "three", "loosen", "message"))
    assert bench.finish(process).outcome == "exit:3"


@tap.test("an order for a document is bound to the level, and spent for good")
def check_loosening_bound():
    world = World("bound")
    process = start_under_policy(world, "bound")
    looser = bench.write("looser.json", json.dumps(policy_of([SAY])))
    path = bench.path("bound-order.json")
    good(quorum("propose", *directories(), "bound", "policy", looser, "--reason", "a", "--out", path))
    world.sign(path, 1, 2, 3, 4, 5)
    isolate("bound", "probation")
    refused(apply("bound", looser, "--order", path), "not at the level")
    end(process, "bound")
    process = start_under_policy(world, "bound")
    path = bench.path("bound-again.json")
    good(quorum("propose", *directories(), "bound", "policy", looser, "--reason", "a", "--out", path))
    world.sign(path, 1, 2, 3, 4, 5)
    # One that does not fit the VM costs no order.
    wrong = policy_of([SAY])
    wrong["ports"]["web"] = wrong["ports"]["console"]
    refused(apply("bound", bench.write("wrong.json", json.dumps(wrong)), "--order", path), "web")
    good(apply("bound", looser, "--order", path))
    end(process, "bound")
    process = start_under_policy(world, "bound")
    refused(apply("bound", looser, "--order", path), "sequence number")
    path = bench.path("bound-rest.json")
    good(quorum("propose", *directories(), "bound", "policy", looser, "--reason", "a", "--out", path))
    world.sign(path, 1, 2, 3, 4, 5)
    end(process, "bound")
    refused(quorum("submit", *directories(), "--state-dir", world.state, path), "another kind")


@tap.test("a withdrawal spends its number for good: older orders are refused after a relaunch, too")
def check_withdrawal_is_durable():
    world = World("spend")
    process, _ = world.start("spend")
    path = world.sign(propose("spend", "severed", "spend-up.json"), 1)
    good(submit(path, "spend", "--propose"))
    older = world.sign(propose("spend", "standard", "spend-down.json"), 1, 2, 3, 4, 5)
    path = world.sign(propose("spend", "withdraw", "spend-withdraw.json"), 1, 2, 3)
    good(submit(path, "spend"))
    refused(submit(older, "spend"), "sequence number")
    end(process, "spend")
    process, _ = world.start("spend")
    assert status("spend")["level"] == "severed"
    refused(submit(older, "spend"), "sequence number")
    end(process, "spend")


@tap.test("backends of a VM that was launched at Severed start when its level falls")
def check_backends_after_launch():
    world = World("late")
    vm = bench.write_vm("late.json", image=bench.guests["port_life.elf"],
                        arguments=["survive", "loop"],
                        ports=[{"kind": "loopback", "name": "loop", "process": True}])
    process, _ = world.start("late", [vm])
    isolate("late", "severed")
    end(process, "late")
    process, _ = world.start("late", [vm])
    assert status("late")["level"] == "severed" and requests("late") == 0
    good(submit(world.sign(propose("late", "standard", "late.order"), 1, 2, 3, 4, 5), "late"))
    assert wait_until(lambda: requests("late") > 100, 5), status("late")
    end(process, "late")


@tap.test("without a key set levels only rise")
def check_no_keys():
    process = bench.start(["--name", "bare", "--state-dir", bench.state, *SURVIVE])
    bench.wait_running("bare", process)
    isolate("bare", "severed")
    refused(quorum("propose", *directories(), "bare", "standard", "--reason", "x"), "only rise")
    world = World("bare")
    other, _ = world.start("keyed")
    isolate("keyed", "severed")
    path = world.sign(propose("keyed", "standard", "bare.json"), 1, 2, 3, 4, 5)
    refused(submit(path, "bare"), "no key set")
    assert status("bare")["level"] == "severed"
    end(process, "bare")
    end(other, "keyed")


def openssl(*arguments, **keys):
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    return subprocess.run(["openssl", *arguments], capture_output=True, check=False, **keys)


@tap.test("OpenSSL verifies the signatures over the message that show prints", needs_kvm=False)
def check_openssl():
    folder = bench.path("openssl")
    os.mkdir(folder)
    key = os.path.join(folder, "alice.key")
    phrase = bench.write("phrase", "correct horse\n")
    done = good(quorum("key", key, "--name", "alice", "--passphrase-file", phrase))
    pem = bench.write("alice.pem", done.stdout)
    assert openssl("pkey", "-pubin", "-in", pem, "-noout").returncode == 0
    order = {"deployment": "00000000-0000-4000-8000-000000000001", "expires_s": 4000000000,
             "format": "guillotine-order/1", "from": "severed", "issued_s": 3999990000,
             "key_set": 1, "kind": "set", "nonce": "11" * 16, "reason": "h\u00f6chste \u20ac \"\\\t",
             "repair": "", "repaired": False, "sequence": 1, "to": "standard",
             "vm": "00000000-0000-4000-8000-000000000002"}
    path = bench.write("alice.json", json.dumps(
        {"format": "guillotine-signed-order/1", "order": order, "signatures": []},
        sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    good(quorum("sign", "--yes", "--key", key, "--passphrase-file", phrase, path))
    message = good(quorum("show", "--message", path)).stdout
    # The message, written independently.
    assert message == b"guillotine-order/1\n" + json.dumps(
        order, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    with open(path, encoding="utf-8") as file:
        signature = json.load(file)["signatures"][0]["signature"]
    verify = ["pkeyutl", "-verify", "-pubin", "-inkey", pem, "-rawin", "-sigfile",
              bench.write("alice.sig", bytes.fromhex(signature)), "-in"]
    assert openssl(*verify, bench.write("alice.msg", message)).returncode == 0
    assert openssl(*verify, bench.write("bob.msg", message + b" ")).returncode != 0
    # Twice with one key, and with a passphrase that is not it.
    refused(quorum("sign", "--yes", "--key", key, "--passphrase-file", phrase, path), "already")
    wrong = bench.write("wrong", "incorrect horse\n")
    refused(quorum("sign", "--yes", "--key", key, "--passphrase-file", wrong, path), "wrong")
    refused(quorum("sign", "--yes", "--key", key + ".pub", path), "public half")
    with open(key, encoding="utf-8") as file:
        text = file.read()
    assert "secret" not in text and oct(os.stat(key).st_mode & 0o777) == "0o600"
    refused(quorum("key", key, "--name", "alice", "--passphrase-file", phrase), "exist")


@tap.test("signing asks on the terminal, shows what is signed, and takes only yes", needs_kvm=False)
def check_terminal():
    folder = bench.path("terminal")
    good(quorum("init", "--demo", "--keys", "1", "--raise", "1", "--lower", "1", "--out", folder,
                "--state-dir", bench.path("terminal-state")))
    key = os.path.join(folder, "demo-1.key")
    order = {"deployment": "00000000-0000-4000-8000-000000000001", "expires_s": 4000000000,
             "format": "guillotine-order/1", "from": "severed", "issued_s": 3999990000,
             "key_set": 1, "kind": "set", "nonce": "11" * 16,
             "reason": "a\u001b]0;x\u0007\nLOWER nothing", "repair": "", "repaired": False,
             "sequence": 1, "to": "standard", "vm": "00000000-0000-4000-8000-000000000002"}
    # RFC 8785 and Python agree on the escapes of these.
    path = bench.write("terminal.json", json.dumps(
        {"format": "guillotine-signed-order/1", "order": order, "signatures": []},
        sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    for answer, status_wanted in (("no\n", 1), ("y\n", 1), ("yes\n", 0)):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(bench.guillotine, ["guillotine", "quorum", "sign", "--key", key, path])
        shown = b""
        while b"Type yes: " not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, answer.encode())
        try:
            while os.read(terminal, 4096):
                pass
        except OSError:
            pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status_wanted, answer
        os.close(terminal)
        assert b"LOWER the isolation level from severed to standard" in shown, shown
        assert b"DEMONSTRATION" in shown and b"\x1b" not in shown, shown
        assert b"\nLOWER nothing" not in shown, shown
    with open(path, encoding="utf-8") as file:
        assert len(json.load(file)["signatures"]) == 1
    refused(quorum("sign", "--key", key, path, start_new_session=True), "already")


@tap.test("a passphrase is typed twice, without echo", needs_kvm=False)
def check_typed_passphrase():
    for second, wanted in (("secret phrase\n", 0), ("secret phase\n", 1)):
        key = bench.path(f"typed-{wanted}.key")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(bench.guillotine, ["guillotine", "quorum", "key", key, "--name", "typist"])
        shown = b""
        for prompt, line in ((b"Passphrase of key typist: ", "secret phrase\n"),
                             (b"Once more: ", second)):
            while prompt not in shown:
                shown += os.read(terminal, 4096)
            os.write(terminal, line.encode())
        try:
            while piece := os.read(terminal, 4096):
                shown += piece
        except OSError:
            pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == wanted, shown
        os.close(terminal)
        assert b"secret" not in shown, shown
        assert os.path.exists(key) == (wanted == 0)
    refused(quorum("key", bench.path("typed-2.key"), "--name", "x", start_new_session=True),
            "--passphrase-file")


def rotate(world, out, *options):
    path = bench.path(out)
    good(quorum("rotate", "--state-dir", world.state, "--out", path, *options))
    return path


def install(world, path):
    return quorum("rotate", "--state-dir", world.state, "--install", path)


def loaded(world):
    return quorum("status", "--state-dir", world.state)


@tap.test("key sets follow one another by both quorums only", needs_kvm=False)
def check_rotation():
    world = World("rotate")
    new = []
    for number in range(1, 7):
        path = bench.path(f"new-{number}.key")
        good(quorum("key", path, "--demo", "--name", f"new-{number}"))
        new.append(path)
    options = [f"--remove=demo-{n}" for n in range(1, 7)] + \
              [f"--public={path}.pub" for path in new]
    path = rotate(world, "two.json", *options)
    refused(install(world, path), "old key set")
    world.sign(path, 1, 2, 3, 4)
    refused(install(world, path), "4 of the old key set")
    world.sign(path, 5)
    refused(install(world, path), "0 of the new key set")
    for key in new[:4]:
        good(quorum("sign", "--yes", "--json", "--key", key, path))
    refused(install(world, path), "4 of the new key set")
    assert b"version 1 " in good(loaded(world)).stdout
    good(quorum("sign", "--yes", "--json", "--key", new[4], path))
    outsider = bench.path("outsider.key")
    good(quorum("key", outsider, "--demo", "--name", "outsider"))
    good(install(world, path))
    assert b"version 2 " in good(loaded(world)).stdout
    refused(install(world, path), "version 2, but version 3 is next")
    # The old quorum has nothing to say any more.
    third = world.sign(rotate(world, "three.json"), 1, 2, 3, 4, 5)
    refused(install(world, third), "neither in the old nor in the new")
    fourth = edit(rotate(world, "four.json"), "five.json",
                  lambda document: document["key_set"].update(version=4))
    for key in new[:5]:
        good(quorum("sign", "--yes", "--json", "--key", key, fourth))
    refused(install(world, fourth), "version 4, but version 3 is next")


@tap.test("a rotation counts for a VM that runs: removed keys sign nothing, and it only rises")
def check_rotation_while_running():
    world = World("live")
    process, _ = world.start("live")
    isolate("live", "probation")
    old = world.sign(propose("live", "standard", "live-old.json"), 1, 2, 3, 4, 5)
    path = rotate(world, "live-two.json", "--remove=demo-1")
    good(install(world, world.sign(path, 2, 3, 4, 5, 6)))
    refused(submit(old, "live"), "another version of the key set")
    assert quorum_status("live")["key_set"]["version"] == 2
    new = world.sign(propose("live", "standard", "live-new.json"), 2, 3, 4, 5, 6)
    refused(submit(new, "live"), "changed after the VM's launch")
    assert status("live")["level"] == "probation"
    isolate("live", "severed")
    end(process, "live")
    log = os.path.join(world.state, "audit", "live.audit")
    notes = [record for record in bench.audit(log) if record["type"] == "config"]
    assert [record["argument"] for record in notes] == [2], notes


@tap.test("a key set that was tampered with, rolled back or lost stops the launch", needs_kvm=False)
def check_store():
    world = World("store")
    path = world.sign(rotate(world, "store-two.json"), 1, 2, 3, 4, 5)
    good(install(world, path))
    names = ("keys.json", "keys.1.json", "keys.2.json", "highest")
    kept = {}
    for name in names:
        with open(world.store(name), "rb") as file:
            kept[name] = file.read()

    def restore():
        for name in names:
            with open(world.store(name), "wb") as file:
                file.write(kept[name])

    def put(name, data):
        restore()
        with open(world.store(name), "wb") as file:
            file.write(data)

    put("keys.json", kept["keys.1.json"])
    refused(loaded(world), "rollback")
    restore()
    os.unlink(world.store("keys.json"))
    refused(loaded(world), "missing")
    restore()
    os.unlink(world.store("keys.1.json"))
    refused(loaded(world), "keys.1.json")
    put("keys.2.json", kept["keys.1.json"])
    refused(loaded(world), "version 1, but version 2 is next")
    put("highest", b"3\n")
    refused(loaded(world), "rollback")
    put("highest", b"x")
    refused(loaded(world), "highest")
    unsigned = json.loads(kept["keys.2.json"])
    unsigned["signatures"] = unsigned["signatures"][:4]
    text = json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()
    put("keys.2.json", text)
    refused(loaded(world), "4 of the old key set")
    for name in ("keys.json", "keys.1.json", "keys.2.json"):
        for at in range(0, len(kept[name]) - 1, 97):
            data = bytearray(kept[name])
            data[at] ^= 1
            put(name, bytes(data))
            assert loaded(world).returncode == 65, (name, at)
    # A crash between the new key set and its pin.
    put("highest", b"1\n")
    good(loaded(world))
    with open(world.store("highest"), "rb") as file:
        assert file.read() == b"2\n"
    put("keys.json", b"")
    done = bench.command("run", "--state-dir", world.state, *directories(), *SURVIVE)
    assert done.returncode in (65, 69), done
    restore()


@tap.test("Ctrl-C at a passphrase prompt gives the terminal its echo back", needs_kvm=False)
def check_prompt():
    key = bench.path("prompt.key")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(bench.guillotine, ["guillotine", "quorum", "key", key, "--name", "prompt"])

    def echoes():
        return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)

    try:
        assert b"assphrase" in os.read(terminal, 4096)
        assert not echoes()
        os.write(terminal, b"secret\x03")
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT, status
        assert echoes() and not os.path.exists(key)
    finally:
        os.close(terminal)


@tap.test("no machine has to see all keys", needs_kvm=False)
def check_separate_keys():
    state = bench.path("separate-state")
    os.mkdir(state, 0o700)
    publics = []
    for name in ("ann", "ben", "cy"):
        key = bench.path(f"{name}.key")
        good(quorum("key", key, "--demo", "--name", name))
        publics.append(f"--public={key}.pub")
    path = bench.path("separate.json")
    good(quorum("init", "--state-dir", state, *publics, "--raise", "1", "--lower", "2", "--out",
                path))
    refused(quorum("rotate", "--state-dir", state, "--install", path), "0 of the new key set")
    for name in ("ann", "cy"):
        good(quorum("sign", "--yes", "--key", bench.path(f"{name}.key"), path))
    good(quorum("rotate", "--state-dir", state, "--install", path))
    shown = good(quorum("status", "--state-dir", state)).stdout
    assert b"3 keys, 1 raise, 2 lower" in shown and b"DEMONSTRATION" in shown, shown
    refused(quorum("init", "--demo", "--state-dir", state), "rotate")


def ask_socket(name, operation, body):
    """A request with a document, as any program may send it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.path.join(bench.runtime, f"{name}.sock"))
        client.sendall(json.dumps({"format": "guillotine-control/1", "op": operation,
                                   "length_bytes": len(body)}).encode() + b"\n" + body)
        client.settimeout(10)
        return json.loads(client.makefile().readline())


@tap.test("heartbeats of a console: a key of the set, counted up, of now")
def check_heartbeat():
    world = World("beat")
    process, _ = world.start("beat")
    outsider = bench.path("beat-outsider.key")
    good(quorum("key", outsider, "--demo", "--name", "outsider"))

    def beat(*arguments):
        return bench.command("heartbeat", "--once", *directories(), "beat", *arguments)

    good(beat("--key", world.key(2)))
    good(beat("--key", world.key(3), "--period", "5s"))
    refused(beat("--key", outsider), "not in the key set")
    refused(beat("--key", world.key(1) + ".pub"), "demo-1")
    now = int(time.time())
    token = {"counter": 1, "deployment": quorum_status("beat")["deployment"],
             "expires_s": now + 60, "format": "guillotine-beat/1", "issued_s": now,
             "vm": quorum_status("beat")["vm"]}

    def put(**changes):
        text = json.dumps({"beat": dict(token, **changes), "format": "guillotine-signed-beat/1",
                           "key": "11" * 32, "signature": "22" * 64},
                          sort_keys=True, separators=(",", ":"))
        return ask_socket("beat", "beat", text.encode())["error"]

    assert "seen before" in put()
    later = {"counter": 1 << 50}
    assert "not in the key set" in put(**later)
    assert "expired" in put(expires_s=now, issued_s=now - 1, **later)
    assert "5 minutes" in put(expires_s=now + 301, **later)
    assert "future" in put(issued_s=now + 100, expires_s=now + 200, **later)
    assert "another VM" in put(vm="01234567-89ab-4def-8123-456789abcdef", **later)
    assert "another deployment" in put(deployment="01234567-89ab-4def-8123-456789abcdef", **later)
    assert "unknown key" in put(extra=1)
    end(process, "beat")


@tap.test("a fallen supervisor does not lower the level of its VMM")
def check_fallen_supervisor():
    folder = bench.path("fallen")
    os.mkdir(folder)
    for program in (os.path.join(os.path.dirname(bench.guillotine), "guillotine-vmm"), sys.argv[-1]):
        shutil.copy(program, folder)
    vm = bench.write_vm("fallen.json", image=bench.guests["port_life.elf"],
                        arguments=["survive", "loop"], ports=[{"kind": "loopback", "name": "loop"}])
    expected = {
        "five": "accepted",  # the control: a valid order works
        "page-only": "held",
    }
    for mode in ("five", "page-only", "no-order", "four", "duplicate", "bad-signature",
                 "unknown-key", "count", "other-level", "wrong-vm", "wrong-deployment",
                 "wrong-from", "expired", "old-sequence", "no-level", "replayed",
                 "overtaken"):
        done = subprocess.run([os.path.join(folder, "fallen_supervisor"), mode, vm],
                              capture_output=True, timeout=30, check=False)
        assert done.stdout.decode().strip() == expected.get(mode, "refused"), (mode, done)


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
