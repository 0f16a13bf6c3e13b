#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tool ports end to end: what a model gets of an MCP server, and what it and the server do not.

Usage: test_tool.py GUILLOTINE GUEST.elf... MCP_SERVERS (the folder of scripts/mcp-servers)
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import sys

from guest_test import (Bench, Tap, one_line, process_exists, process_status, processes_of,
                        wait_until)
from npm_servers import npm_server

bench = Bench(sys.argv[1], sys.argv[2:-1])
tap = Tap(after=bench.clean)
GUEST = bench.guests["tool.elf"]
NPM = os.path.abspath(sys.argv[-1])
HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = "/usr/bin/python3"

OK, FAILED, DENIED, INVALID, TOO_LARGE, LOST, TIMED_OUT, DOWN = 0, 5, 13, 22, 90, 104, 110, 112
LIST, CALL = 1, 2
TOOL, ARGUMENTS, RESULT = 1, 2, 3
ROOT = os.geteuid() == 0

# The server's file, where its sandbox sees it.
SERVER_FOLDER = bench.path("server")
os.mkdir(SERVER_FOLDER, 0o755)
SERVER = os.path.join(SERVER_FOLDER, "mcp_server.py")
shutil.copy(os.path.join(HERE, "mcp_server.py"), SERVER)
os.chmod(SERVER, 0o644)

TOOLS = ["echo", "add", "python", "large", "kinds", "trouble"]


def entries(tools):
    return [{"name": tool} if isinstance(tool, str) else tool for tool in tools]


def write_vm(name="tool.json", mode="", tools=TOOLS, settings=None, vm=None, **port):
    own = {"command": [PYTHON, "-I", SERVER, *([mode] if mode else [])], "read": [SERVER_FOLDER],
           "pins": bench.path("pins.json"), "tools": entries(tools), **(settings or {})}
    return bench.write_vm(name, image=GUEST, ports=[
        {"kind": "console"}, {"kind": "tool", "settings": own, **port}], **(vm or {}))


def tool(*arguments, status=0):
    done = bench.command("tool", *arguments)
    assert done.returncode == status, done
    return done.stdout.decode()


def pin(*arguments, **keys):
    return tool("pin", write_vm(*arguments, **keys), "tool")


def fresh_pins(*arguments, **keys):
    if os.path.exists(bench.path("pins.json")):
        os.unlink(bench.path("pins.json"))
    return pin(*arguments, **keys)


def words(*commands):
    flat = []
    for command in commands:
        flat += [word if isinstance(word, str) else json.dumps(word) for word in command]
    return flat


def call(name, **arguments):
    return ("call", name, arguments)


def retry(name, **arguments):
    return ("retry", name, arguments)


def trouble(how):
    return call("trouble", how=how)


class Answer:
    def __init__(self, line):
        status, _, text = line.partition(" ")
        self.status = int(status)
        self.value = json.loads(text) if text else None
        self.line = line

    @property
    def text(self):
        return self.value["content"]

    def __repr__(self):
        return self.line[:300]


def run(*commands, keep=None, **keys):
    """The answers that a guest gets which does these commands."""
    ended = bench.run([write_vm(**keys), "--", *words(*commands)])
    assert ended.outcome == "exit:0", ended
    if keep is not None:
        keep.append(ended)
    return [Answer(line) for line in ended.stdout.decode().split("\n")[:-1]]


def python(code, **keys):
    """What the server's sandbox says to an expression."""
    answer = run(call("python", code=code), **keys)[0]
    assert answer.status == OK and not answer.value["isError"], answer
    return answer.text


@tap.test("a model lists tools and calls them")
def check_calls():
    fresh_pins()
    answers = run(("list", "0"), call("echo", text="hi \u00e4 \u20ac \" \\ /"), call("add", a=1.5, b=2),
                  call("add", a=1e2, b=-7), call("large", bytes=30000), call("kinds"),
                  ("list", "4"), ("list", "6"), call("echo", text="\n\t\0\u001b"))
    tools, echo, half, sum_, large, kinds, rest, none, control = answers
    assert all(answer.status == OK for answer in answers), answers
    # The server lists them in pages; the model gets them in the order of the grant.
    assert [entry["name"] for entry in tools.value] == TOOLS, tools
    assert tools.value[1]["description"] == "Adds. \u03a9"
    assert tools.value[0]["inputSchema"]["required"] == ["text"]
    assert all(set(entry) == {"name", "description", "inputSchema"} for entry in tools.value)
    assert echo.value == {"content": "hi \u00e4 \u20ac \" \\ /", "isError": False}, echo
    assert (half.text, sum_.text) == ("3.5", "93.0"), answers
    assert large.text == "x" * 30000
    assert kinds.text == "a\nb\n[image]\n[unknown content]\n[resource]", kinds
    assert [entry["name"] for entry in rest.value] == TOOLS[4:] and none.value == []
    assert control.text == "\n\t\0\u001b", control


