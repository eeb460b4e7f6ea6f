"""Errata about methods and words: code, installed libraries and the bibliography show them."""

import hashlib
import inspect
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import attnlib as al
from attnlib.config import PROFILES
from attnlib.data.downloads import cache_dir
from attnlib.human.sources import CUE_CONFLICT_FOLDER
from attnlib.losses import hard_distillation_loss, soft_target_cross_entropy
from attnlib.models.hooks import attention_rollout, record_attention, record_features
from attnlib.models.layers import Block, PostNormBlock
from attnlib.models.vit import DeiT, EncoderSize
from attnlib.models.zoo import VARIANTS
from attnlib.stats.consistency import interclass_errors, observed_agreement
from attnlib.thesis.counts import Values
from attnlib.thesis.statements import read_errata, read_thesis
from attnlib.training.schedule import MIN_LR, WARMUP_LR, learning_rate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def values() -> Values:
    return Values(read_thesis(), read_errata())


@pytest.fixture(scope="module")
def deit() -> nn.Module:
    torch.manual_seed(0)
    return al.create_model("deit_t", 10).eval()


def reference(number: int) -> str:
    """The bibliography's entry with this number in the thesis."""
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=@)", text)
    (entry,) = [e for e in entries if re.search(rf"thesis\s*=\s*\{{{number}\}}", e)]
    return entry


def timm_source(pattern: str) -> list[str]:
    import timm

    files = Path(timm.__file__).parent.rglob("*.py")
    return [path.name for path in files if re.search(pattern, path.read_text("utf-8"))]


def test_erratum_01_reference_19_is_regnet(values):
    document = values.thesis.document
    assert document["teacher_in_table_text"] != document["teacher_in_method"]
    cited = reference(document["teacher_cited"])
    assert "Radosavovi" in cited and "network design spaces" in cited
    assert "Radosavovic" in VARIANTS["regnety_160"].citation  # RegNetY-16GF
    assert "residual learning" in reference(7)  # what ResNet-18 would cite


