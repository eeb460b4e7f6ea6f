"""Deletion and insertion tests of attribution maps; entropy and distance of attention."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter
from scipy.stats import ttest_1samp
from torch import Tensor, nn

from attnlib.models.hooks import TokenGrid, patches_to_grid
from attnlib.models.modes import evaluating
from attnlib.stats.intervals import LEVEL, Estimate, holm, mean_interval

if TYPE_CHECKING:
    import pandas as pd

IMAGES_A_PASS = 128  # images per forward pass


@dataclass(frozen=True)
class Curves:
    """Probability of each image's class as pixels are deleted, and as they are inserted.

    Attributes:
        shares: (S + 1,), the share of pixels deleted or inserted, from 0 to 1.
        deletion: (B, S + 1).
        insertion: (B, S + 1).
    """

    shares: npt.NDArray[np.float64]
    deletion: npt.NDArray[np.float64]
    insertion: npt.NDArray[np.float64]

    @property
    def deletion_area(self) -> npt.NDArray[np.float64]:
        """Area under each image's deletion curve (B,); lower is better."""
        return trapezoid(self.deletion, self.shares, axis=1)

    @property
    def insertion_area(self) -> npt.NDArray[np.float64]:
        """Area under each image's insertion curve (B,); higher is better."""
        return trapezoid(self.insertion, self.shares, axis=1)


def deletion_and_insertion(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int = 16,
    deleted: str = "mean",
    inserted: str = "colours",
) -> Curves:
    """Deletion and insertion curves of maps, Petsiuk et al. (2018), arXiv:1806.07421, section 3.2.

    Deletion replaces pixels by a substrate, highest map values first; insertion puts them, in the
    same order, into another. By default these are the image's mean colour, and an image so blurred
    that only nine colours remain; the paper's own are "black" and "blur", which make
    results comparable with it.

    Args:
        model: Images in [0, 1] to logits; it is left as it was.
        images: (B, 3, H, W).
        maps: (B, H, W), larger where more important; ties are in reading order.
        classes: (B,), whose probability is followed.
        steps: Number of steps S, each with the same number of pixels.
        deleted: What replaces deleted pixels, one of ``SUBSTRATES``.
        inserted: What pixels are inserted into, one of ``SUBSTRATES``.

    Raises:
        ValueError: If images and maps do not fit, there are no steps, or a substrate is unknown.
    """
    B, _, H, W = images.shape
    if maps.shape != (B, H, W) or classes.shape != (B,) or steps < 1:
        raise ValueError(
            f"expected maps {(B, H, W)}, classes {(B,)} and steps >= 1; "
            f"got {tuple(maps.shape)}, {tuple(classes.shape)} and {steps}"
        )
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1).view(B, 1, H, W)
    empty, blurred = substrate(images, deleted), substrate(images, inserted)
    shares = np.linspace(0, 1, steps + 1)
    deletion, insertion = [], []
    for share in shares:
        chosen = rank < round(share * H * W)
        less = torch.where(chosen, empty, images)
        more = torch.where(chosen, images, blurred)
        both = _probability(model, torch.cat([less, more]), classes.repeat(2))
        deletion.append(both[:B])
        insertion.append(both[B:])
    return Curves(shares, np.stack(deletion, axis=1), np.stack(insertion, axis=1))


def substrate(images: Tensor, kind: str) -> Tensor:
    """Images replaced by one of ``SUBSTRATES``, same shape (B, 3, H, W).

    Raises:
        ValueError: If the substrate is unknown.
    """
    if kind not in SUBSTRATES:
        raise ValueError(f"substrate: unknown {kind!r}. Valid: {', '.join(SUBSTRATES)}.")
    return SUBSTRATES[kind](images)


def gaussian_blur(images: Tensor) -> Tensor:
    """Blur as RISE's authors do: a kernel of 11 pixels and sigma 5, black beyond the edges.

    Their code (eclique/RISE, evaluation.py) filters a single bright pixel with SciPy, which
    reflects at the kernel's edges.
    """
    point = np.zeros((11, 11))
    point[5, 5] = 1
    kernel = torch.from_numpy(gaussian_filter(point, 5)).to(images)
    return F.conv2d(images, kernel.expand(3, 1, 11, 11), padding=5, groups=3)


def blur(images: Tensor) -> Tensor:
    """Interpolate the mean colours of a 3 x 3 grid, same shape (B, 3, H, W)."""
    size = (images.shape[-2], images.shape[-1])
    return F.interpolate(F.adaptive_avg_pool2d(images, 3), size, mode="bilinear")


SUBSTRATES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "black": torch.zeros_like,
    "mean": lambda images: images.mean(dim=(-2, -1), keepdim=True).expand_as(images),
    "blur": gaussian_blur,
    "colours": blur,
}


def _probability(model: nn.Module, images: Tensor, classes: Tensor) -> npt.NDArray[np.float64]:
    with evaluating(model), torch.inference_mode():
        logits = torch.cat([model(batch) for batch in images.split(IMAGES_A_PASS)])
    chosen = logits.float().softmax(dim=1).gather(1, classes[:, None])[:, 0]
    return chosen.cpu().double().numpy()  # Apple's devices have no float64


def random_maps(images: Tensor, grid: TokenGrid, generator: torch.Generator) -> Tensor:
    """Random maps with the resolution of patches: (B, 3, H, W) -> (B, H, W)."""
    noise = torch.rand(len(images), 1, grid.rows, grid.columns, generator=generator)
    size = (images.shape[-2], images.shape[-1])
    plane = F.interpolate(noise, size, mode="bilinear", align_corners=False)
    return plane[:, 0].to(images.device)


