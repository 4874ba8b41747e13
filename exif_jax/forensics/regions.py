"""The part of a photo that a map singles out: as pixels, as a share, as polygons.

Polygons are GeoJSON's (RFC 7946) MultiPolygon, but in pixels: x to the right, y down, the photo's
top left corner at 0, 0. Each polygon is a list of closed rings, first its outline, then its holes.
NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from exif_jax.forensics.patches import Grid

Ring = list[tuple[float, float]]

_MAX_SIDE = 256  # the map is smooth: an outline on so many samples a side is within a pixel or two
_TOLERANCE = 0.9  # samples: an outline may be simplified by so much
_LEAST_SHARE = 0.01  # of the region: smaller pieces are left out of the polygons


_BINS = 256  # of a map's values
# Thresholds that are tried: so far up from the middle of a map's values to the highest.
_WAYS_UP = np.linspace(0.4, 0.95, 12)


def threshold_of(heatmap: np.ndarray, z_PxD: np.ndarray, grid: Grid) -> float:
    """The threshold at which a photo's own map parts its patches best.

    How far two parts lie apart is 1 - cosine of their mean embeddings; that of few patches is
    large by chance, so it counts times sqrt(p * (1 - p)), where p is the share of the patches above
    the threshold: the square of it is what Otsu (1979) makes large, but of embeddings in place of
    the map's own values. The square root and the thresholds that are tried were chosen on the
    development splices, as they were and shrunk to 800 pixels (docs/experiments.md).

    Args:
        heatmap: [H, W]; its value in the middle of a patch stands for the patch.
        z_PxD: unit rows, the patches of `grid` row by row.
        grid: of the photo.

    Returns:
        The threshold; the map's maximum, which nothing exceeds, where most patches have the highest
        value of all.
    """
    y, x = grid.origins().T + grid.patch // 2
    values_P = heatmap[y, x].astype(np.float64)
    low, high = float(np.median(values_P)), float(values_P.max())
    if high <= low:
        return float(heatmap.max())
    thresholds_T = low + _WAYS_UP * (high - low)
    above_TxP = values_P > thresholds_T[:, None]
    distance_T = 1 - (_directions(above_TxP, z_PxD) * _directions(~above_TxP, z_PxD)).sum(axis=1)
    share_T = above_TxP.mean(axis=1)
    return float(thresholds_T[(distance_T * np.sqrt(share_T * (1 - share_T))).argmax()])


def otsu(values: np.ndarray) -> float:
    """The threshold between two groups of values in [0, 1] that lie farthest apart (Otsu 1979).

    Of a learned map: chosen for it on development splices cut to 384 x 256 and shrunk to 800
    pixels, and on the third of CASIA v1 that is for looking (docs/experiments.md).

    Args:
        values: of any shape, in [0, 1].

    Returns:
        Where p (1 - p) d^2 is largest, p the share of the values above and d the distance of the
        means; 1, which nothing exceeds, of values that are all alike.
    """
    counts, edges = np.histogram(values, bins=_BINS, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum(), (counts * middles).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (total[-1] - total) / above - total / below
        between = np.where((above > 0) & (below > 0), below * above * distance**2, 0.0)
    return float(edges[1 + between.argmax()]) if between.max() > 0 else 1.0


def _directions(members_TxP: np.ndarray, z_PxD: np.ndarray) -> np.ndarray:
    """float64 [T, D]: of unit length, the mean embeddings of several sets of patches."""
    sum_TxD = members_TxP.astype(np.float64) @ z_PxD
    return sum_TxD / np.maximum(np.linalg.norm(sum_TxD, axis=1, keepdims=True), 1e-12)


def mask_of(heatmap: np.ndarray, threshold: float) -> np.ndarray:
    """bool [H, W]: where a map exceeds a threshold; nothing of a map of zeros."""
    return heatmap > threshold


def compactness(clusters: np.ndarray) -> float:
    """How much like one square the part of patches is: the sides that it would have over its own.

    Args:
        clusters: int [rows, columns], 1 in the part.

    Returns:
        About 1 of one square, more of a part at the photo's edge, whose sides there do not count;
        near 0 of scattered patches; 0 of none.
    """
    part = clusters != 0
    sides = int((part[1:] != part[:-1]).sum() + (part[:, 1:] != part[:, :-1]).sum())
    return 4 * math.sqrt(int(part.sum())) / sides if sides else 0.0


def region_json(mask: np.ndarray, threshold: float) -> dict[str, Any]:
    """A region as the JSON report has it.

    Args:
        mask: bool [H, W], of `mask_of`.
        threshold: of the map.

    Returns:
        "share" of the photo in the region, "threshold", and the GeoJSON-like "type" and
        "coordinates".
    """
    return {
        "share": round(float(mask.mean()), 5),
        "threshold": round(float(threshold), 5),
        "type": "MultiPolygon",
        "coordinates": polygons(mask),
    }


def polygons(mask: np.ndarray) -> list[list[Ring]]:
    """The outlines of a region, the largest polygon first, in pixels.

    Args:
        mask: bool [H, W].
    """
    height, width = mask.shape
    step = max(1, math.ceil(max(height, width) / _MAX_SIDE))
    samples = mask[step // 2 :: step, step // 2 :: step]
    rings = [ring for ring in _rings(samples) if len(ring) > 3]
    areas = [_area(ring) for ring in rings]
    least = _LEAST_SHARE * max(1, samples.sum())
    outlines = [k for k, area in enumerate(areas) if area >= least]
    holes = [k for k, area in enumerate(areas) if area <= -least]
    result = []
    for k in sorted(outlines, key=lambda k: -areas[k]):
        # A hole lies in the smallest outline around it.
        own = [h for h in holes if k == _around(rings[h], rings, outlines, areas)]
        result.append([_in_pixels(rings[i], step, width, height) for i in (k, *own)])
    return result


def turned(
    coordinates: Sequence[Sequence[Ring]], orientation: int, width: int, height: int
) -> list[list[Ring]]:
    """Polygons of a photo as stored, as they lie in the photo as seen.

    Args:
        coordinates: in pixels of the photo as stored.
        orientation: of EXIF, 1 to 8.
        width, height: of the photo as stored.
    """
    across = height if orientation in (5, 6, 7, 8) else width
    down = width if orientation in (5, 6, 7, 8) else height

    def turn(x: float, y: float) -> tuple[float, float]:
        if orientation in (5, 6, 7, 8):
            x, y = y, x
        if orientation in (3, 4, 7, 8):
            y = down - y
        if orientation in (2, 3, 6, 7):
            x = across - x
        return x, y

    return [[[turn(*point) for point in ring] for ring in rings] for rings in coordinates]


def _around(hole: Ring, rings: Sequence[Ring], outlines: Sequence[int], areas) -> int | None:
    x, y = hole[0]
    # A hole's corner may touch an outline; the middle of its first side's inner cell does not.
    (x1, y1) = hole[1]
    inside = ((x + x1) / 2 - (y1 - y) * 0.5, (y + y1) / 2 + (x1 - x) * 0.5)
    around = [k for k in outlines if _contains(rings[k], inside)]
    return min(around, key=lambda k: areas[k], default=None)


def _contains(ring: Ring, point: tuple[float, float]) -> bool:
    x, y = point
    inside = False
    for (x1, y1), (x2, y2) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside


def _rings(mask: np.ndarray) -> list[Ring]:
    """The borders of a mask along the edges of its cells; the region lies to the right.

    So outlines have a positive area and holes a negative one (y points down).
    """
    padded = np.pad(mask, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(starts, ends):
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            following.setdefault(tuple(start), []).append(tuple(end))

    above = padded[:-1, 1:-1], padded[1:, 1:-1]  # of every horizontal edge: the cell above, below
    left = padded[1:-1, :-1], padded[1:-1, 1:]  # of every vertical edge: the cell left, right
    for (y, x), forward in (
        (np.nonzero(~above[0] & above[1]), True),
        (np.nonzero(above[0] & ~above[1]), False),
    ):
        a, b = np.stack([x, y], 1), np.stack([x + 1, y], 1)
        add(*((a, b) if forward else (b, a)))
    for (y, x), forward in (
        (np.nonzero(left[0] & ~left[1]), True),
        (np.nonzero(~left[0] & left[1]), False),
    ):
        a, b = np.stack([x, y], 1), np.stack([x, y + 1], 1)
        add(*((a, b) if forward else (b, a)))
    rings = []
    while following:
        start = next(iter(following))
        ring, here, direction = [start], start, None
        while True:
            here, direction = _next_corner(following, here, direction)
            if here == start:
                break
            ring.append(here)
        rings.append(ring)
    return rings


def _next_corner(following, here, direction):
    """Takes the edge from a corner; of two, where regions touch, the one that turns right."""
    ends = following[here]

    def turn(end):
        step = end[0] - here[0], end[1] - here[1]
        return 0 if direction is None else direction[0] * step[1] - direction[1] * step[0]

    end = max(ends, key=turn)  # y points down: to the right is positive
    ends.remove(end)
    if not ends:
        del following[here]
    return end, (end[0] - here[0], end[1] - here[1])


def _area(ring: Ring) -> float:
    x, y = np.array(ring, np.float64).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _in_pixels(ring: Ring, step: int, width: int, height: int) -> Ring:
    """Simplified, scaled to pixels and closed."""
    half = len(ring) // 2
    points = np.array(ring, np.float64)
    # Douglas and Peucker's lines, of either half between two corners far from each other.
    kept = [
        *_simplified(points[: half + 1])[:-1],
        *_simplified(np.vstack([points[half:], points[:1]])),
    ]
    pixels = [(min(float(x) * step, width), min(float(y) * step, height)) for x, y in kept]
    return [*pixels[:-1], pixels[0]]


def _simplified(points: np.ndarray) -> list[np.ndarray]:
    if len(points) < 3:
        return list(points)
    along = points[-1] - points[0]
    offset = points - points[0]
    length = math.hypot(*along)
    distance = (
        abs(offset[:, 0] * along[1] - offset[:, 1] * along[0]) / length
        if length
        else np.hypot(*offset.T)
    )
    k = int(distance.argmax())
    if distance[k] <= _TOLERANCE:
        return [points[0], points[-1]]
    return _simplified(points[: k + 1])[:-1] + _simplified(points[k:])
