"""Batches: what a sample looks like depends only on (seed, epoch, index)."""

import torch

import attnlib as al
from attnlib.augmentation.pil_transforms import eval_transform, train_transform
from attnlib.data.loading import Transformed, count_batches, eval_batches, train_batches

DATA = al.load_dataset("digits", limit=50)


def epoch_of(workers: int = 0, seed: int = 0, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    transform = train_transform("thesis", 32)
    batches = train_batches(
        DATA.train, transform, batch_size=16, seed=seed, epoch=epoch, workers=workers
    )
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_batches_do_not_hang_on_what_was_drawn_before():
    first = epoch_of()
    torch.rand(7)
    second = epoch_of()
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_batches_do_not_hang_on_the_number_of_workers():
    images, labels = epoch_of()
    others = epoch_of(workers=2)
    assert torch.equal(images, others[0]) and torch.equal(labels, others[1])


def test_another_seed_or_epoch_gives_other_views_in_another_order():
    images, labels = epoch_of()
    for other in (epoch_of(seed=1), epoch_of(epoch=1)):
        assert not torch.equal(images, other[0]) and not torch.equal(labels, other[1])


def test_one_image_looks_different_in_each_epoch_and_under_each_seed():
    transform = train_transform("thesis", 32)
    views = [
        Transformed(DATA.train, transform, seed, epoch)[3][0]
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert torch.equal(views[0], views[3])
    assert not torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


def test_drawing_batches_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    epoch_of()
    assert torch.equal(before, torch.get_rng_state())


def test_last_batch_is_dropped_unless_it_is_the_only_one():
    assert count_batches(DATA.train, 16) == 3 and len(epoch_of()[1]) == 48
    small = DATA.train.subset(range(10))
    assert count_batches(small, 16) == 1
    (batch,) = train_batches(small, eval_transform(32), batch_size=16, seed=0, epoch=0)
    assert sorted(batch[1].tolist()) == sorted(small.labels.tolist())


def test_evaluation_sees_every_image_once_in_order():
    batches = list(eval_batches(DATA.val, eval_transform(32), batch_size=50))
    labels = torch.cat([labels for _, labels in batches])
    assert labels.tolist() == DATA.val.labels.tolist()
    assert all(0 <= images.min() and images.max() <= 1 for images, _ in batches)
