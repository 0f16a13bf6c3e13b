# SPDX-License-Identifier: Apache-2.0
"""The forward pass of the supported families in double precision, slow and plain.

Written from the papers' formulas: RMSNorm (Zhang and Sennrich 2019), rotary embedding (Su et al.
2021), its linear scaling (Chen et al. 2023) and YaRN (Peng et al. 2023), grouped-query attention
(Ainslie et al. 2023), SwiGLU (Shazeer 2020), sliding windows (Jiang et al. 2023), and from the
published configurations of the models; it shares nothing with the C code. A model is the keys
without the prefix of its architecture, a description of the architecture, and float64 tensors.
"""

import collections
import math

import numpy as np

# rotation: "neighbours" or "halves"; query_key_norm: None, "head" or "whole"; norm: "before" or
# "after" the blocks; every `unrotated`-th layer has no rotation; scales: Granite's multipliers.
Architecture = collections.namedtuple(
    "Architecture", "rotation query_key_norm norm unrotated scales",
    defaults=("neighbours", None, "before", 0, False))

ARCHITECTURES = {
    "llama": Architecture(),
    "mistral3": Architecture(),
    "qwen2": Architecture(rotation="halves"),
    "qwen3": Architecture(rotation="halves", query_key_norm="head"),
    "smollm3": Architecture(unrotated=4),
    "granite": Architecture(scales=True),
    "olmo2": Architecture(rotation="halves", query_key_norm="whole", norm="after"),
    "internlm2": Architecture(),
    "ernie4_5": Architecture(),
    "exaone": Architecture(rotation="halves"),
}


