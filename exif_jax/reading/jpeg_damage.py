"""Finds out whether a JPEG picture is whole or its coded blocks are damaged.

Pillow decodes what libjpeg warns of without a word. Here libjpeg-turbo decodes the picture once
more, at an eighth of its size and to its raw components, and its first warning is kept
(`simplejpeg`). Three things are looked at:

* libjpeg's warning: no bits are left over or missing where the picture, a restart interval or a
  scan ends, and every code is one of the tables'.
* Sectors of zeros, where zero bits are not the codes of a flat area.
* The mean of each block of 8 x 8. Codes that are read from a wrong bit on are mostly valid ones,
  and their differences add up: the means leave the range that samples of 8 bits have.

Nobody can see damage that changes codes into others of the same length, within that range: JPEG has
no checksum.
"""

import re

import numpy as np
import simplejpeg

from exif_jax.reading.jpeg_scan import (
    SOF_PROGRESSIVE,
    SOF_SEQUENTIAL,
    JpegPicture,
    Scan,
    has_all_means,
    is_complete,
    read_scan,
)
from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal

_MAX_PADDING = 16  # bytes behind the last block; webcams and IP cameras fill up words
# In the eighth-size decode a byte is a block's mean. Samples of 8 bits keep it within 128 of the
# middle; mozjpeg overshoots by up to 31 to keep white clean, rounding adds one, the decoder one.
_REACH, _ROUNDING = 160, 2

_RAW_COLORS = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # Adobe's marker: no colour transform
_COLORSPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_DHT, _SOS, _DQT = 0xC4, 0xDA, 0xDB
_ALL_COEFFICIENTS = b"\0\x3f\0"  # how a scan header says that it codes all, to the last bit
# Where a restart interval is defined, libjpeg-turbo looks at each code; else its faster loop passes
# over invalid ones. One that is longer than the picture changes nothing else. The file's own, if
# any, comes behind it: it is the one that counts.
_ONE_INTERVAL = 65_535
_NO_SUBSAMPLING = "Could not determine subsampling level"
_SECTOR = 512  # bytes; the smallest part of a disk or card that goes bad
_NO_PIXELS = frozenset(range(0xE0, 0xF0)) | {0xFE}
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_TRAILER_START = re.compile(rb".{0,64}?([ -~]{8}|\0{8})", re.DOTALL)
_UNREAD = 16  # bytes that the decoder may have taken in unused, uncounted: eight, FF 00 as one
# Where a picture's last block ends is sought by decoding it some six times: not of a picture of
# 50 megapixels in more than six scans.
_MAX_PIXELS_OF_SOUGHT_SCANS = 300_000_000


def check(data: bytes, jpeg: JpegPicture) -> tuple[JpegPicture, tuple[str, ...]]:
    """Returns the picture less what stands behind its last block, and notes on what was mended.

    The size that the file claims must have been checked: this decodes.

    Args:
      data: The file's bytes.
      jpeg: `jpeg_scan.split` of them.

    Raises:
      Refusal: The picture is damaged or a part of it is missing.
    """
    notes = []
    if jpeg.stray:
        notes.append(f"bytes between JPEG segments skipped: {jpeg.stray:,}")
    if not jpeg.end_marker:
        notes.append("the JPEG end marker is missing; all blocks are there")
    if not is_complete(jpeg):
        # A file may end early by right, in coarse steps: then it says so by its end marker.
        if not jpeg.end_marker or not has_all_means(jpeg):
            raise Refusal("scans of the JPEG picture are missing", CURE_COPY)
        notes.append(f"{MAY_BE_DAMAGED}: scans with the finer detail of the picture are missing")
    warning, row = inspect(jpeg)
    if warning and (shortened := _without_tail(data, jpeg, warning)):
        jpeg, warning = shortened, ""
        if jpeg.end_marker:
            notes.append("padding behind the last JPEG block skipped")
    if _NO_SUBSAMPLING in warning:
        notes.append(f"{MAY_BE_DAMAGED}: chroma sampling as rare as its own cannot be looked at")
    elif warning or row is not None:
        raise Refusal(_cause(warning, row, jpeg.end_marker), CURE_COPY)
    if has_zeroed_sector(jpeg):
        raise Refusal("the JPEG picture is damaged: zeros stand in its coded pixels", CURE_COPY)
    return jpeg, tuple(notes)


