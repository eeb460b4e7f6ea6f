"""Attribution maps over the image: from attention, Grad-CAM, integrated gradients, occlusion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attnlib.explain.faithfulness import substrate
from attnlib.explain.feature_maps import features_on_plane
from attnlib.models.hooks import (
    NothingToRecordError,
    TokenGrid,
    attention_rollout,
    feature_names,
    is_channels_last,
    output_tensors,
    patches_to_grid,
    prefix_names,
    record_attention,
    record_features,
    token_grid,
)
from attnlib.models.modes import evaluating

MAP_KINDS = {
    "mean": "mean over heads of the class token's row in one layer",
    "head": "the class token's row in one head of one layer",
    "max": "maximum over heads of the class token's row in one layer",
    "distillation": "mean over heads of the distillation token's row in one layer",
    "rollout": "the class token's row of the rollout, from the first layer through one layer",
    "gradient": "rows of the tokens that are classified, of the gradient-weighted rollout",
}
"""Maps that attention gives, each named for what it is."""


@dataclass(frozen=True)
class Trace:
    """Attention in one pass of a model over images, and its gradients for class logits.

    Attributes:
        logits: (B, K).
        classes: (B,), the classes whose logits were differentiated.
        weights: One (B, h, N, N) per layer.
        gradients: Gradients of these logits with respect to ``weights``, of the same shapes.
        grids: Layout of each layer's keys; None if they are not positions.
        img_size: Rows and columns of the images, in pixels.
        prefix: Names of the tokens before the patches; empty if the output comes from the mean
            over the patches.
    """

    logits: Tensor
    classes: Tensor
    weights: list[Tensor]
    gradients: list[Tensor]
    grids: list[TokenGrid | None]
    img_size: tuple[int, int]
    prefix: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of map available for this model."""
        if self.grids[0] is None:
            return ()
        shapes = {(m.shape[-2], m.shape[-1]) for m in self.weights}
        if any(asking != asked for asking, asked in shapes) or len(shapes) > 1:
            return ("mean", "head", "max")  # one query, or token counts differ
        return tuple(k for k in MAP_KINDS if k != "distillation" or "distillation" in self.prefix)

    def asking(self, kind: str) -> tuple[int, ...]:
        """Positions of the tokens whose rows make up a map; none for the mean over the patches.

        The class token's; for a gradient map those of all heads that were averaged into
        the logit, including DeiT's distillation token.
        """
        names = {"distillation": ("distillation",), "gradient": ("class", "distillation")}
        wanted = names.get(kind, ("class",))
        return tuple(place for place, name in enumerate(self.prefix) if name in wanted)

    def place(self, layer: int | None, head: int) -> dict[str, int]:
        """Convert ``layer`` (None for the last) and ``head``, counted from 1, to those of ``row``.

        Raises:
            ValueError: If the model has fewer layers or heads.
        """
        depth, heads = len(self.weights), self.weights[0].shape[1]
        layer = depth if layer is None else layer
        for name, value, most in (("layer", layer, depth), ("head", head, heads)):
            if not 1 <= value <= most:
                raise ValueError(f"{name}: expected 1 to {most}; got {value}.")
        return {"layer": layer - 1, "head": head - 1}

    def row(self, kind: str, layer: int = -1, head: int = 0) -> Tensor:
        """A map of one of ``KINDS`` over the tokens, including the prefix: (B, N).

        Args:
            kind: One of ``kinds``.
            layer: Its number, from 0, or from the end with -1. The gradient-weighted rollout goes
                through all layers in any case.
            head: Its number, from 0, for maps of a single head.

        Raises:
            ValueError: If the model has no such map, layer or head.
        """
        depth, heads = len(self.weights), self.weights[0].shape[1]
        if kind not in self.kinds:
            valid = ", ".join(self.kinds) or "none: it attends to channels, not to positions"
            raise ValueError(f"kind: no map {kind!r} of this model. Valid: {valid}.")
        if not -depth <= layer < depth:
            raise ValueError(f"layer: expected {-depth} to {depth - 1}; got {layer}.")
        if not -heads <= head < heads:
            raise ValueError(f"head: expected {-heads} to {heads - 1}; got {head}.")
        if kind == "rollout":
            weights = attention_rollout(self.weights[: layer % depth + 1])[:, None]
        elif kind == "gradient":
            weights = gradient_rollout(self.weights, self.gradients)[:, None]
        else:
            weights = self.weights[layer]
        if weights.shape[-2] > 1:
            before = self.grids[layer].prefix  # type: ignore[union-attr]  # else kinds is empty
            places = self.asking(kind) or range(before, weights.shape[-2])
            weights = weights[:, :, list(places)].mean(dim=2)
        else:
            weights = weights[:, :, 0]
        if kind == "head":
            return weights[:, head]
        return weights.amax(dim=1) if kind == "max" else weights.mean(dim=1)

    def plane(self, kind: str, layer: int = -1, head: int = 0) -> Tensor:
        """A map of one of ``KINDS`` over the image: (B, H, W); arguments as for ``row``."""
        row = self.row(kind, layer, head)
        grid = self.grids[layer]
        if grid is None:
            raise ValueError("no map over the image: the tokens are channels")
        return tokens_to_plane(row, grid, self.img_size)


