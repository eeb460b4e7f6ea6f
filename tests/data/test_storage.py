"""Staging: images that stay on the host, or in a file, give the same batches."""

import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from pretended_device import T4, pretend

import attnlib as al
from attnlib.data import mapped, storage
from attnlib.data.loading import make_source
from attnlib.data.mapped import MappedImages, load_member
from attnlib.data.storage import Resident, Staged, place_pixels, send

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
WANTED = [np.array([5, 39, 0]), np.array([7, 7]), np.arange(30, 10, -1), np.array([1])]


def archive(folder, save=np.savez, images=IMAGES):
    path = folder / "some.npz"
    save(path, train_images=images, train_labels=LABELS, test_images=images, test_labels=LABELS)
    return path


def test_few_numbers_go_over_in_one_transfer_and_arrive_unchanged(device):
    arrays = [np.arange(5), np.array([[0.5, -2.25]]), np.zeros((0, 3)), np.array([True, False])]
    sent = send(arrays, torch.device(device))
    for tensor, array in zip(sent, arrays, strict=True):
        assert tensor.device.type == device and np.array_equal(tensor.cpu().numpy(), array)


@pytest.mark.parametrize("stage_bytes", [1, 300, 2**20])
def test_staged_images_are_those_asked_for(stage_bytes, monkeypatch, device):
    monkeypatch.setattr(storage, "STAGE_BYTES", stage_bytes)
    pixels = place_pixels(IMAGES, torch.device(device), memory=100)
    assert isinstance(pixels, Staged)
    for indices, found in zip(WANTED, pixels.fetch(WANTED), strict=True):
        assert np.array_equal(found.cpu().numpy(), IMAGES[indices])


def test_images_that_fit_are_resident(device):
    pixels = place_pixels(IMAGES, torch.device(device), memory=IMAGES.nbytes)
    assert isinstance(pixels, Resident)
    for indices, found in zip(WANTED, pixels.fetch(WANTED), strict=True):
        assert np.array_equal(found.cpu().numpy(), IMAGES[indices])
    assert isinstance(place_pixels(IMAGES, torch.device(device), IMAGES.nbytes - 1), Staged)


def test_staging_reads_ahead_in_a_thread_and_only_one_stage(monkeypatch):
    monkeypatch.setattr(storage, "STAGE_BYTES", 1)
    read = []

    class Watched(Staged):
        def _read(self, group):
            read.append((threading.get_ident(), len(group)))
            return super()._read(group)

    fetched = Watched(IMAGES, (6, 8), torch.device("cpu")).fetch(WANTED)
    next(fetched)
    fetched.close()
    assert {count for _, count in read} == {1} and len(read) == 2
    assert threading.get_ident() not in {thread for thread, _ in read}


def test_a_fault_while_reading_comes_out_where_the_batch_is_asked_for():
    with pytest.raises(IndexError, match="40"):
        list(Staged(IMAGES, (6, 8), torch.device("cpu")).fetch([np.array([40])]))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_large_archives_are_mapped_and_give_the_same_data_set(save, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    path = archive(tmp_path, save)
    whole = al.load_dataset("npz", path)
    monkeypatch.setattr(mapped, "SHARE", 0)
    data = al.load_dataset("npz", path)
    assert isinstance(data.train.images, MappedImages) and data.sha256 == whole.sha256
    assert data.train.images.shape == whole.train.images.shape
    for ours, theirs in ((data.train, whole.train), (data.val, whole.val), (data.test, whole.test)):
        assert np.array_equal(np.stack(list(ours.images)), theirs.images)
        assert np.array_equal(ours.subset([2, 0]).images[:], theirs.images[[2, 0]])
    extracted = list((tmp_path / "cache").rglob("*.npy"))
    assert len(extracted) == (4 if save is np.savez_compressed else 0)
    before = [file.stat().st_mtime_ns for file in extracted]
    al.load_dataset("npz", path)
    assert [file.stat().st_mtime_ns for file in extracted] == before


def unpacked(tmp_path, monkeypatch):
    """A compressed archive whose arrays are to be unpacked, and the folder they go to."""
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "SHARE", 0)
    return archive(tmp_path, np.savez_compressed), tmp_path / "cache" / "npz"


def test_space_is_checked_before_anything_is_unpacked(tmp_path, monkeypatch):
    path, folder = unpacked(tmp_path, monkeypatch)
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(ValueError, match=r"npy needs [\d,]+ bytes unpacked, and 100 are free"):
        al.load_dataset("npz", path)
    assert not [file for file in folder.iterdir() if file.suffix != ".lock"]


