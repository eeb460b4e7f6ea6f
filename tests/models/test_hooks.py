"""Recording through hooks: what is recorded is what the model computes, and nothing stays."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from attnlib.models.atresnet import AtResNet
from attnlib.models.hooks import (
    NothingToRecordError,
    TokenGrid,
    attention_rollout,
    feature_names,
    patches_to_grid,
    record_attention,
    record_features,
    token_grid,
)
from attnlib.models.layers import Attention
from attnlib.models.vit import DeiT, EncoderSize, ViT

MINI = EncoderSize(24, 3, 3)
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def deit() -> DeiT:
    torch.manual_seed(0)
    model = DeiT(10, 32, 8, MINI).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())


def test_recorded_weights_are_one_map_a_block_with_rows_that_sum_to_one(deit: DeiT) -> None:
    with record_attention(deit) as maps:
        deit(IMAGES)
    assert [tuple(m.shape) for m in maps] == [(2, 3, 18, 18)] * 3
    for weights in maps:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 18))
        assert not weights.requires_grad


def test_recorded_weights_reproduce_the_fused_output(deit: DeiT) -> None:
    layers = [m for m in deit.modules() if isinstance(m, Attention)]
    passed: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in layers:
        layer.register_forward_hook(lambda module, args, output: passed.append((args[0], output)))
    with record_attention(deit) as maps:
        deit(IMAGES)
    for layer, weights, (x, output) in zip(layers, maps, passed, strict=True):
        mixed = weights @ layer.project(x)[2]
        explicit = layer.proj(mixed.transpose(1, 2).flatten(2))
        torch.testing.assert_close(explicit, output, atol=1e-5, rtol=1e-5)


def test_recording_changes_neither_output_nor_model(deit: DeiT) -> None:
    before = {key: value.clone() for key, value in deit.state_dict().items()}
    expected = deit(IMAGES)
    with record_attention(deit), record_features(deit):
        assert torch.equal(deit(IMAGES), expected)
        assert hooks(deit) > 0
    assert hooks(deit) == 0
    assert all(torch.equal(value, before[key]) for key, value in deit.state_dict().items())


@pytest.mark.parametrize("recorder", [record_attention, record_features])
def test_an_exception_leaves_no_hook_behind(deit: DeiT, recorder: Callable) -> None:  # type: ignore[type-arg]
    with pytest.raises(RuntimeError, match="halfway"), recorder(deit):
        deit(IMAGES)
        raise RuntimeError("halfway")
    assert hooks(deit) == 0


def test_every_pass_extends_the_list_and_none_after(deit: DeiT) -> None:
    with record_attention(deit) as maps:
        deit(IMAGES)
        deit(IMAGES[:1])
    deit(IMAGES)
    assert [len(m) for m in maps] == [2, 2, 2, 1, 1, 1]


@pytest.mark.parametrize(("tokens", "counts"), [("channel", (64, 512)), ("spatial", (64, 1))])
def test_atresnet_attends_from_the_class_token_alone(tokens: str, counts: tuple[int, int]) -> None:
    model = AtResNet(10, 32, tokens).eval()
    with record_attention(model) as maps:
        model(IMAGES)
    assert len(maps) == 4
    assert maps[0].shape == (2, 8, 1, counts[0])
    assert maps[3].shape == (2, 8, 1, counts[1])
    for weights in maps:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 8, 1))


def test_a_model_without_attention_is_refused() -> None:
    with (
        pytest.raises(NothingToRecordError, match="ResNet has no attention layer"),
        record_attention(resnet18()),
    ):
        pass


def test_rollout_equals_the_product_written_out() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 5, 5).softmax(dim=-1) for _ in range(3)]
    expected = []
    for b in range(2):
        product = torch.eye(5)
        for weights in maps:
            mixed = sum(weights[b, h] for h in range(3)) / 3 + torch.eye(5)
            product = (mixed / 2) @ product  # rows of mixed sum to 2
        expected.append(product)
    rollout = attention_rollout(maps)
    torch.testing.assert_close(rollout, torch.stack(expected))
    torch.testing.assert_close(rollout.sum(dim=-1), torch.ones(2, 5))


def test_rollout_normalises_rows_that_do_not_sum_to_one() -> None:
    rollout = attention_rollout([torch.full((1, 1, 2, 2), 0.25)])  # as after dropping heads
    torch.testing.assert_close(rollout[0], torch.tensor([[5 / 6, 1 / 6], [1 / 6, 5 / 6]]))


def test_rollout_of_a_real_model_is_a_distribution_over_its_tokens(deit: DeiT) -> None:
    with record_attention(deit) as maps:
        deit(IMAGES)
    rollout = attention_rollout(maps)
    assert rollout.shape == (2, 18, 18)
    torch.testing.assert_close(rollout.sum(dim=-1), torch.ones(2, 18))


@pytest.mark.parametrize(
    "maps",
    [
        [],
        [torch.ones(1, 8, 1, 64)],
        [torch.ones(1, 3, 4, 4), torch.ones(1, 3, 5, 5)],
        [torch.ones(4, 4)],
    ],
)
def test_rollout_refuses_what_is_no_chain_of_square_maps(maps: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"\(B, h, N, N\)"):
        attention_rollout(maps)


def test_features_of_a_transformer_are_the_outputs_of_its_blocks() -> None:
    model = ViT(10, 32, 8, MINI).eval()
    with record_features(model) as features:
        model(IMAGES)
    assert list(features) == ["blocks.0", "blocks.1", "blocks.2"]
    assert all(f.shape == (2, 17, 24) and not f.requires_grad for f in features.values())
    last = model.head(model.norm(features["blocks.2"])[:, 0])
    torch.testing.assert_close(last, model(IMAGES))


@pytest.mark.parametrize("build", [resnet18, lambda: AtResNet(10, 32)])
def test_features_of_a_resnet_are_the_outputs_of_its_stages(
    build: Callable[[], nn.Module],
) -> None:
    model = build().eval()
    with record_features(model) as features:
        model(IMAGES)
    shapes = {name: tuple(f.shape[1:]) for name, f in features.items()}
    assert shapes == {
        "conv1": (64, 16, 16),
        "layer1": (64, 8, 8),
        "layer2": (128, 4, 4),
        "layer3": (256, 2, 2),
        "layer4": (512, 1, 1),
    }


def test_features_of_an_unknown_model_are_refused() -> None:
    with (
        pytest.raises(ValueError, match="Sequential has no stages"),
        record_features(nn.Sequential()),
    ):
        pass


class Breaking(nn.Module):
    """An attention layer that fails halfway."""

    fused_attn = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("inside the layer")


def test_an_exception_inside_a_layer_leaves_a_recorder_that_still_works(deit: DeiT) -> None:
    model = nn.Sequential(deit, Breaking())
    with record_attention(model) as maps:
        with pytest.raises(RuntimeError, match="inside the layer"):
            model(IMAGES)
        torch.rand(1, 1, 2, 2).softmax(dim=-1)  # outside of every layer: not to be recorded
        deit(IMAGES)
    assert len(maps) == 6
    assert hooks(model) == 0


def test_nothing_outside_the_models_layers_is_recorded(deit: DeiT) -> None:
    other = DeiT(10, 32, 8, MINI)
    with record_attention(deit) as maps:
        other(IMAGES)
        torch.rand(2, 3, 4, 4).softmax(dim=-1)
    assert maps == []


def test_grid_drops_the_prefix_and_goes_row_by_row() -> None:
    tokens = torch.tensor([9.0, 9, 0, 1, 2, 3, 4, 5])
    grid = patches_to_grid(tokens, TokenGrid(2, 2, 3))
    assert grid.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(NothingToRecordError, match=r"expected 1 \+ 2 x 3 tokens; got 8"):
        patches_to_grid(tokens, TokenGrid(1, 2, 3))
    with pytest.raises(NothingToRecordError, match="not made of patches"):
        token_grid(resnet18(), (32, 32))


def test_recorded_features_do_not_change_when_an_activation_in_place_follows() -> None:
    model = nn.Sequential()
    model.add_module("blocks", nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)))
    with record_features(model) as features:
        model(torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).clone())
    assert feature_names(model) == ["blocks.0", "blocks.1"]
    assert features["blocks.0"].flatten().tolist() == [-1, 2]
