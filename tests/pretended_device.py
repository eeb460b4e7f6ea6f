"""A pretended accelerator, so that code for CUDA and MPS runs on machines that have neither.

Inside ``with pretend(T4) as machine:`` PyTorch sees one such card. Tensors on it are real numbers
on the CPU in a wrapper, ``Pretended``, that says it is on ``cuda:0``. Every operation passes
through ``Machine.operate``, which

* refuses what the card would refuse, in PyTorch's words: devices that mix, a generator of another
  device, ``.numpy()``, float64 on MPS;
* notes, by the line of attnlib that asked for it, each time the host would wait for the device
  (``waits``), each kernel that would be launched (``launches``) and each copy between host and
  device (``transfers``);
* counts the bytes of the tensors that live on each card, and runs out of memory as a card would.

What it can't show: speed, races between streams, and kernels' own rounding and memory. C++ takes
the tensors for the CPU's: what branches there by device takes the CPU's branch. Autocast is the
CPU's, but keeps in float32 what CUDA's keeps there. A launch is one operation that computes; on a
card some take two or three. Unlike on a card, parameters that a module moves are new objects.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple
from unittest import mock

import torch
from torch.optim.optimizer import _foreach_supported_types as optimised_types
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _foreach_supported_types as grouped_types
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import attnlib

aten = torch.ops.aten
CPU = torch.device("cpu")
ROOTS = (Path(attnlib.__file__).parent, Path(__file__).parent)  # whose lines are named
RealGenerator = torch.Generator
real_group_tensors = torch._C._group_tensors_by_device_and_dtype


class Card(NamedTuple):
    """What PyTorch tells of an accelerator."""

    kind: str  # of device: cuda or mps
    name: str
    capability: tuple[int, int]
    memory: int  # bytes
    count: int = 1  # such cards in the machine


T4 = Card("cuda", "Tesla T4", (7, 5), 15 * 2**30)  # computes float16, not bfloat16
A100 = Card("cuda", "NVIDIA A100-SXM4-40GB", (8, 0), 40 * 2**30)  # computes bfloat16
M1 = Card("mps", "Apple M1", (0, 0), 5 * 2**30)  # has no float64


class Place(NamedTuple):
    """A line of attnlib, or of a test."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.function}"


class Event(NamedTuple):
    """What a line asked of the device: an operation, a copy, a reason to wait."""

    place: Place
    what: str


class Counts(NamedTuple):
    """How often the host waited, how many kernels were launched, how often data was sent."""

    waits: Counter[Event]
    launches: Counter[Event]
    transfers: Counter[Event]

    def since(self, before: Counts) -> Counts:
        """What was added after ``before``."""
        return Counts(*(own - other for own, other in zip(self, before, strict=True)))


def by_line(events: Counter[Event]) -> str:
    """Counts by line, the largest first."""
    lines: Counter[Place] = Counter()
    for event, count in events.items():
        lines[event.place] += count
    return "\n".join(f"{count:6} {place}" for place, count in lines.most_common())


# Kinds of operations.

COPIES = {aten._to_copy.default, aten.copy_.default, aten._foreach_copy_.default}
INDEXED = {  # positions and masks may be on the host: they are sent over first
    aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default, aten._unsafe_index_put.default,
}  # fmt: skip
TAKES_HOST_SCALARS = {  # as all elementwise operations do
    aten.fill.Tensor, aten.fill_.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor,
    aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
    aten._foreach_add.Tensor, aten._foreach_add_.Tensor, aten._foreach_mul.Tensor,
    aten._foreach_mul_.Tensor, aten._foreach_div.Tensor, aten._foreach_div_.Tensor,
    aten._fused_adamw_.tensor_lr,
}  # fmt: skip
WAITS = {
    aten._local_scalar_dense.default: "a value is read",
    aten.equal.default: "a value is read",
    aten.nonzero.default: "a size depends on values",
    aten.masked_select.default: "a size depends on values",
    aten.repeat_interleave.Tensor: "a size depends on values",
    aten._unique2.default: "a size depends on values",
    aten.unique_dim.default: "a size depends on values",
    aten.bincount.default: "a size depends on values",
}
LAUNCHES_NOTHING = {  # beside views
    aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default,
    aten.new_empty.default, aten.new_empty_strided.default, aten._unsafe_view.default,
    aten._local_scalar_dense.default,
}  # fmt: skip
FLOAT32_IN_AUTOCAST = {  # functions for which CUDA's autocast turns halves into float32
    "cdist", "cosine_similarity", "cross_entropy", "cumprod", "cumsum", "exp", "expm1",
    "group_norm", "kl_div", "l1_loss", "layer_norm", "log", "log10", "log1p", "log2",
    "log_softmax", "logsumexp", "mse_loss", "nll_loss", "norm", "pow", "prod", "reciprocal",
    "rsqrt", "smooth_l1_loss", "softmax", "softplus", "sum",
}  # fmt: skip


