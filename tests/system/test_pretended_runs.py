"""Whole small runs on pretended cards: a T4 (float16), an A100 (bfloat16), a Mac's MPS."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from device_counts import counts_of_batch, counts_of_steps
from pretended_device import A100, M1, T4, by_line, pretend
from small_runs import small_vit
from timm.models import register_model
from torch import nn

import attnlib as al
from attnlib.training.failures import NonFiniteLossError, OutOfMemoryError

VIT, CONVOLUTIONS = f"timm/{small_vit.__name__}", "timm/small_convolutions"
LAUNCHES_OF_A_BATCH = 745  # with an operation of its own for each step of each augmentation


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 32 x 32 pixels in four classes: 43 images to train, 5 to validate, 12 to test."""
    path = tmp_path_factory.mktemp("pictures") / "noise.npz"
    draw, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 48), ("test", 12)):
        arrays[f"{part}_images"] = draw.integers(0, 256, (count, 32, 32, 3), np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 4
    np.savez(path, **arrays)
    return path


@pytest.fixture
def configure(pictures: Path, tmp_path: Path):
    """Makes configurations of runs of one epoch; called where a card is pretended."""

    def make(device: str, **changes: object) -> al.TrainConfig:
        given = {
            "model": VIT, "profile": "quick", "dataset": "npz",
            "data_path": str(pictures), "augment": "light", "batch_size": 8, "epochs": 1,
            "runs_dir": str(tmp_path / "runs"), "device": device,
        }  # fmt: skip
        return al.TrainConfig.from_params(**given | changes)

    return make


@register_model
def small_convolutions(num_classes=10, **options):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, num_classes),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("card", "precision", "model"),
    [
        (T4, "float16 autocast", VIT),
        (A100, "bfloat16 autocast", VIT),
        (T4, "float16 autocast", "resnet18"),
        (A100, "bfloat16 autocast", "atresnet18"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_run_stays_on_its_card_from_the_first_step_to_its_record(
    card, precision, model, configure
):
    with pretend(card) as machine:
        run = al.run_experiment(configure("cuda", model=model, augment="thesis", ema=0.9))
        held = torch.cuda.memory_allocated()
    assert run.record.precision == precision
    assert run.record.device.type == "cuda" and run.record.device.name == card.name
    assert run.record.cost.peak_memory_bytes == machine.memory.peak(0)
    assert np.isfinite([epoch["train_loss"] for epoch in run.history]).all()
    assert held == 0, "the run is over and tensors of it are still on the card"


@pytest.mark.parametrize(("amp", "is_tf32"), [("false", False), ("true", True)])
@pytest.mark.parametrize("before", [("highest", True), ("high", True), ("highest", False)])
def test_products_and_convolutions_are_both_float32_or_both_tf32(amp, is_tf32, before, configure):
    """Whatever was set before, as PyTorch's default is TF32 for convolutions alone."""
    seen = set()

    def look(step: object) -> None:
        seen.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))

    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    try:
        with pretend(A100):
            run = al.run_experiment(configure("cuda", amp=amp), on_step=look)
        after = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
    assert seen == {("high", True) if is_tf32 else ("highest", False)}
    assert run.record.precision == ("bfloat16 autocast" if is_tf32 else "float32")
    assert after == before


def test_a_run_on_a_mac_stays_on_its_device(configure):
    with pretend(M1) as machine:
        run = al.run_experiment(configure("mps", ema=0.9, drop_path=0.1))
    assert run.record.device.type == "mps"
    assert machine.launches and np.isfinite(run.history[0]["train_loss"])


def test_the_thesis_recipe_runs_on_a_mac(configure):
    with pretend(M1):
        al.run_experiment(configure("mps", augment="thesis"))


@pytest.mark.parametrize("card", [T4, M1], ids=lambda card: card.kind)
def test_in_float32_a_card_learns_what_the_cpu_learns(card, configure, tmp_path):
    settings = {"amp": False, "drop_path": 0.1, "cutmix": 1.0}
    there = al.run_experiment(configure("cpu", runs_dir=str(tmp_path / "cpu"), **settings))
    with pretend(card):
        here = al.run_experiment(configure(card.kind, **settings))
    ours, theirs = (run.arrays("predictions")["logits"] for run in (here, there))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


class DisconnectError(Exception):
    """The machine goes away."""


