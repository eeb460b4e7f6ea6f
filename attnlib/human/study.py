"""Results of a study of networks and people, and tables of them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnlib.catalogue import TITLES
from attnlib.human.bootstrap import MEASURES, PEOPLE, Agreement, Interval
from attnlib.human.claims import (
    BOTH,
    RESNET,
    RESNET_FT,
    Finding,
    judge_claims,
    measure_gaps,
    measure_shifts,
)
from attnlib.human.decisions import CATEGORIES
from attnlib.human.sources import ORIGINS, Origin
from attnlib.stats.consistency import kappa_limit
from attnlib.stats.intervals import HOLDS

if TYPE_CHECKING:
    import pandas as pd

NAMES = {  # titles of the measures
    "accuracy": "accuracy",
    "kappa": "error consistency (kappa)",
    "class_js": "class-wise JS distance",
    "inter_js": "inter-class JS distance",
    "shape_bias": "shape bias",
}
LIMIT = "kappa that accuracy allows"
CONFOUNDED = "not decided: protocol alone does as much"
TWO_NETWORKS = "of two different networks"


@dataclass(frozen=True)
class Measured:
    """One system's measures with their intervals.

    Attributes:
        system: Its name in the decisions; ``people`` for all people together.
        title: Its display name.
        protocol: The protocol, in words.
        source: Source of the decisions.
        measures: Each of ``agreement.MEASURES`` with its interval over images.
        margins: Half-width of the 95% t-interval over people, NaN if undefined.
        hits: Decisions for shape and for texture, if the two differ.
        categories: Shape bias within each category.
    """

    system: str
    title: str
    protocol: str
    source: str
    measures: Mapping[str, Interval]
    margins: Mapping[str, float]
    hits: Sequence[int]
    categories: Mapping[str, Interval]


@dataclass(frozen=True)
class Study:
    """Systems, the thesis's claims with verdicts, and effects of the protocol alone.

    Attributes:
        told: Where the results come from, shown first.
        here: Whether it was measured here, not read from the record.
        stimuli: Name of the images.
        network: The network that was run by several protocols; "" if none was.
        systems: People first, if any.
        gaps: The differences that the thesis attributes to architecture or augmentation.
        claims: The thesis's claims with verdicts.
        shifts: Effects of a change of protocol alone on ``network``.
    """

    told: str
    here: bool
    stimuli: str
    network: str
    systems: Sequence[Measured]
    gaps: Sequence[Finding]
    claims: Sequence[Finding]
    shifts: Sequence[Finding]

    def find(self, *systems: str) -> list[Measured]:
        """Those of ``systems`` that are in the study, in the given order."""
        by_name = {one.system: one for one in self.systems}
        return [by_name[name] for name in systems if name in by_name]


def conclude(measured: Sequence[Agreement], *, told: str, stimuli: str, network: str = "") -> Study:
    """The study with its claims judged; ``network`` was run by several protocols."""
    shifts = measure_shifts(measured, network, MEASURES) if network else []
    return Study(
        told,
        True,
        stimuli,
        network,
        [_describe(one) for one in measured],
        measure_gaps(measured, MEASURES),
        judge_claims(measured),
        shifts,
    )


def _describe(one: Agreement) -> Measured:
    origin = Origin(one.system, "not said", "the reader's")
    ours = re.fullmatch(r"(.+)-(rgb|bgr)-(.+)", one.system)
    if one.system == PEOPLE:
        origin = Origin(PEOPLE, "200 ms, then 16 choices", "Geirhos et al. 2019")
    elif one.system in ORIGINS:
        origin = ORIGINS[one.system]
    elif ours:
        words = f"{ours[2].upper()}, {ours[3].replace('-', ', ')}"
        origin = Origin(TITLES.get(ours[1], ours[1]), words, "attnlib")
    return Measured(
        one.system,
        *origin,
        {measure: one.estimate(measure) for measure in MEASURES},
        {measure: one.people_margin(measure) for measure in MEASURES},
        [int(hits) for hits in one.hits[0].sum(axis=0)],
        dict(zip(CATEGORIES, one.category_bias(), strict=True)),
    )


def systems_table(study: Study) -> "pd.DataFrame":
    """Table of all systems and measures, each with its 95% interval over images."""
    import pandas as pd

    rows = [
        {
            "system": one.title,
            "asked": one.protocol,
            **{NAMES[measure]: str(one.measures[measure]) for measure in MEASURES},
            LIMIT: limit_words(study, one),
        }
        for one in study.systems
    ]
    return pd.DataFrame(rows).set_index("system")


def limit_words(study: Study, one: Measured) -> str:
    """The highest kappa with people that a system's accuracy allows, and the share it reaches."""
    people = next(iter(study.find(PEOPLE)), None)
    if people is None or one is people:
        return ""
    accuracies = (measured.measures["accuracy"].value for measured in (people, one))
    limit = kappa_limit(*accuracies)
    share = f", of which {one.measures['kappa'].value / limit:.0%}" if limit > 0 else ""
    return f"{limit:.3f}{share}"


