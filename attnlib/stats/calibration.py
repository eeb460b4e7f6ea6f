"""How good probabilities are: top-k accuracy, expected calibration error, Brier score.

Plain functions of logits (n, K) and labels (n,), with 95% intervals over images.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from attnlib.arrays import Flags, Floats, Integers
from attnlib.stats.intervals import (
    LEVEL,
    Estimate,
    Proportion,
    mean_interval,
    wilson_interval,
)

BINS = 15  # as in Guo et al. (2017)
DRAWS = 2000  # simulations of the calibration error's interval


def top_accuracy(logits: npt.ArrayLike, labels: npt.ArrayLike, k: int = 5) -> Proportion:
    """Share of images whose label is among the ``k`` highest logits, with its Wilson interval.

    Equal logits are ordered by class, as ``argmax`` does, so that ``k`` of 1 gives the accuracy.

    Raises:
        ValueError: If shapes or labels don't fit, or ``k`` is not between 1 and K.
    """
    scores, truth = _checked(logits, labels)
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k: expected 1 to {scores.shape[1]}, the number of classes; got {k}.")
    own = scores[np.arange(len(truth)), truth][:, None]
    earlier = np.arange(scores.shape[1]) < truth[:, None]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return wilson_interval(int((rank < k).sum()), len(truth))


def brier_score(logits: npt.ArrayLike, labels: npt.ArrayLike) -> Estimate:
    """Mean squared distance of the probabilities from the label's, with a t-interval over images.

    Summed over classes, as in Brier (1950), Monthly Weather Review 78, 1-3: 0 for certainty in the
    label, 2 for certainty in another class, 1 - 1/K for equal probabilities.

    Raises:
        ValueError: If shapes or labels don't fit.
    """
    scores, truth = _checked(logits, labels)
    distances = softmax(scores, axis=1)
    distances[np.arange(len(truth)), truth] -= 1
    score = mean_interval((distances**2).sum(axis=1))
    if score.n == 1:  # no interval: only the range of the score is known
        return score._replace(low=0.0, high=2.0)
    return score._replace(low=max(score.low, 0.0), high=min(score.high, 2.0))


def calibration_error(
    logits: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = BINS, seed: int = 0
) -> Estimate:
    """Expected calibration error: how far the confidence in decisions is from their accuracy.

    Equation 3 of Guo et al. (2017), arXiv:1706.04599: the mean over bins of |accuracy -
    confidence|, weighted by their images. The bins hold equally many images, not equally long
    ranges of confidence, which makes the estimate less biased (Roelofs et al. 2022,
    arXiv:2012.08668).

    The estimate is still too high where the error is small, since chance alone makes a gap in
    every bin. The interval allows for that: bins' gaps are drawn again with their standard errors.
    Above, it reaches to the 97.5th percentile of these draws; below, it lies as far under the
    estimate as that percentile lies over it, and it begins at 0 if a calibrated network would have
    an error as large as this in more than 2.5% of draws.

    Args:
        logits: (n, K).
        labels: (n,).
        bins: Number of bins; fewer if there are fewer images.
        seed: Of the draws.

    Raises:
        ValueError: If shapes or labels don't fit, or there is no bin.
    """
    scores, truth = _checked(logits, labels)
    if bins < 1:
        raise ValueError(f"bins: expected a whole number >= 1; got {bins}.")
    confidence, right = confidences(scores, truth)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(bins, len(truth)))
    surplus, claimed = confidence - right, confidence * (1 - confidence)
    gaps = np.array([surplus[part].mean() for part in parts])
    shares = np.array([len(part) / len(truth) for part in parts])
    # Of few images all may be right: their variance is at least that of what they claim.
    variances = [max(surplus[part].var(), claimed[part].mean()) for part in parts]
    errors = np.sqrt(variances / (shares * len(truth)))
    noise = np.random.default_rng(seed).standard_normal((DRAWS, len(parts))) * errors
    value, last = float(np.abs(gaps) @ shares), 100 * (1 + LEVEL) / 2
    high = max(value, float(np.percentile(np.abs(gaps + noise) @ shares, last)))
    by_chance = float(np.percentile(np.abs(noise) @ shares, last))
    low = 0.0 if value <= by_chance else max(2 * value - high, 0.0)
    return Estimate(value, low, min(high, 1.0), len(truth))


def confidences(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Flags]:
    """The probability of each decision (n,), and whether it is right (n,)."""
    scores, truth = _checked(logits, labels)
    return softmax(scores, axis=1).max(axis=1), scores.argmax(axis=1) == truth


def _checked(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Integers]:
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or scores.size == 0:
        raise ValueError(
            f"expected logits (n, K) and labels (n,), not empty; got {scores.shape} and "
            f"{truth.shape}."
        )
    if not np.isfinite(scores).all():
        raise ValueError("logits: expected finite numbers.")
    outside = truth[(truth < 0) | (truth >= scores.shape[1])]
    if len(outside):
        raise ValueError(f"labels: expected 0 to {scores.shape[1] - 1}; got {outside[0]}.")
    return scores, truth.astype(np.int64)
