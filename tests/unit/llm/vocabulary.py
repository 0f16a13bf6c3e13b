# SPDX-License-Identifier: Apache-2.0
"""What the tests of the tokenizers share: GGUF files with a vocabulary only, and the tool that
answers with tokens."""

import json
import random
import struct
import subprocess

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

# Numbers of value types in the GGUF specification.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
FORMATS = {UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}


def packed(kind, value):
    """Returns the bytes of a value."""
    if kind == STRING:
        data = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<Q", len(data)) + data
    return struct.pack(FORMATS[kind], value)


def gguf(keys):
    """Returns the bytes of a GGUF file without tensors; keys: name -> (type, value or list)."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, 0, len(keys))]
    for name, (kind, value) in keys.items():
        parts.append(packed(STRING, name))
        if isinstance(value, list):
            parts.append(struct.pack("<IIQ", ARRAY, kind, len(value)))
            parts.extend(packed(kind, element) for element in value)
        else:
            parts.append(struct.pack("<I", kind) + packed(kind, value))
    data = b"".join(parts)
    return data + bytes(-len(data) % 32)


def vocabulary(model, tokens, types, more):
    """Returns a file of a tokenizer; more: name after "tokenizer." -> (type, value)."""
    keys = {"tokenizer.ggml.model": (STRING, model),
            "tokenizer.ggml.tokens": (STRING, tokens),
            "tokenizer.ggml.token_type": (INT32, types)}
    keys.update({"tokenizer." + name: value for name, value in more.items()})
    return gguf(keys)


def byte_characters():
    """Returns the character for each byte, as the encoder of GPT-2 builds the table."""
    same = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in same}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(0x100 + len(table) - len(same))
    return [table[byte] for byte in range(256)]


def from_tokenizer_json(path, pre, more=None):
    """Returns a GGUF vocabulary of a published tokenizer.json. pre: the name of its
    pre-tokenizer; None: a vocabulary of kind llama, whose scores follow the order of merges."""
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    count = 1 + max([*data["model"]["vocab"].values(),
                     *(token["id"] for token in data["added_tokens"])])
    tokens = [f"[unused{index}]" for index in range(count)]
    types = [5] * count
    for text, index in data["model"]["vocab"].items():
        tokens[index], types[index] = text, NORMAL
    for token in data["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    keys = dict(more or {})
    merges = [merge if isinstance(merge, str) else " ".join(merge)
              for merge in data["model"]["merges"]]
    if pre is None:
        for index, text in enumerate(tokens):
            if len(text) == 6 and text.startswith("<0x"):
                types[index] = BYTE
        scores = [0.0] * count
        for rank, merge in reversed(list(enumerate(merges))):
            scores[data["model"]["vocab"][merge.replace(" ", "")]] = -1.0 - rank
        keys["ggml.scores"] = (FLOAT32, scores)
        return vocabulary("llama", tokens, types, keys)
    keys["ggml.pre"] = (STRING, pre)
    keys["ggml.merges"] = (STRING, merges)
    return vocabulary("gpt2", tokens, types, keys)


def ask(tool, arguments, lines):
    """Runs the tool on lines of text; returns its answers."""
    run = subprocess.run([tool, *arguments], input="".join(line + "\n" for line in lines),
                         capture_output=True, text=True, timeout=100, check=False)
    if run.returncode != 0:
        raise RuntimeError(run.stderr)
    return run.stdout.splitlines()


def numbers(answers):
    """Returns the answers as lists of numbers."""
    return [[int(number) for number in answer.split()] for answer in answers]


# Pieces that random texts are put together from: scripts, signs, spaces, contractions, digits.
SAMPLES = [
    "the", "Hello", "WORLD", "camelCase", "HTTPServer", "naïve", "café", "e\u0301te\u0301", "ǅungla",
    "Straße", "ΑΒΓ", "αβγ", "Привет", "мир", "שלום", "العَرَبِيَّة", "हिन्दी", "ไทย", "日本語", "カタカナ", "ひらがな",
    "中文字", "한국어", "ʻokina", "ªº", "𝒜𝓑", "👍🏽", "👨‍👩‍👧", "🎉", "€", "£5", "±", "→", "…", "—", "«", "»", "“", "”",
    "'s", "'S", "'t", "'re", "'LL", "'ve", "'m", "'d", "'x", "'ſ", "’s", "'", "''", "0", "7", "12", "345",
    "67890", "٣٤٥", "½", "Ⅷ", "²", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ",
    "\u00a0", "\u3000", "\u2003", "\u0085", "\u200b", "\u2028", "\x0b", "\x0c", "\x1c", "\x00", "\x7f",
    ".", ",", "!", "?", "...", "!!", "(", ")", "[", "]", "{", "}", "<", ">", "/", "//", "\\", "|", "~", "`", "^",
    "$", "+", "=", "==", "*", "#", "@", "%", "&", "_", "__", "-", "--", ":", ";", "\"", "https://a.b/c?d=e",
    "x_1", "1.5e-3", "\u0301", "\u093f", "\u20dd", "ﬀ", "\ufffd", "\U0010ffff", "\u0378",
]


def random_texts(seed, count, longest=12):
    """Returns `count` texts put together from samples, and single characters of all planes."""
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(source.randint(1, longest)):
            if source.random() < 0.9:
                parts.append(source.choice(SAMPLES))
            else:
                point = source.choice([source.randrange(0x20, 0x250), source.randrange(0x250, 0xD800),
                                       source.randrange(0xE000, 0x20000)])
                parts.append(chr(point))
            if source.random() < 0.3:
                parts.append(" ")
        texts.append("".join(parts))
    return texts
