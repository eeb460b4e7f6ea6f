"""Runs of a tiny ViT in processes of their own, which tests may kill."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from timm.models import register_model

import attnlib as al
from attnlib import experiment
from attnlib.__main__ import main
from attnlib.config import TrainConfig
from attnlib.models.vit import EncoderSize, ViT
from attnlib.records.locks import lock_run

PROCESSES = multiprocessing.get_context("forkserver")
# What takes long to import; "small_runs" itself the server would not find on its path.
PROCESSES.set_forkserver_preload(["attnlib", "timm", "sklearn.datasets"])
TIMINGS = ("images_per_second", "seconds")


@register_model
def small_vit(num_classes=10, drop_path_rate=0.0, **options):
    return ViT(num_classes, 32, 8, EncoderSize(32, 2, 2), drop_path_rate=drop_path_rate)


def small_config(runs_dir: object, **changes: object) -> TrainConfig:
    given = {
        "model": "timm/small_vit", "profile": "quick", "device": "cpu", "limit": 160, "epochs": 6,
        "drop_path": 0.2, "ema": 0.9, "cutmix": 1.0, "augment": "light", "runs_dir": str(runs_dir),
        "amp": "false",  # in other processes too, whatever the processor
    }  # fmt: skip
    return TrainConfig.from_params(**given | changes)


def train_small(
    config: TrainConfig,
    save_seconds: float = 0.0,
    output: str | None = None,
    killed_at: tuple[int, int] | None = None,
) -> None:
    """Train with a state saved about every ``save_seconds``; notes go to a file.

    With ``killed_at``, kill -9 after that epoch and step, before they are saved.
    """

    def after_step(step: experiment.Step) -> None:
        if (step.epoch, step.step) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    experiment.SAVE_SECONDS = save_seconds
    notes: list[str] = []
    try:
        al.run_experiment(config, on_note=notes.append, on_step=after_step)
    finally:
        if output:
            Path(output).write_text(json.dumps(notes))


def start(config: TrainConfig, *arguments: object):
    """A process in which ``train_small`` trains ``config``."""
    process = PROCESSES.Process(target=train_small, args=(config, *arguments))
    process.start()
    return process


def hold_lock(path: str, taken: str) -> None:
    """Take the lock of a run's folder, say so, and keep it until killed."""
    with lock_run(Path(path)):
        Path(taken).touch()
        threading.Event().wait()


def wait_for_state(config: TrainConfig, seconds: float = 60) -> Path:
    """The folder of states, once there is one in it."""
    folder = Path(config.runs_dir) / config.name / "state"
    deadline = time.monotonic() + seconds
    while not list(folder.glob("*.json")):
        assert time.monotonic() < deadline, "no state was saved"
        time.sleep(0.005)
    return folder


def result(config: TrainConfig) -> dict[str, object]:
    """All that a finished run has left, but for what a clock has measured."""
    path = Path(config.runs_dir) / config.name
    state = experiment.load_state(path / "state")
    assert state is not None
    values = {
        k: v for k, v in state.values.items() if k not in ("seconds", "wall_seconds", "started")
    }
    history = [json.loads(line) for line in (path / "history.jsonl").read_text().splitlines()]
    return {
        "weights": (path / "model.safetensors").read_bytes(),
        "average": (path / "average.safetensors").read_bytes() if config.ema else b"",
        "state": {name: tensor.numpy().tobytes() for name, tensor in state.tensors.items()},
        "values": values,
        "history": [{k: v for k, v in line.items() if k not in TIMINGS} for line in history],
        "metrics": json.loads((path / "record.json").read_text())["metrics"],
        "predictions": al.load_run(path).arrays("predictions")["logits"].tobytes(),
    }


def leftovers(config: TrainConfig) -> list[str]:
    """Files of the run that no finished run has."""
    path = Path(config.runs_dir) / config.name
    return sorted(p.name for p in path.rglob("*.tmp")) + [
        name for name in os.listdir(path) if name.startswith(".")
    ]


def child_environment() -> dict[str, str]:
    """The environment of a process of its own that imports ``small_runs``, on one thread."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def speak_to(path: Path) -> None:
    """All that this process says from now on goes to a file."""
    with path.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)


def call_main(words: list[str], told: Path, limit: tuple[int, int] | None) -> None:
    """The command line as this process, under a limit of the system's: which one, and how much."""
    speak_to(told)
    torch.set_num_threads(1)
    if limit:
        resource.setrlimit(limit[0], (limit[1], limit[1]))
    sys.exit(main(words))


def start_command(
    runs_dir: Path, options: str, limit: tuple[int, int] | None = None
) -> tuple[BaseProcess, Path]:
    """A process that is ``attnlib train`` with the tiny ViT known, and the file of what it says."""
    words, told = ["train", "-p", "runs_dir", str(runs_dir)], runs_dir.with_suffix(".told")
    process = PROCESSES.Process(target=call_main, args=([*words, *options.split()], told, limit))
    process.start()
    return process, told
