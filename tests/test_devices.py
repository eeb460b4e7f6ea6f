"""Devices: what is not there is refused by naming what is; ``auto`` says why it is on the CPU."""

import pytest
import torch

from attnlib import devices
from attnlib.config import TrainConfig
from attnlib.devices import resolve_device


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch):
    """Makes a machine of so many CUDA cards, with mps or not, as PyTorch would report it."""

    def make(cards: int = 0, *, mps: bool = False, capability: tuple[int, int] = (7, 5)) -> None:
        answers = {
            "is_available": cards > 0, "device_count": cards, "get_device_capability": capability,
            "get_device_name": "Card", "get_arch_list": ["sm_75", "sm_80", "sm_90", "compute_90"],
        }  # fmt: skip
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
        monkeypatch.setattr(torch.version, "cuda", "12.8")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)

    return make


@pytest.mark.parametrize(
    ("cards", "asked", "there"),
    [
        (0, "mps", "cpu"),
        (0, "xpu", "cpu"),
        (0, "xpu:1", "cpu"),
        (0, "cuda", "cpu"),
        (0, "meta", "cpu"),
        (2, "cuda:7", "cpu, cuda, cuda:0, cuda:1"),
        (2, "mps", "cpu, cuda, cuda:0, cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_a_wrong_parameter(pretend, cards, asked, there):
    pretend(cards)
    with pytest.raises(ValueError, match=f"device: no '{asked}' here.* There are: {there}\\."):
        TrainConfig.from_params(device=asked)


def test_what_is_no_device_is_refused_with_those_that_are(pretend):
    pretend(1)
    with pytest.raises(ValueError, match=r"device: expected auto, .*got 'gpu'\. Here: cpu, cuda"):
        resolve_device("gpu")


@pytest.mark.parametrize("asked", ["cpu", "cpu:0", "cuda", "cuda:1", "mps", "mps:0"])
def test_a_device_that_is_there_is_taken(pretend, asked):
    pretend(2, mps=True)
    assert resolve_device(asked) == asked


@pytest.mark.parametrize(
    ("cards", "mps", "capability", "taken"),
    [
        (1, False, (7, 5), "cuda"),
        (1, False, (8, 6), "cuda"),  # sm_80's kernels run on it
        (1, False, (12, 0), "cuda"),  # compute_90 is compiled for it
        (1, False, (3, 5), "cpu"),
        (0, True, (0, 0), "mps"),
        (0, False, (0, 0), "cpu"),
    ],
)
def test_auto_takes_what_can_compute(pretend, cards, mps, capability, taken):
    pretend(cards, mps=mps, capability=capability)
    assert TrainConfig.from_params().device == taken


def test_auto_says_that_pytorch_is_not_built_for_the_card(pretend):
    pretend(1, capability=(3, 5))
    config = TrainConfig.from_params()
    assert "quick on cpu (Card has compute capability 3.5, which PyTorch" in config.describe()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("Found no NVIDIA driver on your system. Please check that", "Found no NVIDIA driver on"),
        ("The NVIDIA driver on your system is too old (found version 11040). Please update",
         "is too old (found version 11040))"),
    ],
)  # fmt: skip
def test_auto_says_what_is_wrong_with_the_driver(pretend, monkeypatch, fault, told):
    pretend(0)

    def init() -> None:
        raise RuntimeError(fault)

    monkeypatch.setattr(torch.cuda, "init", init)
    shown = TrainConfig.from_params().describe()
    assert "quick on cpu (" in shown and told in shown and "Please" not in shown


def test_a_cuda_device_says_nothing(pretend):
    pretend(1)
    assert devices.why_no_cuda() == "" and "on cuda\n" in TrainConfig.from_params().describe()


def test_apples_device_runs_every_recipe(pretend):
    pretend(0, mps=True)
    for params in ({}, {"augment": "light"}, {"profile": "thesis"}):
        assert TrainConfig.from_params(**params).device == "mps"
