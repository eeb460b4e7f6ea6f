"""One run from its configuration to its record: the only place that composes one."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from attnlib import runs
from attnlib.checkpoint import load_state, save_state, write_atomically
from attnlib.config import MODELS, TRANSFORMERS, TrainConfig
from attnlib.data import Dataset, load_dataset
from attnlib.evaluate import Predictions, Proportion, predict
from attnlib.losses import Objective, cross_entropy_objective, distillation_objective
from attnlib.maps import sample_attention, sample_features
from attnlib.runs import Run
from attnlib.seeding import derive_seed, seeded
from attnlib.train import Epoch, Training, amp_dtype, epoch_values, train

SPLIT_SEED = 0  # one split for all runs, so that they can be compared and can teach each other


def run_experiment(
    config: TrainConfig,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_note: Callable[[str], object] | None = None,
) -> Run:
    """Train, evaluate and record the run that ``config`` describes; go on where it stopped.

    A finished run is read, not repeated. A teacher named by its model is trained first, if no
    finished run of it with the same data and settings is there.

    Args:
        config: The resolved configuration.
        on_epoch: Called after each epoch, for instance ``print``.
        on_note: Called with a line of text when something is worth saying: a resumed run, say.

    Raises:
        ValueError: If the data or the teacher don't fit, or the folder holds another run.
    """
    note = on_note or (lambda _: None)
    path = Path(config.runs_dir) / config.name
    data = load_dataset(config.dataset, config.data_path, limit=config.limit, seed=SPLIT_SEED)
    if (path / "record.json").exists():
        run = runs.load_run(path)
        check_same_data(data.sha256, run)
        note(f"{run.name} is finished; its record was read")
        replay(run.history, on_epoch)
        return run
    teacher = None
    if config.distillation != "none":
        teacher = find_teacher(config, data, on_epoch, note)
        note(f"student: {config.name}")
    started, clock = runs.now(), time.perf_counter()
    model, objective = prepare(config, data, teacher)
    path.mkdir(parents=True, exist_ok=True)
    runs.write_config(path, config)
    training = Training.start(model, config)
    values = resume(training, path, data, note)
    replay(runs.read_history(path), on_epoch)
    started, clock = values.get("started", started), clock - values.get("seconds", 0.0)
    for epoch in train(training, data, config, objective):
        runs.append_history(path, epoch_values(epoch))
        state = training.state()
        spent = {"started": started, "seconds": time.perf_counter() - clock, "data": data.sha256}
        save_state(path / "state", epoch.epoch, state._replace(values=state.values | spent))
        if on_epoch is not None:
            on_epoch(epoch)
    times = {"started": started, "wall_seconds": round(time.perf_counter() - clock, 2)}
    return finish(training, data, config, path, times, teacher.name if teacher else None)


def prepare(config: TrainConfig, data: Dataset, teacher: Run | None) -> tuple[nn.Module, Objective]:
    """The model with its starting weights, on its device, and what it minimises."""
    with seeded(derive_seed(config.seed, "weights")):
        values = vars(config)
        model = runs.build_model(values, len(data.class_names), pretrained=config.pretrained)
    model.to(config.device)
    if teacher is None:
        return model, cross_entropy_objective
    teaching = teacher.load_model().to(config.device).requires_grad_(False)
    objective = distillation_objective(
        teaching, config.distillation, config.alpha, config.temperature
    )
    return model, objective


def resume(
    training: Training, path: Path, data: Dataset, note: Callable[[str], object]
) -> dict[str, Any]:
    """Restore the newest whole state, if there is one, and cut the history to it."""
    state = load_state(path / "state")
    if state is not None:
        if state.values["data"] != data.sha256:
            raise ValueError(
                f"{path} was begun on other data ({state.values['data'][:12]}..., now "
                f"{data.sha256[:12]}...); choose another runs_dir, or remove that folder."
            )
        training.restore(state)
        note(f"resuming after epoch {training.epoch}")
    runs.cut_history(path, training.epoch)
    return state.values if state is not None else {}


def replay(history: list[dict[str, Any]], on_epoch: Callable[[Epoch], object] | None) -> None:
    """Report epochs of the past as if they were just done, so that no report begins midway."""
    if on_epoch is not None:
        for values in history:
            on_epoch(Epoch(**values))


def find_teacher(
    config: TrainConfig,
    data: Dataset,
    on_epoch: Callable[[Epoch], object] | None,
    note: Callable[[str], object],
) -> Run:
    """The teacher's finished run; one named by its model is trained if it is not there.

    Raises:
        ValueError: If the run does not exist, has no weights, or saw other data or sizes.
    """
    name = str(config.teacher)
    if name in MODELS or name.startswith("timm/"):
        own = teacher_config(config)
        note(f"teacher: {own.name}")
        is_there = (Path(own.runs_dir) / own.name / "record.json").exists()
        run = run_experiment(own, None if is_there else on_epoch, note)
    else:
        run = runs.load_run(name, config.runs_dir)
    check_same_data(data.sha256, run)
    if run.config["img_size"] != config.img_size:
        raise ValueError(
            f"teacher: {run.name} sees {run.config['img_size']} pixels a side, the student "
            f"{config.img_size}; give both the same img_size."
        )
    return run


def teacher_config(config: TrainConfig) -> TrainConfig:
    """The configuration of a teacher named by its model: the student's, without a teacher."""
    name = str(config.teacher)
    return replace(
        config,
        model=name,
        distillation="none",
        teacher=None,
        temperature=TrainConfig.temperature,
        alpha=TrainConfig.alpha,
        patch_size=config.patch_size if name in TRANSFORMERS else None,
    )


def check_same_data(sha256: str, run: Run) -> None:
    """Refuse to join ``run`` with data that it was not made on."""
    theirs = run.record["dataset"]
    if theirs["sha256"] != sha256:
        raise ValueError(
            f"{run.path} was made on other data ({theirs['title']}, {theirs['sha256'][:12]}..., "
            f"now {sha256[:12]}...); choose another runs_dir, or remove that folder."
        )


def finish(
    training: Training,
    data: Dataset,
    config: TrainConfig,
    path: Path,
    times: dict[str, Any],
    teacher: str | None,
) -> Run:
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
        "best_epoch": training.best_epoch,
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
    for name, sample in (("attention", sample_attention), ("features", sample_features)):
        np.savez_compressed(path / f"{name}.npz", **sample(model, data.test, size))  # type: ignore[arg-type]
    speeds = [epoch["images_per_second"] for epoch in runs.read_history(path)]
    is_cuda = config.device.startswith("cuda")
    sizes = {name: len(getattr(data, name)) for name in ("train", "val", "test")}
    record = {
        "schema": runs.SCHEMA,
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
            "wall_seconds": times["wall_seconds"],
            "weights_bytes": len(weights),
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if is_cuda else None,
        },
        "seeds": {"run": config.seed, "split": SPLIT_SEED},
        "teacher": teacher,
        "command": config.command,
        "git": runs.describe_git(),
        "versions": runs.describe_versions(),
        "device": runs.describe_device(config.device),
        "precision": f"{dtype} autocast".removeprefix("torch.") if dtype else "float32",
        "started": times["started"],
        "finished": runs.now(),
    }
    runs.check_record(record)
    runs.write_json(path / "record.json", record)
    return runs.load_run(path)


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
        answers["ema"] = predict(training.average.module, data.test, img_size=size, amp=dtype)
    return answers


def proportion(share: Proportion) -> dict[str, Any]:
    """A share as it stands in a record."""
    return {**share._asdict(), "method": "Wilson, 95%"}
