"""Counts that need no data, weights or GPU, and the values that errata and verdicts use.

``OF_MODEL`` are counts of a model, ``OTHERS`` are other counts; ``thesis.toml``, ``errata.toml``
and the book refer to them by name. Each takes less than a second and is cached.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from attnlib.augmentation.mixing import cutmix, soft_labels
from attnlib.config import PROFILES, TrainConfig
from attnlib.cost import measure
from attnlib.cost.memory_replay import replay
from attnlib.cost.scaling import FIT_FROM, TOKEN_COUNTS, fit_exponent, prepare_layer
from attnlib.data.readers import CIFAR10_CLASSES
from attnlib.models.layers import Attention, Block, PostNormBlock
from attnlib.stats.consistency import classwise_errors, interclass_errors
from attnlib.thesis.arithmetic import FORMULAS, compute
from attnlib.thesis.statements import Errata, Statement, Thesis
from attnlib.training.schedule import learning_rate

TABLE_BATCH = 128  # images, as in Table 8.2


class Printed(float):
    """A number that is shown as the thesis prints it, unless a format is given."""

    text: str

    def __new__(cls, value: float, text: str) -> "Printed":
        """Store the text with the value."""
        number = super().__new__(cls, value)
        number.text = text
        return number

    def __format__(self, spec: str) -> str:
        return super().__format__(spec) if spec else self.text


class Values(Mapping[str, Any]):
    """All numbers by name: the thesis's, facts, counts and formulas, computed on access."""

    def __init__(self, thesis: Thesis, errata: Errata) -> None:
        self.thesis, self.errata = thesis, errata
        categories = errata.categories
        self.known: dict[str, Any] = {
            "category_count": len(categories),
            "mapped_classes": sum(categories.values()),
            **{name: fact["value"] for name, fact in errata.facts.items()},
            **{s.id: Printed(s.value, s.printed) for s in thesis.statements.values()},
        }

    def __getitem__(self, name: str) -> Any:
        if name not in self.known:
            if name in self.errata.counts:
                given = dict(self.errata.counts[name])
                self.known[name] = count(given.pop("count"), **given)
            else:
                self.known[name] = compute(name, self)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.known, **self.errata.counts, **FORMULAS})

    def __len__(self) -> int:
        return len(list(iter(self)))

    def fill(self, text: str) -> str:
        """Replace names in braces in ``text`` by values."""
        return text.format_map(self)


def count_statement(thesis: Thesis, statement: Statement) -> float:
    """Count the quantity that ``statement`` is about.

    Raises:
        ValueError: If it can't be counted.
    """
    if statement.count not in COUNTS:
        raise ValueError(f"{statement.id}: no count {statement.count!r} among {[*COUNTS]}.")
    subject = subject_given(thesis, statement.subject) if statement.count in OF_MODEL else {}
    return count(statement.count, **subject | dict(statement.given))


def subject_given(thesis: Thesis, subject: str) -> dict[str, Any]:
    """Arguments of a count for a subject: the thesis's models have 10 classes, cited ones 1000."""
    about = thesis.subjects.get(subject, {})
    names = ("model", "torchvision", "img_size")
    given = {name: about[name] for name in names if name in about}
    distilled = about.get("distillation", "none") != "none"
    return {**given, "num_classes": 10 if about.get("own") else 1000, "distilled": distilled}


@functools.cache
def count(name: str, /, **given: Any) -> float:
    """The count of that name, for instance ``count("parameters", model="deit_t")``.

    Raises:
        KeyError: If the count is unknown.
        TypeError: If arguments are missing or unexpected.
    """
    if name in OTHERS:
        return OTHERS[name](**given)
    if not given.keys() & {"model", "torchvision"}:
        raise TypeError(f"{name} needs a model")
    return OF_MODEL[name](build(**given))


@functools.lru_cache(maxsize=32)
def build(
    model: str = "",
    num_classes: int = 10,
    img_size: int = 224,
    tokens: str = "channel",
    distilled: bool = True,
    torchvision: str = "",
) -> nn.Module:
    """Our model of that name, or torchvision's, on the meta device."""
    if torchvision:
        from torchvision import models

        with torch.device("meta"):
            return cast(nn.Module, models.get_model(torchvision)).eval()
    return measure.build_empty(model, num_classes, img_size, tokens=tokens, distilled=distilled)


def heads(model: nn.Module) -> int:
    """Number of heads, the same in all layers."""
    (found,) = {m.num_heads for m in model.modules() if isinstance(m, Attention)}
    return found


