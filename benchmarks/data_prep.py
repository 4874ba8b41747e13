"""Data preparation and the input pipeline beside their floors: `python -m benchmarks.data_prep`.

    photos    photos/s of one core from bytes to records, beside decoding alone and encoding alone
    pipeline  patches/s of each reader on all cores, beside decoding its regions alone, and what a
              training step of --config takes here
    memory    the peak of a process that goes over 100,000 simulated records, after 10,000 and all
    shuffle   how far neighbours in the files lie apart in the batches, beside chance

Every part measures its floor in the same run. Photos: those of --input as they are, and larger
ones tiled of them (12 megapixels, quality 92), as cameras write them.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from data_prep import photos as plain_driver
from data_prep.processing.photo import process_photo
from data_prep.processing.settings import PrepSettings
from data_prep.sources.listing import list_chunks, read_chunk
from data_prep.sources.raw_photo import RawPhoto
from data_prep.train_tokenizer import main as train_tokenizer
from exif_jax.cli import command
from exif_jax.data.config import DataConfig
from exif_jax.data.records import (
    Record,
    RecordReader,
    decode_image,
    decode_record,
    encode_image,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.reading.photo import read_photo


def large_photos(folder: str, count: int) -> list[RawPhoto]:
    """Photos of 4000 x 3000 pixels tiled of real crops, with the EXIF of the first."""
    files = sorted(pathlib.Path(folder).glob("*_0.jpg"))
    made = []
    for k in range(count):
        rng = np.random.default_rng(k)
        rows = []
        for _ in range(3000 // 448 + 1):
            chosen = [read_photo(files[i]).pixels for i in rng.integers(len(files), size=9)]
            rows.append(np.hstack([np.resize(p, (448, 448, 3)) for p in chosen]))
        pixels = np.vstack(rows)[:3000, :4000]
        stream = io.BytesIO()
        with Image.open(files[int(rng.integers(len(files)))]) as image:
            exif = image.getexif()
            for tag in (0xA002, 0xA003):  # the real size: these are not resized photos
                exif.get_ifd(0x8769)[tag] = {0xA002: 4000, 0xA003: 3000}[tag]
            block = exif.tobytes()
        Image.fromarray(pixels).save(stream, "JPEG", quality=92, subsampling=2, exif=block)
        made.append(RawPhoto(f"{k}.jpg", stream.getvalue()))
    return made


def seconds(run, items) -> float:
    """Wall time of a function over items, on this thread; the best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        for item in items:
            run(item)
        best = min(best, time.perf_counter() - started)
    return best


def bench_photos(folder: str) -> list[dict]:
    """One core, from bytes to serialised records."""
    chunks = list_chunks(folder).chunks
    small = [photo for chunk in chunks[:6] for photo in read_chunk(chunk)]
    rows = []
    for name, photos in (("448 px crops", small), ("12 megapixels", large_photos(folder, 8))):
        settings = PrepSettings()
        taken = [process_photo(photo, settings)[0].num_records for photo in photos]
        regions = [
            decode_image(decode_record(r))
            for photo in photos
            for r in process_photo(photo, settings)[1]
        ]
        whole = seconds(lambda photo, s=settings: process_photo(photo, s), photos)
        decode = seconds(lambda photo: read_photo(photo.data), photos)
        arrays = seconds(lambda photo: read_photo(photo.data).pixels, photos)
        encode = seconds(encode_image, regions)
        rows.append(
            {
                "photos": name,
                "regions a photo": sum(taken) / len(photos),
                "photos/s": len(photos) / whole,
                "decode alone, photos/s": len(photos) / decode,
                "share of decoding": decode / whole,
                "share of decoding to an array": arrays / whole,
                "share of decoding and encoding": (decode + encode) / whole,
                "megapixels/s": sum(read_photo(p.data).pixels.size / 3e6 for p in photos) / whole,
            }
        )
    return rows


# --- pipeline -------------------------------------------------------------------------------------


def data_config(records: str, **changes) -> DataConfig:
    """The training config's data section, for these records."""
    from configs import vit_ti_cpu
    from exif_jax.training.config import parse_config

    config = vit_ti_cpu.get_config()
    config.data.records = records
    config.data.update(changes)
    return parse_config(config).data


