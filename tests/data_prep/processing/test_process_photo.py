"""One file to its records, and the reason where it gives none."""

import io

import numpy as np
import pytest
from photo_folders import save_photo
from PIL import Image

from data_prep.processing.photo import process_photo
from data_prep.processing.settings import PrepSettings
from data_prep.sources.raw_photo import RawPhoto
from exif_jax.data.records import decode_image, decode_record
from exif_jax.reading.photo import read_photo

SETTINGS = PrepSettings(region_size=128)


@pytest.fixture
def photo(tmp_path) -> bytes:
    return save_photo(tmp_path / "photo.jpg", 1).read_bytes()


def reason(data: bytes) -> str:
    result, records = process_photo(RawPhoto("photo.jpg", data), SETTINGS)
    assert bool(records) == (result.reason == "") and len(records) == result.num_records
    assert "photo.jpg" in result.message or not result.reason or result.sha256
    return result.reason


def test_a_photo_gives_the_records_of_its_regions(photo):
    assert reason(photo) == ""
    result, records = process_photo(RawPhoto("photo.jpg", photo), SETTINGS)
    pixels = read_photo(photo).pixels
    for record in map(decode_record, records):
        y, x, h, w = record.region
        np.testing.assert_array_equal(decode_image(record), pixels[y : y + h, x : x + w])
        assert record.exif == result.exif and record.photo_id == result.photo_id


def scan_at(data: bytes) -> int:
    """A position within the coded pixels."""
    return (data.rindex(b"\xff\xda") + len(data)) // 2


@pytest.mark.parametrize("size", [64, 4096])
def test_zeros_among_the_coded_pixels_are_damage(photo, size):
    at = scan_at(photo)
    assert reason(photo[:at] + bytes(size) + photo[at + size :]) == "damaged"


def test_changed_bytes_among_the_coded_pixels_are_damage(photo):
    rng = np.random.default_rng(0)
    changed = bytearray(photo)
    for at in rng.integers(photo.rindex(b"\xff\xda") + 20, len(photo) - 2, 40):
        changed[at] ^= 1 << int(rng.integers(8))
    assert reason(bytes(changed)) == "damaged"


def test_a_missing_half_is_damage_with_and_without_an_end_marker(photo):
    half = photo[: scan_at(photo)]
    assert reason(half) == reason(half + b"\xff\xd9") == "damaged"


def test_what_follows_a_picture_is_no_damage(photo):
    video = np.random.default_rng(0).bytes(2_000_000)
    assert reason(photo + b"\0\0\0\x18ftypmp42" + video) == ""
    assert reason(photo[:-2]) == ""  # all blocks are there


def test_other_files_are_unreadable(photo):
    assert reason(b"no image at all") == "unreadable"
    assert reason(b"") == "damaged"


def test_pixels_that_nobody_vouches_for_are_no_training_photo(photo, monkeypatch):
    from exif_jax.reading.photo import Photo

    monkeypatch.setattr(Photo, "may_be_damaged", property(lambda _: True))
    assert reason(photo) == "damaged"


def test_tags_of_a_side_car_count_for_a_file_without_its_own():
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (160, 160, 3), np.uint8)).save(stream, "JPEG")
    assert reason(stream.getvalue()) == "no EXIF"
    exif = {"Make": "Canopus", "Model": "C1", "ISO": "100", "Flash": "Fired", "F Number": "f/2.8"}
    result, records = process_photo(RawPhoto("a.jpg", stream.getvalue(), exif), SETTINGS)
    assert result.exif == exif and len(records) == 1 and result.traces is None


@pytest.mark.parametrize(
    ("tag", "value", "cause"),
    [(0xFE, 1, "no more than a thumbnail"), (0xC612, b"\1\4\0\0", "a raw file (DNG)")],
)
def test_the_thumbnail_of_a_raw_file_is_no_training_photo(tag, value, cause):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Canopus", "C1", "1.0"
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x829D: 2.8, 0x8827: 100, 0x920A: 50.0})
    pixels = np.random.default_rng(0).integers(0, 256, (192, 256, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF", exif=exif.tobytes())
    assert reason(stream.getvalue()) == ""
    exif[tag] = value
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF", exif=exif.tobytes())
    result, records = process_photo(RawPhoto("raw.tif", stream.getvalue()), SETTINGS)
    assert result.reason == "unreadable" and cause in result.message and not records


@pytest.mark.parametrize(("room", "wanted"), [(0, ""), (-1, "unreadable")])
def test_photos_of_more_pixels_than_asked_for_are_rejected(photo, room, wanted):
    height, width = read_photo(photo).pixels.shape[:2]
    settings = PrepSettings(region_size=128, max_pixels=height * width + room)
    result, records = process_photo(RawPhoto("photo.jpg", photo), settings)
    assert result.reason == wanted and bool(records) == (wanted == "")
    assert wanted == "" or "Raise --max-pixels" in result.message
