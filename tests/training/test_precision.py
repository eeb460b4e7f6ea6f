"""What ``amp auto`` means: bfloat16 on a CPU that computes it, where the model trains faster so."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

import attnlib as al
from attnlib import devices
from attnlib.config import TrainConfig
from attnlib.models.zoo import has_depthwise_convolutions
from attnlib.training.state import amp_dtype, precision_name


@pytest.fixture
def bfloat16(monkeypatch):
    """A processor that multiplies bfloat16 matrices."""
    monkeypatch.setattr("attnlib.training.state.cpu_computes_bfloat16", lambda: True)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("deit_t", torch.bfloat16),
        ("resnet18", torch.bfloat16),
        ("atresnet18", torch.bfloat16),
        ("efficientnet_lite0", None),
        ("timm/mobilenetv3_small_100", None),
        ("timm/convnext_atto", None),
        ("timm/resnext50_32x4d", torch.bfloat16),  # groups of four channels
    ],
)
def test_models_with_depthwise_convolutions_stay_in_float32(bfloat16, model, expected):
    assert amp_dtype(TrainConfig.from_params(model=model, img_size=32)) is expected


def test_a_processor_without_bfloat16_computes_in_float32():
    assert amp_dtype(TrainConfig.from_params()) is None


def test_what_was_asked_for_goes_before_the_rule(bfloat16):
    lite = TrainConfig.from_params(model="efficientnet_lite0", img_size=64, amp="true")
    assert amp_dtype(lite) is torch.bfloat16
    assert amp_dtype(TrainConfig.from_params(amp="false")) is None
    assert amp_dtype(replace(TrainConfig.from_params(), device="mps")) is None


def test_a_model_that_there_is_not_is_refused_elsewhere(bfloat16):
    assert amp_dtype(TrainConfig(model="timm/resnet10t", device="cpu")) is torch.bfloat16
    assert amp_dtype(TrainConfig(model="no_such_model", device="cpu")) is None


def test_looking_at_a_model_draws_nothing():
    has_depthwise_convolutions.cache_clear()
    before = torch.get_rng_state()
    assert not has_depthwise_convolutions("deit_t", 32, 8)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm/resnext50_32x4d"])
def test_depthwise_is_one_channel_a_group(name):
    model = timm.create_model("tf_efficientnet_lite0" if "lite" in name else "resnext50_32x4d")
    widths = {m.in_channels // m.groups for m in model.modules()
              if isinstance(m, nn.Conv2d) and m.groups > 1}  # fmt: skip
    assert (1 in widths) == has_depthwise_convolutions(name, 64)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, False),
        ({"_is_avx512_bf16_supported": True}, True),
        ({"_is_amx_tile_supported": True}, True),
        ({"_is_avx512_bf16_supported": None, "_is_amx_tile_supported": None}, False),
    ],
)
def test_the_processor_is_asked_through_pytorch(monkeypatch, flags, expected):
    usual = {"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}
    for name, flag in (usual | flags).items():
        if flag is None:  # another version of PyTorch has no such function
            monkeypatch.delattr(torch.cpu, name)
        else:
            monkeypatch.setattr(torch.cpu, name, lambda flag=flag: flag, raising=False)
    assert devices.cpu_computes_bfloat16() == expected


def test_a_run_says_what_auto_became_and_keeps_its_name(bfloat16, tmp_path):
    config = TrainConfig.from_params(
        epochs=1, limit=64, patch_size=16, device="cpu", runs_dir=str(tmp_path)
    )
    run = al.run_experiment(config)
    assert run.record.precision == precision_name(config) == "bfloat16 autocast"
    assert run.config["amp"] == "auto" and run.name == config.name
