"""Which photos are no training photos, by what one file alone says."""

import re
from collections.abc import Mapping

from data_prep.processing.settings import MIN_SIDE, PrepSettings

# Programs that write photos anew; firmware and transfer tools that leave the pixels are not here.
EDITORS = re.compile(
    r"photoshop|lightroom|gimp|picasa|snapseed|acdsee|iphoto|aperture \d|photoscape|instagram|vsco|"
    r"faststone|irfanview|xnview|corel|paint ?shop|paint\.net|affinity|darktable|rawtherapee|"
    r"capture one|dxo|picnik|pixlr|polarr|imagemagick|graphicsmagick|microsoft windows photo|"
    r"photo editor|pixelmator|luminar|topaz|on1 |photomatix|ptgui|hugin|canva|prisma|"
    r"facetune|meitu",
    re.I,
)


def camera_key(exif: Mapping[str, str]) -> tuple[str, str]:
    """Returns (make, model); "" where the photo does not say."""
    return exif.get("Make", ""), exif.get("Model", "")


def reject_reason(
    exif: Mapping[str, str], size: tuple[int, int], settings: PrepSettings, is_crop: bool
) -> tuple[str, str]:
    """Why a photo is no training photo, by its EXIF and its size.

    Args:
      exif: Canonical tags.
      size: Width and height in pixels.
      settings: `min_tags` and `keep_edited`.
      is_crop: Whether the source says that it is a part of a photo.

    Returns:
      Reason, one of a few fixed phrases, and a message with the details; empty for a photo that
      is taken.
    """
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
    sides = [exif.get(f"Exif Image {side}", "") for side in ("Width", "Height")]
    # A crop is smaller than its photo by right; a photo turned upright has its sides exchanged.
    known = all(side.isdecimal() for side in sides)
    if not is_crop and known and sorted(map(int, sides)) != sorted(size):
        return "resized", f"{pixels}, and its EXIF says {sides[0]} x {sides[1]}"
    return "", ""
