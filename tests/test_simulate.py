"""Simulated cameras: the traces are there, they differ, and the EXIF tells the truth."""

import dataclasses
import io
import json
import os
from fractions import Fraction

import numpy as np
import pytest
from PIL import ExifTags, Image
from small_disk import read_only

from data_prep import imaging, simulate
from data_prep.cameras import CAMERAS, Make, quantisation_tables
from data_prep.demosaic import demosaic, site_slices
from data_prep.scenes import scene
from data_prep.settings import LIGHTS, choose_settings, widest_aperture
from data_prep.shooting import encode_jpeg, shoot

METHODS = ("bilinear", "linear5", "directed", "hue")
PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
BY_MODEL = {camera.model: camera for camera in CAMERAS}


def _base_settings(camera, **changes):
    """Daylight, widest, at the lowest ISO: nothing unusual, so that one change can be seen."""
    settings = choose_settings(camera, np.random.default_rng(0))
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


def test_cameras_are_at_least_24_of_8_makes_and_differ():
    assert len(CAMERAS) >= 24
    assert len({camera.make.name for camera in CAMERAS}) == 8
    assert len(BY_MODEL) == len(CAMERAS)
    assert len({camera.make.name for camera in CAMERAS[:8]}) == 8
    tables = {(tuple(luma), tuple(chroma)) for luma, chroma in map(quantisation_tables, CAMERAS)}
    assert len(tables) == len(CAMERAS)
    assert {camera.demosaic for camera in CAMERAS} == set(METHODS)
    assert {camera.make.phase for camera in CAMERAS} == set(PHASES)
    for camera in CAMERAS:
        assert np.allclose(np.sum(camera.make.matrix, axis=1), 1), camera.model
        assert isinstance(camera.make, Make)


def test_scene_is_linear_light_and_has_the_spectrum_of_photographs():
    slopes = []
    for seed in range(4):
        view = scene(np.random.default_rng(seed), 256)
        assert view.shape == (256, 256, 3)
        assert view.dtype == np.float32
        assert view.min() > 0
        assert np.isfinite(view).all()
        light = np.log(view.mean(-1))
        window = np.hanning(256)[:, None] * np.hanning(256)
        power = np.abs(np.fft.fft2((light - light.mean()) * window)) ** 2
        radius = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)) * 256
        rings = [(r, power[(radius >= r) & (radius < 1.4 * r)].mean()) for r in (4, 8, 16, 32, 64)]
        slopes.append(np.polyfit(*np.log(np.array(rings)).T, 1)[0])
    # Photographs: power falls as 1/f^2, give or take.
    assert -2.9 < np.mean(slopes) < -1.4


