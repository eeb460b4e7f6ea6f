"""Deletion, insertion, entropy and distance on models and maps whose answers are known."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve, gaussian_filter
from torch import Tensor, nn

from attnlib.explain.faithfulness import (
    SUBSTRATES,
    Curves,
    areas_table,
    attention_distance,
    attention_entropy,
    blur,
    centre_maps,
    compare_maps,
    deletion_and_insertion,
    gains_table,
    random_maps,
    substrate,
    tell_maps,
)
from attnlib.models.hooks import TokenGrid


class Corner(nn.Module):
    """Class 1 is as probable as the top left quarter is bright: logit 8 * mean - 4."""

    def forward(self, images: Tensor) -> Tensor:
        H, W = images.shape[-2:]
        bright = images[:, :, : H // 2, : W // 2].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(bright), 8 * bright - 4], dim=1)


IMAGES = torch.zeros(3, 3, 8, 12)
IMAGES[:, :, :4, :6] = 1  # mean colour 1/4
ONES = torch.ones(3, dtype=torch.long)


def corner_map() -> Tensor:
    return IMAGES[:, 0] + torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)) / 10


def test_the_map_of_what_matters_falls_first_and_rises_first() -> None:
    curves = deletion_and_insertion(Corner(), IMAGES, corner_map(), ONES, steps=8)
    whole = 1 / (1 + math.exp(-4))
    gone = 1 / (1 + math.exp(4 - 8 / 4))  # all of the corner is the mean colour
    np.testing.assert_allclose(curves.deletion[:, 0], whole, rtol=1e-5)
    np.testing.assert_allclose(curves.deletion[:, 2:], gone, rtol=1e-5)  # a quarter is deleted
    np.testing.assert_allclose(curves.insertion[:, 2:], whole, rtol=1e-5)
    assert curves.shares.tolist() == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]
    opposite = deletion_and_insertion(Corner(), IMAGES, -corner_map(), ONES, steps=8)
    assert (opposite.deletion_area > curves.deletion_area + 0.3).all()
    assert (opposite.insertion_area < curves.insertion_area - 0.1).all()


def test_each_step_takes_equally_many_pixels_also_where_the_map_is_flat() -> None:
    taken: list[float] = []

    class Count(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            deleted = images[0, 0]  # the first half of a batch is deletion
            taken.append((deleted != IMAGES[0, 0]).float().mean().item())
            return torch.zeros(len(images), 2)

    flat = torch.zeros(3, 8, 12)
    deletion_and_insertion(Count(), IMAGES, flat, ONES, steps=4)
    assert taken == [0, 0.25, 0.5, 0.75, 1]


def test_each_image_goes_by_its_own_map_and_class() -> None:
    maps = torch.stack([corner_map()[0], -corner_map()[1], corner_map()[2]])
    classes = torch.tensor([1, 1, 0])
    curves = deletion_and_insertion(Corner(), IMAGES, maps, classes, steps=8)
    assert curves.deletion[0, 2] < 0.2 < 0.9 < curves.deletion[1, 2]
    np.testing.assert_allclose(curves.deletion[2], 1 - curves.deletion[0], rtol=1e-4)


def test_model_is_asked_in_evaluation_mode_and_given_back_in_its_own() -> None:
    model = nn.Sequential(nn.Dropout(0.9), Corner()).train()
    first = deletion_and_insertion(model, IMAGES, corner_map(), ONES, steps=2)
    second = deletion_and_insertion(model, IMAGES, corner_map(), ONES, steps=2)
    np.testing.assert_array_equal(first.deletion, second.deletion)
    assert model.training


def test_areas_are_trapezoids_over_the_share_of_pixels() -> None:
    curves = Curves(np.array([0, 0.5, 1]), np.array([[1.0, 0.5, 0]]), np.array([[0.0, 1, 1]]))
    assert curves.deletion_area.tolist() == [0.5]
    assert curves.insertion_area.tolist() == [0.75]


def test_table_gives_means_with_t_intervals_over_images() -> None:
    deletion = np.array([[0.2, 0.2], [0.4, 0.4], [0.6, 0.6]])
    table = areas_table({"mean": Curves(np.array([0, 1]), deletion, 1 - deletion)})
    half = 4.302653 * 0.2 / math.sqrt(3)  # t at 97.5% with 2 degrees of freedom
    assert table.loc["mean"].tolist() == [f"0.400 ± {half:.3f}", f"0.600 ± {half:.3f}"]


@pytest.mark.parametrize(
    ("maps", "classes", "steps"),
    [(torch.zeros(3, 12, 8), ONES, 4), (torch.zeros(3, 8, 12), ONES[:2], 4),
     (torch.zeros(3, 8, 12), ONES, 0)],
)  # fmt: skip
def test_maps_that_do_not_fit_are_refused(maps: Tensor, classes: Tensor, steps: int) -> None:
    with pytest.raises(ValueError, match=r"expected maps \(3, 8, 12\), classes \(3,\)"):
        deletion_and_insertion(Corner(), IMAGES, maps, classes, steps=steps)


def test_blur_keeps_the_mean_and_leaves_no_detail() -> None:
    stripes = torch.zeros(1, 3, 30, 48)
    stripes[..., ::2] = 1
    blurred = blur(stripes)
    assert blurred.shape == stripes.shape
    torch.testing.assert_close(blurred, torch.full_like(stripes, 0.5))


def test_baselines_know_nothing_of_the_image() -> None:
    centre = centre_maps(IMAGES)
    assert centre.shape == (3, 8, 12)
    peak = (centre[0] == centre[0].max()).nonzero().float().mean(dim=0)
    assert peak.tolist() == [3.5, 5.5]
    torch.testing.assert_close(centre, centre.flip(1, 2))
    grid = TokenGrid(1, 2, 3)
    noise = random_maps(IMAGES, grid, torch.Generator().manual_seed(0))
    again = random_maps(1 - IMAGES, grid, torch.Generator().manual_seed(0))
    assert noise.shape == (3, 8, 12) and torch.equal(noise, again)
    assert not torch.equal(noise[0], noise[1])


def test_entropy_is_log_n_of_a_uniform_row_and_zero_of_a_certain_one() -> None:
    uniform = torch.full((2, 1, 5, 5), 0.2)
    certain = torch.eye(5).expand(2, 1, 5, 5)
    entropy = attention_entropy(torch.cat([uniform, certain], dim=1))
    torch.testing.assert_close(entropy, torch.tensor([math.log(5), 0.0]))


def test_distance_is_in_pixels_among_patches_only() -> None:
    grid = TokenGrid(2, 1, 3)  # three patches in a row, 8 pixels apart
    to_self, to_next = torch.zeros(5, 5), torch.zeros(5, 5)
    to_self[2:, 2:] = torch.eye(3)
    to_next[2:, 2:] = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])  # 8, 8 and 16 pixels
    weights = torch.stack([to_self, to_next])[None]
    weights = weights / 4  # a row sums to 1 with its prefix, and not among the patches
    weights[..., :2] = 3 / 8
    found = attention_distance(weights, grid, 8)
    torch.testing.assert_close(found, torch.tensor([0.0, 32 / 3]))


def test_distance_goes_by_rows_and_columns() -> None:
    grid = TokenGrid(0, 2, 3)
    weights = torch.zeros(1, 1, 6, 6)
    weights[..., 5] = 1  # all look at the last patch, row 1 and column 2
    expected = sum(math.hypot(1 - y, 2 - x) for y in range(2) for x in range(3)) / 6 * 4
    assert attention_distance(weights, grid, 4).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"\(B, h, N, N\)"):
        attention_distance(torch.ones(1, 8, 1, 6), grid, 4)


@pytest.mark.parametrize("deleted", SUBSTRATES)
@pytest.mark.parametrize("inserted", SUBSTRATES)
def test_curves_run_between_the_image_and_the_substrate_that_was_asked_for(
    deleted: str, inserted: str
) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    curves = deletion_and_insertion(
        Corner(), images, centre_maps(images), ONES[:2], steps=2, deleted=deleted, inserted=inserted
    )

    def probability(images: Tensor) -> np.ndarray:
        return Corner()(images).softmax(dim=1)[:, 1].double().numpy()

    whole = probability(images)
    np.testing.assert_allclose(curves.deletion[:, 0], whole, rtol=1e-6)
    np.testing.assert_allclose(curves.insertion[:, -1], whole, rtol=1e-6)
    empty, blurred = (probability(substrate(images, kind)) for kind in (deleted, inserted))
    np.testing.assert_allclose(curves.deletion[:, -1], empty, rtol=1e-5)
    np.testing.assert_allclose(curves.insertion[:, 0], blurred, rtol=1e-5)


def test_blur_of_rise_is_a_gaussian_of_eleven_pixels() -> None:
    """As its code builds it: a point filtered by SciPy, then a convolution with black edges."""
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = gaussian_filter(point, 5)
    image = np.random.default_rng(0).random((3, 20, 24))
    expected = np.stack([convolve(plane, kernel, mode="constant") for plane in image])
    found = substrate(torch.from_numpy(image)[None], "blur")[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_an_unknown_substrate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown 'white'\. Valid: black, mean, blur, colours"):
        deletion_and_insertion(Corner(), IMAGES, IMAGES[:, 0], ONES, deleted="white")


def curves_of(areas: np.ndarray) -> Curves:
    """Curves whose deletion area is ``areas`` and whose insertion area is one less these (B,)."""
    deletion = np.repeat(areas[:, None], 3, axis=1)
    return Curves(np.linspace(0, 1, 3), deletion, 1 - deletion)


def test_maps_are_told_from_the_baselines_image_by_image() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(40)  # how hard an image is moves all areas alike: only pairs tell
    noise = 0.01 * rng.standard_normal((4, 40))
    curves = {
        "good": curves_of(hard - 0.02 + noise[0]),
        "guess": curves_of(hard + noise[1]),
        "random": curves_of(hard + noise[2]),
        "centre": curves_of(hard - 0.05 + noise[3]),
    }
    tests = {(t.kind, t.baseline, t.measure): t for t in compare_maps(curves)}
    assert len(tests) == 8, "baselines are not asked"
    for measure in ("deletion", "insertion"):
        assert tests["good", "random", measure].verdict == "better"
        assert tests["good", "random", measure].gain.value == pytest.approx(0.02, abs=0.01)
        assert tests["guess", "random", measure].verdict == "not told apart"
        assert tests["good", "centre", measure].verdict == "worse"
    assert tell_maps(list(tests.values())).splitlines() == [
        "better than random: good",
        "not told from random by 40 images: guess",
        "worse than centre: good, guess",
    ]
    table = gains_table(list(tests.values()))
    assert table.loc["good", "deletion, random"].endswith("*")
    assert not table.loc["guess", "deletion, random"].endswith("*")


def test_many_questions_raise_the_bar_of_each() -> None:
    rng = np.random.default_rng(1)
    hard, noise = rng.random(20), 0.01 * rng.standard_normal((200, 20))
    baselines = {name: curves_of(hard) for name in ("random", "centre")}
    kinds = {str(n): curves_of(hard + noise[n]) for n in range(200)}
    found = compare_maps(kinds | baselines)
    assert {test.verdict for test in found} == {"not told apart"}
    alone = [compare_maps({name: each} | baselines)[0].p_holm for name, each in kinds.items()]
    assert min(alone) < 0.05, "none would be significant without the correction: a test of nothing"


def test_a_map_that_gains_by_one_measure_and_loses_by_the_other_is_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.random(30), 0.001 * rng.standard_normal(30)
    shares, flat = np.linspace(0, 1, 3), np.repeat(base[:, None], 3, axis=1)
    known = Curves(shares, flat, flat)
    mixed = Curves(shares, flat - 0.1 + noise[:, None], flat - 0.1 + noise[:, None])
    told = tell_maps(compare_maps({"mixed": mixed, "random": known, "centre": known}))
    assert told.splitlines()[0] == "not told from random by 30 images: mixed"


def test_one_image_is_no_sample() -> None:
    one = curves_of(np.array([0.5]))
    with pytest.raises(ValueError, match="at least two images; got 1"):
        compare_maps({"mean": one, "random": one, "centre": one})
