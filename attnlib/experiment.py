"""Carrying out one run, from its configuration to its record."""

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from attnlib.catalogue import MODELS, RESNETS, TRANSFORMERS
from attnlib.colab import drive
from attnlib.config import (
    TrainConfig,
    complete_values,
    takes_drop_path,
    takes_dynamic_img_size,
    takes_grad_checkpointing,
    takes_layer_decay,
)
from attnlib.data.datasets import Dataset, load_dataset
from attnlib.data.storage import current_device
from attnlib.losses import Objective, cross_entropy_objective, distillation_objective
from attnlib.models.image_size import check_size
from attnlib.models.modes import freeze_body
from attnlib.models.pretrained import head_names, read_checkpoint, start_from
from attnlib.records.check_weights import check_accuracy, check_weights
from attnlib.records.find import load_run
from attnlib.records.finish import SPLIT_SEED, Times, finish
from attnlib.records.locks import lock_run
from attnlib.records.provenance import (
    commit_words,
    describe_device,
    describe_git,
    describe_versions,
    now,
    write_json,
)
from attnlib.records.run import (
    Run,
    build_model,
    config_values,
    cut_history,
    read_history,
    write_config,
    write_history,
)
from attnlib.seeding import derive_seed, seeded
from attnlib.training.checkpoint import KEEP, has_state, load_state, save_state
from attnlib.training.distributed import Group, join, local_device
from attnlib.training.epoch import Epoch, Step
from attnlib.training.failures import (
    SPARE_BYTES,
    NonFiniteLossError,
    StopRequest,
    StorageError,
    check_storage,
    stop_on_signals,
    storage_faults,
)
from attnlib.training.loop import Trainer
from attnlib.training.state import Training, amp_dtype, precision_name, state_bytes
from attnlib.training.tensorboard import TensorBoard

SAVE_SECONDS = 300.0  # between states that are saved within an epoch


def run_experiment(
    config: TrainConfig,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_note: Callable[[str], object] | None = None,
    on_step: Callable[[Step], object] | None = None,
) -> Run:
    """Train, evaluate and record the run that ``config`` describes, resuming it if it was stopped.

    A finished run is read, not repeated. A teacher given by its model is trained first, if no
    finished run of it with the same data and settings is found. Started by ``torchrun``, all its
    processes train together and only the first one writes.

    Args:
        config: The resolved configuration.
        on_epoch: Called after each epoch, for instance ``print``.
        on_note: Called with a line of text for the user, for instance when a run is resumed.
        on_step: Called after each step.

    Raises:
        ValueError: If the data or the teacher don't match, or the folder holds another run.
        RunLockedError: If another process is training this run.
        NonFiniteLossError: If the loss became NaN or infinite.
        OutOfMemoryError: If a step does not fit into memory.
        StorageError: If the run can't be written.
        KeyboardInterrupt: After Ctrl-C, once the state is saved; after SIGTERM, SystemExit.
    """
    if config.drive:
        drive.mount_drive()
    config = replace(config, device=local_device(config.device))
    with current_device(torch.device(config.device)), join(config.device) as group:
        listener = Listener(on_epoch, on_note, on_step) if group.is_first else Listener()
        devices = torch.cuda.device_count() if config.device.startswith("cuda") else 1
        if devices > group.size:
            listener.note(
                f"this machine has {devices} GPUs, {group.size} in use; all train together by: "
                f"torchrun --nproc-per-node {devices} -m attnlib train {config.options}"
            )
        return run_in_group(config, group, listener)


@contextmanager
def fast_matmul(config: TrainConfig) -> Iterator[None]:
    """On CUDA, use TF32 for what stays float32 in mixed precision, and let cuDNN tune itself.

    Without mixed precision, nothing is TF32: by PyTorch's default convolutions are.
    """
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
    if config.device.startswith("cuda"):
        is_mixed = amp_dtype(config) is not None
        torch.set_float32_matmul_precision("high" if is_mixed else "highest")
        cudnn.allow_tf32, cudnn.benchmark = is_mixed, True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32, cudnn.benchmark = before[1:]


