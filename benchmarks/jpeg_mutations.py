"""Named changes of a JPEG file's parts, and what a reader has to make of each.

A trailer behind the picture, stray bytes between segments or a missing end marker leave the pixels
as they are; damage to the coded pixels must not pass where libjpeg warns of it. For
`benchmarks.fuzz`.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.mutations import Expected, Mutation

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS = 0xDA
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


class Segment(NamedTuple):
    """A segment of a JPEG file; `blocks` is where the coded blocks of a scan start, else `end`."""

    marker: int
    start: int
    blocks: int
    end: int


def jpeg_parts(data: bytes) -> list[Segment] | None:
    """The segments of a JPEG file from behind SOI to EOI; None for any other or an odd one."""
    if data[:2] != _SOI:
        return None
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        blocks = end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:
            match = _END_OF_SCAN.search(data, blocks)
            end = match.start() if match else len(data)
        segments.append(Segment(marker, at, blocks, end))
        if data[end:] == _EOI:
            has_scan = any(segment.marker == _SOS for segment in segments)
            return [*segments, Segment(0xD9, end, end + 2, end + 2)] if has_scan else None
        at = end
    return None


def _scans(data: bytes) -> list[Segment]:
    """The scans that hold more than a few blocks."""
    parts = jpeg_parts(data) or []
    return [part for part in parts if part.marker == _SOS and part.end - part.blocks > 64]


# --- behind the picture ---------------------------------------------------------------------------


def _random_trailer(rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.choice([1, 100, 5_000, 300_000])))


def _video_trailer(rng: np.random.Generator) -> bytes:
    """What a motion photo has behind its picture."""
    return b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + rng.bytes(int(rng.integers(1000, 200_000)))


def _picture_trailer(rng: np.random.Generator) -> bytes:
    """A gain map or a second view: JPEG files of their own."""
    pixels = rng.integers(0, 256, (16, 24), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue() * int(rng.integers(1, 3))


def _maker_trailer(rng: np.random.Generator) -> bytes:
    """Text and numbers of a maker, with another file's signature now and then."""
    signature = (b"SEFHe\0\0\0", b"PK\3\4\x14\0\0\0", b"QDIOBS\0\0", b"\0\0\0\0\0\0\0\0")
    text = b"Image_UTC_Data1668000000000" * int(rng.integers(1, 40))
    return signature[rng.integers(4)] + text + b"SEFT"


def _add_trailer(
    data: bytes,
    rng: np.random.Generator,
    others: Sequence[bytes],
    make: Callable[[np.random.Generator], bytes],
    keep_end_marker: bool = True,
) -> bytes | None:
    """A trailer behind the picture, with or without the picture's own end marker before it."""
    if jpeg_parts(data) is None:
        return None
    return (data if keep_end_marker else data[:-2]) + make(rng)


