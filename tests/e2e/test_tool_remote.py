#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tool ports whose server speaks HTTP: what a model gets of it, and what the server may do.

Usage: test_tool_remote.py GUILLOTINE GUEST.elf... MCP_SERVERS (the folder of scripts/mcp-servers)
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

from guest_test import Bench, Skip, Tap, wait_until
from mcp_http_server import TOOLS, McpServer

bench = Bench(sys.argv[1], sys.argv[2:-1])
tap = Tap(after=bench.clean)
GUEST = bench.guests["tool.elf"]
NPM = os.path.abspath(sys.argv[-1])
OK, FAILED, DENIED, INVALID, TIMED_OUT, LOST, DOWN = 0, 5, 13, 22, 110, 104, 112
TOKEN = "t0k3n-of-the-operator-17"

def write_vm(url, tools=("echo", "slow", "token"), settings=None, **port):
    own = {"url": url, "pins": bench.path("pins.json"), "tools": [{"name": name} for name in tools],
           "http": {"networks": ["127.0.0.1/32"]}, **(settings or {})}
    return bench.write_vm("remote.json", image=GUEST, ports=[
        {"kind": "console"}, {"kind": "tool", "settings": own, **port}])


def tool(*arguments, status=0):
    done = bench.command("tool", *arguments)
    assert done.returncode == status, done
    return done


def pin(url, **keys):
    if os.path.exists(bench.path("pins.json")):
        os.unlink(bench.path("pins.json"))
    return tool("pin", write_vm(url, **keys), "tool")


def run(*commands, url, options=(), keep=None, **keys):
    flat = [word if isinstance(word, str) else json.dumps(word)
            for command in commands for word in command]
    ended = bench.run([*options, write_vm(url, **keys), "--", *flat])
    if keep is not None:
        keep.append(ended)
    answers = []
    for line in ended.stdout.decode().split("\n")[:-1]:
        status, _, text = line.partition(" ")
        answers.append((int(status), json.loads(text) if text else None))
    return answers


def text(answer):
    assert answer[0] == OK and not answer[1]["isError"], answer
    return answer[1]["content"]


def echo(what):
    return ("call", "echo", {"text": what})


def with_server(mode, context=None):
    def register(function):
        def test():
            server = McpServer(mode, context)
            try:
                function(server)
            finally:
                server.close()

        return test

    return register


@tap.test("a server that answers with JSON")
@with_server("json")
def json_replies(server):
    pin(server.url)
    server.seen.clear()
    answers = run(("list", "0"), echo("hi \u00e4"), echo("again"), url=server.url)
    assert [entry["name"] for entry in answers[0][1]] == ["echo", "slow", "token"], answers
    assert [text(answer) for answer in answers[1:]] == ["hi \u00e4", "again"], answers
    posts = [headers for what, headers, _ in server.seen if what == "POST"]
    assert "MCP-Protocol-Version" not in posts[0], posts
    assert all(headers["MCP-Protocol-Version"] == "2025-06-18" for headers in posts[1:]), posts
    assert all(headers["Accept"] == "application/json, text/event-stream" and
               headers["Content-Type"] == "application/json" for headers in posts), posts
    assert [what for what, _, _ in server.seen].count("GET") <= 1, "405 is an answer"


@tap.test("a server that answers with events, in a session")
@with_server("events")
def events(server):
    pin(server.url)
    server.seen.clear()
    answers = run(echo("one"), echo("x" * 20000), url=server.url)
    assert [text(answer) for answer in answers] == ["one", "x" * 20000], answers
    posts = [headers for what, headers, _ in server.seen if what == "POST"]
    assert "Mcp-Session-Id" not in posts[0], posts
    assert all(headers["Mcp-Session-Id"] == "session-0815" for headers in posts[1:]), posts


def calls(server):
    return server.count("tools/call")


@tap.test("tools that change are gone when the server says so on its own stream")
@with_server("events")
def changes(server):
    pin(server.url)
    server.streams.clear()
    changed = [dict(TOOLS[0], description="Sends it to somebody else."), *TOOLS[1:]]

    def change():
        wait_until(lambda: server.streams and calls(server) > 20, 20)
        server.described = changed
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        server.streams[-1].wfile.write(f"data: {note}\n\n".encode())
        server.streams[-1].wfile.flush()

    thread = threading.Thread(target=change)
    thread.start()
    answers = run(*[echo("x")] * 300, url=server.url)
    thread.join()
    assert answers[0][0] == OK and answers[-1][0] == DENIED, (answers[0], answers[-1])
    listed = json.loads(tool("check", "--json", write_vm(server.url), "tool", status=1).stdout)
    assert [(entry["name"], entry["state"]) for entry in listed] == [("echo", "changed")], listed


@tap.test("arguments that do not fit never reach the server")
@with_server("json")
def arguments(server):
    pin(server.url)
    server.seen.clear()
    answers = run(("call", "echo", {}), ("call", "echo", {"text": 5}), ("call", "other", {}),
                  url=server.url)
    assert [answer[0] for answer in answers] == [INVALID, INVALID, DENIED], answers
    assert not calls(server)


@tap.test("a call that is never answered times out; others are answered meanwhile")
@with_server("json")
def slow(server):
    pin(server.url)
    answers = run(("call", "slow", {}), echo("after"), url=server.url, timeout_ms=2000)
    assert answers[0][0] == TIMED_OUT and text(answers[1]) == "after", answers
    assert any(message and message.get("method") == "notifications/cancelled"
               for _, _, message in server.seen), "the server is told"


