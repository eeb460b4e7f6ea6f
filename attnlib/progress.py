"""Progress that people can use: a bar in a terminal, a growing figure in a notebook."""

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from attnlib.training.loop import Epoch, Step

REDRAW_SECONDS = 2.0  # a figure takes about 0.2 s to draw


class TerminalBar:
    """A bar over all steps with images per second and time left; lines stay above it.

    Where the output is no terminal, a pipe or a log, there is no bar and lines come at once.

    Args:
        output: Where to write; standard output if None.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        self.output = output or sys.stdout
        self.bar: tqdm[Any] | None = None

    def step(self, step: Step) -> None:
        """A step is done."""
        if not self.output.isatty():
            return
        done = (step.epoch - 1) * step.steps + step.step
        if self.bar is None:
            total = step.epochs * step.steps * step.images
            start = (done - 1) * step.images
            self.bar = tqdm(
                total=total, initial=start, unit=" images", unit_scale=True, file=self.output,
                dynamic_ncols=True, leave=False, smoothing=0.1,
            )  # fmt: skip
        self.bar.set_description(f"epoch {step.epoch}/{step.epochs}", refresh=False)
        self.bar.update(done * step.images - self.bar.n)
        if done == step.epochs * step.steps:
            self.close()

    def line(self, text: object) -> None:
        """Write a line above the bar."""
        if self.bar is None:
            self.output.write(f"{text}\n")
            self.output.flush()
        else:
            self.bar.write(str(text), file=self.output)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: Any, trace: TracebackType | None
    ) -> None:
        self.close()


class LiveCurves:
    """Called after each epoch: one line, and in a notebook a figure of the curves so far.

    The figure is redrawn in place and ends as an ordinary static one; no widget is made.
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.handle: Any = None
        self.drawn = 0.0

    def __call__(self, epoch: Epoch) -> None:
        """An epoch is done."""
        if self.epochs and epoch.epoch <= self.epochs[-1].epoch:
            self.epochs = []  # a teacher's epochs are over, the student's begin
        self.epochs.append(epoch)
        sys.stdout.write(f"{epoch}\n")
        sys.stdout.flush()
        is_last = epoch.epoch == epoch.epochs
        if is_last or time.monotonic() - self.drawn > REDRAW_SECONDS:
            self.draw()
            self.drawn = time.monotonic()

    def draw(self) -> None:
        """Show the curves so far, or show them anew."""
        if not _in_notebook():
            return
        from IPython.display import display

        from attnlib.plotting import epoch_curves

        figure = epoch_curves(self.epochs)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None
