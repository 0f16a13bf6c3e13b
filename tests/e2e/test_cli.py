#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`guillotine run` behaves as any program does: statuses, pipes, signals, names.

Usage: test_cli.py GUILLOTINE GUEST.elf...
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

from guest_test import Bench, Skip, Tap, one_line, process_exists, wait_until

MIB = 1 << 20

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
HONEST = ["--image", bench.guests["honest.elf"]]
HELLO = ["--image", bench.guests["hello.elf"]]
CONSOLE = ["--port", "console"]
HANG = ["--image", bench.guests["attack_hang.elf"], *CONSOLE]


@tap.test("exit statuses 0 to 63 are the model's own")
def check_statuses():
    for status in [*range(0, 64, 7), 1, 2, 62, 63]:
        ended = bench.run([*HONEST, "--", "exit", str(status)])
        assert ended.status == status, ended
        assert ended.result["exit_value"] == status and ended.result["status"] == status, ended
        assert ended.result["outcome"] == "exited", ended
        assert ended.stderr == "" and ended.stdout == b"", ended
    bench.check_nothing_left()


@tap.test("a model cannot forge a status above 63")
def check_cap():
    for value in (64, 65, 69, 70, 75, 77, 80, 81, 127, 128, 130, 137, 255, 256, 2**32 - 1):
        ended = bench.run([*HONEST, "--", "exit", hex(value)])
        assert ended.status == 63, ended
        assert ended.result["exit_value"] == value and ended.result["status"] == 63, ended
        assert ended.result["outcome"] == "exited", ended


@tap.test("--expect exit:N compares the true value")
def check_expect():
    assert bench.run([*HONEST, "--expect", "exit:300", "--", "exit", "300"]).status == 0
    assert bench.run([*HONEST, "--expect", "exit:63", "--", "exit", "300"]).status == 1
    assert bench.run([*HONEST, "--expect", "exit:5", "--", "exit", "5"]).status == 0


@tap.test("the result file")
def check_result():
    ended = bench.run([*HONEST, "--name", "result-test", "--", "exit", "3"])
    assert ended.result["format"] == "guillotine-result/1", ended
    assert ended.result["name"] == "result-test", ended
    assert ended.result["requests"] == ended.result["completions"] == 0, ended
    assert ended.result["anomalies"] == 0, ended


@tap.test("1 MiB through a pipe and back, byte for byte")
def check_echo():
    data = random.Random(1).randbytes(MIB)
    ended = bench.run([*HELLO, *CONSOLE], data=data)
    assert ended.status == 0, (ended.status, ended.stderr)
    greeting, _, echo = ended.stdout.partition(b"\n")
    assert greeting.startswith(b"hello from a cell: 1 vCPU(s)"), greeting
    assert len(echo) == MIB, f"{len(echo)} bytes come back"
    assert echo == data, "other bytes come back"
    assert ended.result["requests"] == ended.result["completions"], ended.result


@tap.test("a slow writer and a slow reader lose nothing")
def check_slow():
    process = bench.start([*HELLO, *CONSOLE], stdin=subprocess.PIPE)
    sent = b""
    for number in range(30):
        part = b"line %d\n" % number
        process.stdin.write(part)
        process.stdin.flush()
        sent += part
        time.sleep(0.005)
    process.stdin.close()
    process.stdin = None
    time.sleep(0.1)
    ended = bench.finish(process)
    assert ended.status == 0 and ended.stdout.partition(b"\n")[2] == sent, ended


@tap.test("the reader of standard output goes away: ends as by SIGPIPE")
def check_broken_pipe():
    read_end, write_end = os.pipe()
    process = bench.start([*HELLO, *CONSOLE], stdin=subprocess.PIPE, stdout=write_end)
    os.close(write_end)
    assert len(os.read(read_end, 10)) == 10
    os.close(read_end)
    try:
        process.stdin.write(b"y\n" * 100000)
        process.stdin.close()
    except BrokenPipeError:
        pass
    process.stdin = None
    ended = bench.finish(process)
    assert ended.status == 128 + signal.SIGPIPE, ended
    bench.check_nothing_left()


@tap.test("a model that reads nothing takes nothing from standard input")
def check_input_kept():
    read_end, write_end = os.pipe()
    os.write(write_end, b"for the next program")
    os.close(write_end)
    ended = bench.run([*HONEST, *CONSOLE, "--", "exit", "0"], stdin=read_end)
    assert ended.status == 0, ended
    assert os.read(read_end, 100) == b"for the next program"
    os.close(read_end)


