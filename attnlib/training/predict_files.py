"""A network's predictions on image files of any size, in order and a batch at a time."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from attnlib.arrays import Floats
from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.data.open_image import decode_image, readable
from attnlib.models.modes import evaluating


class FilePrediction(NamedTuple):
    """Probabilities (K,) of a file's image, or why the file can't be read."""

    file: str
    probabilities: Floats | None
    fault: str = ""

    def top(self, count: int) -> list[int]:
        """The most probable classes, first the highest; none if the file can't be read."""
        if self.probabilities is None:
            return []
        return np.argsort(-self.probabilities, kind="stable")[:count].tolist()


def predict_files(
    model: nn.Module,
    files: Sequence[str | Path | tuple[str, bytes]],
    *,
    img_size: int,
    batch_size: int = 64,
    device: str | None = None,
) -> Iterator[FilePrediction]:
    """Classify image files, in order; one that can't be read is passed over with the reason.

    Files are resized and cropped as in evaluation and read by threads, a batch ahead.

    Args:
        model: Floats in [0, 1] (B, 3, H, W) to logits (B, K).
        files: Paths, or (name, bytes) of files that are already read.
        img_size: Pixels of a side.
        batch_size: Images per forward pass.
        device: Where to compute; if None, where the model is.
    """
    device = device or str(next(model.parameters()).device)
    model.to(device)
    transform = eval_transform(img_size)

    def read(file: str | Path | tuple[str, bytes]) -> tuple[str, Tensor | None, str]:
        name, content = file if isinstance(file, tuple) else (readable(file), None)
        try:
            data = Path(file).read_bytes() if content is None else content  # type: ignore[arg-type]
            return name, transform(decode_image(data, name)), ""
        except OSError as fault:
            return name, None, f"{name}: {fault.strerror or fault}"
        except ValueError as fault:
            return name, None, str(fault)

    parts = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
        coming = [threads.map(read, part) for part in parts[:1]]
        for number in range(len(parts)):
            batch = list(coming.pop())
            coming += [threads.map(read, part) for part in parts[number + 1 : number + 2]]
            yield from _classify(model, batch, device)


def _classify(
    model: nn.Module, batch: Sequence[tuple[str, Tensor | None, str]], device: str
) -> Iterator[FilePrediction]:
    images = [image for _, image, _ in batch if image is not None]
    shares: Iterator[Floats] = iter(())
    if images:
        with evaluating(model), torch.inference_mode():
            logits = model(torch.stack(images).to(device))
        shares = iter(logits.double().softmax(dim=1).cpu().numpy())
    for name, image, fault in batch:
        yield FilePrediction(name, None if image is None else next(shares), fault)
