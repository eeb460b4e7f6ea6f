"""Whose layers: what is measured of each seed, its intervals, and what is read back of a record."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import attnlib as al
from attnlib.compare.layer_overlap import (
    NEAR,
    PRETRAINED,
    TAUGHT,
    TOWARDS,
    Trio,
    measure_trio,
    similarity_gap,
    similarity_panels,
    similarity_rows,
    similarity_table,
)
from attnlib.compare.reference_runs import ReferenceRow
from attnlib.explain import figures
from attnlib.explain.layers import LayerPairs
from attnlib.records.measurements import read_measurements
from attnlib.stats.intervals import HOLDS

ROOT = Path(__file__).parents[2]


def pairs(mean: float, seed: int, batches: int = 20) -> LayerPairs:
    """Alignments of two layers with three, about ``mean`` in each batch."""
    noise = torch.randn(batches, 2, 3, generator=torch.Generator().manual_seed(seed))
    ones = torch.ones(batches, 2, 3, dtype=torch.float64)
    sums = torch.stack([mean + 0.05 * noise.double(), ones, ones], dim=-1)
    return LayerPairs(("blocks.0", "blocks.1"), ("layer1", "layer2", "layer3"), sums)


def trio(taught: float, untaught: float, kin: float, seeds: int = 3) -> Trio:
    each = zip((taught, untaught, kin), (0, 10, 20), strict=True)
    return Trio(*(tuple(pairs(mean, first + s) for s in range(seeds)) for mean, first in each))


def run_of(model: str, seed: int) -> SimpleNamespace:
    """A run with random weights of its seed."""

    def load_model() -> torch.nn.Module:
        torch.manual_seed(seed)
        return al.create_model(model, 10, 32, **({"patch_size": 16} if "deit" in model else {}))

    record = SimpleNamespace(dataset=SimpleNamespace(sha256="0"), seeds=SimpleNamespace(run=seed))
    return SimpleNamespace(model=model, seed=seed, record=record, config={"epochs": 8},
                           load_model=load_model)  # fmt: skip


def rows_of(seeds: int) -> dict[str, ReferenceRow]:
    each = {"deit_t_hard": "deit_t", "deit_t": "deit_t", "resnet18": "resnet18"}
    return {
        name: ReferenceRow(name, {"model": model}, tuple(run_of(model, s) for s in range(seeds)))
        for name, model in each.items()
    }  # type: ignore[arg-type]


def batches(_: object) -> list[Tensor]:
    return list(torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def test_a_taught_network_meets_its_own_teacher_and_an_untaught_one_of_another_seed() -> None:
    found = measure_trio(rows_of(2), TAUGHT["taught hard"], batches)  # type: ignore[arg-type]
    assert [len(each) for each in found] == [2, 2, 2]
    # Here taught and untaught networks of one seed are equal: of one seed they would agree wholly.
    assert found.kin[0].similarity().diagonal().max() < 0.999
    alone = measure_trio(rows_of(1), TAUGHT["taught hard"], batches)  # type: ignore[arg-type]
    torch.testing.assert_close(alone.kin[0].similarity().diagonal(), torch.ones(12))
    torch.testing.assert_close(found.taught[0].sums, alone.taught[0].sums)


def test_rows_without_a_run_measure_nothing() -> None:
    rows = rows_of(1) | {"deit_t": ReferenceRow("deit_t", {}, ())}
    assert measure_trio(rows, TAUGHT["taught hard"], batches) == Trio((), (), ())


def test_a_gap_is_the_difference_of_the_means_and_its_interval_knows_seeds_and_images() -> None:
    one = trio(0.6, 0.5, 0.7)
    gap = similarity_gap(one.taught, one.untaught)
    means = [a.mean() - b.mean() for a, b in zip(one.taught, one.untaught, strict=True)]
    assert gap.value == pytest.approx(sum(means) / 3)
    assert gap.low < gap.value < gap.high and gap.p < 0.01 and gap.seeds == 3
    single = similarity_gap(one.taught[:1], one.untaught[:1])
    assert single.seeds == 1 and single.images == 20 and single.low < single.high
    none = similarity_gap(one.taught, one.taught[::-1])
    assert none.low <= 0 <= none.high


def test_a_record_holds_every_pair_of_layers_and_a_verdict_on_each_question() -> None:
    trios = {"taught hard": trio(0.6, 0.5, 0.7), PRETRAINED: trio(0.5, 0.5, 0.7)}
    rows = similarity_rows(trios)
    asked = [(row["student"], row["question"]) for row in rows if "question" in row]
    assert asked == [("taught hard", TOWARDS), ("taught hard", NEAR), (PRETRAINED, TOWARDS)]
    table = similarity_table(rows)
    assert table.loc[f"taught hard: {TOWARDS}", "verdict"] == HOLDS
    panels = similarity_panels(rows, "taught hard")
    assert [*panels] == [
        ("untaught DeiT-T", "teacher"),
        ("taught DeiT-T", "teacher"),
        ("taught DeiT-T", "untaught DeiT-T"),
    ]
    drawn = panels["taught DeiT-T", "teacher"]
    mean = torch.stack([one.similarity() for one in trios["taught hard"].taught]).mean(dim=0)
    assert drawn.to_numpy() == pytest.approx(mean.numpy(), abs=1e-4)
    figure = figures.similarity_grid(panels)
    assert f"taught DeiT-T and teacher {drawn.to_numpy().mean():.3f}" in figure.finding


def test_networks_from_the_same_start_are_not_asked_whether_they_are_alike() -> None:
    rows = similarity_rows({"taught hard": trio(0.6, 0.5, 0.7, seeds=1)})
    assert [row["question"] for row in rows if "question" in row] == [TOWARDS]


def test_a_record_without_the_student_has_no_panels() -> None:
    assert similarity_panels([], "taught hard") == {}
    with pytest.raises(ValueError, match="at least one pair"):
        figures.similarity_grid({})


def test_conclusion_says_what_the_kept_measurement_answers() -> None:
    """A new measurement may answer otherwise; then its words have to change."""
    rows = read_measurements(ROOT / "results" / "measurements" / "similarity-cpu.json").rows
    told = {(row["student"], row["question"]): row for row in rows if "question" in row}
    words = " ".join((ROOT / "book" / "conclusion.md").read_text(encoding="utf-8").split())
    for student in ("taught hard", "taught softly"):
        nearer, kin = (told[student, question] for question in (TOWARDS, NEAR))
        assert nearer["value"] > 0 and nearer["verdict"] == "not decided" and nearer["seeds"] == 3
        assert kin["verdict"] == "holds" and kin["value"] > 5 * nearer["value"]
    assert "Over three seeds, and corrected for the number of questions, neither is quite" in words
    assert "stay far nearer to those of an untaught DeiT-Tiny than the teacher's are" in words
