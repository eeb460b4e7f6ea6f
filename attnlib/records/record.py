"""The typed record of a run, ``record.json``: its fields, reading, checking and writing."""

import hashlib
import json
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from attnlib.atomic import write_atomically
from attnlib.records.provenance import json_bytes
from attnlib.stats.intervals import Proportion

RECORD_SCHEMA = 1
BLANK = "0" * 64  # placeholder while the seal is computed
LARGEST = sys.float_info.max  # JSON's integers have no limit
SCALARS = frozenset({str, int, float, bool})


@dataclass(frozen=True)
class Accuracy:
    """The fraction of ``n`` images that were classified correctly, with its interval."""

    value: float
    low: float
    high: float
    n: int
    method: str

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high <= 1:
            raise ValueError(
                f"expected 0 <= low <= value <= high <= 1; got low {self.low}, value {self.value}, "
                f"high {self.high}"
            )
        if self.n < 1:
            raise ValueError(f"expected n of at least 1; got {self.n}")

    @classmethod
    def of(cls, share: Proportion) -> "Accuracy":
        """An accuracy with its Wilson interval, as stored in a record."""
        return cls(**share._asdict(), method="Wilson, 95%")


@dataclass(frozen=True)
class Score:
    """A score of ``n`` images that is no share, such as the Brier score, with its interval."""

    value: float
    low: float
    high: float
    n: int
    method: str

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(
                f"expected 0 <= low <= value <= high; got low {self.low}, value {self.value}, "
                f"high {self.high}"
            )
        if self.n < 1:
            raise ValueError(f"expected n of at least 1; got {self.n}")


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy within one class; None if the test set has no image of it."""

    name: str = field(metadata={"key": "class"})
    accuracy: Accuracy | None = field(default=None, metadata={"inline": True})


@dataclass(frozen=True)
class Sizes:
    """Number of images in each split."""

    train: int
    val: int
    test: int


@dataclass(frozen=True)
class RecordedDataset:
    """The data set that a run was trained and tested on."""

    name: str
    title: str
    sha256: str
    classes: tuple[str, ...]
    sizes: Sizes


@dataclass(frozen=True)
class Metrics:
    """Test results of the best epoch's weights, and of variants of the same run."""

    test_accuracy: Accuracy
    val_accuracy: Accuracy
    test_loss: float  # nats per image
    best_epoch: int
    per_class: tuple[ClassAccuracy, ...]
    test_accuracy_softmax: Accuracy | None = None  # heads averaged after the softmax
    test_accuracy_ema: Accuracy | None = None  # averaged weights
    val_accuracy_ema: Accuracy | None = None
    best_epoch_ema: int | None = None  # chosen on validation images, as the other weights are
    test_accuracy_top5: Accuracy | None = None  # of more than five classes
    test_calibration_error: Score | None = None
    test_brier_score: Score | None = None  # from 0 to 2


@dataclass(frozen=True)
class RecordedCost:
    """Time and memory that a run took."""

    parameters: int
    train_images_per_second: float  # median over the epochs
    wall_seconds: float
    weights_bytes: int
    peak_memory_bytes: int | None  # CUDA only


@dataclass(frozen=True)
class Seeds:
    """The seeds of a run."""

    run: int
    split: int


@dataclass(frozen=True)
class GitState:
    """The commit of attnlib, and whether it had changes; None outside a checkout."""

    commit: str | None
    dirty: bool | None


@dataclass(frozen=True)
class RecordedDevice:
    """The device that a run used."""

    type: str
    name: str
    threads: int
    processes: int = 1


@dataclass(frozen=True)
class KeptWeights:
    """The copy of a run's weights that ``results`` keeps, rounded, and what it was measured at."""

    dtype: str
    bytes: int
    rounded_from: str  # SHA-256 of the weights that the run wrote
    test_accuracy: Accuracy
    val_accuracy: Accuracy


