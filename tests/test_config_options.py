"""Every parameter changes the run, or is refused: none is taken into the name and ignored."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from small_runs import result, small_config
from timm.models import register_model

import attnlib as al
from attnlib.config import TrainConfig
from attnlib.experiment import teacher_config
from attnlib.models.layers import drop_paths
from attnlib.records.run import build_model

KINDS = ("deit_t", "resnet18", "atresnet18", "efficientnet_lite0", "timm/resnet10t", "timm/vgg11",
         "timm/vit_tiny_patch16_224")  # fmt: skip
# Of the model itself, with another value than the default.
OF_THE_MODEL = {"patch_size": 4, "tokens": "spatial", "stem": "cifar", "drop_path": 0.9,
                "dynamic_img_size": True}  # fmt: skip
# Of how it is trained.
OF_TRAINING = {
    "epochs": 3, "batch_size": 16, "augment": "none", "input": "reference", "lr": 1e-3,
    "weight_decay": 0.5, "warmup_epochs": 0, "restarts": 1, "ema": 0.5, "mixup": 0.5, "cutmix": 0.0,
    "label_smoothing": 0.1, "amp": "true", "seed": 1, "limit": 80,
    "opt": "sgd", "layer_decay": 0.5, "clip_grad": 0.1,
}  # fmt: skip
ELSEWHERE = {
    "model", "dataset", "data_path", "profile",  # what a run is about, and where its defaults are
    "pretrained", "initial_checkpoint", "img_size", "freeze",  # tests of their own
    "distillation", "teacher", "temperature", "alpha",  # refused without their use: below
    "accumulate", "compile", "grad_checkpointing",  # the same step, computed otherwise
    "skip_nonfinite",  # what is done when a loss is not finite
    "device", "runs_dir", "drive", "log",  # in no name
}  # fmt: skip


def test_every_parameter_is_looked_at():
    known = {*OF_THE_MODEL, *OF_TRAINING, *ELSEWHERE}
    assert known == {f.name for f in fields(TrainConfig)}


def behaviour(config: TrainConfig) -> list[Any]:
    """Shapes of a model's weights, the share of branches that it drops, and sizes that it takes."""
    with torch.device("meta"):
        model = build_model(config.values, 10)
    rates = [m.rate for m in drop_paths(model)]
    rates += [getattr(m, "drop_prob", None) for m in model.modules()]
    shapes = [(k, tuple(v.shape)) for k, v in model.state_dict().items()]
    return [shapes, rates, takes_size(model, 2 * config.img_size)]


def takes_size(model: torch.nn.Module, img_size: int) -> bool:
    try:
        model.eval()(torch.zeros(1, 3, img_size, img_size, device="meta"))
    except (ValueError, AssertionError):
        return False
    return True


@pytest.mark.parametrize("option", OF_THE_MODEL)
@pytest.mark.parametrize("model", KINDS)
def test_a_parameter_of_the_model_changes_it_or_is_refused(model, option):
    plain = TrainConfig.from_params(model=model)
    try:
        other = TrainConfig.from_params(model=model, **{option: OF_THE_MODEL[option]})
    except ValueError as refusal:
        assert str(refusal).startswith(f"{option}: ")
    else:
        assert other.name != plain.name and behaviour(other) != behaviour(plain)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that the others depart from."""
    config = small_config(tmp_path_factory.mktemp("usual"), epochs=2, limit=96)
    al.run_experiment(config)
    return result(config)


@pytest.mark.parametrize("option", OF_TRAINING)
def test_a_parameter_of_training_changes_what_comes_out(usual, tmp_path, option):
    options = {"epochs": 2, "limit": 96} | {option: OF_TRAINING[option]}
    config = small_config(tmp_path, **options)
    al.run_experiment(config)
    ours = result(config)
    assert ours["state"] != usual["state"]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"temperature": 2}, "temperature: has no use without distillation"),
        ({"alpha": 0.1}, "alpha: has no use without distillation"),
        ({"distillation": "hard", "temperature": 2}, "temperature: only soft distillation has one"),
        ({"data_path": "x"}, "data_path: the digits are inside scikit-learn"),
        ({"model": "resnet18", "stem": "cifar", "pretrained": True}, "stem: the ImageNet weights"),
        ({"model": "resnet18", "dynamic_img_size": True}, "dynamic_img_size: resnet18 has no pos"),
        ({"model": "resnet18", "grad_checkpointing": True}, "grad_checkpointing: resnet18 has no"),
        (
            {
                "model": "timm/small_vit",
                "grad_checkpointing": True,
                "initial_checkpoint": "x",
                "freeze": True,
            },
            "grad_checkpointing: has no use with freeze",
        ),
        (
            {"layer_decay": 0.5, "initial_checkpoint": "x", "freeze": True},
            "layer_decay: has no use",
        ),
        ({"drop_path": 0.5, "initial_checkpoint": "x", "freeze": True}, "drop_path: has no use"),
        (
            {"model": "timm/small_net", "layer_decay": 0.5},
            "layer_decay: timm/small_net does not say",
        ),
        ({"freeze": True}, "freeze: random weights would stay random"),
        ({"model": "atresnet18", "freeze": True, "pretrained": True}, "freeze: the encoders of"),
    ],
)
def test_a_parameter_without_use_is_refused(params, told):
    with pytest.raises(ValueError, match=told):
        TrainConfig.from_params(**params)


@pytest.mark.parametrize("model", ["resnet18", "atresnet18", "timm/vgg11"])
def test_the_profile_drops_no_branches_where_there_are_none(model):
    config = TrainConfig.from_params(model=model, profile="thesis")
    assert config.drop_path == 0 and "drop_path" not in config.changed
    assert TrainConfig.from_params(model="deit_t", profile="thesis").drop_path == 0.1


@register_model
def small_net(num_classes: int = 10, **options: Any) -> torch.nn.Module:
    """A network that says nothing of its layers."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, num_classes))


