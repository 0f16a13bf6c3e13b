#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`guillotine model inspect`, and model files that somebody made to hurt: on the host, in a cell.

Usage: test_inspect.py GUILLOTINE LLM.elf DEMO.gguf
"""

import json
import os
import random
import struct
import sys

from guest_test import Bench, Tap

bench = Bench(sys.argv[1], [sys.argv[2]])
tap = Tap(after=bench.clean)
LLM, DEMO = bench.guests["llm.elf"], os.path.abspath(sys.argv[3])
with open(DEMO, "rb") as demo:
    MODEL = demo.read()


def inspect(path, *options, status=0):
    done = bench.command("model", "inspect", "--json", "--state-dir", bench.state, *options, path)
    assert done.returncode == status, done
    return json.loads(done.stdout) if done.stdout else done.stderr.decode()


def run_in_cell(path):
    return bench.run(["--image", LLM, "--weights", path, "--port", "console", "--memory", "32MiB",
                      "--", "--tokens", "2", "--prompt", "a"])


@tap.test("a good model is described, with its digest and the memory that it needs",
          needs_kvm=False)
def good():
    model = inspect(DEMO)
    assert model["supported"] and model["architecture"] == "llama", model
    assert model["parameters"] == 3393984 and model["vocabulary"] == 3072, model
    assert {row["type"] for row in model["types"]} == {"F32", "F16"}, model
    assert len(model["sha256"][0]) == 64 and model["chat_template"] == "none", model
    less, more = (inspect(DEMO, "--context", context)["memory_bytes"] for context in ("64", "512"))
    assert less < more, (less, more)
    done = bench.command("model", "inspect", "--state-dir", bench.state, DEMO)
    assert b"supported        yes" in done.stdout, done


@tap.test("the memory that is named suffices, and serve uses it")
def memory():
    done = bench.command("serve", "--print", DEMO)
    file = bench.write("print.json", done.stdout)
    vm = json.loads(done.stdout)
    assert vm["memory_bytes"] >= inspect(DEMO)["memory_bytes"], vm
    ended = bench.run([file, "--", "--tokens", "2", "--prompt", "a"])
    assert ended.status == 0, ended


@tap.test("what is refused is refused by its name, before there is a VM", needs_kvm=False)
def refused():
    cases = [
        (b"", "cannot"), (b"nothing", "GGUF"), (MODEL[:1000], "ends inside"),
        (MODEL.replace(b"llama", b"gemma", 1), "gemma"),
        (MODEL[:4] + struct.pack("<I", 9) + MODEL[8:], "version 9"),
        (MODEL[:8] + b"\xff" * 8 + MODEL[16:], "tensors"),
    ]
    for content, word in cases[1:]:
        path = bench.write("bad.gguf", content)
        model = inspect(path, status=65)
        assert not model["supported"] and word in model["reason"], (word, model)
        done = bench.command("serve", "--runtime-dir", bench.runtime, "--state-dir", bench.state, path)
        assert done.returncode == 65 and word in done.stderr.decode(), done
    assert "malformed" in inspect(bench.write("empty.gguf", b""), status=65)
    assert "No such file" in inspect(bench.path("none.gguf"), status=65)
    assert "No such file" in inspect(bench.write("a-00001-of-00002.gguf", MODEL), status=65)


@tap.test("texts of a file cannot write to a terminal", needs_kvm=False)
def escapes():
    name = b"guillotine-demo"
    path = bench.write("escape.gguf", MODEL.replace(name, b"\x1b]0;owned\x07\xff\xc2\x9b2J", 1))
    done = bench.command("model", "inspect", "--state-dir", bench.state, path)
    assert done.returncode == 0 and b"\x1b" not in done.stdout and b"\xc2\x9b" not in done.stdout


@tap.test("damaged files end with a message or a violation of their own cell, and of nothing else")
def damaged():
    numbers = random.Random(6)
    header = MODEL.index(b"tokenizer.ggml.tokens")
    for index in range(24):
        content = bytearray(MODEL)
        for _ in range(numbers.choice((1, 1, 3, 40))):
            at = numbers.randrange(header if index % 2 else len(MODEL))
            content[at] = numbers.randrange(256)
        if index % 6 == 5:
            del content[numbers.randrange(len(content)):]
        path = bench.write("damaged.gguf", bytes(content) or b"x")
        known = bench.command("model", "inspect", "--json", "--state-dir", bench.state, path)
        assert known.returncode in (0, 65), known
        ended = run_in_cell(path)
        assert ended.status in (0, 1, 65, 75, 80), (index, str(ended))
        if ended.status == 1:
            assert b"error: " in ended.stdout, (index, str(ended))
    assert run_in_cell(DEMO).status == 0
    bench.check_nothing_left()


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.close()


sys.exit(main())
