"""Layer by layer: the lens ends in the model's answer, and CKA equals its definition."""

from itertools import permutations

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

import attnlib as al
from attnlib.explain.layers import (
    centered_kernel_alignment,
    layer_similarity,
    lens_of_heads,
    logit_lens,
    measure_layers,
)
from attnlib.models.hooks import NothingToRecordError, record_features
from attnlib.models.vit import DeiT, EncoderSize, ViT

MINI = EncoderSize(24, 3, 3)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(5, 3, 16, 24, generator=GENERATOR)


def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "ViT": ViT(5, (16, 24), 8, MINI),
        "DeiT": DeiT(5, (16, 24), 8, MINI),
        "softmax": DeiT(5, (16, 24), 8, MINI, average="softmax"),
        "timm": timm.create_model("test_vit", img_size=(16, 32), num_classes=5),
    }


@pytest.mark.parametrize("name", ["ViT", "DeiT", "softmax", "timm"])
def test_lens_has_a_line_for_each_block_and_ends_in_the_models_answer(name: str) -> None:
    model = models()[name].train()
    images = torch.rand(2, 3, 16, 32 if name == "timm" else 24)
    lens = logit_lens(model, images)
    assert model.training
    assert lens.shape == (len(model.get_submodule("blocks")), 2, 5)  # type: ignore[arg-type]
    torch.testing.assert_close(lens[-1], model.eval()(images))
    assert (lens[0] - lens[-1]).abs().max() > 1e-3


def test_lens_of_a_block_is_the_answer_of_a_model_that_ends_there() -> None:
    model = models()["DeiT"].eval()
    lens = logit_lens(model, IMAGES)
    model.blocks = model.blocks[:2]  # type: ignore[index]
    torch.testing.assert_close(lens[1], model(IMAGES))


@pytest.mark.parametrize(
    ("name", "options"), [("resnet18", {}), ("cait_xxs24_224", {"img_size": 32})]
)
def test_lens_of_other_networks_is_refused(name: str, options: dict[str, int]) -> None:
    with pytest.raises(NothingToRecordError):
        logit_lens(timm.create_model(name, **options, num_classes=5), torch.rand(1, 3, 32, 32))


def hsic_by_definition(k: Tensor, m: Tensor) -> float:
    """The U-statistic of Song et al. (2012) over all ordered quadruples of images."""
    total = 0.0
    for i, j, q, r in permutations(range(len(k)), 4):
        total += float(k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]))
    n = len(k)
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def test_cka_equals_its_definition_in_one_batch_and_in_two() -> None:
    x, y = torch.randn(12, 3, generator=GENERATOR), torch.randn(12, 4, generator=GENERATOR)
    y[:, :3] += x
    for batches in ([(x, y)], [(x[:6], y[:6]), (x[6:], y[6:])]):
        grams = [(a @ a.T, b @ b.T) for a, b in ((a.double(), b.double()) for a, b in batches)]
        both = sum(hsic_by_definition(k, m) for k, m in grams)
        first = sum(hsic_by_definition(k, k) for k, _ in grams)
        second = sum(hsic_by_definition(m, m) for _, m in grams)
        expected = both / (first * second) ** 0.5
        assert centered_kernel_alignment(batches) == pytest.approx(expected, rel=1e-9)


def test_cka_sees_no_rotation_scale_or_shift_and_nothing_in_unrelated_features() -> None:
    x = torch.randn(400, 6, generator=GENERATOR)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=GENERATOR)).Q
    assert centered_kernel_alignment([(x, 3 * x @ rotation + 7)]) == pytest.approx(1, abs=1e-5)
    other = torch.randn(400, 6, generator=GENERATOR)
    small = list(zip(x.split(8), other.split(8), strict=True))
    assert abs(centered_kernel_alignment([(x, other)])) < 0.05
    assert abs(centered_kernel_alignment(small)) < 0.05  # the biased one says 0.5 here


