"""The logit lens reads each layer with the network's own heads."""

import torch

import attnlib as al
from attnlib.explain.logit_lens import logit_lens
from attnlib.models.vit import DeiT, ViT


def test_last_answer_of_the_lens_is_the_networks_own() -> None:
    torch.manual_seed(0)
    model = al.create_model("deit_t", 10, 32, patch_size=8)
    assert isinstance(model, DeiT)
    images = torch.rand(2, 3, 32, 32)
    lens = logit_lens(model, images)
    assert lens.shape == (2, 13, 2, 10)
    with torch.inference_mode():
        heads = model.eval().forward_heads(images)
    torch.testing.assert_close(lens[:, -1], torch.stack(heads, dim=1))
    assert not torch.allclose(lens[:, 0], lens[:, -1], atol=1e-3)


def test_first_answer_depends_on_no_patch_and_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = al.create_model("deit_t", 10, 32, patch_size=8, distilled=False).train()
    assert isinstance(model, ViT)
    first = logit_lens(model, torch.rand(2, 3, 32, 32))[:, 0]
    torch.testing.assert_close(first[0], first[1])  # the class token has seen nothing yet
    assert model.training and not model.norm._forward_pre_hooks
