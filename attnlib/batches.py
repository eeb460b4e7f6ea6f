"""Batches of a split: the reference input path, one PIL image at a time in DataLoader workers.

What a sample looks like is a function of (seed, epoch, index): neither the number of workers nor
what was drawn before changes it.
"""

import os
from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from attnlib.augment import Transform
from attnlib.data import Split
from attnlib.seeding import derive_seed, make_generator, seeded


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
