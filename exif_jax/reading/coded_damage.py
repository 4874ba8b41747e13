"""Damage in the coded pixels of WebP, HEIF, AVIF and TIFF, where it can be known.

Their decoders say less than libjpeg, and Pillow passes on less than they say. Known is:

* TIFF: strips outside the file; JPEG strips as ``jpeg_damage`` knows them; the checksum of deflate;
  the lengths of PackBits.
* HEIF with HEVC: lengths of its units, and the byte patterns that no unit may hold.
* AVIF, WebP: a sector of zeros among arithmetic or prefix codes. In WebP it may be a flat area.

Not to be known by anybody: changed bytes in raw samples (BMP, uncompressed TIFF), literal bytes of
PackBits, and most of those in WebP, AVIF and HEVC. These formats have no checksums.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from exif_jax.reading import jpeg_damage, jpeg_scan
from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal
from exif_jax.reading.tiff_directory import byte_order, first_directory

_SECTOR = bytes(512)  # the smallest part of a disk or card that goes bad
_ZEROS = re.compile(rb"\0{512,}")
_BYTES_OF_A_FLAT_BLOCK = 16  # of 16 x 16 pixels; encoders were seen to spend up to eight
_MAX_RUNS = 4_000_000  # of PackBits, a second or two; a photo of 12 megapixels has some 400,000
_MAX_BOXES = 10_000  # a photo of 200 megapixels in tiles of 512 x 512 has some 800 items
_ROOM = 1 << 20  # bytes that are inflated at once
_NOT_IN_A_UNIT = re.compile(rb"\0\0[\0-\2]")  # HEVC writes 00 00 03 instead; 7.4.2 of H.265


def _damaged(kind: str, reason: str) -> Refusal:
    return Refusal(f"the {kind} picture is damaged: {reason}", CURE_COPY)


# --- TIFF ---------------------------------------------------------------------------------------

_TAGS = frozenset((256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 322, 323, 324, 325))
_JPEG_TABLES = 347
_NUMBERS = {1: "B", 3: "H", 4: "I"}


class Strips(NamedTuple):
    """Where a TIFF page's coded pixels lie. ``ranges``: offset and length of each strip or tile."""

    compression: int
    ranges: list[tuple[int, int]]
    sizes: list[int]  # bytes of each once decoded; empty where they do not follow from the tags
    num_pixels: int
    tables: bytes  # of JPEG strips; may be empty


def check_tiff(data: bytes) -> tuple[str, ...]:
    """Notes on a TIFF file's first page; raises Refusal where its coded pixels are damaged.

    ``plain_tiff`` must have bounded what its directory claims.
    """
    try:
        order = byte_order(data)
        entries, _ = first_directory(data)
        values = {
            entry.tag: struct.unpack_from(
                f"{order}{entry.count}{_NUMBERS[entry.type]}", data, entry.values_at
            )
            for entry in entries
            if entry.tag in _TAGS and entry.type in _NUMBERS
        }
    except struct.error:
        raise Refusal("the TIFF directory is truncated", CURE_COPY) from None
    found = [entry for entry in entries if entry.tag == _JPEG_TABLES]
    tables = data[found[0].values_at :][: found[0].num_bytes] if found else b""
    return _check_strips(data, _strips(values, tables))


