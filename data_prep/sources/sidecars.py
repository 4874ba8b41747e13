"""Metadata beside a photo: JSON of exiftool, Flickr, img2dataset or the paper's preparation."""

import json
from collections.abc import Mapping
from typing import Any

from exif_jax.reading.exif import from_exiftool
from exif_jax.reading.exif_readers import from_exifread, from_flickr, from_released


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sidecar_exif(content: bytes) -> dict[str, str] | None:
    """Canonical EXIF of a JSON side-car of any known form; None where it is none of them."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:  # exiftool lists one object a file
        value = value[0]
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("photo"), Mapping) or value.get("stat") == "fail":
        return from_flickr(value)
    if isinstance(value.get("EXIF", value.get("exif")), Mapping):
        return from_released(value)
    return from_exiftool(value) if "SourceFile" in value else None


def img2dataset_metadata(content: bytes) -> tuple[dict[str, str] | None, str]:
    """Canonical EXIF and licence of img2dataset's JSON; (None, "") where it says nothing."""
    try:
        metadata = as_mapping(json.loads(content))
        exif = metadata.get("exif")
        # img2dataset writes the tags as a JSON text inside the JSON, or null.
        tags = from_exifread(as_mapping(json.loads(exif))) if isinstance(exif, str) else None
    except (ValueError, RecursionError):
        return None, ""  # the file itself may still say what its camera was
    licence = str(metadata.get("license") or metadata.get("licence") or "")[:200]
    return tags or None, licence
