"""The bytes of an image file -> an image of mode RGB, its EXIF block and notes.

What a file claims is checked before a decoder allocates by it, and what decoders pass over in
silence, damage above all, is looked for. See `exif_jax.reading.photo` for what becomes of the
pixels.
"""

import importlib.util
import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from exif_jax.reading import coded_damage, jpeg_damage, jpeg_scan
from exif_jax.reading.containers import (
    check_heif,
    jpeg_metadata,
    plain_jpeg,
    plain_tiff,
    webp_size,
)
from exif_jax.reading.refusal import CURE_COPY, Refusal

HEIF_IS_READ = importlib.util.find_spec("pillow_heif") is not None
_HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"heim", b"heis")
_CURE_FORMAT = "Use a JPEG, PNG, TIFF or WebP file"
_EXIF_HEAD = b"Exif\0\0"


class Decoded(NamedTuple):
    """What a file holds.

    Attributes:
      image: The pixels, loaded, of mode RGB.
      exif_block: The EXIF block, from its TIFF header on; b"" where there is none.
      notes: What was converted, dropped or mended, in words.
    """

    image: Image.Image
    exif_block: bytes
    notes: tuple[str, ...]


def detect_format(data: bytes) -> str:
    """Returns "JPEG", "PNG", "TIFF", "WEBP" or "HEIF"; raises Refusal for other bytes."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        if HEIF_IS_READ:
            return "HEIF"
        raise Refusal("HEIC needs pillow-heif", "Install it: pip install pillow-heif")
    if not data:
        raise Refusal("the file is empty", CURE_COPY)
    raise Refusal("not an image of a known format", _CURE_FORMAT)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises Refusal for a photo of more pixels than are allowed."""
    if width * height > max_pixels:
        raise Refusal(
            f"{width} x {height} pixels, more than {max_pixels:,}", "Raise max_pixels or crop it"
        )


def decode(data: bytes, kind: str, max_pixels: int) -> Decoded:
    """Decodes a file.

    Args:
      data: The file's bytes.
      kind: Its format, as `detect_format` names it.
      max_pixels: Width times height; checked before anything is decoded.

    Raises:
      Refusal: The file is damaged, too large or not to be decoded. Decoders may raise anything.
    """
    return _DECODERS[kind](data, max_pixels)


# --- formats ------------------------------------------------------------------------------------


def _decode_jpeg(data: bytes, max_pixels: int) -> Decoded:
    jpeg = jpeg_scan.split(data)
    check_size(jpeg.frame.width, jpeg.frame.height, max_pixels)
    block, metadata_notes = jpeg_metadata(jpeg)
    jpeg, damage_notes = jpeg_damage.check(data, jpeg)
    image, _, pixel_notes = _load("JPEG", plain_jpeg(jpeg), max_pixels)
    return Decoded(image, block, (*damage_notes, *metadata_notes, *pixel_notes))


def _decode_png(data: bytes, max_pixels: int) -> Decoded:
    def check_checksums() -> tuple[str, ...]:  # decoding passes over those of the pixels
        with _opener("PNG")(io.BytesIO(data), "") as unread:
            unread.verify()
        return ()

    return Decoded(*_load("PNG", data, max_pixels, check_checksums))


def _decode_tiff(data: bytes, max_pixels: int) -> Decoded:
    plain, page_notes = plain_tiff(data)
    image, _, notes = _load("TIFF", plain, max_pixels, lambda: coded_damage.check_tiff(plain))
    return Decoded(image, data, (*page_notes, *notes))


def _decode_webp(data: bytes, max_pixels: int) -> Decoded:
    check_size(*webp_size(data), max_pixels)
    image, block, notes = _load("WEBP", data, max_pixels)
    damage_notes = coded_damage.check_webp(data, lambda: np.asarray(image))
    return Decoded(image, block, (*damage_notes, *notes))


def _decode_heif(data: bytes, max_pixels: int) -> Decoded:
    check_heif(data)
    coded_damage.check_items(data)
    return Decoded(*_load("HEIF", data, max_pixels))


_DECODERS: dict[str, Callable[[bytes, int], Decoded]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_png,
    "TIFF": _decode_tiff,
    "WEBP": _decode_webp,
    "HEIF": _decode_heif,
}


# --- pixels -------------------------------------------------------------------------------------


def _opener(kind: str) -> Callable[..., ImageFile.ImageFile]:
    """The class that decodes a format: stream, file name -> image."""
    if kind == "HEIF":
        import pillow_heif  # type: ignore[reportMissingImports]

        return pillow_heif.HeifImageFile
    Image.init()
    return Image.OPEN[kind][0]


def _load(
    kind: str, data: bytes, max_pixels: int, check: Callable[[], Iterable[str]] = tuple
) -> tuple[Image.Image, bytes, tuple[str, ...]]:
    """Decodes what Pillow is given: an image of mode RGB, its EXIF block, notes.

    Args:
      check: Called once the size is checked, before pixels are decoded; returns notes.
    """
    # The format's own class instead of Image.open: its check of the size warns, by a global limit
    # that threads share. Ours comes first.
    with _opener(kind)(io.BytesIO(data), "") as image:
        check_size(image.width, image.height, max_pixels)
        notes = list(check())
        if kind != "JPEG" and getattr(image, "n_frames", 1) > 1:
            notes.append(f"{'primary' if kind == 'HEIF' else 'first'} of several frames used")
        if image.mode[:1] != "I" and any(";16" in str(tile[3]) for tile in image.tile):
            notes.append("16 bits cut to 8")
        if image.mode[:1] != "I" and kind == "HEIF" and image.info["bit_depth"] > 8:
            notes.append(f"{image.info['bit_depth']} bits cut to 8")
        image.load()
        if "icc_profile" in image.info:
            notes.append("ICC profile ignored")
        block = image.info.get("exif") or b""
        rgb, conversion_notes = _to_rgb(image)
    return rgb, block.removeprefix(_EXIF_HEAD), (*notes, *conversion_notes)


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
