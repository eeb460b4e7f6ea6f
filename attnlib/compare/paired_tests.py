"""Analysis of errors: confusions, paired tests by class, sets of errors, hardest images."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from attnlib.compare.comparison import Comparison, Ints
from attnlib.stats.consistency import error_consistency
from attnlib.stats.intervals import (
    ALPHA,
    Estimate,
    holm,
    mcnemar,
    p_words,
    paired_bootstrap,
    paired_difference,
)


class ErrorSets(NamedTuple):
    """Positions in the test set by which run is right: the three rows of Fig. 8.2, and the rest."""

    only_a: Ints
    only_b: Ints
    both_wrong: Ints
    both_right: Ints


class PairedTest(NamedTuple):
    """Test of two runs on the same images: all of them, or those of one class."""

    name: str
    n: int
    accuracy_a: float
    accuracy_b: float
    difference: Estimate  # of a minus b
    only_a: int
    only_b: int
    p: float  # McNemar's, exact
    p_holm: float  # corrected for the number of tests

    @property
    def verdict(self) -> str:
        """Which of the two is better, if the corrected test is significant."""
        if self.p_holm >= ALPHA:
            return "can't be told apart"
        return "first is better" if self.difference.value > 0 else "second is better"


def error_sets(correct_a: npt.ArrayLike, correct_b: npt.ArrayLike) -> ErrorSets:
    """Group images by which run is right: (n,), (n,) booleans -> positions.

    Raises:
        ValueError: If the arrays differ in shape.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"expected two equally long arrays; got {a.shape} and {b.shape}.")
    return ErrorSets(*(np.flatnonzero(s) for s in (a & ~b, ~a & b, ~a & ~b, a & b)))


def count_confusions(comparison: Comparison, name: str) -> Ints:
    """Confusion matrix of a run (K, K): rows the true class, columns the decision."""
    from sklearn.metrics import confusion_matrix  # sparse, so 1,000 classes cost little

    classes = np.arange(len(comparison.class_names))
    return confusion_matrix(comparison.labels, comparison.decisions(name), labels=classes)


def class_tests(comparison: Comparison, a: str, b: str) -> list[PairedTest]:
    """Tests of run ``a`` against run ``b`` in each class with images, corrected for their number.

    Differences have Newcombe's paired intervals; tests are McNemar's exact ones.
    """
    first, second = comparison.correct(a), comparison.correct(b)
    tests = []
    for label, name in enumerate(comparison.class_names):
        own = comparison.labels == label
        if own.any():
            difference = paired_difference(first[own], second[own])
            tests.append(_test(name, first[own], second[own], difference))
    return _corrected(tests)


def pair_tests(comparison: Comparison, seed: int = 0) -> list[tuple[str, str, PairedTest, float]]:
    """Tests of pairs of runs over all images: names, test with bootstrap interval, kappa.

    Runs that differ only in the seed are paired with each other; the first of them, with
    the first of every other recipe.
    """
    first = {name: comparison.seeds_of(name)[0] for name in comparison.names}
    pairs = [
        (a, b)
        for a, b in combinations(comparison.names, 2)
        if first[a] == first[b] or (first[a], first[b]) == (a, b)
    ]
    outcomes = {name: comparison.correct(name) for name in comparison.names}
    tests = [
        _test(
            f"{a} - {b}",
            outcomes[a],
            outcomes[b],
            paired_bootstrap(outcomes[a], outcomes[b], seed=seed),
        )
        for a, b in pairs
    ]
    kappas = [error_consistency(outcomes[a], outcomes[b]) for a, b in pairs]
    return [
        (*pair, test, k) for pair, test, k in zip(pairs, _corrected(tests), kappas, strict=True)
    ]


def choose_pairs(
    comparison: Comparison, pairs: list[tuple[str, str, PairedTest, float]], *names: str
) -> list[tuple[str, str, PairedTest, float]]:
    """The pairs that have one of the named runs, and those of one recipe."""
    return [
        pair for pair in pairs
        if {*pair[:2]} & {*names} or pair[1] in comparison.seeds_of(pair[0])
    ]  # fmt: skip


