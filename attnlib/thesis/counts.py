"""What can be counted without data, weights or a GPU, and the values that formulas draw on.

A count takes what is given of its subject (``model``, ``tokens``, ``num_classes``, ...) and
returns one number, within a second. ``COUNTS`` has them by name, as ``thesis.toml`` and
``errata.toml`` call them.
"""

import functools
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
from attnlib.cost.scaling import FIT_FROM, TOKENS, fit_exponent, prepare_layer
from attnlib.data.readers import CIFAR10_CLASSES
from attnlib.models.atresnet import AtResNet, ClassBlock
from attnlib.models.layers import Attention, Block, PostNormBlock
from attnlib.models.vit import ViT
from attnlib.stats.consistency import classwise_errors, interclass_errors
from attnlib.thesis.statements import Errata, Statement, Thesis, evaluate
from attnlib.training.schedule import learning_rate

Given = Mapping[str, Any]
MEMORY_BATCH = 128  # images, as in Table 8.2


class Printed(float):
    """A number that shows itself as the thesis prints it, unless a format is asked for."""

    text: str

    def __new__(cls, value: float, text: str) -> "Printed":
        """Keep the text beside the value."""
        number = super().__new__(cls, value)
        number.text = text
        return number

    def __format__(self, spec: str) -> str:
        return super().__format__(spec) if spec else self.text


class Values(Mapping[str, Any]):
    """Every number by its name: the thesis's, facts, counts and formulas; made when asked for."""

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
                self.known[name] = count(given.pop("count"), given)
            else:
                self.known[name] = evaluate(self.errata.values[name], self)
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.known, **self.errata.counts, **self.errata.values})

    def __len__(self) -> int:
        return len(list(iter(self)))

    def fill(self, text: str) -> str:
        """Put values where ``text`` names them in braces."""
        return text.format_map(self)


def count_statement(thesis: Thesis, statement: Statement) -> float:
    """What ``statement`` gives a number of, counted.

    Raises:
        ValueError: If it is not countable.
    """
    if statement.count not in COUNTS:
        raise ValueError(f"{statement.id}: no count {statement.count!r} among {[*COUNTS]}.")
    given = {**subject_given(thesis, statement.subject), **statement.given}
    return count(statement.count, given)


def count(name: str, given: Given) -> float:
    """The count of that name for what is given; made once."""
    return _count(name, tuple(sorted(given.items())))


@functools.cache
def _count(name: str, given: tuple[tuple[str, Any], ...]) -> float:
    return COUNTS[name](dict(given))


def subject_given(thesis: Thesis, subject: str) -> dict[str, Any]:
    """What a count needs of a subject: the thesis's own models have 10 classes, cited ones 1000."""
    about = thesis.subjects.get(subject, {})
    names = ("model", "torchvision", "img_size")
    given = {name: about[name] for name in names if name in about}
    distilled = about.get("distillation", "none") != "none"
    return {**given, "num_classes": 10 if about.get("own") else 1000, "distilled": distilled}


def _model(given: Given) -> nn.Module:
    """The subject with shapes alone."""
    if "torchvision" in given:
        return _torchvision(given["torchvision"])
    return _own(
        given["model"],
        given.get("num_classes", 10),
        given.get("img_size", 224),
        given.get("tokens", "channel"),
        given.get("distilled", True),
    )


@functools.lru_cache(maxsize=32)
def _own(model: str, num_classes: int, img_size: int, tokens: str, distilled: bool) -> nn.Module:
    return measure.build_empty(model, num_classes, img_size, tokens=tokens, distilled=distilled)


@functools.lru_cache(maxsize=8)
def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    with torch.device("meta"):
        return cast(nn.Module, models.get_model(name)).eval()


def _parameters(given: Given) -> float:
    return measure.count_parameters(_model(given))


def _gmac(given: Given) -> float:
    return measure.count_gmac(_model(given))


def _vit(given: Given) -> ViT:
    return cast(ViT, _model(given))


def _depth(given: Given) -> float:
    return len(_vit(given).blocks)


def _heads(given: Given) -> float:
    (heads,) = {m.num_heads for m in _model(given).modules() if isinstance(m, Attention)}
    return heads


def _width(given: Given) -> float:
    return _vit(given).cls_token.shape[-1]


def _patch_size(given: Given) -> float:
    return _vit(given).patch_embed.proj.kernel_size[0]


def _patches(given: Given) -> float:
    rows, columns = _vit(given).grid_size
    return rows * columns


def _tokens(given: Given) -> float:
    return _vit(given).pos_embed.shape[1]


def _stage_blocks(number: int) -> Callable[[Given], float]:
    """Counter of the blocks of conv2_x (1) to conv5_x (4)."""
    return lambda given: len(cast(nn.Sequential, _model(given).get_submodule(f"layer{number}")))


