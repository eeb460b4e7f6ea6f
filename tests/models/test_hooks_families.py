"""What is recorded of any family of timm: shapes alone, on the meta device, one model of each."""

import logging
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from attnlib.models.hooks import (
    NothingToRecordError,
    attention_rollout,
    feature_names,
    prefix_names,
    record_attention,
    record_features,
)

SMALL_FIRST = ("test_", "atto", "femto", "pico", "nano", "xxs", "_xs", "tiny", "mini", "_s", "_b0")


def one_of_each_family() -> Iterator[str]:
    """The name of a small model of each module of timm."""
    families = defaultdict(list)
    for name in timm.list_models():
        module = timm.models.model_entrypoint(name).__module__
        if module.startswith("timm."):  # and not one that another test has registered
            families[module].append(name)
    for names in families.values():
        small = [[n for n in names if hint in n] for hint in SMALL_FIRST]
        yield min(next((chosen for chosen in small if chosen), names), key=lambda n: (len(n), n))


FAMILIES = sorted({*one_of_each_family(), "vit_small_patch14_reg4_dinov2"})


def build(name: str) -> tuple[nn.Module, Tensor]:
    """A model without memory, and two images that it takes."""
    logging.getLogger("timm").setLevel(logging.ERROR)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of timm's build with functions that are deprecated
        model: Any = timm.create_model(name, num_classes=3).eval()
    return model, torch.empty(2, *model.pretrained_cfg["input_size"], device="meta")


@pytest.mark.parametrize("name", FAMILIES)
def test_features_and_attention_of_every_family_have_one_layout_or_are_refused(name: str) -> None:
    model, images = build(name)
    taken: dict[str, Tensor] = {}
    maps: list[Tensor] = []
    with ExitStack() as recorders, torch.no_grad():
        with suppress(NothingToRecordError):
            maps = recorders.enter_context(record_attention(model))
        with suppress(NothingToRecordError):
            taken = recorders.enter_context(record_features(model))
            assert feature_names(model)
        model(images)
    check_features(model, taken, images)
    assert all(weights.ndim == 4 for weights in maps)
    with suppress(NothingToRecordError):  # refused: not from all tokens to all
        assert attention_rollout(maps).shape == maps[0][:, 0].shape
    assert len(prefix_names(model)) == getattr(model, "num_prefix_tokens", 0)


def check_features(model: Any, taken: dict[str, Tensor], images: Tensor) -> None:
    known = {stage["num_chs"] for stage in getattr(model, "feature_info", [])}
    for place, feature in taken.items():
        assert feature.ndim in (3, 4) and len(feature) == 2, place
        if feature.ndim == 4:
            assert feature.shape[2] == feature.shape[3] <= images.shape[-1], place
    channels = {f.shape[1] if f.ndim == 4 else f.shape[2] for f in taken.values()}
    assert not known or not taken or known & channels, "no stage has the channels that timm gives"


MANY_OUTPUTS = ("test_mambaout", "mvitv2_tiny", "cait_xxs24_224", "twins_svt_small", "test_vit",
                "tnt_s_patch16_224", "swin_tiny_patch4_window7_224", "efficientvim_m1")  # fmt: skip


@pytest.mark.parametrize("name", MANY_OUTPUTS)
def test_stages_that_hand_on_lists_and_channels_last_are_recorded_and_not_refused(
    name: str,
) -> None:
    model, images = build(name)
    with torch.no_grad(), record_features(model) as features:
        model(images)
    assert {place.partition("[")[0] for place in features} == set(feature_names(model))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deit_tiny_patch16_224", ("class",)),
        ("deit_tiny_distilled_patch16_224", ("class", "distillation")),
        ("vit_small_patch14_reg4_dinov2", ("class", *["register"] * 4)),
        ("vit_medium_patch16_reg4_gap_256", ("register",) * 4),
        ("eva02_tiny_patch14_224", ("class",)),
        ("vit_base_patch16_siglip_224", ()),
        ("resnet18", ()),
    ],
)
def test_prefix_tokens_have_the_names_of_what_they_are(name: str, expected: tuple[str]) -> None:
    assert prefix_names(build(name)[0]) == expected
