"""Weights: the way from a published file to a model, with no network, and what is refused."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from attnlib.data.downloads import DownloadError
from attnlib.models import zoo
from attnlib.models.pretrained import load_weights, pair_in_order, read_weights
from attnlib.models.vit import DeiT, ViT
from attnlib.models.zoo import create_model

DEIT = "deit_tiny_distilled_patch16_224"


def shaken(model: nn.Module) -> nn.Module:
    """A model in evaluation mode whose every parameter has left its initial value."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.03)
    return model.eval()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights in an empty cache."""
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


def publish(name: str, model: nn.Module, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a model's weights into the cache as those of ``name``, under a name with their hash."""
    variant = zoo.VARIANTS[name]
    if variant.file.endswith(".safetensors"):
        save_file(model.state_dict(), cache / variant.file)
        return
    path = cache / "weights.pth"
    state = model.state_dict()
    torch.save({"model": state} if name.startswith("deit") else state, path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    url = f"https://example.invalid/{name}-{digits}.pth"
    path.rename(cache / f"{name}-{digits}.pth")
    monkeypatch.setitem(zoo.VARIANTS, name, replace(variant, url=url))


def test_pretrained_deit_gives_the_logits_of_its_published_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = shaken(timm.create_model(DEIT))
    publish("deit_t", theirs, cache, monkeypatch)
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        model: Any = create_model("deit_t", 1000, pretrained=True).eval()
        expected = theirs(model.normalize(images))
        torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=1e-5)


def test_pretrained_deit_has_fresh_heads_for_other_classes(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = shaken(timm.create_model(DEIT))
    publish("deit_t", theirs, cache, monkeypatch)
    model: Any = create_model("deit_t", 10, pretrained=True)
    assert isinstance(model, DeiT)
    assert model.head.out_features == model.head_dist.out_features == 10
    body = {k: v for k, v in theirs.state_dict().items() if not k.startswith("head")}
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in body.items())