class Pretended(torch.Tensor):
    """A tensor on a pretended device; ``values`` holds its numbers on the CPU."""

    values: torch.Tensor
    machine: Machine
    place: torch.device

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: torch.Tensor, machine: Machine, place: torch.device) -> Pretended:
        with torch.inference_mode(False):  # else it could not be a view of one made before
            tensor = torch.Tensor._make_wrapper_subclass(
                cls, values.shape, strides=values.stride(), dtype=values.dtype, device=CPU
            )
        tensor.values, tensor.machine, tensor.place = values.detach(), machine, place
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, cls)]
        return tensors[0].machine.operate(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        return self.place

    @property
    def is_cuda(self) -> bool:
        return self.place.type == "cuda"

    @property
    def is_mps(self) -> bool:
        return self.place.type == "mps"

    @property
    def is_cpu(self) -> bool:
        return False

    def get_device(self) -> int:
        return self.place.index

    def to(self, *args, **kwargs):
        return self.machine.send(self, *args, **kwargs)

    def cpu(self, memory_format=torch.preserve_format):
        return self.to(CPU, memory_format=memory_format)

    def cuda(self, *args, **kwargs):
        return self.machine.send_to_cuda(self, *args, **kwargs)

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.place} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def tolist(self):
        return self.cpu().tolist()

    def pin_memory(self, device=None):
        raise RuntimeError(
            f"cannot pin a tensor of {self.place}: only dense CPU tensors can be pinned"
        )

    def untyped_storage(self):
        return self.values.untyped_storage()

    @property
    def data(self):
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, new):
        torch.Tensor.data.__set__(self, new)
        self.values, self.place = new.values, new.place

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            memo[id(self)] = copied
        return memo[id(self)]

    def __repr__(self, **_) -> str:
        return f"{self.values!r} on {self.place}"


class PretendedGenerator(RealGenerator):
    """``torch.Generator`` that says it is on the device it was asked for.

    Operations are given another Python object for it, so it is known by its address.
    """

    place: torch.device
    known: ClassVar[weakref.WeakValueDictionary] = weakref.WeakValueDictionary()

    @staticmethod
    def __new__(cls, device: Any = "cpu") -> PretendedGenerator:
        generator = RealGenerator.__new__(cls)
        place = torch.device(device)
        generator.place = place if place == CPU else torch.device(place.type, place.index or 0)
        cls.known[generator._cdata] = generator
        return generator

    @property
    def device(self) -> torch.device:
        return self.place


