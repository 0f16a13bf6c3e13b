#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The result format, its figures, and `reproduce`: what they take, and what they refuse.

Usage: test_format.py
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
EXPERIMENTS = os.path.join(HERE, "../../scripts/experiments")
sys.path.insert(0, EXPERIMENTS)

import experiment  # noqa: E402
import plots  # noqa: E402

GOOD = {
    "format": "guillotine-experiment/1", "experiment": "dice", "commit": "unknown", "dirty": True,
    "command": ["tests/experiments/dice.py", "--seed", "5"], "seed": 5,
    "started": "2026-01-01T00:00:00Z", "host": {"kernel": "none"}, "host_check": None,
    "host_check_missing": "a test", "parameters": {"quick": True}, "samples": {"faces": [1, 2]},
    "results": [{"name": "mean", "value": 1.5, "unit": "1", "low": 1, "high": 2, "confidence": 0.95,
                 "n": 2, "method": "none"}],
    "verdict": "a die", "shows_not": ["that it is fair"],
}


def changed(**keys):
    return {**copy.deepcopy(GOOD), **keys}


class Format(unittest.TestCase):
    def refused(self, document, words):
        with self.assertRaisesRegex(ValueError, words):
            experiment.check_document(document)

    def test_good(self):
        experiment.check_document(GOOD)

    def test_bad(self):
        self.refused([], "format")
        self.refused(changed(format="guillotine-experiment/2"), "format")
        for key in experiment.KEYS:
            document = changed()
            del document[key]
            self.refused(document, key)
        self.refused(changed(host_check_missing=None), "host_check")
        self.refused(changed(verdict=""), "verdict")
        self.refused(changed(samples={"faces": ["six"]}), "faces")
        result = GOOD["results"][0]
        self.refused(changed(results=[{**result, "low": 1.6}]), "not in")
        self.refused(changed(results=[{"name": "mean"}]), "keys")

    def test_unbounded(self):
        experiment.check_document(changed(results=[{**GOOD["results"][0], "high": None}]))

    def test_what_is_written_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "dice.json")
            for host in (None, {"guarantees": [{"id": "@samples@"}]}):
                document = changed(host_check=host, samples={"a": [1, 2.5, None], "b": []})
                experiment.write_result(path, document)
                self.assertEqual(experiment.read_result(path), document)


class Figures(unittest.TestCase):
    def check(self, text, *words):
        root = xml.etree.ElementTree.fromstring(text)
        self.assertTrue(root.tag.endswith("svg"))
        said = "".join(root.itertext())
        for word in words:
            self.assertIn(word, said)
        self.assertNotIn("nan", text)

    def test_all_kinds(self):
        series = {"a < b": [1, 2, 2, 3.5], "c & d": [0.1, 10, 1000]}
        for log in (False, True):
            self.check(plots.histogram("title <1>", series, "x", log=log), "title <1>", "a < b")
            self.check(plots.ecdf("title", series, "x", log=log), "c & d")
        self.check(plots.line("title", {"a": [(0, 1), (1, 5)]}, "x", "y"), "a")
        self.check(plots.bars("title", [("a", 1, 0.5, 2), ("b", 2, None, None)], "y"), "b")
        self.check(plots.bars("title", [("a", 1, 0.5, 2), ("b", 0, 0, 3)], "y", log=True), "b")

    def test_one_value(self):
        self.check(plots.histogram("t", {"a": [5, 5, 5]}, "x"))
        self.check(plots.ecdf("t", {"a": [5]}, "x", log=True))

    def test_many_points_stay_small(self):
        self.assertLess(len(plots.ecdf("t", {"a": list(range(100000))}, "x")), 30000)


class Reproduce(unittest.TestCase):
    def run_it(self, document):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "dice.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(document, file)
            return subprocess.run(
                [sys.executable, os.path.join(EXPERIMENTS, "reproduce"), path], timeout=120,
                capture_output=True, text=True, check=False, cwd=folder)

    def recorded(self):
        """A result of the program that throws dice."""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([sys.executable, os.path.join(HERE, "dice.py"), "--seed", "5",
                                   "--out", folder], timeout=120, capture_output=True, text=True,
                                  check=True)
            return experiment.read_result(done.stdout.strip())

    def test_the_same(self):
        document = self.recorded()
        self.assertEqual(document["command"], ["tests/experiments/dice.py", "--seed", "5"])
        done = self.run_it(document)
        self.assertEqual(done.returncode, 0, done)
        self.assertRegex(done.stdout, r"mean .* yes")

    def test_another_commit_and_host_are_named(self):
        document = self.recorded()
        document["commit"] = "0" * 40
        document["host"]["kernel"] = "Linux 0.01"
        done = self.run_it(document)
        self.assertIn("commit differs", done.stdout)
        self.assertIn("kernel differs: Linux 0.01", done.stdout)

    def test_another_value(self):
        document = self.recorded()
        document["results"][0].update(value=100, low=99, high=101)
        done = self.run_it(document)
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stdout, r"mean .* NO")

    def test_a_result_that_is_gone(self):
        document = self.recorded()
        document["results"].append({**document["results"][0], "name": "median"})
        done = self.run_it(document)
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stdout, r"median .* NO")

    def test_what_is_no_experiment_is_not_run(self):
        for command in (["/bin/sh", "-c", "exit 0"], ["../x"], [], ["scripts/build"], [5],
                        ["docs/../../x"]):
            done = self.run_it(changed(command=command))
            self.assertEqual(done.returncode, 65, (command, done))
            self.assertIn("command", done.stderr)
        done = self.run_it({"format": "other"})
        self.assertEqual(done.returncode, 65)
        self.assertIn("format", done.stderr)


if __name__ == "__main__":
    unittest.main()
