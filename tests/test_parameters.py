"""Parameters: what users type is read as meant, or refused with what would be right."""

import pytest

from attnlib.config import DATASETS, MODELS, PROFILES, TrainConfig
from attnlib.parameters import notebook_parameters, parameter_help


def refusal(**params: object) -> str:
    with pytest.raises(ValueError) as caught:
        TrainConfig.from_params(**params)
    return str(caught.value)


def test_unknown_parameter_is_refused_with_the_nearest_and_all_valid_names():
    told = refusal(epohcs=5)
    assert "epohcs: no such parameter. Did you mean 'epochs'?" in told
    assert "model, dataset, data_path" in told


def test_unknown_model_is_refused_with_the_nearest_and_all_models():
    told = refusal(model="deit_x")
    assert "model: unknown value 'deit_x'. Did you mean 'deit_t'?" in told
    assert all(name in told for name in MODELS)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"epochs": "ten"}, "epochs: expected a whole number >= 1; got 'ten'"),
        ({"epochs": 2.5}, "epochs: expected a whole number >= 1; got 2.5"),
        ({"epochs": 0}, "epochs: expected a whole number >= 1; got 0"),
        ({"epochs": True}, "epochs: expected a whole number >= 1; got True"),
        ({"lr": "nan"}, "lr: expected a number > 0"),
        ({"lr": 0}, "lr: expected a number > 0"),
        ({"alpha": 1.5}, "alpha: expected a number >= 0 and <= 1; got 1.5"),
        ({"pretrained": "maybe"}, "pretrained: expected True or False; got 'maybe'"),
        ({"augment": "heavy"}, "Valid: thesis, light, none"),
        ({"dataset": "cifar"}, "Did you mean 'cifar10'?"),
        ({"model": "timm/resnet25"}, "model: timm has no 'resnet25'. Did you mean 'resnet"),
        ({"device": "gpu"}, "device: expected auto, cpu, cuda"),
        ({"patch_size": 15}, "patch_size: 15 does not divide img_size 32. Valid: 1, 2, 4, 8, 16"),
        ({"model": "resnet18", "patch_size": 4}, "resnet18 has no patches"),
        ({"dataset": "npz"}, "data_path: the data set 'npz' needs its file or folder"),
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs: expected fewer than epochs (3)"),
        ({"epochs": 3, "restarts": 3}, "restarts: expected fewer than epochs (3)"),
        ({"teacher": "resnet18"}, "teacher: has no use without distillation"),
    ],
)
def test_wrong_value_is_refused_with_its_name_and_the_valid_ones(params, told):
    assert told in refusal(**params)


def test_all_faults_are_told_at_once():
    told = refusal(epohcs=1, model="deit_x", lr=-1)
    assert all(name in told for name in ("epohcs", "deit_x", "lr"))


@pytest.mark.parametrize("spelt", ["true", "True", "TRUE", True])
def test_pretrained_true_means_true_however_it_is_spelt(spelt):
    assert TrainConfig.from_params(pretrained=spelt).pretrained is True


@pytest.mark.parametrize("spelt", ["false", "False", False])
def test_pretrained_false_means_false(spelt):
    assert TrainConfig.from_params(profile="thesis", pretrained=spelt).pretrained is False


def test_text_from_a_command_line_is_read_as_the_parameters_type():
    config = TrainConfig.from_params(epochs="3", lr="1e-3", seed="7", limit="None")
    assert (config.epochs, config.lr, config.seed, config.limit) == (3, 1e-3, 7, None)


def test_none_leaves_a_parameter_to_the_profile():
    assert TrainConfig.from_params(epochs=None, profile="thesis").epochs == 100


def test_names_of_a_notebook_are_told_from_what_python_put_there():
    space = {"epochs": 3, "epohcs": 5, "_there": [], "In": [], "os": pytest, "al": print}
    assert notebook_parameters(space) == {"epochs": 3, "epohcs": 5}


def test_help_names_every_parameter_and_choice():
    told = parameter_help(TrainConfig)
    names = (*TrainConfig.__dataclass_fields__, *MODELS, *DATASETS, *PROFILES)
    assert all(name in told for name in names)


@pytest.mark.parametrize("given", [7, 1e5, True])  # what papermill makes of 007, 1e5 and True
@pytest.mark.parametrize("name", ["data_path", "runs_dir", "teacher", "device"])
def test_text_that_arrives_as_a_number_is_refused_with_the_way_to_hand_it_over(name, given):
    told = refusal(**{name: given})
    assert told.startswith(f"{name}: expected text; got {given}. Papermill's -p makes a number of")
    assert f"-r {name} TEXT hands over the text as it stands" in told


def test_a_number_is_text_where_one_is_meant():
    from attnlib.cost.benchmark import CostConfig
    from attnlib.explorer.showcase import View

    assert View.from_params(image=5).image == "5"
    assert CostConfig.from_params(batch_sizes=4).batches == (4,)
    with pytest.raises(ValueError, match=r"-r image TEXT"):
        View.from_params(image=5.0)


@pytest.mark.parametrize("name", ["runs_dir", "data_path", "teacher", "initial_checkpoint"])
def test_a_path_may_begin_with_the_home_folder(monkeypatch, name):
    monkeypatch.setenv("HOME", "/home/reader")
    monkeypatch.setenv("USERPROFILE", "/home/reader")
    params = {"dataset": "npz", "data_path": "x", "distillation": "hard"} | {name: "~/x"}
    assert getattr(TrainConfig.from_params(**params), name) == "/home/reader/x"