class Memory:
    """Bytes of the tensors that live on each card, and the most that there were."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.bytes, self.most = [0] * card.count, [0] * card.count

    def hold(self, values: torch.Tensor, place: torch.device) -> None:
        """Count the storage of ``values`` until nobody holds it any more.

        Raises:
            torch.OutOfMemoryError: If the card has no room for it.
        """
        storage, index = values.untyped_storage(), place.index
        if hasattr(storage, "is_held"):
            return
        size = storage.nbytes()
        if self.bytes[index] + size > self.card.memory:
            name = place.type.upper()
            raise torch.OutOfMemoryError(
                f"{name} out of memory. Tried to allocate {size / 2**20:.2f} MiB. GPU {index} has "
                f"a total capacity of {self.card.memory / 2**30:.2f} GiB"
            )
        storage.is_held = True
        self.add(index, size)
        weakref.finalize(storage, self.add, index, -size).atexit = False

    def add(self, index: int, size: int) -> None:
        """``size`` bytes more, or less, on card ``index``."""
        self.bytes[index] += size
        self.most[index] = max(self.most[index], self.bytes[index])

    def now(self, index: int) -> int:
        """Bytes in use."""
        return self.bytes[index]

    def peak(self, index: int) -> int:
        """The most bytes in use since ``reset``."""
        return self.most[index]

    def reset(self, index: int) -> None:
        """Begin to look for the most again."""
        self.most[index] = self.bytes[index]

    def free_and_total(self, index: int) -> tuple[int, int]:
        """Bytes that can still be taken, and all."""
        return self.card.memory - self.bytes[index], self.card.memory


class Machine:
    """A machine with pretended cards, and what its host and its device did.

    Attributes:
        waits: When the host waited for the device.
        launches: Kernels that were launched.
        transfers: Copies between host and device, with a wait or without.
        asked: Questions about a card, such as ``memory_allocated``, and the card's number.
    """

    def __init__(self, card: Card) -> None:
        self.card = card
        self.waits: Counter[Event] = Counter()
        self.launches: Counter[Event] = Counter()
        self.transfers: Counter[Event] = Counter()
        self.asked: Counter[tuple[str, int]] = Counter()
        self.memory = Memory(card)
        self.current = 0  # the card that ``cuda`` without a number means
        self.generators = tuple(
            PretendedGenerator(f"{card.kind}:{index}") for index in range(card.count)
        )
        self.thread = threading.local()  # its to_host: whether the CPU was asked for, see asking

    def place(self, device: torch.device | str | int | None) -> torch.device:
        """A card's device with its number; None and a kind alone mean the current card."""
        if isinstance(device, int):
            return torch.device(self.card.kind, device)
        index = None if device is None else torch.device(device).index
        return torch.device(self.card.kind, self.current if index is None else index)

    def is_ours(self, device: Any) -> bool:
        """Whether ``device`` names one of the pretended cards."""
        return device is not None and torch.device(device).type == self.card.kind

    def set_current(self, device: torch.device | str | int) -> None:
        """Let a kind alone mean this card."""
        self.current = self.place(device).index

    @contextmanager
    def on(self, device: torch.device | str | int | None) -> Iterator[None]:
        """Inside, a kind alone means this card."""
        before, self.current = self.current, self.place(device).index
        try:
            yield
        finally:
            self.current = before

    def answer(self, question: str, facts: Callable[[int], Any]) -> Callable[..., Any]:
        """A function that tells ``facts`` of a card, and notes that it was asked."""

        def told(device: torch.device | str | int | None = None) -> Any:
            index = self.place(device).index
            self.asked[question, index] += 1
            return facts(index)

        return told

    def synchronize(self, device: torch.device | str | int | None = None) -> None:
        """Wait for all that was launched."""
        self.asked["synchronize", self.place(device).index] += 1
        self.wait("synchronize")

    def wait(self, what: str) -> None:
        """The host waits for the device."""
        self.waits[Event(find_place(), what)] += 1

    def counts(self) -> Counts:
        """What was counted until now."""
        return Counts(Counter(self.waits), Counter(self.launches), Counter(self.transfers))

    def operate(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Do an operation of aten as the card would: refuse it, or note it and compute it."""
        tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        ours = [t for t in tensors if isinstance(t, Pretended)]
        target = self._target(func, args, kwargs.get("device"), ours)
        self._refuse_generator((*args, *kwargs.values()), target or CPU)
        if not ours and target is None:
            return func(*args, **kwargs)
        if func in COPIES:
            self._note_copy(func, args, kwargs, target)
        else:
            self._refuse_mixes(func, args, tensors)
            self._note_work(func, args)
        result = self._compute(func, args, kwargs, target)
        return result if target is None else self._wrap(func, tensors, result, target)

    def send(self, tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """``Tensor.to``, which C++ would not do for a device that it does not have."""
        like = args[0] if args and isinstance(args[0], torch.Tensor) else kwargs.pop("other", None)
        if like is not None:
            args = (like.device, like.dtype, *args[1:])
        copy = kwargs.pop("copy", False)
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        device = tensor.device if device is None else device
        device = self.place(device) if self.is_ours(device) else device
        dtype = tensor.dtype if dtype is None else dtype
        same = device == tensor.device and dtype == tensor.dtype
        kept = layout in (None, torch.preserve_format) or tensor.is_contiguous(memory_format=layout)
        if same and kept and not copy:
            return tensor
        with self.asking(device):
            return aten._to_copy.default(
                tensor, dtype=dtype, device=device, non_blocking=non_blocking, memory_format=layout
            )

    def send_to_cuda(
        self,
        tensor: torch.Tensor,
        device: torch.device | str | int | None = None,
        non_blocking: bool = False,
        memory_format: torch.memory_format = torch.preserve_format,
    ) -> torch.Tensor:
        """``Tensor.cuda``."""
        if self.card.kind != "cuda":
            raise RuntimeError("no CUDA device is pretended here")
        place = self.place(device)
        return self.send(tensor, place, non_blocking=non_blocking, memory_format=memory_format)

    @contextmanager
    def asking(self, device: Any) -> Iterator[None]:
        """Inside, ``device`` was asked for: if it is the CPU, the host is meant.

        Else it is C++ that repeats what it takes for a tensor's own device.
        """
        before = getattr(self.thread, "to_host", False)
        self.thread.to_host = device is not None and torch.device(device) == CPU
        try:
            yield
        finally:
            self.thread.to_host = before

    def _target(
        self, func: Any, args: Any, asked: Any, ours: list[Pretended]
    ) -> torch.device | None:
        """The card that holds the result; None: the host, or no device at all."""
        if self.is_ours(asked):
            return self.place(asked)
        if func in COPIES and func is not aten._to_copy.default:
            into = args[0] if isinstance(args[0], torch.Tensor) else args[0][0]
            return into.place if isinstance(into, Pretended) else None
        if asked is not None and (
            torch.device(asked) != CPU or getattr(self.thread, "to_host", False)
        ):
            return None
        return ours[0].place if ours else None

    def _refuse_mixes(self, func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
        indices = {id(value) for value in tree_leaves(args[1])} if func in INDEXED else set()
        takes_scalars = torch.Tag.pointwise in func.tags or func in TAKES_HOST_SCALARS
        written = {
            id(tensor)
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for tensor in tree_leaves(value)
        }
        devices = set()
        for tensor in tensors:
            may_stay = id(tensor) in indices or (
                takes_scalars and tensor.ndim == 0 and id(tensor) not in written
            )
            if isinstance(tensor, Pretended) or not may_stay:
                devices.add(str(tensor.device))
        if len(devices) > 1:
            first, second = sorted(devices, reverse=True)[:2]
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{first} and {second}! ({func}, called from {find_place()})"
            )

    def _refuse_generator(self, values: tuple[Any, ...], target: torch.device) -> None:
        for value in values:
            if not isinstance(value, RealGenerator):
                continue
            found = PretendedGenerator.known.get(value._cdata, value).device
            if found != target:
                raise RuntimeError(
                    f"Expected a '{target.type}' device type for generator but found "
                    f"'{found.type}' (called from {find_place()})"
                )

    def _note_copy(self, func: Any, args: Any, kwargs: Any, target: torch.device | None) -> None:
        """A kernel on a card, or a transfer, which is waited for unless it may be left alone."""
        if kwargs.get("device") == torch.device("meta"):
            return
        sources = [args[0]] if func is aten._to_copy.default else tree_leaves(args[1])
        non_blocking = kwargs.get("non_blocking") or (len(args) > 2 and args[2])
        for source in sources:
            if not isinstance(source, Pretended):
                self.transfers[Event(find_place(), "up")] += 1
                if not non_blocking:
                    self.wait("a copy from the host")
                elif self.card.kind == "cuda" and not is_pinned(source):
                    self.wait("a copy from pageable memory")
            elif target is None:
                self.transfers[Event(find_place(), "down")] += 1
                if not non_blocking:
                    self.wait("a copy to the host")
            else:
                self.launches[Event(find_place(), str(func))] += 1

    def _note_work(self, func: Any, args: Any) -> None:
        if func in WAITS:
            self.wait(WAITS[func])
        if func in INDEXED:
            indices = [t for t in tree_leaves(args[1]) if isinstance(t, torch.Tensor)]
            is_fill = len(args) > 2 and len(indices) == 1 and args[2].numel() == 1
            if any(not isinstance(t, Pretended) and t.ndim for t in indices):
                self.wait("indices that are on the host")
            elif any(t.dtype in (torch.bool, torch.uint8) for t in indices) and not is_fill:
                self.wait("a size depends on values")
        if not func.is_view and func not in LAUNCHES_NOTHING:
            self.launches[Event(find_place(), str(func))] += 1

    def _compute(self, func: Any, args: Any, kwargs: Any, target: torch.device | None) -> Any:
        args, kwargs = tree_map_only(Pretended, lambda t: t.values, (args, kwargs))
        if target is not None and "device" in kwargs:
            kwargs = kwargs | {"device": CPU}
        given = any(isinstance(value, RealGenerator) for value in (*args, *kwargs.values()))
        if target is None or given or torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        generator = self.generators[target.index]  # not the CPU's, which stays as it is
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(generator.get_state())
            result = func(*args, **kwargs)
            generator.set_state(torch.get_rng_state())
        return result

    def _wrap(
        self, func: Any, tensors: list[torch.Tensor], result: Any, target: torch.device
    ) -> Any:
        known = {id(t.values): t for t in tensors if isinstance(t, Pretended)}

        def wrapped(values: torch.Tensor) -> torch.Tensor:
            if (tensor := known.get(id(values))) is not None:
                if tensor.shape != values.shape:
                    raise NotImplementedError(f"{func} resizes a pretended tensor in place")
                return tensor
            if target.type == "mps" and values.dtype in (torch.float64, torch.complex128):
                raise TypeError(
                    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't "
                    f"support float64. Please use float32 instead. (called from {find_place()})"
                )
            self.memory.hold(values, target)
            return Pretended(values, self, target)

        return tree_map_only(torch.Tensor, wrapped, result)


class _Operations(TorchDispatchMode):
    """Takes every operation to the machine, those on plain tensors too."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.machine.operate(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Takes over what C++ does to plain tensors before there is an operation to see."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, machine = kwargs or {}, self.machine
        device = kwargs.get("device")
        if func is torch.Tensor.to:
            return machine.send(*args, **kwargs)
        if func is torch.Tensor.cuda:
            return machine.send_to_cuda(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and machine.is_ours(device):
            return machine.send(func(*args, **{**kwargs, "device": CPU}), device)
        if func is torch.Tensor.new_tensor and isinstance(args[0], Pretended) and device is None:
            made = torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs})
            return machine.send(made, args[0].place)
        name = getattr(func, "__name__", "")
        if name in FLOAT32_IN_AUTOCAST and torch.is_autocast_enabled(machine.card.kind):
            args, kwargs = tree_map_only(Pretended, widened, (args, kwargs))
        with machine.asking(device):
            return func(*args, **kwargs)


