"""Damage in the coded pixels of a TIFF file is refused where it can be known; whole files pass."""

import io
import struct

import pytest
from coded_scenes import FLAT, RNG, SCENE, encode, zeroed
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exif_jax.reading import tiff_damage
from exif_jax.reading.refusal import CURE_COPY, Refusal
from exif_jax.reading.tiff_damage import check_tiff


def refusal(data: bytes) -> str:
    """Returns the cause, or "" for a file that is not refused."""
    try:
        check_tiff(data)
    except Refusal as error:
        assert error.cure == CURE_COPY
        return error.cause
    return ""


COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA", "I;16", "CMYK"])
@pytest.mark.parametrize("scene", ["photo", "flat"])
def test_whole_tiffs_are_not_refused(compression, mode, scene):
    image = Image.fromarray(SCENE if scene == "photo" else FLAT[:500, :700])
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    try:
        image.save(file, "TIFF", compression=compression, strip_size=20_000)
    except (OSError, KeyError, ValueError):
        pytest.skip("Pillow does not write it")
    assert check_tiff(file.getvalue()) == ()


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "packbits", "jpeg"])
def test_zeros_in_a_tiff_strip_are_damage(compression):
    data = encode("TIFF", compression=compression)
    cause = refusal(zeroed(data))
    assert "damaged" in cause or "truncated" in cause


def test_a_flipped_bit_in_deflate_is_damage():
    data = encode("TIFF", compression="tiff_adobe_deflate")
    for at in RNG.integers(len(data) // 8, len(data) * 7 // 8, 20):
        assert "damaged" in refusal(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


def page(strips: list[bytes], compression: int, more: dict[int, int] | None = None) -> bytes:
    """A grey TIFF of 16 x 16 in strips; its directory comes first."""
    values = {256: 16, 257: 16, 258: 8, 259: compression, 262: 1, 277: 1, 278: 16 // len(strips)}
    values |= more or {}
    start = 8 + 2 + 12 * (len(values) + 2) + 4
    at = start + 8 * len(strips)
    offsets = [at + sum(map(len, strips[:index])) for index in range(len(strips))]
    lists = {273: offsets, 279: [len(strip) for strip in strips]}
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items()]
    for index, (tag, numbers) in enumerate(lists.items()):
        pointer = numbers[0] if len(numbers) == 1 else start + 4 * len(strips) * index
        entries.append(struct.pack("<HHII", tag, 4, len(numbers), pointer))
    arrays = b"".join(struct.pack(f"<{len(strips)}I", *numbers) for numbers in lists.values())
    directory = struct.pack("<H", len(entries)) + b"".join(
        sorted(entries, key=lambda e: e[:2][::-1])
    )
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + arrays + b"".join(strips)


def test_strips_outside_the_file_are_refused():
    for strips in ([bytes(256)], [bytes(128)] * 2):
        whole = page(strips, 1)
        assert check_tiff(whole) == ()
        assert "outside" in refusal(whole[:-1])


def test_packbits_lengths_are_checked_on_both_sides():
    right = b"\x7f" + bytes(range(128)) + b"\x81\x07"  # 128 bytes, and 128 times 7
    assert check_tiff(page([right], 32773)) == ()
    assert check_tiff(page([right + b"\x80\0"], 32773)) == ()  # "nothing", and padding
    for wrong in (right[:-2] + b"\x82\x07", right[:-2] + b"\x7f" + bytes(100), right + b"\x81\x07"):
        assert "lengths" in refusal(page([wrong], 32773))


def test_packbits_of_endless_runs_are_not_all_looked_at(monkeypatch):
    wrong = b"\0\x07" * 255
    monkeypatch.setattr(tiff_damage, "_MAX_RUNS", 255)
    assert "lengths" in refusal(page([wrong], 32773))
    monkeypatch.setattr(tiff_damage, "_MAX_RUNS", 254)
    assert check_tiff(page([wrong], 32773)) == ()


def test_jpeg_strips_may_not_claim_more_than_the_page():
    big = encode("JPEG", FLAT)
    assert "more pixels" in refusal(page([big], 7))


def test_a_tiff_without_strips_is_refused():
    data = page([bytes(256)], 1)
    assert "where the pixels lie" in refusal(data.replace(b"\x11\x01\x04\0", b"\x11\xf1\x04\0"))
    assert "truncated" in refusal(data[:40])


FILES = [
    *(encode("TIFF", SCENE[:64], compression=kind) for kind in COMPRESSIONS),
    page([bytes(128)] * 2, 1),
]


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 2000),
)
def test_damaged_files_raise_only_refusals(data, changes, head):
    damaged = bytearray(data)
    for position, value in changes:  # half of them in the header, or in the directory at the end
        at = position % min(len(data), 600)
        damaged[at if position % 2 else -1 - at] = value
    refusal(bytes(damaged[: len(data) - head]))
