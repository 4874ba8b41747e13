"""What people see of a localisation: colours, the overlay, safe names, strict JSON."""

import pathlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from stand_in import PATCH, roughness, spliced

from exif_jax.forensics.localization import localize_with_encoder
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.io.text import json_bytes
from exif_jax.reading.photo import Photo
from exif_jax.reading.walk import is_own_picture
from exif_jax.reports import outputs
from exif_jax.reports.render import LUT, colorize, overlay_image, upright


def test_colours_rise_in_lightness_on_a_fixed_scale():
    lightness = LUT.astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) >= -0.5).all() and lightness[-1] - lightness[0] > 200
    np.testing.assert_array_equal(colorize(np.array([-1.0, 0.0, 1.0, 2.0])), LUT[[0, 0, 255, 255]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_as_viewers_turn_photos(orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright(pixels, orientation), expected)


@pytest.mark.parametrize("size", [(20, 3000), (3000, 20), (33, 33), (600, 800)])
def test_overlay_of_any_shape(size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    values = rng.random(size).astype(np.float32)
    picture = overlay_image(image, values, "тест\x1b[31m " * 40, "short", 6)
    assert picture.mode == "RGB" and max(picture.size) < 4000


def test_the_overlay_has_the_outline_on_both_panels():
    image = np.full((600, 800, 3), 128, np.uint8)
    square = [[[(200, 150), (600, 150), (600, 450), (200, 450), (200, 150)]]]
    plain, outlined = (
        np.asarray(overlay_image(image, np.zeros((600, 800), np.float32), "", "", 1, rings))
        for rings in ((), square)
    )
    columns = np.flatnonzero((plain != outlined).any(axis=(0, 2)))
    squares = np.split(columns, np.flatnonzero(np.diff(columns) > 50) + 1)
    assert [np.ptp(square) for square in squares] == pytest.approx([400, 400], abs=8)


def test_a_mask_is_written_where_it_is_asked_for(tmp_path):
    image = spliced()[0]
    photo = Photo(Image.fromarray(image), {}, 6, "JPEG", "0" * 64, 9, ())
    localization = localize_with_encoder(image, roughness, {}, PATCH)
    report = outputs.make_report(photo, "a.jpg", "0" * 12, LocalizationSettings(), localization)
    outputs.write_outputs(tmp_path, "a", photo, localization, report, mask=True)
    written = np.asarray(Image.open(tmp_path / "a.mask.png"))
    np.testing.assert_array_equal(written, localization.mask * np.uint8(255))
    assert report["region"]["share"] == pytest.approx(localization.mask.mean(), abs=1e-4)
    assert report["verdict"] == "cannot tell" and report["version"] == 2
    assert is_own_picture(tmp_path / "a.mask.png") and "a" in outputs.names_in(tmp_path)


def test_the_overlay_says_what_the_reader_noted(tmp_path, monkeypatch):
    image = spliced()[0]
    photo = Photo(Image.fromarray(image), {}, 1, "JPEG", "0" * 64, 9, ("from row 40 on damaged",))
    localization = localize_with_encoder(image, roughness, {}, PATCH)
    report = outputs.make_report(
        photo, "a.jpg", "0123456789ab", LocalizationSettings(), localization
    )
    subtitles = []

    def draw(image, heatmap, title, subtitle, orientation, outline):
        subtitles.append(subtitle)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(outputs, "overlay_image", draw)
    outputs.write_outputs(tmp_path, "a", photo, localization, report)
    assert subtitles[0].startswith(f"score {localization.score:.3f} (cannot tell)   from row 40 on")
    assert is_own_picture(tmp_path / "a.overlay.png")


def test_names_in_a_folder_are_those_of_results_and_not_of_links(tmp_path):
    for name in ("A.json", "b.verify.json", "c.overlay.png", "d.jpg", ".exif-jax.lock"):
        (tmp_path / name).write_bytes(b"")
    try:
        (tmp_path / "e.json").symlink_to(tmp_path / "A.json")
    except OSError:
        pytest.skip("no links may be made here")
    assert outputs.names_in(tmp_path) == {"a", "b", "b.verify", "c"}


def test_names_are_safe_and_told_apart():
    photos = ["a/x.jpg", "b/x.jpg", "b/X.png", "-rf.jpg", ".hid.jpg", "é ü.jpg", "a\x1b\n.jpg"]
    photos += ["😀.jpg", "n" * 300 + ".jpg", "x-2.jpg", "..jpg", "\udcff.jpg"]
    names = outputs.output_names(map(pathlib.Path, photos))
    assert names[:4] == ["x", "x-2", "X-3", "_-rf"]
    assert outputs.output_names([pathlib.Path("X.jpg")], {"x", "x-2"}) == ["X-3"]
    assert names[5] == "é ü"
    assert len({name.casefold() for name in names}) == len(photos)
    for name in names:
        assert name[0] not in ".-" and name.isprintable() and "/" not in name
        assert len(name.encode()) <= 130


def test_a_report_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        json_bytes({"score": float("nan")})
