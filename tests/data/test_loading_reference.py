"""Samples of the reference input, and batches of evaluation."""

import torch

import attnlib as al
from attnlib.augmentation.pil_transforms import eval_transform, train_transform
from attnlib.data.loading import Transformed, eval_batches

DATA = al.load_dataset("digits", limit=50)


def test_one_image_looks_different_in_each_epoch_and_under_each_seed():
    transform = train_transform("thesis", 32)
    views = [
        Transformed(DATA.train, transform, seed, epoch)[3][0]
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert torch.equal(views[0], views[3])
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


def test_evaluation_sees_every_image_once_in_order():
    batches = list(eval_batches(DATA.val, eval_transform(32), batch_size=50))
    labels = torch.cat([labels for _, labels in batches])
    assert labels.tolist() == DATA.val.labels.tolist()
    assert all(0 <= images.min() and images.max() <= 1 for images, _ in batches)
