"""Draws: numbers depend only on (seed, epoch, index), and are distributed as the reference's."""

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from timm.data.auto_augment import _RAND_INCREASING_TRANSFORMS, LEVEL_TO_ARG
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import ColorJitter

from attnlib.augmentation import randaugment, random_parameters
from attnlib.augmentation.random_parameters import Draws, draw_samples
from attnlib.seeding import sample_uniforms, splitmix64

MANY = np.arange(6000)
LEAST_P = 1e-3  # of a test that compares two distributions; the seeds are fixed


def drawn(augment: str = "thesis", indices=MANY, **changed) -> Draws:
    options = {"seed": 0, "epoch": 0} | changed
    native = options.pop("native", (32, 32))
    return draw_samples(augment, options.pop("img_size", 224), native, indices=indices, **options)


def alike(ours, theirs) -> bool:
    """Whether a Kolmogorov-Smirnov test leaves room for one distribution."""
    return stats.ks_2samp(ours, theirs, method="asymp").pvalue > LEAST_P


def same(a: Draws, b: Draws) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_splitmix64_gives_its_published_numbers():
    places = np.arange(5, dtype=np.uint64)
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
             16408922859458223821]  # fmt: skip
    assert splitmix64(np.array([1234567], np.uint64), places).tolist() == known
    zero = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(np.array([0], np.uint64), places[:3]).tolist() == zero


def test_uniform_numbers_are_uniform_and_rows_and_columns_are_unrelated():
    numbers = sample_uniforms(1, "sample", 0, np.arange(2000), 20)
    assert numbers.shape == (2000, 20) and 0 <= numbers.min() and numbers.max() < 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > LEAST_P
    neighbours = [np.corrcoef(numbers[:, k], numbers[:, k + 1])[0, 1] for k in range(19)]
    neighbours += [np.corrcoef(numbers[:-1, k], numbers[1:, k])[0, 1] for k in range(20)]
    assert np.abs(neighbours).max() < 4 / math.sqrt(2000)


def test_a_sample_draws_the_same_whatever_is_drawn_beside_it():
    some = drawn(indices=np.array([41, 7, 7]))
    for row, index in enumerate((41, 7, 7)):
        assert same(Draws(*(v[[row]] for v in some)), Draws(*(v[[index]] for v in drawn())))


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_draws_otherwise(other):
    ours, others = drawn(), drawn(**other)
    assert (ours.place == others.place).all(axis=1).mean() < 0.2
    assert abs(np.corrcoef(ours.arguments[:, 4], others.arguments[:, 4])[0, 1]) < 0.05


def test_none_draws_nothing_and_light_shifts_and_mirrors_only():
    plain, light = drawn("none"), drawn("light")
    assert not plain.place.any() and not plain.flip.any() and plain.codes.shape[1] == 0
    assert not light.flip[:, 0].any() and light.codes.shape[1] == 0 and not light.erased.any()
    assert np.unique(light.place).tolist() == list(range(2 * 28 + 1))
    assert light.flip[:, 1].mean() == pytest.approx(0.5, abs=0.03)


def test_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match=r"'heavy'\. Valid: thesis, light, none"):
        drawn("heavy", indices=MANY[:2])


def test_small_images_are_shifted_by_up_to_four_pixels_instead_of_resized():
    small = drawn(img_size=32)
    assert np.unique(small.place).tolist() == list(range(9)) and (small.extent == 32).all()
    assert small.codes.shape[1] == 5 and small.erased.any()


