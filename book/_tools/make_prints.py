"""The whole book as one PDF or EPUB: `python book/_tools/make_prints.py pdf`, `... epub`.

Both are built like the HTML, strictly and from the same sources. Chromium prints the PDF, with page
numbers, bookmarks and working cross-references, by `book/_static/print.css`.
"""

import argparse
import base64
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

from chromium import open_chromium
from tidy_epub import tidy

ROOT = Path(__file__).resolve().parents[2]
STRICT = ["-W", "-n", "--keep-going"]
# Of the one page that Sphinx makes, in which every chapter is a section of the first: chapters side
# by side again, each from its own h1, a title page and the list of chapters before them.
FRONT = """
const [title, author, address] = arguments;
const article = document.querySelector('article');
const make = (name, text, kind) => {
    const element = document.createElement(name);
    element.textContent = text;
    element.className = kind ?? '';
    return element;
};
for (const chapters of article.querySelectorAll('.toctree-wrapper')) {
    if (chapters.parentElement.closest('.toctree-wrapper')) continue;
    for (const level of [2, 3, 4, 5, 6]) for (const old of chapters.querySelectorAll('h' + level)) {
        const heading = make('h' + (level - 1), '', old.className);
        heading.append(...old.childNodes);
        old.replaceWith(heading);
    }
    article.append(chapters);
}
const list = make('ul', '');
for (const heading of article.querySelectorAll('section > h1')) {
    const link = make('a', [...heading.childNodes].filter(n => n.className !== 'headerlink')
        .map(n => n.textContent).join(''));
    link.href = '#' + heading.parentElement.id;
    list.append(make('li', ''));
    list.lastChild.append(link);
}
const cover = make('div', '', 'print-cover');
cover.append(make('p', title, 'print-title'), make('p', author, 'print-author'),
    make('p', address), list);
article.prepend(cover);
// a heading that is a button stays blank where it is repeated on the next page
document.querySelectorAll('.table-sort')
    .forEach(button => button.replaceWith(...button.childNodes));
document.querySelectorAll('img[loading]').forEach(image => image.loading = 'eager');
"""
# A table wider than the page gets smaller letters; if that is not enough, its words may break.
FIT = """
for (const table of document.querySelectorAll('article table')) {
    const room = document.querySelector('article').clientWidth + 1;
    const wide = () => Math.max(table.scrollWidth, table.getBoundingClientRect().width) > room;
    for (const size of [8, 7.5, 7, 6.5]) if (wide()) table.style.fontSize = size + 'pt';
    if (wide()) table.classList.add('tight');
}
"""
PAPER = 658  # pixels of CSS between the margins of an A4 page


def build(config: Path, builder: list[str]) -> None:
    """Run Jupyter Book; its warnings are errors."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", "book"]
    options = ["--config", str(config), "--path-output", ".", *builder, *STRICT]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        raise SystemExit(done.returncode)


def once(title: str) -> str:
    """A bookmark's title without the repetition from a heading moved to the next page."""
    twice = re.fullmatch(r"(.+)\1", title) or re.fullmatch(r"(.{8,})\1.*", title)
    return title[len(twice[1]) :] if twice else title


def bookmarks(parent: DictionaryObject) -> Iterator[DictionaryObject]:
    """The entries of an outline below ``parent``, in their order."""
    entry = parent.get("/First")
    while entry is not None:
        found = entry.get_object()
        yield found
        yield from bookmarks(found)
        entry = found.get("/Next")


def mend_bookmarks(pdf: bytes) -> bytes:
    """Remove repetitions from the file's bookmarks; Chromium repeats some headings."""
    writer = PdfWriter(clone_from=BytesIO(pdf))
    for entry in bookmarks(writer.get_outline_root()):
        entry[NameObject("/Title")] = TextStringObject(once(str(entry["/Title"])))
    mended = BytesIO()
    writer.write(mended)
    return mended.getvalue()


def print_page(page: Path, out: Path, config: Mapping[str, Any]) -> None:
    """Let Chromium print an HTML page."""
    browser = open_chromium()
    try:
        browser.command_executor.client_config.timeout = 900
        browser.set_page_load_timeout(600)
        browser.set_script_timeout(300)
        browser.get(page.as_uri())
        given = config["title"], config["author"], config["repository"]["url"]
        browser.execute_script(FRONT, *given)
        paper = {"width": PAPER, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
        browser.execute_script(FIT)
        browser.execute_async_script(
            "const done = arguments[0];"
            "Promise.all([...document.images].map(image => image.decode().catch(() => {})))"
            ".then(() => done())"
        )
        how = {"preferCSSPageSize": True, "printBackground": True}
        how |= {"generateTaggedPDF": True, "generateDocumentOutline": True}
        printed = browser.execute_cdp_cmd("Page.printToPDF", how)
    finally:
        browser.quit()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(mend_bookmarks(base64.b64decode(printed["data"])))


def make_pdf(config: Mapping[str, Any]) -> Path:
    """Build the book as one page and print it."""
    build(ROOT / "_config.yml", ["--builder", "singlehtml"])
    page = ROOT / "_build" / "singlehtml" / "index.html"
    out = ROOT / "_build" / "pdf" / "attnlib.pdf"
    print_page(page, out, config)
    return out


def without_buttons(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an EPUB, in which the theme's buttons would fail the build."""
    epub = {k: v for k, v in config.items() if k != "launch_buttons"}
    epub["html"] = {k: v for k, v in config["html"].items() if not k.endswith("_button")}
    epub["bibtex_bibfiles"] = [str(ROOT / "book" / name) for name in config["bibtex_bibfiles"]]
    sphinx = dict(config["sphinx"])
    sphinx["local_extensions"] = {k: str(ROOT / v) for k, v in sphinx["local_extensions"].items()}
    sphinx["config"] = dict(sphinx["config"]) | {
        "project": config["title"],
        "version": metadata.version("attnlib"),
        "epub_basename": "attnlib",
        "epub_title": config["title"],
        "epub_publisher": config["author"],
        "epub_contributor": config["author"],
        "epub_copyright": f"{config['copyright']}, CC BY 4.0",
        "epub_description": "A companion to a thesis on attention layers that recognise images: "
        "explained, run again and checked.",
        "epub_show_urls": "no",
        "epub_identifier": "attnlib",
        "epub_uid": "attnlib",
    }
    silent = [*sphinx["config"].get("suppress_warnings", []), "epub.unknown_project_files"]
    sphinx["config"]["suppress_warnings"] = silent
    return {**epub, "sphinx": sphinx}


def make_epub(config: dict[str, Any]) -> Path:
    """Build the EPUB."""
    folder = ROOT / "_build" / "epub"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "_config.yml"
    settings.write_text(yaml.safe_dump(without_buttons(config)), encoding="utf-8")
    build(settings, ["--builder", "custom", "--custom-builder", "epub"])
    (built,) = folder.glob("*.epub")
    tidy(built)
    return built


def main() -> None:
    """Build the requested format."""
    parser = argparse.ArgumentParser(description="The whole book in one file.")
    parser.add_argument("kind", choices=["pdf", "epub"])
    kind = parser.parse_args().kind
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    out = {"pdf": make_pdf, "epub": make_epub}[kind](config)
    sys.stdout.write(f"{out.relative_to(ROOT)}: {out.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
