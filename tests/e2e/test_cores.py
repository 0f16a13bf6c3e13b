#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cores of models: claimed, kept clear while a VM runs, and given back however it ends.

Usage: test_cores.py [--seconds N] GUILLOTINE GUEST.elf...

What the keeper does here is real: for some seconds every process of this machine leaves a core.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import time

from guest_test import Bench, Skip, Tap, one_line, wait_until
from host_state import CPUSETS, cpus, host_state, read

SECONDS = 5
if sys.argv[1] == "--seconds":
    SECONDS = int(sys.argv[2])
    del sys.argv[1:3]
del os.environ["GUILLOTINE_PLACEMENT"]
bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=lambda: (bench.clean(), wait_until(lambda: host_state() == BEFORE, 20)))
SPIN = ["--image", bench.guests["attack_hang.elf"], "--", "spin"]
HELLO = ["--image", bench.guests["honest.elf"], "--", "exit", "0"]
RESOURCES = 75
REFUSED = 77


def need_cores(count=2):
    if len(os.sched_getaffinity(0)) < count:
        raise Skip(f"needs {count} CPUs")


def need_keeper():
    need_cores()
    if os.geteuid() != 0:
        raise Skip("keeping others off a core needs root")
    controllers = "/sys/fs/cgroup/cgroup.controllers"
    v2 = os.path.exists(controllers) and "cpuset" in read(controllers).split()
    if not v2 and not os.access(CPUSETS + "/cpuset.cpus", os.W_OK):
        raise Skip("no cpuset controller that could be written to")


class Vm:
    """One that spins until it is ended."""

    def __init__(self, *options, name="vm", directories=None):
        self.name = name
        self.process = bench.start(["--name", name, *options, *SPIN], directories=directories)
        self.directories = ["--runtime-dir", bench.runtime]
        wait_until(lambda: self.process.poll() is not None or self.rows(), 20)

    def rows(self):
        done = subprocess.run([bench.guillotine, "ps", "--json", *self.directories],
                              capture_output=True, check=True)
        return [row for row in json.loads(done.stdout) if row["name"] == self.name]

    @property
    def placement(self):
        return self.rows()[0]["placement"]

    def kept(self):
        """Waits until the keeper has spoken."""
        wait_until(lambda: self.placement["others_kept_off"] is not None, 30)
        return self.placement

    @property
    def vmm(self):
        return self.rows()[0]["vmm_pid"]

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return bench.finish(self.process)


def keeper_of(vm):
    children = read(f"/proc/{vm.process.pid}/task/{vm.process.pid}/children").split()
    return [int(child) for child in children if read(f"/proc/{child}/comm") == "guillotine-keep"]


def burners(count):
    """Processes that want every CPU."""
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]


def end_all(processes):
    for process in processes:
        process.kill()
        process.wait()


@tap.test("two VMs never share a core unless both agree")
def check_claims():
    need_cores()
    everything = len(os.sched_getaffinity(0))
    first = Vm("--vcpus", str(max(1, everything - 1)), name="first")
    assert first.placement["core_isolated"], first.placement
    for options in ([], ["--placement", "shared"],
                    ["--model-cores", first.placement["hypervisor_cpus"]]):
        ended = bench.run([*options, *HELLO])
        assert ended.status == RESOURCES, (options, ended)
        one_line(ended.stderr, "other VM", "shared")
    assert not first.end().stderr
    shared = [Vm("--placement", "shared", name=f"shared-{i}") for i in range(3)]
    table = subprocess.run([bench.guillotine, "ps", "--runtime-dir", bench.runtime],
                           capture_output=True, check=True).stdout.decode()
    assert table.count("(not core-isolated)") == 3, table
    assert bench.run(HELLO).status == RESOURCES or everything > 4
    for vm in shared:
        assert vm.placement["state"] == "shared", vm.placement
        vm.end()
    assert bench.run(HELLO).status == 0


@tap.test("the VM file says it too, and strict does not share")
def check_vm_file():
    need_cores()
    path = bench.write_vm("shared.json", image=bench.guests["honest.elf"],
                          arguments=["exit", "4"], placement="shared")
    assert bench.run([path]).status == 4
    assert bench.run(["--placement", "isolated", path]).status == 4
    ended = bench.run(["--require", "strict", path])
    assert ended.status == REFUSED, ended
    one_line(ended.stderr, "shared", "strict")
    path = bench.write_vm("mode.json", image=bench.guests["honest.elf"],
                          placement={"mode": "alone"})
    ended = bench.run([path])
    assert ended.status == 65, ended
    one_line(ended.stderr, "alone", "isolated, exclusive, shared")


@tap.test("model and mediation that share a core or private cache are refused")
def check_siblings():
    need_cores()
    siblings = cpus(read("/sys/devices/system/cpu/cpu0/topology/core_cpus_list"))
    if len(siblings) < 2:
        raise Skip("no hardware threads here; tests/unit/test_placement.c has hosts that do")
    ended = bench.run(["--model-cores", str(min(siblings)), "--hypervisor-cores",
                       str(max(siblings)), *HELLO])
    assert ended.status == 64, ended


