"""Figures of attention and features. Each function returns a figure and doesn't save or show it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from attnlib.explain.faithfulness import Curves
from attnlib.plotting import COLOURS, INK, WIDTH, figure_text, style

Picture = npt.NDArray[Any]
LINE_MARKERS = "os^Dv"
FEW = 4  # up to this many columns, names are horizontal
ROOM = 0.22  # inches above a row for its name
DASHES = ("-", "--", "-.", ":")


def overlay(image: Tensor, plane: Tensor, strength: float = 0.65) -> Picture:
    """Overlay a map in colour (viridis) on the grey image: (3, H, W), (H, W) -> RGB.

    The map is scaled from its smallest value to its largest; a constant one is dark.
    """
    low, high = float(plane.min()), float(plane.max())
    shares = (plane.cpu().numpy() - low) / max(high - low, 1e-12)
    colours = plt.get_cmap("viridis")(shares)[..., :3]
    grey = image.mean(dim=0).clamp(0, 1).cpu().numpy()[..., None]
    return (1 - strength) * grey + strength * colours


def map_grid(images: Tensor, names: Sequence[str], columns: Mapping[str, Tensor]) -> Figure:
    """Images with their maps, one row per image: (B, 3, H, W), and (B, H, W) for each column."""
    with style():
        side = min(1.9, WIDTH / (1 + len(columns)))
        turned = 90 if len(columns) > FEW else 0
        below = 1.0 if turned else 0.25
        size = (side * (1 + len(columns)), (side + ROOM) * len(images) + below)
        figure, grid = plt.subplots(len(images), 1 + len(columns), figsize=size, squeeze=False)
        for row, (image, name) in enumerate(zip(images, names, strict=True)):
            grid[row][0].imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy())
            grid[row][0].set_title(figure_text(name, 60), fontsize=9, pad=3, loc="left")
            for axes, (title, planes) in zip(grid[row][1:], columns.items(), strict=True):
                axes.imshow(overlay(image, planes[row]))
                axes.set_xlabel(
                    figure_text(title) * (row == len(images) - 1), fontsize=9, rotation=turned
                )
        _bare(grid)
        _below_names(figure, len(images), below)
        plt.close(figure)
    return figure


def layers_by_heads(image: Tensor, planes: Mapping[str, Sequence[Tensor]]) -> Figure:
    """One image's maps: a column for each entry of ``planes``, a row for each layer."""
    depth = max(len(column) for column in planes.values())
    with style():
        side = min(0.95, (WIDTH - 0.3) / len(planes))
        size = (side * len(planes) + 0.3, side * depth + 0.3)
        figure, grid = plt.subplots(depth, len(planes), figsize=size, squeeze=False)
        for axes_column, (name, column) in zip(grid.T, planes.items(), strict=True):
            for axes, plane in zip(axes_column, column, strict=True):
                axes.imshow(overlay(image, plane))
            turned = 90 if len(planes) > FEW + 1 else 0
            axes_column[0].set_title(figure_text(name), fontsize=9, pad=3, rotation=turned)
        for layer, axes in enumerate(grid[:, 0]):
            axes.set_ylabel(f"{layer + 1}", rotation=0, ha="right", va="center")
        _bare(grid)
        figure.tight_layout(pad=0.2)
        plt.close(figure)
    return figure


