"""Content Credentials: what they claim, and boxes that lie."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.reading.c2pa import read_manifest


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def described(label: str, *contents: bytes) -> bytes:
    return box(
        b"jumb", box(b"jumd", bytes(16) + b"\x03" + label.encode() + b"\0") + b"".join(contents)
    )


CLAIM = (
    b"\xa3\x6fclaim_generator\x6aCamera 1.0\x67actions\x81\xa1\x66action\x6cc2pa.created"
    b"\x71digitalSourceType\x78\x3dhttp://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    b"\x63abc"
)
STORE = described("c2pa", described("urn:uuid:1", described("c2pa.claim", box(b"cbor", CLAIM))))


def segments(store: bytes, size: int = 60) -> list[bytes]:
    """Bodies of APP11 segments; each after the first repeats the box's head."""
    head, rest = store[:8], store[8:]
    parts = [rest[at : at + size] for at in range(0, len(rest), size)]
    return [b"JP\0\1" + struct.pack(">I", k + 1) + head + part for k, part in enumerate(parts)]


def test_claims_are_read_over_several_segments():
    manifest = read_manifest(segments(STORE))
    assert manifest.labels == ("c2pa", "urn:uuid:1", "c2pa.claim")
    assert manifest.generator == "Camera 1.0"
    assert manifest.actions == ("c2pa.created",)
    assert manifest.source_types == ("digitalCapture",)


def test_a_generator_in_a_map_is_its_name():
    claim = b"\xa1\x74claim_generator_info\x81\xa2\x64name\x65Maker\x67version\x611"
    manifest = read_manifest(segments(described("c2pa", box(b"cbor", claim))))
    assert manifest.generator == "Maker"


@pytest.mark.parametrize("bodies", [[], [b"JP"], [b"XX" + bytes(40)], [b"JP" + bytes(40)]])
def test_without_boxes_there_is_no_manifest(bodies):
    assert read_manifest(bodies) is None


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**32 - 1])
def test_lengths_that_lie_end_the_walk(length):
    lying = STORE[:8] + struct.pack(">I", length) + STORE[12:]
    manifest = read_manifest(segments(lying, 4000))
    assert manifest is None or len(manifest.labels) <= 12


def test_deep_boxes_are_not_followed_for_ever():
    store = box(b"cbor", CLAIM)
    for _ in range(300):
        store = described("deep", store)
    assert read_manifest(segments(store, 60_000)).labels == ("deep",)


@given(st.binary(max_size=600), st.integers(0, 300))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_bytes_raise(junk, place):
    data = STORE[:place] + junk + STORE[place:]
    manifest = read_manifest([*segments(data, 100), b"JP" + junk])
    assert manifest is None or manifest.generator.isprintable()
