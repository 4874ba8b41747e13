"""A whole simulated camera: its traces are in the photo, and the EXIF tells the truth."""

import dataclasses
import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import ExifTags, Image

from data_prep.simulation.camera import quantisation_tables
from data_prep.simulation.cameras import CAMERAS
from data_prep.simulation.exposure import LIGHTS, choose_shot_settings, widest_aperture
from data_prep.simulation.scenes import scene
from data_prep.simulation.shooting import encode_jpeg, shoot

BY_MODEL = {camera.model: camera for camera in CAMERAS}


def _base_settings(camera, **changes):
    """Daylight, widest, at the lowest ISO: nothing unusual, so that one change can be seen."""
    settings = choose_shot_settings(camera, np.random.default_rng(0))
    usual = {
        "iso": camera.iso[0],
        "exposure_time": Fraction(1, 1000),
        "focal_length": camera.lens.focal[0],
        "f_number": widest_aperture(camera, camera.lens.focal[0]),
        "exposure_bias": Fraction(0),
        "metering": "pattern",
        "light": "daylight",
        "preset_balance": True,
        "flash": False,
        "contrast": 0,
        "saturation": 0,
        "sharpness": 0,
        "fine": True,
    }
    return dataclasses.replace(settings, **{**usual, **changes})


def _flat(size=96, light=0.18):
    return np.full((size, size, 3), light, np.float32)


def _noise(camera, **changes):
    pixels, _ = shoot(camera, _flat(), _base_settings(camera, **changes), np.random.default_rng(1))
    return float(pixels[16:-16, 16:-16, 1].std())


def test_lattice_survives_the_whole_camera():
    """In a finished photo the prediction error of green is periodic with period two."""
    camera = dataclasses.replace(BY_MODEL["Hylos D2"], chroma_denoise=0.0, sharpen=(0.9, 0.0))
    settings = _base_settings(camera, iso=1250)
    pixels, _ = shoot(camera, _flat(256), settings, np.random.default_rng(2))
    green = pixels[32:-32, 32:-32, 1].astype(np.float32)
    wide = np.pad(green, 1, mode="reflect")
    error = np.abs(
        green - (wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 4
    )
    spectrum = np.abs(np.fft.fft2(error - error.mean()))
    # A quincunx lattice shows as one peak at the highest diagonal frequency.
    half = error.shape[0] // 2
    assert spectrum[half, half] > 20 * np.median(spectrum)


@pytest.mark.parametrize("model", ["AX-1", "CV-P7", "DC-500z", "Hylos D2"])
def test_noise_grows_with_iso(model):
    camera = BY_MODEL[model]
    low, high = _noise(camera), _noise(camera, iso=camera.iso[1])
    assert high > 1.7 * low > 0


def test_opening_the_aperture_darkens_corners_and_softens():
    camera = BY_MODEL["Hylos R"]
    fall_off, sharpness = [], []
    view = scene(np.random.default_rng(5), 128)
    for f_number in (2.0, 5.6):
        settings = _base_settings(camera, f_number=f_number)
        flat, _ = shoot(camera, _flat(128), settings, np.random.default_rng(0))
        fall_off.append(flat[56:72, 56:72].mean() - flat[:8, :8].mean())
        pixels, _ = shoot(camera, view, settings, np.random.default_rng(0))
        sharpness.append(np.abs(np.diff(pixels[32:96, 32:96, 1].astype(float), axis=1)).mean())
    assert fall_off[0] > fall_off[1] + 5
    assert sharpness[0] < sharpness[1]


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.model)
def test_file_has_the_makers_tables_and_true_exif(camera):
    rng = np.random.default_rng(11)
    settings = choose_shot_settings(camera, rng)
    pixels, exif = shoot(camera, scene(rng, 64), settings, rng)
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    with Image.open(io.BytesIO(encode_jpeg(pixels, exif, camera, settings.fine))) as image:
        written = [list(image.quantization[i]) for i in (0, 1)]
        layers = image.layer  # (id, horizontal, vertical sampling, table)
        base = image.getexif()
        tags = base.get_ifd(ExifTags.IFD.Exif)
    assert written == quantisation_tables(camera, 1.0 if settings.fine else 1.8)
    factors = {"4:4:4": (1, 1), "4:2:2": (2, 1), "4:2:0": (2, 2)}
    assert layers[0][1:3] == factors[camera.subsampling]
    tag = ExifTags.Base
    assert (base[tag.Make], base[tag.Model]) == (camera.make.name, camera.model)
    assert tags[tag.ISOSpeedRatings] == settings.iso
    assert Fraction(tags[tag.ExposureTime]) == settings.exposure_time
    assert float(tags[tag.FNumber]) == pytest.approx(settings.f_number)
    assert float(tags[tag.FocalLength]) == pytest.approx(settings.focal_length, abs=0.006)
    assert (tags[tag.ExifImageWidth], tags[tag.ExifImageHeight]) == (64, 64)
    assert tags[tag.WhiteBalance] == int(settings.preset_balance)
    if settings.preset_balance:
        assert tags[tag.LightSource] == LIGHTS[settings.light][1]
    assert bool(tags[tag.Flash] & 1) == settings.flash
    assert len(base) + len(tags) >= 30
    private = (
        "GPS",
        "Serial",
        "Owner",
        "Artist",
        "Copyright",
        "Date",
        "Comment",
        "Unique",
        "Maker",
    )
    names = [ExifTags.TAGS[t] for t in (*base, *tags)]
    assert not [name for name in names if any(part in name for part in private)]
