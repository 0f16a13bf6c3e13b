# SPDX-License-Identifier: Apache-2.0
"""The tensor types of GGUF files in numpy: how rows are stored, and what they mean.

Independent of the C code: written from the public descriptions of the block formats. A packer
returns bytes, an unpacker the double-precision numbers that the bytes stand for. Packers are valid,
not good: where the format leaves a choice they take the simplest. Every type has, by name:

    number          its number in a GGUF file
    elements        of a block; rows are whole blocks
    block_bytes
    pack(rows)      float array [n, elements] of blocks to bytes
    unpack(data)    bytes to a float64 array [n, elements]
"""

import collections

import numpy as np

Type = collections.namedtuple("Type", "number elements block_bytes pack unpack")

SUPER = 256  # elements of a block of the K types
GROUP = 32   # elements that share a scale in Q4_K and Q5_K


def _half(values):
    """float16 bytes, [n] to [n, 2]."""
    return np.ascontiguousarray(values, dtype="<f2").view(np.uint8).reshape(-1, 2)


def _from_half(data):
    return np.ascontiguousarray(data).view("<f2").astype(np.float64).reshape(-1)


def _join(*columns):
    return np.concatenate(columns, axis=1).astype(np.uint8).tobytes()


def _inverse(scale):
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale != 0)


def _stored(scale):
    """What is left of a scale after it was stored as float16."""
    return scale.astype("<f2").astype(np.float64)


# Plain numbers.

def _pack_f32(blocks):
    return np.asarray(blocks, dtype="<f4").tobytes()


def _unpack_f32(data):
    return np.frombuffer(data, "<f4").astype(np.float64).reshape(-1, 1)


def _pack_f16(blocks):
    return np.asarray(blocks, dtype="<f2").tobytes()


def _unpack_f16(data):
    return np.frombuffer(data, "<f2").astype(np.float64).reshape(-1, 1)


def _pack_bf16(blocks):
    """The upper half of a float32, rounded to nearest, ties to even."""
    bits = np.asarray(blocks, dtype="<f4").view("<u4")
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits >> 16).astype("<u2").tobytes()


def _unpack_bf16(data):
    bits = np.frombuffer(data, "<u2").astype("<u4") << 16
    return bits.view("<f4").astype(np.float64).reshape(-1, 1)


# Blocks of 32: a scale d (float16), for some a minimum m, then numbers.

def _pack_q8_0(blocks):
    scale = np.abs(blocks).max(axis=1) / 127
    stored = _stored(scale)
    numbers = np.clip(np.rint(blocks * _inverse(stored)[:, None]), -127, 127)
    return _join(_half(scale), numbers.astype(np.int8).view(np.uint8))


def _unpack_q8_0(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 34)
    return _from_half(raw[:, :2])[:, None] * raw[:, 2:].view(np.int8).astype(np.float64)


def _nibbles(numbers):
    """32 numbers below 16 to 16 bytes: element i low, element i + 16 high."""
    return numbers[:, :16] | numbers[:, 16:] << 4


def _from_nibbles(data):
    return np.concatenate([data & 15, data >> 4], axis=1)


