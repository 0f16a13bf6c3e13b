#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clock, entropy and log ports end to end.

Usage: test_small_ports.py GUILLOTINE GUEST.elf...
"""

import json
import os
import stat
import subprocess
import sys

from guest_test import Bench, Skip, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
GUEST = bench.guests["small_ports.elf"]

OK, DENIED, INVALID, TOO_LARGE, EXHAUSTED = 0, 13, 22, 90, 122
SEED = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
NS_PER_MS = 1000000


def vm_file(*ports, **keys):
    keys.setdefault("image", GUEST)
    return bench.write_vm("small.json", ports=[{"kind": "console"}, *ports], **keys)


def run(ports, *arguments, **keys):
    return bench.run([vm_file(*ports, **keys), "--", *map(str, arguments)])


def settings(kind, *, keys=None, **values):
    return {"kind": kind, "settings": values, **(keys or {})}


def numbers(ended):
    return [[int(word) for word in line.split()] for line in ended.stdout.split(b"\n") if line]


def one_request(port, operation, argument=0, payload=0, reply=0):
    """Status and length of one request's reply."""
    ended = run([port], "status", port.get("name", port["kind"]), operation, argument, payload,
                reply)
    assert ended.outcome == "exit:0", ended
    return numbers(ended)[0]


def add_clock(title, operation, readings, resolution_ms, at_least, **values):
    @tap.test(f"clock: {title}")
    def check():
        clock = settings("clock", resolution_ms=resolution_ms, **values)
        clock["operations"] = ["now", "monotonic"]
        ended = run([clock], "clock", operation, readings)
        assert ended.outcome == "exit:0", ended
        got = numbers(ended)
        assert len(got) >= at_least, got
        resolution_ns = resolution_ms * NS_PER_MS
        for value, said in got:
            assert said == resolution_ns, got
            assert value % resolution_ns == 0, got
        values_ns = [value for value, _ in got]
        assert values_ns == sorted(values_ns), got


# The guest reads in a tight loop, and prints what is new: nothing between two ticks.
add_clock("monotonic time in a tight loop has ticks only", "monotonic", 200000, 10, 2)
add_clock("the date in a tight loop has ticks only", "now", 200000, 10, 2)
add_clock("a tick of 1 ms is the finest", "monotonic", 200000, 1, 10)
add_clock("with jitter time has the same ticks and never goes back", "monotonic", 200000, 5, 2,
          jitter_ms=5)
add_clock("an hour", "monotonic", 1000, 3600000, 1)


@tap.test("clock: quantised replies: each reading is another tick")
def check_quantised():
    clock = settings("clock", resolution_ms=5, quantise_replies=True)
    ended = run([clock], "clock", "monotonic", 40)
    assert ended.outcome == "exit:0", ended
    values = [value for value, _ in numbers(ended)]
    # Every one of the 40 readings was held until time had moved on.
    assert len(values) == 40 and values[0] >= 5 * NS_PER_MS, values
    assert all(b > a for a, b in zip(values, values[1:])), values


@tap.test("clock: quantised replies with jitter, in doorbell mode: none is slept over")
def check_quantised_doorbell():
    clock = settings("clock", resolution_ms=5, jitter_ms=5, quantise_replies=True,
                     keys={"mode": "doorbell"})
    ended = run([clock], "clock", "monotonic", 40)
    assert ended.outcome == "exit:0" and len(numbers(ended)) == 40, ended


@tap.test("clock: the date is not granted unless the file names it; --port clock works")
def check_date():
    assert one_request({"kind": "clock"}, 1, reply=16) == [DENIED, 0]
    assert one_request({"kind": "clock"}, 2, reply=16) == [OK, 16]
    ended = bench.run(["--image", GUEST, "--port", "console", "--port", "clock", "--", "clock",
                       "monotonic", "10"])
    assert ended.outcome == "exit:0" and numbers(ended)[0][1] == 1000 * NS_PER_MS, ended
    ended = bench.run(["--image", GUEST, "--port", "console", "--port", "clock", "--", "clock",
                       "now", "10"])
    assert ended.outcome == f"exit:{DENIED}", ended