def test_deit_without_distillation_starts_from_the_distilled_weights(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = shaken(timm.create_model(DEIT))
    publish("deit_t", theirs, cache, monkeypatch)
    model: Any = create_model("deit_t", 1000, pretrained=True, distilled=False)
    assert isinstance(model, ViT)
    assert not isinstance(model, DeiT)
    source = theirs.state_dict()
    assert torch.equal(model.pos_embed[:, 0], source["pos_embed"][:, 0])
    assert torch.equal(model.pos_embed[:, 1:], source["pos_embed"][:, 2:])
    assert torch.equal(model.head.weight, source["head.weight"])
    own = model.state_dict()
    assert torch.equal(own["blocks.11.mlp.fc2.weight"], source["blocks.11.mlp.fc2.weight"])


def test_positional_embedding_is_resampled_to_another_grid(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = shaken(timm.create_model(DEIT))
    publish("deit_t", theirs, cache, monkeypatch)
    model: Any = create_model("deit_t", 10, 96, pretrained=True)
    source = theirs.state_dict()["pos_embed"]
    assert torch.equal(model.pos_embed[:, :2], source[:, :2])
    grid = source[:, 2:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(grid, (6, 6), mode="bicubic", antialias=True)
    torch.testing.assert_close(model.pos_embed[:, 2:], resized.flatten(2).transpose(1, 2))


def test_pretrained_vit_reads_safetensors(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = shaken(timm.create_model("vit_base_patch32_224"))
    publish("vit_b_32", theirs, cache, monkeypatch)
    model: Any = create_model("vit_b_32", 1000, pretrained=True)
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize("num_classes", [10, 1000])
def test_pretrained_resnet_has_a_fresh_head_for_other_classes_only(
    cache: Path, monkeypatch: pytest.MonkeyPatch, num_classes: int
) -> None:
    theirs = shaken(models.resnet18())
    publish("resnet18", theirs, cache, monkeypatch)
    own = create_model("resnet18", num_classes, 32, pretrained=True).state_dict()
    source = theirs.state_dict()
    assert torch.equal(own["layer4.1.conv2.weight"], source["layer4.1.conv2.weight"])
    assert own["fc.weight"].shape[0] == num_classes
    assert (num_classes == 1000) == torch.equal(own["fc.bias"][:10], source["fc.bias"][:10])


def test_pretrained_atresnet_has_the_trunk_of_resnet18(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = shaken(models.resnet18())
    publish("atresnet18", theirs, cache, monkeypatch)
    own = create_model("atresnet18", 1000, 32, pretrained=True).state_dict()
    trunk = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    assert len(trunk) == 120
    assert all(torch.equal(own[key], value) for key, value in trunk.items())


def test_pretrained_timm_model_is_loaded_by_timm_and_not_kept_twice(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = shaken(timm.create_model("vit_tiny_patch16_224"))
    save_file(theirs.state_dict(), cache / "vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors")
    name = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    model: Any = create_model(name, 1000, pretrained=True)
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in theirs.state_dict().items())
    assert "state_dict" not in model.pretrained_cfg
    assert create_model(name, 7, 32, pretrained=True)(torch.rand(1, 3, 32, 32)).shape == (1, 7)


def test_offline_without_weights_says_what_to_put_where(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "resnet18-f37072fd.pth"
    closed = replace(zoo.VARIANTS["resnet18"], url=f"http://127.0.0.1:9/{file}")
    monkeypatch.setitem(zoo.VARIANTS, "resnet18", closed)
    with pytest.raises(DownloadError) as caught:
        create_model("resnet18", pretrained=True)
    assert file in str(caught.value)
    assert str(cache / file) in str(caught.value)


def test_weights_that_are_not_what_their_name_promises_are_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = "resnet18-f37072fd.pth"
    torch.save(models.resnet18().state_dict(), cache / file)
    closed = replace(zoo.VARIANTS["resnet18"], url=f"http://127.0.0.1:9/{file}")
    monkeypatch.setitem(zoo.VARIANTS, "resnet18", closed)
    with pytest.raises(DownloadError, match="f37072fd"):
        create_model("resnet18", pretrained=True)


def test_timm_model_without_weights_is_refused() -> None:
    bare = next(name for name in timm.list_models() if not timm.list_pretrained(f"{name}.*"))
    with pytest.raises(ValueError, match=f"there are no weights of {bare}"):
        create_model(f"timm/{bare}", pretrained=True)


class Malicious:
    """Unpickled, it would raise from within."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return ZeroDivisionError, ("code of the file was run",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": Malicious()}, tmp_path / "weights.pth")
    with pytest.raises(DownloadError, match=r"weights.pth can't be read as weights"):
        read_weights(tmp_path / "weights.pth")


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DownloadError, match=rf"{file} can't be read as weights"):
        read_weights(tmp_path / file)


def test_weights_of_another_model_are_refused_entry_by_entry() -> None:
    model = nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, 5)})
    state = model.state_dict()
    state["body.weight"] = torch.zeros(4, 2)
    state["extra"] = state.pop("body.bias")
    with pytest.raises(
        ValueError, match=r"extra: unknown; body\.weight: \(4, 2\), expected \(3, 2\)"
    ):
        load_weights(model, state, heads=("head.",))
    with pytest.raises(ValueError, match=r"body\.bias: missing"):
        load_weights(model, state, heads=("head.",))
    unchanged = {key: value for key, value in model.state_dict().items()}
    assert unchanged["body.weight"].any()


def test_heads_are_loaded_only_if_the_classes_are_those_of_imagenet() -> None:
    for classes, loaded in ((1000, True), (5, False)):
        model = nn.ModuleDict({"body": nn.Linear(2, 3), "head": nn.Linear(3, classes)})
        state = {"body.weight": torch.ones(3, 2), "body.bias": torch.ones(3)}
        state |= {"head.weight": torch.ones(1000, 3), "head.bias": torch.ones(1000)}
        load_weights(model, state, heads=("head.",))
        own = model.state_dict()
        assert torch.equal(own["body.weight"], state["body.weight"])
        assert bool((own["head.weight"] == 1).all()) is loaded


def test_entries_are_paired_in_order_and_checked() -> None:
    like = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(1)}
    state = {"x.weight": torch.ones(2), "x.bias": torch.ones(1)}
    assert list(pair_in_order(state, like)) == ["a.weight", "a.bias"]
    assert pair_in_order(state, like)["a.bias"] is state["x.bias"]
    with pytest.raises(ValueError, match="2 entries; got 1"):
        pair_in_order({"x.weight": torch.ones(2)}, like)
    with pytest.raises(ValueError, match=r"x.bias \(3,\) does not fit a.bias \(1,\)"):
        pair_in_order(state | {"x.bias": torch.ones(3)}, like)
    with pytest.raises(ValueError, match=r"x.scale \(1,\) does not fit a.bias"):
        pair_in_order({"x.weight": torch.ones(2), "x.scale": torch.ones(1)}, like)
