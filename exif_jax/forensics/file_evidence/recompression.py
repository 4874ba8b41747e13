"""Traces of more than one JPEG compression, and of resampling, in a photo's luma. NumPy only.

Where blocks were quantised by a step q1 and again by q2 on the same grid, the histogram of a
frequency's levels has gaps and peaks that one quantisation does not leave. What it would be
without the first is had from the photo itself, from blocks cut 4 pixels off the grid. For each
candidate table the likelihoods of the two histories are compared over some low frequencies.

Resampling by interpolation makes the variance of an image's second differences periodic.

Sources: Bianchi & Piva, "Image forgery localization via block-grained analysis of JPEG artifacts"
(IEEE TIFS 2012), for the model of a double quantisation and the shifted blocks; Gallagher,
"Detection of linear and cubic interpolation in JPEG compressed images" (CRV 2005).
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from exif_jax.reading import jpeg_scan
from exif_jax.reading.containers import plain_jpeg

Table = tuple[int, ...]

_SIDE = 1536  # of the square in the photo's middle that is looked at
_LEVELS = 400  # coefficients beyond are not counted
_POINTS = np.arange(-_LEVELS, _LEVELS + 1)
# Row-by-row numbers of the frequencies that are looked at: low, where levels are many.
_FREQUENCIES = (1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4)
_NOISE = 0.45  # deviation of a coefficient by rounding and clipping pixels between compressions
MIN_PEAK = 9.0  # of `resampling_peak`, from which on resampling is spoken of
_SLOW = 0.06  # cycles per pixel
_DOUBT = 0.02  # share of the coefficients that the model may not explain


class Recompression(NamedTuple):
    """The best explanation by an earlier compression.

    Attributes:
      gain: Log likelihood per coefficient over one compression, in nats; 0 where none is better.
      table: Of the earlier compression; () where none is better.
      name: What the table is called.
    """

    gain: float
    table: Table
    name: str


def luma_square(data: bytes) -> np.ndarray:
    """The luma of the middle of a JPEG file, without a conversion through RGB.

    Args:
      data: A JPEG file that has been read before.

    Returns:
      float32 [h, w], 0 to 255, sides multiples of 8, on the file's grid of blocks; empty [0, 0]
      where the file has no luma, is damaged or smaller than 64 pixels.
    """
    try:
        return _luma_square(plain_jpeg(jpeg_scan.split(data)))
    except Exception:  # what the reader of photos mends, and decoders fail in any way
        return np.zeros((0, 0), np.float32)


def _luma_square(data: bytes) -> np.ndarray:
    """`luma_square` of a file without metadata, which Pillow would read besides."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        if image.mode not in ("RGB", "L"):
            return np.zeros((0, 0), np.float32)
        image.draft("L", image.size)
        if image.mode != "L":
            image = image.convert("L")
        box = []
        for side in image.size:
            length = min(side, _SIDE) // 8 * 8
            start = (side - length) // 16 * 8
            box.append((start, start + length))
        (left, right), (top, bottom) = box
        if min(right - left, bottom - top) < 64:
            return np.zeros((0, 0), np.float32)
        return np.asarray(image.crop((left, top, right, bottom)), np.float32)


