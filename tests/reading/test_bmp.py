"""BMP files of every depth and order of rows decode right, or are refused by name."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_photo import SCENE, encode, plain_rgb

from exif_jax.reading import bmp
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reading.refusal import CURE_COPY, Refusal

RNG = np.random.default_rng(3)
HEIGHT, WIDTH = 11, 13  # rows are padded to four bytes
BITFIELDS, ALPHA_BITFIELDS = 3, 6


def bmp_file(
    bits: int,
    rows: list[bytes],
    *,
    compression: int = 0,
    palette: bytes = b"",
    masks: tuple[int, ...] = (),
    top_down: bool = False,
    header_size: int = 40,
    num_colors: int = 0,
    width: int = WIDTH,
) -> bytes:
    """A BMP file, of rows from the top one on."""
    height = len(rows)
    if header_size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        size = (width, -height if top_down else height, 1, bits, compression)
        header = struct.pack("<IiiHHIIiiII", 40, *size, 0, 2835, 2835, num_colors, 0)
        header = struct.pack("<I", header_size) + header[4:]
        fields = struct.pack(f"<{len(masks)}I", *masks)
        header = (
            header + fields if header_size == 40 else (header + fields).ljust(header_size, b"\0")
        )
    padded = [row + bytes(-len(row) % 4) for row in rows]
    pixels = b"".join(padded if top_down else reversed(padded))
    start = 14 + len(header) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + palette + pixels
    )


def packed(indices: np.ndarray, bits: int) -> list[bytes]:
    """Rows of palette indices, packed from the high bits of each byte on."""
    unpacked = (indices[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    return [np.packbits(row.reshape(-1)).tobytes() for row in unpacked]


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(PhotoError) as caught:
        read_photo(data)
    return caught.value.cause, caught.value.cure


# --- with a palette -----------------------------------------------------------------------------


@pytest.mark.parametrize("header_size", [12, 40, 124])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth(bits, header_size):
    colors = RNG.integers(0, 256, (2**bits, 3), np.uint8)
    indices = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
    entries = colors[:, ::-1]
    if header_size != 12:
        entries = np.hstack([entries, np.zeros((2**bits, 1), np.uint8)])
    data = bmp_file(bits, packed(indices, bits), palette=entries.tobytes(), header_size=header_size)
    photo = read_photo(data)
    np.testing.assert_array_equal(photo.pixels, colors[indices])
    assert (photo.format, photo.notes) == ("BMP", ("converted from P",))
    if bits != 2:
        np.testing.assert_array_equal(photo.pixels, plain_rgb(data))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_black_and_white_palette_does_not_change_the_bits_of_a_pixel(bits):
    """Pillow takes such a file for one of one bit a pixel."""
    indices = RNG.integers(0, 2, (HEIGHT, WIDTH))
    palette = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    data = bmp_file(bits, packed(indices, bits), palette=palette, num_colors=2)
    expected = np.repeat(255 * indices[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_photo(data).pixels, expected)


def test_colours_that_the_palette_lacks_are_black():
    indices = np.full((HEIGHT, WIDTH), 9)
    indices[3] = 1
    data = bmp_file(8, packed(indices, 8), palette=b"\1\2\3\0\4\5\6\0", num_colors=2)
    pixels = read_photo(data).pixels
    assert pixels[3, 0].tolist() == [6, 5, 4] and not pixels[[0, 1, 2, 4]].any()


# --- without one --------------------------------------------------------------------------------


@pytest.mark.parametrize("top_down", [False, True])
def test_24_bits_in_either_order_of_rows(top_down):
    pixels = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    data = bmp_file(24, [row[:, ::-1].tobytes() for row in pixels], top_down=top_down)
    photo = read_photo(data)
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.notes == () and photo.exif == {}


MASKS = {
    (16, 0xF800, 0x07E0, 0x001F),
    (16, 0x7C00, 0x03E0, 0x001F),
    (24, 0x00FF0000, 0x0000FF00, 0x000000FF),
    (32, 0x00FF0000, 0x0000FF00, 0x000000FF),
    (32, 0x000000FF, 0x0000FF00, 0x00FF0000),
    (32, 0xFF000000, 0x00FF0000, 0x0000FF00),
    (32, 0x0000FF00, 0x00FF0000, 0xFF000000),
}


def masked(values: np.ndarray, mask: int) -> np.ndarray:
    """What a mask leaves, scaled to 0..255 as Pillow scales it."""
    shift = (mask & -mask).bit_length() - 1
    return (values & mask) // 2**shift * 255 // (mask >> shift)


@pytest.mark.parametrize("how", sorted(MASKS))
@pytest.mark.parametrize("header_size", [40, 52, 56, 108])
def test_masks_say_where_the_colours_lie(how, header_size):
    bits, *masks = how
    values = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
    rows = [b"".join(int(v).to_bytes(bits // 8, "little") for v in row) for row in values]
    data = bmp_file(bits, rows, compression=BITFIELDS, masks=tuple(masks), header_size=header_size)
    expected = np.stack([masked(values, mask) for mask in masks], axis=2)
    np.testing.assert_array_equal(read_photo(data).pixels, expected)


@pytest.mark.parametrize(
    ("bits", "usual"), [(16, (0x7C00, 0x03E0, 0x001F)), (32, (0xFF0000, 0xFF00, 0xFF))]
)
def test_without_masks_the_colours_lie_where_windows_puts_them(bits, usual):
    values = RNG.integers(0, 2**bits, (HEIGHT, WIDTH))
    rows = [b"".join(int(v).to_bytes(bits // 8, "little") for v in row) for row in values]
    expected = np.stack([masked(values, mask) for mask in usual], axis=2)
    for data in (
        bmp_file(bits, rows),
        bmp_file(bits, rows, compression=BITFIELDS, masks=(0, 0, 0)),
    ):
        photo = read_photo(data)
        np.testing.assert_array_equal(photo.pixels, expected)
        assert photo.notes == ()


@pytest.mark.parametrize(("compression", "header_size"), [(BITFIELDS, 56), (ALPHA_BITFIELDS, 40)])
def test_alpha_is_dropped_and_noted(compression, header_size):
    values = RNG.integers(0, 2**32, (HEIGHT, WIDTH))
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    rows = [row.astype("<u4").tobytes() for row in values]
    data = bmp_file(32, rows, compression=compression, masks=masks, header_size=header_size)
    photo = read_photo(data)
    expected = np.stack([masked(values, mask) for mask in masks[:3]], axis=2)
    np.testing.assert_array_equal(photo.pixels, expected)
    assert photo.notes == ("alpha dropped",)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_what_pillow_writes_is_what_pillow_reads(mode):
    image = Image.fromarray(SCENE)
    data = encode(image.quantize(200) if mode == "P" else image.convert(mode), "BMP")
    np.testing.assert_array_equal(read_photo(data).pixels, plain_rgb(data))


# --- refused ------------------------------------------------------------------------------------

ROWS = [bytes(WIDTH)] * HEIGHT


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"compression": 1}, "run lengths"),
        ({"compression": 2, "bits": 4}, "run lengths"),
        ({"compression": 4}, "JPEG in it"),
        ({"compression": 5}, "PNG in it"),
        ({"compression": 11}, "compression 11"),
        ({"bits": 64}, "64 bits a pixel is"),
        ({"bits": 0}, "0 bits a pixel is"),
        ({"bits": 32, "compression": BITFIELDS, "masks": (0x3FF, 0xFFC00, 0x3FF00000)}, "unusual"),
        ({"bits": 16, "compression": BITFIELDS, "masks": (0xF00, 0xF0, 0xF)}, "unusual"),
    ],
)
def test_other_variants_are_named_with_their_cure(how, words):
    cause, cure = refusal(bmp_file(how.pop("bits", 8), ROWS, **how))
    assert words in cause and cause.endswith("is not read") and "24 bits" in cure


def test_missing_pixels_are_refused_on_both_sides():
    data = bmp_file(24, [bytes(3 * WIDTH)] * HEIGHT)
    assert read_photo(data).pixels.shape == (HEIGHT, WIDTH, 3)
    assert refusal(data[:-1]) == ("the BMP file is truncated: pixels are missing", CURE_COPY)
    for length in range(26, 54):
        assert refusal(data[:length])[1] == CURE_COPY


def test_sizes_that_lie():
    for at, value in ((18, 0), (18, -5), (22, 0)):
        data = bytearray(bmp_file(24, [bytes(3 * WIDTH)] * HEIGHT))
        struct.pack_into("<i", data, at, value)
        assert refusal(bytes(data)) == ("the BMP header is damaged", CURE_COPY)
    struct.pack_into("<ii", data, 18, 10**6, -(10**6))
    assert "1000000 x 1000000 pixels" in refusal(bytes(data))[0]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(14, 90), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 120),
)
def test_damaged_headers_raise_only_refusals(changes, lost):
    masks = (0xFF0000, 0xFF00, 0xFF, 0)
    data = bytearray(bmp_file(32, [bytes(4 * WIDTH)] * HEIGHT, compression=3, masks=masks))
    for position, value in changes:
        data[position] = value
    damaged = bytes(data[: len(data) - lost])
    with contextlib.suppress(Refusal):
        header = bmp.read_header(damaged)
        if header.width * header.height < 10**6:
            assert bmp.decode_bmp(damaged, header).size == (header.width, header.height)
