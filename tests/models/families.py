# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of every family: keys and tensors as GGUF files name them."""

import collections

import numpy as np

from gguf_writer import FLOAT32, INT32, STRING, random_matrix
import reference

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
PROMPT = "the old keeper climbed the stairs and lit the lamp once more before dawn"

# What the numbers of a case are if it does not say otherwise.
SIZES = {"embedding_length": 64, "feed_forward_length": 96, "block_count": 2,
         "attention.head_count": 4, "attention.head_count_kv": 2, "context_length": 128}

# name: of the case; architecture: its general.architecture; keys: more of them, without the prefix;
# features: tensors it has, of "output", "bias", "output_bias", "factors"; ignored: keys and
# tensors without which the logits must be others, which shows that the case tests them.
Case = collections.namedtuple("Case", "name architecture keys features ignored",
                              defaults=({}, (), ()))

YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.freq_base": 10000.0,
        "rope.scaling.original_context_length": 32}

CASES = [
    Case("llama", "llama", {"rope.dimension_count": 16}, ("output",), ("output.weight",)),
    Case("llama-tied", "llama"),
    Case("llama-all-heads", "llama", {"attention.head_count_kv": 4}),
    Case("llama-one-key-head", "llama", {"attention.head_count": 8,
                                         "attention.head_count_kv": 1}),
    Case("llama-three-shared", "llama", {"attention.head_count": 6, "embedding_length": 48,
                                         "attention.head_count_kv": 2}),
    Case("llama-partly-rotated", "llama", {"rope.dimension_count": 8},
         ignored=("rope.dimension_count",)),
    Case("llama-base", "llama", {"rope.freq_base": 500000.0}, ignored=("rope.freq_base",)),
    Case("llama-biases", "llama", {}, ("bias", "output_bias"),
         ("blk.0.attn_q.bias", "blk.1.attn_v.bias", "blk.0.attn_output.bias")),
    Case("llama-factors", "llama", {"rope.freq_base": 500000.0}, ("factors",),
         ("rope_freqs.weight",)),
    Case("llama-linear", "llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 2.5},
         ignored=("rope.scaling.factor",)),
    Case("llama-linear-old-key", "llama", {"rope.scale_linear": 2.0},
         ignored=("rope.scale_linear",)),
    Case("llama-linear-without-type", "llama", {"rope.scaling.factor": 3.0},
         ignored=("rope.scaling.factor",)),
    Case("llama-unscaled", "llama", {"rope.scaling.type": "none", "rope.scaling.factor": 3.0},
         ignored=("rope.scaling.type",)),
    Case("llama-yarn", "llama", YARN, ignored=("rope.scaling.type", "rope.scaling.factor",
                                               "rope.scaling.original_context_length")),
    Case("llama-yarn-all-keys", "llama",
         {**YARN, "rope.scaling.attn_factor": 1.2, "rope.scaling.yarn_beta_fast": 8.0,
          "rope.scaling.yarn_beta_slow": 0.5, "rope.scaling.original_context_length": 1024},
         ignored=("rope.scaling.attn_factor", "rope.scaling.yarn_beta_fast",
                  "rope.scaling.yarn_beta_slow")),
    Case("llama-yarn-factors", "llama", YARN, ("factors",), ("rope_freqs.weight",)),
    Case("mistral", "llama", {"attention.sliding_window": 7, "rope.dimension_count": 16},
         ("output",), ("attention.sliding_window",)),
    Case("mistral3", "mistral3", {**YARN, "rope.scaling.yarn_log_multiplier": 1.0,
                                  "attention.temperature_scale": 0.5,
                                  "attention.key_length": 24, "attention.value_length": 24},
         ignored=("attention.temperature_scale", "rope.scaling.yarn_log_multiplier")),
    Case("qwen2", "qwen2", {"rope.freq_base": 1000000.0, "attention.head_count": 8,
                            "attention.head_count_kv": 1}, ("bias",),
         ("blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.1.attn_v.bias")),
    Case("qwen2-yarn", "qwen2", YARN, ("bias", "output"), ("rope.scaling.factor",)),
    Case("qwen3", "qwen3", {"attention.key_length": 24, "attention.value_length": 24,
                            "rope.freq_base": 1000000.0}, ("output",)),
    Case("qwen3-wide", "qwen3", {"attention.key_length": 32, "attention.value_length": 32}),
    Case("smollm3", "smollm3", {"block_count": 5, "rope.freq_base": 50000.0}),
    Case("granite", "granite",
         {"logit_scale": 4.0, "residual_scale": 0.3, "embedding_scale": 6.0,
          "attention.scale": 0.0625}, ("output_bias", "bias"),
         ("residual_scale", "embedding_scale", "attention.scale", "logit_scale")),
    Case("granite-logits-only", "granite", {"logit_scale": 8.0}),
    Case("olmo2", "olmo2", {"attention.head_count_kv": 2}, ("output",)),
    Case("internlm2", "internlm2", {"attention.head_count": 4}, ("output",)),
    Case("ernie4-5", "ernie4_5"),
    Case("exaone", "exaone", {"rope.freq_base": 1000000.0}, ("factors", "output"),
         ("rope_freqs.weight",)),
]


