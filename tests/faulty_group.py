"""Two processes that train together, as if torchrun had started them; one of them may fail."""

import os
import socket
import sys
from pathlib import Path

import torch
from small_runs import PROCESSES, speak_to
from timm.models import register_model
from torch import Tensor, nn

import attnlib as al
from attnlib import experiment
from attnlib.__main__ import main


class Faulty(nn.Module):
    """Fails in the second process's fourth step, as ``FAULT`` in the environment says."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and os.environ["RANK"] == "1":
            Faulty.steps += 1
            if Faulty.steps == 4 and os.environ["FAULT"] == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            if Faulty.steps >= 4 and os.environ["FAULT"] == "nan":
                return x * float("nan")
        return x


@register_model
def faulty_net(num_classes: int = 10, **options: object) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        nn.BatchNorm2d(8),
        Faulty(),
        nn.Flatten(),
        nn.Linear(512, num_classes),
    )


def train_one(words: list[str], variables: dict[str, str], told: Path) -> None:
    """The command line as one process of a group; what it says goes to a file."""
    speak_to(told)
    os.environ.update(variables)
    torch.set_num_threads(1)
    experiment.SAVE_SECONDS = 0.0
    sys.exit(main(words))


def train_both(config: al.TrainConfig, fault: str, folder: Path) -> list[tuple[int | None, str]]:
    """Exit code and output of each of two processes in which ``config`` is trained."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["train", *config.options.split(), "-p", "runs_dir", config.runs_dir]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
              "LOCAL_WORLD_SIZE": "2", "FAULT": fault}  # fmt: skip
    files = [folder / f"told.{rank}" for rank in range(2)]
    group = [
        PROCESSES.Process(
            target=train_one, args=(words, shared | {"RANK": rank, "LOCAL_RANK": rank}, told)
        )
        for rank, told in zip("01", files, strict=True)
    ]
    for process in group:
        process.start()
    for process in group:
        process.join()
    return [(p.exitcode, told.read_text()) for p, told in zip(group, files, strict=True)]
