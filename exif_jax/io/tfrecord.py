"""TFRecord files: framing, checksums, random access; without TensorFlow.

Framing, https://www.tensorflow.org/tutorials/load_data/tfrecord: uint64 length, masked CRC-32C of
the length, payload, masked CRC-32C of the payload, all little-endian.
"""

import os
import struct
from collections.abc import Iterable, Iterator

import google_crc32c
import numpy as np

from exif_jax.io.atomic import replacing
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import read_range, size_of

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size


class RecordError(ExifJaxError):
    """A record, shard or index that is missing, damaged or of another version."""


def write_frames(path: str | os.PathLike, payloads: Iterable[bytes]) -> np.ndarray:
    """Writes a TFRecord file whole or not at all.

    Args:
      path: The file.
      payloads: Taken one at a time (bounded memory).

    Returns:
      int64 [N, 2]: offset and length of each payload in the file.

    Raises:
      OSError: As the system says; nothing is left behind.
    """
    spans: list[tuple[int, int]] = []
    with replacing(path) as file:
        file.writelines(_frames(payloads, spans))
    return np.array(spans, np.int64).reshape(-1, 2)


def _frames(payloads: Iterable[bytes], spans: list[tuple[int, int]]) -> Iterator[bytes]:
    position = 0
    for payload in payloads:
        spans.append((position + _HEADER_BYTES, len(payload)))
        length = _LENGTH.pack(len(payload))
        yield length + _masked_crc(length) + payload + _masked_crc(payload)
        position += _HEADER_BYTES + len(payload) + _CRC.size


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CRC.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def check_spans(path: str | os.PathLike, spans: np.ndarray) -> None:
    """Checks int64 [N, 2] as `write_frames` returns it against the size of the file.

    Raises:
      RecordError: If the file is missing or truncated, or the spans are another file's.
      OSError: If the file's size cannot be read.
    """
    size = size_of(path)
    # The bounds come first: beyond them the sums could overflow and agree by accident.
    bounded = spans.min(initial=0) >= 0 and spans.max(initial=0) <= size
    # The frames must follow each other without a gap and end where the file ends.
    ends = np.cumsum(spans[:, 1] + (_HEADER_BYTES + _CRC.size))
    starts = np.concatenate([[0], ends])[:-1] + _HEADER_BYTES
    end = ends[-1] if len(ends) else 0
    if not bounded or end != size or not np.array_equal(starts, spans[:, 0]):
        raise RecordError(
            f"{path}: {size} bytes do not fit its index; the shard is truncated or the index is "
            "another shard's: copy both again or write the records again"
        )


def read_payload(path: str | os.PathLike, offset: int, length: int) -> bytes:
    """Reads one payload and checks both of its checksums.

    Raises:
      RecordError: Naming shard and offset, if the file cannot be read or a checksum differs.
    """
    try:
        frame = read_range(path, offset - _HEADER_BYTES, _HEADER_BYTES + length + _CRC.size)
    except OSError as error:
        why = error.strerror or error
        raise RecordError(f"{path}: cannot read at offset {offset}: {why}") from error
    header, payload, crc = (
        frame[:_HEADER_BYTES],
        frame[_HEADER_BYTES : _HEADER_BYTES + length],
        frame[_HEADER_BYTES + length :],
    )
    packed = _LENGTH.pack(length)
    if header != packed + _masked_crc(packed) or crc != _masked_crc(payload):
        raise RecordError(
            f"{path}: wrong checksum at offset {offset}: the shard is damaged; copy it again or "
            "write the records again"
        )
    return payload
