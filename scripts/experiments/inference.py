# SPDX-License-Identifier: Apache-2.0
"""Statistics of the experiments: intervals, power, information. Standard library only.

Exact methods where they exist. A bound that the data cannot give is None, never a guess. Not named
after what it holds, since Python has a module `statistics` of its own.
"""

import collections
import math
import random

Interval = collections.namedtuple("Interval", "value low high n method")

CONFIDENCE = 0.95
# Enough that the ends of a 95 % percentile interval have an error of their own of some percent.
RESAMPLES = 2000
BISECTIONS = 200


# The binomial distribution


def _beta_fraction(a, b, x):
    """The continued fraction of the incomplete beta function (Lentz's method)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    result = d
    for m in range(1, 10000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 + numerator * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + numerator / c
            c = c if abs(c) > tiny else tiny
            result *= d * c
        if abs(d * c - 1) < 1e-15:
            return result
    raise ArithmeticError(f"the incomplete beta function of {a}, {b}, {x} does not converge")


def incomplete_beta(a, b, x):
    """I_x(a, b), regularised."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) +
                     b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def binomial_upper_tail(k, n, p):
    """P(X >= k) of n trials."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    return incomplete_beta(k, n - k + 1, p)


def _solve(function, wanted):
    """The x in [0, 1] where an increasing function has a value."""
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if function(middle) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def binomial_interval(successes, n, confidence=CONFIDENCE):
    """Clopper and Pearson's exact interval of a probability."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no number of successes")
    tail = (1 - confidence) / 2
    low = high = None
    if successes > 0:
        low = _solve(lambda p: binomial_upper_tail(successes, n, p), tail)
    if successes < n:
        high = _solve(lambda p: binomial_upper_tail(successes + 1, n, p), 1 - tail)
    return Interval(successes / n, low or 0.0, 1.0 if high is None else high, n,
                    "exact binomial (Clopper-Pearson)")


# Quantiles and the bootstrap


def quantile(samples, share):
    """The smallest sample that at least this share of all samples does not exceed."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def quantile_interval(samples, share, confidence=CONFIDENCE):
    """Order statistics as bounds of a quantile; holds for any distribution, if samples are
    independent. A bound is None where there are too few samples for one."""
    ordered = sorted(samples)
    n = len(ordered)
    tail = (1 - confidence) / 2
    # The quantile is at least x_(k) unless fewer than k samples lie below it.
    low = _last(range(n + 1), lambda k: 1 - binomial_upper_tail(k, n, share) <= tail)
    high = n + 1 - _last(range(n + 1), lambda k: binomial_upper_tail(n + 1 - k, n, share) <= tail)
    return Interval(quantile(samples, share), ordered[low - 1] if low > 0 else None,
                    ordered[high - 1] if high <= n else None, n, "order statistics")


def _last(candidates, condition):
    """The last of some ascending numbers, from 0 on, for which a condition that ends once holds."""
    low, high = 0, len(candidates)
    while high - low > 1:
        middle = (low + high) // 2
        if condition(candidates[middle]):
            low = middle
        else:
            high = middle
    return candidates[low]


def median_interval(samples, confidence=CONFIDENCE):
    return quantile_interval(samples, 0.5, confidence)


def mean(samples):
    return math.fsum(samples) / len(samples)


def bootstrap_interval(samples, statistic, seed, confidence=CONFIDENCE, resamples=RESAMPLES):
    """Percentiles of a statistic over resampled samples. The seed makes it repeatable."""
    rng = random.Random(f"bootstrap {seed}")
    samples = list(samples)
    if not samples:
        raise ValueError("no samples")
    values = sorted(statistic(rng.choices(samples, k=len(samples))) for _ in range(resamples))
    tail = (1 - confidence) / 2
    return Interval(statistic(samples), quantile(values, tail), quantile(values, 1 - tail),
                    len(samples), f"bootstrap, percentiles of {resamples} resamples")


def paired_ratio_interval(numerators, denominators, seed, confidence=CONFIDENCE):
    """Median of the ratios of pairs that were measured next to each other."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return median_interval(ratios, confidence) if len(ratios) >= 6 else bootstrap_interval(
        ratios, lambda values: quantile(values, 0.5), seed, confidence)


# Power


def _critical(n, chance, alpha, sides):
    """The smallest number of successes that is significantly more than chance."""
    tail = alpha / sides
    return n + 1 - _last(range(n + 2), lambda j: binomial_upper_tail(n + 1 - j, n, chance) <= tail)


def classification_power(n, accuracy, chance=0.5, alpha=0.05, sides=2):
    """How probable it is that n trials at this accuracy show more than chance."""
    return binomial_upper_tail(_critical(n, chance, alpha, sides), n, accuracy)


