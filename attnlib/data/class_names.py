"""Fitting the classes of a data set to those of a network that was trained on another one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from attnlib.data.datasets import Split
from attnlib.parameters import suggest


def match_classes(
    theirs: Sequence[str], ours: Sequence[str], given: Mapping[str, str] | None = None
) -> list[int | None]:
    """For each class of a data set the number of the network's class; None if it has none.

    Classes of the same name belong together, whether in capitals or not.

    Args:
        theirs: Names of the data set's classes.
        ours: Names of the network's classes.
        given: The network's class by the data set's, where they have other names. Several may have
            the same one.

    Raises:
        ValueError: If a name is not there, or none belong together.
    """
    given = given or {}
    for names, known, whose in ((given, theirs, "data set"), (given.values(), ours, "network")):
        for name in names:
            if name not in known:
                raise ValueError(
                    f"classes: the {whose} has no class {name!r}.{suggest(name, known)} "
                    f"It has: {_some(known)}."
                )
    places = {name.casefold(): place for place, name in enumerate(ours)}
    places |= {name: place for place, name in enumerate(ours)}
    matched = [
        ours.index(given[name]) if name in given else places.get(name, places.get(name.casefold()))
        for name in theirs
    ]
    if all(place is None for place in matched):
        raise ValueError(
            f"classes: the data set's ({_some(theirs)}) are none of the network's "
            f"({_some(ours)}); say which belong together, as in {theirs[0]}={ours[0]}."
        )
    return matched


def relabel(split: Split, places: Sequence[int | None]) -> Split:
    """The images whose class has a place among the network's, with that as their label."""
    kept = np.flatnonzero([places[label] is not None for label in split.labels])
    chosen = split.subset(kept)
    labels = [places[label] for label in chosen.labels]
    return replace(chosen, labels=np.array(labels, dtype=np.int64))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
