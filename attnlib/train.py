"""The training loop."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from attnlib.augment import mix, soft_labels, train_transform
from attnlib.batches import count_batches, num_workers, train_batches
from attnlib.checkpoint import State
from attnlib.config import TrainConfig
from attnlib.data import Dataset
from attnlib.evaluate import predict
from attnlib.losses import Objective
from attnlib.optim import learning_rate, make_average, make_optimizer
from attnlib.seeding import derive_seed, make_rng


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

    def __str__(self) -> str:
        left = (self.epochs - self.epoch) * self.seconds
        return (
            f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}  lr {self.lr:.1e}  "
            f"loss {self.train_loss:.3f}  val {self.val_loss:.3f}, {self.val_accuracy:6.2%}  "
            f"{self.images_per_second:.0f} images/s  {describe_seconds(left)} left"
        )


def describe_seconds(seconds: float) -> str:
    """A duration for people: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


@dataclass
class Training:
    """Everything that changes while training; ``state`` and ``restore`` turn it to values."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_accuracy: float = -1.0  # on the validation set, which alone selects
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, model: nn.Module, config: TrainConfig) -> "Training":
        """Training of ``model`` at epoch 0."""
        half = amp_dtype(config) == torch.float16  # the range of bfloat16 needs no scaling
        return cls(
            model,
            make_optimizer(model, config.lr, config.weight_decay),
            torch.amp.GradScaler(config.device.split(":")[0], enabled=half),
            make_average(model, config.ema),
        )

    def state(self) -> State:
        """Tensors and values that ``restore`` needs, on the CPU."""
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors |= {f"best.{key}": value for key, value in self.best_weights.items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
        values = {
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "scaler": self.scaler.state_dict(),
        }
        # Clones, since tied or viewed tensors can't be written; safetensors keeps no aliases.
        return State({key: value.detach().cpu().clone() for key, value in tensors.items()}, values)

    def restore(self, state: State) -> None:
        """Go back to the moment of ``state``."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(prefix): value
                for key, value in state.tensors.items()
                if key.startswith(prefix)
            }

        self.model.load_state_dict(part("model."))
        self.best_weights = part("best.")
        if self.average is not None:
            self.average.load_state_dict(part("average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.scaler.load_state_dict(state.values["scaler"])
        self.epoch = state.values["epoch"]
        self.best_epoch = state.values["best_epoch"]
        self.best_accuracy = state.values["best_accuracy"]


def amp_dtype(config: TrainConfig) -> torch.dtype | None:
    """Dtype of mixed precision: bfloat16 where the device computes it, else float16; None: off."""
    if not config.amp:
        return None
    if config.device.startswith("cuda") and not torch.cuda.is_bf16_supported(False):
        return torch.float16
    return torch.bfloat16


def train_epoch(
    training: Training, data: Dataset, config: TrainConfig, objective: Objective
) -> tuple[float, float]:
    """One pass over the training set: mean loss, last learning rate.

    PyTorch's global generator is set from (seed, epoch): drop-path draws from it.

    Raises:
        FloatingPointError: If the epoch's mean loss is not finite.
    """
    model, optimizer, scaler = training.model, training.optimizer, training.scaler
    device, dtype, epoch = config.device, amp_dtype(config), training.epoch
    torch.manual_seed(derive_seed(config.seed, "drop_path", epoch))
    transform = train_transform(config.augment, config.img_size)
    num_classes = len(data.class_names)
    steps, total, lr = (
        count_batches(data.train, config.batch_size),
        torch.zeros((), device=device),
        0.0,
    )
    batches = train_batches(
        data.train,
        transform,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epoch,
        workers=num_workers(device),
    )
    model.train()
    for step, (images, labels) in enumerate(batches):
        lr = learning_rate(
            epoch + step / steps,
            peak=config.lr,
            epochs=config.epochs,
            warmup_epochs=config.warmup_epochs,
            restarts=config.restarts,
        )
        for group in optimizer.param_groups:
            group["lr"] = lr
        images = images.to(device, non_blocking=True)
        targets = soft_labels(
            labels.to(device, non_blocking=True), num_classes, config.label_smoothing
        )
        rng = make_rng(config.seed, "mix", epoch, step)
        images, targets = mix(images, targets, rng, config.mixup, config.cutmix)
        with torch.autocast(device.split(":")[0], dtype, enabled=dtype is not None):
            loss = objective(model, images, targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if training.average is not None:
            training.average.update_parameters(model)
        total += loss.detach()
    mean_loss = total.item() / steps  # the epoch's only wait for the device
    if not math.isfinite(mean_loss):
        raise FloatingPointError(
            f"the loss became {mean_loss} in epoch {epoch + 1}, at learning rates up to {lr:.2e}; "
            "a lower lr or amp=False may help. The last saved state is from the epoch before."
        )
    return mean_loss, lr


def train(
    training: Training, data: Dataset, config: TrainConfig, objective: Objective
) -> Iterator[Epoch]:
    """Train to the last epoch; after each, validate, keep the best weights, and yield."""
    while training.epoch < config.epochs:
        started = time.perf_counter()
        train_loss, lr = train_epoch(training, data, config, objective)
        trained = time.perf_counter() - started
        validated = predict(
            training.model, data.val, img_size=config.img_size, amp=amp_dtype(config)
        )
        training.epoch += 1
        if validated.accuracy > training.best_accuracy:
            training.best_accuracy, training.best_epoch = validated.accuracy, training.epoch
            training.best_weights = {
                key: value.detach().cpu().clone()
                for key, value in training.model.state_dict().items()
            }
        images = count_batches(data.train, config.batch_size) * config.batch_size
        yield Epoch(
            training.epoch,
            config.epochs,
            lr,
            train_loss,
            validated.loss,
            validated.accuracy,
            min(images, len(data.train)) / trained,
            time.perf_counter() - started,
        )


def epoch_values(epoch: Epoch) -> dict[str, Any]:
    """An epoch as a line of ``history.jsonl``: seven significant digits are enough."""
    return {
        key: float(f"{value:.7g}") if isinstance(value, float) else value
        for key, value in asdict(epoch).items()
    }
