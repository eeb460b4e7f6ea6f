"""Every figure can be read on a phone and in print: drawn from what is kept, and measured."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import attnlib as al
from attnlib import plotting
from attnlib.compare import comparison, error_overlap, paired_tests, reference_runs
from attnlib.compare import figures as compare_figures
from attnlib.cost import figures as cost_figures
from attnlib.cost import scaling
from attnlib.data.datasets import CIFAR10_CLASSES
from attnlib.explain import figures as explain_figures
from attnlib.explain.faithfulness import Curves
from attnlib.human import figures as human_figures
from attnlib.human import run_study
from attnlib.human.records import read_votes_study
from attnlib.plotting import Drawing
from attnlib.records.measurements import read_measurements
from attnlib.thesis import figures as thesis_figures
from attnlib.thesis import scoreboard

ROOT = Path(__file__).parents[2]
COLUMN = 328  # pixels that a page gives a figure on a phone 360 wide
SMALLEST = 8.9  # pixels of a letter's size that can be read
PAPER = (6.8, 8.2)  # inches, at most, of a figure on A4: book/_static/print.css
PRINTED = 6.0  # points that can be read on paper
MARGIN = 0.2  # inches that notebooks add to a figure's width
MODULES = (plotting, compare_figures, cost_figures, explain_figures, human_figures, thesis_figures)
KINDS = ("mean", "head 1", "max", "distillation", "rollout", "gradient")
NETWORKS = ("DeiT, as is", "ViT, as is", "ResNet, as is", "ResNet, chained")


def measure(figure: Figure) -> tuple[float, float, float]:
    """Points of the smallest letters, and width and height in inches as notebooks save it."""
    FigureCanvasAgg(figure).draw()
    box = figure.get_tightbbox()
    assert box is not None
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    return min(text.get_fontsize() for text in texts), box.width + MARGIN, box.height + MARGIN


def smallest_text(figure: Figure) -> float:
    """Pixels of the smallest letters when the figure fills a phone's column."""
    points, width, _ = measure(figure)
    return points / 72 * COLUMN / max(width, COLUMN / figure.dpi)  # no picture is enlarged


def smallest_print(figure: Figure) -> float:
    """Points of the smallest letters on paper."""
    points, width, height = measure(figure)
    return points * min(1, PAPER[0] / width, PAPER[1] / height)


