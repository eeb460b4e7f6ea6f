"""How PyTorch's threads wait for work; PyTorch reads it once, when it is imported."""

from collections.abc import Container, MutableMapping

SPIN_COUNT = 1000  # looks for work, some microseconds, before a waiting thread sleeps


def let_waiting_threads_sleep(
    environment: MutableMapping[str, str], imported: Container[str]
) -> None:
    """Make threads spin briefly and then sleep, unless the user has chosen or it is too late.

    A parallel operation ends when its slowest thread does, and by default the others spin
    meanwhile: fast on a quiet machine, but where a program holds one of the cores they take turns
    with it. Images a second of ResNet-18 and DeiT-T on two cores, quiet and with one core taken
    (AMD EPYC, PyTorch 2.15): spinning 840 and 259, then 270 and 91; sleeping at once 765 and 215,
    then 432 and 130; with this count 865 and 245, then 371 and 122.

    Args:
        environment: Environment variables, changed in place.
        imported: Names of the modules imported so far.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(environment)
    if "torch" not in imported and not chosen:
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)  # of GNU's OpenMP, in PyTorch's wheels
