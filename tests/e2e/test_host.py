#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""guillotine host: what is said about hosts, on this one and on many that do not exist.

Usage: test_host.py GUILLOTINE GUEST.elf...
"""

import json
import os
import random
import subprocess
import sys

import jsonschema  # scripts/packages --test installs it

from guest_test import Bench, Skip, Tap, one_line

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "hosts"))

import make_hosts  # noqa: E402

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
REFUSED = 77
HOSTS = make_hosts.hosts()
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
    assert len(good) >= 15
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
            rank = {"absent": 0, "best-effort": 1, "enforced": 2, None: 0}
            failed = [row["id"] for row in document["guarantees"]
                      if level != "none" and rank[row["status"]] < rank[row[level]]]
            assert require == {"level": level, "met": not failed, "failed": failed}, require
            assert bool(failed) == (status == REFUSED)
    done = host("check", "--root", folder("desktop"), "--require", "strict")
    assert done.returncode == REFUSED and b"not met: " in done.stdout, done
    assert b"swap" in done.stdout.splitlines()[-1]


@tap.test("files of rubbish, and a table that no file can break", needs_kvm=False)
def check_garbage():
    document = report("--root", folder("garbage"))
    assert statuses(document)["code-immutability"] == "absent"
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
        report("--root", path)


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
    found = table_rows(os.path.join(SOURCE, "docs", "host-check.md"), 5)
    assert found == wanted, [pair for pair in zip(found, wanted) if pair[0] != pair[1]][:3]


@tap.test("docs/bare-metal.md has what --cloud-init prints", needs_kvm=False)
def check_cloud_init():
    done = host("tune", "--cloud-init", "--model-cores", "2-7", "--huge-pages", "16GiB")
    assert done.returncode == 0, done
    with open(os.path.join(SOURCE, "docs", "bare-metal.md"), encoding="utf-8") as document:
        assert done.stdout.decode() in document.read(), done.stdout.decode()


@tap.test("this host: probe cells say what other guests find here")
def check_here():
    document = report("--fresh")
    found = statuses(document)
    assert document["probed"] and len(found) == len(document["guarantees"])
    for row, guest, attack in (("tsc-access", "attack_cpu.elf", "rdtsc"),
                               ("performance-counters", "attack_cpu.elf", "rdpmc"),
                               ("port-io", "attack_cpu.elf", "out-8"),
                               ("code-immutability", "attack_memory.elf", "write-code")):
        ended = bench.run(["--image", bench.guests[guest], "--", attack])
        stopped = ended.outcome.startswith("violation:")
        assert (found[row] == "enforced") == stopped, (row, found[row], ended.outcome)
    assert found["code-immutability"] == "enforced"
    again = report()
    assert statuses(again) == found
    assert not [name for name in os.listdir("/tmp") if name.startswith("guillotine-probe")]


@tap.test("a record of this host says what this host says")
def check_record():
    here = report()
    record = bench.path("record")
    os.mkdir(record)
    assert report("--record", record)["guarantees"] == here["guarantees"]
    there = report("--root", record)
    assert statuses(there) == statuses(here)
    assert [row["value"] for row in there["guarantees"]] == [
        row["value"] for row in here["guarantees"]]
    names = [os.path.join(path, name) for path, _, found in os.walk(record) for name in found]
    assert not [name for name in names if "serial" in name or "address" in name], names


@tap.test("a launch names the rows that its host lacks")
def check_launch():
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
    done = host("tune", "--root", root, "--revert")
    assert done.returncode == 0 and settings(root) == before, (done, settings(root))
    done = host("tune", "--root", folder("one-core"))
    assert done.returncode == REFUSED, done
    one_line(done.stderr.decode(), "one core")


@tap.test("tune on this host: a VM takes the tuned core, and all is put back")
def check_tune_here():
    if os.geteuid() != 0 or len(os.sched_getaffinity(0)) < 2:
        raise Skip("needs root and two CPUs")
    own = os.sched_getaffinity(0)
    try:
        done = host("tune", "--apply", "--model-cores", "0")
        if done.returncode == REFUSED:
            raise Skip(done.stderr.decode().strip())
        assert done.returncode == 0, done
        kept = b"kept free" in done.stdout
        assert not kept or 0 not in os.sched_getaffinity(0), done
        for _ in range(2):
            ended = bench.run(["--require", "basic", "--placement", "isolated", "--image",
                               bench.guests["honest.elf"], "--", "exit", "2"])
            assert ended.status == 2 and not ended.stderr, ended
    finally:
        done = host("tune", "--revert")
    assert done.returncode == 0, done
    assert os.sched_getaffinity(0) == own


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
