"""What describes a simulated camera: its maker's house style, its lens and its sensor."""

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
      name: The EXIF tag Make.
      kind: Decides how exposures are chosen and which tags are written.
      phase: Row and column of the red filter: (0, 0) RGGB, (0, 1) GRBG, (1, 0) GBRG, (1, 1) BGGR.
      response: Sensitivity of red, green and blue pixels to white light.
      matrix: Turns camera colours into sRGB; its rows sum to 1.
      gamma, contrast, black: Parameters of the tone curve, see `imaging.tone_table`.
      denoise: The method of `imaging.smooth_luma`.
      tables: The shape of its own quantisation tables, or None for those of Annex K.
      optimize: Whether the encoder computes Huffman tables for each photo.
      exif_version: The EXIF tag ExifVersion, four ASCII digits.
      density: Dots per inch, as the EXIF says.
      centred_chroma: Whether YCbCrPositioning says that chroma is centred, else co-sited.
      auto_balance: How much of a light's colour the automatic white balance removes, 0 to 1.
      software: The EXIF tag Software; "{}" stands for the model's firmware.
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
      name: The EXIF tag LensModel, "" where the maker writes none.
      focal: Focal length in mm.
      aperture: Smallest f-number.
      blur: Standard deviation in pixels, stopped down, before diffraction.
      vignetting: Loss of light in the corners wide open, 0 to 1.
      distortion: See `imaging.expose`.
      aberration: Lateral shift of (red, blue) in pixels in the corner of a photo 512 pixels wide,
        at the widest focal length; half of it with the opposite sign at the longest.
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
      make: The maker.
      model: The EXIF tag Model.
      firmware: The version that the EXIF tag Software names.
      lens: The lens it is used with.
      pitch: Distance of two pixels in micrometres; electrons of a full pixel follow from it.
      read_noise: Standard deviation of the read noise in electrons.
      iso: Lowest and highest sensitivity.
      bits: Resolution of the analogue-to-digital converter.
      crop_factor: 35 mm equivalent over true focal length.
      demosaic: The method of `demosaic.demosaic`.
      denoise: Threshold of the luma denoiser in standard deviations of the noise.
      chroma_denoise: Blur of the colour differences in pixels at the lowest ISO.
      sharpen: Radius in pixels and amount of the unsharp mask.
      quality: Coarseness of the quantisation tables; 1 is the make's standard, 0.5 finer.
      subsampling: Chroma subsampling as JPEG names it.
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
        """Electrons of a full pixel at the lowest ISO: 3,000 for 1 um, about 33,000 for 5 um."""
        return 3000.0 * self.pitch**1.5


def quantisation_tables(camera: Camera, coarseness: float = 1.0) -> list[list[int]]:
    """The camera's luma and chroma tables, 64 integers 1 to 255 each, in row order.

    Args:
      camera: The camera.
      coarseness: Factor of the quality setting: 1 is fine, more is coarser.
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
