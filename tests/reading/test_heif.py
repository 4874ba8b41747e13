"""HEIF and AVIF files whose boxes, items or units are damaged are refused; others are not."""

import io
import struct

import numpy as np
import pytest
from coded_scenes import RNG, SCENE, SCENES, encode, zeroed
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from exif_jax.reading import heif as heif_files
from exif_jax.reading.heif import avif_bits, check_items, end_of_boxes
from exif_jax.reading.photo import read_photo
from exif_jax.reading.refusal import CURE_COPY, Refusal

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow is built without AVIF")


def refusal(data: bytes, check=check_items) -> str:
    """Returns the cause, or "" for a file that is not refused."""
    try:
        check(data)
    except Refusal as error:
        assert error.cure == CURE_COPY
        return error.cause
    return ""


# --- boxes --------------------------------------------------------------------------------------


def free_box(size: int, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", size, b"free") + body


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_boxes_end_where_the_file_ends(kind):
    def check(data: bytes) -> None:
        assert end_of_boxes(data, kind) == len(data)

    large = struct.pack(">I4sQ", 1, b"mdat", 20) + b"four"
    for good in (free_box(8), free_box(12, b"four") + large, large + free_box(0, b"to the end")):
        check(good)
    for short in (free_box(8) + free_box(9), large[:-1], large + free_box(8)[:4]):
        assert refusal(short, check) in (f"the {kind} file is truncated",)
    for bad in (free_box(7), free_box(8) + free_box(2), struct.pack(">I4sQ", 1, b"mdat", 7)):
        assert refusal(bad, check) == f"the {kind} file is damaged"
    check(free_box(8) * heif_files._MAX_TOP_BOXES)
    assert "boxes" in refusal(free_box(8) * (heif_files._MAX_TOP_BOXES + 1), check)


@pytest.mark.parametrize(
    "trailer", [b"abc", b"a trailer of a maker", RNG.bytes(5000), b"\0\0\0\2abcd"]
)
def test_what_follows_the_boxes_is_left_out(trailer):
    whole = box(b"ftyp", b"heic") + box(b"meta", bytes(9)) + box(b"mdat", bytes(40))
    assert end_of_boxes(whole + trailer, "HEIF") == len(whole)
    maker = whole + box(b"mine", bytes(30))  # a box of a name that is not known here
    assert end_of_boxes(maker, "HEIF") == len(maker)
    assert end_of_boxes(maker + trailer, "HEIF") == len(maker)
    # Before the pixels are there, and where a box of the format's own is cut, it is no trailer.
    assert refusal(box(b"ftyp", b"heic") + box(b"meta", bytes(9)) + trailer, whole_heif)
    assert "truncated" in refusal(whole + box(b"mdat", bytes(90))[:-1], whole_heif)


def whole_heif(data: bytes) -> None:
    end_of_boxes(data, "HEIF")


@needs_avif
def test_an_avif_file_with_a_trailer_is_read_and_noted():
    data = encode("AVIF", speed=10)
    photo = read_photo(data + b"a trailer of a maker")
    np.testing.assert_array_equal(photo.pixels, read_photo(data).pixels)
    assert photo.notes == ("bytes behind the last box skipped: 20",)


# --- AVIF ---------------------------------------------------------------------------------------


@needs_avif
@pytest.mark.parametrize("options", [{"quality": 85}, {"quality": 100}, {"quality": 1}])
@pytest.mark.parametrize("scene", ["photo", "squares"])
def test_whole_avif_files_are_not_refused(options, scene):
    assert check_items(encode("AVIF", SCENES[scene], speed=10, **options)) is None


@needs_avif
def test_a_flat_avif_file_is_not_refused():
    for scene in (SCENES["flat"][:1000], SCENES["black"]):
        assert check_items(encode("AVIF", scene, speed=10)) is None


@needs_avif
@pytest.mark.parametrize("length", [1024, 4096])
def test_zeros_in_an_avif_file_are_damage(length):
    data = encode("AVIF", quality=90, speed=10)
    assert refusal(data) == "" and avif_bits(data) == 8
    assert refusal(zeroed(data, length)) == (
        "the AVIF picture is damaged: zeros stand in its coded pixels"
    )
    erased = data.replace(data[2000 : 2000 + length], b"\xff" * length)
    assert refusal(erased) == (
        "the AVIF picture is damaged: nothing but ones stands in its coded pixels"
    )


@pytest.mark.parametrize(("flags", "bits"), [(0, 8), (0x80, 8), (0x40, 10), (0x60, 12)])
def test_the_bits_of_an_avif_file(flags, bits):
    config = box(b"iprp", box(b"ipco", box(b"av1C", bytes([0x81, 0, flags, 0]))))
    assert avif_bits(box(b"ftyp", b"avif") + box(b"meta", bytes(4) + config)) == bits
    assert avif_bits(b"\0\0\0\x18ftypavif") == 8


# --- HEIF ---------------------------------------------------------------------------------------


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def heif(
    coded: bytes, kind: bytes = b"hvc1", claimed: int | None = None, version: int = 0
) -> bytes:
    """A HEIF file of one item; ``claimed`` is the length that its directory states."""
    infe = box(b"infe", struct.pack(">IHH4s", 0x02000000, 1, 0, kind) + b"\0")
    iinf = box(b"iinf", struct.pack(">IH", 0, 1) + infe)
    config = box(b"hvcC", bytes(21) + b"\x03" + b"\0")
    iprp = box(b"iprp", box(b"ipco", config))
    claimed = len(coded) if claimed is None else claimed

    def meta(offset: int) -> bytes:
        items = b"\x44\0\0\x01\0\x01" + (b"\0\0" if version else b"") + b"\0\0\0\x01"
        iloc = bytes([version, 0, 0, 0]) + items + struct.pack(">II", offset, claimed)
        return box(b"meta", bytes(4) + iinf + iprp + box(b"iloc", iloc))

    start = box(b"ftyp", b"heic\0\0\0\0mif1")
    at = len(start) + len(meta(0)) + 8
    return start + meta(at) + box(b"mdat", coded)


def unit(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


GOOD = unit(b"\x28\x01" + RNG.bytes(3000).replace(b"\0", b"a")) + unit(
    b"\x28\x01\0\0\x03\0\0\x03\x01"
)


@pytest.mark.parametrize("version", [0, 1])
def test_heif_units_are_checked_on_both_sides(version):
    assert check_items(heif(GOOD, version=version)) is None
    for wrong in (b"\0\0\0", b"\0\0\x01", b"\0\0\x02"):
        damaged = GOOD[:500] + wrong + GOOD[503:]
        assert "damaged" in refusal(heif(damaged, version=version))
    assert check_items(heif(GOOD[:500] + b"\0\0\x03" + GOOD[503:], version=version)) is None
    assert "damaged" in refusal(heif(GOOD[:-1], version=version))
    for length, words in ((511, ""), (512, "nothing but ones")):
        assert words in refusal(heif(GOOD[:500] + b"\xff" * length + GOOD[500 + length :]))
    assert refusal(heif(GOOD[:500] + b"\xff" * 511 + GOOD[1011:], version=version)) == ""
    assert "outside" in refusal(heif(GOOD, claimed=len(GOOD) + 1, version=version))


def test_other_items_and_what_is_not_understood_are_left_to_the_decoder():
    assert check_items(heif(bytes(5000), b"Exif")) is None
    assert "zeros" in refusal(heif(bytes(5000), b"av01"))
    assert check_items(b"\0\0\0\x18ftypheic") is None and check_items(RNG.bytes(4000)) is None
    whole = heif(GOOD)
    for length in range(len(whole)):
        assert refusal(whole[:length]) in ("", "the HEIF file is truncated: items lie outside it")


def test_files_of_pillow_heif():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(SCENE))
    image.save(file, quality=85)
    data = file.getvalue()
    assert check_items(data) is None and "damaged" in refusal(zeroed(data, 600))


def test_items_that_claim_more_than_the_file_holds_are_refused():
    """Pieces that overlap, each as long as the file, would be gigabytes together."""
    head = box(b"ftyp", b"heic\0\0\0\0mif1")
    infe = box(b"infe", struct.pack(">IHH4s", 0x02000000, 1, 0, b"hvc1") + b"\0")
    iinf = box(b"iinf", struct.pack(">IH", 0, 1) + infe)

    def file(num_pieces: int, length: int) -> bytes:
        pieces = struct.pack(">II", 0, length) * num_pieces
        iloc = b"\0\0\0\0\x44\0\0\x01\0\x01\0\0" + struct.pack(">H", num_pieces) + pieces
        return head + box(b"meta", bytes(4) + iinf + box(b"iloc", iloc)) + bytes(10_000)

    assert "claim more" in refusal(file(200, 10_000))
    assert "break the rules" in refusal(file(2, 10_000))
    assert refusal(file(1, 10**8)) == "the HEIF file is truncated: items lie outside it"


def test_pieces_are_bounded():
    """Pieces of no bytes at all would let a small file ask for millions of turns."""
    items = struct.pack(">HHH", 1, 0, 65535) * 20
    iloc = box(b"iloc", b"\0\0\0\0\0\0" + struct.pack(">H", 20) + items)
    assert refusal(box(b"ftyp", b"heic") + box(b"meta", bytes(4) + iloc)) == ""
    with pytest.raises(IndexError):
        heif_files._item_ranges(iloc[8:])


FILES = [heif(GOOD), heif(GOOD, version=1), heif(RNG.bytes(900).replace(b"\0", b"a"), b"av01")]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 2000),
)
def test_damaged_files_raise_only_refusals(data, changes, head):
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position % min(len(data), 300)] = value
    damaged = bytes(damaged[: len(data) - head])
    refusal(damaged)
    refusal(damaged, whole_heif)
    avif_bits(damaged)
