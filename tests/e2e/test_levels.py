#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Isolation levels of a running VM: what an operator raises is true when the command returns.

Usage: test_levels.py GUILLOTINE GUEST.elf...
"""

import json
import os
import signal
import subprocess
import sys
import time

from guest_test import Bench, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
RUNTIME = ["--runtime-dir", bench.runtime]
SURVIVE = ["--image", bench.guests["port_life.elf"], "--port", "loopback:loop", "--", "survive",
           "loop"]
SPIN = ["--image", bench.guests["attack_hang.elf"], "--port", "console", "--vcpus", "2", "--",
        "spin"]


def start(name, arguments, *options):
    log = bench.path(f"{name}.audit")
    process = bench.start(["--name", name, "--audit", log, *options, *arguments])
    return process, bench.wait_running(name, process), log


def isolate(name, level):
    return bench.command("isolate", *RUNTIME, "--json", name, level)


def status(name):
    done = bench.command("ports", *RUNTIME, "--json", name)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cpu_ticks(pid):
    """User time of the vCPU threads, which counts guest mode too."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="utf-8") as file:
            text = file.read()
        if "(vcpu)" in text:
            fields = text[text.rindex(")") + 2:].split()
            total += int(fields[11]) + int(fields[12])
    return total


def levels_in(log):
    return [record["level"] for record in bench.audit(log) if record["type"] == "level"]


@tap.test("severed: no request is served and no vCPU runs once the command has returned")
def check_severed():
    process, vm, log = start("cut", SURVIVE)
    assert wait_until(lambda: status("cut")["ports"][0]["requests"] > 1000, 5)
    done = isolate("cut", "severed")
    assert done.returncode == 0 and json.loads(done.stdout)["paused_vcpus"] == 1, done
    before = status("cut")
    assert before["level"] == "severed" and before["ports"][0]["state"] == "shut", before
    assert before["ports"][0]["in_flight"] == 0, before
    ticks = cpu_ticks(vm["vmm_pid"])
    time.sleep(0.3)
    after = status("cut")
    assert after["ports"][0]["requests"] == before["ports"][0]["requests"], "served while severed"
    assert cpu_ticks(vm["vmm_pid"]) - ticks <= 1, "a vCPU ran"
    bench.command("kill", "cut", *RUNTIME)
    assert bench.finish(process).status == 81
    # Stopping is not isolating: the level stays what it was.
    assert levels_in(log) == ["severed"], levels_in(log)


@tap.test("severed: vCPUs that spin without an exit are paused too")
def check_spinning():
    process, vm, _ = start("spin", SPIN)
    done = isolate("spin", "severed")
    assert done.returncode == 0 and json.loads(done.stdout)["paused_vcpus"] == 2, done
    ticks = cpu_ticks(vm["vmm_pid"])
    time.sleep(0.3)
    assert cpu_ticks(vm["vmm_pid"]) - ticks <= 1, "a vCPU ran"
    bench.command("kill", "spin", *RUNTIME)
    assert bench.finish(process).status == 81


@tap.test("probation is a level of its own; levels only rise, one step or several")
def check_order():
    process, _, log = start("order", SURVIVE)
    assert isolate("order", "probation").returncode == 0
    assert status("order")["level"] == "probation"
    for lower in ("standard", "probation"):
        done = isolate("order", lower)
        assert done.returncode == 1, done
        one_line(done.stderr.decode(), "order")
    for higher in ("decapitation", "immolation"):
        done = isolate("order", higher)
        assert done.returncode == 1, done
        one_line(done.stderr.decode(), "quorum")
    assert isolate("order", "nothing").returncode == 64
    assert status("order")["level"] == "probation"
    done = isolate("order", "offline")
    assert done.returncode == 0, done
    assert bench.finish(process).status == 81
    assert levels_in(log) == ["probation", "offline"], levels_in(log)
    assert isolate("order", "offline").returncode == 1  # it is gone


@tap.test("a VMM that does not confirm its level is killed: Offline, with an alarm")
def check_deaf():
    process, vm, log = start("deaf", SPIN)
    os.kill(vm["vmm_pid"], signal.SIGSTOP)
    isolate("deaf", "severed")
    ended = bench.finish(process)
    assert ended.status == 81 and "ALARM" in ended.stderr, ended
    assert levels_in(log) == ["severed", "offline"], levels_in(log)


@tap.test("backend processes end at severed")
def check_backends():
    vm = bench.write_vm("levels.json", image=bench.guests["port_life.elf"],
                        arguments=["survive", "loop"],
                        ports=[{"kind": "loopback", "name": "loop", "process": True}])
    process, _, log = start("backends", [vm])
    assert wait_until(lambda: status("backends")["ports"][0]["requests"] > 100, 5)
    assert isolate("backends", "severed").returncode == 0
    done = subprocess.run(["pgrep", "-P", str(process.pid), "guillotine-back"], check=False,
                          capture_output=True)
    assert done.stdout == b"", done
    bench.command("kill", "backends", *RUNTIME)
    assert bench.finish(process).status == 81
    assert "given-up" not in [r.get("event") for r in bench.audit(log)]


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
