"""The book's pages about the official networks, where their weights are in the cache.

    python book/_tools/make_official.py            # execute the notebooks, write the pages
    python book/_tools/make_official.py --fetch    # only fetch what the pages need: 0.6 GB

A page whose files are missing is left out, and ``official.md`` says so.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import papermill

from attnbook.stamps import KEY
from attnlib.catalogue import TITLES
from attnlib.data.downloads import cache_dir
from attnlib.escaping import markdown
from attnlib.human import sources
from attnlib.models.zoo import cached_weights, create_model, has_cached_weights
from page_parts import ROOT, write
from stamp import inputs_of, make_stamp

FETCH = "python book/_tools/make_official.py --fetch"


class Page(NamedTuple):
    """A notebook that is executed for official networks."""

    title: str
    models: tuple[str, ...]
    parameters: Mapping[str, Any]
    published: bool = False  # whether it needs the published decisions and cue-conflict images


PEOPLE = ("deit_b", "deit_t", "resnet18")
PAGES = {
    "attention": Page(
        "Attention of the official DeiT-T", ("deit_t", "resnet18"), {"model": "deit_t"}
    ),
    "features": Page(
        "Features of the official DeiT-T", ("deit_t", "resnet18"), {"model": "deit_t"}
    ),
    "human": Page(
        "The official networks next to people",
        PEOPLE,
        {"models": ",".join(PEOPLE)},
        published=True,
    ),
}
"""The pages by their notebooks."""


def main() -> None:
    """Write the pages, or fetch what they need."""
    parser = argparse.ArgumentParser(description="Make the pages about the official networks.")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "runs")
    parser.add_argument("--inputs", nargs="*", default=[], help="files whose changes matter")
    parser.add_argument("--fetch", action="store_true", help="only fetch what the pages need")
    options = parser.parse_args()
    if options.fetch:
        fetch()
    else:
        make_pages(options.out, options.inputs)


def fetch() -> None:
    """Fetch weights, images and decisions into the cache."""
    for model in dict.fromkeys(model for page in PAGES.values() for model in page.models):
        create_model(model, 1000, pretrained=True)
    sources.load_published()
    sources.load_stimuli()


def make_pages(out: Path, inputs: list[str]) -> None:
    """Execute what can be executed, remove other pages, and write what is there and what not."""
    folder = out / "official"
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, page in PAGES.items():
        target = folder / f"{name}.ipynb"
        if reason := missing(page):
            target.unlink(missing_ok=True)
            lines.append(f"- {page.title}: left out, as {reason}.")
        else:
            execute(name, page, target, inputs)
            lines.append(f"- {{doc}}`{page.title} <official/{name}>`")
    write(out / "official.md", about(lines))


def missing(page: Page) -> str:
    """What the page lacks, in words; empty if nothing."""
    lacking = [cached_weights(m).name for m in page.models if not has_cached_weights(m)]
    if page.published:
        packed = (cache_dir() / sources.STIMULI_TAR).is_file()
        paths = [p for p in sources.known_hashes() if not (packed and p.endswith(".png"))]
        needed = [cache_dir() / path for path in paths if path != sources.VOTES]
        lacking += [path.name for path in needed if not path.is_file()]
    if not lacking:
        return ""
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    verb = "are" if more else "is"
    return f"{markdown(lacking[0])}{more} {verb} not in the cache (`{FETCH}` fetches them)"


def execute(name: str, page: Page, target: Path, inputs: list[str]) -> None:
    """Execute the notebook with the page's parameters, and stamp it."""
    source = Path("runs") / "official" / f"{name}.ipynb"
    (ROOT / source).parent.mkdir(parents=True, exist_ok=True)
    original = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    write(ROOT / source, json.dumps(retitled(json.loads(original), page.title), indent=1))
    papermill.execute_notebook(ROOT / source, target, page.parameters, progress_bar=False, cwd=ROOT)
    executed = json.loads(target.read_text(encoding="utf-8"))
    stamped = inputs_of([f"notebooks/{name}.ipynb", *inputs], ROOT)
    executed["metadata"][KEY] = make_stamp(executed, str(source), stamped, ROOT)
    write(target, json.dumps(executed, indent=1, ensure_ascii=False) + "\n")


def retitled(notebook: dict[str, Any], title: str) -> dict[str, Any]:
    """The notebook under another title, with figures of its own names, one folder further down."""
    first = notebook["cells"][0]
    first["source"][0] = f"# {title}\n"
    for cell in notebook["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        if "name" in figure:
            figure["name"] = re.sub("^(fig|tab)-", r"\1-official-", figure["name"])
        cell["source"] = [line.replace("](../", "](../../") for line in cell["source"]]
    return notebook


def about(lines: list[str]) -> str:
    """The page that leads to the others."""
    shown = "\n".join(lines)
    return f"""# The official networks

The thesis starts from networks that others had trained on ImageNet
{{cite}}`russakovsky2015imagenet`, at 224 pixels. What this book says elsewhere of its own networks
is repeated here for those, with the weights that their authors published:
{", ".join(TITLES[name] for name in PEOPLE)}. The files take 0.6 GB and are not part of the book, so
each page is made only where they have been fetched.

{shown}
"""


if __name__ == "__main__":
    main()
