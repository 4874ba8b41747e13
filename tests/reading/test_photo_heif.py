"""HEIF photos, where pillow-heif is installed: upright, primary, whole, or refused."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from exif_jax.reading import photo
from exif_jax.reading.photo import PhotoError, read_photo

heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
ROUND = np.stack(np.broadcast_arrays(*np.ogrid[40:200:128j, 0:150:96j], 90), 2).astype(np.uint8)


def refusal(source, **options) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        read_photo(source, **options)
    return caught.value


def heic(pixels=ROUND, **options) -> bytes:
    image = heif.from_pillow(Image.fromarray(pixels))
    file = io.BytesIO()
    image.save(file, **{"quality": 90} | options)
    return file.getvalue()


def test_heif_is_read_upright_and_never_turned_twice():
    data = Image.Exif()
    data.update({0x010F: "Maker", 0x0112: 6})
    data.get_ifd(0x8769).update({0x829A: 0.004})
    for options in ({}, {"exif": data.tobytes()}):
        seen = read_photo(heic(**options))
        # The writer turns EXIF orientation 6 into the container's own rotation.
        upright = np.rot90(ROUND, -1) if options else ROUND
        assert (seen.format, seen.orientation, seen.notes) == ("HEIF", 1, ())
        assert seen.pixels.shape == upright.shape and seen.pixels.dtype == np.uint8
        assert np.abs(seen.pixels.astype(int) - upright).max() <= 8
    assert seen.exif == {
        "Make": "Maker",
        "Orientation": "Horizontal (normal)",
        "Exposure Time": "1/250 s",
    }
    assert {".heic", ".heif", ".hif"} <= photo.EXTENSIONS


def test_heif_of_ten_bits_keeps_the_high_byte_and_says_so():
    ramp = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64, 1) * 21
    samples = np.repeat(ramp, 3, 2)
    file = io.BytesIO()
    image = heif.from_bytes(mode="RGB;16", size=(64, 48), data=samples.tobytes())
    image.save(file, quality=-1, chroma=444)
    seen = read_photo(file.getvalue())
    assert np.abs(seen.pixels.astype(int) - (samples >> 8)).max() <= 1
    assert seen.notes == ("10 bits cut to 8",)


def test_heif_of_several_images_gives_the_primary_one():
    images = heif.from_pillow(Image.new("RGB", (64, 64), "red"))
    images.add_from_pillow(Image.fromarray(ROUND))
    file = io.BytesIO()
    images.save(file, primary_index=1)
    seen = read_photo(file.getvalue())
    assert seen.pixels.shape == ROUND.shape
    assert seen.notes == ("primary of several frames used",)


@pytest.mark.parametrize("tile_size", [0, 64])
def test_truncated_heif_is_refused(tile_size):
    data = heic(tile_size=tile_size)  # in tiles, as cameras write it
    assert read_photo(data).pixels.shape == ROUND.shape
    for length in {*range(12, len(data), 23), *range(len(data) - 20, len(data))}:
        assert refusal(data[:length]).cause


def test_heif_boxes_that_do_not_fit_are_refused():
    data = heic()
    assert "damaged" in refusal(data + b"\0\0\0\4free").cause
    seen = read_photo(data + b"\0\0\0\4what a maker has appended")
    assert seen.pixels.shape == ROUND.shape and "skipped: 29" in seen.notes[0]
    assert "truncated" in refusal(data + b"\0\0\0\1free" + b"\x7f" * 8).cause
    assert "boxes" in refusal(data + b"\0\0\0\x08free" * 1000).cause
    assert read_photo(data + b"\0\0\0\1free\0\0\0\0\0\0\0\x10").pixels.shape == ROUND.shape


def test_oversized_heif_is_refused_by_its_header():
    data = heic()
    assert "96 x 128 pixels" in str(refusal(data, max_pixels=96 * 128 - 1))
    at = data.index(b"ispe") + 8
    for size in ((20000, 20000), (64, 64)):
        claimed = data[:at] + struct.pack(">II", *size) + data[at + 8 :]
        cause = refusal(claimed, max_pixels=10**8).cause
        assert ("20000 x 20000 pixels" if size[0] > 64 else "size") in cause
