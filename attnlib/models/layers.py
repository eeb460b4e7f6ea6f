"""Layers of the Vision Transformer, with timm's parameter names."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ImageSize = int | tuple[int, int]  # side in pixels, or (rows, columns)
NORM_EPS = 1e-6  # ViT's and DeiT's; PyTorch's default is 1e-5
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(x - mean) / std for each channel of images in [0, 1]; by default with ImageNet's values.

    The constants move with the module to a device but are not in its state dict, so that a
    model that normalises its input keeps the keys of its published weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ValueError(f"expected one mean and one std > 0 a channel; got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise: (B, C, H, W) -> (B, C, H, W)."""
        return (images - self.mean) / self.std


def normalize_inside(model: nn.Module, normalize: Normalize) -> nn.Module:
    """Make a model that expects normalised images accept images in [0, 1]; returns the model.

    Done in the model's methods, so that the keys of the state dict don't change, and
    not in a hook, which ``torch.fx`` and callers of ``forward_features`` would bypass. In an
    ``nn.Sequential`` each child is a step, so normalisation becomes the first one.
    """
    if isinstance(model, nn.Sequential):
        return nn.Sequential(OrderedDict([("normalize", normalize), *model.named_children()]))
    model.add_module("normalize", normalize)
    model.__class__ = _normalizing(type(model))  # type: ignore[arg-type]
    return model


@cache
def _normalizing(kind: type[nn.Module]) -> type[nn.Module]:
    """Subclass of ``kind`` whose methods that take images normalise them first.

    timm's ``forward`` calls ``forward_features``, and ``forward_intermediates`` calls neither.
    """

    def normalising(method: str) -> Callable[..., Any]:
        def call(self: nn.Module, images: Tensor, *args: Any, **kwargs: Any) -> Any:
            normalised = self.get_submodule("normalize")(images)
            return getattr(kind, method)(self, normalised, *args, **kwargs)

        return call

    def forward(self: nn.Module, images: Tensor) -> Any:  # one argument, as torch.fx requires
        return kind.forward(self, self.get_submodule("normalize")(images))

    def reduce(self: nn.Module, protocol: int) -> Any:
        return _renew, (kind,), self.__dict__  # pickle can't find a dynamic class by name

    names = [n for n in ("forward_features", "forward_intermediates") if hasattr(kind, n)]
    methods: dict[str, Any] = {name: normalising(name) for name in names}
    if "forward_features" not in names:
        methods["forward"] = forward
    return type(kind.__name__, (kind,), methods | {"__reduce_ex__": reduce})


def _renew(kind: type[nn.Module]) -> nn.Module:
    """An empty module of the normalising class, to be filled by pickle or deepcopy."""
    return nn.Module.__new__(_normalizing(kind))  # type: ignore[arg-type]


class PatchEmbed(nn.Module):
    """Cut images into square patches and project each to a token.

    Args:
        img_size: Pixels, a side or (rows, columns).
        patch_size: Side of a patch in pixels.
        embed_dim: Width of a token.
        dynamic_img_size: Whether images of other sizes are taken too.

    Raises:
        ValueError: If the patches do not tile the image.
    """

    def __init__(
        self,
        img_size: ImageSize,
        patch_size: int,
        embed_dim: int,
        *,
        dynamic_img_size: bool = False,
    ) -> None:
        super().__init__()
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.dynamic_img_size = dynamic_img_size
        self.grid_size = _count_patches(self.img_size, patch_size)
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Embed patches, row by row: (B, 3, H, W) -> (B, P, C)."""
        if self.dynamic_img_size:
            _count_patches((images.shape[2], images.shape[3]), self.proj.kernel_size[0])
        elif images.shape[1:] != (3, *self.img_size):
            H, W = self.img_size
            raise ValueError(
                f"expected images (B, 3, {H}, {W}); got {tuple(images.shape)}: "
                "the positional embedding is made for one size, so build the model for yours, or "
                "with dynamic_img_size=True, which takes any size"
            )
        return self.proj(images).flatten(2).transpose(1, 2)


def _count_patches(img_size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches.

    Raises:
        ValueError: If the patches do not tile the image.
    """
    H, W = img_size
    sizes = [p for p in range(1, math.gcd(H, W) + 1) if H % p == W % p == 0]
    if patch_size not in sizes:
        raise ValueError(
            f"patch_size {patch_size} does not tile an image of {H} x {W} pixels; "
            f"valid: {', '.join(map(str, sizes)) or 'none'}"
        )
    return H // patch_size, W // patch_size


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) of eq. 2.1: (B, h, M, d), (B, h, N, d) -> (B, h, M, N)."""
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention, eqs. 2.1 to 2.3.

    The width is divided among the heads, so the scale is sqrt(embed_dim / num_heads).

    Raises:
        ValueError: If ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = _check_heads(embed_dim, num_heads)
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of all heads: (B, N, C) -> three (B, h, N, d)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, h, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def weights(self, x: Tensor) -> Tensor:
        """The attention weights that ``forward`` applies to ``x``: (B, N, C) -> (B, h, N, N)."""
        q, k, _ = self.project(x)
        return attention_weights(q, k)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens: (B, N, C) -> (B, N, C)."""
        x = F.scaled_dot_product_attention(*self.project(x))  # (B, h, N, d)
        return self.proj(x.transpose(1, 2).flatten(2))


