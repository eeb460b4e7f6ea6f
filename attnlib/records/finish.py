"""Finishing a run: evaluate the best checkpoint on the test set, once, and write the record."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import Tensor

from attnlib.atomic import write_atomically
from attnlib.config import TrainConfig
from attnlib.data.datasets import Dataset
from attnlib.models.vit import DeiT
from attnlib.records.provenance import (
    describe_device,
    describe_git,
    describe_versions,
    now,
)
from attnlib.records.record import (
    RECORD_SCHEMA,
    Accuracy,
    ClassAccuracy,
    GitState,
    Metrics,
    Record,
    RecordedCost,
    RecordedDataset,
    RecordedDevice,
    Score,
    Seeds,
    Sizes,
    hash_files,
    write_record,
)
from attnlib.records.run import AVERAGED_WEIGHTS, WEIGHTS, Run, pack_arrays, read_history
from attnlib.records.samples import sample_attention, sample_features
from attnlib.stats.calibration import BINS
from attnlib.stats.consistency import confusion_matrix
from attnlib.training.distributed import Group
from attnlib.training.predict import Predictions, images_at_once, predict
from attnlib.training.state import Training, amp_dtype, precision_name

SPLIT_SEED = 0  # one split for all runs, for comparisons and for distillation
RECORDED_PICTURES = {
    "attention": sample_attention,
    "features": sample_features,
}  # by file name


class Times(NamedTuple):
    """When a run was begun, and the time spent on it in all sessions."""

    started: str
    wall_seconds: float


def finish(
    training: Training,
    data: Dataset,
    config: TrainConfig,
    path: Path,
    times: Times,
    teacher: Run | None,
    group: Group,
    show_confusion: Callable[[npt.NDArray[np.int64], Sequence[str]], object] | None = None,
) -> None:
    """Evaluate the best checkpoint on the test set, once, and write the record.

    Args:
        training: The state at the end of training.
        data: The data set, with its test set.
        config: The run's configuration.
        path: The run's folder.
        times: When the run was begun, and how long it took.
        teacher: The teacher's run, if there is one.
        group: The processes that trained together.
        show_confusion: Called with the confusion matrix (K, K) and the names of the classes, before
            the folder's files are hashed.
    """
    model, size, options = training.model, config.img_size, evaluation_options(config)
    model.load_state_dict(training.best_weights)
    tested = predict(model, data.test, **options)
    logits = to_keep(tested.logits)
    tested = replace(tested, logits=logits.astype(np.float32))  # as recorded
    validated = predict(model, data.val, **options)
    metrics = Metrics(
        test_accuracy=Accuracy.of(tested.interval),
        val_accuracy=Accuracy.of(validated.interval),
        test_loss=tested.loss,
        best_epoch=training.progress.best_epoch,
        per_class=tuple(
            ClassAccuracy(name, Accuracy.of(share) if share else None)
            for name, share in zip(data.class_names, tested.per_class(), strict=True)
        ),
        **averaged_metrics(training, data, config),
        **variants(training, data, config),
        **scores(tested),
    )
    weights = pack_weights(training.best_weights)
    write_atomically(path / WEIGHTS, weights)
    if training.average is not None:
        write_atomically(path / AVERAGED_WEIGHTS, pack_weights(training.averaged_weights()))
    if show_confusion is not None:
        classes = range(len(data.class_names))
        counts = confusion_matrix(tested.labels, tested.decisions, [*classes])
        show_confusion(counts, data.class_names)
    answers = pack_arrays({"logits": logits, "labels": tested.labels})
    write_atomically(path / "predictions.npz", answers)
    not_drawn: dict[str, str] = {}
    for name, sample in RECORDED_PICTURES.items():
        try:
            content = pack_arrays(sample(model, data.test, size))
        except Exception as fault:  # any error: a failing sample must not lose a trained run
            not_drawn[name] = " ".join(str(fault).split()) or type(fault).__name__
            content = pack_arrays({})
        write_atomically(path / f"{name}.npz", content)
    history = read_history(path)
    speeds = [epoch["images_per_second"] for epoch in history]
    precisions = [epoch.get("precision") or precision_name(config) for epoch in history]
    is_cuda = config.device.startswith("cuda")
    sizes = Sizes(train=len(data.train), val=len(data.val), test=len(data.test))
    record = Record(
        schema=RECORD_SCHEMA,
        name=config.name,
        title=config.title,
        status="finished",
        dataset=RecordedDataset(data.name, data.title, data.sha256, tuple(data.class_names), sizes),
        metrics=metrics,
        cost=RecordedCost(
            parameters=sum(p.numel() for p in model.parameters()),
            train_images_per_second=float(np.median(speeds)),
            wall_seconds=times.wall_seconds,
            weights_bytes=len(weights),
            peak_memory_bytes=torch.cuda.max_memory_allocated(config.device) if is_cuda else None,
        ),
        seeds=Seeds(run=config.seed, split=SPLIT_SEED),
        teacher=teacher.name if teacher else None,
        command=config.command,
        git=GitState(**describe_git()),
        versions=describe_versions(),
        device=RecordedDevice(**describe_device(config.device), processes=group.size),
        precision=", then ".join(dict.fromkeys(precisions)),
        started=times.started,
        finished=now(),
        initial_checkpoint=training.initial_checkpoint,
        not_drawn=not_drawn,
        files=hash_files(path),
    )
    write_record(path, record)


def to_keep(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
    """The test logits as stored in a record: float16, or float32 if they don't fit.

    Raises:
        FloatingPointError: If some are not finite.
    """
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise FloatingPointError(
            f"the trained weights give logits that are not finite on {np.sum(~finite)} of "
            f"{len(logits)} test images. Train again with a lower lr or a longer warm-up."
        )
    with np.errstate(over="ignore"):
        small = logits.astype(np.float16)
    return small if np.isfinite(small).all() else logits


def evaluation_options(config: TrainConfig) -> dict[str, Any]:
    """The run's arguments of ``predict``, besides model and split."""
    return {
        "img_size": config.img_size,
        "batch_size": images_at_once(config),
        "amp": amp_dtype(config),
    }


