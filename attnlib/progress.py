"""Progress display: a bar in a terminal, learning curves that are redrawn in a notebook."""

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

from attnlib.training.epoch import Epoch, Step

REDRAW_SECONDS = 2.0  # drawing a figure takes about 0.2 s


class TerminalBar:
    """A progress bar over all steps with images per second and time left; lines go above it.

    If the output is not a terminal, there is no bar and only lines are written.

    Args:
        output: Where to write; standard output if None.
    """

    def __init__(self, output: TextIO | None = None) -> None:
        self.output = output or sys.stdout
        self.bar: tqdm[Any] | None = None

    def step(self, step: Step) -> None:
        """Advance by one step."""
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
        """Remove the bar."""
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
    """Shows each finished epoch: one line, and in a notebook a figure of the curves so far.

    The figure is redrawn in place and remains as an ordinary static one; no widget is needed.
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.handle: Any = None
        self.drawn = 0.0

    def __call__(self, epoch: Epoch) -> None:
        """Show a finished epoch."""
        if self.epochs and epoch.epoch <= self.epochs[-1].epoch:
            self.epochs = []  # the teacher is done and the student begins
        self.epochs.append(epoch)
        sys.stdout.write(f"{epoch}\n")
        sys.stdout.flush()
        is_last = epoch.epoch == epoch.epochs
        if is_last or time.monotonic() - self.drawn > REDRAW_SECONDS:
            self.draw()
            self.drawn = time.monotonic()

    def draw(self) -> None:
        """Draw the curves, or redraw them in place."""
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
