"""Batches of images: three input paths for training and one for evaluation.

``reference`` is timm's transforms on PIL images in DataLoader workers. ``faithful`` does the same
on whole batches on the device: every operation at ``img_size``, in the same order. ``fast`` crops
to the images' stored size, applies the operations there, and upscales last; where nothing but
the crop happens, or the images are no smaller than ``img_size``, it is ``faithful``.

``fast`` is the default except for files of any size. With it, a small model's accuracy on
CIFAR-10 did not differ detectably from the other two (benchmarks/compare_inputs.py, three seeds;
results/measurements/inputs-accuracy.json).

In all three a sample depends only on (seed, epoch, index), and mixing only on (seed, epoch,
step). The paths draw different numbers from the same distributions.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attnlib.augmentation.mixing import (
    Mixing,
    draw_mixing,
    mix_images,
    mix_targets,
    soft_labels,
)
from attnlib.augmentation.pil_transforms import (
    PADDED_UP_TO,
    Transform,
    evaluation_resize,
    train_transform,
)
from attnlib.augmentation.randaugment import Operations, in_parts, plan_columns
from attnlib.augmentation.random_parameters import Draws, crop_padding, draw_samples
from attnlib.augmentation.resampling import (
    ShiftedCrops,
    Weights,
    crop_weights,
    resample,
    resize_weights,
    upscale,
)
from attnlib.config import INPUTS, TrainConfig
from attnlib.data.datasets import Split
from attnlib.data.storage import Indices, current_device, place_pixels, send, send_together
from attnlib.models.layers import IMAGENET_MEAN, IMAGENET_STD
from attnlib.seeding import derive_seed, make_generator, make_rng, seeded

CPU_PIXELS = 2 * 224 * 224  # images at a time on a CPU, so that they stay in its cache


class Batch(NamedTuple):
    """Images (B, 3, S, S), floats in [0, 1], and targets (B, K), valid until the next batch.

    Erased boxes hold normal noise, which is not limited to [0, 1], as in timm.
    """

    images: Tensor
    targets: Tensor


class Source(Protocol):
    """Makes the batches of a training set; ``indices`` are positions in its split."""

    def batch(self, epoch: int, step: int, indices: Indices) -> Batch:
        """The batch of one step."""

    def batches(self, epoch: int, steps: Sequence[tuple[int, Indices]]) -> Iterator[Batch]:
        """The batches of these (step, indices), in order, each equal to the result of ``batch``."""


def make_source(
    split: Split,
    config: TrainConfig,
    num_classes: int,
    *,
    device: str | None = None,
    workers: int | None = None,
    memory: int | None = None,
) -> Source:
    """The input path ``config.input`` for ``split``.

    Args:
        split: Training images.
        config: Of it augment, img_size, input, seed, label_smoothing, mixup and cutmix are used.
        num_classes: Width K of the targets.
        device: Where batches go; if None, ``config.device``.
        workers: Processes of ``reference``; if None, chosen for the device.
        memory: Bytes for images on the device in the other two paths; if None, half of
            what is free. Larger sets stay on the host and are staged.

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
        """The batches of these (step, indices), in order, prepared by the workers."""
        return self._batches(epoch, steps, self.workers)

    def _batches(
        self, epoch: int, steps: Sequence[tuple[int, Indices]], workers: int
    ) -> Iterator[Batch]:
        samples = Transformed(self.split, self.transform, self.config.seed, epoch)
        positions = [indices.tolist() for _, indices in steps]
        loader = load_samples(samples, positions, workers, self.device)
        for (step, _), (images, labels) in zip(steps, loader, strict=True):
            mixing = draw_for_step(self.config, epoch, step)
            targets = make_targets(labels, self.config, self.num_classes, mixing)
            images = images.to(self.device, non_blocking=True)
            if mixing is not None:
                mix_images(images, mixing)
            yield Batch(images, send([targets.numpy()], self.device)[0])