@tap.test("while a VM runs, nothing else can run on its model core; then all is as before")
def check_kept_off():
    need_keeper()
    before = host_state()
    others = burners(3)
    try:
        vm = Vm()
        kept = vm.kept()
        assert kept["others_kept_off"] and not kept["reason"], kept
        model = cpus(kept["model_cpus"])
        for process in others + [subprocess.Popen(["sleep", "20"])]:
            assert not os.sched_getaffinity(process.pid) & model, process
            if process not in others:
                end_all([process])
        assert not os.sched_getaffinity(0) & model
        for path in glob.glob("/proc/irq/*/smp_affinity_list"):
            # Some cannot be changed, but come to another CPU anyway.
            effective = cpus(read(path.replace("smp_", "effective_")))
            assert (not cpus(read(path)) & model or not effective & model or
                    kept["interrupts_left"]), (path, effective)
        assert not vm.end().stderr
    finally:
        end_all(others)
    assert host_state() == before


@tap.test("everything is given back after the supervisor was killed")
def check_killed_supervisor():
    need_keeper()
    before = host_state()
    vm = Vm()
    assert vm.kept()["others_kept_off"]
    assert host_state() != before
    vm.process.kill()
    vm.process.communicate()
    wait_until(lambda: host_state() == before, 20)
    assert host_state() == before, host_state()


@tap.test("keeper and supervisor killed: the next one clears up")
def check_killed_both():
    need_keeper()
    before = host_state()
    vm = Vm()
    vm.kept()
    for keeper in keeper_of(vm):
        os.kill(keeper, signal.SIGKILL)
    vm.process.kill()
    vm.process.communicate()
    assert host_state() != before
    vm = Vm(name="next")
    assert vm.kept()["others_kept_off"]
    vm.end()
    assert host_state() == before, host_state()


@tap.test("a keeper that is killed takes nothing with it")
def check_killed_keeper():
    need_keeper()
    before = host_state()
    vm = Vm()
    vm.kept()
    for keeper in keeper_of(vm):
        os.kill(keeper, signal.SIGKILL)
    time.sleep(0.2)
    assert vm.process.poll() is None
    vm.end()
    Vm(name="next").kept()
    bench.clean()
    wait_until(lambda: host_state() == before, 20)


def last_cpu(task):
    """The CPU that a thread ran on last (proc(5), processor)."""
    return int(read(task + "/stat").rpartition(")")[2].split()[36])


@tap.test(f"under load on all CPUs, {SECONDS} s: no thread was where it must not be")
def check_pinning():
    need_keeper()
    others = burners(2 * len(os.sched_getaffinity(0)))
    samples = 0
    try:
        vm = Vm()
        kept = vm.kept()
        model = cpus(kept["model_cpus"])
        hypervisor = cpus(kept["hypervisor_cpus"])
        end = time.monotonic() + SECONDS
        tasks = glob.glob(f"/proc/{vm.vmm}/task/*")
        names = {task: read(task + "/comm") for task in tasks}
        assert "vcpu" in names.values() and "poller" in names.values(), names
        vcpu = next(task for task, name in names.items() if name == "vcpu")
        ran_before, waited_before, _ = map(int, read(vcpu + "/schedstat").split())
        while time.monotonic() < end:
            for task, name in names.items():
                status = dict(line.split(":\t", 1) for line in read(task + "/status").split("\n")
                              if ":\t" in line)
                allowed = cpus(status["Cpus_allowed_list"])
                if name == "vcpu":
                    assert last_cpu(task) in model and allowed <= model, (name, allowed)
                elif name in ("poller", "watchdog"):
                    assert last_cpu(task) in hypervisor and allowed <= hypervisor, (name, allowed)
                elif name.startswith("guillotine"):
                    assert not allowed & model, (name, allowed)
                samples += 1
            for process in others:
                assert last_cpu(f"/proc/{process.pid}") not in model
            time.sleep(0.01)
        # The scheduler's own account: since the others were sent away, the vCPU had its core for
        # itself all the time.
        ran, waited, _ = map(int, read(vcpu + "/schedstat").split())
        ran, waited = ran - ran_before, waited - waited_before
        assert waited < ran / 4, (ran, waited)
        vm.end()
    finally:
        end_all(others)
    assert samples > 100, samples
    print(f"# {samples} samples of {len(names)} threads, vCPU waited "
          f"{100 * waited / ran:.2f} % of its time", flush=True)


@tap.test("exclusive: nothing else is on the model core before the model is entered")
def check_exclusive():
    need_keeper()
    before = host_state()
    others = burners(2)
    try:
        for _ in range(3):
            vm = Vm("--placement", "exclusive")
            # No waiting: it runs, so it is true.
            found = vm.placement
            assert found["others_kept_off"] and found["core_isolated"], found
            for process in others:
                assert not os.sched_getaffinity(process.pid) & cpus(found["model_cpus"])
            vm.end()
            assert host_state() == before
        assert bench.run(["--placement", "exclusive", *HELLO]).status == 0
        everything = len(os.sched_getaffinity(0))
        ended = bench.run(["--placement", "exclusive", "--vcpus", str(everything), *HELLO])
        assert ended.status == REFUSED, ended
        one_line(ended.stderr, "cores")
    finally:
        end_all(others)
    assert host_state() == before


@tap.test("a cell that ends at once rearranges nothing")
def check_short():
    need_keeper()
    before = host_state()
    assert bench.run(HELLO).status == 0
    assert host_state() == before


BEFORE = host_state()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.clean()
        wait_until(lambda: host_state() == BEFORE, 20)
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
