"""Every figure can be read on a phone and in print: drawn from what is kept, and measured."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import attnlib as al
from attnlib import (
    comparison,
    errors,
    human,
    plots,
    plots_cost,
    plots_errors,
    plots_human,
    plots_reference,
    plots_scoreboard,
    plots_seeing,
    reference,
    scaling,
    scoreboard,
)
from attnlib.data import CIFAR10_CLASSES
from attnlib.faithfulness import Curves
from attnlib.measurements import read_measurements
from attnlib.study_records import read_votes_study

ROOT = Path(__file__).parents[1]
COLUMN = 328  # pixels that a page gives a figure on a phone 360 wide
SMALLEST = 8.9  # pixels of a letter's size that can be read
PAPER = (6.8, 8.2)  # inches, at most, of a figure on A4: book/_static/print.css
PRINTED = 6.0  # points that can be read on paper
MARGIN = 0.2  # inches that notebooks add to a figure's width
MODULES = (plots, plots_cost, plots_errors, plots_human, plots_reference, plots_scoreboard,
           plots_seeing)  # fmt: skip
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
    rows = reference.find_rows(reference.read_table(), runs)
    answers = comparison.compare_runs({run.name: run.path for run in runs})
    first, second = answers.pair
    missed = errors.error_sets(answers.correct(first), answers.correct(second)).only_b[:8]
    params = human.StudyParams.from_params()
    study = human.run_study(params, note=lambda *_: None)
    systems, votes = human.figure_systems(study, params), read_votes_study([])
    kept = ROOT / "results" / "measurements"
    cost, passes = (read_measurements(kept / f"{k}-cpu.json").rows for k in ("cost", "scaling"))
    lines = scoreboard.judge_all(scoreboard.gather(ROOT / "results", ROOT / "none"))
    epochs = [SimpleNamespace(**line) for line in runs[0].history]
    images, planes = torch.rand(12, 3, 32, 32), torch.rand(12, 32, 32)
    pixels = (images * 255).byte().permute(0, 2, 3, 1).numpy()
    curve = np.linspace(0, 1, 9)
    curves = {kind: Curves(curve, curve[None], curve[None]) for kind in (*KINDS, "random")}
    stages = [torch.rand(channels, 4, 4) for channels in (64, 128, 256, 512)]
    layers = {f"layer{k}.1.conv2": torch.rand(8, 4, 4) for k in range(4)}
    drawn: dict[Callable[..., Figure], Callable[[], Figure]] = {
        plots.learning_curves: lambda: plots.learning_curves(runs[0]),
        plots.epoch_curves: lambda: plots.epoch_curves(epochs),
        plots.per_class_accuracy: lambda: plots.per_class_accuracy(runs[0]),
        plots.image_grid: lambda: plots.image_grid(pixels, ["original"] + 11 * ["epoch 19"]),
        plots.class_examples: lambda: plots.class_examples(
            pixels, np.arange(12) % 10, CIFAR10_CLASSES
        ),
        plots_cost.speeds: lambda: plots_cost.speeds(cost),
        plots_cost.memory: lambda: plots_cost.memory(cost),
        plots_cost.scaling: lambda: plots_cost.scaling(passes, scaling.exponents(passes)),
        plots_errors.confusions: lambda: plots_errors.confusions(answers, first, second),
        plots_errors.class_differences: lambda: plots_errors.class_differences(
            errors.class_tests(answers, first, second), first, second
        ),
        plots_errors.answered_images: lambda: plots_errors.answered_images(
            answers, None, missed, first, second
        ),
        plots_human.agreement_with_people: lambda: plots_human.agreement_with_people(
            study, systems
        ),
        plots_human.shape_bias_by_category: lambda: plots_human.shape_bias_by_category(
            study, systems
        ),
        plots_human.protocol_beside_gaps: lambda: plots_human.protocol_beside_gaps(study),
        plots_human.accuracy_by_uncertainty: lambda: plots_human.accuracy_by_uncertainty(votes),
        plots_human.disputed_images: lambda: plots_human.disputed_images(votes, None),
        plots_reference.accuracies: lambda: plots_reference.accuracies(rows),
        plots_reference.differences: lambda: plots_reference.differences(reference.answer(rows)),
        plots_scoreboard.verdicts_by_kind: lambda: plots_scoreboard.verdicts_by_kind(
            scoreboard.count_verdicts(lines)
        ),
        plots_seeing.map_grid: lambda: plots_seeing.map_grid(
            images[:2], ["flower: daisy 97%", "china: lakeside 31%"], dict.fromkeys(KINDS, planes)
        ),
        plots_seeing.layers_by_heads: lambda: plots_seeing.layers_by_heads(
            images[0], dict.fromkeys(("head 1", "head 2", "head 3", "mean", "rollout"), planes)
        ),
        plots_seeing.faithfulness_curves: lambda: plots_seeing.faithfulness_curves(curves),
        plots_seeing.heads_by_layer: lambda: plots_seeing.heads_by_layer(
            {"entropy, nats": [[1.0, 2.0]], "distance, patches": [[1.0, 2.0]]}, 3
        ),
        plots_seeing.attended_channels: lambda: plots_seeing.attended_channels(
            images[0], [torch.rand(len(stage)) for stage in stages], stages
        ),
        plots_seeing.feature_grid: lambda: plots_seeing.feature_grid(layers),
        plots_seeing.dull_by_depth: lambda: plots_seeing.dull_by_depth(
            dict.fromkeys(NETWORKS, curve), 0.1
        ),
    }
    return {draw.__name__: how for draw, how in drawn.items()}


def test_every_figure_is_looked_at(drawings: dict[str, Callable[[], Figure]]):
    figures = {
        name
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        and inspect.signature(function).return_annotation in (Figure, "Figure")
    }  # fmt: skip
    assert figures == drawings.keys()


def test_letters_of_every_figure_can_be_read_on_a_phone(drawings: dict[str, Callable[[], Figure]]):
    sizes = {name: smallest_text(draw()) for name, draw in drawings.items()}
    assert {name: size for name, size in sizes.items() if size < SMALLEST} == {}


def test_letters_of_every_figure_can_be_read_in_print(drawings: dict[str, Callable[[], Figure]]):
    sizes = {name: smallest_print(draw()) for name, draw in drawings.items()}
    assert {name: size for name, size in sizes.items() if size < PRINTED} == {}


def test_small_letters_and_wide_figures_are_seen():
    figure, axes = plt.subplots(figsize=(plots.WIDTH, 2))
    axes.set_title("small", fontsize=6)
    assert smallest_text(figure) < SMALLEST
    wide, _ = plt.subplots(figsize=(8, 2))
    assert smallest_text(wide) < SMALLEST
    high, _ = plt.subplots(figsize=(plots.WIDTH, 20))
    assert smallest_print(high) < PRINTED
    plt.close("all")
