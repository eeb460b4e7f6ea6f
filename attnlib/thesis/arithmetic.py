"""Arithmetic on numbers of the thesis, facts and counts, one function per result.

A function's parameters name the numbers that it takes: statements of ``thesis.toml``, facts and
counts of ``errata.toml``, or other functions of this file. ``FORMULAS`` maps names to functions.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

# ruff: noqa: D103  (one line of arithmetic each, explained in the TOML files)


def pixels(model_side: float) -> float:
    return model_side**2


def parameters_added(count_atresnet18: float, count_resnet18: float) -> float:
    return (count_atresnet18 - count_resnet18) / 1e6


def added_spatial(count_atresnet18_spatial: float, count_resnet18: float) -> float:
    return (count_atresnet18_spatial - count_resnet18) / 1e6


def train_images(cifar10_images: float, test_images: float) -> float:
    return cifar10_images - test_images


def test_images(cifar10_images: float, train_images: float) -> float:
    return cifar10_images - train_images


def cifar_side(cifar10_bytes: float) -> float:
    return (cifar10_bytes / 3) ** 0.5


def imagenet_images(imagenet_train_images: float) -> float:
    return imagenet_train_images / 1e6


def conflict_images(cue_images: float, cue_agree: float) -> float:
    return cue_images - cue_agree


# ---- speed


def speed_ratio(speed_resnet18_p: float, speed_deit_t_dp: float) -> float:
    return speed_resnet18_p / speed_deit_t_dp


def speed_ratio_deit(speed_deit_t_dp: float, speed_deit_b_p: float) -> float:
    return speed_deit_t_dp / speed_deit_b_p


def latency_deit_t(speed_deit_t_dp: float) -> float:
    return 1000 / speed_deit_t_dp


def latency_deit_b(speed_deit_b_p: float) -> float:
    return 1000 / speed_deit_b_p


def gmac_ratio(gmac_deit_b: float, gmac_deit_t: float) -> float:
    return gmac_deit_b / gmac_deit_t


def tflops_deit_b(gmac_deit_b: float, speed_deit_b_p: float) -> float:
    return 2 * gmac_deit_b * speed_deit_b_p / 1e3


def tflops_vit_l(gmac_vit_l_16: float, speed_vit_l_16: float) -> float:
    return 2 * gmac_vit_l_16 * speed_vit_l_16 / 1e3


def k80_base(k80_cores: float, k80_base_ghz: float) -> float:
    return 2 * k80_cores * k80_base_ghz / 1e3


def k80_boost(k80_cores: float, k80_boost_ghz: float) -> float:
    return 2 * k80_cores * k80_boost_ghz / 1e3


def ours_are_faster(
    speed_deit_t_dp: float,
    speed_resnet18_p: float,
    speed_deit_b_p: float,
    speed_vit_b_16: float,
    speed_vit_l_16: float,
    speed_efficientnet_b7: float,
) -> bool:
    others = speed_deit_b_p, speed_vit_b_16, speed_vit_l_16, speed_efficientnet_b7
    return min(speed_deit_t_dp, speed_resnet18_p) > max(others)


def faster_for_fewer_parameters(
    parameters_deit_t_dp: float,
    parameters_resnet18_p: float,
    speed_deit_t_dp: float,
    speed_resnet18_p: float,
) -> bool:
    fewer = parameters_deit_t_dp < parameters_resnet18_p
    return fewer == (speed_deit_t_dp > speed_resnet18_p)


# ---- memory and disk


def memory_ratio(memory_deit_t_dp: float, memory_resnet18_p: float) -> float:
    return memory_deit_t_dp / memory_resnet18_p


def memory_ratio_atresnet(memory_deit_t_dp: float, memory_atresnet18_p: float) -> float:
    return memory_deit_t_dp / memory_atresnet18_p


def graph_ratio(graph_deit_t: float, graph_resnet18: float) -> float:
    return graph_deit_t / graph_resnet18


def peak_ratio(peak_resnet18: float, peak_deit_t: float) -> float:
    return peak_resnet18 / peak_deit_t


def needs_more_memory(peak_deit_t: float, peak_resnet18: float) -> bool:
    return peak_deit_t > peak_resnet18


def weights_deit_t(weights_file_deit_t: float) -> float:
    return weights_file_deit_t / 1e6


def weights_resnet18(weights_file_resnet18: float) -> float:
    return weights_file_resnet18 / 1e6


def parameter_ratio(count_resnet18: float, count_deit_t: float) -> float:
    return count_resnet18 / count_deit_t


def disk_factor(disk_deit_t_dp: float, count_deit_t: float) -> float:
    return disk_deit_t_dp * 1e6 / (4 * count_deit_t)


def rebuilt_deit_t(checkpoint_deit_t: float) -> float:
    return checkpoint_deit_t / 1e6


def rebuilt_resnet18(checkpoint_resnet18: float) -> float:
    return checkpoint_resnet18 / 1e6


def rebuilt_atresnet18(checkpoint_atresnet18: float) -> float:
    return checkpoint_atresnet18 / 1e6


def disk_surplus(disk_atresnet18_p: float, rebuilt_atresnet18: float) -> float:
    return disk_atresnet18_p - rebuilt_atresnet18


def disk_surplus_numbers(disk_surplus: float) -> float:
    return disk_surplus / 16  # four bytes per number, stored four times


def smaller_on_disk(disk_deit_t_dp: float, disk_resnet18_p: float) -> bool:
    return disk_deit_t_dp < disk_resnet18_p


# ---- accuracy


def two_best(accuracy_resnet18_p: float, accuracy_deit_t_p: float) -> bool:
    return accuracy_resnet18_p > accuracy_deit_t_p


def student_beats_teacher(accuracy_deit_t_dp: float, accuracy_resnet18_p: float) -> bool:
    return accuracy_deit_t_dp > accuracy_resnet18_p


def atresnet_below_resnet(accuracy_atresnet18_p: float, accuracy_resnet18_p: float) -> bool:
    return accuracy_atresnet18_p < accuracy_resnet18_p


def atresnet_z(
    accuracy_resnet18_p: float, accuracy_atresnet18_p: float, test_images: float
) -> float:
    """Standard errors between two accuracies in percent, each measured on ``test_images``."""
    accuracies = accuracy_resnet18_p, accuracy_atresnet18_p
    variance = sum(a * (100 - a) / test_images for a in accuracies)
    return (accuracy_resnet18_p - accuracy_atresnet18_p) / variance**0.5


# ---- architecture, and people


def head_width(width_small: float, heads_small: float) -> float:
    return width_small / heads_small


def identical_encoder(encoder_difference: float) -> bool:
    return encoder_difference == 0


def kappa_order(kappa_vit_b_32: float, kappa_resnet50: float) -> bool:
    return kappa_vit_b_32 > kappa_resnet50


def classwise_order(js_class_vit_b_32: float, js_class_resnet50: float) -> bool:
    return js_class_vit_b_32 < js_class_resnet50


def interclass_order(js_inter_resnet50: float, js_inter_vit_b_32: float) -> bool:
    return js_inter_resnet50 > js_inter_vit_b_32


def fine_tuning_resnet(js_inter_resnet50_ft: float, js_inter_resnet50: float) -> bool:
    return js_inter_resnet50_ft < js_inter_resnet50


def fine_tuning_shape(shape_bias_resnet50_ft: float, shape_bias_resnet50: float) -> bool:
    return shape_bias_resnet50_ft > shape_bias_resnet50


def shape_order(
    shape_bias_people: float, shape_bias_vit_b_32: float, shape_bias_resnet50: float
) -> bool:
    return abs(shape_bias_people - shape_bias_vit_b_32) < abs(
        shape_bias_people - shape_bias_resnet50
    )


FORMULAS: dict[str, Callable[..., Any]] = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__
}


def names_in(formula: str) -> tuple[str, ...]:
    """The numbers that a formula takes; a name that is not a formula stands for itself."""
    return tuple(inspect.signature(FORMULAS[formula]).parameters) if formula in FORMULAS else ()


def compute(formula: str, numbers: Mapping[str, Any]) -> Any:
    """The result of a formula of ``FORMULAS``.

    Raises:
        KeyError: If the formula is unknown, or ``numbers`` lacks one of its numbers.
    """
    return FORMULAS[formula](**{name: numbers[name] for name in names_in(formula)})
