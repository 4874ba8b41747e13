"""A bad sector among raw samples is noted; black and white parts of the picture are not."""

import numpy as np
import pytest
from coded_scenes import RNG, SCENE, encode

from exif_jax.reading.photo import read_photo
from exif_jax.reading.raw_samples import check_raw_samples
from exif_jax.reading.refusal import MAY_BE_DAMAGED

HEIGHT, WIDTH = SCENE.shape[:2]


def with_zeros(start: int, length: int, scene=SCENE) -> np.ndarray:
    """A picture with zeros in place of some pixels, counted row by row."""
    pixels = scene.copy()
    pixels.reshape(-1, 3)[start : start + length] = 0
    return pixels


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
@pytest.mark.parametrize("length", [600, 4096, 20_000])
@pytest.mark.parametrize(("byte", "name"), [(b"\0", "black"), (b"\xff", "white")])
def test_a_bad_sector_is_noted(kind, length, byte, name):
    data = encode(kind)
    assert read_photo(data).notes == ()
    for start in RNG.integers(len(data) // 4, len(data) // 2, 5):
        photo = read_photo(data[:start] + byte * length + data[start + length :])
        assert photo.may_be_damaged and f"a {name} line" in photo.notes[0]
        at = int(photo.notes[0].split("in row ")[1].split(",")[0])
        assert (photo.pixels[at] == byte[0]).all(axis=1).any()


def test_grey_files_and_files_of_sixteen_bits_are_looked_at():
    grey = SCENE[..., 1]
    deep = (grey.astype(np.uint16) << 8) | 77
    for picture, length in ((grey, 600), (deep, 600)):
        data = encode("TIFF", picture)
        start = len(data) // 2 + 37 * 2
        assert not read_photo(data).may_be_damaged
        assert read_photo(data[:start] + bytes(length) + data[start + length :]).may_be_damaged


def test_a_line_counts_from_a_sector_on():
    start = 100 * WIDTH + 50
    assert check_raw_samples(with_zeros(start, 170), 3) == ()
    (note,) = check_raw_samples(with_zeros(start, 171), 3)
    assert note.startswith(MAY_BE_DAMAGED) and "in row 100," in note
    assert check_raw_samples(with_zeros(start, 127), 4) == ()
    assert check_raw_samples(with_zeros(start, 128), 4)


def test_black_that_belongs_to_the_picture_is_not_noted():
    box = SCENE.copy()
    box[100:102, 50:300] = 0  # two pixels high
    border = SCENE.copy()
    border[:40] = border[-40:] = 0
    sides = SCENE.copy()
    sides[:, :180] = sides[:, -180:] = 0
    bar = with_zeros(100 * WIDTH, 2 * WIDTH)  # whole rows, as between the pictures of a collage
    dark = (SCENE // 16).astype(np.uint8)
    black = np.zeros_like(SCENE)
    for picture in (box, border, sides, bar, with_zeros(100 * WIDTH + 50, 200, dark), black):
        assert check_raw_samples(picture, 3) == ()
        assert check_raw_samples(255 - picture, 3) == ()
    # A line at the upper or the lower edge has nothing above or below.
    for start in (0, 30, (HEIGHT - 1) * WIDTH + 10):
        assert check_raw_samples(with_zeros(start, 300), 3) == ()


def test_small_pictures_have_no_lines():
    for shape in ((1, 1), (1, 900), (900, 1), (2, 300)):
        assert check_raw_samples(np.zeros((*shape, 3), np.uint8), 3) == ()


def test_many_lines_take_bounded_time():
    pixels = np.full((4000, 400, 3), 9, np.uint8)  # dark: each line is looked at in vain
    pixels[::2, 100:300] = 0
    assert check_raw_samples(pixels, 3) == ()


def test_compressed_files_and_palettes_are_not_looked_at():
    pixels = with_zeros(100 * WIDTH + 50, 300)
    assert not read_photo(encode("PNG", pixels)).may_be_damaged
    assert not read_photo(encode("TIFF", pixels, compression="tiff_lzw")).may_be_damaged
