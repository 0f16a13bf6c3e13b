# SPDX-License-Identifier: Apache-2.0
"""Writes small models of several families as seeds for the fuzzer of the GGUF reader.

Argument: the folder, tests/fuzz/corpus/gguf.
"""

import os
import sys
import tempfile

from families import CONTROL, NORMAL, UNKNOWN, YARN, Case, build
from gguf_writer import write, write_split

TOKENS = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL),
          ("\u2581", -1.0, NORMAL), ("a", -2.0, NORMAL), ("b", -3.0, NORMAL),
          ("ab", -1.0, NORMAL), ("\u2581a", -2.0, NORMAL)]
SMALL = {"embedding_length": 8, "feed_forward_length": 8, "block_count": 1, "context_length": 16,
         "attention.head_count": 2, "attention.head_count_kv": 1}

SEEDS = [
    Case("llama-factors", "llama", {"attention.sliding_window": 2}, ("factors", "output_bias")),
    Case("qwen2-yarn", "qwen2", YARN, ("bias",)),
    Case("qwen3", "qwen3", {"attention.key_length": 6, "attention.value_length": 6}, ("output",)),
    Case("granite", "granite", {"logit_scale": 4.0, "residual_scale": 0.3,
                                "embedding_scale": 6.0, "attention.scale": 0.0625}),
    Case("olmo2", "olmo2", {"rope.scaling.factor": 2.0}, ("output",)),
]


def main():
    folder = sys.argv[1]
    for case in SEEDS:
        small = case._replace(keys={**SMALL, **case.keys})
        _, keys, tensors = build(small, tokens=TOKENS)
        write(os.path.join(folder, case.name), keys, tensors)
        if case is SEEDS[0]:
            with tempfile.TemporaryDirectory() as parts:
                data = b""
                for path in write_split(parts, "x", keys, tensors, 2):
                    with open(path, "rb") as file:
                        data += file.read()
            with open(os.path.join(folder, "split"), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
