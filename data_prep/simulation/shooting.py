"""Taking a photo with a simulated camera: make the pixels, write the EXIF, encode the file.

Whatever the EXIF says was done to the pixels, and the other way round.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from data_prep.simulation import imaging
from data_prep.simulation.camera import Camera, quantisation_tables
from data_prep.simulation.demosaic import demosaic
from data_prep.simulation.exact_random import ExactRandom
from data_prep.simulation.exposure import (
    LIGHTS,
    METERING,
    SCENES,
    ShotSettings,
    along_zoom,
    between,
    widest_aperture,
)

_LEVELS = {0: 0, -1: 1, 1: 2}  # Contrast, Saturation, Sharpness in EXIF
COARSE_SETTING = 1.8  # quantisation of the quality setting "normal" against "fine"


def _metered(planes, metering: str) -> float:
    """Mean light of the part of [3, H, W] that the exposure is set for."""
    _, height, width = planes.shape
    # In float64, in which the sum does not depend on the order of the pixels.
    whole = float(planes[1].mean(dtype=np.float64))
    if metering == "pattern":
        return whole
    part = 4 if metering == "centre" else 16  # half the side, or an eighth
    rows = slice(height // 2 - height // part, height // 2 + height // part)
    columns = slice(width // 2 - width // part, width // 2 + width // part)
    # Half way, in stops: people point the spot at something that is not too far off.
    part_light = float(planes[1, rows, columns].mean(dtype=np.float64))
    return float(np.sqrt(whole * part_light))


def _lens_blur(camera: Camera, settings: ShotSettings) -> float:
    """Standard deviation in pixels: aberrations wide open, diffraction stopped down, shake."""
    widest = widest_aperture(camera, settings.focal_length)
    stops = 2 * np.log2(settings.f_number / widest)
    lens = camera.lens.blur * (1 + 0.35 * max(0.0, 1 - stops / 2))
    # An Airy disc is close to a Gaussian of 0.42 wavelengths (0.55 um) times the f-number.
    diffraction = 0.42 * 0.55 * settings.f_number / camera.pitch
    shake = 0.4 * min(float(settings.exposure_time) * settings.focal_length * camera.crop_factor, 4)
    return float(np.sqrt(lens**2 + diffraction**2 + (shake / 4) ** 2))


def _raw(camera: Camera, planes, settings: ShotSettings, rng):
    """Light to white balanced mosaic, float32 [H, W]."""
    _, height, width = planes.shape
    light = LIGHTS[settings.light][0]
    zoom = along_zoom(camera, settings.focal_length)
    sigma = _lens_blur(camera, settings)
    blurred = np.stack([imaging.blur(plane, sigma) for plane in planes])
    turn = 1 - 1.5 * zoom  # the sign of the aberration changes towards the long end
    red, blue = (turn * shift * np.hypot(height, width) / 724 for shift in camera.lens.aberration)
    mosaic = imaging.expose(
        blurred, camera.make.phase, between(camera.lens.distortion, zoom), (red, blue)
    )
    stops = 2 * np.log2(settings.f_number / widest_aperture(camera, settings.focal_length))
    mosaic *= imaging.vignette(height, width, camera.lens.vignetting * 0.5**stops)
    exposure = 0.18 * 2.0 ** float(settings.exposure_bias) / _metered(planes, settings.metering)
    # Colour filters let less red and blue through, a coloured light changes that again; both
    # before the noise, so that the noise of the colours differs as in a camera.
    seen = [exposure * r * c for r, c in zip(camera.make.response, light, strict=True)]
    mosaic = imaging.scale_colours(mosaic, camera.make.phase, seen)
    mosaic = imaging.sensor(
        mosaic, settings.iso / camera.iso[0], camera.full_well, camera.read_noise, camera.bits, rng
    )
    removed = 1.0 if settings.preset_balance else camera.make.auto_balance
    gains = [1 / (r * c**removed) for r, c in zip(camera.make.response, light, strict=True)]
    return imaging.scale_colours(mosaic, camera.make.phase, gains)


def _noise_levels(camera: Camera, iso: int) -> float:
    """Standard deviation of the noise of middle grey in 8-bit levels, roughly."""
    electrons = camera.full_well * camera.iso[0] / iso
    return float(300 * np.sqrt(0.18 / electrons + (camera.read_noise / electrons) ** 2))


def _develop(camera: Camera, mosaic, settings: ShotSettings):
    """White balanced mosaic to uint8 [H, W, 3]."""
    make = camera.make
    planes = demosaic(mosaic, make.phase, camera.demosaic)
    saturation = 1 + 0.25 * settings.saturation
    grey = np.full((3, 3), 1 / 3)
    planes = imaging.colour(planes, grey + saturation * (np.array(make.matrix) - grey))
    contrast = make.contrast + 0.35 * settings.contrast
    planes = imaging.apply_tone(planes, imaging.tone_table(make.gamma, contrast, make.black))
    luma = imaging.luma(planes)
    noise = _noise_levels(camera, settings.iso)
    stops = np.log2(settings.iso / camera.iso[0])
    change = np.zeros_like(luma)
    if camera.denoise > 0:
        change = imaging.smooth_luma(luma, make.denoise, camera.denoise * noise)
    radius, amount = camera.sharpen
    amount *= 1 + 0.5 * settings.sharpness
    change += imaging.sharpen_luma(luma + change, radius, amount, core=0.3 * noise, limit=40)
    planes = imaging.smooth_chroma(planes, luma, camera.chroma_denoise * (1 + 0.2 * stops))
    planes += change
    return imaging.to_pixels(planes)


def shoot(camera: Camera, scene, settings: ShotSettings, rng: np.random.Generator | ExactRandom):
    """Photograph a scene.

    Args:
      camera: One of `CAMERAS`.
      scene: float32 [H, W, 3] linear light, H and W even and at least 32.
      settings: As from `choose_settings`.
      rng: Decides the noise.

    Returns:
      (uint8 [H, W, 3], PIL Exif that says how it was taken).
    """
    planes = np.ascontiguousarray(np.moveaxis(scene, -1, 0))
    pixels = _develop(camera, _raw(camera, planes, settings, rng), settings)
    height, width, _ = scene.shape
    return pixels, write_exif(camera, settings, width=width, height=height)


def encode_jpeg(pixels, exif: Image.Exif, camera: Camera, fine: bool = True) -> bytes:
    """A JPEG file of uint8 [H, W, 3] with the camera's tables, subsampling and Huffman coding."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(
        stream,
        "JPEG",
        qtables=quantisation_tables(camera, 1.0 if fine else COARSE_SETTING),
        subsampling=camera.subsampling,
        optimize=camera.make.optimize,
        exif=exif,
    )
    return stream.getvalue()


