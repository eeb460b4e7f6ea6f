"""``{model-table} NAME``: a numbered table generated from the code when the book is built.

Such a table always matches the code. The content is the caption.
"""

import ast
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ATTNLIB = Path(__file__).resolve().parents[3] / "attnlib"
FLOORS = ("", "stats", "colab", "models", "augmentation", "data", "training", "records",
          "explain", "compare", "cost", "human", "thesis", "explorer", "commands")  # fmt: skip
TIMES, MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
RESNETS = (18, 34, 50, 101, 152)
STAGES = ("layer1", "layer2", "layer3", "layer4")
# Each operation at one magnitude, with the meaning of its argument.
MEANINGS = {
    "Rotate": "turned by {} degrees, either way",
    "PosterizeIncreasing": "bits a channel that are kept: {}",
    "SolarizeIncreasing": "levels from {} up inverted",
    "SolarizeAdd": "{} added to levels below 128",
    "ColorIncreasing": "colour times {} or {}",
    "ContrastIncreasing": "contrast times {} or {}",
    "BrightnessIncreasing": "brightness times {} or {}",
    "SharpnessIncreasing": "sharpness times {} or {}",
    "ShearX": "sheared sideways by a slope of {}, either way",
    "ShearY": "sheared vertically by a slope of {}, either way",
    "TranslateXRel": "moved sideways by {} of the side, either way",
    "TranslateYRel": "moved up or down by {} of the side",
    "AutoContrast": "each channel stretched to 0..255",
    "Equalize": "each channel's levels made about equally frequent",
    "Invert": "negative",
}

# Sources of the thesis profile's values. DEIT: facebookresearch/deit, main.py.
DEIT = "not stated; DeiT's default"
SOURCES = {
    "img_size": "section 7.6.1",
    "batch_size": "section 7.6",
    "epochs": "section 7.6",
    "pretrained": "sections 7.6.4 and 7.6.5; the row ResNet-18 starts without them",
    "lr": f"{DEIT}, 5e-4 for a batch of 512, in proportion",
    "weight_decay": DEIT,
    "warmup_epochs": DEIT,
    "restarts": "DeiT's; the text says otherwise ({ref}`erratum 18 <erratum-18>`)",
    "augment": "section 7.6.1; strengths are DeiT's defaults",
    "cutmix": "section 7.6.2; the parameter is DeiT's",
    "mixup": "cutmix alone is described; DeiT has 0.8",
    "label_smoothing": DEIT,
    "drop_path": DEIT,
    "ema": f"{DEIT}; the weights themselves are evaluated",
    "alpha": "equation 5.3",
    "temperature": f"{DEIT}; hard distillation has none",
}


class Table(NamedTuple):
    """Rows of Markdown; a line break within a cell separates lines."""

    header: Sequence[str]
    rows: list[list[str]]


@functools.cache
def resnet(depth: int) -> Any:
    """The ResNet of that name in torchvision, on the meta device."""
    import torch
    from torchvision import models

    with torch.device("meta"):
        return models.get_model(f"resnet{depth}").eval()


def sides(depth: int) -> dict[str, int]:
    """Side of the output of conv1 and of each stage, for an image of 224 pixels."""
    import torch

    found: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, args, output: found.update({name: output.shape[-1]})

    model = resnet(depth)
    handles = [
        model.get_submodule(name).register_forward_hook(note(name))
        for name in ("conv1", *STAGES, "avgpool")
    ]
    with torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    for handle in handles:
        handle.remove()
    return found


def describe_convolution(conv: Any) -> str:
    """Kernel and output channels: 3 by 3, 64."""
    rows, columns = conv.kernel_size
    stride = f", stride {conv.stride[0]}" if conv.kernel_size[0] == 7 else ""
    return f"{rows}{TIMES}{columns}, {conv.out_channels}{stride}"


def resnet_layers() -> Table:
    """The thesis's Figure 6.1: the stages of five ResNets."""
    from torch import nn

    from attnlib.cost.measure import count_gmac

    models = [resnet(depth) for depth in RESNETS]
    side = sides(18)
    first = {describe_convolution(model.conv1) for model in models}
    pools = {(model.maxpool.kernel_size, model.maxpool.stride) for model in models}
    (conv1,), ((kernel, stride),) = first, pools
    rows = [["conv1", f"{side['conv1']}{TIMES}{side['conv1']}", *[conv1] * len(models)]]
    for number, stage in enumerate(STAGES, start=2):
        cells = []
        for model in models:
            blocks = model.get_submodule(stage)
            convs = [m for m in blocks[-1].children() if isinstance(m, nn.Conv2d)]
            lines = [*map(describe_convolution, convs), f"{len(blocks)} times"]
            cells.append("\n".join(lines))
        name = f"conv{number}_x"
        if number == 2:
            cells = [f"{kernel}{TIMES}{kernel} max pool, stride {stride}\n{cell}" for cell in cells]
        rows.append([name, f"{side[stage]}{TIMES}{side[stage]}", *cells])
    ends = [f"average pool\n{model.fc.out_features} classes" for model in models]
    rows.append(["end", f"{side['avgpool']}{TIMES}{side['avgpool']}", *ends])
    work = [f"{count_gmac(model):.1f}e9" for model in models]
    rows.append(["multiply-adds", "", *work])
    return Table(["stage", "output", *(f"ResNet-{depth}" for depth in RESNETS)], rows)


