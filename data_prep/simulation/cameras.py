"""The simulated cameras: eight invented makes with three models each, described by their physics.

Models of one make share what a maker's house style shares (filter phase, colour, tone curve,
denoiser, shape of the quantisation tables, habits of writing EXIF) and differ in sensor, lens,
demosaicing, sharpening and JPEG quality. No make or model here exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

# ITU-T T.81, tables K.1 and K.2: what a maker uses who designs no tables.
_ANNEX_K_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_ANNEX_K_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
) + ((99,) * 8,) * 4


@dataclass(frozen=True)
class TableShape:
    """A maker's own quantisation tables: ``(floor + slope * hypot(u, aspect * v) ** power)``.

    `u`, `v` are the horizontal and vertical frequency, 0 to 7; chroma is `chroma` times as coarse.
    """

    floor: float
    slope: float
    power: float
    aspect: float
    chroma: float


@dataclass(frozen=True)
class Make:
    """What the models of one maker share.

    Attributes:
        name: as written to the EXIF tag Make.
        kind: decides how exposures are chosen and which tags are written.
        phase: (row, column) of the red filter: (0, 0) RGGB, (0, 1) GRBG, (1, 0) GBRG, (1, 1) BGGR.
        response: sensitivity of red, green and blue pixels to white light.
        matrix: camera colours to sRGB, rows sum to 1.
        gamma, contrast, black: of the tone curve, see `imaging.tone_table`.
        denoise: method of `imaging.smooth_luma`.
        tables: own quantisation tables, or None for those of Annex K.
        optimize: whether the encoder computes Huffman tables for each photo.
        exif_version: four ASCII digits.
        density: dots per inch as written.
        centred_chroma: chroma position as written in YCbCrPositioning (1 centred, else co-sited).
        auto_balance: how much of a light's colour the automatic white balance removes, 0 to 1.
        software: pattern of the tag Software; "{}" is replaced by the model's firmware.
    """

    name: str
    kind: Literal["phone", "compact", "system", "action"]
    phase: tuple[int, int]
    response: tuple[float, float, float]
    matrix: tuple[tuple[float, float, float], ...]
    gamma: float
    contrast: float
    black: float
    denoise: Literal["edge", "coring", "median"]
    tables: TableShape | None
    optimize: bool
    exif_version: str
    density: int
    centred_chroma: bool
    auto_balance: float
    software: str


@dataclass(frozen=True)
class Lens:
    """A lens; pairs are (widest, longest) focal length, in between is interpolated.

    Attributes:
        name: as written to LensModel, "" where the maker writes none.
        focal: mm.
        aperture: smallest f-number.
        blur: standard deviation in pixels, stopped down, before diffraction.
        vignetting: loss of light in the corners wide open, 0 to 1.
        distortion: see `imaging.expose`.
        aberration: lateral, of (red, blue), pixels in the corner of a photo 512 pixels wide, at
            the widest focal length; half of it with the opposite sign at the longest.
    """

    name: str
    focal: tuple[float, float]
    aperture: tuple[float, float]
    blur: float
    vignetting: float
    distortion: tuple[float, float]
    aberration: tuple[float, float]


@dataclass(frozen=True)
class Camera:
    """One camera model.

    Attributes:
        make: the maker.
        model: as written to the EXIF tag Model.
        firmware: goes into Software.
        lens: the lens it is used with.
        pitch: of the pixels, micrometres; electrons of a full pixel follow from it.
        read_noise: electrons.
        iso: (lowest, highest).
        bits: of the converter.
        crop_factor: 35 mm equivalent over true focal length.
        demosaic: method of `demosaic.demosaic`.
        denoise: threshold of the luma denoiser in standard deviations of the noise.
        chroma_denoise: blur of the colour differences in pixels at the lowest ISO.
        sharpen: (radius in pixels, amount).
        quality: coarseness of the quantisation tables; 1 is the make's standard, 0.5 finer.
        subsampling: of chroma, as Pillow and JPEG name it.
    """

    make: Make
    model: str
    firmware: str
    lens: Lens
    pitch: float
    read_noise: float
    iso: tuple[int, int]
    bits: int
    crop_factor: float
    demosaic: Literal["bilinear", "linear5", "directed", "hue"]
    denoise: float
    chroma_denoise: float
    sharpen: tuple[float, float]
    quality: float
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"]

    @property
    def full_well(self) -> float:
        """Electrons of a full pixel at the lowest ISO; about 3,000 for 1 um, 33,000 for 5 um."""
        return 3000.0 * self.pitch**1.5


def quantisation_tables(camera: Camera, coarseness: float = 1.0) -> list[list[int]]:
    """The camera's luma and chroma tables, 64 integers 1 to 255 each, in row order.

    Args:
        camera: the camera.
        coarseness: of the quality setting; 1 fine, more is coarser.
    """
    shape = camera.make.tables
    if shape is None:
        # 0.12 times Annex K is what libjpeg calls quality 94.
        luma = 0.12 * np.array(_ANNEX_K_LUMA, np.float64)
        chroma = 0.12 * np.array(_ANNEX_K_CHROMA, np.float64)
    else:
        v, u = np.mgrid[0:8, 0:8]
        luma = shape.floor + shape.slope * np.hypot(u, shape.aspect * v) ** shape.power
        chroma = shape.chroma * luma
    scale = camera.quality * coarseness
    return [
        [int(q) for q in np.clip(np.rint(table * scale), 1, 255).ravel()]
        for table in (luma, chroma)
    ]


def colour_matrix(red: float, green: float, blue: float, skew: float):
    """A colour matrix with the given saturation of each row; rows sum to 1."""
    return (
        (red, (1 - red) * (0.7 + skew), (1 - red) * (0.3 - skew)),
        ((1 - green) * (0.5 - skew), green, (1 - green) * (0.5 + skew)),
        ((1 - blue) * (0.15 + skew), (1 - blue) * (0.85 - skew), blue),
    )


_AURELIS = Make(
    "AURELIS", "system", (0, 0), (0.50, 1.0, 0.62), colour_matrix(1.55, 1.35, 1.45, 0.0),
    2.2, 0.35, 0.0, "edge", TableShape(1.0, 0.55, 1.25, 1.0, 1.6), False,
    "0230", 300, False, 0.90, "Ver.{}",
)  # fmt: skip
_BRAMWICK = Make(
    "Bramwick Optical Co.", "system", (1, 0), (0.56, 1.0, 0.55),
    colour_matrix(1.40, 1.30, 1.60, 0.1), 2.1, 0.20,
    2.0, "median", TableShape(2.0, 0.25, 1.70, 0.8, 1.0), True,
    "0231", 350, False, 0.95, "BW Firmware {}",
)  # fmt: skip
_CORVANE = Make(
    "Corvane", "phone", (1, 1), (0.60, 1.0, 0.70), colour_matrix(1.70, 1.50, 1.70, 0.05),
    2.3, 0.45, 0.0, "edge", None, False,
    "0220", 72, True, 0.97, "corvane-os {}",
)  # fmt: skip
_DUNMERE = Make(
    "DUNMERE", "compact", (0, 1), (0.48, 1.0, 0.66), colour_matrix(1.50, 1.45, 1.40, -0.1),
    2.2, 0.55, 3.0, "coring", TableShape(2.5, 0.9, 1.0, 1.3, 1.3), False,
    "0221", 180, True, 0.85, "DM{}",
)  # fmt: skip
_ELKORA = Make(
    "Elkora Mobile", "phone", (0, 1), (0.63, 1.0, 0.58), colour_matrix(1.60, 1.60, 1.50, 0.15),
    2.4, 0.60, 0.0, "coring", None, True,
    "0232", 72, True, 0.99, "{}",
)  # fmt: skip
_FENNOPTIK = Make(
    "FENNOPTIK", "compact", (0, 0), (0.52, 1.0, 0.52), colour_matrix(1.35, 1.25, 1.35, 0.0),
    2.0, 0.30, 1.0, "median", TableShape(1.5, 0.12, 2.00, 1.0, 2.2), False,
    "0220", 300, False, 0.88, "Digital Camera FPK {}",
)  # fmt: skip
_GALDOR = Make(
    "Galdor", "action", (1, 1), (0.58, 1.0, 0.74), colour_matrix(1.80, 1.45, 1.75, 0.0),
    2.2, 0.75, 0.0, "edge", TableShape(3.5, 0.45, 1.40, 1.1, 1.5), False,
    "0221", 72, True, 0.93, "GLD3.{}",
)  # fmt: skip
_HYLOS = Make(
    "Hylos Kamerawerk", "system", (1, 0), (0.46, 1.0, 0.60), colour_matrix(1.45, 1.20, 1.50, -0.15),
    1.9, 0.10, 0.0, "coring", TableShape(1.0, 0.28, 1.50, 1.0, 1.2), True,
    "0230", 300, False, 0.92, "{}",
)  # fmt: skip

# In turns of makes, so that the first eight are of eight makes.
CAMERAS: tuple[Camera, ...] = (
    Camera(
        _AURELIS, "AX-1", "1.0.2",
        Lens("AU 18-55mm f/3.5-5.6", (18, 55), (3.5, 5.6), 0.50, 0.45, (0.04, -0.01), (0.9, -0.6)),
        4.8, 4.0, (100, 6400), 14, 1.5, "linear5", 0.8, 0.6, (0.9, 0.6), 1.0, "4:2:2",
    ),
    Camera(
        _BRAMWICK, "Bramwick M2", "2.10",
        Lens("B 24-70mm F2.8", (24, 70), (2.8, 2.8), 0.40, 0.35, (0.02, -0.02), (-0.5, 0.7)),
        5.9, 3.0, (100, 25600), 14, 1.0, "directed", 0.5, 0.4, (0.6, 0.5), 0.8, "4:4:4",
    ),
    Camera(
        _CORVANE, "CV-P7", "7.1.1",
        Lens("CV-P7 4.3mm f/1.8", (4.3, 4.3), (1.8, 1.8), 0.45, 0.25, (0.005, 0.005), (0.3, -0.3)),
        1.4, 2.2, (50, 3200), 10, 6.05, "linear5", 2.0, 1.6, (1.0, 1.3), 0.9, "4:2:0",
    ),
    Camera(
        _DUNMERE, "DC-500z", "1.02",
        Lens("", (5.8, 29.0), (2.8, 5.1), 0.65, 0.30, (0.05, 0.0), (1.1, -0.8)),
        1.6, 5.0, (80, 1600), 12, 5.8, "bilinear", 1.5, 1.0, (1.3, 1.0), 1.0, "4:2:2",
    ),
    Camera(
        _ELKORA, "EK-X20", "EKX20.44.1",
        Lens("", (3.6, 3.6), (2.2, 2.2), 0.55, 0.35, (0.0, 0.0), (0.2, 0.2)),
        1.12, 1.8, (50, 2000), 10, 7.2, "directed", 2.6, 2.2, (0.8, 1.8), 1.2, "4:2:0",
    ),
    Camera(
        _FENNOPTIK, "SuperZoom 30", "1.1",
        Lens("", (4.5, 90.0), (3.0, 5.8), 0.75, 0.25, (0.06, -0.03), (1.4, -1.2)),
        1.3, 4.0, (100, 3200), 12, 5.6, "hue", 1.2, 1.3, (1.2, 0.8), 1.0, "4:4:4",
    ),
    Camera(
        _GALDOR, "Deep Dive", "61",
        Lens("", (2.9, 2.9), (2.8, 2.8), 0.60, 0.55, (0.16, 0.16), (1.6, 1.0)),
        1.55, 3.0, (100, 1600), 10, 5.9, "bilinear", 1.6, 1.5, (1.1, 1.4), 1.0, "4:2:0",
    ),
    Camera(
        _HYLOS, "Hylos R", "3.0.0",
        Lens("Prismar 35mm f/2", (35, 35), (2.0, 2.0), 0.35, 0.60, (0.01, 0.01), (0.2, -0.4)),
        6.0, 2.5, (100, 12800), 14, 1.0, "directed", 0.0, 0.0, (0.7, 0.3), 1.0, "4:4:4",
    ),
    Camera(
        _AURELIS, "AX-5 Pro", "2.4.0",
        Lens("AU 70-200mm f/4", (70, 200), (4.0, 4.0), 0.40, 0.30, (-0.005, -0.02), (0.3, 0.4)),
        6.4, 2.8, (100, 25600), 14, 1.0, "directed", 0.6, 0.5, (0.7, 0.5), 0.8, "4:2:2",
    ),
    Camera(
        _BRAMWICK, "Bramwick M1", "1.31",
        Lens("B 50mm F1.8", (50, 50), (1.8, 1.8), 0.45, 0.50, (-0.008, -0.008), (0.5, 0.2)),
        4.3, 4.5, (200, 6400), 12, 1.6, "hue", 1.2, 0.8, (0.9, 0.9), 1.6, "4:2:2",
    ),
    Camera(
        _CORVANE, "CV-P9", "9.0",
        Lens("CV-P9 6.1mm f/1.6", (6.1, 6.1), (1.6, 1.6), 0.35, 0.30, (0.0, 0.0), (0.2, -0.2)),
        1.9, 1.6, (40, 6400), 12, 4.1, "directed", 2.2, 1.4, (0.7, 1.0), 0.7, "4:2:0",
    ),
    Camera(
        _DUNMERE, "DC-650", "1.00",
        Lens("", (6.1, 24.4), (2.0, 4.0), 0.55, 0.35, (0.03, -0.01), (0.7, -0.5)),
        1.9, 3.5, (100, 3200), 12, 4.6, "linear5", 1.3, 0.9, (1.1, 1.2), 0.7, "4:2:2",
    ),
    Camera(
        _ELKORA, "EK-Lite", "EKL.12.7",
        Lens("", (3.0, 3.0), (2.4, 2.4), 0.80, 0.45, (0.02, 0.02), (0.6, 0.5)),
        1.0, 3.0, (100, 1600), 10, 8.0, "bilinear", 3.0, 2.8, (1.4, 1.5), 2.2, "4:2:0",
    ),
    Camera(
        _FENNOPTIK, "Pocket 8", "2.0",
        Lens("", (5.2, 15.6), (2.6, 4.8), 0.70, 0.30, (0.04, 0.0), (0.9, 0.5)),
        1.7, 6.0, (64, 800), 10, 6.7, "bilinear", 0.6, 0.7, (1.5, 0.7), 1.9, "4:2:0",
    ),
    Camera(
        _GALDOR, "Trail 2", "07",
        Lens("", (3.4, 3.4), (2.5, 2.5), 0.50, 0.45, (0.10, 0.10), (0.8, 1.3)),
        1.8, 2.4, (100, 3200), 12, 5.0, "linear5", 1.8, 1.8, (0.9, 1.1), 0.6, "4:2:0",
    ),
    Camera(
        _HYLOS, "Hylos Q", "1.4.1",
        Lens("Prismar 28mm f/1.7", (28, 28), (1.7, 1.7), 0.40, 0.50, (0.03, 0.03), (0.4, -0.3)),
        5.1, 2.8, (100, 12800), 14, 1.0, "linear5", 0.7, 0.4, (0.6, 0.6), 1.7, "4:2:2",
    ),
    Camera(
        _AURELIS, "AX-2", "1.1.0",
        Lens("AU 35mm f/1.8", (35, 35), (1.8, 1.8), 0.45, 0.50, (0.012, 0.012), (0.5, -0.5)),
        3.9, 5.5, (200, 3200), 12, 1.5, "hue", 1.1, 0.9, (1.2, 0.8), 2.0, "4:2:0",
    ),
    Camera(
        _BRAMWICK, "Bramwick E", "1.00",
        Lens("B 14-42mm F3.5-5.6", (14, 42), (3.5, 5.6), 0.55, 0.40, (0.05, 0.0), (1.0, 0.8)),
        3.7, 4.0, (200, 12800), 12, 2.0, "bilinear", 0.9, 1.1, (1.1, 1.1), 1.1, "4:2:0",
    ),
    Camera(
        _CORVANE, "CV-Mini", "6.8.2",
        Lens("CV-Mini 3.8mm f/2.4", (3.8, 3.8), (2.4, 2.4), 0.65, 0.40, (0.01, 0.01), (0.5, 0.4)),
        1.1, 2.6, (50, 1600), 10, 7.4, "hue", 1.6, 2.0, (1.3, 1.6), 1.7, "4:2:0",
    ),
    Camera(
        _DUNMERE, "DS-12 Bridge", "2.11",
        Lens("", (7.4, 88.8), (2.8, 4.5), 0.60, 0.25, (0.04, -0.02), (1.2, 0.6)),
        2.0, 4.5, (64, 1600), 12, 4.8, "directed", 0.8, 0.6, (0.8, 0.9), 1.5, "4:4:4",
    ),
    Camera(
        _ELKORA, "EK-Ultra", "EKU.90.3",
        Lens("", (6.9, 6.9), (1.7, 1.7), 0.40, 0.40, (0.0, 0.0), (-0.2, 0.2)),
        2.4, 1.5, (50, 6400), 12, 3.5, "linear5", 2.2, 1.6, (0.6, 1.4), 0.6, "4:4:4",
    ),
    Camera(
        _FENNOPTIK, "X-Prime", "1.3",
        Lens("Fennoptik 23mm F2", (23, 23), (2.0, 2.0), 0.45, 0.35, (0.01, 0.01), (0.3, 0.3)),
        4.0, 3.2, (200, 6400), 14, 1.5, "linear5", 0.6, 0.5, (0.8, 0.5), 0.5, "4:4:4",
    ),
    Camera(
        _GALDOR, "Aero", "22",
        Lens("", (8.8, 8.8), (2.8, 2.8), 0.45, 0.40, (0.02, 0.02), (0.5, 0.7)),
        2.4, 2.6, (100, 6400), 12, 2.7, "directed", 1.0, 1.2, (1.0, 0.7), 0.8, "4:2:2",
    ),
    Camera(
        _HYLOS, "Hylos D2", "2.2.0",
        Lens("Prismar 90mm f/2.8", (90, 90), (2.8, 2.8), 0.40, 0.30, (-0.015, -0.015), (-0.3, 0.3)),
        6.8, 12.0, (160, 2500), 14, 1.3, "bilinear", 0.0, 0.3, (0.9, 0.9), 0.7, "4:4:4",
    ),
)  # fmt: skip
