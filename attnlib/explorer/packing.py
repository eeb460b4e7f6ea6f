"""Networks packed small for the book's page: rounded weights, BatchNorm folded, layers in order."""

import operator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attnlib.models.layers import NORM_EPS, Normalize
from attnlib.models.vit import ViT

WEIGHT_LEVELS = 127  # of an 8-bit weight on each side of zero
# Numbers in a weight that stays float16: they are few, and an EfficientNet-Lite0 with 8 bits in its
# narrow layers too agrees with itself on 78% of 200 images in place of 96%.
SMALL_WEIGHT = 2**16
SPARE = 1_500_000  # numbers of memory beside those that are counted here


class UnknownLayerError(ValueError):
    """The page's script has no such layer."""


@dataclass(frozen=True)
class Packed:
    """A network for the page's script.

    Attributes:
        header: What the script needs to know beside the numbers; JSON.
        content: The numbers, float32, float16 and 8 bits; little-endian.
    """

    header: dict[str, Any]
    content: bytes


def pack_network(model: nn.Module, classes: tuple[str, ...], img_size: int) -> Packed:
    """Pack a network: a ViT or a DeiT, or one of convolutions in a row with residual paths.

    Args:
        model: In evaluation mode; left unchanged.
        classes: Names, one for each logit.
        img_size: Side of its images in pixels.

    Raises:
        UnknownLayerError: If it has a layer that the script does not know.
    """
    if isinstance(model, ViT):
        return _pack_vit(model, classes)
    steps, layers, traced = trace_steps(model, img_size)
    weights = {f"{name}.weight": layer.weight for name, layer in layers.items()}
    biases = {f"{name}.bias": _bias(layer) for name, layer in layers.items()}
    depthwise = [f"{step['name']}.weight" for step in steps if step["layer"] == "depthwise"]
    header = _describe(traced, classes, (img_size, img_size)) | {
        "steps": steps,
        "depthwise": depthwise,
        "room": sum(map(_padded, weights.values())) + _room_of_steps(steps, layers),
    }
    return _pack(header, weights, biases)


def quantise(model: nn.Module) -> nn.Module:
    """A copy of a network whose weights are those that ``pack_network`` keeps.

    A convolutional network is folded first, as for the page.
    """
    if isinstance(model, ViT):
        copy: nn.Module = deepcopy(model)
        for name, parameter in copy.named_parameters():
            if _is_quantised(name, parameter):
                parameter.data = rounded(parameter.data)
        return copy
    copy = fold_norms(model)
    for layer in copy.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data = rounded(layer.weight.data)
    return copy


def fold_norms(model: nn.Module) -> nn.Module:
    """A copy of a network with each BatchNorm inside the convolution before it.

    The BatchNorm stays as an identity, since timm's applies the activation too.
    """
    copy = deepcopy(model).eval()
    graph = _Tracer().trace(copy)
    modules: dict[str, Any] = dict(copy.named_modules())
    for node in graph.nodes:
        layer = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(layer, nn.BatchNorm2d):
            continue
        before = node.args[0]
        conv = modules.get(before.target) if before.op == "call_module" else None
        mean, variance = layer.running_mean, layer.running_var
        if not isinstance(conv, nn.Conv2d) or len(before.users) > 1 or mean is None:
            raise UnknownLayerError(f"{node.target}: expected a convolution alone before it")
        assert variance is not None  # it comes with the mean
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, variance, layer.eps,
            layer.weight, layer.bias,
        )  # fmt: skip
        mean.zero_()
        variance.fill_(1)
        layer.eps = 0.0
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    return copy


# Transformers ------------------------------------------------------------------------------


def _pack_vit(model: ViT, classes: tuple[str, ...]) -> Packed:
    state = {name: parameter.detach() for name, parameter in model.named_parameters()}
    heads = ["head", "head_dist"][: model.num_prefix_tokens]
    prefix = ["cls_token", "dist_token"][: model.num_prefix_tokens]
    weights = {name: value for name, value in state.items() if _is_quantised(name, value)}
    tokens = model.pos_embed.shape[1]
    dim = model.pos_embed.shape[2]
    header = _describe(model, classes, model.patch_embed.img_size) | {
        "vit": {
            "patch": model.patch_embed.proj.kernel_size[0],
            "grid": list(model.grid_size),
            "dim": dim,
            "depth": len(model.blocks),
            "heads": model.blocks[0].attn.num_heads,  # type: ignore[union-attr]
            "prefix": prefix,
            "head_names": heads,
            "average": getattr(model, "average", "logits"),
            "eps": NORM_EPS,
        },
        "depthwise": [],
        "room": sum(map(_padded, weights.values())) + 30 * tokens * dim + 4 * tokens**2 + SPARE,
    }
    return _pack(header, weights, {name: state[name] for name in state if name not in weights})