def widened(tensor: Pretended) -> torch.Tensor:
    """float32 where a half is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def find_place() -> Place:
    """The innermost line of attnlib, or of a test, that is running."""
    frame = sys._getframe(1)
    while frame is not None:
        if file := shown_name(frame.f_code.co_filename):
            return Place(file, frame.f_lineno, frame.f_code.co_qualname)
        frame = frame.f_back
    return Place("elsewhere", 0, "")


@cache
def shown_name(file: str) -> str | None:
    """A file of attnlib or of the tests, from there on; None: another's, or this one."""
    path = Path(file)
    root = next((root for root in ROOTS if path.is_relative_to(root)), None)
    return None if root is None or file == __file__ else path.relative_to(root).as_posix()


# What PyTorch says of a machine with such cards.


@contextmanager
def pretend(card: Card) -> Iterator[Machine]:
    """Inside, PyTorch sees a machine with ``card``; what happens there is in the Machine given."""
    machine = Machine(card)
    with ExitStack() as stack:
        for owner, name, value in replacements(machine):
            stack.enter_context(mock.patch.object(owner, name, value))
        for types in (optimised_types, grouped_types):
            types.append(Pretended)
            stack.callback(types.remove, Pretended)
        stack.enter_context(_Functions(machine))
        stack.enter_context(_Operations(machine))
        yield machine


