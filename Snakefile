# train -> analyse -> book. On a laptop: snakemake --cores all (make book does it).
# On a cluster: snakemake --executor slurm --jobs 5 --config profile=thesis
# Every job reads this file again on its own machine. So nothing here may depend on the machine, or
# the node that plans and the node that computes would speak of different runs.

import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path

from attnlib import escaping
from attnlib.config import TrainConfig, row_parameters
from attnlib.experiment import teacher_config
from attnlib.models.zoo import cached_weights

PROFILE = config.get("profile", "quick")
# Of the reference runs: their profile, and the data set's file, FILE.npz.
REFERENCE = config.get("reference_profile", "cpu-reference")
if "auto" in (PROFILE, REFERENCE):
    raise WorkflowError("the profile auto depends on the machine; give one by its name")
ON_GPU = ("colab", "thesis", "reference")  # profiles made for one
DATA = config.get("data")
# The tables of reference runs, each with its data set's file.
TABLES = {
    "pretraining": config.get("pretrain") or "PRETRAIN.npz",
    "reference": DATA or "DATA.npz",
    "showcase": DATA or "DATA.npz",
}
NAME = r"[\w.-]+"  # of a run
# What the core imports nothing of, so that a change there trains no network again.
ABOVE = {"explain", "compare", "cost", "human", "thesis", "explorer", "plotting.py", "commands"}
PACKAGE = sorted(map(str, Path("attnlib").rglob("*.py")))
CORE = [path for path in PACKAGE if path.split("/")[1] not in ABOVE]
CORE += ["attnlib/explain/attribution.py", "attnlib/explain/feature_maps.py"]  # of a record's maps
TEXTS = sorted(map(str, Path("attnlib").rglob("*.toml")))
BOOK = ["_config.yml", *sorted(map(str, Path("book").glob("*.*")))]
for files in ("_ext/attnbook/**/*.*", "_static/**/*.*", "figures/*.svg"):
    BOOK += sorted(str(path) for path in Path("book").glob(files) if path.suffix != ".pyc")
STAMP = ["book/_tools/stamp.py", "book/_ext/attnbook/stamps.py"]
# The notebooks beside train.ipynb, each a page of the book, and those that need no run.
ANALYSES = ["data", "reference", "errors", "cost", "features", "attention", "human", "between"]
ANALYSES += ["scoreboard"]
ALONE = ["data", "cost", "human"]
OFFICIAL = ["deit_t", "deit_b", "resnet18"]  # networks that make_official.py looks into
MEASUREMENTS = sorted(map(str, Path("results/measurements").rglob("*.*")))
# Kept weights, and pictures that come with attnlib.
KEPT_WEIGHTS = sorted(map(str, Path("results").glob("*/model.safetensors")))
PICTURES = sorted(map(str, [*Path("attnlib").glob("*/pictures/*"), *Path("results/thumbnails").glob("*")]))


TABLE = tomllib.loads(Path("notebooks/experiments.toml").read_text())


def experiments():
    """Parameters of each of the thesis's runs by its name: a row with one of its seeds."""
    runs = {}
    for row in TABLE["thesis"].values():
        for seed in row["seeds"]:
            params = {**row, "profile": PROFILE, "seed": seed}
            params["pretrained"] = row["pretrained"] and PROFILE != "quick"
            del params["seeds"]
            runs[TrainConfig.from_params(**params).name] = params
    return runs


def references():
    """Parameters of each reference run by its name; a row that it names becomes that row's run.

    It is the run with the same seed, so that a seed repeats the whole path, or else its first.
    Also the runs' names by row, as TABLE.ROW, and seed.
    """
    runs, names = {}, {}
    for table, data in TABLES.items():
        for key, row in TABLE[table].items():
            for seed in row["seeds"]:
                params = row_parameters(row, REFERENCE) | {"seed": seed, "data_path": data}
                for role in ("teacher", "initial_checkpoint"):
                    if wanted := params.get(role):
                        others = names[wanted if "." in wanted else f"{table}.{wanted}"]
                        params[role] = others.get(seed) or next(iter(others.values()))
                name = TrainConfig.from_params(**params).name
                runs[name] = params
                names.setdefault(f"{table}.{key}", {})[seed] = name
    return runs, names


def kept(name):
    return f"results/{name}/record.json"


