#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every attack of tests/guests/ is stopped and reported as what it is.

Usage: test_attacks.py GUILLOTINE GUEST.elf...
"""

import os
import pty
import re
import signal
import subprocess
import sys
import time
import unicodedata

import attack_list
from guest_test import SLOWNESS, Bench, Tap, one_line, wait_until

RACE_REQUESTS = 100000
RACE_DENIALS = 2000
# A stopped run ends after 100 ms at the latest; the rest is a busy machine.
STOP_LIMIT_S = 5

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)


def image(guest):
    return bench.guests[f"attack_{guest}.elf"]


def matches(outcome, expected):
    """Is an outcome one of "violation:a,b exit:0"?"""
    for alternative in expected.split():
        kind, _, values = alternative.partition(":")
        if outcome in [f"{kind}:{value}" for value in values.split(",")]:
            return True
    return False


def run_attack(guest, name, options, expected, **keys):
    """Runs one attack and checks how it ended."""
    arguments = ["--image", image(guest), *options]
    single = " " not in expected
    if single:
        arguments += ["--expect", expected]
    ended = bench.run([*arguments, "--", name], **keys)
    assert matches(ended.outcome, expected), f"expected {expected}: {ended}"
    if single:
        assert ended.status == 0, f"--expect {expected} failed: {ended}"
    if ended.outcome.startswith("violation:"):
        kind = ended.outcome.partition(":")[2]
        assert ended.result["status"] == 80, ended
        one_line(ended.stderr, f"guillotine: violation: {kind}: ")
    bench.check_nothing_left()
    return ended


def add_violations(guest, table, options):
    for expected, names in table.items():
        for name in names.split():
            tap.add(f"{guest}: {name}: {expected}",
                    lambda name=name, expected=expected:
                    run_attack(guest, name, options, expected))


def run_second(name, expected):
    ended = run_attack(*name, ["--vcpus", "2"], expected)
    assert ended.result["violation"]["vcpu"] == 1, ended


def run_queue_attack(name, expected_exit, rule, options=("--port", "console")):
    """A queue attack: the anomaly and its rule must be reported, and no byte may leak."""
    log = bench.path(f"queue-{bench.runs}.audit")
    # Standard input stays open and without data.
    read_end, write_end = os.pipe()
    try:
        ended = run_attack("queue", name, [*options, "--audit", log], f"exit:{expected_exit}",
                           stdin=read_end)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert ended.result["anomalies"] == (1 if rule else 0), ended
    assert ended.stdout in (b"", b"kept"), ended
    assert ("malformed" in ended.stderr) == bool(rule), ended
    records = bench.audit(log)
    rules = [record["detail"] for record in records if record["type"] == "anomaly"]
    assert rules == ([rule] if rule else []), f"rules {rules}"
    types = [record["type"] for record in records]
    assert types[0] == "start" and types[-2:] == ["end", "seal"], types
    assert types.count("completion") == ended.result["completions"], types


@tap.test("the list of attacks is the guests' own")
def check_lists():
    for guest, known in {
        "memory": " ".join(attack_list.MEMORY.values()).split(),
        "cpu": " ".join(attack_list.CPU.values()).split(),
        "doorbell": " ".join(attack_list.DOORBELL.values()).split(),
        "queue": " ".join(attack_list.QUEUE_CLOSED.values()).split() + attack_list.QUEUE_ANSWERED,
        "race": attack_list.RACE_LEGAL + attack_list.RACE_MALFORMED,
        "storm": attack_list.STORM,
        "terminal": attack_list.TERMINAL,
        "hang": attack_list.HANG,
    }.items():
        ended = bench.run(["--image", image(guest), "--port", "console", "--", "list"])
        assert ended.status == 0, ended
        listed = ended.stdout.decode().split()
        assert sorted(listed) == sorted(known), (
            f"{guest}: only in the guest: {set(listed) - set(known)}, "
            f"only in the list: {set(known) - set(listed)}")


@tap.test("a wrong --expect fails")
def check_expect():
    arguments = ["--image", image("memory"), "--expect"]
    assert bench.run([*arguments, "violation:exec-data", "--", "write-code"]).status == 1
    assert bench.run([*arguments, "exit:0", "--", "write-code"]).status == 1
    assert bench.run([*arguments, "violation:write-code", "--", "no-such-attack"]).status == 1
    assert bench.run([*arguments, "violation:exec-data,write-code", "--", "write-code"]).status == 0
    assert bench.run([*arguments, "violation:nonsense", "--", "write-code"]).status == 64


@tap.test("a violation is status 80 and stands in the audit log")
def check_violation_record():
    log = bench.path("violation.audit")
    ended = bench.run(["--image", image("memory"), "--audit", log, "--", "write-code"])
    assert ended.status == 80, ended
    violation = ended.result["violation"]
    assert violation["vector"] == 14 and violation["error_code"] == 7, ended
    records = [record for record in bench.audit(log) if record["type"] == "violation"]
    assert len(records) == 1 and records[0]["violation"] == "write-code", records
    assert records[0]["address"] == violation["address"], (records, violation)
    one_line(ended.stderr, f"0x{violation['address']:x}", "(", "exception 14, error code 0x7")


@tap.test("the other vCPU's violation is reported as its own")
def check_second():
    run_second(("memory", "stack-overflow-second"), "violation:stack-guard")
    run_second(("cpu", "ud2-second"), "violation:invalid-opcode")


def add_queues():
    for rule, names in attack_list.QUEUE_CLOSED.items():
        for name in names.split():
            tap.add(f"queue: {name}: closed by rule {rule}",
                    lambda name=name, rule=rule: run_queue_attack(name, 7, rule))
    for name in attack_list.QUEUE_ANSWERED:
        tap.add(f"queue: {name}: answered",
                lambda name=name: run_queue_attack(name, 0, 0))


@tap.test("queue: a loop longer than a small queue")
def check_small_queue():
    vm = bench.write_vm("small.json", image=image("queue"),
                        ports=[{"kind": "console", "queue_size": 8}])
    for name in ("loop-self", "loop-pair"):
        ended = bench.run([vm, "--", name])
        assert ended.outcome == "exit:7" and ended.result["anomalies"] == 1, ended
    log = bench.path("small.audit")
    bench.run([vm, "--audit", log, "--", "loop-self"])
    rules = [record["detail"] for record in bench.audit(log) if record["type"] == "anomaly"]
    assert rules == [5], rules


@tap.test("doorbell: nothing is granted, so the first doorbell is denied")
def check_no_port():
    for name in ("denied-store", "denied-load", "denied-jump", "denied-last"):
        run_attack("doorbell", name, [], "violation:doorbell-denied")


def run_storm(name):
    run_attack("storm", name, ["--vcpus", "2", "--port", "console"], "exit:0")


def run_race(name):
    """100,000 requests, or fewer with 2,000 denials, while the other vCPU rewrites them."""
    vm = bench.write_vm("race.json", image=image("race"), vcpus=2,
                        ports=[{"kind": "console", "queue_size": 1024}])
    log = bench.path(f"race-{bench.runs}.audit")
    ended = bench.run([vm, "--audit", log, "--", name])
    legal = name in attack_list.RACE_LEGAL
    assert matches(ended.outcome, "exit:0" if legal else "exit:0 exit:7"), ended
    closed = ended.outcome == "exit:7"
    assert ended.result["anomalies"] == (1 if closed else 0), ended
    output, found, summary = ended.stdout.partition(b"\ngranted ")
    # What was executed: whole payloads, and only of requests that were allowed.
    if name != "anything":
        allowed = b"AB" if name == "payload" else b"A"
        assert not output.strip(allowed), f"foreign bytes: {output.strip(allowed)[:64]!r}"
    if legal:
        denied = re.search(rb"denied (\d+)\n$", ended.stdout)
        assert (ended.result["requests"] >= RACE_REQUESTS
                or denied and int(denied[1]) >= RACE_DENIALS), ended
        assert ended.result["requests"] == ended.result["completions"], ended
    granted = sum(record["type"] == "request" and record["decision"] == "allow"
                  for record in bench.audit(log)) - (1 if found else 0)
    if name in ("payload", "descriptor"):
        said = re.match(rb"(\d+) denied (\d+)\n$", summary)
        assert said and int(said[1]) == granted and int(said[2]) > 0, (summary, granted)
    if name not in ("anything", "length"):
        assert len(output) == 8 * granted, f"{len(output)} bytes of {granted} requests"
    bench.check_nothing_left()


def read_pty(guest_name):
    """Runs a terminal attack with standard output on a terminal. Returns what arrives."""
    master, slave = pty.openpty()
    process = bench.start(["--image", image("terminal"), "--port", "console", "--", guest_name],
                          stdout=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    ended = bench.finish(process)
    assert ended.outcome == "exit:0", ended
    return seen


def check_harmless(seen):
    """Nothing in what a terminal got makes it do more than print."""
    text = seen.decode("utf-8")  # raises where it is not UTF-8
    for place, char in enumerate(text):
        if char in "\n\t" or (char == "\r" and text[place + 1:place + 2] == "\n"):
            continue
        category = unicodedata.category(char)
        assert category not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), (
            f"U+{ord(char):04X} ({category}) arrives: {text[max(0, place - 20):place + 20]!r}")
    return text


@tap.test("terminal: no sequence reaches a terminal")
def check_terminal():
    text = check_harmless(read_pty("sequences"))
    for part in ("clear<\\x1b[2J\\x1b[H>", "clipboard<\\x1b]52;c;", "c1-raw<\\x9b2J",
                 "c1-utf8<\\xc2\\x9b2J", "overlong-escape<\\xc0\\x9b[2J", "bidi<\\xe2\\x80\\xae",
                 "harmless\\x0ddanger\\x08\\x08\\x08\\x7f>"):
        assert part in text, f"{part!r} is not in {text!r}"
    # What is harmless stays as it is.
    assert "harmless<\tplain, \u00e4\u20ac\U0001f642, \\x1b as text>" in text, text


@tap.test("terminal: sequences in pieces, and unfinished ones")
def check_terminal_pieces():
    text = check_harmless(read_pty("pieces"))
    expected = "(\\x1b[2J\\xc2\\x9b2J\\xe2\\x80\\xaee\u20ac\\xe2\\x82)"
    assert expected in text, f"{expected!r} is not in {text!r}"
    text = check_harmless(read_pty("unfinished"))
    assert text.strip() == "end\\xf0\\x9f\\x99", text


@tap.test("terminal: a pipe gets the bytes as they are")
def check_pipe():
    ended = bench.run(["--image", image("terminal"), "--port", "console", "--", "sequences"])
    assert ended.outcome == "exit:0", ended
    for part in (b"clear<\x1b[2J\x1b[H>", b"clipboard<\x1b]52;c;Y3VybCBldmlsIHwgc2g=\x07>",
                 b"controls<" + bytes([*range(0, 9), 11, 12, 13, *range(14, 32), 127]) + b">",
                 b"c1-raw<\x9b2J\x9d0;x\x9c\x90x\x9c>", b"\xe2\x80\xaeevil"):
        assert part in ended.stdout, part


def run_hang(name, how, stdout):
    """A guest that never ends is stopped by its operator."""
    read_end, write_end = os.pipe()
    vm = f"hang-{how.lower()}"
    options = ["--vcpus", "2"] if name.endswith("-all") else []
    process = bench.start(["--image", image("hang"), "--port", "console", "--name", vm, *options,
                           "--", name], stdin=read_end, stdout=stdout)
    try:
        bench.wait_running(vm, process)
        time.sleep(0.05)  # into the loop
        assert process.poll() is None, bench.finish(process)
        begin = time.monotonic()
        if how == "kill":
            killed = bench.command("kill", vm, "--runtime-dir", bench.runtime)
            assert killed.returncode == 0, killed.stderr
            # When `kill` returns, the VM is gone.
            assert not os.listdir(bench.runtime), os.listdir(bench.runtime)
            expected, outcome = 81, "stopped"
        else:
            process.send_signal(signal.Signals[how])
            expected, outcome = 128 + signal.Signals[how], "stopped"
        assert wait_until(lambda: process.poll() is not None, STOP_LIMIT_S), "does not stop"
        seconds = time.monotonic() - begin
    finally:
        if process.poll() is None:
            process.kill()
        ended = bench.finish(process)
        os.close(read_end)
        os.close(write_end)
    assert ended.status == expected and ended.outcome == outcome, ended
    assert seconds < STOP_LIMIT_S * SLOWNESS, f"took {seconds} s"
    bench.check_nothing_left()


def add_hangs():
    for name in attack_list.HANG:
        for how in ("kill", "SIGINT", "SIGTERM"):
            tap.add(f"hang: {name}: {how} ends it",
                    lambda name=name, how=how: run_hang(name, how, subprocess.DEVNULL))
    tap.add("hang: flood into a pipe that nobody reads: SIGTERM ends it",
            lambda: run_hang("flood", "SIGTERM", subprocess.PIPE))


def main():
    weights = bench.write("weights", b"\xc3" * 8292)
    add_violations("memory", attack_list.MEMORY, ["--weights", weights, "--vcpus", "2"])
    add_violations("cpu", attack_list.CPU, ["--vcpus", "2"])
    add_violations("doorbell", attack_list.DOORBELL, ["--port", "console"])
    add_queues()
    for name in attack_list.STORM:
        tap.add(f"storm: {name}: served all the same", lambda name=name: run_storm(name))
    for name in attack_list.RACE_LEGAL + attack_list.RACE_MALFORMED:
        tap.add(f"race: {name}", lambda name=name: run_race(name))
    add_hangs()
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
