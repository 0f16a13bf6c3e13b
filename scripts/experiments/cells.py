# SPDX-License-Identifier: Apache-2.0
"""Cells as experiments run them: one at a time, with a log, and patient where cores are taken."""

import json
import os
import time

# A VM of somebody else on the same cores is no failure of an experiment, it only takes time.
PATIENCE_S = 900
# A machine that runs other work may stop a supervisor for a second. Experiments that are not about
# heartbeats do not end there.
HEARTBEAT = {"period_ms": 30000}
RUN_S = 300
NO_RESOURCES = 75
CORES_TAKEN = "`guillotine ps` shows the cores"  # the refusal's words, whoever is in the way


def busy_port(kind, name=None, **keys):
    """A port that is always polled: what it takes then does not depend on how long it slept."""
    return {"kind": kind, "name": name or kind, "mode": "busy", **keys}


def loopback(name, size, **keys):
    return busy_port("loopback", name, max_request_bytes=size, max_reply_bytes=size, **keys)


class CellRun:
    """How a cell ended, and its log."""

    def __init__(self, bench, ended, log):
        self.bench = bench
        self.ended = ended
        self.log = log
        self.text = ended.stdout.decode(errors="replace")
        self.anomalies_counted = (ended.result or {}).get("anomalies")

    def records(self, kind=None):
        """Records of the log, or those of a type."""
        options = ["--type", kind] if kind else []
        done = self.bench.command("audit", "cat", "--json", *options, self.log)
        if done.returncode != 0:
            raise RuntimeError(f"audit cat: {done.stderr.decode(errors='replace')}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def count(self, *filters):
        """How many records pass these filters of `audit cat`; fast, for hundreds of thousands."""
        done = self.bench.command("audit", "cat", *filters, self.log)
        if done.returncode != 0:
            raise RuntimeError(f"audit cat: {done.stderr.decode(errors='replace')}")
        return done.stdout.count(b"\n")

    def forget(self):
        """Deletes the log: a thousand of them fill a disk."""
        for path in (self.log, self.log + ".checkpoint"):
            if os.path.exists(path):
                os.unlink(path)


def cores_taken(ended):
    return ended.status == NO_RESOURCES and CORES_TAKEN in ended.stderr


def run_cell(bench, image, ports, arguments, timeout=RUN_S, **keys):
    """Runs a guest with these ports to its end; waits while its cores belong to another VM.

    Standard input stays open without data, so that a read of the console is never answered.
    """
    keys.setdefault("heartbeat", HEARTBEAT)
    vm = bench.write_vm("experiment.json", image=bench.guests[image], ports=ports, **keys)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        log = bench.path(f"run-{bench.runs}.audit")
        read_end, write_end = os.pipe()
        try:
            ended = bench.run(["--audit", log, vm, "--", *map(str, arguments)], stdin=read_end,
                              timeout=timeout)
        finally:
            os.close(read_end)
            os.close(write_end)
        if not cores_taken(ended) or time.monotonic() > deadline:
            if not os.path.exists(log):
                raise RuntimeError(f"no cell was started: {ended}")
            return CellRun(bench, ended, log)
        time.sleep(0.5)
