"""Layers: attention against three other statements of it, blocks against PyTorch's and timm's."""

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath as TimmDropPath
from torch import Tensor, nn

from attnlib.models.layers import (
    Attention,
    Block,
    ClassAttention,
    DropPath,
    Mlp,
    Normalize,
    PatchEmbed,
    PostNormBlock,
    attention_weights,
    normalize_inside,
)

B, N, C, HEADS = 2, 7, 24, 3


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(B, N, C)


def randomize(module: nn.Module) -> None:
    """Move every parameter from where its layer starts, biases and norms included."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    ours.qkv.load_state_dict({"weight": theirs.in_proj_weight, "bias": theirs.in_proj_bias})
    ours.proj.load_state_dict(theirs.out_proj.state_dict())


def test_attention_equals_the_formula_written_out(x: Tensor) -> None:
    attention = Attention(C, HEADS)
    randomize(attention)
    q, k, v = (x @ attention.qkv.weight.T + attention.qkv.bias).chunk(3, dim=-1)
    d = C // HEADS
    heads = []
    for i in range(HEADS):  # eq. 2.3: every head attends in its own part of the width
        part = slice(i * d, (i + 1) * d)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / d**0.5  # eq. 2.1
        heads.append(scores.exp() / scores.exp().sum(dim=-1, keepdim=True) @ v[..., part])
    mixed = torch.cat(heads, dim=-1)  # eq. 2.2
    expected = mixed @ attention.proj.weight.T + attention.proj.bias
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_attention_equals_multihead_attention_with_copied_weights(x: Tensor) -> None:
    theirs = nn.MultiheadAttention(C, HEADS, batch_first=True)
    randomize(theirs)
    ours = Attention(C, HEADS)
    copy_attention(ours, theirs)
    expected, weights = theirs(x, x, x, average_attn_weights=False)
    torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.weights(x), weights, atol=1e-5, rtol=1e-5)


def test_attention_weights_reproduce_sdpa_and_sum_to_one(x: Tensor) -> None:
    attention = Attention(C, HEADS)
    randomize(attention)
    q, k, v = attention.project(x)
    weights = attention.weights(x)
    assert weights.shape == (B, HEADS, N, N)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, HEADS, N))
    fused = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(weights @ v, fused, atol=1e-5, rtol=1e-5)


def test_attention_weights_softmax_runs_over_keys() -> None:
    q, k = torch.randn(1, 1, 2, 4), torch.randn(1, 1, 5, 4)  # two queries, five keys
    weights = attention_weights(q, k)
    assert weights.shape == (1, 1, 2, 5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 1, 2))


def test_attention_refuses_heads_that_do_not_share_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads 5 does not divide embed_dim 24"):
        Attention(24, 5)
    with pytest.raises(ValueError, match="num_heads 0"):
        ClassAttention(24, 0, 8)


def test_class_attention_equals_multihead_attention_with_copied_weights(x: Tensor) -> None:
    context_dim = 10
    theirs = nn.MultiheadAttention(C, HEADS, kdim=context_dim, vdim=context_dim, batch_first=True)
    randomize(theirs)
    ours = ClassAttention(C, HEADS, context_dim)
    biases = theirs.in_proj_bias.chunk(3)
    projections = (theirs.q_proj_weight, theirs.k_proj_weight, theirs.v_proj_weight)
    for layer, weight, bias in zip((ours.q, ours.k, ours.v), projections, biases, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    ours.proj.load_state_dict(theirs.out_proj.state_dict())
    cls_token, context = x[:, :1], torch.randn(B, 5, context_dim)
    expected, weights = theirs(cls_token, context, context, average_attn_weights=False)
    torch.testing.assert_close(ours(cls_token, context), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.weights(cls_token, context), weights, atol=1e-5, rtol=1e-5)


def test_post_norm_block_equals_the_original_encoder_layer(x: Tensor) -> None:
    theirs = nn.TransformerEncoderLayer(
        C, HEADS, dim_feedforward=4 * C, dropout=0.0, layer_norm_eps=1e-6, batch_first=True
    )
    randomize(theirs)
    ours = PostNormBlock(C, HEADS)
    copy_attention(ours.attn, theirs.self_attn)
    pairs = ((ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2))
    for our_layer, their_layer in (*pairs, (ours.mlp.fc1, theirs.linear1)):
        our_layer.load_state_dict(their_layer.state_dict())
    ours.mlp.fc2.load_state_dict(theirs.linear2.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


def test_block_equals_pre_norm_encoder_layer_with_gelu(x: Tensor) -> None:
    theirs = nn.TransformerEncoderLayer(
        C, HEADS, 4 * C, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    randomize(theirs)
    ours = Block(C, HEADS)
    copy_attention(ours.attn, theirs.self_attn)
    pairs = ((ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2))
    for our_layer, their_layer in (*pairs, (ours.mlp.fc1, theirs.linear1)):
        our_layer.load_state_dict(their_layer.state_dict())
    ours.mlp.fc2.load_state_dict(theirs.linear2.state_dict())
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [Block, PostNormBlock])
def test_block_is_permutation_equivariant_until_positions_are_added(
    x: Tensor, kind: type[Block | PostNormBlock]
) -> None:
    block = kind(C, HEADS)
    randomize(block)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order], atol=1e-5, rtol=1e-5)
    positions = torch.randn(1, N, C)
    moved, still = block(x[:, order] + positions), block(x + positions)[:, order]
    assert (moved - still).abs().max() > 0.1


def test_mlp_has_a_hidden_layer_four_times_as_wide(x: Tensor) -> None:
    mlp = Mlp(C)
    assert mlp.fc1.out_features == 4 * C
    expected = mlp.fc2(F.gelu(mlp.fc1(x), approximate="none"))
    torch.testing.assert_close(mlp(x), expected)


def test_drop_path_equals_timm_for_one_seed(x: Tensor) -> None:
    x = x.repeat(32, 1, 1)
    torch.manual_seed(1)
    ours = DropPath(0.4)(x)
    torch.manual_seed(1)
    torch.testing.assert_close(ours, TimmDropPath(0.4)(x))
    dropped = (ours == 0).all(dim=-1).all(dim=-1)
    assert 0 < dropped.sum() < len(x)
    torch.testing.assert_close(ours[~dropped], x[~dropped] / 0.6)


def test_drop_path_keeps_the_mean() -> None:
    torch.manual_seed(0)
    assert DropPath(0.3)(torch.ones(20_000, 1)).mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_is_the_identity_in_evaluation(x: Tensor) -> None:
    assert DropPath(0.9).eval()(x) is x


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_drop_path_refuses_a_rate_outside_0_to_1(rate: float) -> None:
    with pytest.raises(ValueError, match="drop-path rate"):
        DropPath(rate)


def test_patch_embed_projects_each_patch_row_by_row() -> None:
    embed = PatchEmbed((8, 12), 4, C)
    images = torch.rand(B, 3, 8, 12)
    tokens = embed(images)
    assert embed.grid_size == (2, 3)
    assert tokens.shape == (B, 6, C)
    patch = images[:, :, :4, 8:].flatten(1)  # first row, third column
    expected = nn.functional.linear(patch, embed.proj.weight.flatten(1), embed.proj.bias)
    torch.testing.assert_close(tokens[:, 2], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("patch_size", [0, -4, 5, 16])
def test_patch_embed_refuses_patches_that_do_not_tile(patch_size: int) -> None:
    with pytest.raises(ValueError, match=rf"patch_size {patch_size} .*valid: 1, 2, 4$"):
        PatchEmbed((8, 12), patch_size, C)


def test_patch_embed_refuses_images_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, 8, 12\); got \(2, 3, 12, 8\)"):
        PatchEmbed((8, 12), 4, C)(torch.rand(2, 3, 12, 8))


def test_normalize_subtracts_and_divides_by_channel_and_has_no_state() -> None:
    normalize = Normalize((0.5, 0.0, 0.1), (0.5, 1.0, 0.2))
    images = torch.ones(1, 3, 2, 2)
    expected = torch.tensor([1.0, 1.0, 4.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(normalize(images), expected)
    assert not normalize.state_dict()


def test_normalize_refuses_a_std_of_zero() -> None:
    with pytest.raises(ValueError, match="std > 0"):
        Normalize((0.5,), (0.0,))


class Tiny(nn.Module):
    """A model of someone else's, which expects normalised images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Project: (B, 3, H, W) -> (B, 1, H, W)."""
        return self.conv(images)


