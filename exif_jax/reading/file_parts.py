"""What a photo's file holds beside its pixels, for those who ask how the file came about.

Segments and tables of a JPEG file, the directories of its EXIF, thumbnail, previews, XMP, colour
profile, Content Credentials and what lies behind the picture. Everything is read without trust:
lengths are checked before they are used, no link is followed twice, nothing is decoded here, and
what cannot be read is simply not there.

Sources: ITU T.81 annex B; Exif 3.0; CIPA DC-007 (MPF); Adobe XMP part 3; ICC.1 (7.2 and desc).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from exif_jax.reading import jpeg_scan
from exif_jax.reading.c2pa import Manifest, read_manifest
from exif_jax.reading.exif_block import MAX_EXIF_BYTES, without_preamble
from exif_jax.reading.exif_directories import NO_DIRECTORIES, Directories, read_directories
from exif_jax.reading.photo import Photo
from exif_jax.reading.refusal import Refusal
from exif_jax.reading.tiff_directory import byte_order, entry_values, first_directory

MAX_XMP_BYTES = 1 << 20
MAX_PREVIEWS = 4
_EXIF, _APP2, _APP11, _APP13, _APP14 = 0xE1, 0xE2, 0xEB, 0xED, 0xEE
_DQT, _SOF, _SOS, _COM = 0xDB, frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}, 0xDA, 0xFE
_HEADS = (
    (b"JFIF\0", "JFIF"),
    (b"JFXX\0", "JFXX"),
    (b"Exif\0", "Exif"),
    (b"http://ns.adobe.com/xap/1.0/\0", "XMP"),
    (b"http://ns.adobe.com/xmp/extension/\0", "XMP extension"),
    (b"ICC_PROFILE\0", "ICC"),
    (b"MPF\0", "MPF"),
    (b"FPXR\0", "FPXR"),
    (b"urn:iso:std:iso:ts:21496:-1\0", "gain map"),
    (b"Photoshop 3.0\0", "Photoshop"),
    (b"Adobe_Photoshop2.5:", "Photoshop"),
    (b"Adobe\0", "Adobe"),
    (b"Adobe", "Adobe"),
    (b"Ducky", "Ducky"),
    (b"JP", "C2PA"),
)
_MARKERS = {_DQT: "DQT", 0xC4: "DHT", 0xDD: "DRI", _SOS: "SOS", _COM: "COM", 0xC0: "SOF0"}
_MARKERS |= {0xC1: "SOF1", 0xC2: "SOF2", 0xDC: "DNL"}
ZIGZAG = (
    *(0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34),
    *(27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44),
    *(51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63),
)


class Preview(NamedTuple):
    """A picture that the file holds beside the photo: where it lies, in words, and its bytes."""

    place: str
    data: bytes


class FileParts(NamedTuple):
    """What a file holds beside its pixels.

    Attributes:
      format: Of the file, as `Photo.format` says it.
      size: Width and height of the pixels as stored.
      segments: Of a JPEG file up to its first scan, each by name, like "APP1 Exif", in order.
      tables: Of a JPEG file, those of its first and second component: 64 numbers each, row by row.
      num_tables: How many tables the file defines; more than the frame uses may be there.
      sampling: Of a JPEG file, like "2x2,1x1,1x1".
      exif: The directories of its EXIF.
      xmp: As text; at most `MAX_XMP_BYTES`.
      icc: The colour profile's own description; "unnamed" where it has none; "" without a profile.
      thumbnail: The bytes that EXIF calls its thumbnail.
      previews: Other pictures in the file.
      manifest: Content Credentials, as the file claims them; None where there are none.
      trailer: What lies behind the picture: "video", "JPEG", "Samsung", "data"; "" for nothing.
      trailer_bytes: How much lies there.
      data: The file's bytes.
    """

    format: str
    size: tuple[int, int]
    segments: tuple[str, ...] = ()
    tables: tuple[tuple[int, ...], ...] = ()
    num_tables: int = 0
    sampling: str = ""
    exif: Directories = NO_DIRECTORIES
    xmp: str = ""
    icc: str = ""
    thumbnail: bytes = b""
    previews: tuple[Preview, ...] = ()
    manifest: Manifest | None = None
    trailer: str = ""
    trailer_bytes: int = 0
    data: bytes = b""


def read_parts(photo: Photo) -> FileParts:
    """Returns what the file of a photo holds; never raises.

    Of formats other than JPEG only EXIF's canonical tags, which the photo has, are looked at.

    Args:
      photo: As read, with the bytes of its file.
    """
    size = photo.image.size
    if photo.format != "JPEG" or not photo.data:
        return FileParts(photo.format, size)
    try:
        return jpeg_parts(photo.data, size)
    except Refusal:  # the reader mends what this does not follow
        return FileParts(photo.format, size, data=photo.data)


def jpeg_parts(data: bytes, size: tuple[int, int]) -> FileParts:
    """Returns what a JPEG file holds.

    Args:
      data: The file's bytes.
      size: Width and height of its pixels.

    Raises:
      Refusal: Its segments up to the first scan are truncated or damaged.
    """
    jpeg = jpeg_scan.split(data)
    head = []
    for marker, segment in jpeg.segments:
        head.append((marker, segment))
        if marker == _SOS:
            break
    names = tuple(segment_name(marker, segment) for marker, segment in head)
    bodies: dict[str, list[bytes]] = {}
    for name, (_, segment) in zip(names, head, strict=True):
        bodies.setdefault(name, []).append(segment[4:])
    exif = NO_DIRECTORIES
    if block := without_preamble(bodies.get("APP1 Exif", [b""])[0]):
        exif = read_directories(block[:MAX_EXIF_BYTES])
    xmp = b"".join(body.partition(b"\0")[2] for body in bodies.get("APP1 XMP", ()))
    tables = _tables(bodies.get("DQT", ()))
    numbers = list(jpeg.frame.components.values())
    trailer = data[jpeg.end :]
    return FileParts(
        format="JPEG",
        size=size,
        segments=names,
        tables=tuple(tables[n] for n in dict.fromkeys(numbers[:2]) if n in tables),
        num_tables=len(tables),
        sampling=_sampling(head),
        exif=exif,
        xmp=xmp[:MAX_XMP_BYTES].decode("utf-8", "replace"),
        icc=_profile_name(bodies.get("APP2 ICC", ())),
        thumbnail=exif.thumbnail,
        previews=_previews(data, bodies, exif),
        manifest=read_manifest(bodies.get("APP11 C2PA", ())),
        trailer=_kind_of_trailer(trailer),
        trailer_bytes=len(trailer),
        data=data,
    )


def segment_name(marker: int, segment: bytes) -> str:
    """Returns how a segment is called, like "APP1 Exif" or "DQT"."""
    if not 0xE0 <= marker <= 0xEF:
        return _MARKERS.get(marker, f"{marker:02X}")
    name = next((name for head, name in _HEADS if segment[4:].startswith(head)), "")
    return f"APP{marker - 0xE0} {name}".strip()


def _tables(bodies: list[bytes] | tuple[bytes, ...]) -> dict[int, tuple[int, ...]]:
    """Number of a quantisation table -> its 64 divisors, row by row; of 8 or 16 bits."""
    tables = {}
    for body in bodies:
        at = 0
        while at < len(body):
            wide, number = body[at] >> 4, body[at] & 15
            form = ">64H" if wide else ">64B"
            if wide > 1 or number > 3 or at + 1 + struct.calcsize(form) > len(body):
                break
            zigzag = struct.unpack_from(form, body, at + 1)
            natural = [0] * 64
            for value, place in zip(zigzag, ZIGZAG, strict=True):
                natural[place] = value
            tables[number] = tuple(natural)
            at += 1 + struct.calcsize(form)
    return tables


def _sampling(head: list[tuple[int, bytes]]) -> str:
    for marker, segment in head:
        if marker in _SOF:
            factors = segment[11 : 11 + 3 * min(segment[9], 4) : 3]
            return ",".join(f"{factor >> 4}x{factor & 15}" for factor in factors)
    return ""


def _profile_name(bodies: list[bytes] | tuple[bytes, ...]) -> str:
    """The description in a colour profile's first segment."""
    if not bodies:
        return ""
    profile = bodies[0][14:]
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        for k in range(min(count, 100)):
            name, offset, length = struct.unpack_from(">4sII", profile, 132 + 12 * k)
            if name != b"desc":
                continue
            tag = profile[offset : offset + min(length, 1000)]
            if tag[:4] == b"desc":
                text = tag[12 : 12 + int.from_bytes(tag[8:12], "big")].decode("latin-1")
            else:  # multiLocalizedUnicode: the first of its records
                number, start = struct.unpack_from(">II", tag, 20)
                text = tag[start : start + number].decode("utf-16-be", "replace")
            return text.strip("\0 ")[:100] or "unnamed"
    except struct.error:
        pass
    return "unnamed"


