#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the concurrency models of docs/concurrency.md with spin, exhaustively.

Usage: check_models.py [MODEL...]

Each model has to hold in all of its states, and to reach each of its statements. Each mutation,
a step left out or at the wrong place, has to be found, and for the right reason: a state in which
somebody waits for ever, or an assertion.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
TIMEOUT_S = 240
MEMORY_MIB = 700
DEPTH = 20000 # the deepest search so far needs a few hundred steps
TRAIL_LINES = 40

# What a mutation has to cause, and the option with which pan passes over the other kind of error.
STUCK = ("invalid end state", "-A")
WRONG = ("assertion violated", "-E")

# Model: its variants, and the mutations of each with the error that they have to cause.
MODELS = {
    "levels": {
        "": {
            "OFFLINE_WITHOUT_KILL": WRONG,
            "PAGE_NOT_RAISED": WRONG,
            "NO_CONFIRM_DEADLINE": WRONG,
            "NO_BEATS_FROM_VMM": WRONG,
            "CONFIRM_WITHOUT_PASS": WRONG,
            "NO_WATCHDOG": WRONG,
        },
        "FALLEN": {
            "NO_SIGNATURE": WRONG,
            "NO_SEQUENCE": WRONG,
            "RAISE_WITHOUT_SEQUENCE": WRONG,
            "NOT_MIRRORED": WRONG,
            "ONE_PAGE": WRONG,
        },
    },
    "poller": {
        "": {
            "DRIVER_NO_FENCE": STUCK,
            "POLLER_NO_FENCE": STUCK,
            "CHECK_BEFORE_ARM": STUCK,
            "THROTTLED_NO_TIMEOUT": STUCK,
            "STOP_NO_WAKE": STUCK,
        },
        "EVENT_INDEX": {
            "DRIVER_NO_FENCE": STUCK,
            "POLLER_NO_FENCE": STUCK,
            "CHECK_BEFORE_ARM": STUCK,
            "COMPARE_EQUAL": STUCK,
        },
        "STORM": {
            "THROTTLED_HEARS": WRONG,
        },
    },
    "park": {
        "": {
            "NO_COMPARE": STUCK,
            "NO_FUTEX_COMPARE": STUCK,
            "PARKED_CHECKED_FIRST": STUCK,
            "LOOKS_BEFORE_COUNT": STUCK,
            "STOP_NOT_CHECKED": STUCK,
            "COPY_STORED_ONCE": WRONG,
            "COPY_NOT_FENCED": WRONG,
        },
        "EVENTS_ON_DEMAND": {
            "COMPLETER_NO_FENCE": STUCK,
            "GUEST_NO_FENCE": STUCK,
        },
    },
    "ring": {
        "": {
            "PUBLISH_NO_FENCE": STUCK,
            "WAIT_DATA_NO_FENCE": STUCK,
            "CONSUME_NO_FENCE": STUCK,
            "WAIT_SPACE_NO_FENCE": STUCK,
            "DATA_FLAG_AFTER_LOOK": STUCK,
            "SPACE_FLAG_AFTER_LOOK": STUCK,
            "WAKE_BEFORE_TAKE": STUCK,
            "HEAD_BEFORE_DATA": WRONG,
        },
        "COALESCED": {
            "PUBLISH_NO_FENCE": STUCK,
            "SLEEP_WITHOUT_NOTIFY": STUCK,
            "LAST_NOT_ANNOUNCED": STUCK,
        },
        "BUSY": {
            "NO_TICK_WHEN_FULL": STUCK,
        },
    },
    "console_input": {
        "": {
            "SILENT_REARM": STUCK,
            "NO_EXCHANGE": STUCK,
        },
    },
    "revoke": {
        "": {
            "NO_EPOCH_WAIT": WRONG,
            "EPOCH_READ_FIRST": WRONG,
            "EPOCH_NOT_LOCKED": WRONG,
            "EPOCH_IN_PASS": WRONG,
            "CLOSE_NO_FENCE": WRONG,
            "OPEN_AT_ONCE": WRONG,
            "NO_WAKE": STUCK,
            "NO_LOOK_BETWEEN_PIECES": WRONG,
            "OWN_PAGE_ONLY": WRONG,
            "HOLD_DROPS": WRONG,
        },
        "TWO_HEADS": {
            "OPEN_AT_ONCE": STUCK,
            "OPEN_NO_WAKE": STUCK,
            "HEADS_KEPT": STUCK,
        },
    },
    "backend": {
        "": {
            "NOT_FAILED": STUCK,
            "DONE_KEPT": WRONG,
            "NO_RESET": WRONG,
            "NOT_DEAD_YET": WRONG,
            "ONE_QUIESCE": WRONG,
            "FORGET_FREES": WRONG,
            "NO_COOKIE": WRONG,
        },
    },
    "durable": {
        "": {
            "LEVEL_BEFORE_HEAD": WRONG,
            "CONSUMED_BEFORE_SYNC": WRONG,
            "LOOKS_AFTER_RECORD": WRONG,
            "NO_MARK": WRONG,
            "TAIL_NOT_CHECKED": WRONG,
            "OBSERVED_INSIDE": WRONG,
            "FLAG_AFTER_LOOK": STUCK,
            "WAIT_NO_FENCE": STUCK,
            "CONSUME_NO_FENCE": STUCK,
            "SLEEP_WITHOUT_FLAG": STUCK,
        },
    },
}


