"""timm's attention, fused and explicit, through the same recorder; and gradients through it."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attnlib.models.hooks import fused_weights, record_attention, token_grid
from attnlib.models.vit import DeiT, EncoderSize, ViT

MINI = EncoderSize(24, 3, 3)
GENERATOR = torch.Generator().manual_seed(0)
WIDE = torch.rand(2, 3, 16, 24, generator=GENERATOR)  # a grid of 2 x 3 patches


def timm_vit(kind: str) -> nn.Module:
    from timm.models.beit import Beit
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    sizes = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3,
             "num_classes": 5}  # fmt: skip
    vit = partial(VisionTransformer, **sizes)
    model: nn.Module = {
        "none": partial(vit, class_token=False, global_pool="avg"),
        "class": vit,
        "distilled": partial(VisionTransformerDistilled, **sizes),
        "registers": partial(vit, reg_tokens=4),
        "norm": partial(vit, qk_norm=True),
        "bias": partial(Beit, **sizes, use_rel_pos_bias=True),
        "rope": partial(Eva, **sizes, use_rot_pos_emb=True, qkv_fused=False),
    }[kind]()
    with torch.no_grad():  # far from uniform, and no layer like another
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


def set_fused(model: nn.Module, fused: bool) -> nn.Module:
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    return model


KINDS = {"none": 0, "class": 1, "distilled": 2, "registers": 5, "norm": 1, "bias": 1, "rope": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_fused_and_explicit_attention_give_equal_maps_and_unchanged_answers(kind: str) -> None:
    model = timm_vit(kind)
    found = []
    for fused in (True, False):
        set_fused(model, fused)
        expected = model(WIDE)
        with record_attention(model) as maps:
            torch.testing.assert_close(model(WIDE), expected, atol=0, rtol=0)
        found.append(maps)
    assert [m.shape for m in found[0]] == [(2, 3, KINDS[kind] + 6, KINDS[kind] + 6)] * 3
    for fused_map, explicit in zip(*found, strict=True):
        torch.testing.assert_close(fused_map, explicit, atol=1e-6, rtol=0)
        torch.testing.assert_close(fused_map.sum(-1), torch.ones_like(fused_map[..., 0]))
        assert fused_map.std() > 0.02, "a uniform map would be equal whatever was computed"


@pytest.mark.parametrize("kind", KINDS)
def test_prefix_and_grid_of_timm_models_are_known(kind: str) -> None:
    assert token_grid(timm_vit(kind), (16, 24)) == (KINDS[kind], 2, 3)


@pytest.mark.parametrize(("build", "prefix"), [(ViT, 1), (DeiT, 2)])
def test_our_models_of_images_that_are_not_square(build: type[ViT], prefix: int) -> None:
    model = build(5, (16, 24), 8, MINI).eval()
    with record_attention(model) as maps:
        model(WIDE)
    assert [m.shape for m in maps] == [(2, 3, prefix + 6, prefix + 6)] * 3
    assert token_grid(model, (16, 24)) == (prefix, 2, 3)


def test_timm_and_ours_with_the_same_weights_give_the_same_maps() -> None:
    theirs = timm_vit("distilled")
    ours = DeiT(5, (16, 24), 8, MINI).eval()
    ours.normalize = nn.Identity()  # type: ignore[assignment]
    ours.load_state_dict(theirs.state_dict())
    with record_attention(theirs) as expected, record_attention(ours) as maps:
        theirs(WIDE)
        ours(WIDE)
    for one, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["class", "norm", "bias", "rope"])
def test_with_gradients_the_pass_goes_through_the_weights(kind: str, fused: bool) -> None:
    model = set_fused(timm_vit(kind), fused)
    expected = model(WIDE)
    with record_attention(model, gradients=True) as maps:
        logits = model(WIDE)
    torch.testing.assert_close(logits, expected)
    gradients = torch.autograd.grad(logits[:, 1].sum(), maps)
    for gradient, weights in zip(gradients, maps, strict=True):
        assert gradient.shape == weights.shape and gradient.abs().sum() > 0


def test_gradients_do_not_need_parameters_that_learn() -> None:
    model = timm_vit("class").requires_grad_(False)
    with record_attention(model, gradients=True) as maps:
        logits = model(WIDE)
    assert torch.autograd.grad(logits[:, 0].sum(), maps)[0].abs().sum() > 0


def test_gradient_of_the_last_layer_equals_a_finite_difference() -> None:
    """Adding to one weight of the last layer must move the logit as the gradient says."""
    model = timm_vit("class").double()
    images = WIDE.double()
    with record_attention(model, gradients=True) as maps:
        logits = model(images)
    gradient = torch.autograd.grad(logits[:, 2].sum(), maps)[-1]
    last = model.blocks[-1].attn  # type: ignore[index, union-attr]
    step, place = 1e-6, (0, 1, 0, 4)

    def moved(x: torch.Tensor, **_: object) -> torch.Tensor:
        q, k, v = last.qkv(x).reshape(2, 7, 3, 3, 8).permute(2, 0, 3, 1, 4)  # type: ignore[union-attr, operator]
        weights = (q @ k.mT * last.scale).softmax(dim=-1)  # type: ignore[union-attr, operator]
        weights[place] += step
        return last.proj((weights @ v).transpose(1, 2).reshape(2, 7, 24))  # type: ignore[union-attr, operator]

    last.forward = moved  # type: ignore[union-attr, assignment, method-assign]
    difference = (model(images)[:, 2].sum() - logits[:, 2].sum()) / step
    torch.testing.assert_close(difference.item(), gradient[place].item(), rtol=1e-3, atol=1e-6)


def q_k_v() -> Iterator[torch.Tensor]:
    return iter(torch.randn(3, 2, 4, 5, 8, generator=GENERATOR))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.1},
        {"attn_mask": torch.randn(5, 5, generator=GENERATOR)},
        {"attn_mask": torch.ones(5, 5).tril().bool()},
    ],
)
def test_fused_weights_times_values_are_the_fused_kernels_answer(options: dict) -> None:
    q, k, v = q_k_v()
    expected = F.scaled_dot_product_attention(q, k, v, **options)
    torch.testing.assert_close(fused_weights(q, k, v, **options) @ v, expected)


def test_fused_weights_of_grouped_queries_are_the_kernels() -> None:
    q, k, v = q_k_v()
    k, v = k[:, :2], v[:, :2]
    expected = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    weights = fused_weights(q, k, v, enable_gqa=True)
    torch.testing.assert_close(weights @ v.repeat_interleave(2, dim=1), expected)


def test_half_precision_is_recorded_in_float32_with_rows_that_sum_to_one() -> None:
    model = timm_vit("class")
    with torch.autocast("cpu", torch.bfloat16), record_attention(model) as maps:
        model(WIDE)
    for weights in maps:
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
