"""Figures of attention and features. Each function returns a figure and doesn't save or show it.

Its ``finding`` is computed from what is drawn.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from attnlib.explain.faithfulness import BASELINES, Curves, compare_maps, tell_maps
from attnlib.explain.feature_maps import mean_range
from attnlib.plotting import COLOURS, INK, WIDTH, Drawing, figure_text, style, subplots

if TYPE_CHECKING:
    import pandas as pd

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


def map_grid(images: Tensor, names: Sequence[str], columns: Mapping[str, Tensor]) -> Drawing:
    """Images with their maps, one row per image: (B, 3, H, W), and (B, H, W) for each column."""
    with style():
        side = min(1.9, WIDTH / (1 + len(columns)))
        turned = 90 if len(columns) > FEW else 0
        below = 1.0 if turned else 0.25
        size = (side * (1 + len(columns)), (side + ROOM) * len(images) + below)
        figure, grid = subplots(len(images), 1 + len(columns), figsize=size, squeeze=False)
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
    figure.finding = _half_words(columns)
    return figure


def layers_by_heads(image: Tensor, planes: Mapping[str, Sequence[Tensor]]) -> Drawing:
    """One image's maps: a column for each entry of ``planes``, a row for each layer."""
    depth = max(len(column) for column in planes.values())
    with style():
        side = min(0.95, (WIDTH - 0.3) / len(planes))
        size = (side * len(planes) + 0.3, side * depth + 0.3)
        figure, grid = subplots(depth, len(planes), figsize=size, squeeze=False)
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
    figure.finding = _change_words(planes)
    return figure


