"""The steps from a photo to records, as pure functions that any driver can call in any order.

Nothing here depends on the number of workers, on the machine or on a library's random generator:
every choice is a SHA-256 of the seed and of what is chosen.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.sources import RawPhoto
from data_prep.traces import camera_facts, fingerprint
from exif_jax.data.records import Record, encode_image, encode_record
from exif_jax.reading.photo import PhotoError, read_photo

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
      validation_fraction: Share of the photos whose cameras are held out, in [0, 1).
      min_tags: Photos with fewer canonical tags are rejected.
      shards: Shards of each split; 0 = as many as make about 256 MiB each.
      keep_edited: Also take photos that a program edited or resized, by all that the file says.
      max_hamming_distance: A photo is a near duplicate of one of its camera if no more bits of their
        fingerprints differ (`traces.fingerprint`); -1 keeps them all.
      camera_photos: Most photos of one camera model; 0 = all.
      owner_photos: Most photos of one photographer, where the source tells them apart; 0 = all.
    """

    seed: int = 0
    region_size: int = 448
    regions_per_photo: int = 4
    validation_fraction: float = 0.15
    min_tags: int = 5
    shards: int = 0
    keep_edited: bool = False
    max_hamming_distance: int = 6
    camera_photos: int = 0
    owner_photos: int = 0


class PhotoResult(NamedTuple):
    """What became of one input file; `reason` is "" for a usable one.

    Attributes:
      file: Its name in the source, in printable ASCII or UTF-8.
      reason: Why the file was rejected, in one of a few fixed phrases.
      message: The same for people, with the details.
      sha256: Of the file's bytes, in hex.
      photo_id: Equal for all crops of one photo, SHA-256 in hex.
      exif: Canonical tags.
      num_records: Regions taken.
      crop: The source says that it is a part of a photo.
      owner: Who took it, as 16 hexadecimal digits; "" where the source does not say.
      licence: As the source names it.
      alike: The photo's fingerprint, 16 hexadecimal digits.
      facts: `traces.camera_facts` of the file.
      flat, saturated: Tiles that were looked at and left out.
    """

    file: str
    reason: str
    message: str = ""
    sha256: str = ""
    photo_id: str = ""
    exif: Mapping[str, str] = {}
    num_records: int = 0
    crop: bool = False
    owner: str = ""
    licence: str = ""
    alike: str = ""
    facts: Mapping[str, bool] | None = None
    flat: int = 0
    saturated: int = 0


