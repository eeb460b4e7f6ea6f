"""The parser of all commands."""

import argparse

from attnlib.commands.card import add_card
from attnlib.commands.compare import add_compare
from attnlib.commands.completion import add_completion
from attnlib.commands.evaluate import add_evaluate
from attnlib.commands.export import add_export
from attnlib.commands.models import add_models
from attnlib.commands.predict import add_predict
from attnlib.commands.runs import add_runs
from attnlib.commands.show import add_show
from attnlib.commands.train import add_train

ADDERS = (
    add_train, add_predict, add_evaluate, add_runs, add_show, add_compare, add_export, add_models,
    add_card, add_completion,
)  # fmt: skip
CODES = """exit codes: 0 done, 1 some files could not be read, 2 wrong parameter or data, 3 loss not
finite, 4 out of memory, 5 can't be written, 130 Ctrl-C, 143 SIGTERM (a training run is saved: the
same command goes on)"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``attnlib``, with a subparser for each command."""
    parser = argparse.ArgumentParser(
        "attnlib",
        description="Image recognition with attention layers.",
        epilog=f"attnlib COMMAND --help tells more, with an example.\n\n{CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in ADDERS:
        add(commands)
    return parser
