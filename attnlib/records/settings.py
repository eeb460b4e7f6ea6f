"""Settings of a run in words, for labels and explanations."""

from typing import Any

from attnlib.catalogue import TITLES

WORDS = {
    "batch_size": "batches of {}",
    "distillation": "{} distillation",
    "epochs": "{} epochs",
    "img_size": "{} pixels",
    "initial_checkpoint": "from {}",
    "limit": "{} training images",
    "lr": "learning rate {}",
    "patch_size": "patches of {}",
    "teacher": "taught by {}",
    "tokens": "{} tokens",
}
FLAGS = {  # what is said of a setting that has just this value
    ("distillation", "none"): "no distillation",
    ("limit", None): "all training images",
    ("pretrained", False): "no ImageNet weights",
    ("pretrained", True): "from ImageNet weights",
    ("teacher", None): "no teacher",
}


def describe_setting(name: str, value: Any) -> str:
    """A parameter and its value in words; a run that is named is called by its model."""
    if (name, value) in FLAGS:
        return FLAGS[name, value]
    if name in ("model", "teacher"):
        value = TITLES.get(str(value).split("-")[0], value)
    return WORDS.get(name, f"{name.replace('_', ' ')} {{}}").format(value)
