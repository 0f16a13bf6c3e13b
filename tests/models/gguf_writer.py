# SPDX-License-Identifier: Apache-2.0
"""Writes GGUF files (version 3, little endian) from the format's specification; no reader."""

import struct

import numpy as np

import tensor_types

ALIGNMENT = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def _string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def _scalar(kind, value):
    if kind == STRING:
        return _string(value)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _kind_of(value):
    for python, kind in ((bool, BOOL), (int, UINT32), (float, FLOAT32), (str, STRING)):
        if isinstance(value, python):
            return kind
    raise TypeError(f"no type for {value!r}")


def _value(value):
    """A value with its type: bool, int, float, str, or (element type, list)."""
    if isinstance(value, tuple):
        kind, elements = value
        return (struct.pack("<IIQ", ARRAY, kind, len(elements)) +
                b"".join(_scalar(kind, element) for element in elements))
    kind = _kind_of(value)
    return struct.pack("<I", kind) + _scalar(kind, value)


def write(path, keys, tensors):
    """Writes a file. keys: name to value; tensors: name to (type name, numpy array); the last axis
    of an array is the first dimension of the file, a row."""
    records, data = b"", b""
    for name, (kind, array) in tensors.items():
        data += bytes(-len(data) % ALIGNMENT)
        records += _string(name) + struct.pack("<I", array.ndim)
        records += struct.pack(f"<{array.ndim}Q", *reversed(array.shape))
        records += struct.pack("<IQ", tensor_types.TYPES[kind].number, len(data))
        data += tensor_types.pack(kind, array)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(_string(name) + _value(value) for name, value in keys.items()) + records
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + data)


def write_split(folder, name, keys, tensors, count):
    """Writes a model in `count` parts, the tensors dealt out in turn; returns their paths."""
    paths = []
    for part in range(count):
        own = dict(keys) if part == 0 else {}
        own.update({"split.no": part, "split.count": count, "split.tensors.count": len(tensors)})
        path = f"{folder}/{name}-{part + 1:05}-of-{count:05}.gguf"
        chosen = {tensor: value for index, (tensor, value) in enumerate(tensors.items())
                  if index % count == part}
        write(path, own, chosen)
        paths.append(path)
    return paths


def stored(tensors):
    """What the tensors are after they were stored: name to float64 array."""
    return {name: tensor_types.unpack(kind, tensor_types.pack(kind, array), array.shape)
            for name, (kind, array) in tensors.items()}


def random_matrix(random, rows, columns):
    """Numbers of a size that keeps sums of products near 1."""
    return random.standard_normal((rows, columns)).astype(np.float32) / np.sqrt(columns)
