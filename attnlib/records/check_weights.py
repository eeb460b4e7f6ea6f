"""Checking that a run's weights match its record, before they are used for training."""

import math

import numpy as np
from torch import nn

from attnlib.data.datasets import Dataset, Split
from attnlib.records.run import Run
from attnlib.training.predict import predict

CHECKED = 500  # validation images to classify
ACCURACY_TOLERANCE = 0.01  # other devices and precisions change a few decisions


def check_weights(run: Run, data: Dataset) -> None:
    """Check the weights of ``run`` by hash and, if ``data`` are its own, by accuracy.

    Raises:
        ValueError: If they are damaged, or not those of the record.
    """
    if run.record.dataset.sha256 == data.sha256:
        check_accuracy(run, run.load_model(), data.val)
    else:
        run.read_weights()


def check_accuracy(run: Run, model: nn.Module, val: Split) -> None:
    """Check that ``model`` classifies validation images as well as the record of ``run`` says.

    Raises:
        ValueError: If its accuracy differs from the recorded one by more than sampling explains.
    """
    recorded = (run.record.kept_weights or run.record.metrics).val_accuracy
    count = min(CHECKED, len(val))
    chosen = np.sort(np.random.default_rng(0).choice(len(val), count, replace=False))
    found = predict(model, val.subset(chosen), img_size=run.config["img_size"]).accuracy
    is_whole = count == len(val) == recorded.n
    error = 0.0 if is_whole else math.sqrt(recorded.value * (1 - recorded.value) / count)
    if abs(found - recorded.value) > 4 * error + max(ACCURACY_TOLERANCE, 2 / count):
        raise ValueError(
            f"{run.path}: its weights classify {found:.1%} of {count} validation images correctly, "
            f"its record says {recorded.value:.1%} of {recorded.n}; they are not the weights that "
            f"it is about. Make them again with: {run.record.command}"
        )