@tap.test("lists come in as many pages as the reply has room for")
def check_list_pages():
    fresh_pins()
    commands = [("list", str(first)) for first in range(7)]
    answers = run(*commands, max_reply_bytes=512)
    got = [entry["name"] for entry in answers[0].value]
    assert got == TOOLS[:len(got)] and 0 < len(got) < 6, got
    assert [entry["name"] for entry in answers[len(got)].value][0] == TOOLS[len(got)]
    assert answers[6].value == []
    answers = run(*commands, max_reply_bytes=200)
    assert answers[0].status == TOO_LARGE and answers[6].value == [], answers


@tap.test("tools that are not granted, not pinned or not there do not exist")
def check_unknown():
    pin(tools=["hidden"])
    fresh_pins(tools=["echo", "add"])
    names = ["hidden", "python", "none", "", "Echo", "echo ", "echo\u0000", "ech", "echo2", "x" * 500,
             "tools/list", "../echo"]
    payloads = [("raw", str(CALL), "0", fields((TOOL, name), (ARGUMENTS, "{}"))) for name in names]
    answers = run(("list", "0"), *payloads, tools=["echo", "add", "python", "nothing"])
    assert [entry["name"] for entry in answers[0].value] == ["echo", "add"], answers[0]
    assert [answer.status for answer in answers[1:]] == [DENIED] * len(names), answers
    # Without a file of pins there is no tool at all.
    os.unlink(bench.path("pins.json"))
    answers = run(("list", "0"), call("echo", text="x"))
    assert answers[0].value == [] and answers[1].status == DENIED, answers


def fields(*pairs):
    """A payload made of fields, as hexadecimal digits."""
    payload = b""
    for number, value in pairs:
        value = value.encode() if isinstance(value, str) else value
        payload += struct.pack("<II", number, len(value)) + value + bytes(-len(value) % 8)
    return payload.hex()


REFUSED = [
    ("echo", {}), ("echo", {"text": 1}), ("echo", {"text": None}), ("echo", {"text": ["x"]}),
    ("echo", {"text": "x", "more": 1}), ("echo", {"Text": "x"}), ("echo", {"text": "x" * 20001}),
    ("add", {"a": 1}), ("add", {"a": 1, "b": 1.5}), ("add", {"a": -0.6, "b": 1}),
    ("add", {"a": "1", "b": 1}), ("add", {"a": 1, "b": 1, "c": 1}), ("add", {"a": True, "b": 1}),
    ("kinds", {"any": 1}),
]
NO_OBJECT = ["", "[]", "1", "\"x\"", "null", "{", "{}x", "{'text':1}", "{\"text\":\"x\",\"text\":\"y\"}",
             "{\"text\":\"\\ud800\"}", "[" * 100, "{\"a\":1e999,\"b\":1}", "\ufeff{}"]


@tap.test("arguments that the pinned schema does not take never reach the server")
def check_arguments():
    fresh_pins()
    answers = run(*(("call", name, arguments) for name, arguments in REFUSED),
                  *(("call", "echo", text) for text in NO_OBJECT),
                  call("python", code="calls"), ("call", "echo", "{\"text\": \"\\u0041\"}"))
    for answer, what in zip(answers, REFUSED + NO_OBJECT):
        assert answer.status == INVALID and answer.value["isError"], (what, answer)
        assert all(0x20 <= ord(c) < 0x7f for c in answer.text), answer
    assert answers[-2].text == "1", answers[-2]
    assert answers[-1].text == "A"
    said = " ".join(answer.text for answer in answers)
    bad = (b'{"text":"\xff"}', b'{"text":"\xc0\xaf"}', b'{"text":"\xed\xa0\x80"}', b'{"te\0xt":"x"}')
    answers = run(*(("raw", str(CALL), "0", fields((TOOL, "echo"), (ARGUMENTS, text))) for text in bad))
    assert [answer.status for answer in answers] == [INVALID] * len(bad), answers
    assert "a required member is missing: text" in said and "not granted: more" in said, said


@tap.test("the operator's schema narrows the server's")
def check_narrower():
    narrow = {"name": "echo", "arguments": {"type": "object", "required": ["text"], "properties": {
        "text": {"type": "string", "enum": ["yes", "no"]}}}}
    wide = {"name": "add", "arguments": {"type": "object", "additionalProperties": True}}
    odd = {"name": "odd", "arguments": {"type": "object", "properties": {"x": {"type": "integer"}}}}
    fresh_pins(tools=[narrow, wide, odd])
    answers = run(call("echo", text="yes"), call("echo", text="maybe"), call("add", a=1, b=2, c=3),
                  call("odd", x=3), call("odd", x="3"), tools=[narrow, wide, odd])
    assert [answer.status for answer in answers] == [OK, INVALID, INVALID, OK, INVALID], answers
    # A schema that cannot be read is no schema: such a tool needs one of the operator.
    answers = run(call("odd", x=3), ("list", "0"), tools=["odd"])
    assert answers[0].status == DENIED and answers[1].value == [], answers
    row = json.loads(tool("list", "--json", write_vm(tools=["odd"]), "tool"))
    assert row[0]["state"] == "unchecked", row


