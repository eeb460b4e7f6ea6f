"""``attnlib evaluate``: the scores of a run, or of a file of weights, on a data set."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from attnlib.commands.arguments import (
    FILES,
    Subcommands,
    add_command,
    add_forms,
    add_network,
    add_output,
    complete,
    network_of,
)
from attnlib.commands.output import bar, painted, print_rows, warn
from attnlib.config import DATASETS
from attnlib.devices import resolve_device

if TYPE_CHECKING:
    from attnlib.data.datasets import Dataset, Split
    from attnlib.records.network import Network
    from attnlib.stats.intervals import Estimate, Proportion
    from attnlib.training.predict import Predictions

SCORE_NAMES = {
    "accuracy": "accuracy",
    "accuracy_top5": "top-5 accuracy",
    "calibration_error": "calibration error",
    "brier_score": "Brier score",
}


def add_evaluate(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        "score a run or a file of weights on a data set",
        "attnlib evaluate RUN --data cifar10 --confusion confusion.csv\n"
        "  attnlib evaluate deit_tiny_patch16_224-a1311bcf.pth --data imagenet/val\n"
        "  attnlib evaluate RUN --data other.npz --classes plane=airplane car=automobile",
        evaluate,
    )
    add_network(parser)
    data = parser.add_argument(
        "--data",
        help=f"{', '.join(DATASETS[:2])}, an .npz file, or a folder with train/ and test/ or with "
        "one folder a class (default: the run's own)",
    )
    complete(data, FILES)
    parser.add_argument(
        "--split", choices=("test", "val", "train"), default="test", help="(default: test)"
    )
    parser.add_argument(
        "--classes", nargs="+", default=[], metavar="THEIRS=OURS",
        help="the network's class for one of the data set's, where their names differ",
    )  # fmt: skip
    add_output(parser, "--confusion", "write the confusion matrix there, as CSV")
    add_forms(parser)


class Evaluation(NamedTuple):
    """A network's predictions on a split, in terms of the network's classes."""

    network: "Network"
    data: "Dataset"
    split: str
    predictions: "Predictions"
    left_out: dict[str, int]  # images by class of the data set that the network does not know


def evaluate(chosen: argparse.Namespace) -> int:
    """Print the scores, and those of each class."""
    from attnlib.records.answers import confusion_csv
    from attnlib.training.predict import predict

    given = parse_classes(chosen.classes)
    network = network_of(chosen)
    data = find_data(chosen.data, network)
    asked = getattr(data, chosen.split)
    if not len(asked):
        raise ValueError(f"split: {data.title} has no {chosen.split} images")
    split, left_out = fit_classes(asked, data, network, given)
    with bar(len(split), "images") as progress:
        predictions = predict(
            network.model,
            split,
            img_size=network.img_size,
            batch_size=chosen.batch_size,
            device=resolve_device(chosen.device),
            on_images=progress.update,
        )
    found = Evaluation(network, data, chosen.split, predictions, left_out)
    if chosen.confusion:
        chosen.confusion.write_text(confusion_csv(predictions, network.class_names), "utf-8")
    if left_out:
        told = ", ".join(f"{name} ({count})" for name, count in list(left_out.items())[:10])
        warn(f"left out: {sum(left_out.values())} images of classes the network has not: {told}")
    print_evaluation(found, chosen.form)
    return 0


def parse_classes(pairs: Sequence[str]) -> dict[str, str]:
    """The network's class by the data set's, from ``THEIRS=OURS``.

    Raises:
        ValueError: If one is not of that form.
    """
    if wrong := [pair for pair in pairs if not all(pair.partition("="))]:
        raise ValueError(f"classes: expected THEIRS=OURS, such as car=automobile; got {wrong[0]!r}")
    return {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}


def find_data(data: str | None, network: "Network") -> "Dataset":
    """The data set that ``--data`` names, or the run's own.

    Raises:
        ValueError: If there is none.
    """
    from attnlib.data.datasets import load_class_folders, load_dataset
    from attnlib.data.downloads import cache_dir

    if data in ("digits", "cifar10"):
        return load_dataset(data)
    if data is not None:
        folder = Path(data).expanduser()
        if folder.is_dir() and not any((folder / part).is_dir() for part in ("train", "test")):
            return load_class_folders(folder)
        return load_dataset("folder" if folder.is_dir() else "npz", data)
    if network.run is None:
        raise ValueError("data: a file of weights does not say; give --data")
    name, file = network.run.record.dataset.name, network.run.config.get("data_path")
    if file is None:
        return load_dataset(name)
    places = [Path(file), cache_dir() / file]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        raise ValueError(f"data: the run's own, {file}, is not here; give --data and its path")
    return load_dataset(name, path)


def fit_classes(
    split: "Split", data: "Dataset", network: "Network", given: dict[str, str]
) -> "tuple[Split, dict[str, int]]":
    """The split in the network's classes, and how many images of each class were left out."""
    from attnlib.data.class_names import match_classes, relabel

    if data.class_names == network.class_names and not given:
        return split, {}
    places = match_classes(data.class_names, network.class_names, given)
    counts = {
        name: int((split.labels == label).sum())
        for label, name in enumerate(data.class_names)
        if places[label] is None
    }
    fitted = relabel(split, places)
    if not len(fitted):
        raise ValueError("classes: no image is of a class that the network knows")
    return fitted, {name: count for name, count in counts.items() if count}


