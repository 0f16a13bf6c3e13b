#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever dies, hangs or is stopped: the model is Offline, by the side that is still alive.

Real processes and real cells that speak. Single threads of the VMM are stopped by tracing them,
which the others do not notice.

Usage: test_failsafe.py GUILLOTINE GUEST.elf... fallen_vmm
"""

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from guest_test import Bench, Skip, Tap, one_line, process_exists, wait_until

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_GETREGS = 12
PTRACE_SETREGS = 13
PTRACE_DETACH = 17
WALL = 0x40000000
REGISTERS = ctypes.c_uint64 * 27  # struct user_regs_struct
RSP = 19
OFFLINE = 3
CAUSE_SIGNAL = 0x100

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
RUNTIME = ["--runtime-dir", bench.runtime]
SPEAK = ["--image", bench.guests["attack_supervisor.elf"], "--port", "console"]
FATAL = [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE,
         signal.SIGKILL]


class Cell:
    """A run whose model says something all the time, and what it said so far."""

    def __init__(self, name, *options, arguments=(*SPEAK, "--", "spew"), **keys):
        self.log = bench.path(f"{name}-{bench.runs}.audit")
        self.name = name
        self.bytes = 0
        self.process = bench.start(["--name", name, "--audit", self.log, *options, *arguments],
                                   **keys)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self.read)
        self.output = os.dup(self.process.stdout.fileno())
        self.reader.start()
        self.vmm = bench.wait_running(name, self.process)["vmm_pid"]
        assert "--port" not in arguments or wait_until(lambda: self.bytes > 0, 10), "it is silent"

    def read(self):
        while data := os.read(self.output, 65536):
            self.bytes += len(data)
        os.close(self.output)

    def wait_quiet(self):
        """Waits until what is on its way has arrived; the supervisor is stopped."""
        before = -1
        while before != self.bytes:
            before = self.bytes
            time.sleep(0.1)
        return before

    def end(self):
        """How the run ended; nothing of it is left."""
        self.process.wait(20)
        self.reader.join(20)
        ended = bench.finish(self.process)
        assert wait_until(lambda: not process_exists(self.vmm), 5), "the VMM is left"
        return ended

    def records(self, kind):
        return [record for record in bench.audit(self.log) if record["type"] == kind]

    def expect_offline(self, lost=None, text=""):
        """The run ended isolated, and the log says so."""
        ended = self.end()
        assert ended.status == 81 and ended.result["outcome"] == "isolated", ended
        assert text in ended.result["error"], ended
        one_line(ended.stderr, "guillotine: ")
        assert self.records("level")[-1]["level"] == "offline", self.records("level")
        found = [record["lost"] for record in self.records("heartbeat")]
        assert found == ([lost] if lost else []), found
        bench.check_nothing_left()
        return ended


class LevelPage:
    """A view of one of the run's level pages, which outlives its writer."""

    def __init__(self, supervisor, name):
        folder = f"/proc/{supervisor}/fd"
        wanted = f"/memfd:{name} (deleted)"
        number = next(fd for fd in os.listdir(folder)
                      if os.readlink(os.path.join(folder, fd)) == wanted)
        with open(os.path.join(folder, number), "rb") as file:
            self.view = mmap.mmap(file.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ)

    def expect(self, number):
        """The writer went Offline because of a signal."""
        level, _, _, *_, cause = struct.unpack_from("<IIQ4II", self.view)
        assert level == OFFLINE, f"level {level}"
        assert cause == CAUSE_SIGNAL + number, f"cause {cause:#x}"


def thread_of(pid, name):
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as file:
            if file.read().strip() == name:
                return int(thread)
    raise AssertionError(f"no thread {name}")


@contextlib.contextmanager
def stopped_thread(thread):
    """Stops one thread of a process, until the process is killed."""
    seize(thread)
    reaped = []

    def reap():
        # Who traces a thread hears of its death before anybody else does.
        with contextlib.suppress(ChildProcessError):
            while not (os.WIFEXITED(status := os.waitpid(thread, WALL)[1]) or
                       os.WIFSIGNALED(status)):
                pass
        reaped.append(thread)

    reaper = threading.Thread(target=reap)
    reaper.start()
    yield
    reaper.join(20)
    assert reaped, "the thread outlived the run"


