"""Runs that start from the weights of another run or of a file (``initial_checkpoint``)."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import small_config

import attnlib as al
from attnlib import experiment
from attnlib.config import TrainConfig


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> al.Run:
    """A finished run to start from."""
    return al.run_experiment(small_config(tmp_path_factory.mktemp("first"), epochs=1, limit=64))


def from_run(start: object, runs_dir: object, **changes: object) -> TrainConfig:
    options = {"epochs": 2, "limit": 64, "initial_checkpoint": str(start)}
    return small_config(runs_dir, **options | changes)


def stop(epoch: object) -> None:
    raise KeyboardInterrupt


def test_training_begins_from_the_weights_and_says_which(first, tmp_path, monkeypatch):
    seen = []
    start = experiment.Training.start
    monkeypatch.setattr(
        experiment.Training, "start",
        lambda model, *rest: seen.append({k: v.clone() for k, v in model.state_dict().items()})
        or start(model, *rest),
    )  # fmt: skip
    notes: list[str] = []
    run = al.run_experiment(from_run(first.path, tmp_path), on_note=notes.append)
    theirs = load_file(first.path / "model.safetensors")
    assert all(torch.equal(seen[0][key], value) for key, value in theirs.items())
    sha256 = hashlib.sha256((first.path / "model.safetensors").read_bytes()).hexdigest()
    assert notes[0] == (
        f"initial_checkpoint: {first.name} ({sha256[:12]}...): {len(theirs)} tensors taken"
    )
    assert run.config["initial_checkpoint"] == first.name
    assert run.name.startswith("timm_small_vit-finetuned-digits-quick-s0-")
    assert run.record.initial_checkpoint == {"name": first.name, "sha256": sha256}


def test_a_run_by_name_by_folder_and_by_its_weights_is_one_start(first, tmp_path):
    starts = (first.name, first.path, first.path / "model.safetensors", f"{first.path}/")
    configs = [from_run(start, tmp_path) for start in starts]
    assert len({config.name for config in configs}) == 1
    assert str(first.path) not in configs[1].command + str(configs[1].values)
    assert from_run("another", tmp_path).name != configs[0].name
    assert from_run(None, tmp_path).name != configs[0].name


def test_going_on_loads_nothing_again(first, tmp_path, monkeypatch):
    weights = tmp_path / "start.safetensors"
    weights.write_bytes((first.path / "model.safetensors").read_bytes())
    config = from_run(weights, tmp_path / "runs")
    whole = al.run_experiment(replace(config, runs_dir=str(tmp_path / "whole")))
    with pytest.raises(KeyboardInterrupt):
        al.run_experiment(config, on_epoch=stop)
    weights.unlink()  # it is not even needed
    notes: list[str] = []
    run = al.run_experiment(config, on_note=notes.append)
    assert notes[0].startswith("resuming after epoch 1")
    assert not any("initial_checkpoint" in note for note in notes)
    assert run.record.initial_checkpoint == whole.record.initial_checkpoint
    ours, theirs = ((r.path / "model.safetensors").read_bytes() for r in (run, whole))
    assert ours == theirs


def test_another_file_of_the_same_name_is_refused(first, tmp_path):
    weights = tmp_path / "start.pth"
    state = load_file(first.path / "model.safetensors")
    torch.save(state, weights)
    config = from_run(weights, tmp_path / "runs", epochs=1)
    finished = from_run(weights, tmp_path / "finished", epochs=1)
    with pytest.raises(KeyboardInterrupt):
        al.run_experiment(config, on_epoch=stop)
    al.run_experiment(finished)
    torch.save({key: value + 1 for key, value in state.items()}, weights)
    for begun in (config, finished):
        with pytest.raises(ValueError, match=r"was begun from other weights of the name start\.pt"):
            al.run_experiment(begun)


def test_the_head_of_a_run_on_other_classes_is_fresh(first, tmp_path, monkeypatch):
    data = experiment.load_dataset("digits", limit=64)
    others = replace(data, class_names=tuple(f"class {name}" for name in data.class_names))
    monkeypatch.setattr(experiment, "load_dataset", lambda *_, **__: others)
    notes: list[str] = []
    al.run_experiment(from_run(first.path, tmp_path, epochs=1), on_note=notes.append)
    assert notes[0].endswith("tensors taken; fresh: head.weight, head.bias")


def test_what_is_not_there_is_refused_before_the_data_are_read(first, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "load_dataset", lambda *_, **__: pytest.fail("data were read"))
    bare = tmp_path / "bare" / first.name
    bare.mkdir(parents=True)
    for path in first.path.glob("*.json*"):
        (bare / path.name).write_bytes(path.read_bytes())
    for start, told in (
        (
            tmp_path / "absent.pth",
            r"(?s)initial_checkpoint: no finished run .*absent.* file of weights",
        ),
        ("absent", "initial_checkpoint: no finished run 'absent'"),
        (bare, "initial_checkpoint: .*has no weights .*; make them with: papermill"),
    ):
        with pytest.raises(ValueError, match=told):
            al.run_experiment(from_run(start, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_imagenet_weights_and_a_checkpoint_exclude_each_other():
    with pytest.raises(ValueError, match="initial_checkpoint: pretrained true starts from ImageN"):
        TrainConfig.from_params(initial_checkpoint="a.pth", pretrained=True)
    config = TrainConfig.from_params(initial_checkpoint="a.pth", profile="thesis")
    assert not config.pretrained and "pretrained" not in config.changed


def test_titles_say_where_a_run_started():
    start = "resnet18-npz-reference-s0-01234567"
    config = TrainConfig.from_params(model="atresnet18", initial_checkpoint=start)
    assert config.title == "AtResNet-18 (channel tokens), from a trained ResNet-18"
    config = TrainConfig.from_params(initial_checkpoint=str(Path("x") / "deit.pth"))
    assert config.title == "DeiT-T, from deit.pth"


def test_a_teacher_named_by_its_model_does_not_start_from_the_students_weights(tmp_path):
    config = from_run("a.pth", tmp_path, distillation="hard", teacher="resnet18")
    assert experiment.teacher_config(config).initial_checkpoint is None
