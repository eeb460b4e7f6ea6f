"""The stem of ResNets at small sizes: what it keeps of the image, and what it leaves alone."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import attnlib as al
from attnlib.explain.attribution import layer_grid
from attnlib.models.pretrained import start_from
from attnlib.models.zoo import create_model

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 8), ("cifar", 32)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "atresnet18"])
def test_cifar_stem_keeps_every_position(name, stem, side):
    model = create_model(name, 10, 32, stem=stem).eval()
    with torch.no_grad(), al.record_features(model) as features:
        assert model(IMAGES).shape == (2, 10)
    assert features["layer1"].shape[-2:] == (side, side)
    assert features["layer4"].shape[-2:] == (side // 8, side // 8)


def test_imagenet_stem_is_torchvisions_with_the_same_draws():
    torch.manual_seed(0)
    theirs = resnet18(num_classes=10).state_dict()
    torch.manual_seed(0)
    ours = create_model("resnet18", 10, 32).state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items())


def test_cifar_stem_is_drawn_as_torchvision_draws_convolutions():
    conv1 = create_model("resnet18", 10, 32, stem="cifar").conv1
    assert isinstance(conv1, nn.Conv2d) and conv1.bias is None
    assert (conv1.kernel_size, conv1.stride, conv1.padding) == ((3, 3), (1, 1), (1, 1))
    assert conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_positions_that_atresnet_attends_to_are_those_of_its_stages(stem):
    model = create_model("atresnet18", 10, 32, tokens="spatial", stem=stem).eval()
    with torch.no_grad(), al.record_attention(model) as maps:
        model(IMAGES)
    for layer, weights in enumerate(maps):
        grid = layer_grid(model, layer, (32, 32))
        assert grid is not None and weights.shape[-1] == grid.rows * grid.columns


def test_trunks_of_different_stems_do_not_fit():
    with pytest.raises(ValueError, match=r"conv1\.weight: \(64, 3, 7, 7\), expected \(64, 3, 3, 3"):
        start_from(
            create_model("resnet18", 10, 32, stem="cifar"),
            create_model("resnet18", 10, 32).state_dict(),
        )


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("resnet18", {"stem": "small"}, "stem: expected imagenet or cifar; got 'small'"),
        ("deit_t", {"stem": "cifar"}, "stem: deit_t has none to choose"),
        ("resnet18", {"stem": "cifar", "pretrained": True}, "stem: the ImageNet weights"),
    ],
)
def test_a_stem_that_is_not_to_be_had_is_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        create_model(name, 10, 32, **options)
