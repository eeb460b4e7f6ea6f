"""Figure 3.1: seconds a pass against the number of tokens, from the kept measurement."""

import json
import math
from pathlib import Path

from diagram import Diagram

KEPT = Path(__file__).resolve().parents[3] / "results" / "measurements" / "scaling-cpu.json"
LEFT, RIGHT, TOP, BOTTOM = 62, 318, 26, 292  # of the panel
TOKENS, SECONDS = (50, 4000), (4e-5, 0.5)
SERIES = {  # layer: label, where it stands, colour, dashed
    "explicit": ("explicit", (232, 62), "each", False),
    "fused": ("fused", (298, 117), "mix", False),
    "projections": ("projections", (108, 214), "each", True),
    "class_token": ("class token asks", (246, 224), "mix", True),
}


def place(tokens: float, seconds: float) -> tuple[float, float]:
    """Position on the two logarithmic axes."""
    across = math.log(tokens / TOKENS[0]) / math.log(TOKENS[1] / TOKENS[0])
    up = math.log(seconds / SECONDS[0]) / math.log(SECONDS[1] / SECONDS[0])
    return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)


def draw() -> Diagram:
    """Draw axes, lines and labels."""
    d = Diagram(330, 338)
    rows = [r for r in json.loads(KEPT.read_text())["rows"] if r["quantity"] == "seconds"]
    d.text(4, 10, "time a pass", "start", faint=True)
    for seconds, label in ((1e-4, "0.1 ms"), (1e-3, "1 ms"), (1e-2, "10 ms"), (1e-1, "100 ms")):
        y = place(TOKENS[0], seconds)[1]
        d.line([(LEFT, y), (RIGHT, y)], "plain", width=0.5)
        d.text(LEFT - 6, y, label, "end", faint=True)
    for tokens in (64, 196, 784, 3136):
        x = place(tokens, SECONDS[0])[0]
        d.line([(x, BOTTOM), (x, BOTTOM + 4)], "plain")
        d.text(x, BOTTOM + 15, str(tokens), faint=True)
    d.text((LEFT + RIGHT) / 2, BOTTOM + 35, "tokens", faint=True)
    d.line([(LEFT, BOTTOM), (RIGHT, BOTTOM)], "plain")
    for layer, (label, (x, y), kind, dashed) in SERIES.items():
        points = [place(r["tokens"], r["value"]) for r in rows if r["layer"] == layer]
        d.line(points, kind, width=2, dashed=dashed)
        d.text(x, y, label)
    return d
