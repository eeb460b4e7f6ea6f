"""What the pipeline plans, said by a process that has imported PyTorch, as the Snakefile does."""

import os
from pathlib import Path

import torch
from small_runs import PROCESSES, speak_to

ROOT = Path(__file__).resolve().parents[1]


def link_project(folder: Path) -> None:
    """Links to what the pipeline reads, without runs and results."""
    for name in ("Snakefile", "_config.yml", "pyproject.toml", "attnlib", "notebooks", "book"):
        (folder / name).symlink_to(ROOT / name)


def call_snakemake(words: list[str], folder: Path, has_gpu: bool, told: Path) -> None:
    """Its command line in ``folder``, on a machine that has CUDA or has none; output to a file."""
    speak_to(told)
    os.chdir(folder)
    torch.cuda.is_available = lambda: has_gpu
    from snakemake.cli import main

    main(words)


def dry_run(
    told: Path, target: str, *words: str, folder: Path = ROOT, has_gpu: bool = False
) -> tuple[int | None, str]:
    """Exit code and output of ``snakemake TARGET --dry-run --printshellcmds WORDS``."""
    options = [target, "--dry-run", "--printshellcmds", "--cores", "4", *words]
    process = PROCESSES.Process(target=call_snakemake, args=(options, folder, has_gpu, told))
    process.start()
    process.join()
    return process.exitcode, told.read_text(encoding="utf-8")