def replacements(machine: Machine) -> Iterator[tuple[Any, str, Any]]:
    """What stands in for names of PyTorch: their module or class, the name, the stand-in."""
    card, answer, memory = machine.card, machine.answer, machine.memory
    yield torch, "Generator", PretendedGenerator
    yield torch, "_has_compatible_shallow_copy_type", have_one_home
    yield torch._C, "_group_tensors_by_device_and_dtype", group_tensors
    yield torch.Tensor, "pin_memory", pin_memory
    yield torch.Tensor, "is_pinned", is_pinned
    yield threading.Thread, "run", run_thread(machine)
    yield from autocast_replacements(card.kind)
    stream = SimpleNamespace(is_capturing=lambda: False, synchronize=machine.synchronize)
    shared = {  # by modules
        "device_count": lambda: card.count,
        "synchronize": machine.synchronize,
        "empty_cache": lambda: None,
    }
    general = {
        "is_available": lambda: True,
        "current_accelerator": lambda check_available=False: torch.device(card.kind),
        "device_count": lambda: card.count,
        "current_device_index": lambda: machine.current,
        "set_device_index": machine.set_current,
        "current_stream": lambda device=None: stream,
        "synchronize": machine.synchronize,
    }
    cuda = shared | {
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "default_generators": machine.generators,
        "device": machine.on,
        "current_device": lambda: machine.current,
        "set_device": machine.set_current,
        "is_current_stream_capturing": lambda: False,
        "get_device_name": answer("get_device_name", lambda index: card.name),
        "get_device_capability": answer("get_device_capability", lambda index: card.capability),
        "get_device_properties": answer("get_device_properties", lambda index: properties(card)),
        "mem_get_info": answer("mem_get_info", memory.free_and_total),
        "memory_allocated": answer("memory_allocated", memory.now),
        "memory_reserved": answer("memory_reserved", memory.now),
        "max_memory_allocated": answer("max_memory_allocated", memory.peak),
        "reset_peak_memory_stats": answer("reset_peak_memory_stats", memory.reset),
    }
    mps = shared | {
        "manual_seed": machine.generators[0].manual_seed,
        "_get_default_mps_generator": lambda: machine.generators[0],
        "current_allocated_memory": lambda: memory.now(0),
        "driver_allocated_memory": lambda: memory.now(0),
        "recommended_max_memory": lambda: card.memory,
    }
    for name, value in general.items():
        yield torch.accelerator, name, value
    modules = (torch.cuda, torch.cuda.random) if card.kind == "cuda" else (torch.mps,)
    for name, value in (cuda if card.kind == "cuda" else mps).items():
        yield from ((module, name, value) for module in modules if hasattr(module, name))
    for module, kind in ((torch.cuda, "cuda"), (torch.backends.mps, "mps")):
        yield module, "is_available", lambda answer=kind == card.kind: answer


