"""Configurations: profiles, names, and the command that makes a run again."""

import json
import shlex
from dataclasses import fields, make_dataclass, replace
from pathlib import Path

import pytest
import torch

from attnlib.config import MODELS, PROFILES, TITLES, TrainConfig
from attnlib.models.zoo import list_models
from attnlib.parameters import parameter

ROOT = Path(__file__).parents[1]
KEPT = sorted(path.parent for path in (ROOT / "results").glob("*/record.json"))


def told_by(command: str) -> dict[str, str]:
    """The parameters that a command gives with ``-p``."""
    words = shlex.split(command)
    return {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}


@pytest.fixture(params=[False, True], ids=["without a GPU", "with a GPU"])
def has_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A machine without and one with CUDA, as far as a configuration can see."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return request.param


def test_thesis_profile_is_the_thesis_recipe():
    config = TrainConfig.from_params(profile="thesis")
    assert (config.dataset, config.img_size, config.batch_size, config.epochs) == (
        "cifar10", 224, 128, 100,
    )  # fmt: skip
    assert (config.pretrained, config.augment, config.cutmix) == (True, "thesis", 1.0)
    assert config.lr == 1.25e-4 and config.weight_decay == 0.05 and config.warmup_epochs == 5


def test_thesis_has_39000_steps():
    assert 50_000 // PROFILES["thesis"]["batch_size"] * PROFILES["thesis"]["epochs"] == 39_000


def test_auto_is_colab_on_cuda_and_quick_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = TrainConfig.from_params()
    assert (config.profile, config.device, config.amp) == ("quick", "cpu", "auto")
    assert "profile  quick on cpu" in config.describe()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = TrainConfig.from_params()
    assert (config.profile, config.device, config.amp) == ("colab", "cuda", "auto")


def test_learning_rate_follows_the_batch_size_unless_given():
    assert TrainConfig.from_params(profile="thesis", batch_size=256).lr == 2.5e-4
    assert TrainConfig.from_params(profile="thesis", batch_size=256, lr=1e-4).lr == 1e-4


def test_fast_makes_the_batches_but_for_files_of_any_size():
    folder = {"dataset": "folder", "data_path": "x"}
    assert TrainConfig.from_params().input == "fast"
    assert TrainConfig.from_params(profile="thesis").input == "fast"
    config = TrainConfig.from_params(**folder)
    assert config.input == "reference" and "input" not in config.changed
    assert TrainConfig.from_params(**folder, input="fast").changed["input"] == "fast"


def test_name_is_a_function_of_what_shapes_the_result():
    config = TrainConfig.from_params(model="deit_t")
    assert config.name == TrainConfig.from_params(model="deit_t").name
    assert (
        replace(config, runs_dir="elsewhere", drive=True, device="cuda", log="x").name
        == config.name
    )
    other = {
        "model": "deit_s", "dataset": "npz", "data_path": "a.npz", "profile": "colab",
        "pretrained": True, "initial_checkpoint": "a.pth",
        "distillation": "soft", "teacher": "x", "temperature": 2.0,
        "alpha": 0.1, "epochs": 11, "batch_size": 33, "img_size": 64, "patch_size": 16,
        "tokens": "spatial", "stem": "cifar", "dynamic_img_size": True,
        "augment": "light", "input": "other", "lr": 1.0,
        "weight_decay": 0.1, "warmup_epochs": 2, "restarts": 1, "ema": 0.9, "drop_path": 0.2,
        "mixup": 0.3, "cutmix": 0.4, "label_smoothing": 0.5, "amp": "true", "seed": 1, "limit": 50,
        "accumulate": 2, "skip_nonfinite": 1, "compile": True, "opt": "sgd", "layer_decay": 0.5,
        "clip_grad": 1.0, "freeze": True, "grad_checkpointing": True,
    }  # fmt: skip
    assert set(other) == {f.name for f in fields(config)} - {"runs_dir", "drive", "device", "log"}
    for name, value in other.items():
        assert replace(config, **{name: value}).name != config.name, name


def test_name_does_not_hang_on_where_the_data_lie():
    here = TrainConfig.from_params(dataset="npz", data_path="a/data.npz")
    assert here.name == TrainConfig.from_params(dataset="npz", data_path="b/data.npz").name


@pytest.mark.parametrize(
    "params",
    [
        {"model": "deit_t"},
        {"model": "resnet18", "dataset": "npz", "data_path": "my data.npz", "augment": "light"},
        {"model": "deit_t", "distillation": "hard", "teacher": "resnet50", "epochs": 3},
        {"profile": "thesis", "model": "atresnet18", "tokens": "spatial", "pretrained": "false"},
    ],
)
def test_command_of_a_run_makes_the_same_run(params):
    config = TrainConfig.from_params(**params)
    words = shlex.split(config.command)
    assert words[:3] == ["papermill", "notebooks/train.ipynb", "OUT.ipynb"]
    assert TrainConfig.from_params(**told_by(config.command)).name == config.name