def seize(thread):
    """Stops one thread by tracing it."""
    if os.geteuid() != 0:
        raise Skip("needs root to trace the VMM")
    if libc.ptrace(PTRACE_SEIZE, thread, None, None) < 0:
        raise Skip(f"cannot trace: {os.strerror(ctypes.get_errno())}")
    assert libc.ptrace(PTRACE_INTERRUPT, thread, None, None) == 0
    os.waitpid(thread, WALL)


def exhaust_stack(pid, thread):
    """Puts a thread's stack pointer to the end of its stack, where no signal frame has room."""
    registers = REGISTERS()
    seize(thread)
    assert libc.ptrace(PTRACE_GETREGS, thread, None, ctypes.byref(registers)) == 0
    with open(f"/proc/{pid}/maps", encoding="ascii") as file:
        for line in file:
            low, high = (int(part, 16) for part in line.split()[0].split("-"))
            if low <= registers[RSP] < high:
                registers[RSP] = low + 8
                break
        else:
            raise AssertionError("no stack")
    # Pages of a main thread's stack below what it used appear when they are touched: go below
    # what the kernel lets it grow to.
    if "[stack]" in line:
        registers[RSP] = high - (64 << 20)
    assert libc.ptrace(PTRACE_SETREGS, thread, None, ctypes.byref(registers)) == 0
    assert libc.ptrace(PTRACE_DETACH, thread, None, None) == 0


def add_vmm_signal(number):
    @tap.test(f"the VMM gets {number.name}: Offline")
    def check():
        cell = Cell("vmm-signal")
        page = LevelPage(cell.pid, "guillotine-level-vmm")
        os.kill(cell.vmm, number)
        if number != signal.SIGKILL:
            assert wait_until(lambda: not process_exists(cell.vmm), 5)
            page.expect(number)
        text = "fatal signal" if number != signal.SIGKILL else "ended without a report"
        cell.expect_offline(text=text)


def add_supervisor_signal(number):
    @tap.test(f"the supervisor gets {number.name}: the guest is gone, nobody speaks")
    def check():
        cell = Cell("signal")
        page = LevelPage(cell.pid, "guillotine-level")
        os.kill(cell.pid, number)
        ended = cell.end()
        assert ended.status == -number, ended
        assert ended.result is None, ended
        if number != signal.SIGKILL:
            page.expect(number)
        # Nobody was there to say so; the lock and the socket of a dead supervisor do no harm.
        again = Cell("signal")
        bench.command("kill", *RUNTIME, "signal")
        assert again.end().status == 81


for each in FATAL:
    add_vmm_signal(each)
    add_supervisor_signal(each)


def add_exhausted_stack(name):
    @tap.test(f"the stack of the VMM's {name} thread is exhausted: Offline")
    def check():
        cell = Cell("stack")
        page = LevelPage(cell.pid, "guillotine-level-vmm")
        exhaust_stack(cell.vmm, cell.vmm if name == "control" else thread_of(cell.vmm, name))
        cell.expect_offline(text="fatal signal")
        page.expect(signal.SIGSEGV)


for each in ("control", "poller", "watchdog"):
    add_exhausted_stack(each)


@tap.test("the supervisor's stack is exhausted: Offline")
def check_exhausted_supervisor():
    cell = Cell("stack")
    page = LevelPage(cell.pid, "guillotine-level")
    exhaust_stack(cell.pid, cell.pid)
    assert cell.end().status == -signal.SIGSEGV
    page.expect(signal.SIGSEGV)
    for name in os.listdir(bench.runtime):
        os.unlink(os.path.join(bench.runtime, name))


@tap.test("the VMM is stopped: the supervisor misses its heartbeats")
def check_vmm_stopped():
    cell = Cell("stopped")
    os.kill(cell.vmm, signal.SIGSTOP)
    cell.expect_offline("vmm", "missed its heartbeats")


