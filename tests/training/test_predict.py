"""Evaluation: answers in order, intervals that are Wilson's, the model left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

import attnlib as al
from attnlib.training.predict import Predictions

DATA = al.load_dataset("digits")


class Brightness(nn.Module):
    """Logits (B, 10) that depend only on an image's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))
        self.norm = nn.BatchNorm1d(10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(images.mean(dim=(1, 2, 3))[:, None] * self.scale)


def test_predictions_do_not_hang_on_the_batch_size():
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


def test_loss_is_the_mean_cross_entropy():
    logits = np.log(np.array([[0.8, 0.2], [0.4, 0.6]], dtype=np.float32))
    expected = -(np.log(0.8) + np.log(0.6)) / 2
    assert Predictions(logits, np.array([0, 1])).loss == pytest.approx(expected, rel=1e-5)