class Batched:
    """Processes whole batches on the device: crop, operations, enlarging, erasing.

    Each stage's ``numbers`` give what it needs to know of a batch. All are sent to the device
    together, and the work there never synchronises.
    """

    def __init__(
        self, split: Split, config: TrainConfig, num_classes: int, device: str, memory: int | None
    ):
        self.config, self.num_classes, self.device = config, num_classes, torch.device(device)
        self.labels, S = split.labels, config.img_size
        self.pixels = place_pixels(split.images, self.device, memory)
        resizes = config.augment == "thesis" and S > PADDED_UP_TO
        at_native = resizes and config.input == "fast"
        self.work_size = min(*self.pixels.size, S) if at_native else S
        self.crop = Crop(config, self.pixels.size, self.work_size, self.device)
        self.operations = Operations(
            self.work_size, self.device, few_at_once(self.work_size, device)
        )
        self.enlarge = Enlarge(self.work_size, S, self.device)
        self.erase = Erase(S, config.seed, self.device)

    def batch(self, epoch: int, step: int, indices: Indices) -> Batch:
        """The batch of one step."""
        (only,) = self.batches(epoch, [(step, indices)])
        return only

    def batches(self, epoch: int, steps: Sequence[tuple[int, Indices]]) -> Iterator[Batch]:
        """The batches of these (step, indices), in order."""
        fetched = self.pixels.fetch([indices for _, indices in steps])
        for (step, indices), pixels in zip(steps, fetched, strict=True):
            yield self._make(pixels, epoch, step, indices)

    def _make(self, pixels: Tensor, epoch: int, step: int, indices: Indices) -> Batch:
        """The batch of one step from its uint8 images (B, H, W, 3)."""
        config = self.config
        mixing = draw_for_step(config, epoch, step)
        labels = torch.from_numpy(self.labels[indices])
        soft = make_targets(labels, config, self.num_classes, mixing)
        draws = draw_samples(
            config.augment,
            config.img_size,
            self.pixels.size,
            seed=config.seed,
            epoch=epoch,
            indices=indices,
        )
        columns, lies_at = plan_columns(draws.codes, draws.arguments, self.work_size)
        (targets,), cropped, operated, erased = send_together(
            [soft.numpy()],
            self.crop.numbers(draws),
            self.operations.numbers(columns, lies_at),
            self.erase.numbers(draws),
            device=self.device,
        )
        views = self.crop.apply(pixels, cropped)
        views = self.operations.apply(views, columns, operated)
        images = self.enlarge.apply(views)
        self.erase.apply(images, draws, erased)
        if mixing is not None:
            mix_images(images, mixing)
        return Batch(images, targets)


