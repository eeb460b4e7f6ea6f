"""Training state on disk: safetensors and JSON, written atomically and checked on reading."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file, save
from torch import Tensor

from attnlib.atomic import write_atomically

STATE_SCHEMA = 2
KEEP = 2  # states kept: the newest and a fallback
NAME = re.compile(r"epoch-\d{5,}-step-\d{7,}\.(json|safetensors)")


class State(NamedTuple):
    """Tensors and JSON values of training at one moment."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def save_state(folder: Path, epoch: int, step: int, state: State) -> None:
    """Save the state after ``epoch`` epochs and ``step`` steps; the newest ``KEEP`` remain.

    The manifest is written last, so a state without one is incomplete.
    """
    folder.mkdir(exist_ok=True)  # a run's folder that was removed is not created again
    content = save({name: tensor.contiguous() for name, tensor in state.tensors.items()})
    stem = f"epoch-{epoch:05d}-step-{step:07d}"
    write_atomically(folder / f"{stem}.safetensors", content)
    manifest = {
        "schema": STATE_SCHEMA,
        "sha256": hashlib.sha256(content).hexdigest(),
        "values": dict(state.values),
    }
    write_atomically(folder / f"{stem}.json", _sealed(manifest))
    _clean(folder)


def has_state(folder: Path) -> bool:
    """Whether ``folder`` holds a completely saved state, readable or not."""
    return bool(_stems(folder))


def load_state(folder: Path, *, clean: bool = True) -> State | None:
    """The newest intact state; None if none was ever saved.

    A damaged state is skipped with a warning that names the file and the reason.

    Args:
        folder: Where ``save_state`` wrote.
        clean: Remove leftovers of an interrupted save; only one process may do so.

    Raises:
        ValueError: If states were saved but none of them can be read.
    """
    if not folder.is_dir():
        return None
    if clean:
        _clean(folder)
    faults = []
    for stem in reversed(_stems(folder)):
        path = folder / f"{stem}.json"
        try:
            state = _read(path)
        except (ValueError, OSError) as fault:
            faults.append(f"{path}: {fault}")
            continue
        for damage in faults:
            warnings.warn(f"{damage}; falling back to {path.name}", stacklevel=2)
        return state
    if faults:
        raise ValueError(
            f"no saved state can be read: {'; '.join(faults)}. To start over, remove {folder}."
        )
    return None


def _stems(folder: Path) -> list[str]:
    """The names of states with a manifest, readable or not, from the oldest to the newest."""
    found = [path for path in folder.glob("epoch-*.json") if NAME.fullmatch(path.name)]
    return sorted((path.stem for path in found), key=_order)


def _order(stem: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", stem))


def _read(path: Path) -> State:
    manifest = _unsealed(path.read_bytes())
    tensors = path.with_suffix(".safetensors")
    found = hashlib.sha256(tensors.read_bytes()).hexdigest()
    if found != manifest["sha256"]:
        raise ValueError(f"{tensors.name} is damaged: SHA-256 {found[:12]}..., expected "
                         f"{manifest['sha256'][:12]}...")  # fmt: skip
    return State(load_file(tensors), manifest["values"])


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    text = json.dumps(manifest, sort_keys=True)
    return json.dumps([hashlib.sha256(text.encode()).hexdigest(), text]).encode()


def _unsealed(content: bytes) -> dict[str, Any]:
    """The manifest in ``content``.

    Raises:
        ValueError: If it is anything but the output of ``_sealed``.
    """
    try:
        seal, text = json.loads(content)
        if hashlib.sha256(text.encode()).hexdigest() != seal:
            raise ValueError("its seal does not fit")
        manifest: dict[str, Any] = json.loads(text)
        if manifest["schema"] != STATE_SCHEMA:
            raise ValueError(f"schema {manifest['schema']} is not {STATE_SCHEMA}")
        if not isinstance(manifest["sha256"], str) or not isinstance(manifest["values"], dict):
            raise ValueError("its values are of another type")
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as fault:
        raise ValueError(f"the manifest is damaged, or of another version: {fault}") from None
    return manifest


def _is_whole(folder: Path, stem: str) -> bool:
    """Whether a state has a readable manifest and a file of tensors, which is not read."""
    try:
        _unsealed((folder / f"{stem}.json").read_bytes())
    except (ValueError, OSError):
        return False
    return (folder / f"{stem}.safetensors").is_file()


def _clean(folder: Path) -> None:
    """Remove leftovers of an interrupted save, and states older than the newest ``KEEP``.

    Files not named like a state, or newer and unreadable, are not ours: they are
    kept and do not count.
    """
    stems = _stems(folder)
    kept = [stem for stem in stems if _is_whole(folder, stem)][-KEEP:]
    old = [stem for stem in stems if kept and _order(stem) < _order(kept[0])]
    for path in folder.glob("epoch-*"):
        name = path.name.removesuffix(".tmp")
        if NAME.fullmatch(name) and path.is_file():
            stem = name.partition(".")[0]
            if path.suffix == ".tmp" or stem in old or stem not in stems:
                path.unlink(missing_ok=True)