def check_name():
    """Refuse a data file under another name: what is kept would be trained again, beside it."""
    files = set()
    for path in Path("results").glob("*/config.json"):
        with suppress(ValueError, LookupError, TypeError):  # make_pages names one that is torn
            kept = json.loads(path.read_text())
            files |= {kept["data_path"]} if kept["profile"] == REFERENCE else set()
    pretrain = config.get("pretrain") if len(files) > 1 else None  # one file: nothing is pretrained
    for given in filter(None, (DATA, pretrain)):
        if files and Path(given).name not in files:
            raise WorkflowError(
                f"results/ holds runs of the profile {REFERENCE} on {', '.join(sorted(files))}, and "
                f"the file's name is part of a run's; got {given}. If these are the same images, "
                "give the file that name; if not, move those runs out of results/ first."
            )


check_name()
RUNS = experiments()
EXECUTED = expand("runs/{name}/train.ipynb", name=RUNS)
REFERENCES, NAMES = references()
# Whose weights are kept: what the book looks into.
WEIGHTED = ("showcase.efficientnet_lite0", "showcase.deit_t")
WITH_WEIGHTS = {name for row in WEIGHTED for name in NAMES[row].values()}
# Trained where a missing run starts from it, and not kept: its 200 classes are in no comparison.
STARTS = {name for row in NAMES if row.startswith("pretraining.") for name in NAMES[row].values()}
MISSING = [name for name in REFERENCES if name not in STARTS and not Path(kept(name)).exists()]
PARAMETERS = REFERENCES | RUNS
# Records that are there beside the table's: kept ones, and runs that the reader made.
RECORDS = sorted(map(str, [*Path("results").glob("*/record.json"), *Path("runs").glob("*/record.json")]))
# No run is called as a folder with spaces or brackets in its name, such as a file manager's copy.
RECORDS = [path for path in RECORDS if re.fullmatch(f"r[a-z]+/{NAME}/record.json", path)]
RECORDS = [path for path in RECORDS if path.split("/")[1] not in RUNS]
CHAPTER = next(f"runs/{name}/train.ipynb" for name, row in RUNS.items() if "teacher" in row)


def before(wildcards):
    """The executed notebooks of the runs that this one learns or starts from.

    A run whose weights are kept is there already.
    """
    config = TrainConfig.from_params(**PARAMETERS[wildcards.name])
    names = [name for name in (config.teacher, config.initial_checkpoint) if name in PARAMETERS]
    if config.teacher and config.teacher not in PARAMETERS:
        names.append(teacher_config(config).name)
    made = [name for name in names if f"results/{name}/model.safetensors" not in KEPT_WEIGHTS]
    return [f"runs/{name}/train.ipynb" for name in made]


def threads_of(wildcards):
    """Small models share a CPU best one to a core; a large one wants the machine to itself."""
    profile = PARAMETERS[wildcards.name]["profile"]
    return 1 if profile in ("quick", "cpu-reference") else workflow.cores


def gpus_of(wildcards):
    """What a scheduler is asked for: one GPU where the profile wants one."""
    return int(PARAMETERS[wildcards.name]["profile"] in ON_GPU)


def options(wildcards):
    values = PARAMETERS[wildcards.name].items()
    return " ".join(f"-p {name} {escaping.shell(value)}" for name, value in values)


wildcard_constraints:
    name=NAME,
    notebook="|".join(ANALYSES),


# Only the executed notebook is an output: the run's folder keeps what an interruption left, so that
# the next call goes on from there, and a finished run is read, not trained again.
rule train:
    input:
        CORE,
        STAMP,
        before,
        notebook="notebooks/train.ipynb",
    output:
        "runs/{name}/train.ipynb",
    params:
        options=options,
    log:
        "runs/{name}/train.log",
    threads: threads_of
    resources:
        gpu=gpus_of,
    shell:
        "(papermill --no-progress-bar {input.notebook:q} {output:q} {params.options} < /dev/null"
        " && python book/_tools/stamp.py --source {input.notebook:q} {output:q} {input:q}"
        " runs/{wildcards.name:q}/record.json) > {log:q} 2>&1 || (tail -n 30 {log:q}; exit 1)"


rule chapter:
    input:
        CHAPTER,
    output:
        "book/runs/train.ipynb",
    shell:
        "cp {input:q} {output:q}"


def given(wildcards):
    """The run that attention and features look into where no weights are kept in results/.

    Not whichever in runs/ is the newest.
    """
    looks = wildcards.notebook in ("attention", "features")
    return f"-p run {escaping.shell(CHAPTER.split('/')[1])}" if looks and not KEPT_WEIGHTS else ""


