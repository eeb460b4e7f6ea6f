"""A diagram as code: boxes, sums and arrows, written as SVG in the page's colours.

It is shown inline by ``{svg-figure}``, and so follows the light and dark themes.
``Diagram`` refuses text that overflows its box, or would be smaller than 11 pixels on a phone 360
pixels wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from attnlib import escaping

PHONE = 320  # width of a figure on a phone 360 pixels wide
SMALLEST = 11  # minimum text size there, in pixels
INK, FAINT = "var(--pst-color-text-base, currentColor)", "var(--pst-color-text-muted, #5a6270)"
# Kinds of boxes: mixing tokens, transforming each token, others.
COLOURS = {
    "mix": "var(--attn-series-1, #0b62a8)",
    "each": "var(--attn-series-2, #b3471d)",
    "plain": FAINT,
}
Point = tuple[float, float]


@dataclass(frozen=True)
class Node:
    """A box or a sum in a drawing, by its centre and size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        """Middle of the upper edge."""
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> Point:
        """Middle of the lower edge."""
        return self.x, self.y + self.height / 2

    @property
    def left(self) -> Point:
        """Middle of the left edge."""
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        """Middle of the right edge."""
        return self.x + self.width / 2, self.y


@dataclass
class Diagram:
    """A drawing of ``width`` by ``height`` units, a unit about a pixel.

    On a wide page it is shown at most a fifth larger than drawn, on a phone as wide as the page.
    """

    width: float
    height: float
    font_size: float = 13
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, text: str = "",
            kind: str = "plain", *, dashed: bool = False, faint: bool = False) -> Node:  # fmt: skip
        """A rounded box with its centre at (x, y); text of several lines has newlines.

        Raises:
            ValueError: If the text does not fit.
        """
        lines = text.split("\n")
        longest = max(self.text_width(line) for line in lines)
        if longest > width or len(lines) * self.font_size * 1.25 > height + self.font_size:
            raise ValueError(f"{text!r} takes {longest:.0f} units of a box {width} by {height}")
        colour = COLOURS[kind]
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" '
            f'height="{height:g}" rx="5" fill="{colour}" fill-opacity="0.13" stroke="{colour}" '
            f'stroke-width="1.3"{dash}/>'
        )
        if text:
            self.text(x, y, text, faint=faint)
        return Node(x, y, width, height)

    def text(self, x: float, y: float, text: str, anchor: str = "middle", *, size: float = 0,
             faint: bool = False) -> None:  # fmt: skip
        """Lines of text, vertically centred on y; ``anchor`` is start, middle or end.

        Raises:
            ValueError: If it would be too small on a phone, or overflows the drawing.
        """
        size = size or self.font_size
        if size * min(1, PHONE / self.width) < SMALLEST:
            raise ValueError(f"{text!r} would be too small on a phone: {size} of {self.width:g}")
        lines = text.split("\n")
        reach = max(self.text_width(line, size) for line in lines)
        start = x - {"start": 0, "middle": reach / 2, "end": reach}[anchor]
        if start < -0.5 or start + reach > self.width + 0.5:
            raise ValueError(f"{text!r} leaves the drawing: {start:.0f} to {start + reach:.0f}")
        for place, line in enumerate(lines):
            below = y + (place - (len(lines) - 1) / 2) * 1.25 * size + 0.35 * size
            self.parts.append(
                f'<text x="{x:g}" y="{below:g}" text-anchor="{anchor}" font-size="{size:g}" '
                f'fill="{FAINT if faint else INK}">{escaping.html(line)}</text>'
            )

    def text_width(self, text: str, size: float = 0) -> float:
        """Approximate width of a line of text."""
        narrow = sum(letter in "iljtfr.,:;|!'()[] " for letter in text)
        return (0.6 * (len(text) - narrow) + 0.32 * narrow) * (size or self.font_size)

    def plus(self, x: float, y: float, radius: float = 9) -> Node:
        """A sum of its inputs."""
        reach = 0.6 * radius
        self.parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="none" stroke="{INK}" '
            f'stroke-width="1.3"/><path d="M{x - reach:g} {y:g}h{2 * reach:g}M{x:g} '
            f'{y - reach:g}v{2 * reach:g}" stroke="{INK}" stroke-width="1.3" fill="none"/>'
        )
        return Node(x, y, 2 * radius, 2 * radius)

    def arrow(self, *points: Point, dashed: bool = False, head: bool = True) -> None:
        """A line through the points, with a head at the last."""
        (ax, ay), (bx, by) = points[-2:]
        length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
        ux, uy = (bx - ax) / length, (by - ay) / length
        back = 6 if head else 0
        ends = [*points[:-1], (bx - back * ux, by - back * uy)]
        path = "L".join(f"{x:g} {y:g}" for x, y in ends)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<path d="M{path}" fill="none" stroke="{INK}" stroke-width="1.3"{dash}/>'
        )
        if head:
            corners = [(bx, by)]
            corners += [(bx - 7 * ux + 3.5 * s * uy, by - 7 * uy - 3.5 * s * ux) for s in (1, -1)]
            around = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
            self.parts.append(f'<polygon points="{around}" fill="{INK}"/>')

    def line(self, points: Sequence[Point], kind: str = "plain", *, width: float = 1.3,
             dashed: bool = False) -> None:  # fmt: skip
        """A line through the points in the colour of a kind of box."""
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<path d="M{path}" fill="none" stroke="{COLOURS[kind]}" '
            f'stroke-width="{width:g}"{dash}/>'
        )

    def cell(self, x: float, y: float, width: float, height: float, darkness: float,
             kind: str = "") -> None:  # fmt: skip
        """A filled rectangle by its upper left corner, from 0 (the paper) to 1 (the ink)."""
        colour = COLOURS[kind] if kind else INK
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}" '
            f'fill-opacity="{darkness:.3g}"/>'
        )

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A dashed frame around a repeated part, by its upper left corner."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" '
            f'fill="none" stroke="{FAINT}" stroke-dasharray="5 4"/>'
        )

    def down(self, *nodes: Node) -> None:
        """An arrow from each node to the next, from bottom to top edge."""
        for upper, lower in pairwise(nodes):
            self.arrow(upper.bottom, lower.top)

    def around(self, start: Point, end: Node, x: float) -> None:
        """A residual line: from ``start`` sideways to ``x``, down, and into the side of ``end``."""
        side = end.left if x < end.x else end.right
        self.arrow(start, (x, start[1]), (x, end.y), side)

    def row(self, x: float, y: float, texts: Sequence[str], size: float, kind: str = "plain",
            gap: float = 4) -> list[Node]:  # fmt: skip
        """Square boxes side by side, centred on x."""
        first = x - (len(texts) - 1) * (size + gap) / 2
        return [
            self.box(first + place * (size + gap), y, size, size, text, kind)
            for place, text in enumerate(texts)
        ]

    def svg(self) -> str:
        """The drawing as an SVG element."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} '
            f'{self.height:g}" style="max-width: {1.2 * self.width:g}px" '
            f'font-family="sans-serif">\n{body}\n</svg>\n'
        )
