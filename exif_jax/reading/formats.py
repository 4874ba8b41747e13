"""Which format a file is of, by its first bytes, whatever its name says."""

import importlib.util

from PIL import features

from exif_jax.reading.bmp import is_bmp
from exif_jax.reading.refusal import CURE_COPY, Refusal
from exif_jax.reading.tiff_pages import CURE_RAW

HEIF_IS_READ = importlib.util.find_spec("pillow_heif") is not None
AVIF_IS_READ = bool(features.check("avif"))

_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)
_MAX_BRANDS = 64
_CURE_FORMAT = "Use a JPEG, PNG, TIFF, WebP, BMP, AVIF or HEIF file"
_CURE_EXPORT = "Export the picture in it as a TIFF, PNG or JPEG at full size"
_CURE_PHOTO = "Give the photo itself"
# What files begin with that are taken for photos, what they are, and what helps.
_OTHERS = (
    (b"GIF8", "a GIF file, which is not read", _CURE_FORMAT),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000 is not read", _CURE_FORMAT),
    (b"\xff\x4f\xff\x51", "JPEG 2000 is not read", _CURE_FORMAT),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL is not read", "Convert it with djxl"),
    (b"\xff\x0a", "JPEG XL is not read", "Convert it with djxl"),
    (b"II+\0", "BigTIFF is not read", "Convert it to a classic TIFF with tiffcp"),
    (b"MM\0+", "BigTIFF is not read", "Convert it to a classic TIFF with tiffcp"),
    (b"8BPS", "a Photoshop document", _CURE_EXPORT),
    (b"gimp xcf", "a GIMP document", _CURE_EXPORT),
    (b"%PDF", "a PDF document", _CURE_EXPORT),
    (b"IIU\0", "a raw file (Panasonic)", CURE_RAW),
    (b"IIRO", "a raw file (Olympus)", CURE_RAW),
    (b"IIRS", "a raw file (Olympus)", CURE_RAW),
    (b"MMOR", "a raw file (Olympus)", CURE_RAW),
    (b"FUJIFILMCCD-RAW", "a raw file (Fujifilm)", CURE_RAW),
    (b"FOVb", "a raw file (Sigma)", CURE_RAW),
    (b"\0MRM", "a raw file (Minolta)", CURE_RAW),
    (b"\x00\x05\x16\x07", "what a Mac writes beside a file on other disks", _CURE_PHOTO),
    (b"PK\x03\x04", "not an image but an archive", "Unpack it"),
    (b"<", "not an image but a web page or another text", _CURE_PHOTO),
)
_BOXED_OTHERS = {
    b"crx ": ("a raw file (Canon CR3)", CURE_RAW),
    b"qt  ": ("a video", _CURE_PHOTO),
    b"isom": ("a video", _CURE_PHOTO),
    b"mp41": ("a video", _CURE_PHOTO),
    b"mp42": ("a video", _CURE_PHOTO),
    b"3gp4": ("a video", _CURE_PHOTO),
}


def detect_format(data: bytes) -> str:
    """Returns the format of a file: "JPEG", "PNG", "TIFF", "WEBP", "BMP", "AVIF" or "HEIF".

    Raises:
      Refusal: The file is of another format, or of one that needs a library that is missing.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if is_bmp(data):
        return "BMP"
    if data[4:8] == b"ftyp":
        return _detect_boxed_format(data)
    if not data:
        raise Refusal("the file is empty", CURE_COPY)
    if not data.strip(b"\0"):
        raise Refusal("the file holds nothing but zeros", CURE_COPY)
    for start, cause, cure in _OTHERS:
        if data.startswith(start):
            raise Refusal(cause, cure)
    raise Refusal("not an image of a known format", _CURE_FORMAT)


def _detect_boxed_format(data: bytes) -> str:
    """`detect_format` of a file that begins with a box "ftyp", which lists its brands."""
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MAX_BRANDS)
    major = data[8:12]
    brands = {major, *(data[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS:
        if AVIF_IS_READ:
            return "AVIF"
        raise Refusal(
            "AVIF needs a Pillow that is built with it", "Install one: pip install -U pillow"
        )
    if major in _BOXED_OTHERS:
        cause, cure = _BOXED_OTHERS[major]
        raise Refusal(cause, cure)
    if brands & _HEIF_BRANDS:
        if HEIF_IS_READ:
            return "HEIF"
        raise Refusal("HEIC needs pillow-heif", "Install it: pip install pillow-heif")
    raise Refusal("not an image of a known format", _CURE_FORMAT)
