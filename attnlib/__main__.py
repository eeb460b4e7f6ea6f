"""The command line: ``attnlib train --model deit_t``, or ``python -m attnlib``."""

import io
import os
import signal
import sys
from collections.abc import Sequence

from attnlib.commands.parser import make_parser
from attnlib.escaping import printable
from attnlib.training import failures

EXIT_CODES = (
    (failures.NonFiniteLossError, failures.NOT_FINITE),
    (failures.OutOfMemoryError, failures.NO_MEMORY),
    (failures.StorageError, failures.NO_STORAGE),
    ((ValueError, OSError, ImportError), failures.WRONG_PARAMETER),
)


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
        known = next((code for kind, code in EXIT_CODES if isinstance(fault, kind)), None)
        if known is None:
            raise
        print(f"error: {printable(fault)}", file=sys.stderr, flush=True)
        return known
    except RuntimeError as fault:  # PyTorch's own; training tells more
        if not failures.is_out_of_memory(fault):
            raise
        print("error: out of memory; a smaller batch_size needs less", file=sys.stderr, flush=True)
        return failures.NO_MEMORY


def print_anything() -> None:
    """Make prints escape what the terminal can't encode, so that no run fails on one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
