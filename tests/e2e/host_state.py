# SPDX-License-Identifier: Apache-2.0
"""What tests of cores ask this machine: lists of CPUs, and what is changed to keep cores free."""

import fcntl
import glob
import os

CPUSETS = "/sys/fs/cgroup/cpuset"
RESERVATIONS = "/run/guillotine/host/cores"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def cpus(text):
    """A CPU list as a set."""
    found = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def host_state():
    """What a keeper changes, as it is now."""
    paths = glob.glob("/proc/irq/*/smp_affinity_list") + [
        "/proc/irq/default_smp_affinity", "/sys/devices/virtual/workqueue/cpumask"]
    state = {path: read(path) for path in paths if os.path.exists(path)}
    state["cpusets"] = sorted(glob.glob(CPUSETS + "/guillotine*") +
                              glob.glob("/sys/fs/cgroup/guillotine*"))
    state["own"] = os.sched_getaffinity(0)
    return state


def reservations():
    """VMs, of anybody, that have cores of this machine, and `host tune`."""
    try:
        return os.listdir(RESERVATIONS)
    except FileNotFoundError:
        return []


def used_cores():
    """CPUs that a VM, of anybody, has claimed: the locks that monitor/core_claim.c takes."""
    used = set()
    for path in glob.glob("/sys/devices/system/cpu/cpu[0-9]*"):
        folder = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            used.add(int(path.rpartition("cpu")[2]))
        finally:
            os.close(folder)
    return used
