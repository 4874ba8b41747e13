"""The size that a WebP file claims, and sectors of zeros in its coded pixels."""

import io

import numpy as np
import pytest
from coded_scenes import RNG, SCENE, SCENES, encode, zeroed
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal
from exif_jax.reading.webp import check_webp, webp_size


def check(data: bytes) -> tuple[str, ...]:
    return check_webp(data, lambda: pixels(data))


def pixels(data: bytes) -> np.ndarray:
    """Returns the pixels of a WebP file; noise where it is not decoded at all."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError):
        return RNG.integers(0, 256, (64, 64, 3), np.uint8)


def refusal(read, data: bytes) -> str:
    """Returns the cause, or "" for a file that is not refused."""
    try:
        read(data)
    except Refusal as error:
        assert error.cure == CURE_COPY
        return error.cause
    return ""


@pytest.mark.parametrize("size", [(1, 1), (37, 1), (1, 4099)])
def test_the_size_is_pillows(size):
    image = np.full((size[1], size[0], 3), 200, np.uint8)
    alpha = np.full((size[1], size[0], 4), 128, np.uint8)
    for how in ({}, {"lossless": True}, {"icc_profile": b"x"}):
        assert webp_size(encode("WEBP", image, **how)) == size
    data = encode("WEBP", alpha)
    assert data[12:16] == b"VP8X" and webp_size(data) == size
    assert "damaged" in refusal(webp_size, data[:29])
    assert "damaged" in refusal(webp_size, data[:12] + b"ALPH" + data[16:])


def test_a_header_may_claim_sixteen_million_pixels_a_side():
    assert webp_size(b"RIFF\0\0\0\0WEBPVP8X" + b"\xff" * 14) == (2**24, 2**24)


@pytest.mark.parametrize("options", [{"quality": 85}, {"lossless": True}, {"quality": 1}])
@pytest.mark.parametrize("scene", SCENES)
def test_whole_files_are_not_refused(options, scene):
    notes = check(encode("WEBP", SCENES[scene], **options))
    assert notes == () or (scene == "flat" and notes[0].startswith(MAY_BE_DAMAGED))


@pytest.mark.parametrize("length", [512, 4096])
@pytest.mark.parametrize("options", [{"quality": 90}, {"lossless": True}])
def test_zeros_are_refused_or_noted(options, length):
    data = encode("WEBP", **options)
    assert check(data) == ()
    try:
        notes = check(zeroed(data, length))
    except Refusal as error:
        assert "zeros" in error.cause
    else:
        assert notes[0].startswith(MAY_BE_DAMAGED)


def test_the_first_frame_is_looked_at():
    frames = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1])]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    data = file.getvalue()
    assert b"ANMF" in data and check(data) == ()
    quarter = len(data) // 4
    assert "zeros" in refusal(check, data[:quarter] + bytes(600) + data[quarter + 600 :])
    assert check(data[: 3 * quarter] + bytes(600) + data[3 * quarter + 600 :]) == ()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 2000),
)
def test_damaged_files_raise_only_refusals(changes, head):
    data = encode("WEBP", SCENE[:64])
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position] = value
    damaged = bytes(damaged[: len(data) - head])
    refusal(webp_size, damaged)
    refusal(check, damaged)
