"""What a file holds beside its pixels: as Pillow and exifread see it, and hostile."""

import io
import struct

import exifread
import pytest
from camera_file import camera_file, jpeg, scene, segment, thumbnail_of, with_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from exif_jax.reading.file_parts import FileParts, jpeg_parts, read_parts
from exif_jax.reading.photo import read_photo


def parts_of(data: bytes) -> FileParts:
    return read_parts(read_photo(data))


@pytest.mark.parametrize("quality", [30, 75, 98])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_tables_and_sampling_are_those_that_pillow_reads(quality, subsampling):
    data = jpeg(scene(), quality=quality, subsampling=subsampling)
    parts = parts_of(data)
    with Image.open(io.BytesIO(data)) as image:
        tables = image.quantization
    assert parts.tables == (tuple(tables[0]), tuple(tables[1])) and parts.num_tables == 2
    assert parts.sampling == ["1x1,1x1,1x1", "2x1,1x1,1x1", "2x2,1x1,1x1"][subsampling]


def test_segments_are_named_in_order():
    data = camera_file(more=(segment(0xE2, b"MPF\0II"), segment(0xFE, b"hello")))
    assert parts_of(data).segments[:4] == ("APP1 Exif", "APP2 MPF", "COM", "DQT")
    assert parts_of(jpeg(scene())).segments[0] == "APP0 JFIF"
    assert parts_of(jpeg(scene())).segments[-1] == "SOS"


def test_thumbnail_times_and_maker_note_are_exifreads():
    note = b"Panasonic\0\0\0" + bytes(60)
    data = camera_file(camera={0x927C: note})
    parts = parts_of(data)
    seen = exifread.process_file(io.BytesIO(data))
    assert parts.thumbnail == seen["JPEGThumbnail"] == thumbnail_of(scene())
    assert parts.exif.camera[0x9003].strip("\0") == str(seen["EXIF DateTimeOriginal"])
    assert parts.exif.maker_note == note and parts.exif.has_thumbnail


def test_canon_maker_notes_name_the_size():
    words = struct.pack("<8H", 16, 0, 9, 9, 3888, 2592, 0, 0)
    note = struct.pack("<HHHII", 1, 0x0026, 3, 8, 0) + bytes(4) + words
    data = camera_file(make="Canon", camera={0x927C: note})
    block_at = data.index(b"II*\0")
    at = data.index(note) - block_at  # offsets of Canon's note count from the block's start
    fixed = struct.pack("<HHHII", 1, 0x0026, 3, 8, at + 18) + bytes(4) + words
    assert parts_of(data.replace(note, fixed)).exif.note_sizes == ((3888, 2592),)


def test_the_colour_profile_is_named_as_littlecms_names_it():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    expected = ImageCms.getProfileDescription(profile).strip()
    data = jpeg(scene(), icc_profile=profile.tobytes())
    assert parts_of(data).icc == expected
    assert parts_of(jpeg(scene())).icc == ""


@pytest.mark.parametrize("body", [b"ICC_PROFILE\0\1\1", b"ICC_PROFILE\0\1\1" + b"\xff" * 200])
def test_a_damaged_profile_is_there_and_unnamed(body):
    assert parts_of(with_segments(jpeg(scene()), segment(0xE2, body))).icc == "unnamed"


def test_previews_are_those_that_mpf_lists_as_the_same_picture():
    small = jpeg(scene(240, 160))
    for kind, expected in ((0x010001, 1), (0x020002, 0), (0, 0)):
        data = camera_file(more=(segment(0xE2, b"MPF\0" + mpf(kind, 0, 0)),))
        at = data.index(b"MPF\0") + 4
        data = data.replace(mpf(kind, 0, 0), mpf(kind, len(data) - at, len(small))) + small
        parts = parts_of(data)
        assert [p.data for p in parts.previews] == [small] * expected
        assert (parts.trailer, parts.trailer_bytes) == ("JPEG", len(small))


def mpf(kind: int, start: int, length: int) -> bytes:
    """An MPF block of one further picture."""
    rows = struct.pack("<IIIHH", 0x030000, 0, 0, 0, 0) + struct.pack(
        "<IIIHH", kind, length, start, 0, 0
    )
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", 1)
    return head + struct.pack("<HHII", 0xB002, 7, len(rows), 26) + bytes(4) + rows


@pytest.mark.parametrize(
    ("trailer", "kind"),
    [
        (b"", ""),
        (bytes(64), ""),
        (b"\0\0\0\x18ftypmp42" + bytes(90), "video"),
        (b"x" * 50 + b"SEFT", "Samsung"),
        (b"notes", "data"),
    ],
)
def test_what_lies_behind_the_picture(trailer, kind):
    assert parts_of(jpeg(scene()) + trailer).trailer == kind


def test_other_formats_have_no_parts():
    stream = io.BytesIO()
    scene().save(stream, "PNG")
    assert parts_of(stream.getvalue()) == FileParts("PNG", (480, 320))


# --- hostile --------------------------------------------------------------------------------------


def test_tables_of_16_bits_more_than_four_and_cut_short():
    wide = segment(0xDB, b"\x11" + struct.pack(">64H", *range(300, 364)))
    beyond = segment(0xDB, b"\x07" + bytes(64)) + segment(0xDB, b"\x02" + bytes(30))
    data = with_segments(jpeg(scene()), wide, beyond)
    parts = jpeg_parts(data, (480, 320))
    assert parts.num_tables == 2 and all(len(table) == 64 for table in parts.tables)


def test_xmp_is_bounded_and_its_entities_stay_as_they_are():
    bomb = b'<!DOCTYPE x [<!ENTITY a "&b;&b;">]><x>&a;</x>'
    heads = [b"http://ns.adobe.com/xap/1.0/\0" + bomb + b"h" * 60_000] * 40
    parts = parts_of(with_segments(jpeg(scene()), *(segment(0xE1, head) for head in heads)))
    assert len(parts.xmp) == 1 << 20 and "&a;" in parts.xmp


def test_a_thumbnail_that_lies_about_its_place_is_cut_at_the_block():
    data = camera_file()
    length = len(thumbnail_of(scene()))
    lying = data.replace(
        struct.pack("<HHII", 0x0202, 4, 1, length), struct.pack("<HHII", 0x0202, 4, 1, 2**32 - 1)
    )
    assert lying != data and thumbnail_of(scene()) in parts_of(lying).thumbnail


def test_directories_that_lead_in_a_circle_end():
    data = camera_file(thumbnail=b"")
    at = data.index(b"II*\0")
    block = bytearray(data[at:])
    count = struct.unpack_from("<H", block, 8)[0]
    struct.pack_into("<I", block, 10 + 12 * count, 8)  # IFD1 is IFD0
    parts = parts_of(data[:at] + bytes(block))
    assert parts.exif.thumbnail_tags.keys() == parts.exif.image.keys()


@given(st.binary(max_size=400), st.integers(0, 3000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_bytes_in_the_head_raise(junk, place):
    data = bytearray(camera_file(scene(96, 64)))
    place = 2 + place % (data.index(b"\xff\xdb") - 2)
    data[place : place + len(junk)] = junk[: max(0, data.index(b"\xff\xdb") - place)]

    class Stub:
        image, format = Image.new("RGB", (96, 64)), "JPEG"

    photo = Stub()
    photo.data = bytes(data)
    assert read_parts(photo).format == "JPEG"
