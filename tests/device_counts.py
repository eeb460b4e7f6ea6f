"""What training asks of a device: how often a step waits for it, how many kernels a batch takes.

Called inside ``pretend(card)``, with its machine; ``by_line`` says which lines are to blame.
"""

import numpy as np
from pretended_device import Counts, Machine

import attnlib as al
from attnlib.data.loading import make_source


def counts_of_steps(machine: Machine, config: al.TrainConfig) -> list[Counts]:
    """Train ``config``; the counts of each step, but for the first and last of an epoch.

    The first step of an epoch includes what is set up once, the last has the epoch's one wait.
    """
    counts: list[Counts] = []
    seen = {"before": machine.counts()}

    def note(step: object) -> None:
        now = machine.counts()
        if step.epoch == config.epochs and 1 < step.step < step.steps:
            counts.append(now.since(seen["before"]))
        seen["before"] = now

    al.run_experiment(config, on_step=note)
    return counts


def counts_of_batch(machine: Machine, config: al.TrainConfig, side: int = 32) -> Counts:
    """Make one batch of ``config.batch_size`` images of ``side`` pixels, resident on the device."""
    count = config.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    split = al.Split(images, np.arange(count) % 10, np.arange(count))
    source = make_source(split, config, 10)
    before = machine.counts()
    source.batch(0, 0, np.arange(count))
    return machine.counts().since(before)
