"""Content Credentials (C2PA) in a JPEG file: that they are there, and what they claim.

The boxes are walked within bounds and a few texts are taken out of them. No signature is checked:
what stands here is what the file says of itself, and anybody can write it.

Sources: ISO/IEC 19566-5 (JUMBF), C2PA specification 2.1 (claims, actions), RFC 8949 (CBOR texts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_BYTES = 4 << 20
_MAX_BOXES, _MAX_DEPTH, _MAX_TEXTS = 500, 8, 12
_GENERATOR = re.compile(rb"claim_generator(?:_info)?")
# CBOR writes a text's length before it: in one byte with 0x60, or in the byte behind 0x78. Nothing
# else tells where the text ends.
_ACTION = re.compile(rb"[\x66-\x77](?=c2pa\.)")
_SOURCE_TYPE = re.compile(rb"(?s)\x78.(?=https?://[!-~]{0,120}digitalsourcetype/)")
_ACTIONS = frozenset(
    (
        *("c2pa.created", "c2pa.opened", "c2pa.edited", "c2pa.cropped", "c2pa.resized"),
        *("c2pa.converted", "c2pa.color_adjustments", "c2pa.filtered", "c2pa.placed"),
        *("c2pa.published", "c2pa.drawing", "c2pa.orientation", "c2pa.transcoded", "c2pa.removed"),
    )
)


class Manifest(NamedTuple):
    """What Content Credentials claim.

    Attributes:
      labels: Of their boxes, like "c2pa.claim"; some of them.
      generator: The program or camera that claims to have written them; "" where none is named.
      actions: What they say was done, like "c2pa.created".
      source_types: Kinds of source that they name, like "trainedAlgorithmicMedia".
    """

    labels: tuple[str, ...]
    generator: str
    actions: tuple[str, ...]
    source_types: tuple[str, ...]


def read_manifest(bodies: Sequence[bytes]) -> Manifest | None:
    """Returns what the APP11 segments of a file claim; None where they hold no boxes.

    Args:
      bodies: Of the segments, from behind their length: "JP", an instance, a sequence number, and
        from the first 8 bytes of the box, which each segment repeats.
    """
    parts = [body for body in bodies if len(body) > 16 and body[:2] == b"JP"]
    if not parts:
        return None
    # 2 bytes "JP", 2 of the instance, 4 of the place; then the box, whose head each repeats.
    data = parts[0][8:] + b"".join(part[16:] for part in parts[1:])
    data = data[:MAX_BYTES]
    labels = [label for label in _labels(data) if label]
    if not labels:
        return None
    match = _GENERATOR.search(data)
    generator = _cbor_text(data, match.end()) if match else ""
    actions = {_text_at(data, m.end(), m[0][0] - 0x60) for m in _ACTION.finditer(data)}
    sources = [_text_at(data, m.end(), m[0][1]) for m in _SOURCE_TYPE.finditer(data)]
    sources = dict.fromkeys(text.rpartition("/")[2] for text in sources if text)
    return Manifest(
        tuple(dict.fromkeys(labels))[:_MAX_TEXTS],
        generator,
        tuple(sorted(actions & _ACTIONS)),
        tuple(sources)[:_MAX_TEXTS],
    )


def _labels(data: bytes) -> Iterator[str]:
    """Labels of the description boxes, in order; stops at the first box whose length lies."""
    pending = [(0, len(data), 0)]
    for _ in range(_MAX_BOXES):
        if not pending:
            return
        at, end, depth = pending.pop()
        if at + 8 > end:
            continue
        length = int.from_bytes(data[at : at + 4], "big") or end - at
        kind, head = data[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if length < head or at + length > end:
            if kind not in (b"jumb", b"jumd"):
                continue
            length = end - at
        pending.append((at + length, end, depth))
        if kind == b"jumb" and depth < _MAX_DEPTH:
            pending.append((at + head, at + length, depth + 1))
        elif kind == b"jumd" and length > head + 17:
            text = data[at + head + 17 : at + length].partition(b"\0")[0]
            yield "".join(c for c in text[:80].decode("latin-1") if c.isprintable())


def _text_at(data: bytes, start: int, length: int) -> str:
    """Printable ASCII of a length; "" where there is other text."""
    text = data[start : start + length].decode("latin-1")
    return text if len(text) == length and text.isascii() and text.isprintable() else ""


def _cbor_text(data: bytes, at: int) -> str:
    """The first text at or shortly behind a place, as CBOR writes it."""
    for start in range(at, min(at + 24, len(data) - 1)):
        first = data[start]
        if 0x61 <= first <= 0x77:
            length, begin = first - 0x60, start + 1
        elif first == 0x78:
            length, begin = data[start + 1], start + 2
        else:
            continue
        text = data[begin : begin + length]
        if len(text) == length and text.isascii() and text.decode("ascii").isprintable():
            # A map begins with the name of its first entry, "name"; its text follows.
            return _cbor_text(data, begin + length) if text == b"name" else text.decode("ascii")
    return ""
