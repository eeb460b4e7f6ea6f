"""A run's configuration: its parameters, the profiles that set them, and their validation."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from attnlib.catalogue import CATALOGUE, MODELS, RESNETS, TITLES, TRANSFORMERS
from attnlib.colab.drive import on_drive
from attnlib.devices import resolve_device, why_no_cuda
from attnlib.escaping import shell
from attnlib.parameters import parameter, parse_params, suggest

STEMS = ("imagenet", "cifar")
INPUTS = ("reference", "faithful", "fast")
DATASETS = ("digits", "cifar10", "npz", "folder")

# Where the thesis gives no value, DeiT's default (facebookresearch/deit, main.py): learning rate
# 5e-4 * batch / 512, weight decay, warm-up, drop-path, EMA, label smoothing.
THESIS: dict[str, Any] = {
    "dataset": "cifar10", "pretrained": True, "epochs": 100, "batch_size": 128, "img_size": 224,
    "augment": "thesis", "lr": 1.25e-4, "weight_decay": 0.05, "warmup_epochs": 5, "ema": 0.99996,
    "drop_path": 0.1, "mixup": 0.0, "cutmix": 1.0, "label_smoothing": 0.1,
}  # fmt: skip
PROFILES: dict[str, dict[str, Any]] = {
    "quick": {
        "dataset": "digits", "pretrained": False, "epochs": 10, "batch_size": 32, "img_size": 32,
        "augment": "none", "lr": 5e-4, "weight_decay": 0.05, "warmup_epochs": 1, "ema": 0.0,
        "drop_path": 0.0, "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0,
    },
    "colab": THESIS | {"epochs": 10, "warmup_epochs": 1, "ema": 0.0},
    "thesis": THESIS,
    # The reference runs, whose only ImageNet weights are EfficientNet-Lite0's: with a GPU the
    # thesis's recipe, without one what a CPU can train in a few hours.
    "reference": THESIS | {"dataset": "npz", "pretrained": False, "ema": 0.0},
    "cpu-reference": {
        "dataset": "npz", "pretrained": False, "epochs": 8, "batch_size": 128, "img_size": 32,
        "augment": "light", "lr": 2e-3, "weight_decay": 0.05, "warmup_epochs": 1, "ema": 0.0,
        "drop_path": 0.0, "mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0,
    },
}  # fmt: skip
SGD_LR, SGD_WEIGHT_DECAY = 0.1, 1e-4  # of 256 images a step: He et al. (2016), section 3.4
SMALL_PATCH_SIZE = 8  # 16 tokens of a 32 x 32 image; a patch of 16 would leave four

# Parameters of the machine, its folders, and what is shown; they are not part of a run's name.
PLACES = ("runs_dir", "drive", "device", "log")
# A run's name is a hash of these fields, as in the first version, and of any
# later field only where it differs from its default, so new parameters rename no run.
FIRST_FIELDS = (
    "model", "dataset", "data_path", "profile", "pretrained", "distillation", "teacher",
    "temperature", "alpha", "epochs", "batch_size", "img_size", "patch_size", "tokens", "augment",
    "input", "lr", "weight_decay", "warmup_epochs", "restarts", "ema", "drop_path", "mixup",
    "cutmix", "label_smoothing", "accumulate", "skip_nonfinite", "amp", "compile", "seed", "limit",
)  # fmt: skip
# `amp` was once a boolean, false by default on a CPU. `auto` takes the place of that default in the
# hash, so that those runs keep their names; an explicit `false` is hashed under another name.
AMP_IN_NAMES = {"auto": False, "true": True}


@dataclass(frozen=True)
class TrainConfig:
    """One training run, fully resolved: the same fields in notebooks and on the command line."""

    model: str = parameter(
        "deit_t", "the model; timm/NAME takes any of timm", choices=MODELS, prefix="timm/"
    )
    dataset: str = parameter("digits", "the data set", choices=DATASETS)
    data_path: str | None = parameter(None, "its file or folder; npz and folder need one")
    profile: str = parameter("auto", "a set of defaults", choices=("auto", *PROFILES))
    pretrained: bool = parameter(False, "start from ImageNet weights")
    initial_checkpoint: str | None = parameter(
        None, "start from the weights of a finished run, or of a .safetensors or .pth file"
    )
    distillation: str = parameter("none", "of a teacher", choices=("none", "soft", "hard"))
    teacher: str | None = parameter(None, "a model (trained first, if it is not yet) or a run")
    temperature: float = parameter(1.0, "softening of soft distillation (thesis eq. 5.1)", above=0)
    alpha: float = parameter(0.5, "weight of distillation (thesis eqs. 5.1, 5.3)", low=0, high=1)
    epochs: int = parameter(10, "passes over the training set", low=1)
    batch_size: int = parameter(32, "images per step", low=2)
    img_size: int = parameter(32, "pixels of a side that the model sees", low=8, high=4096)
    patch_size: int | None = parameter(None, "pixels of a patch's side; none: the model's", low=1)
    tokens: str = parameter("channel", "of AtResNet", choices=("channel", "spatial"))
    stem: str = parameter("imagenet", "of ResNets and AtResNet", choices=STEMS)
    dynamic_img_size: bool = parameter(False, "of transformers: take images of any size")
    augment: str = parameter("none", "of training images", choices=("thesis", "light", "none"))
    input: str = parameter("fast", "who makes the batches", choices=INPUTS)
    opt: str = parameter("adamw", "optimiser; sgd: with momentum 0.9", choices=("adamw", "sgd"))
    lr: float = parameter(5e-4, "peak learning rate; follows batch_size if not given", above=0)
    layer_decay: float | None = parameter(
        None,
        "factor of the learning rate from each layer to the one before",
        above=0,
        high=0.999999,
    )
    weight_decay: float = parameter(0.05, "of matrices; vectors and tokens never decay", low=0)
    warmup_epochs: int = parameter(1, "epochs of linear warm-up", low=0)
    clip_grad: float | None = parameter(None, "largest norm of the gradients", above=0)
    freeze: bool = parameter(False, "train the head only: a linear probe")
    restarts: int = parameter(0, "warm restarts of the cosine schedule", low=0)
    ema: float = parameter(0.0, "decay of averaged weights a step; 0: none", low=0, high=0.999999)
    drop_path: float = parameter(0.0, "rate of dropped residual branches", low=0, high=0.95)
    mixup: float = parameter(0.0, "Beta parameter of mixup; 0: off", low=0)
    cutmix: float = parameter(0.0, "Beta parameter of cutmix; 0: off", low=0)
    label_smoothing: float = parameter(0.0, "share of a label spread over all", low=0, high=0.99)
    accumulate: int = parameter(1, "parts in which a batch is computed, for less memory", low=1)
    grad_checkpointing: bool = parameter(False, "compute layers again for less memory")
    skip_nonfinite: int = parameter(0, "steps an epoch may lose to NaN before it stops", low=0)
    amp: str = parameter(
        "auto", "mixed precision; auto: where it is faster", choices=("auto", "true", "false")
    )
    compile: bool = parameter(False, "let torch.compile fuse the step")
    seed: int = parameter(0, "of weights, order and augmentation", low=0, high=2**31 - 1)
    device: str = parameter("auto", "auto, cpu, cuda, cuda:1, mps, ...")
    limit: int | None = parameter(None, "at most so many training images", low=2)
    runs_dir: str = parameter("runs", "where runs are written")
    drive: bool = parameter(False, "in Colab: runs_dir is on your Google Drive")
    log: str = parameter("none", "what else to write of each step", choices=("none", "tensorboard"))

    @classmethod
    def from_params(cls, **params: Any) -> Self:
        """Check ``params`` and fill the rest from the profile; None means the profile's value.

        Raises:
            ValueError: Naming each unknown or bad parameter, the nearest name, the valid values.
        """
        given = parse_params(cls, params)
        device = resolve_device(given.get("device", "auto"))
        profile = given.get("profile", "auto")
        if profile == "auto":
            profile = "colab" if device.startswith("cuda") else "quick"
        defaults = profile_defaults(profile, given)
        config = cls(**defaults | given)
        config = replace(config, profile=profile, device=device)
        if config.drive:
            config = replace(config, runs_dir=on_drive(config.runs_dir))
        check_combinations(config, given)
        return config

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """The configuration in a run's ``config.json``, whichever version wrote it."""
        return cls(**complete_values(values))

    @property
    def values(self) -> dict[str, Any]:
        """The values that determine the run, as JSON; paths are cut to their last name."""
        values = {name: value for name, value in asdict(self).items() if name not in PLACES}
        if self.data_path:
            values["data_path"] = Path(self.data_path).name  # its content is checked on resuming
        if self.initial_checkpoint:  # and so is its
            values["initial_checkpoint"] = source_name(self.initial_checkpoint)
        if self.teacher:
            values["teacher"] = source_name(self.teacher)
        return values

    @property
    def name(self) -> str:
        """Name of the run's folder, readable and determined by all that affects the result."""
        values = self.values
        hashed = {
            f.name: values[f.name]
            for f in fields(self)
            if f.name in values and (f.name in FIRST_FIELDS or values[f.name] != f.default)
        }
        hashed["amp"] = AMP_IN_NAMES.get(self.amp, self.amp)
        digest = hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:8]
        parts = [self.model.replace("/", "_")]
        parts += [self.tokens] if self.model.startswith("atresnet") else []
        parts += ["pretrained"] if self.pretrained else []
        parts += ["finetuned"] if self.initial_checkpoint else []
        parts += [self.distillation] if self.distillation != "none" else []
        return "-".join([*parts, self.dataset, self.profile, f"s{self.seed}", digest])

    @property
    def title(self) -> str:
        """The run in words, for headings and legends."""
        title = TITLES.get(self.model, self.model)
        title += f" ({self.tokens} tokens)" if self.model.startswith("atresnet") else ""
        title += ", from ImageNet weights" if self.pretrained else ""
        if self.initial_checkpoint:
            start = source_name(self.initial_checkpoint)
            model = TITLES.get(start.split("-")[0])
            title += f", from a trained {model}" if model else f", from {start}"
        if self.distillation != "none":
            name = source_name(str(self.teacher))
            model = name.split("-")[0]  # a run's name begins with its model's
            title += f", {self.distillation} distillation from {TITLES.get(model, name)}"
        return title

    @property
    def changed(self) -> dict[str, Any]:
        """The parameters that differ from what the profile gives."""
        deciding = (
            "model", "pretrained", "distillation", "batch_size", "dataset", "limit",
            "initial_checkpoint", "freeze", "opt",
        )  # fmt: skip
        given = {name: getattr(self, name) for name in deciding}
        given["epochs"] = self.epochs
        usual = profile_defaults(self.profile, given)
        values = {
            f.name: (getattr(self, f.name), usual.get(f.name, f.default)) for f in fields(self)
        }
        apart = ("model", "profile", "device")
        return {
            name: value
            for name, (value, default) in values.items()
            if name not in apart and value != default
        }

    @property
    def options(self) -> str:
        """The options that reproduce this run with any of the commands: ``-p model deit_t ...``."""
        words = {"model": self.model, "profile": self.profile} | self.changed
        words |= {name: self.values[name] for name in words if name in self.values}
        for name in PLACES:
            words.pop(name, None)
        return " ".join(f"-p {name} {shell(value)}" for name, value in words.items())

    @property
    def command(self) -> str:
        """The command that reproduces this run."""
        return f"papermill notebooks/train.ipynb OUT.ipynb {self.options}"

    def describe(self) -> str:
        """The resolved values: one line per parameter, departures from the profile marked."""
        import torch

        why = ""
        if self.device == "cpu" and not torch.backends.mps.is_available():
            why = why_no_cuda()
        lines = [f"run      {self.name}", f"profile  {self.profile} on {self.device}"]
        lines[-1] += f" ({why})" if why else ""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in ("profile", "device"):
                mark = "  <- set here" if f.name in self.changed else ""
                lines.append(f"  {f.name:16}{'-' if value is None else value}{mark}")
        return "\n".join(lines)


