"""The training loop."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnlib.config import TrainConfig
from attnlib.data.datasets import Dataset, Split
from attnlib.data.loading import Source, make_source
from attnlib.losses import Objective
from attnlib.models.layers import drop_paths, set_drop_path_draws
from attnlib.seeding import derive_seed, sample_uniforms
from attnlib.training.distributed import Group, Positions, make_learner, part_of_split
from attnlib.training.failures import check_faults, is_out_of_memory, note_fault, why_no_memory
from attnlib.training.optim import update_average
from attnlib.training.predict import Predictions, predict
from attnlib.training.schedule import PlannedStep, count_steps, plan_epoch, rate_at
from attnlib.training.state import Training, amp_dtype, autocast


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; a line of ``history.jsonl``."""

    epoch: int  # counted from 1
    epochs: int
    lr: float  # at the last step
    train_loss: float  # nats per image, the objective's mean
    val_loss: float  # nats per image, cross-entropy
    val_accuracy: float
    images_per_second: float  # training only
    seconds: float  # training and validation
    skipped: int = 0  # steps that were left out, since their loss was not finite

    def __str__(self) -> str:
        left = (self.epochs - self.epoch) * self.seconds
        skipped = f"  {self.skipped} steps skipped" if self.skipped else ""
        return (
            f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}  lr {self.lr:.1e}  "
            f"loss {self.train_loss:.3f}  val {self.val_loss:.3f}, {self.val_accuracy:6.2%}  "
            f"{self.images_per_second:.0f} images/s  {describe_seconds(left)} left{skipped}"
        )


@dataclass(frozen=True)
class Step:
    """A step that was just done; for progress bars."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # counted from 1
    steps: int  # of an epoch
    images: int


def describe_seconds(seconds: float) -> str:
    """A duration for people: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def train(
    training: Training,
    data: Dataset,
    config: TrainConfig,
    objective: Objective,
    *,
    group: Group | None = None,
    after_step: Callable[[Step], object] = lambda step: None,
) -> Iterator[Epoch]:
    """Train to the last epoch; after each, validate, keep the best weights, and yield.

    Args:
        training: Where to begin; changed in place.
        data: Training and validation sets.
        config: The run's configuration.
        objective: What is minimised: model, images, targets to a scalar.
        group: The processes that train together.
        after_step: Called after each step, when ``training`` may be saved.

    Raises:
        NonFiniteLossError: If more steps than ``skip_nonfinite`` were not finite.
        OutOfMemoryError: If a step does not fit.
    """
    group, progress, split = group or Group(), training.progress, data.train
    source = make_source(split, config, len(data.class_names))
    first = next(plan_epoch(len(split), config, 0, group))
    learner = make_learner(
        training.model, objective, config, group, lambda: source.batch(0, 0, first.parts[0])
    )
    while progress.epoch < config.epochs:
        try:
            train_epoch(training, learner, source, data, config, group, after_step)
        except (RuntimeError, MemoryError) as fault:
            if not is_out_of_memory(fault):
                raise
            traceback.clear_frames(fault.__traceback__)  # they hold the step that did not fit
            raise why_no_memory(learner, source, split, config, group) from fault
        steps, seconds = count_steps(len(split), config.batch_size), progress.seconds
        skipped = int(training.faults)
        train_loss = training.total.item() / max(steps - skipped, 1)
        started = time.perf_counter()
        validated = evaluate(training.model, data.val, config, group)
        progress.epoch += 1
        if validated.accuracy > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = validated.accuracy, progress.epoch
            training.best_weights = {
                key: value.detach().cpu().clone()
                for key, value in training.model.state_dict().items()
            }
        training.begin_epoch()
        yield Epoch(
            progress.epoch,
            config.epochs,
            rate_at(config, len(split), progress.epoch - 1, steps - 1),
            train_loss,
            validated.loss,
            validated.accuracy,
            min(steps * config.batch_size, len(split)) / seconds,
            seconds + time.perf_counter() - started,
            skipped,
        )


