"""Eight simulated cameras on one scene, side by side: what their traces look like."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.simulation.camera import Camera
from data_prep.simulation.cameras import CAMERAS
from data_prep.simulation.exposure import ShotSettings, widest_aperture
from data_prep.simulation.scenes import scene
from data_prep.simulation.shooting import encode_jpeg, shoot

_SIDE, _CELL, _GAP, _LEFT = 512, 176, 6, 104
_ROWS = (
    ("whole photo", ""),
    ("middle", "44 px, 4x"),
    ("top left corner", "44 px, 4x: colour", "fringes, fall-off", "and distortion"),
    ("fine structure", "of the middle", "less its blur,", "amplified 6x"),
)


def _settings(camera: Camera) -> ShotSettings:
    """The same settings for all cameras: wide open, widest, ISO of about 400, daylight."""
    focal = camera.lens.focal[0]
    return ShotSettings(
        iso=max(400, camera.iso[0]),
        exposure_time=Fraction(1, 500),
        f_number=widest_aperture(camera, focal),
        focal_length=focal,
        brightness=10.0,
        exposure_bias=Fraction(0),
        program=2,
        metering="pattern",
        light="daylight",
        preset_balance=True,
        flash=False,
        scene_type="standard",
        contrast=0,
        saturation=0,
        sharpness=0,
        fine=True,
    )


def _zoom(pixels, y: int, x: int) -> Image.Image:
    cut = Image.fromarray(np.ascontiguousarray(pixels[y : y + 44, x : x + 44]))
    return cut.resize((_CELL, _CELL), Image.Resampling.NEAREST)


def _fine_structure(pixels):
    """uint8 [H, W, 3]: what a 3x3 mean leaves over, amplified about middle grey."""
    wide = np.pad(pixels.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width, _ = pixels.shape
    mean = sum(wide[i : i + height, j : j + width] for i in range(3) for j in range(3)) / 9
    return np.clip(128 + 6 * (wide[1:-1, 1:-1] - mean), 0, 255).astype(np.uint8)


def draw_chart(seed: int = 0) -> bytes:
    """Draws the chart; returns a PNG file of under 600 kB."""
    view = scene(np.random.default_rng([seed, 2]), _SIDE)
    top = 58
    width = _LEFT + 8 * (_CELL + _GAP)
    sheet = Image.new("RGB", (width, top + len(_ROWS) * (_CELL + _GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for row, lines in enumerate(_ROWS):
        y = top + row * (_CELL + _GAP) + _CELL // 2 - 30
        draw.multiline_text((6, y), "\n".join(lines), "black", font)
    for column, camera in enumerate(CAMERAS[:8]):
        settings = _settings(camera)
        rng = np.random.default_rng([seed, 3, column])
        shot, exif = shoot(camera, view, settings, rng)
        with Image.open(io.BytesIO(encode_jpeg(shot, exif, camera))) as image:
            photo = image.convert("RGB")
        pixels = np.asarray(photo)
        middle = (_SIDE - 44) // 2
        cells = (
            photo.resize((_CELL, _CELL), Image.Resampling.LANCZOS),
            _zoom(pixels, middle, middle),
            _zoom(pixels, 0, 0),
            _zoom(_fine_structure(pixels), middle, middle),
        )
        x = _LEFT + column * (_CELL + _GAP)
        make = camera.make.name.split()[0]
        text = (
            f"{make} {camera.model.removeprefix(make).strip()}\n"
            f"{camera.make.kind}, {camera.demosaic}\n"
            f"JPEG {camera.subsampling}, ISO {settings.iso}"
        )
        draw.multiline_text((x, 4), text, "black", font)
        for row, cell in enumerate(cells):
            sheet.paste(cell, (x, top + row * (_CELL + _GAP)))
    stream = io.BytesIO()
    # 256 colours, undithered: the noise in true colours would make the file four times as large.
    sheet.quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()
