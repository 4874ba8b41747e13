"""The photo among the pages of a TIFF file: never a thumbnail in silence, never a raw file."""

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_exif_block import photo_exif
from test_photo import SCENE, encode, plain_rgb, tiff

from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reading.refusal import CURE_COPY, Refusal
from exif_jax.reading.tiff_pages import CURE_RAW, CURE_TIFF, plain_tiff

SMALL = np.ascontiguousarray(SCENE[::4, ::4])
FULL, REDUCED = 0, 1  # values of NewSubfileType
RGB, COLOR_FILTER_ARRAY, LINEAR_RAW = 2, 32803, 34892
SUB_DIRECTORIES, DNG_VERSION = 330, 50706


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        plain_tiff(data)
    return caught.value.cause, caught.value.cure


def page(
    pixels: np.ndarray, more: dict[int, tuple[int, int, int]], at: int, link: int = 0
) -> bytes:
    """A directory with its pixels behind it, to lie at an offset.

    Args:
      pixels: uint8 [H, W, 3].
      more: Tag -> type, count and value of further entries; they replace those of the pixels.
      at: The offset.
      link: Where the next directory lies.
    """
    height, width = pixels.shape[:2]
    entries = {
        254: (4, 1, FULL),
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, 1, 8),
        259: (3, 1, 1),
        262: (3, 1, RGB),
        273: (4, 1, 0),
        277: (3, 1, 3),
        278: (4, 1, height),
        279: (4, 1, pixels.size),
    } | more
    pixels_at = at + 2 + 12 * len(entries) + 4
    entries[273] = (4, 1, pixels_at)
    body = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", link) + pixels.tobytes()


def file(first: dict, second: dict | None = None, linked_by: str = "chain") -> bytes:
    """A TIFF file of a small page and, behind it, one of the full picture.

    Args:
      first: Further entries of the small page.
      second: Those of the other one; None leaves it out.
      linked_by: "chain" from page to page, or "below", as a sub-directory.
    """
    if second is None:
        return b"II*\0\x08\0\0\0" + page(SMALL, first, 8)
    below = {SUB_DIRECTORIES: (4, 1, 0)} if linked_by == "below" else {}
    at = 8 + len(page(SMALL, first | below, 8))
    if below:
        head = page(SMALL, first | {SUB_DIRECTORIES: (4, 1, at)}, 8)
    else:
        head = page(SMALL, first, 8, link=at)
    return b"II*\0\x08\0\0\0" + head + page(SCENE, second, at)


# --- one page -----------------------------------------------------------------------------------


def test_a_plain_tiff_is_its_first_page_as_pillow_decodes_it():
    pages = {"save_all": True, "append_images": [Image.new("L", (8, 8))]}
    data = encode(kind="TIFF", exif=photo_exif("<"), tiffinfo={700: b"<x/>"}, **pages)
    plain, compression, pixel_bytes, notes = plain_tiff(data)
    assert len(plain) == len(data) and notes == ("first of several pages used",)
    assert (compression, pixel_bytes) == (1, 3)
    with Image.open(io.BytesIO(plain)) as image:
        assert image.n_frames == 1 and not {0x0112, 700, 0x8769} & {*image.getexif()}
    np.testing.assert_array_equal(plain_rgb(plain), SCENE)
    assert plain_tiff(plain) == (plain, 1, 3, ())


@pytest.mark.parametrize(
    ("mode", "pixel_bytes"), [("RGB", 3), ("L", 1), ("I;16", 2), ("CMYK", 4), ("F", 4), ("1", 0)]
)
def test_the_bytes_of_a_pixel(mode, pixel_bytes):
    image = Image.fromarray(SCENE).convert("I" if mode == "I;16" else mode).convert(mode)
    assert plain_tiff(encode(image, "TIFF")).pixel_bytes == pixel_bytes


def test_a_directory_is_bounded():
    fits, many = ([(300, 3, 1, 0)] * count for count in (999, 1000))
    assert plain_tiff(tiff(fits)).notes == ()
    assert "claims more" in refusal(tiff(many))[0]
    assert refusal(tiff(fits)[:-1]) == ("the TIFF directory is truncated", CURE_COPY)
    size = len(tiff([(300, 7, 9, 0)]))
    assert plain_tiff(tiff([(300, 7, 2 * size + 65536, 0)]))
    assert "claims more" in refusal(tiff([(300, 7, 2 * size + 65537, 0)]))[0]


# --- the picture that was meant -----------------------------------------------------------------


@pytest.mark.parametrize("linked_by", ["chain", "below"])
def test_a_full_picture_behind_a_thumbnail_is_the_photo(linked_by):
    photo = read_photo(file({254: (4, 1, REDUCED)}, {}, linked_by))
    np.testing.assert_array_equal(photo.pixels, SCENE)
    assert photo.notes == ("the thumbnail in front of the picture passed over: 16 x 12 pixels",)


