"""Samples of the reference input, and batches of evaluation."""

import os
from dataclasses import replace

import numpy as np
import torch

import attnlib as al
from attnlib.augmentation.pil_transforms import eval_transform, train_transform
from attnlib.data.loading import Transformed, eval_batches, make_source

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


def test_workers_need_no_shared_memory(monkeypatch):
    """A container may have as little as 64 MB of it, which one batch at 224 pixels exceeds."""

    def refuse(*arguments):
        os._exit(1)  # as a worker that is killed by a bus error

    config = replace(al.TrainConfig.from_params(device="cpu"), input="reference", augment="light")
    steps = [(step, np.arange(8) + 8 * step) for step in range(3)]
    alone = make_source(DATA.train, config, 10, workers=0).batches(0, steps)
    expected = [(batch.images.clone(), batch.targets.clone()) for batch in alone]
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", refuse)
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)
    monkeypatch.setattr(torch.UntypedStorage, "_share_filename_cpu_", refuse)
    found = make_source(DATA.train, config, 10, workers=2).batches(0, steps)
    for (images, targets), batch in zip(expected, found, strict=True):
        assert torch.equal(images, batch.images) and torch.equal(targets, batch.targets)
