# SPDX-License-Identifier: Apache-2.0
"""What the tests of actuators share: a folder of their own, runs, what a run should have said."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

from guest_test import Tap

GUILLOTINE = os.path.abspath(sys.argv[1])
ACTUATOR = os.path.join(os.path.dirname(GUILLOTINE), "guillotine-actuator")
FOLDER = tempfile.mkdtemp(prefix="guillotine-actuators-")
TIMEOUT_S = 120

tap = Tap()


def test(name):
    return tap.test(name, needs_kvm=False)


def path(name):
    return os.path.join(FOLDER, name)


def write(name, text, mode=0o600):
    with open(path(name), "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path(name), mode)
    return path(name)


def state_dir(fresh=True):
    folder = path("state")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o700)
    return folder


def config(*actuators, name="actuators.json"):
    return write(name, json.dumps({"format": "guillotine-actuators/1",
                                   "actuators": list(actuators)}))


class Done:
    """How a run of guillotine-actuator ended."""

    def __init__(self, process):
        self.status = process.returncode
        self.stderr = process.stderr.decode()
        self.events = [json.loads(line) for line in process.stdout.splitlines()]
        self.summary = self.events[-1] if self.events else None
        if self.events:
            assert self.summary["event"] == "summary", self.events
            assert (self.status == 0) == self.summary["confirmed"], (self.status, self.events)

    def kinds(self):
        return [(event["event"], event["actuator"]) for event in self.events[:-1]]

    def detail(self):
        return " | ".join(event["detail"] for event in self.events)

    def __str__(self):
        return f"status {self.status}, events {self.events}, stderr {self.stderr!r}"


def act(action, file=None, *options, prefix=(), fresh=True, **keys):
    command = [*prefix, ACTUATOR, "--state-dir", state_dir(fresh), *options]
    if file:
        command += ["--config", file]
    return Done(subprocess.run([*command, action], capture_output=True, timeout=TIMEOUT_S,
                               check=False, **keys))


def cli(*arguments):
    return subprocess.run([GUILLOTINE, "actuator", "--state-dir", path("state"), *arguments],
                          capture_output=True, timeout=TIMEOUT_S, check=False)


def confirmed(done, *names):
    assert done.status == 0 and done.summary["confirmed"], done
    assert [event["actuator"] for event in done.events if event["event"] == "confirmed"] == \
        list(names), done


def refused(done, *texts):
    assert done.status != 0, done
    assert not [event for event in done.events if event["event"] == "confirmed"], done
    for text in texts:
        assert text in done.detail(), (text, str(done))


def finish():
    """Runs all tests and ends the program."""
    try:
        good = tap.run()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(0 if good else 1)
