"""Confidence intervals and tests: shares, paired differences, many tests, few seeds.

Plain functions of numbers with 95% intervals, by textbook methods named in the docstrings.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # whose parts are imported when they are first used

from attnlib.arrays import Floats

LEVEL = 0.95  # confidence level of all intervals
ALPHA = 0.05  # significance level of tests, after correction for their number
RESAMPLES = 10_000  # resamples of the bootstrap
# Verdicts on a claim about the sign of a difference.
HOLDS, OPPOSITE, OPEN, NOT_RUN = "holds", "the opposite holds", "not decided", "not run"


class Proportion(NamedTuple):
    """A proportion of ``n`` trials with its 95% Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.2%} [{self.low:.2%}, {self.high:.2%}]"


class Estimate(NamedTuple):
    """An estimate from ``n`` observations with its 95% interval."""

    value: float
    low: float
    high: float
    n: int


def wilson_interval(successes: int, n: int) -> Proportion:
    """Share ``successes / n`` with its 95% Wilson score interval (Wilson 1927).

    Raises:
        ValueError: If there are no trials.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1; got {successes} of {n}.")
    interval = scipy.stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Proportion(successes / n, float(interval.low), float(interval.high), n)


def paired_bootstrap(
    values_a: npt.ArrayLike, values_b: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Mean of a - b over the same trials with its paired percentile bootstrap interval.

    Efron and Tibshirani (1993), chapter 13. Trials are resampled in pairs. Equal differences are
    drawn together, by a multinomial over the distinct ones: the distribution is the same, and for
    right-or-wrong outcomes 10,000 resamples of 10,000 images take milliseconds.

    Args:
        values_a: Outcomes of system a (n,): booleans or numbers.
        values_b: The same trials of system b, in the same order.
        seed: Seed of the resampling.
        resamples: Number of resamples.

    Raises:
        ValueError: If the arrays are empty, of more than one axis, or differ in length.
    """
    a, b = _pair(values_a, values_b)
    differences, counts = np.unique(a - b, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(a), counts / len(a), size=resamples)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws @ differences / len(a), [tail, 100 - tail])
    return Estimate(float(np.mean(a - b)), float(low), float(high), len(a))


def paired_difference(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> Estimate:
    """Accuracy of a minus that of b on the same trials, with Newcombe's interval.

    Method 10 of Newcombe (1998), Statistics in Medicine 17, 2635-2650, from two Wilson intervals
    and the correlation of the outcomes. Unlike the bootstrap's, it has a width even if no trial
    distinguishes the two, which is common in classes of a few dozen images.

    Args:
        correct_a: Whether a is right (n,): booleans, or 0 and 1.
        correct_b: The same trials of b, in the same order.

    Raises:
        ValueError: If the arrays are empty, of more than one axis, or differ in length.
    """
    a, b = (values.astype(bool) for values in _pair(correct_a, correct_b))
    n, both, neither = len(a), int((a & b).sum()), int((~a & ~b).sum())
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    first, second = wilson_interval(int(a.sum()), n), wilson_interval(int(b.sum()), n)
    margins = int(a.sum()) * int((~a).sum()) * int(b.sum()) * int((~b).sum())
    association = float(both * neither - only_a * only_b)
    if association > 0:
        association = max(association - n / 2, 0)  # Newcombe's continuity correction
    phi = association / np.sqrt(margins) if margins else 0.0
    value = (only_a - only_b) / n
    below_a, above_a = first.value - first.low, first.high - first.value
    below_b, above_b = second.value - second.low, second.high - second.value
    down = np.sqrt(below_a**2 - 2 * phi * below_a * above_b + above_b**2)
    up = np.sqrt(above_a**2 - 2 * phi * above_a * below_b + below_b**2)
    return Estimate(value, float(value - down), float(value + up), n)


def p_words(p: float) -> str:
    """A p-value as people write it: "< 0.001", three decimals below 0.1, and two above."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test (McNemar 1947): binomial on discordant trials.

    Args:
        only_a: Number of trials that only a has right.
        only_b: Number of trials that only b has right. If both are 0 there is no evidence
            against equality and p is 1.

    Raises:
        ValueError: If a count is negative.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError(f"expected counts >= 0; got {only_a} and {only_b}.")
    if only_a + only_b == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def holm(p_values: npt.ArrayLike) -> Floats:
    """p-values adjusted by Holm's step-down method (Holm 1979): (m,) -> (m,).

    Comparing each with 0.05 limits the chance of any false positive among the m tests to 5%,
    whatever their dependence.

    Raises:
        ValueError: If a value is not in [0, 1], or there is more than one axis.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"p_values: expected one axis of numbers in [0, 1]; got {p.tolist()}.")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1) if len(p) else scaled
    return adjusted


def mean_interval(values: npt.ArrayLike) -> Estimate:
    """Mean with its 95% t-interval (Student 1908): for instance over seeds.

    It covers randomness in training, which the interval of a share of images omits. A single
    value has no interval: low and high are then NaN.

    Raises:
        ValueError: If there is no value, or one is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"values: expected finite numbers, at least one; got {numbers.tolist()}.")
    n, mean = len(numbers), float(numbers.mean())
    if n == 1:
        return Estimate(mean, float("nan"), float("nan"), 1)
    reach = t_reach(float(numbers.std(ddof=1) / np.sqrt(n)), n - 1)
    return Estimate(mean, mean - reach, mean + reach, n)


def t_reach(standard_error: float, freedom: float) -> float:
    """Half-width of a 95% t-interval with ``freedom`` degrees of freedom."""
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, freedom) * standard_error)


def _pair(values_a: npt.ArrayLike, values_b: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"expected two equally long axes, not empty; got {a.shape} and {b.shape}.")
    return a, b
