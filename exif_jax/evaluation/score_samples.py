"""What photos score as people bring them: pristine ones, and splices made of them.

One photo gives several samples: whole, halved, cut, as wide as a web page, saved in several ways.
Splices are made of two photos by different cameras before either is treated. Small pictures have
mostly been through other programs before: half of theirs were shrunk and saved earlier, both photos
of a splice apart from each other. Everything is drawn from the names alone, so that a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from exif_jax.evaluation.distortions import resize
from exif_jax.evaluation.splice_metrics import pixel_metrics
from exif_jax.forensics.regions import compactness
from exif_jax.forensics.result import Localization
from exif_jax.reading.pixels import Jpeg, compress

SIZES = ("whole", "half", "cut", "web")
SMALL_SIZES = ("cut", "small", "cut", "medium")
"""Those of small pictures, each in the place of another."""
QUALITIES = (None, 80, None, 95, None, 60, 80, 95)  # None: not compressed again
CUT = (256, 384)  # pixels: the shorter and the longer side
WEB_WIDTH = 800
MEDIUM = 576  # pixels: longer side
EARLIER = (0, 0, 1, 2)  # saves of small pictures before they were treated
_EARLIER_SIDE = (640, 1600)  # pixels: longer side after an earlier save
_EARLIER_QUALITY = (70, 98)
_FILTERS = tuple(Image.Resampling[name] for name in ("LANCZOS", "BICUBIC", "BILINEAR", "BOX"))
_PER_PHOTO, _SPLICE_AT = 3, 1

_MAX_TRIES = 60  # places at which a cut is sought that shows a splice
_MIN_SIDE = 128  # pixels, of a photo that can be treated


class Treatment(NamedTuple):
    """What a photo went through.

    Attributes:
        size: its name (`treat`).
        quality: of the last JPEG compression; None: none.
        earlier: how often it was saved before (`saved_earlier`).
    """

    size: str
    quality: int | None
    earlier: int = 0

    def __str__(self) -> str:
        last = f"{self.size}, {f'JPEG {self.quality}' if self.quality else 'as it was'}"
        return f"{last}, saved {self.earlier} times before" if self.earlier else last


class Task(NamedTuple):
    """One sample to take: of a photo, of a splice where there is a donor."""

    photo: pathlib.Path
    camera: str
    treatment: Treatment
    donor: pathlib.Path | None = None

    @property
    def key(self) -> str:
        """What tells a sample from all others."""
        kind = f"splice with {self.donor.name}" if self.donor else "pristine"
        return f"{self.photo.name}, {kind}, {self.treatment}"


def plan(photos: Mapping[str, Sequence[pathlib.Path]], small: bool = False) -> list[Task]:
    """The samples to take: three of each photo, of which the second is a splice on it.

    However early one stops, cameras, sizes and qualities are met about equally often: a first
    sample of each camera's first photo, then the second one and a first one of the second photo.

    Args:
        photos: of each camera.
        small: all of them small pictures, of which half were saved before.
    """
    # By a hash, as names of one maker follow each other in the alphabet and on its product lines.
    cameras = sorted(photos, key=lambda camera: hashlib.sha256(camera.encode()).digest())
    tasks = []
    for i, camera in enumerate(cameras):
        for nth, photo in enumerate(photos[camera]):
            for k in range(_PER_PHOTO):
                donor = _donor(photos, cameras, i, nth) if k == _SPLICE_AT else None
                if k == _SPLICE_AT and donor is None:
                    continue
                treatment = _treatment(i, nth, k)
                if small:
                    earlier = int(_random(f"{camera} {nth} {k}").choice(EARLIER))
                    treatment = made_small(treatment)._replace(earlier=earlier)
                task = Task(photo, camera, treatment, donor)
                tasks.append(((nth + k, i, nth), task))
    return [task for _, task in sorted(tasks, key=lambda pair: pair[0])]


def _treatment(camera: int, nth: int, k: int) -> Treatment:
    if k == 0 and nth % 2 == 0:
        return Treatment("whole", None)
    place = camera + k + nth
    size = SIZES[place % len(SIZES)]
    if size == "cut" and place // len(SIZES) % 2:
        size = "small"  # pictures that small are pieces of photos, or shrunk ones
    quality = QUALITIES[(camera // 4 + 3 * k + 2 * nth) % len(QUALITIES)]
    # The photo as it is comes once, above.
    return Treatment(size, quality or 80 if size == "whole" and nth % 2 == 0 else quality)


def made_small(treatment: Treatment) -> Treatment:
    """A treatment in the place of another that leaves at most `learned_map.SMALL` pixels a side."""
    if treatment.size == "small":
        return treatment
    return treatment._replace(size=SMALL_SIZES[SIZES.index(treatment.size)])


def _donor(
    photos: Mapping[str, Sequence[pathlib.Path]], cameras: Sequence[str], camera: int, nth: int
) -> pathlib.Path | None:
    """A photo by another camera, of the same place in its list where it has one."""
    if len(cameras) < 2:
        return None
    step = 1 + (7 * nth) % (len(cameras) - 1)
    donors = photos[cameras[(camera + step) % len(cameras)]]
    return donors[nth % len(donors)]


def saved_earlier(pixels: np.ndarray, times: int, seed: str) -> np.ndarray:
    """A photo as other programs have shrunk and saved it: uint8 [H, W, 3].

    Args:
        pixels: uint8 [H, W, 3].
        times: 0: it stays as it is. The first time it is shrunk to a longer side of 640 to 1,600
            pixels, where it is larger, later only in half of the cases, to 0.6 to 0.95; each time
            it is saved as JPEG of a quality of 70 to 98, with or without subsampling.
        seed: decides sizes, filters and qualities.
    """
    random = _random(f"{seed}, earlier")
    for k in range(times):
        longer, least = max(pixels.shape[:2]), _EARLIER_SIDE[0]
        if k == 0:
            side = math.exp(random.uniform(*np.log(_EARLIER_SIDE)))
        else:
            side = longer * (random.uniform(0.6, 0.95) if random.random() < 0.5 else 1)
        factor = min(1.0, max(side, least) / longer)
        resampling = _FILTERS[random.integers(len(_FILTERS))]
        if factor < 1:
            pixels, _ = resize(pixels, None, factor, resampling)
        low, high = _EARLIER_QUALITY
        saved = Jpeg(int(random.integers(low, high + 1)), int(random.choice((0, 2))))
        pixels = compress(pixels, saved)
    return pixels


def treat(
    pixels: np.ndarray, mask: np.ndarray | None, treatment: Treatment, seed: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """A photo, and its mask of what was tampered with, as somebody might send it.

    Args:
        pixels: uint8 [H, W, 3].
        mask: bool [H, W]; None: pristine.
        treatment: what is done. "half", "web", "medium" and "small" shrink by Lanczos' filter;
            photos that are no wider than WEB_WIDTH, no longer than MEDIUM or than CUT stay as
            large. "cut" takes a piece of CUT whose blocks are the photo's own and which shows both
            parts of a splice.
        seed: decides where it is cut.

    Raises:
        ValueError: too small to be treated.
    """
    height, width = pixels.shape[:2]
    if treatment.size in ("half", "web", "medium", "small"):
        factors = {
            "half": 0.5,
            "medium": min(1.0, MEDIUM / max(height, width)),
            "web": min(1.0, WEB_WIDTH / width),
            "small": min(1.0, max(CUT) / max(height, width)),
        }
        factor = factors[treatment.size]
        if factor < 1:
            pixels, mask = resize(pixels, mask, factor, Image.Resampling.LANCZOS)
    elif treatment.size == "cut":
        down, across = CUT if width >= height else CUT[::-1]
        if height < down or width < across:
            raise ValueError(f"{width} x {height} pixels are too few to cut")
        y, x = _place_of_cut(mask, height, width, down, across, _random(seed))
        pixels = pixels[y : y + down, x : x + across]
        mask = None if mask is None else mask[y : y + down, x : x + across]
    if min(pixels.shape[:2]) < _MIN_SIDE:
        raise ValueError(f"{width} x {height} pixels are too few to treat")
    pixels = np.ascontiguousarray(pixels)
    if treatment.quality:
        pixels = compress(pixels, Jpeg(treatment.quality, 2))
    return pixels, mask


def _place_of_cut(
    mask: np.ndarray | None,
    height: int,
    width: int,
    down: int,
    across: int,
    random: np.random.Generator,
) -> tuple[int, int]:
    """Top and left, multiples of 8: where about three tenths are tampered with, or anywhere."""
    best, place = math.inf, (0, 0)
    for _ in range(1 if mask is None else _MAX_TRIES):
        y = 8 * int(random.integers((height - down) // 8 + 1))
        x = 8 * int(random.integers((width - across) // 8 + 1))
        share = 0.3 if mask is None else mask[y : y + down, x : x + across].mean()
        if abs(share - 0.3) < best:
            best, place = abs(share - 0.3), (y, x)
    return place


def splice(host: np.ndarray, donor: np.ndarray, seed: str) -> tuple[np.ndarray, np.ndarray]:
    """A part of one photo pasted into another.

    Args:
        host, donor: uint8 [H, W, 3], of any sizes; a donor that is too small is enlarged.
        seed: decides shape, place and scale: 4 to 35 % of the photo, a blob of straight lines with
            an edge that is one pixel soft; two of five donors are rescaled by 0.5, 0.7 or 1.3.

    Returns:
        The pixels of the splice, and bool [H, W], true where they are the donor's.
    """
    random = _random(seed)
    mask = _blob(host.shape[0], host.shape[1], random)
    top, left = (int(np.flatnonzero(mask.any(axis=axis))[0]) for axis in (1, 0))
    bottom, right = (int(np.flatnonzero(mask.any(axis=axis))[-1]) + 1 for axis in (1, 0))
    down, across = bottom - top, right - left
    factor = float(random.choice([1.0, 1.0, 1.0, 1.0, 0.5, 0.7, 1.3]))
    needed = max(down / donor.shape[0], across / donor.shape[1])
    factor = max(factor, needed + 1e-3) if needed > 1 or factor < needed else factor
    if factor != 1:
        donor, _ = resize(donor, None, factor, Image.Resampling.BICUBIC)
    y = int(random.integers(donor.shape[0] - down + 1))
    x = int(random.integers(donor.shape[1] - across + 1))
    inside = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255)
    soft = np.asarray(inside.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    pixels = host.copy()
    pasted = soft * donor[y : y + down, x : x + across]
    pasted += (1 - soft) * pixels[top:bottom, left:right]
    pixels[top:bottom, left:right] = np.rint(pasted).astype(np.uint8)
    return pixels, mask


def _blob(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    radius = math.sqrt(math.exp(random.uniform(math.log(0.04), math.log(0.35))) / math.pi)
    stretch = math.exp(random.uniform(-0.5, 0.5))
    across = min(radius * stretch * math.sqrt(height * width), 0.42 * width)
    down = min(radius / stretch * math.sqrt(height * width), 0.42 * height)
    x, y = random.uniform(across, width - across), random.uniform(down, height - down)
    corners = int(random.integers(6, 12))
    angles = 2 * math.pi * np.arange(corners) / corners
    reach = random.uniform(0.75, 1.15, corners)
    points = zip(
        x + across * reach * np.cos(angles), y + down * reach * np.sin(angles), strict=True
    )
    image = Image.new("1", (width, height))
    ImageDraw.Draw(image).polygon([(float(a), float(b)) for a, b in points], fill=1)
    return np.asarray(image)


def _random(seed: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(seed.encode()).digest()))


FIGURES = frozenset(
    ("score", "area", "gap", "step", "share", "variation", "compactness", "log_patch")
)
"""The keys of `figures`."""


def figures(localization: Localization) -> dict[str, Any]:
    """What a calibration needs to know of a localisation: its score and what explains it."""
    at = localization.conditions
    return {
        "score": round(localization.score, 9),
        "area": round(localization.area, 3),
        "gap": round(at.gap, 5),
        "step": round(at.step, 4),
        "log_patch": round(at.log_patch, 4),
        "share": round(float(localization.clusters.mean()), 5),
        "variation": round(at.variation, 6),
        "compactness": round(compactness(localization.clusters), 5),
    }


def mask_figures(heatmap: np.ndarray, found: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """How well a map separates what was tampered with.

    Args:
        heatmap: float32 [H, W].
        found: bool [H, W], the region that it singles out.
        mask: bool [H, W], what was tampered with.

    Returns:
        "f1_mask": the F1 of the region's pixels; "f1_best": at the best threshold of this map.
        {} where the mask lacks tampered or other pixels.
    """
    heatmap, found, mask = heatmap[::4, ::4], found[::4, ::4], mask[::4, ::4]  # they are smooth
    if mask.all() or not mask.any():
        return {}
    f1 = 2 * (found & mask).sum() / (found.sum() + mask.sum())
    best = pixel_metrics(heatmap, mask)["f1"]
    return {"f1_mask": round(float(f1), 4), "f1_best": round(best, 4)}
