"""Attention and feature maps of a few test images, stored in the run record."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.data.datasets import Split
from attnlib.data.loading import eval_batches
from attnlib.explain.attribution import tokens_to_plane
from attnlib.explain.feature_maps import features_on_plane
from attnlib.models.hooks import (
    NothingToRecordError,
    TokenGrid,
    attention_rollout,
    patches_to_grid,
    prefix_names,
    record_attention,
    record_features,
    token_grid,
)

Arrays = dict[str, npt.NDArray[Any]]
SAMPLES = 8  # the first images of the test set
CHANNELS = 8  # the first channels of each stage


def sample_attention(model: nn.Module, split: Split, img_size: int) -> Arrays:
    """Attention of the prefix tokens on the first test images, stored as bytes.

    Returns:
        ``indices`` (S,) of the images; per block ``block_L`` (S, h, P, N) uint8, each row divided
        by its largest weight, and ``peak_L`` (S, h, P) float32, that weight. For a transformer
        also ``grid`` (2,), rows and columns of its patches, and, in the same form, ``rollout``
        (S, 1, P, N) with ``rollout_peak``.

    Raises:
        NothingToRecordError: If the model has no attention, or only within windows of the image.
    """
    chosen = split.subset(np.arange(min(SAMPLES, len(split))))
    with record_attention(model) as maps:
        _forward(model, chosen, img_size)
    _refuse_windows(maps, chosen)
    arrays: Arrays = {"indices": chosen.indices}
    for layer, weights in enumerate(maps):
        rows = prefix_rows(model, weights)
        arrays[f"block_{layer:02}"], arrays[f"peak_{layer:02}"] = _to_bytes_and_peak(rows)
    try:
        grid = token_grid(model, (img_size, img_size))
        for weights in maps:
            patches_to_grid(weights[:, :, 0], grid)
    except NothingToRecordError:  # AtResNet, and models that reduce their tokens
        return arrays
    arrays["grid"] = np.array(grid[1:])
    rollout = prefix_rows(model, attention_rollout(maps)[:, None])
    arrays["rollout"], arrays["rollout_peak"] = _to_bytes_and_peak(rollout)
    return arrays


def sample_features(model: nn.Module, split: Split, img_size: int) -> Arrays:
    """First channels of each block or stage on the first test images, stored as bytes.

    Returns:
        ``indices`` (S,) of the images; per stage (S, CHANNELS, rows, columns) uint8, each map
        scaled from its minimum to its maximum.

    Raises:
        NothingToRecordError: If the model has no stages known by name.
    """
    chosen = split.subset(np.arange(min(SAMPLES, len(split))))
    with record_features(model) as features:
        _forward(model, chosen, img_size)
    planes = {k: features_on_plane(model, f, (img_size,) * 2) for k, f in features.items()}
    arrays: Arrays = {"indices": chosen.indices}
    for name, plane in planes.items():
        maps = plane[:, :CHANNELS].float().cpu()
        low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
        arrays[name] = _to_bytes((maps - low) / (high - low).clamp_min(1e-12))
    return arrays


def prefix_rows(model: nn.Module, weights: Tensor) -> Tensor:
    """Rows of the prefix tokens, or the mean row: (B, h, N, N) -> (B, h, P, N).

    A model without a class token averages its patches, whether it has registers or not, so their
    attention is averaged as well.
    """
    names = prefix_names(model)
    return weights[:, :, : len(names)] if "class" in names else weights.mean(dim=2, keepdim=True)


def read_rows(arrays: Arrays, name: str = "rollout") -> npt.NDArray[np.float32]:
    """Recorded attention of the prefix tokens: of ``rollout``, or of a block, ``block_11``.

    Returns:
        (S, h, P, N); each row is accurate to 1/255 of its largest weight.

    Raises:
        ValueError: If the record has no such map.
    """
    known = [key for key in arrays if key.startswith("block_") or key == "rollout"]
    if name not in known:
        raise ValueError(f"no map {name!r} in this record; it has: {', '.join(known) or 'none'}")
    peak = "rollout_peak" if name == "rollout" else name.replace("block", "peak")
    rows: npt.NDArray[np.float32] = arrays[name].astype(np.float32) / np.float32(255)
    return rows * arrays[peak][..., None]


def recorded_planes(arrays: Arrays, img_size: int, name: str, token: int = 0) -> Tensor:
    """A recorded map over the images, averaged over heads: (S, H, W).

    Args:
        arrays: Of ``attention.npz``.
        img_size: Pixels of a side.
        name: "rollout", or a block, "block_11".
        token: 0 for the class token, 1 for the distillation token.

    Raises:
        ValueError: If the record has no such map over the image.
    """
    rows = torch.from_numpy(read_rows(arrays, name)).mean(dim=1)  # (S, P, N)
    prefix, tokens = rows.shape[1:]
    side = round((tokens - prefix) ** 0.5)
    sides = arrays.get("grid", np.array([side, side]))  # records of version 0.1.0 have none
    grid = TokenGrid(tokens - int(sides.prod()), *map(int, sides))
    if token >= prefix or not 0 <= grid.prefix <= prefix:
        raise ValueError(f"no map over the image of token {token} in {name!r}")
    return tokens_to_plane(rows[:, token], grid, (img_size, img_size))


def _refuse_windows(maps: list[Tensor], chosen: Split) -> None:
    if any(len(weights) != len(chosen) for weights in maps):
        raise NothingToRecordError("its attention is within windows of the image")


def _forward(model: nn.Module, split: Split, img_size: int) -> Tensor:
    """Run one pass over all images of ``split``; returns the model's input."""
    device = next(model.parameters()).device
    model.eval()
    (batch,) = eval_batches(split, eval_transform(img_size), batch_size=len(split))
    images = batch[0].to(device)
    with torch.inference_mode():
        model(images)
    return images


def _to_bytes_and_peak(weights: Tensor) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Rows (..., N) as bytes relative to their largest weight, and that weight (...)."""
    weights = weights.float().cpu()
    if (weights < 0).any():
        raise NothingToRecordError("attention with negative weights has no share to show")
    peak = weights.amax(dim=-1, keepdim=True)
    return _to_bytes(weights / peak), peak[..., 0].numpy()


def _to_bytes(shares: Tensor) -> npt.NDArray[np.uint8]:
    if not shares.isfinite().all():
        raise NothingToRecordError("there are values that are not finite")
    return (shares * 255).round().to(torch.uint8).numpy()
