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
    """A record, a shard or an index is missing, damaged or of another version."""


def write_frames(path: str | os.PathLike, payloads: Iterable[bytes]) -> np.ndarray:
    """Writes a TFRecord file whole or not at all.

    Args:
        path: where to write it.
        payloads: taken one at a time (bounded memory).

    Returns:
        int64 [N, 2]: offset and length of each payload in the file.

    Raises:
        OSError: as the system says; nothing is left behind.
    """
    spans: list[tuple[int, int]] = []
    with replacing(path) as file:
        file.writelines(_frames(payloads, spans))
    return np.array(spans, np.int64).reshape(-1, 2)


def _frames(payloads: Iterable[bytes], spans: list[tuple[int, int]]) -> Iterator[bytes]:
    """Yields each payload in its frame, and appends its offset and length to `spans`."""
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
    """Checks the spans that `write_frames` returned, int64 [N, 2], against the size of the file.

    Raises:
        RecordError: the file is truncated, or the spans are another file's.
        OSError: the size of the file cannot be read.
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
        RecordError: the file cannot be read or a checksum differs; the message names the file and
            the offset.
    """
    try:
        frame = read_range(path, offset - _HEADER_BYTES, _HEADER_BYTES + length + _CRC.size)
    except OSError as error:
        reason = error.strerror or error
        raise RecordError(f"{path}: cannot read at offset {offset}: {reason}") from error
    header = frame[:_HEADER_BYTES]
    payload = frame[_HEADER_BYTES : _HEADER_BYTES + length]
    crc = frame[_HEADER_BYTES + length :]
    packed_length = _LENGTH.pack(length)
    if header != packed_length + _masked_crc(packed_length) or crc != _masked_crc(payload):
        raise RecordError(
            f"{path}: wrong checksum at offset {offset}: the shard is damaged; copy it again or "
            "write the records again"
        )
    return payload
