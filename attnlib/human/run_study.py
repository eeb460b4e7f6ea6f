"""Run the study of networks beside people (section 8.2), or read its record.

``run_study`` loads people's and networks' published decisions, adds those of networks that it runs
itself, and measures them all together. If the published decisions are not available, it reads the
record of an earlier study and says so.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnlib.data.downloads import DownloadError, cache_dir
from attnlib.human.bootstrap import PEOPLE, measure_agreement
from attnlib.human.cifar10h import (
    VotesStudy,
    compare_votes,
    find_crowds,
    fitting_runs,
    label_observers,
)
from attnlib.human.claims import PROTOCOLS, RESNET, RESNET_FT, VIT, VIT_FT
from attnlib.human.decisions import (
    Decisions,
    check_paired,
    read_decisions,
    select_images,
    write_decisions,
)
from attnlib.human.network_observer import (
    CHANNEL_ORDERS,
    POOLING,
    PREPARATIONS,
    Protocol,
    Stimuli,
    decide,
    read_protocol,
    read_stimuli,
)
from attnlib.human.records import (
    measurement_folders,
    read_study,
    read_votes_study,
    write_study,
    write_votes_study,
)
from attnlib.human.sources import VOTES, load_folder, load_published, load_stimuli, load_votes
from attnlib.human.study import Measured, Study, conclude
from attnlib.models.pretrained import IMAGENET_CLASSES
from attnlib.models.zoo import create_model, list_models
from attnlib.parameters import parameter, parse_params, suggest
from attnlib.records.find import find_folders, list_runs, one_of_each_recipe
from attnlib.records.run import Run

NETWORK = "efficientnet_lite0"  # its weights need no download
CUE_CONFLICT = "cue-conflict"
CLASSIFIERS = tuple(name for name in list_models() if name != "atresnet18")  # whole ImageNet models
PROTOCOL_NAMES = tuple(
    str(Protocol(*words)) for words in itertools.product(CHANNEL_ORDERS, POOLING, PREPARATIONS)
)

Note = Callable[[str], object]


@dataclass(frozen=True)
class StudyParams:
    """Parameters of the human notebook."""

    models: str = parameter(NETWORK, "networks to add, with commas between")
    protocol: str = parameter("rgb-mean", "how they are asked", choices=PROTOCOL_NAMES)
    data_path: str | None = parameter(None, "folder of stimuli in place of the published ones")
    decisions_path: str | None = parameter(None, "folder of decisions in place of published ones")
    cifar10_path: str | None = parameter(None, "CIFAR-10's archive or .npz file, to show images")
    resamples: int = parameter(1000, "bootstrap resamples of the images", low=10)
    seed: int = parameter(0, "of the resamples", low=0)
    reuse: bool = parameter(True, "read a network's decisions where they are already written")
    save: str | None = parameter(None, "folder to keep the record and the networks' decisions in")

    @classmethod
    def from_params(cls, **params: Any) -> "StudyParams":
        """Parameters from text or values.

        Raises:
            ValueError: Naming every parameter or model that is wrong, and the valid ones.
        """
        chosen = cls(**parse_params(cls, params))
        for name in chosen.networks:
            if name not in CLASSIFIERS and not name.startswith("timm/"):
                raise ValueError(
                    f"models: unknown name {name!r}.{suggest(name, CLASSIFIERS)} Valid: "
                    f"{', '.join(CLASSIFIERS)}, or timm/NAME."
                )
        for field in ("data_path", "decisions_path"):
            folder = getattr(chosen, field)
            if folder and not Path(folder).expanduser().is_dir():
                raise ValueError(f"{field}: expected a folder; got {folder!r}.")
        if chosen.cifar10_path and not Path(chosen.cifar10_path).expanduser().exists():
            raise ValueError(f"cifar10_path: expected a file; got {chosen.cifar10_path!r}.")
        return chosen

    @property
    def networks(self) -> list[str]:
        """Names of the networks to add, without repetitions."""
        return list(dict.fromkeys(word.strip() for word in self.models.split(",") if word.strip()))

    @property
    def published_stimuli(self) -> bool:
        """Whether the images are the published ones."""
        return not (self.data_path or self.decisions_path)

    @property
    def are_default(self) -> bool:
        """Whether the parameters are those of the kept record."""
        asked = (self.models, self.protocol, self.data_path, self.decisions_path, self.save)
        return asked == (NETWORK, "rgb-mean", None, None, None)


def run_study(params: StudyParams, note: Note | None = None) -> Study:
    """Collect decisions, measure and judge them; or read the record if they are not available.

    Args:
        params: Parameters of the study.
        note: Called with a line of text when something takes time or is left out.

    Raises:
        DownloadError: If files are missing and the record has other parameters.
        ValueError: If files are malformed or their images differ.
    """
    tell = note or (lambda _: None)
    try:
        published = _load_observers(params)
    except DownloadError:
        kept = read_study() if params.are_default else None
        if kept is None:
            raise
        return kept
    stimuli = read_stimuli(Path(params.data_path).expanduser()) if params.data_path else None
    if stimuli:
        published = _restrict(published, stimuli, tell)
    own = _ask_networks(params, stimuli, tell)
    every_protocol = bool(own) and params.published_stimuli
    study = conclude(
        measure_agreement([*published, *own], resamples=params.resamples, seed=params.seed),
        told=_tell_sources(published, own, params.resamples),
        stimuli=stimuli.name if stimuli else Path(params.decisions_path or CUE_CONFLICT).name,
        network=own[0].system.removesuffix(f"-{params.protocol}") if every_protocol else "",
    )
    if params.save:
        _save(study, own, Path(params.save).expanduser())
    return study


def figure_systems(study: Study, params: StudyParams) -> list[Measured]:
    """The thesis's systems and the reader's; every network if the thesis's are missing."""
    own = [f"{name.replace('/', '-')}-{params.protocol}" for name in params.networks]
    thesis = study.find(RESNET, RESNET_FT, VIT, VIT_FT)
    networks = [one for one in study.systems if one.system != PEOPLE]
    return [*thesis, *study.find(*own)] if thesis else networks


