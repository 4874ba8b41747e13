"""One untrusted image file -> uint8 RGB pixels and canonical EXIF.

What becomes of the pixels, so that training and analysis see the same ones:

* JPEG: exactly Pillow's decode to RGB. Only the segments that decide the pixels reach Pillow, and
  nothing behind the picture's end marker.
* EXIF orientation is reported and not applied (but see HEIF); ICC profiles are ignored.
* 16 bits: the high byte (`>> 8`). Float samples: [0, 1] -> [0, 255], rounded.
* Grey, 1-bit, palette, CMYK, YCbCr: Pillow's plain conversion to RGB.
* Alpha: dropped, after un-premultiplying; nothing is composited on a background.
* Several frames (MPO, animations, TIFF pages): the first one. A thumbnail in front of the picture
  is passed over; a raw file, which begins with one, is refused.
* AVIF: Pillow's decode. A rotation or mirror that the container prescribes is not applied; it is
  reported as the orientation, as that of EXIF is. More than 8 bits: scaled to 8 by the decoder.
* HEIF (needs pillow-heif): libheif's decode, which cannot be had unturned. libheif applies the
  rotation, mirror and crop that the container prescribes (irot, imir, clap), so these pixels are
  upright. EXIF orientation counts for nothing in HEIF; it is reported as 1, in `exif` too, that
  nobody turns the pixels twice. More than 8 bits: the high ones. Several images: the primary one.
  The size that the container claims is checked before decoding; libheif itself refuses pixels
  that are not of that size.

Whatever departs from plain 8-bit RGB or grey is noted in `Photo.notes`. Sources: Exif 3.0
(orientation) and ISO/IEC 23008-12 (HEIF).
"""

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFile

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.decoding import decode
from exif_jax.reading.exif_block import MAX_EXIF_BYTES, read_exif
from exif_jax.reading.formats import AVIF_IS_READ, HEIF_IS_READ, detect_format
from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal

# In lower case; what a name promises and cannot be read here is left out.
EXTENSIONS: frozenset[str] = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".tif", ".tiff", ".webp", ".bmp")
    + ((".avif",) if AVIF_IS_READ else ())
    + ((".heic", ".heif", ".hif") if HEIF_IS_READ else ())
)
MAX_BYTES = 512 * 2**20
MAX_PIXELS = 200_000_000
_NO_MEMORY = ("too large for the memory", "Crop it, or use a machine with more memory")


class PhotoError(ExifJaxError):
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
      image: the pixels as Pillow holds them, RGB. Whoever needs parts of a large photo crops them
        here: the array of all pixels costs half as much again as decoding them.
      exif: canonical tags, see ``exif_jax.reading.exif``.
      orientation: EXIF orientation, 1..8; 1 where the file has none, and of HEIF.
      format: "JPEG", "PNG", "TIFF", "WEBP", "BMP", "AVIF" or "HEIF".
      sha256: of the file's bytes, hexadecimal.
      num_bytes: size of the file.
      notes: what was converted, dropped or could not be read, in words.
      name: how messages call it.
      data: the file's bytes, for who looks at the file itself (``exif_jax.reading.file_parts``).
    """

    image: Image.Image
    exif: dict[str, str]
    orientation: int
    format: str
    sha256: str
    num_bytes: int
    notes: tuple[str, ...]
    name: str = "image"
    data: bytes = field(default=b"", repr=False, compare=False)

    @property
    def may_be_damaged(self) -> bool:
        """Whether a note says that the pixels may not be the camera's."""
        return any(note.startswith(MAY_BE_DAMAGED) for note in self.notes)

    @property
    def objection(self) -> str:
        """Why the pixels may not be judged, in words; "" where nothing speaks against it."""
        return "the file may be damaged" if self.may_be_damaged else ""

    @functools.cached_property
    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 3], RGB, as stored (orientation not applied); of HEIF, upright.

        Raises:
          PhotoError: not enough memory.
        """
        try:
            return np.asarray(self.image)
        except MemoryError:
            raise PhotoError(self.name, *_NO_MEMORY) from None


def _printable(text: str) -> str:
    """No control, escape or bidirectional characters; bounded."""
    return "".join(c if c.isprintable() else "?" for c in text[:300])


# --- bytes --------------------------------------------------------------------------------------


def _check_bytes(num_bytes: int, max_bytes: int) -> None:
    if num_bytes > max_bytes:
        raise Refusal(
            f"{num_bytes:,} bytes, more than {max_bytes:,}", "Crop it or save it with compression"
        )


def read_bytes(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file, and of nothing else.

    Raises:
      PhotoError: no regular file, too large, or not to be read.
    """
    with _as_photo_error(os.fsdecode(path)):
        return _read_bytes(path, max_bytes)
    raise AssertionError("not reached")


def _read_bytes(path: str | os.PathLike, max_bytes: int) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise Refusal("not a regular file", "Give an image file")
        _check_bytes(info.st_size, max_bytes)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)  # one more than allowed: the file may have grown
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (info.st_size, info.st_mtime_ns):
            raise Refusal("it changed while it was read", "Try again once it is written")
        return data
    finally:
        os.close(descriptor)


# --- photos -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _as_photo_error(name: str) -> Iterator[None]:
    try:
        yield
    except Refusal as error:
        raise PhotoError(name, error.cause, error.cure) from None
    except FileNotFoundError:
        raise PhotoError(name, "no such file", "Check the path") from None
    except PermissionError:
        raise PhotoError(name, "not allowed to read it", "Change its permissions") from None
    except MemoryError:
        raise PhotoError(name, *_NO_MEMORY) from None
    except Exception as error:  # parsers of hostile files fail in any way
        cause = f"cannot be decoded ({type(error).__name__}: {error})"
        raise PhotoError(name, cause, CURE_COPY) from error


def read_photo(
    source: str | os.PathLike | bytes,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> Photo:
    """Reads one photo, or raises PhotoError and nothing else.

    Args:
      source: a path, or the bytes of a file. Bytes are read once; hash and pixels are of these.
      name: how messages call the file; the path by default.
      max_pixels: width times height; checked in the header, before decoding.
      max_bytes: checked before reading.

    Returns:
      The photo, decoded: pixels, canonical EXIF, orientation, hash and notes.

    Raises:
      PhotoError: not a regular file, too large, truncated, damaged or of another format.
    """
    if name is None:
        name = "image" if isinstance(source, bytes) else os.fsdecode(source)
    with _as_photo_error(name):
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise Refusal("Pillow is set to fill truncated images", "Unset LOAD_TRUNCATED_IMAGES")
        data = source if isinstance(source, bytes) else _read_bytes(source, max_bytes)
        _check_bytes(len(data), max_bytes)
        kind = detect_format(data)
        image, block, notes = decode(data, kind, max_pixels)
        exif, orientation, exif_notes = _read_block(block, kind)
        digest = hashlib.sha256(data).hexdigest()
        notes = (*notes, *exif_notes)
        return Photo(image, exif, orientation, kind, digest, len(data), notes, name, data)
    raise AssertionError("not reached")


def _read_block(block: bytes, kind: str) -> tuple[dict[str, str], int, tuple[str, ...]]:
    """Canonical tags, orientation and notes of an EXIF block, which may be empty."""
    if not block:
        return {}, 1, ()
    if len(block) > MAX_EXIF_BYTES and kind != "TIFF":  # the block of a TIFF file is all of it
        return {}, 1, (f"EXIF ignored: {len(block):,} bytes",)
    return read_exif(block)
