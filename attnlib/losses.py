"""Losses and objectives of the thesis, equations 5.1 to 5.3.

An objective is a function ``(model, images, targets) -> scalar``; targets are class probabilities
(B, K), so that mixed, smoothed and plain labels are treated alike.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]


def soft_target_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with soft labels: -sum_k t_k log softmax(z)_k, averaged over images.

    Cutmix and mixup produce such labels. This is the thesis's L_1; ``targets`` is its y.

    Args:
        logits: Scores (B, K).
        targets: Probabilities (B, K), rows summing to 1.

    Returns:
        Scalar, nats per image.

    Raises:
        ValueError: If the two shapes differ.
    """
    _check_shapes(logits, targets, "targets")
    return -(targets * _exact(logits).log_softmax(dim=-1)).sum(dim=-1).mean()


def soft_distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0
) -> Tensor:
    """Soft distillation: the second term of eq. 5.1, Eq. 2 of Touvron et al. (2021).

    T^2 KL(teacher || student) of the softmaxes at temperature T, the direction used by the official
    code; both papers print the arguments the other way round. Summed over classes and
    averaged over images (B); the official code divides by B * K, which is ten times weaker on ten
    classes.

    Args:
        student_logits: Logits of the distillation head (B, K).
        teacher_logits: Logits (B, K), treated as constants.
        temperature: T > 0; 1 leaves the logits unchanged.

    Returns:
        Scalar, nats per image.

    Raises:
        ValueError: If the two shapes differ, or the temperature is not positive.
    """
    _check_shapes(student_logits, teacher_logits, "teacher_logits")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number > 0; got {temperature}.")
    student = (_exact(student_logits) / temperature).log_softmax(dim=-1)
    teacher = (_exact(teacher_logits.detach()) / temperature).log_softmax(dim=-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def hard_distillation_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Hard distillation, eq. 5.2: cross-entropy with the teacher's arg-max as the label.

    The label is hard even where the image is mixed, averaged over images.

    Args:
        student_logits: Logits of the distillation head (B, K).
        teacher_logits: Logits (B, K), treated as constants.

    Returns:
        Scalar, nats per image.

    Raises:
        ValueError: If the two shapes differ.
    """
    _check_shapes(student_logits, teacher_logits, "teacher_logits")
    return F.cross_entropy(_exact(student_logits), teacher_logits.argmax(dim=-1))


def cross_entropy_objective(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The objective without a teacher: soft-target cross-entropy of the model's logits."""
    return soft_target_cross_entropy(model(images), targets)


def distillation_objective(
    teacher: nn.Module, kind: str, alpha: float = 0.5, temperature: float = 1.0
) -> Objective:
    """The objective with a teacher, eqs. 5.1 and 5.3: (1 - alpha) L_1 + alpha L_distillation.

    The class head learns from labels, the distillation head from the teacher; a single head
    learns from both. The teacher sees the same (mixed) images, in evaluation mode and without
    gradients, so its BatchNorm doesn't change. ``alpha`` is the thesis's lambda; eq. 5.3 has 0.5.

    Args:
        teacher: Images (B, C, H, W) to logits (B, K).
        kind: ``"soft"`` (eq. 5.1) or ``"hard"`` (eq. 5.3).
        alpha: Weight of the distillation term, in [0, 1].
        temperature: Temperature of the soft term.

    Raises:
        ValueError: If ``kind`` is neither.
    """
    if kind not in ("soft", "hard"):
        raise ValueError(f"distillation: unknown kind {kind!r}. Valid: soft, hard.")

    def objective(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        teacher.eval()  # at each call, since the caller may have called train() in between
        with torch.no_grad():
            teacher_logits = teacher(images)
        heads = getattr(model, "forward_heads", None)
        class_logits, dist_logits = heads(images) if heads else [model(images)] * 2
        if kind == "soft":
            distillation = soft_distillation_loss(dist_logits, teacher_logits, temperature)
        else:
            distillation = hard_distillation_loss(dist_logits, teacher_logits)
        base = soft_target_cross_entropy(class_logits, targets)
        return (1 - alpha) * base + alpha * distillation

    return objective


def _exact(logits: Tensor) -> Tensor:
    """In float32 or wider: half precision is too coarse for a sum of exponentials."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_shapes(logits: Tensor, other: Tensor, name: str) -> None:
    if logits.shape != other.shape or logits.ndim != 2:
        raise ValueError(
            f"logits and {name} must both be (B, K); got {tuple(logits.shape)} "
            f"and {tuple(other.shape)}."
        )
