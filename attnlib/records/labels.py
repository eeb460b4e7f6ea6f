"""Display names that tell runs apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from attnlib.config import TrainConfig
from attnlib.records.run import Run
from attnlib.records.settings import describe_setting

DEFAULTS = {f.name: f.default for f in fields(TrainConfig)}  # for older records


def label_runs(runs: Sequence[Run]) -> list[str]:
    """Display names of runs: the title, and what distinguishes runs with the same title.

    That is the data set if it differs, else as few as possible of the settings that differ, else
    the run's name.
    """
    labels = [run.title for run in runs]
    data = [f", {run.record.dataset.title}" for run in runs]
    labels = _told_apart(labels, data)
    configs = [run.settings for run in runs]
    groups: dict[str, list[dict[str, Any]]] = {}
    for label, config in zip(labels, configs, strict=True):
        groups.setdefault(label, []).append(config)
    differing = {label: _differing_keys(group) for label, group in groups.items()}
    settings = [
        "".join(
            f", {describe_setting(key, config[key])}" for key in config if key in differing[label]
        )
        for label, config in zip(labels, configs, strict=True)
    ]
    return _told_apart(_told_apart(labels, settings), [f" ({run.name})" for run in runs])


def _differing_keys(configs: Sequence[dict[str, Any]]) -> set[str]:
    """As few settings as tell the configurations apart; one that is missing is a default.

    Chosen one after another, each the one that tells most of them apart; where several do, the
    image size is the first, and the seed and a checkpoint, which say least, are the last.
    """
    named = dict.fromkeys(key for config in configs for key in config)  # in their order
    keys = [key for key in named if len({str(_value(c, key)) for c in configs}) > 1]

    def count(chosen: Sequence[str]) -> int:
        return len({tuple(str(_value(config, key)) for key in chosen) for config in configs})

    ranks = {"img_size": 1, "seed": -1, "initial_checkpoint": -2}
    chosen: list[str] = []
    while count(chosen) < count(keys):
        chosen.append(max(keys, key=lambda key: (count([*chosen, key]), ranks.get(key, 0))))
    return set(chosen)


def _value(config: dict[str, Any], key: str) -> Any:
    return config.get(key, DEFAULTS.get(key))


def _told_apart(labels: Sequence[str], more: Sequence[str]) -> list[str]:
    """The labels, with ``more`` appended to duplicates that it distinguishes."""
    differing = Counter(label for label, _ in set(zip(labels, more, strict=True)))
    return [
        label + added * (differing[label] > 1) for label, added in zip(labels, more, strict=True)
    ]