def test_erratum_10_vit_block_is_pre_norm():
    from timm.models.vision_transformer import Block as PublishedBlock

    torch.manual_seed(0)
    ours, original = Block(64, 4), PostNormBlock(64, 4)
    original.load_state_dict(ours.state_dict())
    published = PublishedBlock(64, 4, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
    published.load_state_dict(ours.state_dict())
    classic = nn.TransformerEncoderLayer(
        64, 4, 256, dropout=0.0, activation="relu", layer_norm_eps=1e-6, batch_first=True,
        norm_first=False,
    )  # fmt: skip
    renamed = {"attn.qkv.": "self_attn.in_proj_", "attn.proj.": "self_attn.out_proj.",
               "mlp.fc": "linear"}  # fmt: skip
    state = {}
    for key, value in original.state_dict().items():
        for old, new in renamed.items():
            key = key.replace(old, new)
        state[key] = value
    classic.load_state_dict(state)
    x = torch.randn(2, 5, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), published(x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(original(x), classic(x), rtol=1e-4, atol=1e-5)
        assert (ours(x) - original(x)).abs().max() > 0.1


def test_erratum_13_fine_tuned_resnet50_is_another_network():
    import timm
    from torchvision import models

    weights = timm.get_pretrained_cfg("resnetv2_50x1_bit.goog_in21k")
    assert weights.num_classes == 21843  # ImageNet-21k
    with torch.device("meta"):
        bit = timm.create_model("resnetv2_50x1_bit", num_classes=1000)
        resnet = models.resnet50()
    assert any(isinstance(m, nn.GroupNorm) for m in bit.modules())
    assert not any(isinstance(m, nn.GroupNorm) for m in resnet.modules())
    published = (
        cache_dir() / CUE_CONFLICT_FOLDER / "texture-shape_cue-conflict_resnet50_session-1.csv"
    )
    if published.exists():  # Tuli's file of ResNet-50 is Geirhos's, by its name in git
        content = published.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        assert blob.startswith("e948f3a")
    assert sum(p.numel() for p in bit.parameters()) != sum(p.numel() for p in resnet.parameters())


def test_erratum_15_teacher_label_is_hard():
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 10), torch.randn(6, 10)
    loss = hard_distillation_loss(student, teacher)
    torch.testing.assert_close(loss, F.cross_entropy(student, teacher.argmax(dim=1)))
    torch.testing.assert_close(loss, hard_distillation_loss(student, 5 * teacher))
    soft = [soft_target_cross_entropy(student, (t * teacher).softmax(dim=1)) for t in (1, 5)]
    assert abs(soft[0] - soft[1]) > 0.01  # soft labels would tell how sure the teacher is
    assert abs(soft[0] - loss) > 0.01


def test_erratum_16_timm_has_no_build_function(values):
    stated = values.thesis.document["augmentation"]
    assert timm_source(rf"\b{stated}\b") == []
    assert timm_source(r"def create_transform\(") == ["transforms_factory.py"]


def test_erratum_17_timm_drops_jitter_and_vertical_flip():
    from timm.data import create_transform

    assert inspect.signature(create_transform).parameters["vflip"].default == 0
    deit = {"input_size": 224, "is_training": True, "color_jitter": 0.3, "re_prob": 0.25}
    randaugment = str(create_transform(**deit, auto_augment="rand-m9-mstd0.5-inc1"))
    assert "RandAugment" in randaugment and "RandomHorizontalFlip" in randaugment
    assert "ColorJitter" not in randaugment and "RandomVerticalFlip" not in randaugment
    assert "ColorJitter" in str(create_transform(**deit))
    assert "RandomVerticalFlip" in str(create_transform(**deit, vflip=0.5))


def test_erratum_18_schedule_has_no_restart(values):
    from timm.scheduler import create_scheduler_v2

    recipe = PROFILES["thesis"]
    epochs, warmup = recipe["epochs"], recipe["warmup_epochs"]
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=recipe["lr"])
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", num_epochs=epochs, warmup_epochs=warmup, warmup_lr=WARMUP_LR,
        min_lr=MIN_LR, cooldown_epochs=10,
    )  # fmt: skip
    published = []
    for epoch in range(epochs):
        scheduler.step(epoch)
        published.append(optimizer.param_groups[0]["lr"])
    settings = {"peak": recipe["lr"], "epochs": epochs, "warmup_epochs": warmup}
    ours = [learning_rate(epoch, **settings) for epoch in range(epochs)]
    np.testing.assert_allclose(ours, published, rtol=1e-9)
    assert all(np.diff(published[warmup:]) < 0)  # it only falls
    goldens = {"lr_first": 1.0e-6, "lr_warm": 1.243e-4, "lr_middle": 6.75e-5, "lr_last": 1.0e-5}
    for name, golden in goldens.items():
        assert values[name] == pytest.approx(golden, rel=3e-3)
    restarted = [learning_rate(epoch, **settings, restarts=1) for epoch in range(epochs)]
    assert any(np.diff(restarted[warmup:]) > 0)  # what the text describes would rise again


def test_erratum_19_two_averages_can_differ():
    import timm

    class_head, dist_head = torch.tensor([5.0, 4.9, 0.0]), torch.tensor([0.0, 4.0, 6.0])
    model = DeiT(3, 32, 16, EncoderSize(8, 1, 1)).eval()
    published = timm.create_model(
        "deit_tiny_distilled_patch16_224", depth=1, num_classes=3, img_size=32
    ).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for network in (model, published):
            for head, bias in ((network.head, class_head), (network.head_dist, dist_head)):
                head.weight.zero_()
                head.bias.copy_(bias)
        torch.testing.assert_close(model(images), published(images))
        assert model(images).argmax().item() == 1
        model.average = "softmax"
        assert model(images).argmax().item() == 2


def test_erratum_20_attention_row_has_two_prefix_entries(values, deit):
    with record_attention(deit) as maps, torch.no_grad():
        deit(torch.rand(1, 3, 224, 224))
    entries = maps[0].shape[-1]
    assert entries == values["tokens_deit_t"] == values["patches"] + 2
    assert math.isqrt(entries) ** 2 != entries
    with pytest.raises(RuntimeError):
        maps[0].mean(dim=1)[0, 0].reshape(14, -1, 14)
    assert maps[0].mean(dim=1)[0, 0, 2:].reshape(14, 14).shape == (14, 14)