def _load_observers(params: StudyParams) -> list[Decisions]:
    if params.decisions_path:
        return load_folder(Path(params.decisions_path).expanduser())
    try:
        return load_published()
    except DownloadError:
        if params.data_path:
            return []  # networks on the reader's own images need no people
        raise


def _ask_networks(params: StudyParams, stimuli: Stimuli | None, tell: Note) -> list[Decisions]:
    """Decisions of the reader's networks; on the published stimuli the first uses every protocol.

    Raises:
        DownloadError, ImportError: If the weights of a network other than the default are missing.
    """
    if params.decisions_path and not stimuli:  # no images to show
        if params.models not in ("", NETWORK):
            tell(f"{params.models} left out: set data_path to the folder of the images.")
        return []
    own: list[Decisions] = []
    for place, name in enumerate(params.networks):
        more = PROTOCOLS if params.published_stimuli and place == 0 else ()
        try:
            own += ask(name, [params.protocol, *more], stimuli, params.reuse, tell)
        except (DownloadError, ImportError) as error:
            if params.models != NETWORK:
                raise
            tell(f"{name} is left out: {str(error).splitlines()[0]}")
    return own


def _save(study: Study, own: list[Decisions], folder: Path) -> None:
    write_study(study, folder)
    for decisions in own:
        write_decisions(folder / "human" / f"{decisions.system}.csv", decisions)


def _restrict(systems: list[Decisions], stimuli: Stimuli, tell: Note) -> list[Decisions]:
    """Published decisions on the reader's stimuli only; none if some stimuli are not among them."""
    images = np.array(sorted(stimuli.files))
    try:
        return [select_images(one, images) for one in systems]
    except ValueError as error:
        tell(f"Networks alone, without people: {error}.")
        return []


def _tell_sources(published: list[Decisions], own: list[Decisions], resamples: int) -> str:
    people = sum(one.is_person for one in published)
    images = len((published or own)[0].images)
    return (
        f"{images:,} images; decisions of {people} people and of {len(published) - people} "
        f"networks as published; {len(own)} sets of decisions of networks that attnlib ran.\n"
        f"Intervals: 95%, {resamples:,} resamples of the images, the same for every system."
    )


