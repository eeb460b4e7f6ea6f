"""AtResNet-18: the counts that pin it, its two readings of tokens, and its trunk."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from attnlib.models.atresnet import AtResNet, ClassBlock
from attnlib.models.layers import ClassAttention


@pytest.mark.parametrize(
    ("tokens", "added", "total"),
    [("channel", 4_764_928, 15_946_570), ("spatial", 3_123_968, 14_305_610)],
)
def test_parameter_counts_are_those_of_the_specification(
    tokens: str, added: int, total: int
) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in AtResNet(10, 224, tokens).parameters())
        plain = sum(p.numel() for p in resnet18(num_classes=10).parameters())
    assert count == total
    assert plain == 11_181_642
    assert count - plain == added


def test_an_encoder_with_n_features_has_512_n_plus_658688_parameters() -> None:
    for N in (3136, 784, 196, 49):
        with torch.device("meta"):
            block = ClassBlock(256, 8, N)
        assert sum(p.numel() for p in block.parameters()) == 512 * N + 658_688


@pytest.mark.parametrize(
    ("tokens", "shapes"),
    [
        ("channel", [(64, 64), (128, 16), (256, 4), (512, 1)]),
        ("spatial", [(64, 64), (16, 128), (4, 256), (1, 512)]),
    ],
)
def test_encoders_read_every_stage_after_the_one_before(
    tokens: str, shapes: list[tuple[int, int]]
) -> None:
    model = AtResNet(10, 32, tokens).eval()
    stages: list[torch.Tensor] = []
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    given: list[torch.Tensor] = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda module, args, output: stages.append(output))
    for encoder in model.encoders:
        encoder.register_forward_pre_hook(lambda module, args: seen.append(args))
        encoder.register_forward_hook(lambda module, args, output: given.append(output))
    features = model.forward_features(torch.rand(2, 3, 32, 32))
    assert [tuple(context.shape[1:]) for _, context in seen] == shapes
    torch.testing.assert_close(seen[0][0], model.cls_token.expand(2, -1, -1))
    for (cls_token, _), before in zip(seen[1:], given, strict=False):
        torch.testing.assert_close(cls_token, before)
    torch.testing.assert_close(features, given[-1][:, 0])
    for (_, context), output in zip(seen, stages, strict=True):
        positions_last = context if tokens == "channel" else context.transpose(1, 2)
        torch.testing.assert_close(positions_last, output.flatten(2))


def test_class_block_is_pre_norm_and_leaves_its_context_alone() -> None:
    torch.manual_seed(0)
    block, cls_token, context = ClassBlock(16, 2, 5), torch.randn(2, 1, 16), torch.randn(2, 3, 5)
    nn.init.normal_(block.norm1.weight)
    x = cls_token + block.attn(block.norm1(cls_token), context)
    torch.testing.assert_close(block(cls_token, context), x + block.mlp(block.norm2(x)))


def test_trunk_is_torchvision_resnet18_and_never_sees_the_token() -> None:
    theirs = resnet18().eval()
    model = AtResNet(10, 64).eval()
    trunk = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    fresh = set(model.state_dict()) - set(trunk)
    assert not set(trunk) - set(model.state_dict())
    assert {key.partition(".")[0] for key in fresh} == {"cls_token", "encoders", "fc"}
    model.load_state_dict(trunk, strict=False)
    outputs: list[torch.Tensor] = []
    for network in (model, theirs):
        network.layer4.register_forward_hook(lambda module, args, output: outputs.append(output))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        model(images)
        theirs(model.normalize(images))
    torch.testing.assert_close(*outputs)


def test_there_is_one_class_token_of_256_with_8_heads() -> None:
    model = AtResNet(10, 32)
    assert model.cls_token.shape == (1, 1, 256)
    layers = [m for m in model.modules() if isinstance(m, ClassAttention)]
    assert [layer.num_heads for layer in layers] == [8, 8, 8, 8]
    assert model.fc.in_features == 256


@pytest.mark.parametrize("img_size", [33, (40, 72), 1])
def test_channel_tokens_can_be_built_for_any_size(img_size: int | tuple[int, int]) -> None:
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    model = AtResNet(5, img_size).eval()
    assert model.img_size == img_size
    assert model(torch.rand(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize("size", [(64, 64), (16, 64)])  # the second has as many positions
def test_channel_tokens_refuse_images_of_another_size_with_the_reason(
    size: tuple[int, int],
) -> None:
    model = AtResNet(10, 32)
    with pytest.raises(ValueError, match=r"\(B, 3, 32, 32\).*positions of one image size.*spatial"):
        model(torch.rand(1, 3, *size))


def test_spatial_tokens_take_any_size() -> None:
    model = AtResNet(10, 32, "spatial").eval()
    for size in ((32, 32), (64, 48), (97, 33)):
        assert model(torch.rand(1, 3, *size)).shape == (1, 10)


def test_a_size_without_pixels_and_unknown_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="img_size: expected at least one pixel a side; got 0"):
        AtResNet(10, 0)
    with pytest.raises(ValueError, match="expected channel or spatial; got 'pixel'"):
        AtResNet(10, 32, "pixel")


@pytest.mark.parametrize("tokens", ["channel", "spatial"])
def test_both_readings_learn_sixteen_images(tokens: str) -> None:
    torch.manual_seed(0)
    model = AtResNet(8, 32, tokens)
    images, labels = torch.rand(16, 3, 32, 32), torch.arange(16) % 8
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
    assert model.cls_token.grad is not None
    assert model.cls_token.grad.any()
