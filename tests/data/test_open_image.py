"""Opening an image: what comes out is RGB and upright, or the reason why not."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from attnlib.data import open_image as image_files
from attnlib.data.downloads import DownloadError, cache_dir
from attnlib.data.open_image import DOG_SHA256, decode_image, open_image, to_rgb

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def two() -> Image.Image:
    """Red at the left, blue at the right, four pixels by two."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(BLUE, (2, 0, 4, 2))
    return image


@pytest.mark.parametrize("name", ["china", "flower"])
def test_photographs_come_with_an_installed_package(name: str) -> None:
    image = open_image(name)
    assert (image.mode, image.size) == ("RGB", (640, 427))


def test_a_photograph_lying_on_its_side_is_set_upright(two: Image.Image, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown rotated clockwise by a quarter
    two.resize((64, 32), Image.Resampling.NEAREST).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = open_image(tmp_path / "a.jpg")
    assert image.size == (32, 64)
    top, bottom = image.getpixel((16, 4)), image.getpixel((16, 60))
    assert top[0] > 200 > 60 > top[2] and bottom[2] > 200 > 60 > bottom[0]  # type: ignore[index]


TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii",
         11: "f", 12: "d", 13: "I", 16: "Q", 99: "B"}  # fmt: skip  # of TIFF, and one of nobody's


def exif_block(tag: int, kind: int, count: int) -> bytes:
    """EXIF data with one tag of any type, and the orientation 6 if the tag isn't that itself."""
    value = struct.pack("<" + TYPES[kind].replace("s", "1s") * count,
                        *[b"7" if kind == 2 else 7] * (count * len(TYPES[kind])))  # fmt: skip
    entries = {tag: (kind, count, value)}
    entries.setdefault(ExifTags.Base.Orientation, (3, 1, struct.pack("<H", 6)))
    table, beyond = b"", b""
    for number, (of_kind, values, content) in sorted(entries.items()):
        if len(content) > 4:
            place = 8 + 2 + 12 * len(entries) + 4 + len(beyond)
            beyond += content
            content = struct.pack("<I", place)
        table += struct.pack("<HHI", number, of_kind, values) + content.ljust(4, b"\0")
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + b"\0" * 4 + beyond


@pytest.mark.parametrize("kind", TYPES)
def test_whatever_type_an_exif_tag_has_the_check_and_the_reader_agree(
    two: Image.Image, kind: int
) -> None:
    """Pillow can't rewrite many of them, text in ResolutionUnit for instance, and need not."""
    stream = io.BytesIO()
    two.resize((64, 32), Image.Resampling.NEAREST).save(stream, "JPEG")
    plain = stream.getvalue()
    for tag in [*ExifTags.TAGS, 0xFFFF]:
        for count in (1, 3):
            block = b"Exif\0\0" + exif_block(tag, kind, count)
            data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]
            checked, read = (decode_image(data, "a.jpg", small=small) for small in (True, False))
            if tag != ExifTags.Base.Orientation:
                assert read.size == (32, 64) and checked.size == (4, 8), (tag, count)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_every_format_is_turned_upright_whatever_else_its_exif_data_say(
    two: Image.Image, kind: str
) -> None:
    stream = io.BytesIO()
    exif = b"Exif\0\0" + exif_block(ExifTags.Base.ResolutionUnit, 2, 1)
    options = {"exif": exif} if kind != "TIFF" else {"tiffinfo": {274: 6}}
    two.resize((64, 32)).save(stream, kind, **options)  # type: ignore[arg-type]
    assert decode_image(stream.getvalue(), "a").size == (32, 64)


def test_a_cameras_photograph_with_a_preview_behind_it_is_one_image(two: Image.Image) -> None:
    stream = io.BytesIO()
    two.save(stream, "MPO", save_all=True, append_images=[two.resize((2, 1))])
    assert decode_image(stream.getvalue(), "a.jpg").size == (4, 2)


def test_what_is_transparent_becomes_white(two: Image.Image, tmp_path: Path) -> None:
    two.putalpha(Image.frombytes("L", (4, 2), bytes([255, 0, 255, 128] * 2)))
    two.save(tmp_path / "a.png")
    row = [open_image(tmp_path / "a.png").getpixel((x, 0)) for x in range(4)]
    assert row == [RED, (255, 255, 255), BLUE, (127, 127, 255)]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([10, 20, 30])
    palette.save(tmp_path / "b.png", transparency=0)
    assert open_image(tmp_path / "b.png").getpixel((0, 0)) == (255, 255, 255)


def test_grey_of_any_depth_keeps_its_lightness(tmp_path: Path) -> None:
    Image.new("L", (2, 2), 100).save(tmp_path / "8.png")
    Image.fromarray(np.full((2, 2), 100 * 257, np.uint16)).save(tmp_path / "16.png")
    Image.new("1", (2, 2), 1).save(tmp_path / "1.png")
    Image.fromarray(np.full((2, 2), 100 / 255, np.float32)).save(tmp_path / "f.tiff")
    colours = [open_image(tmp_path / f).getpixel((1, 1)) for f in ("8.png", "16.png", "f.tiff")]
    assert colours == [(100, 100, 100)] * 3
    assert open_image(tmp_path / "1.png").getpixel((0, 0)) == (255, 255, 255)