def trace(model: nn.Module, images: Tensor, classes: Tensor | None = None) -> Trace:
    """Run forward and backward passes in evaluation mode, recording attention and its gradients.

    Args:
        model: A model with attention; left unchanged.
        images: (B, 3, H, W) in [0, 1].
        classes: (B,), whose logits are differentiated; if None, the model's decisions.

    Raises:
        NothingToRecordError: If the model has no attention, or none over the patches of the image.
    """
    with evaluating(model), torch.enable_grad(), record_attention(model, gradients=True) as maps:
        logits = model(images)
        classes = logits.argmax(dim=1) if classes is None else classes
        chosen = logits.gather(1, classes[:, None]).sum()
        gradients = torch.autograd.grad(chosen, maps)
    img_size = (images.shape[-2], images.shape[-1])
    weights = [m.detach() for m in maps]
    grids = [layer_grid(model, layer, img_size) for layer in range(len(maps))]
    for layer, (grid, m) in enumerate(zip(grids, weights, strict=True)):
        whole = m.ndim == 4 and len(m) == len(images)
        if not whole or (grid is not None and m.shape[-1] != sum_tokens(grid)):
            raise NothingToRecordError(
                f"{type(model).__name__}: the attention of layer {layer}, {tuple(m.shape)}, is "
                "not over the patches of the whole image"
            )
    averaged = str(getattr(model, "global_pool", "token")).startswith("avg")  # in timm's terms
    prefix = () if averaged else prefix_names(model)
    return Trace(logits.detach(), classes, weights, list(gradients), grids, img_size, prefix)


def sum_tokens(grid: TokenGrid) -> int:
    """Total number of tokens: prefix + rows * columns."""
    return grid.prefix + grid.rows * grid.columns


