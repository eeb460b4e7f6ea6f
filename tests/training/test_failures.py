"""Training that can't go on says why, loses nothing, and ends with a code of its own."""

import errno
import io
import itertools
import json
import os
import resource
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_runs import result, small_config, start, start_command, wait_for_state
from timm.models import register_model

import attnlib as al
from attnlib import experiment
from attnlib.__main__ import main
from attnlib.training import failures
from attnlib.training.checkpoint import load_state
from attnlib.training.failures import bytes_per_image, first_bad_layer
from attnlib.training.loop import Trainer
from attnlib.training.state import Training


class Fragile(torch.nn.Module):
    """Passes features on; answers NaN in those training steps that it is told to."""

    steps: tuple[int, ...] = ()
    place = 0

    def forward(self, x):
        if not self.training:
            return x
        Fragile.place += 1
        return x * float("nan") if Fragile.place - 1 in Fragile.steps else x


@register_model
def fragile_net(num_classes=10, **options):
    layers = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.BatchNorm2d(8), Fragile()
    return torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, num_classes)
    )


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    """A run of three steps an epoch whose layer "2" fails in the steps that a test names."""
    monkeypatch.setattr(Fragile, "place", 0)
    monkeypatch.setattr(Fragile, "steps", ())
    return small_config(
        tmp_path, model="timm/fragile_net", limit=96, epochs=2, drop_path=0.0, cutmix=0.0
    )


def test_nan_stops_at_its_step_with_rate_samples_and_first_bad_layer(fragile, monkeypatch):
    monkeypatch.setattr(Fragile, "steps", (4, 5))  # and when the step is looked at again
    with pytest.raises(failures.NonFiniteLossError) as caught:
        al.run_experiment(fragile)
    assert "step 2 of 3 in epoch 2" in str(caught.value)
    path = Path(fragile.runs_dir) / fragile.name
    report = json.loads((path / "fault.json").read_text())
    assert report == caught.value.report and (report["epoch"], report["step"]) == (2, 2)
    assert report["first_bad_layer"] == "2 (Fragile), forward"
    assert len(report["samples"]) == 32
    data = al.load_dataset("digits", limit=96)
    assert set(report["samples"]) <= set(data.train.indices.tolist())
    saved = load_state(path / "state")
    assert saved is not None and all(t.isfinite().all() for t in saved.tensors.values())