def _is_quantised(name: str, parameter: Tensor) -> bool:
    return name.endswith(".weight") and parameter.ndim > 1


# Convolutional networks --------------------------------------------------------------------


class _Tracer(fx.Tracer):
    """Traces down to PyTorch's layers, ours, and timm's that are kinds of PyTorch's."""

    LEAVES = (
        nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.MaxPool2d, nn.AdaptiveAvgPool2d, Normalize,
        nn.ReLU, nn.ReLU6, nn.Dropout, nn.Identity,
    )  # fmt: skip

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, self.LEAVES) or type(module).__name__ == "SelectAdaptivePool2d"


def trace_steps(
    model: nn.Module, img_size: int
) -> tuple[list[dict[str, Any]], dict[str, Any], nn.Module]:
    """The layers of a convolutional network in their order, with BatchNorm folded.

    Returns:
        The steps, as the page's script takes them; the layers with weights, by name; and the
        folded network.

    Raises:
        UnknownLayerError: For a layer that the script does not know.
    """
    folded = fold_norms(model)
    graph = fx.GraphModule(folded, _Tracer().trace(folded))
    ShapeProp(graph).propagate(torch.zeros(1, 3, img_size, img_size))
    modules: dict[str, Any] = dict(folded.named_modules())
    steps: list[dict[str, Any]] = []
    layers: dict[str, Any] = {}
    results: dict[fx.Node, int] = {}  # which result a node reads; 0 are the normalised images
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "output"):
            results[node] = 0
            continue
        layer = modules.get(node.target) if node.op == "call_module" else node.target
        inputs = [results[each] for each in node.all_input_nodes]
        kind = _kind_of(layer)
        if kind in ("pass", "normalize"):
            results[node] = inputs[0]
        elif isinstance(kind, nn.Module):  # an activation changes the result before it
            top = 6 if isinstance(kind, nn.ReLU6) else None
            steps[-1]["top"] = top
            if inputs[0] != len(steps):
                raise UnknownLayerError(f"{node}: an activation of an older result")
            results[node] = inputs[0]
        else:
            step = {"layer": kind, "name": str(node.target), "inputs": inputs}
            if kind in ("conv2d", "depthwise", "max_pool"):
                step |= _window(layer, node)
            if kind in ("conv2d", "depthwise", "linear"):
                layers[step["name"]] = layer
            steps.append(step)
            results[node] = len(steps)
    return steps, layers, folded


def _kind_of(layer: Any) -> Any:
    """The script's name of a layer; "pass" if it changes nothing; an activation itself."""
    if isinstance(layer, nn.Conv2d):
        if layer.groups == 1:
            return "conv2d"
        if layer.groups == layer.in_channels == layer.out_channels:
            return "depthwise"
    if isinstance(layer, nn.BatchNorm2d):  # folded: what remains is timm's activation
        return _kind_of(getattr(layer, "act", nn.Identity()))
    if isinstance(layer, nn.ReLU | nn.ReLU6):
        return layer
    if isinstance(layer, nn.Identity | nn.Dropout) or layer in (torch.flatten, F.dropout):
        return "pass"
    named = {"Normalize": "normalize", "Linear": "linear", "MaxPool2d": "max_pool",
             "AdaptiveAvgPool2d": "mean_pool", "SelectAdaptivePool2d": "mean_pool"}  # fmt: skip
    if kind := named.get(type(layer).__name__):
        return kind
    if layer in (operator.add, operator.iadd, torch.add):
        return "add"
    raise UnknownLayerError(f"the page's script has no layer {layer}")