def test_normalize_inside_changes_what_goes_in_but_not_the_state_dict() -> None:
    model, normalize = Tiny(), Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    keys, images = list(model.state_dict()), torch.rand(1, 3, 2, 2)
    expected = model(normalize(images))
    torch.testing.assert_close(normalize_inside(model, normalize)(images), expected)
    assert list(model.state_dict()) == keys


def test_normalize_inside_survives_deepcopy_and_a_change_of_device() -> None:
    model = normalize_inside(Tiny(), Normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
    images = torch.rand(1, 3, 2, 2)
    copied: Any = deepcopy(model)
    torch.testing.assert_close(copied(images), model(images))
    copied.normalize.mean.zero_()  # its own, not the original's
    assert not torch.allclose(copied(images), model(images))
    assert model.to(torch.float64)(images.double()).dtype == torch.float64
    assert model.to("meta")(images.to("meta").double()).device.type == "meta"


def test_sequential_is_normalised_first_and_only_once_and_keeps_its_keys():
    inner = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten())
    keys, images = list(inner.state_dict()), torch.rand(2, 3, 4, 4)
    expected = inner(Normalize()(images))
    outer = normalize_inside(inner, Normalize())
    assert list(outer.state_dict()) == keys
    torch.testing.assert_close(outer(images), expected)
