"""Keeping the weights of a finished run in ``results``: rounded, measured again, on its record."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from attnlib.atomic import write_atomically
from attnlib.data.datasets import Dataset, Split
from attnlib.records.check_weights import check_accuracy, check_weights
from attnlib.records.find import load_run
from attnlib.records.record import Accuracy, KeptWeights, hash_files, write_record
from attnlib.records.run import Run
from attnlib.training.predict import predict

WEIGHTS_FILE = "model.safetensors"
KEPT_FILES = (
    "config.json", "history.jsonl", "predictions.npz", "attention.npz", "features.npz",
)  # fmt: skip
MOST_BYTES = 25_000_000  # of all kept weights together
MOST_ARRAY_BYTES = 1_000_000  # of a file of arrays: those of answers over many classes are larger


def keep_weights(run: Run, data: Dataset, results: Path) -> Run:
    """Keep a finished run with its weights in ``results``; returns the kept run.

    Matrices and kernels are rounded to float16. The rounded network is evaluated in float32 on
    the validation and test images, and the record says what it gets beside what the run got. The
    record's hashes become those of the kept files. Arrays above 1 MB, which the answers over 200
    classes are, stay behind: their scores are in the record.

    Args:
        run: Finished, with the weights that it wrote.
        data: Its data set.
        results: Folder of kept runs; an older copy of the run in it is replaced.

    Raises:
        ValueError: If the data are not the run's, its weights are not those of its record or don't
            fit into float16, or kept weights would exceed 25 MB together.
    """
    if run.record.kept_weights is not None:
        raise ValueError(f"{run.path} holds rounded weights already; give the run that wrote them")
    if data.sha256 != run.record.dataset.sha256:
        raise ValueError(f"the data are not those of {run.name}, {run.record.dataset.title}")
    check_weights(run, data)
    weights = round_weights(run.read_weights())
    content = save(weights)
    folder = results / run.name
    others = (path for path in results.glob(f"*/{WEIGHTS_FILE}") if path.parent != folder)
    total = len(content) + sum(path.stat().st_size for path in others)
    if total > MOST_BYTES:
        raise ValueError(
            f"{results} would hold {total / 1e6:.1f} MB of weights; at most {MOST_BYTES / 1e6:.0f} "
            "MB are kept: remove those of another run first"
        )
    model = run.load_model()
    model.load_state_dict(weights)
    check_accuracy(run, model, data.val)

    def accuracy(split: Split) -> Accuracy:
        return Accuracy.of(predict(model, split, img_size=run.config["img_size"]).interval)

    wrote = run.record.files[WEIGHTS_FILE]
    kept = KeptWeights("float16", len(content), wrote, accuracy(data.test), accuracy(data.val))
    folder.mkdir(parents=True, exist_ok=True)
    for path in (run.path / name for name in KEPT_FILES):
        if path.suffix == ".npz" and path.stat().st_size > MOST_ARRAY_BYTES:
            (folder / path.name).unlink(missing_ok=True)
        else:
            shutil.copyfile(path, folder / path.name)
    write_atomically(folder / WEIGHTS_FILE, content)
    write_record(folder, replace(run.record, files=hash_files(folder), kept_weights=kept))
    return load_run(folder)


def round_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with matrices and kernels in float16.

    Vectors stay in float32: they take little space, and the running variances of batch
    normalisation may be smaller than float16 can tell from zero.

    Raises:
        ValueError: Naming a tensor with values beyond float16's range.
    """
    rounded = {
        name: value.half() if value.ndim > 1 and value.dtype == torch.float32 else value
        for name, value in weights.items()
    }
    for name, value in rounded.items():
        if not value.isfinite().all():
            raise ValueError(f"{name}: its values don't fit into float16")
    return rounded