@tap.test("requests that are none are refused")
def check_requests():
    fresh_pins()
    good = (TOOL, "echo"), (ARGUMENTS, '{"text":"x"}')
    asked = [
        (OK, fields(*good)), (INVALID, ""), (INVALID, "00"), (INVALID, fields(good[0])),
        (INVALID, fields(good[1])), (INVALID, fields(good[1], good[0])),
        (INVALID, fields(*good, (RESULT, "x"))), (INVALID, fields(good[0], good[0], good[1])),
        (INVALID, fields(*good) + "00"), (INVALID, fields(*good)[:-2] + "01"),
        (INVALID, "01000000ffffffff"), (INVALID, fields((16, "x"))),
    ]
    answers = run(*(("raw", str(CALL), "0", payload) for _, payload in asked),
                  ("raw", "0", "0", ""), ("raw", "3", "0", ""))
    got = [answer.status for answer in answers]
    assert got == [status for status, _ in asked] + [DENIED, DENIED], got
    answers = run(("list", "0"), call("echo", text="x"), operations=["list"])
    assert [answer.status for answer in answers] == [OK, DENIED], answers


@tap.test("a tool whose description is not the pinned one is refused, the others go on")
def check_changed():
    fresh_pins()
    for mode in ("changed", "schema", "annotated"):
        answers = run(("list", "0"), call("echo", text="x"), call("add", a=1, b=2), mode=mode)
        assert [entry["name"] for entry in answers[0].value] == TOOLS[1:], (mode, answers)
        assert [answer.status for answer in answers] == [OK, DENIED, OK], (mode, answers)
        rows = json.loads(tool("check", "--json", write_vm(mode=mode), "tool", status=1))
        assert [(row["name"], row["state"]) for row in rows] == [("echo", "changed")], rows
    # What is said is what counts, not in which order.
    answers = run(("list", "0"), mode="reordered")
    assert [entry["name"] for entry in answers[0].value] == TOOLS, answers
    assert tool("check", write_vm(mode="reordered"), "tool") == ""
    # Approved anew, it is there again.
    pin(mode="changed")
    assert run(call("echo", text="x"), mode="changed")[0].status == OK
    assert run(call("echo", text="x"))[0].status == DENIED


@tap.test("a description that changes while the model runs is refused from then on")
def check_change():
    fresh_pins()
    answers = run(call("echo", text="x"), trouble("answer and change"), call("echo", text="x"),
                  call("add", a=1, b=2), ("list", "0"))
    assert [answer.status for answer in answers] == [OK, OK, DENIED, OK, OK], answers
    assert [entry["name"] for entry in answers[4].value] == TOOLS[1:]


@tap.test("replies are bounded by the grant")
def check_reply_size():
    fresh_pins()
    answers = run(call("large", bytes=100), call("large", bytes=5000), call("large", bytes=3 << 20),
                  call("echo", text="x"), max_reply_bytes=1024)
    assert [answer.status for answer in answers] == [OK, TOO_LARGE, TOO_LARGE, OK], answers


# What the call gets, and what the operator reads if the process ends with it.
TROUBLE = {
    "no JSON": (LOST, "nonsense: no JSON"), "half": (LOST, "nonsense: no JSON"),
    "binary": (LOST, "nonsense: no JSON"), "number": (LOST, "no object"),
    "batch": (LOST, "no object"), "deep": (LOST, "no JSON"),
    "long line": (LOST, "a line of more than"), "endless line": (LOST, "a line of more than"),
    "other id": (LOST, "an answer to nothing"), "negative id": (LOST, "an answer to nothing"),
    "text id": (LOST, "without a number"), "greet again": (LOST, "a greeting that is none"),
    "flood": (LOST, "does not stop talking"), "requests": (LOST, ("does not stop talking", "does not read")),
    "exit": (LOST, "has gone"), "crash": (LOST, "has gone"), "close": (LOST, "has gone"),
    "no result": (FAILED, None), "wrong result": (FAILED, None), "wrong content": (FAILED, None),
    "wrong isError": (FAILED, None), "error": (OK, None), "is error": (OK, None),
    "nothing": (TIMED_OUT, None), "list again": (TIMED_OUT, None),
    "announce all day": ((LOST, TIMED_OUT), ("does not stop talking", "died")),
    "ping": (OK, None), "server asks": (OK, None),
}


def check_trouble(how):
    wanted, words_ = TROUBLE[how]
    kept = []
    answers = run(trouble(how), retry("echo", text="and on"), keep=kept,
                  timeout_ms=500 if TIMED_OUT in (wanted if isinstance(wanted, tuple) else [wanted])
                  else 10000, restart={"max": 1000, "delay_ms": 0})
    got, later = answers
    assert got.status == wanted or isinstance(wanted, tuple) and got.status in wanted, (how, answers)
    assert later.status == OK and later.text == "and on", (how, answers)
    said = kept[0].stderr
    if words_:
        words_ = (words_,) if isinstance(words_, str) else words_
        assert any(word in said for word in words_), (how, said)
        assert all(0x20 <= ord(c) < 0x7f or c == "\n" for c in said), said
    else:
        assert not said, (how, said)
    return got


