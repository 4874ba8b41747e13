"""All that the rules look at, taken from one photo: what its file holds, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from exif_jax.forensics.file_evidence import recompression, thumbnail
from exif_jax.forensics.file_evidence.gallery import (
    Gallery,
    Record,
    make_key,
    model_key,
    program_key,
    tables_id,
)
from exif_jax.forensics.file_evidence.recompression import Recompression
from exif_jax.forensics.file_evidence.thumbnail import Comparison
from exif_jax.reading.file_parts import FileParts, read_parts
from exif_jax.reading.photo import Photo

_QUALITIES = range(50, 100)
_SIDE = 1536  # of the square that is looked at for resampling
_MOST_TABLES = 20  # of the claimed camera that are tried as an earlier compression


class Facts(NamedTuple):
    """What the rules look at.

    Attributes:
      parts: What the file holds.
      tags: Canonical EXIF.
      record: What a gallery would count of the file.
      thumbnail: The thumbnail against the photo; None where there is none to be decoded.
      previews: Other pictures in the file against the photo, each with its place.
      recompression: The best explanation by an earlier compression; None for other formats.
      resampling: How much a period stands out in the second differences, and its frequency.
      times: "DateTime", "DateTimeOriginal", "DateTimeDigitized" as the file writes them.
    """

    parts: FileParts
    tags: Mapping[str, str]
    record: Record
    thumbnail: Comparison | None
    previews: tuple[tuple[str, Comparison], ...]
    recompression: Recompression | None
    resampling: tuple[float, float]
    times: Mapping[str, str]

    @property
    def claims_camera(self) -> bool:
        """Whether EXIF names a maker and a model: else the file does not claim to be a camera's."""
        return bool(self.record.make and self.record.model)

    @property
    def camera(self) -> str:
        """Maker and model as EXIF has them."""
        make, model = self.tags.get("Make", ""), self.tags.get("Model", "")
        return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()


def gather(photo: Photo, gallery: Gallery) -> Facts:
    """Takes from a photo all that the rules look at; never raises for what a file holds.

    Args:
      photo: As read, with the bytes of its file.
      gallery: Its tables of the claimed camera are tried as those of an earlier compression.
    """
    parts = read_parts(photo)
    record = record_of(parts, photo.exif, photo.sha256)
    small = thumbnail.decode_small(parts.thumbnail)
    previews = []
    for place, data in parts.previews:
        if (picture := thumbnail.decode_small(data)) is not None and min(picture.size) >= 60:
            previews.append((place, thumbnail.compare(photo.image, picture)))
    luma = np.asarray(photo.image.convert("L"), np.float32) if not parts.tables else None
    found = None
    if parts.tables:
        luma = recompression.luma_square(photo.data)
        known = gallery.known(record).tables[:_MOST_TABLES]
        candidates = {f"quality {q}": recompression.ijg_table(q) for q in _QUALITIES}
        candidates |= {f"this camera's tables {i}": t[0] for i, (t, _) in enumerate(known) if t}
        found = recompression.find_recompression(luma, parts.tables[0], candidates)
    assert luma is not None
    resampling = recompression.resampling_peak(luma[:_SIDE, :_SIDE])
    if parts.tables:
        resampled = "yes" if resampling[0] >= recompression.MIN_PEAK else "no"
        record = record._replace(values={**record.values, "resampled": resampled})
    return Facts(
        parts=parts._replace(data=b""),
        tags=photo.exif,
        record=record,
        thumbnail=thumbnail.compare(photo.image, small) if small is not None else None,
        previews=tuple(previews),
        recompression=found,
        resampling=resampling,
        times=_times(parts),
    )


def without_pictures(facts: Facts) -> Facts:
    """Facts less the pictures in them, which no rule looks at: for many photos at once."""
    empty = np.zeros((0, 0), np.float32)
    nothing = {"map": empty, "picture": empty.astype(np.uint8)}
    exif = facts.parts.exif._replace(thumbnail=b"", maker_note=facts.parts.exif.maker_note[:1])
    previews = tuple((place, seen._replace(**nothing)) for place, seen in facts.previews)
    return facts._replace(
        parts=facts.parts._replace(exif=exif, previews=(), thumbnail=b""),
        thumbnail=facts.thumbnail._replace(**nothing) if facts.thumbnail else None,
        previews=previews,
    )


def record_of(parts: FileParts, tags: Mapping[str, str], sha256: str) -> Record:
    """Returns what a gallery counts of a file."""
    make, model = tags.get("Make", ""), tags.get("Model", "")
    values = {}
    if parts.tables:
        standard = recompression.ijg_quality(parts.tables)
        values = {
            "tables": tables_id(parts.tables),
            "sampling": parts.sampling,
            "standard": "no" if standard is None else str(standard),
        }
        names = " ".join(parts.segments)
        values |= {
            "order": " ".join(_without_repeats(parts.segments)),
            "coding": " ".join(n for n in parts.segments if not n.startswith(("APP", "COM"))),
            "jfif": "yes" if "APP0 JFIF" in names else "no",
            "adobe": "yes" if "APP13 Photoshop" in names or "Ducky" in names else "no",
            "icc": parts.icc or "none",
            "thumbnail": "yes" if parts.exif.has_thumbnail else "no",
            "maker note": "yes" if parts.exif.maker_note else "no",
            "size": "x".join(map(str, parts.size)),
        }
        if program := program_key(tags.get("Software", "")):
            values["program"] = program
    if factor := crop_factor(tags):
        values["crop factor"] = factor
    return Record(make_key(make), model_key(make, model), values, parts.tables, sha256[:16])


def _without_repeats(names: tuple[str, ...]) -> list[str]:
    """Segments in order; what is written in several parts because it is long counts once."""
    kept = []
    for name in names:
        if not (name.startswith(("APP", "COM")) and kept and kept[-1] == name):
            kept.append(name)
    return kept


def number(text: str | None) -> float | None:
    """The number at the start of a canonical value like "5.6 mm" or "1/60"; None without one."""
    head = (text or "").split(" ")[0].removeprefix("f/")
    try:
        if "/" in head:
            a, b = head.split("/")
            return float(a) / float(b)
        return float(head)
    except (ValueError, ZeroDivisionError):
        return None


def crop_factor(tags: Mapping[str, str]) -> str:
    """35 mm equivalent over focal length, as text of two figures; "" where EXIF has not both."""
    full, own = (number(tags.get(n)) for n in ("Focal Length In 35mm Format", "Focal Length"))
    if not full or not own or not 0.05 < full / own < 100:
        return ""
    return f"{full / own:.2g}"


def _times(parts: FileParts) -> dict[str, str]:
    sources = (
        ("DateTime", parts.exif.image.get(0x0132)),
        ("DateTimeOriginal", parts.exif.camera.get(0x9003)),
        ("DateTimeDigitized", parts.exif.camera.get(0x9004)),
    )
    return {name: value.strip("\0 ")[:19] for name, value in sources if isinstance(value, str)}
