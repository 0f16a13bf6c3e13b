#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serve ports end to end: clients on the host, a model that answers, and what each may not do.

Usage: test_serve.py GUILLOTINE HELLO.elf GUEST.elf...
"""

import contextlib
import json
import os
import signal
import socket
import stat
import sys
import threading

from guest_test import Bench, Skip, Tap, processes_of, wait_until
from serve_client import Client

bench = Bench(sys.argv[1], sys.argv[2:])
tap = Tap(after=bench.clean)
GUEST = bench.guests["serve.elf"]
SOCKET = os.path.join(bench.runtime, "srv.serve")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_vm(name="serve.json", settings=None, vm=None, **port):
    return bench.write_vm(name, image=GUEST, name="srv", ports=[
        {"kind": "console"},
        {"kind": "serve", "settings": {"model": "tiny", **(settings or {})}, **port},
    ], **(vm or {}))


def answers(client):
    try:
        return client.get("/health").status in (200, 401)
    except OSError:
        return False


@contextlib.contextmanager
def served(end="kill", is_open=True, **keys):
    """Runs a VM; gives the process and a client of its Unix socket. Ended by force unless a test
    says otherwise."""
    process = bench.start([write_vm(**keys)])
    try:
        bench.wait_running("srv", process)
        client = Client(SOCKET)
        if is_open:
            assert wait_until(lambda: answers(client), 10)
        yield process, client
    finally:
        if end == "kill":
            bench.command("kill", "--runtime-dir", bench.runtime, "srv")
        process.ended = bench.finish(process)


def isolate(level):
    done = bench.command("isolate", "--runtime-dir", bench.runtime, "srv", level)
    assert done.returncode == 0, done


def audit_of():
    return bench.story(os.path.join(bench.state, "audit", "srv.audit"))


@tap.test("calls reach the model and replies their clients, whole and as a stream")
def round_trip():
    with served() as (_, client):
        models = client.get("/v1/models").json
        assert [model["id"] for model in models["data"]] == ["tiny"], models
        assert client.get("/v1/models/tiny").json["id"] == "tiny"
        reply = client.complete("hello")
        assert reply.status == 200 and reply.text == "you said: hello", reply
        assert reply.json["object"] == "text_completion", reply
        assert reply.json["usage"] == {"prompt_tokens": 3, "completion_tokens": 4,
                                       "total_tokens": 7}, reply
        reply = client.chat(("system", "be kind "), "héllo")
        assert reply.text == "you said: be kind héllo", reply
        assert reply.json["choices"][0]["finish_reason"] == "stop", reply
        reply = client.chat("talk 5", stream=True, stream_options={"include_usage": True})
        assert reply.headers["Content-Type"].startswith("text/event-stream"), reply
        assert reply.streamed == "word0 word1 word2 word3 word4 end", reply
        assert reply.is_done and reply.events[-1]["usage"]["total_tokens"] == 7, reply
        assert len({event["id"] for event in reply.events}) == 1
        assert client.chat("length").json["choices"][0]["finish_reason"] == "length"


@tap.test("parameters arrive as numbers, messages as parts")
def parameters():
    with served(settings={"max_tokens": 100}) as (_, client):
        reply = client.chat(("developer", "tell"), ("assistant", "b"), ("user", "ccc"),
                            max_tokens=500, temperature=0.25, top_p=0.5, seed=42)
        assert reply.text.startswith("client 1 chat 1 limit 100 temperature 250 top_p 500 seed 42 "
                                     "parts system 4\nassistant 1\nuser 3\n"), reply
        reply = client.complete("tell")
        assert "chat 0 limit 100 temperature -1 top_p -1 seed -1 parts " in reply.text, reply


@tap.test("what a model writes is data: JSON holds it, stops end it")
def texts():
    with served() as (_, client):
        reply = client.chat("bytes")
        assert reply.text == "\x1b[2J\ufffd\ufffd(😀\"\\\n\x7f", reply
        assert b"\x1b" not in reply.body
        reply = client.chat("talk 50", stop=["word3", "zzz"])
        assert reply.text == "word0 word1 word2 ", reply
        assert reply.json["choices"][0]["finish_reason"] == "stop"
        reply = client.chat("talk 50", stop="d2", stream=True)
        assert reply.streamed == "word0 word1 wor" and reply.is_done, reply


@tap.test("errors have the form that clients know")
def errors():
    with served() as (_, client):
        post = "/v1/chat/completions"
        cases = [
            (client.request("POST", post, b"{"), 400, None),
            (client.request("POST", post, b'{"messages":[],"messages":[]}'), 400, None),
            (client.request("POST", post, b"[" * 2000), 400, None),
            (client.request("POST", post, b'{"prompt":"\xff"}'), 400, None),
            (client.request("POST", post, {}), 400, "messages"),
            (client.chat(("robot", "x")), 400, "messages"),
            (client.chat("x", n=2), 400, "n"),
            (client.chat("x", tools=[{"type": "function"}]), 400, "tools"),
            (client.chat("x", temperature=3), 400, "temperature"),
            (client.chat("x", temperature="hot"), 400, "temperature"),
            (client.chat("x", max_tokens=0), 400, "max_tokens"),
            (client.chat("x", stop=[""]), 400, "stop"),
            (client.chat("x", model="other"), 404, "model"),
            (client.complete(["a", "b"]), 400, "prompt"),
            (client.complete("nul\0"), 400, "prompt"),
            (client.complete("a" * (1 << 20)), 413, None),
            (client.complete("a" * 300000), 413, None),
            (client.get(post), 405, None),
            (client.request("POST", "/v1/models", {}), 405, None),
            (client.get("/v2"), 404, None),
            (client.get("/v1/models/other"), 404, None),
            (client.request("POST", post, b"{}", {"Content-Type": "text/plain"}), 415, None),
            (client.request("POST", post, b"{}", {"Origin": "http://localhost"}), 403, None),
            (client.chat("error"), 500, None),
        ]
        for index, (reply, status, param) in enumerate(cases):
            assert reply.status == status, (index, str(reply))
            assert set(reply.error) == {"message", "type", "param", "code"}, (index, str(reply))
            assert reply.error["param"] == param, (index, str(reply))
        assert "cannot?[2J" in cases[-1][0].error["message"], cases[-1][0].error
        # A model that says so after it has begun cannot take the status back.
        reply = client.chat("error", stream=True)
        assert reply.status == 200 and not reply.is_done, reply
        assert reply.events[-1]["error"]["type"] == "model_error", reply
        # Harmless keys of real clients.
        assert client.chat("x", model="tiny", user="me", n=1, tools=[], logprobs=False,
                           store=True, metadata={"a": "b"}).status == 200


@tap.test("TCP is for the loopback, and not for web pages; tokens are asked for")
def tcp():
    port = free_port()
    token = bench.write("token", "sesame-open-1\n")
    os.chmod(token, 0o600)
    with served(settings={"listen": [f"tcp:127.0.0.1:{port}", "unix"],
                          "token_file": token}) as (process, client):
        good = Client(port=port, token="sesame-open-1")
        assert good.chat("hello").text == "you said: hello"
        for wrong in (None, "sesame-open-", "sesame-open-12", "x"):
            reply = Client(port=port, token=wrong).chat("hello")
            assert reply.status == 401 and reply.headers["WWW-Authenticate"], reply
        assert client.chat("hello").status == 401, "the Unix socket asks for it too"
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]"):
            reply = good.request("GET", "/v1/models", headers={"Host": host})
            assert reply.status == 403, (host, str(reply))
        for host in (f"localhost:{port}", "127.0.0.1", f"[::1]:{port}"):
            assert good.request("GET", "/v1/models", headers={"Host": host}).status == 200, host
        with open(f"/proc/{processes_of(process, 'guillotine-serve')[0]}/environ", "rb") as file:
            assert b"sesame" not in file.read()
    assert f"http://127.0.0.1:{port}/v1" in process.ended.stderr, process.ended


@tap.test("the socket is its owner's, replaces an old one, and no other's")
def sockets():
    path = bench.path("api.sock")
    for _ in range(2):
        with served(is_open=False, settings={"listen": [f"unix:{path}"]}) as (process, _):
            assert wait_until(lambda: os.path.exists(path) and answers(Client(path)), 10)
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert Client(path).chat("hello").text == "you said: hello"
            os.kill(process.pid, signal.SIGKILL)
        assert os.path.exists(path), "left by a process that was killed"
    os.unlink(path)
    bench.write("api.sock", "no socket")
    ended = bench.run([write_vm(settings={"listen": [f"unix:{path}"]})])
    assert ended.status == 65 and "is no socket" in ended.stderr, ended
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        ended = bench.run([write_vm(settings={"listen": [f"unix:{path}"]})])
        assert ended.status == 65 and "somebody listens" in ended.stderr, ended
    for name in os.listdir(bench.runtime):
        os.unlink(os.path.join(bench.runtime, name))


@tap.test("the queue is bounded, calls have deadlines, clients that leave stop the model")
def queue():
    with served(settings={"queue": 2, "deadline_ms": 1500}) as (process, client):
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(client.chat("work")))
                   for _ in range(2)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: client.get("/health").json["calls"] == 2, 10)
        busy = client.chat("hello")
        assert busy.status == 429 and int(busy.headers["Retry-After"]) >= 1, busy
        assert busy.error["type"] == "rate_limit_error", busy
        for thread in threads:
            thread.join()
        assert [reply.status for reply in replies] == [504, 504], [str(r) for r in replies]
        # A client that hangs up while the model talks.
        connection = client.connect()
        connection.request("POST", "/v1/completions",
                           json.dumps({"prompt": "talk 100000000", "stream": True}),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.readline().startswith(b"data: ")
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        response.close()
        assert client.chat("hello").text == "you said: hello", "the model is free at once"
        # One that hangs up while it waits for a whole reply.
        connection = client.connect()
        connection.request("POST", "/v1/completions", json.dumps({"prompt": "work"}),
                           {"Content-Type": "application/json"})
        assert client.chat("hello").status in (200, 504)
        connection.close()
        assert client.chat("hello").text == "you said: hello"
    assert b"work over" in process.ended.stdout, process.ended
    assert b"call over, status 32" in process.ended.stdout, process.ended


@tap.test("many clients at once get their own replies and no other's")
def many():
    with served(settings={"queue": 64, "connections": 64}) as (_, client):
        wrong = []

        def ask(number):
            for turn in range(5):
                text = f"I am {number} in turn {turn}"
                reply = client.chat(text, stream=bool(turn % 2))
                got = reply.streamed if turn % 2 else reply.text
                if got != f"you said: {text}":
                    wrong.append((number, turn, str(reply)))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[:3]


@tap.test("a model reaches no call but its own, and ends with a port that stands")
def hostile_model():
    with served() as (process, client):
        waiting = threading.Thread(target=lambda: client.chat("hello"))
        reply = client.chat("attack")
        waiting.start()
        assert reply.text == "other 32 before 32 finish 22 outside 22 fields 22 empty 22" or \
            reply.text.startswith("other 32 before 32 finish 22 outside "), reply
        values = reply.text.split()
        assert values[7] != "0" and values[9] != "0" and values[11] != "0", reply
        waiting.join()
        assert client.chat("hello").text == "you said: hello"
    # What breaks containment ends the cell; its clients hear that.
    with served(end="self") as (process, client):
        with contextlib.suppress(OSError):
            client.chat("violate")
    assert process.ended.outcome.startswith("violation:"), process.ended


@tap.test("slow and broken clients hurt nobody else")
def slow_clients():
    with served(settings={"connections": 16}) as (_, client):
        lame = []
        for index in range(8):
            lame.append(socket.socket(socket.AF_UNIX))
            lame[-1].connect(SOCKET)
            lame[-1].sendall([b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Le",
                              b"G", b"\x00\xff\x00", b"GET / HTTP/9.9\r\n\r\n"][index % 4])
        assert client.chat("hello").text == "you said: hello"
        head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100000 + b"\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as big:
            big.connect(SOCKET)
            big.settimeout(10)
            with contextlib.suppress(OSError):
                big.sendall(head)
            with contextlib.suppress(OSError):
                assert big.recv(12) in (b"HTTP/1.1 431", b"HTTP/1.1 413", b""), "headers too large"
        # Two requests in one packet, on one connection.
        get = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as piped:
            piped.connect(SOCKET)
            piped.settimeout(10)
            piped.sendall(get + get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            got = b""
            while True:
                more = piped.recv(4096)
                if not more:
                    break
                got += more
            assert got.count(b'"object":"list"') == 2, got
        for one in lame:
            one.close()
        assert client.chat("hello").text == "you said: hello"


@tap.test("policy decides on prompts and replies, and its word reaches the client")
def policy():
    document = {"format": "guillotine-policy/1", "ports": {
        "serve": {"kind": "serve", "rules": [
            {"name": "wait", "operations": ["receive"], "outcome": "allow"},
            {"name": "no-bombs", "operations": ["prompt"], "outcome": "deny",
             "where": {"text": {"contains": "bomb"}}},
            {"name": "pins", "operations": ["prompt"], "outcome": "redact",
             "redact": {"request": ["pin [0-9]{4}"]}},
            {"name": "keys", "operations": ["answer"], "outcome": "redact",
             "redact": {"request": ["sk-[a-z]{8}"]}},
        ]},
        "console": {"kind": "console", "rules": [{"name": "all", "outcome": "allow"}]},
    }}
    with served(vm={"policy": document}, operations=["receive", "answer"],
                audit="full") as (process, client):
        # Pieces are not granted: only what leaves as a whole is looked at as a whole.
        reply = client.chat("my pin 1234, sk-abcdefgh")
        assert reply.status == 200 and reply.text.endswith("my ********, ***********"), reply
        reply = client.chat("build a bomb")
        assert reply.status == 403 and reply.error["type"] == "policy_denied", reply
        assert client.chat("hello").status == 200
    assert b"receive 13" in process.ended.stdout, process.ended
    log = json.dumps(bench.audit(os.path.join(bench.state, "audit", "srv.audit")))
    assert "1234" not in log, "what is blotted out is in no log"
    decided = {(record["source"], record["type"], record["decision"], record.get("document_rule"))
               for record in audit_of() if record["type"] in ("request", "completion")}
    assert {("vmm", "completion", "deny", 1), ("vmm", "completion", "redact", 2),
            ("vmm", "request", "redact", 3), ("backend", "request", "redact", 3)} <= decided, decided


@tap.test("a rule on prompts isolates the VM before the model has read it")
def escalation():
    document = {"format": "guillotine-policy/1", "ports": {
        "serve": {"kind": "serve", "rules": [
            {"name": "alarm", "operations": ["prompt"], "outcome": "escalate",
             "escalate_to": "severed", "where": {"text": {"contains": "overlord"}}},
            {"name": "all", "outcome": "allow"}]},
        "console": {"kind": "console", "rules": [{"name": "all", "outcome": "allow"}]},
    }}
    with served(vm={"policy": document}) as (process, client):
        assert client.chat("hello").status == 200
        reply = client.chat("obey your overlord")
        assert reply.status in (403, 503), reply
        assert wait_until(lambda: client.chat("hello").status == 503, 5)
        assert "severed" in json.dumps(bench.wait_running("srv"))
    assert b"overlord" not in process.ended.stdout


@tap.test("at Severed every client hears so: those that wait, those that come")
def severed():
    port = free_port()
    with served(settings={"listen": ["unix", f"tcp:127.0.0.1:{port}"]}) as (_, client):
        got = {}

        def run(name, *arguments, **keys):
            got[name] = client.chat(*arguments, **keys)

        threads = [threading.Thread(target=run, args=("stream", "talk 100000000"),
                                    kwargs={"stream": True}),
                   threading.Thread(target=run, args=("waits", "hello"))]
        threads[0].start()
        assert wait_until(
            lambda: bench.port_status("srv", "serve")["requests"] > 50, 10), "it talks"
        threads[1].start()
        assert wait_until(lambda: client.get("/health").json["calls"] == 2, 10)
        isolate("severed")
        for thread in threads:
            thread.join()
        assert got["waits"].status == 503 and got["waits"].error["code"] == "severed", got["waits"]
        last = got["stream"].events[-1]
        assert last["error"]["type"] == "isolated" and not got["stream"].is_done, last
        for other in (client, Client(port=port)):
            for _ in range(20):
                reply = other.chat("hello")
                assert reply.status == 503 and reply.error["code"] == "severed", reply
            assert other.get("/v1/models").status == 503


@tap.test("a port that is open at Standard only turns clients away at Probation")
def probation():
    with served(probation=False) as (_, client):
        assert client.chat("hello").status == 200
        isolate("probation")
        assert wait_until(lambda: client.chat("hello").status == 503, 5)
        assert client.chat("hello").error["code"] == "probation"
    with served(probation=True) as (_, client):
        isolate("probation")
        assert client.chat("hello").text == "you said: hello", "it is durable first, then answered"
        assert client.chat("talk 5", stream=True).is_done


@tap.test("a port that is closed and opened again serves on; a process that dies comes back")
def restarts():
    with served() as (process, client):
        assert client.chat("hello").status == 200
        for pid in processes_of(process, "guillotine-serve"):
            os.kill(pid, signal.SIGKILL)
        reply = client.chat("hello")
        assert reply.status == 200, ("it waits for the new process", str(reply))
        done = bench.command("ports", "--close", "serve", "--runtime-dir", bench.runtime, "srv")
        assert done.returncode == 0, done
        reply = client.chat("hello")
        assert reply.status == 503 and "closed" in reply.error["message"], reply
        done = bench.command("ports", "--open", "serve", "--runtime-dir", bench.runtime, "srv")
        assert done.returncode == 0, done
        assert wait_until(lambda: client.chat("hello").status == 200, 10)


@tap.test("ask writes the reply, neutralises it for terminals, and says what went wrong")
def ask():
    def run(*arguments, stdin=b""):
        return bench.command("ask", "--runtime-dir", bench.runtime, *arguments, input=stdin)

    with served() as (_, client):
        done = run("srv", "hello")
        assert done.returncode == 0 and done.stdout == b"you said: hello\n", done
        assert run("--system", "a ", "srv", stdin=b"b\n").stdout == b"you said: a b\n"
        assert run("--raw", "srv", "talk 3").stdout == b"word0 word1 word2 end\n"
        assert run("srv", "bytes").stdout.startswith(b"\x1b[2J"), "pipes get raw bytes"
        done = run("srv", "error")
        assert done.returncode == 1 and b"cannot?[2J" in done.stderr, done
        assert run("--temperature", "9", "srv", "x").returncode == 64
        assert run("srv", stdin=b"").returncode == 64
        assert b"serves nothing here" in run("nobody", "x").stderr
        isolate("severed")
        done = run("srv", "hello")
        assert done.returncode == 81 and b"severed" in done.stderr, done


@tap.test("every byte that crossed is in the log, and nothing is left behind")
def audited():
    with served(audit="full") as (_, client):
        for number in range(10):
            assert client.chat(f"note {number}").status == 200
    log = audit_of()
    requests = [record for record in log if record["type"] == "request"]
    operations = {record["operation"] for record in requests}
    assert operations == {"receive", "piece", "answer"} or operations == {1, 2, 3}, operations
    assert not os.path.exists(SOCKET), "the socket goes with the VM"
    bench.check_nothing_left()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
