"""One photo to its training records, as a pure function that any driver can call."""

import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple

from data_prep.processing.camera_traces import camera_traces
from data_prep.processing.filters import reject_reason
from data_prep.processing.fingerprint import fingerprint
from data_prep.processing.regions import Region, choose_regions
from data_prep.processing.settings import PrepSettings
from data_prep.sources.raw_photo import RawPhoto
from exif_jax.data.records import Record, encode_image, encode_record
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reading.refusal import CURE_COPY


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
      is_crop: Whether the source says that it is a part of a photo.
      owner: Who took it, as 16 hexadecimal digits; "" where the source does not say.
      licence: As the source names it.
      fingerprint: The photo's fingerprint, 16 hexadecimal digits.
      traces: `camera_traces.camera_traces` of the file.
      num_flat: Flat tiles that were looked at and passed over.
      num_saturated: The same of saturated tiles.
    """

    file: str
    reason: str
    message: str = ""
    sha256: str = ""
    photo_id: str = ""
    exif: Mapping[str, str] = {}
    num_records: int = 0
    is_crop: bool = False
    owner: str = ""
    licence: str = ""
    fingerprint: str = ""
    traces: Mapping[str, bool] | None = None
    num_flat: int = 0
    num_saturated: int = 0


def process_photo(raw: RawPhoto, settings: PrepSettings) -> tuple[PhotoResult, list[bytes]]:
    """Decodes one photo and serialises its regions; depends on this file and the settings only.

    Args:
      raw: The photo as its source has it.
      settings: See `PrepSettings`.

    Returns:
      What became of the file, and one serialised record for each region (none if rejected).
    """
    # Names need not be UTF-8 on disk; in records and lists they are, with \xNN for other bytes.
    source = os.fsencode(raw.id).decode("utf-8", "backslashreplace")
    if raw.problem:
        reason, message = raw.problem
        return PhotoResult(source, reason, message), []
    try:
        photo = read_photo(raw.data, name=source, max_pixels=settings.max_pixels)
    except PhotoError as error:
        reason = "damaged" if error.cure == CURE_COPY else "unreadable"
        return PhotoResult(source, reason, str(error)), []
    if photo.may_be_damaged:
        return PhotoResult(source, "damaged", "; ".join(photo.notes), photo.sha256), []
    exif = photo.exif or dict(raw.exif or {})
    reason, message = reject_reason(exif, photo.image.size, settings, is_crop=bool(raw.photo))
    if reason:
        return PhotoResult(source, reason, message, photo.sha256), []
    chosen = choose_regions(photo.image, photo.sha256, settings)
    if not chosen.regions:
        return PhotoResult(source, "no detail", "one flat or burnt-out area", photo.sha256), []
    result = PhotoResult(
        file=source,
        reason="",
        sha256=photo.sha256,
        photo_id=_name_hash(raw.photo) if raw.photo else photo.sha256,
        exif=exif,
        num_records=len(chosen.regions),
        is_crop=bool(raw.photo),
        owner=_name_hash(raw.owner)[:16] if raw.owner else "",
        licence=raw.licence,
        fingerprint=f"{fingerprint(photo.image):016x}",
        traces=camera_traces(raw.data) if photo.exif else None,
        num_flat=chosen.num_flat,
        num_saturated=chosen.num_saturated,
    )
    return result, [_serialize(region, result, exif) for region in chosen.regions]


def _serialize(region: Region, photo: PhotoResult, exif: dict[str, str]) -> bytes:
    """A region as a serialised record."""
    height, width = region.pixels.shape[:2]
    record = Record(
        image=encode_image(region.pixels),
        exif=exif,
        photo_id=photo.photo_id,
        region=(region.y, region.x, height, width),
        source=photo.file,
    )
    return encode_record(record)


def _name_hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()
