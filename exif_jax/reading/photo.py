"""One untrusted image file -> uint8 RGB pixels and canonical EXIF.

Every guard is here or, for what lies inside a file, in ``exif_jax.reading.containers``.

What becomes of the pixels, so that training and analysis see the same ones:

* JPEG: exactly Pillow's decode to RGB. Only the segments that decide the pixels reach Pillow.
* EXIF orientation is reported and not applied (but see HEIF); ICC profiles are ignored.
* 16 bits: the high byte (``>> 8``). Float samples: [0, 1] -> [0, 255], rounded.
* Grey, 1-bit, palette, CMYK, YCbCr: Pillow's plain conversion to RGB.
* Alpha: dropped, after un-premultiplying; nothing is composited on a background.
* Several frames (MPO, animations, TIFF pages): the first one.
* HEIF (needs pillow-heif): libheif's decode, which cannot be had unturned. libheif applies the
  rotation, mirror and crop that the container prescribes (irot, imir, clap), so these pixels are
  upright. EXIF orientation counts for nothing in HEIF; it is reported as 1, in ``exif`` too, that
  nobody turns the pixels twice. More than 8 bits: the high ones. Several images: the primary one.
  The size that the container claims is checked before decoding; libheif itself refuses pixels
  that are not of that size.

Whatever departs from plain 8-bit RGB or grey is said in ``Photo.notes``. Sources: Exif 2.32
(orientation) and ISO/IEC 23008-12 (HEIF).
"""

import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.containers import (
    CURE_COPY,
    Refusal,
    check_heif,
    plain_jpeg,
    plain_tiff,
    read_exif,
    webp_size,
)

_HEIF = importlib.util.find_spec("pillow_heif") is not None
EXTENSIONS: frozenset[str] = frozenset(
    (".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".tif", ".tiff", ".webp")
    + ((".heic", ".heif", ".hif") if _HEIF else ())
)
MAX_BYTES = 512 * 2**20
_MAX_EXIF_BYTES = 1 << 20
_NO_MEMORY = ("too large for the memory", "Lower max_pixels or crop it")
_CURE_FORMAT = "Use a JPEG, PNG, TIFF or WebP file"


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
      format: "JPEG", "PNG", "TIFF", "WEBP" or "HEIF".
      sha256: of the file's bytes, hexadecimal.
      num_bytes: size of the file.
      notes: what was converted, dropped or could not be read, in words.
      name: how messages call it.
    """

    image: Image.Image
    exif: dict[str, str]
    orientation: int
    format: str
    sha256: str
    num_bytes: int
    notes: tuple[str, ...]
    name: str = "image"

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
        raise Refusal(f"{num_bytes:,} bytes, more than {max_bytes:,}", "Raise max_bytes")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Refusal(
            f"{width} x {height} pixels, more than {max_pixels:,}", "Raise max_pixels or crop it"
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
        raise Refusal("HEIC needs pillow-heif", "Install it: pip install pillow-heif")
    if not data:
        raise Refusal("the file is empty", CURE_COPY)
    raise Refusal("not an image of a known format", _CURE_FORMAT)


# --- pixels -------------------------------------------------------------------------------------


def _to_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """A loaded image of any mode -> one of mode RGB, and notes."""
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
        return image if mode == "RGB" else image.convert("RGB"), notes  # convert would copy
    notes.append("float samples scaled from 0..1" if mode == "F" else "16 bits cut to 8")
    return Image.fromarray(np.repeat(grey[..., None], 3, axis=2)), notes


def _opener(kind: str) -> Callable[..., ImageFile.ImageFile]:
    """The class that decodes a format: stream, file name -> image."""
    if kind == "HEIF":
        import pillow_heif  # type: ignore[reportMissingImports]

        return pillow_heif.HeifImageFile
    Image.init()
    return Image.OPEN[kind][0]


def _decode(data: bytes, kind: str, max_pixels: int) -> tuple[Image.Image, bytes, list[str]]:
    """File bytes -> image of mode RGB, EXIF block, notes."""
    block, notes = b"", []
    if kind == "JPEG":
        data, block, notes = plain_jpeg(data)
    elif kind == "TIFF":
        block = data
        data, notes = plain_tiff(data)
    elif kind == "WEBP":
        _check_pixels(*webp_size(data), max_pixels)
    elif kind == "HEIF":
        check_heif(data)
    # The format's own class instead of Image.open: its check of the size warns, by a global limit
    # that threads share. Ours comes first.
    with _opener(kind)(io.BytesIO(data), "") as image:
        _check_pixels(image.width, image.height, max_pixels)
        if kind == "PNG":  # decoding passes over the checksums of the pixels
            with _opener(kind)(io.BytesIO(data), "") as unread:
                unread.verify()
        if kind != "JPEG" and getattr(image, "n_frames", 1) > 1:
            notes.append(f"{'primary' if kind == 'HEIF' else 'first'} of several frames used")
        if image.mode[:1] != "I" and any(";16" in str(tile[3]) for tile in image.tile):
            notes.append("16 bits cut to 8")
        if image.mode[:1] != "I" and kind == "HEIF" and image.info["bit_depth"] > 8:
            notes.append(f"{image.info['bit_depth']} bits cut to 8")
        image.load()
        if "icc_profile" in image.info:
            notes.append("ICC profile ignored")
        block = block or image.info.get("exif") or b""
        rgb, more = _to_rgb(image)
    return rgb, block.removeprefix(b"Exif\0\0"), notes + more


@contextlib.contextmanager
def _as_photo_error(name: str) -> Iterator[None]:
    try:
        yield
    except Refusal as error:
        cause, cure = error.args
        raise PhotoError(name, cause, cure) from None
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
    max_pixels: int = 200_000_000,
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
        kind = _detect(data)
        image, block, notes = _decode(data, kind, max_pixels)
        exif, orientation = {}, 1
        if len(block) > _MAX_EXIF_BYTES and kind != "TIFF":
            notes.append(f"EXIF ignored: {len(block):,} bytes")
        elif block:
            exif, orientation, more = read_exif(block)
            notes.extend(more)
        digest = hashlib.sha256(data).hexdigest()
        return Photo(image, exif, orientation, kind, digest, len(data), tuple(notes), name)
    raise AssertionError("not reached")