def test_sgd_has_the_learning_rate_and_the_decay_of_its_source_unless_others_are_given():
    config = TrainConfig.from_params(model="resnet18", profile="cpu-reference", dataset="digits",
                                     opt="sgd")  # fmt: skip
    assert (config.lr, config.weight_decay) == (0.05, 1e-4)  # He et al.: 0.1 for 256 images
    assert set(config.changed) == {"dataset", "opt"}
    given = TrainConfig.from_params(opt="sgd", lr=0.3, weight_decay=0.2)
    assert (given.lr, given.weight_decay) == (0.3, 0.2)


def test_a_frozen_body_drops_no_branches_unless_asked_to():
    config = TrainConfig.from_params(profile="thesis", freeze=True)
    assert config.drop_path == 0 and "drop_path" not in config.changed


def test_a_teacher_takes_over_only_what_its_model_has():
    student = TrainConfig.from_params(model="deit_t", distillation="hard", profile="thesis")
    own = TrainConfig.from_params(model="resnet18", profile="thesis")
    assert teacher_config(student) == own
    student = TrainConfig.from_params(
        model="resnet50", stem="cifar", distillation="hard", teacher="deit_t", patch_size=None
    )
    assert teacher_config(student).stem == "imagenet"
    student = TrainConfig.from_params(
        distillation="hard", grad_checkpointing=True, dynamic_img_size=True, pretrained=True,
        patch_size=None, img_size=224,
    )  # fmt: skip
    own = teacher_config(replace(student, freeze=True))
    assert not (own.freeze or own.grad_checkpointing or own.dynamic_img_size)
    student = TrainConfig.from_params(
        distillation="hard", teacher="timm/pit_ti_224", layer_decay=0.7
    )
    assert teacher_config(student).layer_decay is None, (
        "PiT does not say which weights form a layer"
    )


def test_a_batch_that_the_images_do_not_fill_is_refused_with_their_number(tmp_path):
    config = small_config(tmp_path, limit=200, batch_size=16384)
    told = "batch_size: 16384 images asked for, but there are 200 to train on.*at most 200"
    with pytest.raises(ValueError, match=told):
        al.run_experiment(config)


def test_a_batch_that_was_not_given_follows_the_limit_and_lr_follows_it():
    usual, less = (TrainConfig.from_params(**p) for p in ({}, {"limit": 16}))
    assert (less.batch_size, less.lr) == (16, usual.lr / 2)
    assert set(less.changed) == {"limit"}


def test_a_limit_above_the_number_of_images_is_refused_with_it(tmp_path):
    """The run would have another name, and the weights of one without a limit."""
    config = small_config(tmp_path, limit=5000)
    told = "limit: 5000 images asked for, but there are 1294 to train on; leave limit out"
    with pytest.raises(ValueError, match=told):
        al.run_experiment(config)