def seeded_hash(seed: int, *parts: object) -> int:
    """Returns 64 bits that look random and depend on nothing but the arguments' text."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def camera_key(exif: Mapping[str, str]) -> tuple[str, str]:
    """Returns (make, model); "" where the photo does not say."""
    return exif.get("Make", ""), exif.get("Model", "")


# --- one photo --------------------------------------------------------------------------------


def process_photo(raw: RawPhoto, settings: Settings) -> tuple[PhotoResult, list[bytes]]:
    """Decodes one photo and serialises its regions; depends on this file and the settings only.

    Args:
      raw: The photo as its source has it.
      settings: See `Settings`.

    Returns:
      What became of the file, and one serialised record for each region (none if rejected).
    """
    # Names need not be UTF-8 on disk; in records and lists they are, with \xNN for other bytes.
    source = os.fsencode(raw.id).decode("utf-8", "backslashreplace")
    if raw.problem:
        return PhotoResult(source, *raw.problem), []
    try:
        photo = read_photo(raw.data, name=source)
    except PhotoError as error:
        return PhotoResult(source, "unreadable", str(error)), []
    exif = photo.exif or dict(raw.exif or {})
    facts = camera_facts(raw.data) if photo.exif else None
    reason, message = _objection(exif, photo.image.size, settings, not raw.photo)
    if reason:
        return PhotoResult(source, reason, message, photo.sha256), []
    tiles = choose_regions(photo.image, photo.sha256, settings)
    if not tiles.chosen:
        return PhotoResult(source, "no detail", "one flat or burnt-out area", photo.sha256), []
    result = PhotoResult(
        file=source,
        reason="",
        sha256=photo.sha256,
        photo_id=_name_hash(raw.photo) if raw.photo else photo.sha256,
        exif=exif,
        num_records=len(tiles.chosen),
        crop=bool(raw.photo),
        owner=_name_hash(raw.owner)[:16] if raw.owner else "",
        licence=raw.licence,
        alike=f"{fingerprint(photo.image):016x}",
        facts=facts,
        flat=tiles.flat,
        saturated=tiles.saturated,
    )
    serialized = [
        encode_record(
            Record(
                image=encode_image(pixels),
                exif=exif,
                photo_id=result.photo_id,
                region=(y, x, *pixels.shape[:2]),
                source=source,
            )
        )
        for y, x, pixels in tiles.chosen
    ]
    return result, serialized


def _name_hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()


def _objection(
    exif: Mapping[str, str], size: tuple[int, int], settings: Settings, whole: bool
) -> tuple[str, str]:
    """Reason and message against a photo of some width and height, or empty texts."""
    pixels = f"{size[0]} x {size[1]} pixels"
    if not exif:
        return "no EXIF", "the file carries no camera EXIF"
    if not all(camera_key(exif)):
        return "no camera named", "Make or Model is missing: the split by camera needs both"
    if len(exif) < settings.min_tags:
        return "too few tags", f"{len(exif)} tags, fewer than {settings.min_tags}"
    if min(size) < MIN_SIDE:
        return "too small", f"{pixels}, a side under {MIN_SIDE}"
    if settings.keep_edited:
        return "", ""
    if EDITORS.search(exif.get("Software", "") + " " + exif.get("Processing Software", "")):
        return "edited", f"written by {exif.get('Software') or exif['Processing Software']}"
    told = [exif.get(f"Exif Image {side}", "") for side in ("Width", "Height")]
    # A crop is smaller than its photo by right; a photo turned upright has its sides exchanged.
    known = all(side.isdecimal() for side in told)
    if whole and known and sorted(map(int, told)) != sorted(size):
        return "resized", f"{pixels}, and its EXIF says {told[0]} x {told[1]}"
    return "", ""


class Tiles(NamedTuple):
    """Regions as (y, x, uint8 [h, w, 3]), and how many tiles were left out on the way to them."""

    chosen: list[tuple[int, int, np.ndarray]]
    flat: int = 0
    saturated: int = 0


def choose_regions(image: Image.Image, sha256: str, settings: Settings) -> Tiles:
    """Chooses regions that do not overlap, on the 16-pixel grid, where there is something to see.

    The photo is tiled from a hashed origin and its tiles are taken in hashed order, skipping flat
    and burnt-out ones; a photo of nothing else gives its best tile.

    Args:
      image: Of mode RGB.
      sha256: Of the file: stands for the photo in the hashes.
      settings: Region size, number of regions and seed.

    Returns:
      At most `regions_per_photo` regions. Height and width are the region size, or the photo's own
      where that is smaller. None if every tile is of one colour.
    """
    width, height = image.size
    h, w = min(settings.region_size, height), min(settings.region_size, width)
    rows, columns = height // h, width // w

    def origin(axis: str, slack: int) -> int:
        return GRID * (seeded_hash(settings.seed, "origin", axis, sha256) % (slack // GRID + 1))

    top, left = origin("y", height - rows * h), origin("x", width - columns * w)
    tiles = [(top + r * h, left + c * w) for r in range(rows) for c in range(columns)]
    tiles.sort(key=lambda tile: seeded_hash(settings.seed, "tile", sha256, *tile, h, w))

    chosen, flat, saturated = [], 0, 0
    best, most = None, 0.0
    # A large photo is looked at only until enough tiles are found.
    for y, x in tiles:
        pixels = np.asarray(image.crop((x, y, x + w, y + h)))
        seen = detail(pixels)
        if seen.steps >= MIN_DETAIL:
            chosen.append((y, x, pixels))
            if len(chosen) == settings.regions_per_photo:
                break
            continue
        if seen.steps > most:
            best, most = (y, x, pixels), seen.steps
        saturated += seen.clipped > 0.5
        flat += seen.clipped <= 0.5
    if not chosen and best is not None:
        chosen = [best]
    return Tiles(chosen, flat, saturated)


class Detail(NamedTuple):
    """How much there is to see in a region.

    Attributes:
      steps: Mean step between neighbours of the green channel, in 8-bit levels, 0 to 255. Steps
        from or to a clipped value count as none: clipping wipes out the camera's traces.
      clipped: Share of clipped values (under 4, over 251), in [0, 1].
    """

    steps: float
    clipped: float


def detail(pixels: np.ndarray) -> Detail:
    """Looks at uint8 [H, W, 3]."""
    green = pixels[..., 1].astype(np.int16)
    seen = (green > 3) & (green < 252)
    steps = np.abs(np.diff(green, axis=1)) * (seen[:, 1:] & seen[:, :-1])
    clipped = 1 - float(np.count_nonzero(seen)) / max(seen.size, 1)
    return Detail(float(steps.sum(dtype=np.int64)) / max(steps.size, 1), clipped)


# --- all photos -------------------------------------------------------------------------------


def validation_cameras(
    photos: Mapping[tuple[str, str], int], settings: Settings
) -> set[tuple[str, str]]:
    """Chooses the cameras to hold out, so that no camera model is in both splits.

    Cameras are taken in hashed order, each if it brings the held-out photos nearer to the share
    asked for. With two or more cameras and a share above 0, both splits have at least one.

    Args:
      photos: (make, model) -> number of photos.
      settings: `validation_fraction` and `seed`.

    Returns:
      The cameras of the validation split.
    """
    order = sorted(
        photos, key=lambda camera: (seeded_hash(settings.seed, "camera", *camera), camera)
    )
    target = settings.validation_fraction * sum(photos.values())
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


def shard_bounds(
    records: int, num_bytes: int, settings: Settings, target_bytes: int = 2**28
) -> list[int]:
    """Cuts a row of records into shards of nearly equal count.

    Args:
      records: Their number.
      num_bytes: All their bytes.
      settings: `shards`; never more shards than records.
      target_bytes: Bytes a shard when the settings leave the number open.

    Returns:
      num_shards + 1 positions, from 0 to the number of records; [0] without records.
    """
    wanted = settings.shards or -(-num_bytes // target_bytes)
    shards = min(max(wanted, 1), records)
    return [records * k // shards for k in range(shards + 1)] if shards else [0]
