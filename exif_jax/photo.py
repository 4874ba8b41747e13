"""One untrusted image file -> uint8 RGB pixels and canonical EXIF. Every guard is here.

What becomes of the pixels, so that training and analysis see the same ones:

* JPEG: exactly Pillow's decode to RGB. Only the segments that decide the pixels reach Pillow.
* EXIF orientation is reported and not applied; ICC profiles are ignored.
* 16 bits: the high byte (``>> 8``). Float samples: [0, 1] -> [0, 255], rounded.
* Grey, 1-bit, palette, CMYK, YCbCr: Pillow's plain conversion to RGB.
* Alpha: dropped, after un-premultiplying; nothing is composited on a background.
* Several frames (MPO, animations, TIFF pages): the first one.

Whatever departs from plain 8-bit RGB or grey is said in ``Photo.notes``. Sources: JPEG (ITU T.81),
TIFF 6.0, Exif 2.32 and the WebP container specification.
"""

import contextlib
import hashlib
import importlib.util
import io
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import IFDRational

from exif_jax import exif as exif_tags

_HEIF = importlib.util.find_spec("pillow_heif") is not None
EXTENSIONS: frozenset[str] = frozenset(
    (".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".tif", ".tiff", ".webp")
    + ((".heic", ".heif", ".hif") if _HEIF else ())
)
_MAX_EXIF_BYTES = 1 << 20
_MAX_SCANS = 100  # of a JPEG; cameras write about ten, hostile files thousands
_MAX_ENTRIES = 1000  # of one TIFF directory
_CURE_COPY = "Get an intact copy of the file"
_CURE_FORMAT = "Use a JPEG, PNG, TIFF or WebP file"


class PhotoError(Exception):
    """A photo that is not read; ``str()`` names the file, the cause and the cure."""

    def __init__(self, name: str, cause: str, cure: str):
        self.name, self.cause, self.cure = _printable(name), _printable(cause), cure
        super().__init__(self.name, self.cause, cure)

    def __str__(self) -> str:
        return f"{self.name}: {self.cause}. {self.cure}."


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
      pixels: uint8 [H, W, 3], RGB, as stored (orientation not applied).
      exif: canonical tags, see ``exif_jax.exif``.
      orientation: EXIF orientation, 1..8; 1 where the file has none.
      format: "JPEG", "PNG", "TIFF", "WEBP" or "HEIF".
      sha256: of the file's bytes, hexadecimal.
      num_bytes: size of the file.
      notes: what was converted, dropped or could not be read, in words.
    """

    pixels: np.ndarray
    exif: dict[str, str]
    orientation: int
    format: str
    sha256: str
    num_bytes: int
    notes: tuple[str, ...]


class _Refusal(Exception):
    """Cause and cure of a PhotoError, raised where the file's name is not known."""


def _printable(text: str) -> str:
    """No control, escape or bidirectional characters; bounded."""
    return "".join(c if c.isprintable() else "?" for c in text[:300])


# --- bytes --------------------------------------------------------------------------------------


def _check_bytes(num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise _Refusal(f"{num_bytes:,} bytes, more than {max_bytes:,}", "Raise max_bytes")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _Refusal(
            f"{width} x {height} pixels, more than {max_pixels:,}", "Raise max_pixels or crop it"
        )


def _read_bytes(path: str | os.PathLike, max_bytes: int) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise _Refusal("not a regular file", "Give an image file")
        _check_bytes(info.st_size, max_bytes)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(max_bytes + 1)  # one more than allowed: the file may have grown
    finally:
        os.close(descriptor)


def _detect(data: bytes) -> str:
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"heim", b"heis"):
        if _HEIF:
            return "HEIF"
        raise _Refusal("HEIC needs pillow-heif", "Install it: pip install pillow-heif")
    if not data:
        raise _Refusal("the file is empty", _CURE_COPY)
    raise _Refusal("not an image of a known format", _CURE_FORMAT)


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


def _read_exif(block: bytes) -> tuple[dict[str, str], int, tuple[str, ...]]:
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


def _plain_tiff(data: bytes) -> tuple[bytes, list[str]]:
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
        raise _Refusal("the TIFF directory is truncated", _CURE_COPY) from error
    if len(entries) >= _MAX_ENTRIES or sum(e.num_bytes for e in entries) > 2 * len(data) + 65536:
        raise _Refusal("the TIFF directory claims more than the file holds", _CURE_COPY)
    plain = bytearray(data)
    for entry in entries:
        if entry.tag in (0x0112, 0x014A, 0x02BC, 0x8769, 0x8825, 0xA005):
            plain[entry.at + 2 : entry.at + 4] = b"\0\0"
    plain[link_at : link_at + 4] = bytes(4)
    return bytes(plain), ["first of several pages used"] if link else []


# --- JPEG segments and WebP header --------------------------------------------------------------


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each JPEG segment; the first scan comes last, with all that follows."""
    position = 2
    while True:
        start = position
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        head = data[position : position + 4]
        if len(head) < 4:
            raise _Refusal("the JPEG file is truncated", _CURE_COPY)
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if head[0] != 0xFF or length < 2:
            raise _Refusal("the JPEG file is damaged", _CURE_COPY)
        if marker == 0xDA:
            yield marker, data[start:]
            return
        position += 2 + length
        yield marker, data[start:position]


def _plain_jpeg(data: bytes) -> tuple[bytes, bytes, list[str]]:
    """A JPEG file less its metadata, its EXIF block (b"" where there is none), notes.

    Kept: tables, frame and scans, JFIF (APP0) and Adobe's colour transform (APP14).
    """
    kept, block, notes = [data[:2]], b"", []
    for marker, segment in _segments(data):
        body = segment[4:]
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and not block:
            block = body[6:]
        elif marker == 0xE2 and body[:12] == b"ICC_PROFILE\0" and "ICC" not in str(notes):
            notes.append("ICC profile ignored")
        elif marker == 0xE2 and body[:4] == b"MPF\0":
            notes.append("first of several frames used")
        if marker in (0xE0, 0xEE) or not (0xE1 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
    if kept[-1].count(b"\xff\xda") > _MAX_SCANS:
        raise _Refusal(f"more than {_MAX_SCANS} JPEG scans", _CURE_COPY)
    return b"".join(kept), block, notes


def _webp_size(data: bytes) -> tuple[int, int]:
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
    raise _Refusal("the WebP file is damaged", _CURE_COPY)


# --- pixels -------------------------------------------------------------------------------------


def _to_rgb(image: Image.Image) -> tuple[np.ndarray, list[str]]:
    """A loaded image of any mode -> uint8 [H, W, 3] and notes."""
    notes = []
    mode = image.mode
    if "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        notes.append("alpha dropped")
        image.info.pop("transparency", None)  # else Pillow warns
    if mode in ("RGBa", "La"):
        image = image.convert(mode[:-1] + "A")
    if mode.startswith("I"):
        grey = (np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8).astype(np.uint8)
    elif mode == "F":
        unit = np.clip(np.nan_to_num(np.asarray(image), nan=0.0), 0.0, 1.0)
        grey = np.floor(unit * 255.0 + 0.5).astype(np.uint8)
    else:
        if mode not in ("RGB", "L") and not notes:
            notes.append(f"converted from {mode}")
        return np.asarray(image.convert("RGB")), notes
    notes.append("float samples scaled from 0..1" if mode == "F" else "16 bits cut to 8")
    return np.repeat(grey[..., None], 3, axis=2), notes


def _decode(data: bytes, kind: str, max_pixels: int) -> tuple[np.ndarray, bytes, list[str]]:
    """File bytes -> pixels, EXIF block, notes."""
    block, notes = b"", []
    if kind == "JPEG":
        data, block, notes = _plain_jpeg(data)
    elif kind == "TIFF":
        block = data
        data, notes = _plain_tiff(data)
    elif kind == "WEBP":
        _check_pixels(*_webp_size(data), max_pixels)
    elif kind == "HEIF":
        import pillow_heif  # type: ignore[reportMissingImports]

        pillow_heif.register_heif_opener()
    Image.init()
    # The format's own class instead of Image.open: its check of the size warns, by a global limit
    # that threads share. Ours comes first.
    with Image.OPEN[kind][0](io.BytesIO(data), "") as image:
        _check_pixels(*image.size, max_pixels)
        if kind != "JPEG" and getattr(image, "n_frames", 1) > 1:
            notes.append("first of several frames used")
        if image.mode[:1] != "I" and any(";16" in str(tile[3]) for tile in image.tile):
            notes.append("16 bits cut to 8")
        image.load()
        if "icc_profile" in image.info:
            notes.append("ICC profile ignored")
        block = block or image.info.get("exif") or b""
        pixels, more = _to_rgb(image)
    return pixels, block.removeprefix(b"Exif\0\0"), notes + more


@contextlib.contextmanager
def _as_photo_error(name: str) -> Iterator[None]:
    try:
        yield
    except _Refusal as error:
        cause, cure = error.args
        raise PhotoError(name, cause, cure) from None
    except FileNotFoundError:
        raise PhotoError(name, "no such file", "Check the path") from None
    except PermissionError:
        raise PhotoError(name, "not allowed to read it", "Change its permissions") from None
    except MemoryError:
        raise PhotoError(name, "too large for the memory", "Lower max_pixels or crop it") from None
    except Exception as error:  # parsers of hostile files fail in any way
        cause = f"cannot be decoded ({type(error).__name__}: {error})"
        raise PhotoError(name, cause, _CURE_COPY) from error


def read_photo(
    source: str | os.PathLike | bytes,
    *,
    name: str | None = None,
    max_pixels: int = 200_000_000,
    max_bytes: int = 512 * 2**20,
) -> Photo:
    """Reads one photo, or raises PhotoError and nothing else.

    Args:
      source: a path, or the bytes of a file. Bytes are read once; hash and pixels are of these.
      name: how messages call the file; the path by default.
      max_pixels: width times height; checked in the header, before decoding.
      max_bytes: checked before reading.

    Returns:
      The photo: pixels uint8 [H, W, 3], canonical EXIF, orientation, hash and notes.

    Raises:
      PhotoError: not a regular file, too large, truncated, damaged or of another format.
    """
    if name is None:
        name = "image" if isinstance(source, bytes) else os.fsdecode(source)
    with _as_photo_error(name):
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise _Refusal("Pillow is set to fill truncated images", "Unset LOAD_TRUNCATED_IMAGES")
        data = source if isinstance(source, bytes) else _read_bytes(source, max_bytes)
        _check_bytes(len(data), max_bytes)
        kind = _detect(data)
        pixels, block, notes = _decode(data, kind, max_pixels)
        exif, orientation = {}, 1
        if len(block) > _MAX_EXIF_BYTES and kind != "TIFF":
            notes.append(f"EXIF ignored: {len(block):,} bytes")
        elif block:
            exif, orientation, more = _read_exif(block)
            notes.extend(more)
        digest = hashlib.sha256(data).hexdigest()
        return Photo(pixels, exif, orientation, kind, digest, len(data), tuple(notes))
    raise AssertionError("not reached")
