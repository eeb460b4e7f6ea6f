"""Memory use of a computation, from the shapes of its tensors, without running it."""

import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attnlib.models.layers import attention_weights

ATTENTION = ("fused", "explicit")
Prepared = tuple[Callable[..., Tensor], tuple[Tensor, ...]]  # a computation and its arguments


class Memory(NamedTuple):
    """Bytes that a forward pass uses beyond what was allocated before it."""

    peak_bytes: int
    saved_bytes: int | None  # kept by autograd for the backward pass; None: not counted
    basis: str  # "allocated", from CUDA's allocator, or "replayed", computed without a GPU


def replay(
    prepare: Callable[[], Prepared], *, grad: bool = False, attention: str = "fused"
) -> Memory:
    """Compute the memory use of a computation on tensors without content.

    Two independent counts: the peak follows every storage that an operation
    creates until it is freed; ``saved_bytes`` comes from autograd's saved-tensor hooks.

    Args:
        prepare: Makes the computation and its arguments. What exists before the
            computation, such as arguments and weights, is not counted.
        grad: Whether autograd is on.
        attention: "fused" or "explicit".

    Raises:
        ValueError: If ``attention`` is unknown.
    """
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        return tensor

    with FakeTensorMode():
        compute, arguments = prepare()
        live = _LiveBytes()
        with (
            torch.set_grad_enabled(grad),
            live,
            attending(attention),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            result = compute(*arguments)
        saved_bytes = sum(size for key, size in saved.items() if key not in live.before)
        del result
    return Memory(live.peak, saved_bytes, "replayed")


def attending(attention: str) -> AbstractContextManager[object]:
    """A context in which attention runs "fused", unchanged, or "explicit", step by step.

    Raises:
        ValueError: If ``attention`` is unknown.
    """
    if attention not in ATTENTION:
        raise ValueError(f"attention: expected {' or '.join(ATTENTION)}; got {attention!r}")
    return _ExplicitAttention() if attention == "explicit" else nullcontext()


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that were created inside and not yet freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.made: dict[int, Any] = {}
        self.before: dict[int, Any] = {}  # storages that were created outside

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for storage in _storages((args, kwargs)):
            if storage._cdata not in self.made:
                self.before[storage._cdata] = storage
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._count(storage)
        return result

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.made or key in self.before:
            return

        def freed(_: object) -> None:
            del self.made[key]
            self.now -= size

        self.made[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


class _ExplicitAttention(TorchFunctionMode):
    """Replaces fused attention by separate steps, with the weights in memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            q, k, v = args[:3]
            return attention_weights(q, k) @ v
        return func(*args, **(kwargs or {}))


def _storages(values: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
