"""The explorer's widgets for a live notebook: image, kind of map, layer and head."""

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attnlib import escaping
from attnlib.explain.attribution import Trace, trace
from attnlib.explain.figures import overlay
from attnlib.explorer.showcase import Subject

if TYPE_CHECKING:
    import ipywidgets

SIDE = 384  # pixels of the picture that is shown


def is_live() -> bool:
    """Whether this notebook is interactive, so that widgets work.

    Jupyter's servers name the session of a kernel that they start, and Colab and VS Code can be
    detected; papermill, nbconvert and the book's build can't. ``ATTNLIB_EXPLORER`` set to 1
    or 0 overrides this.
    """
    if decided := os.environ.get("ATTNLIB_EXPLORER"):
        return decided != "0"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    marked = "google.colab" in sys.modules or "__vsc_ipynb_file__" in shell.user_ns
    return marked or "JPY_SESSION_NAME" in os.environ


def explore(subject: Subject, images: Tensor, names: Sequence[str]) -> "ipywidgets.Widget | None":
    """Widgets that show any map of any image; None if the notebook is not interactive.

    The passes through the model are made once, so a change costs only one map.

    Args:
        subject: A model with attention.
        images: (B, 3, H, W) in [0, 1].
        names: One per image.
    """
    if not is_live():
        return None
    return build_explorer(trace(subject.model, images), images, names, subject.decisions(images))


def build_explorer(
    traced: Trace, images: Tensor, names: Sequence[str], decisions: Sequence[str]
) -> "ipywidgets.Widget":
    """Build the widgets for a finished pass; names and decisions are shown literally."""
    import ipywidgets

    depth, heads = len(traced.weights), traced.weights[0].shape[1]
    controls: dict[str, Any] = {
        "image": ipywidgets.Dropdown(
            options=[(escaping.printable(name), place) for place, name in enumerate(names)]
        ),
        "kind": ipywidgets.Dropdown(options=traced.kinds),
        "layer": ipywidgets.IntSlider(depth, 1, depth),
        "head": ipywidgets.IntSlider(1, 1, heads),
    }
    for name, control in controls.items():
        control.description = name
    picture = ipywidgets.Image(format="png", width=SIDE, height=SIDE)
    label = ipywidgets.HTML()  # not Label, which sets what is between dollar signs as a formula

    def show(_: object = None) -> None:
        place, kind = controls["image"].value, controls["kind"].value
        controls["head"].disabled = kind != "head"
        controls["layer"].disabled = kind == "gradient"
        plane = traced.plane(kind, controls["layer"].value - 1, controls["head"].value - 1)[place]
        picture.value = draw(images[place], plane)
        label.value = escaping.html(decisions[place])

    for control in controls.values():
        control.observe(show, names="value")
    show()
    return ipywidgets.HBox([picture, ipywidgets.VBox([*controls.values(), label])])


def draw(image: Tensor, plane: Tensor) -> bytes:
    """Draw a map over its image as PNG: (3, H, W), (H, W) -> bytes."""
    with torch.inference_mode():
        pixels = (overlay(image, plane) * 255).round().astype(np.uint8)
    shown = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    shown.save(stream, "png", compress_level=1)
    return stream.getvalue()
