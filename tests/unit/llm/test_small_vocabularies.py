#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tokenizers with vocabularies made to show one thing each.

Usage: test_small_vocabularies.py TOOL [TEST...]"""

import os
import sys
import tempfile
import unittest

import vocabulary
from vocabulary import (BOOL, BYTE, CONTROL, FLOAT32, INT32, NORMAL, STRING, UINT32, UNKNOWN,
                        USER_DEFINED)

TOOL = os.path.abspath(sys.argv.pop(1))
CHARACTERS = vocabulary.byte_characters()


def gpt2(more=(), merges=(), keys=None, characters=tuple(CHARACTERS)):
    """Returns a vocabulary of bytes, then more tokens: (text, type)."""
    keys = {"ggml.pre": (STRING, "gpt-2"), "ggml.merges": (STRING, list(merges)), **(keys or {})}
    return vocabulary.vocabulary("gpt2", [*characters, *(text for text, _ in more)],
                                 [NORMAL] * len(characters) + [kind for _, kind in more], keys)


def llama(more, keys=None, scores=True):
    """Returns a vocabulary of kind llama: <unk>, <s>, </s>, then (text, type, score)."""
    tokens = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0), *more]
    keys = dict(keys or {})
    if scores:
        keys["ggml.scores"] = (FLOAT32, [score for _, _, score in tokens])
    return vocabulary.vocabulary("llama", [text for text, _, _ in tokens],
                                 [kind for _, kind, _ in tokens], keys)


class Small(unittest.TestCase):
    """One test for each rule."""

    def ask(self, data, lines, command=("tokens",), more=()):
        """Returns the answers of the tool for a vocabulary."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            return vocabulary.ask(TOOL, [*command, file.name, *more], lines)

    def tokens(self, data, text):
        """Returns the tokens of one text; each that is a byte as it is."""
        text = text if isinstance(text, bytes) else text.encode()
        answer = self.ask(data, [text.hex()])[0]
        return answer if answer.startswith("error") else [int(part) for part in answer.split()]

    def refused(self, data, message):
        """Expects the vocabulary to be refused."""
        with self.assertRaisesRegex(RuntimeError, message):
            self.ask(data, [""])

    def test_merges_by_rank(self):
        """The first merge of the list goes first, the leftmost of two with the same rank."""
        data = gpt2([("ab", NORMAL), ("bc", NORMAL), ("aa", NORMAL), ("abc", NORMAL)],
                    ["b c", "a b", "a a", "a bc"])
        self.assertEqual(self.tokens(data, "abc"), [259])
        self.assertEqual(self.tokens(data, "ab"), [256])
        self.assertEqual(self.tokens(data, "aaa"), [258, ord("a")])
        self.assertEqual(self.tokens(data, "a bc"), [ord("a"), ord(" "), 257])

    def test_merges_that_cannot_apply(self):
        """Merges of no tokens, into none, without a space, empty, and repeated ones are left out."""
        data = gpt2([("ab", NORMAL)], ["x yz", "b c", "ab", "", " ", "a ", " a", "a b", "b a", "a b"])
        self.assertEqual(self.tokens(data, "abcab"), [256, ord("c"), 256])

    def test_whole_words(self):
        """Llama 3 takes a word that is a token, GPT-2 only what its merges lead to."""
        more = [("abc", NORMAL)]
        self.assertEqual(self.tokens(gpt2(more), "abc"), list(b"abc"))
        self.assertEqual(self.tokens(gpt2(more, keys={"ggml.pre": (STRING, "llama-bpe")}), "abc"),
                         [256])

    def test_user_defined(self):
        """User-defined tokens are found before anything else, control tokens never."""
        more = [("<x>", USER_DEFINED), ("<x>y", USER_DEFINED), ("<|end|>", CONTROL)]
        self.assertEqual(self.tokens(gpt2(more), "a<x>y<x><|end|>"),
                         [ord("a"), 257, 256, *b"<|end|>"])
        self.assertEqual(self.ask(gpt2(more), [b"a<x>y".hex()], ["text"]), [b"a<x>y".hex()])
        data = llama([("\u2581", NORMAL, -1.0), ("a", NORMAL, -2.0), ("b c", USER_DEFINED, 0.0)])
        self.assertEqual(self.tokens(data, "ab ca"), [3, 4, 5, 3, 4])

    def test_user_defined_markup(self):
        """Markup and the tokens that begin and end texts are no text, whatever type they have."""
        more = [("<|x|>", USER_DEFINED), ("<|>", USER_DEFINED), ("[INST]", USER_DEFINED),
                ("<e>", USER_DEFINED), ("<t>", USER_DEFINED), ("<m>", USER_DEFINED),
                ("<b>", USER_DEFINED)]
        text = "".join(name for name, _ in more)
        self.assertEqual(self.tokens(gpt2(more), text),
                         [*b"<|x|>", 257, *b"[INST]", 259, 260, 261, 262])
        keys = {f"ggml.{name}_token_id": (UINT32, 259 + index)
                for index, name in enumerate(["eos", "eot", "eom", "bos"])}
        self.assertEqual(self.tokens(gpt2(more, keys=keys), text),
                         [*b"<|x|>", 257, *b"[INST]<e><t><m><b>"])

    def test_no_merge_into_control(self):
        """Merges, words and pieces that spell a control token do not become it."""
        more = [("<s", NORMAL), ("<s>", CONTROL)]
        data = gpt2(more, ["< s", "<s >"], {"ggml.pre": (STRING, "llama-bpe")})
        self.assertEqual(self.tokens(data, "<s>"), [256, ord(">")])
        data = gpt2([("x", NORMAL), ("abc", CONTROL)], [], {"ggml.pre": (STRING, "llama-bpe")})
        self.assertEqual(self.tokens(data, "abc"), [*b"abc"])
        tokens = [("\u2581", NORMAL, -3.0), ("<", NORMAL, 0.0), ("s", NORMAL, 0.0),
                  (">", NORMAL, 0.0), ("<s", NORMAL, 0.0)]
        self.assertEqual(self.tokens(llama(tokens), "<s>"), [3, 7, 6])

    def test_bytes(self):
        """Bytes that are no UTF-8 stay; one without a token is refused, or unknown."""
        text = bytes(range(256))
        self.assertEqual(self.tokens(gpt2(), text), list(text))
        data = gpt2(characters=CHARACTERS[:255])
        self.assertEqual(self.tokens(data, b"\xff"),
                         "error: the vocabulary has no token for the byte 0xff")
        data = gpt2(characters=CHARACTERS[:255], keys={"ggml.unknown_token_id": (UINT32, 7)})
        self.assertEqual(self.tokens(data, b"\xffa"), [7, ord("a")])

    def test_refusals(self):
        """What is not supported is refused by its name."""
        self.refused(gpt2(keys={"ggml.pre": (STRING, "no-such")}),
                     "pre-tokenizer 'no-such' is not supported")
        self.refused(vocabulary.vocabulary("bert", ["a"], [NORMAL], {}),
                     "tokenizer model 'bert' is not supported")
        self.refused(vocabulary.vocabulary("gpt2", CHARACTERS, [NORMAL] * 256, {}),
                     "key tokenizer.ggml.merges is missing")
        self.refused(gpt2(keys={"ggml.merges": (INT32, [1])}),
                     "key tokenizer.ggml.merges is not an array of the expected type")
        self.refused(gpt2(merges=["a b"] * 500001), "500001 merges")
        self.refused(gpt2(keys={"ggml.eot_token_id": (UINT32, 256)}),
                     "key tokenizer.ggml.eot_token_id: 256 is not between 0 and 255")
        self.refused(gpt2([("x" * 1025, NORMAL)]), "token 256: 1025 bytes are too long")

    def test_without_scores(self):
        """Without scores all merges are equal: the leftmost goes first."""
        tokens = [("\u2581", NORMAL, 0.0), ("a", NORMAL, -9.0), ("b", NORMAL, 0.0),
                  ("ab", NORMAL, -5.0), ("ba", NORMAL, -1.0)]
        self.assertEqual(self.tokens(llama(tokens), "aba"), [3, 4, 7])
        self.assertEqual(self.tokens(llama(tokens, scores=False), "aba"), [3, 6, 4])

    def test_spaces(self):
        """The space before a text, and the removal of spaces."""
        tokens = [("\u2581", NORMAL, 0.0), ("a", NORMAL, 0.0), ("<0x0A>", BYTE, 0.0)]
        for keys, text, expected in [
                ({}, " a  a ", [3, 3, 4, 3, 3, 4, 3]),
                ({"ggml.add_space_prefix": (BOOL, False)}, "a a", [4, 3, 4]),
                ({"ggml.remove_extra_whitespaces": (BOOL, True)}, "  a   a \n ", [3, 4, 3, 4, 3, 5]),
                ({"ggml.remove_extra_whitespaces": (BOOL, True)}, "   ", [])]:
            self.assertEqual(self.tokens(llama(tokens, keys), text), expected, text)

    def test_ends(self):
        """A reply ends with the tokens that the file names and those of the family."""
        more = [("<|im_end|>", CONTROL), ("<|eot_id|>", CONTROL), ("</s>", CONTROL), ("e", NORMAL)]
        keys = {"ggml.eos_token_id": (UINT32, 258)}
        for family, more_keys, expected in [
                ("none", {}, [258]), ("chatml", {}, [256, 258]), ("llama3", {}, [257, 258]),
                ("none", {"ggml.eot_token_id": (UINT32, 257), "ggml.eom_token_id": (UINT32, 256)},
                 [256, 257, 258])]:
            answer = self.ask(gpt2(more, keys={**keys, **more_keys}), ["ends"], ["chat"], [family])
            self.assertEqual(vocabulary.numbers(answer), [expected])


if __name__ == "__main__":
    unittest.main()
