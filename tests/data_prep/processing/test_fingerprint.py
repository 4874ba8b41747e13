"""Fingerprints: copies of a photo keep theirs, other photos have others."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter

from data_prep.processing.fingerprint import fingerprint, first_similar
from exif_jax.reading.photo import read_photo


def _jpeg(pixels: np.ndarray, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


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
        "compressed": Image.open(io.BytesIO(_jpeg(pixels, quality=60))),
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
    prints = [_print(pixels) for pixels in photos]
    close = [(a ^ b).bit_count() for i, a in enumerate(prints) for b in prints[:i]]
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
def test_first_similar_against_all_pairs(base, noise, bits):
    copies = [base[k % len(base)] ^ np.uint64(n & n >> 7 & n >> 13) for k, n in noise if len(base)]
    fingerprints = np.concatenate([base, np.array(copies, np.uint64)])
    expected = [
        next((j for j in range(i) if int(a ^ fingerprints[j]).bit_count() <= bits), -1)
        for i, a in enumerate(fingerprints)
    ]
    assert first_similar(fingerprints, bits).tolist() == expected


def test_many_equal_fingerprints_are_no_burden():
    indices = first_similar(np.zeros(200_000, np.uint64), 6)
    assert indices[0] == -1 and set(indices[1:].tolist()) == {0}


def test_the_smallest_photo_has_a_fingerprint():
    assert 0 <= _print(scene(0, 128, 128)) < 2**64
    assert _print(np.zeros((128, 4000, 3), np.uint8)) == 0
