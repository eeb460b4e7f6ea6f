"""Display names tell runs apart by as little as does."""

import dataclasses

import pytest

from attnlib.records import labels as labelling


@pytest.mark.parametrize("count", [4, 40])
def test_labels_compare_each_setting_of_a_run_with_one_other(tiny_run, monkeypatch, count):
    runs = [
        dataclasses.replace(tiny_run, config=tiny_run.config | {"seed": n}) for n in range(count)
    ]
    looks = []
    real = labelling._value
    monkeypatch.setattr(labelling, "_value", lambda *pair: looks.append(pair) or real(*pair))
    labels = labelling.label_runs(runs)
    assert labels == [f"{tiny_run.title}, seed {n}" for n in range(count)]
    assert len(looks) <= 2 * count * len(tiny_run.config)


def test_a_setting_that_one_record_lacks_is_compared_as_its_default(tiny_run):
    older = dataclasses.replace(
        tiny_run, config={k: v for k, v in tiny_run.config.items() if k != "stem"}
    )
    same, other = (
        dataclasses.replace(tiny_run, config=tiny_run.config | {"stem": stem, "seed": seed})
        for seed, stem in ((1, "imagenet"), (2, "cifar"))
    )
    assert labelling.label_runs([older, same])[1] == f"{tiny_run.title}, seed 1"
    assert "stem cifar" in labelling.label_runs([older, other])[1]


def test_labels_name_no_more_settings_than_tell_the_runs_apart(tiny_run):
    def run(**changes):
        return dataclasses.replace(tiny_run, config=tiny_run.config | changes)

    small, large = run(img_size=32, epochs=5, lr=1e-3), run(img_size=64, epochs=3, lr=4e-4)
    labels = labelling.label_runs([small, large])
    assert labels == [f"{tiny_run.title}, {side} pixels" for side in (32, 64)]
    labels = labelling.label_runs([small, large, run(img_size=64, epochs=3, lr=4e-4, seed=1)])
    assert labels[1:] == [f"{tiny_run.title}, 64 pixels, seed {seed}" for seed in (0, 1)]


def test_labels_speak_in_words_and_of_checkpoints_only_if_nothing_else_differs(tiny_run):
    def run(**changes):
        return dataclasses.replace(tiny_run, config=tiny_run.config | changes)

    first, second = run(initial_checkpoint="a", epochs=6), run(initial_checkpoint="b", epochs=3)
    assert labelling.label_runs([first, second])[1] == f"{tiny_run.title}, 3 epochs"
    second = run(initial_checkpoint="b", epochs=6)
    assert labelling.label_runs([first, second])[1] == f"{tiny_run.title}, from b"
    assert labelling.label_runs([run(limit=None), run(limit=50)])[1].endswith("50 training images")
