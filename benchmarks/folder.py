"""Photos/s of a folder, as the command goes over it: `python -m benchmarks.folder`.

Twice: the first time compiles, the second finds the compiled code in its cache.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from exif_jax.cli import command
from exif_jax.io.atomic import write_bytes


def main() -> None:
    parser = command.parser("benchmarks.folder", __doc__ or "")
    parser.add_argument("--photos", type=int, default=32, help="how many (default 32)")
    parser.add_argument("--size", default="4000x3000", help="WIDTHxHEIGHT (default 4000x3000)")
    parser.add_argument("--output", type=pathlib.Path, help="file for the figures")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(pathlib.Path(scratch), args.photos, width, height)
    print("\n".join(f"{name}: {value:.4g}" for name, value in figures.items()))
    if args.output:
        write_bytes(args.output, json.dumps(figures, indent=1).encode())


def measure(scratch: pathlib.Path, photos: int, width: int, height: int) -> dict[str, float]:
    """Seconds of the command over photos of one size, and photos/s when it starts warm."""
    folder = scratch / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(coarse).resize((width, height))).astype(np.int16)
    for k in range(photos):
        noise = rng.integers(-12, 13, (64, width, 3), dtype=np.int16)
        pixels = scene + np.tile(noise, (-(-height // 64), 1, 1))[:height]
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        picture.save(folder / f"{k:03d}.jpg", quality=92)
    environment = os.environ | {"XDG_CACHE_HOME": str(scratch / "cache"), "TQDM_DISABLE": "1"}
    seconds = []
    for k in range(2):
        words = ["exif_jax.localize", str(folder), "--output", str(scratch / f"results{k}")]
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", *words], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        seconds.append(time.perf_counter() - started)
    return {
        "photos": photos,
        "megapixels": width * height / 1e6,
        "first_seconds": seconds[0],
        "second_seconds": seconds[1],
        "photos_per_second": photos / seconds[1],
    }


if __name__ == "__main__":
    command.run(main)
