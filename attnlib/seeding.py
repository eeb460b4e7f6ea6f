"""Random numbers that depend only on (seed, keys), not on what was drawn before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray


def derive_seed(seed: int, *keys: int | str) -> int:
    """A 63-bit seed for one purpose, such as ``derive_seed(seed, "order", epoch)``."""
    words = [int.from_bytes(k.encode(), "little") if isinstance(k, str) else k for k in keys]
    state = np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)
    return int(state[0] >> 1)


def make_generator(seed: int, *keys: int | str, device: str = "cpu") -> torch.Generator:
    """A generator seeded by ``derive_seed``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *keys))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and PyTorch's CPU generators inside; restore them afterwards.

    For code that draws from global generators, such as timm's transforms. CUDA generators are
    not touched.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def make_rng(seed: int, *keys: int | str) -> np.random.Generator:
    """NumPy generator seeded by ``derive_seed``, for the few numbers drawn once per batch."""
    return np.random.default_rng(derive_seed(seed, *keys))


def splitmix64(seeds: NDArray[np.uint64], places: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Outputs number ``places``, counted from 0, of SplitMix64 generators seeded with ``seeds``.

    Steele, Lea and Flood (2014), doi:10.1145/2660193.2660195, with Vigna's constants.
    """
    state = seeds + (places + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def sample_uniforms(
    seed: int, key: str, epoch: int, indices: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Numbers in [0, 1) (B, count): row i depends only on (seed, key, epoch, indices[i])."""
    root = np.array([derive_seed(seed, key, epoch)], np.uint64)
    seeds = splitmix64(root, np.asarray(indices).astype(np.uint64))
    words = splitmix64(seeds[:, None], np.arange(count, dtype=np.uint64))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
