"""What the run record keeps of attention and features: small, true, and no pixels."""

import numpy as np
import pytest
import torch
from torch import nn

import attnlib as al
from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.data.datasets import Split
from attnlib.explain.attribution import trace
from attnlib.models.atresnet import AtResNet
from attnlib.models.hooks import NothingToRecordError
from attnlib.models.vit import DeiT, EncoderSize
from attnlib.records.samples import (
    prefix_rows,
    read_rows,
    recorded_planes,
    sample_attention,
    sample_features,
)

MINI = EncoderSize(24, 2, 3)


@pytest.fixture(scope="module")
def split() -> Split:
    return al.load_dataset("digits").test.subset(range(3, 8))


@pytest.fixture(scope="module")
def deit() -> DeiT:
    torch.manual_seed(0)
    model = DeiT(10, 32, 8, MINI)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.eval()


def inputs(split: Split, size: int = 32) -> torch.Tensor:
    from PIL import Image

    return torch.stack([eval_transform(size)(Image.fromarray(each)) for each in split.images])


def test_recorded_maps_are_the_models_own_to_a_grey_level(deit: DeiT, split: Split) -> None:
    arrays = sample_attention(deit, split, 32)
    traced = trace(deit, inputs(split))
    assert arrays["indices"].tolist() == split.indices.tolist()
    assert arrays["grid"].tolist() == [4, 4]
    for name, kind, layer, token in (
        ("block_00", "mean", 0, 0),
        ("block_01", "mean", 1, 0),
        ("block_01", "distillation", 1, 1),
        ("rollout", "rollout", 1, 0),
    ):
        planes = recorded_planes(arrays, 32, name, token)
        expected = traced.plane(kind, layer)
        assert (planes - expected).abs().max() < expected.max() / 100
        assert (planes - expected).abs().max() < expected.std() / 3


def test_the_record_is_small_and_holds_no_pixels(deit: DeiT, split: Split) -> None:
    arrays = sample_attention(deit, split, 32) | sample_features(deit, split, 32)
    assert sum(each.nbytes for each in arrays.values()) < 40_000
    kinds = {name: each.dtype for name, each in arrays.items() if "peak" not in name}
    assert {str(kind) for kind in kinds.values()} == {"uint8", "int64"}
    pixels = {each.tobytes() for each in split.images}
    assert not any(plane.tobytes() in pixels for each in arrays.values() for plane in each)


def test_rows_read_back_sum_to_one(deit: DeiT, split: Split) -> None:
    arrays = sample_attention(deit, split, 32)
    for name in ("block_00", "rollout"):
        rows = read_rows(arrays, name)
        assert rows.shape == (5, 1 if name == "rollout" else 3, 2, 18)
        np.testing.assert_allclose(rows.sum(axis=-1), 1, atol=0.05)


def test_records_without_a_grid_are_of_square_images(deit: DeiT, split: Split) -> None:
    arrays = sample_attention(deit, split, 32)
    older = {k: v for k, v in arrays.items() if k not in ("grid", "rollout", "rollout_peak")}
    expected = recorded_planes(arrays, 32, "block_01")
    assert torch.equal(recorded_planes(older, 32, "block_01"), expected)
    with pytest.raises(ValueError, match="no map 'rollout' in this record; it has: block_00, bl"):
        recorded_planes(older, 32, "rollout")
    with pytest.raises(ValueError, match="of token 2 in 'block_01'"):
        recorded_planes(arrays, 32, "block_01", token=2)


def test_a_convolutional_network_has_features_and_no_attention(split: Split) -> None:
    from torchvision.models import resnet18

    model = resnet18()
    with pytest.raises(NothingToRecordError, match="no attention layer"):
        sample_attention(model, split, 32)
    assert list(sample_features(model, split, 32)) == [
        "indices", "conv1", "layer1", "layer2", "layer3", "layer4",
    ]  # fmt: skip


def test_a_model_of_no_known_family_has_nothing_to_record(split: Split) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    for sample in (sample_attention, sample_features):
        with pytest.raises(NothingToRecordError):
            sample(model, split, 32)


def test_any_other_error_is_not_taken_for_a_model_without_attention(split: Split) -> None:
    """A model for another image size raises ValueError in its pass: that must be seen."""
    for sample in (sample_attention, sample_features):
        with pytest.raises(ValueError, match="expected images"):
            sample(DeiT(10, 64, 8, MINI), split, 32)


def test_windows_are_left_out_for_they_are_not_over_the_image(split: Split) -> None:
    from timm.models.swin_transformer import SwinTransformer

    model = SwinTransformer(
        img_size=32, patch_size=4, window_size=4, embed_dim=12, depths=(2,), num_heads=(3,)
    )
    with pytest.raises(NothingToRecordError, match="within windows"):
        sample_attention(model, split, 32)


@pytest.mark.parametrize("tokens", ["channel", "spatial"])
def test_atresnets_class_token_is_recorded_at_each_stage(tokens: str, split: Split) -> None:
    arrays = sample_attention(AtResNet(10, 32, tokens), split, 32)
    assert [arrays[f"block_{stage:02}"].shape for stage in range(4)] == [
        (5, 8, 1, n) for n in ((64, 128, 256, 512) if tokens == "channel" else (64, 16, 4, 1))
    ]
    assert "rollout" not in arrays


def test_a_model_without_prefix_records_the_mean_of_its_patches(split: Split) -> None:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=10,
        class_token=False, global_pool="avg",
    )  # fmt: skip
    arrays = sample_attention(model, split, 32)
    expected = trace(model, inputs(split)).row("mean")
    rows = torch.from_numpy(read_rows(arrays, "block_01").mean(axis=1)[:, 0])
    torch.testing.assert_close(rows, expected, atol=1e-3, rtol=0)
    assert recorded_planes(arrays, 32, "block_01").shape == (5, 32, 32)


def test_registers_alone_are_not_taken_for_a_class_token():
    model = torch.nn.Module()
    model.num_prefix_tokens, model.cls_token = 2, None  # type: ignore[assignment]
    weights = torch.rand(1, 3, 6, 6)
    assert torch.equal(prefix_rows(model, weights), weights.mean(dim=2, keepdim=True))
    model.cls_token = torch.zeros(1, 1, 4)  # type: ignore[assignment]
    assert torch.equal(prefix_rows(model, weights), weights[:, :, :2])