@tap.test("the end of standard input reaches the model")
def check_input_end():
    for data in (b"", b"x" * 100000):
        ended = bench.run([*HONEST, *CONSOLE, "--", "swallow"], data=data)
        assert ended.outcome == "exit:0", ended


def run_without(descriptors):
    """Runs hello with some of descriptors 0, 1, 2 closed."""
    log = bench.path("closed.audit")
    for old in (log, log + ".checkpoint"):
        if os.path.exists(old):
            os.unlink(old)

    def close():
        for number in descriptors:
            os.close(number)

    # A close of 1 and 2 in the child does not touch the pipes that communicate() reads.
    ended = bench.run([*HELLO, *CONSOLE, "--audit", log, "--", "model-chose-this"],
                      preexec_fn=close)
    with open(log, "rb") as file:
        raw = file.read()
    assert b"model-chose-this" not in raw, "the model's bytes are in the audit log"
    records = bench.audit(log)
    assert records[0]["type"] == "start" and records[-2]["type"] == "end", records
    return ended


@tap.test("closed standard descriptors are not taken for something else")
def check_closed_descriptors():
    assert run_without([0]).status == 0
    ended = run_without([2])
    assert ended.status == 0 and b"model-chose-this" in ended.stdout, ended
    # Nobody can read the output: any end that says so is good, but only that.
    for closed in ([1], [0, 1], [1, 2], [0, 1, 2]):
        ended = run_without(closed)
        assert ended.status in (0, 1, 128 + signal.SIGPIPE), f"without {closed}: {ended}"
    bench.check_nothing_left()


@tap.test("no console is granted: not a byte of traffic")
def check_no_console():
    ended = bench.run([*HELLO, "--", "argument"], data=b"input")
    assert ended.status == 0 and ended.stdout == b"", ended
    assert ended.result["requests"] == 0, ended
    assert bench.run([*HONEST, "--", "ports"]).status == 0
    assert bench.run([*HONEST, *CONSOLE, "--", "ports"]).status == 1
    # A console of another name is one that the SDK's default does not find.
    assert bench.run([*HONEST, "--port", "console:other", "--", "write", "1", "0"]).status == 63


@tap.test("arguments: of the file, and of the command line instead")
def check_arguments():
    vm = bench.write_vm("arguments.json", image=bench.guests["honest.elf"],
                        arguments=["exit", "21"])
    assert bench.run([vm]).status == 21
    assert bench.run([vm, "--", "exit", "22"]).status == 22
    # Relative paths start at the file's folder.
    os.symlink(bench.guests["honest.elf"], bench.path("relative.elf"))
    vm = bench.write_vm("relative.json", image="relative.elf", arguments=["exit", "23"])
    assert bench.run([vm], cwd="/").status == 23


@tap.test("Ctrl-C and SIGTERM, also while the VM starts")
def check_signals():
    delays = random.Random(2)
    for number, wanted in enumerate([signal.SIGINT, signal.SIGTERM, signal.SIGHUP] * 6):
        process = bench.start([*HANG, "--vcpus", "2", "--", "spin-all"])
        time.sleep(delays.random() * 0.02)
        process.send_signal(wanted)
        ended = bench.finish(process, timeout=10)
        # Before the program runs, a signal has its usual effect.
        assert ended.status in (128 + wanted, -wanted), f"{number}: {wanted}: {ended}"
        if ended.status > 0:
            bench.check_nothing_left()


@tap.test("ps shows a VM, kill ends it and returns when it is gone")
def check_ps():
    process = bench.start([*HANG, "--name", "ps-test", "--", "spin"])
    try:
        status = bench.wait_running("ps-test", process)
        assert status["pid"] == process.pid and status["vcpus"] == 1, status
        assert status["level"] == "standard", status
        assert process_exists(status["vmm_pid"]), status
        assert [port["name"] for port in status["ports"]] == ["console"], status
        assert status["ports"][0]["state"] == "open", status
        table = bench.command("ps", "--runtime-dir", bench.runtime).stdout.decode()
        assert "ps-test" in table and str(process.pid) in table, table
        killed = bench.command("kill", "ps-test", "--runtime-dir", bench.runtime)
        assert killed.returncode == 0 and killed.stderr == b"", killed
        assert not process_exists(status["vmm_pid"]), "the VMM outlives kill"
    finally:
        if not wait_until(lambda: process.poll() is not None, 5):
            process.kill()
        ended = bench.finish(process)
    assert ended.status == 81 and ended.result["outcome"] == "stopped", ended
    bench.check_nothing_left()
    done = bench.command("ps", "--json", "--runtime-dir", bench.runtime)
    assert json.loads(done.stdout) == [], done


