"""The end of a run: the best weights answer the test set once, and the record is written."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save

from attnlib.config import TrainConfig
from attnlib.data.datasets import Dataset
from attnlib.records.provenance import (
    describe_device,
    describe_git,
    describe_versions,
    now,
    write_json,
)
from attnlib.records.run import SCHEMA, Run, check_record, read_history
from attnlib.records.samples import sample_attention, sample_explorer, sample_features
from attnlib.stats.intervals import Proportion
from attnlib.training.checkpoint import write_atomically
from attnlib.training.distributed import Group
from attnlib.training.predict import Predictions, predict
from attnlib.training.state import Training, amp_dtype

SPLIT_SEED = 0  # one split for all runs, so that they can be compared and can teach each other


class Times(NamedTuple):
    """When a run was begun, and how long it took in all its sittings."""

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
) -> None:
    """Evaluate the weights that were best on the validation set, once, and write the record."""
    model, size, dtype = training.model, config.img_size, amp_dtype(config)
    model.load_state_dict(training.best_weights)
    tested = predict(model, data.test, img_size=size, amp=dtype)
    logits = tested.logits.astype(np.float16)  # metrics are those of the logits that are kept
    tested = replace(tested, logits=logits.astype(np.float32))
    validated = predict(model, data.val, img_size=size, amp=dtype)
    metrics: dict[str, Any] = {
        "test_accuracy": proportion(tested.interval),
        "val_accuracy": proportion(validated.interval),
        "test_loss": tested.loss,
        "best_epoch": training.progress.best_epoch,
        "per_class": [
            {"class": name, **(proportion(share) if share else {})}
            for name, share in zip(data.class_names, tested.per_class(), strict=True)
        ],
    }
    metrics |= {
        f"test_accuracy_{kind}": proportion(variant.interval)
        for kind, variant in variants(training, data, config).items()
    }
    weights = save({key: value.contiguous() for key, value in training.best_weights.items()})
    write_atomically(path / "model.safetensors", weights)
    np.savez_compressed(path / "predictions.npz", logits=logits, labels=tested.labels)
    samples = {
        "attention": sample_attention,
        "features": sample_features,
        "explorer": sample_explorer,
    }
    for name, sample in samples.items():
        np.savez_compressed(path / f"{name}.npz", **sample(model, data.test, size))  # type: ignore[arg-type]
    speeds = [epoch["images_per_second"] for epoch in read_history(path)]
    is_cuda = config.device.startswith("cuda")
    sizes = {name: len(getattr(data, name)) for name in ("train", "val", "test")}
    record = {
        "schema": SCHEMA,
        "name": config.name,
        "title": config.title,
        "status": "finished",
        "dataset": {
            "name": data.name,
            "title": data.title,
            "sha256": data.sha256,
            "classes": list(data.class_names),
            "sizes": sizes,
        },
        "metrics": metrics,
        "cost": {
            "parameters": sum(p.numel() for p in model.parameters()),
            "train_images_per_second": float(np.median(speeds)),
            "wall_seconds": times.wall_seconds,
            "weights_bytes": len(weights),
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if is_cuda else None,
        },
        "seeds": {"run": config.seed, "split": SPLIT_SEED},
        "teacher": teacher.name if teacher else None,
        "command": config.command,
        "git": describe_git(),
        "versions": describe_versions(),
        "device": {**describe_device(config.device), "processes": group.size},
        "precision": f"{dtype} autocast".removeprefix("torch.") if dtype else "float32",
        "started": times.started,
        "finished": now(),
    }
    if training.initial_checkpoint:
        record["initial_checkpoint"] = training.initial_checkpoint
    check_record(record)
    write_json(path / "record.json", record)


def variants(training: Training, data: Dataset, config: TrainConfig) -> dict[str, Predictions]:
    """Other answers of the same run: heads averaged after the softmax; averaged weights."""
    size, dtype, model = config.img_size, amp_dtype(config), training.model
    answers = {}
    if hasattr(model, "average"):
        usual = model.average
        model.average = "softmax"  # type: ignore[assignment]
        answers["softmax"] = predict(model, data.test, img_size=size, amp=dtype)
        model.average = usual
    if training.average is not None:
        answers["ema"] = predict(training.average, data.test, img_size=size, amp=dtype)
    return answers


def proportion(share: Proportion) -> dict[str, Any]:
    """A share as it stands in a record."""
    return {**share._asdict(), "method": "Wilson, 95%"}
