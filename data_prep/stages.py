"""The steps from a photo to records, as pure functions that any driver can call in any order.

Nothing here depends on the number of workers, on the machine or on a library's random generator:
every choice is a SHA-256 of the seed and of what is chosen.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from exif_jax.photo import PhotoError, read_photo
from exif_jax.records import Record, encode_image, encode_record

GRID = 16  # pixels: the JPEG block grid of 4:2:0 photos, so that regions of one camera align alike
MIN_SIDE = 128  # pixels: smaller photos hold no patch of the usual size
# Programs that write photos anew; firmware and transfer tools that leave the pixels are not here.
EDITORS = re.compile(
    r"photoshop|lightroom|gimp|picasa|snapseed|acdsee|iphoto|aperture \d|photoscape|instagram|vsco|"
    r"faststone|irfanview|xnview|corel|paint ?shop|paint\.net|affinity|darktable|rawtherapee|"
    r"capture one|dxo|picnik|pixlr|polarr|imagemagick|graphicsmagick|microsoft windows photo|"
    r"photo editor|pixelmator|luminar|topaz|on1 |photomatix|ptgui|hugin|canva|prisma|"
    r"facetune|meitu",
    re.I,
)
MIN_DETAIL = 0.8  # 8-bit levels: below lie clear sky, blur and burnt-out areas (1-2 % of crops)


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the records, besides the photos themselves.

    Attributes:
      seed: Any integer; another seed gives other regions, another split and another order.
      region_size: Side of a region in pixels, a multiple of 16, at least 128.
      regions_per_photo: Most regions that one photo gives, at least 1.
      validation_share: Share of the photos whose cameras are held out, in [0, 1).
      min_tags: Photos with fewer canonical tags are rejected.
      shards: Shards of each split; 0 = as many as make about 256 MiB each.
      keep_edited: Also take photos whose EXIF says that a program edited or resized them.
    """

    seed: int = 0
    region_size: int = 448
    regions_per_photo: int = 4
    validation_share: float = 0.15
    min_tags: int = 5
    shards: int = 0
    keep_edited: bool = False


class PhotoFile(NamedTuple):
    """One input file.

    Attributes:
      file: Its path relative to the input folder.
      photo: Its photo's name if it is a crop.
      exif: Canonical tags kept beside it, for a file without its own.
    """

    file: str
    photo: str | None
    exif: Mapping[str, str] | None = None


class PhotoResult(NamedTuple):
    """What became of one input file; `reason` is "" for a usable one.

    Attributes:
      file: As in `PhotoFile`.
      reason: Why the file was rejected, in one of a few fixed phrases.
      message: The same for people, with the details.
      sha256: Of the file's bytes, in hex.
      photo_id: Equal for all crops of one photo, SHA-256 in hex.
      exif: Canonical tags.
      num_records: Regions taken.
    """

    file: str
    reason: str
    message: str = ""
    sha256: str = ""
    photo_id: str = ""
    exif: Mapping[str, str] = {}
    num_records: int = 0


