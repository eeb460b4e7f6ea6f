"""The reader of folders against small images made here, sound and broken."""

import hashlib
import io
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnlib.data import readers
from attnlib.data.datasets import load_dataset
from attnlib.data.open_image import open_image
from attnlib.data.readers import ImageFiles, read_folder


def image(seed: int, height: int = 6, width: int = 8) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 3), ("test", 2)):
        for k, name in enumerate(("dog", "cat")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for n in range(count):
                image(10 * k + n, height=6 + n).save(folder / f"{n}.png")
    return tmp_path


def test_folder_reads_classes_and_files_in_the_order_of_their_names(root: Path) -> None:
    parts = read_folder(root)
    assert parts.class_names == ("cat", "dog")
    assert parts.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert parts.test_labels.tolist() == [0, 0, 1, 1] and parts.test_labels.dtype == np.int64
    assert isinstance(parts.train_images, ImageFiles)
    names = [path.relative_to(root).as_posix() for path in parts.train_images.paths]
    assert names[1:4] == ["train/cat/1.png", "train/cat/2.png", "train/dog/0.png"]
    np.testing.assert_array_equal(parts.train_images[1], np.asarray(image(11, height=7)))
    assert [len(pixels) for pixels in parts.train_images] == [6, 7, 8, 6, 7, 8]
    chosen = parts.train_images.select([4, 0])
    np.testing.assert_array_equal(chosen[0], parts.train_images[4])
    file = root / "train" / "dog" / "1.png"
    assert chosen.digests[0] == hashlib.sha256(file.read_bytes()).digest()


@pytest.mark.parametrize("ending", readers.IMAGE_ENDINGS)
def test_folder_reads_every_ending_it_names(root: Path, ending: str) -> None:
    mode = "L" if ending == ".pgm" else "RGB"
    image(0).convert(mode).save(root / "train" / "cat" / f"a{ending}")
    (root / "train" / "cat" / f"a{ending}").rename(root / "train" / "cat" / f"A{ending.upper()}")
    images = read_folder(root).train_images
    assert images[3].shape == (6, 8, 3) and images[3].dtype == np.uint8


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK"])
def test_folder_gives_rgb_whatever_the_mode(root: Path, mode: str) -> None:
    ending = "jpg" if mode == "CMYK" else "png"
    image(0).convert(mode).save(root / "train" / "cat" / f"9.{ending}")
    assert read_folder(root).train_images[3].shape == (6, 8, 3)


def test_folder_turns_photographs_upright(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    image(0).save(root / "train" / "cat" / "9.png", exif=exif)
    upright = np.rot90(np.asarray(image(0)), -1)
    np.testing.assert_array_equal(read_folder(root).train_images[3], upright)


def test_folder_ignores_what_file_managers_leave(root: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "train" / "cat" / name).touch()
        (root / "train" / name).touch()
    (root / "README.txt").touch()
    assert len(read_folder(root).train_images) == 6


@pytest.mark.parametrize("stray", ["train/cat/notes.txt", "test/dog/deeper", "train/7.png"])
def test_folder_names_stray_files(root: Path, stray: str) -> None:
    (root / stray).mkdir() if stray.endswith("deeper") else (root / stray).touch()
    with pytest.raises(ValueError, match=rf"{stray} is no image in a class's own folder \(1 such"):
        read_folder(root)


@pytest.mark.parametrize("options", [{"format": "JPEG"}, {"format": "JPEG", "progressive": True}])
@pytest.mark.parametrize("kept", [0, 10, 0.3, 0.9])
def test_folder_refuses_truncated_photographs(
    root: Path, options: dict[str, object], kept: float
) -> None:
    stream = io.BytesIO()
    image(0, 240, 320).save(stream, **options)  # type: ignore[arg-type]
    whole = stream.getvalue()
    size = int(kept * len(whole)) if 0 < kept < 1 else int(kept)
    (root / "test" / "dog" / "9.jpg").write_bytes(whole[:size])
    with pytest.raises(ValueError, match=rf"9\.jpg \({size} bytes\) is no (whole )?image"):
        read_folder(root)


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "ppm", "gif", "tif"])
def test_folder_refuses_truncated_images_of_other_kinds(root: Path, ending: str) -> None:
    file = root / "test" / "dog" / f"9.{ending}"
    image(0, 40, 50).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"9\.{ending} .* is no (whole )?image"):
        read_folder(root)


def test_folder_refuses_text(root: Path) -> None:
    file = root / "test" / "dog" / "9.png"
    file.write_text("no image")
    with pytest.raises(ValueError, match=r"9\.png \(8 bytes\) is no image that Pillow can read"):
        read_folder(root)


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file of that size; what is refused by its size is read no further."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    return start + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 99) + b"IDAT"


