"""The containers of photos, read without trust: JPEG, TIFF, WebP and HEIF.

Decoders are given only what decides the pixels, without metadata and without links to other
pages; EXIF is read apart from them. Nothing here decodes pixels or allocates by a size that the
file only claims. A file that breaks the rules raises ``Refusal``.

Sources: JPEG (ITU T.81), TIFF 6.0, Exif 2.32, the WebP container specification and ISO/IEC
14496-12 (boxes of HEIF).
"""

import struct

from exif_jax.reading import exif as exif_tags
from exif_jax.reading import jpeg_scan
from exif_jax.reading.refusal import CURE_COPY, Refusal
from exif_jax.reading.tiff_directory import (
    MAX_ENTRIES,
    Entry,
    byte_order,
    entry_values,
    first_directory,
    read_entries,
)

_MAX_BOXES = 1000  # of a HEIF file, at the top; cameras write about five
_APPS = frozenset(range(0xE0, 0xF0))
_JFIF, _EXIF, _ICC_OR_MPF, _ADOBE, _COMMENT, _SCAN = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xDA
_EXIF_HEAD = b"Exif\0\0"


# --- EXIF blocks --------------------------------------------------------------------------------


def _values(block: bytes, entries: list[Entry]) -> dict[int, object]:
    """Tag -> values of one directory; what lies outside the block or is long is left out."""
    values: dict[int, object] = {}
    for entry in entries:
        inside = entry.values_at + entry.num_bytes <= len(block)
        if inside and 0 < entry.num_bytes <= 4096 and entry.tag not in values:
            values[entry.tag] = entry_values(block, entry)
    return values


def read_exif(block: bytes) -> tuple[dict[str, str], int, tuple[str, ...]]:
    """An EXIF block -> canonical tags, orientation, notes. Follows three fixed links, no chains."""
    directories: dict[str, dict[int, object]] = {}
    notes: tuple[str, ...] = ()
    links = (("ExifIFD", "IFD0", 0x8769), ("InteropIFD", "ExifIFD", 0xA005))
    try:
        directories["IFD0"] = _values(block, first_directory(block)[0])
        for name, parent, tag in links:
            offset = directories[parent].get(tag)
            directories[name] = (
                _values(block, read_entries(block, offset)[0]) if isinstance(offset, int) else {}
            )
    except struct.error:
        notes = ("EXIF is damaged: only a part was read",)
    value = directories.get("IFD0", {}).get(0x0112)
    orientation = value if isinstance(value, int) and 1 <= value <= 8 else 1
    return exif_tags.from_values(directories), orientation, notes


def exif_parts(block: bytes) -> frozenset[str]:
    """Which of "maker note" and "thumbnail" an EXIF block has; empty for a damaged one."""
    parts = set()
    try:
        entries, link_at = first_directory(block)
        camera = _values(block, entries).get(0x8769)
        if isinstance(camera, int):
            camera_entries, _ = read_entries(block, camera)
            if any(entry.tag == 0x927C and entry.num_bytes for entry in camera_entries):
                parts.add("maker note")
        (link,) = struct.unpack_from(byte_order(block) + "I", block, link_at)
        if link and any(entry.tag in (0x0201, 0x0111) for entry in read_entries(block, link)[0]):
            parts.add("thumbnail")
    except struct.error:
        pass
    return frozenset(parts)


def plain_tiff(data: bytes) -> tuple[bytes, list[str]]:
    """A TIFF file with nothing but its first page for Pillow to find.

    Pillow reads all values of every directory it can reach into memory and turns the page by its
    orientation. Here links, orientation and XMP are blanked (by a type that readers skip), and a
    directory that claims more than the file holds, by overlapping values, is refused.
    """
    try:
        order = byte_order(data)
        entries, link_at = first_directory(data)
        (link,) = struct.unpack_from(order + "I", data, link_at)
    except struct.error as error:
        raise Refusal("the TIFF directory is truncated", CURE_COPY) from error
    if len(entries) >= MAX_ENTRIES or sum(e.num_bytes for e in entries) > 2 * len(data) + 65536:
        raise Refusal("the TIFF directory claims more than the file holds", CURE_COPY)
    plain = bytearray(data)
    for entry in entries:
        if entry.tag in (0x0112, 0x014A, 0x02BC, 0x8769, 0x8825, 0xA005):
            plain[entry.position + 2 : entry.position + 4] = b"\0\0"
    plain[link_at : link_at + 4] = bytes(4)
    return bytes(plain), ["first of several pages used"] if link else []


# --- JPEG ---------------------------------------------------------------------------------------


def jpeg_segments(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """Marker and bytes of each segment of a JPEG file's picture; see `jpeg_scan.split`."""
    return jpeg_scan.split(data).segments


def jpeg_metadata(jpeg: jpeg_scan.Jpeg) -> tuple[bytes, list[str]]:
    """The EXIF block of a JPEG file (b"" where there is none), and notes on its other metadata."""
    block, notes = b"", []
    for marker, segment in jpeg.segments:
        body = segment[4:]
        if marker == _SCAN:
            break
        if marker == _EXIF and body.startswith(_EXIF_HEAD) and not block:
            block = body.removeprefix(_EXIF_HEAD)
        elif marker == _ICC_OR_MPF and body.startswith(b"ICC_PROFILE\0"):
            notes.append("ICC profile ignored")
        elif marker == _ICC_OR_MPF and body.startswith(b"MPF\0"):
            notes.append("first of several frames used")
    return block, list(dict.fromkeys(notes))


def plain_jpeg(jpeg: jpeg_scan.Jpeg) -> bytes:
    """A JPEG file less its metadata and what follows its picture.

    Kept are tables, frame and scans, JFIF (APP0) and Adobe's colour transform (APP14).
    """
    return jpeg.joined(without=_APPS - {_JFIF, _ADOBE} | {_COMMENT})


# --- WebP header, HEIF boxes --------------------------------------------------------------------


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from the first chunk: Pillow allocates them as soon as it opens the file."""
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if len(body) == 10 and kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if len(body) == 10 and kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise Refusal("the WebP file is damaged", CURE_COPY)


def check_heif(data: bytes) -> None:
    """Refuses a HEIF file whose last box ends beyond its bytes.

    Cameras store a photo as a grid of tiles. libheif decodes such a file without an error when
    only its first tiles are there.
    """
    position = 0
    for _ in range(_MAX_BOXES + 1):  # the last finds the end
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:  # the size follows in 64 bits
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # the box ends where the file ends
            return
        if size < 8:
            raise Refusal("the HEIF file is damaged", CURE_COPY)
        position += size
        if position > len(data):
            raise Refusal("the HEIF file is truncated", CURE_COPY)
    raise Refusal(f"more than {_MAX_BOXES} HEIF boxes", CURE_COPY)
