"""ViT and DeiT: timm's models with timm's weights, the thesis's counts, both heads."""

import math
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from attnlib.models.layers import DropPath, Normalize
from attnlib.models.vit import BASE, LARGE, SMALL, TINY, DeiT, EncoderSize, ViT

MINI = EncoderSize(24, 2, 3)
slow = pytest.mark.slow

TIMM = [
    ("deit_tiny_patch16_224", ViT, TINY, 16),
    ("deit_small_patch16_224", ViT, SMALL, 16),
    ("deit_base_patch16_224", ViT, BASE, 16),
    ("deit_tiny_distilled_patch16_224", DeiT, TINY, 16),
    ("deit_small_distilled_patch16_224", DeiT, SMALL, 16),
    ("deit_base_distilled_patch16_224", DeiT, BASE, 16),
    ("vit_base_patch16_224", ViT, BASE, 16),
    ("vit_base_patch32_224", ViT, BASE, 32),
    pytest.param("vit_large_patch16_224", ViT, LARGE, 16, marks=slow),
]


def mini(kind: type[ViT] = DeiT, img_size: int | tuple[int, int] = 32, **options: float) -> ViT:
    torch.manual_seed(0)
    return kind(10, img_size, 8, MINI, **options)  # type: ignore[arg-type]


def randomize(model: nn.Module, alpha: float = 0.03) -> None:
    """Move every parameter from its initial value, so that none can be left out unnoticed."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=alpha)


@pytest.mark.parametrize(("name", "kind", "size", "patch_size"), TIMM)
def test_timm_state_dict_loads_strictly_and_gives_timm_logits(
    name: str, kind: type[ViT], size: EncoderSize, patch_size: int
) -> None:
    theirs = timm.create_model(name).eval()
    randomize(theirs)
    with torch.device("meta"):  # no weights of its own to fall back on
        ours = kind(1000, 224, patch_size, size, normalize=Normalize())
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    ours.normalize = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, logits = theirs(ours.normalize(images)), ours.eval()(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "size", "num_classes", "count"),
    [
        (DeiT, TINY, 10, 5_528_660),
        (ViT, TINY, 10, 5_526_346),
        (DeiT, TINY, 1000, 5_910_800),
        (ViT, TINY, 1000, 5_717_416),
        (ViT, SMALL, 1000, 22_050_664),
        (ViT, BASE, 1000, 86_567_656),
        (ViT, LARGE, 1000, 304_326_632),
    ],
)
def test_parameter_counts_are_those_of_the_specification(
    kind: type[ViT], size: EncoderSize, num_classes: int, count: int
) -> None:
    with torch.device("meta"):
        model = kind(num_classes, 224, 16, size)
    assert sum(p.numel() for p in model.parameters()) == count


def test_a_224_image_makes_196_patches_197_tokens_and_198_with_distillation() -> None:
    with torch.device("meta"):
        images = torch.empty(1, 3, 224, 224)
        vit, deit = ViT(), DeiT()
    assert vit.patch_embed(images).shape[1] == 196
    assert vit.forward_features(images).shape[1] == vit.pos_embed.shape[1] == 197
    assert deit.forward_features(images).shape[1] == deit.pos_embed.shape[1] == 198
    assert (vit.num_prefix_tokens, deit.num_prefix_tokens) == (1, 2)


@pytest.mark.parametrize("kind", [ViT, DeiT])
def test_images_need_not_be_square(kind: type[ViT]) -> None:
    model = mini(kind, img_size=(16, 40))
    assert model.img_size == (16, 40)
    assert model.grid_size == (2, 5)
    assert model(torch.rand(2, 3, 16, 40)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"\(B, 3, 16, 40\); got \(2, 3, 40, 16\)"):
        model(torch.rand(2, 3, 40, 16))


@pytest.mark.parametrize("kind", [ViT, DeiT])
def test_forward_gives_one_tensor_in_training_and_in_evaluation(kind: type[ViT]) -> None:
    model, images = mini(kind), torch.rand(2, 3, 32, 32)
    trained, evaluated = model.train()(images), model.eval()(images)
    torch.testing.assert_close(trained, evaluated)  # without stochastic depth


def test_positions_matter_only_through_the_positional_embedding() -> None:
    model = mini(ViT).eval()
    randomize(model, alpha=0.3)
    images = torch.rand(1, 3, 32, 32)
    turned = images.roll(8, dims=-1)  # by one patch: the same patches in another order
    with torch.no_grad():
        assert (model(images) - model(turned)).abs().max() > 0.01
        model.pos_embed.zero_()
    torch.testing.assert_close(model(images), model(turned), atol=1e-5, rtol=1e-5)


def test_deit_forward_averages_the_logits_of_its_heads() -> None:
    model, images = mini(), torch.rand(2, 3, 32, 32)
    assert isinstance(model, DeiT)
    heads = model.forward_heads(images)
    assert not torch.allclose(heads.class_logits, heads.dist_logits)
    expected = (heads.class_logits + heads.dist_logits) / 2
    torch.testing.assert_close(model(images), expected)
    x = model.forward_features(images)
    torch.testing.assert_close(heads.class_logits, model.head(x[:, 0]))
    torch.testing.assert_close(heads.dist_logits, model.head_dist(x[:, 1]))


def test_deit_can_average_softmaxes_and_the_two_averages_can_disagree() -> None:
    model = DeiT(3, 32, 8, MINI, average="softmax")
    # The class head is sure of class 0; the other thinks little of it, and slightly prefers 1.
    # The mean logit of class 0 is -1, of class 1 it is 0.5; its mean probability wins even so.
    says = torch.tensor([[8.0, 0.0, 0.0], [-10.0, 1.0, 0.0]])
    with torch.no_grad():
        for head, bias in zip((model.head, model.head_dist), says, strict=True):
            head.weight.zero_()
            head.bias.copy_(bias)
    images = torch.rand(1, 3, 32, 32)
    expected = says.softmax(dim=-1).mean(dim=0, keepdim=True)
    torch.testing.assert_close(model(images).exp(), expected)
    assert model(images).argmax().item() == 0
    model.average = "logits"
    torch.testing.assert_close(model(images), torch.tensor([[-1.0, 0.5, 0.0]]))
    assert model(images).argmax().item() == 1


def test_deit_refuses_an_unknown_average() -> None:
    with pytest.raises(ValueError, match="expected logits or softmax; got 'median'"):
        DeiT(10, 32, 8, MINI, average="median")


def test_drop_path_grows_linearly_with_depth_as_in_timm() -> None:
    model = ViT(10, 32, 8, EncoderSize(24, 4, 3), drop_path_rate=0.3)
    branches = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    rates = branches[::2]  # two to a block
    assert rates == branches[1::2]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])
    theirs: Any = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=4, drop_path_rate=0.3
    )
    assert [getattr(block.drop_path1, "drop_prob", 0.0) for block in theirs.blocks] == (
        pytest.approx(rates)
    )


def test_drop_path_drops_in_training_and_not_in_evaluation() -> None:
    model, images = mini(ViT, drop_path_rate=0.5), torch.rand(8, 3, 32, 32)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_same_seed_gives_equal_weights() -> None:
    assert all(map(torch.equal, mini().parameters(), mini().parameters()))


def test_initial_weights_are_distributed_as_in_timm() -> None:
    torch.manual_seed(0)
    theirs, ours = dict(timm.create_model("deit_tiny_distilled_patch16_224").named_parameters()), {}
    torch.manual_seed(0)
    ours = dict(DeiT().named_parameters())
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        expected = theirs[name]
        if parameter.numel() > 1000:
            assert parameter.std().item() == pytest.approx(expected.std().item(), rel=0.1), name
        else:
            assert math.isclose(parameter.mean().item(), expected.mean().item(), abs_tol=0.02), name


@pytest.mark.parametrize("kind", [ViT, DeiT])
def test_model_overfits_eight_images(kind: type[ViT]) -> None:
    model = mini(kind)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    assert overfit(model, images, labels) < 0.1


def overfit(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss = torch.tensor(math.inf)
    for _ in range(100):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()
