"""Networks as observers: images in by each protocol, one of sixteen categories out."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.human.decisions import CATEGORIES
from attnlib.human.network_observer import (
    IMAGENET_INDICES,
    Protocol,
    Stimuli,
    category_scores,
    class_indices,
    decide,
    prepare_image,
    read_protocol,
    read_stimuli,
)


def picture(red: int, green: int, blue: int, size: int = 8, form: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (size, size), (red, green, blue)).save(content, format=form)
    return content.getvalue()


def noise(size: int = 224) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


class RedIsBird(nn.Module):
    """Says a bird's class where the first channel is bright, else an airplane's."""

    def __init__(self, img_size: int = 8) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.img_size, self.seen = img_size, 0

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.seen += len(images)
        first = images[:, 0].mean(dim=(1, 2))
        logits = torch.zeros(len(images), 1000)
        logits[:, 10], logits[:, 404] = 9 * first, 9 * (1 - first)
        return logits


def test_counts_of_the_sixteen_categories_are_those_of_model_vs_human():
    counts = {name: len(class_indices(name)) for name in CATEGORIES}
    assert counts == {
        "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3,
        "cat": 6, "chair": 4, "clock": 3, "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1,
        "oven": 1, "truck": 8,
    }  # fmt: skip
    every = [index for name in CATEGORIES for index in class_indices(name)]
    assert len(every) == len(set(every)) == 207 and 0 <= min(every) <= max(every) < 1000
    assert tuple(IMAGENET_INDICES) == CATEGORIES


@pytest.mark.parametrize(
    ("category", "index"),
    [("airplane", 404), ("cat", 281), ("dog", 207), ("dog", 268), ("knife", 499), ("oven", 766),
     ("elephant", 386), ("keyboard", 878), ("truck", 867), ("bird", 145), ("car", 817)],
)  # fmt: skip
def test_known_classes_belong_to_their_category(category, index):
    assert index in class_indices(category)


@pytest.mark.parametrize("index", [251, 258, 260, 264, 192, 204, 227, 242, 9, 17, 21])
def test_classes_that_model_vs_human_leaves_out_belong_to_none(index):
    assert not any(index in class_indices(name) for name in CATEGORIES)


def test_mean_and_sum_differ_by_the_number_of_classes():
    logits = np.random.default_rng(0).normal(size=(5, 1000)).astype(np.float32)
    mean, total = category_scores(logits, "mean"), category_scores(logits, "sum")
    sizes = np.array([len(class_indices(name)) for name in CATEGORIES])
    assert total == pytest.approx(mean * sizes)
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    dog = probabilities[:, class_indices("dog")].sum(axis=1)
    assert total[:, CATEGORIES.index("dog")] == pytest.approx(dog, rel=1e-5)


def test_a_little_of_every_dog_outweighs_a_knife_in_the_sum_and_not_in_the_mean():
    logits = np.full((1, 1000), -20.0, dtype=np.float32)
    logits[0, class_indices("dog")], logits[0, 499] = 0.0, 3.0
    chosen = {p: CATEGORIES[category_scores(logits, p).argmax()] for p in ("mean", "sum")}
    assert chosen == {"mean": "knife", "sum": "dog"}


def test_scores_survive_large_logits():
    logits = np.full((1, 1000), 1e4, dtype=np.float32)
    logits[0, 404] = 1.1e4
    assert category_scores(logits, "mean")[0].argmax() == 0
    assert np.isfinite(category_scores(logits, "sum")).all()


def test_scores_of_other_logits_or_poolings_are_refused():
    with pytest.raises(ValueError, match=r"expected \(n, 1000\); got \(2, 10\)"):
        category_scores(np.zeros((2, 10), np.float32), "mean")
    with pytest.raises(ValueError, match=r"pooling: unknown value 'max'\. Valid: mean, sum"):
        category_scores(np.zeros((2, 1000), np.float32), "max")


def test_protocols_are_read_as_they_are_written():
    for name in ("rgb-mean", "rgb-sum", "bgr-mean", "bgr-sum", "bgr-sum-crop", "rgb-mean-jpeg"):
        assert str(read_protocol(name)) == name
    assert read_protocol("bgr-sum") == Protocol("bgr", "sum", "asis")


@pytest.mark.parametrize(
    "name", ["", "rgb", "rbg-mean", "rgb-max", "rgb-mean-png", "rgb-mean-crop-x"]
)
def test_unknown_protocols_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"protocol: unknown value '{name}'. Valid: rgb-mean"):
        read_protocol(name)


def test_an_image_of_the_right_size_goes_in_as_it_is():
    content = noise()
    pixels = prepare_image(content, Protocol(), 224)
    original = np.array(Image.open(io.BytesIO(content)))
    assert np.array_equal((pixels.permute(1, 2, 0) * 255).round().numpy(), original)
    assert pixels.shape == (3, 224, 224) and 0 <= pixels.min() and pixels.max() <= 1


def test_an_image_of_another_size_is_scaled_whole():
    assert prepare_image(noise(64), Protocol(), 32).shape == (3, 32, 32)
    scaled = Image.open(io.BytesIO(noise(64))).resize((32, 32), Image.Resampling.BICUBIC)
    found = prepare_image(noise(64), Protocol(), 32).permute(1, 2, 0) * 255
    assert np.array_equal(found.round().numpy(), np.array(scaled))


def test_bgr_swaps_the_channels_and_nothing_else():
    content = noise(16)
    rgb, bgr = (prepare_image(content, Protocol(channels), 16) for channels in ("rgb", "bgr"))
    assert torch.equal(bgr, rgb[[2, 1, 0]]) and not torch.equal(bgr, rgb)


def test_crop_is_the_evaluation_transform_of_the_other_chapters():
    content = noise()
    cropped = prepare_image(content, Protocol(preparation="crop"), 224)
    assert torch.equal(cropped, eval_transform(224)(Image.open(io.BytesIO(content))))
    assert not torch.equal(cropped, prepare_image(content, Protocol(), 224))


def test_jpeg_changes_pixels_a_little():
    content = picture(200, 30, 90, 16)
    plain = prepare_image(content, Protocol(), 16)
    coded = prepare_image(content, Protocol(preparation="jpeg"), 16)
    assert 0 < (plain - coded).abs().max() < 0.05
    file = io.BytesIO()
    Image.open(io.BytesIO(noise())).save(file, format="JPEG", quality=75)
    rough = prepare_image(noise(), Protocol(preparation="jpeg"), 224).permute(1, 2, 0) * 255
    assert np.array_equal(rough.round().numpy(), np.array(Image.open(file)))


def test_decisions_depend_on_the_channels_and_are_signed_with_model_and_protocol():
    red, blue = picture(255, 0, 0), picture(0, 0, 255)
    stimuli = Stimuli("two", {"bird1-cat1.png": red, "airplane2-cat1.png": blue})
    model, told = RedIsBird(), []
    protocols = [read_protocol(name) for name in ("bgr-mean", "rgb-mean", "rgb-sum")]
    bgr, rgb, rgb_sum = decide(model, "net", stimuli, protocols, told.append)
    assert (bgr.system, rgb.system, rgb_sum.system) == (
        "net-bgr-mean",
        "net-rgb-mean",
        "net-rgb-sum",
    )
    assert rgb.images.tolist() == ["airplane2-cat1.png", "bird1-cat1.png"]
    assert rgb.responses.tolist() == ["airplane", "bird"] == rgb.shapes.tolist()
    assert bgr.responses.tolist() == ["bird", "airplane"]
    assert model.training  # as it was
    assert model.seen == 4 and len(told) == 2  # mean and sum share a pass


def test_a_network_s_own_size_is_what_it_gets():
    sizes = []
    model = RedIsBird(img_size=12)
    model.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[2:])))
    decide(model, "net", Stimuli("one", {"cat1.png": noise(40)}), [Protocol()])
    assert sizes == [(12, 12)]


def test_own_stimuli_are_read_from_a_folder_and_those_below_it(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "cat1-dog2.png").write_bytes(picture(1, 2, 3))
    (tmp_path / "oven3.jpg").write_bytes(picture(1, 2, 3, form="JPEG"))
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    stimuli = read_stimuli(tmp_path)
    assert set(stimuli.files) == {"cat1-dog2.png", "oven3.jpg"}
    assert stimuli.name.startswith(f"{tmp_path.name}-")
    (tmp_path / "oven3.jpg").write_bytes(picture(9, 2, 3, form="JPEG"))
    assert read_stimuli(tmp_path).name != stimuli.name  # decisions on others are not reused


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "holds no image"),
        (["cow1-dog1.png"], "'cow1-dog1.png': expected SHAPE-TEXTURE"),
        (["a/cat1.png", "b/cat1.png"], "two images are named 'cat1.png'"),
    ],
)
def test_folders_that_are_no_stimuli_are_refused(tmp_path, names, told):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(1, 2, 3))
    with pytest.raises(ValueError, match=told):
        read_stimuli(tmp_path)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "cat1-dog1.png").write_bytes(picture(1, 2, 3)[:40])
    with pytest.raises(ValueError, match=r"cat1-dog1.png \(40 bytes\) is no image"):
        read_stimuli(tmp_path / "only")
    with pytest.raises(ValueError, match="expected a folder of images"):
        read_stimuli(tmp_path / "absent")