@tap.test("the supervisor is stopped: the VMM ends by itself, and nothing more is said")
def check_supervisor_stopped():
    cell = Cell("stopped")
    os.kill(cell.pid, signal.SIGSTOP)
    assert wait_until(lambda: not process_exists(cell.vmm), 10), "the VMM goes on"
    said = cell.wait_quiet()
    os.kill(cell.pid, signal.SIGCONT)
    cell.expect_offline("supervisor")
    assert cell.bytes == said, f"{cell.bytes - said} bytes came out after the gate"


@tap.test("both are stopped and go on: both find that they are late")
def check_both_stopped():
    cell = Cell("stopped")
    os.kill(cell.pid, signal.SIGSTOP)
    os.kill(cell.vmm, signal.SIGSTOP)
    said = cell.wait_quiet()
    time.sleep(2)
    assert process_exists(cell.vmm)
    os.kill(cell.vmm, signal.SIGCONT)
    assert wait_until(lambda: not process_exists(cell.vmm), 10), "the VMM goes on"
    os.kill(cell.pid, signal.SIGCONT)
    cell.expect_offline("supervisor")
    assert cell.bytes == said, f"{cell.bytes - said} bytes came out after the gate"


@tap.test("a moment's stop of either is no loss")
def check_short_stop():
    cell = Cell("moment", arguments=[bench.write_vm(
        "moment.json", image=bench.guests["attack_supervisor.elf"], arguments=["spew"],
        ports=[{"kind": "console"}], heartbeat={"period_ms": 4000})])
    for pid in (cell.vmm, cell.pid) * 2:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
    assert process_exists(cell.vmm)
    bench.command("kill", *RUNTIME, "moment")
    assert cell.end().status == 81
    assert not cell.records("heartbeat")


def add_stuck_thread(name, lost):
    @tap.test(f"the VMM's {name} thread is stuck: Offline")
    def check():
        cell = Cell("stuck")
        thread = cell.vmm if name == "control" else thread_of(cell.vmm, name)
        with stopped_thread(thread):
            cell.expect_offline(lost)

    if name == "watchdog":
        return

    @tap.test(f"the VMM's {name} thread is stuck and the supervisor stopped: the watchdog kills")
    def check_alone():
        cell = Cell("stuck")
        thread = cell.vmm if name == "control" else thread_of(cell.vmm, name)
        os.kill(cell.pid, signal.SIGSTOP)
        with stopped_thread(thread):
            assert wait_until(lambda: not process_exists(cell.vmm), 10), "the VMM goes on"
            said = cell.wait_quiet()
            os.kill(cell.pid, signal.SIGCONT)
            cell.expect_offline("supervisor")
            assert cell.bytes == said, f"{cell.bytes - said} bytes came out after the gate"


for each in ("control", "poller", "watchdog"):
    add_stuck_thread(each, "vmm")


@tap.test("a vCPU that never leaves its thread's last system call does not delay the watchdog")
def check_stuck_vcpu():
    cell = Cell("stuck")
    os.kill(cell.pid, signal.SIGSTOP)
    with stopped_thread(thread_of(cell.vmm, "vcpu")):
        assert wait_until(lambda: not process_exists(cell.vmm), 10), "the VMM goes on"
        os.kill(cell.pid, signal.SIGCONT)
        cell.expect_offline("supervisor")


