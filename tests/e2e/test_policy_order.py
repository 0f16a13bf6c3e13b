#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A policy document that loosens, put in force by an order of the administrators (docs/policy.md).

Usage: test_policy_order.py GUILLOTINE GUEST.elf...
"""

import hashlib
import json
import os
import socket
import sys
import time

from guest_test import Bench, Tap, one_line, wait_until

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
RUNTIME = ["--runtime-dir", bench.runtime]
NO_TWO = {"name": "no-two", "operations": ["send"], "outcome": "deny",
          "where": {"payload": {"contains": "TWO"}}}
NO_SIX = {"name": "no-six", "operations": ["send"], "outcome": "deny",
          "where": {"payload": {"contains": "SIX"}}}
FEW = {"name": "few", "outcome": "allow", "limits": {"requests_total": 1000}}
OTHER_VM = "01234567-89ab-4def-8123-456789abcdef"


def document(*rules, port="message"):
    return {"format": "guillotine-policy/1", "ports": {
        "console": {"kind": "console", "rules": [{"name": "say", "outcome": "allow"}]},
        port: {"kind": "message", "rules": list(rules)}}}


TIGHT = document(NO_TWO, NO_SIX, FEW)
LOOSE = document(NO_SIX, FEW)


def good(done):
    assert done.returncode == 0, done
    return done


def refused(done, *words, status=1):
    assert done.returncode == status, done
    one_line(done.stderr.decode(), *words)


class Cell:
    """A VM that answers messages in capitals, under TIGHT, with seven administrators or none."""

    def __init__(self, name, keys=True):
        self.name = name
        self.state = bench.path(f"{name}-state")
        self.keys = bench.path(f"{name}-keys")
        self.log = os.path.join(self.state, "audit", f"{name}.audit")
        self.files = 0
        os.mkdir(self.state, 0o700)
        if keys:
            good(bench.command("quorum", "init", "--demo", "--out", self.keys, "--state-dir",
                               self.state))
        self.start()

    def start(self):
        vm = bench.write_vm(f"{self.name}.json", name=self.name, image=bench.guests["ports.elf"],
                            arguments=["message-echo", "message", "100"], policy=TIGHT,
                            ports=[{"kind": "message", "probation": True},
                                   {"kind": "console", "probation": True}])
        self.process = bench.start(["--state-dir", self.state, vm])
        bench.wait_running(self.name, self.process)

    def write(self, content, suffix="json"):
        self.files += 1
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        return bench.write(f"{self.name}-{self.files}.{suffix}", text)

    def propose(self, file, *options):
        self.files += 1
        path = bench.path(f"{self.name}-{self.files}.order")
        good(bench.command("quorum", "propose", *RUNTIME, "--state-dir", self.state, self.name,
                           "policy", file, "--reason", "a test", "--out", path, *options))
        return path

    def sign(self, path, *numbers):
        for number in numbers or (1, 2, 3, 4, 5):
            good(bench.command("quorum", "sign", "--yes", "--json", "--key",
                               os.path.join(self.keys, f"demo-{number}.key"), path))
        return path

    def order(self, file, *options):
        return self.sign(self.propose(file, *options))

    def edited(self, path, **keys):
        """Another order, signed anew by five."""
        with open(path, encoding="utf-8") as source:
            changed = json.load(source)
        changed["order"].update(keys)
        changed["signatures"] = []
        return self.sign(self.write(json.dumps(changed, sort_keys=True, separators=(",", ":"))))

    def apply(self, file, order=None):
        return bench.command("policy", "apply", *RUNTIME, self.name, file,
                             *(["--order", order] if order else []))

    def submit(self, path, *options):
        return bench.command("quorum", "submit", *RUNTIME, "--state-dir", self.state, *options,
                             path)

    def say(self, text):
        good(bench.command("message", "send", *RUNTIME, "--text", text, self.name, "message"))

    def hear(self):
        return bench.command("message", "receive", *RUNTIME, self.name, "message").stdout

    def answers(self, text):
        self.say(text)
        assert self.hear() == text.upper().encode(), text

    def status(self):
        return json.loads(good(bench.command("quorum", "status", *RUNTIME, "--state-dir",
                                             self.state, "--json", self.name)).stdout)

    def isolate(self, level):
        good(bench.command("isolate", *RUNTIME, self.name, level))

    def records(self, kind, detail=None):
        return [record for record in bench.audit(self.log) if record["type"] == kind and
                (detail is None or record["detail"] == detail)]

    def denies(self, text):
        """Ends the guest, which does so when it may not send."""
        self.say(text)
        ended = bench.finish(self.process)
        assert ended.outcome == "exit:3", ended

    def end(self):
        bench.command("kill", self.name, *RUNTIME)
        bench.finish(self.process)


@tap.test("five of seven loosen, four do not; one operator tightens again; a replay changes nothing")
def check_loosening():
    cell = Cell("loosen")
    tight, loose = cell.write(TIGHT), cell.write(LOOSE)
    refused(cell.apply(loose), "not provably tighter", "--order")
    order = cell.sign(cell.propose(loose), 1, 2, 3, 4)
    digest = hashlib.sha256(open(loose, "rb").read()).hexdigest()
    shown = good(bench.command("quorum", "show", order)).stdout.decode()
    assert digest in shown and "PUT IN FORCE" in shown and "policy diff" in shown, shown
    message = good(bench.command("quorum", "show", "--message", order)).stdout
    assert f'"policy":"{digest}"'.encode() in message, message
    refused(cell.apply(loose, order), "too few")
    assert cell.status()["last_sequence"] == 0
    cell.sign(order, 7)
    done = good(cell.apply(loose, order))
    assert done.stdout == b"in force\n", done
    assert cell.status()["last_sequence"] == 1 and cell.status()["level"] == "standard"
    cell.answers("two")
    # What was used under the rule of the same name stays used; what it permits is all as before.
    good(cell.apply(tight))
    refused(cell.apply(loose, order), "sequence number")
    refused(cell.apply(loose), "not provably tighter")
    cell.answers("one")
    cell.denies("two")
    details = [record["detail"] for record in cell.records("quorum")]
    assert len(details) == 3 and details[1] == 0 and details[0] and details[2], details
    accepted = cell.records("quorum", 0)[0]
    assert digest.encode() in bytes.fromhex(accepted["data"]), accepted
    measures = cell.records("measure", 6)
    assert [record["sequence"] > accepted["sequence"] for record in measures] == \
        [False, True, True], measures
    assert measures[0]["data"] == measures[2]["data"] != measures[1]["data"], measures
    # Spent on disk, too: the next run does not take it again.
    assert cell.status()["last_sequence"] == 1
    cell.start()
    refused(cell.apply(loose, order), "sequence number")
    cell.end()


@tap.test("another document, VM, level, key, time or kind of order: refused, and all is as it was")
def check_refusals():
    cell = Cell("refuse")
    loose, other = cell.write(LOOSE), cell.write(document(FEW))
    order = cell.order(loose)
    with open(order, encoding="utf-8") as source:
        signed = json.load(source)
    issued_s = signed["order"]["issued_s"]
    digest = hashlib.sha256(open(other, "rb").read()).hexdigest()

    def changed(**keys):
        """As a forger would: the signatures stay."""
        return cell.write(json.dumps(dict(signed, order=dict(signed["order"], **keys)),
                                     sort_keys=True, separators=(",", ":")))

    signed_level = bench.path("refuse-level.order")
    good(bench.command("quorum", "propose", *RUNTIME, "refuse", "severed", "--reason", "x",
                       "--out", signed_level))
    twice = dict(signed, signatures=signed["signatures"][:4] + signed["signatures"][:1])
    cases = [
        (other, order, "another policy document"),
        (cell.write(open(loose, "rb").read() + b"\n"), order, "another policy document"),
        (other, changed(policy=digest), "not valid"),
        (loose, changed(reason="y"), "not valid"),
        (loose, cell.edited(order, vm=OTHER_VM), "another VM"),
        (loose, cell.edited(order, deployment=OTHER_VM), "another deployment"),
        (loose, cell.edited(order, key_set=2), "version of the key set"),
        (loose, cell.edited(order, **{"from": "severed", "to": "severed"}), "not at the level"),
        (loose, cell.edited(order, issued_s=issued_s + 600, expires_s=issued_s + 900), "future"),
        (loose, cell.edited(order, expires_s=issued_s + 86401), "24 hours"),
        (loose, cell.sign(signed_level), "another kind"),
        (loose, cell.write(json.dumps(twice, sort_keys=True, separators=(",", ":"))), "twice"),
    ]
    for file, path, words in cases:
        refused(cell.apply(file, path), "refused: ", words)
    # Nobody but `policy apply` takes it.
    refused(cell.submit(order), "guillotine policy apply")
    refused(cell.submit(order, "--propose"), "guillotine policy apply")
    recorded = [record["detail"] for record in cell.records("quorum")]
    assert len(recorded) == len(cases) + 2 and 0 not in recorded, recorded
    # An order does not make a document sound, or fit the VM: these are not about the order.
    strange = cell.write(document(FEW, port="web"))
    refused(cell.apply(strange, cell.order(strange)), "no port named 'web'")
    refused(cell.apply(cell.write("{}"), order), "format", status=65)
    refused(cell.apply(loose, loose), "unknown key", status=65)
    short = cell.sign(cell.propose(loose, "--expires", "5s"))
    expires_s = json.load(open(short, encoding="utf-8"))["order"]["expires_s"]
    assert wait_until(lambda: time.time() >= expires_s, 10)
    refused(cell.apply(loose, short), "expired")
    assert len(cell.records("measure", 6)) == 1 and cell.status()["last_sequence"] == 0
    cell.answers("one")
    good(cell.apply(loose, order))  # the order itself was good all the time
    cell.answers("two")
    # A VM that does not run has no document in force.
    cell.end()
    late = cell.order(loose)
    refused(cell.submit(late), "guillotine policy apply")
    assert cell.status()["last_sequence"] == 1


@tap.test("the level changed meanwhile: sign anew; levels and documents share their numbers")
def check_levels():
    cell = Cell("levels")
    loose = cell.write(LOOSE)
    order = cell.order(loose)
    cell.isolate("probation")
    refused(cell.apply(loose, order), "not at the level")
    anew = cell.order(loose)
    down = bench.path("levels-down.order")
    good(bench.command("quorum", "propose", *RUNTIME, "levels", "standard", "--reason", "fine",
                       "--out", down))
    cell.sign(down)
    good(cell.submit(down, "--propose"))
    assert cell.status()["proposal"]["to"] == "standard"
    good(cell.apply(loose, anew))
    assert cell.status()["level"] == "probation" and cell.status()["proposal"] is None
    refused(cell.submit(down), "sequence number")
    again = bench.path("levels-again.order")
    good(bench.command("quorum", "propose", *RUNTIME, "levels", "standard", "--reason", "fine",
                       "--out", again))
    good(cell.submit(cell.sign(again)))
    assert cell.status()["level"] == "standard" and cell.status()["last_sequence"] == 2
    refused(cell.apply(loose, order), "sequence number")
    cell.answers("two")
    # With an order a total may start anew.
    fresh = cell.write(document(NO_SIX, {**FEW, "name": "fresh"}))
    refused(cell.apply(fresh), "not provably tighter")
    good(cell.apply(fresh, cell.order(fresh)))
    cell.answers("three")
    cell.end()


@tap.test("without a key set nothing loosens; what is no order is refused and recorded")
def check_no_keys():
    cell, others = Cell("keyless", keys=False), Cell("others")
    loose = cell.write(LOOSE)
    done = bench.command("quorum", "propose", *RUNTIME, "keyless", "policy", loose, "--reason", "x")
    refused(done, "without a key set", status=64)
    order = others.order(loose)
    refused(cell.apply(loose, order), "no key set")
    text, order = open(loose, "rb").read(), open(order, "rb").read()

    def ask(body, operation="policy-ordered"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.path.join(bench.runtime, "others.sock"))
            client.sendall(json.dumps({"format": "guillotine-control/1", "op": operation,
                                       "length_bytes": len(body)}).encode() + b"\n" + body)
            client.settimeout(10)
            return json.loads(client.makefile().readline())

    assert "permits what was not" in ask(text, "policy")["error"]
    for body in (b"", b"\n", text, text + order, order, order[:-1] + text, b"{}\n" + text,
                 b"x" * 20000 + b"\n" + text):
        assert "error" in ask(body), body[:80]
    assert len(others.records("measure", 6)) == 1
    assert ask(order + text).get("in_force") is True
    others.answers("two")
    others.end()
    cell.end()


@tap.test("propose: a level or a document, and one that is sound", needs_kvm=False)
def check_command_line():
    state = bench.path("line-state")
    os.mkdir(state, 0o700)
    for arguments in (["propose"], ["propose", "a"], ["propose", "a", "b", "c", "d"]):
        refused(bench.command("quorum", *arguments, "--state-dir", state), "arguments", status=64)
    for command in ("quorum", "policy"):
        shown = good(bench.command(command, "--help")).stdout
        assert b"policy FILE" in shown and b"looser.json" in shown, shown
    refused(bench.command("policy", "check", "--order", "x", "y"), "belongs to apply", status=64)


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


sys.exit(main())
