"""The thesis's claims about networks and people (section 8.2.1), as signs of differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attnlib.human.bootstrap import PEOPLE, Agreement, Interval, difference
from attnlib.stats.intervals import HOLDS, NOT_RUN, OPEN, OPPOSITE

MOVED = "differs"
BOTH = "both, as the ViTs were run"
RESNET, RESNET_FT, VIT, VIT_FT, DEIT = (
    "resnet50",
    "resnet50_ft",
    "ViT-B_32",
    "ViT-B_32_ft",
    "deit_b",
)


class Claim(NamedTuple):
    """A claim of the thesis about the sign of ``first`` minus ``second``."""

    text: str
    measure: str
    first: str
    second: str
    sign: int


CLAIMS = (
    Claim("ViT is more consistent with people than ResNet", "kappa", VIT, RESNET, +1),
    Claim("ViT's errors fall on people's classes more than ResNet's", "class_js", VIT, RESNET, -1),
    # Read from a chart whose right axis points downwards: the taller bar is the smaller distance.
    Claim("ResNet's inter-class distance is larger than ViT's", "inter_js", RESNET, VIT, +1),
    Claim("so ResNet confuses classes more as people do", "inter_js", RESNET, VIT, -1),
    Claim("augmentation takes ResNet away from people", "kappa", RESNET_FT, RESNET, -1),
    Claim("augmentation takes ResNet away from people", "class_js", RESNET_FT, RESNET, +1),
    Claim("augmentation makes ResNet's distance smaller", "inter_js", RESNET_FT, RESNET, -1),
    Claim("augmentation takes ViT towards people", "kappa", VIT_FT, VIT, +1),
    Claim("augmentation takes ViT towards people", "class_js", VIT_FT, VIT, -1),
    Claim("augmentation takes ViT towards people", "inter_js", VIT_FT, VIT, -1),
    Claim("people rely on shape more than ViT", "shape_bias", PEOPLE, VIT, +1),
    Claim("ViT relies on shape more than ResNet", "shape_bias", VIT, RESNET, +1),
    Claim("augmentation makes ResNet rely on shape more", "shape_bias", RESNET_FT, RESNET, +1),
    # "Between" in the direction of the published decisions, whatever the chart shows.
    Claim("DeiT is between: on ViT's side of ResNet", "kappa", DEIT, RESNET, +1),
    Claim("DeiT is between: on ResNet's side of ViT", "kappa", VIT, DEIT, +1),
    Claim("DeiT is between: on ViT's side of ResNet", "class_js", DEIT, RESNET, -1),
    Claim("DeiT is between: on ResNet's side of ViT", "class_js", VIT, DEIT, -1),
    Claim("DeiT is between: on ViT's side of ResNet", "inter_js", DEIT, RESNET, +1),
    Claim("DeiT is between: on ResNet's side of ViT", "inter_js", VIT, DEIT, +1),
    Claim("DeiT is between: on ViT's side of ResNet", "shape_bias", DEIT, RESNET, +1),
    Claim("DeiT is between: on ResNet's side of ViT", "shape_bias", VIT, DEIT, +1),
)
SHIFTS = (  # changes of protocol alone, from the first to the second
    ("channels swapped", "rgb-mean", "bgr-mean"),
    ("sum in place of mean", "rgb-mean", "rgb-sum"),
    (BOTH, "rgb-mean", "bgr-sum"),
    ("resized and cropped", "rgb-mean", "rgb-mean-crop"),
    ("through a JPEG file", "rgb-mean", "rgb-mean-jpeg"),
)
GAPS = (  # what the thesis attributes to architecture or augmentation
    ("ViT-B/32 - ResNet-50", VIT, RESNET),
    ("ResNet-50: ft - plain", RESNET_FT, RESNET),
    ("ViT-B/32: ft - plain", VIT_FT, VIT),
)
PROTOCOLS = tuple(dict.fromkeys(name for _, *pair in SHIFTS for name in pair))


@dataclass(frozen=True)
class Finding:
    """A difference, ``first`` minus ``second`` (None if not measured), and its verdict."""

    text: str
    measure: str
    first: str
    second: str
    difference: Interval | None
    verdict: str


def judge_claims(measured: Sequence[Agreement]) -> list[Finding]:
    """A verdict on each claim by the difference's 95% interval, paired over images.

    ``not decided`` if the interval contains 0; ``not run`` if a system's decisions are missing.
    DeiT-B's decisions are used whatever their protocol.
    """
    by_name = {one.system: one for one in measured}
    for name in by_name.copy():
        if name.startswith(f"{DEIT}-"):
            by_name.setdefault(DEIT, by_name[name])
    findings = []
    for claim in CLAIMS:
        gap, verdict = None, NOT_RUN
        if claim.first in by_name and claim.second in by_name:
            gap = difference(by_name[claim.first], by_name[claim.second], claim.measure)
            verdict = judge(gap, claim.sign)
        findings.append(Finding(claim.text, claim.measure, claim.first, claim.second, gap, verdict))
    return findings


def judge(gap: Interval, sign: int) -> str:
    """Verdict on whether a difference has the claimed sign."""
    if gap.low * sign > 0 and gap.high * sign > 0:
        return HOLDS
    return OPPOSITE if gap.low * sign < 0 and gap.high * sign < 0 else OPEN


def measure_gaps(measured: Sequence[Agreement], measures: Sequence[str]) -> list[Finding]:
    """The gaps between published systems in each measure, if both systems are available."""
    return _differences(measured, GAPS, measures)


def measure_shifts(
    measured: Sequence[Agreement], network: str, measures: Sequence[str]
) -> list[Finding]:
    """The effect of each change of protocol alone on each measure of one network."""
    pairs = [(text, f"{network}-{to}", f"{network}-{start}") for text, start, to in SHIFTS]
    return _differences(measured, pairs, measures)


def _differences(
    measured: Sequence[Agreement], pairs: Sequence[tuple[str, str, str]], measures: Sequence[str]
) -> list[Finding]:
    by_name = {one.system: one for one in measured}
    findings = []
    for text, first, second in pairs:
        if first in by_name and second in by_name:
            for measure in measures:
                gap = difference(by_name[first], by_name[second], measure)
                verdict = OPEN if judge(gap, 1) == OPEN else MOVED
                findings.append(Finding(text, measure, first, second, gap, verdict))
    return findings