def test_run_that_met_nan_goes_on_from_the_state_before_and_leaves_no_report(fragile, monkeypatch):
    whole = al.run_experiment(replace(fragile, runs_dir=fragile.runs_dir + "/whole"))
    monkeypatch.setattr(Fragile, "place", 0)
    monkeypatch.setattr(Fragile, "steps", (4, 5))
    with pytest.raises(failures.NonFiniteLossError):
        al.run_experiment(fragile)
    monkeypatch.setattr(Fragile, "steps", ())
    run = al.run_experiment(fragile)
    assert not (run.path / "fault.json").exists()
    assert run.record.metrics == whole.record.metrics


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_skipped_step_leaves_weights_and_batchnorm_as_they_were(fragile, monkeypatch, opt):
    config = replace(fragile, skip_nonfinite=1, epochs=1, opt=opt, clip_grad=1.0)
    monkeypatch.setattr(Fragile, "steps", (1,))
    data = al.load_dataset("digits", limit=96)
    model, objective = experiment.prepare(config, data)
    training, seen = Training.start(model, config), []

    def look(step):
        moments = [v.clone() for s in training.optimizer.state.values() for v in s.values()]
        seen.append([*(t.clone() for t in model.state_dict().values()), *moments])

    (epoch,) = Trainer(training, data, config, objective).train(look)
    same = [
        [torch.equal(a, b) for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(seen)
    ]
    # SGD does not move the bias before BatchNorm, whose gradient is zero but for rounding.
    assert all(same[0]) and sum(same[1]) == (opt == "sgd")
    assert epoch.skipped == 1 and "1 steps skipped" in str(epoch)
    assert epoch.train_loss == pytest.approx(2.3, abs=0.5)


def test_a_first_step_that_is_skipped_leaves_no_momentum(fragile, monkeypatch):
    config = replace(fragile, skip_nonfinite=1, epochs=1, opt="sgd")
    monkeypatch.setattr(Fragile, "steps", (0,))
    data = al.load_dataset("digits", limit=96)
    model, objective = experiment.prepare(config, data)
    training, seen = Training.start(model, config), []

    def look(step):
        moments = [state["momentum_buffer"] for state in training.optimizer.state.values()]
        seen.append(max(float(buffer.abs().max()) for buffer in moments))

    list(Trainer(training, data, config, objective).train(look))
    assert seen[0] == 0 and all(0 < largest < 10 for largest in seen[1:])


def test_skipping_is_bounded(fragile, monkeypatch):
    monkeypatch.setattr(Fragile, "steps", (0, 2, 3))
    with pytest.raises(failures.NonFiniteLossError, match="step 1 of 3 in epoch 1"):
        al.run_experiment(replace(fragile, skip_nonfinite=1))
    monkeypatch.setattr(Fragile, "place", 0)
    monkeypatch.setattr(Fragile, "steps", (0, 3))  # one an epoch
    run = al.run_experiment(replace(fragile, skip_nonfinite=1))
    assert [epoch["skipped"] for epoch in run.history] == [1, 1]


def test_first_bad_layer_is_found_in_weights_forward_loss_and_backward():
    images, targets = torch.rand(2, 3, 8, 8), torch.full((2, 10), 0.1)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10), torch.nn.ReLU())

    def loss(x, y):
        return torch.nn.functional.cross_entropy(net(x), y)

    assert first_bad_layer(net, loss, images, targets) is None
    assert first_bad_layer(net, loss, images * float("inf"), targets) == "the batch itself"
    assert "computed from finite logits" in first_bad_layer(
        net, lambda x, y: loss(x, y).detach().log() * float("nan"), images, targets
    )
    net[1].weight.register_hook(lambda gradient: gradient / 0)
    assert first_bad_layer(net, loss, images, targets) == "1.weight, backward"
    net[1].bias.data[0] = float("nan")
    assert first_bad_layer(net, loss, images, targets) == "the weights of 1.bias"


def test_loss_that_explodes_ends_the_command_with_code_3(tmp_path, capsys):
    words = f"-p model timm/small_vit -p limit 64 -p epochs 3 -p lr 1e30 -p runs_dir {tmp_path}"
    assert main(["train", *words.split()]) == 3
    assert "not finite at step" in capsys.readouterr().err


def test_out_of_memory_says_what_fits_and_ends_with_code_4(tmp_path):
    options = "-p model deit_t -p img_size 512 -p patch_size 16 -p batch_size 64 -p limit 64"
    process, told = start_command(tmp_path, options, (resource.RLIMIT_AS, 8 * 2**30))
    process.join()
    errors = told.read_text()
    assert process.exitcode == 4, errors[-2000:]
    assert "out of memory with 64 images of 512 x 512 pixels at once" in errors
    assert "MB for the backward pass" in errors and "With accumulate=" in errors


def test_explanation_names_parts_that_fit():
    told = failures.explain_out_of_memory(128, 224, 1, 50_000_000, 1_000_000_000)
    assert "about 16 would fit" in told and "accumulate=8 a step computes 16 images" in told
    assert "the batch stays 128" in told
    assert "accumulate=2" in failures.explain_out_of_memory(128, 224, 1, None, None)
    assert "Not even two images fit" in failures.explain_out_of_memory(8, 224, 4, 10**9, 10**8)


def test_bytes_per_image_counts_what_autograd_keeps():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 100), torch.nn.ReLU())
    count = bytes_per_image(
        lambda x, y: net(x).sum(), torch.rand(2, 3, 8, 8), torch.full((2, 10), 0.1)
    )
    assert count == 4 * 100  # the rectified values; the images' storage is there already


