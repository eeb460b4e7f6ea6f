"""``attnlib card``: a model card in Markdown."""

import argparse
from pathlib import Path

from attnlib.commands.arguments import FILES, Subcommands, add_command, add_run, complete


def add_card(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "card",
        "write a model card in Markdown from a run's record",
        "attnlib card RUN --output README.md",
        card,
    )
    add_run(parser)
    output = parser.add_argument("--output", metavar="FILE", help="(default: standard output)")
    complete(output, FILES)


def card(chosen: argparse.Namespace) -> int:
    """Print the card, or write it to a file."""
    from attnlib.records.card import model_card
    from attnlib.records.find import load_run

    text = model_card(load_run(chosen.run, chosen.runs_dir))
    if chosen.output:
        Path(chosen.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0