@pytest.fixture(scope="module")
def drawings() -> dict[str, Callable[[], Figure]]:
    """How each figure is drawn, with what the book draws it of or the like."""
    runs = al.list_runs(ROOT / "results")
    rows = reference_runs.find_rows(reference_runs.read_table(), runs)
    answers = comparison.compare_runs({run.name: run.path for run in runs})
    first, second = answers.pair
    missed = paired_tests.error_sets(answers.correct(first), answers.correct(second)).only_b[:8]
    params = run_study.StudyParams.from_params()
    study = run_study.run_study(params, note=lambda *_: None)
    systems, votes = run_study.figure_systems(study, params), read_votes_study([])
    kept = ROOT / "results" / "measurements"
    cost, passes = (read_measurements(kept / f"{k}-cpu.json").rows for k in ("cost", "scaling"))
    lines = scoreboard.judge_all(scoreboard.gather(ROOT / "results", ROOT / "none"))
    epochs = [SimpleNamespace(**line) for line in runs[0].history]
    images, planes = torch.rand(12, 3, 32, 32), torch.rand(12, 32, 32)
    pixels = (images * 255).byte().permute(0, 2, 3, 1).numpy()
    curve = np.linspace(0, 1, 9)
    curves = {kind: Curves(curve, curve[None], curve[None]) for kind in (*KINDS, "random")}
    layers = {f"layer{k}.1.conv2": torch.rand(8, 4, 4) for k in range(4)}
    drawn: dict[Callable[..., Figure], Callable[[], Figure]] = {
        plotting.learning_curves: lambda: plotting.learning_curves(runs[0]),
        plotting.epoch_curves: lambda: plotting.epoch_curves(epochs),
        plotting.per_class_accuracy: lambda: plotting.per_class_accuracy(runs[0]),
        plotting.image_grid: lambda: plotting.image_grid(pixels, ["original"] + 11 * ["epoch 19"]),
        plotting.class_examples: lambda: plotting.class_examples(
            pixels, np.arange(12) % 10, CIFAR10_CLASSES
        ),
        cost_figures.speeds: lambda: cost_figures.speeds(cost),
        cost_figures.memory: lambda: cost_figures.memory(cost),
        cost_figures.scaling: lambda: cost_figures.scaling(passes, scaling.exponents(passes)),
        compare_figures.confusions: lambda: compare_figures.confusions(answers, first, second),
        compare_figures.class_differences: lambda: compare_figures.class_differences(
            paired_tests.class_tests(answers, first, second), first, second
        ),
        compare_figures.answered_images: lambda: compare_figures.answered_images(
            answers, None, missed, first, second
        ),
        human_figures.agreement_with_people: lambda: human_figures.agreement_with_people(
            study, systems
        ),
        human_figures.shape_bias_by_category: lambda: human_figures.shape_bias_by_category(
            study, systems
        ),
        human_figures.protocol_beside_gaps: lambda: human_figures.protocol_beside_gaps(study),
        human_figures.accuracy_by_uncertainty: lambda: human_figures.accuracy_by_uncertainty(votes),
        human_figures.disputed_images: lambda: human_figures.disputed_images(votes, None),
        human_figures.cue_conflicts: human_figures.cue_conflicts,
        compare_figures.accuracies: lambda: compare_figures.accuracies(rows),
        compare_figures.differences: lambda: compare_figures.differences(
            reference_runs.answer(rows)
        ),
        compare_figures.overlaps: lambda: compare_figures.overlaps(
            error_overlap.measure_overlaps(rows)
        ),
        compare_figures.overlap_differences: lambda: compare_figures.overlap_differences(
            error_overlap.reply(rows)
        ),
        thesis_figures.verdicts_by_kind: lambda: thesis_figures.verdicts_by_kind(
            scoreboard.count_verdicts(lines)
        ),
        explain_figures.map_grid: lambda: explain_figures.map_grid(
            images[:2], ["flower: daisy 97%", "china: lakeside 31%"], dict.fromkeys(KINDS, planes)
        ),
        explain_figures.layers_by_heads: lambda: explain_figures.layers_by_heads(
            images[0], dict.fromkeys(("head 1", "head 2", "head 3", "mean", "rollout"), planes)
        ),
        explain_figures.faithfulness_curves: lambda: explain_figures.faithfulness_curves(curves),
        explain_figures.heads_by_layer: lambda: explain_figures.heads_by_layer(
            {"entropy, nats": [[1.0, 2.0]], "distance, patches": [[1.0, 2.0]]}, 3
        ),
        explain_figures.channel_shares: lambda: explain_figures.channel_shares(
            [np.full((8, count), 1 / count) for count in (64, 128, 256, 512)]
        ),
        explain_figures.feature_grid: lambda: explain_figures.feature_grid(layers),
        explain_figures.dull_by_depth: lambda: explain_figures.dull_by_depth(
            dict.fromkeys(NETWORKS, curve), 0.1
        ),
        explain_figures.similarity_grid: lambda: explain_figures.similarity_grid(
            {
                ("untaught DeiT-T", "teacher"): pd.DataFrame(np.eye(12, 5)),
                ("taught DeiT-T", "teacher"): pd.DataFrame(np.eye(12, 5)),
                ("taught DeiT-T", "untaught DeiT-T"): pd.DataFrame(np.eye(12)),
            }
        ),
    }
    return {draw.__name__: how for draw, how in drawn.items()}


def test_every_figure_is_looked_at(drawings: dict[str, Callable[[], Figure]]):
    figures = {
        name
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        and inspect.signature(function).return_annotation in (Figure, Drawing, "Figure")
    }  # fmt: skip
    assert figures == drawings.keys()


def test_letters_of_every_figure_can_be_read_on_a_phone(drawings: dict[str, Callable[[], Figure]]):
    sizes = {name: smallest_text(draw()) for name, draw in drawings.items()}
    assert {name: size for name, size in sizes.items() if size < SMALLEST} == {}


def test_letters_of_every_figure_can_be_read_in_print(drawings: dict[str, Callable[[], Figure]]):
    sizes = {name: smallest_print(draw()) for name, draw in drawings.items()}
    assert {name: size for name, size in sizes.items() if size < PRINTED} == {}


def test_small_letters_and_wide_figures_are_seen():
    figure, axes = plt.subplots(figsize=(plotting.WIDTH, 2))
    axes.set_title("small", fontsize=6)
    assert smallest_text(figure) < SMALLEST
    wide, _ = plt.subplots(figsize=(8, 2))
    assert smallest_text(wide) < SMALLEST
    high, _ = plt.subplots(figsize=(plotting.WIDTH, 20))
    assert smallest_print(high) < PRINTED
    plt.close("all")