@tap.test("clock: arguments, operations and replies that make no sense")
def check_clock_requests():
    assert one_request({"kind": "clock"}, 2, argument=1, reply=16) == [INVALID, 0]
    assert one_request({"kind": "clock"}, 2, reply=15) == [TOO_LARGE, 0]
    status, _ = one_request({"kind": "clock"}, 2, payload=1, reply=16)
    assert status != OK
    status, _ = one_request({"kind": "clock"}, 3, reply=16)
    assert status != OK


@tap.test("a second clock is refused: two phases would be a finer one")
def check_two_clocks():
    ended = run([{"kind": "clock"}, {"kind": "clock", "name": "other"}], "clock", "monotonic", 1)
    assert ended.status == 65, ended
    one_line(ended.stderr, "at most one clock")


def entropy(count, part, **values):
    ended = run([settings("entropy", **values)], "entropy", count, part)
    assert ended.outcome == "exit:0", ended
    return bytes.fromhex(ended.stdout.decode())


@tap.test("entropy: each run gets other bytes, of any length")
def check_entropy():
    seen = [entropy(60000, 4096), entropy(60000, 4096), entropy(60000, 1000)]
    assert all(len(data) == 60000 for data in seen)
    for data in seen:
        # 60,000 random bytes have each value some 234 times.
        counts = [data.count(value) for value in range(256)]
        assert 120 < min(counts) and max(counts) < 380, (min(counts), max(counts))
    pieces = [data[at:at + 16] for data in seen for at in range(0, 60000, 16)]
    assert len(set(pieces)) == len(pieces)


@tap.test("entropy: with a seed each run gets the very same bytes, in whatever parts")
def check_seed():
    first = entropy(10000, 10000, seed_hex=SEED)
    assert first == entropy(10000, 10000, seed_hex=SEED) == entropy(10000, 7, seed_hex=SEED)
    ended = run([settings("entropy", seed_hex=SEED)], "entropy", 1, 1)
    one_line(ended.stderr, "port entropy", "not random")
    assert not run([{"kind": "entropy"}], "entropy", 1, 1).stderr
    other = entropy(10000, 10000, seed_hex=SEED[:-1] + "e")
    assert other != first and len(other) == len(first)


def add_system_calls(kind, operation, argument, payload, reply):
    @tap.test(f"{kind}: requests cost the poller no system call of their own")
    def check():
        port = {"kind": kind, "mode": "busy"}
        if kind == "log":
            fresh_log()
            port = {**log_port(), "mode": "busy", "limits": {"requests_per_s": 0}}
        process = bench.start([vm_file(port, name="counted"), "--", "flood", kind, str(operation),
                               str(argument), str(payload), str(reply)])
        try:
            vmm = bench.wait_running("counted", process)["vmm_pid"]
            calls, served = bench.poller_calls("counted", vmm, kind, 20000)
        finally:
            bench.command("kill", "--runtime-dir", bench.runtime, "counted")
            bench.finish(process)
        # Wake-ups of the supervisor, once in a millisecond, and of a vCPU that parked. Where the
        # vDSO cannot read the clock, reading it is a call.
        assert set(calls) <= {"write", "futex", "clock_gettime"}, calls
        assert calls.get("write", 0) + calls.get("futex", 0) < served / 5, (served, calls)
        print(f"# {served} requests, system calls of the poller: {calls}")


add_system_calls("entropy", 1, 512, 0, 512)
add_system_calls("clock", 2, 0, 0, 16)
add_system_calls("log", 1, 6, 100, 0)