class Check:
    """One model in one variant, sound (without a mutation) or broken in one way."""

    def __init__(self, model, variant, mutation=None, expected=None):
        self.model = os.path.join(FOLDER, model + ".pml")
        self.defines = [f"-D{variant}"] if variant else []
        self.defines += [f"-DMUTATION_{mutation}"] if mutation else []
        self.expected = expected
        self.name = model + (f" {variant}" if variant else "")
        self.name += f": finds {mutation}" if mutation else ""
        self.note = ""

    def run(self):
        """Returns what is wrong, or None."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="guillotine-spin-") as folder:
            try:
                problem = self.search(folder)
            except subprocess.TimeoutExpired as late:
                problem = str(late)
        self.note += f", {time.monotonic() - started:.1f} s"
        return problem

    def search(self, folder):
        # A mutation is found soon: optimizing the program would take longer than running it.
        optimize = "-O0" if self.expected else "-O2"
        for command in (["spin", "-a", *self.defines, self.model],
                        [compiler(), optimize, "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MIB}",
                         "-o", "pan", "pan.c"]):
            done = call(command, folder)
            if done.returncode:
                return " ".join(command) + "\n" + done.stdout
        search = ["./pan", f"-m{DEPTH}", "-w20"]
        if self.expected:
            search.append(self.expected[1])
        text = call(search, folder).stdout
        errors = re.search(r"errors: (\d+)", text)
        states = re.search(r"(\d+) states, stored", text)
        depth = re.search(r"depth reached (\d+)", text)
        if not errors or not states or not depth:
            return text
        self.note = f"{int(states.group(1)):,} states, depth {depth.group(1)}"
        if self.expected:
            return self.judge_mutation(text, int(errors.group(1)))
        return self.judge_model(text, int(errors.group(1)), folder)

    def judge_mutation(self, text, errors):
        if errors != 1:
            return f"{errors} errors, 1 expected\n{text}"
        if f"pan:1: {self.expected[0]}" not in text:
            return f"the error is not: {self.expected[0]}\n{text}"
        return None

    def judge_model(self, text, errors, folder):
        if errors:
            trail = call(["spin", "-t", "-p", "-g", "-l", *self.defines, "-k",
                          os.path.basename(self.model) + ".trail", self.model], folder).stdout
            return text + "\n".join(trail.splitlines()[-TRAIL_LINES:])
        for sign in ("max search depth too small", "Search not completed", "out of memory",
                     "Bit statespace"):
            if sign in text:
                return f"the search is not complete\n{text}"
        # A statement that no path reaches proves nothing: the model would be weaker than it looks.
        unreached = [line for line in re.findall(r'^\t\S+:\d+, state .*$', text, re.MULTILINE)
                     if '"-end-"' not in line]
        if unreached:
            return "never reached:\n" + "\n".join(unreached)
        return None


def compiler():
    return shutil.which("gcc") or shutil.which("cc")


def call(command, folder):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S, check=False)


def make_checks(names):
    checks = []
    for model in names:
        for variant, mutations in MODELS[model].items():
            checks.append(Check(model, variant))
            for mutation, expected in mutations.items():
                checks.append(Check(model, variant, mutation, expected))
    return checks


def main():
    names = sys.argv[1:] or list(MODELS)
    if not set(names) <= set(MODELS):
        sys.exit(f"check_models.py: models are {', '.join(MODELS)}")
    for program, found in (("spin", shutil.which("spin")), ("a C compiler", compiler())):
        if not found:
            print(f"1..0 # SKIP {program} is not installed")
            return 0
    checks = make_checks(names)
    print(f"1..{len(checks)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for number, (check, problem) in enumerate(
                zip(checks, pool.map(Check.run, checks)), 1):
            print(f"{'not ok' if problem else 'ok'} {number} - {check.name}")
            print(f"# {check.note}", flush=True)
            if problem:
                failed += 1
                for line in problem.splitlines():
                    print(f"#   {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
