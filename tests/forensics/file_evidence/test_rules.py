"""Each rule on files of a made camera: as it writes them, and changed in one way."""

import hashlib
import io
import struct

import pytest
from camera_file import camera_file, jpeg, scene, segment, thumbnail_of, with_segments
from PIL import Image
from planted import (
    ACME_TABLES,
    OTHER_TABLES,
    acme,
    contradicted,
    planted_gallery,
    sentences,
    verdicts,
)

from exif_jax.forensics.file_evidence import jpeg_tables
from exif_jax.forensics.file_evidence.facts import gather
from exif_jax.reading.file_parts import ZIGZAG
from exif_jax.reading.photo import read_photo

XMP = b"http://ns.adobe.com/xap/1.0/\0"


def test_a_file_of_the_camera_is_contradicted_by_nothing():
    seen = verdicts(acme(seed=99))
    assert "contradicts" not in seen.values()
    fits = {rule for rule, verdict in seen.items() if verdict == "fits"}
    assert {
        *("tables of the model", "chroma sampling", "segment order", "colour profile"),
        *("EXIF size", "missing parts", "thumbnail's content", "thumbnail's places"),
        *("order of times", "changed later", "thumbnail's shape"),
    } <= fits


def test_a_camera_that_nobody_knows_is_not_contradicted_for_that():
    data = camera_file(scene(seed=3), "Nobody", "Zero", qtables=[[9] * 64, [9] * 64])
    assert contradicted(data) == set()


def test_without_a_camera_there_is_nothing_to_contradict():
    assert contradicted(jpeg(scene(), quality=80)) == set()


# --- saved anew -----------------------------------------------------------------------------------


def saved(**options) -> bytes:
    return acme(seed=99, **options)


@pytest.mark.parametrize("quality", [75, 90])
def test_standard_tables_where_the_camera_has_its_own(quality):
    data = saved(qtables=None, quality=quality)
    assert {"standard tables", "tables of the model"} <= contradicted(data)
    assert f"at quality {quality}" in sentences(data)["standard tables"]


def test_tables_of_another_maker():
    assert contradicted(saved(qtables=OTHER_TABLES)) == {
        "tables of another maker",
        "tables of the model",
    }
    assert "cameras by other" in sentences(saved(qtables=OTHER_TABLES))["tables of another maker"]


@pytest.mark.parametrize(
    ("software", "verdict"),
    [("OtherCam 3.1", "fits"), ("AcmeCam 1.2", "contradicts"), ("Ver.1.00", "contradicts")],
)
def test_tables_of_the_program_that_exif_names_are_no_makers(software, verdict):
    data = saved(qtables=OTHER_TABLES, software=software)
    assert verdicts(data)["tables of another maker"] == verdict


def test_tables_that_other_makers_have_from_one_source_alone_say_nothing():
    photo = read_photo(saved(qtables=OTHER_TABLES))
    facts = gather(photo, planted_gallery())
    known = planted_gallery().known(facts.record)
    assert jpeg_tables.tables_of_another_maker(facts, known)[0] == "contradicts"
    known = known._replace(other_sources=2)
    assert jpeg_tables.tables_of_another_maker(facts, known)[0] == "silent"


def test_photoshops_tables(monkeypatch):
    raw = b"\0".join(bytes(table[k] for k in ZIGZAG) for table in ([7] * 64, [8] * 64))
    digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(jpeg_tables._PHOTOSHOP, digest, 10)
    assert "Photoshop's tables" in contradicted(saved(qtables=[[7] * 64, [8] * 64]))


def test_other_sampling_than_the_camera_has():
    assert "chroma sampling" in contradicted(saved(subsampling=0))


def test_another_order_of_segments_and_jfif():
    plain = jpeg(scene(seed=99), qtables=ACME_TABLES)
    exif = with_segments(plain, exif_segment(acme(seed=99)))
    jfif = exif[:2] + plain[2:20] + exif[2:]
    assert contradicted(exif) == set()
    assert contradicted(jfif) == {"segment order", "JFIF segment"}


def exif_segment(data: bytes) -> bytes:
    return data[2 : 4 + int.from_bytes(data[4:6], "big")]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ((0xED, b"Photoshop 3.0\x008BIM"), "editor's segments"),
        ((0xE1, XMP + b'<x xmp:CreatorTool="Adobe Photoshop 25.0"/>'), "editor named"),
        ((0xE1, XMP + b"<stEvt:softwareAgent>GIMP 3</stEvt:softwareAgent>"), "editor named"),
    ],
)
def test_marks_of_editors(body, rule):
    assert rule in contradicted(saved(more=(segment(*body),)))


def test_xmp_of_a_camera_names_no_editor():
    data = saved(more=(segment(0xE1, XMP + b'<x xmp:CreatorTool="Acme One Ver.1.00"/>'),))
    assert verdicts(data)["editor named"] == "silent"


