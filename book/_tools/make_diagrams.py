"""Write the book's diagrams from their drawings.

    python book/_tools/make_diagrams.py            write book/figures/NAME.svg for each drawing
    python book/_tools/make_diagrams.py --check    write nothing, name the files that differ

A drawing is a module of ``drawings`` with a function ``draw() -> Diagram``.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

DRAWINGS = Path(__file__).with_name("drawings")
FIGURES = Path(__file__).resolve().parents[1] / "figures"


def names() -> list[str]:
    """The names of all drawings."""
    return sorted(path.stem for path in DRAWINGS.glob("*.py") if path.stem != "__init__")


def draw(name: str) -> str:
    """The SVG of a drawing."""
    return importlib.import_module(f"drawings.{name}").draw().svg()


def differing(drawings: Iterable[str]) -> dict[Path, str]:
    """The expected content of each file that differs."""
    drawn = {FIGURES / f"{name}.svg": draw(name) for name in drawings}
    return {p: svg for p, svg in drawn.items() if not p.is_file() or p.read_text() != svg}


def main() -> None:
    """Draw, or check."""
    parser = argparse.ArgumentParser(description="Write the book's diagrams.")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    changed = differing(names())
    for path, svg in changed.items():
        sys.stdout.write(f"{path.name}\n")
        if not options.check:
            path.write_text(svg, encoding="utf-8")
    sys.exit(bool(changed) and options.check)


if __name__ == "__main__":
    main()
