"""Transforms of one image: the thesis's whole recipe is there, seeded and in [0, 1]."""

import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision import transforms

from attnlib.augmentation.pil_transforms import eval_transform, thesis_transform, train_transform
from attnlib.seeding import seeded


def picture(size: int = 32) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size))


@pytest.mark.parametrize("name", ["thesis", "light", "none"])
@pytest.mark.parametrize("img_size", [32, 48])
def test_transforms_give_floats_of_the_asked_size(name, img_size):
    with seeded(1):
        image = train_transform(name, img_size)(picture(20))
    assert image.shape == (3, img_size, img_size) and image.dtype == torch.float32


def test_plain_transforms_stay_within_0_and_1():
    for name in ("light", "none"):
        with seeded(3):
            image = train_transform(name, 32)(picture())
        assert 0 <= image.min() and image.max() <= 1


@pytest.mark.parametrize("name", ["thesis", "light", "none"])
@pytest.mark.parametrize("img_size", [32, 48])
def test_transforms_survive_being_pickled(name, img_size):
    """As for workers that are started afresh: Windows, macOS, Python 3.14."""
    transform = train_transform(name, img_size)
    sent = pickle.loads(pickle.dumps(transform))
    for seed in range(5):
        with seeded(seed):
            ours = transform(picture(20))
        with seeded(seed):
            assert torch.equal(sent(picture(20)), ours)


def test_unknown_augmentation_is_refused():
    with pytest.raises(ValueError, match="Valid: thesis, light, none"):
        train_transform("heavy", 32)


def test_thesis_recipe_has_every_operation_that_the_thesis_names():
    steps = thesis_transform(224).transforms
    flat = [step for stage in steps for step in getattr(stage, "transforms", [stage])]
    names = [type(step).__name__ for step in flat]
    assert {"RandomResizedCropAndInterpolation", "RandAugment", "ColorJitter"} < set(names)
    assert {"RandomHorizontalFlip", "RandomVerticalFlip", "RandomErasing"} < set(names)
    assert names.index("RandAugment") < names.index("ColorJitter") < names.index("RandomErasing")


def test_images_are_normalised_only_inside_the_model():
    steps = thesis_transform(224).transforms
    image = torch.rand(3, 8, 8)
    normalize = next(s for s in steps[2].transforms if isinstance(s, transforms.Normalize))
    torch.testing.assert_close(steps[3](normalize(image)), image)


def test_both_flips_happen():
    left, top = picture(32), thesis_transform(64).transforms[0].transforms
    flips = [step for step in top if "Flip" in type(step).__name__]
    assert [flip.p for flip in flips] == [0.5, 0.5]
    flipped = {bytes(flips[1](flips[0](left)).tobytes()) for _ in range(40)}
    assert bytes(ImageOps.flip(left).tobytes()) in flipped
    assert bytes(ImageOps.mirror(left).tobytes()) in flipped


def test_posterising_to_0_bits_gives_black_instead_of_a_crash():
    randaugment = thesis_transform(64).transforms[1].transforms[0]
    (posterize,) = [op for op in randaugment.ops if op.name.startswith("Posterize")]
    posterize.prob, posterize.magnitude, posterize.magnitude_std = 1.0, 10, 0
    assert not np.asarray(posterize(picture())).any()
    posterize.magnitude = 3
    assert np.asarray(posterize(picture())).any()


def test_evaluation_crops_the_centre_only_above_32_pixels():
    sides = {32: 32, 224: 256}
    for size, resized in sides.items():
        first = eval_transform(size).transforms[0]
        assert first.size == resized


def test_seeded_gives_the_same_view_and_puts_the_generators_back():
    transform = train_transform("thesis", 32)
    random.seed(0), torch.manual_seed(0)
    before = random.getstate(), torch.get_rng_state()
    views = []
    for seed in (5, 5, 6):
        with seeded(seed):
            views.append(transform(picture()))
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
