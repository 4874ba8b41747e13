"""What tells a camera's own file from one that a program wrote, and one photo from its copies."""

import functools
import io
import itertools

import numpy as np
from PIL import Image

from exif_jax.reading.containers import Refusal, exif_parts, jpeg_segments

FACTS = ("maker note", "thumbnail", "tables of its own")
_BLOCK = 2048
_CELLS = 32  # a side of the picture that a fingerprint is made of
_WAVES = np.cos(np.pi / _CELLS * np.outer(np.arange(9), np.arange(_CELLS) + 0.5))


def camera_facts(data: bytes) -> dict[str, bool] | None:
    """What a camera writes and programs tend to lose, of a JPEG file with EXIF.

    Args:
      data: the file.

    Returns:
      Each of FACTS, true where the file has it: a maker note; a thumbnail; quantisation tables
      other than those of the Independent JPEG Group (ITU T.81, annex K, scaled by a quality),
      which most programs use and many cameras do not. None for another format, or without EXIF.
    """
    if data[:3] != b"\xff\xd8\xff":
        return None
    block, tables = b"", []
    try:
        for marker, segment in jpeg_segments(data):
            if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not block:
                block = segment[10:]
            elif marker == 0xDB:
                tables.append(segment[4:])
    except Refusal:
        return None
    if not block:
        return None
    parts = exif_parts(block)
    standard = standard_quality(b"".join(tables)) is not None
    return dict(
        zip(FACTS, ("maker note" in parts, "thumbnail" in parts, not standard), strict=True)
    )


def standard_quality(tables: bytes) -> int | None:
    """The quality 1..100 at which the IJG's library writes these tables; None if at none.

    Args:
      tables: what all DQT segments of a file hold, one after the other.
    """
    return _standard_tables().get(tables)


@functools.cache
def _standard_tables() -> dict[bytes, int]:
    """The tables of grey and colour photos, by asking the library that Pillow is built on."""
    found: dict[bytes, int] = {}
    for mode in ("RGB", "L"):
        for quality in range(100, 0, -1):
            stream = io.BytesIO()
            Image.new(mode, (8, 8)).save(stream, "JPEG", quality=quality)
            segments = jpeg_segments(stream.getvalue())
            found[b"".join(s[4:] for marker, s in segments if marker == 0xDB)] = quality
    return found


def fingerprint(image: Image.Image) -> int:
    """64 bits that a photo keeps when it is rescaled, compressed or brightened a little.

    The signs, about their median, of the lowest 64 waves of a cosine transform but the constant
    one (a "perceptual hash"). Of 505 crops of real photos, none differed from another photo's in
    fewer than 14 bits; halved, compressed to quality 60, blurred and brightened, 99 of 100 kept
    all but 6.

    Args:
      image: of mode RGB, sides of at least 32.

    Returns:
      An integer in [0, 2^64).
    """
    step = max(1, min(image.size) // (8 * _CELLS))
    few = (image.width // step, image.height // step)
    green = np.asarray(image.resize(few, Image.Resampling.NEAREST).getchannel("G"))
    rows, columns = (np.arange(_CELLS + 1) * side // _CELLS for side in green.shape)
    sums = np.add.reduceat(green.astype(np.float64), rows[:-1], axis=0)
    sums = np.add.reduceat(sums, columns[:-1], axis=1)
    waves = _WAVES @ (sums / np.outer(np.diff(rows), np.diff(columns))) @ _WAVES.T
    # Rounded: a flat photo's waves are zero but for what the order of sums leaves.
    lowest = np.round(waves.ravel()[1:65], 6)
    return int.from_bytes(np.packbits(lowest > np.median(lowest)).tobytes(), "big")


def first_alike(fingerprints: np.ndarray, bits: int) -> np.ndarray:
    """For each photo, the first photo before it that looks alike.

    Two that differ in at most `bits` bits agree in one of bits + 1 parts: only photos with an equal
    part are compared (https://arxiv.org/abs/1307.2982, without its search by radius).

    Args:
      fingerprints: uint64 [N], in an order in which the earlier one is kept.
      bits: two photos look alike if no more bits differ, 0 to 31.

    Returns:
      int64 [N]: the place of that photo, -1 where there is none.
    """
    # Equal ones, of which a fixed camera makes many, are compared once.
    values, firsts, which = np.unique(fingerprints, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    found = firsts.copy()
    places = _first_alike(values[order], bits)
    alike = places >= 0
    found[order[alike]] = firsts[order[places[alike]]]
    result = found[which]
    return np.where(result < np.arange(len(result)), result, -1)


def _first_alike(fingerprints: np.ndarray, bits: int) -> np.ndarray:
    """`first_alike` of distinct fingerprints."""
    found = np.full(len(fingerprints), len(fingerprints), np.int64)
    bounds = [64 * k // (bits + 1) for k in range(bits + 2)]
    for low, high in itertools.pairwise(bounds):
        part = fingerprints >> np.uint64(low) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(part, kind="stable")
        cuts = np.flatnonzero(np.diff(part[order])) + 1
        for group in np.split(order, cuts):
            _compare(fingerprints, group, bits, found)
    return np.where(found < len(fingerprints), found, -1)


def _compare(fingerprints: np.ndarray, group: np.ndarray, bits: int, found: np.ndarray) -> None:
    """Lowers `found` for the photos of an ascending group; a block of pairs at a time."""
    for start in range(0, len(group) if len(group) > 1 else 0, _BLOCK):
        ours = group[start : start + _BLOCK]
        for before in range(0, start + _BLOCK, _BLOCK):
            theirs = group[before : before + _BLOCK]
            differ = fingerprints[ours][:, None] ^ fingerprints[theirs][None]
            alike = (np.bitwise_count(differ) <= bits) & (theirs[None] < ours[:, None])
            first = np.where(alike.any(axis=1), theirs[alike.argmax(axis=1)], len(found))
            found[ours] = np.minimum(found[ours], first)
