"""What decays, and the learning rate at moments that are known."""

import itertools

import pytest
import timm
import torch
from timm.scheduler import CosineLRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from attnlib.models.zoo import create_model
from attnlib.training.optim import make_average, parameter_groups, update_average
from attnlib.training.schedule import learning_rate


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1e-6), (5, 1.243e-4), (50, 6.75e-5),
                                                 (99, 1.003e-5)])  # fmt: skip
def test_learning_rate_at_the_points_of_the_specification(epoch, expected):
    lr = learning_rate(epoch, peak=1.25e-4, epochs=100, warmup_epochs=5)
    assert lr == pytest.approx(expected, rel=1e-3)


def test_learning_rate_equals_timms_scheduler_at_every_epoch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.25e-4)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=100, lr_min=1e-5, warmup_t=5, warmup_lr_init=1e-6
    )
    for epoch in range(100):
        scheduler.step(epoch)
        ours = learning_rate(epoch, peak=1.25e-4, epochs=100, warmup_epochs=5)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), epoch


def test_restarts_return_to_the_peak():
    rates = [learning_rate(e / 10, peak=1e-3, epochs=12, restarts=2) for e in range(120)]
    peaks = [place / 10 for place, rate in enumerate(rates) if rate == 1e-3]
    assert peaks == [0, 4, 8]
    assert min(rates[:40]) == rates[39] and rates[-1] < 3e-5


def test_every_restart_is_at_the_peak_however_epochs_and_steps_divide():
    late = []
    for epochs, restarts, steps in itertools.product(range(2, 14), range(1, 9), range(1, 8)):
        if restarts >= epochs:
            continue
        for place in range(epochs * steps):
            turns = place * (restarts + 1)
            if turns % (epochs * steps) == 0:
                time = place // steps + place % steps / steps
                if learning_rate(time, peak=1e-3, epochs=epochs, restarts=restarts) != 1e-3:
                    late.append((epochs, restarts, steps, place))
    assert not late


def test_norms_biases_and_tokens_do_not_decay_and_matrices_do():
    model = create_model("deit_t", img_size=32, patch_size=16)
    decayed, exempt = parameter_groups(model, 0.05)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    exempt_names = {names[id(parameter)] for parameter in exempt["params"]}
    assert {"cls_token", "dist_token", "pos_embed", "norm.weight", "head.bias"} <= exempt_names
    assert "blocks.0.attn.qkv.weight" not in exempt_names
    assert "patch_embed.proj.weight" not in exempt_names
    assert len(decayed["params"]) + len(exempt["params"]) == len(names)


@pytest.mark.parametrize("name", ["deit_t", "vit_b_16", "resnet18", "atresnet18"])
def test_whatever_a_model_itself_exempts_is_exempt(name):
    model = create_model(name, img_size=32, **({"patch_size": 16} if "it" in name else {}))
    _, exempt = parameter_groups(model, 0.05)
    held = {id(parameter) for parameter in exempt["params"]}
    own = getattr(model, "no_weight_decay", set)()
    assert all(id(model.get_parameter(token)) in held for token in own)


def test_average_follows_its_decay_with_buffers_and_counts():
    model = torch.nn.BatchNorm1d(1)
    average = make_average(model, 0.9)
    model.weight.data.fill_(2.0)
    model.running_mean.fill_(1.0)
    model.num_batches_tracked.fill_(7)
    update_average(average, model, 0.9)
    assert average.weight.item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert average.running_mean.item() == pytest.approx(0.1)
    assert average.num_batches_tracked.item() == 7
    assert model.weight.item() == 2.0 and model.weight.requires_grad
    assert not average.weight.requires_grad and make_average(model, 0.0) is None


def test_average_equals_pytorchs():
    model = create_model("deit_t", img_size=32, patch_size=16)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    theirs.update_parameters(model)  # the first call copies
    ours = make_average(model, 0.99)
    for _ in range(3):
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter))
        theirs.update_parameters(model)
        update_average(ours, model, 0.99)
    for mine, other in zip(ours.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        "swin_tiny_patch4_window7_224",
        "levit_128s",
        "xcit_nano_12_p8_224",
        "tiny_vit_5m_224",
        "beit_base_patch16_224",
        "coat_tiny",
        "test_convnext",
        "naflexvit_base_patch16_gap",
    ],
)
def test_what_a_model_of_timm_exempts_from_decay_is_exempt(name: str) -> None:
    from timm.optim import param_groups_weight_decay

    with torch.device("meta"):
        model = timm.create_model(name)
    declared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    theirs = param_groups_weight_decay(model, 0.05, no_weight_decay_list=declared)
    exempt = {id(p) for p in parameter_groups(model, 0.05)[1]["params"]}
    assert {
        id(p) for group in theirs if not group["weight_decay"] for p in group["params"]
    } <= exempt
    assert sum(p.numel() for p in model.parameters() if id(p) in exempt) < 0.2 * sum(
        p.numel() for p in model.parameters()
    )
