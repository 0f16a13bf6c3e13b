# SPDX-License-Identifier: Apache-2.0
"""The inference program computes every family as the reference in double precision does.

Arguments: guillotine, llm-host, llm.elf, the folder of the end-to-end tests.
"""

import os
import subprocess
import sys

import numpy as np

sys.path.insert(0, sys.argv[4])

from families import CASES, PROMPT, Case, build
from gguf_writer import stored, write, write_split
from guest_test import Bench, Tap
from reference import Model
from tensor_types import TYPES, pack, unpack

GUILLOTINE, HOST, IMAGE = sys.argv[1:4]

# Largest difference of a logit, as a part of the largest logit. Floats with an accurate order of
# sums stay far below the first; one vector that is rounded differently may cost the second.
EXACT = 2e-5
ROUNDED = 8e-2
PLAIN_TYPES = ("F32", "F16", "BF16")
BLOCK_TYPES = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
IN_CELL = ("qwen3", "mistral", "mistral3")

# Sizes that all types divide: 256 elements of a row are a whole block of any.
WIDE = {"embedding_length": 256, "feed_forward_length": 512}

bench = Bench(GUILLOTINE, [IMAGE])
tap = Tap(after=bench.clean)


def on_host(paths, arguments, *options):
    """The output of the Linux program for a model of one or more files."""
    more = [word for path in paths[1:] for word in ("--more", path)]
    done = subprocess.run([HOST, *options, *more, paths[0], *arguments], capture_output=True,
                          timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stdout[-300:] + done.stderr[-300:]).decode())
    return done.stdout.decode()


def logits(output):
    return np.array([np.frombuffer(bytes.fromhex(line), "<f4") for line in output.split()])


def error(found, wanted):
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return np.abs(found - wanted).max() / np.abs(wanted).max()


LOGITS = ["--prompt", PROMPT, "--logits"]


def prompt_ids(paths):
    ids = [int(word) for word in on_host(paths, ["--prompt", PROMPT, "--tokenize"]).split()]
    assert len(ids) > 48, ids  # more than two batches
    return ids


def check_against_reference(paths, model, tolerance, native=None):
    """Compares the program with a model; `native`, if kernels of this processor round vectors, is
    the model that does so too."""
    wanted = model.logits(prompt_ids(paths))
    rounded = native.logits(prompt_ids(paths)) if native else wanted
    outputs = {options: on_host(paths, LOGITS, *options)
               for options in ((), ("--workers", "3"), ("--isa", "baseline"),
                               ("--isa", "baseline", "--workers", "2"))}
    assert outputs[()] == outputs["--workers", "3"]
    assert outputs["--isa", "baseline"] == outputs["--isa", "baseline", "--workers", "2"]
    # The same positions in other batches: a text that ends after a word has the first tokens of it.
    words = PROMPT.rsplit(" ", 7)[0]
    assert outputs[()].startswith(on_host(paths, ["--prompt", words, "--logits"]))
    for options, output in outputs.items():
        if "--isa" in options or not native:
            found = error(logits(output), wanted)
            assert found < tolerance, (options, found)
        else:
            check_rounded(logits(output), rounded)
    return wanted


def check_rounded(found, wanted):
    """Where no number lay so near the middle between two integers that floats and doubles round
    it differently, both agree to the last digits; elsewhere they differ as roundings do."""
    errors = sorted(abs(found - wanted).max(axis=1) / abs(wanted).max())
    assert errors[1] < EXACT and errors[-1] < ROUNDED, errors


def must_differ(case, own, tensors, wanted, ids):
    """What a case tests must matter, or comparing the logits would say nothing about it."""
    for name in case.ignored:
        fewer_keys = {key: value for key, value in own.items() if key != name}
        fewer = {tensor: value for tensor, value in tensors.items() if tensor != name}
        assert len(fewer_keys) + len(fewer) < len(own) + len(tensors), name
        other = Model(case.architecture, fewer_keys, stored(fewer)).logits(ids)
        assert error(other, wanted) > 20 * EXACT, name
    model = Model(case.architecture, own, stored(tensors))
    style = model.architecture
    changes = [{"rotation": "neighbours" if style.rotation == "halves" else "halves"}]
    if style.unrotated:
        changes.append({"unrotated": 0})
    for change in changes:
        model.architecture = style._replace(**change)
        assert error(model.logits(ids), wanted) > 20 * EXACT, change


def add_case(case):
    own, keys, tensors = build(case)
    path = bench.path(case.name + ".gguf")

    @tap.test(f"{case.name}: logits of the reference, the same bits with any workers",
              needs_kvm=False)
    def compare():
        write(path, keys, tensors)
        wanted = check_against_reference([path], Model(case.architecture, own, stored(tensors)),
                                         EXACT)
        must_differ(case, own, tensors, wanted, prompt_ids([path]))