def pack_weights(weights: dict[str, Tensor]) -> bytes:
    """The bytes of a file of weights."""
    return save({key: value.contiguous() for key, value in weights.items()})


def scores(tested: Predictions) -> dict[str, Any]:
    """Top-5 accuracy, calibration error and Brier score, by their names in ``Metrics``."""
    top5, error, brier = tested.top5, tested.calibration_error, tested.brier_score
    return {
        "test_accuracy_top5": Accuracy.of(top5) if top5 else None,
        "test_calibration_error": Score(
            **error._asdict(), method=f"{BINS} bins of equal mass, redrawn, 95%"
        ),
        "test_brier_score": Score(**brier._asdict(), method="t, 95%"),
    }


def averaged_metrics(training: Training, data: Dataset, config: TrainConfig) -> dict[str, Any]:
    """Results of the averaged weights at their own best epoch, by their names in ``Metrics``."""
    average, options = training.average, evaluation_options(config)
    if average is None:
        return {}
    average.load_state_dict(training.averaged_weights())
    return {
        "test_accuracy_ema": Accuracy.of(predict(average, data.test, **options).interval),
        "val_accuracy_ema": Accuracy.of(predict(average, data.val, **options).interval),
        "best_epoch_ema": training.progress.best_averaged_epoch or config.epochs,
    }


def variants(training: Training, data: Dataset, config: TrainConfig) -> dict[str, Any]:
    """Test accuracy of variants of the same weights, by their names in ``Metrics``."""
    model = training.model
    if not isinstance(model, DeiT):
        return {}
    usual = model.average
    model.average = "softmax"  # of the heads
    answers = predict(model, data.test, **evaluation_options(config))
    model.average = usual
    return {"test_accuracy_softmax": Accuracy.of(answers.interval)}