for _how in TROUBLE:
    tap.add(f"a server that does this costs the call, not the cell: {_how}",
            lambda how=_how: check_trouble(how))


@tap.test("errors of the server are results")
def check_errors():
    fresh_pins()
    assert check_trouble("error").value == {"content": "it \u001b[31m broke", "isError": True}
    assert check_trouble("is error").value == {"content": "it failed", "isError": True}
    assert json.loads(check_trouble("ping").text) == {"id": "p", "result": {}, "jsonrpc": "2.0"}
    asked = json.loads(check_trouble("server asks").text)
    assert asked["id"] == 77 and asked["error"]["code"] == -32601, asked


@tap.test("a server that sleeps for ever is started anew")
def check_sleep():
    kept = []
    answers = run(trouble("sleep"), retry("echo", text="awake"), keep=kept, timeout_ms=400,
                  restart={"max": 1000, "delay_ms": 0})
    assert answers[0].status == TIMED_OUT and answers[1].text == "awake", answers
    assert "hangs" in kept[0].stderr or "did not answer in time" in kept[0].stderr, kept[0]


@tap.test("a server that dies too often is down for good, and the cell goes on")
def check_down():
    kept = []
    answers = run(trouble("exit"), call("echo", text="x"), call("echo", text="x"), keep=kept,
                  restart={"max": 0})
    assert answers[0].status == LOST and answers[2].status == DOWN, answers
    assert "down for good" in kept[0].stderr


START = {
    "mute": (75, "did not list its tools in 700 ms"),
    "exits": (75, "the server has gone"),
    "floods": (75, "does not stop talking"),
    "babbles": (75, "nonsense: no JSON"),
    "old": (75, "none of the revisions"),
    "two": (75, "two tools of one name"),
    "endless list": (75, "without an end"),
}


@tap.test("a server that cannot be used from the start ends the launch, with its reason")
def check_start():
    fresh_pins()
    for mode, (status, reason) in START.items():
        settings = {"start_ms": 700 if mode == "mute" else 20000}
        ended = bench.run([write_vm(mode=mode, settings=settings), "--", "list", "0"])
        assert ended.status == status, (mode, ended)
        one_line(ended.stderr, "port tool", reason)
        done = bench.command("tool", "list", write_vm(mode=mode, settings=settings), "tool")
        assert done.returncode == 1, (mode, done)
        one_line(done.stderr.decode(), reason)
    ended = bench.run([write_vm(settings={"directory": "/root"}), "--", "list", "0"])
    assert ended.status == 75, ended
    one_line(ended.stderr, "directory /root", "No such file")
    commands = {
        "No such file": ["/usr/bin/no-such-program"],
        "Permission denied": ["/etc/ld.so.cache"],
        # Not in the sandbox, whatever the host has there.
        "No such file or": ["/etc/passwd"],
    }
    for reason, command in commands.items():
        ended = bench.run([write_vm(settings={"command": command}), "--", "list", "0"])
        assert ended.status == 75, ended
        one_line(ended.stderr, "port tool", command[0], reason)


@tap.test("the number of audit records is the number of requests, at VMM and backend")
def check_audit():
    fresh_pins()
    log = bench.path("tool.audit")
    commands = [("list", "0"), call("echo", text="secret words"), call("hidden"), call("add", a=1),
                call("large", bytes=10), ("raw", "9", "0", ""), ("repeat", "20", "add", '{"a":1,"b":2}')]
    ended = bench.run(["--audit", log, write_vm(audit="full"), "--", *words(*commands)])
    assert ended.outcome == "exit:0", ended
    records = [record for record in bench.audit(log) if record.get("port") == 1]
    for source, wanted in (("vmm", 26), ("backend", 25)):  # operation 9 is denied by the VMM
        own = [record for record in records if record["source"] == source]
        for kind in ("request", "completion"):
            count = sum(record["type"] == kind for record in own)
            assert count == wanted, (source, kind, count)
    done = bench.command("audit", "cat", "--json", log)
    assert b"secret words" in done.stdout or b"secret words".hex().encode() in done.stdout


@tap.test("a policy decides by tool and arguments, and asks people")
def check_policy():
    fresh_pins()
    policy = {"format": "guillotine-policy/1", "ports": {
        "console": {"kind": "console", "rules": [{"name": "all", "outcome": "allow"}]},
        "tool": {"kind": "tool", "rules": [
            {"name": "list", "operations": ["list"], "outcome": "allow"},
            {"name": "ask", "operations": ["call"], "where": {"tool": {"equals": "python"}},
             "outcome": "hold", "hold_ms": 1000},
            {"name": "no-mail", "operations": ["call"], "where": {
                "tool": {"equals": "echo"}, "arguments": {"contains": "@"}}, "outcome": "deny"},
            {"name": "secret", "operations": ["call"], "where": {"tool": {"equals": "echo"}},
             "outcome": "redact", "redact": {"reply": ["swordfish"]}}]}}}
    answers = run(("list", "0"), call("echo", text="hello"), call("echo", text="a@b"),
                  call("add", a=1, b=2), call("python", code="calls"),
                  call("echo", text="it is swordfish"), vm={"policy": policy})
    assert [answer.status for answer in answers] == [OK, OK, DENIED, DENIED, DENIED, OK], answers
    assert answers[5].text == "it is *********", answers[5]