@pytest.mark.parametrize("changes", [{}, {"model": "resnet18", "drop_path": 0.0}])
def test_accumulation_gives_the_gradients_of_the_whole_batch(tmp_path, changes):
    config = small_config(tmp_path, epochs=1, limit=66, batch_size=22, **changes)
    if "model" in changes:  # in batches of their own, BatchNorm's statistics differ: by how much?
        config = replace(config, augment="none", cutmix=0.0)
    data, weights = al.load_dataset("digits", limit=66), []
    for accumulate in (1, 3):
        variant = replace(config, accumulate=accumulate)
        model, objective = experiment.prepare(variant, data)
        list(Trainer(Training.start(model, variant), data, variant, objective).train())
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    difference = (weights[0] - weights[1]).abs().max().item()
    assert difference < (1e-5 if not changes else 2e-2)


def test_write_that_fails_leaves_the_last_good_state_and_ends_with_code_5(tmp_path):
    config = small_config(tmp_path / "runs", epochs=3)
    first = start(config)
    folder = wait_for_state(config)
    first.join()
    (folder.parent / "record.json").unlink()  # as if stopped before its end
    for path in folder.glob("epoch-00003*"):
        path.unlink()
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    limit = (resource.RLIMIT_FSIZE, 250_000)
    process, told = start_command(tmp_path / "runs", config.options, limit)
    process.join()
    errors = told.read_text()
    assert process.exitcode == 5, errors
    assert "File too large; free some space" in errors and "Traceback" not in errors
    assert {name: (folder / name).read_bytes() for name in good} == good
    assert load_state(folder) is not None


def test_folder_that_cannot_be_written_is_told_before_the_start(capsys):
    words = "-p model timm/small_vit -p limit 64 -p runs_dir /proc/attnlib"
    assert main(["train", *words.split()]) == 5
    output, errors = capsys.readouterr()
    assert "can't write to /proc/attnlib" in errors and "choose another runs_dir" in errors
    assert "epoch 1" not in output


