"""Figures of the reference runs: their accuracies, and the differences that decide claims."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from attnlib.plots import COLOURS, INK, WIDTH, style
from attnlib.reference import Answer, Row


def accuracies(rows: Mapping[str, Row]) -> Figure:
    """Test accuracy of each row with its interval; several seeds as dots of their own."""
    made = [row for row in rows.values() if row.runs]
    made.sort(key=lambda row: row.accuracy.value)
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.55 * len(made)), layout="constrained")
        for place, row in enumerate(made):
            share = row.accuracy
            axes.plot([share.low, share.high], [place, place], color=COLOURS[0], lw=1.6)
            axes.plot(share.value, place, "o", color=COLOURS[0], ms=5)
            for run in row.runs if len(row.runs) > 1 else ():
                one = run.record["metrics"]["test_accuracy"]["value"]
                axes.plot(one, place + 0.18, "|", color=INK, ms=7)
        axes.set_yticks(range(len(made)), [_broken(row.title) for row in made], fontsize=9)
        axes.set_ylim(-0.6, len(made) - 0.3)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("test accuracy, 95% interval")
        plt.close(figure)
    return figure


def differences(answers: Sequence[Answer]) -> Figure:
    """The difference in accuracy behind each claim, filled where the corrected test is sure."""
    made = [answer for answer in answers if answer.difference is not None][::-1]
    with style():
        figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.55 * len(made)), layout="constrained")
        axes.axvline(0, color=INK, lw=1)
        for place, (_, gap, _, verdict) in enumerate(made):
            assert gap is not None
            face = "none" if verdict == "not decided" else COLOURS[1]
            axes.plot([100 * gap.low, 100 * gap.high], [place] * 2, color=COLOURS[1], lw=1.6)
            axes.plot(100 * gap.value, place, "o", mfc=face, mec=COLOURS[1], ms=6)
        names = [_broken(a.claim.text) for a in made]
        axes.set_yticks(range(len(made)), names, fontsize=9)
        axes.set_ylim(-0.6, len(made) - 0.4)
        axes.set_xlabel("difference in test accuracy, points;\n95% interval")
        plt.close(figure)
    return figure


def _broken(title: str) -> str:
    """A long name on several lines."""
    for mark in (", ", " - "):
        title = title.replace(mark, mark.rstrip() + "\n", 1)
    return "\n".join(textwrap.fill(line, 26) for line in title.splitlines())
