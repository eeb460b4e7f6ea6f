"""The models by name, with their display titles, families and patch sizes."""

from collections.abc import Mapping
from typing import NamedTuple


class Listing(NamedTuple):
    """What the rest of the package needs to know of a model; ``models.zoo`` builds it."""

    title: str
    family: str  # vit, resnet, atresnet, or other
    patch_size: int | None = None  # side of a patch in pixels; None: the model has no patches


CATALOGUE: Mapping[str, Listing] = {
    "deit_t": Listing("DeiT-T", "vit", 16),
    "deit_s": Listing("DeiT-S", "vit", 16),
    "deit_b": Listing("DeiT-B", "vit", 16),
    "vit_b_16": Listing("ViT-B/16", "vit", 16),
    "vit_b_32": Listing("ViT-B/32", "vit", 32),
    "vit_l_16": Listing("ViT-L/16", "vit", 16),
    "resnet18": Listing("ResNet-18", "resnet"),
    "resnet50": Listing("ResNet-50", "resnet"),
    "atresnet18": Listing("AtResNet-18", "atresnet"),
    "efficientnet_b7": Listing("EfficientNet-B7", "other"),
    "efficientnet_lite0": Listing("EfficientNet-Lite0", "other"),
    "regnety_160": Listing("RegNetY-16GF", "other"),
}
MODELS = tuple(CATALOGUE)
TRANSFORMERS = tuple(name for name, model in CATALOGUE.items() if model.patch_size)
RESNETS = tuple(n for n, m in CATALOGUE.items() if m.family in ("resnet", "atresnet"))
TITLES: Mapping[str, str] = {name: model.title for name, model in CATALOGUE.items()}
