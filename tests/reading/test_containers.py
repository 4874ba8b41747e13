"""Files without trust: Pillow's pixels of good ones; a result or a Refusal for all others."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_containers_exif import photo_exif
from test_photo import SCENE, encode, plain_rgb, tiff

from exif_jax.reading import containers
from exif_jax.reading.containers import (
    check_heif,
    jpeg_metadata,
    jpeg_segments,
    plain_jpeg,
    plain_tiff,
    webp_size,
)
from exif_jax.reading.jpeg_scan import split
from exif_jax.reading.refusal import CURE_COPY, Refusal


def refusal(read, data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        read(data)
    cause, cure = caught.value.args
    assert cause and cure == CURE_COPY
    return cause


def test_a_plain_tiff_is_its_first_page_as_pillow_decodes_it():
    pages = {"save_all": True, "append_images": [Image.new("L", (8, 8))]}
    data = encode(kind="TIFF", exif=photo_exif("<"), tiffinfo={700: b"<x/>"}, **pages)
    plain, notes = plain_tiff(data)
    assert len(plain) == len(data) and notes == ["first of several pages used"]
    with Image.open(io.BytesIO(plain)) as image:
        assert image.n_frames == 1 and not {0x0112, 700, 0x8769} & {*image.getexif()}
    np.testing.assert_array_equal(plain_rgb(plain), SCENE)
    assert plain_tiff(plain) == (plain, [])


def test_a_tiff_directory_is_bounded():
    fits, many = ([(300, 3, 1, 0)] * count for count in (999, 1000))
    assert plain_tiff(tiff(fits))[1] == []
    assert "claims more" in refusal(plain_tiff, tiff(many))
    assert "truncated" in refusal(plain_tiff, tiff(fits)[:-1])
    size = len(tiff([(300, 7, 9, 0)]))
    assert plain_tiff(tiff([(300, 7, 2 * size + 65536, 0)]))
    assert "claims more" in refusal(plain_tiff, tiff([(300, 7, 2 * size + 65537, 0)]))


def private_jpeg(**how) -> bytes:
    about = {"exif": b"Exif\0\0" + tiff([]), "xmp": b"<secret/>", "comment": b"secret"}
    return encode(**about, icc_profile=b"secret" * 9, **how)


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"keep_rgb": True}])
def test_a_plain_jpeg_has_its_pixels_and_nothing_else(how):
    data = private_jpeg(**how)
    jpeg = split(data + b"secret" * 1000)
    plain = plain_jpeg(jpeg)
    np.testing.assert_array_equal(plain_rgb(plain), plain_rgb(data))
    assert jpeg_metadata(jpeg) == (tiff([]), ["ICC profile ignored"])
    with Image.open(io.BytesIO(plain)) as image:
        assert {name for name, _ in image.applist} <= {"APP0", "APP14"}
    assert b"secret" in data and b"secret" not in plain
    assert plain_jpeg(split(plain)) == plain
    assert jpeg_metadata(split(plain)) == (b"", [])


def test_segments_are_those_that_pillow_sees_and_leave_nothing_out():
    data = private_jpeg()
    segments = jpeg_segments(data)
    assert data[:2] + b"".join(segment for _, segment in segments) == data
    names = [(f"APP{marker - 0xE0}", s[4:]) for marker, s in segments if 0xE0 <= marker <= 0xEF]
    with Image.open(io.BytesIO(data)) as image:
        assert names == [entry for entry in image.applist if entry[0] != "COM"]
    filled = data[:2] + b"\xff\xff" + data[2:]
    assert [marker for marker, _ in jpeg_segments(filled)] == [marker for marker, _ in segments]
    assert plain_rgb(plain_jpeg(split(filled))).shape == SCENE.shape


def test_of_several_blocks_of_exif_the_first_counts_and_notes_are_not_repeated():
    data = private_jpeg(progressive=True)
    at = data.index(b"\xff\xdb")
    second = b"\xff\xe1\0\x0eExif\0\0secret"
    frames = b"\xff\xe2\0\6MPF\0"
    block, notes = jpeg_metadata(split(data[:at] + second + 3 * frames + data[at:]))
    assert block == tiff([]) and notes == ["ICC profile ignored", "first of several frames used"]
    at = data.rindex(b"\xff\xc4")  # between two scans is no place for metadata
    assert jpeg_metadata(split(data[:at] + frames + data[at:]))[1] == ["ICC profile ignored"]


@pytest.mark.parametrize("size", [(1, 1), (37, 1), (1, 4099)])
def test_the_size_of_a_webp_is_pillows(size):
    image = Image.new("RGB", size, "red")
    alpha = Image.new("RGBA", size, "#ff000080")
    for how in ({}, {"lossless": True}, {"icc_profile": b"x"}):
        assert webp_size(encode(image, "WEBP", **how)) == size
    data = encode(alpha, "WEBP")
    assert data[12:16] == b"VP8X" and webp_size(data) == size
    assert "damaged" in refusal(webp_size, data[:29])
    assert "damaged" in refusal(webp_size, data[:12] + b"ALPH" + data[16:])


def test_a_webp_header_may_claim_sixteen_million_pixels_a_side():
    assert webp_size(b"RIFF\0\0\0\0WEBPVP8X" + b"\xff" * 14) == (2**24, 2**24)


def box(size: int, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", size, b"free") + body


def test_heif_boxes_end_where_the_file_ends():
    large = struct.pack(">I4sQ", 1, b"mdat", 20) + b"four"
    for good in (box(8), box(12, b"four") + large, large + box(0, b"to the end")):
        check_heif(good)
    for short in (box(8) + box(9), large[:-1], large + box(8)[:4]):
        assert "truncated" in refusal(check_heif, short)
    for bad in (box(7), box(8) + box(2), struct.pack(">I4sQ", 1, b"mdat", 7)):
        assert "damaged" in refusal(check_heif, bad)
    check_heif(box(8) * containers._MAX_BOXES)
    assert "boxes" in refusal(check_heif, box(8) * (containers._MAX_BOXES + 1))


def read_jpeg(data: bytes) -> bytes:
    jpeg = split(data)
    jpeg_metadata(jpeg)
    return plain_jpeg(jpeg)


READERS = {"JPEG": read_jpeg, "TIFF": plain_tiff, "WEBP": webp_size}
FILES = {kind: encode(SCENE[:16, :16], kind, exif=photo_exif("<")) for kind in READERS}
FILES["HEIF"] = box(12, b"four") * 3


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 900), st.data())
def test_damaged_files_give_a_result_or_a_refusal(kind, length, data):
    file = bytearray(FILES[kind][:length])
    changes = st.dictionaries(st.integers(0, 300), st.integers(0, 255), max_size=8)
    for position, value in data.draw(changes).items():
        file[position : position + 1] = bytes([value])
    for damaged in (bytes(file), data.draw(st.binary(max_size=100))):
        with contextlib.suppress(Refusal):
            READERS.get(kind, check_heif)(damaged)
