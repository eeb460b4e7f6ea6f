"""Each command as a user types it: what it prints, what it writes, with which code it ends."""

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_runs import child_environment, small_config

import attnlib as al
from attnlib.__main__ import main
from attnlib.commands.parser import ADDERS, make_parser
from attnlib.records.network import class_names_of, readable_names

SMALL = "import sys, small_runs; from attnlib.__main__ import main; sys.exit(main())"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[al.Run]:
    """Two small finished runs that differ in the seed, in one folder, and a damaged one."""
    folder = tmp_path_factory.mktemp("runs")
    configs = [small_config(folder, epochs=2, seed=seed, warmup_epochs=0) for seed in (0, 1)]
    found = [al.run_experiment(config) for config in configs]
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text("{}")
    return found


@pytest.fixture
def here(runs, tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in, with the runs in ``runs`` and photographs in ``photos``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(runs[0].path.parent)
    split = al.load_dataset("digits").test
    (tmp_path / "photos" / "below").mkdir(parents=True)
    for place in range(4):
        folder = tmp_path / "photos" / ("below" if place > 1 else "")
        Image.fromarray(split.images[place]).save(folder / f"{place}.png")
    return tmp_path


def said(capsys, *words: str, code: int = 0) -> str:
    """What ``attnlib`` prints on these words; it must end with ``code``."""
    capsys.readouterr()
    assert main(words) == code
    return capsys.readouterr().out


def in_json(capsys, *words: str, code: int = 0):
    return json.loads(said(capsys, *words, "--json", code=code))


def in_csv(capsys, *words: str, code: int = 0) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(said(capsys, *words, "--csv", code=code))))


def typed(words: list[str], here: Path, given: bytes | None = None):
    """``attnlib`` in a process of its own, in the folder ``here``."""
    command = [sys.executable, "-c", SMALL, *words]
    paths = [str(Path(al.__file__).parents[1]), child_environment()["PYTHONPATH"]]
    environment = child_environment() | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(command, cwd=here, input=given, capture_output=True, env=environment)


# ---- all commands


@pytest.mark.parametrize("words", [["--help"], ["models", "--help"], ["completion", "bash"]])
def test_help_and_completion_answer_without_importing_anything_large(words):
    loaded = loaded_by(words, ".")
    assert not loaded & {"torch", "torchvision", "timm", "numpy", "scipy", "pandas", "sklearn"}


@pytest.mark.parametrize("command", ["runs", "show", "card", "show no_such_run"])
def test_reading_records_does_not_wait_for_pytorch(command, here, runs):
    """Nor for what else takes seconds to import."""
    words = command.split()
    loaded = loaded_by(words + [runs[0].name] * (words in (["show"], ["card"])), here)
    assert "attnlib.records.find" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "scipy.stats", "pandas", "sklearn"}


def loaded_by(words: list[str], here: str | Path) -> set[str]:
    """The modules that a command imports."""
    script = (
        "import sys\nfrom attnlib.__main__ import main\ntry:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\nprint('loaded:', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True,
        cwd=here, env=child_environment() | {"PYTHONPATH": str(Path(al.__file__).parents[1])},
    )  # fmt: skip
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "attnlib.commands.parser" in loaded
    return loaded


def commands_of(parser) -> dict:
    return next(a for a in parser._actions if a.dest == "command").choices


def test_help_of_each_command_has_an_example_that_its_parser_accepts(capsys):
    commands = commands_of(make_parser())
    assert len(commands) == len(ADDERS)
    for name, parser in commands.items():
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        example = text.rpartition("example:\n  ")[2].splitlines()[0].partition("    ")[0]
        assert f"attnlib {name}" in example
        words = example.rpartition(f"attnlib {name}")[2].partition(">")[0].partition("|")[0]
        parser.parse_args(words.replace("bash)", "bash").split())


def test_a_command_that_does_not_exist_is_refused_with_those_that_do(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["pedict"])
    assert ended.value.code == 2 and "predict" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["show"], ["card"], ["predict"], ["export"], ["evaluate"]])
