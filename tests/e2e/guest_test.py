# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: TAP output, runs with time-outs, leftovers."""

import ctypes
import fcntl
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

# Tests run beside each other on machines with few cores. Tests of placement say otherwise.
os.environ["GUILLOTINE_PLACEMENT"] = "shared"

KVM_GET_API_VERSION = 0xAE00
PR_SET_CHILD_SUBREAPER = 36
# How many times slower than usual this machine is: emulated ones say so. Limits of time that are
# there to find what hangs are multiplied by it; what a test says about time is not.
SLOWNESS = float(os.environ.get("GUILLOTINE_TEST_SLOWNESS", "1"))
TIMEOUT_S = 60 * SLOWNESS
# An emulated machine may stand still for a second, which ends a VM as it should. Such a run says
# nothing about what it was for: it is repeated there, this often at most.
STALLED_TRIES = 3 if SLOWNESS > 1 else 1
STALLED = "did not get to run, for longer than a heartbeat"


class Skip(Exception):
    """Raised by a test that this machine cannot run."""


class Tap:
    """A list of tests, run in order, printed as TAP."""

    def __init__(self, after=lambda: None):
        self.tests = []
        self.after = after  # called after each test that failed

    def add(self, name, function, needs_kvm=True):
        self.tests.append((name, function, needs_kvm))

    def test(self, name, needs_kvm=True):
        def register(function):
            self.add(name, function, needs_kvm)
            return function

        return register

    def run(self):
        """Runs all tests; True if none failed."""
        missing = kvm_missing()
        if missing:
            print(f"# WARNING: most tests are skipped: {missing}", flush=True)
        print(f"1..{len(self.tests)}", flush=True)
        failed = 0
        for number, (name, function, needs_kvm) in enumerate(self.tests, 1):
            try:
                if needs_kvm and missing:
                    raise Skip(missing)
                function()
                print(f"ok {number} - {name}", flush=True)
            except Skip as reason:
                print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            except Exception:
                failed += 1
                print(f"not ok {number} - {name}")
                for line in traceback.format_exc().splitlines():
                    print(f"#   {line}")
                sys.stdout.flush()
                self.after()
        return not failed


def kvm_missing():
    """Why KVM cannot be used here, or None."""
    try:
        with open("/dev/kvm", "rb+", buffering=0) as device:
            if fcntl.ioctl(device, KVM_GET_API_VERSION) != 12:
                return "/dev/kvm is not of API version 12"
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return None


class Ended:
    """How a run ended."""

    def __init__(self, status, stdout, stderr, result, seconds):
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.result = result
        self.seconds = seconds

    @property
    def outcome(self):
        """The end as `run --expect` writes it."""
        if not self.result:
            return f"status:{self.status}"
        if "violation" in self.result:
            return "violation:" + self.result["violation"]["kind"]
        if self.result["outcome"] == "exited":
            return f"exit:{self.result['exit_value']}"
        return self.result["outcome"]

    @property
    def stalled(self):
        """Did the fail-safe end it because the whole machine stood still?"""
        return bool(self.result) and STALLED in self.result.get("error", "")

    def __str__(self):
        return (f"{self.outcome}, status {self.status}, {self.seconds:.2f} s, "
                f"result {self.result}, stderr {self.stderr[-500:]!r}, "
                f"stdout {self.stdout[:200]!r}")


