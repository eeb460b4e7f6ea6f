"""What a model attends to and computes, taken through hooks: its forward pass stays as it is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
)
"""Modules whose outputs are features worth seeing, by the first that a model has all of."""
SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)


class NothingToRecordError(ValueError):
    """The model has no layer of the kind that was to be recorded."""


@contextmanager
def record_attention(model: nn.Module, *, gradients: bool = False) -> Iterator[list[Tensor]]:
    """Record the attention weights of every forward pass inside the ``with`` block.

    Hooks tell when one of the model's attention layers is at work; what it then hands to the
    fused kernel, or draws from its own softmax, is what it attends with, whatever it did to its
    queries and keys before. The fused pass goes on as ever and the weights are computed beside
    it, in memory O(N^2) a block. Dropout, if there is any, comes after what is recorded. For
    models that are not compiled.

    Args:
        model: One that attends with this package's layers (ViT, DeiT, AtResNet), or with those of
            timm that may be fused.
        gradients: Let the pass go through the recorded weights, in place of the fused kernel, so
            that ``torch.autograd.grad`` can ask for gradients with respect to them.

    Yields:
        A list that every pass extends by one tensor a block, first block first: (B, h, N, N), or
        (B, h, 1, N) for AtResNet, whose class token alone asks. Rows sum to 1; float32 at least.

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
    """Sees PyTorch's calls while it is entered, and notes the attention of those within a layer."""

    def __init__(self, maps: list[Tensor], gradients: bool) -> None:
        super().__init__()
        self.maps, self.gradients = maps, gradients
        self.depth = 0  # attention layers at work

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
        if self.depth and function in SOFTMAX and result.ndim == 4:
            if self.gradients and not result.requires_grad:
                result.requires_grad_()
            self.maps.append(result if self.gradients else result.detach())
        return result

    def attend(self, args: Any, kwargs: Any) -> Tensor:
        """The fused kernel's answer, with its weights noted."""
        if not self.gradients:
            with torch.no_grad():
                self.maps.append(fused_weights(*args, **kwargs))
            return F.scaled_dot_product_attention(*args, **kwargs)
        weights = fused_weights(*args, **kwargs)
        if not weights.requires_grad:
            weights.requires_grad_()
        self.maps.append(weights)
        value = args[2] if len(args) > 2 else kwargs["value"]
        if len(value[0]) != weights.shape[1]:  # grouped queries: h of them share fewer values
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
    """Weights that ``F.scaled_dot_product_attention`` applies, from the same arguments.

    Computed in float32 at least, as the kernels accumulate: (B, h, M, d), (B, h, N, d) ->
    (B, h, M, N).
    """
    exact = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
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


@contextmanager
def record_features(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the output of each block or stage in the last forward pass of the ``with`` block.

    Args:
        model: A ViT, DeiT, ResNet or AtResNet, or one of timm's with stages or blocks.

    Yields:
        A dictionary that a pass fills, in order, from module names to outputs: (B, N, C) from
        "blocks.0" on, or (B, C, H, W) of "conv1" and "layer1" to "layer4". No gradients.

    Raises:
        NothingToRecordError: If the model has none of these modules.
    """
    features: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            features[name] = output.detach().clone()  # a ReLU in place may follow

        return record

    with ExitStack() as hooks:
        for name in feature_names(model):
            handle = model.get_submodule(name).register_forward_hook(recorder(name))
            hooks.callback(handle.remove)
        yield features


def feature_names(model: nn.Module) -> list[str]:
    """Names of the modules whose outputs ``record_features`` takes, in order.

    Raises:
        NothingToRecordError: If the model has none that it knows.
    """
    children = dict(model.named_children())
    for names in FEATURES:
        if all(name in children for name in names):
            if len(names) > 1:
                return list(names)
            return [f"{names[0]}.{name}" for name, _ in children[names[0]].named_children()]
    raise NothingToRecordError(
        f"{type(model).__name__} has no stages known by name; expected one of "
        f"{', '.join(' '.join(names) for names in FEATURES)}"
    )


class TokenGrid(NamedTuple):
    """Where a transformer's tokens are: so many before the patches, then rows of patches."""

    prefix: int
    rows: int
    columns: int


def token_grid(model: nn.Module, img_size: tuple[int, int]) -> TokenGrid:
    """The tokens that ``model`` makes of an image of (rows, columns) pixels.

    Raises:
        NothingToRecordError: If the model is not made of patches.
    """
    prefix = getattr(model, "num_prefix_tokens", 0)
    embed: Any = getattr(model, "patch_embed", None)
    if hasattr(embed, "dynamic_feat_size"):  # timm's, which may take more than one size
        return TokenGrid(prefix, *embed.dynamic_feat_size(img_size))
    if not hasattr(embed, "grid_size"):
        raise NothingToRecordError(
            f"{type(model).__name__} is not made of patches, as ViT and DeiT are"
        )
    return TokenGrid(prefix, *embed.grid_size)


def patches_to_grid(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Drop the prefix and lay the patches out: (..., N) -> (..., rows, columns).

    Raises:
        NothingToRecordError: If there are more or fewer tokens than the grid says.
    """
    prefix, rows, columns = grid
    if tokens.shape[-1] != prefix + rows * columns:
        raise NothingToRecordError(
            f"expected {prefix} + {rows} x {columns} tokens; got {tokens.shape[-1]}"
        )
    return tokens[..., prefix:].unflatten(-1, (rows, columns))


def attention_rollout(maps: Sequence[Tensor]) -> Tensor:
    """Attention rollout, Abnar and Zuidema (2020), arXiv:2005.00928, as in the thesis's Fig. 8.5.

    Mean over heads, plus the identity for the residual path, rows made to sum to 1 again, and
    the product over layers: row i says how much of each input token reaches token i at the end.

    Args:
        maps: Attention weights (B, h, N, N), first layer first, of one forward pass.

    Returns:
        (B, N, N), rows summing to 1.

    Raises:
        ValueError: If there is no map, or they are not square and of one size.
    """
    shapes = {(m.shape[0], *m.shape[-2:]) for m in maps}
    if len(shapes) != 1 or any(m.ndim != 4 or m.shape[-1] != m.shape[-2] for m in maps):
        raise ValueError(
            "expected one or more maps (B, h, N, N) of one size; "
            f"got {[tuple(m.shape) for m in maps]}"
        )
    identity = torch.eye(maps[0].shape[-1], device=maps[0].device)
    rollout = identity
    for weights in maps:
        mixed = weights.float().mean(dim=1) + identity  # (B, N, N)
        rollout = mixed / mixed.sum(dim=-1, keepdim=True) @ rollout
    return rollout
