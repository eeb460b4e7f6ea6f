"""Statistics: each against a published example, statsmodels 0.15.0 or SciPy."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from attnlib.stats import intervals
from attnlib.stats.intervals import (
    holm,
    mcnemar,
    mean_interval,
    p_words,
    paired_bootstrap,
    paired_difference,
    wilson_interval,
)


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [  # proportion_confint(..., method="wilson")
        (9710, 10_000, 0.9675258524449173, 0.9741124210899053),
        (33, 36, 0.7817330875072737, 0.9712513886640066),
        (0, 36, 0.0, 0.0964186285944637),
    ],
)
def test_wilson_interval_is_that_of_statsmodels(correct, n, low, high):
    share = wilson_interval(correct, n)
    assert share[:2] == pytest.approx((correct / n, low), abs=1e-12)
    assert share.high == pytest.approx(high, abs=1e-12) and share.n == n


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (9710, 10_000, 0.9675, 0.9741),
        (9632, 10_000, 0.9593, 0.9667),
        (9210, 10_000, 0.9155, 0.9261),
    ],
)
def test_wilson_interval_gives_the_intervals_of_the_thesis_accuracies(correct, n, low, high):
    share = wilson_interval(correct, n)
    assert share.low == pytest.approx(low, abs=6e-5) and share.high == pytest.approx(high, abs=6e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        wilson_interval(successes, n)


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [  # statsmodels mcnemar(..., exact=True)
        (1, 7, 0.0703125),  # Bentur et al. (2009), in Fagerland et al. (2014)
        (12, 2, 0.012939453125),  # Armitage and Berry (1987), in Newcombe (1998)
        (121, 59, 4.4344492637551645e-06),
        (0, 0, 1.0),
        (5, 5, 1.0),
    ],
)
def test_mcnemar_is_that_of_statsmodels(only_a, only_b, p):
    assert mcnemar(only_a, only_b) == pytest.approx(p, rel=1e-9)
    assert mcnemar(only_b, only_a) == pytest.approx(p, rel=1e-9)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="expected counts >= 0; got -1 and 3"):
        mcnemar(-1, 3)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((1, 1, 7, 12), -0.507, -0.026),  # Fagerland, Lydersen and Laake (2014), Newcombe's
        ((14, 5, 0, 22), 0.011, 0.226),  # Altman et al. (2000), Statistics with Confidence, p. 52
    ],
)
def test_paired_difference_gives_published_intervals(counts, low, high):
    difference = paired_difference(*outcomes(*counts))
    assert difference.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=6e-4)


def test_paired_difference_turns_its_sign_with_the_order():
    a, b = outcomes(200, 30, 12, 40)
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one[:3] == pytest.approx((-other.value, -other.high, -other.low))


def test_paired_difference_keeps_a_width_where_no_trial_tells_the_two_apart():
    difference = paired_difference(*outcomes(36, 0, 0, 0))
    assert difference.value == 0 and difference.low < -0.05 and difference.high > 0.05


def test_paired_difference_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    shares = [0.75, 0.12, 0.05, 0.08]
    draws = rng.multinomial(60, shares, size=1000)
    intervals = [paired_difference(*outcomes(*draw)) for draw in draws]
    covered = np.mean([i.low <= 0.07 <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.98


def test_paired_bootstrap_is_that_of_scipy():
    a, b = outcomes(250, 40, 22, 47)
    ours = paired_bootstrap(a, b, resamples=20_000)
    theirs = stats.bootstrap(
        (a.astype(float), b.astype(float)),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    assert ours.value == pytest.approx((40 - 22) / 359)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)
    assert ours.n == 359


def test_paired_bootstrap_takes_numbers_and_uses_the_pairs():
    rng = np.random.default_rng(0)
    b = rng.normal(0, 10, 400)
    a = b + rng.normal(1, 0.1, 400)
    paired = paired_bootstrap(a, b)
    assert paired.low == pytest.approx(0.99, abs=0.02) and paired.high - paired.low < 0.05


def test_paired_bootstrap_is_a_function_of_its_seed():
    a, b = outcomes(20, 9, 3, 8)
    draws = [paired_bootstrap(a, b, seed=seed, resamples=200) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] and draws[0] != draws[2]


@pytest.mark.parametrize("compare", [paired_bootstrap, paired_difference])
@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 0], [1]), ([[1]], [[1]])])
def test_pairs_must_be_pairs(compare, a, b):
    with pytest.raises(ValueError, match="expected two equally long axes"):
        compare(a, b)


def test_holm_is_that_of_statsmodels():
    p = [0.01, 0.04, 0.03, 0.005, 0.2, 0.04, 0.9, 1e-6, 0.012, 0.5]
    expected = [0.08, 0.2, 0.18, 0.045, 0.6, 0.2, 1.0, 1e-5, 0.084, 1.0]
    np.testing.assert_allclose(holm(p), expected, rtol=1e-12)  # multipletests(p, method="holm")
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("p", [[0.1, 1.2], [-0.1], [float("nan")], [[0.1]]])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match="expected one axis of numbers in"):
        holm(p)


def test_mean_interval_is_that_of_statsmodels():
    mean = mean_interval([97.10, 96.8, 97.3])  # DescrStatsW(...).tconfint_mean()
    assert mean[:3] == pytest.approx((97.0666666667, 96.44150571872909, 97.69182761460424))
    assert mean.n == 3


def test_a_p_value_is_never_shown_as_zero():
    words = [p_words(p) for p in (0.0, 4.444e-11, 0.0343, 0.25)]
    assert words == ["< 0.001", "< 0.001", "0.034", "0.25"]


def test_mean_of_one_seed_has_no_interval():
    mean = mean_interval([0.9])
    assert mean.value == 0.9 and np.isnan(mean.low) and np.isnan(mean.high) and mean.n == 1


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0, 2.0]]])
def test_mean_interval_refuses_what_has_no_mean(values):
    with pytest.raises(ValueError, match="expected finite numbers"):
        mean_interval(values)


def test_quantiles_of_students_t_stand_in_one_place():
    package = Path(intervals.__file__).parents[1]
    asking = [p.name for p in package.rglob("*.py") if re.search(r"\bppf\(", p.read_text())]
    assert asking == ["intervals.py"]
