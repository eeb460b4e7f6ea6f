"""Feature maps as published and as they are, and how dull they are."""

import pytest
import timm
import torch
from torch import nn
from torchvision.models import resnet18, resnet50

from attnlib.explain.feature_maps import (
    chained_convolutions,
    chained_features,
    dull_share,
    mean_range,
    real_features,
    robust_range,
    tell_between,
    tell_none,
)
from attnlib.models.hooks import NothingToRecordError
from attnlib.models.vit import DeiT, EncoderSize

MINI = EncoderSize(24, 3, 3)
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_published_pictures_chain_the_49_convolutions_of_a_resnet_50_and_nothing_else() -> None:
    model = resnet50().eval()
    features = chained_features(model, IMAGES)
    assert len(features) == 49
    x = model.conv1(IMAGES)
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in stage:
            x = block.conv3(block.conv2(block.conv1(x)))
    torch.testing.assert_close(features["layer4.2.conv3"], x)
    assert len(chained_features(resnet18(), IMAGES)) == 17


def test_an_efficientnet_is_chained_in_the_same_way() -> None:
    model = timm.create_model("tf_efficientnet_lite0").eval()
    features = chained_features(model, IMAGES)
    assert list(features) == list(chained_convolutions(model))
    assert len(features) == 49
    first = model.blocks[0][0]
    x = first.conv_pw(first.conv_dw(model.conv_stem(IMAGES)))
    torch.testing.assert_close(features["blocks.0.0.conv_pw"], x)


def test_published_pictures_chain_patches_and_blocks_without_token_position_and_norm() -> None:
    model = DeiT(5, (16, 24), 8, MINI).eval()
    with torch.no_grad():
        for parameter in (model.cls_token, model.dist_token, model.pos_embed):
            parameter.fill_(100)  # would show if they had a part in it
    features = chained_features(model, IMAGES)  # any size will do
    assert list(features) == ["patch_embed", "blocks.0", "blocks.1", "blocks.2"]
    assert all(maps.shape == (2, 24, 8, 12) for maps in features.values())
    x = model.blocks(model.patch_embed.proj(IMAGES).flatten(2).transpose(1, 2))
    torch.testing.assert_close(features["blocks.2"], x.transpose(1, 2).view(2, 24, 8, 12))


def test_real_features_are_the_networks_own_without_prefix() -> None:
    model = DeiT(5, (64, 96), 8, MINI)
    features = real_features(model.train(), IMAGES)
    assert model.training
    last = features["blocks.2"]
    assert last.shape == (2, 24, 8, 12)
    encoded = model.eval().forward_features(IMAGES)[:, 2:]
    torch.testing.assert_close(model.norm(last.flatten(2).transpose(1, 2)), encoded)


def test_a_model_of_another_family_is_refused() -> None:
    with pytest.raises(NothingToRecordError, match="only ViTs and convolutions in a row"):
        chained_features(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(4, 3, 1)), IMAGES)


def test_robust_range_is_the_share_of_the_grey_scale_that_nine_tenths_use() -> None:
    ramp = torch.linspace(-3, 7, 101).view(1, 101)
    assert robust_range(ramp).item() == pytest.approx(0.9)
    outlier = torch.linspace(0, 1, 101).view(1, 101).clone()
    outlier[0, 100] = 9  # one far pixel presses the others into a ninth of the scale
    assert robust_range(outlier).item() == pytest.approx(0.9 / 9)
    assert robust_range(torch.full((4, 4), 2.0)).item() == 0
    torch.testing.assert_close(robust_range(5 * ramp - 2), robust_range(ramp))


def test_dull_share_counts_maps_all_black_or_white() -> None:
    planes = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)) / 100
    planes[0, :3, 0, 0] = torch.tensor([1.0, -1.0, 1.0])  # black, white, black; the fourth is noise
    assert dull_share(planes) == 0.75
    assert dull_share(planes, 0.005) == 0
    assert mean_range(planes) == pytest.approx(robust_range(planes).sum().item() / 4)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold: expected a number in \(0, 1\]"):
        dull_share(torch.rand(1, 1, 4, 4), threshold)


def test_between_is_not_decided_by_less_than_what_counts_as_a_difference():
    assert tell_between(0.5, 0.4, 0.6, 0.02) == "holds"
    assert tell_between(0.7, 0.4, 0.6, 0.02) == "does not hold"
    assert tell_between(0.5, None, 0.6, 0.02).startswith("not asked")
    assert tell_between(0.61, 0.4, 0.6, 0.02) == tell_between(0.41, 0.4, 0.6, 0.02) == "not decided"


def test_that_there_is_none_holds_only_if_it_does_at_every_threshold():
    assert tell_none([0.0, 0.0, 0.0]) == "holds"
    assert tell_none([0.1, 0.2, 0.3]) == "does not hold"
    assert tell_none([0.0, 0.0, 0.3]) == "depends on the threshold"