def ask(
    name: str,
    protocols: Sequence[str],
    stimuli: Stimuli | None = None,
    reuse: bool = True,
    note: Note | None = None,
) -> list[Decisions]:
    """A network's decisions by each protocol, read from files if possible, else computed.

    Args:
        name: A model of ``create_model`` with ImageNet's 1000 classes.
        protocols: Names such as ``rgb-mean``; repetitions are dropped.
        stimuli: None for the published ones, for which decisions come with the project. Decisions
            on others are kept in ``runs/human``, in a folder named after the stimuli.
        reuse: Whether to read existing files.
        note: Called with a line of text before work begins.

    Raises:
        DownloadError: If weights or images are neither cached nor downloadable.
        ImportError: If weights come in a package that is not installed.
        ValueError: For an unknown name.
    """
    wanted = list(dict.fromkeys(protocols))
    found = _read_decisions(name, wanted, stimuli) if reuse else {}
    missing = [protocol for protocol in wanted if protocol not in found]
    if missing:
        found |= _decide(name, missing, stimuli, note)
    answers = [found[protocol] for protocol in wanted]
    check_paired(answers)
    return answers


def _own_folder(stimuli: Stimuli | None) -> Path:
    """Folder of decisions that are made here."""
    return Path("runs") / "human" / (stimuli.name if stimuli else CUE_CONFLICT)


def _file_name(name: str, protocol: str) -> str:
    return f"{name.replace('/', '-')}-{protocol}.csv"


def _read_decisions(
    name: str, protocols: Sequence[str], stimuli: Stimuli | None
) -> dict[str, Decisions]:
    """Existing decision files, by protocol."""
    folders = [_own_folder(stimuli)]
    if stimuli is None:
        folders += [folder / "human" for folder in measurement_folders()]
    found = {}
    for protocol in protocols:
        paths = [folder / _file_name(name, protocol) for folder in folders]
        if path := next((path for path in paths if path.exists()), None):
            found[protocol] = read_decisions(path)
    return found


def _decide(
    name: str, protocols: Sequence[str], stimuli: Stimuli | None, note: Note | None
) -> dict[str, Decisions]:
    """Run the network and save its decisions."""
    model = create_model(name, IMAGENET_CLASSES, pretrained=True)  # first, because it may fail
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    shown = stimuli or Stimuli(CUE_CONFLICT, load_stimuli(note))
    asked = [read_protocol(protocol) for protocol in protocols]
    made = decide(model, name.replace("/", "-"), shown, asked, note)
    for protocol, decisions in zip(protocols, made, strict=True):
        write_decisions(_own_folder(stimuli) / _file_name(name, protocol), decisions)
    return dict(zip(protocols, made, strict=True))


def study_votes(
    runs: Sequence[Run] | None = None,
    *,
    network: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    save: str | None = None,
) -> VotesStudy:
    """Compare runs with CIFAR-10 test predictions with people's votes.

    If the votes are not available, the record of an earlier study is read instead
    (``results/measurements/human-cifar10h.json``), and its first words say so.

    Args:
        runs: Finished runs; None for one of each recipe in ``results`` and ``runs``, here and one
            folder up.
        network: Whether the votes may be downloaded if they are not cached.
        resamples: Number of resamples of the images, for the intervals.
        seed: Seed of the resamples.
        save: Folder to keep the study's record in.
    """
    fitting, lines = fitting_runs(
        one_of_each_recipe(list_runs(*find_folders("results", "runs"))) if runs is None else runs
    )
    try:
        if not network and not (cache_dir() / VOTES).is_file():
            raise DownloadError(f"{VOTES} is not in the cache")
        votes = load_votes()
    except DownloadError:
        return read_votes_study(lines)
    compared = [
        compare_votes(
            label,
            answers.labels,
            answers.decisions,
            votes,
            resamples=resamples,
            seed=seed,
        )
        for label, (_, answers) in zip(
            label_observers([run for run, _ in fitting]), fitting, strict=True
        )
    ]
    study = VotesStudy("\n".join(lines), find_crowds(votes), compared)
    if save:
        write_votes_study(study, Path(save).expanduser())
    return study