def properties(card: Card) -> SimpleNamespace:
    """What ``torch.cuda.get_device_properties`` tells."""
    major, minor = card.capability
    return SimpleNamespace(
        name=card.name, major=major, minor=minor, total_memory=card.memory, multi_processor_count=40
    )


def pin_memory(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    """``Tensor.pin_memory``: a copy that a card can fetch while the host goes on."""
    pinned = tensor.clone()
    pinned.untyped_storage().is_in_pinned_memory = True  # views share the storage
    return pinned


def is_pinned(tensor: torch.Tensor, device: Any = None) -> bool:
    """``Tensor.is_pinned``."""
    return hasattr(tensor.untyped_storage(), "is_in_pinned_memory")


def have_one_home(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether a module may put one tensor into the other's place."""
    return isinstance(first, Pretended) == isinstance(second, Pretended)


def group_tensors(lists: Any, with_indices: bool = False) -> Any:
    """PyTorch's groups of tensors by device and dtype, with the device that they pretend."""
    groups = real_group_tensors(lists, with_indices)
    return {(group[0][0][0].device, dtype): group for (_, dtype), group in groups.items()}


def run_thread(machine: Machine) -> Callable[[threading.Thread], None]:
    """``Thread.run`` with the machine's rules, which else hold for one thread only."""
    run = threading.Thread.run

    def run_inside(thread: threading.Thread) -> None:
        with _Functions(machine), _Operations(machine):
            run(thread)

    return run_inside


def autocast_replacements(kind: str) -> Iterator[tuple[Any, str, Any]]:
    """Autocast of the CPU under the card's name."""
    begin, is_enabled, dtype_of = (
        torch.autocast.__init__, torch.is_autocast_enabled, torch.get_autocast_dtype
    )  # fmt: skip

    def begin_there(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        dtype = dtype_of(device_type) if dtype is None else dtype
        begin(self, "cpu" if device_type == kind else device_type, dtype, enabled, cache_enabled)

    yield torch.autocast, "__init__", begin_there
    for name, real in (("is_autocast_enabled", is_enabled), ("get_autocast_dtype", dtype_of)):
        yield torch, name, lambda asked="cuda", real=real: real("cpu" if asked == kind else asked)
