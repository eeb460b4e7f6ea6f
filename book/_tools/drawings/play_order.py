"""The still twin of the patches to shuffle: four answers of a class token, two of them the same."""

import math

from diagram import Diagram

SHADES = (0.1, 0.8, 0.2, 0.7, 0.9, 0.6, 0.2, 0.3, 0.1)
PLACES = [(math.sin(2 * i), math.cos(3 * i)) for i in range(9)]
QUERY = (2, 1)
SHUFFLED = (8, 0, 4, 1, 3, 5, 2, 7, 6)
SIDE = 30


def answer(order: tuple[int, ...], *, positions: bool) -> tuple[float, float]:
    """What the class token takes up of the patches in this order."""
    tokens = []
    for place, patch in enumerate(order):
        added = PLACES[place] if positions else (0, 0)
        tokens.append((SHADES[patch] + added[0], 1 - SHADES[patch] + added[1]))
    powers = [math.exp(QUERY[0] * a + QUERY[1] * b) for a, b in tokens]
    shares = [power / sum(powers) for power in powers]
    first, second = (
        sum(share * token[axis] for share, token in zip(shares, tokens, strict=True))
        for axis in (0, 1)
    )
    return first, second


def words(pair: tuple[float, float]) -> str:
    """A pair of numbers."""
    return f"({pair[0]:.2f}, {pair[1]:.2f})".replace("-", "\N{MINUS SIGN}")


def draw() -> Diagram:
    """Draw the picture in order and shuffled, each with both answers."""
    d = Diagram(320, 214)
    for left, order, name in ((34, tuple(range(9)), "in order"), (196, SHUFFLED, "shuffled")):
        for place, patch in enumerate(order):
            x, y = left + SIDE * (place % 3), 26 + SIDE * (place // 3)
            d.cell(x, y, SIDE - 2, SIDE - 2, SHADES[patch])
        middle = left + 1.5 * SIDE
        d.text(middle, 12, name)
        for y, positions in ((146, False), (186, True)):
            d.text(middle, y, f"{'with' if positions else 'without'} positions", faint=True)
            d.text(middle, y + 17, words(answer(order, positions=positions)))
    return d
