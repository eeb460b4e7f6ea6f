"""The training loop: epochs of steps, each followed by validation."""

import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grads_with_norm_

from attnlib.config import TrainConfig
from attnlib.data.datasets import Dataset
from attnlib.data.loading import Batch, Source, make_source
from attnlib.data.storage import send
from attnlib.losses import Objective
from attnlib.models.layers import drop_paths, set_drop_path_draws
from attnlib.models.modes import buffers_kept, train_unfrozen
from attnlib.seeding import derive_seed, sample_uniforms
from attnlib.training.distributed import (
    Group,
    Learner,
    computed_alone,
    distribute,
    part_of_split,
)
from attnlib.training.epoch import Epoch, Step
from attnlib.training.explicit_attention import explicit_attention
from attnlib.training.failures import (
    LEAST_SCALE,
    NonFiniteLossError,
    OutOfMemoryError,
    available_memory,
    bytes_per_image,
    count_nonfinite,
    explain_out_of_memory,
    first_bad_layer,
    is_out_of_memory,
    skip_update,
)
from attnlib.training.optim import set_learning_rate, update_average
from attnlib.training.predict import Predictions, images_at_once, predict
from attnlib.training.schedule import PlannedStep, count_steps, plan_epoch, rate_at
from attnlib.training.state import Training, amp_dtype, autocast, precision_name