def published_table(study: Study) -> "pd.DataFrame":
    """Table of the figures as in the thesis's source: means and t-intervals over ten people.

    Empty if all decisions are of networks that attnlib ran.
    """
    import pandas as pd

    rows = {}
    for one in study.systems:
        if one.source == "attnlib":
            continue
        row = {"accuracy": f"{one.measures['accuracy'].value:.4f}"}
        for measure in MEASURES[1:4]:
            margin = one.margins[measure]
            told = "" if math.isnan(margin) or one.system == PEOPLE else f" ± {margin:.4f}"
            row[NAMES[measure]] = f"{one.measures[measure].value:.4f}{told}"
        row[LIMIT] = limit_words(study, one)
        row["shape bias"] = f"{one.measures['shape_bias'].value:.4f}"
        row["shape / texture"] = " / ".join(str(hits) for hits in one.hits)
        rows[one.title] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def claims_table(study: Study) -> "pd.DataFrame":
    """Table of the thesis's claims: difference, verdict, and the effect of protocol if it differs.

    The last column is filled if the claim's two systems were run by different protocols, and was
    measured on another network by changing only the protocol.
    """
    import pandas as pd

    protocols = {one.system: one.protocol for one in study.systems}
    shifts = {one.measure: one.difference for one in study.shifts if one.text == BOTH}
    rows = []
    for one in study.claims:
        mixed = len({protocols.get(name) for name in (one.first, one.second)} - {None}) > 1
        people = PEOPLE in (one.first, one.second)
        shift = shifts.get(one.measure) if mixed and not people and one.difference else None
        if shift and protocols[one.first].startswith("RGB"):  # towards the first, as the difference
            shift = Interval(-shift.value, -shift.high, -shift.low)
        rows.append(
            {
                "the thesis says": one.text,
                "measure": NAMES[one.measure],
                "difference": "-" if one.difference is None else f"{one.difference:+}",
                "verdict": claim_words(one, shift),
                "protocol alone": "-" if shift is None else f"{shift:+}",
            }
        )
    return pd.DataFrame(rows).set_index("the thesis says")


def claim_words(claim: Finding, shift: Interval | None) -> str:
    """The verdict on a claim, with what the files behind it leave open.

    A difference that a change of protocol alone makes too, in one network, decides nothing. And
    the augmented ResNet-50 is another network than the plain one, with other training data.
    """
    gap = claim.difference
    verdict = claim.verdict
    if verdict == HOLDS and gap and shift and shift.value / gap.value >= 1:
        verdict = CONFOUNDED
    if gap and {claim.first, claim.second} == {RESNET, RESNET_FT}:
        verdict = f"{verdict} ({TWO_NETWORKS})"
    return verdict


def protocol_table(study: Study) -> "pd.DataFrame":
    """Table by measure: the gap attributed to architecture, and the effect of protocol alone."""
    import pandas as pd

    rows = []
    for measure, name in NAMES.items():
        gap = next((one.difference for one in study.gaps if one.measure == measure), None)
        moved = {one.text: one.difference for one in study.shifts if one.measure == measure}
        both = moved.get(BOTH)
        row = {"measure": name, "ViT-B/32 - ResNet-50": "-" if gap is None else f"{gap:+}"}
        row |= {text: f"{shift:+}" for text, shift in moved.items()}
        row["both, as a share of the gap"] = (
            f"{both.value / gap.value:+.0%}" if both and gap else "-"
        )
        rows.append(row)
    return pd.DataFrame(rows).set_index("measure").T
