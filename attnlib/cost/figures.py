"""Figures of cost: speed by batch size, memory with and without autograd, and the scaling law."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from attnlib.cost.benchmark import title
from attnlib.cost.scaling import FIT_FROM, LAYER_TITLES
from attnlib.plotting import COLOURS, INK, PAPER, WIDTH, figure_text, style, subplots
from attnlib.records.measurements import Row, select
from attnlib.stats.intervals import Estimate

MARKERS = "osD^vPX*<>"  # besides colour, for print and colour-blind readers
GIGA = 1e9


def speeds(rows: Sequence[Row]) -> Figure:
    """Images per second by batch size, one line per model; hollow with quartiles if unstable."""
    measured = [row for row in select(rows, quantity="images_per_second") if row["value"]]
    names = list(dict.fromkeys(title(row) for row in measured))
    with style():
        figure, axes = subplots(figsize=(WIDTH, 3.2 + 0.17 * len(names)), layout="constrained")
        for place, name in enumerate(names):
            own = sorted((r for r in measured if title(r) == name), key=lambda r: r["batch_size"])
            colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
            sizes, values = [r["batch_size"] for r in own], [r["value"] for r in own]
            axes.plot(sizes, values, color=colour, lw=1.5, zorder=1)
            for row in own:
                face = colour if row["stable"] else PAPER
                x = row["batch_size"]
                axes.plot([x, x], [row["low"], row["high"]], color=colour, lw=1.2)
                axes.plot(x, row["value"], marker, mfc=face, mec=colour, ms=5.5, mew=1.3)
            axes.plot([], [], marker + "-", color=colour, label=figure_text(name))
        _logarithmic(axes, sorted({r["batch_size"] for r in measured}))
        axes.set_xlabel("images per batch")
        axes.set_ylabel("images per second")
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        figure.finding = _speed_words(measured)
        plt.close(figure)
    return figure


def memory(rows: Sequence[Row], attention: str = "explicit") -> Figure:
    """Peak memory of each model, under ``no_grad`` above and with autograd on below."""
    panels = {
        "memory_no_grad_bytes": "under no_grad, as inference needs",
        "memory_autograd_bytes": "with autograd on, as in the thesis",
    }
    with style():
        kept = {
            quantity: [
                r for r in select(rows, quantity=quantity, attention=attention) if r["value"]
            ]
            for quantity in panels
        }
        height = 1.4 + 0.62 * max(len(own) for own in kept.values())
        figure, grid = subplots(2, 1, figsize=(WIDTH, height), layout="constrained")
        for axes, (quantity, words), colour in zip(grid, panels.items(), COLOURS, strict=False):
            own = kept[quantity]
            values = [row["value"] / GIGA for row in own]
            axes.barh(range(len(own)), values, color=colour, height=0.65)
            for place, value in enumerate(values):
                axes.annotate(
                    f"{value:.2f}", (value, place), (3, 0), textcoords="offset points",
                    va="center", fontsize=9, color=INK,
                )  # fmt: skip
            axes.set_yticks(
                range(len(own)),
                [figure_text(title(row)).replace(" (", "\n(") for row in own],
                fontsize=9,
            )
            axes.invert_yaxis()
            axes.grid(False)
            axes.margins(x=0.14)
            axes.set_title(words, loc="left")
        grid[-1].set_xlabel("peak memory at batch 128, GB (1e9 bytes)")
        figure.finding = " ".join(
            _memory_words(words, kept[quantity])
            for quantity, words in zip(
                panels, ("Without gradients", "With autograd on"), strict=True
            )
        ).strip()
        plt.close(figure)
    return figure


def scaling(rows: Sequence[Row], fits: dict[tuple[str, str], Estimate]) -> Figure:
    """Time and memory against the number of tokens, with the fitted power laws dashed."""
    panels = {"seconds": ("seconds per pass", 1.0), "peak_bytes": ("peak memory, MB", 1e-6)}
    with style():
        figure, grid = subplots(2, 1, figsize=(WIDTH, 6.4), sharex=True, layout="constrained")
        for axes, (quantity, (words, unit)) in zip(grid, panels.items(), strict=True):
            for place, layer in enumerate(LAYER_TITLES):
                own = select(rows, layer=layer, quantity=quantity)
                if not own:
                    continue
                tokens = np.array([row["tokens"] for row in own], dtype=float)
                values = unit * np.array([row["value"] for row in own])
                colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place]
                fit = fits[layer, quantity]
                label = f"{figure_text(LAYER_TITLES[layer])}: $N^{{{fit.value:.2f}}}$"
                axes.plot(tokens, values, marker, color=colour, ms=5, label=label)
                far = tokens >= FIT_FROM
                middle = np.exp(np.log(tokens[far]).mean()), np.exp(np.log(values[far]).mean())
                axes.plot(tokens, middle[1] * (tokens / middle[0]) ** fit.value, "--",
                          color=colour, lw=1.1)  # fmt: skip
            _logarithmic(axes, [64, 196, 784, 3136])
            axes.set_ylabel(words)
            axes.legend(fontsize=9, loc="upper left")
            axes.set_ylim(top=axes.get_ylim()[1] * 40)  # space for the legend
        grid[-1].set_xlabel("tokens N")
        figure.finding = _exponent_words(fits)
        plt.close(figure)
    return figure


def _speed_words(rows: Sequence[Row]) -> str:
    """Which model is fastest in the smallest and in the largest batch; several if ranges overlap.

    Unstable speeds count with their whole range: what varies may still be faster throughout.
    """
    sizes = sorted({row["batch_size"] for row in rows})
    words = []
    for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
        own = select(rows, batch_size=size)
        reached = max(row["low"] for row in own)
        best = [row for row in own if row["high"] >= reached]
        images = "one image at a time" if size == 1 else f"{size} images per batch"
        if len(best) == len(own) > 1:
            low, high = min(row["low"] for row in own), max(row["high"] for row in own)
            words.append(
                f"With {images}, none of the {len(own)} models can be called the fastest: their "
                f"ranges meet ({low:.3g} to {high:.3g} images/s)."
            )
            continue
        told = " and ".join(
            f"{title(row)} ({row['low']:.3g} to {row['high']:.3g} images/s)" for row in best
        )
        fastest = "is fastest" if len(best) == 1 else "are fastest and can't be told apart"
        words.append(f"With {images}, {told} {fastest}.")
    return " ".join(words)


def _memory_words(words: str, rows: Sequence[Row]) -> str:
    """The most and the least memory among the models; empty if there are not two."""
    if len(rows) < 2:
        return ""
    ordered = sorted(rows, key=lambda row: row["value"])
    least, most = (f"{title(r)} ({r['value'] / GIGA:.2f} GB)" for r in (ordered[0], ordered[-1]))
    return f"{words}, {least} needs the least memory and {most} the most."


def _exponent_words(fits: dict[tuple[str, str], Estimate]) -> str:
    """The exponents of explicit and fused attention, in time and memory."""
    if ("fused", "peak_bytes") not in fits:
        return ""
    power = {key: f"{fit.value:.2f}" for key, fit in fits.items()}
    return (
        f"Time grows with the power {power['explicit', 'seconds']} of the number of tokens where "
        f"attention weights are written to memory and {power['fused', 'seconds']} where they are "
        f"not; memory with the powers {power['explicit', 'peak_bytes']} and "
        f"{power['fused', 'peak_bytes']}."
    )


def _logarithmic(axes: Any, ticks: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(list(ticks), [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    if high / low < 1000:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter("{x:g}")
