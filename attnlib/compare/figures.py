"""Figures of errors: confusion matrices, differences by class, images with predictions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from attnlib.compare.comparison import Comparison
from attnlib.compare.error_overlap import Overlap, Reply
from attnlib.compare.paired_tests import PairedTest, count_confusions, image_titles
from attnlib.compare.reference_runs import Answer, ReferenceRow
from attnlib.data.datasets import Split
from attnlib.plotting import (
    COLOURS,
    INK,
    PAPER,
    TICK_LETTERS,
    WIDTH,
    figure_text,
    style,
    subplots,
    wrapped_text,
)
from attnlib.stats.crossed import CrossedMean
from attnlib.stats.intervals import ALPHA, OPEN

# Tints let the page through, light or dark, so that its text keeps its contrast on them.
RIGHT = to_rgba(COLOURS[0], 0.2)  # of the diagonal, so that right answers don't drown the errors
WRONG = LinearSegmentedColormap.from_list(
    "errors", [to_rgba(COLOURS[1], 0.05), to_rgba(COLOURS[1], 0.45)]
)  # behind numbers
FADING = LinearSegmentedColormap.from_list(
    "fading", [to_rgba(COLOURS[1], 0.15), to_rgba(COLOURS[1], 1)]
)  # of cells without numbers
NUMBERED, LABELLED = 16, 40  # up to this many classes, cells show counts and all classes are named
SHOWN = 24  # maximum classes in the figure of differences


def confusions(comparison: Comparison, *names: str) -> Figure:
    """Confusion matrices, one below the other: counts, coloured by share of the true class.

    With more than 40 classes, neighbours are summed into blocks, without right answers, so that no
    error is too small to see.
    """
    counts = [count_confusions(comparison, name) for name in names]
    shares = [_error_shares(matrix) for matrix in counts]
    classes = len(comparison.class_names)
    block = -(-classes // LABELLED)
    if block > 1:
        shares = [_in_blocks(matrix, block) for matrix in counts]
    top = max(float(matrix.max()) for matrix in shares) or 1.0
    colours = WRONG if classes <= NUMBERED else FADING
    with style():
        size = (WIDTH, 0.8 + 4.3 * len(names))  # not side by side: three digits need a cell's width
        figure, grid = subplots(len(names), figsize=size, squeeze=False, layout="constrained")
        for axes, name, matrix, count in zip(grid[:, 0], names, shares, counts, strict=True):
            axes.imshow(_tints(colours(matrix / top), matrix, block == 1), interpolation="nearest")
            axes.set_title(wrapped_text(name, 48), fontsize=10)
            axes.set(xlabel="decision", ylabel="true class")
            axes.grid(False)
            ticks = list(range(0, len(matrix), 1 if block == 1 else 5))
            labels = [
                figure_text(comparison.class_names[place * block], TICK_LETTERS) for place in ticks
            ]
            font = 10 if classes <= NUMBERED else 6 if block == 1 else 8
            axes.set_xticks(ticks, labels, rotation=90, fontsize=font)
            axes.set_yticks(ticks, labels, fontsize=font)
            if classes <= NUMBERED:
                _write_counts(axes, count)
        scale = ScalarMappable(Normalize(0, top), colours)
        bar = figure.colorbar(scale, ax=list(grid[:, 0]), location="bottom", shrink=0.6, aspect=40)
        bar.ax.xaxis.set_major_formatter(PercentFormatter(1))
        unit = "true class" if block == 1 else f"{block} true classes of a cell"
        bar.set_label(f"wrong decisions, share of the {unit}", fontsize=10)
        figure.finding = " ".join(_confusion_words(comparison, name) for name in names)
        plt.close(figure)
    return figure


def class_differences(tests: Sequence[PairedTest], first: str, second: str) -> Figure:
    """Difference of accuracy in each class with its paired interval; filled if significant.

    A dot is filled if McNemar's test with Holm's correction is significant. Of more than 24
    classes those with the largest differences are shown.
    """
    kept = sorted(tests, key=lambda t: -abs(t.difference.value))[:SHOWN]
    kept.sort(key=lambda t: t.difference.value)
    values = np.array([t.difference.value for t in kept])
    ends = np.array([[t.difference.low for t in kept], [t.difference.high for t in kept]])
    with style():
        figure, axes = subplots(figsize=(WIDTH, 1.4 + 0.27 * len(kept)), layout="constrained")
        axes.axvline(0, color=INK, lw=1)
        axes.hlines(range(len(kept)), 100 * ends[0], 100 * ends[1], color=COLOURS[0], lw=1.6)
        for place, test in enumerate(kept):
            face = COLOURS[0] if test.p_holm < ALPHA else PAPER
            point = 100 * values[place]
            axes.plot(point, place, "o", mfc=face, mec=COLOURS[0], mew=1.4, ms=6)
        axes.set_yticks(
            range(len(kept)), [figure_text(t.name, TICK_LETTERS) for t in kept], fontsize=10
        )
        axes.set_xlabel("accuracy of the first less that of the second,\npercentage points")
        some = f"\n{len(kept)} largest of {len(tests)} differences" * (len(tests) > len(kept))
        title = "\n".join(
            wrapped_text(f"{k}: {v}", 44) for k, v in (("first", first), ("second", second))
        )
        axes.set_title(title + some, fontsize=9, loc="left")
        figure.finding = _class_words(tests, first, second)
        plt.close(figure)
    return figure


def answered_images(
    comparison: Comparison,
    split: Split | None,
    places: npt.ArrayLike,
    *names: str,
    columns: int = 4,
    finding: str = "",
) -> Figure:
    """Test images with, from the top, their true class and each run's prediction.

    Images that ``split`` does not hold, or all if it is None, are shown by their positions.

    The figure takes its ``finding`` from its caller, who knows how many images there are in all.
    """
    chosen = np.asarray(places, dtype=np.int64)
    classes = tuple(figure_text(name, 24) for name in comparison.class_names)
    titles = image_titles(replace(comparison, class_names=classes), chosen, *names)
    rows = max(1, -(-len(chosen) // columns))
    with style():
        size = (WIDTH, (WIDTH / columns + 0.17 * (1 + len(names))) * rows)
        figure, grid = subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for axes in grid.flat:
            axes.axis("off")
        for axes, place, title in zip(grid.flat, chosen, titles, strict=False):
            axes.set_title(title, fontsize=9, pad=3)
            picture = split.find(place) if split else None
            if picture is None:
                axes.text(0.5, 0.5, f"image\n{place}", ha="center", va="center")
            else:
                axes.imshow(picture, interpolation="nearest")
        if not len(chosen):
            grid[0, 0].text(0, 0.5, "There is no such image.", fontsize=10)
        figure.finding = finding
        plt.close(figure)
    return figure


def _confusion_words(comparison: Comparison, name: str) -> str:
    """How many answers of a run are wrong, and its most frequent confusion."""
    counts = count_confusions(comparison, name)
    off = counts - np.diag(counts.diagonal())
    truth, answer = np.unravel_index(off.argmax(), off.shape)
    names = comparison.class_names
    return (
        f"{name}: {off.sum():,} of {counts.sum():,} answers are wrong, most often {names[truth]} "
        f"taken for {names[answer]} ({off.max():,} of {counts[truth].sum():,})."
    )


def _class_words(tests: Sequence[PairedTest], first: str, second: str) -> str:
    """In how many classes the corrected test tells two runs apart, and where they differ most."""
    better = [sum(t.verdict == f"{one} is better" for t in tests) for one in ("first", "second")]
    most = max(tests, key=lambda t: abs(t.difference.value))
    value, low, high = (f"{100 * share:+.1f}" for share in most.difference[:3])
    words = (
        f"By the corrected test, {first} is better in {better[0]} of {len(tests)} classes and "
        f"{second} in {better[1]}; the largest difference, in {most.name}, is {value} points "
        f"[{low}, {high}]."
    )
    return re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", words)


def _error_shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of each true class that is mistaken for each other one; the diagonal is 0."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0)
    return shares


def _in_blocks(counts: npt.NDArray[np.int64], block: int) -> npt.NDArray[np.float64]:
    """Errors of ``block`` neighbouring classes combined, as a share of all their images."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    starts = np.arange(0, len(counts), block)
    summed = np.add.reduceat(np.add.reduceat(errors, starts, axis=0), starts, axis=1)
    sizes = np.add.reduceat(counts.sum(axis=1), starts)
    return summed / np.maximum(sizes, 1)[:, None]


