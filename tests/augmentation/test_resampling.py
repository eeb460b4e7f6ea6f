"""Resizing by matrix products: Pillow's results, from tables or not."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, functional

from attnlib.augmentation import resampling
from attnlib.augmentation.resampling import (
    ShiftedCrops,
    Weights,
    crop_weights,
    resample,
    resize_weights,
    upscale,
)

BICUBIC = InterpolationMode.BICUBIC


def pictures(count: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(i).resize((width, height))) for i in noise])


def batch_of(images: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)


def psnr(difference: np.ndarray) -> float:
    """Decibels, 255 the peak."""
    return 10 * np.log10(255**2 / np.mean(np.square(difference)))


def weights_of(axis: Weights, place, extent, flip, device: str = "cpu") -> torch.Tensor:
    """Weights of crops (B, S, n)."""
    numbers = axis.numbers(*(np.asarray(values) for values in (place, extent, flip)))
    return axis.weights(torch.from_numpy(numbers.astype(np.int32)).to(device))


def cropped(images, device, size, seed=0):
    """Random crops with flips, ours and torchvision's on PIL images, as signed levels."""
    rng = np.random.default_rng(seed)
    sides = np.array(images.shape[1:3])
    extent = rng.integers(1, sides + 1, (len(images), 2))
    place = rng.integers(0, sides - extent + 1)
    flip = rng.integers(0, 2, (len(images), 2))
    axes = [crop_weights(int(side), size, torch.device(device)) for side in sides]
    weights = [weights_of(axes[k], place[:, k], extent[:, k], flip[:, k], device) for k in range(2)]
    ours = resample(batch_of(images, device), *weights).permute(0, 2, 3, 1).cpu().numpy()
    theirs = []
    for image, (top, left), (height, width), (rows, columns) in zip(
        images, place.tolist(), extent.tolist(), flip, strict=True
    ):
        view = functional.resized_crop(
            Image.fromarray(image), top, left, height, width, [size, size], BICUBIC
        )
        view = functional.hflip(view) if columns else view
        theirs.append(np.asarray(functional.vflip(view) if rows else view))
    return ours.astype(int), np.stack(theirs).astype(int)


@pytest.mark.parametrize("native", [(32, 32), (20, 45)])
def test_crop_flip_and_upscale_equal_pillows_to_one_level(native, device):
    ours, theirs = cropped(pictures(24, *native), device, 64)
    assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 1e-3


def test_shrinking_crops_are_pillows_up_to_the_order_of_its_passes(device):
    ours, theirs = cropped(pictures(24, 40, 40), device, 16)
    assert psnr(ours - theirs) > 45


def test_weights_without_a_table_are_those_of_the_table(monkeypatch, device):
    tabled = cropped(pictures(24, 20, 20), device, 48)[0]
    monkeypatch.setattr(resampling, "TABLE_BYTES", 0)
    computed = cropped(pictures(24, 20, 20), device, 48)[0]
    assert np.abs(tabled - computed).max() <= 1 and (tabled != computed).mean() < 1e-3


def test_a_crop_of_its_own_size_is_the_crop_itself(device):
    images = pictures(1, 12, 12)
    weights = crop_weights(12, 8, torch.device(device))
    rows = weights_of(weights, [3], [8], [0], device)
    found = resample(batch_of(images, device), rows, rows).cpu()
    assert torch.equal(found, batch_of(images, "cpu")[:, :, 3:11, 3:11])


def test_weights_of_an_output_pixel_sum_to_one_and_stay_in_the_interval():
    weights = resize_weights(torch.tensor([4.0, 0.0]), torch.tensor([5.0, 13.0]), 13, 7)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 7))
    assert not weights[0, :, :4].any() and not weights[0, :, 9:].any()


@pytest.mark.parametrize(("size", "resized"), [(48, 48), (56, 64), (32, 32)])
def test_resize_and_centre_crop_equal_torchvisions(size, resized, device):
    images = pictures(4, 30, 41)
    axes = [
        ShiftedCrops(side, int(resized * side / 30), size, 0, torch.device(device))
        for side in (30, 41)
    ]
    weights = [weights_of(axis, [0] * 4, [0] * 4, [0] * 4, device) for axis in axes]
    ours = resample(batch_of(images, device), *weights).permute(0, 2, 3, 1).cpu().numpy()
    theirs = [
        np.asarray(
            functional.center_crop(
                functional.resize(Image.fromarray(image), resized, BICUBIC), size
            )
        )
        for image in images
    ]
    assert np.abs(ours.astype(int) - np.stack(theirs)).max() <= 1


def test_padded_crops_shift_in_black_and_mirror():
    image = pictures(1, 8, 8)
    shifted = weights_of(
        ShiftedCrops(8, 8, 8, 2, torch.device("cpu")), [0, 2, 4], [8] * 3, [0, 1, 0]
    )
    pixels = batch_of(np.repeat(image, 3, axis=0), "cpu")
    rows = weights_of(ShiftedCrops(8, 8, 8, 0, torch.device("cpu")), [0] * 3, [8] * 3, [0] * 3)
    found, original = resample(pixels, rows, shifted), pixels[0]
    assert torch.equal(found[0, ..., 2:], original[..., :-2]) and not found[0, ..., :2].any()
    assert torch.equal(found[1], original.flip(-1))
    assert torch.equal(found[2, ..., :-2], original[..., 2:]) and not found[2, ..., -2:].any()


def test_upscaling_equals_pillows_but_for_its_rounding(device):
    images = pictures(3, 16, 16)
    weights = resize_weights(torch.tensor([0.0]), torch.tensor([16.0]), 16, 56)[0].to(device)
    found = torch.empty(3, 3, 56, 56, device=device)
    upscale(batch_of(images, device), weights / 255, weights, found)
    assert 0 <= found.min() and found.max() <= 1
    theirs = [np.asarray(Image.fromarray(i).resize((56, 56), Image.BICUBIC)) for i in images]
    ours = 255 * found.permute(0, 2, 3, 1).cpu().numpy()
    assert psnr(ours - np.stack(theirs)) > 50
