"""Decisions on stimuli: reading, writing and pairing files of the published CSV format.

The format is that of Geirhos et al. (2020), arXiv:2006.16736: a file per system, a row per trial.
Images have ids such as ``bird3-bird2.png``: shape, then texture, each with a number.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attnlib.arrays import Flags
from attnlib.atomic import write_atomically

Names = NDArray[np.str_]

CATEGORIES = (  # Geirhos et al. (2019), arXiv:1811.12231; the thesis leaves out cat and oven
    *("airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat"),
    *("chair", "clock", "dog", "elephant", "keyboard", "knife", "oven", "truck"),
)
DECISION_COLUMNS = (
    *("subj", "session", "trial", "rt"),
    *("object_response", "category", "condition", "imagename"),
)
NO_ANSWER = "na"
PERSON = "subject-"  # prefix of people's names


class Cues(NamedTuple):
    """Categories of an image's shape and of its texture ("" without one)."""

    shape: str
    texture: str


def read_cues(image: str) -> Cues:
    """Parse the cues in an image id: ``bird3-cat2.png``, or ``bird3.png`` without a texture.

    Raises:
        ValueError: If the id is not of this form, or names another category.
    """
    found = re.fullmatch(r"([a-z]+)\d*(?:-([a-z]+)\d*)?\.\w+", image)
    cues = Cues(found[1], found[2] or "") if found else Cues("", "")
    if cues.shape not in CATEGORIES or cues.texture not in ("", *CATEGORIES):
        raise ValueError(
            f"{image!r}: expected SHAPE-TEXTURE.png or SHAPE.png with numbers after the names, as "
            f"in bird3-cat2.png. Valid names: {', '.join(CATEGORIES)}"
        )
    return cues


@dataclass(frozen=True, eq=False)
class Decisions:
    """One system's answers (n,), in the order of the image ids, which are unique.

    An answer may be any text: ``na``, or the misspelt ``ariplane`` of one published file. Anything
    other than the category is wrong.
    """

    system: str
    images: Names
    responses: Names

    @property
    def shapes(self) -> Names:
        """Category of each image's shape: the right answer (n,)."""
        return np.array([read_cues(image).shape for image in self.images])

    @property
    def textures(self) -> Names:
        """Category of each image's texture, "" if it has none (n,)."""
        return np.array([read_cues(image).texture for image in self.images])

    @property
    def correct(self) -> Flags:
        """Whether each answer is the shape's category (n,); no answer counts as wrong."""
        return self.responses == self.shapes

    @property
    def is_person(self) -> bool:
        """Whether the system is one of the people."""
        return self.system.startswith(PERSON)


def make_decisions(system: str, images: Sequence[str], responses: Sequence[str]) -> Decisions:
    """Make decisions from answers in any order.

    Raises:
        ValueError: If the lengths differ or are 0, or an image occurs twice or has a name
            without a category.
    """
    if len(images) != len(responses) or not len(images):
        raise ValueError(
            f"{system}: expected an answer for each image; got {len(responses)} answers and "
            f"{len(images)} images"
        )
    order = np.argsort(np.array(images), kind="stable")
    sorted_images = np.array(images)[order]
    twice = sorted_images[1:][sorted_images[1:] == sorted_images[:-1]]
    if len(twice):
        raise ValueError(f"{system}: {str(twice[0])!r} occurs twice ({len(twice)} such)")
    for image in images:
        read_cues(image)
    return Decisions(system, sorted_images, np.array(responses)[order])


def read_decisions(path: Path) -> Decisions:
    """Read one system's file.

    The system's name is the column ``subj``, as some published file names lack an underscore; the
    image id is what follows the last ``_`` of ``imagename``, since people's files put the trial
    before it.

    Raises:
        ValueError: Naming the file, the line and the error.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text: {error}") from error
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(rows[0]) != DECISION_COLUMNS:
        found = ", ".join(rows[0]) if rows else "nothing"
        raise ValueError(
            f"{path}: expected the columns {', '.join(DECISION_COLUMNS)}; found {found[:200]}"
        )
    systems, images, responses = [], [], []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(DECISION_COLUMNS):
            raise ValueError(f"{path}, line {line}: expected 8 fields; found {len(row)}")
        image = row[7].rpartition("_")[2]
        try:
            shape = read_cues(image).shape
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
        if shape != row[5]:
            raise ValueError(f"{path}, line {line}: category {row[5]!r}, but {image!r} is {shape}")
        systems.append(row[0])
        images.append(image)
        responses.append(row[4])
    if len(set(systems)) != 1:
        raise ValueError(f"{path}: expected one system; found {sorted(set(systems)) or 'none'}")
    try:
        return make_decisions(systems[0], images, responses)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write_decisions(path: Path, decisions: Decisions) -> None:
    """Write a network's decisions in the published format, creating parent folders."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DECISION_COLUMNS)
    rows = zip(decisions.images, decisions.responses, decisions.shapes, strict=True)
    for trial, (image, response, shape) in enumerate(rows, start=1):
        writer.writerow([decisions.system, 1, trial, "NaN", response, shape, "NaN", image])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def check_paired(systems: Sequence[Decisions]) -> None:
    """Refuse systems that did not decide on the same images.

    Raises:
        ValueError: Naming the two systems and an image that only one of them has.
    """
    for other in systems[1:]:
        first = systems[0]
        if not np.array_equal(first.images, other.images):
            lacking = np.setxor1d(first.images, other.images)
            raise ValueError(
                f"{first.system} and {other.system} don't pair: {len(lacking)} images are not in "
                f"both ({len(first.images)} and {len(other.images)}), {str(lacking[0])!r} for one"
            )


def select_images(decisions: Decisions, images: Names) -> Decisions:
    """The decisions on ``images`` only.

    Raises:
        ValueError: If one of them is missing.
    """
    lacking = np.setdiff1d(images, decisions.images)
    if len(lacking):
        raise ValueError(
            f"{decisions.system} has no decision on {len(lacking)} of {len(images)} images, "
            f"{str(lacking[0])!r} for one"
        )
    chosen = np.isin(decisions.images, images)
    return Decisions(decisions.system, decisions.images[chosen], decisions.responses[chosen])
