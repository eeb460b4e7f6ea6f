"""Losses against values computed by hand, and the teacher left as it was."""

import math

import pytest
import torch
from torch import nn

from attnlib.losses import (
    cross_entropy_objective,
    distillation_objective,
    hard_distillation_loss,
    soft_distillation_loss,
    soft_target_cross_entropy,
)
from attnlib.models.vit import Heads


def logits(*shares: float) -> torch.Tensor:
    """Logits of one image whose softmax is ``shares``."""
    return torch.tensor([shares]).log()


def test_soft_target_cross_entropy_equals_hand_computed_value():
    loss = soft_target_cross_entropy(logits(0.75, 0.25), torch.tensor([[0.6, 0.4]]))
    assert loss.item() == pytest.approx(-0.6 * math.log(0.75) - 0.4 * math.log(0.25))


def test_soft_targets_with_one_class_give_the_usual_cross_entropy():
    scores, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    targets = nn.functional.one_hot(labels, 4).float()
    expected = nn.functional.cross_entropy(scores, labels)
    torch.testing.assert_close(soft_target_cross_entropy(scores, targets), expected)


def test_soft_distillation_equals_hand_computed_value():
    student, teacher = logits(0.5, 0.5), logits(0.8, 0.2)
    expected = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert soft_distillation_loss(student, teacher).item() == pytest.approx(expected)


def test_soft_distillation_is_kl_of_teacher_from_student_not_the_reverse():
    student, teacher = logits(0.9, 0.1), logits(0.5, 0.5)
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    backward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert forward != pytest.approx(backward)
    assert soft_distillation_loss(student, teacher).item() == pytest.approx(forward)


def test_soft_distillation_averages_over_images_and_not_over_classes():
    student, teacher = logits(0.5, 0.5), logits(0.8, 0.2)
    one = soft_distillation_loss(student, teacher)
    many = soft_distillation_loss(student.repeat(7, 1), teacher.repeat(7, 1))
    torch.testing.assert_close(one, many)


def test_temperature_softens_both_and_scales_by_its_square():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(4), 0.0]])
    p = 0.8  # softmax of (log 4, 0)
    expected = 4 * (p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))
    assert soft_distillation_loss(student, teacher, 2.0).item() == pytest.approx(expected)


def test_hard_distillation_takes_the_teachers_decision_as_label():
    student, teacher = logits(0.75, 0.25), logits(0.4, 0.6)
    assert hard_distillation_loss(student, teacher).item() == pytest.approx(-math.log(0.25))


@pytest.mark.parametrize("loss", [soft_target_cross_entropy, soft_distillation_loss,
                                  hard_distillation_loss])  # fmt: skip
def test_shapes_that_differ_are_refused(loss):
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        loss(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        soft_distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), temperature)


def test_unknown_kind_of_distillation_is_refused():
    with pytest.raises(ValueError, match="Valid: soft, hard"):
        distillation_objective(nn.Identity(), "firm")


class TwoHeads(nn.Module):
    """Says the same of every image: class head 3 : 1, distillation head 1 : 4."""

    def forward_heads(self, images: torch.Tensor) -> Heads:
        return Heads(logits(0.75, 0.25), logits(0.2, 0.8))


def test_class_head_learns_the_label_and_distillation_head_the_teacher():
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    nn.init.zeros_(teacher[1].weight)
    teacher[1].bias.data = torch.tensor([0.0, 1.0])  # decides for class 1
    label = torch.tensor([[1.0, 0.0]])
    objective = distillation_objective(teacher, "hard", alpha=0.25)
    loss = objective(TwoHeads(), torch.zeros(1, 3, 1, 1), label)
    assert loss.item() == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.8))


def test_alpha_of_one_half_is_equation_5_3():
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    student = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    images, targets = torch.rand(4, 3, 1, 1), torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    loss = distillation_objective(teacher, "hard")(student, images, targets)
    first = cross_entropy_objective(student, images, targets)
    second = hard_distillation_loss(student(images), teacher(images))
    torch.testing.assert_close(loss, first / 2 + second / 2)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_distillation_leaves_teacher_batchnorm_and_gradients_untouched(kind):
    teacher = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2)).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    objective = distillation_objective(teacher, kind)
    targets = torch.tensor([[0.5, 0.5]]).repeat(8, 1)
    for _ in range(2):
        teacher.train()  # as model.train() on a module that holds it would
        objective(student, torch.rand(8, 3, 1, 1) * 9, targets).backward()
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert student[1].weight.grad is not None


LOSSES = {
    "cross-entropy": lambda student, other: soft_target_cross_entropy(student, other.softmax(1)),
    "soft": lambda student, other: soft_distillation_loss(student, other, 3.0),
    "hard": hard_distillation_loss,
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_pass_gradcheck_in_double_precision(name):
    generator = torch.Generator().manual_seed(0)
    student, other = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, other), student)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_losses_are_computed_in_the_precision_of_the_logits_or_float32(name, dtype):
    student, other = torch.zeros(2, 3, 4, dtype=dtype)
    assert LOSSES[name](student, other).dtype == torch.promote_types(dtype, torch.float32)
