"""Attention written out agrees with PyTorch's kernel and takes its place in training steps."""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import attnlib as al
from attnlib.training.explicit_attention import explicit_attention

KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


class Calls(TorchDispatchMode):
    """Counts the calls of PyTorch's fused kernel."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is KERNEL
        return func(*args, **(kwargs or {}))


def draw(*, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, 2, 3, 18, 64)  # q, k, v; images, heads, tokens, width
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"is_causal": True}])
def test_outputs_and_gradients_are_those_of_the_fused_kernel(options):
    fused, explicit = draw(), draw()
    expected = F.scaled_dot_product_attention(*fused, **options)
    with explicit_attention("cpu", torch.bfloat16):
        found = F.scaled_dot_product_attention(*explicit, **options)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(explicit.grad, fused.grad)


def test_masks_and_dropout_are_left_to_pytorch():
    q, k, v = draw(dtype=torch.float32)
    for options in ({"attn_mask": torch.zeros(18, 18)}, {"is_causal": True}, {"dropout_p": 0.5}):
        with Calls() as calls, explicit_attention("cpu", torch.bfloat16):
            torch.manual_seed(0)
            found = F.scaled_dot_product_attention(q, k, v, **options)
        torch.manual_seed(0)
        torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v, **options))
        assert calls.count or "dropout_p" in options  # which the kernel can't


@pytest.mark.parametrize(
    "build",
    [
        lambda: al.create_model("deit_t", 10, 32, patch_size=16),
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10),
    ],
    ids=["deit_t", "timm"],
)
def test_only_bfloat16_on_the_cpu_is_computed_explicitly(build):
    model: nn.Module = build()
    images = torch.rand(2, 3, 32, 32)
    for device, dtype, kernels in (
        ("cpu", torch.bfloat16, 0),
        ("cpu", None, 12),
        ("cuda", torch.bfloat16, 12),
    ):
        with explicit_attention(device, dtype), Calls() as calls:
            model(images)
        assert calls.count == kernels, (device, dtype)


def test_a_training_step_in_bfloat16_does_not_call_the_fused_kernel(monkeypatch):
    from attnlib.data.datasets import load_dataset
    from attnlib.experiment import prepare
    from attnlib.training.loop import Trainer
    from attnlib.training.state import Training

    counts = {}
    for amp in ("true", "false"):
        config = al.TrainConfig.from_params(
            model="deit_t", profile="quick", amp=amp, limit=64, device="cpu"
        )
        data = load_dataset("digits", limit=64)
        model, objective = prepare(config, data)
        trainer = Trainer(Training.start(model, config), data, config, objective)
        with Calls() as calls:
            trainer.train_epoch()
        counts[amp] = calls.count
    assert counts["true"] == 0
    assert counts["false"] > 0