@pytest.mark.parametrize("native", [(32, 32), (40, 90), (200, 20)])
def test_crops_are_distributed_as_those_of_timm(native):
    random.seed(0)
    blank = torch.empty(3, *native)
    crop = RandomResizedCropAndInterpolation.get_params
    theirs = np.array([crop(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in MANY])
    ours = np.concatenate(drawn(native=native)[:2], axis=1)
    assert (ours[:, :2] + ours[:, 2:] <= native).all() and (ours[:, :2] >= 0).all()
    for column in range(4):
        assert alike(ours[:, column], theirs[:, column])
    for values in (ours, theirs):
        assert np.unique(values[:, 2:], axis=0).min() >= 1
    area, their_area = ours[:, 2:].prod(axis=1), theirs[:, 2:].prod(axis=1)
    assert alike(area, their_area)


def test_a_crop_that_never_fits_falls_back_to_the_largest_centre():
    place, extent = random_parameters.crop_box(np.full((1, 20), 0.999), np.zeros((1, 2)), (200, 20))
    assert extent.tolist() == [[27, 20]] and place.tolist() == [[86, 0]]
    blank, none = torch.empty(3, 200, 20), (5.0, 5.0)  # an area that never fits
    timm = RandomResizedCropAndInterpolation.get_params(blank, none, (3 / 4, 4 / 3))
    assert timm == (86, 0, 27, 20)


def test_both_flips_happen_half_of_the_time_and_independently():
    table = np.bincount(drawn().flip @ [2, 1], minlength=4)
    assert stats.chisquare(table).pvalue > LEAST_P


def test_operations_and_their_order_are_those_of_timm():
    assert list(randaugment.OPERATIONS) == _RAND_INCREASING_TRANSFORMS


def test_each_layer_takes_each_operation_equally_often_and_half_of_the_time_none():
    for layer in range(2):
        codes = drawn().codes[:, layer]
        assert np.mean(codes == randaugment.NOTHING) == pytest.approx(0.5, abs=0.03)
        assert stats.chisquare(np.bincount(codes[codes >= 0], minlength=15)).pvalue > LEAST_P


@pytest.mark.parametrize("code", range(3, 15))
def test_arguments_are_distributed_as_those_of_timm(code):
    codes, arguments = (values[:, :2].ravel() for values in drawn(indices=np.arange(40000))[3:5])
    ours = arguments[codes == code]
    random.seed(code)
    name = randaugment.OPERATIONS[code]
    theirs = [
        LEVEL_TO_ARG[name](max(0.0, min(10.0, random.gauss(9, 0.5))), {})[0]
        for _ in range(len(ours))
    ]
    assert len(ours) > 2000
    assert alike(ours, theirs)
    if code in (randaugment.POSTERIZE, randaugment.SOLARIZE, randaugment.SOLARIZE_ADD):
        assert np.array_equal(ours, np.trunc(ours))


@pytest.mark.parametrize("level", [0.0, 0.31, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("code", range(3, 15))
def test_an_argument_is_exactly_what_timm_makes_of_the_level(code, level, monkeypatch):
    (argument,) = random_parameters.operation_arguments(
        np.array([code]), np.array([level]), np.array([1])
    )
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert argument == pytest.approx(LEVEL_TO_ARG[randaugment.OPERATIONS[code]](10 * level, {})[0])


def test_magnitudes_are_normal_and_clipped():
    codes, arguments = drawn(indices=np.arange(40000))[3:5]
    slopes = np.abs(arguments[:, :2][codes[:, :2] == randaugment.SHEAR_X]) / 0.3 * 10
    assert slopes.max() == pytest.approx(10)
    assert np.mean(slopes > 9.9999) == pytest.approx(stats.norm.sf(2), abs=0.01)
    below = slopes[slopes < 9.9999]
    clipped = stats.truncnorm(-np.inf, 2, 9, 0.5)
    assert stats.kstest(below, clipped.cdf).pvalue > LEAST_P


def test_jitter_draws_all_three_factors_in_every_order_as_torchvision():
    torch.manual_seed(0)
    codes, arguments = (values[:, 2:] for values in drawn()[3:5])
    orders, counts = np.unique(codes, axis=0, return_counts=True)
    assert len(orders) == 6 and stats.chisquare(counts).pvalue > LEAST_P
    jitter = ColorJitter(0.3, 0.3, 0.3)
    theirs = [
        jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        for _ in range(3000)
    ]
    for place, code in enumerate(random_parameters.JITTER, start=1):
        factors = [values[place] for values in theirs]
        assert alike(arguments[codes == code], factors)


def erased_by_timm(count: int, size: int) -> np.ndarray:
    """Boxes that timm's RandomErasing fills, zeros where it leaves the image alone."""
    random.seed(0)
    erasing = RandomErasing(0.25, mode="const", device="cpu")
    boxes = np.zeros((count, 4), np.int64)
    for box in boxes:
        gone: Tensor = erasing(torch.ones(1, size, size))[0] == 0
        if gone.any():
            rows, columns = gone.any(1).nonzero()[:, 0], gone.any(0).nonzero()[:, 0]
            box[:] = (rows[0], columns[0], len(rows), len(columns))
    return boxes


def test_erased_boxes_are_distributed_as_those_of_timm():
    ours, theirs = drawn(img_size=48).erased, erased_by_timm(len(MANY), 48)
    for boxes in (ours, theirs):
        assert (boxes[:, 2] > 0).mean() == pytest.approx(0.25, abs=0.02)
    ours, theirs = ours[ours[:, 2] > 0], theirs[theirs[:, 2] > 0]
    assert (ours[:, :2] + ours[:, 2:]).max() <= 48
    for column in range(4):
        assert alike(ours[:, column], theirs[:, column])
    areas = [boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs)]
    assert alike(*areas)