def seeded_hash(seed: int, *parts: object) -> int:
    """Returns 64 bits that look random and depend on nothing but the arguments' text."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def camera_of(exif: Mapping[str, str]) -> tuple[str, str]:
    """Returns (make, model); "" where the photo does not say."""
    return exif.get("Make", ""), exif.get("Model", "")


# --- one photo --------------------------------------------------------------------------------


def process_photo(
    root: str | os.PathLike, item: PhotoFile, settings: Settings
) -> tuple[PhotoResult, list[bytes]]:
    """Reads one photo and serialises its regions; depends on this file and the settings only.

    Args:
      root: Input folder.
      item: File in it.
      settings: See `Settings`.

    Returns:
      What became of the file, and one serialised record for each region (none if rejected).
    """
    # Names need not be UTF-8 on disk; in records and lists they are, with \xNN for other bytes.
    source = os.fsencode(item.file).decode("utf-8", "backslashreplace")
    try:
        photo = read_photo(Path(root) / item.file, name=source)
    except PhotoError as error:
        return PhotoResult(source, "unreadable", str(error)), []
    exif = photo.exif or dict(item.exif or {})
    reason, message = _objection(exif, photo.pixels.shape, settings, item.photo is None)
    if reason:
        return PhotoResult(source, reason, message, photo.sha256), []
    photo_id = photo.sha256
    if item.photo is not None:
        photo_id = hashlib.sha256(item.photo.encode("utf-8", "backslashreplace")).hexdigest()
    regions = choose_regions(photo.pixels, photo.sha256, settings)
    if not regions:
        return PhotoResult(source, "no detail", "one flat or burnt-out area", photo.sha256), []
    serialized = [
        encode_record(
            Record(
                image=encode_image(np.ascontiguousarray(photo.pixels[y : y + h, x : x + w])),
                exif=exif,
                photo_id=photo_id,
                region=(y, x, h, w),
                source=source,
            )
        )
        for y, x, h, w in regions
    ]
    result = PhotoResult(source, "", "", photo.sha256, photo_id, exif, len(serialized))
    return result, serialized


def _objection(
    exif: Mapping[str, str], shape: tuple[int, ...], settings: Settings, whole: bool
) -> tuple[str, str]:
    if not exif:
        return "no EXIF", "the file carries no camera EXIF"
    if not all(camera_of(exif)):
        return "no camera named", "Make or Model is missing: the split by camera needs both"
    if len(exif) < settings.min_tags:
        return "too few tags", f"{len(exif)} tags, fewer than {settings.min_tags}"
    if min(shape[:2]) < MIN_SIDE:
        return "too small", f"{shape[1]} x {shape[0]} pixels, a side under {MIN_SIDE}"
    if settings.keep_edited:
        return "", ""
    if EDITORS.search(exif.get("Software", "") + " " + exif.get("Processing Software", "")):
        return "edited", f"written by {exif.get('Software') or exif['Processing Software']}"
    told = [exif.get(f"Exif Image {side}", "") for side in ("Width", "Height")]
    # A crop is smaller than its photo by right; a photo turned upright has its sides exchanged.
    known = all(side.isdecimal() for side in told)
    if whole and known and sorted(map(int, told)) != sorted(shape[:2]):
        size = f"{shape[1]} x {shape[0]} pixels, and its EXIF says {told[0]} x {told[1]}"
        return "resized", size
    return "", ""


def choose_regions(
    pixels: np.ndarray, sha256: str, settings: Settings
) -> list[tuple[int, int, int, int]]:
    """Chooses regions that do not overlap, on the 16-pixel grid, where there is something to see.

    The photo is tiled from a hashed origin and its tiles are taken in hashed order, skipping flat
    and burnt-out ones; a photo of nothing else gives its best tile.

    Args:
      pixels: uint8 [H, W, 3].
      sha256: Of the file: stands for the photo in the hashes.
      settings: Region size, number of regions and seed.

    Returns:
      (y, x, height, width) of at most `regions_per_photo` regions. Height and width are the region
      size, or the photo's own where that is smaller. Empty if every tile is of one colour.
    """
    height, width = pixels.shape[:2]
    h, w = min(settings.region_size, height), min(settings.region_size, width)
    rows, columns = height // h, width // w

    def origin(axis: str, slack: int) -> int:
        return GRID * (seeded_hash(settings.seed, "origin", axis, sha256) % (slack // GRID + 1))

    top, left = origin("y", height - rows * h), origin("x", width - columns * w)
    tiles = [(top + r * h, left + c * w, h, w) for r in range(rows) for c in range(columns)]
    tiles.sort(key=lambda tile: seeded_hash(settings.seed, "tile", sha256, *tile))

    def tile_detail(tile: tuple[int, int, int, int]) -> float:
        y, x, h, w = tile
        return detail(pixels[y : y + h, x : x + w])

    usable = (tile for tile in tiles if tile_detail(tile) >= MIN_DETAIL)
    # Lazily: a large photo is looked at only until enough tiles are found.
    if chosen := list(islice(usable, settings.regions_per_photo)):
        return chosen
    best = max(tiles, key=tile_detail)
    return [best] if tile_detail(best) > 0 else []


def detail(pixels: np.ndarray) -> float:
    """Returns how much there is to see: mean step between neighbours of the green channel.

    Args:
      pixels: uint8 [H, W, 3].

    Returns:
      8-bit levels, 0 to 255. Steps from or to a clipped value (under 4, over 251) count as none:
      clipping wipes out the camera's traces.
    """
    green = pixels[..., 1].astype(np.int16)
    seen = (green > 3) & (green < 252)
    steps = np.abs(np.diff(green, axis=1)) * (seen[:, 1:] & seen[:, :-1])
    return float(steps.sum(dtype=np.int64)) / max(steps.size, 1)


# --- all photos -------------------------------------------------------------------------------


def validation_cameras(
    photos: Mapping[tuple[str, str], int], settings: Settings
) -> set[tuple[str, str]]:
    """Chooses the cameras to hold out, so that no camera model is in both splits.

    Cameras are taken in hashed order, each if it brings the held-out photos nearer to the share
    asked for. With two or more cameras and a share above 0, both splits have at least one.

    Args:
      photos: (make, model) -> number of photos.
      settings: `validation_share` and `seed`.

    Returns:
      The cameras of the validation split.
    """
    order = sorted(
        photos, key=lambda camera: (seeded_hash(settings.seed, "camera", *camera), camera)
    )
    target = settings.validation_share * sum(photos.values())
    chosen: set[tuple[str, str]] = set()
    total = 0
    for camera in order:
        if abs(total + photos[camera] - target) < abs(total - target):
            chosen.add(camera)
            total += photos[camera]
    if not chosen and target > 0 and len(order) > 1:
        chosen = {min(order, key=lambda camera: photos[camera])}
    if chosen and len(chosen) == len(order):
        chosen.remove(max(order, key=lambda camera: photos[camera]))
    return chosen


def tag_vocabulary(
    counts: Mapping[str, int], photos: int, canonical_order: Sequence[str]
) -> list[str]:
    """Returns the tags that at least half of the photos have, in canonical order."""
    return [tag for tag in canonical_order if 2 * counts.get(tag, 0) >= photos > 0]


def shard_bounds(sizes: Iterable[int], settings: Settings, target_bytes: int = 2**28) -> list[int]:
    """Cuts a row of records into shards of nearly equal count.

    Args:
      sizes: Bytes of each record.
      settings: `shards`; never more shards than records.
      target_bytes: Bytes a shard when the settings leave the number open.

    Returns:
      num_shards + 1 positions, from 0 to the number of records; [0] without records.
    """
    sizes = list(sizes)
    wanted = settings.shards or -(-sum(sizes) // target_bytes)
    shards = min(max(wanted, 1), len(sizes))
    return [len(sizes) * k // shards for k in range(shards + 1)] if shards else [0]
