#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The public client of the OpenAI API, from npm, against models in cells.

Usage: test_openai.py GUILLOTINE LLM.elf DEMO.gguf SERVE.elf CLIENT (the folder of
scripts/openai-client)
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

from guest_test import Bench, Skip, Tap, wait_until
from serve_client import Client

bench = Bench(sys.argv[1], [sys.argv[2], sys.argv[4]])
tap = Tap(after=bench.clean)
LLM, GUEST = bench.guests["llm.elf"], bench.guests["serve.elf"]
DEMO, FOLDER = os.path.abspath(sys.argv[3]), os.path.abspath(sys.argv[5])
HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "not-a-secret-of-anybody"


def client(port, *arguments, wait=True):
    done = subprocess.run([os.path.join(HERE, "../../scripts/openai-client"), FOLDER],
                          capture_output=True, timeout=300, check=False)
    if done.returncode or not shutil.which("node"):
        raise Skip(f"npm cannot install the client: {done.stderr[-300:]!r}")
    process = subprocess.Popen(
        ["node", os.path.join(HERE, "openai_client.mjs"), FOLDER, f"http://127.0.0.1:{port}/v1",
         KEY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if not wait:
        return process
    return answer(process)


def answer(process):
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


@contextlib.contextmanager
def served(image, settings=None, **keys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = bench.write_vm("vm.json", image=image, name="srv", ports=[
        {"kind": "console"}, {"kind": "serve", "settings": {
            "model": "tiny", "listen": [f"tcp:127.0.0.1:{port}"], **(settings or {})}}], **keys)
    process = bench.start([path])
    plain = Client(port=port)

    def answers():
        try:
            return plain.get("/health").status == 200
        except OSError:
            return False

    try:
        bench.wait_running("srv", process)
        assert wait_until(answers, 10)
        yield port, plain
    finally:
        process.send_signal(signal.SIGTERM)
        process.ended = bench.finish(process)


@tap.test("a language model in a cell: models, chats, completions, streams")
def language_model():
    with served(LLM, weights=[{"file": DEMO}], arguments=["--serve"]) as (port, _):
        assert client(port, "models") == {"ids": ["tiny"], "one": "tiny"}
        chat = client(port, "chat", "The lighthouse")
        choice = chat["choices"][0]
        assert choice["message"]["role"] == "assistant" and choice["message"]["content"], chat
        assert choice["finish_reason"] in ("stop", "length"), chat
        assert chat["usage"]["completion_tokens"] <= 16 <= chat["usage"]["total_tokens"], chat
        stream = client(port, "stream", "The lighthouse")
        assert stream["text"] == choice["message"]["content"], (stream, chat)
        assert stream["chunks"] > 3 and stream["usage"] == chat["usage"], stream
        whole = client(port, "complete", "Once upon a time")
        pieces = client(port, "completeStream", "Once upon a time")
        assert whole["choices"][0]["text"] == pieces["text"] != "", (whole, pieces)


@tap.test("an aborted stream frees the model; many calls at once get their own replies")
def many():
    with served(GUEST, {"queue": 16}) as (port, plain):
        assert client(port, "abort", "talk 100000000")["aborted"]
        assert plain.chat("hello").text == "you said: hello"
        replies = client(port, "many", "note")
        assert replies == [f"you said: note {number}" for number in range(12)], replies


@tap.test("errors arrive as the client's own kinds")
def errors():
    with served(GUEST, {"queue": 1}) as (port, plain):
        busy = client(port, "stream", "talk 100000000", wait=False)
        assert wait_until(lambda: plain.get("/health").json["calls"] == 1, 20)
        got = client(port, "chat", "hello")
        assert (got["error"], got["status"], got["code"]) == ("RateLimitError", 429, "queue_full")
        done = bench.command("isolate", "--runtime-dir", bench.runtime, "srv", "severed")
        assert done.returncode == 0, done
        got = answer(busy)
        assert "isolated" in got["message"] and "severed" in got["message"], got
        got = client(port, "chat", "hello")
        assert (got["status"], got["type"], got["code"]) == (503, "isolated", "severed"), got
    with served(GUEST) as (port, _):
        got = client(port, "chat", "error")
        assert (got["error"], got["type"]) == ("InternalServerError", "model_error"), got


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