def encoder_parameters() -> Table:
    """Parameters that AtResNet-18 adds to ResNet-18, part by part, in both readings."""
    from attnlib.cost.measure import build_empty, count_parameters

    readings = {
        tokens: build_empty("atresnet18", num_classes=10, tokens=tokens)
        for tokens in ("channel", "spatial")
    }
    resnet18 = build_empty("resnet18", num_classes=10)

    def line(name: str, count: Callable[[Any], int]) -> list[str]:
        return [name, *(f"{count(model):,}".replace("-", MINUS) for model in readings.values())]

    rows = []
    for place in range(4):
        features = [model.encoders[place].attn.k.in_features for model in readings.values()]
        name = f"encoder {place + 1}, $F$ = {' or '.join(f'{f:,}' for f in features)}"
        rows.append(line(name, lambda m, place=place: count_parameters(m.encoders[place])))
    rows.append(line("class token", lambda m: m.cls_token.numel()))
    rows.append(line("new classifier", lambda m: count_parameters(m.fc)))
    rows.append(line("without the old classifier", lambda m: -count_parameters(resnet18.fc)))
    rest = count_parameters(resnet18)
    rows.append(line("**added in all**", lambda m: count_parameters(m) - rest))
    rows.append(line("**whole network**", count_parameters))
    return Table(["part", "channels as tokens", "positions as tokens"], rows)


def operation_table() -> Table:
    """RandAugment's operations at the recipe's magnitude, 9 of 10."""
    import numpy as np

    from attnlib.augmentation.randaugment import OPERATIONS
    from attnlib.augmentation.random_parameters import operation_arguments

    rows = []
    for code, name in enumerate(OPERATIONS):
        both = [
            float(operation_arguments(np.array([code]), np.array([0.9]), np.array([sign]))[0])
            for sign in (1, -1)
        ]
        shown = [f"{value:g}" for value in both]
        shown = [f"{abs(both[0]):g}"] if both[0] in (both[1], -both[1]) else shown
        rows.append([f"`{name}`", MEANINGS[name].format(*shown)])
    return Table(["operation", "at magnitude 9"], rows)


def number(value: object) -> str:
    """A number in its shortest form; anything else unchanged."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def recipe() -> Table:
    """The values of three profiles, and the sources of the thesis profile's."""
    from attnlib.config import PROFILES, TrainConfig

    profiles = ("thesis", "cpu-reference", "quick")
    meanings = {f.name: f.metadata["about"] for f in fields(TrainConfig)}
    rows = []
    for name, source in SOURCES.items():
        values = [PROFILES[p].get(name, getattr(TrainConfig, name)) for p in profiles]
        words = {True: "yes", False: "no"}
        shown = [words[v] if isinstance(v, bool) else number(v) for v in values]
        rows.append([f"`{name}`: {meanings[name]}", *shown, source])
    return Table(["parameter", *profiles, "source of the first"], rows)


def first_sentence(module: ast.Module) -> str:
    """A module's docstring up to its first full stop, with code marked as MyST has it."""
    text = " ".join((ast.get_docstring(module) or "").split("\n\n")[0].split())
    return re.sub(r"``", "`", re.split(r"(?<=[^.]\.)\s", text)[0])


def module_table() -> Table:
    """The package's files by folder, from the base up, with their docstrings' first sentences."""
    rows = []
    for folder in FLOORS:
        for path in sorted((ATTNLIB / folder).glob("*.py")):
            if not path.name.startswith("__"):
                said = first_sentence(ast.parse(path.read_text(encoding="utf-8")))
                rows.append([f"`{folder}/`" if folder else "", f"`{path.name}`", said])
    return Table(["folder", "file", "what it holds"], rows)


TABLES: dict[str, Callable[[], Table]] = {
    "resnet-layers": resnet_layers,
    "encoder-parameters": encoder_parameters,
    "operations": operation_table,
    "recipe": recipe,
    "modules": module_table,
}


class ModelTable(SphinxDirective):
    """A table by its name in ``TABLES``."""

    required_arguments = 1
    has_content = True
    option_spec = {"name": str}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        name = self.arguments[0]
        if name not in TABLES:
            raise self.error(f"no table {name!r}; there is: {', '.join(TABLES)}")
        table = TABLES[name]()
        columns = len(table.header)
        group = nodes.tgroup("", cols=columns)
        group += [nodes.colspec("", colwidth=100 // columns) for _ in range(columns)]
        group += nodes.thead("", self.row(table.header))
        group += nodes.tbody("", *(self.row(cells) for cells in table.rows))
        caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        shown = nodes.table("", nodes.title("", "", *caption), group, classes=["model-table"])
        self.set_source_info(shown)
        self.add_name(shown)
        return [shown]

    def row(self, cells: Sequence[str]) -> nodes.row:
        """A row; the lines of a cell are stacked."""
        row = nodes.row()
        for cell in cells:
            block = nodes.line_block() if "\n" in cell else nodes.paragraph()
            for text in cell.split("\n"):
                inline, _ = self.parse_inline(text, lineno=self.lineno)
                block += nodes.line("", "", *inline) if "\n" in cell else inline
            row += nodes.entry("", block)
        return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("model-table", ModelTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
