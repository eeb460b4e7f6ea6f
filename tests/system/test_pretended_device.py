"""The pretended device itself: it refuses and counts what a real one would, and computes alike."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretended_device import A100, M1, T4, Machine, Pretended, pretend, replacements
from torch import nn

MIXED = "Expected all tensors to be on the same device"


@dataclass
class Things:
    """Tensors on the host and on the device."""

    machine: Machine
    host: torch.Tensor
    ours: torch.Tensor
    host_indices: torch.Tensor
    indices: torch.Tensor
    host_scalar: torch.Tensor
    scalar: torch.Tensor


def things(machine: Machine) -> Things:
    kind = machine.card.kind
    host, indices = torch.arange(12.0).view(3, 4), torch.tensor([0, 2, 1])
    scalar = torch.tensor(2.0)
    both = [(t, t.to(kind)) for t in (host, indices, scalar)]
    machine.waits.clear()
    return Things(machine, *both[0], *both[1], *both[2])


REFUSED = {
    "a sum": (lambda t: t.ours + t.host, MIXED),
    "a sum in place": (lambda t: t.host.add_(t.ours), MIXED),
    "a scalar of the host that is written": (lambda t: t.host_scalar.add_(t.scalar), MIXED),
    "a product of matrices": (lambda t: t.ours @ t.host.T, MIXED),
    "out on the host": (lambda t: torch.add(t.ours, 1, out=torch.empty(3, 4)), MIXED),
    "cat": (lambda t: torch.cat([t.ours, t.host]), MIXED),
    "stack of scalars": (lambda t: torch.stack([t.scalar, t.host_scalar]), MIXED),
    "where": (lambda t: torch.where(t.ours > 3, t.ours, t.host), MIXED),
    "a mask of the host": (lambda t: t.ours.masked_fill(t.host > 3, 0), MIXED),
    "index_select": (lambda t: t.ours.index_select(0, t.host_indices), MIXED),
    "gather": (lambda t: t.ours.gather(0, t.host_indices[:, None]), MIXED),
    "scatter": (lambda t: t.ours.scatter_(0, t.host_indices[:, None], 1.0), MIXED),
    "indices of the device for the host": (lambda t: t.host[t.indices], MIXED),
    "a mask of the device for the host": (lambda t: t.host[t.ours > 3], MIXED),
    "values of the host, indexed": (
        lambda t: t.ours.index_put_((t.indices,), t.host), MIXED
    ),
    "embedding": (lambda t: F.embedding(t.host_indices, t.ours), MIXED),
    "a layer of the host": (lambda t: nn.Linear(4, 2)(t.ours), MIXED),
    "a convolution of the host": (
        lambda t: nn.Conv1d(3, 1, 1)(t.ours), MIXED
    ),
    "statistics of the host": (
        lambda t: F.batch_norm(t.ours, torch.zeros(4), torch.ones(4)), MIXED
    ),
    "labels of the host": (lambda t: F.cross_entropy(t.ours, t.host_indices), MIXED),
    "a generator of the host": (
        lambda t: torch.rand(3, device=t.ours.device, generator=torch.Generator()),
        "Expected a '(cuda|mps)' device type for generator but found 'cpu'",
    ),
    "a generator of the host, in place": (
        lambda t: t.ours.bernoulli_(0.5, generator=torch.Generator()),
        "Expected a '(cuda|mps)' device type for generator but found 'cpu'",
    ),
    "a generator of the device for the host": (
        lambda t: torch.randperm(3, generator=torch.Generator(t.ours.device)),
        "Expected a 'cpu' device type for generator but found '(cuda|mps)'",
    ),
    "numpy": (lambda t: t.ours.numpy(), "can't convert (cuda|mps):0 device type tensor to numpy"),
    "numpy's own conversion": (lambda t: np.asarray(t.ours), "can't convert (cuda|mps):0"),
    "pinning": (lambda t: t.ours.pin_memory(), "only dense CPU tensors can be pinned"),
}  # fmt: skip


@pytest.mark.parametrize("card", [T4, M1], ids=lambda card: card.kind)
@pytest.mark.parametrize("name", REFUSED)
def test_what_a_real_device_refuses_is_refused(name, card):
    what, message = REFUSED[name]
    with pretend(card) as machine, pytest.raises((RuntimeError, TypeError), match=message):
        what(things(machine))


ALLOWED = {  # and whether the host waits for it on CUDA
    "a sum": (lambda t: t.ours + t.ours, False),
    "a scalar of the host": (lambda t: t.ours * t.host_scalar, False),
    "a scalar of the host, in place": (lambda t: t.ours.mul_(t.host_scalar), False),
    "a number written into a place": (lambda t: t.ours.__setitem__((0, 1), 3.0), False),
    "a scalar of the host written into a row": (
        lambda t: t.ours.__setitem__(0, t.host_scalar), False
    ),
    "values made on the device": (lambda t: torch.full((3,), 2.0, device="cuda"), False),
    "indices of the device": (lambda t: t.ours[t.indices], False),
    "a number where a mask says": (lambda t: t.ours.__setitem__(t.ours > 3, 0.0), False),
    "a copy of pinned memory": (
        lambda t: t.host.pin_memory().to("cuda", non_blocking=True), False
    ),
    "a copy of a part of pinned memory": (
        lambda t: t.host.pin_memory()[1:].view(-1).to("cuda", non_blocking=True), False
    ),
    "a copy that is not waited for": (
        lambda t: t.ours.to("cpu", non_blocking=True), False
    ),
    "a half": (lambda t: t.ours.half(), False),
    "a step of an optimiser": (lambda t: step(t.ours), False),
    "a generator of the device": (
        lambda t: torch.rand(3, device="cuda", generator=torch.Generator("cuda")), False
    ),
    "a copy": (lambda t: t.host.to("cuda"), True),
    "a copy of pinned memory that is waited for": (
        lambda t: t.host.pin_memory().to("cuda"), True
    ),
    "a copy of pageable memory": (lambda t: t.host.to("cuda", non_blocking=True), True),
    "a copy into a tensor": (lambda t: t.ours.copy_(t.host), True),
    "a scalar of the host written into a place": (
        lambda t: t.ours.__setitem__((0, 1), t.host_scalar), True
    ),
    "a copy into a part": (lambda t: t.ours.__setitem__(slice(0, 2), t.host[:2]), True),
    "a copy to the host": (lambda t: t.ours.cpu(), True),
    "a copy into a tensor of the host": (lambda t: t.host.copy_(t.ours), True),
    "data made on the device": (lambda t: torch.tensor([1.0, 2.0], device="cuda"), True),
    "indices of the host": (lambda t: t.ours[t.host_indices], True),
    "a list of indices": (lambda t: t.ours[[0, 2]], True),
    "a mask": (lambda t: t.ours[t.ours > 3], True),
    "values where a mask says": (
        lambda t: t.ours.__setitem__(t.ours > 9, t.ours[0, :2].clone()), True
    ),
    "item": (lambda t: t.scalar.item(), True),
    "float": (lambda t: float(t.scalar), True),
    "a question": (lambda t: bool(t.scalar > 1), True),
    "a list": (lambda t: t.ours.tolist(), True),
    "nonzero": (lambda t: t.ours.nonzero(), True),
    "unique": (lambda t: t.indices.unique(), True),
    "synchronize": (lambda t: torch.cuda.synchronize(), True),
}  # fmt: skip


def step(weights: torch.Tensor) -> None:
    """One fused step of AdamW with the scaler's words on the device."""
    parameter = nn.Parameter(weights.clone())
    optimizer = torch.optim.AdamW([parameter], fused=True)
    scaler = torch.amp.GradScaler(weights.device.type)
    scaler.scale(parameter.square().sum()).backward()
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_real_device_does_is_done_and_its_waits_are_counted(name):
    what, waits = ALLOWED[name]
    with pretend(T4) as machine:
        what(things(machine))
        assert bool(machine.waits) == waits, machine.waits
        assert all(event.place.file == "system/test_pretended_device.py" for event in machine.waits)