@tap.test("kill of nothing, and of names that are none", needs_kvm=False)
def check_kill_nothing():
    for name, status in (("nobody", 1), ("../x", 64), ("UPPER", 64), ("", 64), ("x" * 64, 64)):
        done = bench.command("kill", name, "--runtime-dir", bench.runtime)
        assert done.returncode == status, done
        one_line(done.stderr.decode())


@tap.test("a name is taken once")
def check_name():
    first = bench.start([*HANG, "--name", "taken", "--", "spin"])
    bench.wait_running("taken", first)
    # The default audit log is that name's too.
    second = bench.run([*HONEST, "--name", "taken", "--", "exit", "1"])
    assert second.status in (64, 75), second
    one_line(second.stderr, "taken")
    second = bench.run([*HONEST, "--name", "taken", "--audit", bench.path("second.audit"), "--",
                        "exit", "1"])
    assert second.status == 64, second
    one_line(second.stderr, "a VM named taken is running", "--name")
    # The first one does not notice, and keeps socket and lock.
    assert bench.wait_running("taken", first)["pid"] == first.pid
    first.send_signal(signal.SIGTERM)
    assert bench.finish(first).status == 143
    assert bench.run([*HONEST, "--name", "taken", "--", "exit", "5"]).status == 5
    bench.check_nothing_left()


@tap.test("a supervisor that is killed takes its VMM along; the next run cleans up")
def check_supervisor_killed():
    process = bench.start([*HANG, "--vcpus", "2", "--name", "orphan", "--", "spin-all"])
    vmm = bench.wait_running("orphan", process)["vmm_pid"]
    process.kill()
    process.communicate()
    assert wait_until(lambda: not process_exists(vmm), 5), "the VMM outlives its supervisor"
    assert "orphan.sock" in os.listdir(bench.runtime), os.listdir(bench.runtime)
    done = bench.command("ps", "--json", "--runtime-dir", bench.runtime)
    assert json.loads(done.stdout) == [], done
    done = bench.command("kill", "orphan", "--runtime-dir", bench.runtime)
    assert done.returncode == 1, done
    assert bench.run([*HONEST, "--name", "orphan", "--", "exit", "6"]).status == 6
    bench.check_nothing_left()


@tap.test("a supervisor that is killed while the VM starts takes its VMM along")
def check_supervisor_killed_early():
    delays = random.Random(3)
    for _ in range(15):
        process = bench.start([*HANG, "--name", "early", "--", "spin"])
        time.sleep(delays.random() * 0.015)
        process.kill()
        process.communicate()
        bench_names = os.listdir(bench.runtime)
        assert set(bench_names) <= {"early.sock", "early.lock"}, bench_names
    assert bench.run([*HONEST, "--name", "early", "--", "exit", "7"]).status == 7
    bench.check_nothing_left()


@tap.test("a VMM that is killed is status 81 and said so")
def check_vmm_killed():
    process = bench.start([*HANG, "--name", "beheaded", "--", "spin"])
    vmm = bench.wait_running("beheaded", process)["vmm_pid"]
    os.kill(vmm, signal.SIGKILL)
    ended = bench.finish(process, timeout=10)
    assert ended.status == 81, ended
    one_line(ended.stderr, "the VMM ended without a report")
    assert ended.result["outcome"] == "isolated" and ended.result["error"], ended
    bench.check_nothing_left()


