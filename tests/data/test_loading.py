"""Input paths: one interface, each sample its own, and what fast and faithful leave as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm_operations import done_by_timm

import attnlib as al
from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.config import INPUTS
from attnlib.data import loading
from attnlib.data.loading import make_source
from attnlib.data.readers import ImageFiles

CLASSES = 5
BASE = al.TrainConfig(augment="thesis", img_size=48, input="fast", device="cpu")


def split_of(height: int = 20, width: int = 20, count: int = 30) -> al.Split:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(i).resize((width, height))) for i in noise]
    return al.Split(np.stack(images), np.arange(count) % CLASSES, np.arange(count))


def made(split: al.Split, indices=range(12), step=0, epoch=0, **changed):
    """Images and targets of one batch, as copies."""
    options = {"device": changed.pop("device", "cpu")}
    options |= {key: changed.pop(key) for key in ("memory", "workers") if key in changed}
    source = make_source(split, replace(BASE, **changed), CLASSES, **options)
    images, targets = source.batch(epoch, step, np.array(indices))
    return images.clone().cpu(), targets.clone().cpu()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    """Decibels, 1 the peak."""
    return -10 * float(((a - b) ** 2).mean().log10())


@pytest.mark.parametrize("augment", ["thesis", "light", "none"])
@pytest.mark.parametrize("img_size", [16, 48])
@pytest.mark.parametrize("path", INPUTS)
def test_every_path_gives_floats_and_probabilities(path, img_size, augment, device):
    split = split_of(20, 26)
    images, targets = made(
        split, input=path, img_size=img_size, augment=augment, label_smoothing=0.1, device=device
    )
    assert images.shape == (12, 3, img_size, img_size) and images.dtype == torch.float32
    assert images.std() > 0.05 and (augment == "thesis" or (0 <= images.min() <= images.max() <= 1))
    torch.testing.assert_close(targets.sum(1), torch.ones(12))
    assert targets.argmax(1).tolist() == split.labels[:12].tolist()


@pytest.mark.parametrize("augment", ["thesis", "light"])
@pytest.mark.parametrize("path", INPUTS)
def test_a_sample_is_the_same_to_the_bit_in_any_batch(path, augment, device):
    split = split_of()
    images, _ = made(split, range(30), input=path, augment=augment, device=device)
    for indices in ([7], [29, 3, 7], list(range(29, -1, -1))):
        others, _ = made(split, indices, step=5, input=path, augment=augment, device=device)
        assert torch.equal(others, images[indices])


@pytest.mark.parametrize("path", INPUTS)
def test_epoch_and_seed_change_the_view_and_nothing_else_does(path):
    split = split_of()
    images, _ = made(split, input=path)
    assert torch.equal(images, made(split, input=path, step=3)[0])
    for other in ({"epoch": 1}, {"seed": 1}):
        assert not torch.equal(images, made(split, input=path, **other)[0])


@pytest.mark.parametrize("path", INPUTS)
def test_each_step_of_each_epoch_mixes_in_its_own_way(path):
    split, moments = split_of(), [(epoch, step) for epoch in range(2) for step in range(3)]
    shares = [made(split, input=path, epoch=e, step=s, mixup=0.8)[1] for e, s in moments]
    assert len({float(targets.max(1).values.min()) for targets in shares}) == len(moments)


@pytest.mark.parametrize("mixing", [{}, {"cutmix": 1.0}, {"mixup": 0.8}])
@pytest.mark.parametrize("path", INPUTS)
def test_batches_equal_batch(path, mixing, device):
    split = split_of()
    config = replace(BASE, input=path, **mixing)
    steps = [(4, np.arange(6)), (5, np.arange(6, 13)), (6, np.arange(3))]
    source = make_source(split, config, CLASSES, device=device, workers=2)
    for (step, indices), (images, targets) in zip(steps, source.batches(1, steps), strict=True):
        alone = make_source(split, config, CLASSES, device=device).batch(1, step, indices)
        assert torch.equal(images, alone.images) and torch.equal(targets, alone.targets)


def test_workers_change_nothing():
    split = split_of()
    steps = [(0, np.arange(5)), (1, np.arange(5, 11))]
    sources = [
        make_source(split, replace(BASE, input="reference"), CLASSES, workers=workers)
        for workers in (0, 2)
    ]
    for alone, shared in zip(*(source.batches(0, steps) for source in sources), strict=True):
        assert torch.equal(alone.images, shared.images)


@pytest.mark.parametrize("path", INPUTS)
def test_all_paths_and_parts_of_a_step_share_the_cut_box(path):
    """With black and white partners the mask that was pasted can be read off the pixels."""
    images = np.zeros((8, 48, 48, 3), np.uint8)
    images[4:] = 255
    split = al.Split(images, np.arange(8) % CLASSES, np.arange(8))
    masks = [
        made(split, part, step=9, input=way, augment="none", cutmix=1.0)[0][0, 0]
        for way, part in ((path, range(8)), (path, [0, 1, 6, 7]), ("reference", range(8)))
    ]
    assert 0 < masks[0].mean() < 1
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("path", INPUTS)
@pytest.mark.parametrize("mixing", [{"cutmix": 1.0}, {"mixup": 0.8}])
def test_labels_mix_in_proportion_to_the_pixels(path, mixing):
    images = np.zeros((6, 24, 24, 3), np.uint8)
    images[3:] = 255
    split = al.Split(images, np.repeat([0, 1], 3), np.arange(6))
    for step in range(5):
        batch, targets = made(split, range(6), step, input=path, augment="none", **mixing)
        white = batch.mean(dim=(1, 2, 3))
        torch.testing.assert_close(targets[:, 1], white, atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", ["faithful", "fast"])
def test_without_augmentation_images_of_the_asked_size_are_unchanged(path, device):
    split = split_of(32, 32)
    images, _ = made(split, augment="none", img_size=32, input=path, device=device)
    pixels = (255 * images).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(pixels, split.images[:12])


@pytest.mark.parametrize("size", [(20, 20), (20, 26), (70, 60)])
@pytest.mark.parametrize("path", ["faithful", "fast"])
def test_without_augmentation_images_are_those_of_evaluation(path, size, device):
    split = split_of(*size)
    images, _ = made(split, augment="none", img_size=48, input=path, device=device)
    theirs = [eval_transform(48)(Image.fromarray(image)) for image in split.images[:12]]
    assert psnr(images, torch.stack(theirs)) > 45


def test_faithful_equals_the_recipe_done_with_pillow(monkeypatch, device):
    """The same draws, operation for operation on PIL images: the whole recipe but erasing."""
    from torchvision.transforms import InterpolationMode, functional

    split = split_of()
    drawn = loading.draw_samples("thesis", 64, (20, 20), seed=0, epoch=0, indices=np.arange(30))
    plain = drawn._replace(erased=np.zeros_like(drawn.erased))
    monkeypatch.setattr(loading, "draw_samples", lambda *_, **__: plain)
    images, _ = made(split, range(30), input="faithful", img_size=64, device=device)
    theirs = []
    for place, image in enumerate(split.images):
        box = (*drawn.place[place].tolist(), *drawn.extent[place].tolist())
        view = functional.resized_crop(
            Image.fromarray(image), *box, [64, 64], InterpolationMode.BICUBIC
        )
        view = functional.hflip(view) if drawn.flip[place, 1] else view
        pixels = np.asarray(functional.vflip(view) if drawn.flip[place, 0] else view)[None]
        for code, argument in zip(drawn.codes[place], drawn.arguments[place], strict=True):
            pixels = pixels if code < 0 else done_by_timm(pixels, code, argument)
        theirs.append(functional.to_tensor(pixels[0]))
    differences = (images - torch.stack(theirs)).abs().amax(dim=(1, 2, 3))
    assert (differences < 3.5 / 255).float().mean() > 0.9  # solarising makes much of one level
    assert psnr(images, torch.stack(theirs)) > 40


def test_fast_is_faithful_to_the_crop_and_the_flip(monkeypatch, device):
    split = split_of()
    drawn = loading.draw_samples("thesis", 48, (20, 20), seed=0, epoch=0, indices=np.arange(30))
    plain = drawn._replace(codes=drawn.codes[:, :0], arguments=drawn.arguments[:, :0])
    monkeypatch.setattr(loading, "draw_samples", lambda *_, **__: plain)
    fast, faithful = (
        made(split, range(30), input=path, device=device)[0] for path in ("fast", "faithful")
    )
    assert psnr(fast, faithful) > 35
    erased = torch.from_numpy(drawn.erased[:, 2] > 0)
    assert not torch.equal(fast[~erased], faithful[~erased]) and erased.any()


def test_fast_works_at_the_images_own_size_and_faithful_at_the_asked_one():
    assert make_source(split_of(), BASE, CLASSES).work_size == 20
    assert make_source(split_of(), replace(BASE, input="faithful"), CLASSES).work_size == 48
    assert make_source(split_of(52, 50), BASE, CLASSES).work_size == 48
    small, big = split_of(52, 50), {"img_size": 48}
    assert torch.equal(made(small, **big)[0], made(small, input="faithful", **big)[0])


def test_erased_boxes_hold_noise_of_the_erased_size(monkeypatch, device):
    black = np.zeros((30, 20, 20, 3), np.uint8)
    split = al.Split(black, np.arange(30) % CLASSES, np.arange(30))
    drawn = loading.draw_samples("thesis", 48, (20, 20), seed=0, epoch=0, indices=np.arange(30))
    plain = drawn._replace(codes=drawn.codes[:, :0], arguments=drawn.arguments[:, :0])
    monkeypatch.setattr(loading, "draw_samples", lambda *_, **__: plain)
    images, _ = made(split, range(30), device=device)
    noise = []
    for image, (top, left, height, width) in zip(images, drawn.erased.tolist(), strict=True):
        touched = (image != 0).all(0)
        assert int(touched.sum()) == height * width
        assert touched[top : top + height, left : left + width].all()
        noise.append(image[:, touched])
    mean, std = torch.cat(noise, dim=1).mean(1), torch.cat(noise, dim=1).std(1)
    torch.testing.assert_close(mean, torch.tensor([0.485, 0.456, 0.406]), atol=0.03, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.229, 0.224, 0.225]), atol=0.03, rtol=0)


def test_a_buffer_is_used_again_and_grows():
    source = make_source(split_of(), BASE, CLASSES)
    first = source.batch(0, 0, np.arange(4)).images.data_ptr()
    assert source.batch(0, 1, np.arange(3)).images.data_ptr() == first
    assert len(source.batch(0, 2, np.arange(9)).images) == 9


def test_files_of_any_size_need_the_reference():
    split = al.Split(ImageFiles((), ()), np.arange(0), np.arange(0))
    for path in ("faithful", "fast"):
        with pytest.raises(ValueError, match="input=reference"):
            make_source(split, replace(BASE, input=path), CLASSES)
    make_source(split, replace(BASE, input="reference"), CLASSES)


def test_unknown_paths_and_augmentations_are_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"'slow'\. Valid: reference, faithful, fast"):
        make_source(split_of(), replace(BASE, input="slow"), CLASSES)
    for path in INPUTS:
        with pytest.raises(ValueError, match="Valid: thesis, light, none"):
            make_source(split_of(), replace(BASE, input=path, augment="heavy"), CLASSES)


def test_drawing_batches_leaves_the_global_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for path in INPUTS:
        made(split_of(), input=path, mixup=0.8)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
