"""Which picture of a TIFF file is the photo, and that picture alone as a file.

A raw file is a TIFF file whose first directory holds a thumbnail or a preview. Taken for the photo,
it would be judged in silence. Directories are walked within bounds and never twice.

Sources: TIFF 6.0, TIFF/EP (ISO 12234-2), Adobe's DNG 1.7.
"""

import struct
from typing import NamedTuple

from PIL.TiffImagePlugin import COMPRESSION_INFO

from exif_jax.reading.refusal import CURE_COPY, Refusal
from exif_jax.reading.tiff_directory import (
    MAX_ENTRIES,
    Entry,
    byte_order,
    entry_values,
    is_readable,
    read_entries,
)

CURE_RAW = "Develop it and export a TIFF or JPEG at full size"
CURE_TIFF = (
    "Save it as a TIFF of 8 or 16 bits a sample, without compression or with LZW, or as a PNG"
)
_MAX_PAGES = 64

UNCOMPRESSED = 1
_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS = 254, 256, 257, 258
_COMPRESSION, _PHOTOMETRIC, _SAMPLES = 259, 262, 277
_SUB_DIRECTORIES, _DNG_VERSION = 0x014A, 0xC612
_ORIENTATION, _XMP, _EXIF, _GPS, _INTEROP = 0x0112, 0x02BC, 0x8769, 0x8825, 0xA005
# Blanked: Pillow follows the links and turns the page by its orientation, or by that in XMP.
_NOT_OF_THE_PIXELS = (_ORIENTATION, _SUB_DIRECTORIES, _XMP, _EXIF, _GPS, _INTEROP)
_THUMBNAIL_OR_MASK = 1 | 4  # bits of NewSubfileType
_PHOTOMETRICS = frozenset((0, 1, 2, 3, 5, 6, 8))  # that Pillow reads
_COLOR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892
_COMPRESSION_NAMES = {
    9: "JBIG",
    10: "JBIG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy DNG",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


class Page(NamedTuple):
    """A directory of a TIFF file, with the numbers that say what its picture is.

    Attributes:
      start: Where the directory lies, in bytes.
      entries: Its entries.
      link_at: Where its link to the next directory lies.
      numbers: Tag -> its value, where that is a single integer.
    """

    start: int
    entries: list[Entry]
    link_at: int
    numbers: dict[int, int]

    @property
    def num_pixels(self) -> int:
        return self.numbers.get(_WIDTH, 0) * self.numbers.get(_HEIGHT, 0)

    @property
    def size(self) -> str:
        return f"{self.numbers.get(_WIDTH, 0)} x {self.numbers.get(_HEIGHT, 0)} pixels"

    @property
    def is_whole_picture(self) -> bool:
        """Whether it is marked neither as a reduced copy of another picture nor as a mask."""
        return not self.numbers.get(_SUBFILE_TYPE, 0) & _THUMBNAIL_OR_MASK

    @property
    def is_raw(self) -> bool:
        return self.numbers.get(_PHOTOMETRIC) in (_COLOR_FILTER_ARRAY, _LINEAR_RAW)


class PlainTiff(NamedTuple):
    """A TIFF file with nothing but the photo for Pillow to find.

    Attributes:
      data: Its bytes.
      compression: Its number.
      pixel_bytes: How many bytes a pixel takes without compression; 0 where that is a part of one.
      notes: On the other pages, in words.
    """

    data: bytes
    compression: int
    pixel_bytes: int
    notes: tuple[str, ...]


def plain_tiff(data: bytes) -> PlainTiff:
    """Returns a TIFF file with nothing but the photo for Pillow to find.

    Pillow reads all values of every directory that it can reach into memory and turns the page by
    its orientation. Here links, orientation and XMP are blanked, by a type that readers skip.

    Raises:
      Refusal: The directory lies outside the file or claims more than it holds, by overlapping
        values; the file is a raw file, or holds nothing but a thumbnail; the coding is one that
        Pillow lacks.
    """
    page, notes = _photo_page(data)
    _check_coding(page)
    plain = bytearray(data)
    plain[4:8] = struct.pack(byte_order(data) + "I", page.start)
    for entry in page.entries:
        if entry.tag in _NOT_OF_THE_PIXELS:
            plain[entry.position + 2 : entry.position + 4] = b"\0\0"
    plain[page.link_at : page.link_at + 4] = bytes(4)
    compression = page.numbers.get(_COMPRESSION, UNCOMPRESSED)
    pixel_bytes = page.numbers.get(_SAMPLES, 1) * (_bits(data, page) // 8)
    return PlainTiff(bytes(plain), compression, pixel_bytes, notes)


def _bits(data: bytes, page: Page) -> int:
    """Bits of the page's first sample; the tag holds a number for each sample."""
    for entry in page.entries:
        inside = entry.values_at + entry.num_bytes <= len(data)
        if entry.tag == _BITS and is_readable(entry) and inside and entry.num_bytes:
            value = entry_values(data, entry._replace(count=1))
            return value if isinstance(value, int) else 8
    return 1


def _photo_page(data: bytes) -> tuple[Page, tuple[str, ...]]:
    """The page that is the photo, and notes on the others."""
    try:
        order = byte_order(data)
        first = _read_page(data, struct.unpack_from(order + "I", data, 4)[0])
        has_more = any(struct.unpack_from(order + "I", data, first.link_at))
    except struct.error:
        raise Refusal("the TIFF directory is truncated", CURE_COPY) from None
    if kind := _raw_kind(data, first):
        raise Refusal(f"a raw file ({kind}); it begins with a preview of {first.size}", CURE_RAW)
    others = _other_pages(data, first)
    in_front = not first.is_whole_picture or any(
        page.num_pixels > first.num_pixels and page.is_whole_picture for page in others.below
    )
    if not in_front:
        return first, ("first of several pages used",) if has_more else ()
    wholes = [
        page
        for page in (*others.below, *others.behind)
        if page.is_whole_picture and page.num_pixels > first.num_pixels
    ]
    if any(page.is_raw for page in wholes):
        raise Refusal(f"a raw file; it begins with a thumbnail of {first.size}", CURE_RAW)
    if not wholes:
        raise Refusal(f"it holds no more than a thumbnail, of {first.size}", CURE_RAW)
    largest = max(wholes, key=lambda page: page.num_pixels)
    return largest, (f"the thumbnail in front of the picture passed over: {first.size}",)


def _raw_kind(data: bytes, first: Page) -> str:
    """What kind of raw file this is, by what only such files have; "" for any other file."""
    if data[8:10] == b"CR":
        return "Canon CR2"
    if any(entry.tag == _DNG_VERSION for entry in first.entries):
        return "DNG"
    return "of sensor values" if first.is_raw else ""


class _OtherPages(NamedTuple):
    below: list[Page]  # that a page names as its sub-directories
    behind: list[Page]  # in the chain from page to page


def _other_pages(data: bytes, first: Page) -> _OtherPages:
    """The pages that the first one leads to; those that cannot be read are left out."""
    order, others, visited = byte_order(data), _OtherPages([], []), {first.start}
    for offset in _sub_directories(data, first)[:_MAX_PAGES]:
        if page := _page_or_none(data, offset, visited):
            others.below.append(page)
    page: Page | None = first
    while page and len(others.behind) < _MAX_PAGES:
        if page.link_at + 4 > len(data):
            break
        (offset,) = struct.unpack_from(order + "I", data, page.link_at)
        page = _page_or_none(data, offset, visited)
        if page:
            others.behind.append(page)
    return others


def _sub_directories(data: bytes, page: Page) -> list[int]:
    for entry in page.entries:
        inside = entry.values_at + entry.num_bytes <= len(data)
        if entry.tag == _SUB_DIRECTORIES and is_readable(entry) and inside:
            values = entry_values(data, entry._replace(count=min(entry.count, _MAX_PAGES)))
            offsets = values if isinstance(values, tuple) else (values,)
            return [offset for offset in offsets if isinstance(offset, int)]
    return []


def _page_or_none(data: bytes, offset: int, visited: set[int]) -> Page | None:
    if not offset or offset in visited:
        return None
    visited.add(offset)
    try:
        return _read_page(data, offset)
    except (struct.error, Refusal):
        return None


def _read_page(data: bytes, start: int) -> Page:
    """Raises struct.error of a directory outside the file, Refusal of one that claims too much."""
    entries, link_at = read_entries(data, start)
    claimed = sum(entry.num_bytes for entry in entries)
    if len(entries) >= MAX_ENTRIES or claimed > 2 * len(data) + 65536:
        raise Refusal("the TIFF directory claims more than the file holds", CURE_COPY)
    numbers = {}
    for entry in entries:
        if entry.count == 1 and entry.num_bytes and entry.values_at + entry.num_bytes <= len(data):
            value = entry_values(data, entry)
            if isinstance(value, int):
                numbers.setdefault(entry.tag, value)
    return Page(start, entries, link_at, numbers)


def _check_coding(page: Page) -> None:
    compression = page.numbers.get(_COMPRESSION, UNCOMPRESSED)
    if compression not in COMPRESSION_INFO:
        name = _COMPRESSION_NAMES.get(compression, f"number {compression}")
        raise Refusal(f"TIFF with the compression {name} is not read", CURE_TIFF)
    photometric = page.numbers.get(_PHOTOMETRIC, 0)
    if photometric not in _PHOTOMETRICS:
        raise Refusal(f"TIFF of the colour model number {photometric} is not read", CURE_TIFF)
