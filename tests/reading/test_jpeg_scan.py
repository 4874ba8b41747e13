"""A JPEG picture ends at its own end marker, whatever stands between, behind or instead."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from exif_jax.reading import jpeg_scan
from exif_jax.reading.jpeg_scan import MAX_SCANS, MAX_SEGMENTS, MAX_STRAY, USUAL_SCANS, split
from exif_jax.reading.refusal import CURE_COPY, Refusal

RNG = np.random.default_rng(24)
SCENE = np.cumsum(RNG.integers(-9, 10, (96, 128, 3)), axis=1).astype(np.uint8)
EOI = b"\xff\xd9"


def encode(mode="RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SCENE).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        split(data)
    return caught.value.args


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def marker(code: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([code]) + struct.pack(">H", len(body) + 2) + body


PLAIN = encode()
KINDS = {
    "baseline": PLAIN,
    "progressive": encode(progressive=True),
    "restarts": encode(restart_marker_rows=1),
    "grey": encode("L"),
    "four": encode("CMYK"),
}
TRAILERS = {
    "nothing": b"",
    "zeros": bytes(5000),
    "text": b"maker's trailer" * 20,
    "video": b"\0\0\0\x18ftypmp42" + RNG.bytes(9000),
    "gain map": encode(progressive=True),
    "scans": b"\xff\xda" * (MAX_SCANS + 1),
    "fill": b"\xff" * 5000,
    "archive": b"PK\3\4" + RNG.bytes(700),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_picture_ends_at_its_end_marker(kind, trailer):
    data = KINDS[kind]
    seen = split(data + TRAILERS[trailer])
    assert (seen.end, seen.end_marker, seen.stray) == (len(data), True, 0)
    assert seen.joined() == data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_missing_end_marker_is_supplied(kind, trailer):
    seen = split(KINDS[kind][:-2] + TRAILERS[trailer])
    assert not seen.end_marker and jpeg_scan.is_complete(seen)
    assert seen.joined().endswith(EOI) and seen.joined().startswith(KINDS[kind][:-2])
    np.testing.assert_array_equal(pixels(seen.joined()), pixels(KINDS[kind]))


def test_twenty_megabytes_behind_or_in_the_picture_change_nothing():
    noise = RNG.bytes(20_000_000)
    scan = PLAIN.index(b"\xff\xda")
    blocks = noise.replace(b"\xff", b"\xff\0")
    for data, kept in (
        (PLAIN + noise, PLAIN),
        (PLAIN[:-2] + noise, None),
        (PLAIN[:-2] + b"\xff\0" * 10_000_000 + EOI, None),
        (PLAIN[:scan] + b"\xff" * 20_000_000 + PLAIN[scan:], PLAIN),
        (PLAIN[:-2] + blocks + EOI + noise, PLAIN[:-2] + blocks + EOI),
    ):
        joined = split(data).joined()
        assert joined.startswith(PLAIN[:-2]) and joined.endswith(EOI)
        assert kept is None or joined == kept


def test_frame_and_size_are_known_before_decoding():
    frame = split(encode(subsampling=2)).frame
    assert (frame.width, frame.height, frame.bits, frame.marker) == (128, 96, 8, 0xC0)
    assert frame.components == {1: 0, 2: 1, 3: 1}


# --- bytes between segments ---------------------------------------------------------------------


@pytest.mark.parametrize("code", [0xDB, 0xC0, 0xC4, 0xDA])
@pytest.mark.parametrize(
    "stray", [b"\0", b"abc", b"\xff\0\0", b"x\xff\xff", b"\xff\xd3", b"\xff\x01"]
)
def test_bytes_between_segments_are_skipped(code, stray):
    at = PLAIN.index(bytes([0xFF, code]))
    seen = split(PLAIN[:at] + stray + PLAIN[at:])
    assert seen.joined() == PLAIN and seen.end == len(PLAIN) + len(stray)
    assert seen.stray == len(stray.rstrip(b"\xff")) * (stray[1:] not in (b"\xd3", b"\x01"))


def test_bytes_between_scans_are_skipped():
    data = KINDS["progressive"]
    at = data.rindex(b"\xff\xc4")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    seen = split(data[:end] + b"stray" + data[end:])
    assert seen.stray == 5 and seen.joined() == data


def test_strays_are_bounded():
    at = PLAIN.index(b"\xff\xc0")
    for more, right in ((0, True), (1, False)):
        data = (
            PLAIN[: at - 69] + b"a" + PLAIN[at - 69 : at] + bytes(MAX_STRAY - 1 + more) + PLAIN[at:]
        )
        if right:
            assert split(data).stray == MAX_STRAY
        else:
            assert refusal(data) == ("the JPEG file is damaged", CURE_COPY)


def test_segments_and_scans_are_bounded():
    comments = b"\xff\xfe\0\2" * (MAX_SEGMENTS - len(split(PLAIN).segments))
    assert split(PLAIN[:2] + comments + PLAIN[2:]).joined().endswith(PLAIN[2:])
    assert "segments" in refusal(PLAIN[:2] + comments + b"\xff\xfe\0\2" + PLAIN[2:])[0]
    data = KINDS["progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    room = MAX_SCANS - sum(code == 0xDA for code, _ in split(data).segments)
    assert split(data[:-2] + last * room + EOI).end_marker
    cause, cure = refusal(data[:-2] + last * (room + 1) + EOI)
    assert "more than 100 JPEG scans" in cause and "jpegtran" in cure


@pytest.mark.parametrize("most", [USUAL_SCANS, USUAL_SCANS + 1, MAX_SCANS])
def test_large_photos_may_have_fewer_scans(most, monkeypatch):
    data = KINDS["progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    room = most - sum(code == 0xDA for code, _ in split(data).segments)
    # The usual number is allowed at any size.
    pixels = 128 * 96 * most if most > USUAL_SCANS else 1
    monkeypatch.setattr(jpeg_scan, "MAX_PIXELS_OF_ALL_SCANS", pixels)
    assert split(data[:-2] + last * room + EOI).end_marker
    assert f"more than {most} JPEG scans" in refusal(data[:-2] + last * (room + 1) + EOI)[0]


def test_fifty_megapixels_may_have_the_scans_that_programs_write():
    assert jpeg_scan.MAX_PIXELS_OF_ALL_SCANS // 50_000_000 == 20


# --- truncated and damaged segments -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_refused_or_the_picture_lacks_its_end_marker(kind):
    data = KINDS[kind]
    first = data.index(b"\xff\xda")
    for length in range(3, len(data)):
        if length < first + 8:
            assert refusal(data[:length])[0].startswith("the JPEG file is ")
        elif length > first + 16:
            seen = split(data[:length])
            assert not seen.end_marker and seen.end <= length


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"\xff\xdb", b"\xff\xd8", 1),
        lambda data: data.replace(b"\xff\xdb", b"\xff\xf0", 1),
        lambda data: data.replace(b"\xff\xdb\0\x43", b"\xff\xdb\0\1", 1),
        lambda data: data[: data.index(b"\xff\xc0")] + data[data.index(b"\xff\xda") :],
        lambda data: data[: data.index(b"\xff\xda")] + EOI,
        lambda data: data[: data.index(b"\xff\xc0")] + EOI,
        lambda data: data.replace(
            b"\xff\xc0", marker(0xC0, b"\x08\0\x10\0\x10\1\1\x11\0") + b"\xff\xc0"
        ),
        lambda data: data.replace(b"\xff\xc0\0\x11", b"\xff\xc0\0\x04"),
        lambda data: data.replace(b"\xff\xda\0\x0c\x03\x01", b"\xff\xda\0\x0c\x03\x09"),
        lambda data: data.replace(b"\xff\xda\0\x0c\x03", b"\xff\xda\0\x0c\x05"),
    ],
)
def test_damaged_segments_are_refused(damage):
    assert damage(PLAIN) != PLAIN
    cause, cure = refusal(damage(PLAIN))
    assert cause.startswith("the JPEG") and cure == CURE_COPY


def test_scans_that_are_missing_are_seen():
    data = KINDS["progressive"]
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        for cut in (data[:at] + EOI, data[:at]):
            assert not jpeg_scan.is_complete(split(cut))
            assert jpeg_scan.has_all_means(split(cut))
    assert jpeg_scan.is_complete(split(data)) and jpeg_scan.has_all_means(split(data))


def test_a_component_without_a_scan_has_no_means():
    # One scan of a grey file, in a frame that claims three components.
    grey = KINDS["grey"]
    frame = marker(0xC0, b"\x08\0\x60\0\x80\3\1\x11\0\2\x11\0\3\x11\0")
    at = grey.index(b"\xff\xc0")
    data = grey[:at] + frame + grey[at + 13 :]
    assert not jpeg_scan.has_all_means(split(data)) and not jpeg_scan.is_complete(split(data))


# --- codings that the decoder lacks -------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "word", "tool"),
    [
        (0xC3, "lossless", "djpeg"),
        (0xCB, "lossless", "djpeg"),
        (0xC9, "arithmetic", "djpeg"),
        (0xCA, "arithmetic", "djpeg"),
        (0xC5, "hierarchical", "Save it"),
        (0xCE, "hierarchical", "Save it"),
        (0xDE, "hierarchical", "Save it"),
        (0xF7, "JPEG-LS", "Save it"),
    ],
)
def test_other_codings_are_named_with_a_cure_that_fits(code, word, tool):
    cause, cure = refusal(PLAIN.replace(b"\xff\xc0", bytes([0xFF, code])))
    assert word in cause and tool in cure and "intact" not in cure


def test_other_bits_and_heights_are_named():
    cause, cure = refusal(PLAIN.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"))
    assert cause == "JPEG of 12 bits a sample is not read" and "djpeg" in cure
    cause, cure = refusal(PLAIN.replace(b"\xff\xc0\0\x11\x08\0\x60", b"\xff\xc0\0\x11\x08\0\0"))
    assert "height" in cause and "intact" not in cure
    assert split(PLAIN.replace(b"\xff\xc0", b"\xff\xc1")).frame.marker == 0xC1