# --- pictures beside the photo --------------------------------------------------------------------


def _previews(
    data: bytes, bodies: dict[str, list[bytes]], exif: Directories
) -> tuple[Preview, ...]:
    """The pictures that MPF lists as previews and those that a maker note holds."""
    found = []
    if bodies.get("APP2 MPF"):
        at = data.find(b"MPF\0") + 4
        for kind, start, length in _listed_pictures(bodies["APP2 MPF"][0][4:]):
            picture = data[at + start : at + start + length]
            # Class 1: the same picture smaller. Others are views, depth maps, gain maps.
            if start and kind & 0xFF0000 == 0x010000 and picture.startswith(b"\xff\xd8\xff"):
                found.append(Preview("preview (MPF)", picture))
    at = 0
    note = exif.maker_note
    while len(found) < MAX_PREVIEWS and (at := note.find(b"\xff\xd8\xff\xdb", at)) >= 0:
        found.append(Preview("preview (maker note)", note[at:]))
        at += 4
    return tuple(found[:MAX_PREVIEWS])


def _listed_pictures(block: bytes) -> list[tuple[int, int, int]]:
    """(attributes, start from the block's own start, length) of the pictures of an MPF block."""
    try:
        entries, _ = first_directory(block)
        listed = next((e for e in entries if e.tag == 0xB002 and e.type == 7), None)
        raw = entry_values(block, listed) if listed and listed.num_bytes <= 16 * 64 else b""
        if not isinstance(raw, bytes):
            return []
        form = byte_order(block) + "III"
        rows = [struct.unpack_from(form, raw, at) for at in range(0, len(raw) - 15, 16)]
        return [(kind, start, length) for kind, length, start in rows]
    except struct.error:
        return []


def _kind_of_trailer(trailer: bytes) -> str:
    if not trailer.strip(b"\0"):
        return ""
    if trailer.rstrip(b"\0").endswith(b"SEFT"):
        return "Samsung"
    if b"ftyp" in trailer[:64] or b"MotionPhoto_Data" in trailer[-4096:]:
        return "video"
    return "JPEG" if trailer[:4].startswith(b"\xff\xd8\xff") else "data"
