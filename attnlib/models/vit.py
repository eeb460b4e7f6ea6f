"""Vision Transformer and DeiT, with timm's parameter names, so that published weights load."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attnlib.models.layers import NORM_EPS, Block, ImageSize, Normalize, PatchEmbed

AVERAGES = ("logits", "softmax")


class EncoderSize(NamedTuple):
    """Width of a token, number of blocks, and heads of a block."""

    embed_dim: int
    depth: int
    num_heads: int


# Table 1 of Touvron et al. (2021) and of Dosovitskiy et al. (2021); the thesis's Table 7.1 gives
# Small four heads, but every head is 64 wide.
TINY = EncoderSize(192, 12, 3)
SMALL = EncoderSize(384, 12, 6)
BASE = EncoderSize(768, 12, 12)
LARGE = EncoderSize(1024, 24, 16)


class ViT(nn.Module):
    """Vision Transformer of Dosovitskiy et al. (2021), arXiv:2010.11929, chapter 4 of the thesis.

    Takes images in [0, 1] and normalises them itself. The positional embedding is learned and
    has one size; ``head`` reads the class token.

    Args:
        num_classes: Classes K.
        img_size: Side in pixels, or (rows, columns).
        patch_size: Side of a patch in pixels.
        size: Width, depth and heads of the encoder.
        drop_path_rate: Stochastic depth of the last block; increases linearly from 0 at the first.
        dynamic_img_size: Whether images of other sizes are taken too, which the patches must tile:
            the positional embedding is resampled to their grid.
        normalize: Normalises images first; ImageNet's mean and std if None.

    Raises:
        ValueError: If the patches do not tile the image, or the heads do not divide the width.
    """

    num_prefix_tokens = 1

    def __init__(
        self,
        num_classes: int = 1000,
        img_size: ImageSize = 224,
        patch_size: int = 16,
        size: EncoderSize = TINY,
        *,
        drop_path_rate: float = 0.0,
        dynamic_img_size: bool = False,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__()
        self.img_size = img_size
        self.grad_checkpointing = False
        self.normalize = normalize or Normalize()
        self.patch_embed = PatchEmbed(
            img_size, patch_size, size.embed_dim, dynamic_img_size=dynamic_img_size
        )
        self.grid_size = rows, columns = self.patch_embed.grid_size
        tokens = self.num_prefix_tokens + rows * columns
        self.cls_token = nn.Parameter(torch.empty(1, 1, size.embed_dim))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, size.embed_dim))
        rates = torch.linspace(0, drop_path_rate, size.depth, device="cpu").tolist()
        self.blocks = nn.Sequential(*(Block(size.embed_dim, size.num_heads, r) for r in rates))
        self.norm = nn.LayerNorm(size.embed_dim, eps=NORM_EPS)
        self.head = nn.Linear(size.embed_dim, num_classes)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Initialise the weights as timm and the official DeiT code do."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters form a layer, as in timm's DeiT; for ``layer_decay``."""
        blocks = [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))]  # the norm with the last block
        return {"stem": r"^cls_token|pos_embed|patch_embed|dist_token", "blocks": blocks}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only the input of each block, and compute the rest again for gradients.

        As in timm: less memory, for a third more time.
        """
        self.grad_checkpointing = enable

    def prefix_tokens(self, batch_size: int) -> Tensor:
        """Tokens before the patches: B -> (B, prefix, C)."""
        return self.cls_token.expand(batch_size, -1, -1)

    def forward_features(self, images: Tensor) -> Tensor:
        """Encode images in [0, 1]: (B, 3, H, W) -> (B, N, C)."""
        x = self.patch_embed(self.normalize(images))
        x = torch.cat([self.prefix_tokens(x.shape[0]), x], dim=1)  # (B, N, C)
        dynamic = self.patch_embed.dynamic_img_size
        placed = x + (self._positions(images) if dynamic else self.pos_embed)
        if self.grad_checkpointing and self.training:
            from timm.models import checkpoint_seq  # slow, and only needed here

            return self.norm(checkpoint_seq(self.blocks, placed))
        return self.norm(self.blocks(placed))

    def _positions(self, images: Tensor) -> Tensor:
        """The positional embedding (1, N, C) for the patches of images of this size."""
        size = self.patch_embed.proj.kernel_size[0]
        grid = (images.shape[2] // size, images.shape[3] // size)
        if grid == self.grid_size:
            return self.pos_embed
        from timm.layers.pos_embed import resample_abs_pos_embed  # slow, and only needed here

        return resample_abs_pos_embed(
            self.pos_embed, [*grid], [*self.grid_size], self.num_prefix_tokens
        )

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Classify by the class token: (B, N, C) -> (B, K)."""
        return self.head(tokens[:, 0])

    def forward(self, images: Tensor) -> Tensor:
        """Classify images in [0, 1]: (B, 3, H, W) -> (B, K)."""
        return self.forward_head(self.forward_features(images))


