"""Figures of cost: every point is a row, and what is unstable looks so."""

import numpy as np
import pytest

from attnlib.cost import figures
from attnlib.cost.scaling import LAYER_TITLES, exponents


def cost(model, quantity, value, **more):
    row = {"model": model, "tokens": None, "quantity": quantity, "value": value, "low": value,
           "high": value, "stable": True, "attention": None, "batch_size": 1}  # fmt: skip
    return row | more


def markers(axes):
    return [line for line in axes.lines if line.get_marker() not in ("None", None, "")]


def test_speeds_have_a_point_a_row_and_hollow_ones_where_unstable():
    rows = [
        cost("deit_t", "images_per_second", 40.0),
        cost("deit_t", "images_per_second", 60.0, batch_size=8, stable=False, low=30.0, high=80.0),
        cost("resnet18", "images_per_second", 20.0),
        cost("resnet18", "images_per_second", None, batch_size=8),
    ]
    figure = figures.speeds(rows)
    points = [line for line in markers(figure.axes[0]) if len(line.get_xdata())]
    drawn = {(p.get_xdata()[0], p.get_ydata()[0]): p.get_markerfacecolor() for p in points}
    assert set(drawn) == {(1, 40.0), (8, 60.0), (1, 20.0)}
    assert [place for place, face in drawn.items() if face == "white"] == [(8, 60.0)]
    bars = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert [30.0, 80.0] in bars
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["DeiT-T", "ResNet-18"]


def test_a_speed_that_varies_is_fastest_if_all_its_range_is_and_shares_the_place_if_a_part_is():
    steady = cost("resnet18", "images_per_second", 35.0, low=34.0, high=36.0)
    apart = cost("deit_t", "images_per_second", 43.0, low=40.0, high=47.0, stable=False)
    words = figures.speeds([steady, apart]).finding
    assert words == "With one image at a time, DeiT-T (40 to 47 images/s) is fastest."
    both = [steady, apart | {"low": 33.0}]
    words = figures.speeds(both).finding
    assert (
        "none of the 2 models can be called the fastest" in words and "(33 to 47 images/s)" in words
    )
    slow = cost("resnet50", "images_per_second", 10.0, low=9.0, high=11.0)
    words = figures.speeds([*both, slow]).finding
    assert "ResNet-18 (34 to 36 images/s) and DeiT-T (33 to 47 images/s) are fastest" in words
    assert "can't be told apart" in words


def test_models_are_told_apart_by_more_than_colour():
    rows = [cost(f"timm/{k}", "images_per_second", 10.0 + k) for k in range(10)]
    points = [line for line in markers(figures.speeds(rows).axes[0]) if len(line.get_xdata())]
    looks = {(p.get_marker(), p.get_markeredgecolor()) for p in points}
    assert len(looks) == 10 == len({p.get_marker() for p in points})


def test_memory_draws_both_readings_of_one_kind_of_attention():
    rows = [
        cost(model, quantity, value, attention=attention)
        for attention, factor in (("explicit", 1), ("fused", 10))
        for model, quantity, value in (
            ("deit_t", "memory_no_grad_bytes", factor * 0.3e9),
            ("resnet18", "memory_no_grad_bytes", factor * 0.8e9),
            ("deit_t", "memory_autograd_bytes", factor * 4.5e9),
            ("resnet18", "memory_autograd_bytes", None),
        )
    ]
    above, below = figures.memory(rows).axes
    assert [bar.get_width() for bar in above.patches] == pytest.approx([0.3, 0.8])
    assert [bar.get_width() for bar in below.patches] == pytest.approx([4.5])
    assert [text.get_text() for text in above.texts] == ["0.30", "0.80"]


def test_scaling_draws_points_and_the_fitted_law_through_them():
    tokens = np.array([64, 784, 1225, 2025, 3136])
    rows = [
        {"layer": layer, "tokens": int(n), "quantity": quantity, "value": 1e-9 * float(n) ** 2}
        for layer in LAYER_TITLES
        for quantity in ("seconds", "peak_bytes")
        for n in tokens
    ]
    above, below = figures.scaling(rows, exponents(rows)).axes
    for axes, unit in ((above, 1.0), (below, 1e-6)):
        assert len(axes.lines) == 2 * len(LAYER_TITLES)
        points, law = axes.lines[:2]
        np.testing.assert_allclose(points.get_ydata(), unit * 1e-9 * tokens**2.0)
        np.testing.assert_allclose(law.get_ydata(), points.get_ydata(), rtol=1e-6)
        assert axes.get_xscale() == axes.get_yscale() == "log"
    assert "2.00" in above.get_legend().get_texts()[0].get_text()
