"""A thumbnail against its photo: the same, another, turned, cut, changed in one place, hostile."""

import struct

import numpy as np
import pytest
from camera_file import jpeg, scene, thumbnail_of
from PIL import Image

from exif_jax.forensics.file_evidence.thumbnail import (
    BARRED,
    MIDDLE,
    WHOLE,
    compare,
    decode_small,
)

PHOTO = scene(960, 640)


def against(photo: Image.Image, small: bytes):
    picture = decode_small(small)
    assert picture is not None
    return compare(photo, picture)


def test_a_thumbnail_of_the_photo_fits():
    seen = against(PHOTO, thumbnail_of(PHOTO))
    assert seen.correlation > 0.97 and seen.turn == "as it is"
    assert abs(seen.aspect - 1) < 0.02 and seen.difference < 15 and seen.shows == WHOLE
    assert seen.map.dtype == np.float32 and 0 <= seen.map.min() <= seen.map.max() <= 1


def test_correlation_is_numpys():
    small = decode_small(jpeg(PHOTO.resize((160, 107), Image.Resampling.BOX), quality=100))
    inner = np.s_[2:-2, 2:-2]
    a = np.asarray(PHOTO.resize((160, 107), Image.Resampling.BOX).convert("L"), float)[inner]
    b = np.asarray(small.convert("L"), float)[inner]
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert compare(PHOTO, small).correlation == pytest.approx(expected, abs=0.01)


def test_another_photos_thumbnail_does_not_fit():
    seen = against(PHOTO, thumbnail_of(scene(960, 640, seed=5)))
    assert seen.correlation < 0.45 and seen.turned_correlation < 0.8


def test_black_bars_do_not_count():
    whole = Image.new("RGB", (160, 120))
    whole.paste(PHOTO.resize((160, 107), Image.Resampling.BOX), (0, 6))
    seen = against(PHOTO, jpeg(whole, quality=90))
    assert seen.correlation > 0.97 and seen.aspect == 1 and seen.picture.shape[:2] == (107, 160)
    assert seen.shows == BARRED


def test_a_thumbnail_of_the_photos_middle_fits():
    middle = PHOTO.crop((53, 0, 907, 640)).resize((160, 120), Image.Resampling.BOX)
    seen = against(PHOTO, jpeg(middle, quality=90))
    assert seen.correlation > 0.95 and seen.shows == MIDDLE


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (Image.Transpose.ROTATE_90, "turned by 270 degrees"),
        (Image.Transpose.ROTATE_180, "turned by 180 degrees"),
        (Image.Transpose.FLIP_LEFT_RIGHT, "mirrored"),
    ],
)
def test_a_turned_photo_is_seen(turn, words):
    seen = against(PHOTO.transpose(turn), thumbnail_of(PHOTO))
    assert seen.turn == words and seen.turned_correlation > 0.9 > 0.5 > seen.correlation


def test_a_changed_place_is_found():
    pixels = np.asarray(PHOTO).copy()
    pixels[200:330, 600:730] = pixels[20:150, 20:150]
    seen = against(Image.fromarray(pixels), thumbnail_of(PHOTO))
    row, column = np.unravel_index(seen.map.argmax(), seen.map.shape)
    assert seen.difference > 28 and seen.correlation > 0.7
    assert 200 / 6 - 4 < row < 330 / 6 + 4 and 600 / 6 - 4 < column < 730 / 6 + 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff" + bytes(200),
        b"GIF89a" + bytes(300),
        thumbnail_of(PHOTO)[:900],
        jpeg(PHOTO) + bytes(9 << 20),
    ],
)
def test_what_is_no_thumbnail_is_none(data):
    assert decode_small(data) is None


def test_a_bomb_is_not_decoded():
    data = thumbnail_of(PHOTO)
    at = data.index(b"\xff\xc0") + 5
    assert decode_small(data[:at] + struct.pack(">HH", 65_000, 65_000) + data[at + 4 :]) is None


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (300, 8)])
def test_odd_sizes_are_compared_without_an_error(size):
    small = decode_small(jpeg(PHOTO.resize(size)))
    assert small is not None and -1 <= compare(PHOTO, small).correlation <= 1
    assert -1 <= compare(PHOTO.resize(size), decode_small(thumbnail_of(PHOTO))).correlation <= 1