# What the server's sandbox holds.


@tap.test("the server is nobody, in namespaces of its own, without rights")
def check_identity():
    fresh_pins()
    status = dict(line.split(":\t", 1) for line in python("open('/proc/self/status').read()")
                  .splitlines() if ":\t" in line)
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        # Without root, the bounding set is that of a user namespace which owns nothing.
        if ROOT or capabilities != "CapBnd":
            assert int(status[capabilities], 16) == 0, status
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
    if ROOT:
        users = status["Uid"].split()
        assert len(set(users)) == 1 and int(users[0]) >= 0x70000000, users
        assert status["Groups"].strip() == "", status
    assert python("os.uname().nodename") == "tool"
    assert python("[name for name in os.listdir('/proc') if name.isdigit()]") == "['1', '2']"
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts")}
    seen = json.loads(python("__import__('json').dumps({name: os.readlink('/proc/self/ns/' + name) "
                             "for name in ('mnt', 'pid', 'net', 'ipc', 'uts')})"))
    assert not set(own.values()) & set(seen.values()), (own, seen)
    environment = eval(python("dict(os.environ)"))  # of this test's own server
    assert {key: value for key, value in environment.items() if key != "LC_CTYPE"} == {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}, environment
    assert python("os.getcwd()") == "/"
    assert python("os.getcwd()", settings={"directory": SERVER_FOLDER}) == SERVER_FOLDER
    environment = eval(python("dict(os.environ)", settings={"environment": {"A_KEY": "its value"}}))
    assert environment["A_KEY"] == "its value"


FORBIDDEN = {
    "unshare": "__import__('ctypes').CDLL(None).unshare(0x10000000)",
    "clone": "__import__('ctypes').CDLL(None).syscall(56, 0x10000011, 0, 0, 0, 0)",
    "mount": "__import__('ctypes').CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "chroot": "os.chroot('/tmp')",
    "setuid": "os.setuid(0)",
    "ptrace": "__import__('ctypes').CDLL(None).ptrace(16, 1, 0, 0)",
    "vsock": "socket.socket(40, socket.SOCK_STREAM)",
    "netlink": "socket.socket(16, socket.SOCK_RAW)",
    "packet": "socket.socket(17, socket.SOCK_RAW)",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "mknod": "os.mknod('/tmp/kvm', 0o20666, os.makedev(10, 232))",
    "bpf": "__import__('ctypes').CDLL(None).syscall(321, 0, 0, 0)",
    "io_uring": "__import__('ctypes').CDLL(None).syscall(425, 1, 0)",
    "keyctl": "__import__('ctypes').CDLL(None).syscall(250, 0, -3, 0)",
    "sethostname": "socket.sethostname('other')",
}


@tap.test("the server makes no namespace, mount, device or odd socket")
def check_calls_denied():
    answers = run(*(call("python", code=code) for code in FORBIDDEN.values()))
    for what, answer in zip(FORBIDDEN, answers):
        refused = answer.text == "-1" or "Error" in answer.text
        assert answer.status == OK and refused, (what, answer)


@tap.test("the server sees the system's programs, what it was granted, and nothing else")
def check_paths():
    secret = bench.write("secret.txt", "not for servers")
    data = bench.path("data")
    os.makedirs(data, exist_ok=True)
    with open(os.path.join(data, "file.txt"), "w", encoding="utf-8") as file:
        file.write("granted")
    os.chmod(data, 0o755)
    keys = {"settings": {"read": [SERVER_FOLDER, data]}}
    assert python(f"open({data + '/file.txt'!r}).read()", **keys) == "granted"
    assert sorted(eval(python(f"os.listdir({bench.folder!r})", **keys))) == ["data", "server"]
    hidden = [secret, "/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/sys", "/boot", "/dev/kvm",
              "/dev/mem", "/dev/tty", "/dev/shm", "/run/guillotine", "/proc/cpuinfo", "/proc/kallsyms",
              "/proc/sys", "/.old", bench.runtime, bench.state, sys.argv[1], data + "/../secret.txt"]
    answers = run(*(call("python", code=f"os.stat({path!r})") for path in hidden), **keys)
    for path, answer in zip(hidden, answers):
        assert answer.text.startswith(("FileNotFoundError", "PermissionError")), (path, answer)
    top = eval(python("os.listdir('/')", **keys))
    assert set(top) <= {"usr", "bin", "sbin", "lib", "lib64", "libx32", "lib32", "etc", "dev", "proc",
                        "run", "tmp", data.split("/")[1]}, top
    writes = ["/x", "/usr/x", "/bin/x", "/etc/x", "/run/x", "/dev/x", data + "/x", SERVER,
              data + "/file.txt"]
    answers = run(*(call("python", code=f"open({path!r}, 'w').write('x')") for path in writes), **keys)
    for path, answer in zip(writes, answers):
        assert re.match("(OSError|PermissionError)", answer.text), (path, answer)
    with open(os.path.join(data, "file.txt"), encoding="utf-8") as file:
        assert file.read() == "granted"
    # Its temporary files are its own, bounded, and no programs.
    assert python("open('/tmp/x', 'w').write('#!/bin/sh\\n')") == "10"
    assert "OSError" in python("[open('/tmp/big', 'ab').write(bytes(1 << 20)) for _ in range(200)]")
    assert "PermissionError" in python(
        "[open('/tmp/p', 'w').write('x'), os.chmod('/tmp/p', 0o777), os.execv('/tmp/p', ['p'])]")
    assert not os.path.exists("/tmp/x")


