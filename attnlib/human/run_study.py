"""Networks beside people (section 8.2): one study, from decisions or from its record.

``run_study`` takes people's and networks' published decisions, adds networks that it runs itself,
and measures all of them at once. Where the published decisions can't be had, it reads the record
that an earlier study has left, and says so.
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
from attnlib.records.find import find_folders, list_runs
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
    """What the reader may choose."""

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
        """The networks by name, each once."""
        return list(dict.fromkeys(word.strip() for word in self.models.split(",") if word.strip()))

    @property
    def are_default(self) -> bool:
        """Whether the record can show what is asked for."""
        asked = (self.models, self.protocol, self.data_path, self.decisions_path, self.save)
        return asked == (NETWORK, "rgb-mean", None, None, None)


def run_study(params: StudyParams, note: Note | None = None) -> Study:
    """Decide, measure and judge; or read the record where published decisions can't be had.

    Args:
        params: What to do.
        note: Called with a line of text when something takes time or is left out.

    Raises:
        DownloadError: If files are missing without which nothing, or not what was asked for, can
            be shown; names them.
        ValueError: If files are malformed or don't pair.
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
    own: list[Decisions] = []
    several = not (stimuli or params.decisions_path)  # the first network, by several protocols
    networks = params.networks if stimuli or several else []  # else there are no images to show
    if not networks and params.models not in ("", NETWORK):
        tell(f"{params.models} left out: to show it the images, data_path must name their folder.")
    for place, name in enumerate(networks):
        extra = PROTOCOLS if several and place == 0 else ()
        try:
            own += ask(name, [params.protocol, *extra], stimuli, params.reuse, tell)
        except (DownloadError, ImportError) as error:
            if params.models != NETWORK:  # asked for, and not just the default
                raise
            tell(f"{name} is left out: {str(error).splitlines()[0]}")
    study = conclude(
        measure_agreement([*published, *own], resamples=params.resamples, seed=params.seed),
        told=_tell_sources(published, own, params.resamples),
        stimuli=stimuli.name if stimuli else Path(params.decisions_path or CUE_CONFLICT).name,
        network=own[0].system.removesuffix(f"-{params.protocol}") if own and several else "",
    )
    if params.save:
        folder = Path(params.save).expanduser()
        write_study(study, folder)
        for one in own:
            write_decisions(folder / "human" / f"{one.system}.csv", one)
    return study


def figure_systems(study: Study, params: StudyParams) -> list[Measured]:
    """Systems of the thesis's figures, and the reader's; all networks where those are not there."""
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


def _restrict(systems: list[Decisions], stimuli: Stimuli, tell: Note) -> list[Decisions]:
    """People's and networks' decisions on the reader's own stimuli, if they have all of these."""
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
    """A network's decisions by each protocol, read where they are written, else made.

    Args:
        name: A model of ``create_model`` with ImageNet's 1000 classes.
        protocols: Names such as ``rgb-mean``; one that is named twice is answered once.
        stimuli: None for the published ones, for which decisions come with the project. Others'
            are kept in ``runs/human``, in a folder that names the stimuli.
        reuse: Whether to read what is there.
        note: Called with a line of text before work begins.

    Raises:
        DownloadError: If weights or images are neither cached nor within reach.
        ImportError: If weights come in a package that is not installed.
        ValueError: For an unknown name.
    """
    label, kind = name.replace("/", "-"), stimuli.name if stimuli else CUE_CONFLICT
    own = Path("runs") / "human" / kind
    kept = [own] if stimuli else [own, *(place / "human" for place in measurement_folders())]
    found: dict[str, Decisions] = {}
    for protocol in dict.fromkeys(protocols):
        paths = [folder / f"{label}-{protocol}.csv" for folder in kept]
        path = next((path for path in paths if reuse and path.exists()), None)
        if path:
            found[protocol] = read_decisions(path)
    missing = [protocol for protocol in dict.fromkeys(protocols) if protocol not in found]
    if missing:
        model = create_model(name, IMAGENET_CLASSES, pretrained=True)  # first: it may fail
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        stimuli = stimuli or Stimuli(CUE_CONFLICT, load_stimuli(note))
        made = decide(model, label, stimuli, [read_protocol(word) for word in missing], note)
        for protocol, decisions in zip(missing, made, strict=True):
            write_decisions(own / f"{label}-{protocol}.csv", decisions)
            found[protocol] = decisions
    answers = [found[protocol] for protocol in dict.fromkeys(protocols)]
    check_paired(answers)
    return answers


def study_votes(
    runs: Sequence[Run] | None = None,
    *,
    network: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    save: str | None = None,
) -> VotesStudy:
    """Set every run with CIFAR-10 test predictions beside people's votes.

    Where the votes can't be had, the record ``results/measurements/human-cifar10h.json`` of an
    earlier study is read, and the first words say so.

    Args:
        runs: Finished runs; None for all of ``results`` and ``runs``, here and one folder up.
        network: Whether the votes may be downloaded if they are not cached.
        resamples: Of the images, for the intervals.
        seed: Of the resamples.
        save: Folder to keep the study's record in.
    """
    fitting, lines = fitting_runs(
        list_runs(*find_folders("results", "runs")) if runs is None else runs
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
