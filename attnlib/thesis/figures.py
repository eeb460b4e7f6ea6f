"""The scoreboard's figure: verdicts by kind of statement."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from attnlib.plotting import COLOURS, INK, TICK_LETTERS, WIDTH, figure_text, style, subplots
from attnlib.thesis.statements import KINDS

HATCHES = {"corrected": "", "differs": "////", "reproduced": "", "not run": "...."}
SHADES = dict(zip(HATCHES, (COLOURS[1], COLOURS[4], COLOURS[0], "none"), strict=True))


def verdicts_by_kind(counts: pd.DataFrame) -> Figure:
    """Bars of verdicts by kind of statement, from ``count_verdicts``, with hatches."""
    kinds = counts.drop(index="all")
    with style():
        figure, axes = subplots(figsize=(WIDTH, 1.2 + 0.36 * len(kinds)), layout="constrained")
        names = [figure_text(kind, TICK_LETTERS) for kind in kinds.index]
        left = np.zeros(len(kinds))
        for verdict, hatch in HATCHES.items():
            numbers = kinds[verdict].to_numpy()
            axes.barh(
                names, numbers, left=left, label=verdict, color=SHADES[verdict],
                hatch=hatch, edgecolor=INK, linewidth=0.8,
            )  # fmt: skip
            left += numbers
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="statements of the thesis")
        figure.legend(loc="outside upper center", ncols=len(HATCHES), handlelength=1.4,
                      columnspacing=1.0)  # fmt: skip
        figure.finding = _headline(counts)
        plt.close(figure)
    return figure


def _headline(counts: pd.DataFrame) -> str:
    """How many numbers that were measured, and that can be counted, are reproduced."""
    kinds = ("measured", "counted", "setting")
    if any(KINDS[kind] not in counts.index for kind in kinds):
        return ""
    rows = {kind: counts.loc[KINDS[kind], list(HATCHES)] for kind in kinds}
    shares = {kind: f"{row['reproduced']} of {row.sum()}" for kind, row in rows.items()}
    return (
        f"Of the numbers that the thesis measured, {shares['measured']} are reproduced and "
        f"{rows['measured']['not run']} were not run; of those that can be counted, "
        f"{shares['counted']} are reproduced. The settings, {shares['setting']}, say only "
        "that we copied them."
    )
