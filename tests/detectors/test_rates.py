#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Detection and false-alarm rates over the labelled runs: as docs/detectors.md says.

Usage: test_rates.py GUILLOTINE
"""

import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "../../docs/detectors.md")
HARMLESS = ("reader", "worker", "talker", "long")
# The detector that is meant to find it; None: no detector covers it.
ATTACKS = {"canary": "canary", "random": "entropy", "encoded": "entropy", "denied": "denials",
           "burst": "rate", "pauses": "timing", "two-pauses": "timing", "words": None}


def wilson(found, runs, z=1.959964):
    """The 95 % interval of a share."""
    share = found / runs
    middle = share + z * z / (2 * runs)
    half = z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    low, high = (middle - half) / (1 + z * z / runs), (middle + half) / (1 + z * z / runs)
    return max(0.0, low), min(1.0, high)


def percent(found, runs):
    low, high = wilson(found, runs)
    return f"{100 * found / runs:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def replay(guillotine, log):
    done = subprocess.run([guillotine, "detector", "replay", "--json", "--detectors",
                           os.path.join(HERE, "settings.json"), log],
                          check=True, capture_output=True)
    return {json.loads(line)["detector"] for line in done.stdout.splitlines()[:-1]}


def measure(guillotine):
    """For each kind, the detectors that alarmed in each of its runs."""
    kinds = {}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(os.path.join(HERE, "runs.tar.xz")) as archive:
            for member in archive:
                if not member.isfile() or os.path.basename(member.name) != member.name:
                    raise ValueError(f"{member.name} is not one of our files")
                archive.extract(member, folder, set_attrs=False)
        for name in sorted(os.listdir(folder)):
            kind = name.rsplit("-", 1)[0]
            kinds.setdefault(kind, []).append(replay(guillotine, os.path.join(folder, name)))
    return kinds


def table(kinds):
    lines = ["| runs | number | meant to be found by | found by it | any alarm |",
             "| --- | --- | --- | --- | --- |"]
    for kind in (*HARMLESS, *ATTACKS):
        runs = kinds[kind]
        meant = ATTACKS.get(kind)
        found = percent(sum(meant in run for run in runs), len(runs)) if meant else ""
        what = "harmless" if kind in HARMLESS else meant or "none"
        lines.append(f"| `{kind}` | {len(runs)} | {what} | {found} | "
                     f"{percent(sum(bool(run) for run in runs), len(runs))} |")
    harmless = [run for kind in HARMLESS for run in kinds[kind]]
    covered = [meant in run for kind, meant in ATTACKS.items() if meant for run in kinds[kind]]
    lines.append(f"| all harmless | {len(harmless)} | | | "
                 f"{percent(sum(bool(run) for run in harmless), len(harmless))} |")
    lines.append(f"| all that a detector covers | {len(covered)} | | "
                 f"{percent(sum(covered), len(covered))} | |")
    return lines


def main():
    lines = table(measure(os.path.abspath(sys.argv[1])))
    with open(DOCS, encoding="utf-8") as file:
        documented = [line.strip() for line in file]
    missing = [line for line in lines if line not in documented]
    print("1..1")
    print("\n".join("# " + line for line in lines))
    print(f"{'not ' if missing else ''}ok 1 - the rates are those of docs/detectors.md")
    for line in missing:
        print(f"# not there: {line}")
    return 1 if missing else 0


sys.exit(main())