@dataclass(frozen=True)
class Listener:
    """The run's callbacks; by default they do nothing."""

    on_epoch: Callable[[Epoch], object] | None = None
    on_note: Callable[[str], object] | None = None
    on_step: Callable[[Step], object] | None = None

    def note(self, text: str) -> None:
        """Report a line of text."""
        if self.on_note is not None:
            self.on_note(text)

    def epoch(self, epoch: Epoch) -> None:
        """Report a finished epoch."""
        if self.on_epoch is not None:
            self.on_epoch(epoch)

    def replay(self, history: list[dict[str, Any]]) -> None:
        """Report the epochs before a resumed one, so that displays show the whole run."""
        for values in history:
            self.epoch(Epoch(**values))

    def step(self, step: Step) -> None:
        """Report a finished step."""
        if self.on_step is not None:
            self.on_step(step)


def run_in_group(config: TrainConfig, group: Group, listener: Listener) -> Run:
    """``run_experiment`` in one of the processes of ``group``."""
    path = Path(config.runs_dir) / config.name
    start = find_checkpoint(config)
    if not (path / "record.json").exists():
        check_size(config.model, lambda size: build_for(config, size), config.img_size)
    data = load_dataset(config.dataset, config.data_path, limit=config.limit, seed=SPLIT_SEED)
    check_amounts(config, data)
    if group.share((path / "record.json").exists()):
        run = load_run(path)
        check_same_data(data.sha256, run)
        check_same_config(complete_values(run.config), config_values(config), path)
        check_same_start(run.record.initial_checkpoint, start, path)
        listener.note(f"{run.name} is finished; its record was read")
        listener.replay(run.history)
        return run
    teacher = None
    if config.distillation != "none":
        teacher = find_teacher(config, data, group, listener)
        listener.note(f"student: {config.name}")
    with lock_run(path, listener.note) if group.is_first else nullcontext():
        if config.device.startswith("cuda"):  # the record's peak is this run's, not its teacher's
            torch.cuda.reset_peak_memory_stats(config.device)
        model, objective = prepare(config, data, teacher, group)
        origin = None
        if config.initial_checkpoint and not group.share(has_state(path / "state")):
            origin = load_checkpoint(model, start, data, config, listener)
        if group.is_first:
            needed = (KEEP + 1) * state_bytes(model, config.ema > 0) + SPARE_BYTES
            check_storage(path, needed)
            with storage_faults(path):
                write_config(path, config)
        training = Training.start(model, config, origin)
        group.wait()
        times = resume(training, path, data, config, group, listener)
        check_same_start(training.initial_checkpoint, start, path)
        with fast_matmul(config):
            trainer = Trainer(training, data, config, objective, group=group)
            log = TensorBoard(path / "tensorboard", trainer) if writes_log(config, group) else None
            times = train_and_save(trainer, path, times, listener, log)
            if group.is_first:
                show = log.confusion if log else None
                with trainer.memory_faults(), storage_faults(path):
                    finish(training, data, config, path, times, teacher, group, show)
        group.wait()
    return load_run(path)


def writes_log(config: TrainConfig, group: Group) -> bool:
    """Whether this process writes files for TensorBoard."""
    return config.log == "tensorboard" and group.is_first


def build_for(config: TrainConfig, img_size: int) -> nn.Module:
    """The run's model with fresh weights and ten classes, for images of any size."""
    return build_model(config.values | {"img_size": img_size}, 10)


def prepare(
    config: TrainConfig, data: Dataset, teacher: Run | None = None, group: Group | None = None
) -> tuple[nn.Module, Objective]:
    """The model with its initial weights, on its device, and the objective to minimise."""
    with seeded(derive_seed(config.seed, "weights")):
        values = vars(config)
        model = build_model(values, len(data.class_names), pretrained=config.pretrained)
    model.to(config.device)
    if config.freeze:
        freeze_body(model, head_names(model))
    if config.grad_checkpointing:
        cast(Any, model).set_grad_checkpointing()
    if group and group.size > 1 and config.device.startswith("cuda"):  # it exists on CUDA only
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if teacher is None:
        return model, cross_entropy_objective
    teaching = teacher.load_model().to(config.device).requires_grad_(False)
    check_accuracy(teacher, teaching, data.val)
    objective = distillation_objective(
        teaching, config.distillation, config.alpha, config.temperature
    )
    return model, objective