def test_erratum_21_rollout_is_not_one_layers_map():
    torch.manual_seed(0)
    model = DeiT(10, 224, 16, EncoderSize(64, 4, 2)).eval()
    for block in model.blocks:
        block.attn.qkv.weight.data *= 20  # untrained attention is nearly even
    with record_attention(model) as maps, torch.no_grad():
        model(torch.rand(1, 3, 224, 224))
    rollout = attention_rollout(maps)[0, 0]
    for layer in maps:
        assert (layer.mean(dim=1)[0, 0] - rollout).abs().max() > 0.01
    one = attention_rollout(maps[-1:])[0]  # a single layer, made to hold the shortcut too
    torch.testing.assert_close(2 * one - torch.eye(len(one)), maps[-1].mean(dim=1)[0])


def test_erratum_22_chained_layers_are_not_the_network(values, deit):
    assert 1 < values["features_drawn"] == 6 * 6 <= values["width_features_deit_t"]
    images = torch.rand(1, 3, 224, 224)
    resnet = al.create_model("resnet18", 10).eval()
    with torch.no_grad():
        chained = deit.blocks(deit.patch_embed(images))  # no class token, no positions
        with record_features(deit) as features:
            deit(images)
        real = features["blocks.11"][:, 2:]
        assert chained.shape == real.shape
        assert (chained - real).abs().max() > 0.1 * real.std()
        with record_features(resnet) as stages:
            resnet(images)
        convolutions = [m for m in resnet.layer1.modules() if isinstance(m, nn.Conv2d)]
        chained = nn.Sequential(resnet.conv1, *convolutions)(images)
    assert chained.shape[-1] == 2 * stages["layer1"].shape[-1]  # pooling was left out
    assert (chained < 0).any() and not (stages["layer1"] < 0).any()  # so were the activations


def test_erratum_24_names_drift(values):
    document, subjects = values.thesis.document, values.thesis.subjects
    rows = [about["title"] for about in subjects.values() if about.get("own")]
    trained = document["trained"]
    forgotten = [row for row in rows if not any(row.startswith(name) for name in trained)]
    assert forgotten == ["AtResNet-18_p"]
    spellings = document["spellings"]
    assert len(set(spellings)) == 3 and sum(name in rows for name in spellings) == 1


def test_erratum_25_heading_7_3_is_empty(values):
    headings = {h["number"]: h for h in values.thesis.document["headings"]}
    assert headings["7.3"]["words"] == 0
    below = [headings["7.4"], headings["7.5"]]
    assert {h["page"] for h in below} == {headings["7.3"]["page"]}
    assert all(h["number"].count(".") == headings["7.3"]["number"].count(".") for h in below)
    assert headings["5.3.1"]["title"] != headings["5.3.1"]["contents"]


def test_erratum_26_reference_22_is_the_repository(values):
    cited = values.thesis.document["table_5_1_cited"]
    repository, paper = reference(cited), reference(23)
    assert cited == 22
    assert repository.startswith("@misc") and "github.com/facebookresearch/deit" in repository
    assert paper.startswith("@inproceedings") and "Training data-efficient" in paper


def test_erratum_28_two_quantities_share_a_symbol(values):
    symbols = values.thesis.document["symbols"]
    assert symbols["5.4"] == symbols["5.11"]
    confusion = np.array([[5, 1, 0], [2, 3, 1], [0, 0, 4]])
    cells = interclass_errors(confusion) * 4  # eq. 5.11: a number for each pair of classes
    agreements = 5 * observed_agreement([1, 1, 0, 0, 1], [1, 0, 0, 1, 1])  # eq. 5.4: one for two
    np.testing.assert_allclose(cells, [1, 0, 2, 1, 0, 0])
    assert agreements == 3 and np.ndim(agreements) == 0 != cells.ndim