def test_a_teacher_that_is_a_run_is_named_by_its_model():
    run = "efficientnet_lite0-pretrained-npz-cpu-reference-s0-50fa289a"
    config = TrainConfig.from_params(distillation="hard", teacher=run)
    assert config.title == "DeiT-T, hard distillation from EfficientNet-Lite0"
    assert TrainConfig.from_params(distillation="soft", teacher="timm/resnet26").title == (
        "DeiT-T, soft distillation from timm/resnet26"
    )


def test_every_model_has_a_title_and_a_builder():
    assert set(TITLES) == set(MODELS) == set(list_models())


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.name)
def test_names_of_kept_records_stay_known(folder):
    values = json.loads((folder / "config.json").read_text())
    assert TrainConfig(**values).name == TrainConfig.from_values(values).name == folder.name


def test_a_kept_record_is_what_its_command_makes_without_a_gpu_and_with_one(has_gpu):
    assert KEPT
    for folder in KEPT:
        command = json.loads((folder / "record.json").read_text())["command"]
        assert TrainConfig.from_params(**told_by(command)).name == folder.name


def test_a_new_field_renames_no_run_unless_it_is_set():
    fresh = make_dataclass(
        "Later", [("clip", float, parameter(0.0, "x"))], bases=(TrainConfig,), frozen=True
    )
    for folder in KEPT:
        values = json.loads((folder / "config.json").read_text())
        assert fresh(**values).name == folder.name
        assert fresh(**values, clip=1.0).name != folder.name
    assert fresh.from_params().name == TrainConfig.from_params().name


def test_old_records_said_true_or_false_of_mixed_precision():
    values = json.loads((KEPT[0] / "config.json").read_text()) | {"amp": False}
    assert TrainConfig.from_values(values).amp == "auto"  # what nobody had asked for on a CPU
    assert TrainConfig.from_values(values | {"amp": True}).amp == "true"


def test_each_value_of_amp_has_a_name_of_its_own_the_same_on_every_machine(has_gpu):
    names = {amp: TrainConfig.from_params(profile="thesis", amp=amp).name
             for amp in (None, "auto", "true", "false", True, False)}  # fmt: skip
    assert names[None] == names["auto"] and names["true"] == names[True]
    assert names["false"] == names[False] and len(set(names.values())) == 3


@pytest.mark.parametrize("params", [{}, {"profile": "thesis"}, {"amp": True}, {"amp": "false"}])
def test_a_run_has_the_same_name_and_command_on_a_machine_without_a_gpu(monkeypatch, params):
    """A login node and its compute node agree, and a Colab run is found on a laptop."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    there = TrainConfig.from_params(**params)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = TrainConfig.from_params(**told_by(there.command))
    assert (here.name, here.command) == (there.name, there.command)
    assert ("amp" in told_by(here.command)) == ("amp" in params)


def test_a_teacher_by_its_folder_is_the_teacher_by_its_name(tmp_path, monkeypatch):
    name = "resnet18-digits-quick-s0-01234567"
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    by_name = TrainConfig.from_params(distillation="hard", teacher=name)
    for folder in (tmp_path / name, f"{tmp_path / name}/", f"../{name}", "."):
        config = TrainConfig.from_params(distillation="hard", teacher=str(folder))
        assert (config.name, config.command) == (by_name.name, by_name.command)
        assert (config.title, config.values) == (by_name.title, by_name.values)
    assert by_name.title == "DeiT-T, hard distillation from ResNet-18"
    model = TrainConfig.from_params(distillation="hard", teacher="timm/resnet26")
    assert model.values["teacher"] == "timm/resnet26"


def test_advice_can_be_followed_where_patches_do_not_fit_the_imagenet_weights():
    with pytest.raises(ValueError, match=r"of 16 pixels; got 8\. Leave out patch"):
        TrainConfig.from_params(model="deit_t", pretrained=True, patch_size=8)
    config = TrainConfig.from_params(model="deit_t", pretrained=True)  # so it was left out
    assert config.patch_size is None and set(config.changed) == {"pretrained"}
    assert TrainConfig.from_params(**told_by(config.command)).name == config.name


def test_a_name_with_timm_in_it_finds_its_folder():
    """``runs/{model}.ipynb``, as the book has it, is runs/timm/NAME.ipynb."""
    assert (ROOT / "runs" / "timm").is_dir()
