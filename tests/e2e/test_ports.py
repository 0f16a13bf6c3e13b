#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ports end to end: kinds, queues, limits, orders of an operator, backend processes, messages.

Usage: test_ports.py GUILLOTINE GUEST.elf...
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from guest_test import Bench, Skip, Tap, children_named, one_line, process_exists, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
PORTS = bench.guests.get("ports.elf")
LIFE = bench.guests["port_life.elf"]
RUNTIME = ["--runtime-dir", bench.runtime]

LOST, TIMED_OUT, DOWN = 104, 110, 112


def vm_file(*ports, **keys):
    keys.setdefault("image", LIFE)
    return bench.write_vm("ports.json", ports=list(ports), **keys)


def loop(**keys):
    return {"kind": "loopback", "name": "loop", **keys}


def port_status(vm, port="loop"):
    return bench.port_status(vm, port)


def order(vm, what, port):
    return bench.command("ports", *RUNTIME, f"--{what}", port, vm)


def new_log(name):
    path = bench.path(name)
    for old in (path, path + ".checkpoint"):
        if os.path.exists(old):
            os.unlink(old)
    return path


def backends(process):
    """Backend processes of a run."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                text = file.read()
        except OSError:
            continue
        comm = text[text.index("(") + 1:text.rindex(")")]
        if comm == "guillotine-back" and text[text.rindex(")") + 2:].split()[1] == str(process.pid):
            found.append(int(pid))
    return found


def add_echo(title, port, keys, arguments):
    @tap.test(f"echo: {title}")
    def check():
        log = new_log("echo.audit")
        ended = bench.run(["--audit", log, vm_file(port, image=PORTS, **keys), "--", "echo", "loop", *arguments])
        assert ended.outcome == "exit:0", ended
        records = [r for r in bench.audit(log) if r.get("source") == "vmm"]
        requests = [r for r in records if r["type"] == "request"]
        completions = [r for r in records if r["type"] == "completion"]
        wanted = int(arguments[0])
        assert len(requests) == len(completions) == wanted, (len(requests), len(completions))
        assert all(r["decision"] == "allow" for r in records), records[:5]


# Count, bytes, depth, queues.
add_echo("one at a time", loop(), {}, ["500", "64", "1", "1"])
add_echo("many at once", loop(), {}, ["5000", "64", "16", "1"])
add_echo("64 KiB", loop(), {}, ["200", "65536", "4", "1"])
add_echo("1 MiB", loop(max_request_bytes=1 << 20, max_reply_bytes=1 << 20), {},
         ["40", "1048576", "2", "1"])
add_echo("1 byte", loop(), {}, ["500", "1", "8", "1"])
add_echo("four queues", loop(queues=4), {}, ["4000", "100", "8", "4"])
add_echo("a queue for each of two vCPUs", loop(queues=2), {"vcpus": 2}, ["4000", "100", "8", "2"])
add_echo("event index", loop(features=["indirect", "event-index"]), {}, ["4000", "64", "8", "1"])
add_echo("event index, doorbell mode", loop(features=["event-index"], mode="doorbell"), {},
         ["500", "64", "4", "1"])
add_echo("doorbell mode", loop(mode="doorbell"), {}, ["500", "64", "4", "1"])
add_echo("busy mode", loop(mode="busy"), {}, ["5000", "64", "16", "1"])
add_echo("one request in flight", loop(in_flight=1), {}, ["500", "64", "8", "1"])
add_echo("two pollers", loop(), {"poller": {"threads": 2}}, ["500", "64", "8", "1"])
add_echo("a backend process", loop(process=True), {}, ["3000", "64", "16", "1"])
add_echo("a backend process, 64 KiB", loop(process=True), {}, ["100", "65536", "4", "1"])
add_echo("a backend process, doorbell mode", loop(process=True, mode="doorbell"), {},
         ["300", "64", "4", "1"])


@tap.test("a backend process writes a record of its own for every request")
def check_backend_audit():
    log = new_log("own.audit")
    ended = bench.run(["--audit", log, vm_file(loop(process=True), image=PORTS), "--", "echo", "loop", "100",
                       "64", "4", "1"])
    assert ended.outcome == "exit:0", ended
    records = bench.audit(log)
    asked = {r["request"]: r for r in records if r["type"] == "request" and r["source"] == "vmm"}
    done = [r for r in records if r["type"] == "request" and r["source"] == "backend"]
    assert len(asked) == len(done) == 100, (len(asked), len(done))
    for record in done:
        twin = asked[record["cookie"]]
        assert (twin["operation"], twin["length_bytes"]) == (record["operation"],
                                                             record["length_bytes"])


@tap.test("an operation that is not granted is denied by the VMM already")
def check_grant():
    ended = bench.run([vm_file(loop(operations=["discard"]), image=PORTS), "--", "status", "loop", "1", "10"])
    assert ended.outcome == "exit:13", ended


@tap.test("reply_bytes_total: a reply beyond it is withheld")
def check_reply_total():
    port = loop(limits={"reply_bytes_total": 1000})
    ended = bench.run([vm_file(port, image=PORTS), "--", "echo", "loop", "20", "100", "1", "1"])
    assert ended.outcome != "exit:0", ended
    log = new_log("total.audit")
    bench.run(["--audit", log, vm_file(port, image=PORTS), "--", "echo", "loop", "20", "100", "1", "1"])
    statuses = [r["status"] for r in bench.audit(log) if r["type"] == "completion"]
    assert statuses[:10] == [0] * 10 and statuses[10] == 122, statuses


@tap.test("capacity_bits_per_s: what requests tell stays below it, and can be read back")
def check_capacity():
    rate = 50 * (8 * 64 + 256)  # 50 requests of 64 bytes a second
    log = new_log("capacity.audit")
    process = bench.start(["--name", "capacity", "--audit", log,
                           vm_file(loop(limits={"capacity_bits_per_s": rate}), image=PORTS), "--", "echo",
                           "loop", "150", "64", "4", "1"])
    bench.wait_running("capacity", process)
    assert port_status("capacity")["capacity_bits_per_s"] == rate
    ended = bench.finish(process)
    assert ended.outcome == "exit:0", ended
    times = [r["now_ns"] for r in bench.audit(log) if r["type"] == "request"]
    # One second's worth at once, then the rate: the last of 150 not before 2 s.
    assert times[-1] - times[0] > 1.9e9, times[-1] - times[0]


@tap.test("audit.records_per_s: ports wait, nothing is lost")
def check_audit_rate():
    log = new_log("volume.audit")
    vm = vm_file(loop(), image=PORTS, audit={"records_per_s": 400, "record_burst": 200})
    ended = bench.run(["--audit", log, vm, "--", "echo", "loop", "400", "64", "8", "1"])
    assert ended.outcome == "exit:0", ended
    records = [r for r in bench.audit(log) if r["type"] in ("request", "completion")]
    assert len(records) == 800, len(records)
    # 200 at once, 600 more at 400 a second.
    span = records[-1]["now_ns"] - records[0]["now_ns"]
    assert span > 1.3e9, span


@tap.test("close and open: dropped requests come back empty, the port works again")
def check_close():
    log = new_log("close.audit")
    process = bench.start(["--name", "closing", "--audit", log, vm_file(loop(), {"kind": "console"}),
                           "--", "survive", "loop"], stdin=subprocess.PIPE)
    bench.wait_running("closing", process)
    assert wait_until(lambda: port_status("closing")["requests"] > 1000, 10)
    for _ in range(20):
        done = order("closing", "close", "loop")
        assert done.returncode == 0, done.stderr
        state = port_status("closing")
        assert state["state"] == "closed" and state["in_flight"] == 0, state
        time.sleep(0.01)
        assert port_status("closing")["requests"] == state["requests"], "served while closed"
        done = order("closing", "open", "loop")
        assert done.returncode == 0, done.stderr
        before = state["requests"]
        assert wait_until(lambda before=before: port_status("closing")["requests"] > before + 100,
                          5), port_status("closing")
    assert bench.command("kill", "closing", *RUNTIME).returncode == 0
    ended = bench.finish(process)
    assert ended.status == 81, ended
    orders = [r["order"] for r in bench.audit(log) if r["type"] == "order"]
    assert orders == ["port-close", "port-open"] * 20, orders


@tap.test("orders about ports that are not there are refused")
def check_bad_orders():
    process = bench.start(["--name", "orders", vm_file(loop()), "--", "survive", "loop"])
    bench.wait_running("orders", process)
    done = order("orders", "close", "nothing")
    assert done.returncode == 1, done
    one_line(done.stderr.decode(), "nothing", "no port of that name")
    done = order("nobody", "close", "loop")
    assert done.returncode == 1, done
    bench.command("kill", "orders", *RUNTIME)
    bench.finish(process)


@tap.test("an anomaly closes one port; an order opens it again")
def check_anomaly():
    process = bench.start(["--name", "broken", vm_file(loop(), loop(name="other")), "--",
                           "anomaly-then-survive", "loop", "other"])
    bench.wait_running("broken", process)
    assert wait_until(lambda: port_status("broken")["state"] == "closed-anomaly", 5)
    before = port_status("broken", "other")["requests"]
    assert wait_until(lambda: port_status("broken", "other")["requests"] > before + 100, 5)
    assert port_status("broken")["anomalies"] == 1
    assert order("broken", "open", "loop").returncode == 0
    assert port_status("broken")["state"] == "open"
    bench.command("kill", "broken", *RUNTIME)
    bench.finish(process)


@tap.test("a backend process that dies is replaced; its requests fail with a status")
def check_backend_death():
    log = new_log("death.audit")
    process = bench.start(["--name", "mortal", "--audit", log,
                           vm_file(loop(process=True, restart={"max": 2, "delay_ms": 50})), "--",
                           "survive", "loop"])
    bench.wait_running("mortal", process)
    for restart in (1, 2):
        assert wait_until(lambda: port_status("mortal")["state"] == "open", 5)
        served = port_status("mortal")["requests"]
        assert wait_until(lambda served=served: port_status("mortal")["requests"] > served + 1000,
                          5), "not served"
        pids = backends(process)
        assert len(pids) == 1, pids
        os.kill(pids[0], signal.SIGKILL)
        assert wait_until(lambda restart=restart: port_status("mortal")["restarts"] == restart, 5)
    assert wait_until(lambda: port_status("mortal")["state"] == "open", 5)
    os.kill(backends(process)[0], signal.SIGKILL)
    assert wait_until(lambda: port_status("mortal")["state"] == "down", 5)
    time.sleep(0.3)
    assert port_status("mortal")["state"] == "down" and not backends(process)
    bench.command("kill", "mortal", *RUNTIME)
    bench.finish(process)
    records = bench.audit(log)
    events = [r["event"] for r in records if r["type"] == "backend"]
    assert events == ["up", "died", "up", "died", "up", "died", "given-up"], events
    statuses = {r["status"] for r in records if r["type"] == "completion" and r["source"] == "vmm"}
    assert DOWN in statuses and statuses <= {0, LOST, DOWN, 108}, statuses


@tap.test("a backend process that hangs is killed and replaced")
def check_backend_hang():
    log = new_log("hang.audit")
    process = bench.start(["--name", "stuck", "--audit", log,
                           vm_file(loop(process=True, timeout_ms=200)), "--", "survive", "loop"])
    bench.wait_running("stuck", process)
    assert wait_until(lambda: port_status("stuck")["requests"] > 100, 5)
    pid = backends(process)[0]
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: not process_exists(pid), 5), "it was not killed"
    assert wait_until(lambda: port_status("stuck")["state"] == "open" and
                      port_status("stuck")["restarts"] == 1, 5)
    served = port_status("stuck")["requests"]
    assert wait_until(lambda: port_status("stuck")["requests"] > served + 100, 5)
    bench.command("kill", "stuck", *RUNTIME)
    bench.finish(process)
    records = bench.audit(log)
    events = [r["event"] for r in records if r["type"] == "backend"]
    assert events[:3] == ["up", "hung", "up"], events
    assert TIMED_OUT in {r["status"] for r in records if r["type"] == "completion"}


@tap.test("a closed port has no backend process; an open one has it again")
def check_backend_close():
    log = new_log("closed.audit")
    process = bench.start(["--name", "shutter", "--audit", log, vm_file(loop(process=True)), "--",
                           "survive", "loop"])
    bench.wait_running("shutter", process)
    for _ in range(3):
        assert wait_until(lambda: port_status("shutter")["state"] == "open", 5)
        served = port_status("shutter")["requests"]
        assert wait_until(lambda served=served: port_status("shutter")["requests"] > served + 100,
                          5)
        assert order("shutter", "close", "loop").returncode == 0
        assert wait_until(lambda: not backends(process), 2)
        time.sleep(0.2)
        assert not backends(process), "restarted although its port is closed"
        assert order("shutter", "open", "loop").returncode == 0
        assert wait_until(lambda: len(backends(process)) == 1, 5)
    assert port_status("shutter")["restarts"] == 0
    bench.command("kill", "shutter", *RUNTIME)
    bench.finish(process)
    events = [r["event"] for r in bench.audit(log) if r["type"] == "backend"]
    assert events[:5] == ["up", "closed", "up", "closed", "up"], events


@tap.test("at probation only ports that are marked for it carry traffic")
def check_probation():
    process = bench.start(["--name", "marked", vm_file(loop(), loop(name="other", probation=True)),
                           "--", "survive", "other"])
    bench.wait_running("marked", process)
    assert bench.command("isolate", *RUNTIME, "marked", "probation").returncode == 0
    assert port_status("marked")["state"] == "shut"
    assert port_status("marked", "other")["state"] == "open"
    served = port_status("marked", "other")["requests"]
    assert wait_until(lambda: port_status("marked", "other")["requests"] > served + 100, 5)
    bench.command("kill", "marked", *RUNTIME)
    bench.finish(process)


@tap.test("no backend process outlives its run, however that ends")
def check_backend_orphans():
    for how in ("exit", "kill", "murder"):
        arguments = ["echo", "loop", "10", "64", "1", "1"] if how == "exit" else ["survive", "loop"]
        image = PORTS if how == "exit" else LIFE
        process = bench.start(["--name", f"orphan-{how}", vm_file(loop(process=True), image=image), "--",
                               *arguments])
        pids = []
        if how != "exit":
            bench.wait_running(f"orphan-{how}", process)
            pids = backends(process)
            assert pids
        if how == "kill":
            bench.command("kill", f"orphan-{how}", *RUNTIME)
        elif how == "murder":
            process.kill()
        bench.finish(process)
        for pid in pids:
            assert wait_until(lambda pid=pid: not process_exists(pid), 2), how
    for name in os.listdir(bench.runtime):  # what the murdered supervisor left
        os.unlink(os.path.join(bench.runtime, name))


@tap.test("a backend program that is missing fails the launch with its name")
def check_no_backend():
    folder = bench.path("alone")
    os.makedirs(folder, exist_ok=True)
    for name in ("guillotine", "guillotine-vmm", "guillotine-recorder", "guillotine-digest",
                 "guillotine-actuator"):
        shutil.copy(os.path.join(os.path.dirname(bench.guillotine), name), folder)
    done = subprocess.run([os.path.join(folder, "guillotine"), "run", *bench.directories(),
                           vm_file(loop(process=True)), "--", "survive", "loop"],
                          capture_output=True, timeout=20, check=False)
    assert done.returncode not in (0, 81), done
    one_line(done.stderr.decode(), "guillotine-backend")


@tap.test("messages: there and back, in order, of every size")
def check_messages():
    sizes = [0, 1, 7, 4096, 65535, 65536]
    process = bench.start(["--name", "mail", vm_file({"kind": "message", "name": "inbox"}, image=PORTS), "--",
                           "message-echo", "inbox", str(len(sizes) + 1)])
    bench.wait_running("mail", process)
    for size in sizes:
        data = (b"The quick brown fox. " * (size // 21 + 1))[:size]
        done = bench.command("message", "send", *RUNTIME, "mail", "inbox", input=data)
        assert done.returncode == 0, done
        done = bench.command("message", "receive", *RUNTIME, "mail", "inbox")
        assert done.returncode == 0 and done.stdout == data.upper(), (size, len(done.stdout))
    done = bench.command("message", "send", *RUNTIME, "mail", "inbox", input=b"x" * 65537)
    assert done.returncode == 1, done
    one_line(done.stderr.decode(), "max_reply_bytes")
    # The model ends right behind its last message: who waits for it gets it.
    waiting = subprocess.Popen([bench.guillotine, "message", "receive", *RUNTIME, "mail", "inbox"],
                               stdout=subprocess.PIPE)
    time.sleep(0.1)
    done = bench.command("message", "send", *RUNTIME, "--text", "end", "mail", "inbox")
    assert done.returncode == 0, done
    assert waiting.communicate(timeout=10)[0] == b"END"
    assert bench.finish(process).outcome == "exit:0"


@tap.test("messages that wait for the model come in order; the ring's end holds the sender back")
def check_message_queue():
    process = bench.start(["--name", "queue", vm_file({"kind": "message", "name": "inbox"},
                                                      {"kind": "console"}), "--", "deaf"],
                          stdin=subprocess.PIPE)
    bench.wait_running("queue", process)
    senders = [subprocess.Popen([bench.guillotine, "message", "send", *RUNTIME, "--text",
                                 "m" * 60000, "queue", "inbox"]) for _ in range(6)]
    time.sleep(0.5)
    waiting = sum(sender.poll() is None for sender in senders)
    # 256 KiB of ring hold four of them.
    assert waiting == 2, waiting
    bench.command("kill", "queue", *RUNTIME)
    bench.finish(process)
    for sender in senders:
        sender.wait(10)


@tap.test("ports: the table, JSON and metrics say the same")
def check_reports():
    process = bench.start(["--name", "report", vm_file(loop(), {"kind": "console"}), "--",
                           "survive", "loop"], stdin=subprocess.PIPE)
    bench.wait_running("report", process)
    assert wait_until(lambda: port_status("report")["requests"] > 100, 5)
    assert order("report", "close", "loop").returncode == 0
    status = port_status("report")
    table = bench.command("ports", *RUNTIME, "report").stdout.decode().splitlines()
    assert table[0].split()[:3] == ["PORT", "GRANTED", "STATE"], table
    row = next(line for line in table if line.startswith("loop "))
    assert row.split()[1:4] == ["echo,discard,generate", "closed", str(status["requests"])], row
    assert 0 < status["p50_ns"] <= status["p99_ns"], status
    metrics = bench.command("ports", *RUNTIME, "--prometheus", "report").stdout.decode()
    assert f'guillotine_port_requests_total{{vm="report",port="loop"}} {status["requests"]}\n' \
        in metrics, metrics
    assert 'guillotine_port_open{vm="report",port="loop"} 0\n' in metrics
    for line in metrics.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2, line
        if not line.startswith("#"):
            float(line.rsplit(" ", 1)[1])
    if shutil.which("curl"):
        done = subprocess.run(["curl", "-sS", "--unix-socket",
                               os.path.join(bench.runtime, "report.sock"),
                               "http://localhost/metrics"], capture_output=True, check=False,
                              timeout=10)
        assert done.returncode == 0 and done.stdout.startswith(b"# HELP guillotine_vm_level"), done
    bench.command("kill", "report", *RUNTIME)
    bench.finish(process)


@tap.test("the control socket survives nonsense")
def check_control():
    process = bench.start(["--name", "sturdy", vm_file(loop()), "--", "survive", "loop"])
    bench.wait_running("sturdy", process)
    path = os.path.join(bench.runtime, "sturdy.sock")
    head = '{"format":"guillotine-control/1",'
    for request in ("{}", "[]", "null", "x", '{"op":"status"}', head + '"op":"explode"}',
                    head + '"op":"status","op":"stop"}', head + '"op":"port-close"}',
                    head + '"op":"send","port":"loop","length_bytes":99999999}',
                    head + '"op":"send","port":"loop","length_bytes":3}\nabc',
                    head + '"op":"receive","port":"loop"}',
                    head + '"op":"status","length_bytes":4}', '\x00', '"\\u0000"'):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(path)
            client.sendall(request.encode() + b"\n")
            answer = client.makefile().readline()
            assert '"error"' in answer, (request, answer)
            json.loads(answer)
    with socket.socket(socket.AF_UNIX) as client:  # a line without an end
        client.settimeout(5)
        client.connect(path)
        try:
            client.sendall(b"x" * 5000)
            assert client.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert port_status("sturdy")["state"] == "open"
    bench.command("kill", "sturdy", *RUNTIME)
    bench.finish(process)


@tap.test("polled requests cost the poller no system call")
def check_system_calls():
    process = bench.start(["--name", "counted", vm_file(loop(mode="busy"), image=PORTS), "--",
                           "flood", "loop", "0", "64"])
    vmm = bench.wait_running("counted", process)["vmm_pid"]
    assert wait_until(lambda: port_status("counted")["requests"] > 1000, 5)
    calls, served = bench.poller_calls("counted", vmm, "loop", 300000)
    bench.command("kill", "counted", *RUNTIME)
    bench.finish(process)
    # Wake-ups: of the audit writer once in a millisecond, of the vCPU when it parked.
    assert set(calls) <= {"write", "futex"}, calls
    assert sum(calls.values()) < served / 50, (served, calls)
    print(f"# {served} requests, system calls of the poller: {calls}")


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
