"""Finished runs, read from their folders, and the files that a run writes."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnlib.atomic import write_atomically
from attnlib.config import TrainConfig, complete_values
from attnlib.data.downloads import DownloadError, fetch
from attnlib.records.provenance import commit_words, threads_of, write_json
from attnlib.records.record import Record, parse_object, parse_values, read_checked
from attnlib.training.epoch import Epoch

if TYPE_CHECKING:  # PyTorch takes seconds to import: what needs it says so where it is called
    from torch import Tensor, nn

REPOSITORY = "https://github.com/attnlib/attnlib"  # of kept weights, which no wheel holds
NEEDED = ("model", "profile", "img_size", "epochs")  # of a configuration, whatever its version
WEIGHTS, AVERAGED_WEIGHTS = "model.safetensors", "average.safetensors"


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    path: Path
    config: dict[str, Any]
    history: list[dict[str, Any]]
    record: Record

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.record.name

    @property
    def title(self) -> str:
        """The run's title."""
        return self.record.title

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration; a teacher that is a run is named without seed and digest."""
        teacher = self.config.get("teacher")
        return self.config | {"teacher": teacher and re.sub(r"-s\d+-[0-9a-f]{8}$", "", teacher)}

    @property
    def recipe(self) -> str:
        """What runs that differ only in the seed have in common."""
        return json.dumps(self.settings | {"seed": None}, sort_keys=True)

    @property
    def has_weights(self) -> bool:
        """Whether it has weights, here or to be fetched; most committed records have none."""
        kept = self.record.kept_weights is not None
        return kept or (self.path / WEIGHTS).exists()

    @property
    def weights_path(self) -> Path:
        """The file of its weights; kept ones are fetched where an installed attnlib lacks them.

        Raises:
            ValueError: If the run has none.
            DownloadError: If they are kept, but neither cached nor downloadable.
        """
        path = self.path / WEIGHTS
        if path.exists():
            return path
        if self.record.kept_weights is None:
            raise ValueError(
                f"{self.path} has no weights (most committed records have none); make them with: "
                f"{self.record.command}"
            )
        url = f"{REPOSITORY}/raw/main/results/{self.name}/{path.name}"
        sha256 = self.record.files[path.name]
        return fetch(f"{self.name}.safetensors", [url], sha256=sha256, folder="weights")

    def fetch_weights(self) -> bool:
        """Fetch kept weights that are not here; False if it has none or they can't be had."""
        try:
            return self.has_weights and self.weights_path.exists()
        except DownloadError:
            return False

    def arrays(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of ``predictions``, ``attention`` or ``features``.

        Raises:
            ValueError: If the run has no such file, or it is damaged.
        """
        path = self.path / f"{name}.npz"
        if not path.exists():
            valid = ", ".join(sorted(p.stem for p in self.path.glob("*.npz")))
            raise ValueError(f"{self.name} has no {name}.npz. It has: {valid or 'none'}.")
        content = self.read(path.name)
        try:
            with np.load(BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as fault:  # zipfile, zlib and numpy each raise their own
            raise ValueError(f"{path} can't be read: {fault}") from None

    def load_model(self, *, average: bool = False) -> "nn.Module":
        """The trained model, in evaluation mode.

        Args:
            average: Whether to load the moving average of the weights, which a run with ``ema``
                keeps beside the others; each is that of its own best epoch.

        Raises:
            ValueError: If the weights are missing or damaged, or the run kept no average.
            DownloadError: If they have to be fetched and can't be.
        """
        weights = self.read_average() if average else self.read_weights()
        model = build_model(self.config, num_classes=len(self.record.dataset.classes))
        model.load_state_dict(weights)
        return model.eval()

    def read_weights(self) -> "dict[str, Tensor]":
        """The weights by name, checked against the record.

        Raises:
            ValueError: If they are missing or damaged.
            DownloadError: If they have to be fetched and can't be.
        """
        path = self.weights_path
        is_here = path.parent == self.path
        return _weights_in(self.read(path.name) if is_here else path.read_bytes(), path)

    def read_average(self) -> "dict[str, Tensor]":
        """The averaged weights by name, checked against the record.

        Raises:
            ValueError: If the run kept none, or they are missing or damaged.
        """
        if self.record.metrics.best_epoch_ema is None:
            ema = self.config.get("ema")
            told = f"had ema {ema:g}: set ema above 0" if not ema else "is older than their keeping"
            raise ValueError(f"{self.name} kept no averaged weights; it {told}")
        path = self.path / AVERAGED_WEIGHTS
        if not path.exists():
            raise ValueError(
                f"{self.path} has no averaged weights (committed records have none); make them "
                f"with: {self.record.command}"
            )
        return _weights_in(self.read(path.name), path)

    def read(self, name: str) -> bytes:
        """The bytes of a file of the run, checked against its record.

        Raises:
            ValueError: If the file is missing or damaged.
        """
        return read_checked(self.path, name, self.record.files)

    def find_damage(self) -> dict[str, str]:
        """What is wrong with the run's files, by name; committed runs may lack some."""
        faults = {}
        for name in self.record.files:
            if (self.path / name).exists():
                try:
                    self.read(name)
                except ValueError as fault:
                    faults[name] = str(fault)
        return faults

    def summary(self) -> str:
        """Where the numbers come from, one fact per line."""
        record, git, device = self.record, self.record.git, self.record.device
        facts = {
            "command": record.command,
            "data": f"{record.dataset.title}, SHA-256 {record.dataset.sha256[:16]}...",
            "parameters": f"{record.cost.parameters:,}",
            "speed": f"{record.cost.train_images_per_second:.0f} training images per second",
            "time": f"{record.cost.wall_seconds:.0f} s",
            "device": f"{device.name}, {threads_of(device.threads)}, {record.precision}",
            "commit": commit_words(git.commit, git.dirty),
            "versions": ", ".join(f"{k} {v}" for k, v in record.versions.items()),
            "finished": record.finished,
        }
        return "\n".join(
            textwrap.fill(
                f"{fact:12}{value}", 80, subsequent_indent=" " * 12, break_on_hyphens=False
            )
            for fact, value in facts.items()
        )

    def __str__(self) -> str:
        accuracy = self.record.metrics.test_accuracy
        return (
            f"{self.title}\n"
            f"test accuracy {accuracy.value:.2%} "
            f"[{accuracy.low:.2%}, {accuracy.high:.2%}] on {accuracy.n} images\n"
            f"run {self.name}\n"
            f"in {self.path}"
        )


def _weights_in(content: bytes, path: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except SafetensorError as fault:
        raise ValueError(f"{path} can't be read: {fault}") from None


def build_model(
    config: dict[str, Any], num_classes: int, *, pretrained: bool = False
) -> "nn.Module":
    """The model that ``config`` names, with fresh or ImageNet weights."""
    from attnlib.models.zoo import create_model

    return create_model(
        config["model"],
        num_classes,
        config["img_size"],
        pretrained=pretrained,
        patch_size=config["patch_size"],
        distilled=config["distillation"] != "none",
        tokens=config["tokens"],
        drop_path=config["drop_path"],
        stem=config.get("stem", "imagenet"),
        dynamic_img_size=config.get("dynamic_img_size", False),
    )


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The bytes of a compressed npz file."""
    file = BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read_history(path: Path) -> list[dict[str, Any]]:
    """The epochs of ``history.jsonl``; a partial last line, left by a kill, is ignored.

    Raises:
        ValueError: If another line is damaged or an epoch is missing, naming the line.
    """
    file = path / "history.jsonl"
    return parse_history(file.read_bytes(), file) if file.exists() else []


def parse_history(content: bytes, path: Path) -> list[dict[str, Any]]:
    """The epochs in the bytes of ``path``, as ``read_history`` returns them."""
    lines = content.splitlines()
    epochs: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            epoch = json.loads(line)
            if not isinstance(epoch, dict) or epoch.get("epoch") != number:
                raise ValueError(f"expected epoch {number}")
            finite = json.loads(line, parse_constant=lambda name: 0.0)  # a loss may be NaN
            parse_values(Epoch, finite, f"epoch {number}")
        except (ValueError, RecursionError) as fault:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number} is damaged: {fault}") from None
        epochs.append(epoch)
    return epochs


def write_history(path: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.jsonl``."""
    lines = [json.dumps(epoch) + "\n" for epoch in epochs]
    write_atomically(path / "history.jsonl", "".join(lines).encode())


def cut_history(path: Path, epochs: int) -> list[dict[str, Any]]:
    """Keep the first ``epochs`` epochs; the rest, or a partial line, will be trained again.

    Returns:
        Those epochs.

    Raises:
        ValueError: If the file has fewer, so that the history would be incomplete.
    """
    kept = read_history(path)[:epochs]
    if len(kept) < epochs:
        raise ValueError(
            f"{path / 'history.jsonl'} has {len(kept)} whole epochs and the saved state "
            f"{epochs}: a line is damaged or gone. Put it back, or remove {path} to start over."
        )
    write_history(path, kept)
    return kept


def parse_config(content: bytes, path: Path) -> dict[str, Any]:
    """The configuration in the bytes of ``path``; older ones lack what was added since.

    Raises:
        ValueError: If it is not JSON, or naming each value that is missing, unknown or of another
            type.
    """
    values = parse_object(content, path)
    if lacking := [name for name in NEEDED if name not in values]:
        raise ValueError(f"{path}: it lacks {', '.join(lacking)}")
    parse_values(TrainConfig, complete_values(values), path)
    return values


def config_values(config: TrainConfig) -> dict[str, Any]:
    """The configuration values of a run, as JSON."""
    return config.values


def write_config(path: Path, config: TrainConfig) -> None:
    """Write ``config.json``."""
    write_json(path / "config.json", config_values(config))