def add_type(kind):
    case = Case(f"llama-{kind}", "llama", WIDE, ("output",))

    @tap.test(f"{case.name}: logits of the reference", needs_kvm=False)
    def compare():
        own, keys, tensors = build(case, kind)
        path = bench.path(case.name + ".gguf")
        write(path, keys, tensors)
        block = 0 if kind in PLAIN_TYPES else 256 if kind.endswith("_K") else 32
        model = Model(case.architecture, own, stored(tensors))
        native = Model(case.architecture, own, stored(tensors), block) if block else None
        wanted = check_against_reference([path], model, EXACT, native)
        if block:
            found = error(native.logits(prompt_ids([path])), wanted)
            print(f"# {kind}: rounding activations moves logits by {found:.3f} of the largest")
            assert found > 100 * EXACT, found


for each in CASES:
    add_case(each)
for each in PLAIN_TYPES + BLOCK_TYPES:
    add_type(each)


@tap.test("packed tensors unpack to nearly the same numbers", needs_kvm=False)
def packing():
    # Half a step of the type's numbers, as a part of the largest; the K types lose more because
    # their groups share scales of 6 or 8 bits.
    steps = {"F32": 1e-7, "F16": 1e-3, "BF16": 8e-3, "Q8_0": 5e-3, "Q6_K": 0.03, "Q5_0": 0.07,
             "Q5_1": 0.04, "Q5_K": 0.06, "Q4_0": 0.14, "Q4_1": 0.08, "Q4_K": 0.1}
    assert set(steps) == set(TYPES)
    random = np.random.default_rng(7)
    for kind, step in steps.items():
        rows = random.standard_normal((8, 512))
        rows[0] = 0
        rows[1] = np.abs(rows[1])
        found = unpack(kind, pack(kind, rows), rows.shape)
        assert not found[0].any(), kind
        assert np.abs(found - rows).max() < step * np.abs(rows).max(), kind
        assert np.abs(found - rows).max() > 0 or kind == "F32", kind


def split_model(count):
    case = Case("split", "qwen2", {"block_count": 3}, ("bias", "output"))
    own, keys, tensors = build(case)
    paths = write_split(bench.folder, f"split-{count}", keys, tensors, count)
    whole = bench.path("whole.gguf")
    write(whole, keys, tensors)
    return paths, whole, Model(case.architecture, own, stored(tensors))


@tap.test("a model in 3 and in 16 files has the logits of the same model in one", needs_kvm=False)
def split():
    for count in (3, 16):
        paths, whole, model = split_model(count)
        check_against_reference(paths, model, EXACT)
        assert on_host(paths, LOGITS) == on_host([whole], LOGITS), count


@tap.test("a split model that misses a part is refused by the number of files", needs_kvm=False)
def split_missing():
    paths = split_model(3)[0]
    for chosen in (paths[:2], paths[:1], [paths[0], paths[2], paths[1]], paths + paths[2:]):
        try:
            on_host(chosen, LOGITS)
        except RuntimeError as refusal:
            assert "key split." in str(refusal), refusal
        else:
            raise AssertionError(chosen)


def in_cell(weights, *more):
    options = [word for path in weights for word in ("--weights", path)]
    return bench.run(["--image", IMAGE, *options, "--port", "console", *more, "--", *LOGITS])


for each in CASES:
    if each.name in IN_CELL:
        @tap.test(f"{each.name}: a cell gives the bits of the host")
        def cell(case=each):
            path = bench.path(case.name + ".gguf")
            _, keys, tensors = build(case)
            write(path, keys, tensors)
            for vcpus in ("1", "2"):
                ended = in_cell([path], "--vcpus", vcpus)
                assert ended.status == 0, ended
                assert ended.stdout.decode() == on_host([path], LOGITS)


@tap.test("a cell finds the parts of a split model by the name of the first")
def split_in_cell():
    paths, whole, _ = split_model(3)
    wanted = on_host([whole], LOGITS)
    for weights in (paths[:1], paths):
        ended = in_cell(weights)
        assert ended.status == 0, ended
        assert ended.stdout.decode() == wanted, weights
    document = bench.write_vm("split.json", image=os.path.abspath(IMAGE),
                              weights=[{"file": paths[0]}],
                              ports=[{"name": "console", "kind": "console"}])
    ended = bench.run([document, "--", *LOGITS])
    assert ended.status == 0 and ended.stdout.decode() == wanted, ended


@tap.test("a missing part is named")
def missing_in_cell():
    paths = split_model(3)[0]
    os.unlink(paths[1])
    ended = in_cell(paths[:1])
    assert ended.status == 65 and os.path.basename(paths[1]) in ended.stderr, ended


def main():
    try:
        return 0 if tap.run() else 1
    finally:
        bench.check_nothing_left()
        bench.close()


if __name__ == "__main__":
    sys.exit(main())