def write_exif(camera: Camera, settings: ShotSettings, *, width: int, height: int) -> Image.Exif:
    """What the camera writes into its files: about 40 tags, no dates, places, names or serials."""
    make, kind = camera.make, camera.make.kind
    tag = ExifTags.Base
    exif = Image.Exif()
    exif[tag.Make] = make.name
    exif[tag.Model] = camera.model
    exif[tag.Orientation] = 1
    exif[tag.XResolution] = exif[tag.YResolution] = IFDRational(make.density)
    exif[tag.ResolutionUnit] = 2
    exif[tag.Software] = make.software.format(camera.firmware)
    exif[tag.YCbCrPositioning] = 1 if make.centred_chroma else 2
    stop = widest_aperture(camera, settings.focal_length)
    photo: dict[int, object] = {
        tag.ExposureTime: IFDRational(settings.exposure_time),
        tag.FNumber: IFDRational(round(settings.f_number * 10), 10),
        tag.ExposureProgram: settings.program,
        tag.ISOSpeedRatings: settings.iso,
        tag.ExifVersion: make.exif_version.encode(),
        tag.ComponentsConfiguration: b"\x01\x02\x03\x00",
        tag.ExposureBiasValue: IFDRational(settings.exposure_bias),
        tag.MaxApertureValue: IFDRational(round(200 * np.log2(stop)), 100),
        tag.MeteringMode: METERING[settings.metering],
        tag.LightSource: LIGHTS[settings.light][1] if settings.preset_balance else 0,
        # 16: did not fire, compulsory; 24 and 25: automatic, not fired and fired.
        tag.Flash: 16 if kind == "action" else 25 if settings.flash else 24,
        tag.FocalLength: IFDRational(round(settings.focal_length * 100), 100),
        tag.FlashPixVersion: b"0100",
        tag.ColorSpace: 1,
        tag.ExifImageWidth: width,
        tag.ExifImageHeight: height,
        tag.SensingMethod: 2,
        tag.FileSource: b"\x03",
        tag.SceneType: b"\x01",
        tag.CustomRendered: 0,
        tag.ExposureMode: 0,
        tag.WhiteBalance: int(settings.preset_balance),
        tag.DigitalZoomRatio: IFDRational(1),
        tag.FocalLengthIn35mmFilm: round(settings.focal_length * camera.crop_factor),
        tag.SceneCaptureType: SCENES[settings.scene_type],
    }
    if kind in ("phone", "system"):
        photo[tag.ShutterSpeedValue] = IFDRational(
            round(-1000 * float(np.log2(float(settings.exposure_time)))), 1000
        )
        photo[tag.ApertureValue] = IFDRational(round(200 * np.log2(settings.f_number)), 100)
    if kind == "phone":
        photo[tag.BrightnessValue] = IFDRational(round(100 * (settings.brightness - 5)), 100)
    if kind in ("compact", "system"):
        photo[tag.Contrast] = _LEVELS[settings.contrast]
        photo[tag.Saturation] = _LEVELS[settings.saturation]
        photo[tag.Sharpness] = _LEVELS[settings.sharpness]
        gain = settings.iso / camera.iso[0]
        photo[tag.GainControl] = 0 if gain < 2 else 1 if gain < 8 else 2
        photo[tag.CompressedBitsPerPixel] = IFDRational(4 if settings.fine else 2)
    if kind == "system":
        row, column = make.phase
        colours = [[0, 0], [0, 0]]
        for r, c, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
            colours[r ^ row][c ^ column] = colour
        photo[tag.CFAPattern] = b"\x00\x02\x00\x02" + bytes([*colours[0], *colours[1]])
        photo[tag.LensSpecification] = tuple(
            IFDRational(round(value * 10), 10)
            for value in (*camera.lens.focal, *camera.lens.aperture)
        )
    if camera.lens.name:
        photo[tag.LensModel] = camera.lens.name
    exif.get_ifd(ExifTags.IFD.Exif).update(photo)
    return exif
