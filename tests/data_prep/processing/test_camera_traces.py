"""What tells a camera's own file from a program's."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.processing.camera_traces import TRACES, camera_traces, standard_quality
from exif_jax.reading.containers import quantization_tables
from exif_jax.reading.jpeg_scan import split
from exif_jax.reading.photo import read_photo


def tables_of(data: bytes) -> bytes:
    return quantization_tables(split(data))


def jpeg(pixels: np.ndarray, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **how)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 49, 50, 75, 96, 100])
@pytest.mark.parametrize("shape", [(8, 8), (40, 24, 3)])
def test_standard_tables_are_known_by_their_quality(quality, shape):
    data = jpeg(np.zeros(shape, np.uint8), quality=quality, subsampling=0)
    assert standard_quality(tables_of(data)) == quality


def test_a_cameras_own_tables_are_none_of_them():
    table = list(range(1, 65))
    data = jpeg(np.zeros((16, 16, 3), np.uint8), qtables=[table, table])
    assert standard_quality(tables_of(data)) is None
    assert standard_quality(b"") is None


def exif_block(maker_note: bool, thumbnail: bool) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Canon"
    camera = exif.get_ifd(0x8769)
    camera[0x829A] = 0.01
    if maker_note:
        camera[0x927C] = b"secret of the maker"
    block = exif.tobytes()
    if thumbnail:  # Pillow writes none: a directory with one entry is put at the end
        start = len(block) - 6
        little = block[6:8] == b"II"

        def pack(n: int, size: int) -> bytes:
            return n.to_bytes(size, "little" if little else "big")

        entry = pack(0x0201, 2) + pack(4, 2) + pack(1, 4) + pack(0, 4)
        first = int.from_bytes(block[10:14], "little" if little else "big")
        count = int.from_bytes(block[6 + first : 8 + first], "little" if little else "big")
        link = 6 + first + 2 + 12 * count
        block = block[:link] + pack(start, 4) + block[link + 4 :]
        block += pack(1, 2) + entry + pack(0, 4)
    return block


@pytest.mark.parametrize("maker_note", [True, False])
@pytest.mark.parametrize("thumbnail", [True, False])
def test_maker_note_and_thumbnail_are_seen(maker_note, thumbnail):
    data = jpeg(np.zeros((16, 16, 3), np.uint8), exif=exif_block(maker_note, thumbnail))
    expected = dict(zip(TRACES, (maker_note, thumbnail, False), strict=True))
    assert camera_traces(data) == expected
    assert read_photo(data).exif["Make"] == "Canon"


def test_files_without_traces(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    assert camera_traces(stream.getvalue()) is None
    assert camera_traces(jpeg(pixels)) is None  # no EXIF
    assert camera_traces(b"") is None
    assert camera_traces(b"\xff\xd8\xff\xe1\x00") is None
    damaged = jpeg(pixels, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert camera_traces(damaged) == dict.fromkeys(TRACES, False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data):
    camera_traces(b"\xff\xd8\xff\xe1\x01\x00Exif\0\0II*\0" + data)
