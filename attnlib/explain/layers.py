"""Analysis by layer: the logit lens, and the similarity (CKA) of two networks' layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from attnlib.arrays import Floats
from attnlib.models.hooks import NothingToRecordError, record_features
from attnlib.models.modes import evaluating
from attnlib.models.vit import DeiT, ViT

if TYPE_CHECKING:
    import pandas as pd


def logit_lens(model: nn.Module, images: Tensor) -> Tensor:
    """The logits a transformer would give after each of its blocks (nostalgebraist 2020).

    A block's output tokens go directly to the last normalisation and the head, or, in
    DeiT, to both heads. The last entry is the model's own output.

    Args:
        model: A ViT or DeiT, ours or timm's; left unchanged.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        Logits (L, B, K), first block first.

    Raises:
        NothingToRecordError: If the model has no such blocks, or tokens that its head can't read.
    """
    if not all(hasattr(model, part) for part in ("blocks", "norm", "forward_head")):
        raise NothingToRecordError(f"{type(model).__name__} is not made of blocks, as ViTs are")
    asked: Any = model
    with evaluating(model), torch.no_grad(), record_features(model) as features:
        answer = model(images)
        logits = torch.stack([asked.forward_head(asked.norm(x)) for x in features.values()])
    if logits.ndim != 3 or not torch.allclose(logits[-1], answer, atol=1e-4, rtol=1e-4):
        raise NothingToRecordError(
            f"{type(model).__name__}: its head does not read the last block's tokens alone"
        )
    return logits


def lens_of_heads(model: ViT, images: Tensor) -> Tensor:
    """The logit lens of each head by itself, and of the embedded tokens before any block.

    ``logit_lens`` gives the model's one answer; here the two heads of a DeiT are apart.

    Args:
        model: A ViT or a DeiT; left unchanged.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        Logits (B, L + 1, heads, K): of the class head and, in a DeiT, the distillation head.
    """
    heads = (model.head, model.head_dist) if isinstance(model, DeiT) else (model.head,)
    kept: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        for layer in (*model.blocks, model.norm)
    ]
    with evaluating(model), torch.inference_mode():
        try:
            model.forward_features(images)
        finally:
            for handle in handles:
                handle.remove()
        tokens = [model.norm(x) for x in kept]
        return torch.stack(
            [torch.stack([head(x[:, i]) for i, head in enumerate(heads)], dim=1) for x in tokens],
            dim=1,
        )


def centered_kernel_alignment(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Linear CKA of two sets of features of the same images, in batches.

    Kornblith et al. (2019), arXiv:1905.00414; the estimator is that of Nguyen et al. (2021),
    arXiv:2010.15327, Eqs. 3 and 4, used for ViTs by Raghu et al. (2021), arXiv:2108.08810:
    the unbiased HSIC summed over batches, so that the result does not depend on how many
    images a batch has. 1 for features that differ by a rotation and a scale; about 0, above or
    below, for unrelated ones.

    Args:
        batches: Pairs (n, p) and (n, q), n at least 4.

    Raises:
        ValueError: If there is no batch, one has too few images, or features are constant.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for first, second in batches:
        sums += _alignments(_centered_gram(first), _centered_gram(second))
    return float(_align(sums))


def layer_similarity(
    first: nn.Module, second: nn.Module, batches: Iterable[Tensor]
) -> tuple[Tensor, list[str], list[str]]:
    """CKA of each layer of one network with each layer of another, on the same images.

    Args:
        first: A network with known stages or blocks; left unchanged.
        second: Likewise.
        batches: Images (n, 3, H, W) in [0, 1], n at least 4.

    Returns:
        (L1, L2), and the names of the layers of each.

    Raises:
        NothingToRecordError: If the stages of a network are not known.
        ValueError: If there is no batch, or one has too few images.
    """
    found = measure_layers({"first": first, "second": second}, [("first", "second")], batches)
    pair = found["first", "second"]
    return pair.similarity(), list(pair.rows), list(pair.columns)


@dataclass(frozen=True)
class LayerPairs:
    """Alignments of each layer of one network with each of another, by batch of images."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    sums: Tensor  # (batches, L1, L2, 3): HSIC of the two layers, and of each with itself

    def similarity(self, left_out: int | None = None) -> Tensor:
        """CKA (L1, L2) over all batches, or without one of them."""
        rest = [batch for n, batch in enumerate(self.sums) if n != left_out]
        return _align(torch.stack(rest).sum(dim=0)).float()

    def table(self) -> "pd.DataFrame":
        """The same with the names of the layers."""
        import pandas as pd

        return pd.DataFrame(self.similarity().numpy(), [*self.rows], [*self.columns])

    def mean(self) -> float:
        """Mean CKA over all pairs of layers."""
        return float(self.similarity().mean())

    def pseudo_values(self) -> Floats:
        """What each batch contributes to the mean (batches,): the jackknife's pseudo-values.

        Their variance divided by their number is that of the mean (Tukey 1958). At least two
        batches are needed.
        """
        n = len(self.sums)
        rest = np.array([float(self.similarity(left_out).mean()) for left_out in range(n)])
        return n * self.mean() - (n - 1) * rest


