"""Recording of attention weights and features through hooks, with the forward pass unchanged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnlib.models.layers import Attention, ClassAttention

FEATURES = (
    ("conv1", "layer1", "layer2", "layer3", "layer4"),  # ResNets and AtResNet
    ("stem", "s1", "s2", "s3", "s4"),  # RegNets
    ("blocks",),  # ViT, DeiT and EfficientNets: each block of the list
    ("stages",),  # ConvNeXt
    ("layers",),  # Swin
)
"""Modules whose outputs are features worth seeing, by the first that a model has all of."""
SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)


class NothingToRecordError(ValueError):
    """The model has no layer of the kind to record."""


@contextmanager
def record_attention(model: nn.Module, *, gradients: bool = False) -> Iterator[list[Tensor]]:
    """Record the attention weights of every forward pass inside the ``with`` block.

    Hooks tell when one of the model's attention layers is running; what it then passes to the
    fused kernel, or gets from its own softmax, is what it attends with, whatever it did to its
    queries and keys before. The fused kernel still runs and the weights are computed beside
    it, with O(N^2) memory per block. Dropout, if any, is applied after what is recorded. For
    models that are not compiled.

    Args:
        model: One that attends with this package's layers (ViT, DeiT, AtResNet), or with those of
            timm that support the fused kernel.
        gradients: Compute the pass from the recorded weights instead of the fused kernel, so
            that ``torch.autograd.grad`` can ask for gradients with respect to them.

    Yields:
        A list that every pass extends by one tensor per block, first block first: (B, h, N, N), or
        (B, h, 1, N) for AtResNet, where only the class token is a query. If attention is within
        windows of the image, each window counts as an image. Rows sum to 1; float32 or wider.

    Raises:
        NothingToRecordError: If the model has no such layer.
    """
    layers = [m for m in model.modules() if _attends(m)]
    if not layers:
        raise NothingToRecordError(
            f"{type(model).__name__} has no attention layer, of attnlib or timm, to record"
        )
    maps: list[Tensor] = []
    with ExitStack() as stack:
        mode = _Recorder(maps, gradients)
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(mode.enter_layer).remove)
            leave = layer.register_forward_hook(mode.leave_layer, always_call=True)
            stack.callback(leave.remove)
        stack.enter_context(mode)
        yield maps


def _attends(module: nn.Module) -> bool:
    return isinstance(module, Attention | ClassAttention) or hasattr(module, "fused_attn")


class _Recorder(TorchFunctionMode):
    """Intercepts PyTorch calls while active, and records the attention of those within a layer."""

    def __init__(self, maps: list[Tensor], gradients: bool) -> None:
        super().__init__()
        self.maps, self.gradients = maps, gradients
        self.depth = 0  # attention layers that are running

    def enter_layer(self, layer: nn.Module, args: Any) -> None:
        self.depth += 1

    def leave_layer(self, layer: nn.Module, args: Any, output: Any) -> None:
        self.depth -= 1

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.depth and function is F.scaled_dot_product_attention:
            return self.attend(args, kwargs)
        result = function(*args, **kwargs)
        if self.depth and function in SOFTMAX and result.ndim >= 4:
            if self.gradients and not result.requires_grad:
                result.requires_grad_()
            self.note(result)
        return result

    def note(self, weights: Tensor) -> None:
        """Record weights (B, h, ..., M, N); windows of an image count as separate images.

        With gradients the tensors are kept as they are, since the pass must go through them.
        """
        if not self.gradients:
            weights = weights.detach()
            if weights.ndim == 3:  # images and heads share an axis, as in Segment Anything
                weights = weights[:, None]
            weights = weights.movedim(1, -3).flatten(0, -4)
        self.maps.append(weights)

    def attend(self, args: Any, kwargs: Any) -> Tensor:
        """The fused kernel's output; its weights are recorded."""
        if not self.gradients:
            with torch.no_grad():
                self.note(fused_weights(*args, **kwargs))
            return F.scaled_dot_product_attention(*args, **kwargs)
        weights = fused_weights(*args, **kwargs)
        if not weights.requires_grad:
            weights.requires_grad_()
        self.note(weights)
        value = args[2] if len(args) > 2 else kwargs["value"]
        if len(value[0]) != weights.shape[1]:  # grouped queries: heads share keys and values
            value = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)
        return weights.to(value.dtype) @ value


