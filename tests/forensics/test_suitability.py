"""Kinds of pictures that are not judged, and photos that are."""

import numpy as np
import pytest
from PIL import Image

from exif_jax.forensics.suitability import MARGINS, PANORAMA, SCREENSHOT, objection_to_kind
from exif_jax.reading.photo import Photo


def picture(height, width, seed=0):
    noise = np.random.default_rng(seed).normal(128, 30, (height, width, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def objection(pixels, exif=None, kind="PNG", notes=()):
    photo = Photo(Image.fromarray(pixels), exif or {}, 1, kind, "0" * 64, 1, tuple(notes))
    return objection_to_kind(photo)


@pytest.mark.parametrize("size", [(300, 400), (300, 660), (200, 499), (1080, 1920)])
def test_photos_of_any_usual_shape_are_judged(size):
    assert objection(picture(*size)) == "" and objection(picture(*size[::-1])) == ""


def test_panoramas_are_not():
    assert objection(picture(160, 400)) == objection(picture(400, 160)) == PANORAMA
    assert objection(picture(160, 400), {"Make": "Canon"}) == PANORAMA


def drawn():
    """A page of a screen, 1920 x 1080: plain areas and some text."""
    pixels = picture(1080, 1920)
    pixels[200:600, 100:1500] = 240
    pixels[300:310, 200:900:7] = 10
    return pixels


def test_screenshots_are_not_but_photos_with_a_camera_are():
    assert objection(drawn()) == SCREENSHOT
    assert objection(drawn()[:-8]) == ""  # no screen's size, no margins
    assert objection(drawn(), {"Make": "Canon"}) == ""


@pytest.mark.parametrize("side", [0, 1])
def test_margins_are_seen_on_any_side_and_after_jpeg(side):
    pixels = np.swapaxes(picture(400, 300), 0, side).copy()
    pixels[:24] = (30, 60, 90)
    assert objection(pixels) == MARGINS
    jpeg = np.asarray(Image.fromarray(pixels))
    assert objection(jpeg, kind="JPEG") == MARGINS


def test_a_burnt_out_sky_is_no_margin():
    pixels = picture(400, 300)
    pixels[:80] = 255
    assert objection(pixels) == ""


def test_damage_comes_first():
    assert "damaged" in objection(picture(160, 400), notes=["it may be damaged: zeros"])
