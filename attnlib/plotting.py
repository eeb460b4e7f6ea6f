"""Figures of runs and images. Each function returns a figure and neither saves nor shows it.

A notebook shows them as SVG: sharp at any size, text that can be selected, and in the book the
colours of the page. Backgrounds are transparent and lines of medium lightness, so that a figure is
legible on a light and on a dark page elsewhere, too.
"""

import functools
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from attnlib import escaping

if TYPE_CHECKING:
    from attnlib.records.run import Run

WIDTH = 4.4  # inches: 9-point letters are then 9 pixels high on a phone 360 pixels wide
INK = "#757575"  # contrast of 4.6 on white
PAPER = "white"  # inside hollow marks, over lines
LONGEST = 40  # letters of a name; longer names are shortened in the middle
TICK_LETTERS = 30  # letters of a name beside an axis
CLASSES_WITH_IMAGES = 20  # rows of example images: 200 panels take some seconds
CLASSES_WITH_ACCURACY = 40  # rows that fit on a page
FONT = "DejaVu Sans"  # comes with Matplotlib
FALLBACK_FONTS = (  # for characters it lacks, mainly Chinese, Japanese and Korean
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "AR PL UMing CN",
    "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "SimHei",
    "Yu Gothic", "Malgun Gothic", "Arial Unicode MS", "Unifont", "Noto Sans Devanagari",
    "Noto Sans Thai",
)  # fmt: skip
COLOURS = ("#3b82c4", "#d9702e", "#3f9a6b", "#a565c0", "#b08a1e")
STYLE: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.dpi": 220,  # twice the pixels that a page shows
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


SVG_STYLE: dict[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": "attnlib"}


class Drawing(Figure):
    """A Matplotlib figure that notebooks show as SVG, and that can say what it shows.

    Attributes:
        finding: What is seen, in a sentence or two with its numbers; the book puts it before the
            figure's caption and into its alternative text.
    """

    finding: str = ""

    def _repr_svg_(self) -> tuple[str, dict[str, str]]:
        """The figure for a notebook, and the finding as the output's metadata."""
        written = StringIO()
        with plt.rc_context(cast(Any, SVG_STYLE)):
            whole: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.02}
            self.savefig(written, format="svg", metadata={"Date": None}, **whole)
        return written.getvalue(), {"finding": self.finding} if self.finding else {}


def subplots(*shape: int, **options: Any) -> tuple[Drawing, Any]:
    """``matplotlib.pyplot.subplots`` of a ``Drawing``."""
    figure, axes = plt.subplots(*shape, FigureClass=Drawing, **options)
    return cast(Drawing, figure), axes


@contextmanager
def style() -> Iterator[None]:
    """Use this book's Matplotlib settings inside the ``with`` block."""
    with plt.rc_context(cast(Any, STYLE | {"font.family": list(_fonts())})):
        yield


def figure_text(value: object, longest: int = LONGEST) -> str:
    r"""Escape text from outside, such as a class name, so that Matplotlib draws it literally.

    Dollar signs start no formula, a leading underscore hides no legend entry, and a character
    that no installed font has is written as its number (``\u732b``).
    """
    words = " ".join(escaping.printable(value).split())
    if len(words) > longest:
        words = f"{words[: longest - longest // 2 - 1]}…{words[-(longest // 2) :]}"
    glyphs = _glyphs()
    drawn = "".join(
        letter if ord(letter) in glyphs else letter.encode("unicode_escape").decode()
        for letter in words
    )
    hidden = "\N{ZERO WIDTH SPACE}" if drawn.startswith("_") else ""
    return hidden + drawn.replace("$", r"\$")


def wrapped_text(value: object, width: int) -> str:
    """``figure_text`` in up to four lines of ``width`` letters, broken at spaces if it has any."""
    lines = textwrap.wrap(
        escaping.printable(value), width, max_lines=4, placeholder="…", break_on_hyphens=False
    )
    return "\n".join(figure_text(line, width) for line in lines)


@functools.cache
def _fonts() -> tuple[str, ...]:
    installed = set(font_manager.get_font_names())
    return (FONT, *(name for name in FALLBACK_FONTS if name in installed))


@functools.cache
def _glyphs() -> frozenset[int]:
    """All characters that at least one of the fonts has."""
    paths = [font_manager.findfont(name) for name in _fonts()]
    return frozenset().union(*(font_manager.get_font(path).get_charmap() for path in paths))


def learning_curves(*runs: "Run") -> Figure:
    """Loss and validation accuracy by epoch; the chosen epoch of each run is marked."""
    return _curves([(run.title, run.history) for run in runs])


def epoch_curves(epochs: Sequence[Any]) -> Figure:
    """``learning_curves`` of a run that is still training."""
    return _curves([("", [vars(epoch) for epoch in epochs])])