def _high_bits(numbers):
    """Bit 4 of 32 numbers, as a little-endian 32-bit number: element i is bit i."""
    bits = (numbers >> 4 & 1).astype(np.uint32)
    words = (bits << np.arange(32, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    return words.astype("<u4").view(np.uint8).reshape(-1, 4)


def _from_high_bits(data):
    words = np.ascontiguousarray(data).view("<u4")
    return (words >> np.arange(32, dtype=np.uint32) & 1).astype(np.uint8)


def _symmetric(blocks, largest):
    """Scale and numbers 0 to 2 * largest - 1 that mean scale * (number - largest)."""
    signed = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)[:, 0]
    scale = signed / -largest
    numbers = np.rint(blocks * _inverse(_stored(scale))[:, None]) + largest
    return scale, np.clip(numbers, 0, 2 * largest - 1).astype(np.uint8)


def _asymmetric(blocks, largest):
    """Scale, minimum and numbers 0 to largest that mean scale * number + minimum."""
    minimum = blocks.min(axis=1)
    scale = (blocks.max(axis=1) - minimum) / largest
    numbers = np.rint((blocks - _stored(minimum)[:, None]) * _inverse(_stored(scale))[:, None])
    return scale, minimum, np.clip(numbers, 0, largest).astype(np.uint8)


def _pack_q4_0(blocks):
    scale, numbers = _symmetric(blocks, 8)
    return _join(_half(scale), _nibbles(numbers))


def _unpack_q4_0(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 18)
    return _from_half(raw[:, :2])[:, None] * (_from_nibbles(raw[:, 2:]).astype(np.float64) - 8)


def _pack_q4_1(blocks):
    scale, minimum, numbers = _asymmetric(blocks, 15)
    return _join(_half(scale), _half(minimum), _nibbles(numbers))


def _unpack_q4_1(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 20)
    numbers = _from_nibbles(raw[:, 4:]).astype(np.float64)
    return _from_half(raw[:, :2])[:, None] * numbers + _from_half(raw[:, 2:4])[:, None]


def _pack_q5_0(blocks):
    scale, numbers = _symmetric(blocks, 16)
    return _join(_half(scale), _high_bits(numbers), _nibbles(numbers & 15))


def _unpack_q5_0(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 22)
    numbers = _from_nibbles(raw[:, 6:]) | _from_high_bits(raw[:, 2:6]) << 4
    return _from_half(raw[:, :2])[:, None] * (numbers.astype(np.float64) - 16)


def _pack_q5_1(blocks):
    scale, minimum, numbers = _asymmetric(blocks, 31)
    return _join(_half(scale), _half(minimum), _high_bits(numbers), _nibbles(numbers & 15))


def _unpack_q5_1(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 24)
    numbers = (_from_nibbles(raw[:, 8:]) | _from_high_bits(raw[:, 4:8]) << 4).astype(np.float64)
    return _from_half(raw[:, :2])[:, None] * numbers + _from_half(raw[:, 2:4])[:, None]


# Blocks of 256 with scales of their own for groups.

def _pack_group_scales(scales, minima):
    """Eight 6-bit scales and minima in 12 bytes: 0 to 3 in the low six bits of bytes 0 to 3 and
    4 to 7; of 4 to 7 the low four bits in bytes 8 to 11 (scale low, minimum high), the high two in
    the top bits of the bytes before."""
    first = scales[:, :4] | scales[:, 4:] >> 4 << 6
    second = minima[:, :4] | minima[:, 4:] >> 4 << 6
    third = scales[:, 4:] & 15 | (minima[:, 4:] & 15) << 4
    return np.concatenate([first, second, third], axis=1)


def _unpack_group_scales(data):
    first, second, third = data[:, :4], data[:, 4:8], data[:, 8:]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    minima = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)
    return scales.astype(np.float64), minima.astype(np.float64)


def _super_groups(blocks, largest):
    """d, dmin, 6-bit scales, minima and numbers that mean d * scale * number - dmin * minimum."""
    groups = blocks.reshape(-1, 8, GROUP)
    low = np.minimum(groups.min(axis=2), 0)
    step = (groups.max(axis=2) - low) / largest
    d = step.max(axis=1) / 63
    dmin = (-low).max(axis=1) / 63
    scales = np.clip(np.rint(step * _inverse(_stored(d))[:, None]), 0, 63).astype(np.uint8)
    minima = np.clip(np.rint(-low * _inverse(_stored(dmin))[:, None]), 0, 63).astype(np.uint8)
    width = _stored(d)[:, None] * scales
    offset = _stored(dmin)[:, None] * minima
    numbers = np.rint((groups + offset[:, :, None]) * _inverse(width)[:, :, None])
    return d, dmin, scales, minima, np.clip(numbers, 0, largest).astype(np.uint8)


def _pair_nibbles(numbers):
    """Groups 2j and 2j + 1 share 32 bytes: low and high four bits."""
    return (numbers[:, 0::2] | numbers[:, 1::2] << 4).reshape(-1, 128)


def _from_pair_nibbles(data):
    pairs = data.reshape(-1, 4, GROUP)
    return np.stack([pairs & 15, pairs >> 4], axis=2).reshape(-1, 8, GROUP)


def _grouped(d, dmin, scales, minima, numbers):
    values = (d[:, None] * scales)[:, :, None] * numbers - (dmin[:, None] * minima)[:, :, None]
    return values.reshape(-1, SUPER)


def _pack_q4_k(blocks):
    d, dmin, scales, minima, numbers = _super_groups(blocks, 15)
    return _join(_half(d), _half(dmin), _pack_group_scales(scales, minima), _pair_nibbles(numbers))


