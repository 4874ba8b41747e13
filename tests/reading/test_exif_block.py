"""EXIF blocks without trust: what Pillow reads of good ones, and never an error."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_exif import from_pillow
from test_photo import tiff

from exif_jax.reading.exif_block import exif_parts, read_exif, without_preamble

TIFFS = (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")
bounded = settings(max_examples=200, deadline=None, derandomize=True)


def photo_exif(order: str) -> Image.Exif:
    data = Image.Exif()
    data.endian = order
    data.update({0x010F: "Maker", 0x0112: 6, 0x011A: 72.5})
    camera = {0x829A: 0.004, 0x9204: -0.5, 0x9101: b"\1\2\3\0", 0xA432: (24.0, 70.0, 2.8, 4.0)}
    data.get_ifd(0x8769).update(camera | {0xA005: {1: "R98"}})
    return data


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_is_read_as_pillow_reads_it(order):
    block = photo_exif(order).tobytes().removeprefix(b"Exif\0\0")
    assert block[:2] == (b"II" if order == "<" else b"MM")
    pillow = Image.Exif()
    pillow.load(block)
    tags, orientation, notes = read_exif(block)
    assert tags == from_pillow(pillow) and len(tags) == 8
    assert (orientation, notes) == (6, ())


@pytest.mark.parametrize(
    ("kind", "value", "orientation"),
    [
        *((3, 1, 1), (3, 8, 8), (4, 6, 6), (1, 3, 3)),  # unsigned of 16, 32 and 8 bits
        *((3, 0, 1), (3, 9, 1), (9, 2**32 - 3, 1), (2, 0x36, 1), (99, 6, 1)),  # none: upright
    ],
)
def test_orientation_is_one_of_eight(kind, value, orientation):
    assert read_exif(tiff([(0x0112, kind, 1, value)]))[1] == orientation


def test_values_outside_the_block_or_too_long_are_left_out_and_the_first_of_two_counts():
    make, model, text = 0x010F, 0x0110, b"x" * 5000
    for length, said in ((4096, "x" * 40), (4097, None)):
        assert read_exif(tiff([(make, 2, length, 26)], text))[0].get("Make") == said
    assert read_exif(tiff([(make, 2, 8, 26)], b"ABCDEFGH"))[0] == {"Make": "ABCDEFGH"}
    assert read_exif(tiff([(make, 2, 8, 27), (model, 2, 1, 0x42)], b"ABCDEFGH"))[0] == {
        "Model": "B"
    }
    assert read_exif(tiff([(make, 2, 1, 0x41), (make, 2, 1, 0x42)]))[0] == {"Make": "A"}


LEFT_OUT = "EXIF of an unknown type, too long or outside its block left out: "


def test_what_is_left_out_is_noted():
    make, model, lens = 0x010F, 0x0110, 0xA434
    inside, text = 26, b"x" * 5000
    for entry, is_read in (
        ((make, 2, 4096, inside), True),
        ((make, 2, 4097, inside), False),  # too long
        ((make, 2, 5000, inside + 1), False),  # outside
        ((make, 200, 4, inside), False),  # of an unknown type
        ((make, 2, 0, 0), True),  # there is no value to leave out
        ((0xC000, 200, 4, inside), True),  # no canonical tag
    ):
        notes = read_exif(tiff([entry], text)).notes
        assert notes == (() if is_read else (f"{LEFT_OUT}Make",)), entry
    # What a second entry of the same tag gives is not left out.
    twice = [(make, 200, 4, inside), (make, 2, 1, 0x41), (model, 200, 1, 0)]
    assert read_exif(tiff(twice, text)) == ({"Make": "A"}, 1, (f"{LEFT_OUT}Model",))
    below = struct.pack("<HHHII", 1, lens, 200, 1, 0)
    link = [(0x8769, 4, 1, inside)]
    assert read_exif(tiff(link, below)).notes == (f"{LEFT_OUT}Lens Model",)


def test_few_of_many_names_are_noted():
    entries = [(tag, 200, 1, 0) for tag in (0x010F, 0x0110, 0x0131, 0x011A, 0x011B)]
    assert read_exif(tiff(entries)).notes[0].endswith("X Resolution, Y Resolution")
    (note,) = read_exif(tiff([*entries, (0x0128, 200, 1, 0)])).notes
    assert note.endswith("X Resolution, Y Resolution, ...") and "Unit" not in note


def test_text_of_exif_3_is_utf8():
    text = "Élkora".encode()
    assert read_exif(tiff([(0x010F, 129, len(text), 26)], text)).tags == {"Make": "?lkora"}
    assert read_exif(tiff([(0x010F, 129, 3, 0x00414141)])).tags == {"Make": "AAA"}
    assert read_exif(tiff([(0x010F, 129, 4, 0x41FFC341)])).tags == {"Make": "A?A"}  # no UTF-8


@pytest.mark.parametrize("preamble", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0", b"\0\0\0\6Exif\0\0"])
@pytest.mark.parametrize("head", TIFFS)
def test_a_block_begins_with_its_tiff_header(preamble, head):
    assert without_preamble(preamble + head + b"rest") == head + b"rest"


def test_bytes_without_a_tiff_header_stay_as_they_are():
    for block in (b"", b"Exif\0\0nothing", b"x" * 25 + TIFFS[0]):
        assert without_preamble(block) == block
    assert without_preamble(b"x" * 24 + TIFFS[0]) == TIFFS[0]


@pytest.mark.parametrize("before", [0, 999, 1000])
def test_a_directory_is_read_up_to_a_thousand_entries(before):
    filler = [(0xC000, 3, 1, 0)] * before
    assert bool(read_exif(tiff([*filler, (0x010F, 2, 1, 0x41)]))[0]) == (before < 1000)


def test_a_damaged_block_gives_what_comes_before_the_damage():
    link = (0x8769, 4, 1, 10**6)
    assert read_exif(tiff([(0x0112, 3, 1, 3), link])) == (
        *({"Orientation": "Rotate 180"}, 3),
        ("EXIF is damaged: only a part was read",),
    )
    for block in (b"", b"II", b"XX*\0\x08\0\0\0", TIFFS[0], b"II+\0" + TIFFS[0][4:]):
        tags, orientation, notes = read_exif(block)
        assert (tags, orientation, len(notes)) == ({}, 1, 1)
        assert exif_parts(block) == frozenset()


@pytest.mark.parametrize("order", ["<", ">"])
def test_parts_of_a_cameras_exif(order):
    for note, parts in ((b"note", {"maker note"}), (b"", set())):
        data = photo_exif(order)
        data.get_ifd(0x8769)[0x927C] = note
        block = data.tobytes().removeprefix(b"Exif\0\0")
        assert exif_parts(block) == parts
    for tag, seen in ((0x0201, True), (0x0111, True), (0x0100, False)):
        second = tiff([(tag, 4, 1, 0)])[8:]
        assert exif_parts(tiff([], second, link=14)) == ({"thumbnail"} if seen else set())


@bounded
@given(st.sampled_from(TIFFS), st.binary(max_size=200))
def test_any_block_is_read_without_an_error(head, data):
    for block in (data, head + data):
        tags, orientation, notes = read_exif(block)
        assert 1 <= orientation <= 8 and len(notes) <= 1 and isinstance(tags, dict)
        assert exif_parts(block) <= {"maker note", "thumbnail"}


@bounded
@given(
    st.sampled_from("<>"),
    st.integers(0, 400),
    st.dictionaries(st.integers(0, 300), st.integers(0, 255), max_size=8),
)
def test_a_damaged_block_is_read_without_an_error(order, length, changes):
    block = bytearray(photo_exif(order).tobytes()[6 : 6 + length])
    for position, value in changes.items():
        block[position : position + 1] = bytes([value])
    read_exif(bytes(block))
    exif_parts(bytes(block))
