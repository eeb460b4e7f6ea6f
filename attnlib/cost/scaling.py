"""The scaling law of chapter 3: time and memory of attention by number of tokens."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from attnlib.cost.measure import UNSTABLE
from attnlib.cost.memory_replay import Prepared, replay
from attnlib.models.layers import Attention, ClassAttention, attention_weights
from attnlib.records.measurements import Row
from attnlib.stats.intervals import Estimate, t_reach

LAYER_WIDTH, LAYER_HEADS = 192, 3  # DeiT-T's
# Squares: 8 x 8 patches to 56 x 56.
TOKEN_COUNTS = (64, 196, 400, 784, 1225, 1600, 2025, 2500, 3136)
FIT_FROM = 1225  # tokens; below, caches and launch overhead bend the line
SHORTEST = 2e-3  # minimum seconds per timing, for the clock's resolution
LAYER_TITLES = {
    "explicit": "self-attention, explicit",
    "fused": "self-attention, fused",
    "class_token": "class-token attention",
    "projections": "projections",
}


def prepare_layer(layer: str, tokens: int, batch_size: int, device: str = "cpu") -> Prepared:
    """Build a layer and its arguments for ``tokens`` tokens of width 192.

    "explicit" and "fused" are only eq. 2.1, from queries, keys and values, with the N x N
    weights in memory or not; "projections" are the linear layers around it. "class_token" is the
    whole layer of chapter 6, with a single query, including its projections.

    Raises:
        ValueError: If ``layer`` is unknown.
    """
    if layer not in LAYER_TITLES:
        raise ValueError(f"layer: expected one of {', '.join(LAYER_TITLES)}; got {layer!r}")
    with torch.device(device):
        if layer == "class_token":
            token = torch.rand(batch_size, 1, LAYER_WIDTH)
            context = torch.rand(batch_size, tokens, LAYER_WIDTH)
            return ClassAttention(LAYER_WIDTH, LAYER_HEADS, LAYER_WIDTH), (token, context)
        if layer == "projections":
            context = torch.rand(batch_size, tokens, LAYER_WIDTH)
            return _projections(Attention(LAYER_WIDTH, LAYER_HEADS)), (context,)
        shape = (batch_size, LAYER_HEADS, tokens, LAYER_WIDTH // LAYER_HEADS)
        q, k, v = (torch.rand(shape) for _ in range(3))
    return (F.scaled_dot_product_attention if layer == "fused" else _explicit), (q, k, v)


def measure_scaling(
    layers: Sequence[str] = tuple(LAYER_TITLES),
    tokens: Sequence[int] = TOKEN_COUNTS,
    *,
    batch_size: int = 2,
    repeats: int = 5,
    device: str = "cpu",
) -> list[Row]:
    """Measure time and memory of each layer at each number of tokens, without gradients.

    Timings are interleaved: each repeat visits every case once, so that a slow phase of the machine
    affects all cases alike. Other processes can only add to a timing, so the law is fitted
    to the fastest. Memory is computed from shapes and is exact.

    Returns:
        A row per layer, number of tokens and quantity: "seconds" per pass, the fastest, with the
        quartiles of all timings, and "peak_bytes".
    """
    cases = [(layer, n) for layer in layers for n in tokens]
    timings: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    with torch.no_grad():
        timers = {case: _timer(prepare_layer(*case, batch_size, device), device) for case in cases}
        for _ in range(repeats):
            for case, timer in timers.items():
                timings[case].append(timer())
    about = {"batch_size": batch_size, "embed_dim": LAYER_WIDTH, "num_heads": LAYER_HEADS}
    rows: list[Row] = []
    for layer, n in cases:
        low, middle, high = map(float, np.percentile(timings[layer, n], [25, 50, 75]))
        row = {"layer": layer, "tokens": n, **about}
        timed = {
            "value": min(timings[layer, n]),
            "low": low,
            "high": high,
            "unit": "s",
            "repeats": repeats,
        }
        stable = (high - low) / middle <= UNSTABLE
        rows.append({**row, "quantity": "seconds", **timed, "stable": stable, "basis": "timed"})
        memory = replay(partial(prepare_layer, layer, n, batch_size))
        counted = {"value": memory.peak_bytes, "low": None, "high": None, "unit": "bytes"}
        counted |= {"repeats": None, "stable": None, "basis": memory.basis}
        rows.append({**row, "quantity": "peak_bytes", **counted})
    return rows


def fit_exponent(tokens: npt.ArrayLike, values: npt.ArrayLike) -> Estimate:
    """Exponent b of values ~ tokens^b: slope of a line through the logarithms, with t-interval.

    The interval covers the scatter about the line, whether noise or curvature.

    Raises:
        ValueError: If there are fewer than three points, or one is not above 0.
    """
    x, y = np.asarray(tokens, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3 or not (x > 0).all() or not (y > 0).all():
        raise ValueError(f"expected three or more pairs above 0; got {x.tolist()}, {y.tolist()}.")
    line = stats.linregress(np.log(x), np.log(y))
    slope, reach = float(line.slope), t_reach(float(line.stderr), len(x) - 2)
    return Estimate(slope, slope - reach, slope + reach, len(x))


def exponents(rows: Sequence[Row], fit_from: int = FIT_FROM) -> dict[tuple[str, str], Estimate]:
    """Exponents by (layer, quantity), fitted from ``fit_from`` tokens on."""
    series: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        if row["tokens"] >= fit_from:
            series.setdefault((row["layer"], row["quantity"]), []).append(
                (row["tokens"], row["value"])
            )
    return {key: fit_exponent(*zip(*points, strict=True)) for key, points in series.items()}


def exponent_table(fits: dict[tuple[str, str], Estimate]) -> Any:
    """Table of exponents: one row per layer, time and memory as columns with intervals."""
    import pandas as pd

    columns = {"seconds": "time", "peak_bytes": "memory"}
    cells: dict[str, dict[str, str]] = {}
    for (layer, quantity), fit in fits.items():
        text = f"{fit.value:.2f} [{fit.low:.2f}, {fit.high:.2f}]"
        cells.setdefault(LAYER_TITLES[layer], {})[f"{columns[quantity]}: exponent"] = text
    return pd.DataFrame.from_dict(cells, orient="index")


def _explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_weights(q, k) @ v


def _projections(attention: Attention) -> Callable[[Tensor], Tensor]:
    def project(x: Tensor) -> Tensor:
        _, _, v = attention.project(x)
        return attention.proj(v.transpose(1, 2).flatten(2))

    return project


def _timer(prepared: Prepared, device: str) -> Callable[[], float]:
    """A function that times one pass, after a warm-up pass."""
    compute, arguments = prepared

    def seconds(passes: int) -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(passes):
            compute(*arguments)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / passes

    seconds(1)
    passes = max(1, round(SHORTEST / seconds(1)))
    return lambda: seconds(passes)
