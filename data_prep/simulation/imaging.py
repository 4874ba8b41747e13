"""The arithmetic of a camera, light to 8-bit pixels: pure functions on NumPy arrays.

Colour images are planes ``[3, H, W]`` float32, linear light in [0, 1] until the tone curve. The
order is the physical one: lens, colour filter mosaic, sensor noise, demosaicing, colour, tone,
denoising, sharpening. All functions are elementwise sums of shifted arrays (no BLAS), so the
same input gives the same bytes whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from data_prep.simulation.demosaic import SITES, shifts, site_slices

_TONE_LEVELS = 1 << 14


def blur(plane, sigma: float):
    """Gaussian blur of one plane, edges replicated.

    Args:
      plane: float32 [H, W].
      sigma: Standard deviation in pixels; below 0.15 the plane is returned as it is.

    Returns:
      float32 [H, W].
    """
    if sigma < 0.15:
        return plane
    radius = 1 if sigma < 0.6 else int(np.ceil(2.2 * sigma))
    taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    taps = (taps / (2 * taps.sum() - taps[0])).astype(np.float32)
    for axis in (0, 1):
        size = plane.shape[axis]
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius, radius)
        wide = np.pad(plane, pad, mode="edge")
        if axis:
            wide = wide.T  # the views below are then always slices of the first axis
        out = taps[0] * wide[radius : radius + size]
        for k in range(1, radius + 1):
            out += taps[k] * (
                wide[radius - k : radius - k + size] + wide[radius + k : radius + k + size]
            )
        plane = out.T if axis else out
    return plane


def radial_coordinates(height: int, width: int):
    """Distance of pixel centres from the image centre, half the diagonal being 1.

    Returns:
      (y float32 [H, 1], x float32 [1, W]); r^2 = y^2 + x^2.
    """
    half = 0.5 * np.hypot(height, width)
    y = ((np.arange(height) - (height - 1) / 2) / half).astype(np.float32)
    x = ((np.arange(width) - (width - 1) / 2) / half).astype(np.float32)
    return y[:, None], x[None, :]


def expose(planes, phase: tuple[int, int], distortion: float, aberration: tuple[float, float]):
    """Bend the image as the lens does and sample it through the colour filters.

    Only the colour a filter lets through is interpolated, so this costs one plane, not three.

    Args:
      planes: float32 [3, H, W], H and W even.
      phase: (row, column) of the red filter in the 2x2 mosaic.
      distortion: Radial distortion at the corner, as a share of the half diagonal; positive is
        barrel (straight lines bow outwards), negative pincushion.
      aberration: Lateral chromatic aberration of red and blue against green at the corner, in
        pixels.

    Returns:
      float32 [H, W], the mosaic.
    """
    _, height, width = planes.shape
    y_all, x_all = radial_coordinates(height, width)
    half = 0.5 * np.hypot(height, width)
    # Barrel: the corner shows the scene's corner and the middle is enlarged; pincushion the
    # other way round. Either way nothing outside the scene is asked for.
    base = 1.0 - max(distortion, 0.0)
    shifts = (aberration[0] / half, 0.0, aberration[1] / half)
    mosaic = np.empty((height, width), np.float32)
    for row, column, colour in SITES:
        i, j = row ^ phase[0], column ^ phase[1]
        y, x = y_all[i::2], x_all[:, j::2]
        scale = (y * y + x * x) * np.float32(distortion)
        scale += np.float32(base + shifts[colour])
        source_y = scale * (y * np.float32(half))
        source_y += np.float32((height - 1) / 2)
        source_x = scale * (x * np.float32(half))
        source_x += np.float32((width - 1) / 2)
        mosaic[i::2, j::2] = _bilinear(planes[colour], source_y, source_x)
    return mosaic


def _bilinear(plane, y, x):
    """Values of `plane` float32 [H, W] at float32 coordinates y, x (any equal shape), clamped."""
    height, width = plane.shape
    np.clip(y, 0, height - 1.001, out=y)
    np.clip(x, 0, width - 1.001, out=x)
    row, column = y.astype(np.intp), x.astype(np.intp)
    y -= row
    x -= column
    index = row * width + column
    flat = plane.ravel()
    upper = flat.take(index)
    upper += x * (flat.take(index + 1) - upper)
    index += width
    lower = flat.take(index)
    lower += x * (flat.take(index + 1) - lower)
    lower -= upper
    lower *= y
    upper += lower
    return upper


def vignette(height: int, width: int, strength: float):
    """Fall-off of light, 1 in the centre and `1 - strength` in the corners, float32 [H, W]."""
    y, x = radial_coordinates(height, width)
    r2 = y * y + x * x
    return 1 - np.float32(strength) * (r2 * (np.float32(0.55) + np.float32(0.45) * r2))


def sensor(mosaic, gain: float, full_well: float, read_noise: float, bits: int, rng):
    """Photon and read noise, saturation and the converter's steps.

    Shot noise of more than a few electrons is Gaussian for all purposes here, so both noises are
    one normal draw with variance ``signal / electrons + (read_noise / electrons)^2``, where
    ``electrons = full_well / gain`` is what a full pixel holds at this ISO.

    Args:
      mosaic: float32 [H, W] in units of saturation.
      gain: ISO over base ISO, at least 1.
      full_well: Electrons of a full pixel at base ISO.
      read_noise: Standard deviation in electrons.
      bits: Resolution of the converter.
      rng: Decides the noise.

    Returns:
      float32 [H, W] in [0, 1].
    """
    electrons = full_well / gain
    std = mosaic * np.float32(1 / electrons)
    std += np.float32((read_noise / electrons) ** 2)
    np.sqrt(std, out=std)
    std *= rng.standard_normal(mosaic.shape, dtype=np.float32)
    std += mosaic
    steps = np.float32((1 << bits) - 1)
    std *= steps
    np.rint(std, out=std)
    std *= 1 / steps
    return np.clip(std, 0, 1, out=std)


def scale_colours(mosaic, phase: tuple[int, int], gains):
    """Multiply the red, green and blue sites of `mosaic` [H, W] by `gains` (3 floats), in place;
    what goes over 1 is cut, as by a full pixel or by the white of a picture.
    """
    for where, (_, _, colour) in zip(site_slices(phase), SITES, strict=True):
        mosaic[where] *= np.float32(gains[colour])
    return np.minimum(mosaic, 1, out=mosaic)


def colour(planes, matrix):
    """Camera colours to sRGB primaries: [3, H, W] by a 3x3 matrix whose rows sum to 1."""
    out = np.empty_like(planes)
    for row, target in zip(matrix, out, strict=True):
        np.multiply(planes[0], np.float32(row[0]), out=target)
        target += np.float32(row[1]) * planes[1]
        target += np.float32(row[2]) * planes[2]
    return out


def tone_table(gamma: float, contrast: float, black: float):
    """Linear light to display value, as a table.

    Args:
      gamma: Exponent of the power law that follows a short linear toe (sRGB is about 2.2).
      contrast: Share of an S-curve about middle grey, -0.5 to 1.
      black: Value of black, 0 to 10.

    Returns:
      float32 [16384], 0 to 255, rising.
    """
    light = np.linspace(0, 1, _TONE_LEVELS)
    toe = 0.004
    slope = toe ** (1 / gamma) / toe
    value = np.where(light < toe, light * slope, light ** (1 / gamma))
    value += contrast * (value * value * (3 - 2 * value) - value)
    return (black + (255 - black) * value).astype(np.float32)


def apply_tone(planes, table):
    """Look [3, H, W] linear light up in `table`; values outside [0, 1] are clipped."""
    scaled = planes * np.float32(_TONE_LEVELS - 1)
    np.clip(scaled, 0, _TONE_LEVELS - 1, out=scaled)
    return table.take(scaled.astype(np.intp))


def luma(planes):
    """Brightness of display colours [3, H, W] (ITU-R BT.601, as JPEG has it), [H, W]."""
    out = np.float32(0.299) * planes[0]
    out += np.float32(0.587) * planes[1]
    out += np.float32(0.114) * planes[2]
    return out


def smooth_chroma(planes, brightness, sigma: float):
    """Blur the colour of [3, H, W], 0 to 255, by `sigma` pixels and keep its `luma`, [H, W]."""
    if sigma < 0.15:
        return planes
    red = blur(planes[0] - brightness, sigma)
    blue = blur(planes[2] - brightness, sigma)
    green = np.float32(-0.299 / 0.587) * red
    green -= np.float32(0.114 / 0.587) * blue
    out = np.stack([red, green, blue])
    out += brightness
    return out


def smooth_luma(luma, method: str, threshold: float):
    """What to add to every colour to denoise the luma.

    Args:
      luma: float32 [H, W], 0 to 255.
      method: "edge" (average with the four neighbours that differ by less than about
        `threshold`), "coring" (fine detail smaller than `threshold` removed) or "median" (of
        the pixel and its four neighbours, moving by at most `threshold`).
      threshold: In 8-bit levels; 0 does nothing.

    Returns:
      float32 [H, W].

    Raises:
      ValueError: If the method is none of these.
    """
    if method not in _LUMA_FILTERS:
        raise ValueError(f"unknown denoising method {method!r}")
    return _LUMA_FILTERS[method](luma, threshold)


def _four_neighbours(luma):
    """Each pixel's neighbour above, below, to the left and to the right."""
    at = shifts(luma, 1)
    everywhere = (slice(None), slice(None))
    return [at(everywhere, dy, dx) for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))]


