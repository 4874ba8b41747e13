"""From a colour filter mosaic to three full planes: four published algorithms.

Each leaves its own periodic trace of the 2x2 mosaic in the picture, which is one of the things
that tells cameras apart.
"""

from __future__ import annotations

import numpy as np

# Sites of the 2x2 mosaic relative to the red one: (row, column, colour plane). The first green
# lies on the rows of red, the second on the rows of blue.
SITES = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))


def site_slices(phase: tuple[int, int]) -> tuple[tuple[slice, slice], ...]:
    """Where the four filters of the 2x2 mosaic lie: red, green of red rows, of blue rows, blue."""
    return tuple((slice(r ^ phase[0], None, 2), slice(c ^ phase[1], None, 2)) for r, c, _ in SITES)


def demosaic(mosaic, phase: tuple[int, int], method: str):
    """Fills in the two colours that each pixel did not measure.

    Args:
      mosaic: float32 [H, W], white balanced, H and W even and at least 4.
      phase: Row and column of the red filter.
      method: "bilinear"; "linear5" (the 5x5 gradient-corrected linear filters of Malvar, He and
        Cutler, ICASSP 2004); "directed" (green along the edge, then colour differences, after
        Hamilton and Adams, US patent 5,629,734); "hue" (bilinear green, then constant colour
        ratio, after Cok, US patent 4,642,678).

    Returns:
      float32 [3, H, W].

    Raises:
      ValueError: If the method is none of these.
    """
    if method not in _METHODS:
        raise ValueError(f"unknown demosaicing method {method!r}")
    return _METHODS[method](mosaic, phase)


def shifts(plane, radius: int):
    """A function (where, dy, dx) -> the pixels `where` of `plane` [H, W], moved by up to `radius`.

    Reflection about the edge pixel keeps the mosaic's phase.
    """
    height, width = plane.shape
    wide = np.pad(plane, radius, mode="reflect")

    def at(where, dy: int, dx: int):
        rows, columns = radius + dy, radius + dx
        return wide[rows : rows + height, columns : columns + width][where]

    return at


def _across(at, where, step: int = 1):
    return at(where, 0, -step) + at(where, 0, step)


def _along(at, where, step: int = 1):
    return at(where, -step, 0) + at(where, step, 0)


def _corners(at, where):
    return at(where, -1, -1) + at(where, -1, 1) + at(where, 1, -1) + at(where, 1, 1)


def _cross(at, where):
    return np.float32(0.25) * (_across(at, where) + _along(at, where))


def _green_directed(at, where):
    """Green at red or blue sites, along the direction in which the picture changes less."""
    centre = 2 * at(where, 0, 0)
    bend_x, bend_y = centre - _across(at, where, 2), centre - _along(at, where, 2)
    change_x = np.abs(at(where, 0, -1) - at(where, 0, 1)) + np.abs(bend_x)
    change_y = np.abs(at(where, -1, 0) - at(where, 1, 0)) + np.abs(bend_y)
    half, quarter = np.float32(0.5), np.float32(0.25)
    green_x = half * _across(at, where) + quarter * bend_x
    green_y = half * _along(at, where) + quarter * bend_y
    return np.where(change_x < change_y, green_x, green_y)


def _spread(carried, phase, red, blue):
    """Bilinear interpolation of what `carried` [H, W] holds at red and at blue sites."""
    red_sites, green_r, green_b, blue_sites = site_slices(phase)
    at = shifts(carried, 1)
    half, quarter = np.float32(0.5), np.float32(0.25)
    for plane, own, beside, below, other in (
        (red, red_sites, green_r, green_b, blue_sites),
        (blue, blue_sites, green_b, green_r, red_sites),
    ):
        plane[own] = carried[own]
        plane[beside] = half * _across(at, beside)
        plane[below] = half * _along(at, below)
        plane[other] = quarter * _corners(at, other)


def _with_green(mosaic, phase, interpolate):
    """Planes of which green is filled in, by a function of (shifts, sites)."""
    planes = np.empty((3, *mosaic.shape), np.float32)
    green = planes[1]
    green[:] = mosaic
    red_sites, _, _, blue_sites = site_slices(phase)
    at = shifts(mosaic, 2)
    for where in (red_sites, blue_sites):
        green[where] = interpolate(at, where)
    return planes


def _bilinear(mosaic, phase):
    planes = _with_green(mosaic, phase, _cross)
    _spread(mosaic, phase, planes[0], planes[2])
    return planes


def _directed(mosaic, phase):
    planes = _with_green(mosaic, phase, _green_directed)
    green = planes[1]
    # Differences from green vary less than red and blue themselves.
    _spread(mosaic - green, phase, planes[0], planes[2])
    for plane in (planes[0], planes[2]):
        plane += green
    return planes


def _hue(mosaic, phase):
    planes = _with_green(mosaic, phase, _cross)
    offset = np.float32(0.01)  # ratios to black would be unbounded
    green = planes[1] + offset
    _spread((mosaic + offset) / green, phase, planes[0], planes[2])
    for plane in (planes[0], planes[2]):
        plane *= green
        plane -= offset
    return planes


def _linear5(mosaic, phase):
    at = shifts(mosaic, 2)
    red_sites, green_r, green_b, blue_sites = site_slices(phase)
    eighth = np.float32(0.125)
    out = np.empty((3, *mosaic.shape), np.float32)
    red, green, blue = out[0], out[1], out[2]
    for own, other, where in ((red, blue, red_sites), (blue, red, blue_sites)):
        centre = at(where, 0, 0)
        far = _across(at, where, 2) + _along(at, where, 2)
        near = _across(at, where) + _along(at, where)
        own[where] = centre
        green[where] = eighth * (4 * centre + 2 * near - far)
        other[where] = eighth * (6 * centre + 2 * _corners(at, where) - np.float32(1.5) * far)
    for across, along, where in ((red, blue, green_r), (blue, red, green_b)):
        centre = at(where, 0, 0)
        base = 5 * centre - _corners(at, where)
        far_x, far_y = _across(at, where, 2), _along(at, where, 2)
        half = np.float32(0.5)
        green[where] = centre
        across[where] = eighth * (base + 4 * _across(at, where) - far_x + half * far_y)
        along[where] = eighth * (base + 4 * _along(at, where) - far_y + half * far_x)
    return out


_METHODS = {"bilinear": _bilinear, "linear5": _linear5, "directed": _directed, "hue": _hue}