def _strips(values: dict[int, tuple[int, ...]], tables: bytes) -> Strips:
    """The strips or tiles of a page, from the numbers of its directory."""

    def first(tag: int, default: int) -> int:
        return (values.get(tag) or (default,))[0]

    tiled = 324 in values
    offsets, lengths = values.get(324 if tiled else 273, ()), values.get(325 if tiled else 279, ())
    if not offsets or len(offsets) != len(lengths):
        raise Refusal("the TIFF directory does not say where the pixels lie", CURE_COPY)
    width, height, samples = first(256, 0), first(257, 0), first(277, 1)
    apart = first(284, 1) == 2  # each colour in strips of its own
    across = first(322, 0) if tiled else width
    row = -(-across * first(258, 1) * (1 if apart else samples) // 8)
    sizes: list[int] = []
    if first(262, 0) != 6 and row:  # YCbCr may be subsampled
        step = first(323, 0) if tiled else min(first(278, height), height)
        count = len(offsets) // (samples if apart else 1)
        rows = [step if tiled else max(0, min(step, height - at * step)) for at in range(count)]
        sizes = [row * number for number in rows] * (samples if apart else 1)
        sizes = sizes if len(sizes) == len(offsets) else []
    ranges = list(zip(offsets, lengths, strict=True))
    return Strips(first(259, 1), ranges, sizes, width * height, tables)


def _check_strips(data: bytes, strips: Strips) -> tuple[str, ...]:
    if any(offset + length > len(data) for offset, length in strips.ranges):
        raise Refusal("the TIFF file is truncated: strips lie outside it", CURE_COPY)
    sizes = strips.sizes or [0] * len(strips.ranges)
    room, runs_left, notes = 4 * strips.num_pixels + 65_536, _MAX_RUNS, set()
    for (offset, length), size in zip(strips.ranges, sizes, strict=True):
        coded = data[offset : offset + length]
        if strips.compression in (8, 32946):
            _check_deflate(coded, 16 * strips.num_pixels + 65_536)
        elif strips.compression == 32773 and size:
            runs_left = _check_packbits(coded, size, runs_left)
        elif strips.compression == 7 and coded:
            jpeg, more = _check_jpeg(coded, strips.tables, room)
            room -= jpeg.frame.width * jpeg.frame.height
            notes.update(more)
    return tuple(sorted(notes))


def _check_deflate(coded: bytes, room: int) -> None:
    inflate = zlib.decompressobj()
    try:
        while coded and not inflate.eof and room > 0:
            room -= len(inflate.decompress(coded, _ROOM))
            coded = inflate.unconsumed_tail
    except zlib.error:
        raise _damaged("TIFF", "the checksum or the codes of a strip are wrong") from None
    if not inflate.eof:
        raise _damaged("TIFF", "the end of a strip is missing")


def _check_packbits(coded: bytes, size: int, runs_left: int) -> int:
    """How many runs may still be looked at; raises Refusal where their lengths are wrong."""
    at = 0
    while at < len(coded) and size > 0:
        if not runs_left:
            return 0
        runs_left -= 1
        head = coded[at]
        if head < 128:  # as many bytes as they are, and one
            at, size = at + 2 + head, size - 1 - head
        elif head > 128:  # one byte repeated
            at, size = at + 2, size - 257 + head
        else:
            at += 1
    if size or at > len(coded) or coded[at:].strip(b"\0\x80"):
        raise _damaged("TIFF", "the lengths in a strip are wrong")
    return runs_left


def _check_jpeg(coded: bytes, tables: bytes, room: int) -> tuple[jpeg_scan.Jpeg, tuple[str, ...]]:
    if tables[:2] == b"\xff\xd8" and tables[-2:] == b"\xff\xd9":
        coded = coded[:2] + tables[2:-2] + coded[2:]
    jpeg = jpeg_scan.split(coded)
    if jpeg.frame.width * jpeg.frame.height > room:
        raise _damaged("TIFF", "a strip claims more pixels than the page")
    return jpeg_damage.check(coded, jpeg)


# --- WebP ---------------------------------------------------------------------------------------


def check_webp(data: bytes, load: Callable[[], np.ndarray]) -> tuple[str, ...]:
    """Notes on a WebP file; raises Refusal where a sector of zeros cannot be codes of its pixels.

    In flat areas zeros are right: lossy WebP then spends up to eight bytes on a block of 16 x 16.
    But it also decodes wrong zeros to flat areas. Where there are such, nobody can tell.

    Args:
      data: the file's bytes.
      load: gives the decoded pixels, uint8 [H, W, 3]; called where such zeros are found.
    """
    longest = 0
    for kind, start, end in _chunks(data, 12, len(data)):
        frame = _chunks(data, start + 16, end) if kind == b"ANMF" else [(kind, start, end)]
        for part, first, last in frame:
            if part in (b"VP8 ", b"VP8L"):
                runs = _ZEROS.finditer(data, first, last)
                longest = max(longest, *(found.end() - found.start() for found in runs), 0)
        if kind in (b"ANMF", b"VP8 ", b"VP8L"):
            break  # only the first frame is read
    if not longest:
        return ()
    if longest > _BYTES_OF_A_FLAT_BLOCK * _num_flat_blocks(load()):
        raise _damaged("WebP", "zeros stand in its coded pixels")
    return (
        f"{MAY_BE_DAMAGED}: zeros stand in its coded pixels, as damage or large flat areas leave",
    )


def _num_flat_blocks(pixels: np.ndarray) -> int:
    """How many blocks of 16 x 16 are flat in their middle, where the loop filter does not reach."""
    down, across = (side // 16 for side in pixels.shape[:2])
    blocks = pixels[: 16 * down, : 16 * across, 1].reshape(down, 16, across, 16)
    middle = blocks[:, 4:12, :, 4:12]
    return int((np.ptp(middle, axis=(1, 3)) <= 2).sum())


def _chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], start + 8, min(start + 8 + size, end)
        start += 8 + size + size % 2


# --- HEIF and AVIF ------------------------------------------------------------------------------


def check_items(data: bytes) -> None:
    """Refuses a HEIF or AVIF file whose coded items are damaged or lie outside it.

    A file that is not understood here is left to its decoder.
    """
    try:
        items = _coded_items(data)
    except (struct.error, IndexError):
        return
    for kind, ranges, length_bytes in items:
        if any(start + length > len(data) for start, length in ranges):
            raise Refusal("the HEIF file is truncated: items lie outside it", CURE_COPY)
        coded = b"".join(data[start : start + length] for start, length in ranges)
        if kind == b"hvc1" and not _is_units(coded, length_bytes):
            raise _damaged("HEIF", "its coded pixels break the rules")
        if kind == b"av01" and _SECTOR in coded:
            raise _damaged("AVIF", "zeros stand in its coded pixels")


def _is_units(coded: bytes, length_bytes: int) -> bool:
    """Whether bytes are units of HEVC, each behind its length."""
    at = 0
    while at < len(coded):
        start = at + length_bytes
        end = start + int.from_bytes(coded[at:start], "big")
        if end > len(coded) or end < start + 2 or _NOT_IN_A_UNIT.search(coded, start, end):
            return False
        at = end
    return True


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, kind, head = *struct.unpack_from(">I4s", data, start), 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        stop = end if size == 0 else start + size
        if stop < start + head:
            return
        yield kind, start + head, min(stop, end)
        start = stop


def _inside(data: bytes, kinds: tuple[bytes, ...], skip: tuple[int, ...]) -> tuple[int, int]:
    """Start and end of the first box at the end of a path; (0, 0) where there is none."""
    start, end = 0, len(data)
    for kind, more in zip(kinds, skip, strict=True):
        found = next((box for box in _boxes(data, start, end) if box[0] == kind), None)
        if not found:
            return 0, 0
        start, end = found[1] + more, found[2]
    return start, end


def _coded_items(data: bytes) -> list[tuple[bytes, list[tuple[int, int]], int]]:
    """Kind, byte ranges and bytes of a length (HEVC) of each item that is coded pixels."""
    kinds = {}
    start, end = _inside(data, (b"meta", b"iinf"), (4, 0))
    for box, at, _ in _boxes(data, start + (6 if data[start : start + 1] == b"\0" else 8), end):
        if box == b"infe" and data[at] in (2, 3):
            form = ">HH4s" if data[at] == 2 else ">IH4s"
            number, _, kind = struct.unpack_from(form, data, at + 4)
            kinds[number] = kind
    start, end = _inside(data, (b"meta", b"iprp", b"ipco", b"hvcC"), (4, 0, 0, 0))
    length_bytes = 1 + (data[start + 21] & 3) if end - start > 21 else 4
    start, end = _inside(data, (b"meta", b"iloc"), (4, 0))
    ranges = _item_ranges(data[start:end])
    return [
        (kind, ranges[number], length_bytes)
        for number, kind in kinds.items()
        if kind in (b"hvc1", b"av01") and number in ranges
    ]


def _item_ranges(iloc: bytes) -> dict[int, list[tuple[int, int]]]:
    """Item -> byte ranges in the file, from the content of a box "iloc"."""
    version, sizes = iloc[0], (iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15)
    offset_size, length_size, base_size, index_size = sizes
    wide, at, ranges = 4 if version == 2 else 2, 6, {}

    def take(size: int) -> int:
        nonlocal at
        if at + size > len(iloc):
            raise IndexError
        at += size
        return int.from_bytes(iloc[at - size : at], "big")

    for _ in range(min(take(wide), _MAX_BOXES)):
        number = take(wide)
        in_file = version == 0 or take(2) & 15 == 0
        same_file, base = take(2) == 0, take(base_size)
        found = []
        for _ in range(take(2)):
            if version:
                take(index_size)
            found.append((base + take(offset_size), take(length_size)))
        if in_file and same_file and all(length for _, length in found):
            ranges[number] = found
    return ranges
