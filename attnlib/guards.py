"""The loop's watchmen: steps that are not finite, steps that don't fit."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlib.config import TrainConfig
from attnlib.data import Split
from attnlib.diagnosis import bytes_per_image, first_bad_layer
from attnlib.distributed import Group
from attnlib.faults import (
    NonFiniteLossError,
    OutOfMemoryError,
    available_memory,
    explain_out_of_memory,
)
from attnlib.inputs import Source
from attnlib.plan import count_steps, plan_epoch, rate_at
from attnlib.training import Training, autocast


def note_fault(
    training: Training, loss: Tensor, step: int, config: TrainConfig, group: Group
) -> Tensor:
    """Count the step's loss, or the fault if loss or gradient is not finite; whether it is one.

    Everything stays on the device: the optimiser is told by a tensor to leave the step out. Once
    more steps are bad than may be skipped, it leaves out all that follow, so that the weights are
    those from before the first fault when somebody looks.
    """
    finite = loss.isfinite()
    has_scaler = training.scaler.is_enabled()
    if not has_scaler:  # a scaler finds its scale by trying, and itself leaves out what overflows
        gradients = [p.grad for p in training.model.parameters() if p.grad is not None]
        finite = finite & torch.nn.utils.get_total_norm(gradients).isfinite()
    loss, faults = group.sum(torch.stack([loss, (~finite).float()]))
    bad = faults > 0
    training.total += torch.where(bad, 0.0, loss)
    training.first_fault += torch.where(bad & (training.first_fault == 0), step + 1, 0)
    training.faults += bad
    if not has_scaler:
        leave_out = bad | (training.faults > config.skip_nonfinite)
        vars(training.optimizer)["found_inf"] = leave_out.float()
    return bad


def check_faults(
    training: Training,
    learner: nn.Module,
    source: Source,
    split: Split,
    config: TrainConfig,
    group: Group,
) -> None:
    """Stop if more steps were bad than may be skipped; waits for the device.

    Raises:
        NonFiniteLossError: With step, learning rate, samples and the first bad layer.
    """
    if int(training.faults) <= config.skip_nonfinite:
        return
    epoch, step = training.progress.epoch, int(training.first_fault) - 1
    planned = next(plan_epoch(len(split), config, epoch, group, start=step))
    images, targets = source.batch(epoch, step, planned.parts[0])
    with autocast(config):
        layer = first_bad_layer(training.model, learner, images, targets)
    samples = split.indices[np.concatenate(planned.parts)]
    report: dict[str, Any] = {
        "epoch": epoch + 1,
        "step": step + 1,
        "steps": count_steps(len(split), config.batch_size),
        "lr": rate_at(config, len(split), epoch, step),
        "first_bad_layer": layer,
        "samples": samples.tolist(),
    }
    raise NonFiniteLossError(report)


def why_no_memory(
    learner: nn.Module, source: Source, split: Split, config: TrainConfig, group: Group
) -> OutOfMemoryError:
    """An error that says what would fit, counted on two images if these still do."""
    try:
        planned = next(plan_epoch(len(split), config, 0, group))
        images, targets = source.batch(0, 0, planned.parts[0][:2])
        count: int | None = bytes_per_image(learner, images, targets)
    except (RuntimeError, MemoryError):
        count = None
    return OutOfMemoryError(
        explain_out_of_memory(
            config.batch_size,
            config.img_size,
            group.size * config.accumulate,
            count,
            available_memory(config.device),
        )
    )