class Bench:
    """The program under test with directories of its own."""

    def __init__(self, guillotine, guests):
        self.guillotine = os.path.abspath(guillotine)
        self.guests = {os.path.basename(path): os.path.abspath(path) for path in guests}
        self.folder = tempfile.mkdtemp(prefix="guillotine-test-")
        os.chmod(self.folder, 0o755)
        self.runtime = self.path("run")
        os.mkdir(self.runtime, 0o700)
        self.states = 0
        self.state = self.fresh_state()
        self.runs = 0
        self.processes = []
        # Orphans become children of this process, so that leftovers are found without doubt.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def clean(self):
        """Ends what a failed test left, so that the next one starts from nothing."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
        for pid in children_named("guillotine-vmm"):
            os.kill(pid, signal.SIGKILL)
        for name in os.listdir(self.runtime):
            if not name.startswith("host-probe-"):
                os.unlink(os.path.join(self.runtime, name))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        path = self.path(name)
        if isinstance(content, str):
            content = content.encode()
        with open(path, "wb") as file:
            file.write(content)
        return path

    def write_vm(self, name, /, **keys):
        """Writes a VM file."""
        return self.write(name, json.dumps({"format": "guillotine-vm/1", **keys}))

    def fresh_state(self):
        """A state directory that knows no VM: what violates one test's level is not the next's."""
        self.states += 1
        path = self.path(f"state-{self.states}")
        os.mkdir(path, 0o700)
        return path

    def directories(self):
        """Options for a run with a state directory of its own, which is self.state afterwards."""
        self.state = self.fresh_state()
        return ["--runtime-dir", self.runtime, "--state-dir", self.state]

    def start(self, arguments, prefix=(), **keys):
        """Starts `guillotine run` and returns the process; its result file is in .result_path.

        `prefix` is a command that starts the command it is given.
        """
        self.runs += 1
        directories = keys.pop("directories", None) or self.directories()
        result = self.path(f"result-{self.runs}.json")
        command = [*prefix, self.guillotine, "run", *directories, "--result", result, *arguments]
        keys.setdefault("stdin", subprocess.DEVNULL)
        keys.setdefault("stdout", subprocess.PIPE)
        keys.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(command, **keys)
        process.result_path = result
        process.started = time.monotonic()
        self.processes = [other for other in self.processes if other.poll() is None] + [process]
        return process

    def finish(self, process, data=None, timeout=TIMEOUT_S):
        """Waits for a started run."""
        try:
            stdout, stderr = process.communicate(data, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"the run did not end within {timeout} s")
        seconds = time.monotonic() - process.started
        result = None
        if os.path.exists(process.result_path):
            with open(process.result_path, encoding="utf-8") as file:
                result = json.load(file)
            os.unlink(process.result_path)
        return Ended(process.returncode, stdout or b"", (stderr or b"").decode(errors="replace"),
                     result, seconds)

    def run(self, arguments, data=None, timeout=TIMEOUT_S, **keys):
        """Runs to the end."""
        if data is not None:
            keys["stdin"] = subprocess.PIPE
        fresh = [log for option, log in zip(arguments, arguments[1:])
                 if option == "--audit" and not os.path.exists(log)]
        for attempt in range(STALLED_TRIES):
            if attempt:
                print("# the machine stood still: once more", flush=True)
                for path in [path for log in fresh for path in glob.glob(log + "*")]:
                    os.unlink(path)
            ended = self.finish(self.start(arguments, **keys), data, timeout)
            if not ended.stalled:
                break
        return ended

    def fallen_program(self):
        """A guillotine whose VMM has fallen: it starts the one that lies beside it."""
        folder = self.path("fallen")
        program = os.path.join(folder, "guillotine")
        if not os.path.exists(program):
            os.makedirs(folder, exist_ok=True)
            shutil.copy(self.guillotine, program)
            shutil.copy(self.guests["fallen_vmm"], os.path.join(folder, "guillotine-vmm"))
            for name in ("backend", "actuator", "digest", "recorder"):
                shutil.copy(os.path.join(os.path.dirname(self.guillotine), f"guillotine-{name}"),
                            folder)
        return program

    def command(self, *arguments, **keys):
        """Runs another guillotine command."""
        return subprocess.run([self.guillotine, *arguments], capture_output=True,
                              timeout=TIMEOUT_S, check=False, **keys)

    def audit(self, path):
        """The records of an audit log."""
        done = self.command("audit", "cat", "--json", path)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def story(self, path):
        """Its records without those about the launch and the end of every run."""
        return [record for record in self.audit(path)
                if record["type"] not in ("state", "measure", "forensic", "actuator")]

    def wait_running(self, name, process=None):
        """Waits until `ps` shows a VM, with a port, that entered its guest. Returns its status."""
        deadline = time.monotonic() + 10 * SLOWNESS
        while time.monotonic() < deadline:
            done = self.command("ps", "--json", "--runtime-dir", self.runtime)
            assert done.returncode == 0, done.stderr
            for status in json.loads(done.stdout):
                if status["name"] == name and status["ports"]:
                    return status
            if process and process.poll() is not None:
                raise AssertionError(f"the run ended early: {self.finish(process)}")
            time.sleep(0.005)
        raise AssertionError(f"{name} does not run")

    def port_status(self, vm, port):
        """What `guillotine ports` says of one port."""
        done = self.command("ports", "--runtime-dir", self.runtime, "--json", vm)
        assert done.returncode == 0, done.stderr
        return next(row for row in json.loads(done.stdout)["ports"] if row["name"] == port)

    def poller_calls(self, vm, vmm, port, requests):
        """Counts the system calls of a VM's only poller while a port serves some requests.

        Returns the calls by name, and the requests that were served.
        """
        if not shutil.which("strace") or os.geteuid() != 0:
            raise Skip("needs strace, as root")
        threads = []
        for thread in os.listdir(f"/proc/{vmm}/task"):
            with open(f"/proc/{vmm}/task/{thread}/comm", encoding="utf-8") as file:
                if file.read().strip() == "poller":
                    threads.append(thread)
        assert len(threads) == 1, threads
        summary = self.path("strace")
        before = self.port_status(vm, port)["requests"]
        with subprocess.Popen(["strace", "-c", "-o", summary, "-p", threads[0]],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
            reached = wait_until(
                lambda: self.port_status(vm, port)["requests"] > before + requests, 30)
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)
        assert reached
        served = self.port_status(vm, port)["requests"] - before
        with open(summary, encoding="utf-8") as file:
            rows = [line.split() for line in file]
        return {row[-1]: int(row[3]) for row in rows
                if row and row[0].replace(".", "").isdigit() and row[-1] != "total"}, served

    def check_nothing_left(self):
        """No process, no socket, no lock, no shared memory."""
        vmms = wait_until(lambda: not children_named("guillotine-vmm"), 2)
        assert vmms, f"a VMM is left: {children_named('guillotine-vmm')}"
        # Results of probe cells are kept until the next boot.
        left = [name for name in os.listdir(self.runtime) if not name.startswith("host-probe-")]
        assert not left, f"left in the runtime directory: {left}"
        shared = [name for name in os.listdir("/dev/shm") if "guillotine" in name]
        assert not shared, f"left in /dev/shm: {shared}"


def children_named(name):
    """Children of this process, orphans included, with this command name; reaps dead ones."""
    found = []
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                text = file.read()
        except OSError:
            continue
        comm = text[text.index("(") + 1:text.rindex(")")]
        state, parent = text[text.rindex(")") + 2:].split()[:2]
        if comm != name or int(parent) != os.getpid():
            continue
        if state == "Z":
            os.waitpid(int(pid), os.WNOHANG)
        else:
            found.append(int(pid))
    return found


def processes_of(parent, name):
    """Children of a process with this command name, of which the kernel keeps 15 characters."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                text = file.read()
        except OSError:
            continue
        if f"({name[:15]})" in text and text.rsplit(")", 1)[1].split()[1] == str(parent.pid):
            found.append(int(pid))
    return found


def process_status(pid):
    """/proc/PID/status as a dictionary."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def process_exists(pid):
    """True while a process runs; a zombie has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return False
    return text[text.rindex(")") + 2] != "Z"


def wait_until(condition, seconds):
    """Polls a condition; returns whether it came true in time, which is longer on slow machines."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def one_line(text, *parts):
    """Asserts that a message is one line of printable text with all `parts`."""
    assert text.endswith("\n") and text.count("\n") == 1, f"not one line: {text!r}"
    assert all(0x20 <= ord(c) < 0x7f for c in text[:-1]), f"not printable: {text!r}"
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"
