"""A step as the loop takes it: what layers draw, how parts add up, what is compiled."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import small_config
from timm.models import register_model

import attnlib as al
from attnlib import experiment
from attnlib.training.loop import Trainer
from attnlib.training.state import Training


class Masks(torch.nn.Dropout):
    """Dropout that notes what it leaves."""

    seen: list[torch.Tensor]

    def forward(self, x):
        kept = super().forward(torch.ones_like(x))
        if self.training:
            self.seen.append(kept.detach().clone())
        return x * kept


@register_model
def masked_net(num_classes=10, **options):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3072, 64), Masks(), torch.nn.Linear(64, num_classes)
    )


def make_trainer(config: al.TrainConfig) -> Trainer:
    data = al.load_dataset("digits", limit=config.limit)
    model, objective = experiment.prepare(config, data)
    return Trainer(Training.start(model, config), data, config, objective)


@pytest.fixture
def masked(tmp_path, monkeypatch):
    """A run whose network drops features, two steps an epoch."""
    monkeypatch.setattr(Masks, "seen", [], raising=False)
    return small_config(
        tmp_path, model="timm/masked_net", limit=64, batch_size=32, epochs=1, drop_path=0.0
    )


def test_parts_of_a_batch_drop_other_features_and_again_the_same_in_another_run(masked):
    config = replace(masked, accumulate=2)
    make_trainer(config).train_epoch()
    first = list(Masks.seen)
    assert len(first) == 4
    assert not any(torch.equal(first[0], other) for other in first[1:])
    Masks.seen.clear()
    make_trainer(config).train_epoch()
    assert all(map(torch.equal, first, Masks.seen))


def test_training_leaves_the_global_generators_as_they_were(masked):
    torch.manual_seed(7)
    trainer, before = make_trainer(masked), torch.get_rng_state()
    numpy = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = []
    list(trainer.train(lambda step: drawn.append(torch.get_rng_state())))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(state, before) for state in drawn)
    assert (np.random.get_state()[1] == numpy).all()  # noqa: NPY002
