#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""guillotine policy: check, explain, test, diff, with the document of docs/policy.md.

Usage: test_policy.py GUILLOTINE GUEST.elf...
"""

import json
import os
import re
import sys

from guest_test import Bench, Tap, one_line

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
DOCS = os.path.join(os.path.dirname(__file__), "../../docs")


def example():
    """The document that the documentation shows."""
    with open(os.path.join(DOCS, "policy.md"), encoding="utf-8") as file:
        return json.loads(re.search(r"```json\n(.*?)```", file.read(), re.DOTALL)[1])


def write(name, document):
    return bench.write(name, json.dumps(document))


def explain(path, **request):
    done = bench.command("policy", "explain", "--json", path, json.dumps(request))
    assert done.returncode == 0, done
    decided = json.loads(done.stdout)
    return decided["outcome"], decided["rule"]


@tap.test("check: the example of the documentation")
def check_check():
    path = write("policy.json", example())
    done = bench.command("policy", "check", path)
    assert done.returncode == 0 and done.stdout.startswith(b"1 ports, 4 rules"), done
    assert json.loads(bench.command("policy", "check", "--json", path).stdout)["rules"] == 4
    with open(path, "rb") as file:
        done = bench.command("policy", "check", "-", stdin=file)
    assert done.returncode == 0, done


@tap.test("check: errors have a line, a column, a pointer and what is known")
def check_errors():
    document = example()
    document["ports"]["console"]["rules"][0]["outcome"] = "alow"
    done = bench.command("policy", "check", write("policy.json", document))
    assert done.returncode == 65, done
    one_line(done.stderr.decode(), "/ports/console/rules/0/outcome: 'alow' is not one of: allow")
    assert re.search(r"policy\.json:\d+:\d+: /", done.stderr.decode()), done
    for text in (b"", b"{", b"[]", b'{"format":"guillotine-policy/1","ports":[]}'):
        done = bench.command("policy", "check", bench.write("bad.json", text))
        assert done.returncode == 65, done
        one_line(done.stderr.decode(), "bad.json:1:")
    assert bench.command("policy", "check", bench.path("missing.json")).returncode in (1, 65)
    assert bench.command("policy", "check").returncode == 64
    assert bench.command("policy", "--help").stdout.startswith(b"Usage: guillotine policy check")


@tap.test("explain: the first rule that matches decides; default deny")
def check_explain():
    path = write("policy.json", example())
    say = {"port": "console", "operation": "write"}
    monday, sunday = "2026-11-23T10:00:00Z", "2026-11-22T10:00:00Z"
    assert explain(path, **say, payload="hello", time=monday) == ("allow", "office")
    assert explain(path, **say, payload="hello", time=sunday) == ("deny", "default-deny")
    assert explain(path, **say, payload="h" * 1025, time=monday) == ("deny", "default-deny")
    assert explain(path, **say, payload="me@a.org", time=sunday) == ("redact", "no-mail")
    key = "AKIA0123456789ABCDEF"
    assert explain(path, **say, payload=f"me@a.org {key}") == ("escalate", "no-keys")
    assert explain(path, **say, payload_hex=key.encode().hex()) == ("escalate", "no-keys")
    assert explain(path, port="console", operation="read", argument=7) == ("allow", "read")
    request = bench.write("request.json", json.dumps({**say, "payload": "to me@a.org"}))
    done = bench.command("policy", "explain", path, "@" + request)
    assert done.stdout.decode().splitlines() == [
        "  no-keys                  does not match: payload",
        "  no-mail                  matches",
        "redact, by no-mail"], done
    done = bench.command("policy", "explain", path, '{"port":"web","operation":"write"}')
    assert done.returncode == 65, done
    one_line(done.stderr.decode(), "everything is denied there")


@tap.test("test: an operator's cases pass, or are named")
def check_cases():
    path = write("policy.json", example())
    request = {"port": "console", "operation": "read"}
    cases = [{"name": "may read", "request": request, "outcome": "allow", "rule": "read"},
             {"name": "bad \x1b[31m", "request": request, "outcome": "deny"}]
    file = write("cases.json", {"format": "guillotine-policy-cases/1", "cases": cases})
    done = bench.command("policy", "test", path, file)
    assert done.returncode == 1 and b"\x1b" not in done.stdout, done
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "ok - may read" and lines[1].endswith(": allow by read"), lines
    assert lines[2] == "1 passed, 1 failed", lines
    file = write("cases.json", {"format": "guillotine-policy-cases/1", "cases": cases[:1]})
    assert bench.command("policy", "test", path, file).returncode == 0


@tap.test("diff: a tighter policy, a looser one, the same")
def check_diff():
    path = write("a.json", example())
    assert bench.command("policy", "diff", path, path).stdout == b"only tightens\n"
    tighter = example()
    tighter["ports"]["console"]["rules"][2]["request_bytes"]["max"] = 10
    tighter["ports"]["console"]["denials"]["count"] = 5
    other = write("b.json", tighter)
    assert bench.command("policy", "diff", path, other).returncode == 0
    done = bench.command("policy", "diff", "--json", other, path)
    assert done.returncode == 1, done
    assert [(entry["rule"], entry["what"]) for entry in json.loads(done.stdout)["loosens"]] == [
        ("office", "permits what was not"), ("", "reacts later or less to denials")], done
    reordered = example()
    reordered["ports"]["console"]["rules"].reverse()
    done = bench.command("policy", "diff", path, write("b.json", reordered))
    assert done.returncode == 1 and b"office: permits what was not" in done.stdout, done


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