def layer_grid(model: nn.Module, layer: int, img_size: tuple[int, int]) -> TokenGrid | None:
    """Layout of the tokens that a layer attends to; None if they are channels.

    Raises:
        NothingToRecordError: If the model neither has patches nor is AtResNet.
    """
    tokens = getattr(model, "tokens", None)
    if tokens is None:
        return token_grid(model, img_size)
    strides: tuple[int, ...] = model.strides  # type: ignore[assignment]  # AtResNet's; strided layers round up
    stride = strides[layer]
    rows, columns = (-(-side // stride) for side in img_size)
    return TokenGrid(0, rows, columns) if tokens == "spatial" else None


def gradient_rollout(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Gradient-weighted rollout, Chefer et al. (2021), arXiv:2103.15679, Eqs. 5 and 6.

    R <- R + E_h[(dy/dA * A)+] R, from the identity: only attention in favour of the class is
    used. Rows are not normalised.

    Args:
        maps: Attention weights (B, h, N, N), first layer first.
        gradients: Gradients of one class's logit with respect to them, of the same shapes.

    Returns:
        (B, N, N).

    Raises:
        ValueError: If the shapes differ, or are not square.
    """
    shapes = {tuple(m.shape) for m in (*maps, *gradients)}
    if not maps or len(maps) != len(gradients) or len({s[-2:] for s in shapes}) != 1:
        raise ValueError(
            f"expected as many gradients as maps (B, h, N, N); got {len(maps)} maps and "
            f"{len(gradients)} gradients of {sorted(shapes)}"
        )
    rollout = torch.eye(maps[0].shape[-1], device=maps[0].device, dtype=maps[0].dtype)
    for weights, gradient in zip(maps, gradients, strict=True):
        rollout = rollout + (weights * gradient).clamp_min(0).mean(dim=1) @ rollout
    return rollout


def tokens_to_plane(tokens: Tensor, grid: TokenGrid, img_size: tuple[int, int]) -> Tensor:
    """Interpolate values of tokens to the image's pixels: (B, N) -> (B, H, W).

    Bilinear between the centres of patches and constant beyond the outermost: a patch's value
    belongs to its centre, not its corner.
    """
    plane = patches_to_grid(tokens, grid)[:, None]
    return F.interpolate(plane, img_size, mode="bilinear", align_corners=False)[:, 0]


def grad_cam(
    model: nn.Module, images: Tensor, classes: Tensor | None = None, layer: str | None = None
) -> Tensor:
    """Grad-CAM, Selvaraju et al. (2017), arXiv:1610.02391, Eqs. 1 and 2, resized bilinearly.

    For a convolutional network, with channels first or last. For a transformer its tokens, arranged
    over the image, are the feature map, as in pytorch-grad-cam: those that the last block's
    attention reads, since no class token depends on the patches after it.

    Not captum's ``LayerGradCam``, which always takes the second axis as channels.

    Args:
        model: A network whose stages or blocks have spatial positions; left unchanged.
        images: (B, 3, H, W) in [0, 1].
        classes: (B,); if None, the model's decisions.
        layer: Name of the module whose output is weighted; by default the last of ``feature_names``
            or, in a transformer, that block's first normalisation.

    Returns:
        (B, H, W), >= 0.

    Raises:
        NothingToRecordError: If the model has no known stages, or no feature maps there.
    """
    module = model.get_submodule(layer or cam_layer(model))
    kept: list[Tensor] = []
    handle = module.register_forward_hook(
        lambda module, args, output: kept.extend(output_tensors(output)[:1])
    )
    try:
        with evaluating(model), torch.enable_grad():
            logits = model(images.detach().requires_grad_())
            classes = logits.argmax(dim=1) if classes is None else classes
            chosen = logits.gather(1, classes[:, None]).sum()
            gradients = torch.autograd.grad(chosen, kept[-1:]) if kept else ()
    finally:
        handle.remove()
    if not gradients:
        raise NothingToRecordError(f"{type(model).__name__}: no feature maps to weight there")
    img_size = (images.shape[-2], images.shape[-1])
    planes, slopes = (_on_plane(model, t.detach(), img_size) for t in (kept[-1], *gradients))
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    cam = (weights * planes).sum(dim=1, keepdim=True).relu()
    return F.interpolate(cam, img_size, mode="bilinear", align_corners=False)[:, 0]


def cam_layer(model: nn.Module) -> str:
    """The module whose output Grad-CAM weights if none is named.

    Raises:
        NothingToRecordError: If the model has no known stages.
    """
    last = feature_names(model)[-1]
    is_block = bool(prefix_names(model)) and hasattr(model.get_submodule(last), "norm1")
    return f"{last}.norm1" if is_block else last


def fine_layer(model: nn.Module, images: Tensor, positions: int = 16) -> str:
    """The last stage of a network whose maps of ``images`` have at least as many positions.

    The last stage of all may have a single one for small images, and a map of it shows nothing. If
    none has as many, the last one.

    Raises:
        NothingToRecordError: If no stage has spatial positions.
    """
    with evaluating(model), torch.no_grad(), record_features(model) as features:
        model(images[:1])
    sizes = {name: f.shape[-2] * f.shape[-1] for name, f in features.items() if f.ndim == 4}
    if not sizes:
        raise NothingToRecordError(f"{type(model).__name__} has no stage with planes")
    return ([name for name, count in sizes.items() if count >= positions] or list(sizes))[-1]


def _on_plane(model: nn.Module, output: Tensor, img_size: tuple[int, int]) -> Tensor:
    usual = getattr(model, "output_fmt", "NCHW") == "NHWC"
    if is_channels_last(output, img_size, usual):
        output = output.permute(0, 3, 1, 2)
    return features_on_plane(model, output, img_size)


def integrated_gradients(
    model: nn.Module, images: Tensor, classes: Tensor | None = None, *, steps: int = 50
) -> Tensor:
    """Integrated gradients, Sundararajan et al. (2017), arXiv:1703.01365, from a black image.

    Computed by captum, in Gauss-Legendre steps. Channels are summed, so that a map sums to the
    class's logit minus that of the black image.

    Args:
        model: Images in [0, 1] to logits; left unchanged.
        images: (B, 3, H, W).
        classes: (B,); if None, the model's decisions.
        steps: Points on the line from black to the image.

    Returns:
        (B, H, W); negative where a pixel counts against the class.

    Raises:
        ImportError: If captum is not installed.
    """
    with evaluating(model), torch.enable_grad():
        classes = _decided(model, images) if classes is None else classes
        method = _captum("IntegratedGradients")(model)
        return method.attribute(images, target=classes, n_steps=steps).sum(dim=1).detach()


def occlusion(
    model: nn.Module, images: Tensor, classes: Tensor | None = None, *, side: int, stride: int
) -> Tensor:
    """How much a class's logit falls where a grey square hides the image.

    Zeiler and Fergus (2014), arXiv:1311.2901, section 4.2, computed by captum: a pixel's value is
    the mean over the squares that hide it. The grey is the image's mean colour.

    Args:
        model: Images in [0, 1] to logits; left unchanged.
        images: (B, 3, H, W).
        classes: (B,); if None, the model's decisions.
        side: Pixels of the square's side.
        stride: Pixels from one square to the next.

    Returns:
        (B, H, W); negative where hiding a pixel favours the class.

    Raises:
        ImportError: If captum is not installed.
        ValueError: If squares leave gaps, or don't fit into the image.
    """
    if not 1 <= stride <= side <= min(images.shape[-2:]):
        raise ValueError(
            f"side, stride: expected 1 <= stride <= side <= {min(images.shape[-2:])}, the image's; "
            f"got {side} and {stride}."
        )
    with evaluating(model), torch.no_grad():
        classes = _decided(model, images) if classes is None else classes
        found = _captum("Occlusion")(model).attribute(
            images,
            sliding_window_shapes=(3, side, side),
            strides=(3, stride, stride),
            baselines=substrate(images, "mean"),
            target=classes,
        )
    return found[:, 0].detach()  # the same in each channel


def _decided(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(dim=1)


def _captum(name: str) -> Any:
    try:
        from captum import attr
    except ImportError as error:
        raise ImportError("this map needs captum: pip install captum") from error
    return getattr(attr, name)