@tap.test("a VMM that is stopped is killed when the operator wants it ended")
def check_vmm_frozen():
    process = bench.start([*HANG, "--name", "frozen", "--", "spin"])
    vmm = bench.wait_running("frozen", process)["vmm_pid"]
    os.kill(vmm, signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    ended = bench.finish(process, timeout=10)
    assert ended.status == 143 and ended.seconds < 8, ended
    assert not process_exists(vmm)
    bench.check_nothing_left()


@tap.test("two VMs at once")
def check_two():
    first = bench.start([*HANG, "--name", "one", "--", "park"])
    second = bench.start([*HANG, "--name", "two", "--", "park"])
    bench.wait_running("one", first)
    bench.wait_running("two", second)
    done = bench.command("ps", "--json", "--runtime-dir", bench.runtime)
    assert {status["name"] for status in json.loads(done.stdout)} == {"one", "two"}, done
    assert bench.command("kill", "one", "--runtime-dir", bench.runtime).returncode == 0
    assert bench.wait_running("two", second)["pid"] == second.pid
    assert bench.command("kill", "two", "--runtime-dir", bench.runtime).returncode == 0
    assert bench.finish(first).status == 81 and bench.finish(second).status == 81
    bench.check_nothing_left()


@tap.test("the symbol name of a violation is escaped")
def check_symbol():
    with open(bench.guests["honest.elf"], "rb") as file:
        data = file.read()
    assert b"\0trap_here\0" in data
    evil = bench.write("symbol.elf", data.replace(b"\0trap_here\0", b"\0\x1b]0;x\x07\xc2\x9b\n\0"))
    ended = bench.run(["--image", evil, "--", "trap"])
    assert ended.status == 80, ended
    one_line(ended.stderr, "invalid-opcode", "\\x1b]0;x\\x07\\xc2\\x9b\\x0a")


@tap.test("--require strict runs on this host or says in one line why not")
def check_require():
    ended = bench.run([*HONEST, "--require", "strict", "--", "exit", "9"])
    if ended.status == 77:
        one_line(ended.stderr, "--require strict")
    else:
        assert ended.status == 9 and ended.stderr == "", ended
    cpus = len(os.sched_getaffinity(0))
    if cpus < 16:
        ended = bench.run([*HONEST, "--require", "basic", "--vcpus", "16", "--", "exit", "9"])
        assert ended.status == 77, ended
        one_line(ended.stderr, "--require", f"{cpus} are usable")
    bench.check_nothing_left()


@tap.test("16 vCPUs on fewer cores")
def check_many_vcpus():
    ended = bench.run([*HONEST, "--vcpus", "16", "--", "exit", "11"])
    assert ended.status == 11, ended


@tap.test("the locked-down VMM: no descriptor of the caller, no capability, empty root, filters")
def check_lock_down():
    if os.geteuid() != 0:
        raise Skip("needs root to look into the VMM")
    secret = os.open("/etc/passwd", os.O_RDONLY)
    folder = os.open("/", os.O_RDONLY)
    os.set_inheritable(secret, True)
    os.set_inheritable(folder, True)
    process = bench.start([*HANG, "--name", "locked", "--", "park"], close_fds=False)
    os.close(secret)
    os.close(folder)
    vmm = bench.wait_running("locked", process)["vmm_pid"]

    def locked():
        with open(f"/proc/{vmm}/status", encoding="utf-8") as file:
            return "Seccomp:\t2" in file.read()
    assert wait_until(locked, 5)
    for task in os.listdir(f"/proc/{vmm}/task"):
        with open(f"/proc/{vmm}/task/{task}/status", encoding="utf-8") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        if status["Name"].startswith("kvm"):
            continue  # a worker of the kernel
        for key in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"):
            assert int(status[key], 16) == 0, (key, status[key])
        assert status["Uid"].split() == ["65534"] * 4, status["Uid"]
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
        assert os.listdir(f"/proc/{vmm}/task/{task}/root/") == [], "the root is not empty"
    for fd in os.listdir(f"/proc/{vmm}/fd"):
        target = os.readlink(f"/proc/{vmm}/fd/{fd}")
        allowed = ("socket:", "anon_inode:[eventfd]", "anon_inode:kvm-vcpu:", "/dev/null")
        assert target.startswith(allowed), f"descriptor {fd} is {target}"
    process.send_signal(signal.SIGTERM)
    assert bench.finish(process).status == 143


@tap.test("bench launch prints one JSON object with the published metrics")
def check_bench():
    done = bench.command("bench", "launch", "--json")
    assert done.returncode == 0, done
    result = json.loads(done.stdout)
    names = {metric["name"] for metric in result["metrics"]}
    assert result["bench"] == "launch" and {"launch_p50_ms", "launch_p99_ms"} <= names, result


@tap.test("help, version, and commands that are none", needs_kvm=False)
def check_help():
    for arguments in (["--help"], ["run", "--help"], ["ps", "--help"], ["kill", "--help"],
                      ["audit", "--help"], ["--version"]):
        done = bench.command(*arguments)
        assert done.returncode == 0 and done.stdout and not done.stderr, done
    version = json.loads(bench.command("--version", "--json").stdout)
    assert version["name"] == "guillotine" and "guillotine-vm/1" in version["formats"], version
    for arguments in (["nonsense"], ["run", "--nonsense"], ["run"], ["run", "--image"],
                      ["ps", "--nonsense"], ["kill"], ["audit", "nonsense"], ["audit", "cat"],
                      ["run", "a.json", "b.json"]):
        done = bench.command(*arguments)
        assert done.returncode == 64, done
        one_line(done.stderr.decode())


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
