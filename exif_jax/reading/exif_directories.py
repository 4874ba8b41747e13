"""The directories of an EXIF block with the values of their tags as they stand in the file.

`exif_block` gives the canonical tags, which are for the model; here is what a look at the file
itself needs besides: times, the thumbnail, the maker note and the sizes that it names. Five fixed
links are followed and no chains. Nothing of this enters a training text.

Sources: Exif 3.0; tags of maker notes as exiftool's documentation lists them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from exif_jax.reading.tiff_directory import (
    byte_order,
    entry_values,
    first_directory,
    is_readable,
    read_entries,
)

_MAX_VALUE_BYTES = 4096
_MAX_NOTE_BYTES = 1 << 20
_CAMERA, _INTEROP, _NOTE = 0x8769, 0xA005, 0x927C
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_PANASONIC = b"Panasonic\0\0\0"


class Directories(NamedTuple):
    """Tag number -> value of each directory; values as `tiff_directory.entry_values` gives them.

    Attributes:
      image: IFD0.
      camera: The Exif directory.
      interop: The interoperability directory.
      thumbnail_tags: IFD1.
      thumbnail: The bytes of the thumbnail; b"" where there is none.
      has_thumbnail: Whether IFD1 says that there is one.
      maker_note: Its bytes, 1 MiB at most.
      note_sizes: Widths and heights of the photo that the maker note names.
      damaged: Whether a directory lies outside the block.
    """

    image: dict[int, object]
    camera: dict[int, object]
    interop: dict[int, object]
    thumbnail_tags: dict[int, object]
    thumbnail: bytes
    has_thumbnail: bool
    maker_note: bytes
    note_sizes: tuple[tuple[int, int], ...]
    damaged: bool


NO_DIRECTORIES = Directories({}, {}, {}, {}, b"", False, b"", (), False)


def read_directories(block: bytes) -> Directories:
    """Reads an EXIF block from its TIFF header on; never raises.

    Args:
      block: The bytes that all offsets count from.
    """
    image, camera, interop, small = {}, {}, {}, {}
    thumbnail, note, sizes, damaged = b"", b"", (), False
    try:
        image, link_at = _directory(block, None)
        camera, _ = _directory(block, image.get(_CAMERA))
        interop, _ = _directory(block, camera.get(_INTEROP))
        note, sizes = _maker_note(block, image.get(_CAMERA), image)
        (link,) = struct.unpack_from(byte_order(block) + "I", block, link_at)
        small, _ = _directory(block, link or None) if link else ({}, 0)
        start, length = small.get(_THUMBNAIL), small.get(_THUMBNAIL_BYTES)
        if isinstance(start, int) and isinstance(length, int):
            thumbnail = block[start : start + length]
    except struct.error:
        damaged = bool(block)
    return Directories(
        image, camera, interop, small, thumbnail, _THUMBNAIL in small, note, sizes, damaged
    )


def _directory(block: bytes, offset: object) -> tuple[dict[int, object], int]:
    """Values of the directory at an offset, or of the first one, and where its link lies."""
    if offset is None:
        entries, link_at = first_directory(block)
    elif isinstance(offset, int):
        entries, link_at = read_entries(block, offset)
    else:
        return {}, 0
    values: dict[int, object] = {}
    for entry in entries:
        inside = entry.values_at + entry.num_bytes <= len(block)
        if inside and 0 < entry.num_bytes <= _MAX_VALUE_BYTES and entry.tag not in values:
            values[entry.tag] = entry_values(block, entry)
    return values, link_at


# --- maker notes ----------------------------------------------------------------------------------


def _maker_note(
    block: bytes, camera: object, image: dict[int, object]
) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The bytes of the maker note and the sizes that it names."""
    if not isinstance(camera, int):
        return b"", ()
    entry = next((e for e in read_entries(block, camera)[0] if e.tag == _NOTE), None)
    if entry is None:
        return b"", ()
    end = min(entry.values_at + min(entry.num_bytes, _MAX_NOTE_BYTES), len(block))
    note = block[entry.values_at : end]
    make = str(image.get(0x010F, "")).lower()
    try:
        sizes = _note_sizes(block, entry.values_at, note, make)
    except (struct.error, IndexError):
        sizes = ()
    return note, sizes


def _note_sizes(block: bytes, start: int, note: bytes, make: str) -> tuple[tuple[int, int], ...]:
    """Sizes of the photo that a note of a known layout names."""
    if make.startswith("canon"):
        tags = _note_directory(block, start)
        found = []
        for tag, at in ((0x0026, 4), (0x0012, 2)):  # AFInfo2 and AFInfo: size of the photo
            words = tags.get(tag)
            if isinstance(words, tuple) and len(words) > at + 1:
                found.append((words[at], words[at + 1]))
        return tuple(_plausible(found))
    if note.startswith(_PANASONIC):
        tags = _note_directory(block, start + len(_PANASONIC))
        return tuple(_plausible([(tags.get(0x004B), tags.get(0x004C))]))
    return ()


def _plausible(found: list) -> list[tuple[int, int]]:
    return [
        (w, h)
        for w, h in found
        if isinstance(w, int) and isinstance(h, int) and 64 <= w < 65536 and 64 <= h < 65536
    ]


def _note_directory(block: bytes, offset: int) -> dict[int, object]:
    """The readable values of a maker note's directory; what lies outside the block is left out."""
    values = {}
    for entry in read_entries(block, offset)[0]:
        inside = entry.values_at + entry.num_bytes <= len(block)
        if is_readable(entry) and inside and 0 < entry.num_bytes <= _MAX_VALUE_BYTES:
            values.setdefault(entry.tag, entry_values(block, entry))
    return values
