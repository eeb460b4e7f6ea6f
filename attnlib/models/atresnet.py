"""AtResNet-18, chapter 6 of the thesis: a class token reads every stage of a ResNet."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from attnlib.models.layers import (
    NORM_EPS,
    ClassAttention,
    ImageSize,
    Mlp,
    Normalize,
    group_resnet,
    use_cifar_stem,
)

TOKENS = ("channel", "spatial")
EMBED_DIM, NUM_HEADS = 256, 8
STAGES = ((64, 4), (128, 8), (256, 16), (512, 32))  # channels and stride of conv2_x to conv5_x


class ClassBlock(nn.Module):
    """Pre-norm encoder block in which a single class token attends to a feature map."""

    def __init__(self, embed_dim: int, num_heads: int, context_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.attn = ClassAttention(embed_dim, num_heads, context_dim)
        self.norm2 = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        self.mlp = Mlp(embed_dim)

    def forward(self, cls_token: Tensor, context: Tensor) -> Tensor:
        """Update the class token: (B, 1, C), (B, N, F) -> (B, 1, C)."""
        cls_token = cls_token + self.attn(self.norm1(cls_token), context)
        return cls_token + self.mlp(self.norm2(cls_token))


class AtResNet(nn.Module):
    """ResNet-18 with a class token that reads the output of conv2_x to conv5_x.

    One learned token of width 256 passes through four encoder blocks of 8 heads, one after each
    stage, and only it is classified; pooling and the old classifier are removed. The trunk doesn't
    depend on the token and keeps torchvision's parameter names, so ImageNet weights load into it.

    With ``tokens="channel"``, the reading that the thesis's text and parameter count imply, a
    token is a channel and its features are the H * W positions: the projections of keys and
    values fix the image size, and there is no attention map over the image. With ``"spatial"`` a
    token is a position and its features are the channels, for images of any size. The thesis leaves
    open the order of normalisation (pre-norm here, as in ViT) and the biases (kept).

    Args:
        num_classes: Classes K.
        img_size: Side in pixels, or (rows, columns).
        tokens: "channel" or "spatial".
        stem: "imagenet", or "cifar", which gives every stage 16 times as many positions.
        normalize: Normalises images first; ImageNet's mean and std if None.

    Raises:
        ValueError: If ``tokens`` is unknown, or a side is less than one pixel.
    """

    def __init__(
        self,
        num_classes: int = 10,
        img_size: ImageSize = 224,
        tokens: str = "channel",
        *,
        stem: str = "imagenet",
        normalize: Normalize | None = None,
    ) -> None:
        super().__init__()
        H, W = (img_size, img_size) if isinstance(img_size, int) else img_size
        if H < 1 or W < 1:
            raise ValueError(f"img_size: expected at least one pixel a side; got {img_size}")
        if tokens not in TOKENS:
            raise ValueError(f"tokens: expected {' or '.join(TOKENS)}; got {tokens!r}")
        self.img_size = img_size
        self.tokens = tokens
        self.grad_checkpointing = False
        self.normalize = normalize or Normalize()
        trunk = resnet18()
        if stem == "cifar":
            use_cifar_stem(trunk)
        self.conv1, self.bn1, self.relu = trunk.conv1, trunk.bn1, trunk.relu
        self.maxpool = trunk.maxpool
        self.layer1, self.layer2 = trunk.layer1, trunk.layer2
        self.layer3, self.layer4 = trunk.layer3, trunk.layer4
        self.cls_token = nn.Parameter(torch.empty(1, 1, EMBED_DIM))
        self.encoders = nn.ModuleList()
        usual = 4 if stem == "imagenet" else 1  # the stride of the stem
        self.strides = tuple(stride // 4 * usual for _, stride in STAGES)
        for (channels, _), stride in zip(STAGES, self.strides, strict=True):
            positions = -(-H // stride) * -(-W // stride)  # strided layers round up
            features = positions if tokens == "channel" else channels
            self.encoders.append(ClassBlock(EMBED_DIM, NUM_HEADS, features))
        self.fc = nn.Linear(EMBED_DIM, num_classes)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Initialise the encoders as ViT's authors do; the trunk keeps torchvision's weights."""
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in (*self.encoders.modules(), self.fc):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Which parameters form a layer, as in timm's ResNet; for ``layer_decay``.

        Class token and encoders, which no ImageNet weights hold, are in the last layer.
        """
        return group_resnet(coarse)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only the input of each block of the trunk, and compute the rest again.

        As in timm: less memory, for a third more time.
        """
        self.grad_checkpointing = enable

    def forward_features(self, images: Tensor) -> Tensor:
        """Final class token of images in [0, 1]: (B, 3, H, W) -> (B, C)."""
        self._check_size(images)
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(images)))))
        cls_token = self.cls_token.expand(x.shape[0], -1, -1)
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        for stage, encoder in zip(stages, self.encoders, strict=True):
            if self.grad_checkpointing and self.training:
                from timm.models import checkpoint_seq  # slow, and only needed here

                x = checkpoint_seq(stage, x)
            else:
                x = stage(x)
            context = x.flatten(2)  # (B, C, H * W): a token is a channel
            if self.tokens == "spatial":
                context = context.transpose(1, 2)  # (B, H * W, C): a token is a position
            cls_token = encoder(cls_token, context)
        return cls_token[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """Classify images in [0, 1]: (B, 3, H, W) -> (B, K)."""
        return self.fc(self.forward_features(images))

    def _check_size(self, images: Tensor) -> None:
        H, W = (self.img_size,) * 2 if isinstance(self.img_size, int) else self.img_size
        if self.tokens == "channel" and images.shape[1:] != (3, H, W):
            raise ValueError(
                f"expected images (B, 3, {H}, {W}); got {tuple(images.shape)}: with channel "
                "tokens the features are the positions of one image size; build the model for "
                'yours, or with tokens="spatial", which takes any size'
            )
