#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every request of every kind of port is in the audit log: guest, log and what lies behind the
ports count alike, each by itself.

Usage: test_all_audited.py GUILLOTINE GUEST.elf...
"""

import http.server
import json
import os
import struct
import sys
import threading

from guest_test import Bench, Tap
from mcp_http_server import McpServer

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)

OK, DENIED, INVALID, TOO_LARGE = 0, 13, 22, 90


class WebServer(http.server.ThreadingHTTPServer):
    """Counts what it is asked for."""

    daemon_threads = True

    def __init__(self):
        self.paths = []
        super().__init__(("127.0.0.1", 0), WebHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class WebHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


def fields(*values):
    """A payload of fields, by number."""
    payload = b""
    for number, value in values:
        value = value.encode()
        payload += struct.pack("<II", number, len(value)) + value + bytes(-len(value) % 8)
    return payload


def web_request(path, host, port):
    return fields((1, "GET"), (2, "http"), (3, host), (4, str(port)), (5, path))


def plan(web_port):
    """Steps: port, operation, argument, count, payload."""
    echo = fields((1, "echo"), (2, '{"text": "hi"}'))
    return [
        ("loopback", 1, 0, 40, b"hello"), ("loopback", 1, 0, 7, b"forbidden"),
        ("loopback", 9, 0, 3, b""), ("loopback", 1, 0, 2, bytes(3000)),
        ("message", 1, 0, 5, b"a message"),
        ("clock", 1, 0, 6, b""), ("clock", 2, 0, 4, b""), ("clock", 7, 0, 2, b""),
        ("entropy", 1, 16, 9, b""), ("entropy", 1, 0, 2, b""), ("entropy", 1, 65536, 1, b""),
        ("log", 1, 6, 11, b"a line"), ("log", 1, 6, 2, b"forbidden line"), ("log", 1, 9, 1, b"x"),
        ("store", 5, 0, 1, fields((1, "old"))),
        *[("store", 4, 0, 2, fields((1, f"object/{n}"), (6, "data"))) for n in range(4)],
        ("store", 1, 0, 3, fields((1, "object/1"))), ("store", 1, 0, 2, fields((1, "../x"))),
        ("store", 2, 0, 2, b""), ("store", 3, 0, 2, fields((4, "data"))),
        ("http", 1, 0, 8, web_request("/page", "127.0.0.1", web_port)),
        ("http", 1, 0, 3, web_request("/forbidden", "127.0.0.1", web_port)),
        ("http", 1, 0, 2, web_request("/page", "elsewhere.test", 80)), ("http", 3, 5, 2, b""),
        ("tool", 1, 0, 3, b""), ("tool", 2, 0, 6, echo),
        ("tool", 2, 0, 2, fields((1, "echo"), (2, "{}"))),
        ("tool", 2, 0, 2, fields((1, "other"), (2, "{}"))),
    ]


KINDS = ["console", "loopback", "message", "clock", "entropy", "log", "store", "http", "tool"]


def policy_document():
    """Allows everything but what says that it is forbidden."""
    ports = {}
    for kind in KINDS:
        ports[kind] = {"kind": kind, "rules": [
            *([{"name": "no", "outcome": "deny", "where": {
                "path" if kind == "http" else "payload": {"contains": ["forbidden"]}}}]
              if kind in ("loopback", "log", "http") else []),
            *([{"name": "stars", "outcome": "redact", "redact": {"reply": ["hel+o"]},
                "request_bytes": {"max": 5}}] if kind == "loopback" else []),
            {"name": "rest", "outcome": "allow"}]}
    return {"format": "guillotine-policy/1", "ports": ports}


def write_vm(name, web, mcp, policy, log):
    store = bench.path(f"{name}.store")
    folder = bench.path("nothing")
    os.makedirs(folder, exist_ok=True)
    done = bench.command("store", "import", store, folder)
    assert done.returncode == 0, done
    ports = [
        {"kind": "console"}, {"kind": "loopback", "process": True, "max_request_bytes": 2048},
        {"kind": "message"}, {"kind": "clock"}, {"kind": "entropy"},
        {"kind": "log", "settings": {"path": bench.path(f"{name}.log")}},
        {"kind": "store", "operations": ["get", "list", "search", "put", "delete"],
         "settings": {"path": store}},
        {"kind": "http", "settings": {
            "allow": [{"origin": f"http://127.0.0.1:{web.server_address[1]}"}],
            "networks": ["127.0.0.1/32"], "nameservers": []}},
        {"kind": "tool", "settings": {
            "url": mcp.url, "http": {"networks": ["127.0.0.1/32"], "nameservers": []},
            "pins": bench.path("pins.json"), "tools": [{"name": "echo"}]}}]
    arguments = []
    for port, operation, argument, count, payload in plan(web.server_address[1]):
        arguments += [port, str(operation), str(argument), str(count), payload.hex() or "-"]
    keys = {"policy": policy_document()} if policy else {}
    return bench.write_vm(f"{name}.json", name=name, image=bench.guests["count.elf"], ports=ports,
                          arguments=arguments, audit={"file": log}, **keys), store


def tally(output):
    """What the guest counted: sent and statuses by port."""
    counts = {}
    for line in output.decode().splitlines():
        name, sent, unsent, *statuses = line.split()
        counts[name] = (int(sent), int(unsent),
                        {int(pair.split(":")[0]): int(pair.split(":")[1]) for pair in statuses})
    return counts


def check_counts(policy):
    name = "ruled" if policy else "free"
    web, mcp = WebServer(), McpServer("json")
    log = bench.path(f"{name}.audit")
    try:
        if os.path.exists(bench.path("pins.json")):
            os.unlink(bench.path("pins.json"))
        file, store = write_vm(name, web, mcp, policy, log)
        done = bench.command("tool", "pin", file, "tool")
        assert done.returncode == 0, done
        ended = bench.run([file])
        assert ended.outcome == "exit:0", ended
        guest = tally(ended.stdout)
        paths, calls = list(web.paths), mcp.count("tools/call")
    finally:
        web.shutdown()
        web.server_close()
        mcp.close()
    assert set(guest) == set(KINDS), guest
    expected = {}
    for port, _, _, count, _ in plan(0):
        expected[port] = expected.get(port, 0) + count
    records = bench.audit(log)
    requests = [record for record in records if record["type"] == "request"]
    completions = [record for record in records if record["type"] == "completion"]
    for index, kind in enumerate(KINDS):
        sent, unsent, statuses = guest[kind]
        if kind != "console":
            assert sent + unsent == expected[kind] and sum(statuses.values()) == sent, (kind, guest)
            assert unsent == (2 if kind == "loopback" else 0), (kind, "too large for the queue")
        mine = [record for record in requests
                if record["source"] == "vmm" and record["port"] == index]
        assert len(mine) == sent, (kind, len(mine), sent)
        done = [record for record in completions
                if record["source"] == "vmm" and record["port"] == index]
        assert len(done) + sum(record["status"] != 0 or record["decision"] == "deny"
                               for record in mine) >= sent, (kind, len(done))
        # The statuses that the guest saw are those that the log has.
        logged = {}
        for record in done:
            logged[record["status"]] = logged.get(record["status"], 0) + 1
        if kind != "console":
            assert logged == statuses, (kind, logged, statuses)
        assert len({record["request"] for record in mine}) == sent, kind
    # Processes keep records of their own: what the VMM let through is what reached them.
    for kind in ("loopback", "store", "http", "tool"):
        index = KINDS.index(kind)
        allowed = [record for record in requests if record["source"] == "vmm" and
                   record["port"] == index and record["decision"] != "deny" and not record["status"]]
        reached = [record for record in requests
                   if record["source"] == "backend" and record["port"] == index]
        assert len(allowed) == len(reached), (kind, len(allowed), len(reached))
    check_world(guest, policy, paths, calls, store, name, ended)


def check_world(guest, policy, paths, calls, store, name, ended):
    """What lies behind the ports has seen what the guest says, and no more."""
    assert paths.count("/page") == 8 and paths.count("/forbidden") == (0 if policy else 3), paths
    assert len(paths) == guest["http"][2][OK], (paths, guest)
    assert calls == 6 and guest["tool"][2] == {OK: 9, INVALID: 2, DENIED: 2}, (calls, guest)
    listed = json.loads(bench.command("store", "list", "--json", store).stdout)
    assert listed["objects"] == 4, listed
    with open(bench.path(f"{name}.log"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    assert len(lines) == guest["log"][2][OK] == (11 if policy else 13), (len(lines), guest)
    assert len(ended.stdout.splitlines()) == guest["console"][0] == len(KINDS)
    assert guest["loopback"][2].get(DENIED, 0) >= (7 if policy else 0), guest


@tap.test("without a policy document: guest, log, processes and world count alike")
def check_free():
    check_counts(False)


@tap.test("under a policy document that denies and redacts: the same")
def check_ruled():
    check_counts(True)


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
