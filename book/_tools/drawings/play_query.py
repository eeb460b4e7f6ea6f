"""The still twin of the query to drag: three queries, their weights and what they take up."""

import math

from diagram import Diagram

KEYS, VALUES = ((1, 0), (0, 1)), ((4, 0), (0, 8))
EVEN = math.sqrt(2) * math.log(3)  # makes the weights come out even
QUERIES = ((EVEN, 0), (0, 0), (0, EVEN))
BAR = 120  # length of a weight of 1


def weights(query: tuple[float, float]) -> list[float]:
    """The softmax of the scaled products with both keys."""
    scores = [math.exp((query[0] * a + query[1] * b) / math.sqrt(2)) for a, b in KEYS]
    return [score / sum(scores) for score in scores]


def draw() -> Diagram:
    """Draw a block of two bars for each query."""
    d = Diagram(320, 252)
    d.text(6, 14, "query, and the weight of each key", "start", faint=True)
    for place, query in enumerate(QUERIES):
        y = 46 + 74 * place
        shares = weights(query)
        taken = [sum(w * value[axis] for w, value in zip(shares, VALUES, strict=True))
                 for axis in (0, 1)]  # fmt: skip
        d.text(6, y, f"q = ({query[0]:.2f}, {query[1]:.2f})", "start")
        d.text(314, y, f"o = ({taken[0]:.0f}, {taken[1]:.0f})", "end")
        for row, share in enumerate(shares):
            top = y + 12 + 20 * row
            d.text(6, top + 7, f"k{'₁₂'[row]}", "start", faint=True)
            d.cell(34, top, BAR * share, 14, 0.85, "mix")
            d.text(40 + BAR * share, top + 7, f"{share:.2f}", "start", faint=True)
    return d
