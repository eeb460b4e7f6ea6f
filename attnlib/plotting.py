"""Figures as functions of runs and arrays. Each returns a figure; none saves or shows it.

Backgrounds are transparent and lines are of middle lightness, so that a figure reads on a light
page and on a dark one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

if TYPE_CHECKING:
    from attnlib.records.run import Run

WIDTH = 4.4  # inches: letters of 9 points are then 9 pixels high on a phone 360 pixels wide
INK = "#7a7a7a"  # contrast of about 4.3 on white and on the dark theme's background
COLOURS = ("#3b82c4", "#d9702e", "#3f9a6b", "#a565c0", "#b08a1e")
STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.dpi": 110,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.alpha": 0.3,
    "legend.frameon": False,
    **{key: INK for key in ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor")},
    **{key: INK for key in ("xtick.color", "ytick.color", "grid.color")},
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings of this book, inside the ``with`` block only."""
    with plt.rc_context(cast(Any, STYLE)):
        yield


def learning_curves(*runs: "Run") -> Figure:
    """Loss and validation accuracy by epoch; the chosen epoch of each run is marked."""
    return _curves([(run.title, run.history) for run in runs])


def epoch_curves(epochs: Sequence[Any]) -> Figure:
    """``learning_curves`` of a run that still trains, from its epochs so far."""
    return _curves([("", [vars(epoch) for epoch in epochs])])


def _curves(histories: Sequence[tuple[str, list[dict[str, Any]]]]) -> Figure:
    with style():
        figure, (losses, accuracies) = plt.subplots(
            2, 1, figsize=(WIDTH, 5.2), sharex=True, layout="constrained"
        )
        several = len(histories) > 1
        for (title, history), colour in zip(histories, _colours(len(histories)), strict=True):
            epochs = [line["epoch"] for line in history]
            label = title if several else "validation"
            for key, dashes in (("train_loss", "--"), ("val_loss", "-")):
                values = [line[key] for line in history]
                name = None if several else key.partition("_")[0].replace("val", "validation")
                losses.plot(epochs, values, dashes, color=colour, label=name, marker="", lw=1.6)
            shares = [line["val_accuracy"] for line in history]
            best = shares.index(max(shares))  # as the loop chooses: the first of the highest
            accuracies.plot(epochs, shares, color=colour, label=label, lw=1.6)
            accuracies.plot(epochs[best], shares[best], "o", color=colour)
        losses.set(title="Loss, nats an image")
        accuracies.set(xlabel="epoch", title="Validation accuracy (dot: the weights kept)")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
        (accuracies if several else losses).legend()
        plt.close(figure)
    return figure


def per_class_accuracy(run: "Run") -> Figure:
    """Test accuracy of each class with its 95% interval, best class at the top."""
    shares = {row.name: row.accuracy for row in run.record.metrics.per_class if row.accuracy}
    rows = sorted(shares.items(), key=lambda row: row[1].value)
    values = np.array([share.value for _, share in rows])
    ends = [[share.low for _, share in rows], [share.high for _, share in rows]]
    errors = np.abs(ends - values)
    with style():
        height = 0.8 + 0.2 * len(rows)
        figure, axes = plt.subplots(figsize=(WIDTH, min(height, 12)), layout="constrained")
        axes.errorbar(values, range(len(rows)), xerr=errors, fmt="o", ms=4, lw=1.2)
        mean = run.record.metrics.test_accuracy.value
        axes.axvline(mean, color=INK, ls=":", lw=1)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlabel="test accuracy (dotted: all classes)")
        plt.close(figure)
    return figure


def image_grid(
    images: Sequence[npt.NDArray[Any]], titles: Sequence[str] | None = None, *, columns: int = 5
) -> Figure:
    """Images (H, W, 3), bytes or floats in [0, 1], in rows of ``columns``, each with its title."""
    rows = -(-len(images) // columns)
    with style():
        side = min(1.5, WIDTH / columns)
        size = (side * columns, (side + (0.22 if titles else 0)) * rows)
        figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.axis("off")
            if place < len(images):
                axes.imshow(images[place], interpolation="nearest")
                if titles:
                    axes.set_title(titles[place], fontsize=9, pad=2)
        figure.tight_layout(pad=0.25)
        plt.close(figure)
    return figure


def class_examples(images: Any, labels: Any, class_names: Sequence[str], count: int = 10) -> Figure:
    """The first ``count`` images of each class, a row a class (the thesis's Figure 7.1)."""
    labels = np.asarray(labels)
    with style():
        size = (WIDTH, (WIDTH - 1) / count * len(class_names))
        figure, grid = plt.subplots(len(class_names), count, figsize=size, squeeze=False)
        for label, row in enumerate(grid):
            chosen = np.flatnonzero(labels == label)[:count]
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            for axes, place in zip(row, chosen, strict=False):
                axes.imshow(images[place], interpolation="nearest")
            row[0].set_ylabel(class_names[label], rotation=0, ha="right", va="center")
        figure.tight_layout(pad=0.25)
        plt.close(figure)
    return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]
