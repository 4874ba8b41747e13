"""Damage in the coded pixels of a TIFF file, where it can be known.

libtiff says less than it sees, and Pillow passes on less than that. Known is: strips outside the
file; JPEG strips as `jpeg_damage` knows them; the checksum of deflate; the lengths of PackBits.
Pillow itself refuses most damage in LZW. Nobody can see changed bytes in raw samples.

Source: TIFF 6.0, Adobe's technical note 2 (JPEG in TIFF).
"""

import struct
import zlib
from typing import NamedTuple

from exif_jax.reading import jpeg_damage, jpeg_scan
from exif_jax.reading.refusal import CURE_COPY, Refusal
from exif_jax.reading.tiff_directory import Entry, byte_order, first_directory

_MAX_RUNS = 4_000_000  # of PackBits, a second or two; a photo of 12 megapixels has some 400,000
_BYTES_AT_ONCE = 1 << 20  # that are inflated
_MAX_HEADER_BYTES = 65_536  # of an inflated page, or of all its JPEG strips, besides its pixels

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_LENGTHS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS = 322, 323, 324, 325
_JPEG_TABLES, _OLD_JPEG_START, _OLD_JPEG_LENGTH = 347, 513, 514
_TAGS = frozenset(
    (
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR),
        *(_STRIP_OFFSETS, _STRIP_LENGTHS, _ROWS_PER_STRIP),
        *(_TILE_OFFSETS, _TILE_LENGTHS, _TILE_WIDTH, _TILE_HEIGHT),
        *(_OLD_JPEG_START, _OLD_JPEG_LENGTH),
    )
)
_DEFLATE, _PACKBITS, _OLD_JPEG, _JPEG = (8, 32946), 32773, 6, 7
_ALWAYS_DECODED = frozenset((1, 5, _JPEG, *_DEFLATE, _PACKBITS))  # by any libtiff
_YCBCR = 6
_NUMBERS = {1: "B", 3: "H", 4: "I"}

Numbers = dict[int, tuple[int, ...]]  # tag -> its values


class Strips(NamedTuple):
    """Where a TIFF page's coded pixels lie.

    Attributes:
      compression: Its number.
      ranges: Offset and length of each strip or tile, in bytes.
      sizes: Bytes of each once decoded; empty where they do not follow from the tags.
      num_pixels: Of the page.
      tables: What its JPEG strips share; may be empty.
    """

    compression: int
    ranges: list[tuple[int, int]]
    sizes: list[int]
    num_pixels: int
    tables: bytes


def check_tiff(data: bytes) -> tuple[str, ...]:
    """Returns notes on a TIFF file's first page.

    `tiff_pages.plain_tiff` must have bounded what its directory claims.

    Raises:
      Refusal: Its coded pixels are damaged or lie outside the file.
    """
    try:
        entries, _ = first_directory(data)
        numbers = _numbers(data, entries)
    except struct.error:
        raise Refusal("the TIFF directory is truncated", CURE_COPY) from None
    if _OLD_JPEG in numbers.get(_COMPRESSION, ()):
        return _check_old_jpeg(data, numbers)
    tables = [
        data[entry.values_at : entry.values_at + entry.num_bytes]
        for entry in entries
        if entry.tag == _JPEG_TABLES
    ]
    return _check_strips(data, _strips(numbers, tables[0] if tables else b""))


def _numbers(data: bytes, entries: list[Entry]) -> Numbers:
    """The values of the tags that matter; raises struct.error where they lie outside the file."""
    order = byte_order(data)
    return {
        entry.tag: struct.unpack_from(
            f"{order}{entry.count}{_NUMBERS[entry.type]}", data, entry.values_at
        )
        for entry in entries
        if entry.tag in _TAGS and entry.type in _NUMBERS
    }


def _strips(numbers: Numbers, tables: bytes) -> Strips:
    """The strips or tiles of a page, from the numbers of its directory."""
    is_tiled = _TILE_OFFSETS in numbers
    offsets = numbers.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS, ())
    lengths = numbers.get(_TILE_LENGTHS if is_tiled else _STRIP_LENGTHS, ())
    if not offsets or len(offsets) != len(lengths):
        raise Refusal("the TIFF directory does not say where the pixels lie", CURE_COPY)
    return Strips(
        compression=_first(numbers, _COMPRESSION, 1),
        ranges=list(zip(offsets, lengths, strict=True)),
        sizes=_decoded_sizes(numbers, len(offsets), is_tiled),
        num_pixels=_first(numbers, _WIDTH, 0) * _first(numbers, _HEIGHT, 0),
        tables=tables,
    )


def _first(numbers: Numbers, tag: int, default: int) -> int:
    return (numbers.get(tag) or (default,))[0]


