"""``attnlib models``: the networks by name, how large they are, and whether weights are at hand."""

import argparse
from fnmatch import fnmatch

from attnlib.catalogue import CATALOGUE
from attnlib.commands.arguments import Subcommands, add_command, add_forms, positive
from attnlib.commands.output import PrintedRow, print_rows

WEIGHTS_IN_WORDS = {
    "cached": "at hand",
    "package": "at hand",
    "download": "to download",
    "none": "none",
}


def add_models(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "models",
        "list the models: names, parameters, sizes, and whether ImageNet weights are at hand",
        "attnlib models 'deit*'\n  attnlib models 'timm/resnet1*' --img_size 64",
        list_networks,
    )
    parser.add_argument(
        "patterns", nargs="*", metavar="PATTERN", default=["*"],
        help="only these names, such as 'deit*' or 'timm/resnet*' (default: all but timm's)",
    )  # fmt: skip
    parser.add_argument("--num_classes", type=positive, default=1000, help="(default: 1000)")
    parser.add_argument("--img_size", type=positive, default=224, help="(default: 224)")
    add_forms(parser)


def list_networks(chosen: argparse.Namespace) -> int:
    """Print a row for each model; no weights are made for it."""
    from attnlib.models.zoo import list_models

    names = [name for pattern in chosen.patterns for name in find_models(pattern)]
    if not names:
        raise ValueError(
            f"models: none is named {' or '.join(chosen.patterns)}. There are: "
            f"{', '.join(list_models())}, and timm's as timm/NAME"
        )
    rows = (row_of_model(name, chosen.num_classes, chosen.img_size) for name in names)
    print_rows(rows, chosen.form, _words)
    return 0


def find_models(pattern: str) -> list[str]:
    """The models whose name fits the pattern; timm's begin with ``timm/``."""
    if pattern.startswith("timm/"):
        import timm

        return [f"timm/{name}" for name in timm.list_models(pattern.removeprefix("timm/"))]
    from attnlib.models.zoo import list_models

    return [name for name in list_models() if fnmatch(name, pattern)]


def row_of_model(name: str, num_classes: int, img_size: int) -> PrintedRow:
    """A model's name, parameters and bytes in float32."""
    import torch

    from attnlib.models.zoo import create_model, place_of_weights

    try:
        with torch.device("meta"):  # no memory is allocated for weights
            model = create_model(name, num_classes, img_size)
        count: int | None = sum(parameter.numel() for parameter in model.parameters())
    except (ValueError, RuntimeError, NotImplementedError, AssertionError):
        count = None  # not made for this size
    return {
        "name": name,
        "title": CATALOGUE[name].title if name in CATALOGUE else name.removeprefix("timm/"),
        "parameters": count,
        "bytes": None if count is None else 4 * count,
        "weights": place_of_weights(name),
    }


def _words(row: PrintedRow) -> dict[str, str]:
    count = row["parameters"]
    return {
        "model": row["name"],
        "title": row["title"],
        "parameters": "-" if count is None else f"{count:,}",
        "MB": "-" if count is None else f"{row['bytes'] / 1e6:.1f}",
        "ImageNet weights": WEIGHTS_IN_WORDS[row["weights"]],
    }
