#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""guillotine host: what is said about hosts, on this one and on many that do not exist.

Usage: test_host.py GUILLOTINE GUEST.elf...
"""

import glob
import json
import os
import random
import subprocess
import sys

import jsonschema  # scripts/packages --test installs it

from guest_test import Bench, Skip, Tap, one_line, wait_until
from host_state import cpus, host_state, read, reservations, used_cores

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hosts"))

import make_hosts  # noqa: E402

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
REFUSED = 77
NO_CORES = 75
RANK = {"absent": 0, "best-effort": 1, "enforced": 2, None: 0}
PAGE_FAULT = 14
HOSTS = make_hosts.hosts()
with open(os.path.join(SOURCE, "docs", "host-check.md"), encoding="utf-8") as file:
    HOST_ROWS = [line.split("`")[1] for line in file if line.startswith("| `")]
# The best that these rows can be: whether a file has fs-verity is seen when it is used.
BEST = {"weights-integrity": "best-effort"}
# What an outer hypervisor says about these need not be so.
TOPOLOGY = {"core-isolation", "private-cache", "smt", "core-scheduling", "irq-affinity",
            "isolated-cpus", "timer-tick", "cache-partitioning", "memory-bandwidth", "numa"}
with open(os.path.join(SOURCE, "docs", "host-check.schema.json"), encoding="utf-8") as file:
    SCHEMA = jsonschema.Draft202012Validator(json.load(file))


def host(*arguments, timeout=60):
    return subprocess.run([bench.guillotine, "host", *arguments], capture_output=True,
                          timeout=timeout, check=False)


def folder(name):
    """The root of a host that does not exist."""
    path = bench.path(f"host-{name}")
    if not os.path.exists(path):
        os.mkdir(path)
        make_hosts.write(path, HOSTS[name])
    return path


def report(*arguments, status=0):
    done = host("check", "--json", "--runtime-dir", bench.runtime, *arguments)
    assert done.returncode == status and not done.stderr, done
    document = json.loads(done.stdout)
    SCHEMA.validate(document)
    return document


def statuses(document):
    return {row["id"]: row["status"] for row in document["guarantees"]}


def of(name):
    return statuses(report("--root", folder(name)))


@tap.test("every row: absent on one host at least, and as good as it gets on another",
          needs_kvm=False)
def check_every_row():
    good, empty = of("good"), of("empty")
    assert list(good) == HOST_ROWS and len(set(HOST_ROWS)) == len(HOST_ROWS) >= 15
    for row, status in good.items():
        assert status == BEST.get(row, "enforced"), (row, status)
    assert set(empty.values()) == {"absent"}, {k: v for k, v in empty.items() if v != "absent"}


@tap.test("what differs between hosts", needs_kvm=False)
def check_hosts():
    expected = {
        "smt": {"smt": "absent", "core-scheduling": "absent", "core-isolation": "enforced"},
        "smt-cookies": {"smt": "best-effort", "core-scheduling": "enforced"},
        "chiplets": {"core-isolation": "enforced", "private-cache": "enforced"},
        "hybrid": {"core-isolation": "enforced", "private-cache": "enforced"},
        "two-sockets": {"core-isolation": "enforced", "numa": "enforced", "smt": "best-effort"},
        "one-core": {"core-isolation": "absent", "private-cache": "absent"},
        "cgroup-v1": {"cpuset-partition": "best-effort", "core-isolation": "enforced"},
        "container": {"kvm-backend": "absent", "cpuset-partition": "absent", "iommu": "absent",
                      "irq-affinity": "absent", "tsc-access": "absent", "real-time": "absent",
                      "memory-lock": "best-effort", "code-immutability": "absent"},
        "amd-bare-metal": {"kvm-backend": "enforced", "nested-paging": "enforced",
                           "bus-lock-exit": "absent", "notify-exit": "absent"},
        "software-kvm": {"kvm-backend": "best-effort", "tsc-access": "absent",
                         "cpuid-interception": "absent", "syscall-entry": "best-effort",
                         "nested-paging": "absent"},
        "old-kernel": {"cpu-vulnerabilities": "absent", "cache-partitioning": "best-effort",
                       "memory-bandwidth": "absent", "msr-filter": "absent",
                       "kernel-lockdown": "absent"},
        "desktop": {"swap": "absent", "ksm": "best-effort", "module-loading": "absent",
                    "hardware-watchdog": "best-effort", "core-dumps": "best-effort",
                    "kernel-lockdown": "best-effort", "cpu-vulnerabilities": "best-effort"},
        "vulnerable": {"cpu-vulnerabilities": "absent", "microcode": "absent"},
        "unsafe": {"code-immutability": "absent", "port-io": "absent",
                   "performance-counters": "absent"},
    }
    for name, rows in expected.items():
        found = of(name)
        for row, status in rows.items():
            assert found[row] == status, (name, row, found[row])


CPU = make_hosts.CPU
WEAK = f"{CPU}/vulnerabilities/itlb_multihit"
THP = "sys/kernel/mm/transparent_hugepage"
MODULES = {"proc/modules": "kvm 1 0 - Live 0x0"}
# A host with everything, but for these files: what becomes of one row. None: the file is not there.
DIFFERENCES = [
    ({WEAK: "KVM: Mitigation: VMX disabled"}, "cpu-vulnerabilities", "enforced"),
    ({WEAK: "KVM: Vulnerable"}, "cpu-vulnerabilities", "absent"),
    ({WEAK: "Processor vulnerable"}, "cpu-vulnerabilities", "absent"),
    ({WEAK: "Vulnerable: Clear CPU buffers attempted, no microcode"},
     "cpu-vulnerabilities", "absent"),
    ({WEAK: "Unknown: Dependent on hypervisor status"}, "cpu-vulnerabilities", "absent"),
    ({WEAK: "what a later kernel says"}, "cpu-vulnerabilities", "absent"),
    ({WEAK: "Mitigation: Retpolines; IBPB: conditional; BHI: Vulnerable"},
     "cpu-vulnerabilities", "best-effort"),
    ({WEAK: "Mitigation: PTE Inversion; VMX: vulnerable"}, "cpu-vulnerabilities", "best-effort"),
    ({f"{CPU}/vulnerabilities/old_microcode": "Unknown: running under hypervisor"},
     "microcode", "absent"),
    ({f"{CPU}/vulnerabilities/old_microcode": None}, "microcode", "best-effort"),
    ({f"{CPU}/cpu0/microcode/version": None}, "microcode", "absent"),
    ({"proc/swaps": "Filename\tType\n/dev/sda2\tpartition"}, "swap", "absent"),
    ({"proc/swaps": "/dev/sda2 partition"}, "swap", "absent"),
    ({"proc/swaps": ""}, "swap", "absent"),
    ({"sys/kernel/mm/ksm/run": "1"}, "ksm", "best-effort"),
    ({"sys/kernel/mm/ksm/run": "2"}, "ksm", "enforced"),
    ({"sys/kernel/mm/ksm/run": "3"}, "ksm", "absent"),
    ({"sys/kernel/mm/ksm/run": "on"}, "ksm", "absent"),
    ({"sys/kernel/mm/ksm/run": None}, "ksm", "enforced"),
    ({f"{THP}/shmem_enabled": "always within_size advise [never] deny force"},
     "transparent-huge-pages", "best-effort"),
    ({f"{THP}/shmem_enabled": "[never]", f"{THP}/enabled": "always madvise [never]"},
     "transparent-huge-pages", "absent"),
    ({"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0"}, "huge-pages", "absent"),
    ({"sys/fs/resctrl/info/L3/cbm_mask": "what?"}, "cache-partitioning", "best-effort"),
    ({"sys/fs/resctrl/info/L3/cbm_mask": None, "sys/fs/resctrl/info/L3CODE/cbm_mask": "7ff"},
     "cache-partitioning", "enforced"),
    ({"sys/fs/resctrl/info/L3/cbm_mask": None,
      "proc/cpuinfo": make_hosts.cpuinfo("Example", "vmx")}, "cache-partitioning", "absent"),
    (MODULES, "module-loading", "absent"),
    (MODULES | {"proc/sys/kernel/modules_disabled": "1"}, "module-loading", "enforced"),
    (MODULES | {"proc/sys/kernel/modules_disabled": "1 or so"}, "module-loading", "absent"),
    ({"sys/hypervisor/type": "xen"}, "bare-metal", "absent"),
    ({"proc/cpuinfo": "model name : Example"}, "bare-metal", "absent"),
    ({"sys/module/kvm_intel/parameters/ept": "N"}, "nested-paging", "absent"),
    ({"sys/class/watchdog/watchdog0/identity": "Software Watchdog"},
     "hardware-watchdog", "best-effort"),
    ({"sys/class/watchdog/watchdog0/identity": None}, "hardware-watchdog", "absent"),
    ({"proc/sys/kernel/seccomp/actions_avail": "trap errno allow"}, "seccomp", "absent"),
    ({"sys/fs/cgroup/cgroup.controllers": "cpu io memory"}, "cpuset-partition", "absent"),
    ({"sys/fs/cgroup/cgroup.controllers": "cpu io memory"}, "core-isolation", "best-effort"),
    ({"proc/irq/9/smp_affinity_list": None}, "irq-affinity", "absent"),
    ({"proc/sys/user/max_user_namespaces": "0"}, "namespaces", "enforced"),
    ({f"{CPU}/online": "0-x"}, "core-isolation", "absent"),
    ({f"{CPU}/isolated": "(null)"}, "isolated-cpus", "absent"),
    ({f"{CPU}/nohz_full": "(null)"}, "timer-tick", "absent"),
]
# The same for what only system calls and probe cells can tell.
FACT_DIFFERENCES = [
    ({"probe_syscall": "violation:syscall by a page fault"}, "syscall-entry", "best-effort"),
    ({"probe_syscall": "violation:unmapped by a page fault"}, "syscall-entry", "best-effort"),
    ({"probe_syscall": "exit:1"}, "syscall-entry", "absent"),
    ({"probe_syscall": ""}, "syscall-entry", "absent"),
    ({"probe_tsc": "exit:1"}, "tsc-access", "absent"),
    ({"probe_tsc": "rubbish"}, "tsc-access", "absent"),
    ({"probe_cpuid": "exit:1"}, "cpuid-interception", "absent"),
    ({"probe_cpuid": "exit:2"}, "cpuid-interception", "absent"),
    ({"probe_cpuid": ""}, "cpuid-interception", "absent"),
    ({"probe_run_data": "exit:1"}, "code-immutability", "absent"),
    ({"probe_write_code": ""}, "code-immutability", "absent"),
    ({"root": "no"}, "namespaces", "enforced"),
    ({"root": "no"}, "core-isolation", "best-effort"),
    ({"root": "no"}, "cpuset-partition", "absent"),
    ({"memory_lock": "8388608"}, "memory-lock", "best-effort"),
    ({"memory_lock": "0"}, "memory-lock", "absent"),
    ({"memory_lock": "much"}, "memory-lock", "absent"),
    ({"store_bypass": "0", "indirect_branch": "0"}, "speculation-controls", "enforced"),
    ({"store_bypass": "5", "indirect_branch": "4"}, "speculation-controls", "enforced"),
    ({"store_bypass": "-1"}, "speculation-controls", "best-effort"),
    ({"store_bypass": "2", "indirect_branch": "2"}, "speculation-controls", "absent"),
    ({"store_bypass": "rubbish", "indirect_branch": ""}, "speculation-controls", "absent"),
    ({"kvm": "Permission denied"}, "kvm-backend", "absent"),
]


@tap.test("one file or fact changed: what becomes of its row", needs_kvm=False)
def check_differences():
    cases = DIFFERENCES + [({make_hosts.FACTS: make_hosts.facts(**changes)}, row, status)
                           for changes, row, status in FACT_DIFFERENCES]
    for number, (changes, row, status) in enumerate(cases):
        files = {**HOSTS["good"], **changes}
        path = bench.path(f"different-{number}")
        make_hosts.write(path, {name: text for name, text in files.items() if text is not None})
        found = next(one for one in report("--root", path)["guarantees"] if one["id"] == row)
        assert found["status"] == status, (changes, found)


@tap.test("on a virtualised host no row about topology is enforced", needs_kvm=False)
def check_virtualised():
    document = report("--root", folder("nested"))
    assert document["virtualised"]
    found = statuses(document)
    assert found["bare-metal"] == "absent", found
    for row in TOPOLOGY:
        assert found[row] == "best-effort", (row, found[row])
    # All others do not depend on it.
    good = of("good")
    for row in set(good) - TOPOLOGY - {"bare-metal", "microcode"}:
        assert found[row] == good[row], row


@tap.test("--require: what is missing has a name, and an exit status", needs_kvm=False)
def check_require():
    for name, basic, strict in (("good", 0, 0), ("nested", 0, REFUSED), ("empty", REFUSED, REFUSED),
                                ("unsafe", REFUSED, REFUSED), ("desktop", 0, REFUSED),
                                ("one-core", REFUSED, REFUSED)):
        for level, status in (("none", 0), ("basic", basic), ("strict", strict)):
            document = report("--root", folder(name), "--require", level, status=status)
            require = document["require"]
            failed = [row["id"] for row in document["guarantees"]
                      if level != "none" and RANK[row["status"]] < RANK[row[level]]]
            assert require == {"level": level, "met": not failed, "failed": failed}, require
            assert bool(failed) == (status == REFUSED)
    done = host("check", "--root", folder("desktop"), "--require", "strict")
    assert done.returncode == REFUSED and b"not met: " in done.stdout, done
    assert b"swap" in done.stdout.splitlines()[-1]


def misplace(path, generator):
    """Puts in the place of four files what does not belong there."""
    names = [os.path.join(at, name) for at, _, found in os.walk(path) for name in sorted(found)]
    for name, make in zip(generator.sample(sorted(names), 4), (
            os.mkdir, os.mkfifo, lambda name: os.symlink(name, name),
            lambda name: os.symlink("/dev/zero", name))):
        os.unlink(name)
        make(name)


@tap.test("files of rubbish, and a table that no file can break", needs_kvm=False)
def check_garbage():
    document = report("--root", folder("garbage"))
    # These rows ask whether there is such a file.
    there = {"weights-integrity": "best-effort", "module-loading": "enforced",
             "hardware-watchdog": "enforced"}
    claimed = {row: status for row, status in statuses(document).items() if status != "absent"}
    assert claimed == there, claimed
    report("--root", folder("garbage"), "--require", "basic", status=REFUSED)
    done = host("check", "--root", folder("garbage"))
    assert done.returncode == 0
    assert all(byte == 10 or 32 <= byte < 127 for byte in done.stdout), done.stdout
    generator = random.Random(7)
    for number in range(40):
        path = bench.path(f"rubbish-{number}")
        files = dict(HOSTS["good"])
        for name in generator.sample([n for n in files if not n.endswith("/")], 8):
            text = files[name].encode()
            cut = generator.randrange(len(text) + 1)
            files[name] = text[:cut] + generator.randbytes(generator.choice((0, 1, 40, 70000)))
        make_hosts.write(path, files)
        misplace(path, generator)
        document = report("--root", path)
        assert len(document["guarantees"]) == len(HOST_ROWS)
        done = host("tune", "--root", path, timeout=20)
        assert done.returncode in (0, 65, 75, REFUSED), done
        assert done.returncode == 0 or done.stderr.count(b"\n") == 1, done


@tap.test("a row can be explained; what is asked wrongly is refused", needs_kvm=False)
def check_usage():
    done = host("check", "--root", folder("desktop"), "--explain", "swap")
    assert done.returncode == 0, done
    for word in (b"absent", b"without it", b"remedy", b"swapoff", b"strict"):
        assert word in done.stdout, done.stdout
    for arguments, words in ((["check", "--explain", "nonsense"], "nonsense"),
                             (["check", "--require", "much"], "none, basic, strict"),
                             (["check", "extra"], "extra"), (["tell"], "check or tune"),
                             (["tune", "--apply", "--revert"], "one of"), ([], "check or tune")):
        done = host(*arguments)
        assert done.returncode == 64, done
        one_line(done.stderr.decode(), words)
    done = host("check", "--root", bench.path("nowhere"))
    assert done.returncode == 65, done
    for arguments in (["--help"], ["check", "--help"], ["tune", "--help"]):
        done = host(*arguments)
        assert done.returncode == 0 and b"Examples:" in done.stdout, done


def table_rows(path, columns):
    with open(path, encoding="utf-8") as document:
        lines = [line.strip().strip("|").split("|") for line in document if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line) for line in lines if len(line) == columns]


@tap.test("docs/host-check.md has the program's rows, word for word", needs_kvm=False)
def check_documentation():
    rows = report("--root", folder("good"))["guarantees"]
    wanted = [(f"`{row['id']}`", row["meaning"].replace("|", "\\|"),
               row["remedy"].replace("|", "\\|"), row["basic"] or "-", row["strict"] or "-")
              for row in rows]
    table = table_rows(os.path.join(SOURCE, "docs", "host-check.md"), 6)
    found = [(row[0], *row[2:]) for row in table]
    assert found == wanted, [pair for pair in zip(found, wanted) if pair[0] != pair[1]][:3]
    for name, looked_at, *_ in table:
        check_looked_at(name.strip("`"), looked_at.split("`")[1::2])


def check_looked_at(row, sources):
    """What the table says is looked at matters: without it, the row is worse."""
    paths = tuple(source[1:] for source in sources if source.startswith("/"))
    known = [source for source in sources if source in make_hosts.GOOD_FACTS]
    assert paths or known, (row, sources)
    files = make_hosts.without(HOSTS["good"], *paths) if paths else dict(HOSTS["good"])
    if make_hosts.FACTS in files:
        files[make_hosts.FACTS] = make_hosts.facts(
            **{name.replace("-", "_"): "" for name in known})
    path = bench.path(f"blind-{row}")
    make_hosts.write(path, files)
    found = statuses(report("--root", path))[row]
    # A kernel without KSM merges nothing, one without modules loads none; who has no hardware
    # threads needs no file that says so.
    assert RANK[found] < RANK[BEST.get(row, "enforced")] or row in (
        "ksm", "module-loading", "smt"), (row, found)


@tap.test("docs/bare-metal.md has what --cloud-init prints", needs_kvm=False)
def check_cloud_init():
    # Of eight cores, the last mediates: in the document, the host has CPUs 0 and 1.
    root = bench.path("eight")
    make_hosts.write(root, {**HOSTS["good"], **make_hosts.processors([[n] for n in range(8)])})
    done = host("tune", "--root", root, "--cloud-init", "--model-cores", "2-7", "--huge-pages",
                "16GiB")
    assert done.returncode == 0, done
    with open(os.path.join(SOURCE, "docs", "bare-metal.md"), encoding="utf-8") as document:
        text = document.read()
    printed = done.stdout.decode()
    assert printed in text, printed
    line = next(line for line in printed.splitlines() if "GRUB_CMDLINE_LINUX=" in line)
    line = line.split("$GRUB_CMDLINE_LINUX ")[1].rstrip('"')
    assert text.count(line) == 2, line  # alone, for those without cloud-init
    assert " irqaffinity=0-1 " in line, line
    # Interrupts never go to a model core, and the kernel boots on CPU 0.
    for name in ("good", "two-sockets", "chiplets", "hybrid"):
        words = host("tune", "--root", folder(name), "--cloud-init").stdout.decode().split()
        found = {key: cpus(value) for key, _, value in (word.partition("=") for word in words)
                 if key in ("nohz_full", "rcu_nocbs", "irqaffinity")}
        assert found["nohz_full"] == found["rcu_nocbs"] and 0 not in found["nohz_full"], found
        assert not found["nohz_full"] & found["irqaffinity"] and found["irqaffinity"], found


def busy():
    """What VMs of others have of this machine: what is asked here then says little."""
    return used_cores() or reservations()


def wait_for_cores():
    if not wait_until(lambda: not busy(), 120):
        raise Skip(f"VMs of others have cores of this machine: {used_cores()}, {reservations()}")


def undisturbed(attempt):
    """Repeats what came to None, as it does where VMs of others come in between."""
    disturbed = False
    for _ in range(5):
        wait_for_cores()
        result = attempt()
        if result is not None:
            return result
        disturbed |= bool(busy())
    assert disturbed, "it never had its cores, and no VM of anybody else was there"
    raise Skip("VMs of others have cores of this machine, again and again")


def probed():
    """A report with fresh probes."""
    def attempt():
        document = report("--fresh")
        return document if document["probed"] else None

    return undisturbed(attempt)


def run_alone(arguments):
    def attempt():
        ended = bench.run(arguments)
        return ended if ended.status != NO_CORES else None

    return undisturbed(attempt)


@tap.test("this host: probe cells say what other guests find here")
def check_here():
    document = probed()
    found = statuses(document)
    assert list(found) == HOST_ROWS
    for row, guest, attack in (("tsc-access", "attack_cpu.elf", "rdtsc"),
                               ("performance-counters", "attack_cpu.elf", "rdpmc"),
                               ("port-io", "attack_cpu.elf", "out-8"),
                               ("syscall-entry", "attack_cpu.elf", "syscall"),
                               ("code-immutability", "attack_memory.elf", "write-code"),
                               ("code-immutability", "attack_memory.elf", "exec-data")):
        ended = run_alone(["--image", bench.guests[guest], "--", attack])
        stopped = ended.outcome.startswith("violation:")
        assert (found[row] != "absent") == stopped, (row, found[row], ended)
        if row == "syscall-entry" and stopped:
            faulted = ended.result["violation"]["vector"] == PAGE_FAULT
            assert found[row] == ("best-effort" if faulted else "enforced"), ended
    assert found["code-immutability"] == "enforced"
    # The probe itself is the only guest here that asks the processor for its name.
    probe = os.path.join(os.path.dirname(bench.guillotine), "host-probe.elf")
    ended = run_alone(["--image", probe, "--", "cpuid"])
    assert ended.outcome == ("exit:1" if found["cpuid-interception"] == "absent" else "exit:0")
    again = report()
    assert statuses(again) == found
    assert not [name for name in os.listdir("/tmp") if name.startswith("guillotine-probe")]


@tap.test("this host: absent is what is absent, by other means")
def check_here_directly():
    rows = {row["id"]: row for row in probed()["guarantees"]}
    virtual = " hypervisor " in read("/proc/cpuinfo").replace("\n", " \n")
    swaps = len(read("/proc/swaps").splitlines()) > 1
    weak = [name for name in os.listdir("/sys/devices/system/cpu/vulnerabilities")
            if "ulnerable" in read(f"/sys/devices/system/cpu/vulnerabilities/{name}").split(":")[0]]
    for row, is_absent in (
            ("bare-metal", virtual), ("swap", swaps),
            ("numa", len(glob.glob("/sys/devices/system/node/node[0-9]*")) < 2),
            ("cache-partitioning", not os.path.exists("/sys/fs/resctrl/info/L3") and
             " cat_l3 " not in read("/proc/cpuinfo")),
            ("isolated-cpus", not read("/sys/devices/system/cpu/isolated")),
            ("iommu", not glob.glob("/sys/kernel/iommu_groups/*")),
            ("memory-errors", not glob.glob("/sys/devices/system/edac/mc/mc[0-9]*")),
            ("kernel-lockdown", not os.path.exists("/sys/kernel/security/lockdown")),
            ("hardware-watchdog", not os.path.exists("/sys/class/watchdog/watchdog0"))):
        assert (rows[row]["status"] == "absent") == is_absent, rows[row]
    assert not weak or rows["cpu-vulnerabilities"]["status"] == "absent", weak
    if virtual:
        assert not [row for row in TOPOLOGY if rows[row]["status"] == "enforced"]


def check_beside_all(count, runtime):
    """A host check while a VM has `count` cores; None if a VM of somebody else was there first."""
    vm = bench.start(["--placement", "isolated", "--vcpus", str(count), "--name", "all",
                      "--image", bench.guests["attack_hang.elf"], "--", "spin"])
    wait_until(lambda: vm.poll() is not None or b'"all"' in bench.command(
        "ps", "--json", "--runtime-dir", bench.runtime).stdout, 20)
    done = host("check", "--json", "--runtime-dir", runtime)
    vm.terminate()
    ended = bench.finish(vm)
    assert ended.status in (NO_CORES, 128 + 15), ended
    return None if ended.status == NO_CORES else done


@tap.test("probe cells that cannot run say nothing, and nobody remembers it")
def check_no_probe():
    everything = os.cpu_count()
    if everything < 2:
        raise Skip("needs two CPUs")
    runtime = bench.path("elsewhere")
    os.mkdir(runtime, 0o700)
    done = undisturbed(lambda: check_beside_all(everything - 1, runtime))
    document = json.loads(done.stdout)
    SCHEMA.validate(document)
    found = statuses(document)
    assert not document["probed"], document
    for row in ("tsc-access", "cpuid-interception", "syscall-entry", "port-io",
                "performance-counters", "code-immutability"):
        assert found[row] == "absent", row
    assert not os.listdir(runtime), os.listdir(runtime)


@tap.test("a record of this host says what this host says")
def check_record():
    here = probed()
    record = bench.path("record")
    os.mkdir(record)
    assert report("--record", record)["guarantees"] == here["guarantees"]
    there = report("--root", record)
    assert statuses(there) == statuses(here)
    assert [row["value"] for row in there["guarantees"]] == [
        row["value"] for row in here["guarantees"]]
    names = [os.path.join(path, name) for path, _, found in os.walk(record) for name in found]
    assert not [name for name in names if "serial" in name or "address" in name], names
    secrets = [read("/proc/sys/kernel/random/boot_id"), os.uname().nodename]
    for path in ("/etc/machine-id", "/sys/class/dmi/id/product_uuid"):
        secrets += [read(path)] if os.access(path, os.R_OK) else []
    for name in names:
        with open(name, encoding="utf-8", errors="replace") as text:
            content = text.read()
        # A host's name of two letters is in every other word.
        assert not [secret for secret in secrets if len(secret) > 3 and secret in content], name


@tap.test("a launch names the rows that its host lacks")
def check_launch():
    probed()
    rows = {level: json.loads(host("check", "--json", "--require", level, "--runtime-dir",
                                   bench.runtime).stdout)["require"]
            for level in ("basic", "strict")}
    for level, require in rows.items():
        placement = ["--placement", "isolated"] if level == "strict" else []
        ended = bench.run([*placement, "--require", level, "--image", bench.guests["honest.elf"],
                           "--", "exit", "6"])
        if require["met"]:
            assert ended.status == 6 or ended.status == 75, ended
        else:
            assert ended.status == REFUSED, ended
            one_line(ended.stderr, level, *require["failed"][:5])


def settings(root):
    """Everything below a root that tune may change."""
    found = {}
    for path, _, names in os.walk(root):
        for name in names:
            full = os.path.join(path, name)
            if "/run/guillotine" not in full:
                with open(full, encoding="utf-8", errors="replace") as text:
                    found[os.path.relpath(full, root)] = text.read().strip()
    return found


@tap.test("tune: says what it would do, does it, and undoes it", needs_kvm=False)
def check_tune():
    root = bench.path("tuned")
    files = dict(HOSTS["desktop"]) | {
        "proc/irq/10/smp_affinity_list": "2", "proc/irq/default_smp_affinity": "f",
        "sys/devices/virtual/workqueue/cpumask": "f",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "0"}
    files.pop("sys/fs/cgroup/cgroup.controllers")  # its files are the kernel's
    make_hosts.write(root, files)
    before = settings(root)
    plan = host("tune", "--root", root, "--huge-pages", "64MiB")
    assert plan.returncode == 0 and b"CPUs 1-2" in plan.stdout and b"KSM" in plan.stdout, plan
    assert b"32 pages" in plan.stdout and settings(root) == before, plan
    done = host("tune", "--root", root, "--apply", "--model-cores", "2-3", "--huge-pages", "64MiB")
    assert done.returncode == 0, done
    after = settings(root)
    assert after["proc/irq/9/smp_affinity_list"] == "0-1", after
    assert after["proc/irq/10/smp_affinity_list"] == "0-1", after
    assert after["sys/devices/virtual/workqueue/cpumask"] == "3", after
    assert after["sys/kernel/mm/ksm/run"] == "2", after
    assert after["sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"] == "32", after
    # Other cores instead: what was changed before is as it was.
    done = host("tune", "--root", root, "--apply", "--model-cores", "1", "--huge-pages", "2MiB")
    assert done.returncode == 0, done
    after = settings(root)
    assert after["proc/irq/9/smp_affinity_list"] == "0,2-3", after
    assert after["proc/irq/10/smp_affinity_list"] == "2", after
    assert after["sys/devices/virtual/workqueue/cpumask"] == "d", after
    assert after["sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"] == "1", after
    for _ in range(2):  # the second time there is nothing left to do
        done = host("tune", "--root", root, "--revert")
        assert done.returncode == 0 and settings(root) == before, (done, settings(root))


@tap.test("tune refuses cores that it cannot keep, and names those that it should", needs_kvm=False)
def check_tune_cores():
    root = bench.path("untuned")
    files = dict(HOSTS["two-sockets"])
    files.pop("sys/fs/cgroup/cgroup.controllers")
    make_hosts.write(root, files)
    before = settings(root)
    for name, arguments, words in (
            ("one-core", [], ["one core"]), ("empty", [], ["online"]),
            (None, ["--model-cores", "30-33"], ["32-33", "online"]),
            (None, ["--model-cores", "0-31"], ["all CPUs"]),
            (None, ["--model-cores", "0-1", "--cloud-init"], ["CPU 0"])):
        apply = [] if "--cloud-init" in arguments else ["--apply"]
        done = host("tune", "--root", folder(name) if name else root, *apply, *arguments)
        assert done.returncode in (REFUSED, 75) and not done.stdout, done
        one_line(done.stderr.decode(), *words)
    assert settings(root) == before
    # A CPU's hardware thread is half of its core.
    done = host("tune", "--root", root, "--model-cores", "1-2,17")
    assert done.returncode == 0 and b"warning    CPUs 18 share" in done.stdout, done
    done = host("tune", "--root", root, "--model-cores", "1-2,17-18")
    assert done.returncode == 0 and b"warning" not in done.stdout, done


def tunable_state():
    """What a test of tuning has to put back on this machine."""
    state = host_state()
    for path in ("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
                 "/sys/kernel/mm/ksm/run"):
        state[path] = read(path) if os.path.exists(path) else None
    return state


def apply_here(core):
    """Tunes one core, and a few huge pages where the kernel finds them."""
    done = host("tune", "--apply", "--model-cores", core)
    if done.returncode == REFUSED:
        raise Skip(done.stderr.decode().strip())
    assert done.returncode == 0, done
    pages = host("tune", "--apply", "--model-cores", core, "--huge-pages", "4MiB")
    assert pages.returncode in (0, REFUSED), pages
    assert pages.returncode == 0 or b"--revert" in pages.stderr, pages
    return b"kept free" in done.stdout


@tap.test("tune on this host: a VM takes the tuned core, and all is put back")
def check_tune_here():
    if os.geteuid() != 0 or len(os.sched_getaffinity(0)) < 2:
        raise Skip("needs root and two CPUs")
    def attempt():
        before = tunable_state()
        try:
            return tune_and_run()
        finally:
            done = host("tune", "--revert")
            assert done.returncode == 0, done
            assert wait_until(lambda: tunable_state() == before, 60), (before, tunable_state())

    undisturbed(attempt)


def tune_and_run():
    """None if a VM of somebody else was there first."""
    with subprocess.Popen(["sleep", "300"]) as other:
        try:
            kept = apply_here("0")
            assert not kept or 0 not in os.sched_getaffinity(0) | os.sched_getaffinity(other.pid)
            assert reservations().count("tune") == 1
            for _ in range(2):
                vm = bench.start(["--placement", "isolated", "--name", "tuned", "--image",
                                  bench.guests["attack_hang.elf"], "--", "spin"])
                found = wait_placed(vm)
                kept_off = not kept or 0 not in os.sched_getaffinity(other.pid)
                vm.terminate()
                ended = bench.finish(vm)
                if ended.status == NO_CORES or cpus(found["model_cpus"]) != {0}:
                    return None
                assert ended.status == 128 + 15 and not ended.stderr, ended
                assert 0 not in cpus(found["hypervisor_cpus"]) and kept_off, found
                # Between VMs, the core stays tuned.
                assert "tune" in reservations(), reservations()
                assert not kept or 0 not in os.sched_getaffinity(other.pid)
        finally:
            other.kill()
    return True


def wait_placed(vm):
    """The cores of a VM that was started as "tuned", once the keeper has spoken."""
    found = {}

    def look():
        done = bench.command("ps", "--json", "--runtime-dir", bench.runtime)
        rows = [row for row in json.loads(done.stdout) if row["name"] == "tuned"]
        found.update(rows[0]["placement"] if rows else {})
        return vm.poll() is not None or found.get("others_kept_off") is not None

    assert wait_until(look, 30), found
    return found


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
