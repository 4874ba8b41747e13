"""Which regions of a photo become records: on a grid, apart, where there is something to see."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.processing.settings import PrepSettings, seeded_hash

GRID = 16  # pixels: the JPEG block grid of 4:2:0 photos, so that regions of one camera align alike
MIN_DETAIL = 0.8  # 8-bit levels: below lie clear sky, blur and burnt-out areas (1-2 % of crops)


class Region(NamedTuple):
    """A part of a photo: its upper left corner in pixels, and uint8 [h, w, 3]."""

    y: int
    x: int
    pixels: np.ndarray


class ChosenRegions(NamedTuple):
    """The regions taken, and how many flat and how many saturated tiles were passed over."""

    regions: list[Region]
    num_flat: int = 0
    num_saturated: int = 0


class Detail(NamedTuple):
    """How much there is to see in a region.

    Attributes:
      mean_step: Mean step between neighbours of the green channel, in 8-bit levels, 0 to 255.
        Steps from or to a clipped value count as none: clipping wipes out the camera's traces.
      clipped_fraction: Share of clipped values (under 4, over 251), in [0, 1].
    """

    mean_step: float
    clipped_fraction: float


def measure_detail(pixels: np.ndarray) -> Detail:
    """Measures the detail of uint8 [H, W, 3]."""
    green = pixels[..., 1].astype(np.int16)
    unclipped = (green > 3) & (green < 252)
    steps = np.abs(np.diff(green, axis=1)) * (unclipped[:, 1:] & unclipped[:, :-1])
    clipped_fraction = 1 - float(np.count_nonzero(unclipped)) / max(unclipped.size, 1)
    return Detail(float(steps.sum(dtype=np.int64)) / max(steps.size, 1), clipped_fraction)


def choose_regions(image: Image.Image, sha256: str, settings: PrepSettings) -> ChosenRegions:
    """Chooses regions that do not overlap, on the 16-pixel grid, where there is something to see.

    The photo is tiled from a hashed origin and its tiles are taken in hashed order, skipping flat
    and burnt-out ones; a photo of nothing else gives its best tile.

    Args:
      image: The photo, of mode RGB.
      sha256: The file's SHA-256 in hex: stands for the photo in the hashes.
      settings: Region size, number of regions and seed.

    Returns:
      At most `regions_per_photo` regions. Height and width are the region size, or the photo's own
      where that is smaller. There is no region if every tile is of one colour.
    """
    width, height = image.size
    h, w = min(settings.region_size, height), min(settings.region_size, width)
    regions: list[Region] = []
    num_flat = num_saturated = 0
    best, best_step = None, 0.0
    # A large photo is looked at only until enough tiles have detail.
    for y, x in _tiles_in_hashed_order(height, width, h, w, sha256, settings.seed):
        pixels = np.asarray(image.crop((x, y, x + w, y + h)))
        detail = measure_detail(pixels)
        if detail.mean_step >= MIN_DETAIL:
            regions.append(Region(y, x, pixels))
            if len(regions) == settings.regions_per_photo:
                break
            continue
        if detail.mean_step > best_step:
            best, best_step = Region(y, x, pixels), detail.mean_step
        num_saturated += detail.clipped_fraction > 0.5
        num_flat += detail.clipped_fraction <= 0.5
    if not regions and best is not None:
        regions = [best]
    return ChosenRegions(regions, num_flat, num_saturated)


def _tiles_in_hashed_order(
    height: int, width: int, h: int, w: int, sha256: str, seed: int
) -> list[tuple[int, int]]:
    """The corners (y, x) of the tiles of h x w pixels that a photo is cut into."""
    rows, columns = height // h, width // w
    top = _hashed_origin("y", height - rows * h, sha256, seed)
    left = _hashed_origin("x", width - columns * w, sha256, seed)
    tiles = [(top + row * h, left + column * w) for row in range(rows) for column in range(columns)]
    return sorted(tiles, key=lambda tile: seeded_hash(seed, "tile", sha256, *tile, h, w))


def _hashed_origin(axis: str, slack: int, sha256: str, seed: int) -> int:
    """Where tiling starts along an axis: on the grid, within the pixels that are left over."""
    return GRID * (seeded_hash(seed, "origin", axis, sha256) % (slack // GRID + 1))
