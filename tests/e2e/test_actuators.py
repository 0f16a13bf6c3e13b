#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Actuators: arming, the command line, commands, and the supervisor's side of it.

Usage: test_actuators.py GUILLOTINE GUEST.elf...
"""

import json
import os
import shutil
import subprocess

from actuator_bench import (ACTUATOR, GUILLOTINE, TIMEOUT_S, act, cli, config, confirmed, finish, path,
                            refused, state_dir, test, write)
from guest_test import Skip, one_line, process_exists, wait_until


# Simulated ones

@test("without a configuration there are simulated actuators, and they say so")
def check_simulated():
    state_dir()
    listed = cli("list", "--json")
    assert listed.returncode == 0, listed.stderr
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [row["class"] for row in rows] == ["reversible", "irreversible", "destructive"], rows
    assert all(row["simulated"] for row in rows), rows
    assert b"SIMULATED" in cli("list").stdout
    done = act("cut")
    confirmed(done, "simulated")
    assert all(event["simulated"] for event in done.events), done
    with open(path("state/actuators/simulated.state"), encoding="utf-8") as file:
        assert file.read() == "off\n"
    confirmed(act("restore", fresh=False), "simulated")
    checked = cli("check", "--json")
    assert checked.returncode == 0, checked
    events = [json.loads(line) for line in checked.stdout.splitlines()]
    assert [event["state"] for event in events[:3]] == ["on"] * 3, events


@test("a state file that holds nonsense is no state")
def check_simulated_damage():
    for text in ("", "off", "offf\n", "off\n\n", "maybe\n", "o" * 5000):
        os.makedirs(path("state/actuators"), mode=0o700, exist_ok=True)
        write("state/actuators/simulated.state", text)
        refused(act("cut", fresh=False), "does not hold a simulated state")


# Arming

FOR_GOOD = {"name": "fuse", "driver": "simulated", "class": "irreversible",
            "state_file": "fuse.state", "retries": 0, "settle_ms": 0}


def fresh_fuse():
    for name in ("fuse.state", "count"):
        if os.path.exists(path(name)):
            os.unlink(path(name))
    state_dir()
    return config(FOR_GOOD)


def arm(file, name="fuse", time_text="10m"):
    return cli("arm", name, "--actuators", file, "--for", time_text, "--reason", "a test")


def note():
    return path("state/actuators/armed/fuse")


def fuse_state():
    if not os.path.exists(path("fuse.state")):
        return None
    with open(path("fuse.state"), encoding="utf-8") as file:
        return file.read()


@test("an irreversible actuator is refused unarmed, fires armed, and once")
def check_arming():
    file = fresh_fuse()
    refused(act("cut-for-good", file, fresh=False), "is not armed")
    assert fuse_state() is None
    done = arm(file)
    assert done.returncode == 0, done.stderr
    assert os.stat(note()).st_mode & 0o777 == 0o600
    assert b"ARMED until" in cli("list", "--actuators", file).stdout
    done = act("cut-for-good", file, fresh=False)
    confirmed(done, "fuse")
    assert done.kinds() == [("armed", "fuse"), ("fired", "fuse"), ("confirmed", "fuse")], done
    assert done.events[0]["detail"] == "a test", done
    assert fuse_state() == "cut-for-good\n"
    assert os.listdir(path("state/actuators/armed")) == []
    refused(act("cut-for-good", file, fresh=False), "is not armed")


@test("reversible actions use no arming, and do not use it up")
def check_arming_other():
    file = fresh_fuse()
    assert arm(file).returncode == 0
    refused(act("cut", file, fresh=False), "no actuator is configured for cut")
    refused(act("destroy", file, fresh=False), "no actuator is configured for destroy")
    act("check", file, fresh=False)
    assert os.path.exists(note())
    assert cli("disarm", "fuse", "--actuators", file).returncode == 0
    assert not os.path.exists(note())
    refused(act("cut-for-good", file, fresh=False), "is not armed")
    one_line(cli("arm", "simulated", "--for", "1m", "--reason", "x").stderr.decode(),
             "reversible")


@test("an arming note that expired, was changed or belongs to another is refused and used up")
def check_arming_notes():
    def change(**keys):
        def apply():
            with open(note(), encoding="utf-8") as file:
                content = json.load(file)
            content.update(keys)
            write("state/actuators/armed/fuse", json.dumps(content))
        return apply

    def text(what):
        return lambda: write("state/actuators/armed/fuse", what)

    def link():
        os.rename(note(), path("elsewhere"))
        os.symlink(path("elsewhere"), note())

    def hard_link():
        os.link(note(), path("twin"))

    cases = [
        (change(expires_wall_s=1), "expired"),
        (change(expires_boot_ms=1), "expired"),
        (change(boot_id="0" * 36), "before the machine was started"),
        (change(config="0" * 64), "another configuration"),
        (change(actuator="other"), "another actuator"),
        (change(more=1), "unknown key"),
        (text(""), "expected"),
        (text("{}"), "missing key"),
        (text("x" * 10000), "larger than"),
        (lambda: os.chmod(note(), 0o644), "mode 0600"),
        (lambda: os.chmod(note(), 0o660), "mode 0600"),
        (link, "Too many levels"),
        (hard_link, "alone"),
    ]
    if os.geteuid() == 0:
        cases.append((lambda: os.chown(note(), 65534, 65534), "alone"))
    for damage, message in cases:
        file = fresh_fuse()
        for name in ("elsewhere", "twin"):
            if os.path.lexists(path(name)):
                os.unlink(path(name))
        assert arm(file).returncode == 0
        damage()
        refused(act("cut-for-good", file, fresh=False), message)
        assert fuse_state() is None, message
        refused(act("cut-for-good", file, fresh=False), "is not armed")


@test("a folder of notes that others may write is refused")
def check_arming_folder():
    file = fresh_fuse()
    assert arm(file).returncode == 0
    os.chmod(path("state/actuators/armed"), 0o770)
    refused(act("cut-for-good", file, fresh=False), "open to others")
    one_line(arm(file).stderr.decode(), "open to others")


@test("arming binds to the configuration")
def check_arming_config():
    file = fresh_fuse()
    assert arm(file).returncode == 0
    config({**FOR_GOOD, "retries": 1})
    refused(act("cut-for-good", file, fresh=False), "another configuration")


@test("a crash between the use of the note and the fire: the note is gone")
def check_arming_crash():
    state_dir()
    killer = {"name": "fuse", "driver": "command", "class": "irreversible", "target": "other",
              "retries": 5, "settle_ms": 0, "fire": ["/bin/sh", "-c", "kill -9 $PPID"],
              "read_back": ["/bin/echo", "off"]}
    file = config(killer)
    assert arm(file).returncode == 0
    process = subprocess.run([ACTUATOR, "--state-dir", path("state"), "--config", file,
                              "cut-for-good"], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert process.returncode == -9 and b'"fired"' not in process.stdout, process
    refused(act("cut-for-good", file, fresh=False), "is not armed")


def strace():
    if not shutil.which("strace"):
        raise Skip("strace is missing")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True,
                      check=False).returncode:
        raise Skip("strace is not allowed here")
    return ["strace", "-qq", "-o", "/dev/null"]


@test("a crash at any step of the use of the note never leaves one that was used")
def check_arming_crash_steps():
    tracer = strace()
    for call in ("renameat", "renameat2", "unlinkat", "unlink", "fsync"):
        for when in (1, 2):
            file = fresh_fuse()
            assert arm(file).returncode == 0
            done = subprocess.run([*tracer, "-e", f"inject={call}:signal=SIGKILL:when={when}",
                                   ACTUATOR, "--state-dir", path("state"), "--config", file,
                                   "cut-for-good"], capture_output=True, timeout=TIMEOUT_S,
                                  check=False)
            fired = fuse_state() is not None or b'"fired"' in done.stdout
            assert not (fired and os.path.exists(note())), (call, when, done)


@test("a note that cannot be removed durably fires nothing")
def check_arming_fsync():
    tracer = strace()
    file = fresh_fuse()
    assert arm(file).returncode == 0
    done = act("cut-for-good", file, prefix=[*tracer, "-e", "inject=fsync:error=EIO"], fresh=False)
    refused(done, "remove the arming note")
    assert fuse_state() is None


# The command line

@test("the command line: what it refuses")
def check_cli():
    state_dir()
    file = config(FOR_GOOD)
    for arguments, status in ((["test", "simulated"], 64), (["test", "nobody", "--yes"], 64),
                              (["arm", "simulated-for-good"], 64), (["frob"], 64), ([], 64),
                              (["list", "x"], 64), (["test"], 64), (["check", "--nope"], 64),
                              (["arm", "simulated-for-good", "--for", "25h", "--reason", "x"], 64),
                              (["arm", "simulated-for-good", "--for", "10", "--reason", "x"], 64),
                              (["arm", "simulated-for-good", "--for", "1m", "--reason", ""], 64),
                              (["arm", "simulated-for-good", "--for", "1m", "--reason", "\x1b[2J"],
                               64),
                              (["test", "fuse", "--yes", "--actuators", file], 64),
                              (["list", "--actuators", path("missing.json")], 65)):
        done = cli(*arguments)
        assert done.returncode == status, (arguments, done)
        one_line(done.stderr.decode(), "guillotine")
    assert b"Examples:" in cli("--help").stdout
    help_text = subprocess.run([ACTUATOR, "--help"], capture_output=True, check=False)
    assert help_text.returncode == 0 and b"Example:" in help_text.stdout


@test("test cuts and restores")
def check_cli_test():
    state_dir()
    done = cli("test", "simulated", "--yes", "--json")
    assert done.returncode == 0, done
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(event["event"], event["action"]) for event in events] == \
        [("fired", "cut"), ("confirmed", "cut"), ("summary", "cut"), ("fired", "restore"),
         ("confirmed", "restore"), ("summary", "restore")], events


@test("test ends no cut: what is off already, or does not answer, is left alone")
def check_cli_test_cut():
    state_dir()
    confirmed(act("cut", fresh=False), "simulated")
    done = cli("test", "simulated", "--yes")
    assert done.returncode == 81, done
    one_line(done.stderr.decode(), "is cut already")
    with open(path("state/actuators/simulated.state"), encoding="utf-8") as file:
        assert file.read() == "off\n"
    write("state/actuators/simulated.state", "maybe\n")
    assert cli("test", "simulated", "--yes").returncode == 1
    with open(path("state/actuators/simulated.state"), encoding="utf-8") as file:
        assert file.read() == "maybe\n"


@test("a configuration that others may write is refused")
def check_config_mode():
    file = config(FOR_GOOD)
    os.chmod(file, 0o666)
    done = act("check", file)
    assert done.status == 65 and "somebody else may write it" in done.stderr, done
    assert cli("check", "--actuators", file).returncode == 65


@test("the example of the documentation is read; run refuses what is no good before it starts")
def check_config_example():
    docs = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/actuators.md")
    with open(docs, encoding="utf-8") as file:
        example = file.read().split("```json")[1].split("```")[0]
    done = cli("list", "--json", "--actuators", write("example.json", example))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == \
        ["bmc", "uplink", "fuse"], done
    bad = write("example.json", example.replace("irreversible", "harmless"))
    done = subprocess.run([GUILLOTINE, "run", "--state-dir", path("state"), "--runtime-dir",
                           path("run"), "--actuators", bad, "--image", "/bin/true"],
                          capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 65, done
    one_line(done.stderr.decode(), "/actuators/2/class", "'harmless' is not one of")


# Commands

def command(fire, read_back, **keys):
    return {"name": "c", "driver": "command", "class": "reversible", "target": "other",
            "fire": fire, "restore": ["/bin/true"], "read_back": read_back, "timeout_ms": 4000,
            "retries": 0, "settle_ms": 0, **keys}


def shell(text):
    return ["/bin/sh", "-c", text]


@test("a command cuts and restores; its environment is PATH, its descriptors are three")
def check_command():
    look = ("import os,json;fds=sorted(os.listdir('/proc/self/fd'));"
            "json.dump([open('/proc/self/environ').read(),fds],open(%r,'w'));"
            "open(%r,'w').write('off')" % (path("seen"), path("device")))
    device = command(["/usr/bin/python3", "-c", look], ["/bin/cat", path("device")],
                     restore=shell(f"echo on > {path('device')}"))
    write("device", "on\n")
    secret = dict(os.environ, SECRET="hidden", LD_BIND_NOW="1")
    with open(os.devnull, "rb") as extra:
        done = act("cut", config(device), env=secret, pass_fds=[extra.fileno()])
    confirmed(done, "c")
    with open(path("seen"), encoding="utf-8") as file:
        environment, descriptors = json.load(file)
    assert environment.startswith("PATH=/") and environment.count("\0") == 1, environment
    # The fourth is the folder that is being listed.
    assert descriptors == ["0", "1", "2", "3"], descriptors
    confirmed(act("restore", config(device)), "c")


@test("what a read-back must say, and only that")
def check_command_read_back():
    for script in ("echo OFF", "echo off; exit 1", "echo off now", "true", "echo; echo off",
                   "echo ' off'", "printf 'off\\0'", "kill -9 $$", "echo on", "exit 3",
                   "printf '\\033[2Joff\\n'"):
        device = command(["/bin/true"], shell(script), timeout_ms=600)
        done = act("cut", config(device))
        refused(done)
        assert "\x1b" not in done.detail(), done
    for argument in (["/nonexistent/program"], [path("actuators.json")]):
        refused(act("cut", config(command(argument, ["/bin/echo", "on"], timeout_ms=600))),
                "could not be executed")


@test("a command that hangs is killed, with all that it started")
def check_command_hang():
    pids = path("pids")
    write("pids", "")
    script = (f"echo $$ >> {pids}; (setsid sh -c 'echo $$ >> {pids}; trap \"\" TERM HUP INT; "
              f"sleep 1000; sleep 1000' &); sleep 1000")
    # The orphan has to be there before the time is over.
    device = command(shell(script), ["/bin/echo", "on"], timeout_ms=2000)
    refused(act("cut", config(device)), "did not end in time and was killed")
    with open(pids, encoding="utf-8") as file:
        started = [int(line) for line in file.read().split()]
    assert len(started) == 2, started
    assert not [pid for pid in started if process_exists(pid)], started


@test("orphans of a command that ended are killed too, and do not delay it")
def check_command_orphans():
    pids = path("pids")
    write("pids", "")
    one = f"setsid sh -c 'echo $$ >> {pids}; exec sleep 1000' &"
    wait = f"while [ $(wc -l < {pids}) -lt 3 ]; do sleep 0.01; done"
    device = command(shell(f"({one} {one} {one}) ; {wait}"), ["/bin/echo", "off"],
                     timeout_ms=20000)
    confirmed(act("cut", config(device)), "c")
    with open(pids, encoding="utf-8") as file:
        started = [int(line) for line in file.read().split()]
    assert len(started) == 3 and not [pid for pid in started if process_exists(pid)], started


@test("a command that floods its output is killed")
def check_command_flood():
    for target in ("", ">&2"):
        device = command(["/bin/true"], shell(f"exec cat /dev/zero {target}"), timeout_ms=3000)
        refused(act("cut", config(device)), "printed more than 65536 bytes")


@test("a device that says off and later on is not believed")
def check_command_lies():
    flips = (f"n=$(cat {path('count')}); echo $((n+1)) > {path('count')}; "
             "if [ $n -lt 2 ]; then echo off; else echo on; fi")
    write("count", "0\n")
    device = command(["/bin/true"], shell(flips), timeout_ms=4000, settle_ms=1000)
    refused(act("cut", config(device)), "said off, then on: it is not believed")


@test("a failure is retried as often as configured, no more")
def check_retries():
    count = f"echo x >> {path('count')}"
    write("count", "")
    device = command(shell(count), ["/bin/echo", "on"], timeout_ms=300, retries=3)
    done = act("cut", config(device))
    refused(done, "the read-back says on")
    assert done.summary["attempt"] == 4, done
    with open(path("count"), encoding="utf-8") as file:
        assert file.read() == "x\n" * 4


@test("the next actuator is tried, in order, until one is confirmed")
def check_fall_back():
    dead = command(["/bin/false"], ["/bin/echo", "on"], name="dead", timeout_ms=200)
    silent = command(["/bin/true"], ["/bin/false"], name="silent", timeout_ms=200)
    good = {"name": "good", "driver": "simulated", "class": "reversible",
            "state_file": "good.state", "settle_ms": 0}
    never = command(shell(f"touch {path('touched')}"), ["/bin/echo", "off"], name="never")
    file = config(dead, silent, FOR_GOOD, good, never)
    done = act("cut", file)
    confirmed(done, "good")
    assert done.kinds() == [("fired", "dead"), ("failed", "dead"), ("fired", "silent"),
                            ("failed", "silent"), ("fired", "good"), ("confirmed", "good")], done
    assert not os.path.exists(path("touched"))
    # Restoring concerns all of them, and is not done while one cannot be confirmed.
    done = act("restore", file)
    assert done.status == 1 and [event["actuator"] for event in done.events
                                 if event["event"] == "confirmed"] == ["dead", "good"], done
    confirmed(act("cut", file, "--actuator", "never"), "never")
    assert act("cut", file, "--actuator", "nobody").status == 64


@test("an actuator that cuts the host itself needs --allow-host-cut")
def check_this_host():
    device = command(shell(f"touch {path('host')}"), ["/bin/echo", "off"], target="this-host")
    refused(act("cut", config(device)), "refused without --allow-host-cut")
    assert not os.path.exists(path("host"))
    confirmed(act("cut", config(device), "--allow-host-cut"), "c")
    assert os.path.exists(path("host"))


@test("nobody listens: the cut goes on")
def check_deaf():
    write("device", "on\n")
    device = command(shell(f"sleep 0.3; echo off > {path('device')}"),
                     ["/bin/cat", path("device")])
    process = subprocess.Popen([ACTUATOR, "--state-dir", state_dir(), "--config", config(device),
                                "cut"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 0


# The supervisor's side: a program that is not what it should be

LINE = {"event": "summary", "action": "check", "actuator": "", "driver": "", "simulated": False,
        "attempt": 0, "state": "unknown", "confirmed": True, "detail": ""}


def with_program(script, *arguments):
    """Runs a copy of guillotine that finds this script as its guillotine-actuator."""
    folder = path("copy")
    os.makedirs(folder, exist_ok=True)
    shutil.copy(GUILLOTINE, os.path.join(folder, "guillotine"))
    write("copy/guillotine-actuator", f"#!/bin/sh\n{script}\n", 0o700)
    state_dir()
    file = config({"name": "e", "driver": "simulated", "class": "reversible", "timeout_ms": 100,
                   "state_file": "e.state", "settle_ms": 0, "retries": 0})
    return subprocess.run([os.path.join(folder, "guillotine"), "actuator", "--state-dir",
                           path("state"), "--actuators", file, *arguments], capture_output=True,
                          timeout=TIMEOUT_S, check=False)


def said(**keys):
    return "echo '" + json.dumps({**LINE, **keys}) + "'"


@test("a program that reports is believed only with its summary and its exit status")
def check_program():
    done = with_program(said(), "check")
    assert done.returncode == 0, done
    for script in (said() + "; exit 1", "exit 0", "exit 127", said() + "; kill -9 $$",
                   said(confirmed=False), said(action="cut"), said() + ";" + said(),
                   said(more=1), said(detail="x" * 256), said(detail="\x1b"), "echo '{}'",
                   "echo", "echo garbage", "printf '%s'" + said()[4:],
                   "cat /dev/zero", "yes '" + json.dumps({**LINE, "event": "fired"}) + "'",
                   "head -c 5000 /dev/zero | tr '\\0' x"):
        done = with_program(script, "check")
        assert done.returncode == 1, (script, done)
        one_line(done.stderr.decode(), "not confirmed")


@test("a program that does not end, silent or not, is killed with its group")
def check_program_hang():
    for script in ("sleep 1000", "exec >&-; sleep 1000", f"{said()}; sleep 1000"):
        write("pids", "")
        done = with_program(f"echo $$ >> {path('pids')}; {script}", "check")
        assert done.returncode == 1, (script, done)
        one_line(done.stderr.decode(), "did not end in time and was killed")
        with open(path("pids"), encoding="utf-8") as file:
            assert not process_exists(int(file.read())), script


@test("the supervisor is killed: the cut goes on")
def check_supervisor_killed():
    write("device", "on\n")
    write("count", "")
    device = command(shell(f"echo x > {path('count')}; sleep 0.5; echo off > {path('device')}"),
                     ["/bin/cat", path("device")], restore=shell(f"touch {path('restored')}"))
    state_dir()
    process = subprocess.Popen([GUILLOTINE, "actuator", "--state-dir", path("state"),
                                "--actuators", config(device), "test", "c", "--yes"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert wait_until(lambda: os.path.getsize(path("count")), 20), "it does not fire"
    process.kill()
    process.communicate()

    def is_off():
        with open(path("device"), encoding="utf-8") as file:
            return file.read() == "off\n"

    assert wait_until(is_off, 20), "the cut died with its supervisor"
    assert not os.path.exists(path("restored"))


@test("a program that is missing is an error")
def check_program_missing():
    with_program("exit 0", "list")
    os.unlink(path("copy/guillotine-actuator"))
    done = subprocess.run([path("copy/guillotine"), "actuator", "--state-dir", path("state"),
                           "check"], capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 70, done
    one_line(done.stderr.decode(), "guillotine-actuator")


if __name__ == "__main__":
    finish()
