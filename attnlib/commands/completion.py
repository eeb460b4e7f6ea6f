"""``attnlib completion``: a script that makes the tab key complete commands, options and runs."""

import argparse

import shtab

from attnlib.commands.arguments import Subcommands, add_command

FIND_RUNS = {
    "bash": """
_attnlib_runs() {
  compgen -W "$(command ls -d runs/*/record.json results/*/record.json 2>/dev/null |
    cut -d/ -f2 | sort -u)" -- "$1"
  compgen -f -- "$1"
}
""",
    "zsh": """
_attnlib_runs() {
  local -a found
  found=(runs/*/record.json(N:h:t) results/*/record.json(N:h:t))
  compadd -a found
  _files
}
""",
}


def add_completion(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "completion",
        "print what makes the tab key of a shell complete commands, options and runs",
        'source <(attnlib completion bash)    in ~/.bashrc: eval "$(attnlib completion bash)"\n'
        "  attnlib completion zsh > ~/.zfunc/_attnlib",
        print_completion,
    )
    parser.add_argument("shell", choices=tuple(shtab.SUPPORTED_SHELLS))


def print_completion(chosen: argparse.Namespace) -> int:
    """Print the shell's script."""
    from attnlib.commands.parser import make_parser  # which has this command too

    print(
        shtab.complete(make_parser(), shell=chosen.shell, preamble=FIND_RUNS.get(chosen.shell, ""))
    )
    return 0
