"""Small maps of a few test images for the run record: where a model attends, what it computes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attnlib.augment import eval_transform
from attnlib.batches import eval_batches
from attnlib.data import Split
from attnlib.record import record_attention, record_features

Arrays = dict[str, npt.NDArray[Any]]
SAMPLES = 8  # the first images of the test set
CHANNELS = 8  # the first channels of each stage


def sample_attention(model: nn.Module, split: Split, img_size: int) -> Arrays:
    """Attention of the prefix tokens on the first test images, as bytes; empty if it has none.

    Returns:
        ``indices`` (S,) of the images; per block ``block_L`` (S, h, P, N) uint8, each row divided
        by its largest weight, and ``peak_L`` (S, h, P) float32, that weight.
    """
    chosen = split.subset(np.arange(min(SAMPLES, len(split))))
    try:
        with record_attention(model) as maps:
            _forward(model, chosen, img_size)
    except ValueError:  # a convolutional network
        return {}
    arrays: Arrays = {"indices": chosen.indices}
    prefix = getattr(model, "num_prefix_tokens", 1)
    for layer, weights in enumerate(maps):
        rows = weights[:, :, :prefix].float().cpu()
        peak = rows.amax(dim=-1, keepdim=True)
        arrays[f"block_{layer:02}"] = _to_bytes(rows / peak)
        arrays[f"peak_{layer:02}"] = peak[..., 0].numpy()
    return arrays


def sample_features(model: nn.Module, split: Split, img_size: int) -> Arrays:
    """First channels of each block or stage on the first test images, as bytes.

    Returns:
        ``indices`` (S,) of the images; per stage (S, CHANNELS, rows, columns) uint8, each map
        stretched from its minimum to its maximum. Empty if the model has no stages known by name.
    """
    chosen = split.subset(np.arange(min(SAMPLES, len(split))))
    try:
        with record_features(model) as features:
            _forward(model, chosen, img_size)
    except ValueError:  # a model of another family
        return {}
    arrays: Arrays = {"indices": chosen.indices}
    for name, output in features.items():
        maps = _on_grid(model, output)[:, :CHANNELS].float().cpu()
        low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
        arrays[name] = _to_bytes((maps - low) / (high - low).clamp_min(1e-12))
    return arrays


def _forward(model: nn.Module, split: Split, img_size: int) -> None:
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        for images, _ in eval_batches(split, eval_transform(img_size), batch_size=len(split)):
            model(images.to(device))


def _on_grid(model: nn.Module, output: Tensor) -> Tensor:
    """Features on the image plane: tokens (B, N, C) lose their prefix and become (B, C, H, W)."""
    if output.ndim == 4:
        return output
    prefix = getattr(model, "num_prefix_tokens", 1)
    patches = output[:, prefix:].transpose(1, 2)  # (B, C, P)
    rows, columns = getattr(model, "grid_size", (round(patches.shape[-1] ** 0.5), -1))
    return patches.reshape(*patches.shape[:2], rows, columns)


def _to_bytes(shares: Tensor) -> npt.NDArray[np.uint8]:
    return (shares * 255).round().to(torch.uint8).numpy()