def odd_images() -> dict[str, tuple[Image.Image | bytes, dict[str, object]]]:
    """What people bring, by file name, with how it is saved."""
    clear = image(0).convert("RGBA")
    clear.putalpha(0)
    frames = {"save_all": True, "append_images": [image(1), image(2)]}
    return {
        "clear.png": (clear, {}),
        "clear.gif": (image(0).convert("P"), {"transparency": 0}),
        "16.png": (Image.fromarray(np.full((4, 4), 30000, np.uint16)), {}),
        "cmyk.jpg": (image(0).convert("CMYK"), {}),
        "moves.gif": (image(0), frames),
        "moves.webp": (image(0), frames),
        "moves.png": (image(0), frames),
        "pages.tif": (image(0), frames),
        "huge.png": (png_header(13000, 13000), {}),
    }


@pytest.mark.parametrize("name", odd_images())
def test_folders_and_notebooks_open_the_same_images_in_the_same_way(root: Path, name: str) -> None:
    """Transparent, deep, animated, huge: either both refuse, or both show the same pixels."""
    file = root / "train" / "cat" / name
    odd, options = odd_images()[name]
    if isinstance(odd, bytes):
        file.write_bytes(odd)
    else:
        odd.save(file, **options)  # type: ignore[arg-type]
    try:
        shown = np.asarray(open_image(file))
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error).partition(": ")[2][-30:])):
            read_folder(root)
        assert name.startswith(("moves", "pages", "huge"))
        return
    images = read_folder(root).train_images
    assert isinstance(images, ImageFiles)
    place = [path.name for path in images.paths].index(name)
    np.testing.assert_array_equal(images[place], shown)
    assert not name.startswith("clear.png") or (shown == 255).all()


def test_a_file_that_changed_since_its_check_is_noticed(root: Path) -> None:
    images = read_folder(root).train_images
    images[1]
    image(99).save(root / "train" / "cat" / "1.png")
    with pytest.raises(ValueError, match=r"cat/1\.png has changed since it was checked"):
        images[1]


def test_a_file_that_was_removed_since_its_check_is_named(root: Path) -> None:
    """As wrong data: an OSError would be taken for one of the run's own folder."""
    images = read_folder(root).train_images
    (root / "train" / "cat" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"cat/1\.png can't be read any more: No such file"):
        images[1]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX systems only")
def test_files_and_classes_with_undecodable_names_are_read_and_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for k, name in enumerate((b"caf\xe9", b"dog")):
            os.makedirs(os.fsencode(tmp_path / part) + b"/" + name)
            for n in range(2):
                where = os.fsencode(tmp_path / part) + b"/" + name + b"/\xff%d.png" % n
                image(10 * k + n).save(os.fsdecode(where))
    data = load_dataset("folder", tmp_path)
    assert data.class_names == ("caf\\xe9", "dog") and len(data.sha256) == 64
    torn = Path(os.fsdecode(os.fsencode(tmp_path) + b"/test/caf\xe9/\xff1.png"))
    torn.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"caf\\xe9/\\xff1\.png .*no image") as caught:
        load_dataset("folder", tmp_path)
    str(caught.value).encode()
    torn.rename(torn.with_suffix(".txt"))
    with pytest.raises(ValueError, match=r"xff1\.txt is no image in a class's own") as caught:
        load_dataset("folder", tmp_path)
    str(caught.value).encode()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX systems only")
@pytest.mark.parametrize("kind", ["npz", "folder", "cifar10", "digits"])
def test_every_reader_names_an_undecodable_path(tmp_path: Path, kind: str) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    for make in (lambda: None, place.mkdir, lambda: (place / "train").mkdir()):
        make()
        with pytest.raises(ValueError, match=r"/\\xff") as caught:
            load_dataset(kind, place)
        str(caught.value).encode()


def test_folder_refuses_missing_parts_and_classes(root: Path) -> None:
    (root / "test" / "cat").rename(root / "test" / "cow")
    with pytest.raises(ValueError, match=r"same classes; not in both: \['cat', 'cow'\]"):
        read_folder(root)
    (root / "test").rename(root / "val")
    with pytest.raises(ValueError, match=r"train/ and test/, and lacks test/"):
        read_folder(root)
    with pytest.raises(ValueError, match=r"lacks train/"):
        read_folder(root / "train" / "cat" / "0.png")


def test_folder_refuses_too_few_images_and_one_class(root: Path) -> None:
    (root / "train" / "cat" / "0.png").unlink()
    (root / "train" / "cat" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"2 training images; too few of 'cat' \(1\)"):
        read_folder(root)
    for part in ("train", "test"):
        for file in (root / part / "cat").iterdir():
            file.unlink()
        (root / part / "cat").rmdir()
    with pytest.raises(ValueError, match=r"two or more classes are needed, found 1: \('dog',\)"):
        read_folder(root)