def source_name(source: str) -> str:
    """How names and records refer to a run or file that may have been given by its path."""
    if source in MODELS or source.startswith("timm/"):
        return source
    path = Path(source)
    if path.name == "model.safetensors" and path.parent.name:
        path = path.parent  # the file name is the same for all runs
    return path.resolve().name if path.is_dir() else path.name


def complete_values(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a run's ``config.json``, with defaults for parameters added since."""
    defaults = {f.name: f.default for f in fields(TrainConfig) if f.name not in PLACES}
    amp = values.get("amp")
    if isinstance(amp, bool):  # written before `auto` existed; false then meant auto
        values = values | {"amp": "true" if amp else "auto"}
    return defaults | values


def profile_defaults(profile: str, given: dict[str, Any]) -> dict[str, Any]:
    """A profile's values; where a default depends on another parameter, ``given`` is used."""
    defaults = dict(PROFILES[profile])
    wants_weights = given.get("pretrained", defaults["pretrained"])  # need their own patch size
    is_small = defaults["img_size"] == 32 and not wants_weights
    if is_small and given.get("model", "deit_t") in TRANSFORMERS:
        defaults["patch_size"] = SMALL_PATCH_SIZE
    if given.get("distillation", "none") != "none":
        defaults["teacher"] = "resnet18"
    if given.get("initial_checkpoint") is not None:
        defaults["pretrained"] = False
    if given.get("dataset", defaults["dataset"]) == "folder":
        defaults["input"] = "reference"  # its images differ in size
    frozen = given.get("freeze", False)
    if defaults["drop_path"] and (frozen or not takes_drop_path(given.get("model", "deit_t"))):
        defaults["drop_path"] = 0.0
    usual_batch = defaults["batch_size"]
    if given.get("opt") == "sgd":
        defaults |= {"lr": SGD_LR * usual_batch / 256, "weight_decay": SGD_WEIGHT_DECAY}
    defaults["batch_size"] = min(usual_batch, given.get("limit") or usual_batch)
    defaults["lr"] *= given.get("batch_size", defaults["batch_size"]) / usual_batch
    defaults["warmup_epochs"] = min(defaults["warmup_epochs"], given.get("epochs", 100) // 2)
    return defaults


def row_parameters(row: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """The parameters of a row of experiments in one profile, without its seeds.

    What stands under a profile's name holds for that profile only.
    """
    own = {name: row[name] for name in row if name != "seeds" and name not in PROFILES}
    return own | {"profile": profile} | row.get(profile, {})


def check_combinations(config: TrainConfig, given: dict[str, Any]) -> None:
    """Refuse values that are each valid but can't be combined."""
    faults = without_model(config) + without_use(config)
    if config.dataset in ("npz", "folder") and config.data_path is None:
        faults.append(f"data_path: the data set {config.dataset!r} needs its file or folder.")
    if config.warmup_epochs >= config.epochs and config.warmup_epochs > 0:
        faults.append(
            f"warmup_epochs: expected fewer than epochs ({config.epochs}); "
            f"got {config.warmup_epochs}."
        )
    if config.accumulate > config.batch_size // 2:
        faults.append(
            f"accumulate: expected at most half of batch_size ({config.batch_size}); "
            f"got {config.accumulate}."
        )
    if config.restarts >= config.epochs:
        faults.append(
            f"restarts: expected fewer than epochs ({config.epochs}); got {config.restarts}."
        )
    if config.initial_checkpoint is not None and config.pretrained:
        faults.append(
            "initial_checkpoint: pretrained true starts from ImageNet weights; give one of the two."
        )
    if faults:
        raise ValueError("\n".join(faults))


def without_model(config: TrainConfig) -> list[str]:
    """Explain why there is no model of that name, or none with this patch size."""
    size, patch = config.img_size, config.patch_size
    if config.model in TRANSFORMERS:
        usual = CATALOGUE[config.model].patch_size or 0
        if config.pretrained and patch not in (None, usual):
            return [
                f"patch_size: the ImageNet weights of {config.model} are made for patches of "
                f"{usual} pixels; got {patch}. Leave out patch_size or pretrained."
            ]
        patch = patch or usual
        if size % patch:
            valid = ", ".join(str(p) for p in range(1, size + 1) if size % p == 0)
            return [f"patch_size: {patch} does not divide img_size {size}. Valid: {valid}."]
        return []
    faults = []
    if patch is not None:
        faults.append(f"patch_size: {config.model} has no patches; leave patch_size out.")
    if config.model.startswith("timm/"):
        import timm  # slow, and only needed here

        name = config.model.removeprefix("timm/")
        if not timm.is_model(name):
            near = suggest(name, timm.list_models())
            faults.append(f"model: timm has no {name!r}.{near} timm.list_models() gives all names.")
    return faults


def without_use(config: TrainConfig) -> list[str]:
    """Name the parameters that were set but would have no effect on this run."""
    faults = []
    model, distillation = config.model, config.distillation
    if config.tokens != TrainConfig.tokens and not model.startswith("atresnet"):
        faults.append(f"tokens: {model} has no class token that reads stages; leave tokens out.")
    if config.stem != TrainConfig.stem and model not in RESNETS:
        faults.append(f"stem: only {', '.join(RESNETS)} have one to choose; leave stem out.")
    if config.stem != TrainConfig.stem and config.pretrained:
        faults.append("stem: the ImageNet weights have their own; leave out stem or pretrained.")
    if config.drop_path and not takes_drop_path(model):
        faults.append(f"drop_path: {model} has no branches that can be dropped; leave it out.")
    if config.dataset == "digits" and config.data_path is not None:
        faults.append("data_path: the digits are inside scikit-learn; leave data_path out.")
    if distillation == "none":
        for name in ("teacher", "temperature", "alpha"):
            if getattr(config, name) != getattr(TrainConfig, name):
                faults.append(
                    f"{name}: has no use without distillation; set distillation soft or hard."
                )
    faults += fine_tuning_without_use(config)
    if distillation == "hard" and config.temperature != TrainConfig.temperature:
        faults.append("temperature: only soft distillation has one; leave temperature out.")
    return faults


def fine_tuning_without_use(config: TrainConfig) -> list[str]:
    """Name the options of fine-tuning that were set but would have no effect on this run."""
    faults, model = [], config.model
    if config.dynamic_img_size and not takes_dynamic_img_size(model):
        faults.append(f"dynamic_img_size: {model} has no positional embedding that it resamples.")
    if config.grad_checkpointing and not takes_grad_checkpointing(model):
        faults.append(f"grad_checkpointing: {model} has no layers that can be computed again.")
    if config.layer_decay is not None and not takes_layer_decay(model):
        faults.append(f"layer_decay: {model} does not say which weights form a layer.")
    if not config.freeze:
        return faults
    if not config.pretrained and config.initial_checkpoint is None:
        faults.append(
            "freeze: random weights would stay random; set pretrained or initial_checkpoint."
        )
    if config.pretrained and model.startswith("atresnet"):
        faults.append(
            f"freeze: the encoders of {model} are not among the ImageNet weights and would stay "
            "random; leave out freeze."
        )
    for name in ("drop_path", "layer_decay", "grad_checkpointing"):
        if getattr(config, name):
            faults.append(f"{name}: has no use with freeze, which trains the head only.")
    return faults


@cache
def built_by_timm(model: str, **options: Any) -> Any:
    """``timm/NAME`` without memory for its weights; None if it does not take these options."""
    import timm
    import torch

    try:
        with torch.device("meta"):
            return timm.create_model(model.removeprefix("timm/"), **options)
    except TypeError:  # it has no such argument
        return None


def takes_drop_path(model: str) -> bool:
    """Whether stochastic depth has an effect in ``model``; a timm model is built to find out."""
    if not model.startswith("timm/"):
        return model not in RESNETS
    try:
        built = built_by_timm(model, drop_path_rate=0.5)
    except RuntimeError:  # unknown to timm, which is reported elsewhere
        return True
    if built is None:
        return False
    rates = (getattr(m, "drop_prob", 0.0) or getattr(m, "rate", 0.0) for m in built.modules())
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def takes_dynamic_img_size(model: str) -> bool:
    """Whether ``model`` can resample its positional embedding to images of other sizes."""
    if not model.startswith("timm/"):
        return model in TRANSFORMERS
    try:
        return built_by_timm(model, dynamic_img_size=True) is not None
    except RuntimeError:  # unknown to timm, which is reported elsewhere
        return True


def takes_grad_checkpointing(model: str) -> bool:
    """Whether ``model`` can compute its layers again in the backward pass; torchvision's can't."""
    if not model.startswith("timm/"):
        return model not in RESNETS or model.startswith("atresnet")
    try:
        built_by_timm(model).set_grad_checkpointing(True)
    except (AttributeError, AssertionError):  # there is no such method, or it refuses
        return False
    except RuntimeError:  # unknown to timm, which is reported elsewhere
        return True
    return True


def takes_layer_decay(model: str) -> bool:
    """Whether the weights of ``model`` are known by layers."""
    if not model.startswith("timm/"):
        return True
    try:
        return hasattr(built_by_timm(model), "group_matcher")
    except RuntimeError:  # unknown to timm, which is reported elsewhere
        return True