def train_epoch(
    training: Training,
    learner: nn.Module,
    source: Source,
    data: Dataset,
    config: TrainConfig,
    group: Group,
    after_step: Callable[[Step], object],
) -> None:
    """The rest of one pass over the training set, from the step where it stands.

    A step is a function of (seed, epoch, step) and the weights: it can be done again.
    """
    optimizer, scaler, progress = training.optimizer, training.scaler, training.progress
    epoch, steps = progress.epoch, count_steps(len(data.train), config.batch_size)
    plan = list(plan_epoch(len(data.train), config, epoch, group, progress.step))
    batches = source.batches(epoch, [(p.step, part) for p in plan for part in p.parts])
    started, before = time.perf_counter(), progress.seconds
    training.model.train()
    for planned in plan:
        for parameters in optimizer.param_groups:
            parameters["lr"] = rate_at(config, len(data.train), epoch, planned.step)
        buffers = keep_buffers(training.model) if config.skip_nonfinite else []
        loss = backward(training, learner, batches, planned, config, group)
        bad = note_fault(training, loss, planned.step, config, group)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        for buffer, value in buffers:
            buffer.copy_(torch.where(bad, value, buffer))
        if training.average is not None:
            update_average(training.average, training.model, config.ema)
        progress.step, progress.seconds = planned.step + 1, before + time.perf_counter() - started
        if config.device == "cpu" or progress.step == steps:  # elsewhere asking means waiting
            check_faults(training, learner, source, data.train, config, group)
        after_step(Step(epoch + 1, config.epochs, progress.step, steps, planned.size))


def backward(
    training: Training,
    learner: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    planned: PlannedStep,
    config: TrainConfig,
    group: Group,
) -> Tensor:
    """Gradients of one step, part by part; this process's share of the batch's mean loss."""
    epoch = training.progress.epoch
    loss = torch.zeros((), device=config.device)
    for place, part in enumerate(planned.parts):
        seed_layers(training.model, config, epoch, planned.step, part, group.rank)
        images, targets = next(batches)
        is_last = place == len(planned.parts) - 1
        with (
            nullcontext() if is_last else without_sync(learner),
            autocast(config),
        ):
            part_loss = learner(images, targets) * (len(part) / planned.size)
            training.scaler.scale(part_loss * group.size).backward()
        loss += part_loss.detach()
    return loss


def without_sync(learner: nn.Module) -> AbstractContextManager[Any]:
    """Where gradients only add up in each process; for all parts of a batch but the last."""
    no_sync = getattr(learner, "no_sync", None)
    return no_sync() if no_sync else nullcontext()


def seed_layers(
    model: nn.Module, config: TrainConfig, epoch: int, step: int, part: Positions, rank: int
) -> None:
    """Set what layers draw from: drop-path by sample, other layers by (seed, epoch, step, rank)."""
    keys = ("step", epoch, step, rank)
    torch.manual_seed(derive_seed(config.seed, *keys))
    if branches := len(drop_paths(model)):
        draws = sample_uniforms(config.seed, "drop_path", epoch, part, branches)
        set_drop_path_draws(model, torch.from_numpy(draws).to(config.device, torch.float32))


def keep_buffers(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The model's buffers with their values: BatchNorm's must not remember a step left out."""
    return [(buffer, buffer.clone()) for buffer in model.buffers()]


def evaluate(model: nn.Module, split: Split, config: TrainConfig, group: Group) -> Predictions:
    """``predict`` on every process's part of the split; the whole answer on each of them."""
    options: dict[str, Any] = {"img_size": config.img_size, "amp": amp_dtype(config)}
    if group.size == 1:
        return predict(model, split, **options)
    own = split.subset(part_of_split(len(split), group.rank, group.size))
    answers = predict(model, own, **options)
    return Predictions(group.gather(answers.logits), group.gather(answers.labels))


def epoch_values(epoch: Epoch) -> dict[str, Any]:
    """An epoch as a line of ``history.jsonl``: seven significant digits are enough."""
    return {
        key: float(f"{value:.7g}") if isinstance(value, float) else value
        for key, value in asdict(epoch).items()
    }