# Some notebooks ask what the runs have left; the others need none.
rule analysis:
    input:
        PACKAGE,
        TEXTS,
        MEASUREMENTS,
        KEPT_WEIGHTS,
        PICTURES,
        STAMP,
        "notebooks/experiments.toml",
        lambda wildcards: [] if wildcards.notebook in ALONE else [*EXECUTED, *RECORDS],
        notebook="notebooks/{notebook}.ipynb",
    output:
        "book/runs/{notebook}.ipynb",
    params:
        given=given,
    threads: lambda wildcards: workflow.cores if wildcards.notebook == "cost" else 1  # it times
    log:
        "runs/{notebook}.log",
    shell:
        "(papermill --no-progress-bar {input.notebook:q} {output:q} {params.given} < /dev/null"
        " && python book/_tools/stamp.py --source {input.notebook:q} {output:q} {input:q})"
        " > {log:q} 2>&1 || (tail -n 30 {log:q}; exit 1)"


def cached(wildcards):
    """Which weights of the official networks are in the cache: when others are, the pages change."""
    return [name for name in OFFICIAL if cached_weights(name).is_file()]


# Pages about networks whose weights are large: each is made where they are at hand, else left out.
rule official:
    input:
        PACKAGE,
        TEXTS,
        PICTURES,
        STAMP,
        "notebooks/attention.ipynb",
        "notebooks/features.ipynb",
        "notebooks/human.ipynb",
        tool="book/_tools/make_official.py",
    output:
        "book/runs/official.md",
    params:
        cached=cached,
    threads: lambda wildcards: workflow.cores if cached(wildcards) else 1
    log:
        "runs/official.log",
    shell:
        "(python {input.tool:q} --inputs {input:q} && touch {output:q}) > {log:q} 2>&1"
        " || (tail -n 30 {log:q}; exit 1)"


rule pages:
    input:
        EXECUTED,
        RECORDS,
        "book/_tools/make_pages.py",
        "book/_tools/page_parts.py",
    output:
        "book/runs/index.md",
    shell:
        "python book/_tools/make_pages.py --runs runs --results results --out book/runs"
        " && touch {output:q}"  # also where only a run's own page has changed


rule measurements:
    input:
        MEASUREMENTS,
        "book/_tools/make_measurements.py",
        "book/_tools/page_parts.py",
    output:
        "book/runs/measurements.md",
    shell:
        "python book/_tools/make_measurements.py --out book/runs && touch {output:q}"


rule errata:
    input:
        PACKAGE,
        "attnlib/thesis/errata.toml",
        "attnlib/thesis/thesis.toml",
        "book/_tools/make_errata.py",
        "book/_tools/page_parts.py",
    output:
        "book/runs/errata.md",
    shell:
        "python book/_tools/make_errata.py --out book/runs"


rule book:
    default_target: True
    input:
        BOOK,
        rules.chapter.output,
        expand("book/runs/{notebook}.ipynb", notebook=ANALYSES),
        rules.pages.output,
        rules.measurements.output,
        rules.errata.output,
        rules.official.output,
    output:
        "_build/html/index.html",
    log:
        "runs/book.log",
    shell:
        "jupyter-book build book --config _config.yml --path-output . --all -W -n --keep-going > {log:q} 2>&1"
        " || (tail -n 40 {log:q}; exit 1)"


def keep_weights(wildcards):
    """The command that keeps a network's weights as well."""
    values = PARAMETERS[wildcards.name]
    if wildcards.name not in WITH_WEIGHTS:
        return ""
    words = f"runs/{wildcards.name}", values["data_path"]
    return f" && python book/_tools/keep_weights.py {' '.join(map(escaping.shell, words))}"


# `make reference DATA=FILE.npz`: the runs that results/ lacks. What is kept has no pixels, and
# weights only of a few.
rule keep:
    input:
        "runs/{name}/train.ipynb",
    output:
        kept("{name}"),
    wildcard_constraints:
        name="|".join(MISSING) or "none",  # what is kept is never made again
    params:
        weights=keep_weights,
    shell:
        "(cd runs/{wildcards.name:q} && cp config.json history.jsonl predictions.npz attention.npz"
        " features.npz record.json ../../results/{wildcards.name:q}/){params.weights}"


rule reference:
    input:
        [kept(name) for name in MISSING],
