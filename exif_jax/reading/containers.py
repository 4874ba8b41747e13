"""The containers of photos, read without trust: JPEG, TIFF, WebP and HEIF.

Decoders are given only what decides the pixels, without metadata and without links to other
pages; EXIF is read apart from them. Nothing here decodes pixels or allocates by a size that the
file only claims. A file that breaks the rules raises ``Refusal``.

Sources: JPEG (ITU T.81), TIFF 6.0, Exif 2.32, the WebP container specification and ISO/IEC
14496-12 (boxes of HEIF).
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from PIL.TiffImagePlugin import IFDRational

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading import exif as exif_tags

CURE_COPY = "Get an intact copy of the file"
_MAX_SCANS = 100  # of a JPEG; cameras write about ten, hostile files thousands
_MAX_SEGMENTS = 5000  # before the first scan; a photo with a large colour profile has hundreds
_FILL = re.compile(b"\xff+")
_MAX_ENTRIES = 1000  # of one TIFF directory
_MAX_BOXES = 1000  # of a HEIF file, at the top; cameras write about five


class Refusal(ExifJaxError):
    """Cause and cure of a PhotoError, raised where the file's name is not known."""


# --- TIFF directories: EXIF blocks and TIFF files -----------------------------------------------

_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h"}
_TYPES |= {9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}


class _Entry(NamedTuple):
    """A tag in a TIFF directory: where the entry and its values lie."""

    tag: int
    type: int
    count: int
    at: int
    values_at: int
    num_bytes: int


