"""Operations: each against timm's own function, same parameter, same pixels."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm_operations import LEVELS, done_by_timm
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import functional

from attnlib.augmentation import randaugment as ops
from attnlib.augmentation.randaugment import Operations, plan_columns
from attnlib.data.storage import send

FACTORS = (0.1, 0.7, 0.99, 1.0, 1.3, 1.83, 1.9)
ARGUMENTS = {
    ops.ROTATE: (27.3, -12.0, 30.0, -30.0, 0.0),
    **LEVELS,
    **dict.fromkeys((ops.COLOR, ops.CONTRAST, ops.BRIGHTNESS, ops.SHARPNESS), FACTORS),
    **dict.fromkeys((ops.SHEAR_X, ops.SHEAR_Y), (0.27, -0.3, 0.1)),
    **dict.fromkeys((ops.TRANSLATE_X, ops.TRANSLATE_Y), (0.405, -0.45, 0.25)),
}
MOVEMENTS = (ops.ROTATE, ops.SHEAR_X, ops.SHEAR_Y, ops.TRANSLATE_X, ops.TRANSLATE_Y)


def pictures(kind: str) -> np.ndarray:
    """Six images uint8 (N, H, W, 3) that are hard in different ways."""
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
    return {
        "smooth": np.stack([np.asarray(Image.fromarray(i).resize((32, 32))) for i in smooth]),
        "noise": rng.integers(0, 256, (6, 20, 20, 3), dtype=np.uint8),
        "dark": rng.integers(40, 60, (6, 33, 33, 3), dtype=np.uint8),
        "few levels": rng.choice(np.array([0, 90, 255], np.uint8), (6, 18, 18, 3)),
        "flat": np.full((6, 16, 16, 3), 77, np.uint8),
    }[kind]


def batch_of(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def done(images, codes, arguments, device="cpu", few=2) -> np.ndarray:
    """Images after one column of operations."""
    column = np.array(codes)[:, None], np.array(arguments, np.float64)[:, None]
    return all_done(images, *column, device, few)


def all_done(images, codes, arguments, device="cpu", few=2) -> np.ndarray:
    """Images after all columns of operations."""
    columns, lies_at = plan_columns(codes, arguments, images.shape[1])
    operations = Operations(images.shape[1], torch.device(device), few)
    numbers = send(operations.numbers(columns, lies_at), torch.device(device))
    pixels = operations.apply(batch_of(images).to(device), columns, numbers)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


@pytest.mark.parametrize("kind", ["smooth", "noise", "dark", "few levels", "flat"])
@pytest.mark.parametrize("code", range(15), ids=ops.OPERATIONS)
def test_operation_equals_that_of_timm(code, kind, device):
    """To the bit where nothing moves; else to one level in one pixel of fifty."""
    images = pictures(kind)
    for argument in ARGUMENTS.get(code, (0.0,)):
        ours = done(images, [code] * 6, [argument] * 6, device).astype(int)
        difference = np.abs(ours - done_by_timm(images, code, argument))
        if code in MOVEMENTS:
            assert difference.max() <= 1 and (difference > 0).mean() < 0.02
        else:
            assert difference.max() == 0, argument


def test_turned_and_shifted_pixels_that_come_from_outside_take_the_fill_colour():
    white = np.full((1, 20, 20, 3), 255, np.uint8)
    for code, argument in ((ops.ROTATE, 30), (ops.SHEAR_X, 0.3), (ops.TRANSLATE_Y, -0.4)):
        found = np.unique(done(white, [code], [argument]).reshape(-1, 3), axis=0)
        assert found.tolist() == [[124, 116, 104], [255, 255, 255]]


def test_each_image_has_its_own_operation_and_argument_and_nothing_is_nothing():
    images = pictures("smooth")
    codes = [ops.ROTATE, ops.NOTHING, ops.COLOR, ops.COLOR, ops.EQUALIZE, ops.SHEAR_Y]
    arguments = [10, 0, 0.5, 1.5, 0, 0.2]
    together = done(images, codes, arguments)
    for place, (code, argument) in enumerate(zip(codes, arguments, strict=True)):
        image = images[[place]]
        alone = done(image, [code], [argument]) if code != ops.NOTHING else image
        assert np.array_equal(together[[place]], alone)


def test_nothing_costs_nothing():
    assert plan_columns(np.full((8, 5), ops.NOTHING), np.zeros((8, 5)), 32)[0] == []


def test_columns_are_done_one_after_the_other():
    images = pictures("smooth")[:1]
    codes, arguments = np.array([[ops.INVERT, ops.SOLARIZE]]), np.array([[0.0, 100.0]])
    found = all_done(images, codes, arguments)
    expected = done(done(images, [ops.INVERT], [0]), [ops.SOLARIZE], [100])
    assert np.array_equal(found, expected)
    other_way = done(done(images, [ops.SOLARIZE], [100]), [ops.INVERT], [0])
    assert not np.array_equal(expected, other_way)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.27])
@pytest.mark.parametrize(
    ("code", "function"),
    [
        (ops.BRIGHTNESS, functional.adjust_brightness),
        (ops.CONTRAST, functional.adjust_contrast),
        (ops.COLOR, functional.adjust_saturation),
    ],
)
def test_jitter_is_that_of_torchvision_on_pil_images(code, function, factor):
    images = pictures("smooth")
    theirs = [np.asarray(function(Image.fromarray(image), factor)) for image in images]
    assert np.array_equal(done(images, [code] * 6, [factor] * 6), np.stack(theirs))


def test_pixels_of_shifted_rows_and_columns_are_those_of_the_way_for_all_movements():
    """A CPU takes four values a pixel where a GPU takes sixteen, to the same bits."""
    images = pictures("noise")
    kept = [ops.SHEAR_X, ops.TRANSLATE_X, ops.SHEAR_Y, ops.TRANSLATE_Y]
    for arguments in np.random.default_rng(1).uniform(-0.45, 0.45, (20, 6)):
        code = np.sort(np.resize(kept, 6))
        code = code[np.argsort(ops.RANK_OF[code], kind="stable")]
        operations = Operations(20, torch.device("cpu"))
        paths = torch.from_numpy(ops.source_paths(code, arguments, 20))
        ours, theirs = batch_of(images), batch_of(images)
        operations.move(ours, code, paths)
        operations.fill_outside(*operations.follow(theirs.clone(), paths), theirs)
        assert torch.equal(ours, theirs)


def test_columns_of_many_images_are_those_of_each_alone():
    rng = np.random.default_rng(0)
    images = np.concatenate([pictures("noise")] * 5)
    codes = rng.integers(-1, 15, (30, 4))
    levels = np.where(np.isin(codes, ops.TABLES), rng.integers(0, 9, codes.shape), 0.3)
    together = all_done(images, codes, levels, few=None)
    for place in range(30):
        one = slice(place, place + 1)
        assert np.array_equal(together[one], all_done(images[one], codes[one], levels[one]))


@pytest.mark.parametrize("few", [1, 4, 100])
def test_how_many_are_done_at_a_time_changes_nothing(few):
    images = pictures("noise")
    codes = [ops.ROTATE, ops.ROTATE, ops.SHARPNESS, ops.CONTRAST, ops.ROTATE, ops.CONTRAST]
    arguments = [3, -20, 1.5, 0.6, 14, 1.2]
    assert np.array_equal(done(images, codes, arguments, few=few), done(images, codes, arguments))


class Products(TorchDispatchMode):
    """Counts products of matrices."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten.bmm.default
        return function(*args, **(kwargs or {}))


def test_a_rotation_on_the_cpu_multiplies_no_matrices():
    """Products of 4 x 4 numbers for each pixel made a batch at 224 pixels a fifth slower."""
    operations = Operations(20, torch.device("cpu"))
    images = torch.randint(0, 256, (3, 3, 20, 20), dtype=torch.uint8)
    columns, lies_at = plan_columns(np.full((3, 1), ops.ROTATE), np.full((3, 1), 20.0), 20)
    numbers = send(operations.numbers(columns, lies_at), torch.device("cpu"))
    with Products() as products:
        turned = operations.apply(images, columns, numbers)
    assert products.count == 0 and not torch.equal(turned, images)