def _stage_side(given: Given) -> float:
    model, sides = _torchvision("resnet18"), []

    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        sides.append(output.shape[-1])

    handle = model.get_submodule(given["stage"]).register_forward_hook(record)
    try:
        with torch.no_grad():
            model(torch.empty(1, 3, 224, 224, device="meta"))
    finally:
        handle.remove()
    return sides[0]


def _atresnet() -> AtResNet:
    return cast(AtResNet, _model({"model": "atresnet18"}))


def _encoders(given: Given) -> float:
    return sum(isinstance(module, ClassBlock) for module in _atresnet().modules())


def _token_width(given: Given) -> float:
    return _atresnet().cls_token.shape[-1]


def _token_heads(given: Given) -> float:
    return cast(ClassBlock, _atresnet().encoders[0]).attn.num_heads


def _weights_of_losses(given: Given) -> float:
    return float(TrainConfig.alpha)


def _error_cells(distribution: Callable[[Any], Any]) -> Callable[[Given], float]:
    """Counter of the entries of a distribution of errors over the sixteen categories."""
    return lambda given: len(distribution(np.ones((16, 16))))


def _torchvision_accuracy(given: Given) -> float:
    from torchvision import models

    weights = models.get_model_weights(given["torchvision"])["IMAGENET1K_V1"]
    return weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def _profile_value(given: Given) -> float:
    return PROFILES["thesis"][given["name"]]


def _cutmix_share(given: Given) -> float:
    """Share of the image that stays, or that comes in, where the box is not clipped."""
    central = cast(np.random.Generator, SimpleNamespace(integers=lambda side: side // 2))
    labels = soft_labels(torch.tensor([0, 1]), 2)
    _, mixed = cutmix(torch.empty(2, 3, 224, 224), labels, 0.6, central)
    return mixed[0, 0 if given["stays"] else 1].item()


def _peak_bytes(given: Given) -> float:
    """Peak without gradients; attention step by step, as timm had it when it was measured."""
    return measure.replay_memory(_model(given), MEMORY_BATCH, attention="explicit").peak_bytes


def _graph_bytes(given: Given) -> float:
    """The same with gradients recorded."""
    memory = measure.replay_memory(_model(given), MEMORY_BATCH, grad=True, attention="explicit")
    return memory.peak_bytes


def _checkpoint_bytes(given: Given) -> float:
    return measure.checkpoint_size(_model(given))


def _memory_exponent(given: Given) -> float:
    """Power of the number of tokens with which a layer's peak memory grows."""
    tokens = [n for n in TOKENS if n >= FIT_FROM]
    layers = [functools.partial(prepare_layer, given["layer"], n, 2) for n in tokens]
    return fit_exponent(tokens, [replay(layer).peak_bytes for layer in layers]).value


def _encoder_difference(given: Given) -> float:
    """Largest difference between the outputs of ViT's block and the original's, equal weights."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        vit, original = Block(64, 4), PostNormBlock(64, 4)
        original.load_state_dict(vit.state_dict())
        x = torch.randn(1, 8, 64)
        return float((vit(x) - original(x)).abs().max())


def _learning_rate(given: Given) -> float:
    recipe = PROFILES["thesis"]
    return learning_rate(
        given["epoch"],
        peak=recipe["lr"],
        epochs=recipe["epochs"],
        warmup_epochs=recipe["warmup_epochs"],
    )


COUNTS: Mapping[str, Callable[[Given], float]] = {
    "parameters": _parameters,
    "gmac": _gmac,
    "depth": _depth,
    "heads": _heads,
    "width": _width,
    "patch_size": _patch_size,
    "patches": _patches,
    "tokens": _tokens,
    "conv2_blocks": _stage_blocks(1),
    "conv3_blocks": _stage_blocks(2),
    "conv4_blocks": _stage_blocks(3),
    "conv5_blocks": _stage_blocks(4),
    "stage_side": _stage_side,
    "encoders": _encoders,
    "token_width": _token_width,
    "token_heads": _token_heads,
    "label_weight": lambda given: 1 - _weights_of_losses(given),
    "teacher_weight": _weights_of_losses,
    "classwise_cells": _error_cells(classwise_errors),
    "interclass_cells": _error_cells(interclass_errors),
    "cifar10_classes": lambda given: len(CIFAR10_CLASSES),
    "torchvision_accuracy": _torchvision_accuracy,
    "profile_value": _profile_value,
    "cutmix_share": _cutmix_share,
    "peak_bytes": _peak_bytes,
    "graph_bytes": _graph_bytes,
    "checkpoint_bytes": _checkpoint_bytes,
    "memory_exponent": _memory_exponent,
    "encoder_difference": _encoder_difference,
    "learning_rate": _learning_rate,
}