def _tints(
    colours: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], mark_diagonal: bool
) -> npt.NDArray[np.float64]:
    """Colours of the cells (K, K, 4), transparent where there are no errors."""
    colours[shares == 0] = 0
    if mark_diagonal:
        places = np.arange(len(shares))
        colours[places, places] = RIGHT
    return colours


def _write_counts(axes: Any, counts: npt.NDArray[np.int64]) -> None:
    font = 9 if len(counts) <= 10 else 7
    for (row, column), count in np.ndenumerate(counts):
        if count:
            text = str(count) if count < 1000 else f"{count / 1000:.1f}k"
            axes.text(column, row, text, ha="center", va="center", fontsize=font)


def accuracies(rows: Mapping[str, ReferenceRow]) -> Figure:
    """Test accuracy of each row with its interval; with several seeds, a dot for each."""
    made = [(row.title, row) for row in rows.values() if row.runs]
    made.sort(key=lambda one: one[1].accuracy.value)
    with style():
        figure, axes = subplots(figsize=(WIDTH, 1.0 + 0.55 * len(made)), layout="constrained")
        for place, (_, row) in enumerate(made):
            share = row.accuracy
            axes.plot([share.low, share.high], [place, place], color=COLOURS[0], lw=1.6)
            axes.plot(share.value, place, "o", color=COLOURS[0], ms=5)
            for run in row.runs if len(row.runs) > 1 else ():
                one = run.record.metrics.test_accuracy.value
                axes.plot(one, place + 0.18, "|", color=INK, ms=7)
        axes.set_yticks(range(len(made)), [_broken(title) for title, _ in made], fontsize=9)
        axes.set_ylim(-0.6, len(made) - 0.3)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("test accuracy, 95% interval")
        if made:
            (last, fewest), (best, most) = made[0], made[-1]
            figure.finding = (
                f"Highest accuracy: {best} ({most.accuracy.value:.1%}). "
                f"Lowest: {last} ({fewest.accuracy.value:.1%})."
            )
        plt.close(figure)
    return figure