def faithfulness_curves(curves: Mapping[str, Curves]) -> Drawing:
    """Mean deletion and insertion curves, one line per kind of map."""
    with style():
        figure, axes = subplots(2, 1, figsize=(WIDTH, 6.4), layout="constrained", sharex=True)
        for place, (kind, each) in enumerate(curves.items()):
            options = {
                "color": INK if kind in BASELINES else COLOURS[place % len(COLOURS)],
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
    figure.finding = _areas_words(curves)
    return figure


def heads_by_layer(values: Mapping[str, Sequence[Sequence[float]]], limit: float) -> Drawing:
    """Values of each head (dots) and their mean (line) by layer, one panel per entry of ``values``.

    ``limit`` is the value of a uniform row, drawn in the first panel.
    """
    with style():
        figure, grid = subplots(
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
    figure.finding = " ".join(
        f"Mean {name}: {np.mean(layers[0]):.2f} in layer 1, {np.mean(layers[-1]):.2f} in layer "
        f"{len(layers)}."
        for name, layers in values.items()
    )
    return figure


def channel_shares(stages: Sequence[Picture]) -> Drawing:
    """Attention to channels in each stage, strongest channel first, a line for each image.

    Args:
        stages: One (S, C) per stage, mean over heads; each row sums to one.
    """
    with style():
        figure, axes = subplots(2, 2, figsize=(WIDTH, 4.4), layout="constrained", sharey=True)
        for panel, (stage, shares) in zip(axes.flat, enumerate(stages, start=1), strict=True):
            ordered = np.sort(shares, axis=1)[:, ::-1] * shares.shape[1]
            places = (np.arange(shares.shape[1]) + 0.5) / shares.shape[1]
            panel.plot(places, ordered.T, color=COLOURS[0], lw=0.7, alpha=0.6)
            panel.plot(places, ordered.mean(axis=0), color=COLOURS[1], lw=1.8)
            panel.axhline(1, color=INK, ls=":", lw=1)
            panel.set_title(f"stage {stage}: {shares.shape[1]} channels", fontsize=9)
            panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel.set_yscale("symlog", linthresh=1)
            panel.yaxis.set_major_formatter("{x:g}")
        figure.supxlabel("channels, strongest first", fontsize=10, color=INK)
        figure.supylabel("times an equal share", fontsize=10, color=INK)
        plt.close(figure)
    most = [(shares.max(axis=1) * shares.shape[1]).mean() for shares in stages]
    alike = [_alike(shares) for shares in stages]
    figure.finding = (
        f"On an image, the channel attended to most gets {most[0]:.1f} times an equal share in "
        f"stage 1 and {most[-1]:.1f} times in stage {len(most)}, on average over "
        f"{len(stages[0])} images. The shares of two images correlate by {alike[0]:.2f} in "
        f"stage 1 and {alike[-1]:.2f} in stage {len(most)}."
    )
    return figure


def feature_grid(features: Mapping[str, Tensor], channels: int = 8) -> Drawing:
    """The first channels of each layer in grey, one row per layer: (C, rows, columns) each.

    Each map is scaled from its smallest value to its largest, as in the published pictures.
    """
    with style():
        size = (WIDTH, (WIDTH / channels + ROOM) * len(features))
        figure, grid = subplots(len(features), channels, figsize=size, squeeze=False)
        for row, (name, planes) in zip(grid, features.items(), strict=True):
            for axes, plane in zip(row, planes, strict=False):
                axes.imshow(plane.float().cpu().numpy(), cmap="gray", interpolation="nearest")
            row[0].set_title(figure_text(name), fontsize=9, pad=3, loc="left")
        _bare(grid)
        _below_names(figure, len(features))
        plt.close(figure)
    names = list(features)
    first, last = (mean_range(features[name].float()[None]) for name in (names[0], names[-1]))
    figure.finding = (
        f"Nine tenths of the pixels of a map use {first:.0%} of its grey scale in {names[0]} and "
        f"{last:.0%} in {names[-1]}, on average over the channels of each."
    )
    return figure


def dull_by_depth(shares: Mapping[str, Sequence[float]], threshold: float) -> Drawing:
    """Share of dull maps from the first layer to the last, one line per network."""
    with style():
        figure, axes = subplots(figsize=(WIDTH, 3.8), layout="constrained")
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
    most = max(shares, key=lambda name: max(shares[name]))
    figure.finding = (
        f"The largest share of such maps in any layer is {max(shares[most]):.0%}, of {most}."
        if max(shares[most])
        else "No network has such a map in any layer."
    )
    return figure


def similarity_grid(panels: Mapping[tuple[str, str], "pd.DataFrame"]) -> Drawing:
    """CKA by layer for each pair of networks: the layers of the first in rows, first layer on top.

    Raises:
        ValueError: If there is no pair.
    """
    if not panels:
        raise ValueError("panels: expected at least one pair of networks; got none.")
    with style():
        marks = 6 if len(panels) < FEW - 1 else 3  # on an axis, so that numbers stay apart
        tallest = max(len(table) for table in panels.values())
        size = (WIDTH, 0.9 + min(0.2 * tallest, 3.2))
        figure, (line,) = subplots(
            1, len(panels), figsize=size, squeeze=False, layout="constrained"
        )
        for axes, ((first, second), table) in zip(line, panels.items(), strict=True):
            drawn = axes.imshow(table.to_numpy(), vmin=0, vmax=1, cmap="viridis", aspect="auto")
            axes.grid(visible=False)
            for axis, count in ((axes.xaxis, table.shape[1]), (axes.yaxis, table.shape[0])):
                every = range(0, count, 1 + (count - 1) // (6 if axis is axes.yaxis else marks))
                axis.set_ticks([*every], [str(1 + n) for n in every])
            axes.set_xlabel(f"layer of\n{figure_text(second)}")
            axes.set_ylabel(f"layer of\n{figure_text(first)}")
        figure.colorbar(drawn, ax=[*line], label="CKA", fraction=0.04, pad=0.02)
        plt.close(figure)
    means = (
        f"{first} and {second} {table.to_numpy().mean():.3f}"
        for (first, second), table in panels.items()
    )
    figure.finding = f"Mean CKA over pairs of layers: {', '.join(means)}."
    return figure


def half_area(planes: Tensor) -> float:
    """Share of the picture on which half of a map's weight lies: (B, H, W), mean over images.

    Of a uniform map it is one half.
    """
    weights = planes.flatten(1).float()
    weights = weights.sort(dim=1, descending=True).values
    reached = weights.cumsum(dim=1) >= weights.sum(dim=1, keepdim=True) / 2
    pixels = reached.float().argmax(dim=1) + 1
    return (pixels / weights.shape[1]).mean().item()


def _half_words(columns: Mapping[str, Tensor]) -> str:
    """On how much of the picture half of each map's weight lies."""
    areas = {name: half_area(planes) for name, planes in columns.items()}
    least, most = min(areas, key=areas.__getitem__), max(areas, key=areas.__getitem__)
    if least == most:
        return f"Half of a map's weight lies on {areas[least]:.0%} of the picture for {least}."
    return (
        f"Half of a map's weight lies on {areas[least]:.0%} of the picture for {least}, the most "
        f"concentrated, and on {areas[most]:.0%} for {most}."
    )


def _change_words(planes: Mapping[str, Sequence[Tensor]]) -> str:
    """How much a map has in common with that of the next layer."""
    if min(map(len, planes.values())) < 2:
        return ""
    common = {name: _neighbours(column) for name, column in planes.items()}
    least, most = min(common, key=common.__getitem__), max(common, key=common.__getitem__)
    return (
        f"The correlation of a layer's map with the next layer's is {common[least]:.2f} on average "
        f"for {least} and {common[most]:.2f} for {most}."
    )


def _neighbours(column: Sequence[Tensor]) -> float:
    """Mean correlation of each map with the next; a constant map has none, counted as 0."""
    flat = torch.stack([plane.flatten().float() for plane in column])
    flat = flat - flat.mean(dim=1, keepdim=True)
    flat = torch.nn.functional.normalize(flat, dim=1)
    return (flat[:-1] * flat[1:]).sum(dim=1).mean().item()


def _alike(shares: Picture) -> float:
    """Mean correlation between rows (S, C); a constant row has none, counted as 0."""
    rows = shares - shares.mean(axis=1, keepdims=True)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    count = len(rows)
    return float(((rows @ rows.T).sum() - (rows**2).sum()) / max(1, count * (count - 1)))


def _areas_words(curves: Mapping[str, Curves]) -> str:
    """The map with the best area under each curve, beside the baselines that are there."""
    deletion = {name: float(each.deletion_area.mean()) for name, each in curves.items()}
    insertion = {name: float(each.insertion_area.mean()) for name, each in curves.items()}
    maps = [name for name in curves if name not in BASELINES] or list(curves)
    low, high = min(maps, key=deletion.__getitem__), max(maps, key=insertion.__getitem__)

    def beside(areas: Mapping[str, float]) -> str:
        told = [f"{name} {areas[name]:.3f}" for name in BASELINES if name in areas]
        return f" ({', '.join(told)})" if told else ""

    return (
        f"The smallest area under deletion is that of {low}, {deletion[low]:.3f}"
        f"{beside(deletion)}; the largest under insertion that of {high}, {insertion[high]:.3f}"
        f"{beside(insertion)}."
        f"{_told_words(curves)}"
    )


def _told_words(curves: Mapping[str, Curves]) -> str:
    """Which maps the corrected tests tell from the baselines, where both are there."""
    images = min(len(each.deletion) for each in curves.values())
    if images < 2 or not set(BASELINES) <= set(curves):
        return ""
    lines = tell_maps(compare_maps(curves)).splitlines()
    return "".join(f" {line[0].upper()}{line[1:]}." for line in lines)


def _bare(grid: Any) -> None:
    for axes in np.ravel(grid):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)


def _below_names(figure: Drawing, rows: int, below: float = 0.05) -> None:
    """Place the panels close together, with space for each row's name; ``below`` is in inches."""
    height = figure.get_figheight()
    panel = (height - below) / rows - ROOM
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - ROOM / height, bottom=below / height,
        wspace=0.06, hspace=ROOM / panel,
    )  # fmt: skip
