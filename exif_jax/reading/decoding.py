"""The bytes of an image file -> an image of mode RGB, its EXIF block and notes.

What a file claims is checked before a decoder allocates by it, and what decoders pass over in
silence, damage above all, is looked for. See `exif_jax.reading.photo` for what becomes of the
pixels.
"""

import io
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from exif_jax.reading import bmp, jpeg_damage, jpeg_scan
from exif_jax.reading.containers import jpeg_metadata, plain_jpeg, png_exif
from exif_jax.reading.exif_block import without_preamble
from exif_jax.reading.heif import avif_bits, check_items, end_of_boxes
from exif_jax.reading.raw_samples import check_raw_samples
from exif_jax.reading.refusal import Refusal
from exif_jax.reading.tiff_damage import check_tiff, undecodable_strips
from exif_jax.reading.tiff_pages import CURE_TIFF, UNCOMPRESSED, plain_tiff
from exif_jax.reading.webp import check_webp, webp_size


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


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises Refusal for a photo of more pixels than are allowed."""
    if width * height > max_pixels:
        raise Refusal(
            f"{width} x {height} pixels, more than {max_pixels:,}",
            "Raise --max-pixels (in Python max_pixels) or crop it",
        )


def decode(data: bytes, kind: str, max_pixels: int) -> Decoded:
    """Decodes a file.

    Args:
      data: The file's bytes.
      kind: Its format, as `formats.detect_format` names it.
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
    loaded = _load("JPEG", plain_jpeg(jpeg), max_pixels)
    return Decoded(loaded.image, block, (*damage_notes, *metadata_notes, *loaded.notes))


def _decode_png(data: bytes, max_pixels: int) -> Decoded:
    loaded = _load("PNG", data, max_pixels, lambda: _check_png(data))
    return Decoded(loaded.image, png_exif(loaded.info), loaded.notes)


def _check_png(data: bytes) -> tuple[str, ...]:
    """Looks at the checksums of the pixels, which decoding passes over."""
    with _opener("PNG")(io.BytesIO(data), "") as unread:
        unread.verify()
    return ()


def _decode_tiff(data: bytes, max_pixels: int) -> Decoded:
    tiff = plain_tiff(data)
    try:
        loaded = _load("TIFF", tiff.data, max_pixels, lambda: check_tiff(tiff.data))
    except SyntaxError as error:
        if "pixel mode" in str(error):
            raise Refusal("TIFF of this layout of samples is not read", CURE_TIFF) from None
        raise
    except OSError as error:  # libtiff says no more than that
        if "decoder error" in str(error):
            raise undecodable_strips(tiff.compression) from None
        raise
    damage_notes = ()
    if tiff.compression == UNCOMPRESSED and tiff.pixel_bytes:
        damage_notes = check_raw_samples(np.asarray(loaded.image), tiff.pixel_bytes)
    return Decoded(loaded.image, data, (*damage_notes, *tiff.notes, *loaded.notes))


def _decode_webp(data: bytes, max_pixels: int) -> Decoded:
    check_size(*webp_size(data), max_pixels)
    loaded = _load("WEBP", data, max_pixels)
    damage_notes = check_webp(data, lambda: np.asarray(loaded.image))
    return Decoded(loaded.image, _exif_of(loaded), (*damage_notes, *loaded.notes))


def _decode_bmp(data: bytes, max_pixels: int) -> Decoded:
    header = bmp.read_header(data)
    check_size(header.width, header.height, max_pixels)
    image, notes = _to_rgb(bmp.decode_bmp(data, header))
    if not header.palette:  # where a palette is, zeros may be any colour
        notes += check_raw_samples(np.asarray(image), header.bits // 8, header.is_top_down)
    if header.has_alpha:
        notes.append("alpha dropped")
    return Decoded(image, b"", tuple(notes))


def _decode_heif(data: bytes, max_pixels: int) -> Decoded:
    plain, trailer_notes = _without_trailer(data, "HEIF")
    loaded = _load("HEIF", plain, max_pixels)
    return Decoded(loaded.image, _exif_of(loaded), (*trailer_notes, *loaded.notes))


def _decode_avif(data: bytes, max_pixels: int) -> Decoded:
    plain, trailer_notes = _without_trailer(data, "AVIF")
    loaded = _load("AVIF", plain, max_pixels)
    bits = avif_bits(plain)
    depth_notes = (f"{bits} bits scaled to 8",) if bits > 8 else ()
    return Decoded(loaded.image, _exif_of(loaded), (*trailer_notes, *depth_notes, *loaded.notes))


def _without_trailer(data: bytes, kind: str) -> tuple[bytes, tuple[str, ...]]:
    """A HEIF or AVIF file less what follows its boxes, whose items are looked at; and notes."""
    end = end_of_boxes(data, kind)
    plain = data[:end]
    check_items(plain)
    return plain, (f"bytes behind the last box skipped: {len(data) - end:,}",) * (end < len(data))


_DECODERS: dict[str, Callable[[bytes, int], Decoded]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_png,
    "TIFF": _decode_tiff,
    "WEBP": _decode_webp,
    "BMP": _decode_bmp,
    "HEIF": _decode_heif,
    "AVIF": _decode_avif,
}


# --- pixels -------------------------------------------------------------------------------------


class _Loaded(NamedTuple):
    image: Image.Image  # of mode RGB
    info: dict  # what Pillow has read besides
    notes: tuple[str, ...]


def _exif_of(loaded: _Loaded) -> bytes:
    return without_preamble(loaded.info.get("exif") or b"")


def _opener(kind: str) -> Callable[..., ImageFile.ImageFile]:
    """The class that decodes a format: stream, file name -> image."""
    if kind == "HEIF":
        import pillow_heif  # type: ignore[reportMissingImports]

        return pillow_heif.HeifImageFile
    Image.init()
    return Image.OPEN[kind][0]


def _load(
    kind: str, data: bytes, max_pixels: int, check: Callable[[], Iterable[str]] = tuple
) -> _Loaded:
    """Has Pillow decode a file.

    Args:
      kind: The format.
      data: What Pillow is given to read.
      max_pixels: See `decode`.
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
        info = dict(image.info)
        rgb, conversion_notes = _to_rgb(image)
    return _Loaded(rgb, info, (*notes, *conversion_notes))


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