def bench_pipeline(records: str, config_path: str, batches: int) -> list[dict]:
    """Patches/s of each reader with and without processing, the cache off."""
    from exif_jax.data.dataset import PatchDataset
    from exif_jax.data.input_pipeline import batches as make_batches
    from exif_jax.data.records_folder import load_tokenizer

    rows = []
    reader = RecordReader(records, "train")
    sample = [decode_record(reader[i]) for i in range(0, len(reader), max(1, len(reader) // 400))]
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        floor = min(_timed(lambda: list(pool.map(decode_image, sample))) for _ in range(3))
    regions_per_second = len(sample) / floor
    readers = ["threads"] + ["tf.data"] * (importlib.util.find_spec("tensorflow") is not None)
    names = ("rescale", "recompress", "shift", "save", "shrink", "noise")
    unprocessed = {f"{name}_prob": 0.0 for name in names}
    cases = {
        "one patch of a region, as it is": {
            **unprocessed,
            "texts_per_photo": 1,
            "patches_per_text": 1,
        },
        "the config's texts, patches and processing": {},
    }
    config = data_config(records, cache_regions=1, **cases["one patch of a region, as it is"])
    data = PatchDataset(config, "train", load_tokenizer(records), 128, 256)
    slots = [(step, slot) for step in range(4) for slot in range(64)]
    whole = seconds(lambda place: data.sample(*place, 64), slots) / len(slots)
    alone = seconds(decode_image, sample) / len(sample)
    rows.append(
        {
            "batches": "one patch of a region, as it is",
            "reader": "none, one thread",
            "patches/s": 1 / whole,
            "decode floor, regions/s": 1 / alone,
            "share of the floor": alone / whole,
        }
    )
    for name, changes in cases.items():
        for which in readers:
            config = data_config(records, cache_regions=1, **changes)
            data = PatchDataset(config, "train", load_tokenizer(records), 128, 256)
            decoded = _count_calls(data)
            made = make_batches(data, 64, range(batches + 2), which)
            next(made), next(made)
            before = decoded()
            started = time.perf_counter()
            for _ in range(batches):
                next(made)
            took = time.perf_counter() - started
            made.close()
            regions = decoded() - before
            rows.append(
                {
                    "batches": name,
                    "reader": which,
                    "patches/s": 64 * batches / took,
                    "regions decoded/s": regions / took,
                    "decode floor, regions/s": regions_per_second,
                    "share of the floor": regions / took / regions_per_second,
                }
            )
    with tempfile.NamedTemporaryFile(suffix=".json") as figures:
        words = [sys.executable, "-m", "benchmarks.train", "--configs", config_path]
        words += ["--batches", "64", "--no-torch", "--no-input", "--output", figures.name]
        subprocess.run(words, capture_output=True, check=True)
        (step,) = json.loads(pathlib.Path(figures.name).read_text())["rows"]
    taken = step["pairs_per_second"]
    rows.append({"batches": f"a step of {config_path} takes", "patches/s": taken})
    return rows


def _count_calls(data):
    """How many regions a split has decoded so far; the cache holds one."""
    return lambda: data.photos._cached_region.cache_info().misses


def _timed(run) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


# --- memory ---------------------------------------------------------------------------------------

_GO_OVER = """
import json, sys
from benchmarks.data_prep import data_config
from benchmarks.localize import peak_memory
from exif_jax.data.dataset import PatchDataset
from exif_jax.data.input_pipeline import batches
from exif_jax.data.records_folder import load_tokenizer
records, which, marks = sys.argv[1], sys.argv[2], [int(x) for x in sys.argv[3:]]
config = data_config(records, cache_regions=64, texts_per_photo=1, patches_per_text=1)
data = PatchDataset(config, "train", load_tokenizer(records), 32, 64)
peaks = {}
for k, batch in enumerate(batches(data, 100, range(marks[-1] // 100), which), start=1):
    if 100 * k in marks:
        peaks[100 * k] = peak_memory()
print(json.dumps(peaks))
"""


def bench_memory(folder: pathlib.Path, count: int) -> list[dict]:
    """Goes over simulated records of 32-pixel noise; the peak must not grow with their number."""
    rng = np.random.default_rng(0)
    exif = {"Make": "Canopus", "Model": "C1", "Flash": "Fired", "ISO": "100"}
    images = [encode_image(rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(64)]
    for split, number in (("train", count), ("validation", 10)):
        rows = (
            encode_record(Record(images[k % 64], exif, f"{k:064x}"[::-1], (0, 0, 32, 32), f"{k}"))
            for k in range(number)
        )
        write_shard(folder / shard_name(split, 0, 1), rows)
    (folder / "tag_counts.json").write_text(json.dumps({"vocabulary": list(exif)}))
    with contextlib.redirect_stdout(io.StringIO()):
        train_tokenizer(["--records", str(folder)])
    rows = []
    for which in ["threads"] + ["tf.data"] * (importlib.util.find_spec("tensorflow") is not None):
        words = [sys.executable, "-c", _GO_OVER, str(folder), which, str(count // 10), str(count)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peaks = json.loads(done.stdout)
        rows.append({"reader": which, **{f"MiB after {int(k):,}": v for k, v in peaks.items()}})
    return rows


def bench_shuffle(num_photos: int = 30_000, per_batch: int = 64) -> list[dict]:
    """Neighbours in the files, by where an epoch shows them."""
    from exif_jax.data.sampler import photo_indices

    steps = num_photos // per_batch
    place = np.full(num_photos, -1)
    for step in range(steps):
        place[photo_indices(num_photos, per_batch, 0, step)] = step
    seen = place >= 0
    pairs = seen[1:] & seen[:-1]
    together = float((place[1:] == place[:-1])[pairs].mean())
    correlation = float(np.corrcoef(place[seen], np.flatnonzero(seen))[0, 1])
    return [
        {
            "photos": num_photos,
            "neighbours in one batch": together,
            "by chance": 1 / steps,
            "correlation of place in file and epoch": correlation,
        }
    ]


# --- command --------------------------------------------------------------------------------------


def show(title: str, rows: list[dict]) -> None:
    """Prints rows of names and figures under a title."""
    print(f"\n{title}")
    for row in rows:
        cells = (f"{k} {v:,.4g}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items())
        print("  " + " | ".join(cells))


def main() -> None:
    parser = command.parser("benchmarks.data_prep", __doc__)
    parser.add_argument("--input", default=os.environ.get("EXIF_JAX_PHOTOS", "") + "/train",
                        help="folder (default: $EXIF_JAX_PHOTOS/train)")  # fmt: skip
    parser.add_argument("--config", default="configs/vit_ti_cpu.py", help="of the training step")
    parser.add_argument("--batches", type=int, default=30, help="of 64 patches, for each reader")
    parser.add_argument("--records", type=int, default=100_000, help="simulated, for the memory")
    parser.add_argument("--only", choices=["photos", "pipeline", "memory", "shuffle"],
                        help="one part (default: all)")  # fmt: skip
    args = parser.parse_args()

    def wanted(part: str) -> bool:
        return args.only in (None, part)

    print(f"{os.cpu_count()} cores, Pillow {Image.__version__}, NumPy {np.__version__}")
    if wanted("photos"):
        show("photos, one core", bench_photos(args.input))
    with tempfile.TemporaryDirectory() as folder:
        if wanted("pipeline"):
            records = os.path.join(folder, "records")
            with contextlib.redirect_stdout(io.StringIO()):
                if plain_driver.main(["--input", args.input, "--output", records]) != 0:
                    raise SystemExit(f"{args.input}: no records")
                train_tokenizer(["--records", records])
            show("pipeline, all cores", bench_pipeline(records, args.config, args.batches))
        if wanted("memory"):
            small = pathlib.Path(folder, "small")
            small.mkdir()
            show("memory", bench_memory(small, args.records))
    if wanted("shuffle"):
        show("shuffle", bench_shuffle())


if __name__ == "__main__":
    main()
