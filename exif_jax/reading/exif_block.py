"""EXIF blocks, read without trust: from bytes to the canonical tags.

Three fixed links are followed and no chains, so that no block leads in a circle. What cannot be
read is left out and, where it is one of the canonical tags, noted.

Source: Exif 3.0 (CIPA DC-008-2023).
"""

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from exif_jax.reading.exif import TAGS, from_values
from exif_jax.reading.tiff_directory import (
    Entry,
    byte_order,
    entry_values,
    first_directory,
    is_readable,
    read_entries,
)

MAX_EXIF_BYTES = 1 << 20
_MAX_VALUE_BYTES = 4096
_MAX_NAMES = 5  # in a note
_EXIF_LINK, _INTEROP_LINK = 0x8769, 0xA005
_ORIENTATION, _MAKER_NOTE = 0x0112, 0x927C
_THUMBNAIL_TAGS = (0x0201, 0x0111)
# Programs put the preamble "Exif\0\0" before a block once, twice or with other bytes in it.
_TIFF_HEADER = re.compile(rb"(?s).{0,24}?(II\*\0|MM\0\*)")
_DAMAGED_NOTE = "EXIF is damaged: only a part was read"


class ExifReading(NamedTuple):
    """What an EXIF block holds.

    Attributes:
      tags: Canonical tags, see `exif_jax.reading.exif`.
      orientation: 1 to 8; 1 where the block gives none.
      notes: What could not be read, in words.
    """

    tags: dict[str, str]
    orientation: int
    notes: tuple[str, ...]


def without_preamble(block: bytes) -> bytes:
    """Returns a block from its TIFF header on; the whole block where no header begins it."""
    match = _TIFF_HEADER.match(block)
    return block[match.start(1) :] if match else block


def read_exif(block: bytes) -> ExifReading:
    """Reads an EXIF block, or a TIFF file, from its TIFF header on; never raises."""
    directories: dict[str, dict[int, object]] = {}
    notes, unread = [], []
    links = (("ExifIFD", "IFD0", _EXIF_LINK), ("InteropIFD", "ExifIFD", _INTEROP_LINK))
    try:
        entries, _ = first_directory(block)
        directories["IFD0"] = _values(block, entries)
        unread += _unread_tags("IFD0", entries, directories["IFD0"])
        for name, parent, link in links:
            offset = directories[parent].get(link)
            entries = read_entries(block, offset)[0] if isinstance(offset, int) else []
            directories[name] = _values(block, entries)
            unread += _unread_tags(name, entries, directories[name])
    except struct.error:
        notes.append(_DAMAGED_NOTE)
    if unread:
        names = ", ".join(unread[:_MAX_NAMES]) + (", ..." if len(unread) > _MAX_NAMES else "")
        notes.append(f"EXIF of an unknown type, too long or outside its block left out: {names}")
    value = directories.get("IFD0", {}).get(_ORIENTATION)
    orientation = value if isinstance(value, int) and 1 <= value <= 8 else 1
    return ExifReading(from_values(directories), orientation, tuple(notes))


def _values(block: bytes, entries: list[Entry]) -> dict[int, object]:
    """Tag -> values of one directory; what lies outside the block or is long is left out."""
    values: dict[int, object] = {}
    for entry in entries:
        inside = entry.values_at + entry.num_bytes <= len(block)
        if inside and 0 < entry.num_bytes <= _MAX_VALUE_BYTES and entry.tag not in values:
            values[entry.tag] = entry_values(block, entry)
    return values


def _unread_tags(name: str, entries: list[Entry], values: Mapping[int, object]) -> list[str]:
    """Names of the canonical tags that a directory has and that `_values` left out."""
    present = {entry.tag for entry in entries if entry.count or not is_readable(entry)}
    return [tag.name for tag in TAGS[name] if tag.id in present and tag.id not in values]


def exif_parts(block: bytes) -> frozenset[str]:
    """Returns which of "maker note" and "thumbnail" an EXIF block has; none of a damaged one."""
    parts = set()
    try:
        entries, link_at = first_directory(block)
        camera = _values(block, entries).get(_EXIF_LINK)
        if isinstance(camera, int):
            camera_entries, _ = read_entries(block, camera)
            if any(entry.tag == _MAKER_NOTE and entry.num_bytes for entry in camera_entries):
                parts.add("maker note")
        (link,) = struct.unpack_from(byte_order(block) + "I", block, link_at)
        if link and any(entry.tag in _THUMBNAIL_TAGS for entry in read_entries(block, link)[0]):
            parts.add("thumbnail")
    except struct.error:
        pass
    return frozenset(parts)