@dataclass(frozen=True)
class Record:
    """The contents of ``record.json``.

    To add a field, here or in one of its parts, write one line: ``precisions: tuple[str, ...] =
    ()``. A default makes a field optional: records without it can still be read, and it is left out
    of the file while None or empty, so the schema's number stays the same. Fields may be numbers,
    text, booleans, ``X | None``, ``tuple[X, ...]``, ``dict[str, X]`` and dataclasses of these.
    """

    schema: int
    name: str
    title: str
    status: str
    dataset: RecordedDataset
    metrics: Metrics
    cost: RecordedCost
    seeds: Seeds
    teacher: str | None  # name of the teacher's run
    command: str
    git: GitState
    versions: dict[str, str]
    device: RecordedDevice
    precision: str
    started: str
    finished: str
    initial_checkpoint: dict[str, str] | None = None  # name and SHA-256 of the initial weights
    kept_weights: KeptWeights | None = None  # None: its weights are the run's own, or not kept
    not_drawn: dict[str, str] = field(default_factory=dict)  # arrays that are missing, and why
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 of every other file of the run

    def __post_init__(self) -> None:
        if self.status != "finished":
            raise ValueError(f"status: expected finished, got {self.status!r}")
        if self.initial_checkpoint is not None and {*self.initial_checkpoint} != {"name", "sha256"}:
            raise ValueError("initial_checkpoint: expected keys name, sha256")
        counted = [one.name for one in self.metrics.per_class]
        if counted != list(self.dataset.classes):
            raise ValueError(f"metrics.per_class: expected one entry a class; got {counted}")


def parse_record(values: Any, path: str | Path = "record") -> Record:
    """The record described by JSON ``values``.

    Raises:
        ValueError: Naming every key that is missing, unknown, of another type or invalid.
    """
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is int and schema != RECORD_SCHEMA:
        raise ValueError(f"{path}: schema: expected {RECORD_SCHEMA}, got {schema}")
    record: Record = parse_values(Record, values, path)
    return record


def parse_values(kind: Any, values: Any, path: str | Path) -> Any:
    """The dataclass ``kind`` described by JSON ``values``, strictly.

    Raises:
        ValueError: Naming every key that is missing, unknown, of another type or invalid.
    """
    faults: list[str] = []
    parsed = _parse(kind, values, "", faults)
    if faults:
        raise ValueError(f"{path}: " + "; ".join(faults))
    return parsed


def read_record(path: Path) -> Record:
    """Read ``record.json`` in the folder ``path``.

    Raises:
        ValueError: If it is damaged, not JSON, or not a record.
    """
    file = path / "record.json"
    content = read_content(file)
    values = parse_object(content, file)
    seal = values.pop("seal", None)  # absent in records of version 0.1.0
    if seal is not None and seal != _seal(content):
        raise ValueError(f"{file} is damaged: it is not what its seal was made of")
    return parse_record(values, file)


def write_record(path: Path, record: Record) -> None:
    """Write ``record.json`` into the folder ``path``, with a seal: its own SHA-256.

    Raises:
        ValueError: If a value does not have its field's type.
    """
    values = to_json(record)
    parse_record(values, path / "record.json")
    content = json_bytes(values | {"seal": BLANK})
    head, tail = content.rsplit(BLANK.encode(), 1)
    write_atomically(path / "record.json", head + _seal(content).encode() + tail)


def _seal(content: bytes) -> str:
    """SHA-256 of a record's bytes with the last 64 digits, the seal, set to zeros."""
    end = content.rfind(b'"')
    blank = content[: end - len(BLANK)] + BLANK.encode() + content[end:]
    return hashlib.sha256(blank).hexdigest()


def hash_files(path: Path) -> dict[str, str]:
    """SHA-256 of each file in a run's folder and its subfolders, except the record."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    hashes = {}
    for file in files:
        if file != path / "record.json" and file.suffix != ".tmp":
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            hashes[file.relative_to(path).as_posix()] = digest
    return hashes


def refresh_hashes(path: Path) -> None:
    """Update the hashes in a record to the folder's current files, changed on purpose."""
    write_record(path, replace(read_record(path), files=hash_files(path)))


def read_checked(path: Path, name: str, files: Mapping[str, str]) -> bytes:
    """The bytes of a file in the folder ``path``, checked against the hashes in its record.

    Raises:
        ValueError: If they don't match the record.
    """
    file = path / name
    content = read_content(file)
    if files and name not in files:
        raise ValueError(f"{file} is not among the files of its record")
    found = hashlib.sha256(content).hexdigest()
    if files and found != files[name]:
        told = f"its SHA-256 is {found[:12]}..., in the record {files[name][:12]}..."
        raise ValueError(f"{file} is damaged: {told}")
    return content


