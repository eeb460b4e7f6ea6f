"""Figures of attention and features. Each returns a figure; none saves or shows it."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from attnlib.faithfulness import Curves
from attnlib.plots import COLOURS, INK, style

Pixels = npt.NDArray[Any]
MARKERS = "os^Dv"
DASHES = ("-", "--", "-.", ":")


def overlay(image: Tensor, plane: Tensor, strength: float = 0.65) -> Pixels:
    """A map in colours (viridis, dark to bright) over the grey image: (3, H, W), (H, W) -> RGB.

    The map is stretched from its least value to its largest; a constant one is dark.
    """
    low, high = float(plane.min()), float(plane.max())
    shares = (plane.cpu().numpy() - low) / max(high - low, 1e-12)
    colours = plt.get_cmap("viridis")(shares)[..., :3]
    grey = image.mean(dim=0).clamp(0, 1).cpu().numpy()[..., None]
    return (1 - strength) * grey + strength * colours


def map_grid(
    images: Tensor, names: Sequence[str], columns: Mapping[str, Tensor], *, width: float = 1.15
) -> Figure:
    """Each image with its maps, a row an image: (B, 3, H, W), and (B, H, W) for each column."""
    with style():
        size = (width * (1 + len(columns)), (width + 0.28) * len(images))
        figure, grid = plt.subplots(len(images), 1 + len(columns), figsize=size, squeeze=False)
        for row, (image, name) in enumerate(zip(images, names, strict=True)):
            grid[row][0].imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy())
            grid[row][0].set_title(name, fontsize=7, pad=2)
            for axes, (title, planes) in zip(grid[row][1:], columns.items(), strict=True):
                axes.imshow(overlay(image, planes[row]))
                axes.set_title(title if row == 0 else "", fontsize=7, pad=2)
        _bare(grid)
        figure.tight_layout(pad=0.3)
        plt.close(figure)
    return figure


def layers_by_heads(image: Tensor, planes: Mapping[str, Sequence[Tensor]]) -> Figure:
    """One image's maps: a column for each entry of ``planes``, by its name, a row a layer."""
    depth = max(len(column) for column in planes.values())
    with style():
        size = (0.95 * len(planes) + 0.3, 0.93 * depth + 0.2)
        figure, grid = plt.subplots(depth, len(planes), figsize=size, squeeze=False)
        for axes_column, (name, column) in zip(grid.T, planes.items(), strict=True):
            for axes, plane in zip(axes_column, column, strict=True):
                axes.imshow(overlay(image, plane))
            axes_column[0].set_title(name, fontsize=8, pad=3)
        for layer, axes in enumerate(grid[:, 0]):
            axes.set_ylabel(f"{layer + 1}", rotation=0, ha="right", va="center")
        _bare(grid)
        figure.tight_layout(pad=0.2)
        plt.close(figure)
    return figure