def few_at_once(size: int, device: str) -> int | None:
    """Number of images of ``size`` pixels a side to process at a time; None for all."""
    return max(1, CPU_PIXELS // size**2) if torch.device(device).type == "cpu" else None


class Crop:
    """Crops and flips, resized to ``work_size``."""

    def __init__(
        self, config: TrainConfig, native: tuple[int, int], work_size: int, device: torch.device
    ):
        self.size, self.few = work_size, few_at_once(work_size, str(device))
        S, kind = config.img_size, config.augment
        padding = crop_padding(kind, S)
        self.rows: Weights
        self.columns: Weights
        if kind == "thesis" and S > PADDED_UP_TO:
            self.rows, self.columns = (crop_weights(side, work_size, device) for side in native)
        else:
            resized = evaluation_resize(S) if kind == "none" else S
            self.rows, self.columns = (
                ShiftedCrops(side, int(resized * side / min(native)), S, padding, device)
                for side in native
            )

    def numbers(self, draws: Draws) -> list[Indices]:
        """The rows and columns of each view."""
        axes = zip(
            (self.rows, self.columns), draws.place.T, draws.extent.T, draws.flip.T, strict=True
        )
        return [axis.numbers(place, extent, flip) for axis, place, extent, flip in axes]

    def apply(self, pixels: Tensor, numbers: Sequence[Tensor]) -> Tensor:
        """Views (B, 3, work_size, work_size) of uint8 images (B, H, W, 3)."""
        pixels, (rows, columns) = pixels.permute(0, 3, 1, 2), numbers
        views = pixels.new_empty(len(pixels), 3, self.size, self.size)
        for part in in_parts(len(pixels), self.few):
            weights = self.rows.weights(rows[part]), self.columns.weights(columns[part])
            floats = pixels[part].to(torch.float32, memory_format=torch.contiguous_format)
            resample(floats, *weights, out=views[part])
        return views


class Enlarge:
    """Upscales to floats in [0, 1] of ``img_size``, in a reused buffer."""

    def __init__(self, work_size: int, img_size: int, device: torch.device):
        self.size, self.few = img_size, few_at_once(img_size, str(device))
        whole = torch.tensor([[0.0], [work_size]], dtype=torch.float64)
        weights = resize_weights(whole[0], whole[1], work_size, img_size)[0]
        self.columns = weights.float().to(device)
        self.rows = self.columns / 255
        self.buffer = torch.empty(0, device=device)

    def apply(self, views: Tensor) -> Tensor:
        """Images (B, 3, img_size, img_size) from uint8 views, valid until the next call."""
        if len(self.buffer) < len(views):
            shape = (len(views), 3, self.size, self.size)
            self.buffer = torch.empty(shape, device=views.device)
        images = self.buffer[: len(views)]
        for part in in_parts(len(views), self.few):
            if views.shape[2] == self.size:
                torch.div(views[part], 255, out=images[part])
            else:
                upscale(views[part], self.rows, self.columns, images[part])
        return images


class Erase:
    """Fills boxes with windows of one table of normal noise; timm draws fresh noise for each."""

    def __init__(self, size: int, seed: int, device: torch.device):
        self.size, self.device = size, device
        noise = torch.randn(3, 2 * size, 2 * size, generator=make_generator(seed, "noise"))
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.noise = (noise * std + mean).to(device)
        if device.type != "cpu":  # room for an image whose box starts at the table's edge
            self.noise = F.pad(self.noise, (size, 0, size, 0))

    def numbers(self, draws: Draws) -> list[NDArray[Any]]:
        """Erased images, their windows, and the rows and columns of their boxes; none on a CPU."""
        if self.device.type == "cpu":
            return []
        images = np.flatnonzero(draws.erased[:, 2])
        start, extent = draws.erased[images, :2, None], draws.erased[images, 2:, None]
        step = np.arange(self.size)
        windows = draws.noise[images] + self.size - draws.erased[images, :2]
        return [images, windows, (step >= start) & (step < start + extent)]

    def apply(self, images: Tensor, draws: Draws, numbers: Sequence[Tensor]) -> None:
        """Fill the boxes of ``images`` in place: one by one on a CPU, else in a few kernels."""
        if numbers:
            places, windows, inside = numbers
            if len(places):
                S = self.size
                row, column = windows.unbind(1)
                noise = self.noise.unfold(1, S, 1).unfold(2, S, 1)[:, row, column].transpose(0, 1)
                boxes = torch.logical_and(inside[:, 0, :, None], inside[:, 1, None])
                erased = torch.where(boxes[:, None], noise, images.index_select(0, places))
                images.index_copy_(0, places.long(), erased)
            return
        for image, (top, left, height, width), (row, column) in zip(
            images, draws.erased.tolist(), draws.noise.tolist(), strict=True
        ):
            if height:
                noise = self.noise[:, row : row + height, column : column + width]
                image[:, top : top + height, left : left + width] = noise


def draw_for_step(config: TrainConfig, epoch: int, step: int) -> Mixing | None:
    """How the batch of one step is mixed; None if it isn't."""
    size, rng = (config.img_size, config.img_size), make_rng(config.seed, "mix", epoch, step)
    return draw_mixing(size, rng, config.mixup, config.cutmix)


def make_targets(
    labels: Tensor, config: TrainConfig, num_classes: int, mixing: Mixing | None
) -> Tensor:
    """Smoothed targets (B, K) from labels, mixed as the images are."""
    targets = soft_labels(labels, num_classes, config.label_smoothing)
    return targets if mixing is None else mix_targets(targets, mixing)


class Transformed(Dataset[tuple[Tensor, Tensor]]):
    """A split with a transform applied, each sample with its own random numbers."""

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
    """Number of workers for a device: none for a CPU, where the training step is the slow part."""
    return min(os.cpu_count() or 1, 8) if device.startswith("cuda") else 0


def eval_batches(
    split: Split, transform: Transform, *, batch_size: int, workers: int = 0, device: str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole split in order, pinned if ``device`` is CUDA."""
    order = list(range(len(split)))
    batches = [order[start : start + batch_size] for start in order[::batch_size]]
    samples = Transformed(split, transform, seed=0, epoch=0)
    yield from load_samples(samples, batches, workers, torch.device(device))


def load_samples(
    samples: Transformed, batches: list[list[int]], workers: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of ``samples`` on the host: images (B, 3, S, S) and labels (B,)."""
    loader = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=Collated,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # otherwise it would draw from the global generator
    )
    with current_device(device):  # pinned memory belongs to it
        loaded = iter(loader)
    for _ in batches:
        with current_device(device):
            batch = next(loaded)
        yield batch.images, batch.labels


class Collated:
    """A batch on the host.

    A worker sends it through a pipe, as arrays. Tensors would be passed in shared memory, of which
    a container may have as little as 64 MB.
    """

    def __init__(self, samples: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.images, self.labels = map(torch.stack, zip(*samples, strict=True))

    def __getstate__(self) -> list[NDArray[Any]]:
        return [self.images.numpy(), self.labels.numpy()]

    def __setstate__(self, arrays: list[NDArray[Any]]) -> None:
        self.images, self.labels = map(torch.from_numpy, arrays)

    def pin_memory(self) -> "Collated":
        """Move it to pinned memory; called by the loader."""
        self.images, self.labels = self.images.pin_memory(), self.labels.pin_memory()
        return self
