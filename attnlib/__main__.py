"""The command line: ``python -m attnlib train -p model deit_t``, names as in the notebooks."""

import argparse
import sys
from collections.abc import Sequence

from attnlib.config import TrainConfig
from attnlib.experiment import run_experiment
from attnlib.parameters import parameter_help


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if it went well, 2 for a wrong parameter."""
    parser = argparse.ArgumentParser(
        "python -m attnlib", description="Image recognition with attention layers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser(
        "train",
        help="train a model, evaluate it and write its run record",
        epilog=f"parameters, all optional:\n{parameter_help(TrainConfig)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    training.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters"
    )
    chosen = parser.parse_args(arguments)
    try:
        config = TrainConfig.from_params(**dict(chosen.parameters))
        print(config.describe(), flush=True)
        run = run_experiment(config, on_epoch=say, on_note=say)
    except (ValueError, OSError, ImportError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    print(run)
    return 0


def say(line: object) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
