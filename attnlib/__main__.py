"""The command line: ``python -m attnlib train -p model deit_t``, same names as in notebooks."""

import argparse
import io
import signal
import sys
from collections.abc import Sequence

from attnlib.config import TrainConfig
from attnlib.experiment import run_experiment
from attnlib.parameters import parameter_help
from attnlib.progress import TerminalBar
from attnlib.training import failures
from attnlib.training.distributed import first_of_group

EXIT_CODES = (
    (failures.NonFiniteLossError, failures.NOT_FINITE),
    (failures.OutOfMemoryError, failures.NO_MEMORY),
    (failures.StorageError, failures.NO_STORAGE),
    ((ValueError, OSError, ImportError), failures.WRONG_PARAMETER),
)
CODES = """exit codes: 0 done, 2 wrong parameter or data, 3 loss not finite, 4 out of memory,
5 the run can't be written, 130 Ctrl-C, 143 SIGTERM (saved: the same command goes on)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (``CODES``)."""
    parser = argparse.ArgumentParser(
        "python -m attnlib", description="Image recognition with attention layers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser(
        "train",
        help="train a model, evaluate it and write its run record",
        epilog=f"parameters, all optional:\n{parameter_help(TrainConfig)}\n\n{CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    training.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters"
    )
    chosen = parser.parse_args(arguments)
    print_anything()
    try:
        return train(single_values(chosen.parameters))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as fault:
        code = next((code for kind, code in EXIT_CODES if isinstance(fault, kind)), None)
        if code is None:
            raise
        print(f"error: {fault}", file=sys.stderr, flush=True)
        return code


def print_anything() -> None:
    """Make prints escape what the terminal can't encode, so that no run fails on one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def train(params: dict[str, str]) -> int:
    """Train the run that ``params`` describe; under ``torchrun`` only the first process prints."""
    config = TrainConfig.from_params(**params)
    is_first = first_of_group()
    with TerminalBar() as bar:
        if is_first:
            bar.line(config.describe())
        run = run_experiment(config, on_epoch=bar.line, on_note=bar.line, on_step=bar.step)
    if is_first:
        print(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
