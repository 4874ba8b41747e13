"""Named changes of what a JPEG file holds beside its pixels, which leave the pixels as they are.

Thumbnails that are bombs, cut or no pictures, maker notes of any length, XMP with entities and long
histories, Content Credentials and lists of pictures whose lengths lie. For `benchmarks.fuzz`.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from benchmarks.jpeg_mutations import jpeg_parts
from benchmarks.mutations import Expected, Mutation

Rng = np.random.Generator
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, min(len(body), 65_533) + 2) + body[:65_533]


def _insert(
    data: bytes, rng: Rng, others: Sequence[bytes], make: Callable[[Rng], list[tuple[int, bytes]]]
) -> bytes | None:
    """A JPEG file with segments in front of all others."""
    if jpeg_parts(data) is None:
        return None
    return data[:2] + b"".join(_segment(*part) for part in make(rng)) + data[2:]


def _thumbnail(rng: Rng) -> bytes:
    stream = io.BytesIO()
    pixels = rng.integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((160, 120)).save(stream, "JPEG")
    data = stream.getvalue()
    at = data.index(b"\xff\xc0") + 5
    kind = rng.integers(5)
    if kind == 0:
        return data
    if kind == 1:  # a bomb
        return data[:at] + struct.pack(">HH", 65_000, 65_000) + data[at + 4 :]
    if kind == 2:
        return data[: int(rng.integers(len(data)))]
    if kind == 3:  # many scans
        scan = data[data.index(b"\xff\xda") : -2]
        return data[:-2] + scan * 60 + b"\xff\xd9"
    return rng.bytes(int(rng.integers(1, 5000)))


def _exif(rng: Rng) -> list[tuple[int, bytes]]:
    """An EXIF block with a thumbnail and a maker note, some of whose numbers lie."""
    small = _thumbnail(rng)
    make = (b"Canon\0", b"Panasonic\0", b"NIKON\0")[rng.integers(3)].ljust(10, b"\0")
    note = b"Panasonic\0\0\0" * bool(rng.integers(2)) + rng.bytes(int(rng.integers(10, 400)))
    at_camera, at_make = 8 + 2 + 2 * 12 + 4, 300
    at_second, at_note = 100, 320
    at_small = at_note + len(note)
    claim = int(rng.choice([len(note), 10 << 20, 2**32 - 1]))
    length = int(rng.choice([len(small), 2**31, 0]))
    link = int(rng.choice([at_second, 8, 2**32 - 1]))  # 8: the first directory again
    first = struct.pack("<HHHIIHHIII", 2, 0x010F, 2, 10, at_make, 0x8769, 4, 1, at_camera, link)
    camera = struct.pack("<HHHIII", 1, 0x927C, 7, claim, at_note, 0)
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, at_small, 0x0202, 4, 1, length, 0)
    block = bytearray(at_small) + small
    block[:8] = b"II*\0\x08\0\0\0"
    for at, part in ((8, first), (at_camera, camera), (at_second, second)):
        block[at : at + len(part)] = part
    block[at_make : at_make + 10], block[at_note : at_note + len(note)] = make, note
    return [(0xE1, b"Exif\0\0" + bytes(block))]


def _xmp(rng: Rng) -> list[tuple[int, bytes]]:
    entities = b'<!DOCTYPE a [<!ENTITY b "&c;&c;&c;">]><x xmp:CreatorTool="&b;"/>'
    history = b'<rdf:li stEvt:softwareAgent="' * int(rng.integers(1, 2000))
    bodies = (entities, history, b'xmp:CreatorTool="' + rng.bytes(3000), rng.bytes(500))
    times = int(rng.choice([1, 20]))
    return [(0xE1, _XMP + bodies[rng.integers(4)])] * times


def _boxes(rng: Rng) -> list[tuple[int, bytes]]:
    """Content Credentials of nested boxes; a length may lie."""
    store = b"\xa1\x6fclaim_generator\x64Tool" + rng.bytes(int(rng.integers(40)))
    for _ in range(int(rng.integers(1, 30))):
        told = int(rng.choice([0, 1, 7, 2**31, 2**32 - 1])) if rng.random() < 0.1 else None
        label = struct.pack(">I", 8 + 17 + 5) + b"jumd" + bytes(17) + b"c2pa\0"
        body = label + store
        store = struct.pack(">I", len(body) + 8 if told is None else told) + b"jumb" + body
    return [(0xEB, b"JP\0\1\0\0\0\1" + store)]


def _pictures(rng: Rng) -> list[tuple[int, bytes]]:
    """A list of pictures (MPF) whose places and lengths lie."""
    rows = b"".join(
        struct.pack("<IIIHH", 0x010001, *(int(n) for n in rng.choice([0, 9, 2**31], 2)), 0, 0)
        for _ in range(int(rng.integers(1, 80)))
    )
    head = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0xB002, 7, len(rows), 26) + bytes(4)
    return [(0xE2, b"MPF\0" + head + rows)]


def _profile(rng: Rng) -> list[tuple[int, bytes]]:
    count = struct.pack(">I", int(rng.choice([1, 2**32 - 1])))
    entry = b"desc" + struct.pack(">II", *(int(n) for n in rng.choice([0, 140, 2**31], 2)))
    return [(0xE2, b"ICC_PROFILE\0\1\1" + bytes(128) + count + entry + rng.bytes(60))]


_KINDS = {
    "EXIF with thumbnail and maker note": _exif,
    "XMP": _xmp,
    "Content Credentials": _boxes,
    "list of pictures": _pictures,
    "colour profile": _profile,
}
EVIDENCE_MUTATIONS = tuple(
    Mutation(name, functools.partial(_insert, make=make), Expected.SAME_PIXELS)
    for name, make in _KINDS.items()
)
