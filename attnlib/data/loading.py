"""Batches of training images, augmented and mixed: one door to three input paths.

``reference`` is timm's transforms on PIL images in DataLoader workers. ``faithful`` does the same
on whole batches on the device: every operation at ``img_size``, in the same order. ``fast`` crops
to the size that the images have, does the operations there, and upscales last; where nothing but
the crop happens, or the images are no smaller than ``img_size``, it is ``faithful``.

``fast`` is the default but for files of any size: trained through it, a small model's accuracy on
CIFAR-10 could not be told from that of the other two (benchmarks/compare_inputs.py, three seeds;
results/measurements/inputs-accuracy.json).

In all three a sample is a function of (seed, epoch, index), how a batch is mixed of (seed, epoch,
step). The paths draw different numbers from the same distributions.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attnlib.augmentation.mixing import draw_mixing, mix_in_place, soft_labels
from attnlib.augmentation.pil_transforms import SMALL, Transform, evaluation_resize, train_transform
from attnlib.augmentation.randaugment import apply_work, plan_work
from attnlib.augmentation.random_parameters import Draws, crop_padding, draw_samples
from attnlib.augmentation.resampling import (
    crop_weights,
    resample,
    resize_weights,
    shift_weights,
    upscale,
)
from attnlib.config import INPUTS, TrainConfig
from attnlib.data.datasets import Split
from attnlib.data.storage import Indices, place_pixels, send
from attnlib.models.layers import IMAGENET_MEAN, IMAGENET_STD
from attnlib.seeding import derive_seed, make_generator, make_rng, seeded

CPU_PIXELS = 2 * 224 * 224  # at a time on a CPU, so that they stay in its cache


class Batch(NamedTuple):
    """Images (B, 3, S, S), floats in [0, 1], and targets (B, K); valid until the next batch.

    Erased boxes hold normal noise, which leaves [0, 1], as in timm.
    """

    images: Tensor
    targets: Tensor


class Source(Protocol):
    """Makes the batches of one training set; ``indices`` are positions in its split."""

    def batch(self, epoch: int, step: int, indices: Indices) -> Batch:
        """The batch of one step."""

    def batches(self, epoch: int, steps: Sequence[tuple[int, Indices]]) -> Iterator[Batch]:
        """The batches of these (step, indices), in order, each equal to that of ``batch``."""


def make_source(
    split: Split,
    config: TrainConfig,
    num_classes: int,
    *,
    device: str | None = None,
    workers: int | None = None,
    memory: int | None = None,
) -> Source:
    """The input path that ``config.input`` names, over ``split``.

    Args:
        split: Training images.
        config: Its augment, img_size, input, seed, label_smoothing, mixup and cutmix count.
        num_classes: Width K of the targets.
        device: Where batches go; if None, ``config.device``.
        workers: Processes of ``reference``; if None, what suits the device.
        memory: Bytes that images may take on the device in the other two paths; if None, half of
            what is free. More than that stays on the host and is staged.

    Raises:
        ValueError: If ``config.input`` or ``config.augment`` is none of the valid ones, or the
            images are files and the path is not ``reference``.
    """
    device = device or config.device
    if config.input == "reference":
        ahead = num_workers(device) if workers is None else workers
        return Reference(split, config, num_classes, device, ahead)
    if config.input in INPUTS:
        return Batched(split, config, num_classes, device, memory)
    raise ValueError(f"input: unknown value {config.input!r}. Valid: {', '.join(INPUTS)}.")


class Reference:
    """timm's transforms, one PIL image at a time; ``workers`` processes share the work."""

    def __init__(
        self, split: Split, config: TrainConfig, num_classes: int, device: str, workers: int
    ):
        self.split, self.config, self.num_classes = split, config, num_classes
        self.device, self.workers = torch.device(device), workers
        self.transform = train_transform(config.augment, config.img_size)

    def batch(self, epoch: int, step: int, indices: Indices) -> Batch:
        """The batch of one step, made in this process."""
        (only,) = self._batches(epoch, [(step, indices)], workers=0)
        return only

    def batches(self, epoch: int, steps: Sequence[tuple[int, Indices]]) -> Iterator[Batch]:
        """The batches of these (step, indices), in order, made ahead by the workers."""
        return self._batches(epoch, steps, self.workers)

    def _batches(
        self, epoch: int, steps: Sequence[tuple[int, Indices]], workers: int
    ) -> Iterator[Batch]:
        samples = Transformed(self.split, self.transform, self.config.seed, epoch)
        loader = make_loader(samples, [indices.tolist() for _, indices in steps], workers)
        for (step, _), (images, labels) in zip(steps, loader, strict=True):
            images = images.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            yield mix_batch(images, labels, self.config, self.num_classes, epoch, step)