def print_evaluation(found: Evaluation, form: str) -> None:
    """Print all scores in the form that was asked for; CSV has those of the classes."""
    predictions, names = found.predictions, found.network.class_names
    classes = [
        {"class": name, "images": share.n, "accuracy": share.value, "low": share.low,
         "high": share.high}
        for name, share in zip(names, predictions.per_class(), strict=True)
        if share is not None
    ]  # fmt: skip
    if form == "csv":
        print_rows(classes, form, _words)
        return
    scores = scores_of(predictions)
    if form == "json":
        values: dict[str, Any] = {
            "network": found.network.title,
            "run": found.network.run.name if found.network.run else None,
            "data": found.data.title,
            "data_sha256": found.data.sha256,
            "split": found.split,
            **{name: score._asdict() for name, score in scores.items()},
            "cross_entropy": predictions.loss,
            "per_class": classes,
            "left_out": found.left_out,
        }
        print(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False))
        return
    where = f"{len(predictions.labels)} {found.split} images of {found.data.title}"
    print(painted(f"{found.network.title}, {where}", "bold"))
    for name, score in scores.items():
        print(f"{SCORE_NAMES[name]:20}{_in_words(score)}")
    print(f"{'cross-entropy':20}{predictions.loss:.4f} nats\n")
    print_rows(classes, form, _words)


def scores_of(predictions: "Predictions") -> "dict[str, Proportion | Estimate]":
    """Accuracy, top-5 accuracy where there are more classes, calibration error, Brier score."""
    top5 = predictions.top5
    return {
        "accuracy": predictions.interval,
        **({"accuracy_top5": top5} if top5 else {}),
        "calibration_error": predictions.calibration_error,
        "brier_score": predictions.brier_score,
    }


def _in_words(score: "Proportion | Estimate") -> str:
    """A score with its interval, shares in percent."""
    from attnlib.stats.intervals import Proportion

    if isinstance(score, Proportion):
        return str(score)
    return f"{score.value:.4f} [{score.low:.4f}, {score.high:.4f}]"


def _words(row: Any) -> dict[str, str]:
    """A class's row for the terminal."""
    return {
        "class": row["class"],
        "images": str(row["images"]),
        "accuracy": f"{row['accuracy']:.1%}",
        "95% interval": f"{row['low']:.1%} to {row['high']:.1%}",
    }
