"""Models with images for the notebooks on attention and features."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from attnlib.augmentation.pil_transforms import eval_transform
from attnlib.catalogue import CATALOGUE, MODELS, TITLES, TRANSFORMERS
from attnlib.config import TrainConfig
from attnlib.data.datasets import Split
from attnlib.data.downloads import DownloadError
from attnlib.data.loading import eval_batches
from attnlib.data.open_image import open_image
from attnlib.experiment import run_experiment
from attnlib.explain.attribution import MAP_KINDS
from attnlib.explain.feature_maps import DULL
from attnlib.models.pretrained import NoWeightsError, fit_tokens
from attnlib.models.zoo import create_model
from attnlib.parameters import parameter, parse_params
from attnlib.records.answers import find_images
from attnlib.records.find import find_folders, find_showcase, load_run, newest_run
from attnlib.records.run import Run, build_model
from attnlib.records.thumbnails import read_thumbnails

SMALL_RUN = {"profile": "quick", "limit": 200, "epochs": 2, "batch_size": 16, "lr": 1e-3}
# more from ImageNet weights, as a new head needs more steps
FROM_IMAGENET = {"lr": 5e-3, "epochs": 4, "batch_size": 32}
SMALL_FOLDER = "small"
CHAINABLE = tuple(name for name, model in CATALOGUE.items() if model.family != "other")
# What is shown by default, the dog where it can be fetched; of a network of few classes, objects
# that it may know and its own images.
MANY_CLASSES = ("cat", "dog", "coffee", "rocket")
FEW_CLASSES = ("cat", "dog", "0", "1")
Announce = Callable[[str], object]


@dataclass(frozen=True)
class View:
    """Parameters shared by the notebooks on attention and features."""

    run: str | None = parameter(None, "a finished run, by name or folder")
    model: str | None = parameter(None, "in place of a run", choices=MODELS, prefix="timm/")
    image: str | None = parameter(
        None, "test image number, path, URL#sha256=, cat, dog, china, ...", numeric=True
    )
    data_path: str | None = parameter(None, "file or folder of the run's data, if it needs one")
    runs_dir: str = parameter("runs", "where runs are")

    @classmethod
    def from_params(cls, **params: Any) -> Self:
        """Check ``params``.

        Raises:
            ValueError: Naming each unknown or bad parameter, the nearest name, the valid values.
        """
        view = cls(**parse_params(cls, params))
        if view.run and view.model:
            raise ValueError(f"run, model: expected one of them; got {view.run} and {view.model}.")
        return view


@dataclass(frozen=True)
class AttentionView(View):
    """Parameters of the attention notebook."""

    model: str | None = parameter(None, "in place of a run", choices=TRANSFORMERS, prefix="timm/")
    kind: str = parameter("mean", "of map", choices=tuple(MAP_KINDS))
    layer: int | None = parameter(None, "1 is the first; by default the last", low=1)
    head: int = parameter(1, "1 is the first", low=1)
    sample: int = parameter(48, "test images to judge maps by, at most", low=2)
    seed: int = parameter(0, "of the random maps", low=0)


@dataclass(frozen=True)
class FeaturesView(View):
    """Parameters of the features notebook."""

    model: str | None = parameter(None, "in place of a run", choices=CHAINABLE, prefix="timm/")
    side: int | None = parameter(None, "pixels; by default 64 patches, thus 1024 of 16", low=32)
    channels: int = parameter(8, "first channels that are drawn", low=1, high=36)
    threshold: float = parameter(DULL, "robust range under which a map is dull", above=0, high=1)


@dataclass(frozen=True)
class Subject:
    """A model in evaluation mode, and the images available for it."""

    model: nn.Module
    title: str
    img_size: int
    class_names: tuple[str, ...]
    test: Split | None = None
    run: Run | None = None
    pretrained: bool = False  # with unchanged ImageNet weights
    name: str | None = None  # name in the zoo, if it is not a run's model

    def images(self, image: str | None = None) -> tuple[Tensor, list[str]]:
        """Images as the model's input, (B, 3, H, W) in [0, 1], and their names.

        Args:
            image: A test image's number, or what ``open_image`` takes; by default photographs, and
                of a run the first test images, as far as they are available.

        Raises:
            ValueError: If the image is not found.
        """
        if image is not None:
            opened = {image: self._open(image)}
        else:
            usual = FEW_CLASSES if self.run else MANY_CLASSES
            opened = {one: found for one in usual if (found := self._open_if_available(one))}
        place = eval_transform(self.img_size)
        return torch.stack([place(found) for found in opened.values()]), [
            f"test image {one}" if one.isdigit() else Path(one.partition("#")[0]).stem
            for one in opened
        ]

    def _open_if_available(self, image: str) -> Image.Image | None:
        try:
            return self._open(image)
        except (ValueError, DownloadError):
            return None

    def _open(self, image: str) -> Image.Image:
        if not image.isdigit() or Path(image).is_file():
            return open_image(image)
        if self.test is None:
            raise ValueError(f"image: {self.title} has no test images here; got number {image}.")
        picture = self.test.find(int(image))
        if picture is None:
            last = int(self.test.indices.max())
            among = f"one of {len(self.test)} here, " if last >= len(self.test) else ""
            raise ValueError(f"image: expected a test image, {among}from 0 to {last}; got {image}.")
        return Image.fromarray(picture)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """First test images that the model classifies correctly, at most ``count``, and labels.

        Where only some test images are available, it is those from the first one on: others were
        chosen for errors. Without test images: photographs, with the model's decisions as labels.

        Raises:
            ValueError: If it classifies fewer than two images correctly.
        """
        if self.test is None:
            photographs, _ = self.images()
            with torch.no_grad():  # gradients may be computed with these labels
                return photographs, self.model(photographs).argmax(dim=1)
        first = int(np.sum(self.test.indices == np.arange(len(self.test))))  # without a gap
        whole = self.test.subset(range(first))
        images: list[Tensor] = []
        labels: list[Tensor] = []
        for batch, truth in eval_batches(whole, eval_transform(self.img_size), batch_size=64):
            with torch.inference_mode():
                right = self.model(batch).argmax(dim=1) == truth
            images.append(batch[right])
            labels.append(truth[right])
            if sum(map(len, labels)) >= count:
                break
        if (found := sum(map(len, labels))) < 2:
            raise ValueError(f"sample: {self.title} gets {found} of {first} images right.")
        return torch.cat(images)[:count], torch.cat(labels)[:count]

    def batches(self, count: int, size: int = 32) -> list[Tensor]:
        """The first test images, at most ``count``, as inputs in batches of ``size``.

        Without test images it is those of CIFAR-10 that ``results`` keeps, or else photographs. The
        last batch is left out if it is not whole, unless it is the only one. Without four images,
        the fewest that CKA takes, there is no batch.
        """
        test = self.test if self.test is not None else read_thumbnails()
        if test is None:
            images, _ = self.images()
        else:
            first = test.subset(range(min(count, len(test))))
            ((images, _),) = eval_batches(
                first, eval_transform(self.img_size), batch_size=len(first)
            )
        whole = max(len(images) // size, 1) * size
        return [batch for batch in images[:whole].split(size) if len(batch) >= 4]

    def decisions(self, images: Tensor) -> list[str]:
        """The predicted class of each image with its probability, as text."""
        with torch.inference_mode():
            best = self.model(images).softmax(dim=1).max(dim=1)
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [f"{self.class_names[label]}, {share:.0%}" for share, label in pairs]

    def resized(self, side: int) -> "Subject":
        """The same network for images of ``side`` pixels; positions are resampled, bicubically.

        Raises:
            ValueError: If it can't take that size.
        """
        if not hasattr(self.model, "patch_embed"):
            return replace(self, img_size=side)  # convolutions take any size
        if hasattr(self.model, "set_input_size"):  # timm's
            model: Any = deepcopy(self.model)
            model.set_input_size(img_size=side)
            return replace(self, model=model.eval(), img_size=side)
        if self.run is not None:
            model = build_model(self.run.config | {"img_size": side}, len(self.class_names))
        else:
            model = create_model(str(self.name), len(self.class_names), side)
        state = self.model.state_dict()
        model.load_state_dict(fit_tokens(state, model.grid_size, model.num_prefix_tokens))
        return replace(self, model=model.eval(), img_size=side)


def open_subject(
    view: View, note: Announce, *, beside: Subject | None = None, **like: Any
) -> Subject:
    """The model that ``view`` names, or else a run like ``like``, with its images.

    The showcase is preferred: its weights are kept, so it is there in every clone.

    Args:
        view: Parameters.
        note: Called with a line of text when something is worth saying.
        beside: What it will be compared with; ``view`` names that one then, and a run on the same
            data is preferred.
        like: Parameters of the run that is taken by default: see ``find_or_train``.
    """
    if beside is None and view.model is not None:
        return open_model(view.model)
    if beside is None and view.run is None and (pair := find_showcase("results", view.runs_dir)):
        try:
            return open_run(pair.student, view.data_path, note)
        except DownloadError as fault:  # an installed attnlib fetches the weights
            note(f"{pair.student.name} can't be shown: {str(fault).splitlines()[0]}")
    run = load_run(view.run, view.runs_dir) if view.run and beside is None else None
    theirs = beside.run.record.dataset.sha256 if beside and beside.run else None
    if theirs is not None:
        run = find_newest(view.runs_dir, data=theirs, **like)
    run = run or find_or_train(view.runs_dir, note, **like)
    is_theirs = beside is None or run.record.dataset.sha256 == theirs
    return open_run(run, view.data_path if is_theirs else None, note)


def open_beside(view: View, note: Announce, seen: Subject) -> Subject:
    """A convolutional network beside ``seen``: its teacher, or else a ResNet-18.

    A model of the zoo has one of the zoo beside it, a run one of the same data if there is any.
    """
    if seen.run is None:
        return open_model("resnet18")
    if teacher := seen.run.record.teacher:
        for folder in (seen.run.path.parent, *find_folders("results", view.runs_dir)):
            if (folder / teacher / "record.json").exists():
                run = load_run(folder / teacher)
                if run.fetch_weights():
                    return open_run(run, view.data_path, note)
    return open_subject(view, note, beside=seen, model="resnet18")


def find_plain(view: View, note: Announce, seen: Subject) -> Subject | None:
    """A DeiT-T without a teacher on the data of ``seen``; None if there is none with weights."""
    data = seen.run.record.dataset.sha256 if seen.run else None
    like = {"model": "deit_t", "distillation": "none"}
    run = find_newest(view.runs_dir, data=data, **like) if data else None
    return open_run(run, view.data_path, note) if run else None


def find_recorded(view: View, note: Announce, seen: Subject, **like: Any) -> Run:
    """The newest finished run like that, whose record is enough: its weights need not be there.

    One on the data of ``seen`` is preferred; without any, a small one is trained.
    """
    data = seen.run.record.dataset.sha256 if seen.run else None
    folders = [*find_folders("results"), Path(view.runs_dir)]
    for wanted in dict.fromkeys((data, None)):
        if run := newest_run(*folders, weights=False, data=wanted, **like):
            return run
    return find_or_train(view.runs_dir, note, **like)


def open_model(name: str, *, pretrained: bool | None = None) -> Subject:
    """A model of the zoo with 1000 classes.

    Args:
        name: As for ``create_model``.
        pretrained: Whether to use ImageNet weights; None if available.
    """
    from timm.data.imagenet_info import ImageNetInfo

    title = TITLES.get(name, name)
    wanted = pretrained is not False
    try:
        model = create_model(name, 1000, pretrained=wanted)
    except (DownloadError, ImportError, NoWeightsError):
        if pretrained:
            raise
        wanted = False
        model = create_model(name, 1000)
    title += ", ImageNet weights" if wanted else ", random weights"
    info = ImageNetInfo()
    names = [info.index_to_description(i).partition(",")[0] for i in range(1000)]
    return Subject(model.eval(), title, 224, tuple(names), pretrained=wanted, name=name)


def recorded_images(
    run: Run, data_path: str | None, note: Announce, count: int = 4
) -> tuple[Tensor, list[str]]:
    """First images of a record's ``attention.npz``, (B, 3, H, W); black if not available."""
    owner = open_run(run, data_path, note, weights=False)
    numbers = [str(number) for number in run.arrays("attention")["indices"][:count]]
    if owner.test is None:
        blank = torch.zeros(len(numbers), 3, owner.img_size, owner.img_size)
        return blank, [f"test image {number}" for number in numbers]
    images = [owner.images(number) for number in numbers]
    return torch.cat([image for image, _ in images]), [name for _, (name,) in images]


