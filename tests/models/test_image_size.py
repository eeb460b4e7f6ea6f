"""A model that can't take the size of the images says so before anything is read or written."""

import pytest
import torch
from timm.models import register_model
from torch import nn

import attnlib as al
from attnlib import experiment
from attnlib.models.image_size import check_size
from attnlib.models.zoo import create_model, list_models


@register_model
def looks_at_values(num_classes=10, **options):
    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3 * 32 * 32, num_classes)

        def forward(self, x):
            return self.fc(x.flatten(1)) if float(x.sum()) > -1e9 else x

    return Looks()


@pytest.mark.parametrize(
    ("model", "size", "told"),
    [
        (
            "timm/inception_v3",
            32,
            r"can't take images of 32 x 32 pixels: .*\. img_size \d+ would do\.",
        ),
        (
            "timm/crossvit_tiny_240",
            32,
            r"can't take images of 32 x 32 .*\. img_size 240 would do\.",
        ),
        ("timm/looks_at_values", 64, r"can't take images of 64 x 64 pixels: .*mat1 and mat2"),
    ],
)
def test_a_size_that_does_not_fit_is_told_before_the_data_are_read(
    model, size, told, tmp_path, monkeypatch
):
    monkeypatch.setattr(experiment, "load_dataset", lambda *_, **__: pytest.fail("data were read"))
    config = al.TrainConfig.from_params(model=model, img_size=size, runs_dir=str(tmp_path / "x"))
    with pytest.raises(ValueError, match=rf"img_size: {model} {told}"):
        al.run_experiment(config)
    assert not (tmp_path / "x").exists()


def test_a_model_that_looks_at_values_is_tried_in_truth():
    check_size("it", lambda size: create_model("timm/looks_at_values", 10, size), 32)


@pytest.mark.parametrize("name", list_models())
def test_every_model_of_the_zoo_passes_at_its_usual_size_and_no_generator_moves(name):
    before = torch.get_rng_state()
    check_size(name, lambda size: create_model(name, 10, size), 224)
    assert torch.equal(before, torch.get_rng_state())
