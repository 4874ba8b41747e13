"""What tells a camera's own file from a program's, and one photo from its copies."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter

from data_prep.traces import FACTS, camera_facts, fingerprint, first_alike, standard_quality
from exif_jax.reading.containers import jpeg_segments
from exif_jax.reading.photo import read_photo


def tables_of(data: bytes) -> bytes:
    return b"".join(segment[4:] for marker, segment in jpeg_segments(data) if marker == 0xDB)


def jpeg(pixels: np.ndarray, **how) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **how)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 49, 50, 75, 96, 100])
@pytest.mark.parametrize("shape", [(8, 8), (40, 24, 3)])
def test_standard_tables_are_known_by_their_quality(quality, shape):
    data = jpeg(np.zeros(shape, np.uint8), quality=quality, subsampling=0)
    assert standard_quality(tables_of(data)) == quality


def test_a_cameras_own_tables_are_none_of_them():
    table = list(range(1, 65))
    data = jpeg(np.zeros((16, 16, 3), np.uint8), qtables=[table, table])
    assert standard_quality(tables_of(data)) is None
    assert standard_quality(b"") is None


def exif_block(maker_note: bool, thumbnail: bool) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Canon"
    camera = exif.get_ifd(0x8769)
    camera[0x829A] = 0.01
    if maker_note:
        camera[0x927C] = b"secret of the maker"
    block = exif.tobytes()
    if thumbnail:  # Pillow writes none: a directory with one entry is put at the end
        start = len(block) - 6
        little = block[6:8] == b"II"

        def pack(n: int, size: int) -> bytes:
            return n.to_bytes(size, "little" if little else "big")

        entry = pack(0x0201, 2) + pack(4, 2) + pack(1, 4) + pack(0, 4)
        first = int.from_bytes(block[10:14], "little" if little else "big")
        count = int.from_bytes(block[6 + first : 8 + first], "little" if little else "big")
        link = 6 + first + 2 + 12 * count
        block = block[:link] + pack(start, 4) + block[link + 4 :]
        block += pack(1, 2) + entry + pack(0, 4)
    return block


@pytest.mark.parametrize("maker_note", [True, False])
@pytest.mark.parametrize("thumbnail", [True, False])
def test_maker_note_and_thumbnail_are_seen(maker_note, thumbnail):
    data = jpeg(np.zeros((16, 16, 3), np.uint8), exif=exif_block(maker_note, thumbnail))
    expected = dict(zip(FACTS, (maker_note, thumbnail, False), strict=True))
    assert camera_facts(data) == expected
    assert read_photo(data).exif["Make"] == "Canon"


def test_what_has_no_facts(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    assert camera_facts(stream.getvalue()) is None
    assert camera_facts(jpeg(pixels)) is None  # no EXIF
    assert camera_facts(b"") is None
    assert camera_facts(b"\xff\xd8\xff\xe1\x00") is None
    damaged = jpeg(pixels, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert camera_facts(damaged) == dict.fromkeys(FACTS, False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=300))
def test_any_bytes_are_taken(data):
    camera_facts(b"\xff\xd8\xff\xe1\x01\x00Exif\0\0II*\0" + data)


# --- fingerprints ---------------------------------------------------------------------------------


def scene(seed: int, height: int = 300, width: int = 400) -> np.ndarray:
    """Blobs and noise: something to see at every scale."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> int:
    return (_print(a) ^ _print(b)).bit_count()


def _print(pixels: np.ndarray) -> int:
    return fingerprint(Image.fromarray(pixels))


@pytest.mark.parametrize("seed", range(8))
def test_copies_keep_their_fingerprint_and_others_do_not(seed):
    pixels = scene(seed)
    image = Image.fromarray(pixels)
    copies = {
        "half": image.resize((200, 150), Image.Resampling.LANCZOS),
        "larger": image.resize((620, 465), Image.Resampling.BICUBIC),
        "compressed": Image.open(io.BytesIO(jpeg(pixels, quality=60))),
        "blurred": image.filter(ImageFilter.GaussianBlur(1.5)),
        "brighter": image.point(lambda v: min(255, int(1.1 * v + 5))),
    }
    for name, copy in copies.items():
        assert distance(pixels, np.asarray(copy)) <= 6, name
    for other in range(seed + 1, 8):
        assert distance(pixels, scene(other)) > 12


def test_real_copies_and_real_others(real_photos):
    files = sorted((real_photos / "train").glob("*_0.jpg"))[::20]
    photos = [read_photo(path).pixels for path in files]
    found = [_print(pixels) for pixels in photos]
    close = [(a ^ b).bit_count() for i, a in enumerate(found) for b in found[:i]]
    assert min(close) > 10
    halves = [
        np.asarray(Image.fromarray(p).resize((p.shape[1] // 2, p.shape[0] // 2))) for p in photos
    ]
    far = [distance(p, half) for p, half in zip(photos, halves, strict=True)]
    assert np.mean(np.array(far) <= 6) > 0.95


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    base=hnp.arrays(np.uint64, st.integers(0, 30), elements=st.integers(0, 2**64 - 1)),
    noise=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 2**64 - 1)), max_size=40),
    bits=st.integers(0, 31),
)
def test_first_alike_against_all_pairs(base, noise, bits):
    copies = [base[k % len(base)] ^ np.uint64(n & n >> 7 & n >> 13) for k, n in noise if len(base)]
    fingerprints = np.concatenate([base, np.array(copies, np.uint64)])
    expected = [
        next((j for j in range(i) if int(a ^ fingerprints[j]).bit_count() <= bits), -1)
        for i, a in enumerate(fingerprints)
    ]
    assert first_alike(fingerprints, bits).tolist() == expected


def test_many_equal_fingerprints_are_no_burden():
    found = first_alike(np.zeros(200_000, np.uint64), 6)
    assert found[0] == -1 and set(found[1:].tolist()) == {0}


def test_the_smallest_photo_has_a_fingerprint():
    assert 0 <= _print(scene(0, 128, 128)) < 2**64
    assert _print(np.zeros((128, 4000, 3), np.uint8)) == 0
