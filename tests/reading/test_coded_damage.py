"""Damage in TIFF, WebP, HEIF and AVIF is refused where it can be known; whole files are not."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from exif_jax.reading import coded_damage
from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal

RNG = np.random.default_rng(2400)
WAVES = 60 * np.sin(np.arange(320) / 17)[:, None, None] * np.cos(np.arange(400) / 23)[None, :, None]
SCENE = np.clip(128 + WAVES + RNG.normal(0, 9, (320, 400, 3)), 0, 255).astype(np.uint8)
SQUARES = np.kron(RNG.integers(0, 2, (80, 100)) * 255, np.ones((8, 8))).astype(np.uint8)
FLAT = np.full((3000, 4000, 3), 200, np.uint8)


def encode(kind: str, scene=SCENE, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene).save(file, kind, **options)
    return file.getvalue()


def check(data: bytes) -> tuple[str, ...]:
    if data[:2] in (b"II", b"MM"):
        return coded_damage.check_tiff(data)
    if data[:4] == b"RIFF":
        return coded_damage.check_webp(data, lambda: pixels(data))
    coded_damage.check_items(data)
    return ()


def pixels(data: bytes) -> np.ndarray:
    """Of a WebP file; noise where it is not decoded at all."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError):
        return RNG.integers(0, 256, (64, 64, 3), np.uint8)


def refusal(data: bytes) -> str:
    """The cause; "" for a file that is not refused."""
    try:
        check(data)
    except Refusal as error:
        assert error.args[1] == CURE_COPY
        return error.args[0]
    return ""


def zeroed(data: bytes, length: int = 4096) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes(length) + data[at + length :]


# --- TIFF ---------------------------------------------------------------------------------------

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
    assert check(file.getvalue()) == ()


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "packbits", "jpeg"])
def test_zeros_in_a_tiff_strip_are_damage(compression):
    data = encode("TIFF", compression=compression)
    assert "damaged" in refusal(zeroed(data))


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
        assert check(whole) == ()
        assert "outside" in refusal(whole[:-1])


def test_packbits_lengths_are_checked_on_both_sides():
    right = b"\x7f" + bytes(range(128)) + b"\x81\x07"  # 128 bytes, and 128 times 7
    assert check(page([right], 32773)) == ()
    assert check(page([right + b"\x80\0"], 32773)) == ()  # "nothing", and padding
    for wrong in (right[:-2] + b"\x82\x07", right[:-2] + b"\x7f" + bytes(100), right + b"\x81\x07"):
        assert "lengths" in refusal(page([wrong], 32773))


def test_packbits_of_endless_runs_are_not_all_looked_at(monkeypatch):
    wrong = b"\0\x07" * 255
    monkeypatch.setattr(coded_damage, "_MAX_RUNS", 255)
    assert "lengths" in refusal(page([wrong], 32773))
    monkeypatch.setattr(coded_damage, "_MAX_RUNS", 254)
    assert check(page([wrong], 32773)) == ()


def test_jpeg_strips_may_not_claim_more_than_the_page():
    big = encode("JPEG", FLAT)
    assert "more pixels" in refusal(page([big], 7))


def test_a_tiff_whose_strips_are_not_told_is_refused():
    data = page([bytes(256)], 1)
    assert "where the pixels lie" in refusal(data.replace(b"\x11\x01\x04\0", b"\x11\xf1\x04\0"))
    assert "truncated" in refusal(data[:40])


# --- WebP and AVIF ------------------------------------------------------------------------------


SCENES = {
    "photo": SCENE,
    "flat": FLAT[:, :3000],
    "black": np.zeros_like(FLAT)[:1000],
    "squares": np.repeat(SQUARES[..., None], 3, 2),
}