def fused_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights that ``F.scaled_dot_product_attention`` applies, from the same arguments.

    Computed in float32 or wider, as the kernels accumulate: (B, h, M, d), (B, h, N, d) ->
    (B, h, M, N).
    """
    exact = torch.promote_types(query.dtype, torch.float32)
    with _without_autocast(query.device.type):
        if enable_gqa:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = query.to(exact) @ key.to(exact).transpose(-2, -1) * scale
        if is_causal:
            attn_mask = torch.ones_like(scores[0, 0], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return scores.softmax(dim=-1)


def _without_autocast(kind: str) -> AbstractContextManager[object]:
    """Switch autocast off for a device type that supports it (meta doesn't)."""
    available = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if available else nullcontext()


@contextmanager
def record_features(
    model: nn.Module, names: Sequence[str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Record the output of each block or stage in the last forward pass of the ``with`` block.

    Some of timm's modules return more than one tensor (MViTv2 the size of its grid beside the
    tokens, EfficientViM three maps). Of these the tensors with an axis for the images are taken,
    named "stages.0[0]", "stages.0[1]" if there are several.

    Args:
        model: A ViT, DeiT, ResNet or AtResNet, or one of timm's with stages or blocks.
        names: Modules whose outputs are recorded; those of ``feature_names`` if None.

    Yields:
        A dictionary that a pass fills, in order, from module names to outputs: (B, N, C) of
        "blocks.0" on, or (B, C, H, W) of "conv1" and "layer1" to "layer4", channels first
        whatever the model uses. No gradients.

    Raises:
        NothingToRecordError: If the model has none of these modules.
    """
    features: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        stages = _Stages(model, features)
        handle = model.register_forward_pre_hook(stages.note_images, with_kwargs=True)
        hooks.callback(handle.remove)
        for name in feature_names(model) if names is None else names:
            handle = model.get_submodule(name).register_forward_hook(stages.recorder(name))
            hooks.callback(handle.remove)
        yield features


class _Stages:
    """Collects the outputs of modules in one layout, and the size of the images passed."""

    def __init__(self, model: nn.Module, features: dict[str, Tensor]) -> None:
        self.channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"  # as timm declares it
        self.features = features
        self.count, self.img_size = 0, (1, 1)

    def note_images(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        images = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        self.count, self.img_size = len(images), (images.shape[-2], images.shape[-1])

    def recorder(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            found = [t for t in output_tensors(output) if len(t) == self.count]
            for place, tensor in enumerate(found):
                taken = tensor.detach().clone()  # an in-place ReLU may follow
                if is_channels_last(taken, self.img_size, self.channels_last):
                    taken = taken.permute(0, 3, 1, 2)
                self.features[f"{name}[{place}]" if len(found) > 1 else name] = taken

        return record


def output_tensors(output: Any) -> list[Tensor]:
    """The maps and tokens, with three or four axes, in a module's output."""
    if isinstance(output, Tensor):
        return [output] if output.ndim in (3, 4) and output.is_floating_point() else []
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [tensor for part in output for tensor in output_tensors(part)]
    return []


def is_channels_last(feature: Tensor, img_size: tuple[int, int], usual: bool) -> bool:
    """Whether a stage's output with four axes is (B, H, W, C), and not (B, C, H, W).

    A map has the aspect ratio of the image. If both layouts fit, or neither does, the model's
    ``usual`` layout decides.
    """
    if feature.ndim != 4:
        return False
    _, first, middle, last = feature.shape
    H, W = img_size

    def has_shape(rows: int, columns: int) -> bool:
        return abs(rows * W - columns * H) < max(H, W)  # sides are rounded to whole cells

    fits_last, fits_first = has_shape(first, middle), has_shape(middle, last)
    return usual if fits_last == fits_first else fits_last


def feature_names(model: nn.Module) -> list[str]:
    """Names of the modules whose outputs ``record_features`` takes, in order.

    Raises:
        NothingToRecordError: If none of the known names is in the model.
    """
    children = dict(model.named_children())
    for names in FEATURES:
        if all(name in children for name in names):
            if len(names) > 1:
                return list(names)
            return _called_within(names[0], children[names[0]])
    raise NothingToRecordError(
        f"{type(model).__name__} has no stages known by name; expected one of "
        f"{', '.join(' '.join(names) for names in FEATURES)}"
    )


def _called_within(name: str, parent: nn.Module) -> list[str]:
    """Names of a module's direct children; a list, never called itself, is replaced by its own."""
    found = []
    for place, child in parent.named_children():
        inside = f"{name}.{place}"
        found += _called_within(inside, child) if isinstance(child, nn.ModuleList) else [inside]
    return found


def prefix_names(model: nn.Module) -> tuple[str, ...]:
    """Names of a transformer's tokens before the patches: class, distillation or register.

    The class token comes first, then the distillation token, then registers (Darcet et al. 2024,
    arXiv:2309.16588), as in timm; a model that averages its patches may have only registers.
    """
    tokens = {"class": "cls_token", "distillation": "dist_token"}
    count = int(getattr(model, "num_prefix_tokens", 0))
    names = [name for name, token in tokens.items() if getattr(model, token, None) is not None]
    return tuple([*names, *["register"] * count][:count])


class TokenGrid(NamedTuple):
    """The layout of a transformer's tokens: prefix tokens, then rows of patches."""

    prefix: int
    rows: int
    columns: int


def token_grid(model: nn.Module, img_size: tuple[int, int]) -> TokenGrid:
    """The layout of the tokens of ``model`` for an image of (rows, columns) pixels.

    Raises:
        NothingToRecordError: If the model is not made of patches.
    """
    prefix = getattr(model, "num_prefix_tokens", 0)
    embed: Any = getattr(model, "patch_embed", None)
    if hasattr(embed, "dynamic_feat_size"):  # timm's, which may accept several sizes
        return TokenGrid(prefix, *embed.dynamic_feat_size(img_size))
    if not hasattr(embed, "grid_size"):
        raise NothingToRecordError(
            f"{type(model).__name__} is not made of patches, as ViT and DeiT are"
        )
    return TokenGrid(prefix, *embed.grid_size)


def patches_to_grid(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Drop the prefix tokens and arrange the patches: (..., N) -> (..., rows, columns).

    Raises:
        NothingToRecordError: If the number of tokens does not match the grid.
    """
    prefix, rows, columns = grid
    if tokens.shape[-1] != prefix + rows * columns:
        raise NothingToRecordError(
            f"expected {prefix} + {rows} x {columns} tokens; got {tokens.shape[-1]}"
        )
    return tokens[..., prefix:].unflatten(-1, (rows, columns))


def attention_rollout(maps: Sequence[Tensor]) -> Tensor:
    """Attention rollout, Abnar and Zuidema (2020), arXiv:2005.00928, as in the thesis's Fig. 8.5.

    Mean over heads, plus the identity for the residual path, rows normalised to sum to 1, and
    the product over layers: row i is how much of each input token reaches token i at the end.

    Args:
        maps: Attention weights (B, h, N, N), first layer first, of one forward pass.

    Returns:
        (B, N, N), rows summing to 1.

    Raises:
        NothingToRecordError: If there is no map, or they are not square and equal in size.
    """
    shapes = {(m.shape[0], *m.shape[-2:]) for m in maps}
    if len(shapes) != 1 or any(m.ndim != 4 or m.shape[-1] != m.shape[-2] for m in maps):
        raise NothingToRecordError(
            "expected one or more maps (B, h, N, N) of one size; "
            f"got {[tuple(m.shape) for m in maps]}"
        )
    exact = torch.promote_types(maps[0].dtype, torch.float32)
    identity = torch.eye(maps[0].shape[-1], device=maps[0].device, dtype=exact)
    rollout = identity
    for weights in maps:
        mixed = weights.to(exact).mean(dim=1) + identity  # (B, N, N)
        rollout = mixed / mixed.sum(dim=-1, keepdim=True) @ rollout
    return rollout