def _cause(warning: str, row: int | None, end_marker: bool) -> str:
    where = "" if row is None else f" from row {row:,} on or earlier"
    is_missing = "premature end" in warning.lower()
    if is_missing and not end_marker:
        return "the JPEG picture is truncated: a part of its coded pixels is missing"
    if is_missing:
        return f"the JPEG picture is damaged{where}: a part of its coded pixels is missing"
    if "extraneous" in warning:
        return f"the JPEG picture is damaged{where}: not all of its coded pixels can be read"
    reason = f" ({warning})" if warning else ""
    return f"the JPEG picture is damaged{where}: its coded pixels break the rules{reason}"


# --- the check itself ---------------------------------------------------------------------------


def inspect(jpeg: JpegPicture) -> tuple[str, int | None]:
    """Returns libjpeg's first warning or "", and the first row that no 8-bit picture has.

    Rows are those of the picture, in steps of eight; a picture may be damaged from an earlier one
    on.
    """
    raw = _raw(jpeg)
    warning, means = _decode(raw, jpeg, strict=True)
    if means is None:  # warned of: the row is looked for in what can be had
        _, means = _decode(raw, jpeg, strict=False)
    return warning, None if means is None else _first_impossible_row(jpeg, means)


def _decode(raw: bytes, jpeg: JpegPicture, strict: bool) -> tuple[str, np.ndarray | None]:
    colorspace = _COLORSPACES.get(len(jpeg.frame.components), "GRAY")
    try:
        # Of the sizes that libjpeg scales to, the smallest of at least one by one pixels.
        return "", simplejpeg.decode_jpeg(
            raw, colorspace, min_height=1, min_width=1, strict=strict, fastdct=True
        )
    except ValueError as error:
        return str(error), None


def _raw(jpeg: JpegPicture) -> bytes:
    """The picture as a JPEG file that decodes to a block's mean, in units of the file's table.

    All of libjpeg's warnings of metadata are left out with the metadata, and that of the last
    three bytes of a sequential scan's header, which some cameras leave zero: no decoder uses them.
    With tables of one and zeros the means keep clear of 0 and 255, where the decoder would clip
    them.
    """
    parts = [b"\xff\xd8", _RAW_COLORS]
    if _num_units(jpeg) < _ONE_INTERVAL:
        parts.append(b"\xff\xdd\0\4" + _ONE_INTERVAL.to_bytes(2, "big"))
    for marker, segment in jpeg.segments:
        if marker == _DQT:
            parts.append(_flat_tables(segment)[0])
        elif marker == _SOS and jpeg.frame.marker in SOF_SEQUENTIAL:
            end = 2 + int.from_bytes(segment[2:4], "big")
            parts += [segment[: end - 3], _ALL_COEFFICIENTS, segment[end:]]
        elif marker not in _NO_PIXELS:
            parts.append(segment)
    return b"".join(parts)


