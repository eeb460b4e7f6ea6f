"""Figures draw names that others chose literally, cap what they draw, and warn of nothing."""

import inspect
import warnings
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from attnlib import plotting
from attnlib.compare import error_overlap, paired_tests, reference_runs
from attnlib.compare import figures as compare_figures
from attnlib.compare.comparison import Comparison
from attnlib.cost import figures as cost_figures
from attnlib.cost import scaling
from attnlib.explain import figures as explain_figures
from attnlib.explain.faithfulness import Curves
from attnlib.human import cifar10h, study
from attnlib.human import figures as human_figures
from attnlib.human.bootstrap import MEASURES, Interval
from attnlib.human.claims import BOTH, Finding
from attnlib.human.decisions import CATEGORIES
from attnlib.plotting import Drawing
from attnlib.thesis import figures as thesis_figures

MODULES = (plotting, compare_figures, cost_figures, explain_figures, human_figures, thesis_figures)
DOLLARS = "US$ 10 & $20_x"
HOSTILE = (
    DOLLARS, r"$\frac{$", "$x^$", r"a\$b$", "_hidden", "猫", "قطة", "\N{CAT FACE}", "a\tb\x07c",
    "two\nlines", "\udcff", "long " * 60, "a" * 300, "{x}", "%s", "",
)  # fmt: skip
NAMELESS = {"epoch_curves", "channel_shares", "scaling"}  # these draw no name from outside
SHARE = Interval(0.5, 0.4, 0.6)


def measured(name: str, number: int) -> study.Measured:
    shares = dict.fromkeys(MEASURES, SHARE)
    categories = dict.fromkeys(CATEGORIES, SHARE)
    return study.Measured(f"s{number}", name, name, "", shares, {}, [1, 1], categories)


