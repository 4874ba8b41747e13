"""Scenes and outlines for photos that must be the same bytes on every machine.

Dead leaves with textures, as in `scenes`, but drawn in whole numbers: no library's polygons and
no function whose last digit depends on the processor decides a pixel.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from data_prep.simulation.exact_random import ExactRandom, rounded

_SIDE = 512  # of one texture
_EXPONENTS = (0.6, 1.0, 1.4, 1.8)  # amplitude spectrum 1/f^a: rough to smooth
_BANK_KEY = 20_261
_TURN = 1024  # steps of a full turn
_SUBPIXEL = 16  # steps of a pixel that corners lie on


@lru_cache(maxsize=1)
def cosines() -> np.ndarray:
    """cos(2 pi k / 1024) in steps of 2^-16, float64 [1024]."""
    return rounded(np.cos(2 * np.pi * np.arange(_TURN) / _TURN), 2.0**-16)


def cosine(step: np.ndarray) -> np.ndarray:
    """The cosine of angles in 1024th of a turn."""
    return cosines()[np.asarray(step) % _TURN]


def sine(step: np.ndarray) -> np.ndarray:
    """The sine of angles in 1024th of a turn."""
    return cosine(np.asarray(step) - _TURN // 4)


@lru_cache(maxsize=1)
def _texture_bank() -> np.ndarray:
    """Periodic textures of unit variance in steps of 1/256, float32 [5 * 512 * 512].

    As in `scenes`: the first is repeated, so that a texture can be read from any offset.
    """
    rng = ExactRandom(_BANK_KEY)
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None, :])
    frequency[0, 0] = np.inf
    textures = []
    for exponent in _EXPONENTS:
        white = np.fft.rfft2(rng.normal((_SIDE, _SIDE)))
        texture = np.fft.irfft2(white * frequency**-exponent, s=(_SIDE, _SIDE))
        textures.append(rounded(texture / texture.std(), 2.0**-8).astype(np.float32).ravel())
    return np.concatenate([*textures, textures[0]])


def fill_convex(canvas: np.ndarray, corners: np.ndarray, value: int) -> None:
    """Sets the pixels of a canvas whose centres lie in a convex polygon or on its border.

    Args:
      canvas: Integers [H, W], changed in place.
      corners: int64 [N, 2], x and y in 16ths of a pixel from the centre of the top left pixel,
        clockwise as the picture shows them.
      value: What is set.
    """
    height, width = canvas.shape
    low = np.maximum(-(-corners.min(axis=0) // _SUBPIXEL), 0)
    high = np.minimum(corners.max(axis=0) // _SUBPIXEL, (width - 1, height - 1))
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    if right < left or bottom < top:
        return
    rows = np.arange(top, bottom + 1) * _SUBPIXEL
    first, last = np.full(rows.shape, left), np.full(rows.shape, right)
    for (x, y), (x_next, y_next) in zip(
        corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True
    ):
        dx, dy = x_next - x, y_next - y
        # Times dy: where the edge's line crosses each row. Edges downwards bound on the right.
        crossing = x * dy + (rows - y) * dx
        if dy > 0:
            np.minimum(last, crossing // (dy * _SUBPIXEL), out=last)
        elif dy < 0:
            np.maximum(first, -(crossing // (-dy * _SUBPIXEL)), out=first)
    for row, (start, stop) in enumerate(zip(first.tolist(), last.tolist(), strict=True), top):
        if start <= stop:
            canvas[row, start : stop + 1] = value


def _draw_leaves(rng: ExactRandom, height: int, width: int) -> tuple[np.ndarray, int]:
    """Paints leaves over one another: int64 [H, W], the number of the topmost, 0 background."""
    smallest, largest = 8.0, max(height, width) / 2.2
    ratio = float(rounded(np.log(largest / smallest), 2.0**-8))
    # As in `scenes`: enough leaves of density r^-3 for 95 % to be covered.
    count = int(3 * height * width / (2 * 3.1416 * smallest**2 * ratio * 0.6))
    uniform = rng.integers(2**24, size=(3, count)) * 2.0**-24
    radius = 1 / np.sqrt(smallest**-2 - uniform[0] * (smallest**-2 - largest**-2))
    flat = np.sqrt(0.3 + 0.7 * uniform[1])
    centre = np.stack([rng.integers(-width // 10, 11 * width // 10, count),
                       rng.integers(-height // 10, 11 * height // 10, count)])  # fmt: skip
    first, turn = rng.integers(_TURN, size=(2, count))
    sides = np.array([3, 4, 4, 5, 6, 8, 16, 16, 16, 16])[rng.integers(10, size=count)]
    labels = np.zeros((height, width), np.int64)
    for leaf in range(count):
        angle = first[leaf] + np.arange(sides[leaf]) * _TURN // sides[leaf]
        dx = radius[leaf] * cosine(angle) / flat[leaf]
        dy = radius[leaf] * sine(angle) * flat[leaf]
        along, across = cosine(turn[leaf]), sine(turn[leaf])
        x = centre[0, leaf] + dx * along - dy * across
        y = centre[1, leaf] + dx * across + dy * along
        corners = np.rint(np.stack([x, y], axis=1) * _SUBPIXEL).astype(np.int64)
        fill_convex(labels, corners, leaf + 1)
    return labels, count


def exact_scene(rng: ExactRandom, height: int, width: int) -> np.ndarray:
    """One scene in linear light, like `scenes.scene`.

    Args:
      rng: Decides everything.
      height, width: In pixels, 32 or more.

    Returns:
      float32 [H, W, 3], a view of planes in memory, > 0, mean of about 0.2, white light. Values
      are multiples of 2^-20, so that sums of them in float64 are exact in any order.
    """
    labels, count = _draw_leaves(rng, height, width)
    leaves = count + 1
    luminance = np.exp(-1.9 + 0.85 * rng.normal(leaves))
    warm, green = (share * rng.normal(leaves) * (0.3 + np.abs(rng.normal(leaves)))
                   for share in (0.16, 0.08))  # fmt: skip
    tint = np.stack([warm - green, green, -1.3 * warm - green])
    colour = rounded(np.clip(luminance * np.exp(tint), 0.004, 1.2), 2.0**-14).astype(np.float32)
    amplitude = rounded(np.minimum(np.exp(-1.9 + 0.8 * rng.normal(leaves)), 0.7), 2.0**-10)
    index = (np.arange(height) % _SIDE)[:, None] * _SIDE + (np.arange(width) % _SIDE)[None, :]
    # A texture of its own for each leaf: the same noise read from another place.
    index += rng.integers(len(_EXPONENTS) * _SIDE**2, size=leaves).take(labels)
    texture = _texture_bank().take(index)
    texture *= amplitude.astype(np.float32).take(labels)
    np.maximum(texture, np.float32(-0.85), out=texture)
    texture += 1
    # Light that falls off across the scene.
    for axis, size in enumerate((height, width)):
        fall = np.exp(0.5 * rng.normal() * (2 * np.arange(size) - size + 1) / size)
        texture *= np.expand_dims(rounded(fall, 2.0**-12).astype(np.float32), 1 - axis)
    planes = np.empty((3, height, width), np.float32)
    grain = np.float32(2.0**-20)
    for plane, values in zip(planes, colour, strict=True):
        np.multiply(values.take(labels), texture, out=plane)
        np.rint(plane / grain, out=plane)
        plane *= grain
        np.maximum(plane, grain, out=plane)
    return np.moveaxis(planes, 0, -1)


def exact_blob(rng: ExactRandom, height: int, width: int, share: float) -> np.ndarray:
    """An irregular region of about `share` of the picture.

    Args:
      rng: Decides its outline and its place.
      height, width: Of the picture in pixels.
      share: Of the picture's area, in (0, 1).

    Returns:
      bool [H, W], true inside.
    """
    step = np.arange(0, _TURN, 16)
    outline = np.ones(step.shape)
    for wave in range(2, 7):
        outline += 0.3 / wave * rng.normal() * cosine(wave * step + rng.integers(_TURN))
    outline = np.maximum(outline, 0.4)
    stretch = rng.uniform(0.75, 1.33)
    centre = np.array([rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height])
    radius = float(np.sqrt(height * width * share / 3.1416))
    mask = np.zeros((height, width), bool)
    for _ in range(12):  # what lies outside the picture is lost, so grow or shrink until it fits
        x = centre[0] + radius * outline * cosine(step) * stretch
        y = centre[1] + radius * outline * sine(step) / stretch
        points = np.rint(np.stack([x, y], axis=1) * _SUBPIXEL).astype(np.int64)
        middle = np.rint(centre * _SUBPIXEL).astype(np.int64)
        mask[:] = False
        for one, other in zip(points, np.roll(points, -1, axis=0), strict=True):
            fill_convex(mask, np.stack([middle, one, other]), 1)
        covered = np.count_nonzero(mask) / mask.size
        if abs(covered - share) < 0.005:
            break
        radius *= float(np.sqrt(share / max(covered, 1e-3)))
    return mask
