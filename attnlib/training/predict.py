"""Evaluation: a model's predictions on a split, and their scores with intervals."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from attnlib.augmentation.pil_transforms import Transform, eval_transform
from attnlib.config import TrainConfig
from attnlib.data.datasets import Split
from attnlib.data.loading import make_source
from attnlib.data.readers import ImageFiles
from attnlib.data.storage import Indices
from attnlib.models.modes import evaluating
from attnlib.stats.calibration import brier_score, calibration_error, top_accuracy
from attnlib.stats.intervals import Estimate, Proportion, wilson_interval

TOP = 5  # of top-5 accuracy; needs more classes than that


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
        """Whether each decision is the label (N,); never where a logit is not a number."""
        return (self.decisions == self.labels) & ~np.isnan(self.logits).any(axis=1)

    @property
    def accuracy(self) -> float:
        """Fraction of correct decisions."""
        return float(self.correct.mean())

    @property
    def interval(self) -> Proportion:
        """Accuracy with its 95% Wilson interval."""
        return wilson_interval(int(self.correct.sum()), len(self.labels))

    @property
    def top5(self) -> Proportion | None:
        """Share of images whose label is among the five highest logits; None for K <= 5."""
        return top_accuracy(self.logits, self.labels, TOP) if self.logits.shape[1] > TOP else None

    @property
    def calibration_error(self) -> Estimate:
        """Expected calibration error over bins of equally many images."""
        return calibration_error(self.logits, self.labels)

    @property
    def brier_score(self) -> Estimate:
        """Mean squared distance of the probabilities from the label's, from 0 to 2."""
        return brier_score(self.logits, self.labels)

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Confusion matrix (K, K): rows the true class, columns the decision."""
        classes = self.logits.shape[1]
        places = self.labels * classes + self.decisions
        return np.bincount(places, minlength=classes**2).reshape(classes, classes)

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats per image; in float64, since logits may be huge."""
        logits, labels = torch.from_numpy(self.logits).double(), torch.from_numpy(self.labels)
        return nn.functional.cross_entropy(logits, labels).item()

    def per_class(self) -> list[Proportion | None]:
        """Accuracy within each class with its interval; None if a class has no image."""
        classes = self.logits.shape[1]
        sizes = np.bincount(self.labels, minlength=classes)[:classes]
        right = np.bincount(self.labels[self.correct], minlength=classes)[:classes]
        return [
            wilson_interval(int(count), int(size)) if size else None
            for count, size in zip(right, sizes, strict=True)
        ]


def predict(
    model: nn.Module,
    split: Split,
    *,
    img_size: int | None = None,
    batch_size: int = 128,
    device: str | None = None,
    amp: torch.dtype | None = None,
    on_images: Callable[[int], object] | None = None,
) -> Predictions:
    """Evaluate ``model`` on ``split``: evaluation mode, no gradients, mode restored after.

    Args:
        model: Floats in [0, 1] (B, 3, H, W) to logits (B, K).
        split: Images and labels.
        img_size: Pixels of a side; if None the model's ``img_size``, else 224.
        batch_size: Images per forward pass.
        device: Where to compute; if None, where the model is.
        amp: Dtype of autocast; None computes in the model's own, as does what overflows.
        on_images: Called after each batch with the number of its images, for progress bars.

    Returns:
        Predictions in the order of ``split``.
    """
    size = img_size if img_size is not None else int(getattr(model, "img_size", 224))
    device = device or str(next(model.parameters()).device)
    batches = evaluation_batches(split, size, batch_size, device)
    model.to(device)
    mixed = torch.autocast(device.split(":")[0], amp, enabled=amp is not None)
    logits = []
    with evaluating(model), torch.inference_mode():
        for images in batches:  # made in full precision
            with mixed:
                answers = model(images).float().cpu()
            if amp is not None and not answers.isfinite().all():  # half precision may overflow
                answers = model(images).float().cpu()
            logits.append(answers)
            if on_images is not None:
                on_images(len(images))
    return Predictions(torch.cat(logits).numpy(), np.asarray(split.labels, dtype=np.int64))


def evaluation_batches(
    split: Split, img_size: int, batch_size: int, device: str
) -> Iterator[Tensor]:
    """The split in order, without augmentation: (B, 3, S, S) in [0, 1] on the device.

    Arrays become batches on the device, as in training. Files are read by threads: processes would
    pass images through shared memory, of which a container may have as little as 64 MB. A batch is
    valid until the next.
    """
    starts = range(0, len(split), batch_size)
    parts = [np.arange(start, min(start + batch_size, len(split))) for start in starts]
    if isinstance(split.images, ImageFiles):
        yield from _read_ahead(split.images, parts, eval_transform(img_size), device)
        return
    config = TrainConfig(augment="none", input="faithful", img_size=img_size, device=device)
    source = make_source(split, config, int(split.labels.max()) + 1, device=device)
    for batch in source.batches(0, list(enumerate(parts))):
        yield batch.images


def _read_ahead(
    files: ImageFiles, parts: Sequence[Indices], transform: Transform, device: str
) -> Iterator[Tensor]:
    """Batches of files through ``transform``, prepared one ahead."""

    def read(index: int) -> Tensor:
        return transform(Image.fromarray(files[index]))

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
        coming = [threads.map(read, part.tolist()) for part in parts[:1]]
        for number in range(len(parts)):
            images = torch.stack(list(coming.pop()))
            coming += [threads.map(read, part.tolist()) for part in parts[number + 1 : number + 2]]
            if device.startswith("cuda"):
                images = images.pin_memory()
            yield images.to(device, non_blocking=True)


def images_at_once(config: TrainConfig, processes: int = 1) -> int:
    """Images per forward pass in evaluation: no more than in a training step."""
    return min(128, math.ceil(config.batch_size / (config.accumulate * processes)))
