"""Pictures that are flat, full of edges or like a photo, encoded, and files with bad sectors."""

import io

import numpy as np
from PIL import Image

RNG = np.random.default_rng(2400)
WAVES = 60 * np.sin(np.arange(320) / 17)[:, None, None] * np.cos(np.arange(400) / 23)[None, :, None]
SCENE = np.clip(128 + WAVES + RNG.normal(0, 9, (320, 400, 3)), 0, 255).astype(np.uint8)
SQUARES = np.kron(RNG.integers(0, 2, (80, 100)) * 255, np.ones((8, 8))).astype(np.uint8)
FLAT = np.full((3000, 4000, 3), 200, np.uint8)
SCENES = {
    "photo": SCENE,
    "flat": FLAT[:, :3000],
    "black": np.zeros_like(FLAT)[:1000],
    "squares": np.repeat(SQUARES[..., None], 3, 2),
}


def encode(kind: str, scene=SCENE, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene).save(file, kind, **options)
    return file.getvalue()


def zeroed(data: bytes, length: int = 4096) -> bytes:
    """Returns a file with a run of zeros in its middle, as a bad sector leaves."""
    at = len(data) // 2
    return data[:at] + bytes(length) + data[at + length :]
