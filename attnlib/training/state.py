"""All mutable state of training, and its conversion to values that can be saved and restored."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attnlib.config import TrainConfig
from attnlib.devices import cpu_computes_bfloat16
from attnlib.models.layers import PatchEmbed
from attnlib.models.zoo import has_depthwise_convolutions
from attnlib.training.checkpoint import State
from attnlib.training.optim import make_average, make_optimizer


@dataclass
class Progress:
    """Progress of training: plain values, saved with each state."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the current epoch
    seconds: float = 0.0  # training time spent on the current epoch
    best_epoch: int = 0
    best_accuracy: float = -1.0  # on the validation set, the only one used for selection
    best_averaged_epoch: int = 0
    best_averaged_accuracy: float = -1.0  # of the averaged weights


@dataclass
class Training:
    """A model, its optimiser and progress; ``state`` and ``restore`` save and restore it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: nn.Module | None
    # Kept on the device to avoid synchronisation: the sum of the epoch's finite losses,
    # how many steps were not finite, the first of them (from 1; 0: none), and how many float16
    # steps were skipped because their scaled gradients overflowed.
    total: Tensor
    faults: Tensor
    first_fault: Tensor
    overflows: Tensor
    # Of the last step: the mean loss, and the norm of the gradients before they are clipped.
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    grad_norm: Tensor = field(default_factory=lambda: torch.zeros(()))
    progress: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    best_average: dict[str, Tensor] = field(default_factory=dict)
    initial_checkpoint: dict[str, str] | None = None  # name and SHA-256 of its initial weights

    @classmethod
    def start(
        cls, model: nn.Module, config: TrainConfig, initial_checkpoint: dict[str, str] | None = None
    ) -> "Training":
        """The state of training before the first step; ``model`` is already on its device."""
        if is_convolutional(model):
            model.to(memory_format=torch.channels_last)
        half = amp_dtype(config) == torch.float16  # bfloat16's range needs no scaling
        return cls(
            model,
            make_optimizer(model, config),
            torch.amp.GradScaler(config.device.split(":")[0], enabled=half),
            make_average(model, config.ema),
            total=torch.zeros((), device=config.device),
            faults=torch.zeros((), dtype=torch.int64, device=config.device),
            first_fault=torch.zeros((), dtype=torch.int64, device=config.device),
            overflows=torch.zeros((), dtype=torch.int64, device=config.device),
            initial_checkpoint=initial_checkpoint,
        )

    def keep_best(self, epoch: int, accuracy: float, averaged: float | None = None) -> None:
        """Keep the weights if they are the best so far on validation images; so with the average.

        Args:
            epoch: The epoch that has just ended, counted from 1.
            accuracy: Of the weights.
            averaged: Of the averaged weights, if there are any.
        """
        progress = self.progress
        if accuracy > progress.best_accuracy:
            progress.best_accuracy, progress.best_epoch = accuracy, epoch
            self.best_weights = copy_weights(self.model)
        if self.average is None or averaged is None:
            return
        if averaged > progress.best_averaged_accuracy:
            progress.best_averaged_accuracy, progress.best_averaged_epoch = averaged, epoch
            self.best_average = copy_weights(self.average)

    def averaged_weights(self) -> dict[str, Tensor]:
        """The averaged weights of their best epoch; the last ones if none was validated.

        A run that an earlier version trained to its end has validated none.
        """
        assert self.average is not None
        return self.best_average or copy_weights(self.average)

    def begin_epoch(self) -> None:
        """Reset the sums of the previous epoch."""
        self.progress.step, self.progress.seconds = 0, 0.0
        for name in SUMS:
            getattr(self, name).zero_()

    def state(self) -> State:
        """Tensors and values that ``restore`` needs, on the CPU."""
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors |= {f"best.{key}": value for key, value in self.best_weights.items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
            tensors |= {f"best_average.{k}": v for k, v in self.best_average.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
        tensors |= {f"epoch.{name}": getattr(self, name) for name in SUMS}
        values = {**vars(self.progress), "scaler": self.scaler.state_dict()}
        if self.initial_checkpoint:
            values["initial_checkpoint"] = self.initial_checkpoint
        # Clones, since tied or viewed tensors can't be written; safetensors keeps no aliases.
        copies = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in tensors.items()
        }
        return State(copies, values)

    def restore(self, state: State) -> None:
        """Go back to the moment of ``state``."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(prefix): value
                for key, value in state.tensors.items()
                if key.startswith(prefix)
            }

        self.model.load_state_dict(part("model."))
        self.best_weights, self.best_average = part("best."), part("best_average.")
        if self.average is not None:
            self.average.load_state_dict(part("average."))
        self._restore_optimizer(part("optimizer."))
        for name, value in part("epoch.").items():
            getattr(self, name).copy_(value)
        values: dict[str, Any] = dict(state.values)
        if values["scaler"]:  # empty if the run was saved in a precision without a scaler
            self.scaler.load_state_dict(values["scaler"])
        self.initial_checkpoint = values.get("initial_checkpoint")
        known = {name: values[name] for name in vars(self.progress) if name in values}
        self.progress = Progress(**known)  # states of earlier versions lack some

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            own = parameters[int(index)]
            if value.shape == own.shape:  # in the memory layout that the fused kernel uses
                value = torch.empty_like(own, requires_grad=False).copy_(value)
            moments.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


