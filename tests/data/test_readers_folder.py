"""The reader of folders against small images made here, sound and broken."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnlib.data import readers
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
    with pytest.raises(ValueError, match=rf"9\.jpg \({size} bytes\) is no whole image"):
        read_folder(root)


@pytest.mark.parametrize("ending", ["png", "bmp", "webp", "ppm", "gif", "tif"])
def test_folder_refuses_truncated_images_of_other_kinds(root: Path, ending: str) -> None:
    file = root / "test" / "dog" / f"9.{ending}"
    image(0, 40, 50).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"9\.{ending} .* is no whole image"):
        read_folder(root)


def test_folder_refuses_text_and_16_bit_pixels(root: Path) -> None:
    file = root / "test" / "dog" / "9.png"
    file.write_text("no image")
    with pytest.raises(ValueError, match=r"9\.png \(8 bytes\) is no whole image: cannot identify"):
        read_folder(root)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(file)
    with pytest.raises(ValueError, match="8 bits a channel are needed"):
        read_folder(root)


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