def peak_bytes(model: nn.Module, *, grad: bool = False) -> float:
    """Peak memory of a pass with explicit attention, as in timm when the thesis measured it."""
    return measure.replay_memory(model, TABLE_BATCH, grad=grad, attention="explicit").peak_bytes


def stage_side(stage: str) -> int:
    """Side of the feature maps after a stage of ResNet-18."""
    model, sides = build(torchvision="resnet18"), []

    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        sides.append(output.shape[-1])

    handle = model.get_submodule(stage).register_forward_hook(record)
    try:
        with torch.no_grad():
            model(torch.empty(1, 3, 224, 224, device="meta"))
    finally:
        handle.remove()
    return sides[0]


def torchvision_accuracy(torchvision: str) -> float:
    """Accuracy on ImageNet that torchvision states for its own weights, in percent."""
    from torchvision import models

    weights = models.get_model_weights(torchvision)["IMAGENET1K_V1"]
    return weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def cutmix_share(stays: bool) -> float:
    """Share of the image that is kept or pasted, if the box is not clipped."""
    central = cast(np.random.Generator, SimpleNamespace(integers=lambda side: side // 2))
    labels = soft_labels(torch.tensor([0, 1]), 2)
    _, mixed = cutmix(torch.empty(2, 3, 224, 224), labels, 0.6, central)
    return mixed[0, 0 if stays else 1].item()


def memory_exponent(layer: str) -> float:
    """Exponent with which a layer's peak memory grows with the number of tokens."""
    tokens = [n for n in TOKEN_COUNTS if n >= FIT_FROM]
    layers = [functools.partial(prepare_layer, layer, n, 2) for n in tokens]
    return fit_exponent(tokens, [replay(prepared).peak_bytes for prepared in layers]).value


def encoder_difference() -> float:
    """Largest difference between the outputs of ViT's block and the original's, equal weights."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        vit, original = Block(64, 4), PostNormBlock(64, 4)
        original.load_state_dict(vit.state_dict())
        x = torch.randn(1, 8, 64)
        return float((vit(x) - original(x)).abs().max())


def thesis_rate(epoch: float) -> float:
    """The learning rate of the thesis's recipe at that epoch."""
    recipe = PROFILES["thesis"]
    names = ("epochs", "warmup_epochs")
    return learning_rate(epoch, peak=recipe["lr"], **{name: recipe[name] for name in names})


OF_MODEL: Mapping[str, Callable[[Any], float]] = {
    "parameters": measure.count_parameters,
    "gmac": measure.count_gmac,
    "depth": lambda vit: len(vit.blocks),
    "heads": heads,
    "width": lambda vit: vit.cls_token.shape[-1],
    "patch_size": lambda vit: vit.patch_embed.proj.kernel_size[0],
    "patches": lambda vit: math.prod(vit.grid_size),
    "tokens": lambda vit: vit.pos_embed.shape[1],
    "conv2_blocks": lambda resnet: len(resnet.layer1),
    "conv3_blocks": lambda resnet: len(resnet.layer2),
    "conv4_blocks": lambda resnet: len(resnet.layer3),
    "conv5_blocks": lambda resnet: len(resnet.layer4),
    "peak_bytes": peak_bytes,
    "graph_bytes": functools.partial(peak_bytes, grad=True),
    "weights_bytes": measure.weights_size,
    "checkpoint_bytes": measure.checkpoint_size,
}
OTHERS: Mapping[str, Callable[..., float]] = {
    "stage_side": stage_side,
    "encoders": lambda: len(cast(Any, build("atresnet18")).encoders),
    "token_width": lambda: cast(Any, build("atresnet18")).cls_token.shape[-1],
    "token_heads": lambda: cast(Any, build("atresnet18")).encoders[0].attn.num_heads,
    "label_weight": lambda: 1 - TrainConfig.alpha,
    "teacher_weight": lambda: TrainConfig.alpha,
    "classwise_cells": lambda: len(classwise_errors(np.ones((16, 16)))),
    "interclass_cells": lambda: len(interclass_errors(np.ones((16, 16)))),
    "cifar10_classes": lambda: len(CIFAR10_CLASSES),
    "torchvision_accuracy": torchvision_accuracy,
    "profile_value": lambda name: PROFILES["thesis"][name],
    "cutmix_share": cutmix_share,
    "memory_exponent": memory_exponent,
    "encoder_difference": encoder_difference,
    "learning_rate": thesis_rate,
}
COUNTS = {**OF_MODEL, **OTHERS}
