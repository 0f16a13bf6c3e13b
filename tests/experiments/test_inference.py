#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The statistics of the experiments, against values from tables and simulations with a seed.

Usage: test_inference.py
"""

import math
import os
import random
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../scripts/experiments"))

import inference  # noqa: E402


def binomial_tail_by_sum(k, n, p):
    return math.fsum(math.comb(n, i) * p ** i * (1 - p) ** (n - i) for i in range(k, n + 1))


class Binomial(unittest.TestCase):
    def test_tail_is_the_sum(self):
        for n in (1, 2, 7, 40, 200):
            for k in range(0, n + 2, max(1, n // 7)):
                for p in (0.001, 0.2, 0.5, 0.77, 0.999):
                    self.assertAlmostEqual(inference.binomial_upper_tail(k, n, p),
                                           binomial_tail_by_sum(k, n, p), places=11)

    def test_intervals_of_tables(self):
        # Clopper and Pearson's intervals as published tables have them.
        for successes, n, low, high in ((0, 10, 0, 0.3085), (10, 10, 0.6915, 1),
                                        (7, 20, 0.1539, 0.5922), (1, 10, 0.0025, 0.4450),
                                        (50, 100, 0.3983, 0.6017), (0, 100, 0, 0.0362)):
            interval = inference.binomial_interval(successes, n)
            self.assertAlmostEqual(interval.low, low, places=4)
            self.assertAlmostEqual(interval.high, high, places=4)
            self.assertEqual(interval.value, successes / n)

    def test_rule_of_three(self):
        self.assertAlmostEqual(inference.binomial_interval(0, 3000, 0.90).high, 3 / 3000, places=5)

    def test_large_numbers_are_symmetric(self):
        one = inference.binomial_interval(1000, 1000000)
        other = inference.binomial_interval(999000, 1000000)
        self.assertAlmostEqual(one.low, 1 - other.high, places=10)
        self.assertAlmostEqual(one.low, 0.00094, places=5)

    def test_nonsense_is_refused(self):
        for successes, n in ((-1, 5), (6, 5), (0, 0)):
            with self.assertRaises(ValueError):
                inference.binomial_interval(successes, n)


class Quantiles(unittest.TestCase):
    def test_quantile(self):
        self.assertEqual(inference.quantile([3, 1, 2], 0.5), 2)
        self.assertEqual(inference.quantile([3, 1, 2], 0), 1)
        self.assertEqual(inference.quantile(list(range(100)), 0.99), 98)
        with self.assertRaises(ValueError):
            inference.quantile([], 0.5)

    def test_order_statistics_of_tables(self):
        # Ranks of the bounds of a median, as in tables of the sign test.
        for n, low, high in ((6, 1, 6), (10, 2, 9), (20, 6, 15), (50, 18, 33), (100, 40, 61)):
            interval = inference.median_interval(range(1, n + 1))
            self.assertEqual((interval.low, interval.high), (low, high), n)

    def test_too_few_samples_have_no_bounds(self):
        self.assertEqual(inference.median_interval([1, 2, 3, 4, 5])[1:3], (None, None))
        # 95 % of a bound above the 99th percentile takes 368 samples.
        self.assertIsNone(inference.quantile_interval(range(367), 0.99).high)
        self.assertIsNotNone(inference.quantile_interval(range(368), 0.99).high)

    def test_coverage(self):
        rng = random.Random(1)
        held = 0
        for _ in range(2000):
            interval = inference.quantile_interval([rng.random() for _ in range(60)], 0.8)
            held += interval.low <= 0.8 <= interval.high
        self.assertGreaterEqual(held / 2000, 0.94)


class Bootstrap(unittest.TestCase):
    def test_is_repeatable(self):
        rng = random.Random(2)
        samples = [rng.random() for _ in range(50)]
        one = inference.bootstrap_interval(samples, inference.mean, seed=7)
        self.assertEqual(one, inference.bootstrap_interval(samples, inference.mean, seed=7))
        self.assertNotEqual(one, inference.bootstrap_interval(samples, inference.mean, seed=8))

    def test_width_is_that_of_theory(self):
        rng = random.Random(3)
        samples = [rng.gauss(10, 2) for _ in range(400)]
        interval = inference.bootstrap_interval(samples, inference.mean, seed=1)
        self.assertAlmostEqual(interval.high - interval.low, 2 * 1.96 * 2 / 20, delta=0.05)

    def test_paired_ratio(self):
        interval = inference.paired_ratio_interval([2, 4, 6] * 10, [1, 2, 3] * 10, seed=1)
        self.assertEqual((interval.value, interval.low, interval.high), (2, 2, 2))
        with self.assertRaises(ValueError):
            inference.paired_ratio_interval([1, 2], [1], seed=1)


class Power(unittest.TestCase):
    def test_trials_near_the_normal_approximation(self):
        # ((1.960 + 1.645) / 2 / 0.05)^2 = 1300, ((1.645 + 1.645) / 2 / 0.05)^2 = 1082; the exact
        # test needs a few more.
        self.assertTrue(1299 <= inference.trials_needed(0.55) <= 1340)
        self.assertTrue(1082 <= inference.trials_needed(0.55, sides=1) <= 1120)

    def test_every_larger_number_will_do(self):
        for accuracy in (0.55, 0.6, 0.75):
            n = inference.trials_needed(accuracy)
            self.assertLess(inference.classification_power(n - 1, accuracy), 0.95)
            for more in range(n, n + 200):
                self.assertGreaterEqual(inference.classification_power(more, accuracy), 0.95)

    def test_minimum_detectable_accuracy(self):
        self.assertLessEqual(
            inference.minimum_detectable_accuracy(inference.trials_needed(0.55)), 0.55)
        self.assertGreater(
            inference.minimum_detectable_accuracy(inference.trials_needed(0.55) - 1), 0.55)
        # Five tosses are never significant; six are, if all are right.
        self.assertIsNone(inference.minimum_detectable_accuracy(5))
        self.assertAlmostEqual(inference.minimum_detectable_accuracy(6), 0.95 ** (1 / 6))

    def test_power_by_simulation(self):
        rng = random.Random(4)
        n, accuracy = 300, 0.6
        found = 0
        for _ in range(500):
            right = sum(rng.random() < accuracy for _ in range(n))
            found += inference.binomial_upper_tail(right, n, 0.5) <= 0.025
        self.assertAlmostEqual(found / 500, inference.classification_power(n, accuracy), delta=0.05)


class Information(unittest.TestCase):
    def test_capacity_of_known_channels(self):
        def h(p):
            return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

        symmetric = inference.channel_capacity_bits([[90, 10], [10, 90]])
        self.assertAlmostEqual(symmetric, 1 - h(0.1), places=6)
        self.assertAlmostEqual(inference.channel_capacity_bits([[1, 0], [0, 1]]), 1, places=6)
        erasure = inference.channel_capacity_bits([[0.75, 0.25, 0], [0, 0.25, 0.75]])
        self.assertAlmostEqual(erasure, 0.75, places=6)
        z_channel = inference.channel_capacity_bits([[1, 0], [0.5, 0.5]])
        self.assertAlmostEqual(z_channel, math.log2(1.25), places=6)
        self.assertAlmostEqual(inference.channel_capacity_bits([[5, 5], [50, 50]]), 0, places=6)
        self.assertEqual(inference.channel_capacity_bits([[3, 4], [0, 0]]), 0)

    def test_mutual_information(self):
        self.assertAlmostEqual(
            inference.mutual_information_bits([(n % 8, n % 8) for n in range(8000)]), 3, places=2)

    def test_bias_is_corrected(self):
        rng = random.Random(5)
        estimates = [inference.mutual_information_bits(
            [(rng.randrange(8), rng.randrange(8)) for _ in range(500)]) for _ in range(100)]
        # Uncorrected it would be 49 / (2 * 500 * ln 2) = 0.071 bits on average.
        self.assertLess(inference.mean(estimates), 0.012)


if __name__ == "__main__":
    unittest.main()
