# SPDX-License-Identifier: Apache-2.0
"""Hosts that do not exist, as folders for `guillotine host check --root`.

A host is a dictionary of paths and texts; an empty folder's path ends with a slash. They are made
from a few descriptions, so that what differs between two of them can be read.

Usage: make_hosts.py DIR [NAME...]: makes them (all) below DIR, to be looked at by hand.
"""

import os
import random
import sys

CPU = "sys/devices/system/cpu"
FACTS = "guillotine-facts"
SAFE = {"probe-tsc": "violation:privileged", "probe-counters": "violation:privileged",
        "probe-cpuid": "exit:0", "probe-syscall": "violation:syscall",
        "probe-port-io": "violation:privileged", "probe-write-code": "violation:write-code",
        "probe-run-data": "violation:exec-data"}
GOOD_FACTS = {**SAFE, "kvm": "ok", "msr-filter": "yes", "bus-lock-exit": "yes",
              "notify-exit": "yes", "root": "yes", "core-scheduling": "yes",
              "memory-lock": "unlimited", "real-time": "yes", "store-bypass": "3",
              "indirect-branch": "3"}
WEAKNESSES = ("l1tf", "mds", "meltdown", "retbleed", "spectre_v1", "spectre_v2", "old_microcode")


def facts(**changes):
    known = {**GOOD_FACTS, **{key.replace("_", "-"): value for key, value in changes.items()}}
    return "\n".join(f"{name} {value}" for name, value in known.items() if value)


def processors(groups, second=None, last=None, nodes=None):
    """CPUs by physical core: groups is a list of lists. `second` and `last` map a CPU to the list of
    CPUs that share its cache; by default the core's own, and everybody."""
    everyone = sorted(cpu for group in groups for cpu in group)
    files = {f"{CPU}/online": listed(everyone)}
    for group in groups:
        for cpu in group:
            folder = f"{CPU}/cpu{cpu}"
            shared = (group, (second or {}).get(cpu, group), (last or {}).get(cpu, everyone))
            node = next((n for n, cpus in (nodes or {}).items() if cpu in cpus), 0)
            files |= {f"{folder}/topology/core_cpus_list": listed(group),
                      f"{folder}/topology/core_id": str(groups.index(group)),
                      f"{folder}/topology/physical_package_id": str(node)}
            for index, cpus in enumerate(shared):
                files |= {f"{folder}/cache/index{index}/level": str(index + 1),
                          f"{folder}/cache/index{index}/shared_cpu_list": listed(cpus)}
    for node, cpus in (nodes or {0: everyone}).items():
        files[f"sys/devices/system/node/node{node}/cpulist"] = listed(cpus)
    files["sys/devices/system/node/has_memory"] = listed(sorted(nodes or {0: 0}))
    return files


def listed(cpus):
    return ",".join(map(str, cpus))


def cpuinfo(name, flags):
    return f"processor\t: 0\nmodel name\t: {name}\nflags\t\t: fpu sse2 {flags}"


def good_host():
    """Four cores on two nodes, on bare metal, with everything that there is."""
    files = processors([[0], [1], [2], [3]], last={0: [0, 1], 1: [0, 1], 2: [2, 3], 3: [2, 3]},
                       nodes={0: [0, 1], 1: [2, 3]})
    files |= {f"{CPU}/vulnerabilities/{name}": "Not affected" for name in WEAKNESSES}
    return files | {
        FACTS: facts(),
        f"{CPU}/isolated": "2-3",
        f"{CPU}/nohz_full": "2-3",
        f"{CPU}/smt/control": "off",
        f"{CPU}/smt/active": "0",
        f"{CPU}/cpu0/microcode/version": "0x2b000571",
        "proc/cpuinfo": cpuinfo("Example Processor", "vmx cat_l3 mba"),
        "proc/irq/9/smp_affinity_list": "0-3",
        "proc/swaps": "Filename\tType\tSize\tUsed\tPriority",
        "proc/sys/fs/suid_dumpable": "0",
        "proc/sys/kernel/osrelease": "6.1.0-example",
        "proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno allow",
        "proc/sys/user/max_user_namespaces": "1000",
        "sys/class/watchdog/watchdog0/identity": "iTCO_wdt",
        "sys/devices/system/edac/mc/mc0/": "",
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
        "sys/fs/ext4/features/verity": "supported",
        "sys/fs/resctrl/info/L3/cbm_mask": "fff",
        "sys/fs/resctrl/info/MB/": "",
        "sys/kernel/iommu_groups/0/": "",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "512",
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "512",
        "sys/kernel/mm/ksm/run": "0",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
        "sys/kernel/mm/transparent_hugepage/shmem_enabled":
            "always within_size [advise] never deny force",
        "sys/kernel/security/lockdown": "none integrity [confidentiality]",
        "sys/module/kvm_intel/parameters/ept": "Y",
    }


