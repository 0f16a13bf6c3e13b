# SPDX-License-Identifier: Apache-2.0
"""Cells whose level people and failures change, and what must stand still meanwhile."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import struct
import termios
import threading
import time

from guest_test import SLOWNESS

LEVELS = ["standard", "probation", "severed", "offline", "decapitation", "immolation"]
COMPLETION = re.compile(rb'"now_ns":(\d+),"source":"vmm","type":"completion"')
LEVEL_CHANGE = re.compile(rb'^.*"type":"(?:level|quorum)".*$', re.MULTILINE)


def now_ns():
    """The clock of audit records."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Administrators:
    """A key set for demonstration, and the state directories that begin with it."""

    def __init__(self, bench):
        self.bench = bench
        self.keys = bench.path("keys")
        self.origin = bench.path("origin")
        self.orders = 0
        os.mkdir(self.origin, 0o700)
        self.good("init", "--demo", "--out", self.keys, "--state-dir", self.origin)

    def good(self, *arguments):
        done = self.bench.command("quorum", *arguments)
        assert done.returncode == 0, done
        return done

    def copy(self, origin=None):
        """A state directory with the key set, or with all that another one knows."""
        self.bench.states += 1
        path = self.bench.path(f"state-{self.bench.states}")
        shutil.copytree(origin or self.origin, path)
        os.chmod(path, 0o700)
        return path

    def order(self, name, level, signers, state, *options):
        """Writes an order that these keys signed, and returns its file; None if nobody answers."""
        self.orders += 1
        path = self.bench.path(f"order-{self.orders}.json")
        done = self.bench.command("quorum", "propose", "--runtime-dir", self.bench.runtime,
                                  "--state-dir", state, name, level, "--reason", "a test", "--out",
                                  path, *options)
        if done.returncode != 0:
            return None
        for number in signers:
            self.good("sign", "--yes", "--json", "--key",
                      os.path.join(self.keys, f"demo-{number}.key"), path)
        return path

    def submit(self, path, name, state):
        return self.bench.command("quorum", "submit", "--runtime-dir", self.bench.runtime,
                                  "--state-dir", state, path, name)


class Still:
    """What must not move while the gate is shut."""

    def __init__(self, cell):
        status = cell.status()
        self.alive = status is not None
        self.level = status["level"] if status else None
        self.ports = [(port["requests"], port["completions"], port["bytes_in"], port["bytes_out"])
                      for port in status["ports"]] if status else None
        self.cpu_ns = cell.vcpu_ns(status["vmm_pid"]) if status else None
        self.said = cell.drain()


class Cell:
    """A run, what it said so far, and the times between which it must not have said anything."""

    def __init__(self, bench, name, arguments, state, **keys):
        self.bench = bench
        self.name = name
        self.state = state
        self.log = bench.path(f"{name}-{bench.runs}.audit")
        self.said = 0
        self.begin = b""  # the first bytes of it
        self.shut_since_ns = None
        self.shut = []  # (from, to): closed intervals of silence
        stdin, self.keep = os.pipe()  # standard input stays open and without data
        self.process = bench.start(["--name", name, "--audit", self.log, *arguments],
                                   directories=["--runtime-dir", bench.runtime, "--state-dir",
                                                state], stdin=stdin, **keys)
        os.close(stdin)
        self.output = os.dup(self.process.stdout.fileno())
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        while data := os.read(self.output, 65536):
            self.said += len(data)
            if len(self.begin) < 4096:
                self.begin += data[:4096]

    def drain(self):
        """How much it said, once nothing is on its way to us any more."""
        size = bytearray(4)
        while True:
            before = self.said
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.output, termios.FIONREAD, size)
            time.sleep(0.002)
            if struct.unpack("i", size)[0] == 0 and self.said == before:
                return before

    def status(self):
        done = self.bench.command("ports", "--runtime-dir", self.bench.runtime, "--json", self.name)
        return json.loads(done.stdout) if done.returncode == 0 else None

    @staticmethod
    def vcpu_ns(pid):
        """Time that the vCPU threads were on a processor, guest mode included."""
        total = 0
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as file:
                    if not file.read().startswith("vcpu"):
                        continue
                with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="utf-8") as file:
                    total += int(file.read().split()[0])
        return total

    def ended(self):
        return self.process.poll() is not None

    def isolate(self, level):
        """Raises the level. False if the run has ended, or the level is that high already."""
        while not self.ended():
            done = self.bench.command("isolate", "--runtime-dir", self.bench.runtime, self.name,
                                      level)
            if done.returncode == 0:
                if level in ("severed", "offline"):
                    self.shut_since_ns = self.shut_since_ns or now_ns()
                return True
            if b"level" in done.stderr and b"not running" not in done.stderr:
                status = self.status()
                if status and LEVELS.index(status["level"]) >= LEVELS.index(level):
                    return False
            time.sleep(0.001)
        return False

    def opened(self):
        """An order that lowers is on its way: from here on the model may speak."""
        if self.shut_since_ns:
            self.shut.append((self.shut_since_ns, now_ns()))
        self.shut_since_ns = None

    def launched(self):
        """What is true once the VMM has built the VM: until then its vCPU threads set themselves up,
        isolated or not, and a status names no port."""
        deadline = time.monotonic() + 10
        still = Still(self)
        while still.alive and not still.ports and time.monotonic() < deadline:
            time.sleep(0.002)
            still = Still(self)
        assert still.ports != [], "the VMM answers for no port"
        return still

    def check_still(self, seconds):
        """Nothing moves. Call it with the gate shut."""
        before = self.launched()
        time.sleep(seconds * SLOWNESS)
        after = Still(self)
        assert after.said == before.said, f"{after.said - before.said} bytes out after the gate"
        if not (before.alive and after.alive):
            return before, after
        assert after.ports == before.ports, f"ports moved: {before.ports} to {after.ports}"
        grown = after.cpu_ns - before.cpu_ns
        # An emulated processor's account has the time in it that its host took for others.
        assert grown < 1000000 * SLOWNESS, f"vCPUs ran for {grown} ns"
        assert LEVELS.index(after.level) >= LEVELS.index(before.level), "the level fell"
        return before, after

    def finish(self, timeout=30 * SLOWNESS):
        """The end of the run; nothing of it is left."""
        try:
            self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.reader.join(20)
            os.close(self.output)
            os.close(self.keep)
        ended = self.bench.finish(self.process)
        if self.shut_since_ns:
            self.shut.append((self.shut_since_ns, now_ns()))
        return ended

    def check_log(self):
        """No completion while the gate was shut, and no lower level without an order."""
        done = self.bench.command("audit", "cat", "--json", self.log)
        assert done.returncode == 0, done.stderr
        times = [int(text) for text in COMPLETION.findall(done.stdout)]
        for begin, end in self.shut:
            late = [at for at in times if begin < at < end]
            assert not late, f"{len(late)} completions after the gate, {late[0] - begin} ns"
        orders = 0
        known = None
        for line in LEVEL_CHANGE.findall(done.stdout):
            record = json.loads(line)
            if record["type"] == "quorum":
                orders += record["detail"] == 0
                continue
            level = LEVELS.index(record["level"])
            if known is not None and level < known:
                assert orders > 0, f"the level fell to {record['level']} without an order"
                orders -= 1
            known = level
        return len(times)
