"""Named changes of the bytes of any file, and what a reader has to make of one.

For `benchmarks.fuzz`; `benchmarks.jpeg_mutations` has those of a JPEG file's parts.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Expected(enum.Enum):
    """What a reader has to make of a changed file, besides staying within its bounds."""

    ANYTHING = "anything"
    SAME_PIXELS = "the pixels of the unchanged file"
    SAME_PIXELS_NOTED = "the pixels of the unchanged file, and a note"
    AS_LIBJPEG = "a refusal or a note where libjpeg warns or fails"


class Mutation(NamedTuple):
    """A change of a file.

    Attributes:
      name: As findings and counts call it.
      apply: (bytes, random numbers, other files) -> changed bytes; None where it does not apply.
      expected: What a reader has to make of it.
    """

    name: str
    apply: Callable[[bytes, np.random.Generator, Sequence[bytes]], bytes | None]
    expected: Expected


# --- any bytes ------------------------------------------------------------------------------------


def _random_place(data: bytes, rng: np.random.Generator) -> int:
    """A position, more often near the head, where most of a file's structure lies."""
    is_head = rng.random() < 0.6
    return int(rng.integers(min(len(data), 600 if is_head else len(data))))


def _set_byte(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    at = _random_place(data, rng)
    return data[:at] + rng.bytes(1) + data[at + 1 :]


def _flip_bit(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    at = _random_place(data, rng)
    return data[:at] + bytes((data[at] ^ 1 << int(rng.integers(8)),)) + data[at + 1 :]


def _set_edge_number(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """A number at an edge, as lengths, counts and offsets are written."""
    at = _random_place(data, rng)
    size = int(rng.choice([1, 2, 4]))
    value = int(rng.choice(_EDGES)) & (256**size - 1)
    number = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return data[:at] + number + data[at + size :]


def _delete_bytes(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    at = _random_place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 64)) :]


def _insert_bytes(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    at = _random_place(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 64))) + data[at:]


def _insert_piece(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """A piece of another place, or of another file."""
    at = _random_place(data, rng)
    source = data if rng.random() < 0.5 else others[rng.integers(len(others))]
    start = int(rng.integers(len(source)))
    return data[:at] + source[start : start + int(rng.integers(1, 400))] + data[at:]


def _cut_off(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    return data[: _random_place(data, rng)]


def _damage_payload(data: bytes, rng: np.random.Generator, others: Sequence[bytes]) -> bytes:
    """Zeros or random bytes over a part behind the head, as a bad sector leaves them."""
    size = int(rng.choice([16, 64, 512]))
    at = int(rng.integers(len(data) // 5, len(data)))
    sector = bytes(size) if rng.random() < 0.5 else rng.bytes(size)
    return data[:at] + sector[: len(data) - at] + data[at + size :]


BYTE_MUTATIONS = (
    Mutation("set byte", _set_byte, Expected.ANYTHING),
    Mutation("flip bit", _flip_bit, Expected.ANYTHING),
    Mutation("edge number", _set_edge_number, Expected.ANYTHING),
    Mutation("delete bytes", _delete_bytes, Expected.ANYTHING),
    Mutation("insert bytes", _insert_bytes, Expected.ANYTHING),
    Mutation("insert piece", _insert_piece, Expected.ANYTHING),
    Mutation("cut off", _cut_off, Expected.ANYTHING),
    Mutation("damage payload", _damage_payload, Expected.ANYTHING),
)
