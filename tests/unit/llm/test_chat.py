#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Conversations as the families of chat templates write them, against what the public templates in
chat-templates.json make of them. There "@@" in a message stands for the names of all control tokens
of the family, which must come out as ordinary text.

Usage: test_chat.py TOOL [TEST...]; with "record" as the test the renderings are written anew (needs
python3-jinja2)."""

import itertools
import json
import os
import pathlib
import re
import sys
import tempfile
import unittest

import vocabulary

TOOL = os.path.abspath(sys.argv.pop(1))
PATH = pathlib.Path(__file__).parent / "chat-templates.json"
DATA = json.loads(PATH.read_text(encoding="ascii"))
ROLES = ["system", "user", "assistant", "tool"]


def record():
    """Renders the templates as the library of the models does."""
    import jinja2.sandbox  # pylint: disable=import-outside-toplevel
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    for family in DATA["families"]:
        family["rendered"] = [
            environment.from_string(family["template"]).render(
                messages=[{"role": role, "content": text} for role, text in conversation],
                bos_token=family["begin"], eos_token=family["end"], add_generation_prompt=True)
            for conversation in DATA["conversations"]]
    PATH.write_text(json.dumps(DATA, indent=1) + "\n", encoding="ascii")


def markup_of(family):
    """Returns what "@@" stands for."""
    return "".join(family["controls"])


def vocabulary_of(family, controls, kind=vocabulary.CONTROL):
    """Returns a vocabulary of bytes and the given control tokens, which it says are of a kind."""
    tokens = [*vocabulary.byte_characters(), *controls]
    types = [vocabulary.NORMAL] * 256 + [kind] * len(controls)
    return vocabulary.vocabulary("gpt2", tokens, types, {
        "ggml.pre": (vocabulary.STRING, "gpt-2"),
        "ggml.merges": (vocabulary.STRING, []),
        "ggml.bos_token_id": (vocabulary.UINT32, tokens.index(family["begin"])),
        "ggml.eos_token_id": (vocabulary.UINT32, tokens.index(family["end"])),
        "ggml.add_bos_token": (vocabulary.BOOL, family["add_begin"]),
        "chat_template": (vocabulary.STRING, family["template"])})


class Chat(unittest.TestCase):
    """Every family with every conversation."""

    def answers(self, family, controls, conversations=None, kind=vocabulary.CONTROL):
        """Returns the tool's tokens for the conversations, in a vocabulary with some controls."""
        lines = [" ".join(f"{ROLES.index(role)}:"
                          f"{text.replace('@@', markup_of(family)).encode().hex()}"
                          for role, text in conversation)
                 for conversation in conversations or DATA["conversations"]]
        with tempfile.NamedTemporaryFile() as file:
            file.write(vocabulary_of(family, controls, kind))
            file.flush()
            return vocabulary.ask(TOOL, ["chat", file.name, family["family"]], lines)

    def expected(self, family, controls, text):
        """Returns the tokens of a rendering; of the markup, those in `controls` are tokens."""
        ids = []
        if family["add_begin"] and not text.startswith(family["begin"]):
            text = family["begin"] + text
        for part in re.split("(" + "|".join(map(re.escape, controls)) + ")", text):
            if part in controls:
                ids.append(256 + controls.index(part))
            else:
                ids += part.replace("@@", markup_of(family)).encode()
        return ids

    def test_control_tokens(self):
        """Markup becomes control tokens, and no part of a message does, even if the vocabulary
        has these tokens as user-defined ones."""
        kinds = [vocabulary.CONTROL, vocabulary.USER_DEFINED]
        for family, kind in itertools.product(DATA["families"], kinds):
            answers = vocabulary.numbers(self.answers(family, family["controls"], kind=kind))
            self.assertEqual(len(answers), len(family["rendered"]))
            for answer, text in zip(answers, family["rendered"]):
                with self.subTest(family=family["family"], kind=kind, text=text):
                    self.assertEqual(answer, self.expected(family, family["controls"], text))

    def test_without_control_tokens(self):
        """Markup that the vocabulary has no token for is text."""
        for family in DATA["families"]:
            controls = [family["begin"], family["end"]]
            for answer, text in zip(vocabulary.numbers(self.answers(family, controls)),
                                    family["rendered"]):
                with self.subTest(family=family["family"], text=text):
                    self.assertEqual(answer, self.expected(family, controls, text))

    def test_detection(self):
        """The text of each template tells its family."""
        for family in DATA["families"]:
            with tempfile.NamedTemporaryFile() as file:
                file.write(vocabulary_of(family, family["controls"]))
                file.flush()
                name = vocabulary.ask(TOOL, ["chat", file.name, "none"], ["detect"])
            self.assertEqual(name, [family["family"]])

    def test_system_without_user(self):
        """A system message is not lost, whatever follows it, and no message is by any role."""
        for family in DATA["families"]:
            conversations = [[["system", "Xyzzy"]], [["user", "a"], ["system", "Xyzzy"]],
                             [["system", "b"], ["system", "Xyzzy"], ["user", "c"]],
                             [["system", "Xyzzy"], ["assistant", "d"], ["user", "e"]],
                             [["user", "f"], ["tool", "Xyzzy"], ["user", "g"]]]
            answers = vocabulary.numbers(self.answers(family, family["controls"], conversations))
            for answer in answers:
                text = bytes(number for number in answer if number < 256)
                self.assertEqual(text.count(b"Xyzzy"), 1, (family["family"], text))

    def test_too_long(self):
        """A conversation that does not fit is refused."""
        family = DATA["families"][0]
        part = ["user", "x" * 400000]
        answers = self.answers(family, family["controls"],
                               [[part, part, part], [["user", "x" * (1 << 20)]]])
        self.assertRegex(answers[0], "^error: the conversation has 12000.. tokens, the context holds")
        self.assertRegex(answers[1], "^error: the conversation has a part of more than 1048576 bytes")


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    else:
        unittest.main()
