"""A step as the loop takes it: what layers draw, how parts add up, what is compiled."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import small_config
from timm.models import register_model

import attnlib as al
from attnlib import experiment
from attnlib.models.vit import EncoderSize, ViT
from attnlib.training.distributed import part_of_batch
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


@pytest.mark.parametrize("batch_size", [5, 7, 31, 33])
def test_no_part_of_an_odd_batch_is_a_single_image(batch_size):
    for parts in range(1, batch_size // 2 + 1):
        sizes = [len(part_of_batch(batch_size, part, parts)) for part in range(parts)]
        assert min(sizes) >= 2 and sum(sizes) == batch_size
    with pytest.raises(ValueError, match="can't be cut into"):
        part_of_batch(batch_size, 0, batch_size // 2 + 1)


def test_too_many_parts_for_an_odd_batch_are_a_wrong_parameter():
    with pytest.raises(ValueError, match=r"accumulate: expected at most half of batch_size \(5\)"):
        al.TrainConfig.from_params(batch_size=5, accumulate=3)


@register_model
def volume_net(num_classes=10, **options):
    layers = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Unflatten(1, (1, 8)), torch.nn.Conv3d(1, 2, 3)
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(2, num_classes)
    )


def test_network_with_weights_of_five_dimensions_trains(masked):
    trainer = make_trainer(replace(masked, model="timm/volume_net", ema=0.0))
    (epoch,) = trainer.train()
    assert epoch.train_loss == pytest.approx(2.3, abs=0.5)


def test_only_convolutional_networks_have_their_channels_last(masked):
    def first_weight(name):
        trainer = make_trainer(replace(masked, model=name, patch_size=None))
        return next(p for p in trainer.training.model.parameters() if p.ndim == 4)

    assert first_weight("resnet18").is_contiguous(memory_format=torch.channels_last)
    assert first_weight("timm/volume_net").is_contiguous()


@register_model
def dropping_vit(num_classes=10, **options):
    return ViT(num_classes, 32, 8, EncoderSize(32, 2, 2), drop_path_rate=0.2)


@pytest.fixture
def graphs(monkeypatch):
    """Counts what torch.compile compiles; a test may let it fail."""
    compiled: list[object] = []
    real = torch.compile

    def count(graph, example):
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda module: real(module, backend=count))
    torch.compiler.reset()
    yield compiled
    torch.compiler.reset()


@pytest.mark.parametrize(
    "changes", [{}, {"amp": "true"}, {"accumulate": 3, "batch_size": 31}, {"model": "resnet18"}]
)
def test_training_compiles_no_graph_that_the_trial_has_not(masked, graphs, changes):
    drop_path = {} if "model" in changes else {"drop_path": 0.2}
    config = replace(
        masked, **{"model": "timm/dropping_vit", "compile": True} | drop_path | changes
    )
    trainer = make_trainer(config)
    tried = len(graphs)
    assert tried > 0
    list(trainer.train())
    assert len(graphs) == tried


def test_compiler_that_fails_on_trial_is_done_without(masked, monkeypatch):
    real = torch.compile

    def fail(graph, example):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", lambda module: real(module, backend=fail))
    expected = make_trainer(replace(masked, model="resnet18"))
    with pytest.warns(UserWarning, match="goes on without: .*no compiler here"):
        trainer = make_trainer(replace(masked, model="resnet18", compile=True))
    for ours, theirs in zip(
        trainer.training.model.state_dict().values(),
        expected.training.model.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    (epoch,) = trainer.train()
    assert epoch.train_loss == pytest.approx(next(expected.train()).train_loss, rel=1e-6)
