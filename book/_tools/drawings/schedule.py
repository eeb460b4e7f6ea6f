"""Figure 7.1: the learning rate over the thesis's hundred epochs, without and with a restart."""

from attnlib.config import THESIS
from attnlib.training.schedule import learning_rate
from diagram import Diagram

LEFT, RIGHT, TOP, BOTTOM = 46, 298, 24, 190  # of the panel
EPOCHS, PEAK, WARMUP = (THESIS[name] for name in ("epochs", "lr", "warmup_epochs"))
POINTS = 400


def place(epoch: float, rate: float) -> tuple[float, float]:
    """Position in the panel."""
    return LEFT + (RIGHT - LEFT) * epoch / EPOCHS, BOTTOM - (BOTTOM - TOP) * rate / PEAK


def curve(restarts: int) -> list[tuple[float, float]]:
    """The schedule with so many restarts."""
    times = [EPOCHS * n / POINTS for n in range(POINTS + 1)]
    given = {"peak": PEAK, "epochs": EPOCHS, "warmup_epochs": WARMUP}
    return [place(t, learning_rate(t, restarts=restarts, **given)) for t in times]


def draw() -> Diagram:
    """Draw axes, both curves and their names."""
    d = Diagram(320, 244)
    d.text(4, 10, "learning rate, 1e-5", "start", faint=True)
    for rate in (0, 5, 10):
        y = place(0, rate * 1e-5)[1]
        d.line([(LEFT, y), (RIGHT, y)], width=0.5)
        d.text(LEFT - 6, y, str(rate), "end", faint=True)
    for epoch in (0, 50, 100):
        d.text(place(epoch, 0)[0], BOTTOM + 15, str(epoch), faint=True)
    d.text((LEFT + RIGHT) / 2, BOTTOM + 38, "epoch", faint=True)
    d.line(curve(1), "each", width=1.8, dashed=True)
    d.line(curve(0), "mix", width=2.2)
    d.text(112, 30, "DeiT's", "start")
    d.text(222, 40, "one restart", "start")
    return d
