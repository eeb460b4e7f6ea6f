"""Exporting a network as ONNX, TorchScript or safetensors, and checking what was written.

Normalisation is inside and the number of images is free: floats in [0, 1] (B, 3, S, S) go in,
logits (B, K) come out.
"""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor, nn

from attnlib.atomic import write_atomically
from attnlib.models.layers import Normalize
from attnlib.records.formats import FORMATS
from attnlib.records.network import METADATA, Network, load_network

LOGIT_TOLERANCE = 1e-4  # of logits; of the largest one, where that is above 1
BATCHES = (1, 2, 5)  # images at a time, in the check
INSTALL = 'exporting to ONNX needs packages that are not installed: pip install "attnlib[onnx]"'


class ExportError(ValueError):
    """The exported file does not answer as the network does; it was removed."""


class Exported(NamedTuple):
    """An exported file, and how far its logits were from the network's."""

    path: Path
    bytes: int
    difference: float


def export_network(network: Network, path: str | Path, form: str) -> Exported:
    """Write a network to ``path`` and check that the file answers as the network does.

    Args:
        network: From a run or a file.
        path: Where to write; replaced once the new file is checked.
        form: "onnx", "torchscript" or "safetensors".

    Raises:
        ValueError: If the form is unknown.
        ImportError: If onnx or onnxruntime is not installed.
        ExportError: If the file does not answer as the network does.
    """
    if form not in FORMATS:
        raise ValueError(f"format: expected {', '.join(FORMATS)}; got {form!r}")
    path = Path(path)
    write, read = {
        "onnx": (_write_onnx, _read_onnx),
        "torchscript": (_write_torchscript, _read_torchscript),
        "safetensors": (_write_safetensors, _read_safetensors),
    }[form]
    temporary = path.with_name(f".{path.name}{FORMATS[form]}")
    network.model.eval().cpu()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # exporters warn of what the check looks at
            write(network, temporary)
            difference = compare_logits(network, read(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(path, path.stat().st_size, difference)


@torch.inference_mode()
def compare_logits(network: Network, answer: Callable[[Tensor], Tensor]) -> float:
    """The largest difference between the network's logits and those of ``answer``.

    Random images of a fixed seed, in batches of several sizes.

    Raises:
        ExportError: If it is above ``LOGIT_TOLERANCE``, or a shape differs.
    """
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for count in BATCHES:
        images = torch.rand(count, 3, network.img_size, network.img_size, generator=generator)
        try:
            expected, found = network.model(images), answer(images)
        except Exception as fault:  # runtimes raise their own
            raise ExportError(f"the file can't classify {count} images: {fault}") from None
        if found.shape != expected.shape:
            raise ExportError(f"the file answers {tuple(found.shape)}, not {tuple(expected.shape)}")
        difference = float((found - expected).abs().max())
        scale = max(1.0, float(expected.abs().max()))
        if not difference <= LOGIT_TOLERANCE * scale:
            raise ExportError(
                f"the file's logits differ from the network's by {difference:.2g}, more than "
                f"{LOGIT_TOLERANCE * scale:.2g}"
            )
        largest = max(largest, difference)
    return largest


def describe_network(network: Network) -> dict[str, str]:
    """What a file says of itself: its classes, its size, and how it normalises images."""
    normalize = next(m for m in network.model.modules() if isinstance(m, Normalize))
    about = {
        "title": network.title,
        "run": network.run.name if network.run else None,
        "config": network.config,
        "built": network.built,
        "classes": network.class_names,
        "img_size": network.img_size,
        "mean": normalize.mean.flatten().tolist(),
        "std": normalize.std.flatten().tolist(),
        "input": "images (B, 3, S, S), floats in [0, 1], RGB; normalised inside",
    }
    return {METADATA: json.dumps(about, ensure_ascii=False)}


def _write_onnx(network: Network, path: Path) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401  # for the check
        import onnxscript  # noqa: F401  # PyTorch's exporter stands on it
    except ImportError as fault:
        raise ImportError(INSTALL) from fault
    images = torch.rand(2, 3, network.img_size, network.img_size)
    program = torch.onnx.export(
        network.model,
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for key, value in describe_network(network).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _read_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    return answer


def _write_torchscript(network: Network, path: Path) -> None:
    images = torch.rand(2, 3, network.img_size, network.img_size)
    with torch.no_grad():
        traced: Any = torch.jit.trace(network.model, images, check_trace=False)
    torch.jit.save(traced, path, _extra_files=describe_network(network))


def _read_torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    loaded: Any = torch.jit.load(path)
    return loaded


def _write_safetensors(network: Network, path: Path) -> None:
    weights = {key: value.contiguous() for key, value in network.model.state_dict().items()}
    write_atomically(path, save(weights, describe_network(network)))


def _read_safetensors(path: Path) -> Callable[[Tensor], Tensor]:
    model: nn.Module = load_network(path).model
    return model