def vocabulary():
    """Texts, scores and types of tokens: letters, some pairs of them, all bytes."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    tokens += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    pieces = ["\u2581"] + list(letters) + ["th", "er", "he", "st", "an", "\u2581t", "\u2581th"]
    tokens += [(text, -1.0 - index, NORMAL) for index, text in enumerate(pieces)]
    return tokens


def keys_of(case, tokens):
    """The keys of a case without prefix, and all of its file."""
    own = {**SIZES, "attention.layer_norm_rms_epsilon": 1e-5, **case.keys}
    keys = {"general.architecture": case.architecture}
    keys.update({f"{case.architecture}.{name}": value for name, value in own.items()})
    keys.update({
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": (STRING, [token[0] for token in tokens]),
        "tokenizer.ggml.scores": (FLOAT32, [token[1] for token in tokens]),
        "tokenizer.ggml.token_type": (INT32, [token[2] for token in tokens]),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    })
    return own, keys


def layer_tensors(case, own, random):
    """Tensors of a layer, without its prefix: matrices [rows, columns], vectors."""
    style = reference.ARCHITECTURES[case.architecture]
    width, inner = own["embedding_length"], own["feed_forward_length"]
    size = own.get("attention.key_length", width // own["attention.head_count"])
    queries, shared = (size * own["attention.head_count"], size * own["attention.head_count_kv"])
    matrices = {"attn_q": (queries, width), "attn_k": (shared, width), "attn_v": (shared, width),
                "attn_output": (width, queries), "ffn_gate": (inner, width),
                "ffn_up": (inner, width), "ffn_down": (width, inner)}
    gains = {"before": {"attn_norm": width, "ffn_norm": width},
             "after": {"post_attention_norm": width, "post_ffw_norm": width}}[style.norm]
    if style.query_key_norm:
        whole = style.query_key_norm == "whole"
        gains = {**gains, "attn_q_norm": queries if whole else size,
                 "attn_k_norm": shared if whole else size}
    biases = {"attn_q": queries, "attn_k": shared, "attn_v": shared}
    biases = biases if "bias" in case.features else {}
    if "output_bias" in case.features:
        biases = {**biases, "attn_output": width}
    tensors = {f"{name}.weight": 2 * random_matrix(random, *shape)
               for name, shape in matrices.items()}
    tensors.update({f"{name}.weight": 1 + random.standard_normal(length) / 4
                    for name, length in gains.items()})
    tensors.update({f"{name}.bias": random.standard_normal(length) / 2
                    for name, length in biases.items()})
    return tensors


def build(case, matrix_type="F32", seed=1, tokens=None):
    """Keys without prefix, all keys, and tensors (type name, array) of a case. Vectors are F32, as
    in real files."""
    tokens = tokens or vocabulary()
    random = np.random.default_rng([seed, *case.name.encode()])
    own, keys = keys_of(case, tokens)
    width, words = own["embedding_length"], len(tokens)
    arrays = {"token_embd.weight": np.sqrt(width) * random_matrix(random, words, width)}
    for layer in range(own["block_count"]):
        arrays.update({f"blk.{layer}.{name}": array
                       for name, array in layer_tensors(case, own, random).items()})
    arrays["output_norm.weight"] = 1 + random.standard_normal(width) / 4
    if "output" in case.features:
        arrays["output.weight"] = random_matrix(random, words, width)
    if "factors" in case.features:
        size = own.get("attention.key_length", width // own["attention.head_count"])
        arrays["rope_freqs.weight"] = np.linspace(1, 8, size // 2)
    return own, keys, {name: (matrix_type if array.ndim == 2 else "F32",
                              array.astype(np.float32)) for name, array in arrays.items()}
