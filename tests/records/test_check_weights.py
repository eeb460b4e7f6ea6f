"""Weights that are not those of their record neither teach nor start a run."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import attnlib as al
from attnlib.data.datasets import load_dataset
from attnlib.records.check_weights import check_accuracy, check_weights
from attnlib.records.record import refresh_hashes


@pytest.fixture(scope="module")
def taught(tiny_run, tmp_path_factory):
    """A run that has learned something, so that its accuracy can be lost."""
    config = al.TrainConfig.from_params(
        model="resnet18", profile="quick", epochs=2, limit=600, device="cpu",
        runs_dir=str(tmp_path_factory.mktemp("runs")),
    )  # fmt: skip
    run = al.run_experiment(config)
    assert run.record.metrics.val_accuracy.value > 0.4
    return run


@pytest.fixture
def teacher(taught, tmp_path):
    """A copy of it that a test may change."""
    ignored = shutil.ignore_patterns("state")
    return al.load_run(shutil.copytree(taught.path, tmp_path / taught.name, ignore=ignored))


def pupil(source: al.Run, **changes: object) -> al.TrainConfig:
    """The configuration of a run that learns from ``source``."""
    return al.TrainConfig.from_params(
        profile="quick", epochs=1, limit=600, device="cpu", runs_dir=str(source.path.parent),
        **changes,
    )  # fmt: skip


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content) // 2, len(content))] ^= 64
    path.write_bytes(content)


def spoil(teacher: al.Run) -> None:
    """Weights of noise, with the hashes that belong to them."""
    weights = load_file(teacher.path / "model.safetensors")
    noise = {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in weights.items()}
    save_file({k: v.abs() if "var" in k else v for k, v in noise.items()},
              teacher.path / "model.safetensors")  # fmt: skip
    refresh_hashes(teacher.path)


@pytest.mark.parametrize(("harm", "said"), [(flip_a_bit, "is damaged"), (spoil, "its weights cl")])
@pytest.mark.parametrize("use", ["teacher", "initial_checkpoint"])
def test_a_run_does_not_learn_of_weights_that_are_not_the_records(teacher, use, harm, said):
    harm(teacher.path / "model.safetensors" if harm is flip_a_bit else teacher)
    if use == "teacher":
        config = pupil(teacher, model="deit_t", distillation="hard", teacher=teacher.name)
    else:
        config = pupil(teacher, model="resnet18", initial_checkpoint=teacher.name)
    with pytest.raises(ValueError, match=said):
        al.run_experiment(config)
    assert not (Path(config.runs_dir) / config.name / "record.json").exists()


def test_weights_as_they_were_recorded_pass_also_in_half_precision(teacher):
    data = load_dataset("digits", limit=600)
    check_weights(teacher, data)
    check_accuracy(teacher, teacher.load_model(), data.val.subset(range(100)))
    weights = load_file(teacher.path / "model.safetensors")
    halves = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    save_file(halves, teacher.path / "model.safetensors")
    refresh_hashes(teacher.path)
    check_weights(al.load_run(teacher.path), data)


def test_hash_alone_counts_where_the_data_are_others(teacher):
    data = replace(load_dataset("digits", limit=600), sha256="0" * 64)
    check_weights(teacher, data)
    flip_a_bit(teacher.path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        check_weights(teacher, data)