def without(files, *prefixes):
    return {path: text for path, text in files.items() if not path.startswith(prefixes)}


def hosts():
    """Name: files."""
    good = good_host()
    threads = processors([[0, 4], [1, 5], [2, 6], [3, 7]])
    bare = without(good, CPU, "sys/devices/system/node")
    v1 = without(good, "sys/fs/cgroup") | {"sys/fs/cgroup/cpuset/cpuset.cpus": "0-3"}
    chiplets = processors([[cpu] for cpu in range(16)],
                          last={cpu: list(range(cpu // 4 * 4, cpu // 4 * 4 + 4))
                                for cpu in range(16)})
    hybrid = processors([[0, 1], [2], [3], [4], [5]],
                        second={cpu: [2, 3, 4, 5] for cpu in (2, 3, 4, 5)})
    amd = without(good, "sys/module", FACTS) | {
        "proc/cpuinfo": cpuinfo("Example EPYC", "svm cat_l3 mba"),
        "sys/module/kvm_amd/parameters/npt": "1",
        FACTS: facts(bus_lock_exit="no", notify_exit="no")}
    # Hardware threads are numbered behind all cores, as Linux does.
    sockets = [[*range(first, first + 8), *range(first + 16, first + 24)] for first in (0, 8)]
    random_bytes = random.Random(1)
    return {
        "good": good,
        "empty": {},
        "smt": bare | threads | {f"{CPU}/smt/control": "on", f"{CPU}/smt/active": "1",
                                 FACTS: facts(core_scheduling="no")},
        "smt-cookies": bare | threads | {f"{CPU}/smt/control": "on", f"{CPU}/smt/active": "1"},
        "chiplets": bare | chiplets,
        "hybrid": bare | hybrid,
        "one-core": bare | processors([[0, 1]]),
        "cgroup-v1": v1,
        "container": without(good, "sys/fs/cgroup", "sys/kernel/iommu", "sys/class", FACTS) | {
            FACTS: facts(kvm="No such file or directory", root="no", memory_lock="65536",
                         real_time="no", **{key.replace("-", "_"): "" for key in SAFE})},
        "two-sockets": bare | processors(
            [[cpu, cpu + 16] for cpu in range(16)],
            last={cpu: sockets[cpu // 8 % 2] for cpu in range(32)},
            nodes=dict(enumerate(sockets))) | {
            f"{CPU}/smt/control": "on", f"{CPU}/smt/active": "1"},
        "amd-bare-metal": amd,
        "nested": good | {"proc/cpuinfo": cpuinfo("Example", "vmx hypervisor"),
                          "sys/class/dmi/id/product_name": "Standard PC (Q35)"},
        "software-kvm": good | {
            "sys/module/kvm_pvm/parameters/x": "1", FACTS: facts(
                probe_tsc="exit:1", probe_cpuid="exit:1",
                probe_syscall="violation:syscall by a page fault")},
        "old-kernel": without(good, f"{CPU}/vulnerabilities", "sys/fs/resctrl",
                              "sys/kernel/security") | {
            "proc/cpuinfo": cpuinfo("Example", "vmx cat_l3"), FACTS: facts(msr_filter="no")},
        "desktop": good | {
            "proc/swaps": "Filename\tType\n/swapfile\tfile", "sys/kernel/mm/ksm/run": "1",
            "proc/modules": "kvm 1 0 - Live 0x0", "proc/sys/kernel/modules_disabled": "0",
            "sys/class/watchdog/watchdog0/identity": "Software Watchdog",
            "proc/sys/fs/suid_dumpable": "2",
            "sys/kernel/security/lockdown": "none [integrity] confidentiality",
            f"{CPU}/vulnerabilities/mds": "Mitigation: Clear CPU buffers; SMT vulnerable"},
        "vulnerable": good | {f"{CPU}/vulnerabilities/retbleed": "Vulnerable",
                              f"{CPU}/vulnerabilities/old_microcode": "Vulnerable"},
        "unsafe": good | {FACTS: facts(probe_write_code="exit:1", probe_port_io="exit:1",
                                       probe_counters="exit:1")},
        "garbage": {path: bytes(random_bytes.randrange(256) for _ in range(300))
                    for path in good if not path.endswith("/")},
    }


def write(folder, files):
    """Makes one host."""
    os.makedirs(folder, exist_ok=True)
    for path, text in files.items():
        full = os.path.join(folder, path)
        if path.endswith("/"):
            os.makedirs(full, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode() + b"\n")


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    known = hosts()
    for name in sys.argv[2:] or known:
        write(os.path.join(sys.argv[1], name), known[name])


if __name__ == "__main__":
    main()
