"""``attnlib card``: a model card in Markdown."""

import argparse

from attnlib.commands.arguments import Subcommands, add_command, add_output, add_run


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
    add_output(parser, "--output", "(default: standard output)")


def card(chosen: argparse.Namespace) -> int:
    """Print the card, or write it to a file."""
    from attnlib.records.card import model_card
    from attnlib.records.find import find_run

    text = model_card(find_run(chosen.run, chosen.runs_dir))
    if chosen.output:
        chosen.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0
