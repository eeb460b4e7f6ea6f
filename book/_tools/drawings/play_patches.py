"""The still twin of the patch to choose: one picture in patches of three sizes, and their cost."""

from diagram import Diagram

IMAGE, WIDTH, BLOCKS = 224, 192, 12
SIDES = (16, 32, 56)
SHOWN = 96  # units of a picture's side


def within(x: float, y: float, a: float, b: float, r: float, s: float = 0) -> bool:
    """Whether (x, y) is in the ellipse around (a, b)."""
    return ((x - a) / r) ** 2 + ((y - b) / (s or r)) ** 2 < 1


def darkness(x: float, y: float) -> float:
    """A cat's head, in a formula: how dark the picture is at (x, y)."""
    if (within(x, y, 0.38, 0.52, 0.055) or within(x, y, 0.62, 0.52, 0.055)
            or within(x, y, 0.5, 0.67, 0.045, 0.03)):  # fmt: skip
        return 0.05
    aside = abs(x - 0.5)
    ear = 0.15 + 1.2 * abs(aside - 0.24) < y < 0.5 and aside < 0.33
    return 0.8 if within(x, y, 0.5, 0.58, 0.33, 0.28) or ear else 0.12


def mean(row: int, column: int, patch: int) -> float:
    """The mean darkness of a patch."""
    pixels = [
        darkness((column * patch + x + 0.5) / IMAGE, (row * patch + y + 0.5) / IMAGE)
        for y in range(patch)
        for x in range(patch)
    ]
    return sum(pixels) / len(pixels)


def draw() -> Diagram:
    """Draw the three pictures side by side."""
    d = Diagram(320, 172)
    for place, patch in enumerate(SIDES):
        left, across = 4 + 108 * place, IMAGE // patch
        side, tokens = SHOWN / across, across**2 + 1
        for row in range(across):
            for column in range(across):
                d.cell(left + side * column, 4 + side * row, side, side, mean(row, column, patch))
        work = BLOCKS * (12 * tokens * WIDTH**2 + 2 * tokens**2 * WIDTH) / 1e9
        lines = f"patch {patch}\n{tokens} tokens\n{work:#.3g} GMAC"
        d.text(left + SHOWN / 2, 138, lines)
    return d