def test_scene_depends_on_its_seed_only():
    first, again, other = (scene(np.random.default_rng(s), 64) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("phase", PHASES)
def test_demosaic_keeps_measured_values_and_restores_smooth_pictures(method, phase):
    y, x = np.mgrid[0:32, 0:48] / 48.0
    # Grey with gentle curvature: each method must come close everywhere.
    grey = (0.4 + 0.2 * np.sin(2 * x + y)).astype(np.float32)
    planes = np.stack([grey, grey, grey])
    mosaic = np.empty_like(grey)
    for where, colour in zip(site_slices(phase), (0, 1, 1, 2), strict=True):
        mosaic[where] = planes[colour][where]
    out = demosaic(mosaic, phase, method)
    assert out.shape == (3, 32, 48)
    assert out.dtype == np.float32
    for where, colour in zip(site_slices(phase), (0, 1, 1, 2), strict=True):
        np.testing.assert_allclose(out[colour][where], mosaic[where], atol=1e-6)
    np.testing.assert_allclose(out[:, 3:-3, 3:-3], planes[:, 3:-3, 3:-3], atol=2e-3)


def test_better_demosaicing_methods_restore_green_better():
    view = np.moveaxis(scene(np.random.default_rng(0), 128), -1, 0)
    planes = np.stack([imaging.blur(np.minimum(plane, 1), 0.6) for plane in view])
    mosaic = np.empty_like(planes[0])
    for where, colour in zip(site_slices((0, 0)), (0, 1, 1, 2), strict=True):
        mosaic[where] = planes[colour][where]
    errors = {m: float(np.std(demosaic(mosaic, (0, 0), m)[1] - planes[1])) for m in METHODS}
    assert max(errors["directed"], errors["linear5"]) < 0.8 * errors["bilinear"]
    assert errors["hue"] == errors["bilinear"]


def test_demosaic_names_a_method_it_does_not_know():
    with pytest.raises(ValueError, match="vng"):
        demosaic(np.zeros((8, 8), np.float32), (0, 0), "vng")


@pytest.mark.parametrize("phase", PHASES)
def test_demosaicing_leaves_the_lattice_of_the_mosaic(phase):
    """Interpolated green is smoother than measured green: variances differ by site."""
    rng = np.random.default_rng(0)
    mosaic = rng.normal(0.5, 0.05, (128, 128)).astype(np.float32)
    for method in ("bilinear", "linear5", "directed", "hue"):
        green = demosaic(mosaic, phase, method)[1]
        red, green_r, green_b, blue = (float(green[w].var()) for w in site_slices(phase))
        assert max(red, blue) < 0.9 * min(green_r, green_b), method


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


def test_sensor_noise_has_the_variance_of_photons_and_electronics():
    rng = np.random.default_rng(0)
    light = np.full((256, 256), 0.3, np.float32)
    out = imaging.sensor(light, gain=8, full_well=20_000, read_noise=5, bits=14, rng=rng)
    electrons = 20_000 / 8
    assert float(out.mean()) == pytest.approx(0.3, abs=2e-4)
    assert float(out.var()) == pytest.approx(0.3 / electrons + (5 / electrons) ** 2, rel=0.03)
    full = imaging.sensor(light * 10, gain=1, full_well=20_000, read_noise=5, bits=14, rng=rng)
    assert float(full.min()) == 1.0


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


def test_distortion_and_lateral_aberration_move_corners_by_what_is_asked():
    size = 128
    x = np.broadcast_to(np.linspace(0.2, 0.8, size, dtype=np.float32), (size, size))
    planes = np.stack([x, x, x])
    step = 0.6 / (size - 1)
    half = 0.5 * np.hypot(size, size)
    for phase in PHASES:
        plain = imaging.expose(planes, phase, 0.0, (0.0, 0.0))
        np.testing.assert_allclose(plain, x, atol=1e-4)
        # Corner stays, middle of the side moves towards the centre for barrel distortion.
        barrel = imaging.expose(planes, phase, 0.1, (0.0, 0.0))
        r = (size / 2 - 1.5) / half
        moved = (x[64, 1] - barrel[64, 1]) / step
        assert moved == pytest.approx(-(1 - (0.9 + 0.1 * r * r)) * r * half, abs=0.3)
        fringed = imaging.expose(planes, phase, 0.0, (1.0, -0.5))
        red, _, _, blue = site_slices(phase)
        # x grows to the right, so a red image made smaller reads a larger value on the right.
        shift = (fringed - plain) / step
        scale = (size - 40 - 63.5) / half
        column = size - 40
        assert shift[red][:, column // 2].mean() == pytest.approx(scale, abs=0.05)
        assert shift[blue][:, column // 2].mean() == pytest.approx(-0.5 * scale, abs=0.05)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda c: c.model)
def test_file_has_the_makers_tables_and_true_exif(camera):
    rng = np.random.default_rng(11)
    settings = choose_settings(camera, rng)
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


def test_settings_stay_within_what_the_camera_can_do():
    rng = np.random.default_rng(0)
    for camera in CAMERAS:
        for _ in range(60):
            s = choose_settings(camera, rng)
            assert camera.iso[0] <= s.iso <= camera.iso[1]
            assert camera.lens.focal[0] <= s.focal_length <= camera.lens.focal[1]
            assert s.f_number >= widest_aperture(camera, s.focal_length)
            assert Fraction(1, 8000) <= s.exposure_time <= 1
            assert not (s.flash and camera.make.kind == "action")


def _command(*arguments):
    return simulate.main([str(a) for a in arguments])


def _contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_for_any_number_of_workers(tmp_path):
    for name, workers in (("one", 1), ("again", 1), ("two", 2)):
        out = tmp_path / name
        assert _command("--output", out, "--photos", 10, "--size", 64, "--workers", workers) == 0
    one = _contents(tmp_path / "one")
    assert sorted(one) == [f"sim{i:06d}.jpg" for i in range(10)]
    assert one == _contents(tmp_path / "again") == _contents(tmp_path / "two")
    assert _command("--output", tmp_path / "few", "--photos", 3, "--size", 64, "--workers", 1) == 0
    assert {k: one[k] for k in sorted(one)[:3]} == _contents(tmp_path / "few")
    other = ("--output", tmp_path / "seed", "--photos", 3, "--size", 64, "--workers", 1)
    assert _command(*other, "--seed", 1) == 0
    assert _contents(tmp_path / "seed")["sim000000.jpg"] != one["sim000000.jpg"]


def test_splices_have_their_layout_and_change_nothing_outside_the_mask(tmp_path):
    assert _command("--output", tmp_path, "--splices", 12, "--size", 128, "--workers", 1) == 0
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    lossless = 0
    for row in rows:
        assert row["host_model"] != row["donor_model"]
        with Image.open(tmp_path / row["mask"]) as image:
            mask = np.asarray(image)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.08 <= row["share"] <= 0.30
        assert row["share"] == pytest.approx((mask == 255).mean())
        with Image.open(tmp_path / row["image"]) as image:
            spliced = np.asarray(image)
            assert image.getexif()[ExifTags.Base.Model] == row["host_model"]
        with Image.open(tmp_path / row["pristine"]) as image:
            pristine = np.asarray(image)
        assert spliced.shape == pristine.shape == (128, 128, 3)
        inside = np.abs(spliced.astype(int) - pristine)[mask == 255]
        assert inside.mean() > 5
        if row["save"] == "png":
            lossless += 1
            np.testing.assert_array_equal(spliced[mask == 0], pristine[mask == 0])
    assert 0 < lossless < 12


def test_splices_and_photos_of_one_seed_show_different_scenes(tmp_path):
    job = simulate.Job(tmp_path, 0, 0, 64, 24)
    simulate.prepare(tmp_path, ("images", "masks", "pristine"))
    simulate.make_photo(job)
    row = simulate.make_splice(job)
    with Image.open(tmp_path / "sim000000.jpg") as a, Image.open(tmp_path / row["pristine"]) as b:
        first, second = (np.asarray(i.convert("L"), float).ravel() for i in (a, b))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


@pytest.mark.parametrize("share", [0.09, 0.2, 0.29])
def test_blobs_cover_what_is_asked(share):
    for seed in range(40):
        mask = np.asarray(simulate.blob(np.random.default_rng(seed), 128, share))
        assert simulate.SHARE[0] <= (mask > 0).mean() <= simulate.SHARE[1]


def test_output_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert _command("--output", blocked / "photos", "--photos", 1, "--size", 64) == 1
    message = capsys.readouterr().err
    assert str(blocked / "photos") in message
    assert "choose another place" in message
    assert "Traceback" not in message
    assert _command("--picture", tmp_path) == 1  # a folder where a file should go
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [blocked]


def test_read_only_output_says_so(tmp_path, capsys):
    with read_only(tmp_path / "locked"):
        assert _command("--output", tmp_path / "locked", "--photos", 1, "--size", 64) == 1
        assert "make it writable" in capsys.readouterr().err


def test_full_disk_keeps_finished_files_and_leaves_no_half_file(tmp_path, capsys, monkeypatch):
    real = os.fsync
    calls = []

    def full_after_three(descriptor):
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_three)
    assert _command("--output", tmp_path, "--photos", 5, "--size", 64, "--workers", 1) == 1
    assert "free some space" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sim000000.jpg", "sim000001.jpg"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--photos", "3"),
        ("--photos", "0", "--output", "x"),
        ("--photos", "3", "--splices", "3", "--output", "x"),
        ("--photos", "3", "--output", "x", "--size", "65"),
        ("--photos", "3", "--output", "x", "--cameras", "1"),
        ("--photos", "three", "--output", "x"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        _command(*arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_picture_is_written_and_small(tmp_path):
    path = tmp_path / "docs" / "cameras.png"
    assert _command("--picture", path) == 0
    assert path.stat().st_size < 600_000
    with Image.open(path) as image:
        assert image.width > 1200
