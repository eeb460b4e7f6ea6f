"""Agreement of systems with people, with intervals from a paired bootstrap over images.

All measures are computed together for the sample and for many resamples of its images, the
same for every system, so that differences between systems have intervals too. The plain
functions of ``consistency`` compute the same more slowly; a test checks that they agree.
The ten people are the same in each resample: the intervals cover the choice of images only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from attnlib.arrays import Flags, Floats
from attnlib.human.decisions import CATEGORIES, Decisions, Names, check_paired
from attnlib.seeding import make_rng
from attnlib.stats.intervals import LEVEL, mean_interval, wilson_interval

MEASURES = ("accuracy", "kappa", "class_js", "inter_js", "shape_bias")
PEOPLE = "people"


class Interval(NamedTuple):
    """A value with its 95% interval; NaN if undefined."""

    value: float
    low: float
    high: float

    def __format__(self, sign: str) -> str:
        """Format with three digits, and with a sign for ``+``."""
        if np.isnan(self.value):
            return "undefined"
        value, low, high = (format(number, f"{sign}.3f") for number in self)
        return value if np.isnan(self.low) else f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)


def make_interval(values: Floats) -> Interval:
    """Interval from a measure in the sample (first entry) and in its resamples (the others).

    The spread is that of the resamples, re-centred on the estimate, because resampling itself
    shifts a distance between sparse counts (in the published data up, by 0.05 of 0.6), so that
    plain percentiles would leave the estimate outside its interval. For the inter-class
    distance the spread is about a quarter less than the jackknife's; for the others they agree.
    """
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(drawn):
        return Interval(float(values[0]), float("nan"), float("nan"))
    tails = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - drawn.mean()
    low, high = values[0] + tails
    return Interval(float(values[0]), float(min(low, values[0])), float(max(high, values[0])))


@dataclass(frozen=True, eq=False)
class Agreement:
    """One system's measures in the sample (first row) and in each resample: R + 1 rows.

    For a network, partners are the people; for people, all pairs of two. Distances are
    Jensen-Shannon, with natural logarithms, between the errors of system and person.

    Attributes:
        system: Its name; ``people`` for all people together.
        accuracy: Share of right answers (R + 1,), for people the mean.
        kappa: Error consistency with each partner (R + 1, partners), eq. 5.6.
        class_js: Distance of the errors by true class (R + 1, partners), eqs. 5.8, 5.10.
        inter_js: Distance of the errors by confusion (R + 1, partners), eqs. 5.8, 5.11.
        hits: Images with two cues answered by shape and by texture (R + 1, 16, 2), by category.
    """

    system: str
    accuracy: Floats
    kappa: Floats
    class_js: Floats
    inter_js: Floats
    hits: Floats

    def values(self, measure: str) -> Floats:
        """A measure of ``MEASURES`` in the sample and in each resample (R + 1,)."""
        if measure == "accuracy":
            return self.accuracy
        if measure == "shape_bias":
            return _share(self.hits.sum(axis=1))
        partners: Floats = getattr(self, measure)
        return partners.mean(axis=1) if partners.shape[1] else np.full(len(partners), np.nan)

    def estimate(self, measure: str) -> Interval:
        """A measure with its interval over images; kappa and distances are means over partners."""
        return make_interval(self.values(measure))

    def category_bias(self) -> list[Interval]:
        """Shape bias within each category, in the order of ``CATEGORIES``.

        A network has few hits in a category, and none of one kind would leave the bootstrap
        without a width, so its intervals are Wilson's. Answers of people to one image correlate,
        so theirs are over images, as elsewhere.
        """
        if self.system == PEOPLE:
            return [make_interval(_share(self.hits[:, k])) for k in range(len(CATEGORIES))]
        return [_wilson(*hits) for hits in self.hits[0].astype(int).tolist()]

    def people_margin(self, measure: str) -> float:
        """Half-width of the 95% t-interval over people, in the sample, as in the thesis's source.

        NaN for accuracy and shape bias, and with fewer than two people. Pairs of
        people are not independent, so for people themselves it is too narrow.
        """
        partners = getattr(self, measure)[0] if measure in MEASURES[1:4] else np.zeros(0)
        if len(partners) < 2 or not np.isfinite(partners).all():
            return float("nan")
        mean = mean_interval(partners)
        return mean.high - mean.value


def difference(first: Agreement, second: Agreement, measure: str) -> Interval:
    """First minus second, with an interval over the common images."""
    return make_interval(first.values(measure) - second.values(measure))


def measure_agreement(
    systems: Sequence[Decisions], *, resamples: int = 1000, seed: int = 0
) -> list[Agreement]:
    """Measure each network against the people, and people against each other.

    Rules of the published tables: all images count, including those whose shape is their texture
    (only shape bias excludes them); no answer counts as wrong, but is in no cell of the confusion
    matrix; kappa and distances are means over people.

    Args:
        systems: Decisions on the same images; people are recognised by their names.
        resamples: Number of resamples of the images, with replacement.
        seed: Seed of the resamples.

    Returns:
        ``people`` first, if there are two or more; then each network, in the order given. A
        measure that is undefined (no people, no errors) is NaN.

    Raises:
        ValueError: If there is no system, the images differ, or ``resamples`` is below 1.
    """
    if not systems or resamples < 1:
        raise ValueError(f"expected systems and resamples >= 1; got {len(systems)} and {resamples}")
    check_paired(systems)
    shapes, textures = systems[0].shapes, systems[0].textures
    counts = draw_counts(len(shapes), resamples, seed)
    people = [_Tally(one, shapes, textures, counts) for one in systems if one.is_person]
    pairs = [(a, b) for place, a in enumerate(people) for b in people[:place]]
    found = []
    if pairs:
        accuracy = np.mean([one.accuracy for one in people], axis=0)
        hits = np.sum([one.hits for one in people], axis=0)
        found.append(_compare(PEOPLE, accuracy, hits, pairs, counts))
    for one in systems:
        if not one.is_person:
            tally = _Tally(one, shapes, textures, counts)
            partners = [(tally, person) for person in people]
            found.append(_compare(one.system, tally.accuracy, tally.hits, partners, counts))
    return found


def draw_counts(images: int, resamples: int, seed: int) -> Floats:
    """How often each image is in the sample (first row, once) and in each resample."""
    rng = make_rng(seed, "bootstrap over images")
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=resamples)
    return np.concatenate([np.ones((1, images)), drawn])


class _Tally:
    """Statistics of one system alone, in each row of ``counts``."""

    def __init__(self, one: Decisions, shapes: Names, textures: Names, counts: Floats) -> None:
        self.correct = one.responses == shapes
        self.accuracy = counts @ self.correct / counts.sum(axis=1)
        known = np.array(CATEGORIES)
        truth, answer = shapes[:, None] == known, one.responses[:, None] == known  # (n, 16)
        self.rows, self.cells = error_rows(truth[:, :, None] & answer[:, None, :], counts)
        conflict = (textures != "") & (shapes != textures)
        by_cue = [conflict & self.correct, conflict & (one.responses == textures)]
        hits = [counts @ (hit[:, None] & truth).astype(np.float64) for hit in by_cue]
        self.hits = np.stack(hits, axis=2)


def _compare(
    system: str,
    accuracy: Floats,
    hits: Floats,
    pairs: Sequence[tuple[_Tally, _Tally]],
    counts: Floats,
) -> Agreement:
    def stack(columns: list[Floats]) -> Floats:
        return np.stack(columns, axis=1) if columns else np.zeros((len(counts), 0))

    return Agreement(
        system,
        accuracy,
        stack([kappa_rows(a.correct, b.correct, counts) for a, b in pairs]),
        stack([js_rows(a.rows, b.rows) for a, b in pairs]),
        stack([js_rows(a.cells, b.cells) for a, b in pairs]),
        hits,
    )


def error_rows(answers: NDArray[np.generic], counts: Floats) -> tuple[Floats, Floats]:
    """Shares of true classes (R + 1, K) and of confusions (R + 1, K * K) in all errors, eq. 5.7.

    Args:
        answers: For each image, how often class j was answered where i is true (n, K, K).
        counts: Counts of the images (R + 1, n).
    """
    n, K = answers.shape[:2]
    wrong = np.where(np.eye(K, dtype=bool), 0.0, answers)
    cells = (counts @ wrong.reshape(n, K * K)).reshape(-1, K, K)
    with np.errstate(invalid="ignore"):  # no error at all: undefined, NaN
        cells /= cells.sum(axis=(1, 2), keepdims=True)
    return cells.sum(axis=2), cells.reshape(-1, K * K)


def kappa_rows(correct_a: Flags, correct_b: Flags, counts: Floats) -> Floats:
    """Error consistency, eq. 5.6, in each row of ``counts``; 1 if the two always agree."""
    trials = counts.sum(axis=1)
    observed = counts @ (correct_a == correct_b) / trials
    p_a, p_b = counts @ correct_a / trials, counts @ correct_b / trials
    expected = p_a * p_b + (1 - p_a) * (1 - p_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(observed == 1, 1.0, (observed - expected) / (1 - expected))


def js_rows(p: Floats, q: Floats) -> Floats:
    """Eqs. 5.8 and 5.9 of each row, from entropies: H(m) - (H(p) + H(q)) / 2."""
    middle = (p + q) / 2
    divergence = (xlogy(p, p) + xlogy(q, q)).sum(axis=1) / 2 - xlogy(middle, middle).sum(axis=1)
    return np.sqrt(np.clip(divergence, 0, np.log(2)))


def _wilson(shape: int, texture: int) -> Interval:
    if not shape + texture:
        return Interval(*[float("nan")] * 3)
    return Interval(*wilson_interval(shape, shape + texture)[:3])


def _share(hits: Floats) -> Floats:
    """Share of shape in (R + 1, 2) hits; NaN if there are none."""
    total = hits.sum(axis=1)
    return np.divide(hits[:, 0], total, out=np.full(len(hits), np.nan), where=total > 0)
