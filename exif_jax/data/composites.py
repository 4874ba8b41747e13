"""Tampered pictures made on the fly, with the truth about each: what the learned map learns from.

A composite is a host, a region, what takes its place there, and the picture's life afterwards. Its
kind says what there is to see. Kinds whose inside and outside show the same scene teach traces;
donors near the host in tone and texture keep colour from being the answer. All is a function of the
generator that is passed in; data workers import no JAX.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from exif_jax.data import histories
from exif_jax.data.histories import Rng, chance, pick
from exif_jax.data.masks import region, softened
from exif_jax.data.photo_pool import NATIVE, PhotoPool
from exif_jax.reading.pixels import BLOCK, CELL

ORIGINALS, RESAMPLED = "two originals", "resampled"
# kind -> share of all composites
KINDS = {
    "pristine": 0.20,
    "other photo": 0.26,
    "other photo, matched": 0.10,
    ORIGINALS: 0.23,
    "other history": 0.03,
    RESAMPLED: 0.12,
    "copy": 0.03,
    "retouched": 0.03,
}
# Shares of pictures whose host is as its camera wrote it.
_ORIGINAL = {"pristine": 0.5, ORIGINALS: 1.0, RESAMPLED: 0.35}
_UNSAVED = 0.15  # share of other hosts that no program saved before
_DONORS_UNSAVED = 0.3  # the same of donors
_SAME_SOURCE = 0.45  # share of donors that went through the same programs as the host
_RESAMPLED_UNSAVED = 0.5  # the same of those of which a part is resampled
_SHRUNK_AFTER = 0.45  # share of pictures that were made larger and shrunk
_ORIGINALS_SHRUNK = 0.8  # the same of those that are made of originals alone
_RESAMPLED_SHRUNK = 0.1  # of those of which a part is resampled: little of it is left
_LEAST_SHRINKING, _MOST_SHRINKING = 1.15, 2.5
_MOST_OF_ORIGINALS = 5.0  # the web shrinks what a camera wrote by so much
_CROPPED_AFTER = 0.08  # share of pictures whose edges were cut off after a save
_OBJECTS = 0.45  # share of regions that follow edges
_RICH_BEST_OF = 4  # regions looked at for one with more detail and colour than the host has there
_LOOKED_AT = 640  # pixels: of larger pictures every second pixel tells how rich in detail they are
_TRIES = 3  # for a donor that is not the host's own photo
_MATCHED_BEST_OF = 8  # donors looked at for one that looks like the host


@dataclasses.dataclass(frozen=True, eq=False)
class Composite:
    """A picture with the truth.

    Attributes:
        picture: uint8 [H, W, 3].
        tampered: float32 [H / 8, W / 8], the tampered share of each 8 x 8 block; zeros of a
            pristine one.
        kind: one of KINDS.
    """

    picture: np.ndarray
    tampered: np.ndarray
    kind: str


def make_composite(
    pool: PhotoPool, rng: Rng, height: int, width: int, kind: str | None = None
) -> Composite:
    """Makes one composite.

    Args:
        pool: where photos come from.
        rng: makes all decisions.
        height, width: of the picture, H and W: multiples of 8.
        kind: one of KINDS; drawn by their shares where None.
    """
    if kind is None:
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    original = chance(rng, _ORIGINAL.get(kind, 0))
    margin = CELL if chance(rng, _CROPPED_AFTER) else 0
    number = int(pool.draw(rng, 1, NATIVE if original else None)[0])
    photo = pool.picture(number)
    room = min(photo.shape[0] / (height + margin), photo.shape[1] / (width + margin))
    factor = _shrinking(kind, original, room, rng)
    size = (int((height + margin) * factor), int((width + margin) * factor))
    clean = _clean_part(photo, *size, rng, BLOCK if original else 1)
    unsaved = _RESAMPLED_UNSAVED if kind == RESAMPLED else _UNSAVED
    saves = _Saves(int(rng.integers(2**32)), unsaved)
    host = clean if original else saves(clean)
    if kind == "pristine":
        picture, mask = host, np.zeros(size, np.uint8)
    else:
        donor, shape = _donor(kind, pool, number, clean, host, saves, rng)
        if kind in ("other photo", ORIGINALS) and chance(rng, 0.5):
            mask = _rich_region(donor, host, rng)
        else:
            mask = region(donor if shape else host, rng, objects=_OBJECTS)
        weights = softened(mask, rng)
        picture = histories.to_uint8(host * (1 - weights) + donor * weights)
    picture, mask = _lived(picture, mask, height, width, margin, rng)
    blocks = (mask > 127).reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return Composite(picture, blocks.mean((1, 3), dtype=np.float32), kind)


def _shrinking(kind: str, original: bool, room: float, rng: Rng) -> float:
    """How many times larger a picture is made than it ends up: 1 where it is not shrunk.

    Args:
        kind: of the composite.
        original: its host is as the camera wrote it.
        room: how many times larger than the finished picture the host's photo is.
    """
    share = _ORIGINALS_SHRUNK if original else _SHRUNK_AFTER
    if not chance(rng, _RESAMPLED_SHRUNK if kind == RESAMPLED else share):
        return 1.0
    least, most = _LEAST_SHRINKING, _MOST_SHRINKING
    if original:
        most = max(least, min(_MOST_OF_ORIGINALS, room))
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def _lived(
    picture: np.ndarray, mask: np.ndarray, height: int, width: int, margin: int, rng: Rng
) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its mask after what happened to the finished composite."""
    size = (height + margin, width + margin)
    if picture.shape[:2] != size:
        if chance(rng, 0.4):
            picture = histories.compressed(picture, rng, 80, 98)
        picture = histories.resized(picture, size[1], size[0], rng)
        mask = np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.BOX))
    if margin:
        picture = histories.compressed(picture, rng, 75, 98)
        y, x = rng.integers(margin, size=2)
        picture, mask = (a[y : y + height, x : x + width] for a in (picture, mask))
    return histories.later_life(np.ascontiguousarray(picture), rng), mask