def test_similarity_of_a_network_with_itself_is_one_on_the_diagonal() -> None:
    torch.manual_seed(0)
    model, other = models()["DeiT"], resnet18(num_classes=5)
    same, rows, columns = layer_similarity(model, model, [IMAGES])
    assert rows == columns == ["blocks.0", "blocks.1", "blocks.2"]
    torch.testing.assert_close(same.diagonal(), torch.ones(3))
    torch.testing.assert_close(same, same.T)
    pair, _, columns = layer_similarity(model, other, [IMAGES, IMAGES.flip(3)])
    assert pair.shape == (3, 5) and columns[-1] == "layer4"
    found = []
    for images in (IMAGES, IMAGES.flip(3)):
        with torch.no_grad(), record_features(model) as a, record_features(other.eval()) as b:
            model.eval()(images)
            other(images)
        found.append((a["blocks.1"].flatten(1), b["layer2"].flatten(1)))
    assert pair[1, 2] == pytest.approx(centered_kernel_alignment(found), abs=1e-6)


def test_jackknife_tells_how_far_the_mean_moves_with_other_images() -> None:
    networks = {name: models()[name] for name in ("DeiT", "ViT")}
    generator = torch.Generator().manual_seed(1)
    means, variances = [], []
    for _ in range(30):
        batches = torch.rand(10, 6, 3, 16, 24, generator=generator)
        pair = measure_layers(networks, [("DeiT", "ViT")], batches)["DeiT", "ViT"]
        parts = pair.pseudo_values()
        assert len(parts) == 10 and abs(parts.mean() - pair.mean()) < 0.05
        means.append(pair.mean())
        variances.append(parts.var(ddof=1) / len(parts))
    assert 0.6 < (sum(variances) / 30 / torch.tensor(means).var().item()) ** 0.5 < 1.6


def test_each_pair_of_several_networks_is_as_if_it_were_measured_alone() -> None:
    networks = models() | {"ResNet": resnet18(num_classes=5)}
    del networks["timm"]
    pairs = [("DeiT", "ResNet"), ("ViT", "DeiT")]
    found = measure_layers(networks, pairs, [IMAGES, IMAGES.flip(3)])
    for first, second in pairs:
        alone, rows, columns = layer_similarity(
            networks[first], networks[second], [IMAGES, IMAGES.flip(3)]
        )
        table = found[first, second].table()
        assert ([*table.index], [*table.columns]) == (rows, columns)
        torch.testing.assert_close(torch.tensor(table.to_numpy()), alone)


@pytest.mark.parametrize(
    "batches",
    [[], [(torch.rand(3, 2), torch.rand(3, 2))], [(torch.ones(6, 2), torch.rand(6, 2))],
     [(torch.rand(6, 2), torch.rand(5, 2))]],
)  # fmt: skip
def test_what_has_no_alignment_is_refused(batches: list[tuple[Tensor, Tensor]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        centered_kernel_alignment(batches)


def test_last_answer_of_each_heads_lens_is_its_own() -> None:
    torch.manual_seed(0)
    model = al.create_model("deit_t", 10, 32, patch_size=8)
    assert isinstance(model, DeiT)
    images = torch.rand(2, 3, 32, 32)
    lens = lens_of_heads(model, images)
    assert lens.shape == (2, 13, 2, 10)
    with torch.inference_mode():
        heads = model.eval().forward_heads(images)
    torch.testing.assert_close(lens[:, -1], torch.stack(heads, dim=1))
    assert not torch.allclose(lens[:, 0], lens[:, -1], atol=1e-3)


def test_first_answer_depends_on_no_patch_and_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = al.create_model("deit_t", 10, 32, patch_size=8, distilled=False).train()
    assert isinstance(model, ViT)
    first = lens_of_heads(model, torch.rand(2, 3, 32, 32))[:, 0]
    torch.testing.assert_close(first[0], first[1])  # the class token has seen nothing yet
    assert model.training and not model.norm._forward_pre_hooks