def _coring(luma, threshold: float):
    limit = np.float32(threshold)
    detail = luma - blur(luma, 0.8)
    return np.clip(-detail, -limit, limit)


def _median(luma, threshold: float):
    limit = np.float32(threshold)
    # Of five: the middle of (centre, larger of the two lows, smaller of the two highs).
    up, down, left, right = _four_neighbours(luma)
    low = np.maximum(np.minimum(up, down), np.minimum(left, right))
    high = np.minimum(np.maximum(up, down), np.maximum(left, right))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.clip(np.clip(luma, low, high) - luma, -limit, limit)


def _edge_preserving(luma, threshold: float):
    total = np.zeros_like(luma)
    inverse = np.float32(1 / max(threshold, 1e-3) ** 2)
    for neighbour in _four_neighbours(luma):
        step = neighbour - luma
        total += step / (1 + inverse * step * step)
    return np.float32(0.2) * total


_LUMA_FILTERS = {"edge": _edge_preserving, "coring": _coring, "median": _median}


def sharpen_luma(luma, radius: float, amount: float, core: float, limit: float):
    """What to add to every colour to sharpen: an unsharp mask.

    Args:
      luma: float32 [H, W], 0 to 255.
      radius: Standard deviation of the mask's blur in pixels.
      amount: Share of the difference that is added.
      core: Levels of difference that are left alone (so that noise is not sharpened).
      limit: The most that is added or taken, in levels (bounds the halo).

    Returns:
      float32 [H, W].
    """
    detail = luma - blur(luma, radius)
    detail -= np.clip(detail, -np.float32(core), np.float32(core))
    detail *= np.float32(amount)
    return np.clip(detail, -np.float32(limit), np.float32(limit), out=detail)


def to_pixels(planes):
    """[3, H, W] float32, 0 to 255 -> uint8 [H, W, 3], rounded and clipped."""
    out = np.empty((*planes.shape[1:], 3), np.uint8)
    for index, plane in enumerate(planes):
        rounded = np.clip(plane + np.float32(0.5), 0, 255)
        out[:, :, index] = rounded.astype(np.uint8)
    return out
