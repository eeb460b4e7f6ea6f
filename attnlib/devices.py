"""Choosing the device: which are available, which ``auto`` takes, and why others can't be used."""


def resolve_device(device: str) -> str:
    """The device's name; ``auto`` takes CUDA if it can be used, then Apple's mps, else the CPU.

    Raises:
        ValueError: If the device is not available, naming those that are.
    """
    import torch

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


def cpu_computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself (AVX-512 BF16 or AMX).

    Others can too, but convert to float32 on the way and gain nothing. PyTorch tells what a
    processor has in functions that are not public, so one that is missing counts as a no.
    """
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def list_devices() -> list[str]:
    """Names of the devices that PyTorch sees; plain ``cuda`` is the first one."""
    import torch

    here = ["cpu"]
    if torch.cuda.is_available():
        here += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    if torch.xpu.is_available():
        here += ["xpu", *(f"xpu:{index}" for index in range(torch.xpu.device_count()))]
    return here


def unsupported_card() -> str:
    """Why this PyTorch can't compute on the first CUDA card; empty if it can.

    PyTorch lists cards that it has no kernels for, warns, and fails at the first step.
    """
    import torch

    if torch.version.cuda is None:  # AMD, whose architectures have other names
        return ""
    try:
        major, minor = torch.cuda.get_device_capability(0)
        name, built = torch.cuda.get_device_name(0), torch.cuda.get_arch_list()
    except (RuntimeError, AssertionError):
        return ""  # PyTorch fails with its own message
    # sm_86 runs on 8.6 and later of that generation; compute_90 can be compiled for any later card.
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
    """Why CUDA is not available, in PyTorch's words if it gives a reason; else empty."""
    import torch

    if torch.cuda.is_available():
        return unsupported_card()
    if not torch.backends.cuda.is_built():
        return "this PyTorch is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as fault:  # no driver, or an outdated one
        return str(fault).strip().split(". ")[0].rstrip(".")
    return "no CUDA device is visible"
