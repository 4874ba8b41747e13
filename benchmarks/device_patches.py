"""Patches/s of the augmentation on this device, beside Pillow on one core of the host.

    python -m benchmarks.device_patches --output device_patches.json

Squares of textured noise, with what configs/vit_ti_128.py:third does to patches: rescaling, JPEG,
filters, shrinking and noise, each drawn as in training.
"""

from __future__ import annotations

import functools
import json
import pathlib
import statistics
import time

import jax
import numpy as np

from benchmarks.machine import load_config
from exif_jax.cli import command
from exif_jax.data import device_augment
from exif_jax.data.augment import (
    Augmentation,
    augment,
    crop_size,
    min_rescale_factor,
    sample_augmentation,
    sample_corner,
    sample_post_processing,
    size_before_post_processing,
)
from exif_jax.data.config import DataConfig
from exif_jax.data.packing import make_shapes, pack
from exif_jax.io.atomic import write_bytes
from exif_jax.training.config import parse_config

REGION_SIDE = 448  # of the records of real photos
_DIFFERENT = 32  # regions; the others are these again


def main() -> None:
    parser = command.parser("benchmarks.device_patches", __doc__ or "")
    parser.add_argument("--config", default="configs/vit_ti_128.py", help="its data section")
    parser.add_argument("--image-size", type=int, help="side of a patch (default: the config's)")
    parser.add_argument("--patches", type=int, default=4096, help="at a time (default 4096)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs (default 5)")
    parser.add_argument("--output", type=pathlib.Path, help="file for the figures")
    args = parser.parse_args()
    config = load_config(args.config)
    config.data.update(filter_prob=0.15, save_prob=0.7, shrink_prob=0.3, noise_prob=0.3)
    size = args.image_size or config.model.image.image_size
    figures = measure(parse_config(config).data, size, args.patches, args.repeats)
    print("\n".join(f"{name}: {value:,.4g}" for name, value in figures.items()))
    if args.output:
        device = {"device": jax.devices()[0].device_kind}
        write_bytes(args.output, json.dumps(device | figures, indent=1).encode())


def measure(config: DataConfig, size: int, patches: int, repeats: int) -> dict[str, float]:
    """Patches/s of four batches, each of another post-processing, on the device and by Pillow."""
    rates, pillow_seconds, pillow_patches = [], 0.0, 0
    run = jax.jit(functools.partial(device_augment.augment, size=size))
    compile_seconds = sent = 0.0
    for seed in range(4):
        drawn = draw(config, size, patches, seed)
        batch = packed(config, size, drawn)
        sent = sum(x.nbytes for x in batch.values()) / patches
        batch = jax.device_put(batch)
        region = batch.pop("region")
        key = jax.random.key(seed)
        started = time.perf_counter()
        run(region, batch, key).block_until_ready()
        compile_seconds = compile_seconds or time.perf_counter() - started
        for _ in range(repeats):
            started = time.perf_counter()
            run(region, batch, key).block_until_ready()
            rates.append(patches / (time.perf_counter() - started))
        some = drawn[: min(len(drawn), 100)]
        started = time.perf_counter()
        for pixels, augmentation, corner in some:
            augment(pixels, size, augmentation, corner)
        pillow_seconds += time.perf_counter() - started
        pillow_patches += len(some)
    return {
        "patches_per_second": statistics.median(rates),
        "pillow_patches_per_second_of_a_core": pillow_patches / pillow_seconds,
        "bytes_a_patch_to_the_device": sent,
        "compile_seconds": compile_seconds,
        "image_size": size,
        "patches_at_a_time": patches,
    }


def draw(
    config: DataConfig, size: int, patches: int, seed: int
) -> list[tuple[np.ndarray, Augmentation, tuple[int, int]]]:
    """For each patch its region, uint8 [448, 448, 3], what is done to it, and the corner."""
    rng = np.random.default_rng(seed)
    regions = [texture(rng) for _ in range(min(patches, _DIFFERENT))]
    post = sample_post_processing(rng, config.save_prob, config.shrink_prob, config.noise_prob)
    drawn = []
    for k in range(patches):
        region = regions[k % len(regions)]
        least = min_rescale_factor(REGION_SIDE, size_before_post_processing(size, post))
        augmentation = sample_augmentation(
            rng,
            config.rescale_prob,
            config.recompress_prob,
            config.shift_prob,
            filter_prob=config.filter_prob,
            min_factor=least,
            post_processing=post,
        )
        side = crop_size(region.shape, size, augmentation)
        drawn.append((region, augmentation, sample_corner(region.shape, side, rng)))
    return drawn


def packed(config: DataConfig, size: int, drawn) -> dict[str, np.ndarray]:
    """The arrays of a batch whose patches are made on the device, of what `draw` gave."""
    shapes = make_shapes(config, size, REGION_SIDE)
    rows = [pack(*of_one, shapes) for of_one in drawn]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return batch | {"row": np.arange(len(rows), dtype=np.uint32)}


def texture(rng: np.random.Generator) -> np.ndarray:
    """Noise of all scales: uint8 [448, 448, 3]."""
    total = np.zeros((REGION_SIDE, REGION_SIDE, 3))
    for scale in (1, 2, 4, 16, 64):
        coarse = rng.normal(0, 16, (REGION_SIDE // scale, REGION_SIDE // scale, 3))
        total += coarse.repeat(scale, 0).repeat(scale, 1)
    return np.clip(total + 128, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    command.run(main)