def test_a_megabyte_of_history_is_searched_in_no_time():
    bodies = tuple(segment(0xE1, XMP + b'stEvt:softwareAgent="x' * 2900) for _ in range(20))
    assert verdicts(saved(more=bodies))["editor named"] == "silent"


def test_a_colour_profile_that_the_camera_does_not_write():
    body = b"ICC_PROFILE\0\1\1" + bytes(150)
    assert "colour profile" in contradicted(saved(more=(segment(0xE2, body),)))


@pytest.mark.parametrize(
    ("width", "height", "words"), [(480, 320, None), (320, 480, "turned"), (960, 640, "960 x 640")]
)
def test_the_size_in_exif(width, height, words):
    data = saved(camera={0xA002: width, 0xA003: height})
    assert ("EXIF size" in contradicted(data)) == (words is not None)
    assert words is None or words in sentences(data)["EXIF size"]


def test_missing_thumbnail_and_maker_note():
    data = camera_file(scene(seed=99), "Acme", "One", b"", qtables=ACME_TABLES)
    assert contradicted(data) == {"missing parts"}
    assert "no maker note" in sentences(data)["missing parts"]
    assert "no thumbnail" in sentences(data)["missing parts"]


# --- the file's own pictures ----------------------------------------------------------------------


def test_the_thumbnail_of_another_photo():
    data = saved(thumbnail=thumbnail_of(scene(seed=5)))
    assert contradicted(data) == {"thumbnail's content"}


def test_what_is_said_of_the_thumbnails_shape_is_true():
    """4:3 thumbnails of a wide photo, as cameras write them: with black bars, or cut."""
    image = scene(960, 540, seed=99)
    barred, middle = Image.new("RGB", (160, 120)), image.crop((120, 0, 840, 540))
    barred.paste(image.resize((160, 90), Image.Resampling.BOX), (0, 15))
    cut = middle.resize((160, 120), Image.Resampling.BOX)
    for small, verdict, words in (
        (thumbnail_of(image, (160, 90)), "fits", "the thumbnail has the photo's shape"),
        (jpeg(barred, quality=90), "fits", "between its black bars the thumbnail has"),
        (jpeg(cut, quality=90), "silent", "the photo's middle alone, in another shape"),
    ):
        data = acme(image=image, thumbnail=small)
        assert verdicts(data)["thumbnail's shape"] == verdict
        assert words in sentences(data)["thumbnail's shape"]


def test_a_photo_turned_after_the_thumbnail_was_made():
    image = scene(seed=99)
    turned = image.transpose(2)
    data = acme(image=turned, thumbnail=thumbnail_of(image))
    assert contradicted(data) == {"thumbnail turned"}
    assert verdicts(data)["thumbnail's shape"] == "silent"


def test_a_place_changed_after_the_thumbnail_was_made():
    image = scene(960, 640, seed=99)
    changed = image.copy()
    changed.paste(scene(160, 160, seed=4), (500, 300))
    data = acme(image=changed, thumbnail=thumbnail_of(image))
    assert contradicted(data) == {"thumbnail's places"}


# --- what is said of the camera -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ({0x829D: (14, 10), 0x9205: (4, 1)}, "aperture"),  # f/1.4, though the lens has f/4
        ({0x829D: (28, 10), 0x9202: (6, 1)}, "exposure twice"),  # f/2.8 and f/8
        ({0x829A: (1, 100), 0x9201: (3, 1)}, "exposure twice"),  # 1/100 and 1/8
        ({0x9003: "2020:05:07 07:08:09"}, "order of times"),
        ({0x9003: "2020:03:01 00:00:00"}, "changed later"),
    ],
)
def test_exif_that_contradicts_itself(tags, rule):
    assert contradicted(saved(camera=tags)) == {rule}


@pytest.mark.parametrize(
    ("tags", "rule"),
    [
        ({0x829D: (40, 10), 0x9205: (4, 1)}, "aperture"),
        ({0x829D: (28, 10), 0x9202: (3, 1)}, "exposure twice"),
    ],
)
def test_exif_that_agrees_with_itself(tags, rule):
    assert verdicts(saved(camera=tags))[rule] == "fits"


@pytest.mark.parametrize(
    "time", ["", "0000:00:00 00:00:00", "9999:99:99 99:99:99", "2020", "x" * 3000]
)
def test_times_that_are_none(time):
    seen = verdicts(saved(camera={0x9003: time}))
    assert seen["order of times"] == seen["changed later"] == "silent"


# --- traces ---------------------------------------------------------------------------------------


def test_compressed_before():
    with Image.open(io.BytesIO(jpeg(scene(768, 512, 99), quality=70))) as image:
        data = acme(image=image.convert("RGB"))
    assert "compressed before" in contradicted(data)
    assert "quality" in sentences(data)["compressed before"]


def test_zero_denominators_are_not_compared():
    zero = struct.pack("<II", 1, 0)
    assert contradicted(saved(camera={0x829D: struct.unpack("<II", zero)})) == set()