@pytest.mark.parametrize("card", [T4, A100, M1], ids=lambda card: card.name)
def test_a_network_learns_there_what_it_learns_on_the_cpu(card):
    def learn(device: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        images = torch.rand(8, 3, 8, 8).to(device)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
        ).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for _ in range(3):
            F.cross_entropy(model(images), torch.arange(8, device=device) % 3).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return [value.cpu() for value in model.state_dict().values()]

    there = learn("cpu")
    with pretend(card):
        here = learn(card.kind)
    assert not any(isinstance(value, Pretended) for value in here)
    for ours, theirs in zip(here, there, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_autocast_keeps_in_float32_what_cuda_keeps():
    with pretend(T4), torch.autocast("cuda", torch.float16):
        images = torch.ones(2, 4, device="cuda")
        halves = nn.Linear(4, 4).cuda()(images)
        assert halves.dtype == torch.float16
        assert (halves + halves).dtype == torch.float16
        for kept in (halves.softmax(-1), halves.sum(), nn.LayerNorm(4).cuda()(halves)):
            assert kept.dtype == torch.float32
        assert torch.is_autocast_enabled("cuda")
        with torch.autocast("cuda", enabled=False):
            assert halves.softmax(-1).dtype == torch.float16


def test_mps_has_no_float64():
    with pretend(M1):
        halves = torch.ones(3, device="mps")
        for make in (halves.double, lambda: torch.ones(3).double().to("mps")):
            with pytest.raises(TypeError, match="MPS framework doesn't support float64"):
                make()
        assert torch.ones(3).double().to("mps", torch.float32).device.type == "mps"


def test_two_cards_are_two_devices():
    with pretend(T4._replace(count=2)) as machine:
        first, second = (torch.ones(3, device=device) for device in ("cuda", "cuda:1"))
        assert (str(first.device), str(second.device)) == ("cuda:0", "cuda:1")
        with pytest.raises(RuntimeError, match=f"{MIXED}.*cuda:1 and cuda:0"):
            first + second
        assert torch.equal((first + second.to("cuda:0")).cpu(), torch.full((3,), 2.0))
        torch.cuda.memory_allocated("cuda:1")
        torch.cuda.memory_allocated()
        assert machine.asked == {("memory_allocated", 1): 1, ("memory_allocated", 0): 1}


def test_memory_is_that_of_the_tensors_which_live():
    with pretend(T4._replace(memory=10_000)):
        assert torch.cuda.memory_allocated() == 0
        first = torch.zeros(1000, device="cuda")
        part = first[10:]
        del first
        assert torch.cuda.memory_allocated() == 4000  # a part holds the whole
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            torch.zeros(2000, device="cuda")
        del part
        assert (torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()) == (0, 4000)
        torch.cuda.reset_peak_memory_stats()
        assert torch.cuda.max_memory_allocated() == 0


def test_the_device_has_its_own_random_numbers():
    before = torch.get_rng_state()
    with pretend(T4):
        torch.cuda.manual_seed(3)
        first = torch.rand(4, device="cuda").cpu()
        second = torch.rand(4, device="cuda").cpu()
        torch.cuda.manual_seed(3)
        assert torch.equal(first, torch.rand(4, device="cuda").cpu())
        assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


def test_rules_hold_in_other_threads():
    faults: list[BaseException] = []

    def mix() -> None:
        try:
            torch.ones(3, device="cuda") + torch.ones(3)
        except RuntimeError as fault:
            faults.append(fault)

    with pretend(T4):
        thread = threading.Thread(target=mix)
        thread.start()
        thread.join()
    assert len(faults) == 1 and MIXED in str(faults[0])


def test_views_launch_nothing_and_operations_one_kernel_each():
    with pretend(T4) as machine:
        images = torch.empty(2, 3, device="cuda")
        images.t().unsqueeze(0)[..., 1].detach()
        assert not machine.launches
        images.zero_().add_(1)
        assert machine.launches.total() == 2 and not machine.waits


@pytest.mark.parametrize("card", [T4, M1], ids=lambda card: card.kind)
def test_pytorch_is_itself_again_afterwards(card):
    def present() -> list[object]:
        return [getattr(owner, name) for owner, name, _ in replacements(Machine(card))]

    before = present()
    with pretend(card):
        assert present() != before
    assert present() == before
    assert not isinstance(torch.ones(2), Pretended)
