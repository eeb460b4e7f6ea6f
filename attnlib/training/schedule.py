"""The schedule of training: the learning rate and the images of each step.

Both depend only on the configuration, the epoch and the step, not on the number of processes.
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
    """Learning rate at a time in epochs: linear warm-up, then cosine decay.

    timm's ``CosineLRScheduler`` with DeiT's settings, as used by the thesis's script; there a value
    is constant over an epoch, here ``epoch`` may be fractional. The cosine runs from time 0, so the
    warm-up replaces its beginning. The thesis says "with restarts", DeiT has none: with
    ``restarts`` the time is divided into equal cycles (Loshchilov and Hutter 2017).

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
    cycles = epoch * (restarts + 1) / epochs  # finished
    if math.isclose(cycles, round(cycles), rel_tol=0, abs_tol=1e-9):
        cycles = round(cycles)  # so that rounding misses no restart
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
    """Steps of one epoch: an incomplete last batch is dropped, unless it is the only one."""
    return max(length // batch_size, 1)


def epoch_order(length: int, seed: int, epoch: int) -> Positions:
    """The order of the training set in one epoch."""
    return torch.randperm(length, generator=make_generator(seed, "order", epoch)).numpy()


def plan_epoch(
    length: int, config: TrainConfig, epoch: int, group: Group, start: int = 0
) -> Iterator[PlannedStep]:
    """The steps of ``epoch`` from step ``start`` on.

    The global batches don't depend on the number of processes and parts: each batch is divided
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