def measure_layers(
    networks: Mapping[str, nn.Module],
    pairs: Sequence[tuple[str, str]],
    batches: Iterable[Tensor],
) -> dict[tuple[str, str], LayerPairs]:
    """The alignments of several pairs of networks; each network sees each batch once.

    Args:
        networks: With known stages or blocks, by name; left unchanged.
        pairs: Names of two networks each.
        batches: As for ``layer_similarity``.

    Raises:
        NothingToRecordError: If the stages of a network are not known.
        ValueError: If there is no batch, or one has too few images.
    """
    sums: dict[tuple[str, str], list[Tensor]] = {pair: [] for pair in pairs}
    grams: dict[str, dict[str, Tensor]] = {}
    for images in batches:
        grams = {name: _layer_grams(model, images) for name, model in networks.items()}
        for first, second in pairs:
            rows = [
                torch.stack([_alignments(ours, theirs) for theirs in grams[second].values()])
                for ours in grams[first].values()
            ]
            sums[first, second].append(torch.stack(rows))
    if not grams:
        raise ValueError("batches: expected at least one; got none.")
    return {
        (first, second): LayerPairs(tuple(grams[first]), tuple(grams[second]), torch.stack(each))
        for (first, second), each in sums.items()
    }


def _layer_grams(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    with evaluating(model), torch.no_grad(), record_features(model) as features:
        model(images)
    return {name: _centered_gram(feature.flatten(1)) for name, feature in features.items()}


def _centered_gram(features: Tensor) -> Tensor:
    """Inner products of images' features (n, p), with a diagonal of zeros: (n, n).

    Features are centred first, which only improves the numerical precision.
    """
    if features.ndim != 2 or len(features) < 4:
        raise ValueError(f"expected features (n, p) of 4 images or more; got {features.shape}.")
    x = features.double().cpu()
    x = x - x.mean(dim=0)
    return (x @ x.T).fill_diagonal_(0)


def _alignments(ours: Tensor, theirs: Tensor) -> Tensor:
    """The unbiased HSIC of Song et al. (2012) of the pair, and of each with itself."""
    if ours.shape != theirs.shape:
        raise ValueError(f"expected features of the same images; got {len(ours)}, {len(theirs)}.")
    pairs = ((ours, theirs), (ours, ours), (theirs, theirs))
    return torch.stack([_unbiased_hsic(*pair) for pair in pairs])


def _unbiased_hsic(ours: Tensor, theirs: Tensor) -> Tensor:
    n = len(ours)
    whole = ours.sum() * theirs.sum() / ((n - 1) * (n - 2))
    rows = 2 * (ours.sum(dim=0) @ theirs.sum(dim=0)) / (n - 2)
    return ((ours * theirs).sum() + whole - rows) / (n * (n - 3))


def _align(sums: Tensor) -> Tensor:
    """CKA of summed alignments (..., 3)."""
    both, first, second = sums.unbind(dim=-1)
    if not bool((first * second > 0).all()):
        raise ValueError("expected features that differ between images; got constant ones, or none")
    return both / (first * second).sqrt()
