"""The photo files that `benchmarks.fuzz` changes."""

from __future__ import annotations

import io
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image, features

from benchmarks.jpeg_mutations import jpeg_parts

HOSTILE = pathlib.Path(__file__).parent.parent / "tests" / "hostile"


class Seeds(NamedTuple):
    """Whole files, and the indices of the JPEG files among them whose parts are known."""

    files: list[bytes]
    jpegs: list[int]


def make_seeds() -> Seeds:
    """Makes the files, most small: a mutation of a small file more often hits what matters."""
    rng = np.random.default_rng(7)
    pixels = np.cumsum(rng.integers(-9, 10, (48, 64, 3)), axis=1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Canon", "Canon EOS 5D", 6
    exif.get_ifd(0x8769).update({0x829A: 0.004, 0x829D: 2.8, 0x8827: 400, 0x920A: 50.0})
    images = [(Image.fromarray(pixels), exif.tobytes()), *_small_real_photos()]
    seeds = []
    for image, block in images:
        for kind, options in (
            ("JPEG", {}),
            ("JPEG", {"progressive": True}),
            ("JPEG", {"subsampling": 0}),
            ("PNG", {}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
            ("TIFF", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_deflate"}),
            ("TIFF", {"compression": "jpeg"}),
        ):
            # libtiff, which writes the compressed ones, refuses some cameras' EXIF.
            seeds.append(_encode(image, kind, exif=b"" if "compression" in options else block,
                                 **options))  # fmt: skip
    image = images[0][0]
    seeds += [_encode(image.convert("L"), "PNG"), _encode(image.convert("P"), "PNG")]
    seeds += [_encode(image.convert("1"), "TIFF"), _encode(image.convert("CMYK"), "JPEG")]
    seeds += [_encode(image.convert("I").convert("I;16"), "TIFF"), _encode(image, "BMP")]
    if features.check("avif"):
        seeds.append(_encode(image, "AVIF", exif=images[0][1]))
    seeds += _large_jpegs(rng)
    seeds += [path.read_bytes() for path in sorted(HOSTILE.iterdir()) if path.suffix != ".py"]
    files = [seed for seed in seeds if seed]
    return Seeds(files, [k for k, data in enumerate(files) if jpeg_parts(data)])


def _encode(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _small_real_photos() -> list[tuple[Image.Image, bytes]]:
    """Small copies of some real photos, each with the whole photo's EXIF."""
    folder = os.environ.get("EXIF_JAX_PHOTOS")
    images = []
    for path in sorted(pathlib.Path(folder, "train").iterdir())[::60] if folder else ():
        if path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        with Image.open(path) as image:
            if image.info.get("exif"):
                small = image.convert("RGB").crop((0, 0, 64, 48))
                images.append((small, image.info["exif"]))
    return images


def _large_jpegs(rng: np.random.Generator) -> list[bytes]:
    """JPEG files of every coding whose scans hold more than a sector of a disk."""
    y, x = np.mgrid[:160, :200]
    waves = 128 + 60 * np.sin(y / 17) * np.cos(x / 23)
    scene = np.clip(waves[..., None] + rng.normal(0, 9, (160, 200, 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(scene)
    return [
        _encode(image, "JPEG", quality=90),
        _encode(image, "JPEG", quality=97, subsampling=0, optimize=True),
        _encode(image, "JPEG", quality=90, progressive=True),
        _encode(image, "JPEG", quality=90, restart_marker_rows=1),
        _encode(image.convert("L"), "JPEG", quality=90),
    ]