def add_beat_lie(mode, lost, text):
    @tap.test(f"a fallen VMM: {mode}: Offline")
    def check():
        log = bench.path(f"{mode}.audit")
        done = subprocess.run([bench.fallen_program(), "run", *bench.directories(), "--audit", log,
                               *SPEAK, "--", mode], capture_output=True, timeout=30, check=False,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 81 and done.stdout == b"", done
        one_line(done.stderr.decode(), text)
        records = bench.audit(log)
        assert [r["level"] for r in records if r["type"] == "level"] == ["offline"], records
        assert [r["lost"] for r in records if r["type"] == "heartbeat"] == lost, records


add_beat_lie("beat-none", ["vmm"], "watchdog missed")
add_beat_lie("beat-page", ["vmm"], "control thread missed")
add_beat_lie("beat-socket", ["vmm"], "watchdog missed")
add_beat_lie("beat-number", [], "not asked for")
add_beat_lie("beat-unasked", [], "not asked for")


@tap.test("a VMM that gives both signs of life is left alone")
def check_honest_beats():
    done = subprocess.run([bench.fallen_program(), "run", *bench.directories(), *SPEAK, "--",
                           "beat-both"], capture_output=True, timeout=30, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 7, done


BACKEND = {"image": bench.guests["port_life.elf"], "arguments": ["survive", "loop"]}


def add_backend_signal(number, event):
    @tap.test(f"a backend process gets {number.name}: its port is down, the VM goes on")
    def check():
        cell = Cell("backend", arguments=[bench.write_vm(
            "backend.json", **BACKEND,
            ports=[{"kind": "loopback", "name": "loop", "process": True, "timeout_ms": 300,
                    "restart": {"max": 0}, "limits": {"requests_per_s": 100}}])])
        pids = subprocess.run(["pgrep", "-P", str(cell.pid), "guillotine-back"], check=True,
                              capture_output=True).stdout.split()
        os.kill(int(pids[0]), number)
        assert wait_until(lambda: event in [r["event"] for r in cell.records("backend")], 10)
        assert wait_until(lambda: not process_exists(int(pids[0])), 5)
        assert process_exists(cell.vmm)
        bench.command("kill", *RUNTIME, "backend")
        assert cell.end().status == 81
        assert not cell.records("heartbeat")


for each in FATAL:
    add_backend_signal(each, "died")
add_backend_signal(signal.SIGSTOP, "hung")


@tap.test("guests that flood doorbells and ports on a loaded machine provoke no loss")
def check_no_false_loss():
    storms = [("hang", "unpark", ["--port", "console"]),
              ("hang", "flood", ["--port", "console"]),
              ("hang", "ring", ["--port", "console"]),
              ("supervisor", "spew", ["--port", "console"])]
    load = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(10)]
    try:
        for guest, act, options in storms:
            cell = Cell("storm", *options, arguments=[
                "--image", bench.guests[f"attack_{guest}.elf"], "--", act])
            time.sleep(5)
            assert cell.process.poll() is None, f"{act}: {cell.end()}"
            bench.command("kill", *RUNTIME, "storm")
            ended = cell.end()
            assert ended.status == 81 and ended.result["outcome"] == "stopped", f"{act}: {ended}"
            assert not cell.records("heartbeat"), act
    finally:
        for process in load:
            process.kill()
            process.wait()


@tap.test("a VM that does nothing, and one that may do nothing, beat for many periods")
def check_idle():
    for level in (None, "severed"):
        cell = Cell("idle", arguments=[bench.write_vm(
            "idle.json", image=bench.guests["attack_hang.elf"], arguments=["park"],
            ports=[{"kind": "console", "mode": "doorbell" if level else "adaptive"}],
            heartbeat={"period_ms": 400})])
        if level:
            assert bench.command("isolate", *RUNTIME, "idle", level).returncode == 0
        time.sleep(4)
        assert cell.process.poll() is None, cell.end()
        bench.command("kill", *RUNTIME, "idle")
        assert cell.end().status == 81
        assert not cell.records("heartbeat")


@tap.test("an operator who never gives a sign of life: Offline")
def check_operator():
    cell = Cell("operator", arguments=[bench.write_vm(
        "operator.json", image=bench.guests["attack_supervisor.elf"], arguments=["spew"],
        ports=[{"kind": "console"}], heartbeat={"operator_period_ms": 1000})])
    cell.expect_offline("operator", "operator's heartbeats")


@tap.test("an uncorrected memory error of the host: Offline")
def check_machine():
    folder = bench.path("sys/devices/system/edac/mc/mc0")
    os.makedirs(folder)
    count = os.path.join(folder, "ue_count")
    with open(count, "w", encoding="ascii") as file:
        file.write("1\n")
    cell = Cell("machine", "--sysfs", bench.path("sys"))
    time.sleep(1.5)
    assert cell.process.poll() is None, "an old error is none"
    with open(count, "w", encoding="ascii") as file:
        file.write("2\n")
    cell.expect_offline("machine", "uncorrected error")


@tap.test("restarting the host takes --allow-host-cut")
def check_host_cut():
    vm = bench.write_vm("reboot.json", image=bench.guests["attack_supervisor.elf"],
                        on_failure="reboot")
    ended = bench.run([vm])
    assert ended.status == 64, ended
    one_line(ended.stderr, "--allow-host-cut")
    bench.check_nothing_left()


@tap.test("systemd hears that the VM runs, that we live, and that we end")
def check_service():
    path = bench.path("notify.sock")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(10)
    environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"}
    cell = Cell("service", env=environment)
    words = []
    while words.count("WATCHDOG=1") < 5 or not any("READY=1" in word for word in words):
        words.append(manager.recv(1024).decode())
    os.kill(cell.pid, signal.SIGSTOP)
    time.sleep(0.1)
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            manager.recv(1024)
    time.sleep(0.6)
    with contextlib.suppress(BlockingIOError):
        raise AssertionError(f"a stopped supervisor says {manager.recv(1024)}")
    manager.settimeout(10)
    assert wait_until(lambda: not process_exists(cell.vmm), 10)
    os.kill(cell.pid, signal.SIGCONT)
    cell.expect_offline("supervisor")
    words = []
    while "STOPPING=1" not in words:
        words.append(manager.recv(1024).decode())
    assert any(word.startswith("STATUS=offline: ") for word in words), words


@tap.test("a watchdog of the hardware is stopped by an orderly end, and only by that")
def check_watchdog_device():
    path = bench.path("watchdog")
    os.mkfifo(path)
    device = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    for number, last in ((signal.SIGINT, b"V"), (signal.SIGKILL, b"1")):
        cell = Cell("device", "--watchdog-device", path)
        time.sleep(2)
        os.kill(cell.pid, number)
        cell.end()
        written = os.read(device, 4096)
        assert written.startswith(b"11") and written.endswith(last), written
        assert written.count(b"V") == (last == b"V"), written
    os.close(device)
    for name in os.listdir(bench.runtime):
        os.unlink(os.path.join(bench.runtime, name))  # of the one that was killed


@tap.test("a launch without memory fails and leaves nothing")
def check_no_memory():
    for limit in (20, 40, 100):
        ended = bench.run([*SPEAK, "--", "spew"], prefix=["prlimit", f"--as={limit << 20}"],
                          timeout=20)
        assert ended.status in (69, 70, 75), f"{limit} MiB: {ended}"
        assert ended.stdout == b"", ended
        bench.check_nothing_left()


@contextlib.contextmanager
def memory_group(limit):
    """A control group with a limit of memory, of either version; gives its file of processes."""
    base = "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"
    folder = os.path.join(base, f"guillotine-test-{os.getpid()}")
    try:
        os.mkdir(folder)
    except OSError as error:
        raise Skip(f"cannot make a control group: {error}") from error
    try:
        for name in ("memory.max", "memory.limit_in_bytes"):
            if os.path.exists(os.path.join(folder, name)):
                with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                    file.write(str(limit))
                break
        else:
            raise Skip("control groups do not limit memory")
        swap = os.path.join(folder, "memory.swap.max")
        if os.path.exists(swap):
            with open(swap, "w", encoding="ascii") as file:
                file.write("0")
        yield os.path.join(folder, "cgroup.procs")
    finally:
        wait_until(lambda: not open(os.path.join(folder, "cgroup.procs")).read(), 5)
        os.rmdir(folder)


@tap.test("the kernel kills for memory while the model runs: Offline")
def check_out_of_memory():
    if os.geteuid() != 0:
        raise Skip("needs root for a control group")
    with memory_group(48 << 20) as procs:
        log = bench.path("oom.audit")
        ended = bench.run(["--audit", log, *SPEAK, "--", "grow"],
                          prefix=["sh", "-c", f'echo $$ > {procs} && exec "$@"', "sh"])
        assert b"grown" not in ended.stdout, "there was memory enough"
        assert ended.status == 81 and ended.result["outcome"] == "isolated", ended
        levels = [r["level"] for r in bench.audit(log) if r["type"] == "level"]
        assert levels == ["offline"], levels
    bench.check_nothing_left()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
