"""What JPEG and PNG files hold besides their pixels: EXIF, and what is noted.

Decoders are given only what decides the pixels, without metadata; EXIF is read apart from them.

Sources: ITU T.81, Exif 3.0 (4.7), the PNG specification (eXIf).
"""

import re
from collections.abc import Mapping

from exif_jax.reading import jpeg_scan
from exif_jax.reading.exif_block import MAX_EXIF_BYTES, without_preamble

_APPS = frozenset(range(0xE0, 0xF0))
_JFIF, _EXIF, _ICC_OR_MPF, _ADOBE, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_TABLES, _SCAN = 0xDB, 0xDA
_EXIF_HEAD = b"Exif\0"
# ImageMagick, exiv2 and GIMP: name, number of bytes, the bytes in hexadecimal digits.
_RAW_PROFILE = re.compile(r"\s*(?:exif|app1)\s+\d{1,9}\s+([0-9a-f\s]*)", re.I)
_RAW_PROFILE_NAMES = ("raw profile type exif", "raw profile type app1")


# --- JPEG ---------------------------------------------------------------------------------------


def quantization_tables(jpeg: jpeg_scan.JpegPicture) -> bytes:
    """Returns what all table segments (DQT) of a JPEG file hold, one after the other."""
    return b"".join(segment[4:] for marker, segment in jpeg.segments if marker == _TABLES)


def jpeg_metadata(jpeg: jpeg_scan.JpegPicture) -> tuple[bytes, tuple[str, ...]]:
    """Returns the EXIF block of a JPEG file or b"", and notes on its other metadata."""
    block, notes = b"", []
    for marker, segment in jpeg.segments:
        body = segment[4:]
        if marker == _SCAN:
            break
        if marker == _EXIF and body.startswith(_EXIF_HEAD) and not block:
            block = without_preamble(body)
        elif marker == _ICC_OR_MPF and body.startswith(b"ICC_PROFILE\0"):
            notes.append("ICC profile ignored")
        elif marker == _ICC_OR_MPF and body.startswith(b"MPF\0"):
            notes.append("first of several frames used")
    return block, tuple(dict.fromkeys(notes))


def plain_jpeg(jpeg: jpeg_scan.JpegPicture) -> bytes:
    """Returns a JPEG file less its metadata and what follows its picture.

    Kept are tables, frame and scans, JFIF (APP0) and Adobe's colour transform (APP14).
    """
    return jpeg.joined(without=_APPS - {_JFIF, _ADOBE} | {_COMMENT})


# --- PNG ----------------------------------------------------------------------------------------


def png_exif(info: Mapping[object, object]) -> bytes:
    """Returns the EXIF block of a PNG file, or b"".

    Args:
      info: What Pillow has read of the file's chunks. A chunk eXIf goes before a text chunk.
    """
    block = info.get("exif")
    if isinstance(block, bytes) and block:
        return without_preamble(block)
    for name, text in info.items():
        if not isinstance(text, str) or str(name).lower() not in _RAW_PROFILE_NAMES:
            continue
        match = _RAW_PROFILE.match(text[: 4 * MAX_EXIF_BYTES])
        digits = "".join(match[1].split()) if match else ""
        block = without_preamble(bytes.fromhex(digits[: len(digits) // 2 * 2]))
        if block[:2] in (b"II", b"MM"):  # a profile "APP1" may hold XMP
            return block
    return b""