@tap.test("entropy: requests of more than is granted, or of nothing, get nothing")
def check_entropy_requests():
    port = {"kind": "entropy"}
    assert one_request(port, 1, argument=4096, reply=4096) == [OK, 4096]
    assert one_request(port, 1, argument=0, reply=4096) == [INVALID, 0]
    assert one_request(port, 1, argument=4097, reply=4096) == [INVALID, 0]
    assert one_request(port, 1, argument=2 ** 32 - 1, reply=4096) == [INVALID, 0]
    assert one_request(port, 1, argument=17, reply=16) == [TOO_LARGE, 0]
    small = {"kind": "entropy", "max_reply_bytes": 100}
    assert one_request(small, 1, argument=101, reply=100) == [TOO_LARGE, 0]
    limited = {"kind": "entropy", "limits": {"reply_bytes_total": 100}}
    assert one_request(limited, 1, argument=101, reply=101)[1] == 0


@tap.test("entropy: the seed is in no audit record and no measurement, and no message repeats it")
def check_seed_is_kept():
    log = bench.path("seed.audit")
    vm = vm_file(settings("entropy", seed_hex=SEED))
    ended = bench.run(["--audit", log, vm, "--", "entropy", "16", "16"])
    assert ended.outcome == "exit:0", ended
    with open(log, "rb") as file:
        data = file.read()
    assert bytes.fromhex(SEED) not in data and SEED.encode() not in data
    policies = []
    for other in (SEED, "f" * 64):
        log = bench.path(f"{other[:4]}.audit")
        bench.run(["--audit", log, vm_file(settings("entropy", seed_hex=other)), "--", "entropy",
                   "16", "16"])
        # The last measurement is of the ports as the VMM gets them.
        measures = [record for record in bench.audit(log) if record["type"] == "measure"]
        policies.append(measures[-1]["data"])
    assert policies[0] == policies[1], policies
    ended = run([settings("entropy", seed_hex=SEED + "0")], "entropy", 1, 1)
    assert ended.status == 65 and SEED[:16] not in ended.stderr, ended


def log_port(**values):
    values.setdefault("path", "small.log")
    return settings("log", **values)


def fresh_log(name="small.log"):
    path = bench.path(name)
    if os.path.exists(path):
        os.unlink(path)
    return path


def lines_of(path):
    with open(path, "rb") as file:
        data = file.read()
    assert data.endswith(b"\n"), data[-100:]
    assert all(byte >= 0x20 and byte != 0x7f for byte in data.replace(b"\n", b"")), data
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


