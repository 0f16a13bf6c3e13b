#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of a port are kept, default is deny, and the audit log has every request.

Usage: test_limits.py GUILLOTINE GUEST.elf...
"""

import os
import signal
import subprocess
import sys
import time

from guest_test import Bench, Skip, Tap, one_line

DENIED = "13"
TOO_LARGE = 90
EXHAUSTED = "122"

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
HONEST = bench.guests["honest.elf"]


def with_console(**keys):
    """A VM file with one console of these properties."""
    return bench.write_vm("limits.json", image=HONEST, ports=[{"kind": "console", **keys}])


def new_log(name="test.audit"):
    path = bench.path(name)
    for old in (path, path + ".checkpoint"):
        if os.path.exists(old):
            os.unlink(old)
    return path


@tap.test("requests_total")
def check_requests_total():
    vm = with_console(limits={"requests_total": 5})
    ended = bench.run([vm, "--", "write", "20", EXHAUSTED])
    assert ended.outcome == "exit:5" and ended.stdout == b"xxxxx", ended
    assert ended.result["requests"] == 20 and ended.result["completions"] == 20, ended


@tap.test("bytes_total")
def check_bytes_total():
    vm = with_console(limits={"bytes_total": 7})
    ended = bench.run([vm, "--", "write", "20", EXHAUSTED])
    assert ended.outcome == "exit:7" and ended.stdout == b"x" * 7, ended


@tap.test("max_request_bytes")
def check_max_request():
    vm = bench.write_vm("limits.json", image=bench.guests["attack_queue.elf"],
                        ports=[{"kind": "console", "max_request_bytes": 16}])
    # 4,097 bytes: beyond this grant as beyond any other.
    assert bench.run([vm, "--", "payload-beyond-grant"]).outcome == "exit:0"
    vm = bench.write_vm("limits.json", image=bench.guests["hello.elf"],
                        ports=[{"kind": "console", "max_request_bytes": 16}])
    ended = bench.run([vm], data=b"z" * 100)
    # The SDK cuts its writes to what is granted.
    assert ended.outcome == "exit:0" and ended.stdout.endswith(b"z" * 100), ended


def stopped_after(vm, seconds):
    """Lets a VM write for a while; returns how it ended and an upper bound of its lifetime."""
    begin = time.monotonic()
    process = bench.start([vm, "--", "write-for-ever"])
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    ended = bench.finish(process)
    assert ended.status == 143, ended
    return ended, time.monotonic() - begin


@tap.test("requests_per_s with a burst, by count")
def check_rate():
    ended, lifetime = stopped_after(
        with_console(limits={"requests_per_s": 20, "request_burst": 5}), 0.6)
    assert 5 <= len(ended.stdout) <= 5 + 20 * lifetime + 1, (len(ended.stdout), lifetime, ended)


@tap.test("bytes_per_s with a burst, by count")
def check_byte_rate():
    ended, lifetime = stopped_after(
        with_console(limits={"bytes_per_s": 30, "byte_burst": 4}), 0.6)
    assert 4 <= len(ended.stdout) <= 4 + 30 * lifetime + 1, (len(ended.stdout), lifetime, ended)


@tap.test("a rate delays, and loses nothing")
def check_rate_delays():
    vm = with_console(limits={"requests_per_s": 200, "request_burst": 1})
    ended = bench.run([vm, "--", "write", "60", "0"])
    assert ended.outcome == "exit:60" and ended.stdout == b"x" * 60, ended
    assert ended.seconds >= 59 / 200 * 0.95, ended


@tap.test("an operation that is not granted is denied")
def check_default_deny():
    log = new_log()
    ended = bench.run([with_console(operations=["read"]), "--audit", log, "--", "write", "3",
                       DENIED])
    assert ended.outcome == "exit:0" and ended.stdout == b"", ended
    requests = [record for record in bench.audit(log) if record["type"] == "request"]
    assert [(r["decision"], r["rule"]) for r in requests] == [("deny", "default-deny")] * 3
    ended = bench.run([with_console(operations=["write"]), "--", "read", DENIED])
    assert ended.outcome == "exit:0", ended
    ended = bench.run([with_console(operations=[]), "--", "read", DENIED], data=b"secret")
    assert ended.outcome == "exit:0", ended


@tap.test("one request record and one completion record for each request")
def check_audit():
    log = new_log()
    ended = bench.run([with_console(), "--audit", log, "--", "write", "50", "0"])
    assert ended.outcome == "exit:50", ended
    records = bench.audit(log)
    requests = [record for record in records if record["type"] == "request"]
    completions = [record for record in records if record["type"] == "completion"]
    assert len(requests) == len(completions) == 50 == ended.result["requests"], ended
    assert ended.result["completions"] == 50, ended
    for kind in (requests, completions):
        assert [record["request"] for record in kind] == list(range(1, 51)), kind
    assert all(record["length_bytes"] == 1 and record["operation"] == 1 and
               record["decision"] == "allow" and record["rule"] == "grant"
               for record in requests), requests
    assert all(record["status"] == 0 for record in completions), completions
    assert [record["sequence"] for record in records] == list(range(len(records)))
    assert records[0]["type"] == "start", records
    assert [record["type"] for record in records[-2:]] == ["end", "seal"], records
    assert len(bench.story(log)) == 103, [record["type"] for record in records]
    # A request stands in the log before its completion.
    place = {(r["type"], r.get("request")): i for i, r in enumerate(records)}
    assert all(place["request", n] < place["completion", n] for n in range(1, 51))
    times = [record["now_ns"] for record in records if record["type"] in ("request", "completion")]
    assert times == sorted(times)


@tap.test("tens of thousands of requests: none is missing in the log")
def check_audit_much():
    log = new_log()
    vm = bench.write_vm("much.json", image=bench.guests["hello.elf"],
                        ports=[{"kind": "console", "max_request_bytes": 16}])
    ended = bench.run([vm, "--audit", log], data=b"0123456789abcdef" * 20000)
    assert ended.outcome == "exit:0", ended
    records = bench.audit(log)
    assert [record["sequence"] for record in records] == list(range(len(records)))
    for kind in ("request", "completion"):
        numbers = [record["request"] for record in records if record["type"] == kind]
        assert sorted(numbers) == list(range(1, ended.result["requests"] + 1)), kind
    assert ended.result["requests"] > 20000, ended


@tap.test("a log is continued by the next run of the same name")
def check_audit_append():
    log = new_log()
    place = bench.directories()
    bench.run([with_console(), "--audit", log, "--", "write", "2", "0"], directories=place)
    first = len(bench.story(log))
    bench.run([with_console(), "--audit", log, "--", "write", "2", "0"], directories=place)
    assert len(bench.story(log)) == 2 * first
    assert bench.run([with_console(), "--name", "log-test", "--", "exit", "0"]).status == 0
    default = os.path.join(bench.state, "audit", "log-test.audit")
    assert bench.audit(default)[-1]["type"] == "seal"
    assert os.stat(default).st_mode & 0o077 == 0


@tap.test("an audit log that is not one is refused and left as it is")
def check_audit_refused():
    fifo = bench.path("fifo.audit")
    os.mkfifo(fifo)
    folder = bench.path("folder.audit")
    os.mkdir(folder)
    whole = new_log("whole.audit")
    bench.run([with_console(), "--audit", whole, "--", "exit", "0"])
    with open(whole, "rb") as file:
        content = file.read()
    files = {
        bench.write("text.audit", "important\n"): b"important\n",
        bench.write("cut.audit", content[:-1]): content[:-1],
        bench.write("head.audit", content[:63] + b"x"): content[:63] + b"x",
        bench.write("newer.audit", content.replace(b"audit/2", b"audit/3")):
            content.replace(b"audit/2", b"audit/3"),
    }
    for path in [*files, fifo, folder, "/dev/null"]:
        ended = bench.run([with_console(), "--audit", path, "--", "write", "1", "0"])
        # A directory cannot even be opened.
        wanted = (65, 75) if path == folder else (65,)
        assert ended.status in (wanted if path.endswith('.audit') else (64,)), ended
        one_line(ended.stderr, path)
        assert ended.stdout == b"", ended
    for path, before in files.items():
        with open(path, "rb") as file:
            assert file.read() == before, path
    done = bench.command("audit", "cat", bench.path("text.audit"))
    assert done.returncode == 65, done
    done = bench.command("audit", "cat", bench.path("cut.audit"))
    assert done.returncode == 65 and b"inside a record" in done.stderr, done
    bench.check_nothing_left()


@tap.test("an audit log belongs to one run at a time")
def check_audit_locked():
    log = new_log()
    first = bench.start(["--image", bench.guests["attack_hang.elf"], "--port", "console",
                         "--name", "logger", "--audit", log, "--", "park"])
    bench.wait_running("logger", first)
    second = bench.run([with_console(), "--audit", log, "--", "exit", "1"])
    assert second.status == 75, second
    one_line(second.stderr, "in use by another VM")
    first.send_signal(signal.SIGTERM)
    assert bench.finish(first).status == 143


@tap.test("a log that cannot be written any more ends the run")
def check_audit_full():
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        raise Skip("needs a mount namespace")
    folder = bench.path("full")
    os.mkdir(folder)
    script = f'mount -t tmpfs -o size=64k none {folder} && exec "$@"'
    ended = bench.run([with_console(), "--audit", f"{folder}/full.audit", "--", "write-for-ever"],
                      prefix=["unshare", "-m", "sh", "-c", script, "sh"], timeout=20)
    assert ended.status == 81, ended
    one_line(ended.stderr, "audit log", "No space left")
    # No request was executed whose record found no room.
    assert len(ended.stdout) < 64 * 1024, ended
    bench.check_nothing_left()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
