#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cells that run under a policy document: rules, redaction, holds, escalation (docs/policy.md).

Usage: test_policy_run.py GUILLOTINE GUEST.elf...
"""

import hashlib
import json
import os
import struct
import subprocess
import sys
import time

from guest_test import Bench, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)

ECHO = 1
CONSOLE = {"kind": "console", "rules": [{"name": "say", "outcome": "allow"}]}


def vm(rules, *requests, loopback=None, console=None, denials=None, name="policy", **keys):
    """A VM file: a loopback under these rules, and a guest that sends these requests to it."""
    section = {"kind": "loopback", "rules": rules}
    if denials:
        section["denials"] = denials
    arguments = []
    for request in requests:
        arguments += ["loopback", *request] if isinstance(request, tuple) else \
            ["loopback", str(ECHO), "0", request]
    keys.setdefault("policy", {"format": "guillotine-policy/1",
                               "ports": {"console": CONSOLE, "loopback": section}})
    keys.setdefault("audit", {"file": bench.path(f"{name}-{bench.runs}.audit")})
    return bench.write_vm(f"{name}.json", name=name, image=bench.guests["ask.elf"],
                          arguments=arguments,
                          ports=[{"kind": "console", **(console or {})},
                                 {"kind": "loopback", **(loopback or {})}],
                          **keys), keys["audit"]["file"]


def allow(**keys):
    return {"name": "rest", "outcome": "allow", **keys}


def contains(*texts):
    return {"where": {"payload": {"contains": list(texts)}}}


def of_loopback(log, kind):
    return [record for record in bench.audit(log) if record["type"] == kind and
            record.get("port") == 1 and record["source"] == "vmm"]


def lines(ended):
    return ended.stdout.decode().splitlines()


@tap.test("rules: the first that matches decides; what none allows is denied, and audited")
def check_rules():
    for process in (False, True):
        file, log = vm([{"name": "no-secret", "outcome": "deny", **contains("secret")},
                        allow(name="short", request_bytes={"max": 16})],
                       "hello", "my secret", "a text of more than 16 bytes", ("2", "0", "gone"),
                       loopback={"process": process})
        ended = bench.run([file])
        assert ended.status == 0, ended
        assert lines(ended) == ["0 hello", "13 ", "13 ", "0 "], ended
        decided = [(record["decision"], record["rule"], record.get("document_rule"))
                   for record in of_loopback(log, "request")]
        assert decided == [("allow", "document", 2), ("deny", "document", 1),
                           ("deny", "default-deny", None), ("allow", "document", 2)], decided


@tap.test("redact: requests before backend and log, replies before the guest")
def check_redact():
    file, log = vm([{"name": "mail", "outcome": "redact",
                     "redact": {"request": ["[a-z]+@[a-z.]+"], "reply": ["[0-9]{4,}"]}}],
                   "write to me@a.org at 12345", loopback={"audit": "full"})
    ended = bench.run([file])
    assert lines(ended) == ["0 write to ******** at *****"], ended
    records = bench.audit(log)
    assert [record["decision"] for record in records if record["type"] == "request" and
            record["port"] == 1] == ["redact"], records
    logged = [bytes.fromhex(record["data"])[:record["length_bytes"]] for record in records
              if record["type"] == "payload" and record["port"] == 1]
    assert logged == [b"write to ******** at 12345", b"write to ******** at *****"], logged


@tap.test("escalate: the level rises before any answer; the log names the rule")
def check_escalate():
    file, log = vm([{"name": "keys", "outcome": "escalate", "escalate_to": "offline",
                     **contains("AKIA")}, allow()], "fine", "take AKIA", "after")
    ended = bench.run([file])
    assert ended.status == 81 and "after" not in ended.stdout.decode(), ended
    assert "rule keys" in ended.stderr, ended
    decided = [record["decision"] for record in of_loopback(log, "request")]
    assert decided == ["allow", "escalate"], decided
    ends = [record["decision"] for record in of_loopback(log, "completion")]
    assert ends == ["allow", "gate"], "an answer was delivered behind the gate"
    levels = [record for record in bench.audit(log) if record["type"] == "level"]
    assert levels and levels[-1]["detail"] == 3, levels
    assert b"port loopback: rule keys" in bytes.fromhex(levels[-1]["data"]), levels


@tap.test("escalate: to a level that is in force, it denies and says nothing more")
def check_escalate_again():
    file, log = vm([{"name": "keys", "outcome": "escalate", "escalate_to": "probation",
                     **contains("AKIA")}, allow()], "AKIA 1", "AKIA 2", "AKIA 3", "fine",
                   loopback={"probation": {}}, console={"probation": {}})
    ended = bench.run([file])
    assert ended.status == 0 and lines(ended) == ["13 ", "13 ", "13 ", "0 fine"], ended
    decided = [record["decision"] for record in of_loopback(log, "request")]
    assert decided == ["escalate", "escalate", "escalate", "allow"], decided
    assert ended.stderr.count("rule keys") == 1, ended.stderr


@tap.test("denials: as many as the section says, in its time, raise the level")
def check_denials():
    file, log = vm([allow(**contains("good"))], "good", "bad", "bad", "bad", "good",
                   denials={"count": 3, "within_ms": 60000, "escalate_to": "offline"})
    ended = bench.run([file])
    assert ended.status == 81, ended
    decided = [record["decision"] for record in of_loopback(log, "request")]
    assert decided == ["allow", "deny", "deny", "escalate"], decided


def waiting(name, count=1):
    """The held requests of a VM, once there are so many."""
    def look():
        done = bench.command("approvals", "--json", "--runtime-dir", bench.runtime, name)
        found[:] = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode == 0 and len(found) >= count
    found = []
    assert wait_until(look, 20), f"{name} holds nothing"
    return found


def answer(verdict, name, entry, *options):
    return bench.command(verdict, "--runtime-dir", bench.runtime, *options, name, entry)


HOLD = {"name": "ask-me", "outcome": "hold", **contains("please")}


@tap.test("hold: an approval names the exact request, and counts once")
def check_hold():
    file, log = vm([HOLD, allow()], "please \x1b[31m", "no need", name="held", uuid=UUID)
    process = bench.start([file])
    entry, = waiting("held")
    assert "\x1b" not in entry["payload"] and entry["rule"] == "ask-me", entry
    assert entry["operation"] == "echo" and entry["length_bytes"] == 12, entry
    # The id is what docs/policy.md says it is.
    head = struct.pack("<24s16s32sQQII", b"guillotine-approval/1", bytes.fromhex(
        UUID.replace("-", "")), b"loopback", entry["request"], 0, ECHO, 12)
    assert entry["id"] == hashlib.sha256(head + b"please \x1b[31m").hexdigest(), entry
    done = bench.command("approvals", "--runtime-dir", bench.runtime, "held", entry["id"])
    assert done.stdout == b"please \x1b[31m", done
    done = bench.command("approvals", "--runtime-dir", bench.runtime)
    assert entry["id"][:32].encode() in done.stdout and b"\x1b" not in done.stdout, done
    for wrong in ("0" * 64, entry["id"][:15], entry["id"][:32] + "0" * 32):
        assert answer("approve", "held", wrong).returncode == 1
    done = answer("approve", "held", entry["id"][:32], "--reason", "looks fine", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["verdict"] == "approved", done
    ended = bench.finish(process)
    assert ended.status == 0 and lines(ended) == ["0 please \x1b[31m", "0 no need"], ended
    verdict, = of_loopback(log, "verdict")
    assert verdict["decision"] == "allow" and verdict["verdict"] == "approved", verdict
    approval, = [record for record in bench.audit(log) if record["type"] == "approval"]
    data = bytes.fromhex(approval["data"])
    assert data[:32].hex() == entry["id"] and data[32:].rstrip(b"\0") == b"looks fine", approval
    assert approval["argument"] == os.getuid() and approval["verdict"] == "approved", approval
    assert approval["sequence"] < verdict["sequence"]
    assert bench.command("audit", "verify", "--state-dir", bench.state, log).returncode == 0


UUID = "3f2b7c1e-8a4d-4e5f-9b6a-7c8d9e0f1a2b"


@tap.test("hold: a rejection denies; so does nobody's answer; the same request is asked for again")
def check_reject():
    file, log = vm([{**HOLD, "hold_ms": 60000}, allow()], "please 1", "please 1", name="held")
    process = bench.start([file])
    first, = waiting("held")
    assert answer("reject", "held", first["id"]).returncode == 0
    second, = waiting("held")
    assert second["id"] != first["id"], "an answer for one counts for the other"
    assert answer("approve", "held", first["id"]).returncode == 1
    assert answer("approve", "held", second["id"]).returncode == 0
    ended = bench.finish(process)
    assert lines(ended) == ["13 ", "0 please 1"], ended
    assert [record["verdict"] for record in of_loopback(log, "verdict")] == [
        "rejected", "approved"]
    file, log = vm([{**HOLD, "hold_ms": 1000}, allow()], "please", "fine")
    ended = bench.run([file])
    assert lines(ended) == ["13 ", "0 fine"], ended
    verdict, = of_loopback(log, "verdict")
    assert verdict["verdict"] == "timed-out" and verdict["decision"] == "deny", verdict


@tap.test("hold: large payloads, and ports whose payloads are not logged otherwise")
def check_hold_large():
    file, log = vm([{"name": "all", "outcome": "hold"}], "@65536", name="held",
                   loopback={"process": True})
    process = bench.start([file])
    entry, = waiting("held")
    assert not entry["payload_is_whole"] and entry["length_bytes"] == 65536, entry
    done = bench.command("approvals", "--runtime-dir", bench.runtime, "held", entry["id"])
    assert done.stdout == b"x" * 65536, done
    assert answer("approve", "held", entry["id"]).returncode == 0
    ended = bench.finish(process)
    assert lines(ended) == ["0 " + "x" * 256], ended


@tap.test("hold: at Severed what is held is dropped, and no approval brings it back")
def check_hold_severed():
    file, log = vm([HOLD, allow()], "please", name="held")
    process = bench.start([file])
    entry, = waiting("held")
    done = bench.command("isolate", "--runtime-dir", bench.runtime, "held", "severed")
    assert done.returncode == 0, done
    assert answer("approve", "held", entry["id"]).returncode == 1
    bench.command("isolate", "--runtime-dir", bench.runtime, "held", "offline")
    ended = bench.finish(process)
    assert ended.status == 81 and not ended.stdout, ended
    completion, = of_loopback(log, "completion")
    assert completion["decision"] == "gate" and not of_loopback(log, "verdict"), completion


@tap.test("VM file: a policy by its path, or given on the command line; what is wrong is refused")
def check_files():
    rules = {"format": "guillotine-policy/1",
             "ports": {"console": CONSOLE, "loopback": {"kind": "loopback", "rules": [allow()]}}}
    nothing = {"format": "guillotine-policy/1", "ports": {"console": CONSOLE}}
    bench.write("rules.json", json.dumps(rules))
    file, _ = vm([], "hello", policy="rules.json")
    assert lines(bench.run([file])) == ["0 hello"]
    other = bench.write("nothing.json", json.dumps(nothing))
    file, _ = vm([], "hello", policy="rules.json")
    assert lines(bench.run(["--policy", other, file])) == ["13 "]
    for change, message in (
            ({"policy": "missing.json"}, "missing.json"),
            ({"policy": {**rules, "ports": {"web": {"kind": "console", "rules": []}}}},
             "/policy: policy: the VM has no port named 'web'"),
            ({"policy": {**rules, "ports": {"loopback": CONSOLE}}},
             "port 'loopback' is a console here and a loopback in the VM"),
            ({"policy": {**rules, "colour": 1}}, "/policy/colour: unknown key")):
        file, _ = vm([], "hello", **change)
        ended = bench.run([file])
        assert ended.status == 65, (change, ended)
        one_line(ended.stderr, message)


@tap.test("apply: what only tightens takes effect in the running VM, what loosens does not")
def check_apply():
    rules = [{"name": "few", "outcome": "allow", "limits": {"requests_total": 1000}}]
    file, log = vm(rules, name="live")
    with open(file, encoding="utf-8") as source:
        described = json.load(source)
    # Writes a line for each line that it reads.
    described.update(image=bench.guests["ports.elf"], arguments=["message-echo", "message", "4"],
                     ports=[{"kind": "message"}, {"kind": "console"}])
    message = {"kind": "message", "rules": rules}
    described["policy"]["ports"] = {"console": CONSOLE, "message": message}
    process = bench.start([bench.write("live.json", json.dumps(described))])
    bench.wait_running("live", process)

    def say(text):
        done = bench.command("message", "send", "--runtime-dir", bench.runtime, "--text", text,
                             "live", "message")
        assert done.returncode == 0, done

    def hear():
        return bench.command("message", "receive", "--runtime-dir", bench.runtime, "live",
                             "message").stdout

    def apply(changed, **keys):
        document = json.loads(json.dumps(described["policy"]))
        document["ports"]["message"]["rules"] = changed
        document.update(keys)
        return bench.command("policy", "apply", "--runtime-dir", bench.runtime, "live",
                             bench.write("next.json", json.dumps(document)))

    say("one")
    assert hear() == b"ONE"
    renamed = [{**rules[0], "name": "fresh"}]
    for changed, message_text in ((rules + [allow()], b"permits what was not"),
                                  (renamed, b"would start anew")):
        done = apply(changed)
        assert done.returncode == 1 and message_text in done.stderr, done
    done = apply(rules, ports={"web": CONSOLE})
    assert done.returncode == 1 and b"no port named 'web'" in done.stderr, done
    texts = ["TWO"]
    for _ in range(5):  # each into the other half of the area
        texts.append("x" * len(texts))
        done = apply([{"name": "no-two", "operations": ["send"], "outcome": "deny",
                       "where": {"payload": {"contains": texts}}}, *rules])
        assert done.returncode == 0 and done.stdout == b"in force\n", done
    assert apply(rules).returncode == 1, "the first document is looser now"
    say("three")
    assert hear() == b"THREE"
    say("two")
    ended = bench.finish(process)  # the guest ends when it may not send
    assert ended.outcome == "exit:3", ended
    denied = [record for record in bench.audit(log) if record["type"] == "request" and
              record["decision"] == "deny"]
    assert len(denied) == 1 and denied[0]["document_rule"] == 1, denied
    measures = [record["data"] for record in bench.audit(log) if record["type"] == "measure" and
                record["detail"] == 6]
    assert len(measures) == 6 and len(set(measures)) == 6, measures


@tap.test("apply: what is held keeps the name of its rule, and has to pass the new ones")
def check_apply_held():
    file, log = vm([HOLD, allow()], "please 1", "please 2", name="held")
    process = bench.start([file])
    first, = waiting("held")
    with open(file, encoding="utf-8") as source:
        document = json.load(source)["policy"]
    document["ports"]["loopback"]["rules"].insert(
        0, {"name": "not-one", "outcome": "deny", **contains("1")})
    done = bench.command("policy", "apply", "--runtime-dir", bench.runtime, "held",
                         bench.write("next.json", json.dumps(document)))
    assert done.returncode == 0, done
    entry, = waiting("held")
    assert entry["id"] == first["id"] and entry["rule"] == "ask-me", entry
    assert answer("approve", "held", entry["id"]).returncode == 0
    assert wait_until(lambda: waiting("held")[0]["id"] != first["id"], 20)
    assert answer("approve", "held", waiting("held")[0]["id"]).returncode == 0
    ended = bench.finish(process)
    assert lines(ended) == ["13 ", "0 please 2"], ended
    ends = [record["decision"] for record in of_loopback(log, "completion")]
    assert ends == ["deny", "allow"], ends


@tap.test("watch: each held request once; a model that waits costs nothing")
def check_watch():
    file, _ = vm([HOLD, allow()], "please", name="held")
    process = bench.start([file])
    entry, = waiting("held")
    watch = subprocess.Popen([bench.guillotine, "approvals", "--watch", "--json", "--runtime-dir",
                              bench.runtime], stdout=subprocess.PIPE)
    line = watch.stdout.readline()
    assert json.loads(line)["id"] == entry["id"], line
    time.sleep(1.2)
    watch.terminate()
    assert watch.communicate()[0] == b""
    answer("reject", "held", entry["id"])
    assert lines(bench.finish(process)) == ["13 "]
    bench.check_nothing_left()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
