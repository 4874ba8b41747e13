"""Makes the corpus of small malformed files beside it: `python tests/hostile/make.py`.

Each lies in one way that files from the net do. `corpus()` holds them by name with what must come
of them: None where the photo is read in spite of it, or words of the refusal.
"""

from __future__ import annotations

import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).parent
INTACT = "Get an intact copy of the file"
SCRIPT = "</title><script>document.title='hit'</script>"


def scene(size: int = 32) -> Image.Image:
    rng = np.random.default_rng(7)
    return Image.fromarray(np.cumsum(rng.integers(-9, 10, (size, size, 3)), 1).astype(np.uint8))


def encode(kind: str, image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (image or scene()).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def tiff(entries: list[tuple[int, int, int, int]], payload: bytes = b"", link: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + body + struct.pack("<I", link) + payload


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_exif(block: bytes) -> bytes:
    jpeg = encode("JPEG")
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + block) + jpeg[2:]


def texts(values: dict[int, bytes]) -> bytes:
    """An EXIF block of text tags."""
    start = 8 + 2 + 12 * len(values) + 4
    entries, payload = [], b""
    for tag, value in values.items():
        entries.append((tag, 2, len(value), start + len(payload)))
        payload += value
    return tiff(entries, payload)


def scaled_header(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def riff(body: bytes, length: int | None = None) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4 if length is None else length) + b"WEBP" + body


def corpus() -> dict[str, tuple[bytes, str | None]]:
    """Name -> (bytes, words of the refusal or None)."""
    jpeg, webp, bmp = encode("JPEG"), encode("WEBP"), encode("BMP")
    fine = encode("JPEG", scene(96), quality=97)
    progressive = encode("JPEG", progressive=True)
    scan = progressive.rindex(b"\xff\xda")
    rows = zlib.compress(bytes(33 * 3 * 32 * 2))
    exif_loop = [(0x010F, 2, 4, 0x0041), (0x8769, 4, 1, 8), (0xA005, 4, 1, 8)]
    overlap = [(0x010F, 2, 60000, 8)] + [(tag, 7, 60000, 0) for tag in range(4000)]
    hostile_texts = {0x010F: SCRIPT.encode() + b"\0", 0x0110: "\u202egpj.exe".encode() + b"\0"}
    strips = [(256, 3, 1, 32), (257, 3, 1, 32), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    strip = [(273, 4, 1, 8), (279, 4, 1, 1024)]
    return {
        # Not what the name says.
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello, I am a text\n", "not an image"),
        "page.png": (b"<!DOCTYPE html><script>alert(1)</script>", "web page"),
        "zip.jpg": (b"PK\x03\x04" + bytes(60), "archive"),
        "gif.jpg": (encode("GIF"), "GIF"),
        "magic_only.jpg": (b"\xff\xd8\xff", "truncated"),
        "magic_only.png": (b"\x89PNG\r\n\x1a\n", INTACT),
        "magic_only.tif": (b"II*\0", INTACT),
        "magic_only.webp": (b"RIFF\xff\xff\xff\xffWEBP", INTACT),
        # Cut short.
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "half.png": (encode("PNG")[:1200], INTACT),
        "half.webp": (webp[: len(webp) // 2], INTACT),
        "no_scan.jpg": (jpeg[: jpeg.index(b"\xff\xda")], "truncated"),
        "no_frame.jpg": (b"\xff\xd8\xff\xd9", INTACT),
        # Bombs: small files that decode to gigabytes.
        "bomb.jpg": (scaled_header(jpeg, 65500, 65500), "pixels, more than"),
        "bomb.png": (png(100_000, 100_000, chunk(b"IDAT", rows)), "pixels, more than"),
        "bomb_rows.png": (png(32, 32, chunk(b"IDAT", zlib.compress(bytes(8 << 20), 9))), None),
        "bomb_text.png": (
            png(
                *(32, 32),
                chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(8 << 20), 9)),
                chunk(b"IDAT", rows),
            ),
            INTACT,
        ),
        "bomb.tif": (
            tiff([(256, 4, 1, 90_000), (257, 4, 1, 90_000), *strips[2:], *strip]),
            "pixels, more than",
        ),
        "bomb.webp": (
            riff(b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6 + webp[12:]),
            "pixels, more than",
        ),
        "scans.jpg": (progressive[:-2] + progressive[scan:-2] * 120 + b"\xff\xd9", "scans"),
        # EXIF that loops, lies or overlaps.
        "exif_cycle.jpg": (with_exif(tiff(exif_loop, link=8)), None),
        "exif_overlap.jpg": (with_exif(tiff(overlap)), None),
        "exif_far.jpg": (with_exif(tiff([(0x010F, 2, 4, 65), (0x8769, 4, 1, 2**31)])), None),
        "exif_count.jpg": (with_exif(tiff([(0x010F, 2, 2**32 - 1, 8)])), None),
        "exif_types.jpg": (with_exif(tiff([(0x010F, 99, 1, 8), (0x829A, 2, 4, 65)])), None),
        "exif_zero_over_zero.jpg": (with_exif(tiff([(0x829A, 5, 1, 26)], bytes(8))), None),
        "exif_no_tiff.jpg": (with_exif(b"\xff" * 40), None),
        "exif_big_endian_lie.jpg": (with_exif(b"MM*\0\x08\0\0\0" + bytes(30)), None),
        "exif_script.jpg": (with_exif(texts(hostile_texts)), None),
        "exif_bytes.jpg": (with_exif(texts({0x010F: bytes(range(128, 256))})), None),
        "comment_64k.jpg": (jpeg[:2] + segment(0xFE, b"<b>" * 21843) + jpeg[2:], None),
        # Directories of TIFF files.
        "cycle.tif": (tiff([*strips, *strip], link=8), INTACT),
        "strip_beyond.tif": (tiff([*strips, (273, 4, 1, 10**9), (279, 4, 1, 1024)]), INTACT),
        "tiles_of_zero.tif": (tiff([*strips, (322, 3, 1, 0), (323, 3, 1, 0)]), INTACT),
        "entries.tif": (b"II*\0\x08\0\0\0\xff\xff" + bytes(64), INTACT),
        "samples.tif": (tiff([*strips, (277, 3, 1, 65535), *strip]), INTACT),
        # Lengths that lie.
        "segment_past_end.jpg": (jpeg[:2] + b"\xff\xe1\xff\xff" + jpeg[2:], INTACT),
        "segment_of_one.jpg": (jpeg[:2] + b"\xff\xe1\x00\x01" + jpeg[2:], INTACT),
        "chunk_2g.png": (png(32, 32, struct.pack(">I", 2**31 - 1) + b"IDAT" + rows), INTACT),
        "crc.png": (encode("PNG")[:-40] + bytes(40), INTACT),
        "zero_size.png": (png(0, 0), INTACT),
        "riff_length.webp": (riff(webp[12:], length=2**32 - 2), INTACT),
        "zero_size.jpg": (scaled_header(jpeg, 0, 0), INTACT),
        # Damaged where decoders say nothing of it.
        "zeros.jpg": (fine[:5000] + bytes(1024) + fine[6024:], "damaged"),
        "half_with_end.jpg": (fine[:5000] + b"\xff\xd9", "damaged"),
        "zeros.tif": (
            encode("TIFF", scene(96), compression="tiff_deflate").replace(b"\x78\x9c", b"\0\0", 1),
            INTACT,
        ),
        "short.bmp": (bmp[:-1], "truncated"),
        # What is not read, and is not damaged.
        "arithmetic.jpg": (jpeg.replace(b"\xff\xc0", b"\xff\xc9", 1), "arithmetic"),
        "big.tif": (b"II+\0\x08\0\0\0" + bytes(64), "BigTIFF"),
        "thumbnail.tif": (
            tiff([(254, 4, 1, 1), *strips, *strip, (50706, 1, 4, 1025)], bytes(1024)),
            "raw file",
        ),
        "run_lengths.bmp": (bmp[:30] + b"\1" + bmp[31:], "run lengths"),
        # Odd and still photos.
        "no_end.jpg": (jpeg[:-2], None),
        "scans_behind.jpg": (jpeg + b"\xff\xda" * 120, None),
        "stray.jpg": (jpeg.replace(b"\xff\xdb", b"\0\xff\xdb", 1), None),
        "exif_utf8.jpg": (with_exif(tiff([(0x010F, 129, 4, 0x00414141)])), None),
        "exif_twice.jpg": (with_exif(b"Exif\0\0" + texts({0x010F: b"Make\0"})), None),
        "top_down.bmp": (bmp[:22] + struct.pack("<i", -32) + bmp[26:], None),
        "zip_behind.jpg": (jpeg + b"PK\x05\x06" + bytes(18), None),
        "cmyk.jpg": (encode("JPEG", scene().convert("CMYK")), None),
        "one_pixel.png": (encode("PNG", scene(1)), None),
        "flat.png": (encode("PNG", Image.new("RGB", (300, 300))), None),
    }


def main() -> None:
    for name, (data, _) in corpus().items():
        (FOLDER / name).write_bytes(data)
    print(f"{FOLDER}: {len(corpus())} files")


if __name__ == "__main__":
    main()