def _curves(histories: Sequence[tuple[str, list[dict[str, Any]]]]) -> Figure:
    with style():
        figure, (losses, accuracies) = subplots(
            2, 1, figsize=(WIDTH, 5.2), sharex=True, layout="constrained"
        )
        several = len(histories) > 1
        for (title, history), colour in zip(histories, _colours(len(histories)), strict=True):
            epochs = [line["epoch"] for line in history]
            label = figure_text(title, 60) if several else "validation"
            for key, dashes in (("train_loss", "--"), ("val_loss", "-")):
                values = [line[key] for line in history]
                name = None if several else key.partition("_")[0].replace("val", "validation")
                losses.plot(epochs, values, dashes, color=colour, label=name, marker="", lw=1.6)
            shares = [line["val_accuracy"] for line in history]
            best = shares.index(max(shares))  # as in the training loop: the first of the highest
            accuracies.plot(epochs, shares, color=colour, label=label, lw=1.6)
            accuracies.plot(epochs[best], shares[best], "o", color=colour)
        losses.set(title="Loss, nats an image")
        accuracies.set(xlabel="epoch", title="Validation accuracy (dot: the weights kept)")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
        (accuracies if several else losses).legend()
        if not several and histories:
            figure.finding = _curve_words(histories[0][1])
        plt.close(figure)
    return figure


def _curve_words(history: list[dict[str, Any]]) -> str:
    shares = [line["val_accuracy"] for line in history]
    best = max(shares)
    return (
        f"Validation accuracy is {shares[0]:.1%} after the first epoch and at its best, "
        f"{best:.1%}, after epoch {history[shares.index(best)]['epoch']} of {history[-1]['epoch']}."
    )


def per_class_accuracy(run: "Run") -> Figure:
    """Test accuracy of each class with its 95% interval, best class at the top.

    With more than 40 classes, the best 20 and the worst 20 are drawn, and the title says so.
    """
    shares = {row.name: row.accuracy for row in run.record.metrics.per_class if row.accuracy}
    rows = sorted(shares.items(), key=lambda row: row[1].value)
    if some := len(rows) > CLASSES_WITH_ACCURACY:
        half = CLASSES_WITH_ACCURACY // 2
        rows = [*rows[:half], *rows[-half:]]
    values = np.array([share.value for _, share in rows])
    ends = [[share.low for _, share in rows], [share.high for _, share in rows]]
    errors = np.abs(ends - values)
    with style():
        height = 0.8 + 0.2 * len(rows)
        figure, axes = subplots(figsize=(WIDTH, height), layout="constrained")
        axes.errorbar(values, range(len(rows)), xerr=errors, fmt="o", ms=4, lw=1.2)
        mean = run.record.metrics.test_accuracy.value
        axes.axvline(mean, color=INK, ls=":", lw=1)
        axes.set_yticks(range(len(rows)), [figure_text(name, TICK_LETTERS) for name, _ in rows])
        if some:
            axes.set_title(f"best {half} and worst {half} of {len(shares):,} classes")
            axes.axhline(half - 0.5, color=INK, lw=0.8)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlabel="test accuracy (dotted: all classes)")
        figure.finding = (
            f"Of all test images {mean:.1%} are recognised: {values[-1]:.1%} in the best class, "
            f"{rows[-1][0]}, and {values[0]:.1%} in the worst, {rows[0][0]}."
        )
        plt.close(figure)
    return figure


def image_grid(
    images: Sequence[npt.NDArray[Any]],
    titles: Sequence[str] | None = None,
    *,
    columns: int = 5,
    finding: str = "",
) -> Figure:
    """Images (H, W, 3), bytes or floats in [0, 1], in rows of ``columns``, each with its title.

    The figure takes its ``finding`` from its caller, who knows what the images are.
    """
    rows = -(-len(images) // columns)
    with style():
        side = min(1.5, WIDTH / columns)
        size = (side * columns, (side + (0.22 if titles else 0)) * rows)
        figure, grid = subplots(rows, columns, figsize=size, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.axis("off")
            if place < len(images):
                axes.imshow(images[place], interpolation="nearest")
                if titles:
                    axes.set_title(figure_text(titles[place]), fontsize=9, pad=2)
        figure.finding = finding
        figure.tight_layout(pad=0.25)
        plt.close(figure)
    return figure


def class_examples(images: Any, labels: Any, class_names: Sequence[str], count: int = 10) -> Figure:
    """The first ``count`` images of each class, one row per class (the thesis's Figure 7.1).

    With more than 20 classes, the first 20 are drawn, and the title says so.
    """
    labels = np.asarray(labels)
    rows = min(len(class_names), CLASSES_WITH_IMAGES)
    with style():
        size = (WIDTH, (WIDTH - 1) / count * rows + 0.3 * (rows < len(class_names)))
        figure, grid = subplots(rows, count, figsize=size, squeeze=False)
        for label, row in enumerate(grid):
            chosen = np.flatnonzero(labels == label)[:count]
            for axes in row:
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            for axes, place in zip(row, chosen, strict=False):
                axes.imshow(images[place], interpolation="nearest")
            name = wrapped_text(class_names[label], 20)
            row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        if rows < len(class_names):
            figure.suptitle(f"The first {rows} of {len(class_names):,} classes", fontsize=10)
        counts = np.bincount(labels, minlength=len(class_names))
        figure.finding = (
            f"{len(labels):,} training images of {len(class_names):,} classes, between "
            f"{counts.min():,} and {counts.max():,} of each."
        )
        figure.tight_layout(pad=0.25)
        plt.close(figure)
    return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]