@tap.test("what the server may write belongs to somebody who is not root, and it runs as that")
def check_write():
    folder = bench.path("writable")
    os.makedirs(folder, exist_ok=True)
    keys = {"settings": {"write": [folder]}}
    if ROOT:
        ended = bench.run([write_vm(**keys), "--", "list", "0"])
        assert ended.status == 75, ended
        one_line(ended.stderr, "no server runs as root", folder)
        os.chown(folder, 12345, 12346)
    assert python(f"open({folder + '/out'!r}, 'w').write('made')", **keys) == "4"
    with open(os.path.join(folder, "out"), encoding="utf-8") as file:
        assert file.read() == "made"
    if ROOT:
        status = os.stat(os.path.join(folder, "out"))
        assert (status.st_uid, status.st_gid) == (12345, 12346)
        assert python("os.getuid(), os.getgid()", **keys) == "(12345, 12346)"
    # No programs, no devices, no way out by a link.
    assert "PermissionError" in python(
        f"[os.chmod({folder + '/out'!r}, 0o777), os.execv({folder + '/out'!r}, ['x'])]", **keys)
    os.symlink("/etc/passwd", os.path.join(folder, "link"))
    assert "FileNotFoundError" in python(f"open({folder + '/link'!r}).read()", **keys)


@tap.test("the server has no network unless it is granted")
def check_network():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
        port = listener.getsockname()[1]
        local.bind("\0guillotine-test-tool")
        local.listen()
        connect = f"socket.create_connection(('127.0.0.1', {port}), 5)"
        unix = "socket.socket(socket.AF_UNIX).connect('\\0guillotine-test-tool')"
        assert python(connect).startswith(("ConnectionRefusedError", "OSError"))
        devices = python("open('/proc/self/net/dev').read()").splitlines()[2:]
        assert [line.split(":")[0].strip() for line in devices] == ["lo"], devices
        assert python(unix).startswith("ConnectionRefusedError")
        assert "Error" in python("socket.create_connection(('1.1.1.1', 53), 5)")
        granted = {"settings": {"network": True}}
        assert "socket" in python(connect, **granted)
        assert python("os.stat('/etc/hosts').st_size > 0", **granted) == "True"
        assert "FileNotFoundError" in python("os.stat('/etc/passwd')", **granted)


@tap.test("the server's memory, processes and files are bounded")
def check_bounds():
    keys = {"settings": {"memory_bytes": 64 << 20, "processes": 8}}
    assert python("len(bytes(200 << 20))") == str(200 << 20)
    assert python("len(bytes(200 << 20))", **keys).startswith("MemoryError")
    if ROOT:  # who is not root shares the count with all of his processes
        said = python("[__import__('subprocess').Popen(['/bin/sleep', '100']) for _ in range(50)]", **keys)
        assert said.startswith("BlockingIOError"), said
    assert "Too many open files" in python("[open('/dev/null') for _ in range(5000)]")
    assert "Error" in python("open('/tmp/x', 'w').truncate(2 << 30)")


