"""Global batches are the same whoever computes them; a part mixes as the whole would."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import small_config

from attnlib.augmentation.mixing import draw_mixing, mix_in_place
from attnlib.seeding import make_rng
from attnlib.training.distributed import Group, part_of_batch, part_of_split
from attnlib.training.schedule import count_steps, epoch_order, plan_epoch


@pytest.mark.parametrize("size", [2, 7, 32, 33])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_parts_cover_the_batch_once_and_keep_partners_at_mirrored_places(size, parts):
    if parts > size // 2:
        with pytest.raises(ValueError, match=f"{size} images can't be cut into {parts} parts"):
            part_of_batch(size, 0, parts)
        return
    own = [part_of_batch(size, part, parts) for part in range(parts)]
    assert sorted(np.concatenate(own).tolist()) == list(range(size))
    for positions in own:
        assert (positions[::-1] == size - 1 - positions).all()
    assert max(map(len, own)) - min(map(len, own)) <= 2


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0)])
def test_parts_mix_as_the_whole_batch_does(mixup, cutmix):
    def mix(images, targets):
        mixing = draw_mixing((8, 8), make_rng(0, "mix", 0, 0), mixup, cutmix)
        mixed = images.clone()
        return mixed, mix_in_place(mixed, targets, mixing)

    images, targets = torch.rand(14, 3, 8, 8), torch.eye(14)
    whole = mix(images, targets)
    for part in range(3):
        own = torch.from_numpy(part_of_batch(14, part, 3))
        mixed = mix(images[own], targets[own])
        assert torch.equal(mixed[0], whole[0][own]) and torch.equal(mixed[1], whole[1][own])


@pytest.mark.parametrize(("processes", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_global_batches_do_not_hang_on_processes_and_parts(tmp_path, processes, accumulate):
    config = replace(small_config(tmp_path, batch_size=16), accumulate=accumulate)
    order = epoch_order(100, config.seed, 3)
    plans = [list(plan_epoch(100, config, 3, Group(r, processes))) for r in range(processes)]
    for step in range(count_steps(100, 16)):
        parts = [part for plan in plans for part in plan[step].parts]
        assert len(parts) == processes * accumulate
        batch = np.sort(np.concatenate(parts))
        assert (batch == np.sort(order[16 * step : 16 * step + 16])).all()


def test_plan_begins_where_it_is_told(tmp_path):
    config = small_config(tmp_path, batch_size=16)
    whole = list(plan_epoch(100, config, 1, Group()))
    rest = list(plan_epoch(100, config, 1, Group(), start=4))
    assert [p.step for p in rest] == [4, 5]
    assert all((a.parts[0] == b.parts[0]).all() for a, b in zip(rest, whole[4:], strict=True))


def test_every_epoch_has_an_order_of_its_own_and_each_image_once():
    orders = [epoch_order(50, 0, epoch) for epoch in range(3)]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert not (orders[0] == orders[1]).all() and (orders[1] == epoch_order(50, 0, 1)).all()


def test_split_is_shared_among_ranks_in_its_order():
    parts = [part_of_split(11, rank, 3) for rank in range(3)]
    assert np.concatenate(parts).tolist() == list(range(11))