def test_too_little_space_is_told_before_the_start(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=failures.SPARE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(failures.StorageError, match="has 17 MB left and this run needs 19 MB"):
        al.run_experiment(small_config(tmp_path))


def test_state_of_another_configuration_is_refused_with_the_difference(tmp_path):
    config = small_config(tmp_path, epochs=2)
    al.run_experiment(config)
    other = replace(config, weight_decay=0.1)
    target = tmp_path / other.name
    shutil.copytree(tmp_path / config.name, target)
    (target / "record.json").unlink()
    with pytest.raises(ValueError, match=r"another configuration: weight_decay was 0.05, now 0.1"):
        al.run_experiment(other)


def test_damaged_newest_state_falls_back_and_ends_the_same(tmp_path):
    config = small_config(tmp_path, epochs=3)
    al.run_experiment(config)
    expected = result(config)
    path = tmp_path / config.name
    (path / "record.json").unlink()
    newest = max((path / "state").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged.*falling back to epoch-00002"):
        al.run_experiment(config)
    assert result(config) == expected


def test_second_signal_ends_at_once():
    with failures.stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop and stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)  # the signal comes in between two lines of Python
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a job in the background
    try:
        with failures.stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            assert not stop and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            assert stop.received == signal.SIGTERM
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def half(monkeypatch):
    """float16 with its loss scaling, as on a T4, computed on the CPU."""
    for module in ("training.state", "training.loop", "records.finish"):
        monkeypatch.setattr(f"attnlib.{module}.amp_dtype", lambda config: torch.float16)


class SpoiledGradient(torch.autograd.Function):
    """Passes features on and answers NaN gradients."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * float("nan")


@pytest.fixture
def spoiled(monkeypatch):
    """Gradients of the training steps that a test names are NaN; their losses are finite."""
    steps: set[int] = set()

    def forward(self, x):
        if not self.training:
            return x
        Fragile.place += 1
        return SpoiledGradient.apply(x) if Fragile.place - 1 in steps else x

    monkeypatch.setattr(Fragile, "forward", forward)
    return steps


def test_gradients_that_stay_nan_stop_a_float16_run_after_its_first_epoch(fragile, half, spoiled):
    spoiled |= set(range(100))
    with pytest.raises(failures.NonFiniteLossError, match="none of the 3 steps") as caught:
        al.run_experiment(fragile)
    assert caught.value.report["epoch"] == 1
    assert "1.bias, backward" in str(caught.value)


def test_float16_counts_the_steps_that_its_scaler_leaves_out(fragile, half, spoiled):
    spoiled |= {1, 3}
    run = al.run_experiment(fragile)
    assert [epoch["skipped"] for epoch in run.history] == [1, 1]
    assert all(epoch["train_loss"] == pytest.approx(2.3, abs=0.5) for epoch in run.history)


def test_scale_that_collapses_stops_a_float16_run(fragile, half, spoiled):
    spoiled |= {place for place in range(1000) if place % 3}  # one step an epoch is taken
    with pytest.raises(failures.NonFiniteLossError, match="loss scale fell to"):
        al.run_experiment(replace(fragile, epochs=40, warmup_epochs=0))
    path = Path(fragile.runs_dir)
    (history,) = path.glob("*/history.jsonl")
    assert len(history.read_text().splitlines()) == 14  # 28 halvings of 65536, and one too many


def test_short_first_epochs_in_which_the_scale_is_still_being_found_go_on(fragile, half):
    config = replace(fragile, limit=32, epochs=20)
    data = al.load_dataset("digits", limit=32)
    model, objective = experiment.prepare(config, data)
    training = Training.start(model, config)
    training.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**28)
    epochs = list(Trainer(training, data, config, objective).train())
    assert epochs[0].skipped == 1 and epochs[-1].skipped == 0
    assert epochs[0].train_loss == pytest.approx(2.3, abs=0.5)


def test_float16_changes_no_weight_after_a_loss_that_is_not_finite(fragile, half, monkeypatch):
    monkeypatch.setattr(Fragile, "steps", (0,))
    data = al.load_dataset("digits", limit=96)
    model, objective = experiment.prepare(fragile, data)
    trainer = Trainer(Training.start(model, fragile), data, fragile, objective)
    monkeypatch.setattr(trainer, "check_finite", lambda: None)  # a GPU is asked after the epoch
    before = [parameter.clone() for parameter in model.parameters()]
    trainer.train_epoch()
    assert all(map(torch.equal, before, model.parameters()))
    monkeypatch.undo()
    with pytest.raises(failures.NonFiniteLossError, match="at step 1 of 3"):
        trainer.check_finite()


def test_no_state_is_saved_between_a_fault_and_its_discovery(fragile, monkeypatch):
    monkeypatch.setattr(Fragile, "steps", (3,))
    monkeypatch.setattr(experiment, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(Trainer, "check_finite", lambda self: None)  # a GPU is asked later
    path, seen = Path(fragile.runs_dir) / fragile.name / "state", []

    def look(step):
        seen.append(max((file.stem for file in path.glob("*.json")), default=""))

    al.run_experiment(fragile, on_step=look)
    assert seen[3:] == ["epoch-00001-step-0000000"] * 3


@pytest.mark.parametrize("allowed", [3, 5])
def test_epoch_in_which_no_step_could_be_taken_is_none(fragile, monkeypatch, allowed):
    monkeypatch.setattr(Fragile, "steps", range(100))
    with pytest.raises(failures.NonFiniteLossError, match="none of the 3 steps"):
        al.run_experiment(replace(fragile, skip_nonfinite=allowed))


def test_disk_that_is_full_at_any_write_before_the_first_epoch_is_a_storage_error(
    tmp_path, monkeypatch
):
    """Every file that a run opens for writing, one after the other, finds no space."""
    real_open, real_descriptor = io.open, os.open

    def count_down(file, is_writing):
        nonlocal left
        if str(tmp_path) in str(file) and is_writing:
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device", str(file))

    def open_file(file, mode="r", *arguments, **options):
        count_down(file, set(mode) & set("wax+"))
        return real_open(file, mode, *arguments, **options)

    def open_descriptor(file, flags, *arguments, **options):
        count_down(file, flags & os.O_CREAT)
        return real_descriptor(file, flags, *arguments, **options)

    class BegunError(Exception):
        """The first epoch is done."""

    def begun(step):
        raise BegunError

    monkeypatch.setattr(io, "open", open_file)
    monkeypatch.setattr(os, "open", open_descriptor)
    for count in range(100):
        left = count
        try:
            al.run_experiment(
                small_config(tmp_path / str(count), epochs=2, limit=32), on_step=begun
            )
        except failures.StorageError as fault:
            assert "free some space" in str(fault)
        except BegunError:
            break
    assert 5 <= count < 99


@pytest.mark.parametrize("moment", ["step", "epoch"])
def test_folder_removed_while_training_ends_with_a_message(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(experiment, "SAVE_SECONDS", 0.0)
    config = small_config(tmp_path, epochs=2)
    path = tmp_path / config.name

    def remove(event):
        if event.epoch == 1 and getattr(event, "step", 3) == 3:
            shutil.rmtree(path)

    with pytest.raises(failures.StorageError, match="was removed while the run was training"):
        al.run_experiment(config, **{f"on_{moment}": remove})
    assert not path.exists()


def test_configuration_removed_while_training_ends_with_a_message(tmp_path):
    config = small_config(tmp_path, epochs=2)

    def remove(epoch):
        (tmp_path / config.name / "config.json").unlink(missing_ok=True)

    with pytest.raises(failures.StorageError, match=r"config\.json was removed"):
        al.run_experiment(config, on_epoch=remove)


def test_an_epoch_that_ends_in_nan_is_not_the_best(fragile, monkeypatch):
    """Weights that are lost in the last step of all answer NaN, which no loss has shown."""

    def lose(self, x):
        last = Fragile.place >= 6 and not self.training
        Fragile.place += self.training
        return x * float("nan") if last else x

    monkeypatch.setattr(Fragile, "forward", lose)

    def mend(epoch):
        monkeypatch.setattr(Fragile, "forward", lambda self, x: x)

    run = al.run_experiment(fragile, on_epoch=lambda e: mend(e) if e.epoch == 2 else None)
    assert run.record.metrics.best_epoch == 1 and run.history[1]["val_accuracy"] == 0


@pytest.mark.parametrize("after", [1, 3])
def test_history_removed_while_training_is_written_again(tmp_path, after):
    config = small_config(tmp_path, epochs=3)

    def remove(epoch):
        if epoch.epoch == after:
            (tmp_path / config.name / "history.jsonl").unlink()

    run = al.run_experiment(config, on_epoch=remove)
    assert [epoch["epoch"] for epoch in run.history] == [1, 2, 3]


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_memory_while_evaluating_is_told_as_in_training(fragile, monkeypatch, split):
    real, calls = Fragile.forward, itertools.count()
    data = al.load_dataset("digits", limit=96)
    before = 0 if split == "val" else 2 * -(-len(data.val) // 32)  # two epochs of validation

    def forward(self, x):
        if not self.training and len(x) > 1 and next(calls) == before:  # one image tries the size
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, x)

    monkeypatch.setattr(Fragile, "forward", forward)
    with pytest.raises(failures.OutOfMemoryError, match="out of memory with 32 images of 32 x 32"):
        al.run_experiment(fragile)


def test_evaluation_computes_no_more_images_at_once_than_a_step(fragile, monkeypatch):
    sizes, real = set(), Fragile.forward

    def forward(self, x):
        sizes.add(len(x))
        return real(self, x)

    monkeypatch.setattr(Fragile, "forward", forward)
    al.run_experiment(replace(fragile, batch_size=32, accumulate=4))
    assert max(sizes) == 8


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "MPS backend out of memory (MPS allocated: 7.41 GB)",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
        "Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "HIP error: hipErrorOutOfMemory",
        "CUDA error: cudaErrorMemoryAllocation",
        "Unable to find a valid cuDNN algorithm to run convolution",
    ],
)
def test_every_allocator_is_understood(words):
    assert failures.is_out_of_memory(RuntimeError(words))
    assert not failures.is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"))


def test_memory_of_an_image_is_counted_in_the_precision_of_the_run(fragile, monkeypatch):
    counted = {}
    data = al.load_dataset("digits", limit=96)
    for amp in ("false", "true"):
        config = replace(fragile, model="deit_t", amp=amp, patch_size=8)
        model, objective = experiment.prepare(config, data)
        trainer = Trainer(Training.start(model, config), data, config, objective)

        def keep(images, img_size, accumulate, count, free, amp=amp):
            counted[amp] = count
            return ""

        monkeypatch.setattr("attnlib.training.loop.explain_out_of_memory", keep)
        trainer.explain_memory()
    assert 0.4 < counted["true"] / counted["false"] < 0.8