def servers():
    """Processes of the test's server, wherever they run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if SERVER.encode() in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            continue
    return [pid for pid in found if process_exists(pid)]


def tool_processes(process):
    return processes_of(process, "guillotine-tool")


@tap.test("the server ends with its port's process, whatever ends that")
def check_end():
    assert wait_until(lambda: not servers(), 10), servers()
    # Also what it started, and what left its session.
    spawn = call("python", code="__import__('subprocess').Popen(['/bin/sleep', '7654'], "
                                "start_new_session=True).pid")
    path = write_vm(restart={"max": 1000, "delay_ms": 0})
    process = bench.start(["--name", "ends", path, "--",
                           *words(spawn, ("repeat", "100000000", "add", '{"a":1,"b":2}'))])
    bench.wait_running("ends", process)
    assert wait_until(lambda: len(servers()) == 1, 10)
    sleeping = lambda: [pid for pid in filter(str.isdigit, os.listdir("/proc"))
                        if command_of(pid) == b"/bin/sleep\x007654\0"]
    assert wait_until(sleeping, 10)
    server = servers()[0]
    children = [pid for pid in tool_processes(process)]
    assert len(children) == 1, children
    os.kill(children[0], signal.SIGKILL)
    assert wait_until(lambda: not process_exists(server), 10)
    assert wait_until(lambda: not sleeping(), 10), "what the server started is left"
    bench.finish(process)  # a call was lost: the guest ends
    process = bench.start(["--name", "ends", path, "--",
                           *words(("repeat", "100000000", "add", '{"a":1,"b":2}'))])
    bench.wait_running("ends", process)
    assert wait_until(servers, 10)
    assert bench.command("kill", "ends", "--runtime-dir", bench.runtime).returncode == 0
    bench.finish(process)
    assert wait_until(lambda: not servers(), 10), "the server outlives the VM"


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


@tap.test("the port's process has two pipes, a filter, an empty root and nothing else")
def check_process():
    process = bench.start(["--name", "process", write_vm(), "--",
                           *words(("repeat", "100000000", "add", '{"a":1,"b":2}'))])
    bench.wait_running("process", process)
    pid = tool_processes(process)[0]
    assert wait_until(lambda: process_status(pid)["Seccomp"] == "2", 10)
    now = process_status(pid)
    assert now["NoNewPrivs"] == "1" and int(now["CapEff"], 16) == int(now["CapPrm"], 16) == 0, now
    if ROOT:
        assert now["Uid"].split() == ["65534"] * 4, now
        assert not os.listdir(f"/proc/{pid}/root")
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        files = [link for link in links if link.startswith("/") and link != "/dev/null"
                 and not link.startswith("/memfd:")]
        assert not files, files
    assert bench.command("kill", "process", "--runtime-dir", bench.runtime).returncode == 0
    bench.finish(process)


# The commands.


@tap.test("guillotine tool: list, check, pin", needs_kvm=False)
def check_commands():
    pins = bench.path("pins.json")
    if os.path.exists(pins):
        os.unlink(pins)
    path = write_vm(tools=["echo", "add", "nothing"])
    rows = json.loads(tool("list", "--json", path, "tool"))
    assert [(row["name"], row["state"]) for row in rows] == [
        ("echo", "unpinned"), ("add", "unpinned"), ("nothing", "missing")], rows
    assert rows[0]["tool"]["inputSchema"]["properties"]["text"]["maxLength"] == 20000
    assert "tool" not in rows[2] and rows[2]["sha256"] == ""
    assert not os.path.exists(pins)
    # The digest is that of the canonical text, which others can make too.
    sys.path.insert(0, HERE)
    import mcp_server
    for row, entry in zip(rows[:2], mcp_server.TOOLS):
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert row["sha256"] == hashlib.sha256(text.encode()).hexdigest(), row
    done = bench.command("tool", "pin", path, "tool")
    assert done.returncode == 1 and not os.path.exists(pins), done
    one_line(done.stderr.decode(), "the server does not offer nothing")
    said = tool("pin", path, "tool", "add")
    assert said.startswith("add: pinned\n") and rows[1]["sha256"] in said, said
    with open(pins, encoding="utf-8") as file:
        assert json.load(file) == {"format": "guillotine-tool-pins/1",
                                   "tools": {"add": rows[1]["sha256"]}}
    said = tool("check", path, "tool", status=1)
    assert "echo: unpinned" in said and "nothing: missing" in said and "add:" not in said, said
    tool("pin", path, "tool", "echo")
    with open(pins, encoding="utf-8") as file:
        assert set(json.load(file)["tools"]) == {"add", "echo"}
    assert tool("check", write_vm(tools=["echo", "add"]), "tool") == ""
    # A terminal gets nothing but text.
    said = tool("list", write_vm(tools=["echo"]), "tool")
    assert all(c == "\n" or 0x20 <= ord(c) < 0x7f for c in said)
    done = bench.command("tool", "pin", path, "tool", "other")
    one_line(done.stderr.decode(), "no tool other")
    for arguments in (["list", path, "console"], ["list", path, "none"]):
        done = bench.command("tool", *arguments)
        assert done.returncode == 64, done
        one_line(done.stderr.decode(), "no tool port of that name")
    for arguments in ([], ["list"], ["list", path], ["frob", path, "tool"], ["list", path, "tool", "x"],
                      ["list", "--frob", path, "tool"]):
        done = bench.command("tool", *arguments)
        assert done.returncode == 64, (arguments, done)
    for arguments in (["--help"], ["list", "--help"]):
        done = bench.command("tool", *arguments)
        assert done.returncode == 0 and b"Examples:" in done.stdout, done


@tap.test("files of pins that are none are refused by line and column", needs_kvm=False)
def check_pins():
    digest = "0" * 64
    cases = {
        '{"format":"guillotine-tool-pins/1","tools":{"echo":"%s"}}' % digest: None,
        "": "pins.json:1:1", "[]": "an object is expected",
        '{"format":"guillotine-tool-pins/2","tools":{}}': "this version reads",
        '{"format":"guillotine-tool-pins/1"}': "missing key 'tools'",
        '{"format":"guillotine-tool-pins/1","tools":{},"x":1}': "unknown key",
        '{"format":"guillotine-tool-pins/1","tools":[]}': "an object is expected",
        '{"format":"guillotine-tool-pins/1","tools":{"echo":1}}': "a string is expected",
        '{"format":"guillotine-tool-pins/1","tools":{"echo":"00"}}': "64 lower-case",
        '{"format":"guillotine-tool-pins/1","tools":{"echo":"%s"}}' % ("A" * 64): "64 lower-case",
    }
    for text, reason in cases.items():
        bench.write("pins.json", text)
        done = bench.command("tool", "list", write_vm(tools=["echo"]), "tool")
        assert done.returncode == (65 if reason else 0), (text, done)
        if reason:
            one_line(done.stderr.decode(), "pins.json", reason)


# Real servers.


def real(name, tools, *arguments, **settings):
    """Keys for run() with one of the servers of npm, its tools pinned as they are."""
    keys = {"tools": tools, "settings": {"command": [*npm_server(NPM, name), *arguments],
                                         "read": [NPM], **settings}}
    fresh_pins(**keys)
    return keys


def writable(name):
    folder = bench.path(name)
    os.makedirs(folder, exist_ok=True)
    if ROOT:
        os.chown(folder, 12345, 12345)
    return folder


@tap.test("server-everything")
def check_everything():
    tools = ["echo", "get-sum", "get-tiny-image", "get-env", "get-structured-content",
             "get-resource-links", "trigger-long-running-operation", "toggle-simulated-logging"]
    keys = real("everything", tools, "stdio")
    answers = run(("list", "0"), call("echo", message="hello"), call("get-sum", a=1.5, b=2.25),
                  call("get-sum", a="1", b=2), call("get-tiny-image"), call("get-env"),
                  call("get-structured-content", location="Chicago"),
                  call("get-structured-content", location="Paris"), call("get-resource-links", count=2),
                  call("toggle-simulated-logging"), call("print-env"),
                  call("trigger-long-running-operation", duration=0.2, steps=2), **keys)
    assert [entry["name"] for entry in answers[0].value] == tools, answers[0]
    statuses = [answer.status for answer in answers]
    assert statuses == [OK, OK, OK, INVALID, OK, OK, OK, INVALID, OK, OK, DENIED, OK], answers
    assert answers[1].text == "Echo: hello" and "3.75" in answers[2].text, answers
    assert "[image]" in answers[4].text and "[resource_link]" in answers[8].text, answers
    assert set(json.loads(answers[5].text)) == {"PATH", "HOME", "LANG"}, answers[5]
    assert "temperature" in json.loads(answers[6].text), answers[6]


@tap.test("server-filesystem")
def check_filesystem():
    folder = writable("files")
    tools = ["read_text_file", "write_file", "list_directory", "edit_file", "move_file"]
    keys = real("filesystem", tools, folder, write=[folder])
    inside, outside = os.path.join(folder, "a.txt"), bench.write("outside.txt", "no")
    answers = run(call("write_file", path=inside, content="one\ntwo\n"),
                  call("read_text_file", path=inside), call("read_text_file", path=inside, head=1),
                  call("list_directory", path=folder), call("read_text_file", path=outside),
                  call("write_file", path="/etc/x", content="x"),
                  call("read_text_file", path=folder + "/../outside.txt"),
                  call("edit_file", path=inside, edits=[{"oldText": "two", "newText": "2"}]),
                  call("write_file", path=inside), **keys)
    assert [answer.status for answer in answers] == [OK] * 8 + [INVALID], answers
    assert answers[1].text == "one\ntwo\n" and "two" not in answers[2].text, answers
    assert "[FILE] a.txt" in answers[3].text
    assert all(answers[i].value["isError"] for i in (4, 5, 6)), answers
    with open(inside, encoding="utf-8") as file:
        assert file.read() == "one\n2\n"


@tap.test("server-memory")
def check_memory():
    folder = writable("memory")
    file = os.path.join(folder, "graph.jsonl")
    tools = ["create_entities", "search_nodes", "read_graph"]
    keys = real("memory", tools, write=[folder], environment={"MEMORY_FILE_PATH": file})
    entity = {"name": "Ada", "entityType": "person", "observations": ["writes programs"]}
    answers = run(call("create_entities", entities=[entity]), call("search_nodes", query="programs"),
                  call("create_entities", entities=[{"name": "x"}]),
                  call("create_entities", entities=entity), **keys)
    assert [answer.status for answer in answers] == [OK, OK, INVALID, INVALID], answers
    assert "Ada" in answers[1].text
    # It remembers: the next run has it.
    assert "writes programs" in run(call("read_graph"), **keys)[0].text


def main():
    passed = tap.run()
    bench.close()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
