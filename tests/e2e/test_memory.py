#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a VM's memory is made of: huge pages, locked pages, and nothing of it merged or dumped.

Usage: test_memory.py GUILLOTINE GUEST.elf...
"""

import json
import os
import resource
import signal
import subprocess
import sys

from guest_test import Bench, Skip, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
SPIN = ["--image", bench.guests["attack_hang.elf"], "--", "spin"]
HELLO = ["--image", bench.guests["honest.elf"], "--", "exit", "3"]
RESOURCES = 75
RESERVED = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
SMALL = ["--memory", "4MiB"]


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def status(name="vm"):
    done = subprocess.run([bench.guillotine, "ps", "--json", "--runtime-dir", bench.runtime],
                          capture_output=True, check=True)
    return next((row for row in json.loads(done.stdout) if row["name"] == name), None)


class Running:
    """A cell that spins, for as long as the with statement lasts."""

    def __init__(self, *options):
        self.options = options

    def __enter__(self):
        self.process = bench.start(["--name", "vm", *self.options, *SPIN])
        wait_until(lambda: self.process.poll() is not None or status(), 20)
        assert self.process.poll() is None, self.process.stderr.read()
        return status()

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGTERM)
        bench.finish(self.process)


def mappings(vmm, name):
    """smaps of the mappings with a name: one dictionary each."""
    found = []
    for line in read(f"/proc/{vmm}/smaps").split("\n"):
        key, _, value = line.partition(":")
        if "-" in key.split(" ")[0] and not key[0].isupper():
            found.append({"line": line})
        elif found:
            found[-1][key] = value.strip()
    return [mapping for mapping in found if name in mapping["line"]]


def need_root():
    if os.geteuid() != 0:
        raise Skip("reads /proc/PID/smaps of another user: needs root")


@tap.test("memory of the model is shared with nobody: not merged, not dumped")
def check_flags():
    need_root()
    weights = bench.write("weights", os.urandom(1 << 16))
    with Running("--weights-copy", weights) as vm:
        memory = mappings(vm["vmm_pid"], "guillotine-memory")
        assert memory, read(f"/proc/{vm['vmm_pid']}/maps")
        private = [mapping for mapping in mappings(vm["vmm_pid"], "")
                   if mapping["line"].endswith(" 0 ") or mapping["line"].rstrip().endswith(" 0")]
        for mapping in memory:
            assert "dd" in mapping["VmFlags"].split(), mapping
        for mapping in memory + private:
            assert "mg" not in mapping["VmFlags"].split(), mapping
        assert vm["memory"]["pages"] in ("4KiB", "transparent", "2MiB"), vm["memory"]
        status_lines = read(f"/proc/{vm['vmm_pid']}/status")
        assert "CoreDumping:\t0" in status_lines
        assert "NoNewPrivs:\t1" in status_lines
        # Not dumpable: its files under /proc belong to root, whoever it runs as.
        assert os.stat(f"/proc/{vm['vmm_pid']}/environ").st_uid == 0


@tap.test("speculation is off as far as the kernel lets a process say so")
def check_speculation():
    need_root()
    with Running() as vm:
        lines = dict(line.split(":\t", 1) for line in
                     read(f"/proc/{vm['vmm_pid']}/status").split("\n") if ":\t" in line)
    own = dict(line.split(":\t", 1) for line in read("/proc/self/status").split("\n")
               if ":\t" in line)
    for key in ("Speculation_Store_Bypass", "SpeculationIndirectBranch"):
        if "thread" in own.get(key, "") or "conditional" in own.get(key, ""):
            assert "force" in lines[key] and ("mitigated" in lines[key] or
                                              "disabled" in lines[key]), lines[key]
        else:
            assert lines.get(key) == own.get(key), (key, lines.get(key))


@tap.test("locked memory is in RAM from the start, or the refusal says which limit is in the way")
def check_locked():
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    ended = bench.run(["--memory", "1024MiB", "--lock-memory", *HELLO])
    if ended.status == RESOURCES:
        one_line(ended.stderr, "lock", "RLIMIT_MEMLOCK")
    else:
        assert ended.status == 3, ended
    need_root()
    if limit != resource.RLIM_INFINITY and limit < 8 << 20:
        raise Skip(f"only {limit} bytes may be locked here")
    with Running(*SMALL, "--lock-memory") as vm:
        assert vm["memory"]["locked"], vm["memory"]
        for mapping in mappings(vm["vmm_pid"], "guillotine-memory"):
            assert "lo" in mapping["VmFlags"].split(), mapping
            assert mapping["Locked"] == mapping["Rss"] != "0 kB", mapping
    with Running(*SMALL) as vm:
        assert not vm["memory"]["locked"], vm["memory"]


@tap.test("reserved huge pages: refused without, used with, given back clean")
def check_reserved():
    need_root()
    if not os.path.exists(RESERVED):
        raise Skip("this kernel has no huge pages")
    before = read(RESERVED)
    try:
        with open(RESERVED, "w", encoding="utf-8") as file:
            file.write("0")
        ended = bench.run(["--huge-pages", "reserved", *HELLO])
        assert ended.status == RESOURCES, ended
        one_line(ended.stderr, "huge pages", "host tune")
        with open(RESERVED, "w", encoding="utf-8") as file:
            file.write("64")
        if int(read(RESERVED)) < 64:
            raise Skip("the host finds no 64 huge pages")
        free = RESERVED.replace("nr_", "free_")
        for mode in ("reserved", "auto"):
            ended = bench.run([*SMALL, "--huge-pages", mode, *HELLO])
            assert ended.status == 3 and not ended.stderr, ended
            with Running(*SMALL, "--huge-pages", mode) as vm:
                assert vm["memory"]["pages"] == "2MiB", vm["memory"]
                assert int(read(free)) < 64
                for mapping in mappings(vm["vmm_pid"], "guillotine-memory"):
                    assert mapping["KernelPageSize"] == "2048 kB", mapping
            assert int(read(free)) == 64
        # A violation takes the level Offline: sealed for forensics, scrubbed, verified.
        ended = bench.run([*SMALL, "--huge-pages", "reserved", "--image",
                           bench.guests["attack_memory.elf"], "--", "write-code"])
        assert ended.outcome == "violation:write-code", ended
        assert "scrub" not in ended.stderr and int(read(free)) == 64, ended
        with Running(*SMALL, "--huge-pages", "none") as vm:
            assert vm["memory"]["pages"] == "4KiB", vm["memory"]
    finally:
        with open(RESERVED, "w", encoding="utf-8") as file:
            file.write(before)


@tap.test("the VM file says it, and what it says wrongly is refused by place")
def check_vm_file():
    image = bench.guests["honest.elf"]
    path = bench.write_vm("memory.json", image=image, arguments=["exit", "5"],
                          memory={"huge_pages": "none", "locked": False})
    assert bench.run([path]).status == 5
    for memory, words in (({"huge_pages": "much"}, ("/memory/huge_pages", "reserved")),
                          ({"locked": 1}, ("/memory/locked", "true or false")),
                          ({"numa_node": -1}, ("/memory/numa_node",)),
                          ({"pages": 1}, ("/memory/pages", "huge_pages"))):
        ended = bench.run([bench.write_vm("bad.json", image=image, memory=memory)])
        assert ended.status == 65, ended
        one_line(ended.stderr, *words)
    ended = bench.run([bench.write_vm("node.json", image=image, memory={"numa_node": 900})])
    assert ended.status == RESOURCES, ended
    one_line(ended.stderr, "NUMA node 900")


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.clean()
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