class Trainer:
    """Trains a model as ``config`` says; ``train`` yields one epoch after another.

    Args:
        training: Initial training state; changed in place.
        data: Training and validation sets.
        config: The run's configuration.
        objective: What is minimised: a scalar from model, images and targets.
        group: The processes that train together.
        source: Makes the batches; if None, chosen by ``config.input``.
    """

    def __init__(
        self,
        training: Training,
        data: Dataset,
        config: TrainConfig,
        objective: Objective,
        *,
        group: Group | None = None,
        source: Source | None = None,
    ) -> None:
        self.training, self.data, self.config = training, data, config
        self.group = group or Group()
        self.source = source or make_source(data.train, config, len(data.class_names))
        self.steps = count_steps(len(data.train), config.batch_size)  # of an epoch
        self.own_learner = Learner(training.model, objective)  # does not wait for other processes
        self.learner = distribute(self.own_learner, config, self.group)
        if config.compile:
            self.compile_or_say_why()

    def train(self, after_step: Callable[[Step], object] = lambda step: None) -> Iterator[Epoch]:
        """Train to the last epoch; after each one, validate, keep the best weights, and yield.

        Args:
            after_step: Called after each step, where ``training`` can be saved.

        Raises:
            NonFiniteLossError: If more steps than ``skip_nonfinite`` were not finite.
            OutOfMemoryError: If a step does not fit.
        """
        while self.training.progress.epoch < self.config.epochs:
            with self.memory_faults():
                self.train_epoch(after_step)
                started = time.perf_counter()
                validated = self.evaluate(self.training.model)
                averaged = None
                if self.training.average is not None:
                    averaged = self.evaluate(self.training.average).accuracy
            yield self.end_epoch(validated, time.perf_counter() - started, averaged)

    def train_epoch(self, after_step: Callable[[Step], object] = lambda step: None) -> None:
        """The rest of one pass over the training set, from the current step on."""
        config, progress = self.config, self.training.progress
        plan = list(self.plan(progress.epoch, progress.step))
        batches = self.source.batches(
            progress.epoch, [(planned.step, part) for planned in plan for part in planned.parts]
        )
        started, before = time.perf_counter(), progress.seconds
        train_unfrozen(self.training.model)
        for planned in plan:
            self.step(planned, batches)
            progress.step = planned.step + 1
            progress.seconds = before + time.perf_counter() - started
            if config.device == "cpu" or progress.step == self.steps:  # else it would sync
                self.check_finite()
            after_step(
                Step(progress.epoch + 1, config.epochs, progress.step, self.steps, planned.size)
            )

    def step(self, planned: PlannedStep, batches: Iterator[Batch]) -> None:
        """One update of the weights, determined by (seed, epoch, step) and the weights."""
        training, config = self.training, self.config
        optimizer, scaler = training.optimizer, training.scaler
        set_learning_rate(optimizer, self.learning_rate(planned.step))
        buffers = list(training.model.buffers()) if config.skip_nonfinite else []
        kept = [buffer.clone() for buffer in buffers]  # BatchNorm must forget a skipped step
        loss = self.backward(planned, batches)
        scaler.unscale_(optimizer)
        bad = count_nonfinite(training, loss, planned.step, self.group)
        if config.clip_grad is not None:
            clip_grads_with_norm_(training.model.parameters(), config.clip_grad, training.grad_norm)
        # Once too many are bad, all later steps are skipped: the weights stay as they were before
        # the first of them until the next check. GradScaler.step would resume updating.
        skip_update(optimizer, bad | (training.faults > config.skip_nonfinite))
        optimizer.step()
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(torch.where(bad, value, buffer))
        if training.average is not None:
            update_average(training.average, training.model, config.ema)

    def backward(self, planned: PlannedStep, batches: Iterator[Batch]) -> torch.Tensor:
        """Compute gradients part by part; returns this process's share of the mean loss."""
        loss = torch.zeros((), device=self.config.device)
        for place, (images, targets) in zip(range(len(planned.parts)), batches, strict=False):
            is_last = place == len(planned.parts) - 1
            with (
                self.layers_seeded(planned, place),
                nullcontext() if is_last else self.without_sync(),
                self.attention_written_out(),
                autocast(self.config),
            ):
                share = len(planned.parts[place]) / planned.size
                part_loss = self.learner(images, targets) * share
                with self.averages_kept():
                    self.training.scaler.scale(part_loss * self.group.size).backward()
            loss += part_loss.detach()
        return loss

    def attention_written_out(self) -> AbstractContextManager[Any]:
        """For one part of a step: attention as products of matrices where that is faster.

        Not with layers that are computed again: inside ``backward`` PyTorch intercepts no calls, so
        they would be computed otherwise than before.
        """
        if self.config.grad_checkpointing:
            return nullcontext()
        return explicit_attention(self.config.device, amp_dtype(self.config))

    def averages_kept(self) -> AbstractContextManager[Any]:
        """For the backward pass: layers that are computed again don't count for BatchNorm twice."""
        checkpointing = self.config.grad_checkpointing
        return buffers_kept(self.training.model) if checkpointing else nullcontext()

    def without_sync(self) -> AbstractContextManager[Any]:
        """For all parts of a batch but the last: accumulate gradients without synchronising."""
        no_sync = getattr(self.learner, "no_sync", None)
        return no_sync() if no_sync else nullcontext()

    @contextmanager
    def layers_seeded(self, planned: PlannedStep, place: int) -> Iterator[None]:
        """Seed layers for one part of a step: drop-path by sample, others by part.

        PyTorch's generators are restored afterwards.
        """
        seed, epoch, model = self.config.seed, self.training.progress.epoch, self.training.model
        if branches := len(drop_paths(model)):
            draws = sample_uniforms(seed, "drop_path", epoch, planned.parts[place], branches)
            set_drop_path_draws(model, *send([draws], torch.device(self.config.device)))
        is_cuda = self.config.device.startswith("cuda") and torch.cuda.is_initialized()
        with torch.random.fork_rng([self.config.device] if is_cuda else []):
            keys = ("step", epoch, planned.step, self.group.rank, place)
            torch.manual_seed(derive_seed(seed, *keys))
            yield

    def evaluate(self, model: nn.Module) -> Predictions:
        """Predictions on the validation set; each process computes a part and receives all."""
        options: dict[str, Any] = {
            "img_size": self.config.img_size,
            "batch_size": images_at_once(self.config, self.group.size),
            "amp": amp_dtype(self.config),
        }
        split, group = self.data.val, self.group
        if group.size == 1:
            return predict(model, split, **options)
        own = split.subset(part_of_split(len(split), group.rank, group.size))
        answers = predict(model, own, **options)
        return Predictions(group.gather(answers.logits), group.gather(answers.labels))

    def end_epoch(
        self, validated: Predictions, seconds: float, averaged: float | None = None
    ) -> Epoch:
        """Keep the weights if they are the best so far, and start the next epoch.

        Args:
            validated: Predictions of the weights.
            seconds: Time spent on validation.
            averaged: Validation accuracy of the averaged weights, if there are any.
        """
        training, progress = self.training, self.training.progress
        faults, overflows = int(training.faults), int(training.overflows)
        epoch = Epoch(
            progress.epoch + 1,
            self.config.epochs,
            self.learning_rate(self.steps - 1),
            training.total.item() / (self.steps - faults),
            validated.loss,
            validated.accuracy,
            min(self.steps * self.config.batch_size, len(self.data.train)) / progress.seconds,
            progress.seconds + seconds,
            faults + overflows,
            precision_name(self.config),
            averaged,
        )
        training.keep_best(epoch.epoch, validated.accuracy, averaged)
        progress.epoch += 1
        training.begin_epoch()
        return epoch

    def plan(self, epoch: int, start: int = 0) -> Iterator[PlannedStep]:
        """The steps of an epoch as this process sees them."""
        return plan_epoch(len(self.data.train), self.config, epoch, self.group, start)

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step of the current epoch."""
        return rate_at(self.config, len(self.data.train), self.training.progress.epoch, step)

    def compile_or_say_why(self) -> None:
        """Compile the learner and try one step; if that fails, continue uncompiled and say why.

        The trial runs exactly as later steps will, so that no other graph is compiled then.
        """
        plain, planned, fault = self.learner, next(self.plan(0)), ""
        self.learner = torch.compile(self.learner)  # type: ignore[assignment]
        try:
            with self.rehearsal():
                self.backward(planned, (self.source.batch(0, 0, part) for part in planned.parts))
        except Exception as error:  # compilers can raise anything
            fault = " ".join((str(error).strip() or type(error).__name__).splitlines()[:2])
        if self.group.any(bool(fault)):
            fault = fault or "it failed in another process"
            warnings.warn(f"torch.compile failed; this run goes on without: {fault}", stacklevel=2)
            torch.compiler.reset()
            self.learner = plain

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Inside, a step leaves no gradients and BatchNorm unchanged."""
        model = self.training.model
        train_unfrozen(model)
        try:
            with buffers_kept(model):
                yield
        finally:
            model.zero_grad(set_to_none=True)

    def has_failed(self) -> bool:
        """Whether more steps of this epoch were bad than may be skipped; synchronises."""
        return int(self.training.faults) > self.config.skip_nonfinite

    def check_finite(self) -> None:
        """Detect non-finite values and stop if training can't continue; synchronises.

        It can't if more steps were bad than may be skipped, if an epoch passed without a step
        taken, or if float16 overflows even at a tiny loss scale.

        Raises:
            NonFiniteLossError: With step, learning rate, samples and the first bad layer.
        """
        training, done = self.training, self.training.progress.step
        faults, scale = int(training.faults), training.scaler.get_scale()
        if self.has_failed():
            self.stop_at(int(training.first_fault) - 1, "the loss or a gradient is not finite")
        if scale < LEAST_SCALE:
            self.stop_at(
                done - 1, f"gradients overflow float16: the loss scale fell to {scale:.2g}"
            )
        if done == self.steps and faults + int(training.overflows) == self.steps:
            what = f"none of the {self.steps} steps of an epoch had finite loss and gradients, last"
            # A few overflows may be the search for a scale: then the step is finite without one.
            self.stop_at(done - 1, what, unless_finite=not faults and scale > 1)

    def stop_at(self, step: int, fault: str, unless_finite: bool = False) -> None:
        """Repeat a step of this epoch to find where it becomes non-finite, and stop."""
        epoch, group = self.training.progress.epoch, self.group
        planned = next(self.plan(epoch, step))
        layers = group.gather(np.array([self.first_bad_layer(planned) or ""]))
        layer = next((str(found) for found in layers if found), None)
        if layer is None and unless_finite:
            return
        samples = self.data.train.indices[group.gather(np.concatenate(planned.parts))]
        report: dict[str, Any] = {
            "fault": fault,
            "epoch": epoch + 1,
            "step": step + 1,
            "steps": self.steps,
            "lr": self.learning_rate(step),
            "first_bad_layer": layer or "none, when the step is computed again",
            "samples": samples.tolist(),
        }
        raise NonFiniteLossError(report)

    def first_bad_layer(self, planned: PlannedStep) -> str | None:
        """Where this process's parts of a step become non-finite, without other processes."""
        epoch, model = self.training.progress.epoch, self.training.model
        try:
            for place, part in enumerate(planned.parts):
                images, targets = self.source.batch(epoch, planned.step, part)
                with (
                    self.rehearsal(),
                    computed_alone(model),
                    self.layers_seeded(planned, place),
                    autocast(self.config),
                ):
                    found = first_bad_layer(model, self.own_learner, images, targets)
                if found:
                    return found
        except (RuntimeError, MemoryError) as fault:
            return f"not found, since the step can't be computed again ({fault})"
        return None

    @contextmanager
    def memory_faults(self) -> Iterator[None]:
        """Turn running out of memory into an error that says what would fit."""
        try:
            yield
        except (RuntimeError, OSError, MemoryError) as fault:
            if not is_out_of_memory(fault):
                raise
            traceback.clear_frames(fault.__traceback__)  # its frames hold the step that did not fit
            self.training.optimizer.zero_grad(set_to_none=True)
            raise self.explain_memory() from fault

    def explain_memory(self) -> OutOfMemoryError:
        """An error that says what would fit, estimated from two images if those fit."""
        config, planned = self.config, next(self.plan(0))
        few = planned._replace(parts=[planned.parts[0][:2]])
        try:
            images, targets = self.source.batch(0, 0, few.parts[0])
            with (
                self.rehearsal(),
                computed_alone(self.training.model),
                self.layers_seeded(few, 0),
                autocast(config),
            ):
                count: int | None = bytes_per_image(self.own_learner, images, targets)
        except (RuntimeError, MemoryError):
            count = None
        return OutOfMemoryError(
            explain_out_of_memory(
                config.batch_size,
                config.img_size,
                self.group.size * config.accumulate,
                count,
                available_memory(config.device),
            )
        )