def rms_norm(x, gain, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * gain


def yarn(theta, dimensions, base, factor, original, fast, slow):
    """YaRN: frequencies by how often they turn over the original context, "NTK by parts"."""
    def dimension_of(turns):
        return dimensions * math.log(original / (2 * math.pi * turns)) / (2 * math.log(base))

    low = max(math.floor(dimension_of(fast)), 0)
    high = min(math.ceil(dimension_of(slow)), dimensions - 1)
    ramp = np.clip((np.arange(len(theta)) - low) / max(high - low, 0.001), 0, 1)
    return theta * (1 - ramp) + theta / factor * ramp


def frequencies(keys, dimensions, factors):
    """The radians that each pair turns a position, and the growth of what is rotated."""
    base = keys.get("rope.freq_base", 10000.0)
    theta = base ** (-2.0 * np.arange(dimensions // 2) / dimensions)
    if factors is not None:
        theta = theta / factors
    growth = keys.get("rope.scaling.attn_factor", 1.0)
    scaling = keys.get("rope.scaling.type", "linear")
    factor = keys.get("rope.scaling.factor", keys.get("rope.scale_linear", 1.0))
    if scaling == "linear":
        theta = theta / factor
    if scaling == "yarn":
        original = keys.get("rope.scaling.original_context_length", keys["context_length"])
        theta = yarn(theta, dimensions, base, factor, original,
                     keys.get("rope.scaling.yarn_beta_fast", 32.0),
                     keys.get("rope.scaling.yarn_beta_slow", 1.0))
        part = keys.get("rope.scaling.yarn_log_multiplier", 0.0)
        growth *= (0.1 * math.log(factor) + 1) / (0.1 * part * math.log(factor) + 1)
    return theta, growth


def rotate(x, style, angles, growth):
    """Rotates the leading elements of heads, [positions, heads, size]."""
    pairs = angles.shape[1]
    index = np.arange(pairs)
    one, two = (2 * index, 2 * index + 1) if style == "neighbours" else (index, index + pairs)
    cosine = (np.cos(angles) * growth)[:, None, :]
    sine = (np.sin(angles) * growth)[:, None, :]
    turned = x.copy()
    turned[..., one] = x[..., one] * cosine - x[..., two] * sine
    turned[..., two] = x[..., one] * sine + x[..., two] * cosine
    return turned


def rounded(x, block):
    """Vectors as kernels of quantised types take them: integers up to 127 with a scale a block."""
    if not block:
        return x
    blocks = x.reshape(len(x), -1, block)
    scale = np.abs(blocks).max(axis=2, keepdims=True) / 127
    integers = np.round(blocks / np.where(scale == 0, 1, scale))
    return (integers * scale).reshape(x.shape)


class Model:
    """A model of one of the architectures; `keys` are without its prefix."""

    def __init__(self, name, keys, tensors, block=0):
        self.architecture = ARCHITECTURES[name]
        self.keys = keys
        self.tensors = tensors
        self.block = block  # numbers of a vector that share a scale, where matrices are quantised
        self.heads = keys["attention.head_count"]
        self.shared = keys.get("attention.head_count_kv", self.heads)
        self.size = keys.get("attention.key_length", keys["embedding_length"] // self.heads)
        self.epsilon = keys["attention.layer_norm_rms_epsilon"]
        self.theta, self.growth = frequencies(
            keys, keys.get("rope.dimension_count", self.size), tensors.get("rope_freqs.weight"))

    def scale(self, key, default):
        return self.keys[key] if self.architecture.scales and key in self.keys else default

    def product(self, x, layer, name):
        y = rounded(x, self.block) @ self.tensors[f"blk.{layer}.{name}.weight"].T
        return y + self.tensors.get(f"blk.{layer}.{name}.bias", 0.0)

    def norm(self, x, name):
        return rms_norm(x, self.tensors[name], self.epsilon)

    def query_or_key(self, x, layer, letter, heads, angles):
        """Queries or keys of all positions, [positions, heads, size]."""
        y = self.product(x, layer, f"attn_{letter}")
        gain = f"blk.{layer}.attn_{letter}_norm.weight"
        if self.architecture.query_key_norm == "whole":
            y = self.norm(y, gain)
        y = y.reshape(len(x), heads, self.size)
        if self.architecture.query_key_norm == "head":
            y = self.norm(y, gain)
        step = self.architecture.unrotated
        if step and (layer + 1) % step == 0:
            return y
        return rotate(y, self.architecture.rotation, angles, self.growth)

    def attention(self, x, layer, angles):
        count = len(x)
        query = self.query_or_key(x, layer, "q", self.heads, angles)
        key = self.query_or_key(x, layer, "k", self.shared, angles)
        value = self.product(x, layer, "attn_v").reshape(count, self.shared, self.size)
        distance = np.arange(count)[:, None] - np.arange(count)[None, :]
        hidden = distance < 0
        window = self.keys.get("attention.sliding_window", 0)
        if window:
            hidden |= distance >= window
        scale = self.scale("attention.scale", 1 / math.sqrt(self.size))
        beta = self.keys.get("attention.temperature_scale", 0.0)
        if beta:  # Llama 4: queries grow with the number of original contexts before them
            original = self.keys["rope.scaling.original_context_length"]
            query = query * (1 + beta * np.log(1 + np.arange(count) // original))[:, None, None]
        outputs = []
        for head in range(self.heads):
            group = head // (self.heads // self.shared)
            scores = np.where(hidden, -np.inf, query[:, head] @ key[:, group].T * scale)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            outputs.append(weights / weights.sum(axis=1, keepdims=True) @ value[:, group])
        return self.product(np.concatenate(outputs, axis=1), layer, "attn_output")

    def feed_forward(self, x, layer):
        gate = self.product(x, layer, "ffn_gate")
        return self.product(gate / (1 + np.exp(-gate)) * self.product(x, layer, "ffn_up"), layer,
                            "ffn_down")

    def logits(self, ids):
        """The logits after each token, [positions, vocabulary]."""
        angles = np.arange(len(ids))[:, None] * self.theta[None, :]
        x = self.tensors["token_embd.weight"][ids] * self.scale("embedding_scale", 1.0)
        residual = self.scale("residual_scale", 1.0)
        blocks = ((lambda y, layer: self.attention(y, layer, angles), "attn_norm",
                   "post_attention_norm"), (self.feed_forward, "ffn_norm", "post_ffw_norm"))
        for layer in range(self.keys["block_count"]):
            for block, before, after in blocks:
                if self.architecture.norm == "before":
                    y = block(self.norm(x, f"blk.{layer}.{before}.weight"), layer)
                else:
                    y = self.norm(block(x, layer), f"blk.{layer}.{after}.weight")
                x = x + residual * y
        x = rounded(self.norm(x, "output_norm.weight"), self.block)
        output = self.tensors.get("output.weight", self.tensors["token_embd.weight"])
        return x @ output.T / self.scale("logit_scale", 1.0)