def faithfulness_curves(curves: Mapping[str, Curves]) -> Figure:
    """Mean deletion and insertion curves, one line per kind of map."""
    with style():
        figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.4), layout="constrained", sharex=True)
        for place, (kind, each) in enumerate(curves.items()):
            options = {
                "color": INK if kind in ("random", "centre") else COLOURS[place % len(COLOURS)],
                "ls": DASHES[place // len(COLOURS) + (kind == "centre")],
                "marker": LINE_MARKERS[place % len(LINE_MARKERS)],
                "markevery": 4,
                "ms": 3.5,
                "lw": 1.4,
                "label": figure_text(kind),
            }
            axes[0].plot(each.shares, each.deletion.mean(axis=0), **options)
            axes[1].plot(each.shares, each.insertion.mean(axis=0), **options)
        axes[0].set(title="Deletion: low is good", ylabel="probability of the class")
        axes[1].set(title="Insertion: high is good", ylabel="probability of the class")
        axes[1].set_xlabel("pixels deleted, or inserted")
        axes[1].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        plt.close(figure)
    return figure


def heads_by_layer(values: Mapping[str, Sequence[Sequence[float]]], limit: float) -> Figure:
    """Values of each head (dots) and their mean (line) by layer, one panel per entry of ``values``.

    ``limit`` is the value of a uniform row, drawn in the first panel.
    """
    with style():
        figure, grid = plt.subplots(
            len(values), figsize=(WIDTH, 2.6 * len(values)), layout="constrained", squeeze=False
        )
        for axes, (name, layers) in zip(grid[:, 0], values.items(), strict=True):
            for layer, heads in enumerate(layers):
                axes.plot([layer + 1] * len(heads), heads, "o", ms=4, color=COLOURS[0], alpha=0.8)
            means = [float(np.mean(heads)) for heads in layers]
            axes.plot(range(1, len(layers) + 1), means, color=COLOURS[1], lw=1.4)
            axes.set_title(figure_text(name))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            top = max(limit if axes is grid[0, 0] else 0.0, max(map(max, layers)))
            axes.set_ylim(0, 1.06 * top)
        grid[-1][0].set_xlabel("layer")
        grid[0][0].axhline(limit, color=INK, ls=":", lw=1)
        plt.close(figure)
    return figure


def attended_channels(
    image: Tensor, weights: Sequence[Tensor], features: Sequence[Tensor], count: int = 4
) -> Figure:
    """The channels that AtResNet attends to most and their maps, one row per stage.

    Args:
        image: (3, H, W).
        weights: One (C,) per stage, mean over heads.
        features: One (C, rows, columns) per stage.
        count: Number of channels drawn per stage.
    """
    with style():
        side = WIDTH / (count + 1)
        size = (WIDTH, (side + 0.38) * len(weights))
        figure, grid = plt.subplots(len(weights), count + 1, figsize=size, squeeze=False)
        for stage, (row, shares, planes) in enumerate(zip(grid, weights, features, strict=True)):
            row[0].imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy())
            row[0].set_title(f"stage {stage + 1}\n1/{len(shares)} each", fontsize=9, pad=3)
            for axes, channel in zip(row[1:], shares.argsort(descending=True), strict=False):
                axes.imshow(planes[channel].cpu().numpy(), cmap="gray", interpolation="nearest")
                times = float(shares[channel]) * len(shares)
                axes.set_title(f"no. {int(channel)}\n{times:.1f} x", fontsize=9, pad=3)
        _bare(grid)
        figure.tight_layout(pad=0.3)
        plt.close(figure)
    return figure


def feature_grid(features: Mapping[str, Tensor], channels: int = 8) -> Figure:
    """The first channels of each layer in grey, one row per layer: (C, rows, columns) each.

    Each map is scaled from its smallest value to its largest, as in the published pictures.
    """
    with style():
        size = (WIDTH, (WIDTH / channels + ROOM) * len(features))
        figure, grid = plt.subplots(len(features), channels, figsize=size, squeeze=False)
        for row, (name, planes) in zip(grid, features.items(), strict=True):
            for axes, plane in zip(row, planes, strict=False):
                axes.imshow(plane.float().cpu().numpy(), cmap="gray", interpolation="nearest")
            row[0].set_title(figure_text(name), fontsize=9, pad=3, loc="left")
        _bare(grid)
        _below_names(figure, len(features))
        plt.close(figure)
    return figure


def dull_by_depth(shares: Mapping[str, Sequence[float]], threshold: float) -> Figure:
    """Share of dull maps from the first layer to the last, one line per network."""
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
        for place, (name, values) in enumerate(shares.items()):
            depth = np.linspace(0, 1, len(values)) if len(values) > 1 else [0.0]
            axes.plot(depth, values, DASHES[place // len(COLOURS)], lw=1.5, ms=4,
                      label=figure_text(name), color=COLOURS[place % len(COLOURS)],
                      marker=LINE_MARKERS[place % len(LINE_MARKERS)])  # fmt: skip
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlabel="depth: first layer drawn 0, last layer 1", xlim=(-0.02, 1.02))
        axes.set_ylim(0, max(0.1, 1.1 * max(max(values) for values in shares.values())))
        axes.set_ylabel(f"maps with range under {threshold:g}")
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        plt.close(figure)
    return figure


def _bare(grid: Any) -> None:
    for axes in np.ravel(grid):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)


def _below_names(figure: Figure, rows: int, below: float = 0.05) -> None:
    """Place the panels close together, with space for each row's name; ``below`` is in inches."""
    height = figure.get_figheight()
    panel = (height - below) / rows - ROOM
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - ROOM / height, bottom=below / height,
        wspace=0.06, hspace=ROOM / panel,
    )  # fmt: skip