def open_run(run: Run, data_path: str | None, note: Announce, *, weights: bool = True) -> Subject:
    """A run's model with the test images of its data set, if available.

    Args:
        run: Finished.
        data_path: File or folder of its data, if it needs one.
        note: Called with a line of text if the images are missing.
        weights: Whether to load the weights; without them, ``model`` is a placeholder.

    Raises:
        ValueError: If the run's weights are missing, or ``data_path`` holds other data.
    """
    record, config = run.record, run.config
    test, told = find_images(run, data_path)
    if test is None and data_path:
        raise ValueError(f"data_path: {told}")
    if test is None:
        note(told)
    accuracy = record.metrics.test_accuracy.value
    title = f"{run.title} on {record.dataset.title}, {accuracy:.1%} right"
    names = record.dataset.classes
    model = run.load_model() if weights else nn.Identity()
    return Subject(model, title, config["img_size"], names, test, run)


def find_newest(runs_dir: str | Path, **like: Any) -> Run | None:
    """The newest run like that; those of ``SMALL_FOLDER`` only stand in where there is no other."""
    whole = newest_run(*find_folders("results"), runs_dir, **like)
    return whole or newest_run(Path(runs_dir) / SMALL_FOLDER, **like)


def find_or_train(runs_dir: str | Path, note: Announce, **like: Any) -> Run:
    """The newest finished run that matches, or else one trained in seconds on 200 digits.

    Such runs go into the folder ``small`` of ``runs_dir``, apart from the book's runs.
    """
    run = find_newest(runs_dir, **like)
    if run is not None:
        note(f"run {run.name}, finished {run.record.finished}")
        return run
    options = SMALL_RUN | (FROM_IMAGENET if like.get("pretrained") else {}) | like
    config = TrainConfig.from_params(**options, runs_dir=str(Path(runs_dir) / SMALL_FOLDER))
    run = run_experiment(config)
    accuracy = run.record.metrics.test_accuracy.value
    note(f"no finished run like that: trained {run.title} on 200 digits, {accuracy:.0%} right")
    return run


def usual_side(*subjects: Subject) -> int:
    """Image size for showing features: the thesis's 1024, less for networks of small images."""
    own = [getattr(s.model, "tokens", "") == "channel" for s in subjects]  # accepts one size only
    return min(1024, *(s.img_size * (1 if o else 8) for s, o in zip(subjects, own, strict=True)))
