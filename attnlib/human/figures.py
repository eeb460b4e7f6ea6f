"""Figures of networks and people: the thesis's 8.6 and 8.7, the protocol, and CIFAR-10H.

Each has one column of panels, to be legible on a narrow screen; every system has its own colour
and marker.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from attnlib.catalogue import TITLES
from attnlib.data.datasets import Split
from attnlib.data.open_image import read_image
from attnlib.data.readers import CIFAR10_CLASSES
from attnlib.human.bootstrap import PEOPLE, Interval
from attnlib.human.cifar10h import FIRST, VotesComparison, VotesStudy
from attnlib.human.claims import BOTH
from attnlib.human.decisions import CATEGORIES, read_cues
from attnlib.human.study import NAMES, Measured, Study
from attnlib.plotting import (
    COLOURS,
    INK,
    TICK_LETTERS,
    WIDTH,
    Drawing,
    figure_text,
    style,
    subplots,
)

STIMULI_FOLDER = Path(__file__).with_name("pictures")  # of the cue-conflict images
MARKS = "osD^vP*X<>"
MOST_RUNS = 6  # in a figure of lines
NEARER = {  # direction of people
    "kappa": "more like people →",
    "class_js": "← more like people",
    "inter_js": "← more like people",
}


def agreement_with_people(study: Study, systems: Sequence[Measured]) -> Figure:
    """Kappa and both distances of each system to people; the band is people among themselves."""
    people = study.find(PEOPLE)
    if not people:
        return _say("There are no decisions of people on these images.")
    with style():
        height = 0.75 + 0.36 * len(systems)
        figure, panels = subplots(
            len(NEARER), 1, figsize=(WIDTH, height * len(NEARER)), layout="constrained"
        )
        for panel, (measure, direction) in zip(panels, NEARER.items(), strict=True):
            for place, one in enumerate(systems):
                _draw_interval(panel, one.measures[measure], place, place)
            for one in people:
                band = one.measures[measure]
                panel.axvspan(band.low, band.high, color=INK, alpha=0.25, lw=0)
                panel.axvline(band.value, color=INK, lw=1.2)
            panel.set_yticks(range(len(systems)), [_label(one) for one in systems])
            panel.set_ylim(len(systems) - 0.5, -0.5)
            panel.set_title(NAMES[measure], loc="left")
            panel.set_xlabel(direction, loc="right" if direction.endswith("→") else "left")
            if measure == "kappa":
                panel.set_xlim(left=min(0, panel.get_xlim()[0]))
        figure.finding = _agreement_words(people[0], study)
        plt.close(figure)
    return figure


def shape_bias_by_category(study: Study, systems: Sequence[Measured]) -> Figure:
    """Shape bias by category with intervals; vertical lines are means over all images."""
    shown = [*study.find(PEOPLE), *systems]
    with style():
        step = 0.8 / len(shown)
        figure, axes = subplots(
            figsize=(WIDTH, 1.2 + 0.09 * len(shown) * len(CATEGORIES)), layout="constrained"
        )
        for place, one in enumerate(shown):
            style_of = place - len(study.find(PEOPLE))
            colour = _colour(style_of)
            for row, category in enumerate(CATEGORIES):
                height = row + (place - (len(shown) - 1) / 2) * step
                _draw_interval(axes, one.categories[category], height, style_of, size=3.5)
            bias = one.measures["shape_bias"].value
            label = f"{_label(one, lines=1)}: {bias:.0%}"
            axes.plot([], [], _mark(style_of), color=colour, ms=5, label=label)
            axes.axvline(bias, color=colour, lw=1.2, ls="-" if style_of < 0 else "--")
        for row in range(0, len(CATEGORIES), 2):
            axes.axhspan(row - 0.5, row + 0.5, color=INK, alpha=0.08, lw=0)
        axes.set_yticks(range(len(CATEGORIES)), CATEGORIES)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(CATEGORIES) - 0.5, -0.5))
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("← texture      decided by      shape →")
        figure.legend(loc="outside upper left", ncols=1, fontsize=9, handletextpad=0.3)
        shares = [f"{one.title} {one.measures['shape_bias'].value:.0%}" for one in shown]
        figure.finding = f"Shape bias over all images: {', '.join(shares)}."
        plt.close(figure)
    return figure


def protocol_beside_gaps(study: Study) -> Figure:
    """Differences due to protocol, beside those that the thesis attributes to architecture."""
    measures = ("kappa", "class_js", "inter_js", "shape_bias")
    rows = [one for one in (*study.gaps, *study.shifts) if one.measure == measures[0]]
    if not rows:
        return _say("No network was evaluated by several protocols on these images.")
    with style():
        figure, panels = subplots(
            len(measures),
            1,
            figsize=(WIDTH, (0.7 + 0.2 * len(rows)) * len(measures) + 0.4),
            layout="constrained",
        )
        for panel, measure in zip(panels, measures, strict=True):
            parts = [
                [one for one in findings if one.measure == measure and one.difference]
                for findings in (study.gaps, study.shifts)
            ]
            for place, one in enumerate(parts[0] + parts[1]):
                if one.difference:
                    _draw_interval(panel, one.difference, place, int(place >= len(parts[0])))
            labels = [figure_text(one.text, TICK_LETTERS) for one in parts[0] + parts[1]]
            panel.axvline(0, color=INK, lw=1)
            if parts[0] and parts[1]:
                panel.axhline(len(parts[0]) - 0.5, color=INK, lw=0.8, ls=":")
            panel.set_yticks(range(len(labels)), labels, fontsize=9)
            panel.set_ylim(len(labels) - 0.5, -0.5)
            panel.set_title(f"{NAMES[measure]}: difference", loc="left")
        figure.finding = _protocol_words(study)
        for place, text in enumerate(
            (
                "between networks",
                figure_text(f"{TITLES.get(study.network, study.network)}, protocol alone"),
            )
        ):
            panels[0].plot([], [], _mark(place), color=_colour(place), label=text)
        figure.legend(loc="outside upper left", ncols=1, fontsize=9, handletextpad=0.3)
        plt.close(figure)
    return figure


def accuracy_by_uncertainty(study: VotesStudy) -> Figure:
    """Accuracy of runs by people's agreement, compared with people.

    Of many runs, some are drawn: the most and the least accurate, and others evenly between.
    """
    if not study.people:
        return _say("People's votes are not at hand.")
    study = replace(study, compared=_evenly(study.compared, MOST_RUNS))
    with style():
        height = 3.2 + 0.2 * len(study.compared)
        figure, axes = subplots(figsize=(WIDTH, height), layout="constrained")
        names = [crowd.name for crowd in study.people]
        shares = [crowd.agreement for crowd in study.people]
        axes.plot(shares, "o:", color=INK, label="people: share of the most frequent answer")
        for number, (one, title) in enumerate(zip(study.compared, _titles(study), strict=True)):
            offset = 0.12 * (number - (len(study.compared) - 1) / 2)
            for group in one.groups:
                across = names.index(group.name) + offset
                _draw_interval(axes, group.model, across, number, upright=True)
            axes.plot([], [], _mark(number), color=_colour(number), label=figure_text(title, 60))
        ticks = [f"{figure_text(crowd.name)}\n{crowd.images:,} images" for crowd in study.people]
        axes.set_xticks(range(len(names)), [tick.replace(" ", "\n") for tick in ticks])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylabel("right answers of the model")
        figure.finding = _doubt_words(study)
        figure.legend(loc="outside upper left", ncols=1, fontsize=9, handletextpad=0.3)
        plt.close(figure)
    return figure


def cue_conflicts() -> Figure:
    """The four cue-conflict images that come with attnlib, with their shapes and textures."""
    paths = sorted(STIMULI_FOLDER.glob("*.png"))
    with style():
        size = (WIDTH, WIDTH / len(paths) + 0.4)
        figure, panels = plt.subplots(1, len(paths), figsize=size, layout="constrained")
        for axes, path in zip(panels, paths, strict=True):
            cues = read_cues(path.name)
            axes.imshow(np.asarray(read_image(path)))
            axes.set_title(f"shape {cues.shape}\ntexture {cues.texture}", fontsize=9, pad=3)
            axes.axis("off")
        plt.close(figure)
    return figure


def _evenly(compared: Sequence[VotesComparison], count: int) -> list[VotesComparison]:
    """At most ``count`` runs, evenly from the most to the least accurate."""
    ranked = sorted(compared, key=lambda one: -one.accuracy.value)
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[place] for place in places]


def most_accurate(study: VotesStudy, count: int = 2) -> list[VotesComparison]:
    """The runs that are right most often, best first."""
    return sorted(study.compared, key=lambda one: -one.accuracy.value)[:count]


def disputed_images(study: VotesStudy, split: Split | None) -> Figure:
    """The first images that only one side gets wrong, a row for each side, for the best two runs.

    Above an image its true class and, after >, the wrong answer. Images that ``split`` does not
    hold, or all if it is None, are shown by their positions.
    """
    if not study.compared:
        return _say("No run on CIFAR-10's test images was found.")
    rows, best = [], most_accurate(study)
    for one, run in zip(best, _titles(replace(study, compared=best)), strict=True):
        sides = one.model_alone_wrong, one.majority_alone_wrong
        wrong = "all people right, network wrong", "network right, most frequent answer wrong"
        for words, alone, side in zip(wrong, sides, ("network", "people"), strict=True):
            title = f"{figure_text(run, 60)}:\n{words}, {alone.total:,} images"
            rows.append((title, alone.first, side))
    with style():
        figure = plt.figure(
            FigureClass=Drawing, figsize=(WIDTH, 1.6 * len(rows)), layout="constrained"
        )
        assert isinstance(figure, Drawing)
        for part, (title, images, side) in zip(
            figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True
        ):
            part.suptitle(title, x=0.01, ha="left", fontsize=9)
            panels = part.subplots(1, FIRST)
            for axes in panels:
                axes.axis("off")
            for axes, image in zip(panels, images, strict=False):
                truth, answer = (CIFAR10_CLASSES[k] for k in (image.truth, getattr(image, side)))
                axes.set_title(f"{truth}\n> {answer}", fontsize=9, pad=3)
                picture = split.find(image.image) if split else None
                if picture is None:
                    axes.text(0.5, 0.5, f"image\n{image.image}", ha="center", va="center")
                else:
                    axes.imshow(picture, interpolation="nearest")
        figure.finding = " ".join(
            f"{one.title} is wrong about {one.model_alone_wrong.total:,} images that all people "
            f"name correctly, and right about {one.majority_alone_wrong.total:,} for which their "
            "most frequent answer is wrong."
            for one in best
        )
        plt.close(figure)
    return figure


def _agreement_words(people: Measured, study: Study) -> str:
    """Whose kappa with people is the highest of all networks, beside people among themselves."""
    networks = [one for one in study.systems if one.system != PEOPLE]
    if not networks:
        return ""
    best = max(networks, key=lambda one: np.nan_to_num(one.measures["kappa"].value, nan=-1))
    return (
        f"Of all networks in the tables, {best.title} has the highest kappa with people, "
        f"{best.measures['kappa']}; people reach {people.measures['kappa']} with each other."
    )


def _protocol_words(study: Study) -> str:
    """What the protocol alone does to the inter-class distance, beside the first gap."""
    moved = {(one.measure, one.text): one.difference for one in study.shifts}
    both, gaps = moved.get(("inter_js", BOTH)), [g for g in study.gaps if g.measure == "inter_js"]
    if not (both and gaps and gaps[0].difference):
        return ""
    return (
        f"The protocol alone moves the inter-class distance of "
        f"{TITLES.get(study.network, study.network)} by {both:+}; "
        f"{gaps[0].text.replace(' - ', ' and ')} differ by {gaps[0].difference:+}."
    )


def _doubt_words(study: VotesStudy) -> str:
    """The accuracy of the best run where people agree, and where they are most divided."""
    if not study.compared:
        return ""
    titled = zip(study.compared, _titles(study), strict=True)
    best, title = max(titled, key=lambda pair: pair[0].accuracy.value)
    first, last = best.groups[0], best.groups[-1]
    return (
        f"{title} recognises {first.model.value:.1%} of the images in the group “{first.name}” "
        f"and {last.model.value:.1%} in the group “{last.name}”."
    )


def _titles(study: VotesStudy) -> list[str]:
    """Titles of the runs, without the data set if all have the same."""
    data = {one.title.rpartition(", ")[2] for one in study.compared}
    shared = f", {data.pop()}" if len(data) == 1 and len(study.compared) > 1 else ""
    return [one.title.removesuffix(shared) for one in study.compared]


def _say(words: str) -> Figure:
    """Show a sentence in a figure without data."""
    with style():
        figure, axes = subplots(figsize=(WIDTH, 0.6))  # Jupyter draws no figure without axes
        axes.axis("off")
        axes.text(0.5, 0.5, figure_text(words, 80), ha="center", va="center")
        plt.close(figure)
    return figure


def _draw_interval(
    axes: Axes,
    interval: Interval,
    place: float,
    number: int,
    *,
    upright: bool = False,
    size: float = 5.0,
) -> None:
    """A marker with its interval, at ``place`` on the other axis; nothing if undefined."""
    if np.isnan(interval.value):
        return
    sides = np.nan_to_num([[interval.value - interval.low], [interval.high - interval.value]])
    mark, colour = _mark(number), _colour(number)
    if upright:
        axes.errorbar(place, interval.value, yerr=sides, fmt=mark, color=colour, ms=size, lw=1.2)
    else:
        axes.errorbar(interval.value, place, xerr=sides, fmt=mark, color=colour, ms=size, lw=1.2)


def _label(one: Measured, lines: int = 2) -> str:
    if one.protocol == "not said" or one.system == PEOPLE:
        return figure_text(one.title, TICK_LETTERS)
    between = "\n" if lines == 2 else ", "
    words = (figure_text(text, TICK_LETTERS) for text in (one.title, one.protocol))
    return between.join(words)


def _mark(number: int) -> str:
    return "o" if number < 0 else MARKS[number % len(MARKS)]


def _colour(number: int) -> str:
    return INK if number < 0 else COLOURS[number % len(COLOURS)]