def differences(answers: Sequence[Answer]) -> Figure:
    """The difference in accuracy for each claim, filled if the corrected test is significant."""
    made = [(one.claim.text, one.difference, one.verdict) for one in answers if one.difference]
    return _dots(made, 100, "difference in test accuracy, points;\n95% interval")


def overlap_differences(replies: Sequence[Reply]) -> Figure:
    """The difference in Yule's Y for each question, filled if significant after correction."""
    made = [(one.question.text, one.difference, one.verdict) for one in replies if one.difference]
    return _dots(made, 1, "difference in Yule's Y;\n95% interval")


def overlaps(measured: Sequence[Overlap]) -> Figure:
    """Kappa of each pairing with its interval, on a bar that ends at the largest possible kappa.

    A stroke for each pair of networks; a square for Yule's Y.
    """
    made = [one for one in measured if one.kappa and one.even][::-1]
    with style():
        figure, axes = subplots(figsize=(WIDTH, 1.6 + 0.55 * len(made)), layout="constrained")
        for place, one in enumerate(made):
            assert one.kappa is not None and one.even is not None
            axes.barh(place, one.limit, height=0.7, color=INK, alpha=0.15)
            axes.plot([one.kappa.low, one.kappa.high], [place] * 2, color=COLOURS[0], lw=1.6)
            axes.plot(one.kappa.value, place, "o", color=COLOURS[0], ms=5)
            axes.plot(one.pairs, [place + 0.2] * len(one.pairs), "|", color=COLOURS[0], ms=6)
            axes.plot(one.even.value, place - 0.22, "s", mfc="none", mec=COLOURS[1], ms=4.5)
        axes.set_yticks(range(len(made)), [_broken(one.text) for one in made], fontsize=9)
        axes.set_ylim(-0.7, len(made) - 0.3)
        axes.set_xlim(left=0)
        axes.set_xlabel(
            "dot: kappa, 95% interval\nstroke: one pair of networks\n"
            "bar: up to the largest possible kappa\nsquare: Yule's Y",
            fontsize=9,
        )
        if made:
            least, most = (choose(made, key=_kappa) for choose in (min, max))
            figure.finding = (
                f"Kappa is smallest for {least.text} ({_kappa(least):.2f}) and "
                f"largest for {most.text} ({_kappa(most):.2f})."
            )
        plt.close(figure)
    return figure


def _kappa(one: Overlap) -> float:
    assert one.kappa is not None
    return one.kappa.value


def _dots(made: Sequence[tuple[str, CrossedMean, str]], scale: float, label: str) -> Figure:
    """Named differences with intervals, the first at the top; a dot is filled if decided."""
    with style():
        figure, axes = subplots(figsize=(WIDTH, 1.0 + 0.6 * len(made)), layout="constrained")
        axes.axvline(0, color=INK, lw=1)
        for place, (_, gap, verdict) in enumerate(made[::-1]):
            face = PAPER if verdict == OPEN else COLOURS[1]
            axes.plot([scale * gap.low, scale * gap.high], [place] * 2, color=COLOURS[1], lw=1.6)
            axes.plot(scale * gap.value, place, "o", mfc=face, mec=COLOURS[1], ms=6)
        axes.set_yticks(range(len(made)), [_broken(text) for text, *_ in made[::-1]], fontsize=9)
        axes.set_ylim(-0.6, len(made) - 0.4)
        axes.set_xlabel(label)
        decided = sum(verdict != OPEN for *_, verdict in made)
        figure.finding = (
            f"Of {len(made)} questions for which there are runs, {decided} are decided."
        )
        plt.close(figure)
    return figure


def _broken(title: str) -> str:
    """Break a long name into lines."""
    return wrapped_text(title, 28)