def _directory(block: bytes, offset: int) -> tuple[list[_Entry], int]:
    """The entries of the directory at ``offset``, and where its link to the next one lies.

    Raises struct.error for a directory outside the block.
    """
    order = _byte_order(block)
    (count,) = struct.unpack_from(order + "H", block, offset)
    entries = []
    for at in range(offset + 2, offset + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        tag, kind, length = struct.unpack_from(order + "HHI", block, at)
        num_bytes = length * struct.calcsize("=" + _TYPES.get(kind, ""))
        (pointer,) = struct.unpack_from(order + "I", block, at + 8)
        values_at = pointer if num_bytes > 4 else at + 8
        entries.append(_Entry(tag, kind, length, at, values_at, num_bytes))
    return entries, offset + 2 + 12 * count


def _byte_order(block: bytes) -> str:
    if block[:4] not in (b"II*\0", b"MM\0*"):
        raise struct.error("no TIFF header")
    return "<" if block[:2] == b"II" else ">"


def _values(block: bytes, entry: _Entry) -> object:
    """The values of one entry in the forms that ``exif.from_values`` takes."""
    form = _TYPES[entry.type]
    if form == "s":
        data = block[entry.values_at : entry.values_at + entry.num_bytes]
        return data.decode("latin-1") if entry.type == 2 else data
    order = _byte_order(block)
    values = struct.unpack_from(
        f"{order}{entry.count * len(form)}{form[0]}", block, entry.values_at
    )
    if len(form) == 2:
        values = tuple(IFDRational(n, d) for n, d in zip(values[::2], values[1::2], strict=True))
    return values[0] if len(values) == 1 else values


def _read_directory(block: bytes, offset: object) -> dict[int, object]:
    """Tag -> values of one directory; what lies outside the block or is long is left out."""
    values: dict[int, object] = {}
    if not isinstance(offset, int):
        return values
    for entry in _directory(block, offset)[0]:
        inside = entry.values_at + entry.num_bytes <= len(block)
        if inside and 0 < entry.num_bytes <= 4096 and entry.tag not in values:
            values[entry.tag] = _values(block, entry)
    return values


def read_exif(block: bytes) -> tuple[dict[str, str], int, tuple[str, ...]]:
    """An EXIF block -> canonical tags, orientation, notes. Follows three fixed links, no chains."""
    directories: dict[str, dict[int, object]] = {}
    notes: tuple[str, ...] = ()
    links = (("ExifIFD", "IFD0", 0x8769), ("InteropIFD", "ExifIFD", 0xA005))
    try:
        (start,) = struct.unpack_from(_byte_order(block) + "I", block, 4)
        directories["IFD0"] = _read_directory(block, start)
        for name, parent, tag in links:
            directories[name] = _read_directory(block, directories[parent].get(tag))
    except struct.error:
        notes = ("EXIF is damaged: only a part was read",)
    value = directories.get("IFD0", {}).get(0x0112)
    orientation = value if isinstance(value, int) and 1 <= value <= 8 else 1
    return exif_tags.from_values(directories), orientation, notes


def exif_parts(block: bytes) -> frozenset[str]:
    """Which of "maker note" and "thumbnail" an EXIF block has; empty for a damaged one."""
    parts = set()
    try:
        (start,) = struct.unpack_from(_byte_order(block) + "I", block, 4)
        _, link_at = _directory(block, start)
        camera = _read_directory(block, start).get(0x8769)
        if isinstance(camera, int):
            entries = _directory(block, camera)[0]
            parts |= {"maker note" for entry in entries if entry.tag == 0x927C and entry.num_bytes}
        (link,) = struct.unpack_from(_byte_order(block) + "I", block, link_at)
        if link and any(entry.tag in (0x0201, 0x0111) for entry in _directory(block, link)[0]):
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
        order = _byte_order(data)
        (start,) = struct.unpack_from(order + "I", data, 4)
        entries, link_at = _directory(data, start)
        (link,) = struct.unpack_from(order + "I", data, link_at)
    except struct.error as error:
        raise Refusal("the TIFF directory is truncated", CURE_COPY) from error
    if len(entries) >= _MAX_ENTRIES or sum(e.num_bytes for e in entries) > 2 * len(data) + 65536:
        raise Refusal("the TIFF directory claims more than the file holds", CURE_COPY)
    plain = bytearray(data)
    for entry in entries:
        if entry.tag in (0x0112, 0x014A, 0x02BC, 0x8769, 0x8825, 0xA005):
            plain[entry.at + 2 : entry.at + 4] = b"\0\0"
    plain[link_at : link_at + 4] = bytes(4)
    return bytes(plain), ["first of several pages used"] if link else []


# --- JPEG segments, WebP header, HEIF boxes -----------------------------------------------------


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each JPEG segment; the first scan comes last, with all that follows."""
    position = 2
    for _ in range(_MAX_SEGMENTS):
        start = position
        if data[position : position + 2] == b"\xff\xff":  # fill bytes
            position += len(_FILL.match(data, position)[0]) - 1  # type: ignore[index]
        head = data[position : position + 4]
        if len(head) < 4:
            raise Refusal("the JPEG file is truncated", CURE_COPY)
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if head[0] != 0xFF or length < 2:
            raise Refusal("the JPEG file is damaged", CURE_COPY)
        if marker == 0xDA:
            yield marker, data[start:]
            return
        position += 2 + length
        yield marker, data[start:position]
    raise Refusal(f"more than {_MAX_SEGMENTS} JPEG segments", CURE_COPY)


def plain_jpeg(data: bytes) -> tuple[bytes, bytes, list[str]]:
    """A JPEG file less its metadata, its EXIF block (b"" where there is none), notes.

    Kept: tables, frame and scans, JFIF (APP0) and Adobe's colour transform (APP14).
    """
    kept, block, notes = [data[:2]], b"", []
    for marker, segment in jpeg_segments(data):
        body = segment[4:]
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and not block:
            block = body[6:]
        elif marker == 0xE2 and body[:12] == b"ICC_PROFILE\0" and "ICC" not in str(notes):
            notes.append("ICC profile ignored")
        elif marker == 0xE2 and body[:4] == b"MPF\0" and "frames" not in str(notes):
            notes.append("first of several frames used")
        if marker in (0xE0, 0xEE) or not (0xE1 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
    if kept[-1].count(b"\xff\xda") > _MAX_SCANS:
        raise Refusal(f"more than {_MAX_SCANS} JPEG scans", CURE_COPY)
    return b"".join(kept), block, notes


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