def hardest_images(comparison: Comparison, count: int) -> Ints:
    """Positions of the images that most runs misclassify, hardest first.

    Ties are ordered by the probability of the true class, lowest first: the
    mean log-probability over runs.
    """
    wrong = np.sum([~comparison.correct(name) for name in comparison.names], axis=0)
    places = np.arange(len(comparison.labels))
    belief = np.zeros(len(places))
    for logits in comparison.logits.values():
        shifted = logits - logits.max(axis=1, keepdims=True)
        true = shifted[places, comparison.labels]
        belief += true - np.log(np.exp(shifted).sum(axis=1))
    return np.lexsort((belief, -wrong))[:count]


def common_confusions(comparison: Comparison, name: str, count: int = 10) -> Any:
    """The most common errors of a run: true class, decision, images, share of the true class."""
    import pandas as pd

    counts = count_confusions(comparison, name)
    sizes = counts.sum(axis=1)
    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    rows = [(i, j) for i, j in zip(*np.unravel_index(order, off.shape), strict=True) if off[i, j]]
    names = comparison.class_names
    return pd.DataFrame(
        [(names[i], names[j], off[i, j], f"{off[i, j] / sizes[i]:.1%}") for i, j in rows],
        columns=["true class", "taken for", "images", "of its class"],
    )


def accuracy_table(comparison: Comparison) -> Any:
    """Table of each run's accuracy with its interval, and the mean over its seeds."""
    import pandas as pd

    rows = {}
    for name in comparison.names:
        share, seeds = comparison.accuracy(name), comparison.over_seeds(name)
        spread = f"{seeds.value:.2%} [{seeds.low:.2%}, {seeds.high:.2%}]"
        rows[name] = {
            "test accuracy [95%]": f"{share.value:.2%} [{share.low:.2%}, {share.high:.2%}]",
            "seeds": seeds.n,
            "mean over seeds [95%]": spread if seeds.n > 1 else "one seed",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def class_table(tests: list[PairedTest]) -> Any:
    """Per-class tests as a table, smallest p-value first."""
    import pandas as pd

    rows = {
        t.name: {
            "images": t.n,
            "first": f"{t.accuracy_a:.1%}",
            "second": f"{t.accuracy_b:.1%}",
            "difference, points [95%]": _points(t.difference),
            "only first right": t.only_a,
            "only second right": t.only_b,
            "p (McNemar)": p_words(t.p),
            "p (Holm)": p_words(t.p_holm),
            "verdict": t.verdict,
        }
        for t in sorted(tests, key=lambda t: t.p)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def pair_table(tests: list[tuple[str, str, PairedTest, float]]) -> Any:
    """Tests of all pairs as a table."""
    import pandas as pd

    return pd.DataFrame(
        [
            (a, b, _points(t.difference), t.only_a, t.only_b, p_words(t.p_holm), f"{kappa:.2f}")
            for a, b, t, kappa in tests
        ],
        columns=["first", "second", "difference, points [95%]", "only first right",
                 "only second right", "p (McNemar, Holm)", "kappa"],
    )  # fmt: skip


def image_titles(comparison: Comparison, places: Ints, *names: str) -> list[str]:
    """A title for each image: its true class, and each run's prediction."""
    classes, decisions = comparison.class_names, [comparison.decisions(name) for name in names]
    return [
        "\n".join([classes[comparison.labels[i]], *(f"> {classes[d[i]]}" for d in decisions)])
        for i in places
    ]


def _test(name: str, a: Any, b: Any, difference: Estimate) -> PairedTest:
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    p = mcnemar(only_a, only_b)
    return PairedTest(name, len(a), a.mean(), b.mean(), difference, only_a, only_b, p, p)


def _corrected(tests: list[PairedTest]) -> list[PairedTest]:
    adjusted = holm([test.p for test in tests])
    return [test._replace(p_holm=float(p)) for test, p in zip(tests, adjusted, strict=True)]


def _points(difference: Estimate) -> str:
    value, low, high = (100 * share for share in difference[:3])
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
