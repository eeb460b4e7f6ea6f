"""``attnlib predict``: classify the images in files and folders, or those that come in a pipe."""

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnlib.commands.arguments import (
    FILES,
    Subcommands,
    add_command,
    add_forms,
    add_network,
    complete,
    network_of,
    positive,
)
from attnlib.commands.output import PrintedRow, bar, print_rows, warn
from attnlib.devices import resolve_device

if TYPE_CHECKING:
    from attnlib.records.network import Network
    from attnlib.training.predict_files import FilePrediction

UNREADABLE = 1  # exit code where some files could not be read
PIPE = "-"


def add_predict(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "predict",
        "classify images: files, folders, patterns, or what comes in a pipe",
        "attnlib predict RUN photos/ 'more/*.jpg' --top 3 --csv > answers.csv\n"
        "  find . -name '*.png' | attnlib predict RUN -\n"
        "  curl -s https://example.org/cat.jpg | attnlib predict RUN -",
        predict_images,
    )
    add_network(parser)
    paths = parser.add_argument(
        "paths", nargs="+", metavar="PATH",
        help="a file, a folder with all below it, a pattern in quotes, or - for standard input: "
        "paths, one a line, or an image",
    )  # fmt: skip
    complete(paths, FILES)
    parser.add_argument(
        "--top", type=positive, default=1, metavar="CLASSES", help="answers an image (default: 1)"
    )
    add_forms(parser)


def predict_images(chosen: argparse.Namespace) -> int:
    """Print a row for each image; 1 if some could not be read."""
    network = network_of(chosen)
    files = list(dict.fromkeys(find_images_in(chosen.paths)))  # each once
    if not files:
        raise ValueError(f"no image in {', '.join(chosen.paths)}")
    top = min(chosen.top, len(network.class_names))
    faults: list[str] = []
    rows = answer_rows(network, files, chosen, top, faults)
    print_rows(rows, chosen.form, lambda row: _in_words(row, top))
    for fault in faults:
        warn(fault)
    return UNREADABLE if faults else 0


def answer_rows(
    network: "Network",
    files: Sequence[Path | tuple[str, bytes]],
    chosen: argparse.Namespace,
    top: int,
    faults: list[str],
) -> Iterator[PrintedRow]:
    """A row for each file that can be read, as soon as it is there; ``faults`` gets the others."""
    from attnlib.records.network import readable_names
    from attnlib.training.predict_files import predict_files

    names = readable_names(network.class_names)
    predictions = predict_files(
        network.model,
        files,
        img_size=network.img_size,
        batch_size=chosen.batch_size,
        device=resolve_device(chosen.device),
    )
    with bar(len(files), "images") as progress:
        for prediction in predictions:
            progress.update()
            if prediction.probabilities is None:
                faults.append(f"passed over: {prediction.fault}")
            else:
                yield row_of(prediction, names, top)


def row_of(prediction: "FilePrediction", class_names: Sequence[str], top: int) -> PrintedRow:
    """A file's name and its ``top`` classes with their probabilities."""
    assert prediction.probabilities is not None
    row: dict[str, Any] = {"file": prediction.file}
    for rank, place in enumerate(prediction.top(top), start=1):
        row[f"class_{rank}"] = class_names[place]
        row[f"probability_{rank}"] = round(float(prediction.probabilities[place]), 6)
    return row


def _in_words(row: PrintedRow, top: int) -> dict[str, str]:
    """A row for the terminal, with probabilities in percent."""
    words = {"file": str(row["file"])}
    for rank in range(1, top + 1):
        name = "class" if rank == 1 else f"class {rank}"
        words[name] = str(row[f"class_{rank}"])
        words["p" if rank == 1 else f"p {rank}"] = f"{row[f'probability_{rank}']:.1%}"
    return words


def find_images_in(paths: Sequence[str]) -> Iterator[Path | tuple[str, bytes]]:
    """The files that the arguments name: themselves, below folders, by pattern, or in the pipe."""
    for given in paths:
        if given == PIPE:
            yield from read_pipe(sys.stdin.buffer.read())
        elif Path(given).is_dir():
            yield from images_below(Path(given))
        elif glob.has_magic(given) and not Path(given).exists():
            for path in sorted(glob.glob(given, recursive=True)):
                yield from images_below(Path(path)) if Path(path).is_dir() else [Path(path)]
        else:
            yield Path(given).expanduser()


def images_below(folder: Path) -> list[Path]:
    """All files below a folder with an image's ending, by name; hidden ones are left out."""
    from attnlib.data.readers import IMAGE_ENDINGS

    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_ENDINGS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def read_pipe(content: bytes) -> Iterator[Path | tuple[str, bytes]]:
    """What came in the pipe: an image, or paths with a new line or a null character between."""
    from attnlib.data.open_image import decode_image

    try:
        decode_image(content, PIPE, small=True)
    except ValueError:
        separator = b"\0" if b"\0" in content else b"\n"
        for line in content.split(separator):
            if name := line.rstrip(b"\r").decode("utf-8", "surrogateescape"):
                yield from find_images_in([name]) if name != PIPE else []
    else:
        yield "standard input", content
