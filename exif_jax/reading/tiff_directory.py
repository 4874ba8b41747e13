"""Directories of tags as TIFF files and EXIF blocks hold them, read without trust.

Sources: TIFF 6.0 (types 1 to 12), Exif 3.0 (type 129).
"""

import struct
from typing import NamedTuple

from PIL.TiffImagePlugin import IFDRational

MAX_ENTRIES = 1000  # of one directory

_ASCII, _UTF8 = 2, 129
_TYPES = {1: "B", _ASCII: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h"}
_TYPES |= {9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", _UTF8: "s"}


class Entry(NamedTuple):
    """A tag of a directory.

    Attributes:
      tag: Its number.
      type: Of its values; see `is_readable`.
      count: How many values there are.
      position: Where the entry lies, in bytes from the start of the block.
      values_at: Where the values lie, likewise.
      num_bytes: How many bytes the values take; 0 of an unknown type.
    """

    tag: int
    type: int
    count: int
    position: int
    values_at: int
    num_bytes: int


def byte_order(block: bytes) -> str:
    """Returns "<" or ">" as struct wants it; raises struct.error where there is no TIFF header."""
    if block[:4] not in (b"II*\0", b"MM\0*"):
        raise struct.error("no TIFF header")
    return "<" if block[:2] == b"II" else ">"


def read_entries(block: bytes, offset: int) -> tuple[list[Entry], int]:
    """Returns the entries of a directory, and where its link to the next directory lies.

    At most `MAX_ENTRIES` are returned.

    Args:
      block: The bytes that all offsets count from.
      offset: Where the directory starts.

    Raises:
      struct.error: The directory lies outside the block.
    """
    order = byte_order(block)
    (count,) = struct.unpack_from(order + "H", block, offset)
    entries = []
    for position in range(offset + 2, offset + 2 + 12 * min(count, MAX_ENTRIES), 12):
        tag, kind, length = struct.unpack_from(order + "HHI", block, position)
        num_bytes = length * struct.calcsize("=" + _TYPES.get(kind, ""))
        (pointer,) = struct.unpack_from(order + "I", block, position + 8)
        values_at = pointer if num_bytes > 4 else position + 8
        entries.append(Entry(tag, kind, length, position, values_at, num_bytes))
    return entries, offset + 2 + 12 * count


def first_directory(block: bytes) -> tuple[list[Entry], int]:
    """Returns `read_entries` of the directory that the header names; raises struct.error."""
    (start,) = struct.unpack_from(byte_order(block) + "I", block, 4)
    return read_entries(block, start)


def is_readable(entry: Entry) -> bool:
    """Returns whether an entry is of a type that `entry_values` knows."""
    return entry.type in _TYPES


def entry_values(block: bytes, entry: Entry) -> object:
    """Returns the values of a readable entry in the forms that `exif.from_values` takes.

    Raises:
      struct.error: The values lie outside the block.
    """
    form = _TYPES[entry.type]
    if form == "s":
        data = block[entry.values_at : entry.values_at + entry.num_bytes]
        if entry.type == _UTF8:
            return data.decode("utf-8", "replace")
        return data.decode("latin-1") if entry.type == _ASCII else data
    values = struct.unpack_from(
        f"{byte_order(block)}{entry.count * len(form)}{form[0]}", block, entry.values_at
    )
    if len(form) == 2:
        pairs = zip(values[::2], values[1::2], strict=True)
        values = tuple(IFDRational(numerator, denominator) for numerator, denominator in pairs)
    return values[0] if len(values) == 1 else values
