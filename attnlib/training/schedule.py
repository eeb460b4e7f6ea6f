"""What happens when: the learning rate of each step, and the images that meet in it.

Both are functions of the configuration, the epoch and the step, whoever computes which part.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from attnlib.config import TrainConfig
from attnlib.seeding import make_generator
from attnlib.training.distributed import Group, Positions, part_of_batch

WARMUP_LR, MIN_LR = 1e-6, 1e-5  # DeiT's, for a peak of 1.25e-4


def learning_rate(
    epoch: float, *, peak: float, epochs: int, warmup_epochs: int = 0, restarts: int = 0
) -> float:
    """Learning rate at a moment in epochs: linear warm-up, then cosine decay.

    timm's ``CosineLRScheduler`` as DeiT sets it, which the thesis's script calls; there a value
    holds for a whole epoch, here ``epoch`` may be fractional. The cosine runs from time 0, so the
    warm-up replaces its beginning. The thesis says "with restarts", DeiT makes none: with
    ``restarts`` the time is cut into equal cycles (Loshchilov and Hutter 2017).

    Args:
        epoch: Time since the start, in epochs.
        peak: Highest value.
        epochs: Length of the run.
        warmup_epochs: Length of the rise from 1e-6.
        restarts: Number of returns to the peak.
    """
    start, floor = min(WARMUP_LR, peak), min(MIN_LR, peak)
    if epoch < warmup_epochs:
        return start + (peak - start) * epoch / warmup_epochs
    cycles = epoch * (restarts + 1) / epochs  # done
    if math.isclose(cycles, round(cycles), rel_tol=0, abs_tol=1e-9):
        cycles = round(cycles)  # a restart is not missed by rounding
    progress = cycles % 1 if epoch < epochs else 1.0
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def rate_at(config: TrainConfig, length: int, epoch: int, step: int) -> float:
    """The learning rate of one step."""
    return learning_rate(
        epoch + step / count_steps(length, config.batch_size),
        peak=config.lr,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        restarts=config.restarts,
    )


class PlannedStep(NamedTuple):
    """One optimiser step as one process sees it."""

    step: int  # counted from 0
    size: int  # images of the global batch
    parts: list[Positions]  # positions in the split, computed one part after the other


def count_steps(length: int, batch_size: int) -> int:
    """Steps of one epoch: a last batch that is not full is dropped, a single one kept."""
    return max(length // batch_size, 1)


def epoch_order(length: int, seed: int, epoch: int) -> Positions:
    """The order of the training set in one epoch."""
    return torch.randperm(length, generator=make_generator(seed, "order", epoch)).numpy()


def plan_epoch(
    length: int, config: TrainConfig, epoch: int, group: Group, start: int = 0
) -> Iterator[PlannedStep]:
    """The steps of ``epoch`` from step ``start`` on.

    The global batches are the same whatever the number of processes and of parts: each batch is cut
    into as many parts as there are processes times ``config.accumulate``.
    """
    order = epoch_order(length, config.seed, epoch)
    parts = group.size * config.accumulate
    for step in range(start, count_steps(length, config.batch_size)):
        batch = order[step * config.batch_size : (step + 1) * config.batch_size]
        own = range(group.rank * config.accumulate, (group.rank + 1) * config.accumulate)
        yield PlannedStep(
            step, len(batch), [batch[part_of_batch(len(batch), part, parts)] for part in own]
        )