@tap.test("log: one JSON line for each message, in order, up to the last")
def check_log():
    path = fresh_log()
    ended = run([log_port()], "log", 900, name="writer")
    assert ended.outcome == "exit:0", ended
    lines = lines_of(path)
    assert [line["text"] for line in lines] == [f"message {i}" for i in range(900)], lines[-3:]
    assert [line["severity"] for line in lines] == [i % 8 for i in range(900)]
    assert all(line["vm"] == "writer" and line["port"] == "log" for line in lines)
    assert all(line["time"].endswith("Z") for line in lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    mode = os.stat(path).st_mode
    assert stat.S_IMODE(mode) == 0o600, oct(mode)
    # A second run appends.
    run([log_port()], "log", 1, name="writer")
    assert len(lines_of(path)) == 901


@tap.test("log: terminal escapes, forged lines and broken UTF-8 are text in a line of their own")
def check_hostile():
    path = fresh_log()
    ended = run([log_port()], "log-hostile")
    assert ended.outcome == "exit:0", ended
    lines = lines_of(path)
    assert len(lines) == 8, lines
    assert all(set(line) == {"time", "vm", "port", "severity", "text"} for line in lines)
    assert all(line["severity"] == 4 for line in lines)
    assert lines[0]["text"] == "\x1b[2J\x1b[H\x1b]0;owned\x07"
    assert lines[1]["text"].startswith('"}\n{"time":"2026","vm":"other"')
    assert lines[5]["text"] == "\0\x01\x7f" and lines[6]["text"] == ""
    assert lines[7]["text"] == "plain ä€🙂"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    # Nothing that a terminal acts on, or that hides or turns text, is there unescaped.
    for code in [*range(0x20), *range(0x7f, 0xa0), 0x2028, 0x2029, 0x202e, 0x202c, 0xfeff, 0xe0041]:
        assert code == 0x0a or chr(code) not in text, hex(code)
    assert "�2J" in lines[3]["text"]


@tap.test("log: a full file: the model is told, what was dropped is counted, the bound holds")
def check_full():
    path = fresh_log()
    port = log_port(max_bytes=65536)
    port["limits"] = {"requests_per_s": 0}
    ended = run([port], "log-fill", 4096)
    assert ended.outcome == f"exit:{EXHAUSTED}", ended
    assert os.path.getsize(path) <= 65536, os.path.getsize(path)
    lines = lines_of(path)
    # 4,096 control characters take 24 KiB.
    assert [len(line["text"]) for line in lines[:-1]] == [4096] * 2, len(lines)
    assert lines[-1]["dropped"] >= 1, lines[-1]
    assert "file is full" in ended.stderr and "were dropped" in ended.stderr, ended


@tap.test("log: severities above 7 and texts that are too long are refused")
def check_log_requests():
    fresh_log()
    assert one_request(log_port(), 1, argument=7, payload=4096) == [OK, 0]
    assert one_request(log_port(), 1, argument=8, payload=1) == [INVALID, 0]
    assert one_request(log_port(), 1, argument=2 ** 32 - 1, payload=1) == [INVALID, 0]
    port = log_port()
    port["limits"] = {"bytes_total": 10}
    assert one_request(port, 1, argument=7, payload=11) == [EXHAUSTED, 0]


@tap.test("log: rates hold back what exceeds them, totals end it")
def check_rate():
    path = fresh_log()
    port = log_port()
    port["limits"] = {"requests_per_s": 1, "request_burst": 5}
    vm = vm_file(port, name="slow")
    process = bench.start([vm, "--", "log", "100000"])
    assert wait_until(lambda: os.path.exists(path) and len(open(path, "rb").readlines()) >= 5, 30)
    assert bench.port_status("slow", "log")["dropped"] == 0
    bench.command("kill", "--runtime-dir", bench.runtime, "slow")
    bench.finish(process)
    # All of them would take a day.
    assert 5 <= len(lines_of(path)) < 1000
    ended = run([log_port()], "log", 1050)
    assert ended.outcome == "exit:0", ended
    port = log_port()
    port["limits"] = {"requests_total": 5}
    ended = run([port], "log", 10)
    assert ended.outcome == f"exit:{EXHAUSTED}", ended


@tap.test("policy documents name the kinds: a log is redacted, severities and the date are denied")
def check_policy():
    path = fresh_log()
    rules = {
        "console": {"kind": "console", "rules": [{"name": "all", "outcome": "allow"}]},
        "clock": {"kind": "clock", "rules": [
            {"name": "ticks", "operations": ["monotonic"], "outcome": "allow"}]},
        "entropy": {"kind": "entropy", "rules": [
            {"name": "little", "argument": {"max": 16}, "outcome": "allow"}]},
        "log": {"kind": "log", "rules": [
            {"name": "calm", "operations": ["write"], "argument": {"min": 4},
             "outcome": "redact", "redact": {"request": ["[0-9]+"]}}]},
    }
    policy = bench.write("small.policy.json",
                         json.dumps({"format": "guillotine-policy/1", "ports": rules}))
    clock = {"kind": "clock", "operations": ["now", "monotonic"]}

    def ask(*arguments):
        ports = [clock, {"kind": "entropy"}, log_port()]
        return bench.run(["--policy", policy, vm_file(*ports), "--", *map(str, arguments)])

    for arguments, wanted in ((("clock", 2, 0, 0, 16), [OK, 16]),
                              (("clock", 1, 0, 0, 16), [DENIED, 0]),
                              (("entropy", 1, 16, 0, 16), [OK, 16]),
                              (("entropy", 1, 17, 0, 17), [DENIED, 0]),
                              (("log", 1, 3, 1, 0), [DENIED, 0])):
        ended = ask("status", *arguments)
        assert numbers(ended)[0] == wanted, (arguments, ended)
    assert os.path.getsize(path) == 0
    # Message 0 has severity 0: denied. None of the others is sent.
    assert ask("log", 8).outcome == f"exit:{DENIED}"
    assert ask("log-hostile").outcome == "exit:0"
    lines = lines_of(path)
    assert len(lines) == 8 and "2026" not in lines[1]["text"], lines
    assert lines[1]["text"].startswith('"}\n{"time":"****"'), lines[1]


@tap.test("log: --port log writes STATE/log/NAME.PORT.log")
def check_default_path():
    ended = bench.run(["--name", "plain", "--image", GUEST, "--port", "log:notes", "--", "status",
                       "notes", "1", "3", "5", "0"])
    path = os.path.join(bench.state, "log", "plain.notes.log")
    assert ended.outcome == "exit:0", ended
    lines = lines_of(path)
    assert [(line["port"], line["severity"]) for line in lines] == [("notes", 3)], lines
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


@tap.test("log: links, devices, folders and files in use are refused before the model runs")
def check_refused_paths():
    target = bench.write("target", "precious\n")
    link = fresh_log()
    os.symlink(target, link)
    ended = run([log_port()], "log", 1)
    assert ended.status == 65, ended
    one_line(ended.stderr, "port log", "symbolic link")
    with open(target, encoding="utf-8") as file:
        assert file.read() == "precious\n"
    os.unlink(link)
    os.mkfifo(link)
    ended = run([log_port()], "log", 1)
    assert ended.status == 65, ended
    one_line(ended.stderr, "port log")
    os.unlink(link)
    for path in ("/dev/null", bench.folder, "no/such/folder/x.log"):
        ended = run([log_port(path=path)], "log", 1)
        assert ended.status == 65, ended
        one_line(ended.stderr, "port log")
    second = log_port()
    second["name"] = "again"
    ended = run([log_port(), second], "log", 1)
    assert ended.status == 65, ended
    one_line(ended.stderr, "port again", "another port")


@tap.test("log: a disk that is full: no torn line, the model goes on")
def check_full_disk():
    if os.geteuid() != 0:
        raise Skip("needs root to mount a small file system")
    folder = bench.path("small-disk")
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    try:
        port = log_port(path=os.path.join(folder, "full.log"))
        port["limits"] = {"requests_per_s": 0}
        ended = run([port], "log-fill", 4000)
        assert ended.outcome == f"exit:{EXHAUSTED}", ended
        lines = lines_of(os.path.join(folder, "full.log"))
        assert {len(line["text"]) for line in lines if "text" in line} == {4000}, lines[-1]
    finally:
        subprocess.run(["umount", folder], check=True)


def add_lie(name, keys=None):
    @tap.test(f"log: a fallen VMM: {name}: isolated, nothing of it is in the log")
    def check():
        path = fresh_log()
        port = {**log_port(), **(keys or {})}
        vm = bench.write_vm("fallen.json", image=GUEST, arguments=[name], ports=[port])
        done = subprocess.run([bench.fallen_program(), "run", *bench.directories(), vm],
                              capture_output=True, timeout=20, check=False,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 81, done
        one_line(done.stderr.decode(), "log ring")
        assert os.path.getsize(path) == 0


add_lie("log-severity")
add_lie("log-length")
add_lie("log-message", {"operations": []})


@tap.test("nothing is left behind")
def check_leftovers():
    bench.check_nothing_left()


def main():
    succeeded = tap.run()
    bench.close()
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
