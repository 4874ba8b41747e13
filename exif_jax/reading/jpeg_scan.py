"""Finds the segments and scans of a JPEG file as libjpeg finds them, up to the picture's end.

The picture ends at its own end marker (EOI). What follows it, the video of a motion photo, a gain
map, a maker's trailer, is nobody's pixels and is cut off. Nothing here decodes pixels, and no
Python loop runs over bytes: a file of any size costs one pass of ``re`` over it.

Source: ITU T.81, annex B; libjpeg-turbo's jdmarker.c for what it reads against the rules.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.refusal import CURE_COPY, Refusal

MAX_SCANS = 100  # cameras write about ten, hostile files thousands
# Each scan of a progressive file passes over all blocks, in some 5 ns a pixel at worst. Photos of
# more pixels than these over the number of scans may still have the scans that programs write.
MAX_PIXELS_OF_ALL_SCANS, USUAL_SCANS = 1_000_000_000, 16
MAX_SEGMENTS = 5000  # a photo with a large colour profile has hundreds
# libjpeg skips any number of bytes between two segments. A segment holds 65,535 bytes at most:
# where more than that is skipped, no byte was added, a segment's header was lost.
MAX_STRAY = 65_535

SOF_SEQUENTIAL, SOF_PROGRESSIVE = (0xC0, 0xC1), 0xC2
_EOI, _SOS, _DHT, _DAC, _DNL, _DRI, _COM = 0xD9, 0xDA, 0xC4, 0xCC, 0xDC, 0xDD, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_APPS = frozenset(range(0xE0, 0xF0))
_HIERARCHICAL, _JPEG_LS = 0xDE, 0xF7  # they stand where a frame header would
_WITH_LENGTH = _FRAMES | _APPS | {_DHT, _DAC, _SOS, 0xDB, _DNL, _DRI, _COM, 0xDE, 0xF7}
_ALONE = frozenset(range(0xD0, 0xD8)) | {0x01}  # restart markers and TEM, out of place: skipped
_BEHIND_THE_SCANS = _APPS | {_COM, _DNL, _EOI}

_MARKER = re.compile(rb"\xff[^\x00\xff]")  # fill bytes FF may stand before it
# FF 00 is a byte FF. Restart markers are part of a scan where a restart interval is defined.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff]")
_END_OF_INTERVALS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")

_CURE_DJPEG = "Convert it with a program that reads it, such as djpeg or ImageMagick"
_CURE_OTHER = "Save it as an 8-bit JPEG, PNG or TIFF with the program that wrote it"
_CURE_SCANS = "Write it anew without loss and with fewer scans, with jpegtran"


class Frame(NamedTuple):
    """A frame header (SOF).

    Attributes:
      marker: The second byte of its marker, which names the coding.
      bits: Bits of a sample.
      width: Of the picture, in pixels.
      height: Of the picture, in pixels.
      components: Identifier of a component -> number of its quantisation table.
      unit: Width and height in pixels of what an interleaved scan codes at once.
    """

    marker: int
    bits: int
    width: int
    height: int
    components: dict[int, int]
    unit: tuple[int, int]


class Scan(NamedTuple):
    """A scan header (SOS): its components, first and last coefficient, bits left out."""

    components: tuple[int, ...]
    first: int
    last: int
    low: int


class JpegPicture(NamedTuple):
    """The parts of a JPEG file that are its picture.

    Attributes:
      segments: Marker and bytes of each segment, in order, from behind SOI through EOI; a scan's
        bytes are its header and its coded blocks. What lies between segments is left out.
      frame: The frame header.
      end: How many bytes of the file the picture takes; what follows is not part of it.
      end_marker: Whether the file has the end marker. `segments` has one in any case.
      stray: How many bytes between segments were left out.
    """

    segments: tuple[tuple[int, bytes], ...]
    frame: Frame
    end: int
    end_marker: bool
    stray: int

    def joined(self, without: frozenset[int] = frozenset()) -> bytes:
        """Returns a JPEG file of these segments, less those of some markers."""
        kept = (segment for marker, segment in self.segments if marker not in without)
        return b"\xff\xd8" + b"".join(kept)


class _Segment(NamedTuple):
    marker: int
    start: int
    end: int
    stray: int  # bytes skipped before it


class _BrokenError(ExifJaxError):
    """No further segment is found; the text says why."""


# --- headers ------------------------------------------------------------------------------------


def read_frame(segment: bytes) -> Frame:
    """Reads a frame header from its bytes.

    Raises:
      Refusal: Its bytes break the rules, or it announces a coding that the decoder lacks.
    """
    marker = segment[1]
    if objection := _objection_to_coding(marker, segment[4:5]):
        cause, cure = objection
        raise Refusal(cause, cure)
    try:
        bits, height, width, count = struct.unpack_from(">BHHB", segment, 4)
        components = {segment[at]: segment[at + 2] for at in range(10, 10 + 3 * count, 3)}
        sampling = segment[11 : 11 + 3 * count : 3]
    except (struct.error, IndexError):
        components, sampling = {}, b""
    if not components or not width:
        raise Refusal("the JPEG frame header is damaged", CURE_COPY)
    if not height:  # it stands behind the first scan (DNL), which libjpeg does not read
        raise Refusal("the JPEG file does not give its height where it must", _CURE_OTHER)
    unit = 8 * max(byte >> 4 for byte in sampling), 8 * max(byte & 15 for byte in sampling)
    if not all(unit):
        raise Refusal("the JPEG frame header is damaged", CURE_COPY)
    return Frame(marker, bits, width, height, components, unit)


def _objection_to_coding(marker: int, bits: bytes) -> tuple[str, str] | None:
    """Cause and cure where Pillow does not read this coding; None where it does."""
    if marker == _JPEG_LS:
        return "JPEG-LS is not read", _CURE_OTHER
    if marker == _HIERARCHICAL or marker in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF):
        return "hierarchical JPEG is not read", _CURE_OTHER
    if marker in (0xC3, 0xCB):
        return "lossless JPEG is not read", _CURE_DJPEG
    if marker in (0xC9, 0xCA):
        return "JPEG with arithmetic coding is not read", _CURE_DJPEG
    if bits not in (b"", b"\x08"):
        return f"JPEG of {bits[0]} bits a sample is not read", _CURE_DJPEG
    return None


def read_scan(header: bytes, frame: Frame) -> Scan | None:
    """Reads a scan header from its bytes; returns None where it is no scan of this frame."""
    count = header[4] if len(header) > 4 else 0
    if (
        not 1 <= count <= 4
        or len(header) < 8 + 2 * count
        or header[2]
        or header[3] != 6 + 2 * count
    ):
        return None
    components = tuple(header[5 : 5 + 2 * count : 2])
    if not set(components) <= frame.components.keys():
        return None
    first, last, bits = header[5 + 2 * count : 8 + 2 * count]
    return Scan(components, first, last, bits & 15)


class _Coverage:
    """Which coefficients of a frame the scans so far have brought to their last bit."""

    def __init__(self, frame: Frame):
        self._progressive = frame.marker == SOF_PROGRESSIVE
        self._incomplete = {component: [True] * 64 for component in frame.components}
        self._without_means = set(frame.components)

    def add(self, scan: Scan) -> None:
        first, last, low = (scan.first, scan.last, scan.low) if self._progressive else (0, 63, 0)
        for component in scan.components:
            for index in range(first, min(last, 63) + 1):
                self._incomplete[component][index] = low > 0
        if first == 0:
            self._without_means -= set(scan.components)

    def is_complete(self) -> bool:
        return not any(any(incomplete) for incomplete in self._incomplete.values())

    def has_all_means(self) -> bool:
        return not self._without_means


def _coverage(jpeg: JpegPicture) -> _Coverage:
    coverage = _Coverage(jpeg.frame)
    for marker, segment in jpeg.segments:
        if marker == _SOS and (scan := read_scan(segment[:16], jpeg.frame)):
            coverage.add(scan)
    return coverage


def is_complete(jpeg: JpegPicture) -> bool:
    """Returns whether the scans bring every coefficient of every component to its last bit."""
    return _coverage(jpeg).is_complete()


def has_all_means(jpeg: JpegPicture) -> bool:
    """Returns whether the scans give the mean of each block of every component, in rough at least.

    Where a component has no means, the decoder makes them up.
    """
    return _coverage(jpeg).has_all_means()


# --- segments -----------------------------------------------------------------------------------


def _next_segment(data: bytes, position: int, room: int) -> _Segment:
    """The next segment at or behind ``position``, over at most ``room`` stray bytes."""
    match = _MARKER.search(data, position)
    if not match:
        raise _BrokenError("truncated")
    start, marker = match.start(), data[match.start() + 1]
    stray = len(data[position:start].rstrip(b"\xff"))
    if stray > room:
        raise _BrokenError("damaged")
    if marker in _ALONE or marker == _EOI:
        return _Segment(marker, start, start + 2, stray)
    if marker not in _WITH_LENGTH:  # a second SOI, or one that nobody writes
        raise _BrokenError("damaged")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    if max(end, start + 4) > len(data):
        raise _BrokenError("truncated")
    if end < start + 4:  # the length counts its own two bytes
        raise _BrokenError("damaged")
    return _Segment(marker, start, end, stray)


def _end_of_scan(data: bytes, position: int, restarts: bool) -> int:
    """Where the coded blocks at ``position`` end: before a marker and its fill bytes."""
    match = (_END_OF_INTERVALS if restarts else _END_OF_SCAN).search(data, position)
    end = match.start() if match else len(data)
    return position + len(data[position:end].rstrip(b"\xff"))


def _walk(data: bytes) -> Iterator[_Segment | Frame]:
    """Yields segments up to EOI, and the frame; raises _BrokenError where no further one is."""
    position, stray, num_scans = 2, 0, 0
    frame, coverage, restarts = None, None, False
    for _ in range(MAX_SEGMENTS):
        # Once all components are there, only what is plainly a segment is one: a maker's trailer
        # without an end marker before it must not be taken for segments and stray bytes.
        over = frame and coverage and frame.marker != SOF_PROGRESSIVE and coverage.is_complete()
        segment = _next_segment(data, position, 0 if over else MAX_STRAY - stray)
        position, stray = segment.end, stray + segment.stray
        if over and segment.marker not in _BEHIND_THE_SCANS:
            raise _BrokenError("damaged")
        if segment.marker in _FRAMES or segment.marker in (_HIERARCHICAL, _JPEG_LS):
            if frame:
                raise _BrokenError("damaged")
            frame = read_frame(data[segment.start : segment.end])
            coverage = _Coverage(frame)
            yield frame
        elif segment.marker == _DRI:
            restarts = any(data[segment.start + 4 : segment.end])
        elif segment.marker == _SOS:
            scan = read_scan(data[segment.start : segment.end], frame) if frame else None
            if not scan or not coverage or not frame:
                raise _BrokenError("damaged")
            coverage.add(scan)
            num_scans += 1
            _check_num_scans(num_scans, frame)
            position = _end_of_scan(data, position, restarts)
            segment = segment._replace(end=position)
        yield segment
        if segment.marker == _EOI:
            return
    raise Refusal(f"more than {MAX_SEGMENTS} JPEG segments", CURE_COPY)


def _check_num_scans(num_scans: int, frame: Frame) -> None:
    room = MAX_PIXELS_OF_ALL_SCANS // (frame.width * frame.height)
    most = min(MAX_SCANS, max(USUAL_SCANS, room))
    if num_scans > most:
        raise Refusal(
            f"more than {most} JPEG scans of {frame.width} x {frame.height} pixels", _CURE_SCANS
        )


def split(data: bytes) -> JpegPicture:
    """Returns the parts of a JPEG file that are its picture.

    Where no end marker is found behind the last scan, the picture ends with that scan's bytes;
    whether they hold all its blocks is for `jpeg_damage.check` to find out.

    Raises:
      Refusal: The segments up to the first scan are truncated or damaged, there are too many of
        them or of the scans, or the coding is one that the decoder lacks.
    """
    frame, segments, cause = None, [], "damaged"
    try:
        for part in _walk(data):
            if isinstance(part, Frame):
                frame = part
            else:
                segments.append(part)
    except _BrokenError as error:
        cause = str(error)
        while segments and segments[-1].marker != _SOS:
            segments.pop()
    if not frame or all(segment.marker != _SOS for segment in segments):
        raise Refusal(f"the JPEG file is {cause}", CURE_COPY)
    parts = [
        (segment.marker, data[segment.start : segment.end])
        for segment in segments
        if segment.marker not in _ALONE
    ]
    end_marker = segments[-1].marker == _EOI
    if not end_marker:
        parts.append((_EOI, b"\xff\xd9"))
    stray = sum(segment.stray for segment in segments)
    return JpegPicture(tuple(parts), frame, segments[-1].end, end_marker, stray)