@pytest.mark.parametrize("options", [{"quality": 85}, {"lossless": True}, {"quality": 1}])
@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("scene", SCENES)
def test_whole_files_are_not_refused(kind, options, scene):
    if not features.check(kind.lower()):
        pytest.skip(f"Pillow is built without {kind}")
    seen = check(encode(kind, SCENES[scene], **options))
    assert seen == () or (kind == "WEBP" and scene == "flat" and MAY_BE_DAMAGED in seen[0])


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("length", [512, 4096])
def test_zeros_are_refused_or_noted(kind, length):
    if not features.check(kind.lower()):
        pytest.skip(f"Pillow is built without {kind}")
    for options in ({"quality": 90}, {"lossless": True}):
        data = encode(kind, **options)
        assert check(data) == ()
        try:
            noted = check(zeroed(data, length))
        except Refusal as error:
            assert "zeros" in error.args[0]
        else:
            assert kind == "WEBP" and noted[0].startswith(MAY_BE_DAMAGED)


def test_the_first_frame_of_a_webp_is_looked_at():
    frames = [Image.fromarray(SCENE), Image.fromarray(SCENE[::-1])]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    data = file.getvalue()
    assert b"ANMF" in data and check(data) == ()
    quarter = len(data) // 4
    assert "zeros" in refusal(data[:quarter] + bytes(600) + data[quarter + 600 :])
    assert check(data[: 3 * quarter] + bytes(600) + data[3 * quarter + 600 :]) == ()


# --- HEIF ---------------------------------------------------------------------------------------


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def heif(
    coded: bytes, kind: bytes = b"hvc1", claimed: int | None = None, version: int = 0
) -> bytes:
    """A HEIF file of one item; ``claimed`` is the length that its directory states."""
    infe = box(b"infe", struct.pack(">IHH4s", 0x02000000, 1, 0, kind) + b"\0")
    iinf = box(b"iinf", struct.pack(">IH", 0, 1) + infe)
    config = box(b"hvcC", bytes(21) + b"\x03" + b"\0")
    iprp = box(b"iprp", box(b"ipco", config))
    claimed = len(coded) if claimed is None else claimed

    def meta(offset: int) -> bytes:
        items = b"\x44\0\0\x01\0\x01" + (b"\0\0" if version else b"") + b"\0\0\0\x01"
        iloc = bytes([version, 0, 0, 0]) + items + struct.pack(">II", offset, claimed)
        return box(b"meta", bytes(4) + iinf + iprp + box(b"iloc", iloc))

    start = box(b"ftyp", b"heic\0\0\0\0mif1")
    at = len(start) + len(meta(0)) + 8
    return start + meta(at) + box(b"mdat", coded)


def unit(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


GOOD = unit(b"\x28\x01" + RNG.bytes(3000).replace(b"\0", b"a")) + unit(
    b"\x28\x01\0\0\x03\0\0\x03\x01"
)


@pytest.mark.parametrize("version", [0, 1])
def test_heif_units_are_checked_on_both_sides(version):
    assert check(heif(GOOD, version=version)) == ()
    for wrong in (b"\0\0\0", b"\0\0\x01", b"\0\0\x02"):
        damaged = GOOD[:500] + wrong + GOOD[503:]
        assert "damaged" in refusal(heif(damaged, version=version))
    assert check(heif(GOOD[:500] + b"\0\0\x03" + GOOD[503:], version=version)) == ()
    assert "damaged" in refusal(heif(GOOD[:-1], version=version))
    assert "outside" in refusal(heif(GOOD, claimed=len(GOOD) + 1, version=version))


def test_other_items_and_what_is_not_understood_are_left_to_the_decoder():
    assert check(heif(bytes(5000), b"Exif")) == ()
    assert "zeros" in refusal(heif(bytes(5000), b"av01"))
    assert check(b"\0\0\0\x18ftypheic") == () and check(RNG.bytes(4000)) == ()
    whole = heif(GOOD)
    for length in range(len(whole)):
        assert refusal(whole[:length]) in ("", "the HEIF file is truncated: items lie outside it")


def test_files_of_pillow_heif():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    image = pillow_heif.from_pillow(Image.fromarray(SCENE))
    image.save(file, quality=85)
    data = file.getvalue()
    assert check(data) == () and "damaged" in refusal(zeroed(data, 600))


# --- any bytes ----------------------------------------------------------------------------------

FILES = [
    *(encode("TIFF", SCENE[:64], compression=kind) for kind in COMPRESSIONS),
    encode("WEBP", SCENE[:64]),
    heif(GOOD),
    page([bytes(128)] * 2, 1),
]


@settings(deadline=None, derandomize=True, max_examples=300)
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
