"""Intervals over seeds and images: by hand, against its limits, and by how often they cover."""

import numpy as np
import pytest
from scipy import stats

from attnlib.stats.crossed import crossed_interval, crossed_mean
from attnlib.stats.intervals import mean_interval


def draw(rng, *, seeds=3, images=300, seed_spread=0.0, image_spread=0.0, signal=0.0):
    """Paired differences of two recipes' outcomes (seeds, images), from latent difficulties."""
    ease, taste = rng.normal(size=(2, images))
    noise = rng.normal(size=(2, seeds, images))
    shift = seed_spread * rng.normal(size=(seeds, 1))
    first = ease + image_spread * taste + signal + shift + noise[0] > -0.8
    return first.astype(int) - (ease + noise[1] > -0.8)


def test_one_seed_gives_the_t_interval_over_images():
    outcomes = draw(np.random.default_rng(0), seeds=1, signal=0.1)
    ours, theirs = crossed_mean(outcomes), mean_interval(outcomes[0])
    assert ours[:3] == pytest.approx(theirs[:3])
    assert ours.p == pytest.approx(stats.ttest_1samp(outcomes[0], 0).pvalue)
    assert (ours.seeds, ours.images) == (1, 300)


def test_seeds_that_share_nothing_give_the_t_interval_over_seeds():
    values = [0.02, 0.05, 0.01]
    ours = crossed_interval(values, np.diag([1e-4] * 3), 100)
    assert ours[:3] == pytest.approx(mean_interval(values)[:3])
    assert ours.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    negative = crossed_interval(values, np.full((3, 3), -1e-4), 100)
    assert negative == ours  # a negative estimate of a variance is none


def test_equal_seeds_give_the_interval_over_images():
    outcomes = draw(np.random.default_rng(1), seeds=1, signal=0.2)
    assert crossed_mean(np.repeat(outcomes, 3, axis=0))[:4] == pytest.approx(
        crossed_mean(outcomes)[:4]
    )


def test_variance_and_freedom_are_those_of_obuchowski_rockette_and_hillis():
    values, shared = [0.1, 0.2, 0.3], np.full((3, 3), 0.002) + np.diag([0.01] * 3)
    ours = crossed_interval(values, shared, 100)
    variance = 0.01 / 3 + 0.002
    freedom = variance**2 / ((0.01 / 3) ** 2 / 2)
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, freedom) * variance**0.5)
    assert ours.p == pytest.approx(2 * stats.t.sf(0.2 / variance**0.5, freedom))


def test_seeds_that_agree_by_chance_leave_the_chance_of_the_images():
    values, shared = [0.0199, 0.02, 0.0201], np.diag([1e-4] * 3)
    ours = crossed_interval(values, shared, 100)
    over_images = (1e-4 / 3) ** 0.5 * stats.t.ppf(0.975, 99)
    assert ours.high - ours.value == pytest.approx(over_images) and over_images > 10 * 0.0002
    assert ours.p == pytest.approx(2 * stats.t.sf(0.02 / (1e-4 / 3) ** 0.5, 99))


def test_an_interval_excludes_zero_where_p_is_below_five_per_cent():
    rng = np.random.default_rng(2)
    means = [crossed_mean(draw(rng, signal=0.15, seed_spread=0.05)) for _ in range(200)]
    assert 20 < sum(mean.p < 0.05 for mean in means) < 180
    assert all((mean.low > 0 or mean.high < 0) == (mean.p < 0.05) for mean in means)


SOURCES = {
    "images": {"image_spread": 2.0, "signal": 0.1},
    "seeds": {"seed_spread": 0.3, "signal": 0.1},
    "both": {"image_spread": 1.0, "seed_spread": 0.15, "signal": 0.1},
    "neither": {"signal": 0.1},
}


@pytest.fixture(scope="module")
def covered():
    """How often intervals cover the truth: over both, over seeds alone, over images alone."""
    found = {}
    for name, spread in SOURCES.items():
        rng = np.random.default_rng(3)
        truth = np.mean([draw(rng, seeds=30, images=3000, **spread).mean() for _ in range(30)])
        hits = []
        for _ in range(600):
            outcomes = draw(rng, **spread)
            three = (
                crossed_mean(outcomes),
                mean_interval(outcomes.mean(axis=1)),
                crossed_mean(outcomes.mean(axis=0, keepdims=True)),
            )
            hits.append([one.low <= truth <= one.high for one in three])
        found[name] = np.mean(hits, axis=0)
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_intervals_cover_the_truth_about_as_often_as_they_say_whatever_the_source(covered, source):
    assert 0.9 <= covered[source][0] <= 0.99


def test_intervals_of_one_source_alone_do_not(covered):
    assert covered["images"][1] < 0.91  # over seeds, where images make the difference
    assert covered["seeds"][2] < 0.75  # over images, where seeds do


def test_no_difference_at_all_is_no_evidence():
    assert crossed_mean(np.zeros((3, 50)))[:4] == (0, 0, 0, 1)


@pytest.mark.parametrize("outcomes", [[], [1, 0, 1], [[1]], np.zeros((0, 5))])
def test_outcomes_must_be_a_table(outcomes):
    with pytest.raises(ValueError, match=r"outcomes: expected \(seeds, images >= 2\)"):
        crossed_mean(outcomes)


def test_values_must_fit_their_covariance_and_be_finite():
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3, 3\)"):
        crossed_interval([1.0, 2.0], np.eye(3), 10)
    with pytest.raises(ValueError, match="expected finite numbers"):
        crossed_interval([1.0, float("nan")], np.eye(2), 10)
