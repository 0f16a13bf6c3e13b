# SPDX-License-Identifier: Apache-2.0
"""The inference program in a cell: same logits as on the host, close to the original's.

Arguments: guillotine, llm-host, llm.elf, the folder of the demo models.
"""

import json
import os
import struct
import subprocess
import sys

from guest_test import Bench, Tap

GUILLOTINE, HOST, IMAGE, MODELS = sys.argv[1:5]
MODEL_FILES = ("demo.gguf", "tiny-q8_0.gguf", "tiny-f32.gguf")
RELATIVE_ERROR = 1e-3
# What the integers cost that vectors are rounded to for quantised matrices (docs/kernels.md).
ROUNDED = {"tiny-q8_0.gguf": 2e-2}

bench = Bench(GUILLOTINE, [IMAGE])
tap = Tap(after=bench.clean)


def in_cell(model, arguments, vcpus=1, data=None):
    ended = bench.run(["--image", IMAGE, "--weights", os.path.join(MODELS, model),
                       "--port", "console", "--vcpus", str(vcpus), "--", *arguments], data)
    assert ended.status == 0, ended
    return ended.stdout


def on_host(model, arguments, workers=1, isa="native"):
    done = subprocess.run([HOST, "--workers", str(workers), "--isa", isa,
                           os.path.join(MODELS, model), *arguments], capture_output=True,
                          timeout=60, check=True)
    return done.stdout


def logits(output):
    """The last line of --logits output as numbers."""
    line = output.decode().splitlines()[-1].split()[-1]
    data = bytes.fromhex(line)
    return struct.unpack(f"<{len(data) // 4}f", data)


def references():
    with open(os.path.join(MODELS, "logits.json"), encoding="utf-8") as file:
        return json.load(file)


def add_model(model):
    prompts = ["The old keeper climbed the stairs", "Once", "a\u00e9\u4e16\u0000".strip("\0")]

    @tap.test(f"{model}: cell and host give the same logits, bit for bit")
    def same_bits():
        for prompt in prompts:
            arguments = ["--prompt", prompt, "--logits"]
            host = on_host(model, arguments)
            assert len(host) > 100
            for vcpus in (1, 2):
                assert in_cell(model, arguments, vcpus) == host, (prompt, vcpus)

    tolerance = ROUNDED.get(model, RELATIVE_ERROR)

    @tap.test(f"{model}: logits are those of the PyTorch original within {tolerance}")
    def close_to_original():
        for case in references()[model]:
            arguments = ["--prompt", case["prompt"], "--logits", "--last"]
            wanted = case["logits"]
            largest = max(abs(value) for value in wanted)
            # Without the sets of instructions that round, all models are as close.
            for output, limit in ((in_cell(model, arguments), tolerance),
                                  (on_host(model, arguments, isa="baseline"), RELATIVE_ERROR)):
                found = logits(output)
                assert len(found) == len(wanted)
                error = max(abs(a - b) for a, b in zip(found, wanted)) / largest
                assert error < limit, (case["prompt"], error)


for name in MODEL_FILES:
    add_model(name)


@tap.test("the same seed gives the same text in cell and host, another seed another")
def same_text():
    arguments = ["--prompt", "Once upon a time", "--tokens", "60", "--seed"]
    first = in_cell("demo.gguf", arguments + ["5"])
    assert first == on_host("demo.gguf", arguments + ["5"])
    assert first == in_cell("demo.gguf", arguments + ["5"], vcpus=2)
    assert first != in_cell("demo.gguf", arguments + ["6"])


@tap.test("the demo model's text is made of words")
def words():
    text = in_cell("demo.gguf", ["--prompt", "Once upon a time", "--tokens", "150"]).decode()
    tokens = text.split()
    assert len(tokens) > 60, text
    short = [word for word in tokens if len(word) < 16]
    assert len(short) > 0.95 * len(tokens), text


@tap.test("a prompt comes through the console port")
def prompt_from_input():
    asked = in_cell("demo.gguf", ["--prompt", "-", "--tokens", "20", "--temperature", "0"],
                    data=b"The old clock\nrest\n")
    given = in_cell("demo.gguf", ["--prompt", "The old clock", "--tokens", "20",
                                  "--temperature", "0"])
    assert asked == given, (asked, given)


@tap.test("what is not supported is refused by name")
def refused():
    with open(os.path.join(MODELS, "tiny-f32.gguf"), "rb") as file:
        good = file.read()
    cases = [(good.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0gemma", 1), "gemma"),
             (good[:1000], ""), (b"not a model" * 100, "")]
    for content, word in cases:
        path = bench.write("bad.gguf", content)
        ended = bench.run(["--image", IMAGE, "--weights", path, "--port", "console"])
        assert 0 < ended.status < 64, ended
        assert ended.stdout and word in ended.stdout.decode(), ended


@tap.test("without a console the model runs and says nothing")
def silent():
    ended = bench.run(["--image", IMAGE, "--weights", os.path.join(MODELS, "demo.gguf"), "--",
                       "--tokens", "5"])
    assert ended.stdout == b"" and ended.result["requests"] == 0, ended


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
