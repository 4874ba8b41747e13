"""Reading untrusted photos: right pixels for good files, one error for all others."""

import contextlib
import glob
import hashlib
import io
import os
import pickle
import struct
import sys
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features
from pillow_exif import from_pillow

from exif_jax.reading.photo import PhotoError, read_photo

RNG = np.random.default_rng(7)
SCENE = np.cumsum(RNG.integers(-9, 10, (48, 64, 3)), axis=1).astype(np.uint8)


def encode(pixels=SCENE, kind="JPEG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain_rgb(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def refusal(source, **options) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        read_photo(source, **options)
    return caught.value


def tiff(entries: list[tuple[int, int, int, int]], payload: bytes = b"", link: int = 0) -> bytes:
    """A little-endian block: header, one directory at 8, payload after it."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(entries))
        + body
        + struct.pack("<I", link)
        + payload
    )


def png(header: tuple[int, int, int, int], rows: bytes) -> bytes:
    """A PNG file of (width, height, bits, color type), which Pillow need not be able to write."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    checked = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(checked)


# --- good files ---------------------------------------------------------------------------------


def test_real_photos_are_pillows_pixels_and_tags(real_photos):
    paths = sorted(glob.glob(f"{real_photos}/train/*_0.jpg"))[::3]
    assert len(paths) > 100
    for path in paths:
        seen = read_photo(path)
        with Image.open(path) as image:
            data = image.getexif()
            assert seen.exif == from_pillow(data)
            turned = data.get(0x0112, 1)
            assert seen.orientation == (turned if 1 <= turned <= 8 else 1)
            np.testing.assert_array_equal(seen.pixels, np.asarray(image.convert("RGB")))
        assert seen.notes == ()


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"quality": 90}),
        ("RGB", {"progressive": True, "subsampling": 2}),
        ("RGB", {"keep_rgb": True}),
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"icc_profile": b"x" * 200, "comment": b"hello", "xmp": b"<x/>"}),
    ],
)
def test_jpeg_is_pillows_plain_decode(mode, options):
    data = encode(Image.fromarray(SCENE).convert(mode), **options)
    seen = read_photo(data)
    np.testing.assert_array_equal(seen.pixels, plain_rgb(data))
    assert seen.pixels.dtype == np.uint8 and seen.pixels.shape == (48, 64, 3)
    assert (seen.format, seen.num_bytes) == ("JPEG", len(data))
    assert seen.sha256 == hashlib.sha256(data).hexdigest()
    expected = {"CMYK": ("converted from CMYK",)}.get(mode, ())
    assert seen.notes == (("ICC profile ignored",) if "icc_profile" in options else expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_exif_is_read_and_orientation_not_applied(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow is built without AVIF")
    data = Image.Exif()
    data.update({0x010F: "Maker", 0x0110: "M1", 0x0112: 6})
    data.get_ifd(0x8825)[1] = "N"
    data.get_ifd(0x8769).update({0x829A: 0.004, 0x9204: -0.5, 0xA005: {1: "R98"}})
    options = {
        "JPEG": {"quality": 95},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }.get(kind, {})
    whole = Image.Exif()  # Pillow writes the nested directories of what it has loaded to TIFF
    whole.load(data.tobytes())
    file = encode(kind=kind, exif=whole, **options)
    seen = read_photo(file)
    assert b"\x69\x87" in file or b"\x87\x69" in file or kind == "AVIF"
    expected = {"Make": "Maker", "Model": "M1", "Orientation": "Rotate 90 CW"}
    expected |= {"Exposure Time": "1/250 s", "Exposure Compensation": "-0.50 EV"}
    assert expected.items() <= seen.exif.items()
    assert (seen.format, seen.orientation, seen.pixels.shape) == (kind, 6, (48, 64, 3))
    if kind == "AVIF":
        assert np.abs(seen.pixels.astype(int) - SCENE).mean() < 4  # compressed, but not turned
    elif kind != "JPEG":
        np.testing.assert_array_equal(seen.pixels, SCENE)


def test_tiff_with_orientation_in_xmp_is_not_turned():
    xmp = b'<x tiff:Orientation="6"/>'
    file = encode(kind="TIFF", tiffinfo={700: xmp})
    np.testing.assert_array_equal(read_photo(file).pixels, SCENE)


RAMP = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_high_byte(kind):
    seen = read_photo(encode(RAMP, kind))
    np.testing.assert_array_equal(seen.pixels, np.repeat((RAMP >> 8)[..., None], 3, 2))
    assert seen.notes == ("16 bits cut to 8",)


def test_sixteen_bit_rgb_keeps_the_high_byte():
    samples = np.stack([RAMP, RAMP[::-1], RAMP + 77], axis=2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    seen = read_photo(png((64, 48, 16, 2), rows))
    np.testing.assert_array_equal(seen.pixels, samples >> 8)
    assert seen.notes == ("16 bits cut to 8",)


def test_float_samples_are_scaled_from_the_unit_range():
    samples = np.array([[0.0, 0.5, 1.0, 2.0, -1.0, np.nan, np.inf]], np.float32)
    seen = read_photo(encode(Image.fromarray(samples), "TIFF"))
    np.testing.assert_array_equal(seen.pixels[0, :, 0], [0, 128, 255, 255, 0, 0, 255])
    assert seen.notes == ("float samples scaled from 0..1",)


def test_alpha_is_dropped_and_not_composited():
    rgba = np.dstack([SCENE, np.full((48, 64), 3, np.uint8)])
    for file in (encode(rgba, "PNG"), encode(rgba, "WEBP", lossless=True, exact=True)):
        seen = read_photo(file)
        np.testing.assert_array_equal(seen.pixels, SCENE)
        assert seen.notes == ("alpha dropped",)


def test_palette_and_one_bit():
    palette = Image.fromarray(SCENE).quantize(16)
    seen = read_photo(encode(palette, "PNG", transparency=bytes(range(16))))
    np.testing.assert_array_equal(seen.pixels, np.asarray(palette.convert("RGB")))
    assert seen.notes == ("alpha dropped",)
    one = Image.fromarray(SCENE).convert("1")
    assert set(np.unique(read_photo(encode(one, "PNG")).pixels)) == {0, 255}


@pytest.mark.parametrize("kind", ["MPO", "TIFF", "WEBP", "PNG"])
def test_only_the_first_frame_is_read(kind):
    frames = {"save_all": True, "append_images": [Image.new("RGB", (64, 48), "red")] * 2}
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encode(kind=kind, **frames, **lossless)
    seen = read_photo(data)
    np.testing.assert_array_equal(seen.pixels, plain_rgb(data))
    assert "first of several" in " ".join(seen.notes)
    assert len(seen.notes) == 1


# --- JPEG as phones write it --------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("has_end", [True, False])
def test_what_follows_a_jpeg_picture_does_not_matter(options, has_end):
    """The video of a motion photo, a gain map or a maker's trailer, of 20 MB of any bytes."""
    data = encode(quality=92, **options)
    pixels = plain_rgb(data)
    trailer = b"\0\0\0\x18ftypmp42" + RNG.bytes(20_000_000)
    seen = read_photo((data if has_end else data[:-2]) + trailer)
    np.testing.assert_array_equal(seen.pixels, pixels)
    missing = "the JPEG end marker is missing; all blocks are there"
    assert seen.notes == (() if has_end else (missing,)) and not seen.may_be_damaged


def test_a_jpeg_with_bad_sectors_is_refused_and_one_in_coarse_steps_noted():
    large = np.kron(RNG.integers(0, 256, (48, 64, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    data = encode(large, quality=95)
    middle = len(data) // 2
    damaged = data[:middle] + bytes(4096) + data[middle + 4096 :]
    assert np.any(plain_rgb(damaged) != plain_rgb(data))  # Pillow alone takes it
    assert "damaged" in refusal(damaged).cause
    assert "damaged" in refusal(data[:middle] + b"\xff\xd9").cause
    coarse = encode(large, progressive=True)
    coarse = coarse[: coarse.rindex(b"\xff\xda")] + b"\xff\xd9"
    seen = read_photo(coarse)
    assert seen.may_be_damaged and seen.objection == "the file may be damaged"
    assert not read_photo(data).may_be_damaged and read_photo(data).objection == ""


# --- hostile files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {}),
    ],
)
def test_truncated_files_are_refused_or_whole(kind, options):
    data = encode(kind=kind, **options)
    whole = plain_rgb(data)
    lengths = {len(data) * percent // 100 for percent in range(100)}
    refused = 0
    for length in sorted(lengths | set(range(len(data) - 40, len(data)))):
        try:
            seen = read_photo(data[:length])
        except PhotoError:
            refused += 1
        else:
            np.testing.assert_array_equal(seen.pixels, whole, err_msg=f"{length} bytes")
    assert refused >= 95


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_damaged_files_raise_only_photo_errors(kind, changes):
    data = bytearray(encode(SCENE[:16, :16], kind, exif=b"Exif\0\0" + tiff([(0x112, 3, 1, 6)])))
    for position, value in changes:
        data[position % len(data)] = value
    with contextlib.suppress(PhotoError):
        seen = read_photo(bytes(data), max_pixels=10**6)
        assert seen.pixels.dtype == np.uint8 and seen.pixels.shape[2:] == (3,)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"II*\0\x08\0\0\0", b"RIFF"])
)
def test_any_bytes_raise_photo_error(data, head):
    assert refusal(head + data).cause


def test_size_limits_are_checked_before_decoding(tmp_path):
    path = tmp_path / "big.jpg"
    path.write_bytes(b"\xff\xd8\xff" + bytes(5000))
    assert "5,003 bytes" in str(refusal(path, max_bytes=5000))
    assert "bytes" in str(refusal(bytes(100), max_bytes=99))
    bombs = [encode(kind=kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP")]
    for data in bombs:
        assert "64 x 48 pixels" in str(refusal(data, max_pixels=64 * 48 - 1))
        assert read_photo(data, max_pixels=64 * 48).pixels.shape == (48, 64, 3)
    # The header alone decides: this PNG claims 60000 x 60000 and has no pixels.
    head = png((60000, 60000, 8, 2), b"")
    assert "60000 x 60000" in str(refusal(head))


def test_pillows_own_pixel_limit_does_not_count(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("JPEG", "PNG"):
        assert read_photo(encode(kind=kind)).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO"])
def test_other_formats_are_refused(kind):
    error = refusal(encode(kind=kind))
    assert "GIF" in error.cause or "known format" in error.cause
    assert error.cure.startswith("Use a JPEG")


def test_things_that_are_no_files(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.jpg").cause
    assert "not a regular file" in refusal(tmp_path).cause
    assert "empty" in refusal(b"").cause
    assert refusal("a\0b.jpg").cause
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        thread = threading.Thread(target=refusal, args=(tmp_path / "pipe.jpg",), daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        assert "not a regular file" in refusal(tmp_path / "pipe.jpg").cause
        assert "not a regular file" in refusal("/dev/zero").cause


def test_errors_name_file_cause_and_cure_safely(tmp_path):
    name = "evil\x1b[31m\u202egpj.\n\udcff.jpg"
    error = refusal(b"no image", name=name)
    assert error.name == "evil?[31m?gpj.??.jpg"
    assert str(error) == f"{error.name}: {error.cause}. {error.cure}."
    assert str(error).isprintable() and error.cause and error.cure
    again = pickle.loads(pickle.dumps(error))  # workers send it to their parent
    assert (again.name, again.cause, again.cure) == (error.name, error.cause, error.cure)
    path = tmp_path / "bad.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    assert str(path) in str(refusal(path))


def test_truncation_is_refused_when_pillow_would_fill_it(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "LOAD_TRUNCATED_IMAGES" in str(refusal(encode()))


def test_hostile_exif_is_bounded():
    cyclic = [(0x010F, 2, 4, 0x0041), (0x8769, 4, 1, 8), (0xA005, 4, 1, 8), (0x0112, 3, 1, 3)]
    seen = read_photo(encode(exif=b"Exif\0\0" + tiff(cyclic, link=8)))
    assert (seen.exif["Make"], seen.orientation, seen.notes) == ("A", 3, ())
    # Thousands of entries over the same bytes: Pillow alone would copy each.
    overlap = tiff([(0x010F, 2, 60000, 8)] + [(tag, 7, 60000, 0) for tag in range(5000)])
    assert read_photo(encode(exif=b"Exif\0\0" + overlap)).exif == {}
    damaged = tiff([(0x010F, 2, 4, 0x0041), (0x8769, 4, 1, 60000)])
    seen = read_photo(encode(exif=b"Exif\0\0" + damaged))
    assert seen.exif == {"Make": "A"} and "damaged" in seen.notes[0]
    assert not seen.may_be_damaged  # the EXIF is, the pixels are not
    huge = encode(kind="PNG", exif=b"Exif\0\0" + tiff([], bytes(1 << 20)))
    seen = read_photo(huge)
    assert seen.exif == {} and "EXIF ignored" in seen.notes[0]


def test_tiff_directory_that_claims_too_much_is_refused():
    size = 200_000
    entries = [(tag, 7, size, 0) for tag in range(300, 320)]
    assert "claims more" in refusal(tiff(entries, bytes(size))).cause


def test_a_jpeg_of_endless_scans_is_refused():
    data = encode(progressive=True)
    scan = data.rindex(b"\xff\xda")
    assert "scans" in refusal(data[:-2] + data[scan:-2] * 200 + b"\xff\xd9").cause


def test_threads_read_alike():
    files = [encode(kind=kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP")]
    expected = [read_photo(data).pixels for data in files]
    wrong = []

    def work():
        for data, pixels in zip(files * 5, expected * 5, strict=True):
            if not np.array_equal(read_photo(data).pixels, pixels):
                wrong.append(data[:4])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_reading_brings_no_jax():
    source = "import sys, exif_jax.reading.photo; sys.exit('jax' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", source]) == 0
