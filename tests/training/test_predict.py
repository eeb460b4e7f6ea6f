"""Evaluation: answers in order, intervals that are Wilson's, the model left as it was."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import attnlib as al
from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.stats.intervals import wilson_interval
from attnlib.training.predict import Predictions, evaluation_batches

DATA = al.load_dataset("digits")


class Brightness(nn.Module):
    """Logits (B, 10) that depend only on an image's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))
        self.norm = nn.BatchNorm1d(10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(images.mean(dim=(1, 2, 3))[:, None] * self.scale)


def test_predictions_do_not_depend_on_the_batch_size():
    model = Brightness()
    many = al.predict(model, DATA.val, img_size=32, batch_size=100)
    few = al.predict(model, DATA.val, img_size=32, batch_size=7)
    np.testing.assert_allclose(many.logits, few.logits, atol=1e-6)
    assert many.labels.tolist() == DATA.val.labels.tolist()


@pytest.mark.parametrize("training", [True, False])
def test_predicting_leaves_mode_and_batchnorm_as_they_were(training):
    model = Brightness().train(training)
    before = model.norm.running_mean.clone()
    al.predict(model, DATA.val, img_size=32)
    assert model.training is training and torch.equal(model.norm.running_mean, before)


def test_mode_comes_back_after_an_exception():
    model = nn.Sequential(nn.Linear(1, 1)).train()
    with pytest.raises(RuntimeError):
        al.predict(model, DATA.val, img_size=32)
    assert model.training


def test_accuracy_decisions_and_classes_agree():
    logits = np.array([[2, 1, 0], [0, 1, 0], [1, 0, 0], [0, 5, 0]], dtype=np.float32)
    answers = Predictions(logits, np.array([0, 1, 1, 1]))
    assert answers.decisions.tolist() == [0, 1, 0, 1]
    assert answers.correct.tolist() == [True, True, False, True]
    assert answers.accuracy == 0.75 == answers.interval.value
    zero, one, two = answers.per_class()
    assert (zero.value, zero.n, one.value, one.n, two) == (1.0, 1, 2 / 3, 3, None)


def test_an_answer_that_is_no_number_is_never_right():
    logits = np.zeros((3, 2), dtype=np.float32)
    logits[:, 0], logits[2, 1] = np.nan, np.inf
    answers = Predictions(logits, np.array([0, 0, 1]))
    assert answers.accuracy == 0 == answers.interval.value == answers.per_class()[0].value


@pytest.mark.parametrize("amp", [torch.float16, torch.bfloat16, None])
def test_what_overflows_in_half_precision_is_computed_in_the_models_own(amp):
    head = nn.Linear(3, 10)
    nn.init.constant_(head.weight, 6e4)  # below float16's largest number, and its sums are above
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    answers = al.predict(model, DATA.val, img_size=32, amp=amp)
    expected = al.predict(model, DATA.val, img_size=32)
    assert expected.logits.max() > np.finfo(np.float16).max
    np.testing.assert_allclose(answers.logits, expected.logits, rtol=1e-2)


def test_loss_is_the_mean_cross_entropy():
    logits = np.log(np.array([[0.8, 0.2], [0.4, 0.6]], dtype=np.float32))
    expected = -(np.log(0.8) + np.log(0.6)) / 2
    assert Predictions(logits, np.array([0, 1])).loss == pytest.approx(expected, rel=1e-5)


def folder_of_images(path, sizes):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for place, size in enumerate(sizes):
            folder = path / part / f"class{place % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{place}.png")
    return al.load_dataset("folder", path).test


@pytest.mark.parametrize("img_size", [32, 64])
def test_images_are_those_of_the_evaluation_transform(tmp_path, img_size):
    transform = eval_transform(img_size)
    files = folder_of_images(tmp_path, [(40, 50), (64, 30), (32, 32), (90, 91), (50, 50)] * 4)
    for split, tolerance in ((files, 0.0), (DATA.val.subset(np.arange(20)), 1.01 / 255)):
        wanted = torch.stack([transform(Image.fromarray(image)) for image in split.images])
        found = torch.cat(
            [images.clone() for images in evaluation_batches(split, img_size, 7, "cpu")]
        )
        assert found.dtype == torch.float32 and found.shape == wanted.shape
        assert (found - wanted).abs().max() <= tolerance


def test_predicting_starts_no_process_and_needs_no_shared_memory(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a worker would hand over its images in /dev/shm")

    for split in (DATA.val, folder_of_images(tmp_path, [(40, 40)] * 8)):
        monkeypatch.setattr("torch.utils.data.DataLoader.__init__", refuse)
        answers = al.predict(Brightness(), split, img_size=32)
        monkeypatch.undo()
        assert len(answers.logits) == len(split)


def test_images_are_the_same_in_mixed_precision():
    class Watched(Brightness):
        seen: torch.Tensor

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.seen = images.clone()
            return super().forward(images)

    model, split = Watched(), DATA.val.subset(np.arange(9))
    al.predict(model, split, img_size=48)
    full = model.seen
    al.predict(model, split, img_size=48, amp=torch.bfloat16)
    assert torch.equal(model.seen, full)


def test_accuracy_by_class_looks_for_the_decisions_once_for_all_classes(monkeypatch):
    """Once for each of 1,000 classes took longer than the predictions."""
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 7
    logits = generator.standard_normal((300, 8)).astype(np.float32)
    answers, calls = Predictions(logits, labels), []
    real = Predictions.decisions.fget
    look = property(lambda self: calls.append(self) or real(self))
    monkeypatch.setattr(Predictions, "decisions", look)
    found = answers.per_class()
    assert len(calls) == 1
    for label in range(7):
        own = logits[labels == label].argmax(axis=1) == label
        assert found[label] == wilson_interval(int(own.sum()), len(own))
    assert found[7] is None, "a class without images has no accuracy"


def test_confusion_counts_each_image_once_and_is_written_as_csv():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 0]]
    answers = Predictions(logits, np.array([0, 0, 1, 2, 2]))
    assert answers.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    text = al.confusion_csv(answers, ["a", "b, c", "d"])
    assert text.splitlines() == ['true class,a,"b, c",d', "a,1,1,0", '"b, c",0,1,0', "d,1,0,1"]
    with pytest.raises(ValueError, match="expected 3; got 2"):
        al.confusion_csv(answers, ["a", "b"])


def test_scores_are_those_of_the_functions_and_five_classes_have_no_top_5():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((50, 8)).astype(np.float32), rng.integers(0, 8, 50)
    answers = Predictions(logits, labels)
    assert answers.top5 == al.top_accuracy(logits, labels, 5)
    assert answers.brier_score == al.brier_score(logits, labels)
    assert answers.calibration_error == al.calibration_error(logits, labels)
    assert Predictions(logits[:, :5], labels % 5).top5 is None


def test_batches_are_reported_as_they_are_done():
    done = []
    al.predict(Brightness(), DATA.val, img_size=32, batch_size=100, on_images=done.append)
    assert done == [100, 44]