def _num_units(jpeg: JpegPicture) -> int:
    """How many units a sequential scan codes, at most; restart intervals are counted in them."""
    scans = sum(marker == _SOS for marker, _ in jpeg.segments)
    across, down = jpeg.frame.unit if scans == 1 and len(jpeg.frame.components) > 1 else (8, 8)
    return -(-jpeg.frame.width // across) * -(-jpeg.frame.height // down)


def _flat_tables(segment: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """A table segment (DQT) with 1 for the means and 0 for all else; number, value of each."""
    flat, values, at = bytearray(segment), [], 4
    while at < len(segment):
        wide, number = segment[at] >> 4 != 0, segment[at] & 15
        size = 2 if wide else 1
        values.append((number, int.from_bytes(segment[at + 1 : at + 1 + size], "big")))
        end = min(at + 1 + 64 * size, len(segment))
        flat[at + 1 : end] = (b"\0\1" if wide else b"\1").ljust(end - at - 1, b"\0")[: end - at - 1]
        at = end
    return bytes(flat), values


def _first_impossible_row(jpeg: JpegPicture, means: np.ndarray) -> int | None:
    steps: dict[int, int] = {}  # table -> its step for the means; the smallest, if defined twice
    for marker, segment in jpeg.segments:
        for number, step in _flat_tables(segment)[1] if marker == _DQT else ():
            steps[number] = min(step, steps.get(number, step))
    reach = [_REACH / max(steps.get(table, 1), 1) for table in jpeg.frame.components.values()]
    if len(reach) != means.shape[2]:
        return None
    low = np.array([max(0, int(128 - value - _ROUNDING)) for value in reach], np.uint8)
    high = np.array([min(255, int(128 + value + _ROUNDING)) for value in reach], np.uint8)
    rows = np.flatnonzero(((means < low) | (means > high)).any(axis=(1, 2)))
    return 8 * int(rows[0]) if len(rows) else None


def has_zeroed_sector(jpeg: JpegPicture) -> bool:
    """Returns whether a scan holds a sector of zeros that no encoder wrote.

    The code of zero bits is the first of its table. In a flat area it may stand for "no difference"
    and "end of block"; otherwise zeros would be dozens of blocks full of equal coefficients.
    """
    first: dict[int, int] = {}  # class and number of a table -> symbol of its first code
    for marker, segment in jpeg.segments:
        if marker == _DHT:
            first |= _first_symbols(segment)
        elif marker == _SOS and bytes(_SECTOR) in segment:
            scan = read_scan(segment[:16], jpeg.frame)
            if scan and not _zeros_may_be_flat(segment, scan, jpeg.frame.marker, first):
                return True
    return False


def _first_symbols(segment: bytes) -> dict[int, int]:
    """Class and number of each Huffman table in a segment (DHT) -> symbol of its first code."""
    first, at = {}, 4
    while at + 17 < len(segment):
        first[segment[at]] = segment[at + 17]
        at += 17 + sum(segment[at + 1 : at + 17])
    return first


def _zeros_may_be_flat(header: bytes, scan: Scan, frame: int, first: dict[int, int]) -> bool:
    tables = header[6 : 6 + 2 * len(scan.components) : 2]
    if frame == SOF_PROGRESSIVE:
        if scan.first == 0:  # means only; flat areas have no differences
            return True
        symbol = first.get(0x10 | tables[0] & 15, 0)
        return symbol & 15 == 0 and symbol != 0xF0  # the end of this block, or of many
    return not any(first.get(t >> 4, 0) or first.get(0x10 | t & 15, 0) for t in tables)


# --- what stands behind the last block ----------------------------------------------------------


def _without_tail(data: bytes, jpeg: JpegPicture, warning: str) -> JpegPicture | None:
    """The picture less harmless bytes behind its last block; None where they are not harmless."""
    match = _LEFT_OVER.search(warning)
    scans = [index for index, (marker, _) in enumerate(jpeg.segments) if marker == _SOS]
    last = scans[-1]
    if not match or last != len(jpeg.segments) - 2:
        return None
    if len(scans) * jpeg.frame.width * jpeg.frame.height > _MAX_PIXELS_OF_SOUGHT_SCANS:
        return None
    scan, left_over = jpeg.segments[last][1], int(match[1])
    if jpeg.end_marker and (left_over > _MAX_PADDING or scan[-left_over:].strip(b"\0\xff")):
        return None
    end = _end_of_blocks(jpeg, last, len(scan) - left_over)
    if end is None:
        return None
    tail = scan[end:]
    if jpeg.end_marker and (len(tail) > _MAX_PADDING or tail.strip(b"\0\xff")):
        return None
    if not jpeg.end_marker and not _is_trailer(tail, data[jpeg.end :]):
        return None
    after = 0 if jpeg.end_marker else len(tail)
    return _with_scan_cut(jpeg, last, end)._replace(end=jpeg.end - after)


def _end_of_blocks(jpeg: JpegPicture, index: int, near: int) -> int | None:
    """Where in the last scan its last block ends: the shortest scan that misses nothing."""
    low, high = max(16, near - _UNREAD), near + _UNREAD  # its header stays
    while low < high:
        middle = (low + high) // 2
        if "premature" in _warning_of_cut(jpeg, index, middle):
            low = middle + 1
        else:
            high = middle
    return None if _warning_of_cut(jpeg, index, low) else low


def _warning_of_cut(jpeg: JpegPicture, index: int, end: int) -> str:
    cut = _with_scan_cut(jpeg, index, end)
    return _decode(_raw(cut), cut, strict=True)[0]


def _with_scan_cut(jpeg: JpegPicture, index: int, end: int) -> JpegPicture:
    marker, scan = jpeg.segments[index]
    segments = (*jpeg.segments[:index], (marker, scan[:end]), *jpeg.segments[index + 1 :])
    return jpeg._replace(segments=segments)


def _is_trailer(tail: bytes, rest: bytes) -> bool:
    """Whether bytes behind the last block, with no end marker, are something else than blocks.

    Coded blocks hold a byte FF in some 256, each with 00 behind it, and no text.

    Args:
      tail: The bytes from the last block to `rest`.
      rest: From the first marker that no scan has; empty where the file ends without one.
    """
    if rest:  # blocks with a damaged byte among them would be followed by the file's end marker
        return b"\xff\xd8" in rest or not rest.rstrip(b"\0").endswith(b"\xff\xd9")
    return b"\xff" not in tail or _TRAILER_START.match(tail) is not None
