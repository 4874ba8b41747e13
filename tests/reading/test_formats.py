"""A file's format by its bytes, and what is said of formats that are not read."""

import struct

import pytest
from PIL import features
from test_photo import encode

from exif_jax.reading import formats
from exif_jax.reading.formats import detect_format
from exif_jax.reading.photo import EXTENSIONS, PhotoError, read_photo
from exif_jax.reading.refusal import CURE_COPY, Refusal


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        detect_format(data)
    return caught.value.cause, caught.value.cure


def boxed(major: bytes, *compatible: bytes) -> bytes:
    """The head of a HEIF, AVIF or video file of some brands."""
    body = major + bytes(4) + b"".join(compatible)
    return struct.pack(">I4s", 8 + len(body), b"ftyp") + body + bytes(40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_formats_are_known_by_their_bytes(kind):
    assert detect_format(encode(kind=kind)) == kind


@pytest.mark.parametrize("major", [b"avif", b"avis", b"mif1", b"msf1"])
def test_avif_is_known_by_any_of_its_brands(major, monkeypatch):
    data = boxed(major, b"miaf", b"avif")
    monkeypatch.setattr(formats, "AVIF_IS_READ", True)
    assert detect_format(data) == "AVIF"
    monkeypatch.setattr(formats, "AVIF_IS_READ", False)
    assert "AVIF needs a Pillow" in refusal(data)[0]
    assert "pip install -U pillow" in refusal(data)[1]


@pytest.mark.parametrize("major", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_heif_is_known_by_its_brands(major, monkeypatch):
    data = boxed(major, b"mif1", b"heic")
    monkeypatch.setattr(formats, "HEIF_IS_READ", True)
    assert detect_format(data) == "HEIF"
    monkeypatch.setattr(formats, "HEIF_IS_READ", False)
    assert "HEIC needs pillow-heif" in refusal(data)[0]
    assert "pip install pillow-heif" in refusal(data)[1]


@pytest.mark.skipif(not features.check("avif"), reason="Pillow is built without AVIF")
def test_an_avif_file_is_read():
    data = encode(kind="AVIF", quality=95)
    photo = read_photo(data)
    assert (photo.format, photo.pixels.shape, photo.notes) == ("AVIF", (48, 64, 3), ())
    for length in (*range(12, len(data), 97), len(data) - 1):
        with pytest.raises(PhotoError):
            read_photo(data[:length])


@pytest.mark.parametrize(
    ("data", "words", "help_words"),
    [
        (b"GIF89a", "GIF", "Use a JPEG"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL", "djxl"),
        (b"\xff\x0a", "JPEG XL", "djxl"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000", "Use a JPEG"),
        (b"II+\0\x08\0\0\0", "BigTIFF", "tiffcp"),
        (b"IIU\0", "raw file (Panasonic)", "Develop"),
        (b"FUJIFILMCCD-RAW 0201", "raw file (Fujifilm)", "Develop"),
        (boxed(b"crx ", b"isom"), "raw file (Canon CR3)", "Develop"),
        (boxed(b"qt  ", b"qt  "), "video", "photo itself"),
        (b"8BPS\0\1", "Photoshop", "Export"),
        (b"%PDF-1.7", "PDF", "Export"),
        (b"<!DOCTYPE html>", "web page", "photo itself"),
        (b"\x00\x05\x16\x07\x00\x02", "Mac", "photo itself"),
        (b"PK\x03\x04", "archive", "Unpack"),
        (boxed(b"abcd", b"efgh"), "known format", "Use a JPEG"),
        (b"BM but a text", "known format", "Use a JPEG"),
    ],
)
def test_other_formats_are_named_with_a_cure_that_fits(data, words, help_words):
    cause, cure = refusal(data + bytes(20))
    assert words in cause and help_words in cure and "intact" not in cure


def test_files_without_content_are_damaged():
    assert refusal(b"") == ("the file is empty", CURE_COPY)
    assert refusal(bytes(5000)) == ("the file holds nothing but zeros", CURE_COPY)


def test_endings_are_in_lower_case_and_only_of_what_is_read():
    assert {".jpg", ".jpe", ".jfif", ".png", ".tif", ".webp", ".bmp"} <= EXTENSIONS
    assert (".avif" in EXTENSIONS) == formats.AVIF_IS_READ
    assert (".heic" in EXTENSIONS) == formats.HEIF_IS_READ
    assert all(ending == ending.lower() for ending in EXTENSIONS)
