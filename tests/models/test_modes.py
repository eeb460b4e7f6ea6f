"""Looking at a model leaves it as it was: every function that evaluates one restores its mode."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import attnlib
from attnlib.cost.measure import measure_speed
from attnlib.data.datasets import Split
from attnlib.explain.attribution import grad_cam, trace
from attnlib.explain.faithfulness import deletion_and_insertion
from attnlib.explain.feature_maps import real_features
from attnlib.models.modes import evaluating
from attnlib.models.vit import EncoderSize, ViT
from attnlib.training.predict import predict

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1])
STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")  # known to the recorder of features


class Watched(nn.Module):
    """A small network, one layer of it frozen in evaluation mode, that notes how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = ViT(5, 16, 8, EncoderSize(12, 2, 3))
        self.patch_embed, self.num_prefix_tokens = self.vit.patch_embed, 1
        for name in STAGES:
            self.add_module(name, nn.BatchNorm2d(3))
        self.called_in: list[bool] = []
        self.train()
        self.layer4.eval()

    def forward(self, images: Tensor) -> Tensor:
        self.called_in.append(self.training or self.vit.training)
        for name in STAGES:
            images = self.get_submodule(name)(images)
        return self.vit(images)


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


SPLIT = Split(np.zeros((2, 16, 16, 3), np.uint8), np.array([0, 1]), np.arange(2))
LOOKS: dict[str, Callable[[nn.Module], object]] = {
    "trace": lambda model: trace(model, IMAGES),
    "grad_cam": lambda model: grad_cam(model, IMAGES),
    "real_features": lambda model: real_features(model, IMAGES),
    "deletion": lambda model: deletion_and_insertion(model, IMAGES, IMAGES[:, 0], LABELS, steps=1),
    "predict": lambda model: predict(model, SPLIT, img_size=16, device="cpu"),
    "measure_speed": lambda model: measure_speed(model, batch_size=2, repeats=3),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_evaluates_and_leaves_each_module_in_its_own_mode(look: str) -> None:
    model = Watched()
    vars(model)["img_size"] = 16
    before = modes(model)
    assert len(set(before)) == 2, "some modules train, some don't"
    LOOKS[look](model)
    assert model.called_in and not any(model.called_in)
    assert modes(model) == before


def test_modes_come_back_after_an_exception() -> None:
    model = Watched()
    before = modes(model)
    with pytest.raises(RuntimeError, match="halfway"), evaluating(model):
        assert not any(modes(model))
        raise RuntimeError("halfway")
    assert modes(model) == before


def test_nothing_else_in_the_package_restores_a_mode_by_hand() -> None:
    package = Path(attnlib.__file__).parent
    by_hand = re.compile(r"\w+ = (?!self\.)\w+\.training\b(?!\.)|\.train\(was_")
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if by_hand.search(path.read_text()) and path.name != "modes.py"
    ]
    assert found == []
