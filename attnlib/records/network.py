"""A trained network and its classes, from a run or from a file of weights."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import nn

from attnlib.catalogue import CATALOGUE, TRANSFORMERS
from attnlib.models.pretrained import IMAGENET_CLASSES, StateDict, read_checkpoint, start_from
from attnlib.models.zoo import VARIANTS, create_model
from attnlib.records.find import find_run, load_run
from attnlib.records.record import parse_object
from attnlib.records.run import AVERAGED_WEIGHTS, WEIGHTS, Run, build_model, parse_config

USUAL_SIZE = 224  # pixels of a side, where neither weights nor timm say more
HEADS = ("head.weight", "fc.weight", "classifier.weight", "head.fc.weight")
METADATA = "attnlib"  # key of what an exported file says of itself
BUILT = {"name", "num_classes", "img_size", "patch_size", "distilled"}  # what builds a model
ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".tar")


class Network(NamedTuple):
    """A trained network in evaluation mode: images in [0, 1] go in, logits come out."""

    model: nn.Module
    class_names: tuple[str, ...]
    img_size: int
    title: str
    run: Run | None = None  # None: from a file
    config: dict[str, Any] | None = None  # a run's, or what an exported file says
    built: dict[str, Any] | None = None  # without a run: what ``create_model`` was given


def load_network(
    source: str | Path,
    *,
    runs_dir: str | Path = "runs",
    average: bool = False,
    model: str | None = None,
    img_size: int | None = None,
) -> Network:
    """Load a run, as ``find_run`` does, or a file: attnlib's, timm's, torchvision's or DeiT's.

    Args:
        source: A run, or a ``.safetensors`` or ``.pth`` file.
        runs_dir: Where runs are, besides ``results``.
        average: Whether to take a run's averaged weights.
        model: The network of a file, one of ``list_models()`` or ``timm/NAME``; None: by the
            name of the file, such as ``deit_tiny_patch16_224-a1311bcf.pth``.
        img_size: Pixels of a side, for a file; None: those that its positions are made for.

    Raises:
        ValueError: If it is not found, can't be read, or does not fit the model; or if ``average``
            is asked of a file, or ``model`` or ``img_size`` given where both are known.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        if path.suffix in ENDINGS:
            raise ValueError(f"there is no file {path}")
        _refuse(source, "is a run", model=model, img_size=img_size)
        return _from_run(find_run(source, runs_dir), average)
    if path.name in (WEIGHTS, AVERAGED_WEIGHTS) and (path.parent / "record.json").exists():
        _refuse(source, "is that of a run", model=model, img_size=img_size)
        return _from_run(load_run(path.parent), average or path.name == AVERAGED_WEIGHTS)
    if average:
        raise ValueError(f"average: {path} is a file and has one set of weights; leave average out")
    try:
        return _from_file(path, model, img_size)
    except ValueError as fault:
        raise ValueError(str(fault).removeprefix("initial_checkpoint: ")) from None


def _refuse(source: str | Path, what: str, **given: object) -> None:
    """Refuse what is given beside a network that has its own."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name}: {source} {what} and has its own; leave {name} out")


def _from_run(run: Run, average: bool) -> Network:
    classes = run.record.dataset.classes
    title = f"{run.title}, averaged weights" if average else run.title
    size = int(run.config["img_size"])
    return Network(run.load_model(average=average), classes, size, title, run, run.config)


def _from_file(path: Path, name: str | None, img_size: int | None) -> Network:
    state = read_checkpoint(path)
    if about := _read_metadata(path):
        _refuse(path, "was exported by attnlib", model=name, img_size=img_size)
        classes, config, built = tuple(about["classes"]), about["config"], about["built"]
        model = create_model(**built) if built else build_model(config, len(classes))
        model.load_state_dict(state)
        size = int((built or config)["img_size"])
        return Network(model.eval(), classes, size, about["title"], None, config, built)
    name = name or guess_model(path)
    size = img_size or _own_size(name, state)
    head = next((state[key] for key in HEADS if key in state), None)
    classes = class_names_of(IMAGENET_CLASSES if head is None else len(head))
    patches = state.get("patch_embed.proj.weight") if name in TRANSFORMERS else None
    built = {
        "name": name, "num_classes": len(classes), "img_size": size,
        "patch_size": None if patches is None else patches.shape[-1],
        "distilled": "dist_token" in state,
    }  # fmt: skip
    model = create_model(**built)
    if left := start_from(model, state).fresh:
        raise ValueError(f"{path} has no weights for {', '.join(left[:4])} of {name}")
    title = CATALOGUE[name].title if name in CATALOGUE else name
    return Network(model.eval(), classes, size, f"{title} from {path.name}", built=built)


def _read_metadata(path: Path) -> dict[str, Any] | None:
    """What a file that attnlib exported says of itself; None for others."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA)
    except SafetensorError as fault:
        raise ValueError(f"{path} can't be read: {fault}") from None
    if not text:
        return None
    about = parse_object(text.encode(), path)
    classes, title = about.get("classes"), about.get("title")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"{path}: what it says of itself lacks the names of its classes")
    if not isinstance(title, str):
        raise ValueError(f"{path}: what it says of itself lacks a title")
    if built := about.get("built"):
        if not isinstance(built, dict) or built.keys() != BUILT:
            raise ValueError(f"{path}: built: expected {', '.join(sorted(BUILT))}")
        return {"classes": classes, "title": title, "config": None, "built": built}
    config = parse_config(json.dumps(about.get("config")).encode(), path)
    return {"classes": classes, "title": title, "config": config, "built": None}


def guess_model(path: Path) -> str:
    """The model that a file of weights is named after, as timm's and the official DeiT's are.

    Raises:
        ValueError: If the name is not that of a model.
    """
    import timm

    stem = path.name.lower().partition(".")[0].partition("-")[0]
    for name, variant in VARIANTS.items():
        titles = (variant.title.partition(".")[0], name)
        if stem in (*titles, *(title.replace("_distilled", "") for title in titles)):
            return name
    if timm.is_model(stem):
        return f"timm/{stem}"
    raise ValueError(
        f"model: {path.name} is not named after a model; say which it is, one of "
        f"{', '.join(VARIANTS)}, or timm/NAME"
    )


def _own_size(name: str, state: StateDict) -> int:
    """Pixels of a side that a file's weights are made for."""
    patches, positions = state.get("patch_embed.proj.weight"), state.get("pos_embed")
    if name in TRANSFORMERS and patches is not None and positions is not None:
        prefix = ("cls_token" in state) + ("dist_token" in state)
        return math.isqrt(positions.shape[1] - prefix) * patches.shape[-1]
    if not name.startswith("timm/"):
        return USUAL_SIZE
    import timm

    config = timm.get_pretrained_cfg(name.removeprefix("timm/"))
    return int(config.input_size[-1]) if config else USUAL_SIZE


def class_names_of(count: int) -> tuple[str, ...]:
    """Names of the classes of a file of weights: ImageNet's WordNet ids, or else their numbers."""
    if count != IMAGENET_CLASSES:
        return tuple(map(str, range(count)))
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo().label_names())


def readable_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names for a reader: WordNet's ids become words, with the id where two share a word."""
    if not all(re.fullmatch(r"n\d{8}", name) for name in class_names):
        return tuple(class_names)
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    known = set(info.label_names())
    named = {
        name: info.label_name_to_description(name).partition(",")[0] if name in known else name
        for name in class_names
    }
    times = Counter(named.values())
    return tuple(word if times[word] == 1 else f"{word} ({name})" for name, word in named.items())
