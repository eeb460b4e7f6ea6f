"""A run's predictions on its test images, and finding those images."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from attnlib.data.datasets import Split, load_dataset
from attnlib.data.downloads import cache_dir
from attnlib.data.readers import CIFAR10_ARCHIVE, CIFAR10_CLASSES
from attnlib.records.run import Run
from attnlib.records.thumbnails import read_thumbnails
from attnlib.training.predict import Predictions

FETCH = " To fetch CIFAR-10, run: papermill notebooks/data.ipynb OUT.ipynb -p dataset cifar10"


def read_answers(run: Run) -> Predictions:
    """The predictions of a run, from its ``predictions.npz``.

    Raises:
        ValueError: If they are missing or don't match the run's classes.
    """
    arrays = run.arrays("predictions")
    lacking = [key for key in ("labels", "logits") if key not in arrays]
    if lacking:
        raise ValueError(f"its predictions lack {' and '.join(lacking)}")
    expected = len(arrays["labels"]), len(run.record.dataset.classes)
    if arrays["logits"].shape != expected:
        raise ValueError(f"its logits have the shape {arrays['logits'].shape}, not {expected}")
    return Predictions(arrays["logits"].astype(np.float32), arrays["labels"].astype(np.int64))


def confusion_csv(predictions: Predictions, class_names: Sequence[str]) -> str:
    """The confusion matrix as CSV: a row for each true class, a column for each decision.

    Raises:
        ValueError: If there is not one name for each class.
    """
    counts = predictions.confusion
    if len(class_names) != len(counts):
        raise ValueError(f"class_names: expected {len(counts)}; got {len(class_names)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["true class", *class_names])
    writer.writerows([name, *row] for name, row in zip(class_names, counts.tolist(), strict=True))
    return text.getvalue()


def is_cifar10_cached() -> bool:
    """Whether CIFAR-10's archive has been downloaded."""
    return (cache_dir() / "cifar10" / CIFAR10_ARCHIVE).exists()


def find_images(run: Run, data_path: str | None = None) -> tuple[Split | None, str]:
    """The test images of a run, or None if not available, and a sentence about them.

    Nothing is downloaded: CIFAR-10 is used only if its archive is already in the cache. Without it
    the split holds the few images that ``results`` keeps, at their places in the test set.
    """
    whole, note = _find_whole(run, data_path)
    kept = None if whole or data_path else _find_thumbnails(run)
    if kept is None:
        return whole, note
    rest = note.replace("are not shown", "are not all shown", 1)
    return kept, f"{len(kept)} of the test images come with attnlib and are shown. {rest}"


def _find_thumbnails(run: Run) -> Split | None:
    """The kept thumbnails, if they are images of the run's test set in its order."""
    kept = read_thumbnails() if run.record.dataset.classes == CIFAR10_CLASSES else None
    if kept is None:
        return None
    try:
        labels = read_answers(run).labels
    except ValueError:
        return None
    is_test = kept.indices.max() < len(labels) and np.array_equal(labels[kept.indices], kept.labels)
    return kept if is_test else None


def _find_whole(run: Run, data_path: str | None) -> tuple[Split | None, str]:
    record = run.record.dataset
    name, title = record.name, record.title
    not_shown = f"The images of {title} are not shown"
    if name == "cifar10" and data_path is None and not is_cifar10_cached():
        return None, f"{not_shown}: {CIFAR10_ARCHIVE} is not in the cache.{FETCH}"
    if data_path is None and name in ("npz", "folder"):
        file = str(run.config.get("data_path"))
        if not (cache_dir() / file).exists():
            return _official_images(run, file)
        data_path = str(cache_dir() / file)
    try:
        data = load_dataset(name, data_path)
    except (ValueError, OSError) as fault:
        return None, f"{not_shown}: {fault}"
    if data.sha256 != record.sha256:
        return None, f"{not_shown}: what is in {data_path or 'the data folder'} is other data."
    return data.test, f"Images from {title}, by their place in the test set."


def _official_images(run: Run, file: str) -> tuple[Split | None, str]:
    """CIFAR-10's own test images instead of ``file``, if the run was tested on a copy of them."""
    title, is_copy = run.record.dataset.title, run.record.dataset.classes == CIFAR10_CLASSES
    if is_copy and is_cifar10_cached():
        test = load_dataset("cifar10").test
        if np.array_equal(test.labels, run.arrays("predictions")["labels"]):
            return test, (
                f"Images from CIFAR-10's own archive, which has the labels of {title} in the "
                "same order, by their place in the test set."
            )
    advice = " To name another folder, run: export ATTNLIB_DATA=FOLDER"
    return None, (
        f"The images of {title} are not shown: {file} is not in the folder of data sets."
        f"{FETCH if is_copy and not is_cifar10_cached() else advice}"
    )
