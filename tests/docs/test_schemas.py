#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The published schemas and the program agree on what is a VM file and a policy document.

Usage: test_schemas.py GUILLOTINE SOURCE
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import jsonschema  # scripts/packages --test installs it

GUILLOTINE, SOURCE = (os.path.abspath(word) for word in sys.argv[1:3])
FOLDER = tempfile.mkdtemp(prefix="guillotine-schema-")


def load(name):
    with open(os.path.join(SOURCE, "docs", name), encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


POLICY, VM = load("policy.schema.json"), load("vm-file.schema.json")


def write(document):
    path = os.path.join(FOLDER, "document.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return path


def program_takes_policy(document):
    done = subprocess.run([GUILLOTINE, "policy", "check", write(document)], capture_output=True,
                          timeout=20, check=False)
    assert done.returncode in (0, 65), done
    return done.returncode == 0


def program_takes_vm(document):
    """The reader is asked for a tool port that there is not: whoever gets so far has read it."""
    done = subprocess.run([GUILLOTINE, "tool", "list", write(document), "no-such-port"],
                          capture_output=True, timeout=20, check=False)
    assert done.returncode in (64, 65), done
    assert done.returncode == 65 or b"no tool port of that name" in done.stderr, done
    return done.returncode == 64


def section(**keys):
    return {"format": "guillotine-policy/1", "ports": {"p": {"kind": "loopback", **keys}}}


def rule(**keys):
    return section(rules=[{"name": "r", "outcome": "allow", **keys}])


def of_kind(kind, **keys):
    return {"format": "guillotine-policy/1", "ports": {"p": {
        "kind": kind, "rules": [{"name": "r", "outcome": "allow", **keys}]}}}


RIGHT_POLICIES = [
    {"format": "guillotine-policy/1", "ports": {}},
    section(rules=[]), rule(), rule(operations=["echo", "discard"]),
    rule(levels=["standard", "probation"]), rule(request_bytes={"min": 1, "max": 9}),
    rule(argument={"min": 0}), rule(where={"payload": {"contains": ["a", "b"]}}),
    rule(where={"payload": {"pattern": "^a+$"}}), rule(where={"payload": {"equals": "x"}}),
    rule(limits={"requests_per_s": 10, "requests_total": 5}),
    rule(outcome="deny"), rule(outcome="hold", hold_ms=1000),
    rule(outcome="escalate", escalate_to="offline"),
    rule(outcome="redact", redact={"request": ["a"], "reply": ["b"]}),
    of_kind("http", where={"host": {"suffix": ".test"}, "path": {"prefix": "/v1/"}}),
    of_kind("tool", operations=["call"], where={"tool": {"equals": "echo"}}),
    of_kind("store", where={"name": {"prefix": "docs/"}}),
    of_kind("clock"), of_kind("entropy"), of_kind("log"), of_kind("message"), of_kind("console"),
]

WRONG_POLICIES = [
    {}, [], {"format": "guillotine-policy/1"}, {"format": "guillotine-policy/2", "ports": {}},
    {"format": "guillotine-policy/1", "ports": []},
    {"format": "guillotine-policy/1", "ports": {}, "more": 1},
    {"format": "guillotine-policy/1", "ports": {"p": {"rules": []}}},
    section(kind="gpu", rules=[]), section(rules={}), section(rule=[]),
    section(rules=[{"outcome": "allow"}]), section(rules=[{"name": "r"}]),
    rule(name=5), rule(name=""), rule(outcome="maybe"), rule(operations="echo"),
    rule(levels=["severed"]), rule(levels=["low"]), rule(request_bytes=5),
    rule(request_bytes={"most": 5}), rule(argument={"min": -1}), rule(where=[]),
    rule(where={"payload": {"like": "x"}}), rule(where={"payload": "x"}),
    rule(limits={"requests": 1}), rule(limits={"requests_per_s": "many"}),
    rule(outcome="hold", hold_ms=0), rule(outcome="escalate", escalate_to="decapitation"),
    rule(outcome="redact", redact={"both": ["a"]}), rule(unknown=1),
    section(rules=[], denials={"count": 0}),
]


def vm(*ports, **keys):
    return {"format": "guillotine-vm/1", "image": "model.elf", "ports": list(ports), **keys}


def port(kind, **settings):
    return vm({"kind": kind, "settings": settings})


ALLOW = [{"origin": "https://api.test", "methods": ["GET", "POST"], "path": "/v1/.*"}]

RIGHT_VMS = [
    {"format": "guillotine-vm/1", "image": "model.elf"}, vm(), vm({"kind": "console"}),
    vm({"kind": "loopback", "name": "l", "process": True, "queues": 2, "timeout_ms": 500}),
    vm({"kind": "message", "limits": {"requests_per_s": 5}, "probation": True}),
    vm({"kind": "console", "operations": ["write"], "audit": "full"}),
    port("clock", resolution_ms=10), port("entropy", seed_hex="ab" * 32),
    port("log", path="m.log"), port("store", path="c.store", quota_bytes=1000),
    port("http", allow=ALLOW), port("http", allow=[], networks=["10.0.0.0/8", "::1"]),
    port("http", allow=ALLOW, nameservers=["10.0.0.53:53"], names={"a.test": ["10.0.0.1"]}),
    port("http", allow=ALLOW, certificate="c.pem", key="k.pem", ca="ca.pem"),
    port("http", allow=ALLOW, proxy="http://10.0.0.1:3128", request_ms=1000),
    port("http", allow=ALLOW, secrets={"a": {"file": "f"}, "b": {"credential": "c"}}, inject=[
        {"origin": "https://api.test", "header": "Authorization", "value": "Bearer secret:a"}]),
    port("tool", command=["/bin/true"], pins="p.json", tools=[{"name": "echo"}]),
    port("tool", command=["/bin/true", "-x"], pins="p.json", tools=[
        {"name": "a", "arguments": {"type": "object"}}], network=True, environment={"A": "b"}),
    port("tool", url="https://mcp.test/mcp", pins="p.json", tools=[]),
    port("tool", url="http://127.0.0.1:3001/mcp", pins="p.json", tools=[],
         http={"networks": ["127.0.0.1/32"]}),
    vm(name="agent", vcpus=1, arguments=["a", "b"], policy={"format": "guillotine-policy/1",
                                                           "ports": {}}),
    vm(audit={"file": "x.audit"}),
    vm(detectors={"doorbells": {"per_s": 5, "level": "offline"}, "rate": {}}),
]

WRONG_VMS = [
    {}, [], {"format": "guillotine-vm/1"}, {"image": "m.elf"},
    {"format": "guillotine-vm/9", "image": "m.elf"}, vm(more=1), vm(name=5), vm(name="a/b"),
    vm(vcpus=0), vm(arguments="a"), vm({}), vm({"kind": "gpu"}), vm({"kind": "console", "x": 1}),
    vm({"kind": "console", "audit": "some"}), vm({"kind": "console", "settings": {}}),
    vm({"kind": "loopback", "queues": 0}), vm({"kind": "loopback", "timeout_ms": 0}),
    vm({"kind": "store"}), vm({"kind": "http"}), vm({"kind": "tool"}),
    port("store"), port("store", path="a", quota=1), port("log", path=5), port("log", file="a"),
    port("entropy", seed_hex="zz"), port("clock", resolution="1s"),
    port("http"), port("http", allow={}), port("http", allow=[{}]),
    port("http", allow=[{"origin": "api.test"}]),
    port("http", allow=[{"origin": "https://api.test", "methods": ["CONNECT"]}]),
    port("http", allow=[], proxy="socks5://10.0.0.1:1"), port("http", allow=[], idle_ms=1),
    port("http", allow=[], secrets={"a": {}}),
    port("http", allow=[], secrets={"a": {"file": "f", "credential": "c"}}),
    port("http", allow=[], inject=[{"origin": "https://a.test"}]),
    port("http", allow=[], certificate="c.pem"), port("http", allow=[], timeout=1),
    port("tool", pins="p", tools=[]), port("tool", command=["/x"], tools=[]),
    port("tool", command=["/x"], pins="p"), port("tool", command=[], pins="p", tools=[]),
    port("tool", command=["/x"], url="https://a.test", pins="p", tools=[]),
    port("tool", command=["/x"], pins="p", tools=[], http={}),
    port("tool", command=["/x"], pins="p", tools=[{}]), port("tool", url=5, pins="p", tools=[]),
    vm(audit={"file": 5}), vm(detectors={"doorbells": {"per_s": 0}}), vm(detectors={"bells": {}}),
]


def documents():
    """JSON that documentation shows, and that the repository has."""
    paths = sorted(glob.glob(os.path.join(SOURCE, "docs/*.md"))) + [
        os.path.join(SOURCE, "README.md")]
    for path in paths:
        with open(path, encoding="utf-8") as file:
            blocks = re.findall(r"```json\n(.*?)```", file.read(), flags=re.S)
        for number, text in enumerate(blocks):
            if text.lstrip().startswith("{"):  # else a part of an object
                yield f"{os.path.basename(path)}, block {number}", json.loads(text)
    for path in glob.glob(os.path.join(SOURCE, "models/*/*.json")):
        with open(path, encoding="utf-8") as file:
            yield os.path.basename(path), json.load(file)


def check_documents():
    seen = 0
    for name, document in documents():
        form = document.get("format") if isinstance(document, dict) else None
        if form == "guillotine-policy/1":
            POLICY.validate(document)
            assert program_takes_policy(document), name
        elif form == "guillotine-vm/1":
            VM.validate(document)
        elif isinstance(document, dict) and "kind" in document:
            VM.validate(vm(document))
        else:
            continue
        seen += 1
    assert seen >= 8, seen


def check_table(schema, takes, right, wrong):
    faults = []
    for document in right:
        faults += [("schema refuses", document, error.message)
                   for error in schema.iter_errors(document)]
        if not takes(document):
            faults.append(("program refuses", document))
    for document in wrong:
        if schema.is_valid(document):
            faults.append(("schema takes", document))
        if takes(document):
            faults.append(("program takes", document))
    assert not faults, "\n".join(str(fault)[:300] for fault in faults)


TESTS = [
    ("what documentation and models show", check_documents),
    (f"{len(RIGHT_POLICIES)} right and {len(WRONG_POLICIES)} wrong policy documents",
     lambda: check_table(POLICY, program_takes_policy, RIGHT_POLICIES, WRONG_POLICIES)),
    (f"{len(RIGHT_VMS)} right and {len(WRONG_VMS)} wrong VM files",
     lambda: check_table(VM, program_takes_vm, RIGHT_VMS, WRONG_VMS)),
]


def main():
    failed = 0
    print(f"1..{len(TESTS)}")
    for number, (name, test) in enumerate(TESTS, 1):
        try:
            test()
            print(f"ok {number} - {name}")
        except (AssertionError, jsonschema.ValidationError) as error:
            failed += 1
            print(f"not ok {number} - {name}")
            for line in str(error).splitlines():
                print(f"#   {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