def _drop_end_marker(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    return data[:-2] if jpeg_parts(data) else None


# --- between and among the segments ---------------------------------------------------------------


def _insert_stray_bytes(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    """Bytes that belong to no segment, before one of those up to the first scan."""
    parts = jpeg_parts(data)
    if parts is None:
        return None
    first_scan = next(k for k, part in enumerate(parts) if part.marker == _SOS)
    # Not right behind SOI: the first three bytes are what a JPEG file is known by.
    at = parts[rng.integers(1, first_scan + 1)].start
    stray = rng.bytes(int(rng.choice([1, 2, 64, 3000]))).replace(b"\xff", b"\0")
    return data[:at] + stray + data[at:]


def _insert_stray_bytes_between_scans(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    scans = _scans(data)
    if not scans:
        return None
    at = scans[rng.integers(len(scans))].end
    return data[:at] + rng.bytes(int(rng.integers(1, 40))).replace(b"\xff", b"\0") + data[at:]


def _insert_fill_bytes(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    """Bytes FF before a marker, of which there may be any number."""
    parts = jpeg_parts(data)
    if parts is None:
        return None
    at = parts[rng.integers(len(parts))].start
    return data[:at] + b"\xff" * int(rng.integers(1, 70)) + data[at:]


def _insert_application_segment(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    """Metadata of an unknown program; no marker among those that decide colours."""
    parts = jpeg_parts(data)
    if parts is None:
        return None
    first_scan = next(k for k, part in enumerate(parts) if part.marker == _SOS)
    at = parts[rng.integers(1, first_scan + 1)].start
    content = rng.bytes(int(rng.integers(0, 5000)))
    marker = bytes((0xFF, int(rng.integers(0xE3, 0xED))))
    return data[:at] + marker + (len(content) + 2).to_bytes(2, "big") + content + data[at:]


def _drop_segment(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes | None:
    """Without a table, a frame or a scan header."""
    parts = [p for p in jpeg_parts(data) or () if not 0xE0 <= p.marker <= 0xEF]
    if len(parts) < 2:
        return None
    part = parts[rng.integers(len(parts) - 1)]  # the end marker has a mutation of its own
    return data[: part.start] + data[part.blocks :]


def _drop_marker_byte(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    """The FF of a marker is lost."""
    parts = jpeg_parts(data)
    if parts is None:
        return None
    at = parts[rng.integers(len(parts))].start
    return data[:at] + data[at + 1 :]


def _change_restart_marker(
    data: bytes, rng: np.random.Generator, others: Sequence[bytes]
) -> bytes | None:
    """A restart marker is dropped, doubled or given another number."""
    places = [
        match.start()
        for scan in _scans(data)
        for match in _RESTART.finditer(data, scan.blocks, scan.end)
    ]
    if not places:
        return None
    at = places[rng.integers(len(places))]
    other = bytes((0xFF, 0xD0 + int(rng.integers(8))))
    changed = (b"", data[at : at + 2] * 2, other)[rng.integers(3)]
    return data[:at] + changed + data[at + 2 :]


# --- coded pixels ---------------------------------------------------------------------------------


def _change_scan(
    data: bytes,
    rng: np.random.Generator,
    others: Sequence[bytes],
    change: Callable[[bytes, np.random.Generator], bytes],
) -> bytes | None:
    """Changes the coded blocks of one scan."""
    scans = _scans(data)
    if not scans:
        return None
    scan = scans[rng.integers(len(scans))]
    blocks = change(data[scan.blocks : scan.end], rng)
    return data[: scan.blocks] + blocks + data[scan.end :]


def _overwritten(blocks: bytes, sector: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(blocks)))
    return blocks[:at] + sector[: len(blocks) - at] + blocks[at + len(sector) :]


def _zero_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    return _overwritten(blocks, bytes(int(rng.choice([4, 32, 512, 4096]))), rng)


def _randomize_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    sector = rng.bytes(int(rng.choice([1, 4, 32, 512]))).replace(b"\xff", b"a")
    return _overwritten(blocks, sector, rng)


def _flip_bits_in_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(blocks)
    for at in rng.integers(len(blocks), size=int(rng.choice([1, 5, 40]))):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _delete_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(blocks)))
    return blocks[:at] + blocks[at + int(rng.choice([1, 16, 512])) :]


def _insert_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(blocks)))
    return (
        blocks[:at] + rng.bytes(int(rng.choice([1, 16, 512]))).replace(b"\xff", b"a") + blocks[at:]
    )


def _swap_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    """Two halves of a part change places, as clusters of a disk do."""
    low, middle, high = np.sort(rng.integers(len(blocks), size=3)).tolist()
    return blocks[:low] + blocks[middle:high] + blocks[low:middle] + blocks[high:]


def _cut_blocks(blocks: bytes, rng: np.random.Generator) -> bytes:
    """The rest of the scan is missing; the end marker is there."""
    return blocks[: int(rng.integers(len(blocks)))].rstrip(b"\xff")


_TRAILERS = {
    "random trailer": _random_trailer,
    "video trailer": _video_trailer,
    "picture trailer": _picture_trailer,
    "maker's trailer": _maker_trailer,
}
_SCAN_CHANGES = {
    "zeros in a scan": _zero_blocks,
    "random bytes in a scan": _randomize_blocks,
    "flipped bits in a scan": _flip_bits_in_blocks,
    "deleted bytes in a scan": _delete_blocks,
    "inserted bytes in a scan": _insert_blocks,
    "swapped parts of a scan": _swap_blocks,
    "cut scan with an end marker": _cut_blocks,
}
JPEG_MUTATIONS = (
    *(
        Mutation(name, functools.partial(_add_trailer, make=make), Expected.SAME_PIXELS)
        for name, make in _TRAILERS.items()
    ),
    Mutation("no end marker", _drop_end_marker, Expected.SAME_PIXELS_NOTED),
    Mutation(
        "no end marker before a maker's trailer",
        functools.partial(_add_trailer, make=_maker_trailer, keep_end_marker=False),
        Expected.SAME_PIXELS_NOTED,
    ),
    # Random bytes may look like blocks: then only a refusal is right.
    Mutation(
        "no end marker before a random trailer",
        functools.partial(_add_trailer, make=_random_trailer, keep_end_marker=False),
        Expected.AS_LIBJPEG,
    ),
    Mutation("stray bytes", _insert_stray_bytes, Expected.SAME_PIXELS_NOTED),
    Mutation("stray bytes between scans", _insert_stray_bytes_between_scans, Expected.AS_LIBJPEG),
    Mutation("fill bytes", _insert_fill_bytes, Expected.SAME_PIXELS),
    Mutation("application segment", _insert_application_segment, Expected.SAME_PIXELS),
    Mutation("missing segment", _drop_segment, Expected.AS_LIBJPEG),
    Mutation("missing marker byte", _drop_marker_byte, Expected.AS_LIBJPEG),
    Mutation("restart marker", _change_restart_marker, Expected.AS_LIBJPEG),
    *(
        Mutation(name, functools.partial(_change_scan, change=change), Expected.AS_LIBJPEG)
        for name, change in _SCAN_CHANGES.items()
    ),
)