@tap.test("servers that break rules: no tools, and the reason")
def broken():
    reasons = {"status": "HTTP status 500", "html": "neither JSON nor events",
               "nonsense": "nonsense", "session name": "names the session wrongly",
               "endless": "more than"}
    for mode, reason in reasons.items():
        server = McpServer(mode)
        try:
            done = tool("list", write_vm(server.url), "tool", status=1)
            assert reason in done.stderr.decode(), (mode, done)
        finally:
            server.close()


@tap.test("a server that forgets the session is greeted again")
@with_server("forgets")
def forgets(server):
    pin(server.url)
    answers = run(echo("x"), ("list", "0"), url=server.url, restart={"max": 3, "delay_ms": 10})
    assert answers[0][0] in (FAILED, LOST), answers


@tap.test("an address that is not listed is not reached; redirects are not followed")
@with_server("json")
def address(server):
    done = tool("list", write_vm(server.url, settings={"http": {}}), "tool", status=1)
    assert "address that is not allowed" in done.stderr.decode(), done
    assert not server.seen


@tap.test("a secret of the operator goes along, and never to the model")
def secret():
    for name in ("ca", "server"):
        extra = ["-CA", bench.path("ca.pem"), "-CAkey", bench.path("ca.key")] if name != "ca" else []
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", bench.path(f"{name}.key"),
                        "-out", bench.path(f"{name}.pem"), "-subj", f"/CN={name}", "-days", "3",
                        "-addext", "subjectAltName=IP:127.0.0.1", *extra],
                       check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bench.path("server.pem"), bench.path("server.key"))
    token = bench.write("token", TOKEN)
    os.chmod(token, 0o600)
    server = McpServer("json", context)
    origin = server.url.rsplit("/", 1)[0]
    http = {"networks": ["127.0.0.1/32"], "ca": bench.path("ca.pem"),
            "secrets": {"mine": {"file": token}},
            "inject": [{"origin": origin, "header": "Authorization",
                        "value": "Bearer secret:mine"}]}
    try:
        pin(server.url, settings={"http": http})
        answer = run(("call", "token", {}), url=server.url, settings={"http": http})[0]
        assert text(answer) == "Bearer " + "*" * len(TOKEN), answer
        assert all(headers["Authorization"] == f"Bearer {TOKEN}"
                   for what, headers, _ in server.seen if what == "POST")
        other = tool("list", write_vm(server.url), "tool", status=1)
        assert "certificate" in other.stderr.decode().lower(), other
    finally:
        server.close()


@tap.test("the process has sockets, and nothing to start programs with")
@with_server("json")
def sandbox(server):
    pin(server.url)
    process = bench.start([write_vm(server.url, timeout_ms=30000), "--", "call", "slow", "{}"])
    try:
        assert wait_until(lambda: any(message and message.get("method") == "tools/call"
                                      for _, _, message in server.seen), 20)
        pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == process.pid]
        tools = [pid for pid in pids if comm(pid) == "guillotine-tool"]
        assert len(tools) == 1, pids
        with open(f"/proc/{tools[0]}/status", encoding="utf-8") as file:
            status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
        assert status["Seccomp"] == "2" and status["CapBnd"].strip("0\n") == "" or os.geteuid(), \
            status
        assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and
                    parent(pid) == int(tools[0])]
    finally:
        process.kill()
        bench.finish(process)


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            line = file.read()
        return int(line[line.rindex(")") + 2:].split()[1])
    except OSError:
        return None


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return None


BAD = [
    ({"url": "http://x"}, {"command": ["/bin/true"]}, "either"),
    ({}, {}, "either"),
    ({"url": "ftp://x"}, {}, "origin"),
    ({"url": "https://X.test/mcp"}, {}, "lower case"),
    ({"url": "https://x.test/a b"}, {}, "visible ASCII"),
    ({"url": "https://x.test/mcp"}, {"network": True}, "command"),
    ({"url": "https://x.test/mcp"}, {"http": {"allow": []}}, "allow"),
    ({"command": ["/bin/true"]}, {"http": {}}, "url"),
]


@tap.test("settings that contradict themselves", needs_kvm=False)
def bad_settings():
    for server, more, part in BAD:
        own = {**server, **more, "pins": "p.json", "tools": []}
        path = bench.write_vm("bad.json", image=GUEST, ports=[{"kind": "tool", "settings": own}])
        done = bench.command("run", *bench.directories(), path)
        assert done.returncode == 65 and part in done.stderr.decode(), (own, done)


@tap.test("server-everything over streamable HTTP")
def everything():
    script = os.path.join(NPM, "node_modules/@modelcontextprotocol/server-everything/dist/index.js")
    if not os.path.exists(script):
        raise Skip(f"{script} is missing: scripts/mcp-servers")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = shutil.which("node")
    server = subprocess.Popen([node, script, "streamableHttp"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env={**os.environ, "PORT": str(port)})

    def answers():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return server.poll() is not None

    try:
        assert wait_until(answers, 30) and server.poll() is None, "it does not start"
        url, tools = f"http://127.0.0.1:{port}/mcp", ["echo", "get-sum"]
        pin(url, tools=tools)
        found = run(("list", "0"), ("call", "echo", {"message": "hello"}),
                    ("call", "get-sum", {"a": 17, "b": 25}), url=url, tools=tools)
        assert [entry["name"] for entry in found[0][1]] == tools, found
        assert "hello" in text(found[1]) and "42" in text(found[2]), found
    finally:
        server.kill()
        server.wait()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
