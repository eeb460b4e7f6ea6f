"""Figures of attention and features: each panel shows what its title says."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from attnlib.explain.faithfulness import Curves
from attnlib.explain.figures import (
    channel_shares,
    dull_by_depth,
    faithfulness_curves,
    feature_grid,
    half_area,
    heads_by_layer,
    layers_by_heads,
    map_grid,
    overlay,
)

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 3, 8, 12, generator=GENERATOR)
PLANES = torch.rand(4, 2, 8, 12, generator=GENERATOR)


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_each_image_stands_beside_its_own_maps() -> None:
    figure = map_grid(IMAGES, ["a", "b"], {"mean": PLANES[0], "max": PLANES[1]})
    shown = pictures(figure)
    np.testing.assert_allclose(shown[3], IMAGES[1].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(shown[5], overlay(IMAGES[1], PLANES[1][1]))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "", "", "b", "", ""]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "", "", "mean", "max"]


def test_rows_are_layers_and_columns_are_what_they_are_called() -> None:
    planes = {"head 1": list(PLANES[:3, 0]), "mean": list(PLANES[1:, 1])}
    figure = layers_by_heads(IMAGES[0], planes)
    shown = pictures(figure)
    np.testing.assert_allclose(shown[4], overlay(IMAGES[0], PLANES[2, 0]))
    np.testing.assert_allclose(shown[3], overlay(IMAGES[0], PLANES[2, 1]))
    assert titles(figure) == ["head 1", "mean", "", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["1", "2", "3"]


def test_curves_are_means_and_lines_without_colour_can_be_told_apart() -> None:
    values = np.array([[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]])
    names = ["mean", "head", "max", "distillation", "rollout", "gradient", "random", "centre"]
    curves = {
        name: Curves(np.array([0, 0.5, 1]), values * (i + 1) / 9, values)
        for i, name in enumerate(names)
    }
    deletion, insertion = faithfulness_curves(curves).axes
    assert [line.get_label() for line in deletion.lines] == names
    np.testing.assert_allclose(deletion.lines[1].get_ydata(), [1 / 9] * 3)
    np.testing.assert_allclose(insertion.lines[1].get_ydata(), [0.5] * 3)
    looks = {(x.get_color(), x.get_linestyle(), x.get_marker()) for x in deletion.lines}
    assert len(looks) == len(names)
    greys = [line for line in deletion.lines if line.get_label() in ("random", "centre")]
    assert len({(x.get_linestyle(), x.get_marker()) for x in greys}) == 2
    assert len({x.get_color() for x in greys}) == 1


def test_each_head_is_a_dot_and_their_mean_a_line() -> None:
    figure = heads_by_layer({"entropy": [[1.0, 3.0], [2.0, 5.0]]}, limit=6)
    assert figure.axes[0].get_ylim()[1] > 6  # the line at the limit is inside the drawing
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in dots] == [[1, 3], [2, 5]]  # type: ignore[arg-type]
    line, limit = axes.lines[-2:]
    assert list(line.get_ydata()) == [2, 3.5] and list(limit.get_ydata()) == [6, 6]  # type: ignore[arg-type]


def test_channels_are_drawn_strongest_first_as_times_an_equal_share() -> None:
    shares = np.array([[0.1, 0.6, 0.05, 0.25], [0.25, 0.25, 0.25, 0.25]])
    figure = channel_shares([shares] * 4)
    one, other, mean, equal = figure.axes[3].lines
    np.testing.assert_allclose(one.get_ydata(), [2.4, 1.0, 0.4, 0.2])
    np.testing.assert_allclose(other.get_ydata(), 1)
    np.testing.assert_allclose(mean.get_ydata(), [1.7, 1.0, 0.7, 0.6])
    assert list(equal.get_ydata()) == [1, 1]  # type: ignore[arg-type]
    assert figure.axes[3].get_title() == "stage 4: 4 channels"


def test_feature_grid_draws_the_first_channels_each_on_its_own_scale() -> None:
    maps = torch.rand(5, 4, 6, generator=GENERATOR) * torch.tensor([1.0, 9, 1, 1, 1]).view(5, 1, 1)
    figure = feature_grid({"conv1": maps, "layer1": maps[:2]}, channels=3)
    shown = pictures(figure)
    assert len(shown) == 5, "a layer with fewer channels leaves its places empty"
    np.testing.assert_allclose(shown[1], maps[1].numpy())
    image = figure.axes[1].images[0]
    assert image.get_clim() == pytest.approx((float(maps[1].min()), float(maps[1].max())))


def test_depth_goes_from_the_first_layer_to_the_last_whatever_their_number() -> None:
    (axes,) = dull_by_depth({"a": [0, 0.5], "b": [0.1, 0.2, 0.3], "c": [0.4]}, 0.1).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 1], [0, 0.5, 1], [0]]  # type: ignore[arg-type]
    assert axes.get_ylim() == pytest.approx((0, 0.55))
    assert "under 0.1" in axes.get_ylabel()


def test_figures_keep_the_pages_background() -> None:
    figure = feature_grid({"a": PLANES[:, 0]})
    assert figure.get_facecolor()[3] == 0


def test_half_of_a_uniform_map_lies_on_half_of_the_picture_and_of_a_spot_on_the_spot() -> None:
    spot = torch.zeros(1, 8, 10)
    spot[0, 2, 3] = 1
    assert half_area(torch.ones(1, 8, 10)) == pytest.approx(0.5)
    assert half_area(spot) == pytest.approx(1 / 80)
    assert half_area(torch.cat([spot, torch.ones(1, 8, 10)])) == pytest.approx((0.5 + 1 / 80) / 2)


def test_findings_name_what_stands_out() -> None:
    spot = torch.zeros(2, 8, 12)
    spot[:, 0, 0] = 1
    told = map_grid(IMAGES, ["a", "b"], {"even": torch.ones(2, 8, 12), "spot": spot}).finding
    assert "1% of the picture for spot" in told and "50% for even" in told
    told = map_grid(IMAGES, ["a", "b"], {"Grad-CAM": spot}).finding
    assert told == "Half of a map's weight lies on 1% of the picture for Grad-CAM."

    steady, turned = [PLANES[0, 0]] * 3, [PLANES[0, 0], -PLANES[0, 0], PLANES[0, 0]]
    told = layers_by_heads(IMAGES[0], {"steady": steady, "turned": turned}).finding
    assert "-1.00 on average for turned and 1.00 for steady" in told
    assert layers_by_heads(IMAGES[0], {"one layer": steady[:1]}).finding == ""

    shares, low, high = np.array([0.0, 1.0]), np.zeros((1, 2)), np.ones((1, 2))
    curves = {
        "good": Curves(shares, low, high),
        "bad": Curves(shares, high, low),
        "random": Curves(shares, low, high),
    }
    told = faithfulness_curves(curves).finding
    assert "told from" not in told, "one image is no test"
    assert "deletion is that of good, 0.000 (random 0.000)" in told
    assert "insertion that of good, 1.000 (random 1.000)" in told

    two = {name: Curves(shares, low.repeat(2, 0), high.repeat(2, 0)) for name in curves}
    told = faithfulness_curves(two | {"centre": two["random"]}).finding
    assert "Not told from random by 2 images: good, bad. Not told from centre by 2" in told

    told = heads_by_layer({"entropy": [[1.0, 2.0], [3.0, 5.0]]}, 6.0).finding
    assert told == "Mean entropy: 1.50 in layer 1, 4.00 in layer 2."
    assert "20%, of b" in dull_by_depth({"a": [0.1], "b": [0.0, 0.2]}, 0.1).finding
    assert "No network" in dull_by_depth({"a": [0.0]}, 0.1).finding
    flat = torch.zeros(3, 4, 4)
    assert "0% of its grey scale in flat" in feature_grid({"flat": flat, "x": PLANES[0]}).finding
    alike, opposed = np.array([[0.5, 0.25, 0.25]] * 2), np.array([[0.75, 0.25], [0.25, 0.75]])
    told = channel_shares([alike, alike, alike, opposed]).finding
    assert "1.5 times an equal share in stage 1 and 1.5 times in stage 4" in told
    assert "correlate by 1.00 in stage 1 and -1.00 in stage 4" in told
