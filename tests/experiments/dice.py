#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The smallest experiment: is a die fair? Its seed decides the result, so it repeats exactly."""

import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../scripts/experiments"))

import inference  # noqa: E402
import plots  # noqa: E402
from experiment import Experiment  # noqa: E402


def main():
    experiment = Experiment("dice", __doc__, needs_kvm=False)
    rng = random.Random(experiment.seed)
    faces = [rng.randrange(1, 7) for _ in range(300)]
    experiment.samples["faces"] = faces
    experiment.add("mean", inference.bootstrap_interval(faces, inference.mean, experiment.seed), "1")
    experiment.add("sixes", inference.binomial_interval(faces.count(6), len(faces)), "1")
    experiment.figure("faces", plots.histogram("faces", {"die": faces}, "face", bins=6))
    experiment.verdict = "a die"
    experiment.shows_not = ["that it is fair"]
    return experiment.finish()


if __name__ == "__main__":
    sys.exit(main())
