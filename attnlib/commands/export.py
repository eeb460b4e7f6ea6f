"""``attnlib export``: a network as ONNX, TorchScript or safetensors, checked."""

import argparse
from pathlib import Path

from attnlib.commands.arguments import Subcommands, add_command, add_output, add_run
from attnlib.records.formats import FORMATS


def add_export(commands: Subcommands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "export",
        "write a run's network as ONNX, TorchScript or safetensors, and check the file",
        "attnlib export RUN --format onnx --output deit.onnx",
        export,
    )
    add_run(parser)
    parser.add_argument("--average", action="store_true", help="take the averaged weights (ema)")
    parser.add_argument("--format", choices=tuple(FORMATS), default="onnx", help="(default: onnx)")
    add_output(parser, "--output", "(default: RUN with the ending)")


def export(chosen: argparse.Namespace) -> int:
    """Write the file, check it against the network, and say what goes in and comes out."""
    from attnlib.records.export import export_network
    from attnlib.records.network import load_network

    network = load_network(chosen.run, runs_dir=chosen.runs_dir, average=chosen.average)
    name = network.run.name if network.run else Path(chosen.run).stem
    own_name = f"{name}{'-average' * chosen.average}{FORMATS[chosen.format]}"
    path = chosen.output or Path(own_name)
    done = export_network(network, path, chosen.format)
    size = network.img_size
    print(f"{done.path}  {done.bytes / 1e6:.1f} MB")
    print(f"in   images (B, 3, {size}, {size}), floats in [0, 1], RGB; normalised inside")
    print(f"out  logits (B, {len(network.class_names)})")
    print(f"checked: its logits differ from the network's by at most {done.difference:.1e}")
    return 0
