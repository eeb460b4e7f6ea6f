"""Measures of agreement between two systems, equations 5.4 to 5.11 of the thesis; shape bias.

Plain functions of arrays. The measures are those of Geirhos et al. (2020), arXiv:2006.16736
(kappa), Tuli et al. (2021), arXiv:2105.07197 (distances between errors), and Geirhos et al.
(2019), arXiv:1811.12231 (shape bias). K is the number of classes, n of trials.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from attnlib.arrays import Floats

TOLERANCE = 1e-6  # allowed deviation of a distribution's sum from 1


def observed_agreement(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> float:
    """Share of trials in which both systems are right or both are wrong, eq. 5.4.

    The thesis calls the count e_ij an agreement "for a given class", but it is over all trials.

    Args:
        correct_a: Whether system a is right (n,): booleans, or 0 and 1.
        correct_b: The same trials of system b, in the same order.

    Raises:
        ValueError: If the arrays are empty, differ in length or hold other values.
    """
    a, b = _paired_outcomes(correct_a, correct_b)
    return float(np.mean(a == b))


def expected_agreement(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> float:
    """Agreement of independent systems with the same two accuracies, eq. 5.5.

    It takes the accuracies of the two systems, not probabilities of a class as the thesis says.
    Arguments and errors as for ``observed_agreement``.
    """
    a, b = _paired_outcomes(correct_a, correct_b)
    r_a, r_b = float(np.mean(a)), float(np.mean(b))  # shares of right answers
    return r_a * r_b + (1 - r_a) * (1 - r_b)


def error_consistency(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> float:
    """Cohen's kappa of being right, eq. 5.6: agreement beyond what the two accuracies explain.

    1 for equal outcomes, 0 on average for independent ones, never below -1. If both systems
    are right, or both wrong, in every trial, c_exp is 1 and the equation reads 0/0; kappa is then
    1, as in model-vs-human. Arguments and errors as for ``observed_agreement``.
    """
    observed = observed_agreement(correct_a, correct_b)
    expected = expected_agreement(correct_a, correct_b)
    if observed == 1:  # c_exp = 1 occurs only here
        return 1.0
    return (observed - expected) / (1 - expected)


def kappa_limit(accuracy_a: npt.ArrayLike, accuracy_b: npt.ArrayLike) -> Floats:
    """The largest kappa that two accuracies allow: that of nested errors.

    Were every error of the more accurate system an error of the other too, they would still
    disagree on the images that set their accuracies apart (Geirhos et al. 2020, appendix; Cohen
    1960). It is 1 for equal accuracies, and 0 if only one system is always right, or always wrong.

    Args:
        accuracy_a: Share of right answers of system a, a number or an array of any shape.
        accuracy_b: The same of system b.

    Raises:
        ValueError: If an accuracy is outside [0, 1].
    """
    a, b = (np.asarray(shares, dtype=np.float64) for shares in (accuracy_a, accuracy_b))
    for name, shares in (("accuracy_a", a), ("accuracy_b", b)):
        if not np.all((shares >= 0) & (shares <= 1)):
            raise ValueError(f"{name}: expected shares in [0, 1]; got {shares.tolist()}.")
    chance = 1 - (a * b + (1 - a) * (1 - b))  # of disagreeing
    free = np.divide(chance - abs(a - b), chance, out=np.ones_like(chance), where=chance > 0)
    return np.maximum(free, 0)  # it may be below 0 by rounding


def yules_y(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> float:
    """Yule's (1912) coefficient of colligation: kappa, had both systems an accuracy of one half.

    Of all tables with the same odds ratio it is the kappa of the one whose margins are even, so
    that it compares pairs of unequal accuracies, for which kappa and its limit differ. Without an
    odds ratio, because one system is always right or always wrong, it is 0, or 1 if the two
    always agree. Arguments and errors as for ``observed_agreement``.
    """
    a, b = _paired_outcomes(correct_a, correct_b)
    agree, differ = np.mean(a & b) * np.mean(~a & ~b), np.mean(a & ~b) * np.mean(~a & b)
    roots = np.sqrt(agree) + np.sqrt(differ)
    if roots == 0:
        return float(np.array_equal(a, b))
    return float((np.sqrt(agree) - np.sqrt(differ)) / roots)


def confusion_matrix(
    truth: npt.ArrayLike, decision: npt.ArrayLike, classes: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """Count decisions: (n,), (n,) -> (K, K), rows the true class, columns the decision.

    A decision outside ``classes`` (no answer, a misspelt one) has no column and is not counted; a
    class without trials has a row of zeros.

    Args:
        truth: Classes of the trials (n,), names or numbers.
        decision: The system's answers (n,).
        classes: The K classes, in the order of the rows and columns.

    Raises:
        ValueError: If the arrays are empty or differ in length, a true class is not among
            ``classes``, or ``classes`` has duplicates.
    """
    truth, decision = _equally_long(truth=truth, decision=decision)
    known = _column(classes, "classes")
    if len(set(known.tolist())) < len(known):
        raise ValueError(f"classes: expected each one once; got {known.tolist()}.")
    rows, columns = truth[:, None] == known, decision[:, None] == known  # (n, K)
    unknown = truth[~rows.any(axis=1)].tolist()
    if unknown:
        raise ValueError(f"truth: unknown class {unknown[0]!r}. Valid: {known.tolist()}.")
    return rows.T.astype(np.int64) @ columns.astype(np.int64)


def classwise_errors(confusion: npt.ArrayLike) -> Floats:
    """Each true class's share of all errors, eqs. 5.7 and 5.10: (K, K) -> (K,).

    e_i is the row sum without the diagonal; the sum in eq. 5.7 runs over its own index k, where
    the thesis uses i twice. A class without trials has no errors, so its share is 0.

    Args:
        confusion: Counts (K, K), rows the true class, columns the decision.

    Raises:
        ValueError: If ``confusion`` is not square, has a negative or non-finite entry, or has no
            errors, so that their distribution is undefined.
    """
    errors = _errors(confusion)
    return errors.sum(axis=1) / errors.sum()


def interclass_errors(confusion: npt.ArrayLike) -> Floats:
    """Share of each confusion of i with j in all errors, eqs. 5.7 and 5.11: (K, K) -> (K(K-1),).

    Row by row, for i != j only, a condition that the thesis omits. Argument and errors as for
    ``classwise_errors``.
    """
    errors = _errors(confusion)
    return errors[~np.eye(len(errors), dtype=bool)] / errors.sum()


def js_distance(p: npt.ArrayLike, q: npt.ArrayLike, base: float | None = None) -> float:
    """Jensen-Shannon distance, eqs. 5.8 and 5.9: square root of the divergence.

    From 0 for equal distributions to sqrt(ln 2) = 0.8326 for disjoint ones, or to 1 in base 2.
    The thesis gives no base; the published values use natural logarithms. Its m is a vector,
    (p + q) / 2, and 0 log 0 is 0. Inputs are not normalised.

    Args:
        p: Distribution, one axis.
        q: Distribution of the same length.
        base: Base of the logarithm, above 1; None for the natural one.

    Raises:
        ValueError: If p or q is empty, negative, not finite or does not sum to 1, if they differ
            in length, or if ``base`` is not above 1.
    """
    p, q = _distribution(p, "p"), _distribution(q, "q")
    if len(p) != len(q):
        raise ValueError(f"p and q: expected one length; got {len(p)} and {len(q)}.")
    if base is not None and not 1 < base < np.inf:
        raise ValueError(f"base: expected a number > 1, or None; got {base}.")
    # Not scipy's jensenshannon: if p and q are nearly equal, its sum may be below 0 by rounding,
    # and the root NaN.
    divergence = (_divergence_from_mean(p, q) + _divergence_from_mean(q, p)) / 2
    divergence = np.clip(divergence, 0, np.log(2))
    return float(np.sqrt(divergence / (1 if base is None else np.log(base))))


def shape_bias(shape: npt.ArrayLike, texture: npt.ArrayLike, decision: npt.ArrayLike) -> float:
    """Shape hits / (shape hits + texture hits), over images whose shape and texture differ.

    Other decisions, including no answer, are ignored. From section 8.2, which gives no
    equation.

    Args:
        shape: Class of each image's shape (n,), names or numbers.
        texture: Class of each image's texture (n,).
        decision: The system's answers (n,).

    Raises:
        ValueError: If the arrays are empty or differ in length, or if there are no shape and no
            texture hits, so that the ratio is undefined.
    """
    shape, texture, decision = _equally_long(shape=shape, texture=texture, decision=decision)
    conflict = shape != texture
    shape_hits = int(np.sum(conflict & (decision == shape)))
    texture_hits = int(np.sum(conflict & (decision == texture)))
    if shape_hits + texture_hits == 0:
        raise ValueError(
            "shape bias is undefined: expected a decision for shape or texture where the two "
            f"differ; got none in {int(np.sum(conflict))} such images of {len(shape)}."
        )
    return shape_hits / (shape_hits + texture_hits)


def _divergence_from_mean(p: Floats, q: Floats) -> float:
    """D(p || m) with m = (p + q) / 2, eq. 5.9, in nats."""
    return float(rel_entr(2 * p, p + q).sum() / 2)  # both doubled: half the least float is 0


def _errors(confusion: npt.ArrayLike) -> Floats:
    """Check a confusion matrix and return it without its diagonal."""
    errors = np.array(confusion, dtype=np.float64)
    if errors.ndim != 2 or errors.shape[0] != errors.shape[1] or errors.size == 0:
        raise ValueError(f"confusion: expected a square matrix (K, K); got {errors.shape}.")
    _check_finite_and_not_negative(errors, "confusion")
    np.fill_diagonal(errors, 0)
    if not errors.any():
        raise ValueError("confusion: expected an error; got none, so eq. 5.7 divides by 0.")
    return errors


def _distribution(values: npt.ArrayLike, name: str) -> Floats:
    shares = _column(values, name).astype(np.float64)
    _check_finite_and_not_negative(shares, name)
    if not abs(shares.sum() - 1) <= TOLERANCE:
        raise ValueError(f"{name}: expected a sum of 1; got {shares.sum()}.")
    return shares


def _check_finite_and_not_negative(values: Floats, name: str) -> None:
    wrong = values[~(np.isfinite(values) & (values >= 0))]
    if len(wrong):
        raise ValueError(f"{name}: expected finite numbers >= 0; got {wrong[0]}.")


def _paired_outcomes(
    correct_a: npt.ArrayLike, correct_b: npt.ArrayLike
) -> list[npt.NDArray[np.bool_]]:
    """Outcomes of two systems on the same trials, as booleans."""
    pair = _equally_long(correct_a=correct_a, correct_b=correct_b)
    for name, values in zip(("correct_a", "correct_b"), pair, strict=True):
        wrong = values[(values != 0) & (values != 1)]
        if len(wrong):
            raise ValueError(f"{name}: expected booleans, or 0 and 1; got {wrong.tolist()[0]!r}.")
    return [values.astype(bool) for values in pair]


def _equally_long(**arrays: npt.ArrayLike) -> list[npt.NDArray[np.generic]]:
    """The arguments as NumPy arrays, checked to be 1-D and of equal length."""
    columns = [_column(values, name) for name, values in arrays.items()]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"{', '.join(arrays)}: expected one length; got {lengths}.")
    return columns


def _column(values: npt.ArrayLike, name: str) -> npt.NDArray[np.generic]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected one axis, not empty; got shape {array.shape}.")
    return array