@pytest.mark.parametrize("damage", ["flipped", "short"])
def test_a_damaged_unpacked_copy_is_unpacked_again(damage, tmp_path, monkeypatch):
    path, folder = unpacked(tmp_path, monkeypatch)
    whole = al.load_dataset("npz", path).sha256
    for file in folder.glob("*.npy"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content if damage == "flipped" else content[:-9])
    assert al.load_dataset("npz", path).sha256 == whole


def test_leftovers_of_killed_unpackings_go_and_what_is_being_written_stays(tmp_path, monkeypatch):
    path, folder = unpacked(tmp_path, monkeypatch)
    folder.mkdir(parents=True)
    for name in ("0123.part", "4567.99.part", "89ab.part"):
        (folder / name).write_bytes(b"left")
    with FileLock(folder / "89ab.npy.lock"):
        al.load_dataset("npz", path)
        assert [file.name for file in folder.glob("*.part")] == ["89ab.part"]
    al.load_dataset("npz", path)
    assert not list(folder.glob("*.part"))


def test_mapped_grey_images_have_three_channels(tmp_path, monkeypatch):
    path = archive(tmp_path, images=IMAGES[..., 0])
    whole = al.load_dataset("npz", path)
    monkeypatch.setattr(mapped, "SHARE", 0)
    data = al.load_dataset("npz", path)
    assert np.array_equal(data.test.images[:], whole.test.images) and data.sha256 == whole.sha256


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., 0], np.asfortranarray(IMAGES)])
def test_a_worker_maps_the_file_again_and_gets_no_copy(save, images, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped, "SHARE", 0)
    split = al.load_dataset("npz", archive(tmp_path, save, images)).train
    sent = pickle.dumps(split.images)
    assert len(sent) < 3000
    assert np.array_equal(pickle.loads(sent)[:], split.images[:])


@pytest.mark.parametrize("path", ["reference", "faithful", "fast"])
def test_mapped_images_give_the_batches_of_resident_ones(path, tmp_path, monkeypatch, device):
    file = archive(tmp_path)
    config = al.TrainConfig(augment="thesis", img_size=40, input=path, cutmix=1.0, device=device)
    whole = make_source(al.load_dataset("npz", file).train, config, 4)
    monkeypatch.setattr(mapped, "SHARE", 0)
    staged = make_source(al.load_dataset("npz", file).train, config, 4, memory=1000)
    steps = [(step, np.array([3, 1, 30, 8]) + step) for step in range(4)]
    batches = zip(whole.batches(2, steps), staged.batches(2, steps), strict=True)
    for ours, theirs in batches:
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.targets, theirs.targets)


@pytest.mark.parametrize("path", ["reference", "faithful", "fast"])
@pytest.mark.parametrize("memory", [None, 1000])
def test_memory_for_the_second_card_is_pinned_for_it(path, memory, monkeypatch):
    split = al.Split(IMAGES, LABELS, np.arange(40))
    config = al.TrainConfig(augment="thesis", img_size=40, input=path, device="cuda:1")
    with pretend(T4._replace(count=2)) as machine:
        pin, owners = torch.Tensor.pin_memory, set()

        def pinned(tensor, *arguments):
            owners.add(torch.cuda.current_device())
            return pin(tensor, *arguments)

        source = make_source(split, config, 4, workers=0, memory=memory)
        steps = [(step, np.arange(8) + step) for step in range(3)]
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "pin_memory", pinned)
            assert all(batch.images.device.index == 1 for batch in source.batches(0, steps))
        assert owners == {1} and torch.cuda.current_device() == 0
    assert {card for _, card in machine.asked} <= {1}


def test_arrays_of_objects_are_not_unpickled(tmp_path, monkeypatch):
    path = tmp_path / "objects.npz"
    np.savez(path, train_images=np.array([{"a": 1}], object))
    for share in (1, 0):
        monkeypatch.setattr(mapped, "SHARE", share)
        with pytest.raises(ValueError, match="pickle"):
            load_member(path, "train_images", tmp_path)


def test_a_folder_of_images_is_not_placed():
    from attnlib.data.readers import ImageFiles

    with pytest.raises(ValueError, match="input=reference"):
        place_pixels(ImageFiles((), ()), torch.device("cpu"))
