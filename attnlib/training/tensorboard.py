"""What a run shows in TensorBoard, written by PyTorch's own writer; read with ``tensorboard``."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from attnlib.escaping import markdown
from attnlib.training.epoch import Epoch, Step
from attnlib.training.loop import Trainer

SHOWN_IMAGES = 64  # of the first batch
SHOWN_CLASSES = 50  # up to which the counts of a confusion matrix are written as a table
PICTURE_PIXELS = 512  # least side of the confusion matrix's picture


class StepValues(NamedTuple):
    """What one step is to show; numbers that are still on the device are read later."""

    step: int  # counted from 1, over all epochs
    lr: float
    loss: Tensor
    grad_norm: Tensor


class TensorBoard:
    """Writes scalars of each step and epoch, the first batch, and the confusion matrix.

    A run that goes on after a kill writes another file; TensorBoard leaves out what the first one
    holds from the resumed step on.

    Args:
        folder: Where the files of events are written.
        trainer: Whose steps are shown; its progress says where the run goes on.

    Raises:
        ImportError: If the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as fault:
            raise ImportError(
                f"log: TensorBoard's files need a package that is missing ({fault}). "
                "Install it with: pip install tensorboard"
            ) from None
        self.trainer = trainer
        self.waiting: list[StepValues] = []
        progress = trainer.training.progress
        done = progress.epoch * trainer.steps + progress.step
        self.writer = SummaryWriter(str(folder), purge_step=done + 1 if done else 0)
        if not done:
            part = next(trainer.plan(0)).parts[0]
            images = trainer.source.batch(0, 0, part).images[:SHOWN_IMAGES]
            self.writer.add_images("first batch", images.float().cpu(), 0)

    def step(self, step: Step) -> None:
        """Note the step that has just finished, without waiting for the device."""
        training, steps = self.trainer.training, self.trainer.steps
        lr = self.trainer.learning_rate(step.step - 1)
        count = (step.epoch - 1) * steps + step.step
        self.waiting.append(StepValues(count, lr, training.loss, training.grad_norm))
        if self.trainer.config.device == "cpu" or step.step == steps:  # else it would wait
            self.write_waiting()

    def write_waiting(self) -> None:
        """Write the noted steps; waits for the device."""
        for values in self.waiting:
            self.writer.add_scalar("train/loss", values.loss.item(), values.step)
            self.writer.add_scalar("train/grad_norm", values.grad_norm.item(), values.step)
            self.writer.add_scalar("train/lr", values.lr, values.step)
        self.waiting.clear()

    def epoch(self, epoch: Epoch) -> None:
        """Write the results of an epoch, at its last step."""
        count = epoch.epoch * self.trainer.steps
        self.writer.add_scalar("validation/loss", epoch.val_loss, count)
        self.writer.add_scalar("validation/accuracy", epoch.val_accuracy, count)
        self.writer.add_scalar("train/images_per_second", epoch.images_per_second, count)

    def flush(self) -> None:
        """Make all steps so far outlast a kill; called before a state is saved."""
        self.write_waiting()
        self.writer.flush()

    def confusion(self, counts: npt.NDArray[np.int64], names: Sequence[str]) -> None:
        """Write the confusion matrix (K, K), rows true and columns decided classes, and close."""
        count = self.trainer.config.epochs * self.trainer.steps
        self.writer.add_image("test/confusion", draw_confusion(counts), count, dataformats="HW")
        if len(names) <= SHOWN_CLASSES:
            self.writer.add_text("test/confusion", table_of_counts(counts, names), count)
        self.writer.close()


def draw_confusion(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """A picture (H, W) of a confusion matrix: dark where a class's images went."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = -(-PICTURE_PIXELS // len(counts))  # of a cell's side
    return np.kron(255 * (1 - shares), np.ones((pixels, pixels))).round().astype(np.uint8)


def table_of_counts(counts: npt.NDArray[np.int64], names: Sequence[str]) -> str:
    """A confusion matrix as a table in Markdown, a row for each true class."""
    titles = [markdown(name) for name in names]
    rows = [["true, decided as", *titles], ["---", *["--:"] * len(names)]]
    rows += [[title, *map(str, row)] for title, row in zip(titles, counts.tolist(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
