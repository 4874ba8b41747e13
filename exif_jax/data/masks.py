"""Regions as people tamper with them: blobs, and objects along a picture's own edges."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from exif_jax.data.histories import Rng, chance, pick

_SMALLEST, _LARGEST = 0.015, 0.4  # of a picture's area
_COARSE = 4  # objects are found in a picture shrunk by this, or by more where it is larger
_SHRUNK_TO = 160  # pixels: longer side that it then has, nearly
_TRIES = 6
_BEFORE_LIKE_COLOURS = 0.6  # share of objects that stand before a background of like colours
_ON_BORDER = 1.0  # places at the picture's border, by the root of its area, that one has at most


def region(picture: np.ndarray, rng: Rng, objects: float) -> np.ndarray:
    """A region of 1.5 to 40 % of a picture: uint8 [H, W], 255 inside and 0 outside.

    Args:
        picture: uint8 [H, W, 3], whose edges objects follow.
        rng: makes the decisions.
        objects: share of regions that follow edges, where some are found.
    """
    found = object_region(picture, rng) if chance(rng, objects) else None
    return blob(picture.shape[0], picture.shape[1], rng) if found is None else found


def blob(height: int, width: int, rng: Rng) -> np.ndarray:
    """A polygon with or without round corners, an ellipse or a rectangle: uint8 [H, W]."""
    while True:
        area = math.exp(rng.uniform(math.log(_SMALLEST), math.log(_LARGEST)))
        stretch = math.exp(rng.uniform(-0.6, 0.6))
        radius = math.sqrt(area * height * width / math.pi)
        across, down = radius * stretch, radius / stretch
        x, y = rng.uniform(0.05, 0.95) * width, rng.uniform(0.05, 0.95) * height
        mask = Image.new("L", (width, height), 0)
        draw, kind = ImageDraw.Draw(mask), rng.random()
        if kind < 0.12:
            draw.rectangle((x - across, y - down, x + across, y + down), fill=255)
        elif kind < 0.25:
            draw.ellipse((x - across, y - down, x + across, y + down), fill=255)
        else:
            corners = int(rng.integers(5, 13))
            angles = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) / corners
            reach = rng.uniform(0.6, 1.25, corners)
            points = np.stack(
                [x + across * reach * np.cos(angles), y + down * reach * np.sin(angles)]
            )
            draw.polygon(points.T.ravel().tolist(), fill=255)
            if kind < 0.85:
                smooth = ImageFilter.GaussianBlur(rng.uniform(2, 6))
                mask = mask.filter(smooth).point([0] * 128 + [255] * 128)
        result = np.asarray(mask)
        if _SMALLEST <= result.mean() / 255 <= _LARGEST:
            return result


def object_region(picture: np.ndarray, rng: Rng) -> np.ndarray | None:
    """A connected region of like colours, or what stands before such a one.

    Returns:
        uint8 [H, W], its holes filled; None where none fits.
    """
    height, width = picture.shape[:2]
    coarse = max(_COARSE, max(width, height) // _SHRUNK_TO)
    size = (max(1, width // coarse), max(1, height // coarse))
    small = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BOX)
    smooth = small.filter(ImageFilter.GaussianBlur(0.8)).convert("YCbCr")
    colours = np.asarray(smooth, np.float32) * np.array([1, 1.5, 1.5], np.float32)
    before = chance(rng, _BEFORE_LIKE_COLOURS)
    for _ in range(_TRIES):
        y, x = int(rng.integers(size[1])), int(rng.integers(size[0]))
        distance = np.abs(colours - colours[y, x]).sum(-1)
        alike = ndimage.binary_closing(distance < pick(rng, (14, 22, 32, 45)), iterations=2)
        found = _standing_out(alike, rng) if before else _part_at(alike, y, x)
        if found is None:
            continue
        filled = np.asarray(ndimage.binary_fill_holes(found))
        if _SMALLEST <= filled.mean() <= _LARGEST:
            mask = Image.fromarray(filled.astype(np.uint8) * 255)
            mask = mask.resize((width, height), Image.Resampling.BICUBIC)
            return np.where(np.asarray(mask) > 127, 255, 0).astype(np.uint8)
    return None


def _part_at(alike: np.ndarray, y: int, x: int) -> np.ndarray | None:
    """The connected part of what is true that holds a place."""
    labels = np.empty(alike.shape, np.int32)
    ndimage.label(alike, output=labels)
    return labels == labels[y, x] if labels[y, x] else None


def _standing_out(background: np.ndarray, rng: Rng) -> np.ndarray | None:
    """One of the connected parts of what is no background and mostly surrounded by it."""
    labels = np.empty(background.shape, np.int32)
    number = int(ndimage.label(ndimage.binary_opening(~background), output=labels))  # type: ignore
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    touching = np.bincount(border, minlength=number + 1)
    fits = (areas >= _SMALLEST * labels.size) & (areas <= _LARGEST * labels.size)
    fits &= touching <= _ON_BORDER * np.sqrt(areas)
    fits[0] = False
    parts = np.flatnonzero(fits)
    return labels == pick(rng, parts) if len(parts) else None


def softened(mask: np.ndarray, rng: Rng) -> np.ndarray:
    """The weights by which a region is pasted: float32 [H, W, 1] in [0, 1]; hard in a third."""
    sigma = pick(rng, (0, 0, 0.7, 1.2, 2.0, 3.5))
    image = Image.fromarray(mask)
    soft = image.filter(ImageFilter.GaussianBlur(sigma)) if sigma else image
    return np.asarray(soft, np.float32)[..., None] / 255