def drawings(names: tuple[str, ...]) -> dict[str, Callable[[], Figure]]:
    """How each figure of the package is drawn with these names."""
    first, rng = names[0], np.random.default_rng(0)
    second = names[1] + " "  # a key of its own
    classes, labels = len(names), np.arange(60) % len(names)
    logits = {name: rng.random((60, classes), np.float32) for name in (first, second)}
    answers = Comparison(dict.fromkeys(logits), logits, labels, names, {})  # type: ignore[arg-type]
    accuracy = SimpleNamespace(value=0.5, low=0.4, high=0.6, n=10)
    metrics = SimpleNamespace(
        per_class=[SimpleNamespace(name=name, accuracy=accuracy) for name in names],
        test_accuracy=accuracy,
    )
    epochs = [{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}]
    runs = [
        SimpleNamespace(title=name, history=epochs, record=SimpleNamespace(metrics=metrics))
        for name in names
    ]
    model_rows: list[dict[str, object]] = [
        {"model": name, "tokens": None, "quantity": quantity, "value": 1.0, "low": 1.0,
         "high": 2.0, "stable": True, "attention": "explicit", "batch_size": size}
        for name in names[:10]
        for size in (1, 8)
        for quantity in ("images_per_second", "memory_no_grad_bytes", "memory_autograd_bytes")
    ]  # fmt: skip
    passes = [
        {"layer": layer, "tokens": n, "quantity": quantity, "value": float(n)}
        for layer in scaling.LAYER_TITLES
        for quantity in ("seconds", "peak_bytes")
        for n in (784, 1225, 2025, 3136)
    ]
    rows = {
        name: reference_runs.ReferenceRow(name, {"model": name}, (run,))
        for name, run in zip(names, runs, strict=True)
    }
    claim = reference_runs.RunClaim(first, first, second, 1)
    reply = reference_runs.Answer(claim, SHARE, 0.01, "holds")  # type: ignore[arg-type]
    pairing = error_overlap.Pairing(first, second)
    overlap = error_overlap.Overlap(first, pairing, SHARE, 0.9, SHARE, (0.5,))  # type: ignore[arg-type]
    question = error_overlap.Question(first, pairing, pairing)
    told = error_overlap.Reply(question, SHARE, 0.01, "holds")  # type: ignore[arg-type]
    systems = [measured(name, number) for number, name in enumerate(names[:6])]
    findings = [Finding(name, "kappa", name, name, SHARE, "holds") for name in names[:4]]
    gaps = [Finding(BOTH, measure, "", "", SHARE, "") for measure in MEASURES]
    people = study.Study("", True, "", first, systems, gaps, [], findings)
    crowds = [cifar10h.Crowd("unanimous", 10, 1.0)]
    group = cifar10h.ImageGroup("unanimous", 10, 1.0, SHARE)
    disputed = cifar10h.AloneWrong(1, [cifar10h.Disputed(3, 1, 2, 1)])
    votes = cifar10h.VotesStudy(
        "",
        crowds,
        [
            cifar10h.VotesComparison(
                name, SHARE, 0.5, SHARE, SHARE, SHARE, [group], disputed, disputed
            )
            for name in names[:3]
        ],
    )
    images, planes = torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8)
    pixels = rng.random((60, 8, 8, 3))
    curve = np.linspace(0, 1, 9)
    curves = {name: Curves(curve, curve[None], curve[None]) for name in names[:8]}
    verdicts = pd.DataFrame(
        dict.fromkeys(thesis_figures.HATCHES, 1), index=pd.Index([*names[:5], "all"])
    )
    tests = paired_tests.class_tests(answers, first, second)
    lists: dict[Callable[..., Figure], Callable[[], Figure]] = {
        plotting.learning_curves: lambda: plotting.learning_curves(*runs[:6]),
        plotting.epoch_curves: lambda: plotting.epoch_curves([SimpleNamespace(**epochs[0])]),
        plotting.per_class_accuracy: lambda: plotting.per_class_accuracy(runs[0]),
        plotting.image_grid: lambda: plotting.image_grid(pixels[: min(classes, 60)], names[:60]),
        plotting.class_examples: lambda: plotting.class_examples(pixels, labels, names),
        cost_figures.speeds: lambda: cost_figures.speeds(model_rows),
        cost_figures.memory: lambda: cost_figures.memory(model_rows),
        cost_figures.scaling: lambda: cost_figures.scaling(passes, scaling.exponents(passes)),
        compare_figures.confusions: lambda: compare_figures.confusions(answers, first, second),
        compare_figures.class_differences: lambda: compare_figures.class_differences(
            tests, first, second
        ),
        compare_figures.answered_images: lambda: compare_figures.answered_images(
            answers, None, np.arange(8), first, second
        ),
        compare_figures.accuracies: lambda: compare_figures.accuracies(
            {name: rows[name] for name in names[:16]}
        ),
        compare_figures.differences: lambda: compare_figures.differences([reply]),
        compare_figures.overlaps: lambda: compare_figures.overlaps([overlap]),
        compare_figures.overlap_differences: lambda: compare_figures.overlap_differences([told]),
        human_figures.agreement_with_people: lambda: human_figures.agreement_with_people(
            study.Study("", True, "", "", [*systems, study.Measured(
                "people", "people", "", "", systems[0].measures, {}, [1, 1], systems[0].categories
            )], [], [], []), systems,
        ),
        human_figures.shape_bias_by_category: lambda: human_figures.shape_bias_by_category(
            people, systems
        ),
        human_figures.protocol_beside_gaps: lambda: human_figures.protocol_beside_gaps(people),
        human_figures.accuracy_by_uncertainty: lambda: human_figures.accuracy_by_uncertainty(votes),
        human_figures.disputed_images: lambda: human_figures.disputed_images(votes, None),
        thesis_figures.verdicts_by_kind: lambda: thesis_figures.verdicts_by_kind(verdicts),
        explain_figures.map_grid: lambda: explain_figures.map_grid(
            images, names[:2], dict.fromkeys(names[:4], planes)
        ),
        explain_figures.layers_by_heads: lambda: explain_figures.layers_by_heads(
            images[0], dict.fromkeys(names[:6], planes)
        ),
        explain_figures.faithfulness_curves: lambda: explain_figures.faithfulness_curves(curves),
        explain_figures.heads_by_layer: lambda: explain_figures.heads_by_layer(
            {name: [[1.0, 2.0]] for name in names[:2]}, 3
        ),
        explain_figures.channel_shares: lambda: explain_figures.channel_shares(
            [np.full((2, 8), 1 / 8)] * 4
        ),
        explain_figures.feature_grid: lambda: explain_figures.feature_grid(
            dict.fromkeys(names[:4], torch.rand(8, 4, 4))
        ),
        explain_figures.dull_by_depth: lambda: explain_figures.dull_by_depth(
            dict.fromkeys(names[:5], curve), 0.1
        ),
        explain_figures.similarity_grid: lambda: explain_figures.similarity_grid(
            {(names[0], names[1]): pd.DataFrame(np.eye(3, 4))}
        ),
    }  # fmt: skip
    return {draw.__name__: how for draw, how in lists.items()}