def _unpack_q4_k(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 144)
    return _grouped(_from_half(raw[:, :2]), _from_half(raw[:, 2:4]),
                    *_unpack_group_scales(raw[:, 4:16]), _from_pair_nibbles(raw[:, 16:]))


def _pack_q5_k(blocks):
    """Bit 4 of element i of group g is bit g of byte i of the 32 between scales and nibbles."""
    d, dmin, scales, minima, numbers = _super_groups(blocks, 31)
    places = np.arange(8, dtype=np.uint8)[None, :, None]
    high = np.bitwise_or.reduce(numbers >> 4 << places, axis=1)
    return _join(_half(d), _half(dmin), _pack_group_scales(scales, minima), high,
                 _pair_nibbles(numbers & 15))


def _unpack_q5_k(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 176)
    places = np.arange(8, dtype=np.uint8)[None, :, None]
    high = raw[:, None, 16:48] >> places & 1
    return _grouped(_from_half(raw[:, :2]), _from_half(raw[:, 2:4]),
                    *_unpack_group_scales(raw[:, 4:16]),
                    _from_pair_nibbles(raw[:, 48:]) | high << 4)


def _pack_q6_k(blocks):
    """16 groups of 16 with signed 8-bit scales; numbers 0 to 63 mean d * scale * (number - 32).
    Each half of 128 has 64 bytes of low nibbles (quarters 0 and 2, and 1 and 3, share bytes) and 32
    of high pairs of bits (a quarter each)."""
    groups = blocks.reshape(-1, 16, 16)
    step = np.abs(groups).max(axis=2) / 31
    d = step.max(axis=1) / 127
    scales = np.clip(np.rint(step * _inverse(_stored(d))[:, None]), 0, 127)
    width = _stored(d)[:, None] * scales
    numbers = np.rint(groups * _inverse(width)[:, :, None]) + 32
    quarters = np.clip(numbers, 0, 63).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = quarters & 15
    nibbles = np.concatenate([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4],
                             axis=2)
    places = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    pairs = np.bitwise_or.reduce(quarters >> 4 << places, axis=2)
    return _join(nibbles.reshape(-1, 128), pairs.reshape(-1, 64),
                 scales.astype(np.int8).view(np.uint8), _half(d))


def _unpack_q6_k(data):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 210)
    nibbles = raw[:, :128].reshape(-1, 2, 2, 32)
    low = np.concatenate([nibbles & 15, nibbles >> 4], axis=2)
    places = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = raw[:, 128:192].reshape(-1, 2, 1, 32) >> places & 3
    numbers = (low | high << 4).astype(np.float64).reshape(-1, 16, 16) - 32
    scales = raw[:, 192:208].view(np.int8).astype(np.float64)
    return ((_from_half(raw[:, 208:])[:, None] * scales)[:, :, None] * numbers).reshape(-1, SUPER)


TYPES = {
    "F32": Type(0, 1, 4, _pack_f32, _unpack_f32),
    "F16": Type(1, 1, 2, _pack_f16, _unpack_f16),
    "Q4_0": Type(2, 32, 18, _pack_q4_0, _unpack_q4_0),
    "Q4_1": Type(3, 32, 20, _pack_q4_1, _unpack_q4_1),
    "Q5_0": Type(6, 32, 22, _pack_q5_0, _unpack_q5_0),
    "Q5_1": Type(7, 32, 24, _pack_q5_1, _unpack_q5_1),
    "Q8_0": Type(8, 32, 34, _pack_q8_0, _unpack_q8_0),
    "Q4_K": Type(12, SUPER, 144, _pack_q4_k, _unpack_q4_k),
    "Q5_K": Type(13, SUPER, 176, _pack_q5_k, _unpack_q5_k),
    "Q6_K": Type(14, SUPER, 210, _pack_q6_k, _unpack_q6_k),
    "BF16": Type(30, 1, 2, _pack_bf16, _unpack_bf16),
}


def pack(name, values):
    """The bytes of an array, rows along its last axis."""
    kind = TYPES[name]
    blocks = np.asarray(values, dtype=np.float64).reshape(-1, kind.elements)
    assert values.shape[-1] % kind.elements == 0, (name, values.shape)
    data = kind.pack(blocks)
    assert len(data) == len(blocks) * kind.block_bytes, name
    return data


def unpack(name, data, shape):
    """The numbers that stored bytes stand for, as float64."""
    return TYPES[name].unpack(data).reshape(shape)
