"""What a training run reports: after each step, and after each epoch."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch; a line of ``history.jsonl``."""

    epoch: int  # counted from 1
    epochs: int
    lr: float  # at the last step
    train_loss: float  # nats per image, the objective's mean
    val_loss: float  # nats per image, cross-entropy
    val_accuracy: float
    images_per_second: float  # training only
    seconds: float  # training and validation
    skipped: int = 0  # steps skipped because loss or gradients were not finite
    precision: str = ""  # precision used; a resumed run may use another
    val_accuracy_ema: float | None = None  # of the averaged weights

    def __str__(self) -> str:
        left = (self.epochs - self.epoch) * self.seconds
        skipped = f"  {self.skipped} steps skipped" if self.skipped else ""
        return (
            f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}  lr {self.lr:.1e}  "
            f"loss {self.train_loss:.3f}  val {self.val_loss:.3f}, {self.val_accuracy:6.2%}  "
            f"{self.images_per_second:.0f} images/s  {describe_seconds(left)} left{skipped}"
        )

    def values(self) -> dict[str, Any]:
        """The line of ``history.jsonl``, with seven significant digits."""
        return {
            key: float(f"{value:.7g}") if isinstance(value, float) else value
            for key, value in asdict(self).items()
            if value is not None
        }


@dataclass(frozen=True)
class Step:
    """A step that has just finished; for progress bars."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # counted from 1
    steps: int  # of an epoch
    images: int


def describe_seconds(seconds: float) -> str:
    """A duration in words: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