def shown(figure: Figure) -> list[str]:
    """The text of the figure as a reader sees it, without what is set as a formula."""
    texts = [text for text in figure.findobj(Text) if text.get_visible()]
    parsed = [text._preprocess_math(text.get_text()) for text in texts]  # type: ignore[attr-defined]
    return [words for words, is_formula in parsed if not is_formula]


def test_every_figure_is_tried():
    figures = {
        name
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
        and inspect.signature(function).return_annotation in (Figure, Drawing, "Figure")
    }  # fmt: skip
    figures -= {"cue_conflicts"}  # it draws no names but ours
    assert figures == drawings(HOSTILE).keys()


@pytest.mark.parametrize("name", sorted(drawings(HOSTILE)))
def test_names_that_others_chose_are_drawn_literally_and_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = drawings(HOSTILE)[name]()
        FigureCanvasAgg(figure).draw()
    if name not in NAMELESS:
        lines = [" ".join(text.split()) for text in shown(figure)]
        assert any(DOLLARS in line for line in lines), lines


@pytest.mark.parametrize("name", sorted(drawings(HOSTILE)))
def test_a_thousand_classes_make_a_figure_of_a_page_with_few_panels(name):
    names = tuple(f"class {number}" for number in range(1000))
    figure = drawings(names)[name]()
    assert len(figure.axes) <= 210  # 10,000 panels take five minutes
    assert figure.get_figheight() < 14


def test_a_figure_that_leaves_classes_out_says_so():
    names = tuple(f"class {number}" for number in range(1000))
    drawn = drawings(names)
    assert "The first 20 of 1,000 classes" in shown(drawn["class_examples"]())
    titles = [axes.get_title() for axes in drawn["per_class_accuracy"]().axes]
    assert titles == ["best 20 and worst 20 of 1,000 classes"]


def test_letters_without_a_glyph_are_written_as_their_numbers(monkeypatch):
    monkeypatch.setattr(plotting, "_glyphs", lambda: frozenset(range(128)))
    assert plotting.figure_text("猫 cat") == r"\u732b cat"
    monkeypatch.setattr(plotting, "_glyphs", lambda: frozenset([0x732B]))
    assert plotting.figure_text("猫") == "猫"


def test_a_font_of_this_computer_draws_what_matplotlibs_own_one_lacks(monkeypatch):
    plotting._fonts.cache_clear()
    monkeypatch.setattr(plotting, "FALLBACK_FONTS", ("No Such Font", "DejaVu Serif"))
    try:
        assert plotting._fonts() == ("DejaVu Sans", "DejaVu Serif")
        with plotting.style():
            assert plotting.plt.rcParams["font.family"] == ["DejaVu Sans", "DejaVu Serif"]
    finally:
        plotting._fonts.cache_clear()


def test_dollars_stay_where_they_are_when_a_line_is_broken():
    lines = plotting.wrapped_text("$" * 11, 4).splitlines()
    assert [line.replace(r"\$", "$") for line in lines] == ["$$$$", "$$$$", "$$$"]
    assert all(line.count("$") == line.count(r"\$") for line in lines)


def test_a_notebook_gets_a_drawing_as_svg_with_its_finding():
    with plotting.style():
        figure, axes = plotting.subplots(figsize=(2, 1))
        axes.set_xlabel("words")
    figure.finding = "Nothing is drawn."
    svg, metadata = figure._repr_svg_()
    assert "<svg" in svg and ">words</text>" in svg
    assert metadata == {"finding": "Nothing is drawn."}
    figure.finding = ""
    assert figure._repr_svg_()[1] == {}