@dataclass(frozen=True)
class Checkpoint:
    """A file of initial weights, and what is known about it."""

    name: str
    path: Path
    sha256: str
    run: Run | None  # the run that it comes from; None: not known

    @property
    def values(self) -> dict[str, str]:
        """How states and records describe it."""
        return {"name": self.name, "sha256": self.sha256}


def find_checkpoint(config: TrainConfig) -> Checkpoint | None:
    """The weights that ``config`` starts from, a run's or a file's; None if they are missing.

    A run that is resumed or finished doesn't need them.

    Raises:
        ValueError: If they are missing and the run has not begun.
    """
    if config.initial_checkpoint is None:
        return None
    path, run = Path(config.initial_checkpoint).expanduser(), None
    try:
        if not path.is_file():
            run = load_run(config.initial_checkpoint, config.runs_dir)
            path = run.weights_path
        elif (path.parent / "record.json").exists():
            run = load_run(path.parent)
    except ValueError as fault:
        begun = Path(config.runs_dir) / config.name
        if (begun / "record.json").exists() or has_state(begun / "state"):
            return None
        raise ValueError(
            f"initial_checkpoint: {str(fault).removeprefix('run: ')}\nIt may also be a file of "
            "weights, .safetensors or .pth."
        ) from None
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = config.values["initial_checkpoint"]
    return Checkpoint(name, path, sha256, run)


def load_checkpoint(
    model: nn.Module,
    start: Checkpoint | None,
    data: Dataset,
    config: TrainConfig,
    listener: Listener,
) -> dict[str, str]:
    """Load the weights of ``start`` into a fresh model; returns what the record says of them."""
    assert start is not None  # find_checkpoint has refused
    if start.run is not None:
        check_weights(start.run, data)
    same_classes = start.run is None or start.run.record.dataset.classes == data.class_names
    fit = start_from(model, read_checkpoint(start.path), keep_head=same_classes)
    frozen = [name for name in fit.fresh if name.rpartition(".")[0] not in head_names(model)]
    if config.freeze and frozen:
        raise ValueError(
            f"freeze: {start.name} holds nothing for {', '.join(frozen[:4])}, which would stay "
            "random; leave out freeze."
        )
    listener.note(f"initial_checkpoint: {start.name} ({start.sha256[:12]}...): {fit}")
    return start.values


def check_same_start(begun: dict[str, str] | None, start: Checkpoint | None, path: Path) -> None:
    """Refuse to resume a run whose initial weights have changed, where their hash is known."""
    if begun and start and begun["sha256"] != start.sha256:
        raise ValueError(
            f"{path} was begun from other weights of the name {start.name} "
            f"({begun['sha256'][:12]}..., now {start.sha256[:12]}...); choose another runs_dir, or "
            "remove that folder."
        )


def resume(
    training: Training,
    path: Path,
    data: Dataset,
    config: TrainConfig,
    group: Group,
    listener: Listener,
) -> Times:
    """Restore the newest intact state, if there is one, and truncate the history to it.

    Raises:
        ValueError: If the state was made on other data or by another configuration.
    """
    state = load_state(path / "state", clean=group.is_first)
    times = Times(now(), 0.0)
    if state is not None:
        if state.values["data"] != data.sha256:
            raise ValueError(
                f"{path} was begun on other data ({state.values['data'][:12]}..., now "
                f"{data.sha256[:12]}...); choose another runs_dir, or remove that folder."
            )
        theirs = complete_values(state.values["config"])
        check_same_config(theirs, config_values(config), path)
        training.restore(state)
        times = Times(state.values["started"], state.values["wall_seconds"])
        progress = training.progress
        middle = f", step {progress.step} of epoch {progress.epoch + 1}" if progress.step else ""
        listener.note(f"resuming after epoch {progress.epoch}{middle}")
        now_here = circumstances(config, group)
        before = {**now_here, **state.values.get("circumstances", {})}
        if changed := changed_values(before, now_here):
            listener.note(
                f"since the last sitting: {'; '.join(changed)}. The result may differ in its last "
                "digits from that of a run which was not interrupted."
            )
    if group.is_first:
        with storage_faults(path):
            listener.replay(cut_history(path, training.progress.epoch))
    return times


