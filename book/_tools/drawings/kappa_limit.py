"""Figure 5.7.1: the highest kappa with people that an accuracy allows, and what networks reach."""

import json
from pathlib import Path

from attnlib.stats.consistency import kappa_limit
from diagram import Diagram

KEPT = Path(__file__).resolve().parents[3] / "results" / "measurements" / "human.json"
LEFT, RIGHT, TOP, BOTTOM = 40, 298, 24, 210  # of the panel
SHOWN = {"resnet50": "ResNet-50", "ViT-B_32": "ViT-B/32"}
POINTS = 200


def place(accuracy: float, kappa: float) -> tuple[float, float]:
    """Position in the panel."""
    return LEFT + (RIGHT - LEFT) * accuracy, BOTTOM - (BOTTOM - TOP) * kappa


def draw() -> Diagram:
    """Draw the limit, and for each network a line from its kappa up to its limit."""
    d = Diagram(320, 264)
    rows = json.loads(KEPT.read_text(encoding="utf-8"))["rows"]
    systems = {row["system"]: row for row in rows if row.get("part") == "system"}
    people = systems["people"]["accuracy_value"]
    d.text(4, 10, "kappa with people", "start", faint=True)
    for kappa in (0, 0.5, 1):
        y = place(0, kappa)[1]
        d.line([(LEFT, y), (RIGHT, y)], width=0.5)
        d.text(LEFT - 6, y, f"{kappa:g}", "end", faint=True)
    for accuracy in (0, 0.5, 1):
        d.text(place(accuracy, 0)[0], BOTTOM + 15, f"{accuracy:.0%}", faint=True)
    d.text((LEFT + RIGHT) / 2, BOTTOM + 38, "accuracy of the network", faint=True)
    line = [(n / POINTS, kappa_limit(people, n / POINTS)) for n in range(POINTS + 1)]
    d.line([place(*point) for point in line], "mix", width=2)
    d.text(*place(0.7, 0.94), "the most", "end")
    for name, title in SHOWN.items():
        accuracy, kappa = (systems[name][f"{key}_value"] for key in ("accuracy", "kappa"))
        x, y = place(accuracy, kappa)
        d.line([(x, y), place(accuracy, kappa_limit(people, accuracy))], "each", width=2)
        d.cell(x - 4, y - 4, 8, 8, 1, "each")
        d.text(x + 9, y + (4 if name == "resnet50" else -6), title, "start")
    return d