def disconnect(epoch: object) -> None:
    raise DisconnectError


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (T4, A100),
        (A100, T4),
    ],
    ids=lambda card: card.name,
)
def test_a_run_goes_on_where_the_card_is_another(first, second, configure):
    with pretend(first), pytest.raises(DisconnectError):
        al.run_experiment(configure("cuda", epochs=2), on_epoch=disconnect)
    with pretend(second):
        run = al.run_experiment(configure("cuda", epochs=2))
    assert len(run.history) == 2


class LoseGradient(torch.autograd.Function):
    """Identity whose gradient is not a number."""

    @staticmethod
    def forward(context: object, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(context: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


class Lossy(nn.Module):
    """A linear classifier that loses its gradient."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return LoseGradient.apply(self.head(images.flatten(1)))


@register_model
def lossy(num_classes=10, **options):
    return Lossy(num_classes)


@pytest.mark.parametrize(
    "card",
    [
        A100,
        T4,
    ],
    ids=lambda card: card.name,
)
def test_gradients_that_are_never_finite_end_the_run(card, configure):
    with pretend(card), pytest.raises(NonFiniteLossError):
        al.run_experiment(configure("cuda", model="timm/lossy"))


def test_a_step_that_does_not_fit_says_what_would(configure, tmp_path):
    with pretend(T4) as roomy:
        al.run_experiment(configure("cuda", batch_size=20, runs_dir=str(tmp_path / "roomy")))
    with (
        pretend(T4._replace(memory=roomy.memory.peak(0))),
        pytest.raises(OutOfMemoryError, match=r"out of memory with 40 images .* accumulate="),
    ):
        al.run_experiment(configure("cuda", batch_size=40))


def test_an_evaluation_that_does_not_fit_says_what_would(configure, monkeypatch):
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pretend(T4), pytest.raises(OutOfMemoryError):
        monkeypatch.setattr("attnlib.training.loop.predict", full)
        al.run_experiment(configure("cuda"))


def test_a_run_on_the_second_card_asks_nothing_of_the_first(configure):
    with pretend(T4._replace(count=2)) as machine:
        al.run_experiment(configure("cuda:1"))
    assert {card for _, card in machine.asked} == {1}, machine.asked
    assert machine.memory.peak(0) == 0


def test_a_run_records_its_own_peak_of_memory(configure):
    with pretend(T4):
        before = torch.zeros(10**8, dtype=torch.uint8, device="cuda")  # another run's
        del before
        run = al.run_experiment(configure("cuda"))
    assert 0 < run.record.cost.peak_memory_bytes < 10**8


STEPS = {
    "light augmentation": {},
    "the reference input": {"input": "reference", "augment": "thesis"},
    "mixing": {"mixup": 0.8, "cutmix": 1.0},
    "averaged weights": {"ema": 0.9},
    "parts": {"accumulate": 2},
    "steps that may be skipped": {"skip_nonfinite": 2},
    "a teacher": {"distillation": "hard", "teacher": VIT},
    "batch normalisation": {"model": CONVOLUTIONS},
    "the thesis's augmentation": {"augment": "thesis"},
    "the faithful input": {"input": "faithful", "augment": "thesis"},
    "drop-path": {"drop_path": 0.2},
}


@pytest.mark.parametrize("card", [T4, A100], ids=lambda card: card.name)
@pytest.mark.parametrize("name", STEPS)
def test_no_step_waits_for_the_device(name, card, configure):
    with pretend(card) as machine:
        steps = counts_of_steps(machine, configure("cuda", **STEPS[name]))
    waits = sum((counts.waits for counts in steps), Counter())
    assert steps and not waits, f"in {len(steps)} steps the host waits:\n{by_line(waits)}"


@pytest.mark.parametrize("path", ["fast", "faithful"])
def test_a_batch_takes_a_third_of_the_launches_that_it_took(path, configure):
    settings = {"augment": "thesis", "cutmix": 1.0, "img_size": 48, "batch_size": 128}
    with pretend(A100) as machine:
        counts = counts_of_batch(machine, configure("cuda", input=path, **settings))
    launches = counts.launches.total()
    assert not counts.waits, by_line(counts.waits)
    assert launches <= LAUNCHES_OF_A_BATCH / 3, f"{launches} launches:\n{by_line(counts.launches)}"
