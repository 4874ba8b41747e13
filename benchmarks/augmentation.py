"""What augmentation costs the host and the device, in core-milliseconds a patch.

    python -m benchmarks.augmentation --records records

Both ways of config.data.augment_on: Pillow on the host, or the host sending squares and the device
doing the rest; and the latter with all regions on the device (config.data.device_cache). Times of
the host are those of its processor, not of the clock, so that other work on the machine does not
count; "cores" is how many of them 1,000 patches/s take. Regions are decoded anew for each batch
(data.cache_regions 1), as in a large data set; those that lie on the device are decoded once.
"""

from __future__ import annotations

import json
import pathlib
import time

import jax
import numpy as np

from benchmarks.machine import load_config
from exif_jax.cli import command
from exif_jax.data.dataset import PatchDataset
from exif_jax.data.device_augment import augment
from exif_jax.data.packing import PACKED
from exif_jax.data.records_folder import load_tokenizer
from exif_jax.io.atomic import write_bytes
from exif_jax.training.config import Config, parse_config


def main() -> None:
    parser = command.parser("benchmarks.augmentation", __doc__)
    parser.add_argument("--records", required=True, help="output folder of data_prep.photos")
    parser.add_argument("--config", default="configs/vit_ti_cpu.py", help="what is drawn")
    parser.add_argument("--patches-per-text", type=int, help="default: the config's")
    parser.add_argument("--batch", type=int, default=64, help="patches (default 64)")
    parser.add_argument("--batches", type=int, default=5, help="timed (default 5)")
    parser.add_argument("--output", type=pathlib.Path, help="file for the figures")
    args = parser.parse_args()
    report: dict = {"device_kind": jax.devices()[0].device_kind}
    rows = {"host": 0, "device": 0, "device, all regions there": 2**40}
    batches = []
    for name, device_cache in rows.items():
        config = load_config(args.config)
        config.data.update(records=args.records, cache_regions=1, device_cache=device_cache)
        config.data.augment_on = name.partition(",")[0]
        config.data.patches_per_text = args.patches_per_text or config.data.patches_per_text
        config.train.batch_size = args.batch
        report[name], made = host_row(parse_config(config), args.batches)
        batches = made if "region" in made[0] else batches
        print(f"augment_on {name}:", _format(report[name]), flush=True)
    report["augment"] = device_row(batches, config.model.image.image_size)
    print(f"on {report['device_kind']}:", _format(report["augment"]))
    if args.output:
        write_bytes(args.output, json.dumps(report, indent=1).encode())


def host_row(config: Config, number: int) -> tuple[dict[str, float], list[dict]]:
    """One thread that makes batches: its processor time a patch, and the batches."""
    tokenizer = load_tokenizer(config.data.records)
    size, length = config.model["image"]["image_size"], config.model["text"]["max_length"]
    data = PatchDataset(config.data, "train", tokenizer, size, length)
    if config.data.device_cache:
        data.load_regions()
    data.batch(0, config.train.batch_size)
    decoded_before = regions_decoded(data)
    started = time.thread_time()
    batches = [data.batch(step, config.train.batch_size) for step in range(1, number + 1)]
    seconds = time.thread_time() - started
    decoded = regions_decoded(data) - decoded_before
    started = time.thread_time()
    for number_of_record in range(16):
        data.photos._read_region(number_of_record)
    region_seconds = (time.thread_time() - started) / 16
    patches = number * config.train.batch_size
    sent = sum(x.nbytes for batch in batches for x in batch.values())
    row = {
        "ms_per_patch": 1e3 * seconds / patches,
        "cores_for_1000_patches_per_second": 1e3 * seconds / patches,
        "regions_decoded_per_patch": decoded / patches,
        "ms_per_region": 1e3 * region_seconds,
        "kilobytes_sent_per_patch": sent / patches / 1e3,
    }
    return row, batches


def regions_decoded(data: PatchDataset) -> int:
    """How many so far; once all are on the device, batches need no more."""
    return 0 if data.config.device_cache else data.photos._cached_region.cache_info().misses


def device_row(batches: list[dict[str, np.ndarray]], size: int) -> dict[str, float]:
    """`augment` of those batches: milliseconds of all cores on a CPU, else of the clock."""
    cpu = jax.default_backend() == "cpu"
    clock = time.process_time if cpu else time.perf_counter
    compiled = jax.jit(augment, static_argnames="size")
    placed = []
    for batch in batches:
        packed = {name: x for name, x in batch.items() if name in PACKED}
        placed.append(jax.device_put((packed.pop("region"), packed, jax.random.key(0))))
    jax.block_until_ready(compiled(*placed[0], size=size))
    started = clock()
    for arrays in placed:
        jax.block_until_ready(compiled(*arrays, size=size))
    seconds, patches = clock() - started, sum(len(arrays[0]) for arrays in placed)
    return {"ms_per_patch": 1e3 * seconds / patches, "patches_per_second": patches / seconds}


def _format(row: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in row.items())


if __name__ == "__main__":
    main()
