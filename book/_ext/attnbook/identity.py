"""What the book is to those who link to it: addresses, descriptions, a card, a page for no page.

The one address that the book knows is that of its repository (``_config.yml``); its own, where
GitHub serves it, follows from that.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

from attnlib import escaping

LONGEST = 160  # letters of a description
CARD = "_static/card.svg"
LOST = "404"
LOST_BODY = """<section id="page-not-found"><h1>There is no such page</h1>
<p>It may have been renamed. The <a href="index.html">first page</a> lists the chapters, and the
<a href="search.html">search</a> finds any word of the book.</p></section>"""


def served_at(repository: str) -> str:
    """Where GitHub serves the book of a repository: https://OWNER.github.io/NAME/."""
    owner, name = urlsplit(repository).path.strip("/").split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def use_address(app: Sphinx, config: Config) -> None:
    """Set the address that canonical links begin with."""
    del app
    repository = config.html_theme_options.get("repository_url")
    if repository and not config.html_baseurl:
        config.html_baseurl = served_at(repository)


def describe(doctree: nodes.document | None, otherwise: str) -> str:
    """The first sentences of a page's first long paragraph."""
    paragraphs = doctree.findall(nodes.paragraph) if doctree else ()
    texts = (
        " ".join(p.astext().split()) for p in paragraphs if isinstance(p.parent, nodes.section)
    )
    text = next((text for text in texts if len(text) > 60), otherwise)
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0] + "…"


def tags_of(page: str, title: str, description: str, address: str) -> str:
    """The meta elements of a page."""
    named = {"description": description, "twitter:card": "summary_large_image"}
    graph = {
        "og:type": "article" if page != "index" else "website",
        "og:title": title,
        "og:description": description,
        "og:url": f"{address}{page}.html",
        "og:image": f"{address}{CARD}",
    }
    lines = [("name", *pair) for pair in named.items()]
    lines += [("property", *pair) for pair in graph.items()]
    return "".join(
        f'<meta {kind}="{name}" content="{escaping.html(text)}" />\n' for kind, name, text in lines
    )


def introduce(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add the meta elements, and to the page for no page what its links start from."""
    del template
    address, name = app.config.html_baseurl, app.config.html_title or app.config.project
    if not address:
        return
    title = nodes.unescape(str(context.get("title", ""))) or name
    tags = tags_of(page, title, describe(doctree, name), address)
    if page == LOST:  # served at any depth
        place = urlsplit(address)
        tags += (
            f"<script>if (location.hostname === '{place.hostname}') document.head.prepend("
            f"Object.assign(document.createElement('base'), {{href: '{place.path}'}}))</script>\n"
        )
    context["metatags"] = f"{context.get('metatags', '')}\n{tags}"


def collect_lost(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The page for an address where there is none."""
    if app.builder.name == "html":
        yield LOST, {"title": "There is no such page", "body": LOST_BODY}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the parts."""
    app.connect("config-inited", use_address, priority=900)
    app.connect("html-page-context", introduce)
    app.connect("html-collect-pages", collect_lost)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