def read_content(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ValueError: If it is missing or can't be read, naming it.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{file} is missing") from None
    except OSError as fault:  # a folder, or no permission
        raise ValueError(f"{file} can't be read: {fault.strerror}") from None


def parse_object(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in the bytes of ``path``.

    Raises:
        ValueError: If it is not a JSON object, naming the file.
    """
    try:
        values = json.loads(content.decode())
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"{path}: not JSON ({fault})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not an object of JSON")
    return values


def to_json(value: Any) -> Any:
    """Convert a record, or a part of one, to JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        content: dict[str, Any] = {}
        for f in fields(value):
            one = getattr(value, f.name)
            if _is_optional(f) and (one is None or one in ((), {})):
                continue
            inner = to_json(one)
            content |= inner if f.metadata.get("inline") else {_key(f): inner}
        return content
    if isinstance(value, tuple):
        return [to_json(one) for one in value]
    if isinstance(value, dict):
        return {key: to_json(one) for key, one in value.items()}
    return value


def _key(f: Any) -> str:
    """The key of a field in the file; ``class`` is not a valid field name in Python."""
    return f.metadata.get("key", f.name)


def _is_optional(f: Any) -> bool:
    return f.default is not MISSING or f.default_factory is not MISSING


def _parse(kind: Any, value: Any, key: str, faults: list[str]) -> Any:
    """Convert ``value`` to ``kind``; errors are added to ``faults``."""
    if kind in SCALARS:  # most values: a thousand runs are read in a second
        if not _is_scalar(kind, value):
            faults.append(_unexpected(key, value))
        return value
    if isinstance(kind, UnionType):
        if value is None:
            return None
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
        return _parse(kind, value, key, faults)
    if is_dataclass(kind):
        return _parse_fields(kind, value, key, faults)
    if get_origin(kind) is tuple and isinstance(value, list):
        inner = get_args(kind)[0]
        return tuple(_parse(inner, one, f"{key}.{n}", faults) for n, one in enumerate(value))
    if get_origin(kind) is dict and isinstance(value, dict):
        inner = get_args(kind)[1]
        return {name: _parse(inner, one, f"{key}.{name}", faults) for name, one in value.items()}
    faults.append(_unexpected(key, value))
    return value


def _unexpected(key: str, value: Any) -> str:
    return f"{key}: unexpected {type(value).__name__} {reprlib.repr(value)}"


class _Field(NamedTuple):
    """A field as it is read: name in Python and in the file, type, and whether it may be absent."""

    name: str
    key: str
    kind: Any
    optional: bool


@cache
def _fields_of(kind: type) -> tuple[tuple[_Field, ...], _Field | None]:
    """The fields of a dataclass with keys of their own, and the one that takes all other keys."""
    types, inline, own = get_type_hints(kind), None, []
    for f in fields(kind):
        found = _Field(f.name, _key(f), types[f.name], _is_optional(f))
        if f.metadata.get("inline"):
            inline = found
        else:
            own.append(found)
    return tuple(own), inline


def _is_scalar(kind: Any, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) <= LARGEST  # never NaN
    return type(value) is kind  # True is not accepted as an integer


def _parse_fields(kind: Any, value: Any, key: str, faults: list[str]) -> Any:
    own, inline = _fields_of(kind)
    if not isinstance(value, Mapping):
        names = ", ".join(f.key for f in own)
        faults.append(f"{key or 'record'}: expected keys {names}; got {value!r}")
        return None
    rest, found = dict(value), {}
    before = len(faults)
    for f in own:
        if f.key in rest:
            found[f.name] = _parse(f.kind, rest.pop(f.key), _join(key, f.key), faults)
        elif not f.optional:
            faults.append(f"{_join(key, f.key)} is missing")
    if inline and rest:
        found[inline.name], rest = _parse(inline.kind, rest, key, faults), {}
    faults.extend(f"{_join(key, name)} is unknown" for name in rest)
    if len(faults) > before:
        return None
    try:
        return kind(**found)
    except ValueError as fault:
        faults.append(f"{key}: {fault}" if key else str(fault))
        return None


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
