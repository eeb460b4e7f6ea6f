"""Cost: counts of the specification, files as written, memory as an allocator counts it."""

from collections import Counter
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

import attnlib as al
from attnlib.cost import measure

MB = 1e6


class CountCalls(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[str(function)] += 1
        return function(*args, **(kwargs or {}))


class Timed(nn.Module):
    """Takes the times that it is given, on a clock of its own, and remembers how it was called."""

    img_size = 8

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seconds, self.calls, self.now = seconds, [], 0.0
        clock = SimpleNamespace(perf_counter=lambda: self.now)
        monkeypatch.setattr(measure, "time", clock)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append((len(images), self.training, torch.is_grad_enabled()))
        self.now += self.seconds[len(self.calls) % len(self.seconds)]
        return images.mean(dim=(2, 3)) * self.weight


@pytest.mark.parametrize(
    ("name", "options", "parameters", "gmac"),
    [
        ("deit_t", {}, 5_528_660, 1.261),
        ("deit_t", {"distilled": False}, 5_526_346, None),
        ("resnet18", {}, 11_181_642, 1.814),
        ("atresnet18", {}, 15_946_570, 2.009),
        ("atresnet18", {"tokens": "spatial"}, 14_305_610, None),
        ("vit_b_16", {"num_classes": 1000}, None, 17.56),
        ("vit_l_16", {"num_classes": 1000}, 304_326_632, 61.56),
        ("efficientnet_b7", {"num_classes": 1000}, None, 5.17),
    ],
)
def test_parameters_and_gmacs_are_those_of_the_specification(name, options, parameters, gmac):
    model = measure.build_empty(name, **options)
    assert parameters in (None, measure.count_parameters(model))
    if gmac is not None:
        assert measure.count_gmac(model) == pytest.approx(gmac, abs=0.01 if gmac > 4 else 0.001)


def test_gmacs_of_one_linear_layer_are_its_matrix():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 7))
    model.img_size = 8
    assert measure.count_gmac(model) == pytest.approx(3 * 8 * 8 * 7 / 1e9)


@pytest.mark.parametrize(
    ("name", "checkpoint", "weights"), [("deit_t", 88.64, 22.16), ("resnet18", 179.08, 44.80)]
)
def test_sizes_on_disk_are_those_of_the_thesis_taken_apart(name, checkpoint, weights):
    model = measure.build_empty(name)
    assert measure.checkpoint_size(model) / MB == pytest.approx(checkpoint, abs=0.01)
    assert measure.weights_size(model) / MB == pytest.approx(weights, abs=0.01)


def test_sizes_on_disk_are_those_of_real_files():
    model = al.create_model("resnet18", 10, 32)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True).module
    names = [name for name, _ in model.named_parameters()]
    moments = {
        key: {n: optimizer.state[p][key] for n, p in zip(names, model.parameters(), strict=True)}
        for key in ("exp_avg", "exp_avg_sq")
    }
    whole, alone = BytesIO(), BytesIO()
    torch.save({"model": model.state_dict(), "model_ema": average.state_dict(), **moments}, whole)
    torch.save({"model": model.state_dict()}, alone)
    assert measure.checkpoint_size(model) == pytest.approx(len(whole.getvalue()), rel=1e-4)
    assert measure.weights_size(model) == pytest.approx(len(alone.getvalue()), rel=1e-4)


def test_memory_is_the_specifications_and_its_order_turns_round_without_gradients():
    deit, resnet = measure.build_empty("deit_t"), measure.build_empty("resnet18")
    kept = [measure.replay_memory(m, 128, grad=True, attention="explicit") for m in (deit, resnet)]
    freed = [measure.replay_memory(m, 128, attention="explicit") for m in (deit, resnet)]
    assert [m.saved_bytes / MB for m in kept] == pytest.approx([4504, 2762], abs=0.5)
    assert [m.peak_bytes / MB for m in freed] == pytest.approx([257, 822], abs=0.5)
    assert kept[0].saved_bytes / kept[1].saved_bytes == pytest.approx(1.63, abs=0.005)
    assert freed[0].peak_bytes / freed[1].peak_bytes == pytest.approx(0.31, abs=0.005)
    assert all(m.saved_bytes == 0 and m.basis == "replayed" for m in freed)


@pytest.mark.parametrize(("tokens", "megabytes"), [("channel", 3025), ("spatial", 4263)])
def test_saved_memory_of_atresnet_tells_its_two_readings_apart(tokens, megabytes):
    model = measure.build_empty("atresnet18", tokens=tokens)
    memory = measure.replay_memory(model, 128, grad=True, attention="explicit")
    assert memory.saved_bytes / MB == pytest.approx(megabytes, abs=0.5)


