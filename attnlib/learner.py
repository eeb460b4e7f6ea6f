"""Model and objective as one module, distributed and compiled as the run asks."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnlib.config import TrainConfig
from attnlib.distributed import Group
from attnlib.losses import Objective


class Learner(nn.Module):
    """Images and targets to the objective's value."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B, 3, H, W), (B, K) -> scalar."""
        return self.objective(self.model, images, targets)


def make_learner(
    model: nn.Module,
    objective: Objective,
    config: TrainConfig,
    group: Group,
    example: Callable[[], tuple[Tensor, Tensor]],
) -> nn.Module:
    """The learner that the loop calls.

    Args:
        model: What is trained.
        objective: Model, images, targets to a scalar.
        config: Its device and compile count.
        group: The processes that train together.
        example: Makes a batch to compile with.
    """
    learner: nn.Module = Learner(model, objective)
    if group.size > 1:
        devices = [torch.device(config.device)] if config.device.startswith("cuda") else None
        learner = DistributedDataParallel(learner, devices)
    return compile_or_say_why(learner, model, example) if config.compile else learner


def compile_or_say_why(
    learner: nn.Module, model: nn.Module, example: Callable[[], tuple[Tensor, Tensor]]
) -> nn.Module:
    """The compiled learner, after one step on trial; if that fails, itself, with a warning.

    The trial leaves the model as it was: no gradients, BatchNorm's statistics untouched.
    """
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    compiled: nn.Module = torch.compile(learner)  # type: ignore[assignment]
    try:
        model.train()
        compiled(*example()).backward()
    except Exception as fault:  # compilers fail in every way there is
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        warnings.warn(f"torch.compile failed, so this run goes on without: {reason}", stacklevel=2)
        torch.compiler.reset()
        compiled = learner
    model.zero_grad(set_to_none=True)
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    return compiled