class Heads(NamedTuple):
    """Logits of DeiT's two heads, each (B, K)."""

    class_logits: Tensor
    dist_logits: Tensor


class DeiT(ViT):
    """ViT with a distillation token, Touvron et al. (2021), arXiv:2012.12877, chapter 5.

    The losses use ``forward_heads``: the class head is trained on labels, the distillation head on
    the teacher. ``forward`` returns one output in training and evaluation: the mean of the two
    heads' logits, as in the official code and the thesis, or with ``average="softmax"`` the
    logarithm of the mean of their softmaxes, which is what the paper describes (section 4). The
    two can differ in their arg-max. ``average`` may be changed on a trained model.

    Args:
        num_classes: Classes K.
        img_size: Side in pixels, or (rows, columns).
        patch_size: Side of a patch in pixels.
        size: Width, depth and heads of the encoder.
        average: Of the heads' "logits" or of their "softmax".
        drop_path_rate: Stochastic depth of the last block; increases linearly from 0 at the first.
        dynamic_img_size: Whether images of other sizes are taken too.
        normalize: Normalises images first; ImageNet's mean and std if None.

    Raises:
        ValueError: As for ViT, or if ``average`` is unknown.
    """

    num_prefix_tokens = 2

    def __init__(
        self,
        num_classes: int = 1000,
        img_size: ImageSize = 224,
        patch_size: int = 16,
        size: EncoderSize = TINY,
        *,
        average: str = "logits",
        drop_path_rate: float = 0.0,
        dynamic_img_size: bool = False,
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__(
            num_classes,
            img_size,
            patch_size,
            size,
            drop_path_rate=drop_path_rate,
            dynamic_img_size=dynamic_img_size,
            normalize=normalize,
        )
        self.average = average
        self.dist_token = nn.Parameter(torch.empty(1, 1, size.embed_dim))
        self.head_dist = nn.Linear(size.embed_dim, num_classes)
        nn.init.trunc_normal_(self.dist_token, std=0.02)
        nn.init.trunc_normal_(self.head_dist.weight, std=0.02)
        nn.init.zeros_(self.head_dist.bias)

    @property
    def average(self) -> str:
        """What ``forward`` averages: the heads' "logits" or their "softmax"."""
        return self._average

    @average.setter
    def average(self, average: str) -> None:
        if average not in AVERAGES:
            raise ValueError(f"average: expected {' or '.join(AVERAGES)}; got {average!r}")
        self._average: str = average

    def prefix_tokens(self, batch_size: int) -> Tensor:
        """Class token and distillation token: B -> (B, 2, C)."""
        return torch.cat([self.cls_token, self.dist_token], dim=1).expand(batch_size, -1, -1)

    def forward_heads(self, images: Tensor) -> Heads:
        """Both heads' logits for images in [0, 1]: (B, 3, H, W) -> two (B, K)."""
        return self._ask_heads(self.forward_features(images))

    def _ask_heads(self, tokens: Tensor) -> Heads:
        return Heads(self.head(tokens[:, 0]), self.head_dist(tokens[:, 1]))

    def forward_head(self, tokens: Tensor) -> Tensor:
        """Classify by class and distillation token: (B, N, C) -> (B, K)."""
        logits = torch.stack(self._ask_heads(tokens))
        if self.average == "logits":
            return logits.mean(dim=0)
        return logits.log_softmax(dim=-1).logsumexp(dim=0) - math.log(2)
