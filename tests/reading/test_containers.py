"""JPEG and PNG files less what does not decide their pixels, and the EXIF that they hold."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from test_exif_block import photo_exif
from test_photo import SCENE, encode, plain_rgb, tiff

from exif_jax.reading.containers import jpeg_metadata, plain_jpeg, png_exif
from exif_jax.reading.jpeg_scan import split
from exif_jax.reading.photo import read_photo
from exif_jax.reading.refusal import Refusal

BLOCK = photo_exif("<").tobytes().removeprefix(b"Exif\0\0")


def private_jpeg(**how) -> bytes:
    metadata = {"exif": b"Exif\0\0" + tiff([]), "xmp": b"<secret/>", "comment": b"secret"}
    return encode(**metadata, icc_profile=b"secret" * 9, **how)


# --- JPEG ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"keep_rgb": True}])
def test_a_plain_jpeg_has_its_pixels_and_nothing_else(how):
    data = private_jpeg(**how)
    jpeg = split(data + b"secret" * 1000)
    plain = plain_jpeg(jpeg)
    np.testing.assert_array_equal(plain_rgb(plain), plain_rgb(data))
    assert jpeg_metadata(jpeg) == (tiff([]), ("ICC profile ignored",))
    with Image.open(io.BytesIO(plain)) as image:
        assert {name for name, _ in image.applist} <= {"APP0", "APP14"}
    assert b"secret" in data and b"secret" not in plain
    assert plain_jpeg(split(plain)) == plain
    assert jpeg_metadata(split(plain)) == (b"", ())


def test_segments_are_those_that_pillow_sees_and_leave_nothing_out():
    data = private_jpeg()
    segments = split(data).segments
    assert data[:2] + b"".join(segment for _, segment in segments) == data
    names = [(f"APP{marker - 0xE0}", s[4:]) for marker, s in segments if 0xE0 <= marker <= 0xEF]
    with Image.open(io.BytesIO(data)) as image:
        assert names == [entry for entry in image.applist if entry[0] != "COM"]
    filled = data[:2] + b"\xff\xff" + data[2:]
    assert [marker for marker, _ in split(filled).segments] == [marker for marker, _ in segments]
    assert plain_rgb(plain_jpeg(split(filled))).shape == SCENE.shape


def test_of_several_blocks_of_exif_the_first_counts_and_notes_are_not_repeated():
    data = private_jpeg(progressive=True)
    at = data.index(b"\xff\xdb")
    second = b"\xff\xe1\0\x0eExif\0\0secret"
    frames = b"\xff\xe2\0\6MPF\0"
    block, notes = jpeg_metadata(split(data[:at] + second + 3 * frames + data[at:]))
    assert block == tiff([]) and notes == ("ICC profile ignored", "first of several frames used")
    at = data.rindex(b"\xff\xc4")  # between two scans is no place for metadata
    assert jpeg_metadata(split(data[:at] + frames + data[at:]))[1] == ("ICC profile ignored",)


@pytest.mark.parametrize("preamble", [b"Exif\0\0", b"Exif\0\0Exif\0\0", b"Exif\0\xff"])
def test_exif_in_a_jpeg_is_found_behind_any_preamble(preamble):
    data = encode()
    body = preamble + BLOCK
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    assert jpeg_metadata(split(data[:2] + segment + data[2:]))[0] == BLOCK
    assert read_photo(data[:2] + segment + data[2:]).exif["Make"] == "Maker"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 900), st.dictionaries(st.integers(0, 300), st.integers(0, 255), max_size=8))
def test_a_damaged_jpeg_gives_a_result_or_a_refusal(length, changes):
    file = bytearray(encode(SCENE[:16, :16], exif=photo_exif("<"))[:length])
    for position, value in changes.items():
        file[position : position + 1] = bytes([value])
    with contextlib.suppress(Refusal):
        jpeg = split(bytes(file))
        jpeg_metadata(jpeg)
        plain_jpeg(jpeg)


# --- PNG ----------------------------------------------------------------------------------------


def raw_profile(name: str, profile: bytes, width: int = 72) -> str:
    """Bytes as ImageMagick, exiv2 and GIMP write them into a text chunk."""
    digits = profile.hex()
    lines = "\n".join(digits[at : at + width] for at in range(0, len(digits), width))
    return f"\n{name}\n{len(profile):8}\n{lines}\n"


def png_with(texts: dict[str, str], compressed: bool = True, **options) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        chunks.add_text(name, text, zip=compressed)
    return encode(kind="PNG", pnginfo=chunks, **options)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("preamble", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
@pytest.mark.parametrize("name", ["exif", "APP1"])
def test_exif_in_a_text_chunk_of_a_png_is_read(name, preamble, compressed):
    text = raw_profile(name, preamble + BLOCK)
    photo = read_photo(png_with({f"Raw profile type {name}": text}, compressed))
    assert photo.exif["Make"] == "Maker" and photo.orientation == 6 and photo.notes == ()
    np.testing.assert_array_equal(photo.pixels, SCENE)


def test_exif_in_a_chunk_of_its_own_goes_before_text():
    text = {"Raw profile type exif": raw_profile("exif", BLOCK)}
    other = photo_exif("<")
    other[0x010F] = "Other"
    assert read_photo(png_with(text, exif=other)).exif["Make"] == "Other"
    doubled = encode(kind="PNG", exif=b"Exif\0\0Exif\0\0" + BLOCK)
    assert read_photo(doubled).exif["Make"] == "Maker"


def test_a_text_chunk_that_holds_other_things_is_no_exif():
    xmp = raw_profile("APP1", b"http://ns.adobe.com/xap/1.0/\0<x/>")
    exif = raw_profile("exif", BLOCK)
    both = {"Raw profile type APP1": xmp, "Raw profile type exif": exif}
    assert png_exif(both) == png_exif(dict(reversed(both.items()))) == BLOCK
    assert png_exif({"Raw profile type APP1": xmp}) == b""
    for text in ("", "exif", "\nexif\n 12\n", "\nexif\n 4\nxyz", raw_profile("iptc", BLOCK)):
        assert png_exif({"Raw profile type exif": text}) == b""
    assert png_exif({"Raw profile type exif": exif.rstrip()[:-1]}) == BLOCK[:-1]  # half a byte
    assert png_exif({"Comment": exif, "exif": b"", 7: exif}) == b""


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text):
    png_exif({"Raw profile type exif": text})
    png_exif({"Raw profile type exif": f"\nexif\n 10\n{text}"})
