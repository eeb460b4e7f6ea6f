"""Image recognition with attention layers: models, losses, training and evaluation."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from attnlib.allocator import keep_freed_memory
from attnlib.threads import let_waiting_threads_sleep

keep_freed_memory(os.environ)
let_waiting_threads_sleep(os.environ, sys.modules)  # before anything imports PyTorch

if TYPE_CHECKING:
    from attnlib.config import TrainConfig
    from attnlib.cost.measure import checkpoint_size, measure_memory, measure_speed
    from attnlib.data.datasets import Dataset, Split, count_shared, load_dataset
    from attnlib.experiment import run_experiment
    from attnlib.losses import (
        hard_distillation_loss,
        soft_distillation_loss,
        soft_target_cross_entropy,
    )
    from attnlib.models.hooks import attention_rollout, record_attention, record_features
    from attnlib.models.zoo import create_model, list_models
    from attnlib.parameters import notebook_parameters, parse_params
    from attnlib.progress import LiveCurves
    from attnlib.records.answers import confusion_csv
    from attnlib.records.export import export_network
    from attnlib.records.find import list_runs, load_run
    from attnlib.records.network import Network, load_network
    from attnlib.records.run import Run
    from attnlib.stats.calibration import brier_score, calibration_error, top_accuracy
    from attnlib.stats.consistency import (
        classwise_errors,
        confusion_matrix,
        error_consistency,
        expected_agreement,
        interclass_errors,
        js_distance,
        observed_agreement,
        shape_bias,
    )
    from attnlib.stats.intervals import (
        holm,
        mcnemar,
        mean_interval,
        paired_bootstrap,
        paired_difference,
        wilson_interval,
    )
    from attnlib.training.predict import Predictions, predict
    from attnlib.training.predict_files import predict_files

__version__ = "0.2.0"
__all__ = [
    "Dataset",
    "LiveCurves",
    "Network",
    "Predictions",
    "Run",
    "Split",
    "TrainConfig",
    "attention_rollout",
    "brier_score",
    "calibration_error",
    "checkpoint_size",
    "classwise_errors",
    "confusion_csv",
    "confusion_matrix",
    "count_shared",
    "create_model",
    "error_consistency",
    "expected_agreement",
    "export_network",
    "hard_distillation_loss",
    "holm",
    "interclass_errors",
    "js_distance",
    "list_models",
    "list_runs",
    "load_dataset",
    "load_network",
    "load_run",
    "mcnemar",
    "mean_interval",
    "measure_memory",
    "measure_speed",
    "notebook_parameters",
    "observed_agreement",
    "paired_bootstrap",
    "paired_difference",
    "parse_params",
    "predict",
    "predict_files",
    "record_attention",
    "record_features",
    "run_experiment",
    "shape_bias",
    "soft_distillation_loss",
    "soft_target_cross_entropy",
    "top_accuracy",
    "wilson_interval",
]
# Where they are: a name is imported when it is first used, so that the command line answers at
# once where it needs no PyTorch, whose import takes seconds.
HOMES = {
    "config": "TrainConfig",
    "cost.measure": "checkpoint_size measure_memory measure_speed",
    "data.datasets": "Dataset Split count_shared load_dataset",
    "experiment": "run_experiment",
    "losses": "hard_distillation_loss soft_distillation_loss soft_target_cross_entropy",
    "models.hooks": "attention_rollout record_attention record_features",
    "models.zoo": "create_model list_models",
    "parameters": "notebook_parameters parse_params",
    "progress": "LiveCurves",
    "records.answers": "confusion_csv",
    "records.export": "export_network",
    "records.find": "list_runs load_run",
    "records.network": "Network load_network",
    "records.run": "Run",
    "stats.calibration": "brier_score calibration_error top_accuracy",
    "stats.consistency": "classwise_errors confusion_matrix error_consistency expected_agreement "
    "interclass_errors js_distance observed_agreement shape_bias",
    "stats.intervals": "holm mcnemar mean_interval paired_bootstrap paired_difference "
    "wilson_interval",
    "training.predict": "Predictions predict",
    "training.predict_files": "predict_files",
}
_HOME_OF = {name: home for home, names in HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'attnlib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"attnlib.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, imported or not."""
    return sorted({*globals(), *__all__})
