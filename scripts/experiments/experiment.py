# SPDX-License-Identifier: Apache-2.0
"""What all experiments share: the command line, the result file, the machine's description.

An experiment makes an `Experiment`, measures, fills `parameters`, `samples`, `results` and
`verdict`, and ends with `finish()`, which writes OUT/NAME.json (docs/experiments.md describes the
format) and prints its path on standard output. Everything else goes to standard error.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import secrets
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FORMAT = "guillotine-experiment/1"
CONFIDENCE = 0.95
SKIPPED = 77  # exit status: this machine cannot run it
BROKEN = 1    # exit status: a promise was broken
HOST_CHECK_S = 60

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
# The end-to-end tests share cores. An experiment gets its own unless told otherwise.
_placement = os.environ.get("GUILLOTINE_PLACEMENT")
from guest_test import Bench, kvm_missing  # noqa: E402

if _placement is None:
    del os.environ["GUILLOTINE_PLACEMENT"]
else:
    os.environ["GUILLOTINE_PLACEMENT"] = _placement


def git(*arguments):
    """What git says of the source tree, or None."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True,
                              timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_fields():
    """What the kernel says of the first processor."""
    fields = {}
    with contextlib.suppress(OSError):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for text in file:
                name, _, value = text.partition(":")
                fields.setdefault(name.strip(), value.strip())
    return fields