def minimum_detectable_accuracy(n, chance=0.5, alpha=0.05, power=0.95, sides=2):
    """The smallest accuracy that n trials find with this power; None if they find none.

    Exact, not by the normal approximation. Two-sided, as the intervals: a classifier that is wrong
    more often than chance leaks too.
    """
    critical = _critical(n, chance, alpha, sides)
    if critical > n:
        return None
    return _solve(lambda p: binomial_upper_tail(critical, n, p), power)


def trials_needed(accuracy=0.55, chance=0.5, alpha=0.05, power=0.95, sides=2):
    """The number of trials from which on every number finds this accuracy with this power.

    The power of an exact test rises in a saw-tooth, so one number that reaches it is not enough.
    """
    if not chance < accuracy < 1:
        raise ValueError(f"accuracy {accuracy} is not between {chance} and 1")
    n = 8
    while classification_power(n, accuracy, chance, alpha, sides) < power:
        n *= 2
    last_failure = n // 2
    # Behind twice the first success no tooth reaches down any more.
    for trials in range(n // 2, 2 * n):
        if classification_power(trials, accuracy, chance, alpha, sides) < power:
            last_failure = trials
    return last_failure + 1


# Information


def entropy_bits(counts):
    """Of a distribution, as its counts say (plug-in: too low for small numbers)."""
    total = sum(counts)
    return -math.fsum(c / total * math.log2(c / total) for c in counts if c)


def mutual_information_bits(pairs):
    """Bits that one of a pair tells about the other, with Miller and Madow's correction.

    The plug-in estimate is too high by about (cells - rows - columns + 1) / (2 n ln 2), counting
    those that occur. The result is kept between zero and what either of the two has at all.
    """
    n = len(pairs)
    if not n:
        raise ValueError("no pairs")
    joint = collections.Counter(pairs)
    left = collections.Counter(a for a, _ in pairs)
    right = collections.Counter(b for _, b in pairs)
    plug_in = (entropy_bits(left.values()) + entropy_bits(right.values()) -
               entropy_bits(joint.values()))
    bias = (len(joint) - len(left) - len(right) + 1) / (2 * n * math.log(2))
    most = min(entropy_bits(left.values()), entropy_bits(right.values()))
    return min(most, max(0.0, plug_in - bias))


def channel_capacity_bits(matrix, tolerance=1e-9):
    """Bits for each use of a memoryless channel (Blahut and Arimoto).

    matrix[x][y] is how often, or how probably, symbol x arrives as y; rows need not be normalised.
    """
    rows = [[count / sum(row) for count in row] for row in matrix if sum(row)]
    if len(rows) < 2:
        return 0.0
    use = [1 / len(rows)] * len(rows)
    lower = 0.0
    for _ in range(100000):
        arrive = [math.fsum(p * row[y] for p, row in zip(use, rows)) for y in range(len(rows[0]))]
        gain = [2 ** math.fsum(q * math.log2(q / arrive[y]) for y, q in enumerate(row) if q)
                for row in rows]
        total = math.fsum(p * g for p, g in zip(use, gain))
        lower, upper = math.log2(total), math.log2(max(gain))
        if upper - lower < tolerance:
            break
        use = [p * g / total for p, g in zip(use, gain)]
    return max(0.0, lower)


def information_interval(pairs, seed, confidence=CONFIDENCE, resamples=RESAMPLES):
    """Mutual information with a bootstrap interval, moved by the bias that resampling adds."""
    rng = random.Random(f"information {seed}")
    value = mutual_information_bits(pairs)
    again = sorted(mutual_information_bits(rng.choices(pairs, k=len(pairs)))
                   for _ in range(resamples))
    shift = value - mean(again)
    tail = (1 - confidence) / 2
    low, high = (quantile(again, share) + shift for share in (tail, 1 - tail))
    return Interval(value, max(0.0, min(value, low)), max(value, high), len(pairs),
                    f"Miller-Madow, centred bootstrap of {resamples}")


def information_by_errors(errors, n, levels, confidence=CONFIDENCE):
    """Bits for each symbol that uniformly chosen symbols certainly carry, by their errors (Fano).

    The upper bound is what the alphabet has. Needs no estimate of a confusion matrix: for large
    alphabets and few symbols.
    """
    def carried(error):
        if error >= 1 - 1 / levels:
            return 0.0
        lost = error * math.log2(levels - 1) if levels > 2 else 0.0
        return math.log2(levels) - lost - (entropy_bits([error, 1 - error]) if error else 0.0)

    share = binomial_interval(errors, n, confidence)
    return Interval(carried(share.value), carried(share.high), math.log2(levels), n,
                    "Fano's inequality with an exact binomial error rate")
