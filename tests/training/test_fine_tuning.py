"""Options of fine-tuning do what their names say: clipping, layer decay, SGD, a linear probe."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm.optim
import torch
from small_runs import small_config
from torch import nn

import attnlib as al
from attnlib import experiment
from attnlib.config import TrainConfig
from attnlib.models.modes import freeze_body, train_unfrozen
from attnlib.models.pretrained import head_names
from attnlib.models.zoo import create_model
from attnlib.training.loop import Trainer
from attnlib.training.optim import make_optimizer, parameter_groups, set_learning_rate
from attnlib.training.state import Training


def train(config: TrainConfig, model: nn.Module | None = None) -> Training:
    """Train ``config`` in memory, from the weights of ``model`` if there is one."""
    data = al.load_dataset("digits", limit=config.limit)
    own, objective = experiment.prepare(config, data)
    if model is not None:
        own.load_state_dict(model.state_dict())
    training = Training.start(own, config)
    list(Trainer(training, data, config, objective).train())
    return training


def small(**changes: Any) -> TrainConfig:
    return small_config("unused", **{"epochs": 1, "limit": 64, "ema": 0.0} | changes)


# --- clip_grad


def test_gradients_are_clipped_to_the_norm_by_torchs_function(monkeypatch):
    """Each update is made of gradients of the given norm, in the direction that they had."""
    seen = []
    update = torch.optim.AdamW.step

    def look(optimizer, *arguments):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        seen.append(float(torch.nn.utils.get_total_norm([p.grad for p in weights])))
        return update(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", look)
    training = train(small(clip_grad=0.1))
    assert seen == pytest.approx([0.1] * 2, rel=1e-4)
    assert training.grad_norm > 0.2, "the norm that is noted is that before clipping"


def test_a_norm_that_is_never_reached_clips_nothing():
    plain, clipped = train(small()), train(small(clip_grad=1e6))
    for ours, theirs in zip(plain.model.parameters(), clipped.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_in_float16_gradients_are_clipped_after_the_loss_scale_is_taken_out(monkeypatch):
    for module in ("training.state", "training.loop"):
        monkeypatch.setattr(f"attnlib.{module}.amp_dtype", lambda config: torch.float16)
    training = train(small(clip_grad=0.1))
    assert training.scaler.get_scale() > 1000
    assert 0.1 < training.grad_norm < 100


# --- layer_decay


def test_layers_of_a_deit_have_the_learning_rates_of_timms():
    ours = create_model("deit_t", 1000, 224)
    theirs = timm.create_model("deit_tiny_distilled_patch16_224")
    expected = timm.optim.param_groups_layer_decay(
        theirs, 0.05, no_weight_decay_list=theirs.no_weight_decay(), layer_decay=0.65
    )
    found = parameter_groups(ours, 0.05, 0.65)
    names = {id(p): name for model in (ours, theirs) for name, p in model.named_parameters()}

    def by_name(groups):
        return {
            names[id(p)]: (pytest.approx(group["lr_scale"]), group["weight_decay"])
            for group in groups
            for p in group["params"]
        }

    assert by_name(found) == by_name(expected)
    assert len({group["lr_scale"] for group in found}) == 14  # stem, 12 blocks, heads


@pytest.mark.parametrize("name", ["resnet18", "atresnet18"])
def test_layers_of_a_resnet_are_its_blocks_and_what_is_new_has_the_full_rate(name):
    model = create_model(name, 10, 32)
    scales = {id(p): g["lr_scale"] for g in parameter_groups(model, 0.05, 0.5) for p in g["params"]}
    found = {name: scales[id(p)] for name, p in model.named_parameters()}
    assert found["conv1.weight"] == 0.5**9 and found["layer1.0.bn1.weight"] == 0.5**8
    assert found["layer4.1.conv2.weight"] == 0.5 and found["fc.weight"] == 1
    assert all(scale == 1 for name, scale in found.items() if name.startswith(("enc", "cls")))


def test_the_schedule_keeps_the_ratios_between_layers():
    optimizer = make_optimizer(
        create_model("deit_t", 10, 32, patch_size=16), small(layer_decay=0.5)
    )
    set_learning_rate(optimizer, 0.1)
    set_learning_rate(optimizer, 0.2)
    rates = {group["lr"] for group in optimizer.param_groups}
    assert max(rates) == 0.2 and min(rates) == pytest.approx(0.2 * 0.5**13)


# --- opt


def test_sgd_is_timms():
    model = create_model("deit_t", 10, 32, patch_size=16)
    ours = make_optimizer(model, small(opt="sgd"))
    theirs = timm.optim.create_optimizer_v2(model, "sgd", lr=0.1)
    assert type(ours) is type(theirs)
    for name in ("momentum", "nesterov", "dampening"):
        assert ours.defaults[name] == theirs.defaults[name]


# --- freeze


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> al.Run:
    """A short run of a network with BatchNorm, to start from."""
    folder = tmp_path_factory.mktemp("begun")
    return al.run_experiment(
        TrainConfig.from_params(model="timm/resnet10t", epochs=1, limit=64, runs_dir=str(folder))
    )


def test_a_linear_probe_changes_the_head_and_nothing_else(begun, tmp_path):
    run = al.run_experiment(
        TrainConfig.from_params(
            model="timm/resnet10t", epochs=2, limit=64, lr=0.01, runs_dir=str(tmp_path),
            initial_checkpoint=str(begun.path), freeze=True, ema=0.5,
        )
    )  # fmt: skip
    before, after = (r.load_model().state_dict() for r in (begun, run))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert run.history[1]["train_loss"] < run.history[0]["train_loss"]


def test_a_probe_of_parts_that_the_weights_lack_is_refused(tmp_path):
    plain = al.run_experiment(
        TrainConfig.from_params(epochs=1, limit=32, patch_size=16, runs_dir=str(tmp_path))
    )
    config = TrainConfig.from_params(
        epochs=1, limit=32, patch_size=16, runs_dir=str(tmp_path), freeze=True,
        initial_checkpoint=str(plain.path), distillation="hard", teacher=str(plain.path),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"freeze: .* holds nothing for dist_token, pos_embed"):
        al.run_experiment(config)


@pytest.mark.parametrize("name", ["deit_t", "resnet18", "timm/resnet10t", "efficientnet_lite0"])
def test_a_frozen_body_is_in_evaluation_mode_and_its_head_is_trained(name):
    model = create_model(name, 10, 32)
    freeze_body(model, head_names(model))
    train_unfrozen(model)
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained <= {"head", "head_dist", "fc", "classifier"} and trained
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert layers and not any(layer.training for layer in layers)
    assert all(model.get_submodule(head).training for head in trained)


# --- grad_checkpointing


@pytest.mark.parametrize(
    ("name", "amp"),
    [
        ("deit_t", "false"),
        ("deit_t", "true"),
        ("atresnet18", "false"),
        ("timm/resnet10t", "false"),
        ("efficientnet_lite0", "false"),
    ],
)
def test_layers_computed_again_end_in_the_same_weights_and_averages(name, amp):
    options = {"limit": 32, "epochs": 2, "model": name, "amp": amp}
    # In bfloat16 attention is rounded otherwise; a step of AdamW moves a weight by up to lr.
    tolerance = {"rtol": 0.0, "atol": 4e-3} if amp == "true" else {}
    config = TrainConfig.from_params(**options, batch_size=16)
    plain = train(config)
    again = train(replace(config, grad_checkpointing=True))
    for (key, ours), theirs in zip(
        again.model.state_dict().items(), plain.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=key, **tolerance)
    average = next((b for k, b in again.model.named_buffers() if "running_mean" in k), None)
    assert average is None or average.abs().max() > 0, "averages must still be learned"


def saved_bytes(model: nn.Module) -> int:
    """Bytes that a forward pass keeps for the backward pass, but for weights."""
    storages: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.train()(torch.rand(2, 3, 64, 64))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return sum(t.nbytes for place, t in storages.items() if place not in weights)


@pytest.mark.parametrize(("name", "share"), [("deit_t", 0.2), ("atresnet18", 0.8)])
def test_layers_computed_again_keep_less(name, share):
    model: Any = create_model(name, 10, 64)
    before = saved_bytes(model)
    model.set_grad_checkpointing()
    assert saved_bytes(model) < share * before


# --- dynamic_img_size


@pytest.mark.parametrize("distilled", [False, True])
def test_images_of_another_size_are_taken_as_by_timm(distilled):
    title = f"deit_tiny_{'distilled_' if distilled else ''}patch16_224"
    theirs = timm.create_model(title, img_size=96, dynamic_img_size=True).eval()
    ours = create_model("deit_t", 1000, 96, distilled=distilled, dynamic_img_size=True).eval()
    theirs.load_state_dict(ours.state_dict())
    for rows, columns in ((96, 96), (128, 128), (64, 160)):
        images = torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = theirs(ours.normalize(images))
            torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="patch_size 16 does not tile an image of 100 x 96"):
        ours(torch.zeros(1, 3, 100, 96))


def test_a_run_of_any_size_keeps_that_when_it_is_loaded(tmp_path):
    config = TrainConfig.from_params(
        epochs=1, limit=32, patch_size=16, dynamic_img_size=True, runs_dir=str(tmp_path)
    )
    run = al.run_experiment(config)
    data = al.load_dataset("digits")
    larger = al.predict(run.load_model(), data.test, img_size=64)
    assert np.isfinite(larger.logits).all()
