"""Evaluation: a model's answers on a split, and accuracy with its interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.data.datasets import Split
from attnlib.data.loading import eval_batches, num_workers
from attnlib.models.modes import evaluating
from attnlib.stats.intervals import Proportion, wilson_interval


@dataclass(frozen=True)
class Predictions:
    """Logits (N, K) float32 and labels (N,) int64, in the split's order."""

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def decisions(self) -> npt.NDArray[np.int64]:
        """The class with the highest logit (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each decision is the label (N,)."""
        return self.decisions == self.labels

    @property
    def accuracy(self) -> float:
        """Share of correct decisions."""
        return float(self.correct.mean())

    @property
    def interval(self) -> Proportion:
        """Accuracy with its 95% Wilson interval."""
        return wilson_interval(int(self.correct.sum()), len(self.labels))

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats per image; in float64, since logits may be huge."""
        logits, labels = torch.from_numpy(self.logits).double(), torch.from_numpy(self.labels)
        return nn.functional.cross_entropy(logits, labels).item()

    def per_class(self) -> list[Proportion | None]:
        """Accuracy within each class with its interval; None where a class has no image."""
        rows = []
        for label in range(self.logits.shape[1]):
            own = self.correct[self.labels == label]
            rows.append(wilson_interval(int(own.sum()), len(own)) if len(own) else None)
        return rows


def predict(
    model: nn.Module,
    split: Split,
    *,
    img_size: int | None = None,
    batch_size: int = 128,
    device: str | None = None,
    amp: torch.dtype | None = None,
) -> Predictions:
    """Evaluate ``model`` on ``split``: evaluation mode, no gradients, mode restored after.

    Args:
        model: Floats in [0, 1] (B, 3, H, W) to logits (B, K).
        split: Images and labels.
        img_size: Pixels of a side; if None the model's ``img_size``, else 224.
        batch_size: Images per forward.
        device: Where to compute; if None, where the model is.
        amp: Dtype of autocast; None computes in the model's own.

    Returns:
        Predictions in the order of ``split``.
    """
    size = img_size if img_size is not None else int(getattr(model, "img_size", 224))
    device = device or str(next(model.parameters()).device)
    batches = eval_batches(
        split, eval_transform(size), batch_size=batch_size, workers=num_workers(device)
    )
    model.to(device)
    logits = []
    with (
        evaluating(model),
        torch.inference_mode(),
        torch.autocast(device.split(":")[0], amp, enabled=amp is not None),
    ):
        for images, _ in batches:
            logits.append(model(images.to(device, non_blocking=True)).float().cpu())
    return Predictions(torch.cat(logits).numpy(), np.asarray(split.labels, dtype=np.int64))
