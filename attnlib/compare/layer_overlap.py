"""Whose layers a taught DeiT-T's resemble: CKA between the layers of the reference's rows.

Differences have intervals over seeds and images. The images' part is the jackknife over batches
of test images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnlib.compare.reference_runs import (
    ReferenceRow,
    pair_runs,
    verdict_on,
)
from attnlib.explain.layers import LayerPairs, measure_layers
from attnlib.records.measurements import Row, select
from attnlib.records.run import Run
from attnlib.stats.crossed import CrossedMean, crossed_interval
from attnlib.stats.intervals import holm, p_words

if TYPE_CHECKING:
    import pandas as pd

SIMILARITY_KIND = "layer_similarity"
TOWARDS = "layers more like its teacher's than untaught"
NEAR = "layers more like an untaught one's than its teacher's are"
PRETRAINED = "pretrained and taught hard"
# A taught DeiT-T, the same network untaught, and the teacher
TAUGHT = {
    "taught hard": ("deit_t_hard", "deit_t", "resnet18"),
    "taught softly": ("deit_t_soft", "deit_t", "resnet18"),
    PRETRAINED: ("deit_t_dp", "deit_t_p", "resnet18_p"),
}


class Trio(NamedTuple):
    """What was measured of each seed: alignments of a taught DeiT-T, an untaught one, a teacher."""

    taught: tuple[LayerPairs, ...]  # taught and teacher
    untaught: tuple[LayerPairs, ...]  # untaught and teacher
    kin: tuple[LayerPairs, ...]  # taught and untaught


def measure_trio(
    rows: Mapping[str, ReferenceRow],
    names: tuple[str, str, str],
    batches: Callable[[Run], Iterable[Tensor]],
) -> Trio:
    """Measure the seeds that three rows share; empty if one of them was not run.

    A taught network meets the untaught one of the next seed, since those of one seed began from
    the same weights; where there is only one, it meets that.

    Args:
        rows: With runs whose weights are at hand.
        names: Of the taught, the untaught and the teacher's row.
        batches: The test images of a run, as its network takes them.
    """
    asked = [rows[name] for name in names]
    groups = pair_runs(*asked) if all(row.runs for row in asked) else []
    pairs = [("taught", "teacher"), ("untaught", "teacher"), ("taught", "other")]
    found = []
    for place, runs in enumerate(groups):
        networks = dict(zip(("taught", "untaught", "teacher"), runs, strict=True))
        networks["other"] = groups[(place + 1) % len(groups)][1]
        models = {name: run.load_model() for name, run in networks.items()}
        measured = measure_layers(models, pairs, batches(runs[0]))
        found.append([measured[pair] for pair in pairs])
    return Trio(*zip(*found, strict=True)) if found else Trio((), (), ())


def similarity_gap(more: Sequence[LayerPairs], less: Sequence[LayerPairs]) -> CrossedMean:
    """Mean CKA of one pairing, less that of another, with its interval over seeds and images.

    Its ``images`` counts batches.
    """
    values = [a.mean() - b.mean() for a, b in zip(more, less, strict=True)]
    parts = [a.pseudo_values() - b.pseudo_values() for a, b in zip(more, less, strict=True)]
    batches = len(parts[0])
    return crossed_interval(values, np.atleast_2d(np.cov(parts)) / batches, batches)


def similarity_rows(trios: Mapping[str, Trio]) -> list[Row]:
    """Rows of a measurement: one for each pair of layers, and one for each question."""
    rows: list[Row] = []
    gaps: dict[tuple[str, str], CrossedMean] = {}
    for title, trio in trios.items():
        for pairing, found in trio._asdict().items():
            rows += _layer_rows(title, pairing, found)
        gaps[title, TOWARDS] = similarity_gap(trio.taught, trio.untaught)
        # Networks that began from the same weights are alike for that reason alone.
        if title != PRETRAINED and len(trio.kin) > 1:
            gaps[title, NEAR] = similarity_gap(trio.kin, trio.untaught)
    corrected = holm([gap.p for gap in gaps.values()])
    for ((title, question), gap), p in zip(gaps.items(), map(float, corrected), strict=True):
        about = {"student": title, "question": question, "verdict": verdict_on(gap.value, p)}
        rows.append(
            about
            | {key: getattr(gap, key) for key in ("value", "low", "high", "seeds")}
            | {"p_holm": p, "batches": gap.images}
        )
    return rows


def _layer_rows(title: str, pairing: str, found: Sequence[LayerPairs]) -> list[Row]:
    mean = torch.stack([one.similarity() for one in found]).mean(dim=0)
    return [
        {
            "student": title, "pairing": pairing, "layer": ours, "other_layer": theirs,
            "cka": round(float(mean[i, j]), 4), "seeds": len(found),
        }
        for i, ours in enumerate(found[0].rows)
        for j, theirs in enumerate(found[0].columns)
    ]  # fmt: skip


def similarity_panels(rows: Sequence[Row], student: str) -> dict[tuple[str, str], "pd.DataFrame"]:
    """CKA by layer of one student's three pairings, from the rows of a measurement."""
    import pandas as pd

    pairings = {
        "untaught": ("untaught DeiT-T", "teacher"),
        "taught": ("taught DeiT-T", "teacher"),
        "kin": ("taught DeiT-T", "untaught DeiT-T"),
    }
    panels = {}
    for pairing, names in pairings.items():
        each = pd.DataFrame(select(rows, student=student, pairing=pairing))
        if len(each):
            wide = each.pivot(index="layer", columns="other_layer", values="cka")
            panels[names] = wide.loc[each["layer"].unique(), each["other_layer"].unique()]
    return panels


def similarity_table(rows: Sequence[Row]) -> "pd.DataFrame":
    """Table of the questions of a measurement, with differences and verdicts."""
    import pandas as pd

    lines = {
        f"{row['student']}: {row['question']}": {
            "difference in CKA [95%]": "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**row),
            "seeds": row["seeds"],
            "p (Holm)": p_words(row["p_holm"]),
            "verdict": row["verdict"],
        }
        for row in rows
        if "question" in row
    }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("question")
