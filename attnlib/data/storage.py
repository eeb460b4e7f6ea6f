"""Storage of a split's pixels while batches are made: on the device, or staged from the host."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnlib.data.mapped import MappedImages
from attnlib.data.readers import ImageFiles, Images

STAGE_BYTES = 64 * 2**20  # bytes read ahead at a time
Indices = NDArray[np.int64]


class Pixels(Protocol):
    """Storage that returns images by position."""

    size: tuple[int, int]  # height and width

    def fetch(self, wanted: Sequence[Indices]) -> Iterator[Tensor]:
        """The images of each array of positions, in order, on the device: uint8 (B, H, W, 3)."""


class Resident:
    """All images on the device."""

    def __init__(self, images: Tensor):
        self.images = images
        self.size = (images.shape[1], images.shape[2])

    def fetch(self, wanted: Sequence[Indices]) -> Iterator[Tensor]:
        """The images of each array of positions, in order: uint8 (B, H, W, 3)."""
        for indices in wanted:
            yield self.images[send([indices], self.images.device)[0]]


class Staged:
    """Images on the host or in a file; a thread reads those of the next steps ahead."""

    def __init__(
        self, images: NDArray[np.uint8] | MappedImages, size: tuple[int, int], device: torch.device
    ):
        self.images, self.size, self.device = images, size, device

    def fetch(self, wanted: Sequence[Indices]) -> Iterator[Tensor]:
        """The images of each array of positions, in order, on the device: uint8 (B, H, W, 3)."""
        groups = self._group(wanted)
        with ThreadPoolExecutor(1) as thread:
            coming = [thread.submit(self._read, group) for group in groups[:1]]
            for number, group in enumerate(groups):
                pixels = coming.pop().result()
                coming += [thread.submit(self._read, g) for g in groups[number + 1 : number + 2]]
                staged = pixels.to(self.device, non_blocking=True)
                yield from staged.split([len(indices) for indices in group])

    def _group(self, wanted: Sequence[Indices]) -> list[list[Indices]]:
        """Group consecutive batches of up to ``STAGE_BYTES``."""
        groups: list[list[Indices]] = []
        room = 0
        for indices in wanted:
            needed = len(indices) * self.size[0] * self.size[1] * 3
            if not groups or needed > room:
                groups.append([])
                room = STAGE_BYTES
            groups[-1].append(indices)
            room -= needed
        return groups

    def _read(self, group: list[Indices]) -> Tensor:
        indices = np.concatenate(group)
        order = np.argsort(indices)  # in the file's order
        pixels = np.empty((len(indices), *self.size, 3), np.uint8)
        pixels[order] = self.images[indices[order]]
        tensor = torch.from_numpy(pixels)
        return pinned(tensor, self.device)


def place_pixels(images: Images, device: torch.device, memory: int | None = None) -> Pixels:
    """Place images for batching: on the device if they fit, else staged.

    Args:
        images: uint8 (N, H, W, 3), in memory or mapped from a file.
        device: Where batches are made.
        memory: Bytes available for images there; if None, half of what a CUDA device has
            free; on a CPU, whatever is in memory already.

    Raises:
        ValueError: If the images are files, whose sizes may differ.
    """
    if isinstance(images, ImageFiles):
        raise ValueError(
            "input: images that are files, of sizes that may differ, need input=reference; "
            "faithful and fast take arrays of one size."
        )
    N, H, W, _ = images.shape
    if memory is None and device.type == "cuda":
        memory = torch.cuda.mem_get_info(device)[0] // 2
    if memory is not None and memory < N * H * W * 3:
        return Staged(images, (H, W), device)
    if isinstance(images, np.ndarray):
        return Resident(torch.from_numpy(images).to(device))
    if device.type == "cpu":
        return Staged(images, (H, W), device)
    resident = torch.empty(N, H, W, 3, dtype=torch.uint8, device=device)
    for start in range(0, N, few := max(1, STAGE_BYTES // (H * W * 3))):
        resident[start : start + few] = torch.from_numpy(images[start : start + few])
    return Resident(resident)


def send(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Arrays as tensors on the device, float32 or int32, in one asynchronous transfer."""
    short = [np.asarray(a, np.float32 if a.dtype.kind == "f" else np.int32) for a in arrays]
    if device.type == "cpu":
        return [torch.from_numpy(array) for array in short]
    words = torch.from_numpy(np.concatenate([array.ravel().view(np.int32) for array in short]))
    sent = pinned(words, device).to(device, non_blocking=True)
    return [
        (part.view(torch.float32) if array.dtype.kind == "f" else part).view(array.shape)
        for part, array in zip(sent.split([array.size for array in short]), short, strict=True)
    ]


def send_together(*groups: Sequence[NDArray[Any]], device: torch.device) -> Iterator[list[Tensor]]:
    """``send`` several groups of arrays in one transfer; returns them by group."""
    sent = iter(send([array for group in groups for array in group], device))
    return ([next(sent) for _ in group] for group in groups)


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy in memory pinned in the context of a CUDA device; on other devices, unchanged."""
    if device.type != "cuda":
        return tensor
    with current_device(device):
        return tensor.pin_memory()


@contextmanager
def current_device(device: torch.device) -> Iterator[None]:
    """Make a CUDA ``device`` the current one of this thread, to which pinned memory belongs."""
    if device.type != "cuda" or device.index is None:
        yield
        return
    before = torch.cuda.current_device()
    torch.cuda.set_device(device)
    try:
        yield
    finally:
        torch.cuda.set_device(before)
