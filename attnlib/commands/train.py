"""``attnlib train``: train a model, evaluate it and write its run record."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from attnlib.commands.arguments import FILES, Subcommands, Suggestions, add_command, complete
from attnlib.config import TrainConfig

PATHS = ("data_path", "initial_checkpoint", "teacher", "runs_dir")


def add_train(commands: Subcommands) -> None:
    """Add the command, with an option for each parameter of a run."""
    parser = add_command(
        commands,
        "train",
        "train a model, evaluate it and write its run record",
        "attnlib train --model deit_t --epochs 20\n"
        "  attnlib train -p model deit_t -p epochs 20    the same, as papermill has it",
        train,
    )
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters",
        help="one of the parameters that follow, all optional",
    )  # fmt: skip
    for f in fields(TrainConfig):
        choices = f.metadata["choices"]
        told = f"{f.metadata['about']}{': ' if choices else ''}{', '.join(choices)}"
        flag: dict[str, Any] = {}
        if isinstance(f.default, bool):  # --pretrained alone means --pretrained true
            flag = {"nargs": "?", "const": "true"}
        option = parser.add_argument(
            f"--{f.name}", action="append", default=[], metavar="VALUE",
            help=told.replace("%", "%%"), choices=Suggestions(choices) if choices else None,
            **flag,
        )  # fmt: skip
        if f.name in PATHS:
            complete(option, FILES)


def train(chosen: argparse.Namespace) -> int:
    """Train the run that the arguments describe; under ``torchrun`` only the first one prints."""
    from attnlib.experiment import run_experiment
    from attnlib.progress import TerminalBar
    from attnlib.training.distributed import first_of_group

    pairs = list(chosen.parameters)
    for f in fields(TrainConfig):
        pairs += [(f.name, value) for value in getattr(chosen, f.name)]
    config = TrainConfig.from_params(**single_values(pairs))
    is_first = first_of_group()
    with TerminalBar() as bar:
        if is_first:
            bar.line(config.describe())
        run = run_experiment(config, on_epoch=bar.line, on_note=bar.line, on_step=bar.step)
    if is_first:
        print(run)
    return 0


def single_values(pairs: Sequence[Sequence[str]]) -> dict[str, str]:
    """The (name, value) pairs as a dictionary.

    Raises:
        ValueError: If a parameter is given more than once, naming each and its values.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    repeated = {name: given for name, given in values.items() if len(given) > 1}
    if repeated:
        raise ValueError(
            "\n".join(
                f"{name}: given as {' and as '.join(map(repr, given))}; expected one value."
                for name, given in repeated.items()
            )
        )
    return {name: given[0] for name, given in values.items()}
