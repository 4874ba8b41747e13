"""Procedural scenes with the statistics of natural pictures: dead leaves with textures.

The dead leaves model (Matheron 1968; Lee, Mumford and Huang, IJCV 2001): opaque objects of
power-law sizes that hide one another give the edges, the scale invariance and the 1/f spectrum of
photographs. Or a collage of photographs, shrunk to half or less, which leaves little of their own
cameras' traces: real textures, and several in one picture, so that what is in it does not tell who
made it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

_BANK_SIDE = 512  # side of one texture
_BANK_EXPONENTS = (0.6, 1.0, 1.4, 1.8)  # amplitude spectrum 1/f^a: rough to smooth
_VERTICES = 16


@lru_cache(maxsize=1)
def _texture_bank():
    """Periodic noise textures of unit variance, one after the other, float32 [5 * 512 * 512].

    The first texture is repeated at the end, so that any offset below the fourth one's end can be
    read for a whole texture.
    """
    rng = np.random.default_rng(20_240)
    fy = np.fft.fftfreq(_BANK_SIDE)[:, None]
    fx = np.fft.rfftfreq(_BANK_SIDE)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    textures = []
    for exponent in _BANK_EXPONENTS:
        white = np.fft.rfft2(rng.standard_normal((_BANK_SIDE, _BANK_SIDE)))
        texture = np.fft.irfft2(white * frequency**-exponent, s=(_BANK_SIDE, _BANK_SIDE))
        textures.append((texture / texture.std()).astype(np.float32).ravel())
    return np.concatenate([*textures, textures[0]])


def _draw_leaves(rng, size: int):
    """Paint leaves over one another; intp [H, W] with the number of the topmost, 0 background."""
    smallest, largest = 8.0, size / 2.2
    # Enough for 95 % to be covered, whatever the size: the mean area of a leaf with density
    # r^-3 is 2 pi r0^2 ln(r1 / r0).
    mean_area = 2 * np.pi * smallest**2 * np.log(largest / smallest) * 0.6
    count = int(3 * size * size / mean_area)
    u = rng.random(count)
    radius = (smallest**-2 - u * (smallest**-2 - largest**-2)) ** -0.5
    shape = rng.random((4, count))
    centre = rng.uniform(-0.1 * size, 1.1 * size, (2, count))
    # Corners at repeated angles make polygons of 3 to 8 corners and near-ellipses of 16.
    corners = rng.choice([3, 4, 4, 5, 6, 8, 16, 16, 16, 16], count)
    step = np.arange(_VERTICES) * corners[:, None] // _VERTICES
    angle = step * (2 * np.pi / corners[:, None]) + 2 * np.pi * shape[0, :, None]
    squash = (0.3 + 0.7 * shape[1, :, None]) ** 0.5
    dx, dy = radius[:, None] * np.cos(angle) / squash, radius[:, None] * np.sin(angle) * squash
    turn = np.pi * shape[2, :, None]
    x = centre[0, :, None] + dx * np.cos(turn) - dy * np.sin(turn)
    y = centre[1, :, None] + dx * np.sin(turn) + dy * np.cos(turn)
    points = np.stack([x, y], axis=-1).reshape(count, -1).tolist()
    canvas = Image.new("I", (size, size), 0)
    polygon = ImageDraw.Draw(canvas).polygon
    for label, outline in enumerate(points, start=1):
        polygon(outline, fill=label)
    return np.asarray(canvas).astype(np.intp), count


def scene(rng: np.random.Generator, size: int):
    """One scene in linear light.

    Args:
      rng: Decides everything.
      size: Side in pixels, 16 or more.

    Returns:
      float32 [H, W, 3], a view of planes in memory, > 0, mean of about 0.2, white light.
    """
    labels, count = _draw_leaves(rng, size)
    leaves = count + 1
    luminance = np.exp(rng.normal(-1.9, 0.85, leaves))
    # Colours vary most between warm and cool, less between green and magenta; few are vivid.
    warm, green = rng.normal(0, 1, (2, leaves)) * rng.gamma(1.5, (0.10, 0.05), (leaves, 2)).T
    tint = np.stack([warm - green, green, -1.3 * warm - green])
    colour = np.clip(luminance * np.exp(tint), 0.004, 1.2).astype(np.float32)
    amplitude = np.minimum(rng.lognormal(-1.9, 0.8, leaves), 0.7).astype(np.float32)
    bank = _texture_bank()
    # A texture of its own for each leaf: the same noise read from another place.
    texel = np.arange(size) % _BANK_SIDE
    index = texel[:, None] * _BANK_SIDE + texel[None, :]
    offsets = rng.integers(0, len(_BANK_EXPONENTS) * _BANK_SIDE**2, leaves)
    index += offsets.take(labels)
    texture = bank.take(index)
    texture *= amplitude.take(labels)
    np.maximum(texture, np.float32(-0.85), out=texture)
    texture += 1
    # Light that falls off across the scene.
    slope = rng.normal(0, 0.5, 2)
    ramp = np.linspace(-1, 1, size)
    texture *= np.exp(slope[0] * ramp).astype(np.float32)[:, None]
    texture *= np.exp(slope[1] * ramp).astype(np.float32)[None, :]
    planes = np.empty((3, size, size), np.float32)
    for plane, values in zip(planes, colour, strict=True):
        np.multiply(values.take(labels), texture, out=plane)
    return np.moveaxis(planes, 0, -1)


def collage(picture: Callable[[int], Image.Image], count: int, rng: np.random.Generator, size: int):
    """One scene of parts of two to five photographs, chosen by chance, in linear light.

    Args:
      picture: (number) -> PIL image, RGB.
      count: Of the pictures, 1 or more.
      rng: Decides everything.
      size: Side in pixels, 16 or more.

    Returns:
      float32 [H, W, 3], a view of planes in memory, > 0, mean of about 0.2.
    """
    pictures = [
        _shrunk(picture(int(rng.integers(count))), rng, size) for _ in range(rng.integers(2, 6))
    ]
    # Each part lies around a point of its own; the borders between them are wavy.
    points = rng.uniform(0, size, (len(pictures), 2))
    y, x = np.mgrid[:size, :size]
    wave = 12 * np.sin(y / rng.uniform(15, 40))
    nearest = np.argmin([np.hypot(y - a, x + wave - b) for a, b in points], axis=0)
    light = np.zeros((size, size, 3), np.float32)
    for number, part in enumerate(pictures):
        light += np.where(nearest == number, np.float32(rng.uniform(0.5, 1.5)), 0)[..., None] * part
    light = np.clip(light * (0.2 / light.mean()), 0.004, 1.2)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(light, -1, 0)), 0, -1)


def _shrunk(image: Image.Image, rng, size: int):
    """A picture at 0.33 to 0.5 of its size, repeated in mirrors to [size, size, 3], linear."""
    factor = rng.choice([0.5, 0.4, 0.33])
    width, height = (max(1, int(side * factor)) for side in image.size)
    small = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    if rng.random() < 0.5:
        small = small[:, ::-1]
    more = [(0, max(0, size - side)) for side in small.shape[:2]]
    mirrored = np.pad(small, (*more, (0, 0)), mode="symmetric")[:size, :size]
    return np.maximum((mirrored / np.float32(255)) ** np.float32(2.2), np.float32(0.002))