def _decoded_sizes(numbers: Numbers, num_strips: int, is_tiled: bool) -> list[int]:
    """Bytes of each strip or tile once decoded; empty where they do not follow from the tags."""
    width, height = _first(numbers, _WIDTH, 0), _first(numbers, _HEIGHT, 0)
    samples, is_planar = _first(numbers, _SAMPLES, 1), _first(numbers, _PLANAR, 1) == 2
    columns = _first(numbers, _TILE_WIDTH, 0) if is_tiled else width
    row_bits = columns * _first(numbers, _BITS, 1) * (1 if is_planar else samples)
    row_bytes = -(-row_bits // 8)
    if _first(numbers, _PHOTOMETRIC, 0) == _YCBCR or not row_bytes:  # may be subsampled
        return []
    planes = samples if is_planar else 1  # each colour in strips of its own
    if is_tiled:
        rows = [_first(numbers, _TILE_HEIGHT, 0)] * (num_strips // planes)
    else:
        step = min(_first(numbers, _ROWS_PER_STRIP, height), height)
        rows = [max(0, min(step, height - step * i)) for i in range(num_strips // planes)]
    sizes = [row_bytes * count for count in rows] * planes
    return sizes if len(sizes) == num_strips else []


def _check_strips(data: bytes, strips: Strips) -> tuple[str, ...]:
    if any(offset + length > len(data) for offset, length in strips.ranges):
        raise Refusal("the TIFF file is truncated: strips lie outside it", CURE_COPY)
    sizes = strips.sizes or [0] * len(strips.ranges)
    pixels_left = 4 * strips.num_pixels + _MAX_HEADER_BYTES
    runs_left, notes = _MAX_RUNS, set()
    for (offset, length), size in zip(strips.ranges, sizes, strict=True):
        coded = data[offset : offset + length]
        if strips.compression in _DEFLATE:
            _check_deflate(coded, 16 * strips.num_pixels + _MAX_HEADER_BYTES)
        elif strips.compression == _PACKBITS and size:
            runs_left = _check_packbits(coded, size, runs_left)
        elif strips.compression == _JPEG and coded:
            jpeg, jpeg_notes = _check_jpeg(_with_tables(coded, strips.tables), pixels_left)
            pixels_left -= jpeg.frame.width * jpeg.frame.height
            notes.update(jpeg_notes)
    return tuple(sorted(notes))


def _check_deflate(coded: bytes, max_bytes: int) -> None:
    inflate = zlib.decompressobj()
    try:
        while coded and not inflate.eof and max_bytes > 0:
            max_bytes -= len(inflate.decompress(coded, _BYTES_AT_ONCE))
            coded = inflate.unconsumed_tail
    except zlib.error:
        raise _damaged("the checksum or the codes of a strip are wrong") from None
    if not inflate.eof:
        raise _damaged("the end of a strip is missing")


def _check_packbits(coded: bytes, size: int, runs_left: int) -> int:
    """Returns how many runs may still be looked at; raises Refusal where lengths are wrong."""
    position = 0
    while position < len(coded) and size > 0:
        if not runs_left:
            return 0
        runs_left -= 1
        head = coded[position]
        if head < 128:  # as many bytes as they are, and one
            position, size = position + 2 + head, size - 1 - head
        elif head > 128:  # one byte repeated
            position, size = position + 2, size - 257 + head
        else:
            position += 1
    if size or position > len(coded) or coded[position:].strip(b"\0\x80"):
        raise _damaged("the lengths in a strip are wrong")
    return runs_left


def _with_tables(coded: bytes, tables: bytes) -> bytes:
    """A JPEG strip with the tables that all strips of the page share."""
    if tables[:2] == b"\xff\xd8" and tables[-2:] == b"\xff\xd9":
        return coded[:2] + tables[2:-2] + coded[2:]
    return coded


def _check_jpeg(coded: bytes, max_pixels: int) -> tuple[jpeg_scan.JpegPicture, tuple[str, ...]]:
    jpeg = jpeg_scan.split(coded)
    if jpeg.frame.width * jpeg.frame.height > max_pixels:
        raise _damaged("a strip claims more pixels than the page")
    return jpeg_damage.check(coded, jpeg)


def _check_old_jpeg(data: bytes, numbers: Numbers) -> tuple[str, ...]:
    """Old-style JPEG in TIFF is looked at where one stream holds all of it."""
    start = _first(numbers, _OLD_JPEG_START, 0)
    coded = data[start : start + _first(numbers, _OLD_JPEG_LENGTH, 0)]
    if coded[:2] != b"\xff\xd8":
        return ()
    num_pixels = _first(numbers, _WIDTH, 0) * _first(numbers, _HEIGHT, 0)
    return _check_jpeg(coded, 4 * num_pixels + _MAX_HEADER_BYTES)[1]


def undecodable_strips(compression: int) -> Refusal:
    """Returns the refusal of a picture that libtiff fails to decode."""
    if compression in _ALWAYS_DECODED:
        return _damaged("its strips cannot be decoded")
    return Refusal(
        f"the strips of the TIFF file, of the compression number {compression}, cannot be decoded",
        "Get an intact copy of the file, or save it without compression",
    )


def _damaged(reason: str) -> Refusal:
    return Refusal(f"the TIFF picture is damaged: {reason}", CURE_COPY)
