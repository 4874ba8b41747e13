"""How a photo is taken: what a photographer and the automatic exposure decide together."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from data_prep.simulation.camera import Camera
from data_prep.simulation.exact_random import ExactRandom

Light = Literal["daylight", "cloudy", "shade", "fluorescent", "tungsten", "flash"]
Level = Literal[-1, 0, 1]

# Colour of each light relative to daylight, and its number in EXIF LightSource.
LIGHTS: dict[Light, tuple[tuple[float, float, float], int]] = {
    "daylight": ((1.0, 1.0, 1.0), 1),
    "cloudy": ((0.93, 1.0, 1.12), 10),
    "shade": ((0.86, 1.0, 1.25), 11),
    "fluorescent": ((1.12, 1.0, 0.74), 2),
    "tungsten": ((1.55, 1.0, 0.48), 3),
    "flash": ((0.97, 1.0, 1.06), 4),
}
# Numbers in EXIF SceneCaptureType, and METERING those of MeteringMode.
SCENES = {"standard": 0, "landscape": 1, "portrait": 2, "night": 3}
_BRIGHTNESS = {
    "standard": (6.0, 14.0),
    "landscape": (11.0, 15.5),
    "portrait": (8.0, 14.0),
    "night": (2.0, 6.0),
}
METERING = {"centre": 2, "spot": 3, "pattern": 5}
# The usual third stops.
_F_NUMBERS = (
    1.4, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8, 3.2, 3.5, 4.0, 4.5, 5.0, 5.6,
    6.3, 7.1, 8.0, 9.0, 10.0, 11.0, 13.0, 14.0, 16.0,
)  # fmt: skip
_SPEEDS = tuple(
    float(base * 10**power)
    for power in range(5)
    for base in (10, 12.5, 16, 20, 25, 32, 40, 50, 64, 80)
)
_SHUTTER = (
    4, 5, 6, 8, 10, 13, 15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 160, 200, 250, 320, 400,
    500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5000, 6400, 8000,
)  # fmt: skip


@dataclass(frozen=True)
class ShotSettings:
    """How one photo is taken.

    Attributes:
      iso: Sensitivity.
      exposure_time: In seconds.
      f_number: Aperture.
      focal_length: In mm.
      brightness: Of the scene, as exposure value at ISO 100.
      exposure_bias: Correction by the photographer, in stops.
      program: EXIF ExposureProgram (2 normal, 3 aperture priority, 4 shutter priority).
      metering: Which part of the picture decides the exposure.
      light: What lights the scene.
      preset_balance: Whether the white balance is set to `light` by hand, else automatic.
      flash: Whether it fired.
      scene_type: What the mode dial is set to.
      contrast, saturation, sharpness: -1 low, 0 normal, 1 high.
      fine: Whether the JPEG quality is set to "fine", else to "normal".
    """

    iso: int
    exposure_time: Fraction
    f_number: float
    focal_length: float
    brightness: float
    exposure_bias: Fraction
    program: int
    metering: Literal["centre", "spot", "pattern"]
    light: Light
    preset_balance: bool
    flash: bool
    scene_type: Literal["standard", "landscape", "portrait", "night"]
    contrast: Level
    saturation: Level
    sharpness: Level
    fine: bool


def along_zoom(camera: Camera, focal_length: float) -> float:
    """0 at the lens's widest, 1 at its longest focal length, on a logarithmic scale."""
    wide, tele = camera.lens.focal
    return 0.0 if wide == tele else float(np.log(focal_length / wide) / np.log(tele / wide))


def between(pair: tuple[float, float], share: float) -> float:
    """Linear interpolation of a lens property given at both ends of the zoom."""
    return pair[0] + (pair[1] - pair[0]) * share


def widest_aperture(camera: Camera, focal_length: float) -> float:
    """Smallest f-number at this focal length."""
    return round(between(camera.lens.aperture, along_zoom(camera, focal_length)), 1)