def _window(layer: Any, node: fx.Node) -> dict[str, Any]:
    """Kernel, stride, padding above and on the left, and the size of the result."""
    kernel, stride = (_side(layer.kernel_size), _side(layer.stride))
    height, width = node.meta["tensor_meta"].shape[-2:]
    before = node.all_input_nodes[0].meta["tensor_meta"].shape[-2:]
    if type(layer).__name__ == "Conv2dSame":  # TensorFlow's: the odd pixel is below, on the right
        padding = [max(0, (n - 1) * stride + kernel - m) // 2
                   for n, m in zip((height, width), before, strict=True)]  # fmt: skip
    else:
        padding = [_side(layer.padding)] * 2
    return {"kernel": kernel, "stride": stride, "padding": padding, "size": [height, width]}


def _side(value: Any) -> int:
    sides = set(value) if isinstance(value, tuple) else {value}
    if len(sides) > 1:
        raise UnknownLayerError(f"expected a square kernel; got {value}")
    return int(sides.pop())


def _bias(layer: Any) -> Tensor:
    return layer.bias if layer.bias is not None else torch.zeros(layer.weight.shape[0])


def _room_of_steps(steps: list[dict[str, Any]], layers: dict[str, Any]) -> int:
    """Numbers that the steps' results take, with what lies under a kernel."""
    room = SPARE
    for step in steps:
        rows, columns = step.get("size", [1, 1])
        weight = layers[step["name"]].weight if step["name"] in layers else torch.zeros(2048, 1)
        room += (rows * columns + 4) * (weight.shape[0] + 8 + weight[0].numel())
    return 2 * room  # a residual sum is as large as its parts


# Numbers -----------------------------------------------------------------------------------


def _describe(
    model: nn.Module, classes: tuple[str, ...], img_size: tuple[int, int]
) -> dict[str, Any]:
    normalize: Any = model.get_submodule("normalize")
    mean, std = (value.flatten().tolist() for value in (normalize.mean, normalize.std))
    return {"classes": list(classes), "img_size": list(img_size), "mean": mean, "std": std}


def _padded(weight: Tensor) -> int:
    return (weight.shape[0] + 8) * (weight[0].numel() + 4)


def _pack(header: dict[str, Any], weights: dict[str, Tensor], plain: dict[str, Tensor]) -> Packed:
    """Lay out the numbers: float32, the scales among them, then float16, then 8-bit weights."""
    tensors: dict[str, dict[str, Any]] = {}
    parts: list[tuple[dict[str, Any], str, Tensor, str]] = []  # whose, under which key, what
    for name, value in plain.items():
        values = value.squeeze(0)
        tensors[name] = {"shape": list(values.shape), "type": "float32"}
        parts.append((tensors[name], "at", values, "<f4"))
    for name, value in weights.items():
        weight = value.permute(0, 2, 3, 1) if value.ndim == 4 else value  # channels last
        small = weight.numel() <= SMALL_WEIGHT
        tensors[name] = {"shape": list(weight.shape), "type": "float16" if small else "int8"}
        if small:
            parts.append((tensors[name], "at", weight, "<f2"))
            continue
        levels, scales = quantise_rows(weight)
        parts += [(tensors[name], "scales", scales, "<f4"), (tensors[name], "at", levels, "<i1")]
    content = b""
    for entry, key, values, kind in sorted(
        parts, key=lambda part: ("<f4", "<f2", "<i1").index(part[3])
    ):
        entry[key] = len(content)
        content += values.detach().cpu().contiguous().numpy().astype(kind).tobytes()
    return Packed(header | {"tensors": tensors}, content)


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127 and each row's scale: (R, ...) -> (R, ...), (R,).

    The largest weight of a row becomes 127.
    """
    values = weight.detach().float()
    scales = values.flatten(1).abs().amax(dim=1).clamp_min(1e-12) / WEIGHT_LEVELS
    return (values / _beside(scales, values)).round(), scales


def rounded(weight: Tensor) -> Tensor:
    """A weight as the page has it, in float32."""
    if weight.numel() <= SMALL_WEIGHT:
        return weight.half().float()
    levels, scales = quantise_rows(weight)
    return levels * _beside(scales, levels)


def _beside(scales: Tensor, values: Tensor) -> Tensor:
    return scales.view(-1, *[1] * (values.ndim - 1))
