"""Simulated cameras drawn by chance: as many makes and models as training can use.

The ranges are about those that the cameras of `cameras.py` span. No make or model here exists; a
name that does is chance.
"""

from __future__ import annotations

import numpy as np

from data_prep.simulation.camera import Camera, Lens, Make, TableShape, colour_matrix
from data_prep.simulation.cameras import CAMERAS
from data_prep.simulation.exact_random import ExactRandom

_MODELS = 3  # of a make
_MAKE, _CAMERA = 77, 78  # streams of random numbers
_CONSONANTS, _VOWELS = "bcdfghklmnprstvz", "aeiou"


def random_camera(number: int) -> Camera:
    """Camera 0, 1, ...: first those of `cameras.CAMERAS`, then drawn ones, three of a make.

    The same number is always the same camera.
    """
    return CAMERAS[number] if number < len(CAMERAS) else _draw_camera(number - len(CAMERAS))


def _draw_camera(number: int) -> Camera:
    make = draw_make(np.random.default_rng([_MAKE, number // _MODELS]))
    return draw_camera(make, np.random.default_rng([_CAMERA, number]))


def draw_make(rng: np.random.Generator | ExactRandom) -> Make:
    """A maker's house style, drawn by chance."""
    uniform = rng.uniform
    tables = None  # as every third maker in `cameras.py`
    if rng.random() >= 0.35:
        tables = TableShape(
            floor=uniform(1, 3.5),
            slope=uniform(0.1, 0.9),
            power=uniform(1, 2),
            aspect=uniform(0.8, 1.3),
            chroma=uniform(1, 2.2),
        )
    return Make(
        name=_name(rng),
        kind=rng.choice(["phone", "phone", "compact", "system", "action"]).item(),
        phase=(int(rng.integers(2)), int(rng.integers(2))),
        response=(uniform(0.45, 0.65), 1.0, uniform(0.5, 0.75)),
        matrix=colour_matrix(
            uniform(1.3, 1.8), uniform(1.2, 1.6), uniform(1.3, 1.75), uniform(-0.15, 0.15)
        ),
        gamma=uniform(1.9, 2.4),
        contrast=uniform(0.1, 0.75),
        black=uniform(0, 3),
        denoise=rng.choice(["edge", "coring", "median"]).item(),
        tables=tables,
        optimize=bool(rng.random() < 0.5),
        exif_version=rng.choice(["0220", "0221", "0230", "0231", "0232"]).item(),
        density=int(rng.choice([72, 180, 300, 350])),
        centred_chroma=bool(rng.random() < 0.5),
        auto_balance=uniform(0.85, 0.99),
        software="{}",
    )


def draw_camera(make: Make, rng: np.random.Generator | ExactRandom) -> Camera:
    """A model of a make, drawn by chance."""
    uniform = rng.uniform
    return Camera(
        make=make,
        model=f"{_name(rng)}-{rng.integers(100)}",
        firmware=f"{rng.integers(1, 9)}.{rng.integers(60)}",
        lens=_draw_lens(make.kind, rng),
        pitch=uniform(3.7, 6.8) if make.kind == "system" else uniform(1, 2.4),
        read_noise=uniform(1.5, 6),
        iso=(int(rng.choice([50, 64, 80, 100, 200])), int(rng.choice([1600, 3200, 6400]))),
        bits=int(rng.choice([10, 12, 14])),
        crop_factor=uniform(1, 2) if make.kind == "system" else uniform(3.5, 8),
        demosaic=rng.choice(["bilinear", "linear5", "directed", "hue"]).item(),
        denoise=uniform(0, 3),
        chroma_denoise=uniform(0.2, 2.6),
        sharpen=(uniform(0.6, 1.5), uniform(0.2, 1.8)),
        quality=uniform(0.5, 2),
        subsampling=rng.choice(["4:4:4", "4:2:2", "4:2:0"]).item(),
    )


def _draw_lens(kind: str, rng: np.random.Generator | ExactRandom) -> Lens:
    uniform = rng.uniform
    wide = float(rng.integers(18, 70)) if kind == "system" else round(uniform(3, 7), 1)
    fixed = kind == "phone" or rng.random() < 0.3
    aperture = round(uniform(1.6, 3.5), 1)
    return Lens(
        name=f"{_name(rng)} lens" if kind in ("phone", "system") else "",
        focal=(wide, wide if fixed else round(wide * uniform(2, 5), 1)),
        aperture=(aperture, aperture if fixed else round(uniform(3.5, 5.6), 1)),
        blur=uniform(0.35, 0.8),
        vignetting=uniform(0.2, 0.55),
        distortion=(uniform(-0.01, 0.06), uniform(-0.03, 0.01)),
        aberration=(uniform(-1.2, 1.4), uniform(-1.2, 1.2)),
    )


def _name(rng: np.random.Generator | ExactRandom) -> str:
    """Three syllables, such as "Kadoru"."""
    letters = [str(rng.choice([*kind])) for _ in range(3) for kind in (_CONSONANTS, _VOWELS)]
    return "".join(letters).capitalize()