SUMS = ("total", "faults", "first_fault", "overflows")


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights and buffers, copied to the CPU."""
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


def is_convolutional(model: nn.Module) -> bool:
    """Whether the model is mainly 2-D convolutions, which run faster with channels last.

    Networks with 5-D weights, which have no such layout, are left unchanged.
    """
    if any(parameter.ndim > 4 for parameter in model.parameters()):
        return False
    patches = {id(m.proj) for m in model.modules() if isinstance(m, PatchEmbed)}
    return any(isinstance(m, nn.Conv2d) and id(m) not in patches for m in model.modules())


def resolve_precision(config: TrainConfig, device: str) -> torch.dtype | None:
    """Dtype of mixed precision on ``device``: bfloat16 if supported, else float16.

    None means float32 throughout. ``amp auto`` means mixed precision on CUDA, and on a CPU where it
    is faster.
    """
    is_cuda = device.startswith("cuda")
    asked = str(config.amp).lower()
    gains = is_cuda or (device == "cpu" and gains_from_bfloat16(config))
    if asked == "false" or (asked == "auto" and not gains):
        return None
    if is_cuda and not torch.cuda.is_bf16_supported(False):
        return torch.float16
    return torch.bfloat16


def gains_from_bfloat16(config: TrainConfig) -> bool:
    """Whether the run's model trains faster in bfloat16 on this CPU.

    It does where the processor multiplies such matrices, unless the model has depthwise
    convolutions, whose gradients PyTorch computes slowly in bfloat16. On one core of an AMD EPYC
    (PyTorch 2.15) a step was 1.3 times as fast for ResNet-18, 2.7 times for DeiT-T with 18 tokens,
    but 0.4 times for EfficientNet-Lite0, 0.5 times for MobileNetV3, 0.9 times for ConvNeXt-Atto.
    Groups of several channels do no harm (ResNeXt-50: 1.4 times).
    """
    if not cpu_computes_bfloat16():
        return False
    try:
        return not has_depthwise_convolutions(config.model, config.img_size, config.patch_size)
    except ValueError:  # no such model, or none of this size, which is reported elsewhere
        return False


def amp_dtype(config: TrainConfig) -> torch.dtype | None:
    """Dtype of mixed precision on the run's own device; None: off."""
    return resolve_precision(config, config.device)


def precision_name(config: TrainConfig) -> str:
    """The precision of the run in words: ``float32`` or, for instance, ``bfloat16 autocast``."""
    dtype = amp_dtype(config)
    return f"{dtype} autocast".removeprefix("torch.") if dtype else "float32"


def autocast(config: TrainConfig) -> torch.autocast:
    """The context in which the run computes its losses."""
    dtype = amp_dtype(config)
    return torch.autocast(config.device.split(":")[0], dtype, enabled=dtype is not None)


def state_bytes(model: nn.Module, has_average: bool) -> int:
    """Approximate size of a saved state: weights, two moments, the best weights, two averages."""
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return weights * (6 if has_average else 4)