def test_a_run_that_does_not_exist_is_named_with_code_2(words, here, capsys):
    more = ["photos"] if words == ["predict"] else []
    assert main([*words, "no_such_run", *more]) == 2
    assert "error: run: no finished run 'no_such_run'. Finished runs: " in capsys.readouterr().err


def test_a_run_is_known_by_how_its_name_begins_or_ends(here, runs, capsys):
    one, other = (run.name for run in runs)
    digest = one.rpartition("-")[2]
    beginning = next(one[:n] for n in range(1, len(one)) if not other.startswith(one[:n]))
    for part in (digest, beginning, one, str(runs[0].path)):
        assert in_json(capsys, "show", part)["name"] == one
    assert main(["show", beginning[:-1]]) == 2
    assert f"may be any of {', '.join(sorted([one, other]))}." in capsys.readouterr().err
    found = in_json(capsys, "compare", digest, other.rpartition("-")[2])
    assert (found["a"], found["b"]) == (one, other)


def test_what_a_run_knows_itself_is_refused(here, runs, capsys):
    """It would be left aside without a word."""
    for words in (["--model", "deit_t"], ["--img_size", "64"]):
        for source in (runs[0].name, str(runs[0].path / "model.safetensors")):
            assert main(["predict", source, "photos", *words]) == 2
            assert "has its own; leave" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["card", "--output"], ["export", "--output"], ["evaluate", "--confusion"]]
)
def test_a_file_that_cannot_be_there_is_refused_before_the_work(words, here, runs, capsys):
    for file, told in (("nowhere/a", "there is no folder nowhere"), ("photos", "is a folder")):
        with pytest.raises(SystemExit) as ended:
            main([words[0], runs[0].name, words[1], file])
        assert ended.value.code == 2 and told in capsys.readouterr().err


def test_running_out_of_memory_has_its_own_code(here, runs, capsys, monkeypatch):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("attnlib.training.predict.predict", full)
    assert main(["evaluate", runs[0].name]) == 4
    assert "a smaller batch_size" in capsys.readouterr().err