def _nearest(value: float, scale: tuple[float, ...]) -> float:
    """The entry of a scale of positive numbers that is nearest in stops."""
    return min(scale, key=lambda entry: abs(np.log(entry / value)))


def _nominal_time(seconds: float, kind: str) -> Fraction:
    """A shutter time as cameras write it: of the usual scale, or any 1/n for a phone."""
    if seconds > 0.26:
        return Fraction(round(seconds * 10), 10)
    if kind == "phone":
        return Fraction(1, round(1 / seconds))
    return Fraction(1, int(_nearest(1 / seconds, _SHUTTER)))


def _choose_level(rng: np.random.Generator | ExactRandom, adjustable: bool) -> Level:
    return int(rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1])) if adjustable else 0  # type: ignore


def choose_shot_settings(camera: Camera, rng: np.random.Generator | ExactRandom) -> ShotSettings:
    """Settings that a photographer and the camera's automatic exposure might arrive at."""
    kind = camera.make.kind
    scene_type = str(rng.choice(list(SCENES), p=[0.6, 0.15, 0.15, 0.1]))
    brightness = float(rng.uniform(*_BRIGHTNESS[scene_type]))
    flash = kind != "action" and brightness < 8 and bool(rng.random() < 0.4)
    if flash:
        light = "flash"
    elif brightness > 10:
        light = str(rng.choice(["daylight", "daylight", "cloudy", "shade"]))
    else:
        light = str(rng.choice(["fluorescent", "tungsten", "shade"]))
    share = rng.choice([0.0, 0.15, 0.3, 0.5, 0.75, 1.0])
    wide, tele = camera.lens.focal
    focal = round(float(wide * (tele / wide) ** share), 0 if kind == "system" else 1)
    focal = min(max(focal, wide), tele)
    widest = widest_aperture(camera, focal)
    f_number = widest
    if kind in ("system", "compact") and not flash and scene_type != "night":
        stops = rng.integers(0, 5) + (2 if scene_type == "landscape" else 0)
        limit = 16.0 if kind == "system" else 8.0
        f_number = max(widest, _nearest(min(widest * 2 ** (stops / 2), limit), _F_NUMBERS))
    program = int(rng.choice([2, 3, 4], p=[0.6, 0.3, 0.1])) if kind == "system" else 2
    # The light that a flash adds at the subject's distance.
    lit = max(brightness, 8.5) if flash else brightness
    steady = 1 / 20 if kind == "phone" else 1 / (focal * camera.crop_factor)
    lowest, highest = camera.iso
    seconds = f_number**2 / 2**lit * 100 / lowest
    gain = 1.0
    if seconds > steady:
        gain = min(seconds / steady, highest / lowest)
        gain = 2 ** (np.ceil(3 * np.log2(gain)) / 3)
    iso = int(min(lowest * gain, highest))
    if kind != "phone":
        iso = int(min(max(_nearest(iso, _SPEEDS), lowest), highest))
    seconds = float(np.clip(seconds * lowest / iso, 1 / 8000, 1.0))
    adjustable = kind in ("system", "compact")

    return ShotSettings(
        iso=iso,
        exposure_time=_nominal_time(seconds, kind),
        f_number=f_number,
        focal_length=focal,
        brightness=round(lit, 2),
        exposure_bias=Fraction(
            int(rng.choice([-2, -1, 0, 1, 2], p=[0.05, 0.1, 0.7, 0.1, 0.05])), 3
        ),
        program=program,
        metering=str(rng.choice(list(METERING), p=[0.25, 0.1, 0.65])),  # type: ignore
        light=light,  # type: ignore
        preset_balance=adjustable and bool(rng.random() < 0.25),
        flash=flash,
        scene_type=scene_type,  # type: ignore
        contrast=_choose_level(rng, adjustable),
        saturation=_choose_level(rng, adjustable),
        sharpness=_choose_level(rng, adjustable),
        fine=not adjustable or bool(rng.random() < 0.75),
    )