class Batched:
    """All images of a batch at once, on the device."""

    def __init__(
        self, split: Split, config: TrainConfig, num_classes: int, device: str, memory: int | None
    ):
        self.config, self.num_classes, self.device = config, num_classes, torch.device(device)
        self.pixels = place_pixels(split.images, self.device, memory)
        self.labels = torch.from_numpy(split.labels).to(self.device)
        self.buffer = torch.empty(0, device=self.device)
        S, native, kind = config.img_size, self.pixels.size, config.augment
        resizes = kind == "thesis" and S > SMALL
        self.work_size = min(*native, S) if resizes and config.input == "fast" else S
        if resizes:
            weights = [crop_weights(side, self.work_size, self.device) for side in native]
        else:
            resized = evaluation_resize(S) if kind == "none" else S
            sides = [int(resized * side / min(native)) for side in native]
            padding = crop_padding(kind, S)
            weights = [
                shift_weights(side, new, S, padding, self.device)
                for side, new in zip(native, sides, strict=True)
            ]
        self.rows, self.columns = weights
        whole = torch.tensor([[0.0], [self.work_size]], dtype=torch.float64)
        self.upscale = resize_weights(whole[0], whole[1], self.work_size, S)[0]
        self.upscale = self.upscale.to(self.device, torch.float32)
        # Erased boxes are windows of one table; timm draws fresh noise for each.
        noise = torch.randn(3, 2 * S, 2 * S, generator=make_generator(config.seed, "noise"))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.noise = (noise * std + mean).to(self.device)

    def batch(self, epoch: int, step: int, indices: Indices) -> Batch:
        """The batch of one step."""
        (only,) = self.batches(epoch, [(step, indices)])
        return only

    def batches(self, epoch: int, steps: Sequence[tuple[int, Indices]]) -> Iterator[Batch]:
        """The batches of these (step, indices), in order."""
        fetched = self.pixels.fetch([indices for _, indices in steps])
        for (step, indices), pixels in zip(steps, fetched, strict=True):
            images = self.augment(pixels.permute(0, 3, 1, 2).contiguous(), epoch, indices)
            (places,) = send([indices], self.device)
            labels = self.labels[places]
            yield mix_batch(images, labels, self.config, self.num_classes, epoch, step)

    def augment(self, pixels: Tensor, epoch: int, indices: Indices) -> Tensor:
        """Samples ``indices`` of an epoch from their uint8 images (B, 3, H, W)."""
        config, S, B = self.config, self.config.img_size, len(indices)
        draws = draw_samples(
            config.augment, S, self.pixels.size, seed=config.seed, epoch=epoch, indices=indices
        )
        if len(self.buffer) < B:
            self.buffer = torch.empty(B, 3, S, S, device=self.device)
        images = self.buffer[:B]
        views = self._views(pixels, draws)
        for part in self._parts(B, S):
            place_views(views[part], self.upscale, images[part])
        for image, (top, left, height, width), (row, column) in zip(
            images, draws.erased.tolist(), draws.noise.tolist(), strict=True
        ):
            if height:
                noise = self.noise[:, row : row + height, column : column + width]
                image[:, top : top + height, left : left + width] = noise
        return images

    def _few(self, size: int) -> int:
        """How many images of ``size`` pixels a side to work on at a time."""
        return max(1, CPU_PIXELS // size**2) if self.device.type == "cpu" else 2**31

    def _parts(self, count: int, size: int) -> list[slice]:
        few = min(self._few(size), count)
        return [slice(start, start + few) for start in range(0, count, few)]

    def _views(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Cropped and flipped, then operated on: uint8 (B, 3, work_size, work_size)."""
        B, size = len(pixels), self.work_size
        plan = plan_work(draws.codes, draws.arguments, size)
        values = [array for work in plan for array in (work.images, work.values)]
        sent = send([draws.place.T, draws.extent.T, draws.flip.T, *values], self.device)
        (place, extent, flip), rest = sent[:3], sent[3:]
        views = pixels.new_empty(B, 3, size, size)
        for part in self._parts(B, size):
            rows = self.rows(place[0, part], extent[0, part], flip[0, part])
            columns = self.columns(place[1, part], extent[1, part], flip[1, part])
            views[part] = resample(pixels[part], rows, columns)
        apply_work(views, plan, list(zip(rest[::2], rest[1::2], strict=True)), self._few(size))
        return views


def place_views(views: Tensor, weights: Tensor, images: Tensor) -> None:
    """Write uint8 ``views`` into ``images``, floats in [0, 1], upscaled if the sizes differ."""
    if weights.shape[0] == weights.shape[1]:
        torch.div(views, 255, out=images)
    else:
        upscale(views, weights, images)


def mix_batch(
    images: Tensor, labels: Tensor, config: TrainConfig, num_classes: int, epoch: int, step: int
) -> Batch:
    """Mix images where they are; targets from labels, smoothed and mixed alike."""
    targets = soft_labels(labels.long(), num_classes, config.label_smoothing)
    H, W = images.shape[-2:]
    rng = make_rng(config.seed, "mix", epoch, step)
    mixing = draw_mixing((H, W), rng, config.mixup, config.cutmix)
    return Batch(images, targets if mixing is None else mix_in_place(images, targets, mixing))


class Transformed(Dataset[tuple[Tensor, Tensor]]):
    """A split seen through a transform, each sample with random numbers of its own."""

    def __init__(self, split: Split, transform: Transform, seed: int, epoch: int):
        self.split, self.transform = split, transform
        self.seed, self.epoch = seed, epoch

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.fromarray(self.split.images[index])
        with seeded(derive_seed(self.seed, "sample", self.epoch, index)):
            return self.transform(image), torch.tensor(self.split.labels[index])


def num_workers(device: str) -> int:
    """Workers for a device: none beside a CPU, where the training step is the slow part."""
    return min(os.cpu_count() or 1, 8) if device.startswith("cuda") else 0


def count_batches(split: Split, batch_size: int) -> int:
    """Steps of one training epoch: a last batch that is not full is dropped, a single one kept."""
    return max(len(split) // batch_size, 1)


def train_batches(
    split: Split, transform: Transform, *, batch_size: int, seed: int, epoch: int, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in the order that (seed, epoch) gives: floats in [0, 1] (B, 3, H, W), labels."""
    order = torch.randperm(len(split), generator=make_generator(seed, "order", epoch)).tolist()
    steps = count_batches(split, batch_size)
    batches = [order[step * batch_size : (step + 1) * batch_size] for step in range(steps)]
    dataset = Transformed(split, transform, seed, epoch)
    yield from make_loader(dataset, batches, workers)


def eval_batches(
    split: Split, transform: Transform, *, batch_size: int, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole split in its own order."""
    order = list(range(len(split)))
    batches = [order[start : start + batch_size] for start in order[::batch_size]]
    yield from make_loader(Transformed(split, transform, seed=0, epoch=0), batches, workers)


def make_loader(
    dataset: Transformed, batches: list[list[int]], workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader of these batches of ``dataset``: images (B, 3, S, S) and labels (B,)."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it would draw from the global one
    )
