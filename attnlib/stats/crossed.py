"""Means over seeds and images at once, with intervals that cover both sources of chance.

Every seed's network answers the same images. A t-interval over seeds leaves out that other images
might have been drawn, an interval over images that another seed might have been. Radiologists who
read the same cases pose the same problem, and its solution is theirs: the variances of Obuchowski
and Rockette (1995), doi:10.1080/03610919508813243, with the degrees of freedom of Hillis (2007),
doi:10.1002/sim.2532. Seeds are the readers, images the cases.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from attnlib.stats.intervals import t_reach


class CrossedMean(NamedTuple):
    """A mean over seeds and images with its 95% interval and its two-sided p-value against 0.

    With one seed the interval covers the choice of images only.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int
    images: int


def crossed_mean(outcomes: npt.ArrayLike) -> CrossedMean:
    """Mean of a quantity that is known for each seed and each image: (S, n).

    Args:
        outcomes: A row for each seed, the same images in each: right or wrong, or for paired
            comparisons the difference of two outcomes.

    Raises:
        ValueError: If there are not two axes, no seed, or fewer than two images.
    """
    table = np.asarray(outcomes, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0 or table.shape[1] < 2:
        raise ValueError(f"outcomes: expected (seeds, images >= 2); got shape {table.shape}.")
    images = table.shape[1]
    return crossed_interval(table.mean(axis=1), np.atleast_2d(np.cov(table)) / images, images)


def crossed_interval(values: npt.ArrayLike, covariance: npt.ArrayLike, images: int) -> CrossedMean:
    """Interval of the mean of ``values``, one for each seed, measured on the same images.

    The variance of the mean is s^2 / S + c, where s^2 is the variance of the values between seeds,
    which holds both the seeds' own and each seed's part in the images' chance, and c the part that
    the seeds share: the mean covariance of two seeds' values over images, if positive. A few seeds
    may lie closer together than the chance of the images lets them on average; so the interval is
    never shorter, and p never smaller, than over the images alone, for these seeds.

    Args:
        values: What each seed's networks give (S,).
        covariance: Covariances of these values over the choice of images (S, S).
        images: Number of images.

    Raises:
        ValueError: If the shapes don't fit, or a number is not finite.
    """
    numbers, shared = (np.asarray(x, dtype=np.float64) for x in (values, covariance))
    seeds = len(numbers) if numbers.ndim == 1 else 0
    if not seeds or shared.shape != (seeds, seeds):
        raise ValueError(f"expected (S,) and (S, S); got {numbers.shape} and {shared.shape}.")
    if not (np.isfinite(numbers).all() and np.isfinite(shared).all()):
        raise ValueError(f"expected finite numbers; got {numbers.tolist()}, {shared.tolist()}.")
    mean, alone = float(numbers.mean()), max(float(shared.mean()), 0.0)
    sources = [(alone, images - 1.0)]  # variances of the mean, with their degrees of freedom
    if seeds > 1 and (between := float(numbers.var(ddof=1)) / seeds):
        common = max(float(shared[~np.eye(seeds, dtype=bool)].mean()), 0.0)
        variance = between + common
        sources.append((variance, (seeds - 1) * (variance / between) ** 2))
    sources = [(float(np.sqrt(variance)), freedom) for variance, freedom in sources if variance]
    if not sources:
        return CrossedMean(mean, mean, mean, float(mean == 0), seeds, images)
    reach = max(t_reach(error, freedom) for error, freedom in sources)
    p = max(float(2 * stats.t.sf(abs(mean) / error, freedom)) for error, freedom in sources)
    return CrossedMean(mean, mean - reach, mean + reach, p, seeds, images)
