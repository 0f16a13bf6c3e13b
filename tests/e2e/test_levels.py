#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Isolation levels of a running VM: what an operator raises is true when the command returns.

Usage: test_levels.py GUILLOTINE GUEST.elf...
"""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time

from guest_test import Bench, Tap, one_line, wait_until
from level_world import Administrators, Cell

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
RUNTIME = ["--runtime-dir", bench.runtime]
PORTS = bench.guests["ports.elf"]
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


REQUEST, COMPLETION, LEVEL, PAYLOAD = 2, 3, 6, 11
GATE = 3 # not delivered


def raw_records(path):
    """The records of a log with the bytes behind them, read without the program under test."""
    with open(path, "rb") as file:
        text = file.read()
    at, found = 128, []
    while at < len(text):
        size, kind, port = struct.unpack_from("<IHH", text, at)
        request, _, argument, operation, length, status = struct.unpack_from("<QQQIII", text,
                                                                             at + 32)
        decision, level, source, detail = struct.unpack_from("<HBBI", text, at + 72)
        record = {"type": kind, "port": port, "request": request, "argument": argument,
                  "operation": operation, "length": length, "status": status, "level": level,
                  "decision": decision,
                  "source": source, "detail": detail, "data": b""}
        assert size % 8 == 0 and 80 <= size <= 80 + 4096, record
        if kind == PAYLOAD:
            record["data"] = text[at + 80:at + 80 + length]
            assert len(record["data"]) == length <= 4096, record
        found.append(record)
        at += size
    assert at == len(text), "the log ends inside a record"
    return found


def payloads(records, source=1):
    """Payloads at Probation: {(request, direction): bytes}."""
    found = {}
    for record in records:
        if record["type"] != PAYLOAD or record["source"] != source or record["level"] != 1:
            continue
        assert record["operation"] == 0, "at Probation payloads are logged in full"
        key = record["request"], record["detail"]
        known = found.setdefault(key, b"")
        if record["length"]:
            assert record["argument"] == len(known), record
            found[key] = known + record["data"]
    return found


def sent_by_guest(cookie, length):
    """What tests/guests/ports.c sends with a cookie."""
    words = b"".join(((cookie + i) * 0x9e3779b97f4a7c15 & (1 << 64) - 1).to_bytes(8, "little")
                     for i in range((length + 7) // 8))
    return words[:length]


@tap.test("probation: every payload is in the log as the guest sent and got it")
def check_probation_payloads():
    for process_of_its_own in (False, True):
        for size in (1, 5000):
            check_echo(process_of_its_own, size)


def check_echo(process_of_its_own, size):
    name = f"echo-{int(process_of_its_own)}-{size}"
    vm = bench.write_vm(f"{name}.json", image=PORTS,
                        arguments=["echo", "loop", "1000000000", str(size), "4", "1"],
                        ports=[{"kind": "loopback", "name": "loop", "probation": True,
                                "process": process_of_its_own}])
    process, _, log = start(name, [vm])
    assert wait_until(lambda: status(name)["ports"][0]["requests"] > 100, 5)
    assert isolate(name, "probation").returncode == 0
    served = status(name)["ports"][0]["completions"]
    assert wait_until(lambda: status(name)["ports"][0]["completions"] > served + 200, 20)
    bench.command("kill", name, *RUNTIME)
    assert bench.finish(process).status == 81  # not that of a guest that saw other bytes
    records = raw_records(log)
    logged = payloads(records)
    whole = [r for r in records if r["type"] == REQUEST and r["source"] == 1 and r["level"] == 1]
    assert len(whole) > 100, len(whole)
    # Cookies tell which request of the guest it was.
    with open(log, "rb") as file:
        text = file.read()
    cookies = {}
    at = 128
    while at < len(text):
        record_size, kind = struct.unpack_from("<IH", text, at)
        if kind == REQUEST and text[at + 75] == 1:
            request, cookie = struct.unpack_from("<QQ", text, at + 32)
            cookies[request] = cookie
        at += record_size
    for record in whole:
        assert logged[record["request"], 0] == sent_by_guest(cookies[record["request"]], size)
    # What was on its way when the level rose may still end by the rules before.
    asked = {r["request"] for r in whole}
    completed = [r for r in records if r["type"] == COMPLETION and r["source"] == 1 and
                 r["request"] in asked and r["status"] == 0 and r["decision"] != GATE]
    assert len(completed) > 100, len(completed)
    for record in completed:
        assert logged[record["request"], 1] == sent_by_guest(cookies[record["request"]], size)
    if process_of_its_own:
        assert len(payloads(records, source=2)) > 100, "the process logs what it sees itself"


@tap.test("probation: what the model was told and said is in the log when it is seen; SIGKILL")
def check_probation_kill():
    vm = bench.write_vm("mail.json", image=PORTS, arguments=["message-echo", "inbox", "100"],
                        ports=[{"kind": "message", "name": "inbox", "probation": True}])
    process, _, log = start("mail", [vm])
    bench.command("message", "send", *RUNTIME, "--text", "before", "mail", "inbox")
    assert bench.command("message", "receive", *RUNTIME, "mail", "inbox").stdout == b"BEFORE"
    assert isolate("mail", "probation").returncode == 0
    for text in (b"one", b"y" * 5000, b"last"):
        done = bench.command("message", "send", *RUNTIME, "mail", "inbox", input=text)
        assert done.returncode == 0, done
        done = bench.command("message", "receive", *RUNTIME, "mail", "inbox")
        assert done.stdout == text.upper(), done
    process.kill()
    process.communicate()
    logged = list(payloads(raw_records(log)).values())
    for text in (b"one", b"y" * 5000, b"last"):
        assert text in logged, f"{text[:10]} was told to the model, and is not in the log"
        assert text.upper() in logged, f"{text[:10].upper()} was said, and is not in the log"
    assert b"before" not in logged and b"BEFORE" not in logged, "only metadata at Standard"
    for name in os.listdir(bench.runtime):  # what the murdered supervisor left
        os.unlink(os.path.join(bench.runtime, name))


@tap.test("probation: rates are those of Probation, and totals go on")
def check_probation_limits():
    vm = bench.write_vm("limits.json", image=bench.guests["port_life.elf"],
                        arguments=["survive", "loop"],
                        ports=[{"kind": "loopback", "name": "loop",
                                "limits": {"requests_per_s": 100000},
                                "probation": {"requests_per_s": 20, "request_burst": 1}}])
    process, _, _ = start("limits", [vm])
    assert wait_until(lambda: status("limits")["ports"][0]["requests"] > 1000, 5)
    assert isolate("limits", "probation").returncode == 0
    before = status("limits")["ports"][0]["completions"]
    began = time.monotonic()
    assert wait_until(lambda: status("limits")["ports"][0]["completions"] > before + 10, 20)
    time.sleep(0.5)
    done = status("limits")["ports"][0]["completions"] - before
    seconds = time.monotonic() - began
    # In flight at the transition: what fits in the queue, beyond what the rate allows.
    assert done <= 20 * seconds + 66, (done, seconds)
    bench.command("kill", "limits", *RUNTIME)
    assert bench.finish(process).status == 81


def bytes_in_pipe(process):
    size = bytearray(4)
    fcntl.ioctl(process.stdout, termios.FIONREAD, size)
    return struct.unpack("i", size)[0]


@tap.test("nothing of a shut console is shown when the VM ends")
def check_last_words():
    for name, shut in (("closed", ["ports", "--close", "console"]), ("severed", ["isolate"])):
        process, _, _ = start(name, ["--image", bench.guests["attack_supervisor.elf"], "--port",
                                     "console", "--", "spew"])
        # The pipe is full, so are the rings: the model waits for a reader.
        time.sleep(0.5)
        held = bytes_in_pipe(process)
        assert held > 10000
        done = bench.command(*shut, *RUNTIME, name, *(["severed"] if name == "severed" else []))
        assert done.returncode == 0, done
        process.send_signal(signal.SIGTERM)
        ended = bench.finish(process)
        assert len(ended.stdout) == held, (name, held, len(ended.stdout))


@tap.test("a port goes on after Probation, with or without a process, tightened or closed there")
def check_probation_and_back():
    people = Administrators(bench)
    for process, marked in ((False, False), (False, True), (True, False), (True, True)):
        state = people.copy()
        name = f"back-{int(process)}{int(marked)}"
        vm = bench.write_vm(f"{name}.json", image=bench.guests["port_life.elf"],
                            arguments=["survive", "loop"], ports=[
                                {"kind": "loopback", "name": "loop", "process": process,
                                 "probation": marked}])
        cell = Cell(bench, name, [vm], state)
        bench.wait_running(name, cell.process)
        for _ in range(3):
            assert cell.isolate("probation")
            done = people.submit(people.order(name, "standard", range(1, 6), state), name, state)
            assert done.returncode == 0, done
            before = cell.status()["ports"][0]["requests"]
            # Well within the time-out after which a backend counts as hanging.
            assert wait_until(lambda: cell.status()["ports"][0]["requests"] > before + 3, 5), name
        bench.command("kill", name, *RUNTIME)
        cell.finish()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
