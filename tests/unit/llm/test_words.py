#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The pre-tokenizers against the published patterns, run by a regular expression engine, and the
classes of characters against Python's Unicode data.

Usage: test_words.py TOOL [TEST...]"""

import os
import sys
import unicodedata
import unittest

import regex
import vocabulary

TOOL = os.path.abspath(sys.argv.pop(1))
TEXTS = int(os.environ.get("TEXTS", "4000"))

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
START = r"[^\r\n\p{L}\p{N}]?"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

# Each pattern cuts what the one before it has left, and keeps what it does not match as words.
PATTERNS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "refact": [r"\p{N}", GPT2],
    "command-r": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "smaug-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "deepseek-r1-qwen": [LLAMA3.replace("{1,3}", "")],
    "tekken": [f"{START}[{UPPER}]*[{LOWER}]+|{START}[{UPPER}]+[{LOWER}]*|" r"\p{N}" + REST],
    "gpt-4o": [f"{START}[{UPPER}]*[{LOWER}]+{SUFFIX}|{START}[{UPPER}]+[{LOWER}]*{SUFFIX}|"
               r"\p{N}{1,3}" + REST],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"
                    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
                    r"\s*[\r\n]+|\s+(?!\S)|\s+"],
}


def cut(patterns, text):
    """Returns the words that a list of patterns cuts a text into."""
    words = [text]
    for pattern in patterns:
        # In Python \s has four control characters more than the property White_Space.
        expression = regex.compile(pattern.replace(r"\s", r"\p{White_Space}")
                                   .replace(r"\S", r"\P{White_Space}"))
        parts = []
        for word in words:
            at = 0
            for match in expression.finditer(word):
                if match.end() > match.start():
                    parts += [word[at:match.start()], match.group()]
                    at = match.end()
            parts.append(word[at:])
        words = [part for part in parts if part]
    return words


def same_data(text):
    """Returns whether both Unicode data know all characters: they may be of different versions."""
    return all(unicodedata.category(char) != "Cn" or regex.match(r"\p{Cn}", char) for char in text)


class Words(unittest.TestCase):
    """One test for each pattern."""

    def compare(self, name):
        """Compares the words of many texts."""
        texts = [text for text in vocabulary.random_texts(name, TEXTS) if same_data(text)]
        self.assertGreater(len(texts), TEXTS / 2)
        answers = vocabulary.numbers(vocabulary.ask(
            TOOL, ["words", name], [text.encode().hex() for text in texts]))
        self.assertEqual(len(answers), len(texts))
        for text, lengths in zip(texts, answers):
            expected = [len(word.encode()) for word in cut(PATTERNS[name], text)]
            self.assertEqual(lengths, expected, f"{name}: {text!r}")

    def test_invalid_utf8(self):
        """Bytes that are no UTF-8 are symbols of one byte each, and none is lost."""
        text = b"ab\xff\xfe 1\xe2\x82x\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 \xf0\x9f"
        lengths = vocabulary.numbers(vocabulary.ask(TOOL, ["words", "gpt-2"], [text.hex()]))[0]
        self.assertEqual(lengths, [2, 2, 2, 2, 1, 9, 3])
        self.assertEqual(sum(lengths), len(text))

    def test_classes(self):
        """Every code point has the class of its general category."""
        groups = ["Lu Lt", "Ll", "Lm Lo", "Mn Mc Me", "Nd Nl No", "Pc Pd Ps Pe Pi Pf Po",
                  "Sm Sc Sk So"]
        bits = {category: 1 << bit for bit, group in enumerate(groups) for category in group.split()}
        runs = vocabulary.numbers(vocabulary.ask(TOOL, ["classes"], []))
        white_space = regex.compile(r"\p{White_Space}")
        for (start, classes), (end, _) in zip(runs, [*runs[1:], [0x110000, 0]]):
            for point in range(start, end):
                expected = (0x80 if white_space.match(chr(point))
                            else bits.get(unicodedata.category(chr(point)), 0))
                self.assertEqual(classes & 0xFF, expected, f"U+{point:04X}")


for pre_tokenizer in PATTERNS:
    setattr(Words, "test_" + pre_tokenizer.replace("-", "_"),
            lambda self, name=pre_tokenizer: self.compare(name))

if __name__ == "__main__":
    unittest.main()
