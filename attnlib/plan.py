"""Which images meet in which step: a function of (seed, epoch), whoever computes which part."""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from attnlib.config import TrainConfig
from attnlib.distributed import Group, Positions, part_of_batch
from attnlib.optim import learning_rate
from attnlib.seeding import make_generator


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


def rate_at(config: TrainConfig, length: int, epoch: int, step: int) -> float:
    """The learning rate of one step."""
    return learning_rate(
        epoch + step / count_steps(length, config.batch_size),
        peak=config.lr,
        epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        restarts=config.restarts,
    )
