"""What the commands' arguments have in common: help with an example, completion, forms."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnlib.records.network import Network

Subcommands = Any  # argparse's own class is private
RUNS = {"bash": "_attnlib_runs", "zsh": "_attnlib_runs"}  # functions that complete a run's name
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


class Suggestions(tuple[str, ...]):
    """Values that the shell completes and the help names; whether one is valid is seen later."""

    def __contains__(self, value: object) -> bool:
        return True


def add_command(
    commands: Subcommands,
    name: str,
    about: str,
    example: str,
    call: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """Add a command to the parser; ``call`` carries it out and returns the exit code."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(call=call)
    return parser


def add_run(parser: argparse.ArgumentParser, name: str = "run", about: str = "") -> None:
    """Add the argument of a finished run, completed by the shell."""
    told = about or "a finished run: its folder, its name, or how that begins or ends"
    complete(parser.add_argument(name, metavar=name.upper(), help=told), RUNS)
    if not any(action.dest == "runs_dir" for action in parser._actions):
        add_runs_dir(parser)


def add_runs_dir(parser: argparse.ArgumentParser) -> None:
    """Add the folder in which runs are looked for, besides ``results``."""
    parser.add_argument(
        "--runs_dir", default="runs", metavar="FOLDER", help="where runs are (default: runs)"
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add what chooses a network: a run or a file of weights, and how to read it."""
    add_run(parser, about="a finished run (a folder, a name or its ends), or a file of weights")
    parser.add_argument("--average", action="store_true", help="take the averaged weights (ema)")
    parser.add_argument("--model", help="of a file whose name does not say: deit_t, timm/NAME, ...")
    parser.add_argument("--img_size", type=int, metavar="PIXELS", help="of a file; if not its own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, ...")
    parser.add_argument(
        "--batch_size", type=positive, default=64, metavar="IMAGES", help="at once (default: 64)"
    )


def network_of(chosen: argparse.Namespace) -> "Network":
    """The network that the arguments of ``add_network`` choose."""
    from attnlib.records.network import load_network

    return load_network(
        chosen.run,
        runs_dir=chosen.runs_dir,
        average=chosen.average,
        model=chosen.model,
        img_size=chosen.img_size,
    )


def add_output(parser: argparse.ArgumentParser, name: str, about: str) -> None:
    """Add an option for a file to write, whose folder must be there: work is not to be in vain."""
    complete(parser.add_argument(name, type=new_file, metavar="FILE", help=about), FILES)


def new_file(text: str) -> Path:
    """A path at which a file can be."""
    path = Path(text).expanduser()
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; expected a file")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def add_forms(parser: argparse.ArgumentParser) -> None:
    """Add ``--csv`` and ``--json``, which take the place of the table."""
    forms = parser.add_mutually_exclusive_group()
    for form in ("csv", "json"):
        forms.add_argument(
            f"--{form}", dest="form", action="store_const", const=form, default="table",
            help=f"print {form.upper()} in place of a table",
        )  # fmt: skip


def complete(action: argparse.Action, by: dict[str, str]) -> None:
    """Say by which function each shell completes an argument, as shtab wants it."""
    action.complete = by  # type: ignore[attr-defined]


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1; got {text}")
    return number
