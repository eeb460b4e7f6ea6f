"""The device to compute on: which there are, which one ``auto`` takes, and why not another."""

import torch


def resolve_device(device: str) -> str:
    """The device's name; ``auto`` takes CUDA where it can be used, then Apple's mps, else the CPU.

    Raises:
        ValueError: If there is no such device here, naming those that there are.
    """
    if device == "auto":
        if torch.cuda.is_available() and not unsupported_card():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        asked = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device: expected auto, cpu, cuda, cuda:N, mps or xpu; got {device!r}. "
            f"Here: {', '.join(list_devices())}."
        ) from None
    here = list_devices()
    if asked.type not in {name.partition(":")[0] for name in here}:
        why = f" ({why_no_cuda()})" if asked.type == "cuda" else ""
        raise ValueError(f"device: no {device!r} here{why}. There are: {', '.join(here)}.")
    if asked.index and str(asked) not in here:  # index 0 is the device itself
        raise ValueError(f"device: no {device!r} here. There are: {', '.join(here)}.")
    return device


def list_devices() -> list[str]:
    """Names of the devices that PyTorch sees here; ``cuda`` alone stands for the first."""
    here = ["cpu"]
    if torch.cuda.is_available():
        here += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    if torch.xpu.is_available():
        here += ["xpu", *(f"xpu:{index}" for index in range(torch.xpu.device_count()))]
    return here


def unsupported_card() -> str:
    """Why this PyTorch can't compute on the first CUDA card that it sees; empty if it can.

    PyTorch sees cards that it has no kernels for, warns, and fails at the first step.
    """
    if torch.version.cuda is None:  # AMD's, whose architectures are named otherwise
        return ""
    try:
        major, minor = torch.cuda.get_device_capability(0)
        name, built = torch.cuda.get_device_name(0), torch.cuda.get_arch_list()
    except (RuntimeError, AssertionError):
        return ""  # it fails by itself, with its own words
    # sm_86 runs on 8.6 and later of the same generation, compute_90 is compiled for any later card.
    for architecture in built:
        kind, _, digits = architecture.rstrip("af").partition("_")
        theirs = (int(digits[:-1]), int(digits[-1]))
        is_same = theirs[0] == major and theirs[1] <= minor
        if is_same or (kind == "compute" and theirs <= (major, minor)):
            return ""
    return (
        f"{name} has compute capability {major}.{minor}, which PyTorch {torch.__version__} is not "
        f"built for ({', '.join(built)})"
    )


def why_no_cuda() -> str:
    """Why there is no CUDA to compute on, in PyTorch's words if it has some; else empty."""
    if torch.cuda.is_available():
        return unsupported_card()
    if not torch.backends.cuda.is_built():
        return "this PyTorch is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as fault:  # no driver, or one that is too old
        return str(fault).strip().split(". ")[0].rstrip(".")
    return "no CUDA device is visible"
