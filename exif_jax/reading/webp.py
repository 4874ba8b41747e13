"""WebP files: the size that they claim, and damage in their coded pixels where it can be known.

WebP has no checksum, and its decoder takes most wrong codes for right ones: nobody can see most
changed bytes.

Source: the WebP container specification.
"""

import re
import struct
from collections.abc import Callable, Iterator

import numpy as np

from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal

_SECTOR_OF_ZEROS = re.compile(rb"\0{512,}")  # the smallest part of a disk or card that goes bad
_BYTES_OF_A_FLAT_BLOCK = 16  # of 16 x 16 pixels; encoders were seen to spend up to eight
_MAX_CHUNKS = 10_000
_CODED_PIXELS = (b"VP8 ", b"VP8L")


def webp_size(data: bytes) -> tuple[int, int]:
    """Returns width and height from the first chunk; Pillow allocates them when it opens a file.

    Raises:
      Refusal: There is no such chunk.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if len(body) == 10 and kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if len(body) == 10 and kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise Refusal("the WebP file is damaged", CURE_COPY)


def check_webp(data: bytes, load: Callable[[], np.ndarray]) -> tuple[str, ...]:
    """Returns notes on a file that is decoded without an error.

    In flat areas zeros are right: lossy WebP then spends up to eight bytes on a block of 16 x 16.
    But it also decodes wrong zeros to flat areas. Where there are such, nobody can tell.

    Args:
      data: The file's bytes.
      load: Gives the decoded pixels, uint8 [H, W, 3]; called where sectors of zeros are.

    Raises:
      Refusal: A sector of zeros cannot be codes of the file's pixels.
    """
    longest = _longest_zeros(data)
    if not longest:
        return ()
    if longest > _BYTES_OF_A_FLAT_BLOCK * _num_flat_blocks(load()):
        raise Refusal("the WebP picture is damaged: zeros stand in its coded pixels", CURE_COPY)
    return (
        f"{MAY_BE_DAMAGED}: zeros stand in its coded pixels, as damage or large flat areas leave",
    )


def _longest_zeros(data: bytes) -> int:
    """Bytes of the longest run of zeros, of a sector at least, in the first frame's pixels."""
    longest = 0
    for kind, start, end in _chunks(data, 12, len(data)):
        parts = _chunks(data, start + 16, end) if kind == b"ANMF" else [(kind, start, end)]
        for part, first, last in parts:
            if part in _CODED_PIXELS:
                runs = _SECTOR_OF_ZEROS.finditer(data, first, last)
                longest = max(longest, *(run.end() - run.start() for run in runs), 0)
        if kind in (b"ANMF", *_CODED_PIXELS):
            break  # only the first frame is read
    return longest


def _num_flat_blocks(pixels: np.ndarray) -> int:
    """How many blocks of 16 x 16 are flat in their middle, where the loop filter does not reach."""
    down, across = (side // 16 for side in pixels.shape[:2])
    blocks = pixels[: 16 * down, : 16 * across, 1].reshape(down, 16, across, 16)
    middle = blocks[:, 4:12, :, 4:12]
    return int((np.ptp(middle, axis=(1, 3)) <= 2).sum())


def _chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each chunk."""
    for _ in range(_MAX_CHUNKS):
        if start + 8 > end:
            return
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], start + 8, min(start + 8 + size, end)
        start += 8 + size + size % 2
