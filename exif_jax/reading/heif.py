"""HEIF and AVIF files: whether they are whole, and damage in their coded pixels where it shows.

Known is: boxes and items that lie outside the file; HEVC units whose lengths are wrong or that hold
byte patterns that no unit may hold; a sector of zeros or of ones, as bad disks and erased cards
give them, among arithmetic codes. Most other changed bytes nobody can see: these formats have no
checksums.

Sources: ISO/IEC 14496-12 (boxes), 14496-15 (HEVC in boxes), 23008-12 (items); ITU H.265, 7.4.2.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from exif_jax.reading.refusal import CURE_COPY, Refusal

_MAX_TOP_BOXES = 1000  # cameras write about five
_NEEDED_BOXES = frozenset((b"meta", b"mdat"))
# What may stand at the top of a file besides; cameras have boxes of their own.
_TOP_BOXES = _NEEDED_BOXES | {b"ftyp", b"free", b"skip", b"uuid", b"moov", b"moof", b"mpvd"}
_MAX_BOXES = 10_000  # a photo of 200 megapixels in tiles of 512 x 512 has some 800 items
_MAX_PIECES = 100_000  # of all items; mostly one of each
# The smallest part of a disk or card that goes bad.
_BAD_SECTORS = {bytes(512): "zeros stand", b"\xff" * 512: "nothing but ones stands"}
_NOT_IN_A_UNIT = re.compile(rb"\0\0[\0-\2]")  # HEVC writes 00 00 03 instead
_HEVC, _AV1 = b"hvc1", b"av01"
_KINDS = {_HEVC: "HEIF", _AV1: "AVIF"}


class Item(NamedTuple):
    """Coded pixels in a file.

    Attributes:
      kind: b"hvc1" or b"av01".
      ranges: Start and length of each piece, in bytes.
      length_bytes: How many bytes the length of an HEVC unit takes.
    """

    kind: bytes
    ranges: list[tuple[int, int]]
    length_bytes: int


def end_of_boxes(data: bytes, kind: str) -> int:
    """Returns where the last box of a file ends; what follows is none of the photo's.

    Cameras store a photo as a grid of tiles. libheif decodes a file without an error when only its
    first tiles are there: its boxes must be whole. Once the pixels and what describes them are
    there, bytes that are no box are what somebody has appended.

    Args:
      data: The file's bytes.
      kind: What messages call the format.

    Raises:
      Refusal: A box ends beyond the file or is damaged.
    """
    position, names = 0, set()
    for _ in range(_MAX_TOP_BOXES + 1):  # the last finds the end
        if position == len(data):
            return position
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 :][:4]
        if size == 1:  # the size follows in 64 bits
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # the box ends where the file ends
            return len(data)
        if size < 8 or position + size > len(data):
            if names >= _NEEDED_BOXES and name not in _TOP_BOXES:
                return position
            cause = "damaged" if size < 8 else "truncated"
            raise Refusal(f"the {kind} file is {cause}", CURE_COPY)
        position += size
        names.add(name)
    raise Refusal(f"more than {_MAX_TOP_BOXES} {kind} boxes", CURE_COPY)


def check_items(data: bytes) -> None:
    """Refuses a file whose coded items are damaged or lie outside it.

    A file that is not understood here is left to its decoder.
    """
    try:
        items = _coded_items(data)
    except (struct.error, IndexError):
        return
    for item in items:
        kind = _KINDS[item.kind]
        if any(start + length > len(data) for start, length in item.ranges):
            raise Refusal(f"the {kind} file is truncated: items lie outside it", CURE_COPY)
    if sum(length for item in items for _, length in item.ranges) > 2 * len(data) + 65536:
        raise Refusal("its items claim more than the file holds", CURE_COPY)
    for item in items:
        coded = b"".join(data[start : start + length] for start, length in item.ranges)
        if item.kind == _HEVC and not _is_units(coded, item.length_bytes):
            raise Refusal(
                "the HEIF picture is damaged: its coded pixels break the rules", CURE_COPY
            )
        for sector, what in _BAD_SECTORS.items():
            if sector in coded:
                cause = f"the {_KINDS[item.kind]} picture is damaged: {what} in its coded pixels"
                raise Refusal(cause, CURE_COPY)


def avif_bits(data: bytes) -> int:
    """Returns the bits of a sample of an AVIF file: 8, 10 or 12; 8 where it does not say."""
    try:
        start, end = _box_at(data, ((b"meta", 4), (b"iprp", 0), (b"ipco", 0), (b"av1C", 0)))
    except struct.error:
        return 8
    flags = data[start + 2] if end - start > 2 else 0
    is_high, is_twelve = flags & 0x40, flags & 0x20
    return 12 if is_high and is_twelve else 10 if is_high else 8


def _is_units(coded: bytes, length_bytes: int) -> bool:
    """Whether bytes are units of HEVC, each behind its length."""
    position = 0
    while position < len(coded):
        start = position + length_bytes
        end = start + int.from_bytes(coded[position:start], "big")
        if end > len(coded) or end < start + 2 or _NOT_IN_A_UNIT.search(coded, start, end):
            return False
        position = end
    return True


# --- boxes --------------------------------------------------------------------------------------


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box; raises struct.error."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        stop = end if size == 0 else start + size
        if stop < start + head:
            return
        yield kind, start + head, min(stop, end)
        start = stop


def _box_at(data: bytes, path: tuple[tuple[bytes, int], ...]) -> tuple[int, int]:
    """Start and end of the content of the first box at the end of a path; (0, 0) if there is none.

    Args:
      data: The file's bytes.
      path: Kind of each box, and how many bytes of its content stand before the boxes in it.
    """
    start, end = 0, len(data)
    for kind, num_skipped in path:
        box = next((box for box in _boxes(data, start, end) if box[0] == kind), None)
        if not box:
            return 0, 0
        start, end = box[1] + num_skipped, box[2]
    return start, end


def _coded_items(data: bytes) -> list[Item]:
    """The items that are coded pixels; raises struct.error or IndexError."""
    kinds = {}
    start, end = _box_at(data, ((b"meta", 4), (b"iinf", 0)))
    first = start + (6 if data[start : start + 1] == b"\0" else 8)
    for box, position, _ in _boxes(data, first, end):
        if box == b"infe" and data[position] in (2, 3):
            form = ">HH4s" if data[position] == 2 else ">IH4s"
            number, _, kind = struct.unpack_from(form, data, position + 4)
            kinds[number] = kind
    start, end = _box_at(data, ((b"meta", 4), (b"iprp", 0), (b"ipco", 0), (b"hvcC", 0)))
    length_bytes = 1 + (data[start + 21] & 3) if end - start > 21 else 4
    start, end = _box_at(data, ((b"meta", 4), (b"iloc", 0)))
    ranges = _item_ranges(data[start:end])
    return [
        Item(kind, ranges[number], length_bytes)
        for number, kind in kinds.items()
        if kind in _KINDS and number in ranges
    ]


class _Numbers:
    """Reads big-endian numbers one after the other; raises IndexError behind the last."""

    def __init__(self, data: bytes, position: int):
        self._data, self._position = data, position

    def read(self, size: int) -> int:
        end = self._position + size
        if end > len(self._data):
            raise IndexError
        number = int.from_bytes(self._data[self._position : end], "big")
        self._position = end
        return number


def _item_ranges(iloc: bytes) -> dict[int, list[tuple[int, int]]]:
    """Item -> byte ranges in the file, from the content of a box "iloc"; raises IndexError."""
    version, offset_size, length_size = iloc[0], iloc[4] >> 4, iloc[4] & 15
    base_size, index_size = iloc[5] >> 4, iloc[5] & 15
    number_size = 4 if version == 2 else 2
    numbers, ranges, pieces_left = _Numbers(iloc, 6), {}, _MAX_PIECES
    for _ in range(min(numbers.read(number_size), _MAX_BOXES)):
        item = numbers.read(number_size)
        in_file = version == 0 or numbers.read(2) & 15 == 0
        in_this_file = numbers.read(2) == 0
        base = numbers.read(base_size)
        pieces = []
        num_pieces = numbers.read(2)
        pieces_left -= num_pieces
        if pieces_left < 0:
            raise IndexError
        for _ in range(num_pieces):
            if version:
                numbers.read(index_size)
            offset, length = numbers.read(offset_size), numbers.read(length_size)
            pieces.append((base + offset, length))
        if in_file and in_this_file and all(length for _, length in pieces):
            ranges[item] = pieces
    return ranges
