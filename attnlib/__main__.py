"""The command line: ``attnlib train --model deit_t``, or ``python -m attnlib``."""

import io
import os
import signal
import sys
from collections.abc import Sequence

from attnlib.commands.parser import make_parser
from attnlib.escaping import printable

WRONG_PARAMETER = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (``commands.parser.CODES``)."""
    chosen = make_parser().parse_args(arguments)
    print_anything()
    try:
        code: int = chosen.call(chosen)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # SIGPIPE
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as fault:
        known = exit_code(fault)
        if known is None:
            raise
        print(f"error: {printable(fault)}", file=sys.stderr, flush=True)
        return known
    except RuntimeError as fault:  # PyTorch's own; training tells more
        from attnlib.training import failures

        if not failures.is_out_of_memory(fault):
            raise
        print("error: out of memory; a smaller batch_size needs less", file=sys.stderr, flush=True)
        return failures.NO_MEMORY


def exit_code(fault: Exception) -> int | None:
    """The code that tells of this fault; None if there is none, and it is ours to mend."""
    usual = WRONG_PARAMETER if isinstance(fault, (ValueError, OSError, ImportError)) else None
    code: int | None = getattr(fault, "exit_code", usual)  # training's own faults have one
    return code


def print_anything() -> None:
    """Make prints escape what the terminal can't encode, so that no run fails on one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