def test_saved_memory_grows_in_proportion_to_the_batch():
    model = measure.build_empty("deit_t", img_size=32)
    few, many = (measure.replay_memory(model, size, grad=True).saved_bytes for size in (2, 12))
    assert many == 6 * few


def allocated(model: nn.Module, batch_size: int, grad: bool) -> int:
    """Peak of PyTorch's CPU allocator in a forward pass of normalised images."""
    images = torch.rand(batch_size, 3, model.img_size, model.img_size)
    model.normalize = nn.Identity()
    with torch.set_grad_enabled(grad):
        model(images)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            logits = model(images)
    del logits
    events = profiler.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = peak = 0
    for _, change in changes:
        now += change
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("grad", [False, True])
def test_replayed_memory_of_a_transformer_is_the_cpu_allocators_to_the_byte(grad):
    model = al.create_model("deit_t", 10, 64, patch_size=8).eval()
    assert measure.replay_memory(model, 8, grad=grad).peak_bytes == allocated(model, 8, grad)


@pytest.mark.parametrize("grad", [False, True])
def test_replayed_memory_of_a_resnet_lacks_at_most_a_kernels_copy_of_one_weight(grad):
    model = al.create_model("resnet18", 10, 64).eval()
    largest = max(parameter.nbytes for parameter in model.parameters())
    replayed = measure.replay_memory(model, 8, grad=grad).peak_bytes
    assert 0 <= allocated(model, 8, grad) - replayed <= 1.02 * largest


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["fused", "explicit"])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", ["deit_t", "resnet18", "atresnet18"])
def test_replayed_memory_is_near_the_cuda_allocators(name, grad, attention, machine):
    model, images = al.create_model(name, 10).cuda(), 4 if machine else 64  # computed on the CPU
    measured = measure.measure_memory(model, images, grad=grad, attention=attention)
    replayed = measure.replay_memory(model, images, grad=grad, attention=attention)
    assert measured.basis == "allocated"
    assert measured.peak_bytes == pytest.approx(replayed.peak_bytes, rel=0.1)


def test_measuring_memory_without_a_gpu_replays_it():
    model = measure.build_empty("resnet18", img_size=32)
    assert measure.measure_memory(model, 4, grad=True) == measure.replay_memory(model, 4, grad=True)


def test_counting_leaves_the_model_as_it_was_even_after_an_exception():
    model = measure.build_empty("deit_t", img_size=32).train()
    inside = model.normalize
    measure.replay_memory(model, 2)
    measure.count_gmac(model)
    with pytest.raises(ValueError, match="attention: expected fused or explicit; got 'flash'"):
        measure.replay_memory(model, 2, attention="flash")
    assert model.training and model.normalize is inside
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_speed_follows_the_algorithm_and_restores_the_mode(monkeypatch):
    model = Timed(monkeypatch, 0.002).train()
    speed = measure.measure_speed(model, batch_size=3, repeats=7)
    assert model.calls == [(3, False, False)] * (measure.WARM_UP + 7) and model.training
    assert (speed.repeats, speed.batch_size) == (7, 3)
    found = [speed.low, speed.value, speed.high, speed.mean]
    assert found == pytest.approx([3 / 0.002] * 4)


def test_each_timed_step_takes_the_answer_to_the_cpu(monkeypatch):
    with CountCalls() as counted:
        measure.measure_speed(Timed(monkeypatch, 1.0), repeats=7)
    assert counted.calls["aten.argmax.default"] == measure.WARM_UP + 7
    assert counted.calls["aten._to_copy.default"] >= measure.WARM_UP + 7  # to bytes


def test_a_speed_that_does_not_hold_still_is_no_number(monkeypatch):
    speed = measure.measure_speed(Timed(monkeypatch, 0.001, 0.006), repeats=12)
    assert (speed.low, speed.high) == pytest.approx((1 / 0.006, 1 / 0.001))
    assert not speed.stable and str(speed).startswith("unstable: ")
    assert str(speed._replace(low=speed.value, high=speed.value)).endswith(" images/s")
    assert speed._replace(low=95.0, value=100.0, high=104.0).stable
    assert not speed._replace(low=95.0, value=100.0, high=106.0).stable


def test_a_time_limit_ends_the_timing_after_five(monkeypatch):
    speed = measure.measure_speed(Timed(monkeypatch, 0.005), repeats=1000, seconds=0.0)
    assert speed.repeats == measure.FEWEST


@pytest.mark.parametrize(("batch_size", "repeats"), [(0, 5), (1, 0)])
def test_speed_needs_images_and_repeats(monkeypatch, batch_size, repeats):
    with pytest.raises(ValueError, match="batch_size and repeats: expected numbers >= 1"):
        measure.measure_speed(Timed(monkeypatch, 1.0), batch_size=batch_size, repeats=repeats)
