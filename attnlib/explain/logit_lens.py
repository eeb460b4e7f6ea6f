"""The logit lens: what a transformer's heads would answer after each layer."""

import torch
from torch import Tensor

from attnlib.models.modes import evaluating
from attnlib.models.vit import DeiT, ViT


def logit_lens(model: ViT, images: Tensor) -> Tensor:
    """What each head answers if the last normalisation and the head read an earlier layer.

    nostalgebraist (2020), "interpreting GPT: the logit lens". The first answer reads the embedded
    tokens, before any block; the last one is the network's own.

    Args:
        model: A ViT or a DeiT; left unchanged.
        images: (B, 3, H, W) in [0, 1].

    Returns:
        Logits (B, L + 1, heads, K): of the class head and, in a DeiT, the distillation head.
    """
    heads = (model.head, model.head_dist) if isinstance(model, DeiT) else (model.head,)
    kept: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        for layer in (*model.blocks, model.norm)
    ]
    with evaluating(model), torch.inference_mode():
        try:
            model.forward_features(images)
        finally:
            for handle in handles:
                handle.remove()
        tokens = [model.norm(x) for x in kept]
        return torch.stack(
            [torch.stack([head(x[:, i]) for i, head in enumerate(heads)], dim=1) for x in tokens],
            dim=1,
        )
