"""Predictions on files: as on a split, in order, on any device, and no file stops the others."""

import numpy as np
import pytest
import torch
from PIL import Image

import attnlib as al
from attnlib.training.predict_files import predict_files

SPLIT = al.load_dataset("digits").val.subset(range(7))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return al.create_model("deit_t", 10, 32, patch_size=16)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    for place, image in enumerate(SPLIT.images):
        Image.fromarray(image).save(folder / f"{place}.png")
    return [folder / f"{place}.png" for place in range(len(SPLIT))]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_files_are_classified_as_the_same_images_in_a_split(model, files, device, batch_size):
    expected = torch.from_numpy(al.predict(model, SPLIT).logits).softmax(dim=1)
    found = list(predict_files(model, files, img_size=32, batch_size=batch_size, device=device))
    assert [one.file for one in found] == [str(file) for file in files]
    shares = np.stack([one.probabilities for one in found])
    np.testing.assert_allclose(shares, expected, atol=5e-3)  # resized by Pillow, in 8 bits
    model.cpu()


def test_a_batch_of_unreadable_files_stops_nothing(model, files, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    mixed = [bad, tmp_path / "gone.png", files[0], ("pipe", files[1].read_bytes()), bad]
    found = list(predict_files(model, mixed, img_size=32, batch_size=2))
    assert [one.probabilities is None for one in found] == [True, True, False, False, True]
    assert "no image that Pillow can read" in found[0].fault and "No such file" in found[1].fault
    assert found[3].file == "pipe" and found[0].top(3) == []


def test_a_model_in_training_is_asked_in_evaluation_and_left_in_training(model, files):
    model.train()
    before = [one.probabilities for one in predict_files(model, files[:1], img_size=32)]
    assert model.training
    model.eval()
    after = [one.probabilities for one in predict_files(model, files[:1], img_size=32)]
    np.testing.assert_array_equal(before, after)


def test_top_classes_come_in_order(model, files):
    (one,) = predict_files(model, files[:1], img_size=32)
    best = one.top(10)
    assert sorted(best) == list(range(10))
    assert (np.diff(one.probabilities[best]) <= 0).all()


def test_no_files_give_no_predictions(model):
    assert list(predict_files(model, [], img_size=32)) == []