class ClassAttention(nn.Module):
    """Multi-head attention whose only query is the class token, over tokens of another width.

    Chapter 6 of the thesis. Linear in the number of tokens, as there is a single query.

    Args:
        embed_dim: Width of the class token, of keys and of values.
        num_heads: Number of heads, which divide that width.
        context_dim: Features of a token that is attended to.

    Raises:
        ValueError: If ``num_heads`` does not divide ``embed_dim``.
    """

    def __init__(self, embed_dim: int, num_heads: int, context_dim: int) -> None:
        super().__init__()
        self.num_heads = _check_heads(embed_dim, num_heads)
        self.q = nn.Linear(embed_dim, embed_dim)
        self.k = nn.Linear(context_dim, embed_dim)
        self.v = nn.Linear(context_dim, embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, h, N, d)

    def weights(self, cls_token: Tensor, context: Tensor) -> Tensor:
        """The attention weights that ``forward`` applies: (B, 1, C), (B, N, F) -> (B, h, 1, N)."""
        return attention_weights(self._heads(self.q(cls_token)), self._heads(self.k(context)))

    def forward(self, cls_token: Tensor, context: Tensor) -> Tensor:
        """Attend to ``context``: (B, 1, C), (B, N, F) -> (B, 1, C)."""
        q, k, v = map(self._heads, (self.q(cls_token), self.k(context), self.v(context)))
        x = F.scaled_dot_product_attention(q, k, v)  # (B, h, 1, d)
        return self.proj(x.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a hidden layer four times as wide: GELU in ViT, ReLU in chapter 2."""

    def __init__(self, embed_dim: int, act: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, 4 * embed_dim)
        self.act = act()
        self.fc2 = nn.Linear(4 * embed_dim, embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token: (B, N, C) -> (B, N, C)."""
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth: in training, drop an image's residual branch at ``rate``.

    Huang et al. (2016), arXiv:1603.09382. Kept branches are scaled by 1 / (1 - rate), as in timm,
    so evaluation needs no scaling. Draws from the global generator, like dropout, unless
    ``draws`` holds a number in [0, 1) for each image of the batch (``set_drop_path_draws``).

    Raises:
        ValueError: If the rate is not in [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop-path rate: expected a number in [0, 1); got {rate}")
        self.rate = rate
        self.draws: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop the branch of whole images: (B, ...) -> (B, ...)."""
        if not self.training or self.rate == 0:
            return x
        if self.draws is None:
            mask = x.new_empty(x.shape[0]).bernoulli_(1 - self.rate)
        else:
            mask = (self.draws >= self.rate).to(x.dtype)
        return x * mask.div_(1 - self.rate).view(-1, *[1] * (x.ndim - 1))


def drop_paths(model: nn.Module) -> list[DropPath]:
    """The branches of ``model`` that may be dropped, in order."""
    return [layer for layer in model.modules() if isinstance(layer, DropPath) and layer.rate > 0]


def set_drop_path_draws(model: nn.Module, draws: Tensor | None) -> None:
    """Set the draws for the next forward passes: column l of (B, L) is for branch l.

    With None the global generator is used again.
    """
    for place, layer in enumerate(drop_paths(model)):
        layer.draws = None if draws is None else draws[:, place]


class Block(nn.Module):
    """Pre-norm encoder block of ViT, Eqs. 2 and 3 of Dosovitskiy et al. (2021)."""

    def __init__(self, embed_dim: int, num_heads: int, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.attn = Attention(embed_dim, num_heads)
        self.drop_path1 = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.mlp = Mlp(embed_dim)
        self.drop_path2 = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: (B, N, C) -> (B, N, C)."""
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class PostNormBlock(nn.Module):
    """Original encoder block of chapter 2, Vaswani et al. (2017): post-norm, ReLU, no dropout.

    The thesis calls ViT's block identical, but ``Block`` normalises first and uses GELU.
    The caller adds positions: without them the block is equivariant to permutations.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.attn = Attention(embed_dim, num_heads)
        self.norm1 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.mlp = Mlp(embed_dim, nn.ReLU)
        self.norm2 = nn.LayerNorm(embed_dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Encode: (B, N, C) -> (B, N, C)."""
        x = self.norm1(x + self.attn(x))
        return self.norm2(x + self.mlp(x))


def _check_heads(embed_dim: int, num_heads: int) -> int:
    if num_heads < 1 or embed_dim % num_heads:
        raise ValueError(f"num_heads {num_heads} does not divide embed_dim {embed_dim}")
    return num_heads


def use_cifar_stem(resnet: nn.Module) -> None:
    """Give a torchvision ResNet the stem used on CIFAR (He et al. 2016, section 4.2).

    A 3 x 3 convolution of stride 1 replaces the 7 x 7 one of stride 2 and max-pooling,
    which together reduce 32 x 32 pixels to 8 x 8 positions.
    """
    conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision
    resnet.conv1, resnet.maxpool = conv1, nn.Identity()


def group_resnet(coarse: bool = False) -> dict[str, str]:
    """A ResNet's ``group_matcher``, as in timm: which parameters form a layer.

    Whatever has none of these names is in the last layer, with the head.
    """
    return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}
