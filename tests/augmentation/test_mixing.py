"""Mixing: boxes are timm's, labels follow the pixels, and each kind takes its turn."""

from unittest import mock

import numpy as np
import pytest
import torch
from timm.data.mixup import cutmix_bbox_and_lam

from attnlib.augmentation.mixing import (
    Mixing,
    cut_box,
    cutmix,
    draw_mixing,
    mix_in_place,
    soft_labels,
)


class Centre:
    """A generator that draws a given centre, row before column."""

    def __init__(self, row, column):
        self.left = [row, column]

    def integers(self, side):
        return self.left.pop(0)


def test_smoothing_and_labels_are_probabilities():
    targets = soft_labels(torch.tensor([1, 3]), 4, 0.1)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(2))
    assert targets[0, 1].item() == pytest.approx(0.925)
    assert targets[0, 0].item() == pytest.approx(0.025)
    assert soft_labels(torch.tensor([1]), 3).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_cutmix_label_equals_the_area_that_was_pasted(seed, share):
    images = torch.stack([torch.zeros(3, 20, 30), torch.ones(3, 20, 30)])
    targets = torch.eye(2)
    mixed, labels = cutmix(images, targets, share, np.random.default_rng(seed))
    assert labels[0, 1].item() == pytest.approx(mixed[0].mean().item(), abs=1e-6)
    assert labels[1, 0].item() == pytest.approx(1 - mixed[1].mean().item(), abs=1e-6)
    assert labels[0, 1].item() <= 1 - share + 1e-6  # clipping only makes the box smaller


def test_cutmix_leaves_the_batch_that_it_was_given_alone():
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    cutmix(images, torch.eye(2), 0.2, np.random.default_rng(0))
    assert not images[0].any() and images[1].all()


@pytest.mark.parametrize("width", [1, 2, 7, 32, 33])
@pytest.mark.parametrize("height", [1, 2, 7, 32, 33])
def test_cut_boxes_are_those_of_the_installed_timm(height, width):
    centre = []
    with mock.patch("numpy.random.randint", lambda *_, **__: centre.pop(0)):
        for share in (*np.linspace(0, 1, 23), 0.123456789, 1 - 1e-12):
            for row, column in ((0, 0), (height // 2, width // 3), (height - 1, width - 1)):
                centre += [row, column]
                box, stays = cutmix_bbox_and_lam((3, height, width), share)
                found = cut_box((height, width), share, Centre(row, column))
                assert found.box == box and found.share == stays, (share, row, column)


def test_mixup_blends_image_and_label_alike():
    images = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    labels = mix_in_place(images, torch.eye(2), Mixing(0.7))
    torch.testing.assert_close(images[0], torch.full((3, 4, 4), 0.3))
    torch.testing.assert_close(labels[0], torch.tensor([0.7, 0.3]))


def test_mixing_is_off_without_an_alpha():
    assert draw_mixing((8, 8), np.random.default_rng(0)) is None


def test_with_both_alphas_each_kind_takes_about_half_of_the_batches():
    rng = np.random.default_rng(0)
    drawn = [draw_mixing((16, 16), rng, mixup_alpha=0.8, cutmix_alpha=1.0) for _ in range(200)]
    assert 70 <= sum(mixing.box is not None for mixing in drawn) <= 130