def test_black_of_any_depth_is_black() -> None:
    assert to_rgb(Image.new("I", (1, 1), 0)).getpixel((0, 0)) == (0, 0, 0)
    assert to_rgb(Image.new("F", (1, 1), -1.0)).getpixel((0, 0)) == (0, 0, 0)
    dark = Image.fromarray(np.full((1, 1), 255, np.uint16))  # 255 of 65535
    assert to_rgb(dark).getpixel((0, 0)) == (1, 1, 1)


def test_print_colours_become_screen_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    red = open_image(tmp_path / "a.jpg").getpixel((4, 4))
    assert red[0] > 230 and red[1] < 30 and red[2] < 30  # type: ignore[index]


def test_what_moves_is_refused_with_the_number_of_frames(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE, RED)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"a\.gif .* has 3 frames; save the one"):
        open_image(tmp_path / "a.gif")
    frames[0].save(tmp_path / "b.gif")
    assert open_image(tmp_path / "b.gif").getpixel((0, 0)) == RED


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file of that size; what is refused by its size is read no further."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk
    return start + struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 99) + b"IDAT"


def test_postscript_is_refused_and_no_program_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, run = io.BytesIO(), []
    Image.new("RGB", (8, 8)).save(stream, "EPS")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *given: run.append(given))
    with pytest.raises(ValueError, match=r"x \(\d+ bytes\) is PostScript.*save it as pixels first"):
        decode_image(stream.getvalue(), "x")
    assert not run


@pytest.mark.parametrize("size", [(8000, 7000), (10000, 9100), (20000, 20000)])
def test_what_is_huge_is_refused_before_it_is_decoded(
    size: tuple[int, int], tmp_path: Path
) -> None:
    """At 56, 91 and 400 million pixels: Pillow is silent, warns, raises."""
    (tmp_path / "a.png").write_bytes(png_header(*size))
    with pytest.raises(ValueError, match=r"a\.png .* (has .* pixels|is too large)"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(101, 1), (1, 101), (50_000_000, 1), (2, 5000)])
def test_a_strip_that_would_become_enormous_is_refused(size: tuple[int, int]) -> None:
    """Its shorter side is enlarged to the size of the model's images, and the other with it."""
    with pytest.raises(ValueError, match=r"a\.png .* sides .* at most 100 times"):
        decode_image(png_header(*size), "a.png", small=True)


@pytest.mark.parametrize("size", [(1, 1), (100, 1), (3, 299)])
def test_narrow_images_are_read(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").size == size


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"a\.png .* is no image that Pillow can read"):
        open_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.png \(0 bytes\) is no image"):
        open_image(tmp_path / "b.png")


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.png .* is no whole image"):
        open_image(tmp_path / "a.png")


def test_an_unknown_name_is_told_what_is_valid(tmp_path: Path) -> None:
    for name in ("chima", str(tmp_path)):
        with pytest.raises(ValueError, match=r"no file .*Valid: a path, .*china, flower, or dog"):
            open_image(name)


@pytest.mark.parametrize("end", ["", "#sha256=12", f"#md5={'0' * 32}"])
def test_a_url_needs_its_hash(end: str) -> None:
    with pytest.raises(ValueError, match="a URL needs the file's hash"):
        open_image(f"https://example.org/a.png{end}")


def test_a_url_is_fetched_by_its_hash(
    monkeypatch: pytest.MonkeyPatch, two: Image.Image, tmp_path: Path
) -> None:
    two.save(tmp_path / "a.png")
    asked = {}

    def fetch(file: str, urls: list[str], *, sha256: str, folder: str, limit: int) -> Path:
        asked.update(file=file, urls=urls, sha256=sha256, folder=folder)
        return tmp_path / "a.png"

    monkeypatch.setattr(image_files, "fetch", fetch)
    assert (
        open_image(f"https://example.org/b.png?size=2#sha256={'ab' * 32}").getpixel((0, 0)) == RED
    )
    assert asked == {
        "file": "abababababababab.png",
        "urls": ["https://example.org/b.png?size=2"],
        "sha256": "ab" * 32,
        "folder": "images",
    }


def test_the_dog_offline_is_missed_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATTNLIB_DATA", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"(?s)dog\.png .*Put the file at .*dog\.png"):
        open_image("dog")


def test_the_dog_in_the_cache_is_the_thesiss() -> None:
    if not (cache_dir() / "dog.png").is_file():
        pytest.skip(f"no dog.png in {cache_dir()} (ATTNLIB_DATA), SHA-256 {DOG_SHA256[:8]}...")
    image = open_image("dog")
    assert (image.mode, image.size) == ("RGB", (680, 452))