def check_same_config(theirs: dict[str, Any], ours: dict[str, Any], path: Path) -> None:
    """Refuse a run or a state written by another configuration, naming what differs."""
    if differing := changed_values(theirs, ours):
        raise ValueError(
            f"{path} holds a run of another configuration: {'; '.join(differing)}. "
            "Choose another runs_dir, or remove that folder."
        )


def changed_values(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """The differences between two sets of values, in words."""
    return [
        f"{name} was {theirs.get(name)!s}, now {ours.get(name)!s}"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]


def circumstances(config: TrainConfig, group: Group) -> dict[str, Any]:
    """What may change the last digits of a result without being part of the configuration."""
    git, device = describe_git(), describe_device(config.device)
    return {
        "code": commit_words(**git),
        "device": device["name"],
        "precision": precision_name(config),
        "processes": group.size,
        "threads": device["threads"],
        **describe_versions(),
    }


@dataclass
class Saver:
    """Saves the state of a run: after each epoch, every few minutes, and on a stop request.

    Less often on Google Drive: every half hour, at the end, and on a stop request.
    """

    trainer: Trainer
    path: Path
    times: Times  # when the run was begun; the seconds spent in earlier sessions
    listener: Listener
    stop: StopRequest
    log: TensorBoard | None = None

    def __post_init__(self) -> None:
        self.began = self.saved = time.perf_counter()
        config, data = self.trainer.config, self.trainer.data
        self.history = read_history(self.path) if self.trainer.group.is_first else []
        self.pause = drive.DRIVE_SAVE_SECONDS if config.drive else 0.0
        self.origin = {
            "data": data.sha256,
            "config": config_values(config),
            "circumstances": circumstances(config, self.trainer.group),
        }

    def spent(self) -> Times:
        """When the run was begun, and the time spent on it in all sessions."""
        seconds = self.times.wall_seconds + time.perf_counter() - self.began
        return Times(self.times.started, round(seconds, 2))

    def is_older_than(self, seconds: float) -> bool:
        """Whether the last state, or the start of this session, is older than ``seconds``."""
        return time.perf_counter() - self.saved >= seconds

    def due(self) -> bool:
        """Whether it is time to save a state within the epoch."""
        return self.is_older_than(max(SAVE_SECONDS, self.pause))

    def check_folder(self) -> None:
        """Stop if the run's folder was removed, since what is left could not be read as a run.

        Raises:
            StorageError: If its configuration is gone.
        """
        config = self.path / "config.json"
        if not config.exists():
            raise StorageError(
                errno.ENOENT,
                f"{config} was removed while the run was training, perhaps with its folder; no "
                "more is written. The same command goes on from what is left, or begins anew",
            )

    def save(self) -> None:
        """Save the state unless training has failed; only the first process of a group writes."""
        training = self.trainer.training
        if self.trainer.group.is_first and not self.trainer.has_failed():
            self.check_folder()
            if self.log:
                self.log.flush()
            state = training.state()
            values = {**state.values, **self.spent()._asdict(), **self.origin}
            with storage_faults(self.path):
                save_state(
                    self.path / "state",
                    training.progress.epoch,
                    training.progress.step,
                    state._replace(values=values),
                )
        self.saved = time.perf_counter()

    def save_history(self) -> None:
        """Write all epochs so far, also those of a file that was removed meanwhile."""
        self.check_folder()
        with storage_faults(self.path):
            write_history(self.path, self.history)

    def stopping(self) -> bool:
        """Whether any process was asked to stop; every process must call this."""
        return self.trainer.group.any(bool(self.stop))

    def after_step(self, step: Step) -> None:
        """Save within an epoch, if it is time to or the run was asked to stop."""
        self.listener.step(step)
        if self.log:
            self.log.step(step)
        if self.stopping():
            self.listener.note(f"stopping: saving after step {step.step} of epoch {step.epoch}")
            self.save()
            self.stop.raise_as_exit()
        if self.due():
            self.save()

    def after_epoch(self, epoch: Epoch) -> None:
        """Write the epoch's line and save; stop here if asked to."""
        if self.trainer.group.is_first:
            self.history.append(epoch.values())
            self.save_history()
        if self.log:
            self.log.epoch(epoch)
        is_last = epoch.epoch == self.trainer.config.epochs
        is_due = is_last or self.is_older_than(self.pause)
        if is_due:
            self.save()
        self.listener.epoch(epoch)
        if self.stopping():
            if not is_due:
                self.save()
            self.listener.note(f"stopping: saved after epoch {epoch.epoch}")
            self.stop.raise_as_exit()


def train_and_save(
    trainer: Trainer, path: Path, times: Times, listener: Listener, log: TensorBoard | None = None
) -> Times:
    """Train to the end, saving on the way; returns the time spent in all sessions."""
    try:
        with stop_on_signals() as stop:
            saver = Saver(trainer, path, times, listener, stop, log)
            for epoch in trainer.train(saver.after_step):
                saver.after_epoch(epoch)
    except NonFiniteLossError as fault:
        if trainer.group.is_first:
            with suppress(OSError):  # the error itself matters more than its report
                write_json(path / "fault.json", fault.report)
        raise
    if trainer.group.is_first:
        (path / "fault.json").unlink(missing_ok=True)
        saver.save_history()
    return saver.spent()


def find_teacher(config: TrainConfig, data: Dataset, group: Group, listener: Listener) -> Run:
    """The teacher's finished run; one given by its model is trained if no run is found.

    Raises:
        ValueError: If the run does not exist, has no weights, or used other data or sizes.
    """
    name = str(config.teacher)
    if name in MODELS or name.startswith("timm/"):
        own = teacher_config(config)
        listener.note(f"teacher: {own.name}")
        is_there = (Path(own.runs_dir) / own.name / "record.json").exists()
        run = run_in_group(own, group, Listener(on_note=listener.on_note) if is_there else listener)
    else:
        run = load_run(name, config.runs_dir)
    check_same_data(data.sha256, run)
    if run.config["img_size"] != config.img_size:
        raise ValueError(
            f"teacher: {run.name} sees {run.config['img_size']} pixels a side, the student "
            f"{config.img_size}; give both the same img_size."
        )
    return run


def teacher_config(config: TrainConfig) -> TrainConfig:
    """The configuration of a teacher given by its model: the student's, without a teacher."""
    name = str(config.teacher)
    return replace(
        config,
        model=name,
        distillation="none",
        teacher=None,
        temperature=TrainConfig.temperature,
        alpha=TrainConfig.alpha,
        patch_size=config.patch_size if name in TRANSFORMERS else None,
        initial_checkpoint=None,
        freeze=False,
        layer_decay=config.layer_decay if takes_layer_decay(name) else None,
        grad_checkpointing=config.grad_checkpointing and takes_grad_checkpointing(name),
        dynamic_img_size=config.dynamic_img_size and takes_dynamic_img_size(name),
        stem=config.stem if name in RESNETS else TrainConfig.stem,
        tokens=config.tokens if name.startswith("atresnet") else TrainConfig.tokens,
        drop_path=config.drop_path if takes_drop_path(name) else 0.0,
    )


def check_amounts(config: TrainConfig, data: Dataset) -> None:
    """Refuse more images than there are: lr follows the batch, and the run's name says limit."""
    if config.limit is not None and config.limit > len(data.train):
        raise ValueError(
            f"limit: {config.limit} images asked for, but there are {len(data.train)} to train on; "
            "leave limit out."
        )
    if config.batch_size > len(data.train):
        raise ValueError(
            f"batch_size: {config.batch_size} images asked for, but there are {len(data.train)} to "
            f"train on, and lr follows batch_size; give at most {len(data.train)}."
        )


def check_same_data(sha256: str, run: Run) -> None:
    """Refuse to use ``run`` with data other than its own."""
    theirs = run.record.dataset
    if theirs.sha256 != sha256:
        raise ValueError(
            f"{run.path} was made on other data ({theirs.title}, {theirs.sha256[:12]}..., "
            f"now {sha256[:12]}...); choose another runs_dir, or remove that folder."
        )
