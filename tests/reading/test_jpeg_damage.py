"""A JPEG picture with damaged or missing blocks is refused; one that is whole is not."""

import contextlib
import io
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from exif_jax.reading import jpeg_damage
from exif_jax.reading.jpeg_scan import split
from exif_jax.reading.refusal import CURE_COPY, MAY_BE_DAMAGED, Refusal

RNG = np.random.default_rng(240)
WAVES = 60 * np.sin(np.arange(320) / 17)[:, None, None] * np.cos(np.arange(400) / 23)[None, :, None]
SCENE = np.clip(128 + WAVES + RNG.normal(0, 9, (320, 400, 3)), 0, 255).astype(np.uint8)
EOI = b"\xff\xd9"


def encode(mode="RGB", scene=SCENE, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


KINDS = {
    "baseline": encode(quality=80),
    "fine": encode(quality=97, subsampling=0),
    "progressive": encode(quality=90, progressive=True),
    "restarts": encode(quality=90, restart_marker_rows=1),
    "optimized": encode(quality=85, optimize=True),
    "grey": encode("L"),
    "four": encode("CMYK"),
    "rgb": encode(keep_rgb=True),
}


def notes(data: bytes) -> tuple[str, ...]:
    return jpeg_damage.check(data, split(data))[1]


def refusal(data: bytes) -> str:
    """Returns the cause, or "" for a file that is read."""
    try:
        notes(data)
    except Refusal as error:
        assert error.args[1] == CURE_COPY
        return error.args[0]
    return ""


def blocks_at(data: bytes) -> int:
    """Returns where the first scan's blocks start."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pictures_are_read_without_a_note(kind):
    assert notes(KINDS[kind]) == ()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("value", [0, 90, 255])
def test_flat_pictures_are_whole_though_their_codes_are_zeros(mode, progressive, value):
    flat = np.full((1200, 1600, 3), value, np.uint8)
    data = encode(mode, flat, optimize=True, progressive=progressive)
    assert notes(data) == ()


def test_black_and_white_squares_are_whole():
    squares = np.kron(RNG.integers(0, 2, (40, 50)) * 255, np.ones((8, 8))).astype(np.uint8)
    for quality in (1, 50, 100):
        assert notes(encode(scene=np.repeat(squares[..., None], 3, 2), quality=quality)) == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("byte", [b"\0", b"\xff"])  # of a bad sector, of an erased one
def test_bad_sectors_in_a_scan_are_damage(kind, byte):
    data = KINDS[kind]
    for at in RNG.integers(blocks_at(data), len(data) - 4100, 12):
        assert refusal(data[:at] + byte * 4096 + data[at + 4096 :])


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_part_is_damage(kind):
    data, start = KINDS[kind], blocks_at(KINDS[kind])
    assert refusal(data[: (start + len(data)) // 2] + EOI)
    assert refusal(data[: (start + len(data)) // 2])
    for lost in (40, 10, 4):
        assert refusal(data[: -2 - lost] + EOI) and refusal(data[: -2 - lost])
    assert notes(data[:-2]) == ("the JPEG end marker is missing; all blocks are there",)


def test_most_changed_bytes_are_seen():
    refused = 0
    for _ in range(40):
        data = bytearray(KINDS["baseline"])
        for at in RNG.integers(blocks_at(KINDS["baseline"]), len(data) - 2, 40):
            data[at] ^= 1 << int(RNG.integers(8))
        refused += bool(refusal(bytes(data)))
    assert refused >= 38


def test_the_row_is_given_where_it_is_known():
    data = KINDS["baseline"]
    at = data.rindex(b"\xff\xda") + len(data) // 2
    rows = []
    for shift in range(0, 400, 20):
        cause = refusal(
            data[: at + shift] + RNG.bytes(300).replace(b"\xff", b"a") + data[at + shift :]
        )
        assert "damaged" in cause
        if "from row" in cause:
            rows.append(int(cause.split("from row ")[1].split(" ")[0]))
    assert rows and all(120 <= row < 320 for row in rows)


def test_missing_scans_are_refused_or_noted():
    data = KINDS["progressive"]
    coarse = data[: data.rindex(b"\xff\xda")]
    assert refusal(coarse) == "scans of the JPEG picture are missing"
    # A file may end with fewer scans by right: its end marker says so.
    (note,) = notes(coarse + EOI)
    assert note.startswith(MAY_BE_DAMAGED) and "scans" in note


def test_a_picture_without_a_component_is_refused():
    grey = KINDS["grey"]
    at = grey.index(b"\xff\xc0")
    size = grey[at + 5 : at + 9]
    frame = b"\xff\xc0\0\x11\x08" + size + b"\3\1\x11\0\2\x11\0\3\x11\0"
    assert refusal(grey[:at] + frame + grey[at + 13 :]) == "scans of the JPEG picture are missing"


# --- what is mended -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "trailer",
    [
        b"",
        bytes(3000),
        b"SEFH maker's trailer SEFT",
        b"\0\0\0\x18ftypmp42" + RNG.bytes(40_000),
        RNG.bytes(3000).replace(b"\xff", b"x") + b"\xff\x20" + RNG.bytes(900),
        KINDS["grey"],
    ],
)
def test_a_trailer_without_an_end_marker_before_it_is_cut_off(kind, trailer):
    data = KINDS[kind][:-2] + trailer
    jpeg, seen = jpeg_damage.check(data, split(data))
    assert seen == ("the JPEG end marker is missing; all blocks are there",)
    whole, mended = (
        Image.open(io.BytesIO(file)).convert("RGB") for file in (KINDS[kind], jpeg.joined())
    )
    np.testing.assert_array_equal(np.asarray(mended), np.asarray(whole))
    assert abs(jpeg.end - len(KINDS[kind]) + 2) <= 16


def test_left_over_blocks_are_no_trailer():
    data, more = KINDS["baseline"][:-2], KINDS["fine"]
    blocks = more[blocks_at(more) :][:4000]
    assert refusal(data + blocks) and refusal(data + blocks + EOI)
    # A changed byte among them that looks like a marker, the file's own end marker behind it.
    assert refusal(data + blocks + b"\xff\x20" + blocks + EOI)


def test_padding_behind_the_last_block_is_bounded():
    data = KINDS["baseline"][:-2]
    assert notes(data + bytes(16) + EOI) == ("padding behind the last JPEG block skipped",)
    assert notes(data + b"\xff\0" * 8 + EOI) == ("padding behind the last JPEG block skipped",)
    assert notes(data + b"\xff" * 40 + EOI) == ()  # fill bytes of the marker
    assert refusal(data + bytes(17) + EOI)
    assert refusal(data + bytes(15) + b"a" + EOI)


def test_the_end_of_the_blocks_is_not_sought_in_pictures_of_too_many_scanned_pixels(monkeypatch):
    padded = KINDS["progressive"][:-2] + bytes(16) + EOI
    num_scans = sum(marker == 0xDA for marker, _ in split(padded).segments)
    pixels = num_scans * SCENE.shape[0] * SCENE.shape[1]
    monkeypatch.setattr(jpeg_damage, "_MAX_PIXELS_OF_SOUGHT_SCANS", pixels)
    assert notes(padded) == ("padding behind the last JPEG block skipped",)
    monkeypatch.setattr(jpeg_damage, "_MAX_PIXELS_OF_SOUGHT_SCANS", pixels - 1)
    assert refusal(padded)


def test_stray_bytes_are_noted():
    data = KINDS["baseline"]
    at = data.index(b"\xff\xdb")
    assert notes(data[:at] + b"ab" + data[at:]) == ("bytes between JPEG segments skipped: 2",)


def test_metadata_that_libjpeg_warns_of_is_no_damage():
    data = KINDS["baseline"].replace(b"JFIF\0\1\1", b"JFIF\0\7\7")
    assert data != KINDS["baseline"] and notes(data) == ()


@pytest.mark.parametrize("kind", ["baseline", "restarts", "grey", "four"])
@pytest.mark.parametrize("parameters", [b"\0\0\0", b"\1\x3f\0", b"\0\x3f\x11"])
def test_parameters_that_a_sequential_scan_does_not_use_are_no_damage(kind, parameters):
    """Some cameras leave them zero; libjpeg warns of it."""
    start = blocks_at(KINDS[kind])
    data = KINDS[kind][: start - 3] + parameters + KINDS[kind][start:]
    assert data != KINDS[kind] and notes(data) == ()
    assert refusal(data[:start] + bytes(4096) + data[start + 4096 :])


def test_a_sampling_that_cannot_be_looked_at_is_noted():
    rare = KINDS["baseline"].replace(b"\x03\x01\x22\0", b"\x03\x01\x31\0")
    assert rare != KINDS["baseline"] and notes(rare)[0].startswith(MAY_BE_DAMAGED)


SMALL = [encode(scene=SCENE[:40, :48], progressive=way) for way in (False, True)]


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(2, 3000), st.integers(0, 255)), min_size=1, max_size=9),
    st.binary(max_size=30),
)
def test_damaged_files_raise_only_refusals(data, changes, trailer):
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position % len(data)] = value
    with contextlib.suppress(Refusal):
        damaged = bytes(damaged) + trailer
        jpeg = split(damaged)
        if jpeg.frame.width * jpeg.frame.height < 10**7:
            jpeg_damage.check(damaged, jpeg)


# --- libjpeg's own tool as the reference --------------------------------------------------------


def djpeg_complains(data: bytes) -> bool:
    """Returns whether djpeg fails or warns of anything that changes a picture."""
    command = ["djpeg", "-scale", "1/8", "-outfile", "/dev/null"]
    run = subprocess.run(command, input=data, capture_output=True, check=False)
    warnings = [line for line in run.stderr.splitlines() if b"Invalid SOS parameters" not in line]
    return bool(run.returncode or warnings)


# What libjpeg does not warn of, or only in the slower of its two loops.
OURS = ("from row", "zeros stand", "scans of the JPEG", "bad Huffman code")


@pytest.mark.skipif(shutil.which("djpeg") is None, reason="djpeg is not installed")
@pytest.mark.parametrize("kind", ["baseline", "progressive", "restarts", "optimized", "grey"])
def test_damage_is_what_djpeg_complains_of(kind):
    whole, start = KINDS[kind], KINDS[kind].index(b"\xff\xdb")
    rng = np.random.default_rng(len(whole))
    seen = {True: 0, False: 0}
    for turn in range(120):
        data = bytearray(whole)
        for at in rng.integers(start, len(data), int(rng.integers(1, 6))):
            data[at] = int(rng.integers(256))
        if turn % 3 == 0:
            at = int(rng.integers(start, len(data)))
            del data[at : at + int(rng.integers(1, 40))]
        data = bytes(data)
        expected = djpeg_complains(data)
        seen[expected] += 1
        try:
            mended = notes(data)
        except Refusal as error:
            cause, cure = error.args
            named = any(word in cause for word in OURS) or cure != CURE_COPY
            assert expected or named, cause
        else:
            assert not expected or mended, f"{kind}, turn {turn}: djpeg complains, we do not"
    assert min(seen.values()) > 5


@pytest.mark.slow
def test_no_real_photo_is_called_damaged(real_photos):
    paths = sorted(real_photos.glob("*/*.jp*g"))
    assert len(paths) > 100
    for path in paths:
        assert notes(path.read_bytes()) == (), path.name
