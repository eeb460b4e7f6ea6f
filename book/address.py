"""Write the repository's address everywhere, from the one place where it stands.

python book/address.py           rewrite from [project.urls] Repository in pyproject.toml
python book/address.py --check   change nothing; name the files that differ and exit with 1
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

FILES = ("notebooks/*.ipynb", "book/*.md", "README.md", "CITATION.cff", "_config.yml")
SLUG = r"[\w.-]+/[\w.-]+?(?=\.git\b|[^\w.-]|\.?\s|\.?$)"
# An address is ours by what stands before it: other projects are linked too, but never opened in
# Colab, installed with pip from git, cloned, or named as the code's repository.
OURS = re.compile(
    r"((?:colab\.research\.google\.com/github/|git\+https://github\.com/|"
    r"git clone https://github\.com/|^\s*(?:url|repository-code): [\"']?https://github\.com/))"
    + SLUG,
    re.MULTILINE,
)
PREVIOUS = re.compile(r"^  url: https://github\.com/(" + SLUG + ")", re.MULTILINE)


def repository(root: Path) -> str:
    """OWNER/NAME from pyproject.toml.

    Raises:
        ValueError: If the address is not https://github.com/OWNER/NAME.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"]
    if not (match := re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address)):
        raise ValueError(
            f"[project.urls] Repository is {address}, not https://github.com/OWNER/NAME"
        )
    return match[1]


def rewritten(root: Path) -> dict[Path, str]:
    """The new text of every file that holds another address than pyproject.toml."""
    slug = repository(root)
    previous = PREVIOUS.search((root / "_config.yml").read_text(encoding="utf-8"))
    changed = {}
    for path in sorted(path for pattern in FILES for path in root.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        new = OURS.sub(rf"\g<1>{slug}", text)
        if previous:  # plain links, known by the address of the last time
            new = re.sub(rf"(?<=github\.com/){re.escape(previous[1])}(?![\w-])", slug, new)
        if new != text:
            changed[path] = new
    return changed


def main() -> None:
    """Rewrite, or check."""
    parser = argparse.ArgumentParser(description="Write the repository's address everywhere.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args()
    changed = rewritten(options.root)
    if options.check and changed:
        names = ", ".join(str(path.relative_to(options.root)) for path in changed)
        sys.exit(f"not at https://github.com/{repository(options.root)}: {names}; run make address")
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