def _clean_part(photo: np.ndarray, height: int, width: int, rng: Rng, align: int = 1) -> np.ndarray:
    """A part of a photo, mirrored in half of the cases and enlarged where it is too small.

    Its corner lies at a multiple of `align` pixels.
    """
    if photo.shape[0] < height or photo.shape[1] < width:
        factor = max(height / photo.shape[0], width / photo.shape[1])
        wide, high = round(photo.shape[1] * factor) + 1, round(photo.shape[0] * factor) + 1
        photo = histories.resized(photo, wide, high, rng)
    y = int(rng.integers((photo.shape[0] - height) // align + 1)) * align
    x = int(rng.integers((photo.shape[1] - width) // align + 1)) * align
    part = photo[y : y + height, x : x + width]
    return np.ascontiguousarray(part[:, ::-1] if chance(rng, 0.5) else part)


class _Saves(NamedTuple):
    """The saves behind a picture that somebody found: the same ones whenever it is called."""

    seed: int
    none: float  # share of pictures without any

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        return histories.earlier_saves(picture, np.random.default_rng(self.seed), self.none)


def _donor(
    kind: str,
    pool: PhotoPool,
    number: int,
    clean: np.ndarray,
    host: np.ndarray,
    saves: _Saves,
    rng: Rng,
) -> tuple[np.ndarray, bool]:
    """What takes the region's place, uint8 of the host's size, and whether regions follow it."""
    if kind == "other history":
        source = clean if chance(rng, 0.6) else host
        return histories.on_another_grid(source, rng), False
    if kind == RESAMPLED:
        donor = histories.there_and_back(host if chance(rng, 0.6) else clean, rng)
        return donor if chance(rng, 0.6) else histories.earlier_saves(donor, rng), False
    if kind == "retouched":
        if chance(rng, 0.2):
            return _painted_over(host, rng), False
        return histories.retouched(host, rng), False
    if kind == "copy":
        return _copied(host, rng), True
    if kind == ORIGINALS:
        return _other_original(pool, number, host, rng), True
    matched = kind == "other photo, matched"
    if not chance(rng, _SAME_SOURCE):
        saves = _Saves(int(rng.integers(2**32)), _DONORS_UNSAVED)
    donor = _other_photo(pool, number, host, matched, saves, rng)
    if matched and chance(rng, 0.7):
        donor = match_tone(donor, host, rng.uniform(0.5, 1))
    return donor, True


def _other_photo(
    pool: PhotoPool, number: int, host: np.ndarray, matched: bool, saves: _Saves, rng: Rng
) -> np.ndarray:
    """A part of another photo after some saves, rescaled in half and turned in some cases."""
    candidates = pool.draw(rng, _MATCHED_BEST_OF if matched else 1)
    if matched:
        unlike = np.abs(pool.looks[candidates] - pool.looks[number]).sum(1)
        candidates = candidates[np.argsort(unlike + 1e6 * (candidates == number), kind="stable")]
    photo = pool.picture(int(candidates[0]))
    height, width = host.shape[:2]
    factor = 1.0
    if chance(rng, 0.55):
        factor = float(
            pick(rng, (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, rng.uniform(0.4, 1.7)))
        )
    # Cut with room for the corner of the grid to lie elsewhere.
    high, wide = round(height / factor) + CELL, round(width / factor) + CELL
    part = _clean_part(photo, high, wide, rng)
    part = saves(part)
    y, x = rng.integers(CELL, size=2)
    part = part[y : y + high - CELL, x : x + wide - CELL]
    if part.shape[:2] != (height, width):
        part = histories.resized(part, width, height, rng)
    if chance(rng, 0.12):
        part = _turned(part, rng)
    if chance(rng, 0.25):  # cut out, saved and opened again
        part = histories.compressed(part, rng, 70, 98)
    return part


def _other_original(pool: PhotoPool, number: int, host: np.ndarray, rng: Rng) -> np.ndarray:
    """A part of another photo as its camera wrote it, rescaled in some cases."""
    other = _another(pool, number, pool.draw(rng, _TRIES, NATIVE))
    height, width = host.shape[:2]
    if not chance(rng, 0.35):
        return _clean_part(pool.picture(other), height, width, rng)
    factor = rng.uniform(0.5, 1.5)
    part = _clean_part(pool.picture(other), round(height / factor), round(width / factor), rng)
    return histories.resized(part, width, height, rng)


def _another(pool: PhotoPool, number: int, candidates: np.ndarray) -> int:
    """The first of some pictures that is of another photo; the last one where none is."""
    photo = pool.entries[number].photo
    others = (int(k) for k in candidates if pool.entries[int(k)].photo != photo)
    return next(others, int(candidates[-1]))


def _rich_region(donor: np.ndarray, host: np.ndarray, rng: Rng) -> np.ndarray:
    """Of a few regions that where the donor is richest beside the host: uint8 [H, W].

    What people cut out is in focus and in colour; what they put it on is often neither.
    """
    gain = np.log(_richness(donor)) - np.log(_richness(host))
    regions = [region(donor, rng, _OBJECTS) for _ in range(_RICH_BEST_OF)]
    shares = [np.asarray(Image.fromarray(mask).reduce(BLOCK), np.float32) for mask in regions]
    means = [(gain * share).sum() / share.sum() for share in shares]
    return regions[int(np.argmax(means))]


def _richness(picture: np.ndarray) -> np.ndarray:
    """Detail and colour of each 8 x 8 block, at least 1: float32 [H / 8, W / 8], rounded up."""
    step = 1 if max(picture.shape) <= _LOOKED_AT else 2
    few = np.ascontiguousarray(picture[::step, ::step])
    values = np.asarray(Image.fromarray(few).convert("YCbCr"), np.int16)
    detail = np.abs(np.diff(values, axis=0, append=values[-1:]))
    detail += np.abs(np.diff(values, axis=1, append=values[:, -1:]))
    rich = detail.sum(2) + np.abs(values[..., 1:] - 128).sum(2) // 2
    blocks = Image.fromarray(np.minimum(rich, 255).astype(np.uint8)).reduce(BLOCK // step)
    return np.asarray(blocks, np.float32) + 1


def _copied(host: np.ndarray, rng: Rng) -> np.ndarray:
    """The host itself moved, in half of the cases rescaled, turned or mirrored on the way."""
    height, width = host.shape[:2]
    if chance(rng, 0.25):
        host = host[:, ::-1]
    if chance(rng, 0.4):
        factor = rng.uniform(0.6, 1.6)
        wide, high = round(width * factor), round(height * factor)
        host = histories.resized(host, wide, high, rng)
        repeats = (-(-height // high), -(-width // wide), 1)
        host = np.tile(host, repeats)[:height, :width]
    if chance(rng, 0.15):
        host = _turned(host, rng)
    down = int(rng.integers(height // 6, height - height // 6))
    across = int(rng.integers(width // 6, width - width // 6))
    return np.roll(host, (down, across) if chance(rng, 0.7) else (0, across), (0, 1))


def _turned(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Turned by up to 25 degrees, the picture itself reflected into the corners."""
    height, width = picture.shape[:2]
    room = (height // 4, width // 4)
    wide = np.pad(picture, ((room[0],) * 2, (room[1],) * 2, (0, 0)), mode="reflect")
    turned = Image.fromarray(wide).rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC)
    return np.asarray(turned)[room[0] : room[0] + height, room[1] : room[1] + width]


def _painted_over(host: np.ndarray, rng: Rng) -> np.ndarray:
    """Hardly any detail left, as tools leave it that fill by diffusion; with some grain."""
    height, width = host.shape[:2]
    image = Image.fromarray(host)
    coarse = image.resize((max(2, width // 24), max(2, height // 24)), Image.Resampling.BOX)
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0, 3)
    return histories.to_uint8(smooth + grain)


def match_tone(donor: np.ndarray, host: np.ndarray, strength: float) -> np.ndarray:
    """The donor's colours moved to the host's mean and deviation, in part: uint8 [H, W, 3]."""
    values = donor.astype(np.float32)
    sample, target = (a[::4, ::4].reshape(-1, 3).astype(np.float32) for a in (donor, host))
    gain = np.clip((target.std(0) + 3) / (sample.std(0) + 3), 0.5, 2)
    moved = (values - sample.mean(0)) * gain + target.mean(0)
    return histories.to_uint8(values * (1 - strength) + moved * strength)
