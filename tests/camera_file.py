"""JPEG files as a camera writes them, made for tests: scene, EXIF with thumbnail, segments."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageFilter

Values = dict[int, "str | int | bytes | tuple[int, int]"]

TIMES: Values = {0x9003: "2020:05:06 07:08:09", 0x9004: "2020:05:06 07:08:09"}


def scene(width: int = 480, height: int = 320, seed: int = 0) -> Image.Image:
    """Smooth colours with edges and grain."""
    rng = np.random.default_rng(seed)
    shape = (height // 32, width // 32, 3)
    smooth, edges = (
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).resize((width, height), kernel)
        for kernel in (Image.Resampling.BICUBIC, Image.Resampling.NEAREST)
    )
    pixels = np.asarray(Image.blend(smooth, edges, 0.4), np.float32)
    grain = rng.normal(0, 12, pixels.shape)
    noisy = Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
    return noisy.filter(ImageFilter.GaussianBlur(0.6))


def jpeg(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    if not options.get("qtables"):  # which Pillow would scale by the quality
        options = {"quality": 93, **options}
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def thumbnail_of(image: Image.Image, size: tuple[int, int] = (160, 107)) -> bytes:
    return jpeg(image.resize(size, Image.Resampling.BOX), quality=85)


def directory(values: Values, start: int, link: int = 0) -> bytes:
    """A little-endian directory that starts at an offset, its values behind it."""
    entries, payload = b"", b""
    at = start + 2 + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        if isinstance(value, str):
            kind, raw = 2, value.encode("latin-1") + b"\0"
            count = len(raw)
        elif isinstance(value, bytes):
            kind, raw, count = 7, value, len(value)
        elif isinstance(value, tuple):
            kind, raw, count = 5, struct.pack("<II", *value), 1
        else:
            kind, raw, count = 4, struct.pack("<I", value), 1
        if len(raw) <= 4:
            field = raw.ljust(4, b"\0")
        else:
            field = struct.pack("<I", at + len(payload))
            payload += raw + b"\0" * (len(raw) % 2)
        entries += struct.pack("<HHI", tag, kind, count) + field
    return struct.pack("<H", len(values)) + entries + struct.pack("<I", link) + payload


def exif_block(image: Values, camera: Values, thumbnail: bytes = b"") -> bytes:
    """A block of IFD0, its Exif directory and, with a thumbnail, IFD1."""
    first = {**image, 0x8769: 0}
    length = len(directory(first, 8))
    at_camera = 8 + length
    camera_part = directory(camera, at_camera)
    at_small = at_camera + len(camera_part)
    first[0x8769] = at_camera
    block = b"II*\0\x08\0\0\0" + directory(first, 8, at_small if thumbnail else 0) + camera_part
    if thumbnail:
        small = directory({0x0103: 6, 0x0201: 0, 0x0202: len(thumbnail)}, at_small)
        small = directory(
            {0x0103: 6, 0x0201: at_small + len(small), 0x0202: len(thumbnail)}, at_small
        )
        block += small + thumbnail
    return block


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A file with segments behind its start, without Pillow's JFIF."""
    rest = data[2:]
    if rest[:2] == b"\xff\xe0":
        rest = rest[2 + int.from_bytes(rest[2:4], "big") :]
    return b"\xff\xd8" + b"".join(segments) + rest


def camera_file(
    image: Image.Image | None = None,
    make: str = "Acme",
    model: str = "One",
    thumbnail: bytes | None = None,
    camera: Values | None = None,
    more: tuple[bytes, ...] = (),
    software: str = "",
    **options,
) -> bytes:
    """A file as the camera "Acme One" writes it; other tags and options as given."""
    image = image or scene()
    small = thumbnail_of(image) if thumbnail is None else thumbnail
    sizes: Values = {0xA002: image.width, 0xA003: image.height}
    tags: Values = {0x010F: make, 0x0110: model, 0x0132: "2020:05:06 07:08:09"}
    if software:
        tags[0x0131] = software
    block = exif_block(tags, {**TIMES, **sizes, **(camera or {})}, small)
    return with_segments(jpeg(image, **options), segment(0xE1, b"Exif\0\0" + block), *more)