def centre_maps(images: Tensor) -> Tensor:
    """Maps that decrease with the distance from the centre: (B, 3, H, W) -> (B, H, W)."""
    B, _, H, W = images.shape
    y = torch.arange(H, device=images.device) - (H - 1) / 2
    x = torch.arange(W, device=images.device) - (W - 1) / 2
    return -(y[:, None] ** 2 + x**2).sqrt().expand(B, H, W)


def areas_table(curves: Mapping[str, Curves]) -> "pd.DataFrame":
    """Mean areas of each kind of map with the half-widths of 95% t-intervals over images."""
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for kind, each in curves.items():
        for name, areas in (("deletion", each.deletion_area), ("insertion", each.insertion_area)):
            mean = mean_interval(areas)
            rows.setdefault(kind, {})[name] = f"{mean.value:.3f} ± {mean.high - mean.value:.3f}"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("map")


BASELINES = ("random", "centre")  # maps that know nothing of the model
BETTER, WORSE, NOT_TOLD = "better", "worse", "not told apart"


class MapTest(NamedTuple):
    """A kind of map against a baseline by one measure, image by image."""

    kind: str
    baseline: str
    measure: str  # deletion or insertion
    gain: Estimate  # mean area by which the map is better; negative if it is worse
    p_holm: float

    @property
    def verdict(self) -> str:
        """Whether the map is better or worse than the baseline, by the corrected test."""
        if self.p_holm > 1 - LEVEL:
            return NOT_TOLD
        return BETTER if self.gain.value > 0 else WORSE


def compare_maps(curves: Mapping[str, Curves]) -> list[MapTest]:
    """Paired t-tests of each kind of map against ``BASELINES``, corrected for their number (Holm).

    Raises:
        ValueError: If there are fewer than two images.
    """
    asked, values = [], []
    for kind in curves:
        for baseline in BASELINES if kind not in BASELINES else ():
            ours, theirs = curves[kind], curves[baseline]
            less = theirs.deletion_area - ours.deletion_area
            more = ours.insertion_area - theirs.insertion_area
            asked += [(kind, baseline, "deletion"), (kind, baseline, "insertion")]
            values += [less, more]
    if values and len(values[0]) < 2:
        raise ValueError(f"expected curves of at least two images; got {len(values[0])}")
    p_values = [float(ttest_1samp(each, 0).pvalue) if np.ptp(each) else 1.0 for each in values]
    return [
        MapTest(*names, mean_interval(each), float(p))
        for names, each, p in zip(asked, values, holm(p_values), strict=True)
    ]


def gains_table(tests: Sequence[MapTest]) -> "pd.DataFrame":
    """The gain of each kind of map over each baseline, with a star if it is told from 0."""
    import pandas as pd

    rows: dict[str, dict[str, str]] = {}
    for test in tests:
        words = f"{test.gain.value:+.3f}{' ' if test.verdict == NOT_TOLD else '*'}"
        rows.setdefault(test.kind, {})[f"{test.measure}, {test.baseline}"] = words
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("map")


def tell_maps(tests: Sequence[MapTest]) -> str:
    """In words, which kinds of map are better than both baselines, and which are not told apart.

    A map is counted as better if it is by one measure at least, and worse by none.
    """
    lines = []
    images = tests[0].gain.n if tests else 0
    for baseline in BASELINES:
        groups: dict[str, list[str]] = {BETTER: [], WORSE: [], NOT_TOLD: []}
        for kind in dict.fromkeys(test.kind for test in tests):
            found = {t.verdict for t in tests if (t.kind, t.baseline) == (kind, baseline)}
            mixed = {BETTER, WORSE} <= found
            best = NOT_TOLD if mixed else min(found, key=(BETTER, WORSE, NOT_TOLD).index)
            groups[best].append(kind)
        told = {
            f"better than {baseline}": groups[BETTER],
            f"worse than {baseline}": groups[WORSE],
            f"not told from {baseline} by {images} images": groups[NOT_TOLD],
        }
        lines += [f"{words}: {', '.join(kinds)}" for words, kinds in told.items() if kinds]
    return "\n".join(lines)


def attention_entropy(weights: Tensor) -> Tensor:
    """Mean entropy of each head's rows in nats, log N if uniform: (B, h, M, N) -> (h,)."""
    return torch.special.entr(weights).sum(dim=-1).mean(dim=(0, 2))


def attention_distance(weights: Tensor, grid: TokenGrid, patch_size: float) -> Tensor:
    """Mean attention distance of patches in pixels, by head.

    Dosovitskiy et al. (2021), Fig. 7: distances between patch centres, weighted by the
    attention among patches; attention to prefix tokens is left out.

    Args:
        weights: (B, h, N, N).
        grid: Layout of the tokens.
        patch_size: Pixels from one patch to the next.

    Returns:
        (h,).

    Raises:
        ValueError: If the patches are not queries, as in AtResNet.
    """
    if weights.shape[-2] != weights.shape[-1]:
        raise ValueError(f"expected weights (B, h, N, N); got {tuple(weights.shape)}")
    y, x = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij")
    places = torch.stack([y, x], dim=-1).reshape(-1, 2).to(weights) * patch_size  # (P, 2)
    distances = torch.cdist(places, places)
    among = patches_to_grid(weights[:, :, grid.prefix :], grid).flatten(-2)  # (B, h, P, P)
    among = among / among.sum(dim=-1, keepdim=True)
    return (among * distances).sum(dim=-1).mean(dim=(0, 2))
