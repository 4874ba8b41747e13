"""What is done to camera files in `benchmarks.file_evidence`: bytes of a JPEG file -> bytes.

Each keeps the EXIF block of the file, as whoever wants a changed photo to pass for the camera's
does; None where a change cannot be made of a file or its program is not installed.
"""

from __future__ import annotations

import functools
import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from exif_jax.reading import jpeg_scan
from exif_jax.reading.exif_block import without_preamble
from exif_jax.reading.tiff_directory import byte_order, first_directory

_APP1, _MAKE, _MODEL = 0xE1, 0x010F, 0x0110
Apply = Callable[[bytes, bytes], "bytes | None"]  # file, another file -> changed file


class Change(NamedTuple):
    """A change of a file; `needs` is the program without which it cannot be made."""

    name: str
    apply: Apply
    needs: str = ""


def exif_block(data: bytes) -> bytes:
    """The file's EXIF block from its TIFF header on; b"" where there is none."""
    for marker, segment in jpeg_scan.split(data).segments:
        if marker == _APP1 and segment[4:].startswith(b"Exif\0"):
            return without_preamble(segment[4:])
    return b""


def with_exif_block(data: bytes, block: bytes) -> bytes | None:
    """The file with another EXIF block in the place of its own."""
    body = b"Exif\0\0" + block
    if len(body) > 65_533:
        return None
    jpeg, parts, done = jpeg_scan.split(data), [], False
    for marker, segment in jpeg.segments:
        if marker == _APP1 and segment[4:].startswith(b"Exif\0"):
            if not done:
                parts.append(struct.pack(">BBH", 0xFF, _APP1, len(body) + 2) + body)
            done = True
        else:
            parts.append(segment)
    return b"\xff\xd8" + b"".join(parts) + data[jpeg.end :] if done else None


def swap_exif(data: bytes, other: bytes) -> bytes | None:
    """The EXIF of another camera's file, thumbnail and maker note included."""
    block = exif_block(other)
    return with_exif_block(data, block) if block else None


def swap_names(data: bytes, other: bytes) -> bytes | None:
    """Maker and model of another camera, all else as it was."""
    block, theirs = exif_block(data), exif_block(other)
    if not block or not theirs:
        return None
    for tag in (_MAKE, _MODEL):
        entry = next((e for e in first_directory(theirs)[0] if e.tag == tag), None)
        mine = next((e for e in first_directory(block)[0] if e.tag == tag), None)
        if entry is None or mine is None:
            return None
        text = theirs[entry.values_at : entry.values_at + entry.num_bytes].ljust(5, b"\0")
        new = struct.pack(byte_order(block) + "II", len(text), len(block))
        at = mine.position + 4
        block = block[:at] + new + block[at + 8 :] + text
    return with_exif_block(data, block)


def _save(image: Image.Image, data: bytes, **options) -> bytes:
    stream = io.BytesIO()
    block = exif_block(data)
    exif = {"exif": b"Exif\0\0" + block} if 0 < len(block) < 65_500 else {}
    image.save(stream, "JPEG", **exif, **options)
    return stream.getvalue()


def _open(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def save_again(data: bytes, other: bytes, quality: int) -> bytes:
    """Saved by Pillow."""
    return _save(_open(data), data, quality=quality)


def resize(data: bytes, other: bytes, factor: float) -> bytes:
    """Resized and saved by Pillow."""
    image = _open(data)
    size = tuple(max(16, round(side * factor)) for side in image.size)
    return _save(image.resize((size[0], size[1]), Image.Resampling.BICUBIC), data, quality=95)


def crop(data: bytes, other: bytes) -> bytes:
    """Cut by a tenth on the left and at the top, and saved by Pillow."""
    image = _open(data)
    return _save(
        image.crop((image.width // 10, image.height // 10, image.width, image.height)),
        data,
        quality=95,
    )


def paste(data: bytes, other: bytes) -> bytes:
    """A square of a fifth of the shorter side of another photo in the middle; thumbnail kept."""
    image, donor = _open(data), _open(other)
    side = min(image.size) // 5
    piece = donor.resize((side, side), Image.Resampling.BICUBIC, box=_middle(donor, side))
    image.paste(piece, ((image.width - side) // 2, (image.height - side) // 2))
    return _save(image, data, quality=95)


def _middle(image: Image.Image, side: int) -> tuple[int, int, int, int]:
    side = min(side, *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return left, top, left + side, top + side


def move_inside(data: bytes, other: bytes) -> bytes:
    """A piece of the photo copied over another place, thumbnail kept."""
    pixels = np.asarray(_open(data)).copy()
    h, w = pixels.shape[:2]
    side = min(h, w) // 5
    pixels[h // 2 : h // 2 + side, w // 2 : w // 2 + side] = pixels[:side, :side]
    return _save(Image.fromarray(pixels), data, quality=95)


def turn(data: bytes, other: bytes) -> bytes | None:
    """Turned by 90 degrees without loss, by jpegtran."""
    if not shutil.which("jpegtran"):
        return None
    words = ["jpegtran", "-rotate", "90", "-trim", "-copy", "all"]
    done = subprocess.run(words, input=data, capture_output=True)
    return done.stdout or None


def imagemagick(data: bytes, other: bytes) -> bytes | None:
    """Saved by ImageMagick as it does by itself."""
    names = ("magick", "convert-im6.q16", "convert")
    program = next(filter(None, map(shutil.which, names)), None)
    if not program:
        return None
    done = subprocess.run([program, "jpeg:-", "jpeg:-"], input=data, capture_output=True)
    return done.stdout if done.stdout.startswith(b"\xff\xd8") else None


def _quality(quality: int) -> Apply:
    return functools.partial(save_again, quality=quality)


CHANGES = (
    Change("Make and Model of another camera", swap_names),
    Change("EXIF of another camera, whole", swap_exif),
    *(Change(f"saved by Pillow, quality {q}", _quality(q)) for q in (75, 85, 90, 95, 98)),
    Change("saved by ImageMagick", imagemagick, "ImageMagick"),
    Change("resized to 0.6", functools.partial(resize, factor=0.6)),
    Change("resized to 1.2", functools.partial(resize, factor=1.2)),
    Change("cut by a tenth on two sides", crop),
    Change("turned by jpegtran", turn, "jpegtran"),
    Change("piece of another photo pasted, thumbnail kept", paste),
    Change("piece moved inside the photo, thumbnail kept", move_inside),
)