@functools.cache
def _dct_matrix() -> np.ndarray:
    """float32 [8, 8]: the orthonormal DCT of ITU T.81."""
    k, n = np.mgrid[:8, :8]
    matrix = np.cos((2 * n + 1) * k * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.astype(np.float32)


def block_coefficients(luma: np.ndarray) -> np.ndarray:
    """float32 [N, 64]: the DCT of the blocks of float32 [h, w], less 128; sides cut to eights."""
    h, w = (side // 8 for side in luma.shape)
    blocks = luma[: 8 * h, : 8 * w].reshape(h, 8, w, 8).transpose(0, 2, 1, 3) - 128
    d = _dct_matrix()
    return (d @ blocks @ d.T).reshape(-1, 64)


def ijg_table(quality: int) -> Table:
    """The luma table of the Independent JPEG Group's library at a quality of 1 to 100."""
    return _ijg_tables()[quality][0]


@functools.cache
def _ijg_tables() -> dict[int, tuple[Table, Table]]:
    """Quality -> luma and chroma tables, row by row, by asking the library behind Pillow."""
    tables = {}
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
        with Image.open(stream) as image:
            quantization = getattr(image, "quantization", {})
            tables[quality] = (tuple(quantization[0]), tuple(quantization[1]))
    return tables


def ijg_quality(tables: Sequence[Table]) -> int | None:
    """The quality at which the IJG's library writes such tables; None for others.

    Args:
      tables: Luma, or luma and chroma, row by row.
    """
    for quality in range(100, 0, -1):
        if tables and tuple(tables) == _ijg_tables()[quality][: len(tables)]:
            return quality
    return None


def nearest_quality(table: Table) -> int:
    """The IJG quality whose luma table is the most like a table, by the logarithm of its sum."""
    wanted = math.log(sum(table))
    return min(range(1, 101), key=lambda q: abs(math.log(sum(ijg_table(q))) - wanted))


# --- double compression ---------------------------------------------------------------------------


def find_recompression(
    luma: np.ndarray, last: Table, candidates: Mapping[str, Table]
) -> Recompression:
    """Looks for the candidate that explains a photo's coefficients best as an earlier table.

    Args:
      luma: float32 [h, w] of `luma_square`.
      last: The file's own luma table.
      candidates: Name -> table.
    """
    nothing = Recompression(0.0, (), "")
    if min(luma.shape) < 64:
        return nothing
    own, shifted = block_coefficients(luma), block_coefficients(luma[4:-4, 4:-4])
    own = own[np.abs(own[:, 1:]).sum(1) > 1]
    if len(own) < 200:  # flat
        return nothing
    seen = {k: _Frequency.of(own[:, k], shifted[:, k], last[k]) for k in _FREQUENCIES}
    gains: dict[tuple[int, int], float] = {}
    best = nothing
    for name, table in candidates.items():
        if table == last:
            continue
        for k in _FREQUENCIES:
            if (k, table[k]) not in gains:
                gains[k, table[k]] = seen[k].gain(table[k])
        gain = sum(gains[k, table[k]] for k in _FREQUENCIES) / len(_FREQUENCIES)
        if gain > best.gain:
            best = Recompression(gain, table, name)
    return best


class _Frequency(NamedTuple):
    """One frequency of a photo's blocks.

    Attributes:
      counts: float64 [2 r + 1]: how many blocks have each level -r..r.
      density: float64 [2 L + 1]: of the values -L..L, as blocks off the grid show them.
      once: float64 [2 r + 1]: probabilities of the levels if they were quantised once.
      step: What they were quantised by.
    """

    counts: np.ndarray
    density: np.ndarray
    once: np.ndarray
    step: int

    @classmethod
    def of(cls, own: np.ndarray, shifted: np.ndarray, step: int) -> _Frequency:
        reach = min(40, _LEVELS // step)
        levels = np.rint(own / step).astype(int)
        levels = levels[np.abs(levels) <= reach]
        counts = np.bincount(levels + reach, minlength=2 * reach + 1).astype(float)
        fine = np.clip(np.rint(shifted), -_LEVELS, _LEVELS).astype(int)
        density = np.bincount(fine + _LEVELS, minlength=2 * _LEVELS + 1).astype(float)
        density = _smooth((density + density[::-1]) / 2)  # the distribution is even
        density /= density.sum()
        once = _quantised(density, _POINTS, step, reach)
        return cls(counts, density, once, step)

    def gain(self, first: int) -> float:
        """Log likelihood per block of an earlier quantisation by `first` over there being none."""
        if first in (1, self.step):
            return 0.0
        steps = np.rint(_POINTS / first).astype(int)
        mass = np.bincount(steps - steps[0], self.density)
        points = np.arange(steps[0], steps[-1] + 1) * first
        twice = _quantised(mass, points, self.step, len(self.counts) // 2)
        twice = (1 - _DOUBT) * twice + _DOUBT * self.once
        ratio = np.log(twice + 1e-9) - np.log(self.once + 1e-9)
        return float(self.counts @ ratio / max(self.counts.sum(), 1))


def _smooth(density: np.ndarray) -> np.ndarray:
    """A density without its zeros between rare values, the same at its centre."""
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    smooth = np.convolve(density, kernel / kernel.sum(), "same")
    return np.where(density > 200, density, smooth)


def _quantised(mass: np.ndarray, points: np.ndarray, step: int, reach: int) -> np.ndarray:
    """Probabilities of the levels -reach..reach of values at some points, with rounding noise."""
    edges = (np.arange(-reach, reach + 2) - 0.5) * step
    distance = (edges[:, None] - points[None]) / _NOISE
    # Within a few deviations of an edge the noise decides; elsewhere a step function does.
    below = 0.5 * (1 + np.tanh(0.8 * np.clip(distance, -12, 12)))
    levels = np.diff(below @ mass)
    return np.maximum(levels, 0) / max(levels.sum(), 1e-12)


# --- resampling -----------------------------------------------------------------------------------


def resampling_peak(luma: np.ndarray) -> tuple[float, float]:
    """How strongly a period in the second differences stands out, and its frequency.

    An image is resampled by the same factor both ways, so what counts is a frequency at which rows
    and columns have a peak. Periods of the JPEG grid and of colour filters (multiples of 1/8), and
    slow ones, which scenes have, do not count.

    Args:
      luma: float32 [h, w].

    Returns:
      The highest peak, over what lies around it; and its frequency in cycles per pixel.
    """
    side = min(luma.shape)
    if side < 256:
        return 0.0, 0.0
    square = luma[:side, :side]
    peaks = np.sqrt(_spectrum(square) * _spectrum(square.T))
    frequency = np.arange(len(peaks)) / _profile_length(side)
    grid = np.abs(frequency * 8 - np.rint(frequency * 8)) / 8
    usable = (grid > 4 / side) & (frequency > _SLOW)
    at = int(np.argmax(np.where(usable, peaks, 0)))
    return float(peaks[at]), float(frequency[at])


def _profile_length(side: int) -> int:
    return side - 34


def _spectrum(luma: np.ndarray) -> np.ndarray:
    """The spectrum of the columns' mean second difference, over its median nearby."""
    differences = np.abs(2 * luma[:, 1:-1] - luma[:, :-2] - luma[:, 2:])
    profile = np.minimum(differences, 20).mean(0, dtype=np.float64)
    profile = profile / np.maximum(np.convolve(profile, np.ones(33) / 33, "same"), 1e-3)
    profile = profile[16:-16] - 1
    spectrum = np.abs(np.fft.rfft(profile * np.hanning(len(profile))))
    around = np.pad(spectrum, 20, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(around, 41)
    return spectrum / np.maximum(np.median(windows, axis=1), 1e-9)