def faithfulness_curves(curves: Mapping[str, Curves]) -> Figure:
    """Mean deletion and insertion curves, a line for each kind of map."""
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0), layout="constrained", sharey=True)
        for place, (kind, each) in enumerate(curves.items()):
            options = {
                "color": INK if kind in ("random", "centre") else COLOURS[place % len(COLOURS)],
                "ls": DASHES[place // len(COLOURS) + (kind == "centre")],
                "marker": MARKERS[place % len(MARKERS)],
                "markevery": 4,
                "ms": 3.5,
                "lw": 1.4,
                "label": kind,
            }
            axes[0].plot(each.shares, each.deletion.mean(axis=0), **options)
            axes[1].plot(each.shares, each.insertion.mean(axis=0), **options)
        axes[0].set(title="Deletion: low is good", xlabel="pixels deleted")
        axes[1].set(title="Insertion: high is good", xlabel="pixels inserted")
        axes[0].set_ylabel("probability of the class")
        for each_axes in axes:
            each_axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes[0].legend(fontsize=7, ncols=2)
        plt.close(figure)
    return figure


def heads_by_layer(values: Mapping[str, Sequence[Sequence[float]]], limit: float) -> Figure:
    """Numbers of each head (dots) and their mean (line) by layer, a panel an entry of ``values``.

    ``limit`` is where a uniform row would be, in the first panel.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(values), figsize=(3.6 * len(values), 2.7), layout="constrained", squeeze=False
        )
        for axes, (name, layers) in zip(grid[0], values.items(), strict=True):
            for layer, heads in enumerate(layers):
                axes.plot([layer + 1] * len(heads), heads, "o", ms=4, color=COLOURS[0], alpha=0.8)
            means = [float(np.mean(heads)) for heads in layers]
            axes.plot(range(1, len(layers) + 1), means, color=COLOURS[1], lw=1.4)
            axes.set(xlabel="layer", title=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(bottom=0)
        grid[0][0].axhline(limit, color=INK, ls=":", lw=1)
        plt.close(figure)
    return figure


def attended_channels(
    image: Tensor, weights: Sequence[Tensor], features: Sequence[Tensor], count: int = 4
) -> Figure:
    """The channels that AtResNet attends to most, a row a stage, with the maps that they carry.

    Args:
        image: (3, H, W).
        weights: One (C,) a stage, mean over heads.
        features: One (C, rows, columns) a stage.
        count: Channels of a stage that are drawn.
    """
    with style():
        size = (1.1 * (count + 1), 1.32 * len(weights))
        figure, grid = plt.subplots(len(weights), count + 1, figsize=size, squeeze=False)
        for stage, (row, shares, planes) in enumerate(zip(grid, weights, features, strict=True)):
            row[0].imshow(image.permute(1, 2, 0).clamp(0, 1).cpu().numpy())
            row[0].set_title(f"stage {stage + 1}: 1/{len(shares)} each", fontsize=6.5, pad=2)
            for axes, channel in zip(row[1:], shares.argsort(descending=True), strict=False):
                axes.imshow(planes[channel].cpu().numpy(), cmap="gray", interpolation="nearest")
                times = float(shares[channel]) * len(shares)
                axes.set_title(f"channel {int(channel)}: {times:.1f} x", fontsize=6.5, pad=2)
        _bare(grid)
        figure.tight_layout(pad=0.3)
        plt.close(figure)
    return figure


def feature_grid(features: Mapping[str, Tensor], channels: int = 8) -> Figure:
    """The first channels of each layer in grey, a row a layer: (C, rows, columns) each.

    Each map is stretched from its least value to its largest, as in the published pictures.
    """
    with style():
        size = (0.8 * channels + 0.9, 0.82 * len(features))
        figure, grid = plt.subplots(len(features), channels, figsize=size, squeeze=False)
        for row, (name, planes) in zip(grid, features.items(), strict=True):
            for axes, plane in zip(row, planes, strict=False):
                axes.imshow(plane.float().cpu().numpy(), cmap="gray", interpolation="nearest")
            row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
        _bare(grid)
        figure.tight_layout(pad=0.2)
        plt.close(figure)
    return figure


def dull_by_depth(shares: Mapping[str, Sequence[float]], threshold: float) -> Figure:
    """Share of dull maps from the first layer to the last, a line a network."""
    with style():
        figure, axes = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
        for place, (name, values) in enumerate(shares.items()):
            depth = np.linspace(0, 1, len(values)) if len(values) > 1 else [0.0]
            axes.plot(depth, values, DASHES[place // len(COLOURS)], lw=1.5, ms=4, label=name,
                      color=COLOURS[place % len(COLOURS)],
                      marker=MARKERS[place % len(MARKERS)])  # fmt: skip
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlabel="depth, from the first layer drawn (0) to the last (1)", xlim=(-0.02, 1.02))
        axes.set_ylim(0, max(0.1, 1.1 * max(max(values) for values in shares.values())))
        axes.set_ylabel(f"maps with range under {threshold:g}")
        axes.legend(fontsize=7)
        plt.close(figure)
    return figure


def _bare(grid: Any) -> None:
    for axes in np.ravel(grid):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