def test_a_larger_picture_below_a_page_is_the_photo():
    np.testing.assert_array_equal(read_photo(file({}, {}, "below")).pixels, SCENE)
    # What is marked as a reduced copy, or is no larger, lies below by right.
    smaller = read_photo(file({}, {254: (4, 1, REDUCED)}, "below"))
    np.testing.assert_array_equal(smaller.pixels, SMALL)
    assert smaller.notes == ()


def test_of_several_pages_of_a_document_the_first_is_the_photo():
    for first in ({}, {254: (4, 1, 2)}):  # 2: a page of several
        photo = read_photo(file(first, {}))
        np.testing.assert_array_equal(photo.pixels, SMALL)
        assert photo.notes == ("first of several pages used",)


@pytest.mark.parametrize("photometric", [COLOR_FILTER_ARRAY, LINEAR_RAW])
@pytest.mark.parametrize("linked_by", ["chain", "below"])
@pytest.mark.parametrize("first", [REDUCED, FULL])
def test_a_thumbnail_of_sensor_values_is_refused(first, linked_by, photometric):
    data = file({254: (4, 1, first)}, {262: (3, 1, photometric)}, linked_by)
    if first == FULL and linked_by == "chain":
        np.testing.assert_array_equal(read_photo(data).pixels, SMALL)
        return
    cause, cure = refusal(data)
    assert "raw file" in cause and "thumbnail of 16 x 12 pixels" in cause and cure == CURE_RAW


def test_raw_files_are_named():
    for data, kind in (
        (file({DNG_VERSION: (1, 4, 0x401)}), "DNG"),
        (file({DNG_VERSION: (1, 4, 0x401)}, {}, "below"), "DNG"),
        (file({262: (3, 1, COLOR_FILTER_ARRAY)}), "of sensor values"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(4) + page(SMALL, {}, 16), "Canon CR2"),
    ):
        cause, cure = refusal(data)
        assert f"a raw file ({kind})" in cause and "16 x 12" in cause and cure == CURE_RAW
        with pytest.raises(PhotoError, match="Develop it"):
            read_photo(data)


@pytest.mark.parametrize("subfile_type", [REDUCED, 4, 5])
def test_a_thumbnail_or_a_mask_alone_is_refused(subfile_type):
    cause, cure = refusal(file({254: (4, 1, subfile_type)}))
    assert cause == "it holds no more than a thumbnail, of 16 x 12 pixels" and cure == CURE_RAW
    assert plain_tiff(file({254: (4, 1, 2)}))  # a page of a document


def test_pages_are_walked_within_bounds():
    reduced = {254: (4, 1, REDUCED)}
    loop = b"II*\0\x08\0\0\0" + page(SMALL, reduced, 8, link=8)
    assert "no more than a thumbnail" in refusal(loop)[0]
    own = reduced | {SUB_DIRECTORIES: (4, 1, 8)}
    assert "no more than a thumbnail" in refusal(b"II*\0\x08\0\0\0" + page(SMALL, own, 8))[0]
    beyond = reduced | {SUB_DIRECTORIES: (4, 1, 10**9)}
    assert "no more than a thumbnail" in refusal(b"II*\0\x08\0\0\0" + page(SMALL, beyond, 8))[0]
    # A chain of directories of one entry: the full picture is found up to the 64th page.
    for num_between, is_found in ((63, True), (64, False)):
        data, at = b"II*\0\x08\0\0\0", 8
        start = at + len(page(SMALL, reduced, at))
        data += page(SMALL, reduced, at, link=start)
        for _ in range(num_between):
            data += struct.pack("<HHHIII", 1, 254, 4, 1, REDUCED, len(data) + 18)
        data += page(SCENE, {}, len(data))
        if is_found:
            np.testing.assert_array_equal(read_photo(data).pixels, SCENE)
        else:
            assert "no more than a thumbnail" in refusal(data)[0]


# --- codings that Pillow lacks ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "name"),
    [(34712, "JPEG 2000"), (34887, "LERC"), (52546, "JPEG XL"), (4711, "number 4711")],
)
def test_compressions_that_are_lacking_are_named(compression, name):
    cause, cure = refusal(file({259: (3, 1, compression)}))
    assert cause == f"TIFF with the compression {name} is not read" and cure == CURE_TIFF


def test_layouts_that_are_lacking_are_named():
    cause, cure = refusal(file({262: (3, 1, 32844)}))
    assert cause == "TIFF of the colour model number 32844 is not read" and cure == CURE_TIFF
    with pytest.raises(PhotoError, match="layout of samples") as caught:
        read_photo(file({258: (3, 1, 7)}))
    assert caught.value.cure == CURE_TIFF


def test_a_bigtiff_is_named_with_its_cure():
    for head in (b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
        with pytest.raises(PhotoError, match=r"BigTIFF is not read. .*tiffcp"):
            read_photo(head + bytes(100))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from([file({254: (4, 1, REDUCED)}, {}, how) for how in ("chain", "below")]),
    st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_raise_only_refusals(data, changes):
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position] = value
    with contextlib.suppress(Refusal):
        plain_tiff(bytes(damaged))
