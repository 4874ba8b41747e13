"""BMP files without trust: what their header says, decoded by Pillow's raw decoders.

Pillow's own reader of BMP takes a grey palette of two colours for one bit a pixel, whatever the
header says, and fills a truncated picture in run lengths with zeros. Here the header is read with
its bounds, and pictures in run lengths, which no photo is, are refused by name.

Source: Microsoft's BITMAPINFOHEADER and BITMAPV5HEADER.
"""

import struct
from typing import NamedTuple

from PIL import Image

from exif_jax.reading.refusal import CURE_COPY, Refusal

_CURE_BMP = "Save it as a BMP of 24 bits without compression, or as a PNG"
_CORE_HEADER, _HEADERS = 12, (40, 52, 56, 64, 108, 124)
_RAW, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_COMPRESSIONS = {1: "run lengths (RLE)", 2: "run lengths (RLE)", 4: "JPEG in it", 5: "PNG in it"}
_PALETTE_MODES = {1: "P;1", 2: "P;2", 4: "P;4", 8: "P"}
_COLOR_MODES = {16: "BGR;15", 24: "BGR", 32: "BGRX"}
# Bits of a pixel, masks of red, green and blue -> how Pillow calls their order.
_MASK_MODES: dict[tuple[int, ...], str] = {
    (16, 0xF800, 0x07E0, 0x001F): "BGR;16",
    (16, 0x7C00, 0x03E0, 0x001F): "BGR;15",
    (24, 0x00FF0000, 0x0000FF00, 0x000000FF): "BGR",
    (32, 0x00FF0000, 0x0000FF00, 0x000000FF): "BGRX",
    (32, 0x000000FF, 0x0000FF00, 0x00FF0000): "RGBX",
    (32, 0xFF000000, 0x00FF0000, 0x0000FF00): "XBGR",
    (32, 0x0000FF00, 0x00FF0000, 0xFF000000): "XRGB",
}


class BmpHeader(NamedTuple):
    """What decides the pixels of a BMP file.

    Attributes:
      width: In pixels.
      height: In pixels.
      is_top_down: Whether the first row in the file is the top one.
      bits: Of a pixel.
      raw_mode: How Pillow calls the order of a pixel's bits.
      has_alpha: Whether the header says that a part of each pixel is alpha.
      palette: Colours of 1 to 8 bits, in Pillow's raw mode `palette_mode`; b"" of others.
      palette_mode: "BGR" or "BGRX".
      pixels_at: Where the pixels lie, in bytes.
    """

    width: int
    height: int
    is_top_down: bool
    bits: int
    raw_mode: str
    has_alpha: bool
    palette: bytes
    palette_mode: str
    pixels_at: int


def is_bmp(data: bytes) -> bool:
    """Returns whether bytes begin as a BMP file does."""
    size = int.from_bytes(data[14:18], "little")
    return data[:2] == b"BM" and size in (_CORE_HEADER, *_HEADERS)


def read_header(data: bytes) -> BmpHeader:
    """Reads the header of a BMP file.

    Raises:
      Refusal: It is truncated or damaged, or the file is of a variant that is not read.
    """
    try:
        return _read_header(data)
    except struct.error:
        raise Refusal("the BMP file is truncated", CURE_COPY) from None


def _read_header(data: bytes) -> BmpHeader:
    """`read_header`; raises struct.error of a header that ends early."""
    pixels_at, header_size = struct.unpack_from("<II", data, 10)
    palette_at, compression, num_colors, masks = 14 + header_size, _RAW, 0, (0, 0, 0, 0)
    if header_size == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        (num_colors,) = struct.unpack_from("<I", data, 46)
    if compression in (_BITFIELDS, _ALPHA_BITFIELDS):
        masks = (*struct.unpack_from("<III", data, 54), 0)
        if header_size >= 56 or compression == _ALPHA_BITFIELDS:
            masks = struct.unpack_from("<IIII", data, 54)
    elif compression != _RAW:
        name = _COMPRESSIONS.get(compression, f"compression {compression}")
        raise Refusal(f"BMP with {name} is not read", _CURE_BMP)
    if width <= 0 or not height:
        raise Refusal("the BMP header is damaged", CURE_COPY)
    raw_mode = _raw_mode(bits, masks[:3])
    entry_bytes = 3 if header_size == _CORE_HEADER else 4
    palette = b""
    if bits in _PALETTE_MODES:
        num_colors = min(num_colors or 2**bits, 2**bits)
        palette = data[palette_at : min(palette_at + entry_bytes * num_colors, pixels_at)]
        palette = palette.ljust(entry_bytes * 256, b"\0")  # colours that are not there: black
    return BmpHeader(
        width=width,
        height=abs(height),
        is_top_down=height < 0,
        bits=bits,
        raw_mode=raw_mode,
        has_alpha=masks[3] > 0,
        palette=palette,
        palette_mode="BGR" if entry_bytes == 3 else "BGRX",
        pixels_at=pixels_at,
    )


def _raw_mode(bits: int, masks: tuple[int, ...]) -> str:
    if any(masks):
        mode = _MASK_MODES.get((bits, *masks))
    else:
        mode = (_PALETTE_MODES | _COLOR_MODES).get(bits)
    if mode is None:
        unusual = "in an unusual order " if bits in _COLOR_MODES else ""
        raise Refusal(f"BMP of {bits} bits a pixel {unusual}is not read", _CURE_BMP)
    return mode


def decode_bmp(data: bytes, header: BmpHeader) -> Image.Image:
    """Decodes the pixels of a BMP file, to mode P where it has a palette and to RGB otherwise.

    Args:
      data: The file's bytes.
      header: `read_header` of them; its size must have been checked.

    Raises:
      Refusal: Pixels are missing.
    """
    row_bytes = (header.width * header.bits + 31) // 32 * 4
    pixels = data[header.pixels_at : header.pixels_at + row_bytes * header.height]
    if len(pixels) < row_bytes * header.height:
        raise Refusal("the BMP file is truncated: pixels are missing", CURE_COPY)
    image = Image.frombytes(
        "P" if header.palette else "RGB",
        (header.width, header.height),
        pixels,
        "raw",
        header.raw_mode,
        row_bytes,
        1 if header.is_top_down else -1,
    )
    if header.palette:
        image.putpalette(header.palette, header.palette_mode)
    return image