def test_colours_are_on_a_terminal_only(monkeypatch):
    from attnlib.commands.output import painted

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert painted("x", "bold", Terminal()) == "\033[1mx\033[0m"
    assert painted("x", "bold", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted("x", "bold", Terminal()) == "x"


def test_a_pipe_that_is_closed_early_leaves_no_trace(here):
    command = [sys.executable, "-c", SMALL, "models"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment()
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141 and errors == b""


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_options_values_and_where_runs_are(shell, capsys):
    script = said(capsys, "completion", shell)
    for word in ("predict", "--initial_checkpoint", "cpu-reference", "torchscript", "record.json"):
        assert word in script


def test_bash_completes_a_command_a_value_and_a_run(here, capsys, runs):
    (here / "complete.bash").write_text(said(capsys, "completion", "bash"))

    def completed(*words: str) -> list[str]:
        script = (
            'source complete.bash; COMP_WORDS=(attnlib "$@"); COMP_CWORD=$#; '
            'COMP_LINE="attnlib $*"; COMP_POINT=${#COMP_LINE}; '
            '_shtab_attnlib attnlib "${@: -1}" x; printf \'%s\\n\' "${COMPREPLY[@]}"'
        )
        command = ["bash", "-c", script, "bash", *words]
        return subprocess.run(command, cwd=here, capture_output=True, text=True).stdout.split()

    assert "evaluate" in completed("eval")
    assert "hard" in completed("train", "--distillation", "h")
    assert runs[0].name in completed("show", runs[0].name[:6])


# ---- train


def test_parameters_are_given_as_options_or_as_papermill_has_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["train", "--model", "timm/small_vit", "-p", "profile", "quick", "--limit", "64"]
    assert main([*common, "--epochs", "1", "--device", "cpu", "--runs_dir", "kept"]) == 0
    (run,) = al.list_runs(tmp_path / "kept")
    assert (run.config["limit"], run.config["epochs"]) == (64, 1)


def test_a_parameter_given_in_both_ways_is_refused(capsys):
    assert main(["train", "--epochs", "1", "-p", "epochs", "2"]) == 2
    assert "epochs: given as '2' and as '1'" in capsys.readouterr().err


def test_a_wrong_value_of_an_option_is_told_with_the_valid_ones(capsys):
    assert main(["train", "--distillation", "hrad", "--epochs", "x"]) == 2
    errors = capsys.readouterr().err
    assert "Did you mean 'hard'?" in errors and "epochs: expected a whole number" in errors


# ---- predict


def expected_classes(run: al.Run, count: int) -> list[str]:
    split = al.load_dataset("digits").test.subset(range(count))
    return [run.record.dataset.classes[d] for d in al.predict(run.load_model(), split).decisions]


def test_predict_takes_files_folders_and_patterns_and_each_image_once(here, runs, capsys):
    name = runs[0].name
    rows = in_csv(capsys, "predict", name, "photos/1.png", "photos", "photos/*/*.png")
    assert [row["file"] for row in rows] == [
        "photos/1.png", "photos/0.png", "photos/below/2.png", "photos/below/3.png",
    ]  # fmt: skip
    by_file = {Path(row["file"]).stem: row["class_1"] for row in rows}
    assert [by_file[str(place)] for place in range(4)] == expected_classes(runs[0], 4)


def test_predict_gives_the_top_classes_with_probabilities_that_are_the_models(here, runs, capsys):
    (row,) = in_json(capsys, "predict", runs[0].name, "photos/0.png", "--top", "3")
    split = al.load_dataset("digits").test.subset([0])
    logits = torch.from_numpy(al.predict(runs[0].load_model(), split).logits)
    shares, places = logits.softmax(dim=1)[0].topk(3)
    assert [row[f"class_{n}"] for n in (1, 2, 3)] == [str(p) for p in places.tolist()]
    found = [row[f"probability_{n}"] for n in (1, 2, 3)]
    assert found == pytest.approx(shares.tolist(), abs=0.01)


def test_classes_of_imagenet_are_words_and_no_two_are_alike():
    names = readable_names(class_names_of(1000))
    assert names[281] == "tabby" and names[:3] == ("tench", "goldfish", "great white shark")
    assert len(set(names)) == 1000 and "crane (n02012849)" in names
    assert readable_names(["n01440764", "n00000000"]) == ("tench", "n00000000")
    assert readable_names(["cat", "n01440764"]) == ("cat", "n01440764")


def test_predict_never_gives_more_classes_than_there_are(here, runs, capsys):
    (row,) = in_json(capsys, "predict", runs[0].name, "photos/0.png", "--top", "99")
    shares = [value for key, value in row.items() if key.startswith("probability")]
    assert len(shares) == 10 and sum(shares) == pytest.approx(1, abs=1e-4)


def test_unreadable_files_are_named_and_passed_over_with_code_1(here, runs, capsys):
    (here / "photos" / "bad.png").write_bytes(b"not an image")
    words = ["predict", runs[0].name, "photos", "missing.png", "--csv"]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1 + 4
    assert main(["predict", runs[0].name, "missing.png"]) == 1
    assert capsys.readouterr().out == ""
    assert "passed over: photos/bad.png (12 bytes) is no image" in printed.err
    assert "passed over: missing.png: No such" in printed.err


def test_a_folder_without_images_is_a_wrong_argument(here, runs, capsys):
    (here / "empty").mkdir()
    assert main(["predict", runs[0].name, "empty"]) == 2
    assert "no image in empty" in capsys.readouterr().err


def test_predict_reads_an_image_from_a_pipe(here, runs):
    image = (here / "photos" / "0.png").read_bytes()
    done = typed(["predict", runs[0].name, "-", "--json"], here, image)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert [row["file"], row["class_1"]] == ["standard input", *expected_classes(runs[0], 1)]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\0"])
def test_predict_reads_paths_from_a_pipe(here, runs, capsys, monkeypatch, separator):
    files = ["photos/0.png", "photos/below/2.png"]
    given = io.TextIOWrapper(io.BytesIO("".join(f + separator for f in files).encode()))
    monkeypatch.setattr("sys.stdin", given)
    rows = in_json(capsys, "predict", runs[0].name, "-", "--batch_size", "1")
    assert [row["file"] for row in rows] == files


def test_a_name_cannot_colour_the_terminal(here, runs, capsys):
    (here / "photos" / "0.png").rename(here / "photos" / "\033[31mred.png")
    assert "\033" not in said(capsys, "predict", runs[0].name, "photos")


# ---- evaluate


def test_evaluate_finds_the_records_own_scores_again(here, runs, capsys):
    found = in_json(capsys, "evaluate", runs[0].name)
    metrics = runs[0].record.metrics
    assert found["accuracy"]["value"] == metrics.test_accuracy.value
    for name, recorded, rounding in (
        ("accuracy_top5", metrics.test_accuracy_top5, 0.003),  # one image
        ("calibration_error", metrics.test_calibration_error, 0.02),  # images change bins
        ("brier_score", metrics.test_brier_score, 0.001),
    ):  # the record's logits are rounded to float16
        assert found[name]["value"] == pytest.approx(recorded.value, abs=rounding), name
    assert found["cross_entropy"] == pytest.approx(metrics.test_loss, abs=2e-3)
    assert sum(row["images"] for row in found["per_class"]) == 359
    text = said(capsys, "evaluate", runs[0].name)
    assert "calibration error" in text and f"{metrics.test_accuracy.value:.2%} [" in text


def test_evaluate_writes_the_confusion_matrix_as_csv(here, runs, capsys):
    said(capsys, "evaluate", runs[0].name, "--confusion", "confusion.csv")
    rows = list(csv.reader((here / "confusion.csv").read_text("utf-8").splitlines()))
    assert rows[0] == ["true class", *"0123456789"] and [row[0] for row in rows[1:]] == rows[0][1:]
    counts = np.array([[int(count) for count in row[1:]] for row in rows[1:]])
    right = runs[0].record.metrics.test_accuracy.value * 359
    assert counts.sum() == 359 and np.trace(counts) == round(right)


def other_digits(path: Path, names: list[str]) -> np.ndarray:
    """Digits 0 to 2 as an archive whose classes have other names; the test labels."""
    digits = al.load_dataset("digits")
    arrays = {}
    for part, split in (("train", digits.train), ("test", digits.test)):
        chosen = split.subset(np.flatnonzero(split.labels < 3))
        arrays |= {f"{part}_images": chosen.images, f"{part}_labels": chosen.labels}
    np.savez(path, class_names=np.array(names), **arrays)
    return arrays["test_labels"]


def test_evaluate_maps_the_names_of_another_data_set_and_leaves_out_unknown_classes(
    here, runs, capsys
):
    labels = other_digits(here / "other.npz", ["null", "1", "unknown"])
    words = ["evaluate", runs[0].name, "--data", "other.npz", "--classes", "null=0"]
    found = in_json(capsys, *words)
    own = in_json(capsys, "evaluate", runs[0].name)["per_class"]
    assert found["per_class"] == own[:2]
    assert found["left_out"] == {"unknown": int((labels == 2).sum())}


@pytest.mark.parametrize(
    ("names", "given", "told"),
    [
        (["null", "eins", "zwei"], [], "say which belong together, as in null=0"),
        (["null", "1", "2"], ["--classes", "null=zero"], "the network has no class 'zero'"),
        (["null", "1", "2"], ["--classes", "nul=0"], "Did you mean 'null'?"),
        (["null", "1", "2"], ["--classes", "null"], "expected THEIRS=OURS"),
    ],
)
def test_classes_that_cannot_be_matched_are_refused(here, runs, capsys, names, given, told):
    other_digits(here / "other.npz", names)
    assert main(["evaluate", runs[0].name, "--data", "other.npz", *given]) == 2
    assert told in capsys.readouterr().err


def test_evaluate_takes_a_folder_with_one_folder_a_class(here, runs, capsys):
    split = al.load_dataset("digits").test.subset(range(6))
    for place, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        folder = here / "mine" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{place}.png")
    found = in_json(capsys, "evaluate", runs[0].name, "--data", "mine")
    right = al.predict(runs[0].load_model(), split).correct
    assert found["accuracy"]["n"] == 6 and found["accuracy"]["value"] == right.mean()
    assert main(["evaluate", runs[0].name, "--data", "mine", "--split", "val"]) == 2
    assert "mine has no val images" in capsys.readouterr().err
    assert main(["evaluate", runs[0].name, "--data", "photos"]) == 2
    assert "is no image in a class's own folder" in capsys.readouterr().err


def test_evaluate_takes_the_averaged_weights(here, runs, capsys):
    found = in_json(capsys, "evaluate", runs[0].name, "--average")
    assert found["accuracy"]["value"] == runs[0].record.metrics.test_accuracy_ema.value


@pytest.mark.parametrize(
    ("file", "model", "wrap"),
    [
        ("deit_tiny_patch16_224-a1311bcf.pth", "deit_tiny_patch16_224", True),
        ("deit_tiny_distilled_patch16_224-b40b3cf7.pth", "deit_tiny_distilled_patch16_224", True),
        ("resnet10t.pth", "resnet10t", False),
    ],
)
def test_evaluate_takes_checkpoints_of_timm_and_of_the_official_deit(
    here, capsys, monkeypatch, file, model, wrap
):
    """The network is known by the file's name, and answers as timm's does."""
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model(model, num_classes=3).eval()
    state = theirs.state_dict()
    torch.save({"model": state} if wrap else state, here / file)
    network = al.load_network(here / file)
    images = torch.rand(2, 3, network.img_size, network.img_size)
    config = timm.get_pretrained_cfg(model)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    with torch.inference_mode():
        torch.testing.assert_close(network.model(images), theirs((images - mean) / std))
    other_digits(here / "few.npz", ["0", "1", "2"])
    found = in_json(capsys, "evaluate", file, "--data", "few.npz", "--split", "test")
    assert found["run"] is None and found["network"].endswith(f"from {file}")


def test_weights_of_a_file_are_exported_to_one_that_is_read_again(here):
    torch.manual_seed(0)
    torch.save(al.create_model("resnet18", 3).state_dict(), here / "resnet18.pth")
    first = al.load_network(here / "resnet18.pth")
    al.export_network(first, str(here / "exported.safetensors"), "safetensors")
    again = al.load_network(here / "exported.safetensors")  # its name says nothing
    images = torch.rand(2, 3, first.img_size, first.img_size)
    with torch.inference_mode():
        torch.testing.assert_close(again.model(images), first.model(images))
    assert again.class_names == first.class_names


def test_a_file_of_an_unknown_model_asks_for_its_name(here, capsys):
    torch.save({"weight": torch.zeros(1)}, here / "mine.pth")
    assert main(["evaluate", "mine.pth", "--data", "digits"]) == 2
    assert "model: mine.pth is not named after a model; say which it is" in capsys.readouterr().err
    assert main(["evaluate", "mine.pth", "--data", "digits", "--model", "deit_t"]) == 2
    assert "these weights are of another model" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--model", "resnet18"], ["--img_size", "64"]], ids=" ".join)
def test_a_run_and_an_exported_file_say_themselves_what_they_are(here, runs, capsys, option):
    assert (
        main(["export", runs[0].name, "--format", "safetensors", "--output", "a.safetensors"]) == 0
    )
    for source in (runs[0].name, str(runs[0].weights_path), "a.safetensors"):
        assert main(["evaluate", source, "--data", "digits", *option]) == 2
        name = option[0].removeprefix("--")
        assert f"and has its own; leave {name} out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("[" * 100_000, "not JSON"),
        ("[1]", "not an object of JSON"),
        ("{}", "lacks the names of its classes"),
        ('{"classes": [1], "title": "a"}', "lacks the names of its classes"),
        ('{"classes": ["a"]}', "lacks a title"),
        ('{"classes": ["a"], "title": "a"}', "not an object of JSON"),
        ('{"classes": ["a"], "title": "a", "config": {}}', "lacks model"),
        ('{"classes": ["a"], "title": "a", "built": {"name": "deit_t"}}', "built: expected"),
    ],
    ids=range(8),
)
def test_a_file_that_says_odd_things_of_itself_is_named(here, capsys, about, said):
    save_file({"weight": torch.zeros(1)}, here / "odd.safetensors", {"attnlib": about})
    assert main(["evaluate", "odd.safetensors", "--data", "digits"]) == 2
    told = capsys.readouterr().err
    assert "odd.safetensors" in told and said in told


def test_a_file_asks_for_data(here, runs, capsys):
    assert (
        main(["export", runs[0].name, "--format", "safetensors", "--output", "a.safetensors"]) == 0
    )
    assert main(["evaluate", "a.safetensors"]) == 2
    assert "give --data" in capsys.readouterr().err


# ---- runs, show, compare, card


def test_runs_are_listed_sorted_filtered_and_damaged_ones_named(here, runs, capsys, monkeypatch):
    monkeypatch.setattr("attnlib.records.find.PACKAGE", here)  # no kept runs of this checkout
    assert main(["runs", "--sort", "accuracy", "--reverse", "--json"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    shares = [row["accuracy"] for row in rows]
    assert {row["name"] for row in rows} == {run.name for run in runs}
    assert shares == sorted(shares, reverse=True)
    assert "left out: runs/broken: " in printed.err
    (row,) = in_json(capsys, "runs", "-p", "seed", "1")
    assert row["name"] == runs[1].name
    assert in_json(capsys, "runs", "-p", "seed", "7") == []
    assert runs[0].name in said(capsys, "runs")


def test_runs_refuses_a_parameter_that_does_not_exist(here, capsys):
    assert main(["runs", "-p", "sed", "1"]) == 2
    assert "Did you mean 'seed'?" in capsys.readouterr().err


def test_show_tells_all_scores_and_that_a_file_is_damaged(here, runs, capsys, tmp_path):
    text = said(capsys, "show", runs[0].name)
    for word in ("test accuracy", "averaged weights", "Brier score", "best epoch", "papermill"):
        assert word in text
    values = in_json(capsys, "show", runs[0].name)
    assert values["metrics"]["best_epoch_ema"] in (1, 2) and len(values["history"]) == 2
    import shutil

    copy = Path(shutil.copytree(runs[0].path, tmp_path / "copied" / runs[0].name))
    (copy / "predictions.npz").write_bytes(b"other")
    assert main(["show", str(copy)]) == 2
    assert "damaged: " in capsys.readouterr().err


def test_compare_is_the_notebooks_paired_test(here, runs, capsys):
    from attnlib.stats.intervals import mcnemar

    found = in_json(capsys, "compare", runs[0].name, str(runs[1].path))
    a, b = (run.arrays("predictions") for run in runs)
    right = [arrays["logits"].argmax(axis=1) == arrays["labels"] for arrays in (a, b)]
    only_a, only_b = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    assert (found["only_a"], found["only_b"]) == (only_a, only_b)
    assert found["p"] == mcnemar(only_a, only_b)
    assert found["difference"] == pytest.approx((only_a - only_b) / 359)
    assert len(found["per_class"]) == 10
    assert "p (McNemar)" in said(capsys, "compare", runs[0].name, runs[1].name)


def test_a_run_is_not_compared_with_itself(here, runs, capsys):
    assert main(["compare", runs[0].name, str(runs[0].path)]) == 2
    assert "two different runs" in capsys.readouterr().err


def test_card_tells_what_the_record_does(here, runs, capsys):
    text = said(capsys, "card", runs[0].name)
    metrics = runs[0].record.metrics
    for words in (
        f"| accuracy | {metrics.test_accuracy.value:.2%} |",
        f"| Brier score (0 to 2) | {metrics.test_brier_score.value:.4f} |",
        runs[0].record.dataset.sha256, runs[0].record.command, "## Limits",
    ):  # fmt: skip
        assert words in text
    said(capsys, "card", runs[0].name, "--output", "README.md")
    assert (here / "README.md").read_text(encoding="utf-8") == text


def test_card_of_an_older_record_leaves_out_what_it_does_not_know(runs):
    from attnlib.records.card import model_card

    metrics = replace(
        runs[0].record.metrics, test_brier_score=None, test_calibration_error=None,
        test_accuracy_top5=None, best_epoch_ema=None, test_accuracy_ema=None,
    )  # fmt: skip
    text = model_card(replace(runs[0], record=replace(runs[0].record, metrics=metrics)))
    assert "Brier" not in text and "| accuracy |" in text


# ---- models


def test_models_are_those_of_the_package_with_their_parameters(capsys):
    rows = in_json(capsys, "models", "deit_t", "resnet18", "--num_classes", "10")
    assert [row["name"] for row in rows] == ["deit_t", "resnet18"]
    for row in rows:
        model = al.create_model(row["name"], 10)
        assert row["parameters"] == sum(p.numel() for p in model.parameters())
    assert {line.split()[0] for line in said(capsys, "models").splitlines()[1:]} == {
        *al.list_models()
    }
    assert "timm/resnet10t" in said(capsys, "models", "timm/resnet10*")


def test_weights_are_at_hand_once_their_file_is_in_the_cache(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    assert in_json(capsys, "models", "resnet18")[0]["weights"] == "download"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet18-f37072fd.pth").touch()
    assert in_json(capsys, "models", "resnet18")[0]["weights"] == "cached"


def test_a_model_that_does_not_exist_is_refused(capsys):
    assert main(["models", "deti*"]) == 2
    assert "There are: deit_t" in capsys.readouterr().err


# ---- export


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")
@pytest.mark.parametrize("form", ["onnx", "torchscript", "safetensors"])
def test_an_exported_file_answers_as_the_network_for_any_number_of_images(form, here, runs, capsys):
    text = said(capsys, "export", runs[0].name, "--format", form, "--output", "net")
    assert "checked: its logits differ from the network's by at most" in text
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []
    images = torch.rand(7, 3, 32, 32)
    model = runs[0].load_model()
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession("net", providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        about = json.loads(session.get_modelmeta().custom_metadata_map["attnlib"])
        assert about["classes"] == list("0123456789") and about["run"] == runs[0].name
    elif form == "torchscript":
        found = torch.jit.load("net")(images)
    else:
        (here / "net").rename("net.safetensors")
        network = al.load_network("net.safetensors")
        assert network.class_names == tuple("0123456789")
        found = network.model(images)
    with torch.inference_mode():
        torch.testing.assert_close(found.detach(), model(images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", ["deit_t", "resnet18", "atresnet18", "timm/resnet10t"])
def test_each_family_is_exported(form, name, tmp_path):
    model = al.create_model(name, 10, 32, patch_size=8 if name == "deit_t" else None).eval()
    network = al.Network(model, tuple("0123456789"), 32, name)
    done = al.export_network(network, tmp_path / "net", form)
    assert done.difference <= 1e-4 and done.bytes > 1e6


def test_a_file_that_answers_otherwise_is_refused_and_removed(here, runs, capsys, monkeypatch):
    monkeypatch.setattr(
        "attnlib.records.export._read_torchscript",
        lambda path: lambda images: torch.jit.load(path)(images) + 1e-3,
    )
    assert main(["export", runs[0].name, "--format", "torchscript", "--output", "net"]) == 2
    assert "differ from the network's by 0.001" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["photos", "runs"]


def test_a_network_of_a_fixed_batch_is_refused(here, runs, monkeypatch):
    """The check asks for several numbers of images, so that a batch frozen by the export shows."""
    monkeypatch.setattr(
        "attnlib.records.export._read_torchscript",
        lambda path: lambda images: torch.jit.load(path)(images)[:2],
    )
    assert main(["export", runs[0].name, "--format", "torchscript", "--output", "net"]) == 2


def test_without_onnx_the_package_to_install_is_named(here, runs, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", runs[0].name]) == 2
    assert 'pip install "attnlib[onnx]"' in capsys.readouterr().err