def describe_host():
    """The machine, as far as results depend on it and a reader can compare it."""
    cpu = cpu_fields()
    kernel = os.uname()
    return {
        "kernel": f"{kernel.sysname} {kernel.release} {kernel.machine}",
        "cpu_model": cpu.get("model name", "unknown"),
        "cpu_family_model_stepping": "/".join(
            cpu.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "hypervisor": "hypervisor" in cpu.get("flags", "").split(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": sys.version.split()[0],
    }


def host_check(guillotine):
    """`guillotine host check --json`, or (None, why not)."""
    try:
        done = subprocess.run([guillotine, "host", "check", "--json"], capture_output=True,
                              text=True, timeout=HOST_CHECK_S, check=False)
        return json.loads(done.stdout), None
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    except json.JSONDecodeError:
        said = done.stderr.strip().splitlines()
        return None, (f"guillotine host check --json: status {done.returncode}"
                      f"{': ' + said[0] if said else ''}")


def plain(value):
    """A number as JSON can hold it: what is not finite is no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Experiment:
    """One run of an experiment.

    `add_arguments(parser)` adds options of its own. Attributes to fill: parameters, samples,
    shows_not, verdict, events. A violation (a promise that was not kept, as opposed to a result
    that somebody may not like) makes the exit status 1.
    """

    def __init__(self, name, description, add_arguments=None, needs_kvm=True):
        self.name = name
        self.arguments = self._parse(description, add_arguments)
        self.quick = self.arguments.quick
        self.seed = self.arguments.seed
        self.build = os.path.abspath(self.arguments.build)
        self.guillotine = os.path.join(self.build, "guillotine")
        self.parameters = {"quick": self.quick}
        self.samples = {}
        self.results = []
        self.events = []  # things that happened, as objects, in order
        self.figures = []
        self.shows_not = []
        self.violations = []
        self.verdict = ""
        self.begun = time.monotonic()
        self.load = os.getloadavg()[0]  # before it begins: what others do
        self.commit = git("rev-parse", "HEAD") or "unknown"
        # Without git nobody knows.
        self.dirty = git("status", "--porcelain", "--untracked-files=no") != ""
        self.started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._last_progress = 0.0
        missing = kvm_missing() if needs_kvm else None
        if missing:
            self.skip(missing)
        # Before anything else runs: what a run does to the host is no property of the host.
        self.host_check, self.host_check_missing = host_check(self.guillotine)

    def _parse(self, description, add_arguments):
        parser = argparse.ArgumentParser(
            prog=os.path.basename(sys.argv[0]), description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--out", metavar="DIR", default="experiment-results",
                            help="where result and figures go (default %(default)s)")
        parser.add_argument("--seed", type=int, metavar="N", default=secrets.randbelow(1 << 32),
                            help="decides all that is random in the method (default: chosen, and "
                                 "recorded)")
        parser.add_argument("--quick", action="store_true",
                            help="seconds instead of minutes: shows that it works, little more")
        parser.add_argument("--build", metavar="DIR", default=os.path.join(ROOT, "build"),
                            help="build directory (default: the source tree's)")
        if add_arguments:
            add_arguments(parser)
        return parser.parse_args()

    @staticmethod
    def skip(reason):
        """Ends the program, since this machine cannot run it."""
        print(f"SKIPPED: {reason}", file=sys.stderr)
        sys.exit(SKIPPED)

    def progress(self, text, every_s=0.0):
        """A line for people; with `every_s` not more often than that."""
        now = time.monotonic()
        if now - self._last_progress >= every_s:
            self._last_progress = now
            print(f"# {now - self.begun:7.1f} s {self.name}: {text}", file=sys.stderr, flush=True)

    def bench(self):
        """The programs under test, with directories of their own (tests/e2e/guest_test.py).

        A context manager. All guests of the build directory are in its `guests`, by file name.
        """
        folders = [os.path.join(self.build, *parts) for parts in
                   (("tests", "guests"), ("scripts", "experiments", "guests"))]
        guests = [os.path.join(folder, name) for folder in folders if os.path.isdir(folder)
                  for name in os.listdir(folder) if name.endswith(".elf")]
        if not os.path.exists(self.guillotine) or not guests:
            sys.exit(f"{self.name}: nothing is built in {self.build}: meson setup build && "
                     f"ninja -C build, or --build DIR")

        @contextlib.contextmanager
        def opened():
            bench = Bench(self.guillotine, guests)
            try:
                yield bench
            finally:
                bench.clean()
                bench.close()

        return opened()

    def add(self, name, interval, unit):
        """Adds a result from an inference.Interval."""
        self.add_result(name, interval.value, unit, interval.low, interval.high, interval.n,
                        interval.method)

    def add_result(self, name, value, unit, low, high, n, method):
        """Adds a result. A bound that the data do not give is None: unbounded."""
        if any(result["name"] == name for result in self.results):
            raise ValueError(f"two results are named {name}")
        self.results.append({"name": name, "value": plain(value), "unit": unit, "low": plain(low),
                             "high": plain(high), "confidence": CONFIDENCE, "n": n,
                             "method": method})

    def add_count(self, name, value, unit, n, must_be=None):
        """Adds a number that was counted, not estimated; another one than `must_be` is a violation.

        Without that, it may be another one next time: it depends on chance or on the machine.
        """
        bound = None if must_be is None else value
        self.add_result(name, value, unit, bound, bound, n, "count")
        if must_be is not None and value != must_be:
            self.violations.append(f"{name} is {value}, must be {must_be}")

    def figure(self, name, svg):
        """Keeps a figure, to be written beside the result as EXPERIMENT-NAME.svg."""
        self.figures.append((f"{self.name}-{name}.svg", svg))

    def command(self):
        """What repeats this run: the seed is in it, places of this machine are not."""
        words, skip = [], False
        for word in sys.argv[1:]:
            if skip or word.startswith(("--out=", "--build=", "--seed=")):
                skip = False
            elif word in ("--out", "--build", "--seed"):
                skip = True
            else:
                words.append(word)
        script = os.path.relpath(os.path.abspath(sys.argv[0]), ROOT)
        return [script, "--seed", str(self.seed), *words]

    def document(self):
        version = None
        with contextlib.suppress(OSError, ValueError):
            version = json.loads(subprocess.run([self.guillotine, "--version", "--json"],
                                                capture_output=True, timeout=30,
                                                check=False).stdout)
        return {
            "format": FORMAT,
            "experiment": self.name,
            "commit": self.commit,
            "dirty": self.dirty,
            "build_commit": version["commit"] if version else "unknown",
            "command": self.command(),
            "seed": self.seed,
            "started": self.started,
            "seconds": round(time.monotonic() - self.begun, 1),
            "host": describe_host(),
            "load_average": {"before": round(self.load, 2),
                             "behind": round(os.getloadavg()[0], 2)},
            "host_check": self.host_check,
            "host_check_missing": self.host_check_missing,
            "parameters": self.parameters,
            "samples": {name: [plain(value) for value in values]
                        for name, values in self.samples.items()},
            "events": self.events,
            "results": self.results,
            "figures": [name for name, _ in self.figures],
            "violations": self.violations,
            "verdict": self.verdict,
            "shows_not": self.shows_not,
        }

    def finish(self):
        """Writes everything, prints the path; returns the exit status."""
        os.makedirs(self.arguments.out, exist_ok=True)
        for name, svg in self.figures:
            with open(os.path.join(self.arguments.out, name), "w", encoding="utf-8") as file:
                file.write(svg)
        path = os.path.join(self.arguments.out, f"{self.name}.json")
        write_result(path, self.document())
        for result in self.results:
            self.progress(describe(result))
        for text in self.violations:
            self.progress(f"VIOLATION: {text}")
        self.progress(self.verdict)
        print(path, flush=True)
        return BROKEN if self.violations else 0


def describe(result):
    """One result as people write it."""
    low, high = (("unbounded" if bound is None else f"{bound:.6g}")
                 for bound in (result["low"], result["high"]))
    value = "unknown" if result["value"] is None else f"{result['value']:.6g}"
    return (f"{result['name']}: {value} {result['unit']} "
            f"[{low}, {high}] (n {result['n']}, {result['method']})")


def write_result(path, document):
    """One line for each list of samples: small, and still readable."""
    text = json.dumps({**document, "samples": "@samples@", "host_check": "@host@"}, indent=1,
                      allow_nan=False)
    samples = ",\n".join(f"  {json.dumps(name)}: {json.dumps(values, separators=(',', ':'))}"
                         for name, values in document["samples"].items())
    text = text.replace('"@samples@"', "{\n" + samples + "\n }" if samples else "{}", 1)
    text = text.replace('"@host@"', json.dumps(document["host_check"], separators=(",", ":")), 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


KEYS = {"format": str, "experiment": str, "commit": str, "dirty": bool, "command": list,
        "seed": int, "started": str, "host": dict, "parameters": dict, "samples": dict,
        "results": list, "verdict": str, "shows_not": list}
RESULT_KEYS = {"name", "value", "unit", "low", "high", "confidence", "n", "method"}


def check_document(document):
    """Raises ValueError, with the place, unless a document is a result of this format."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"format is not {FORMAT}")
    for key, kind in KEYS.items():
        if not isinstance(document.get(key), kind):
            raise ValueError(f"/{key} is missing or no {kind.__name__}")
    if document.get("host_check") is None and not document.get("host_check_missing"):
        raise ValueError("/host_check is missing without a reason")
    if not document["verdict"] or not document["results"]:
        raise ValueError("no verdict or no results")
    for name, values in document["samples"].items():
        if not all(value is None or isinstance(value, (int, float)) for value in values):
            raise ValueError(f"/samples/{name} has more than numbers")
    for index, result in enumerate(document["results"]):
        if set(result) != RESULT_KEYS:
            raise ValueError(f"/results/{index} has the keys {sorted(result)}")
        low, value, high = (result[key] for key in ("low", "value", "high"))
        if value is not None and (low is not None and low > value or
                                  high is not None and high < value):
            raise ValueError(f"/results/{index}: {value} is not in [{low}, {high}]")


def read_result(path):
    """A result file. Raises ValueError or OSError."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    check_document(document)
    return document
