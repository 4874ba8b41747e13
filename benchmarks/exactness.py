"""How far augmentation on the device agrees with Pillow: byte for byte, where it is meant to.

    python -m benchmarks.exactness --output exactness.json

Half of the patches are cut out of the photos in EXIF_JAX_PHOTOS (none where it is not set), the
others are noise, smooth colours, dots of black and white, and stripes. JPEG: all qualities, three
subsamplings, random quantisation tables and those of the photos' own cameras. Resizing: factors of
0.5 to 1.5 by the three filters. Filters: all that training applies. Augmentation: all of it as
training draws it, but for noise, which is drawn from another generator on the host.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import pathlib

import jax
import numpy as np
from PIL import Image

from exif_jax.cli import command
from exif_jax.data import augment as host
from exif_jax.data import device_augment
from exif_jax.data.config import DataConfig
from exif_jax.data.filtering import FilterNumbers, apply_filter, filter_numbers
from exif_jax.data.jpeg import compress_batch, quality_tables
from exif_jax.data.packing import make_shapes, pack
from exif_jax.data.resample import Weights, padded_weights, resample, resize_weights
from exif_jax.io.atomic import write_bytes
from exif_jax.reading.pixels import SUBSAMPLINGS

SIZE = 64  # pixels, a side
BATCH = 250
FACTORS = [k / 10 for k in range(5, 16)]
SIDE_AFTER = SIZE + 8  # of what is rescaled
SQUARE = 2 * SIDE_AFTER


@dataclasses.dataclass
class Agreement:
    """Counts of patches and of their values (levels of one channel of a pixel)."""

    patches: int = 0
    equal: int = 0
    values: int = 0
    off_by_one: int = 0
    off_by_more: int = 0

    def add(self, ours: np.ndarray, pillows: np.ndarray) -> None:
        """Counts a patch: uint8, both of one shape."""
        difference = np.abs(ours.astype(int) - pillows)
        self.patches += 1
        self.equal += not difference.any()
        self.values += difference.size
        self.off_by_one += int((difference == 1).sum())
        self.off_by_more += int((difference > 1).sum())


def main() -> None:
    parser = command.parser("benchmarks.exactness", __doc__)
    parser.add_argument(
        "--patches", type=int, default=10_000, help="through JPEG; others in proportion (10000)"
    )
    parser.add_argument("--output", type=pathlib.Path, help="file for the figures")
    args = parser.parse_args()
    photos = real_photos()
    device = jax.devices()[0].device_kind
    print(f"{device}, jax {jax.__version__}, {len(photos)} photos")
    rows = jpeg_rows(args.patches, photos)
    counts = [dataclasses.astuple(row) for row in rows.values()]
    total = Agreement(*(sum(column) for column in zip(*counts, strict=True)))
    rows = {"jpeg": total} | {f"jpeg {name}": row for name, row in rows.items()}
    rows["resample"] = resample_row(args.patches * 3 // 10, photos)
    rows["filters"] = filter_row(args.patches // 5, photos)
    rows["augmentation"] = augmentation_row(args.patches // 5, photos)
    columns = [field.name for field in dataclasses.fields(Agreement)]
    print("| | " + " | ".join(name.replace("_", " ") for name in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{x:,}" for x in dataclasses.astuple(row)) + " |")
    if args.output:
        report = {"device": device, "photos": len(photos)}
        report |= {name: dataclasses.asdict(row) for name, row in rows.items()}
        write_bytes(args.output, json.dumps(report, indent=1).encode())


def real_photos() -> list[pathlib.Path]:
    """The photos of EXIF_JAX_PHOTOS; none where it is not set."""
    folder = os.environ.get("EXIF_JAX_PHOTOS")
    return sorted(pathlib.Path(folder, "train").glob("*.jpg")) if folder else []


@functools.lru_cache(8)
def _pixels(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def patch(number: int, side: int, photos: list[pathlib.Path]) -> np.ndarray:
    """Returns uint8 [side, side, 3]: every other one of a photo, where there are any."""
    rng = np.random.default_rng([number, side])
    if photos and number % 2 == 0:
        pixels = _pixels(photos[number // 32 * 7 % len(photos)])  # 16 of each
        y, x = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
        return pixels[y : y + side, x : x + side]
    noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    kind = number // 4 % 4
    if kind == 0:
        return noise
    if kind == 1:
        return np.asarray(Image.fromarray(noise[:9, :9]).resize((side, side)))
    dots = (noise > 127) * np.uint8(255)
    return dots if kind == 2 else np.broadcast_to(dots[:1], dots.shape)


def batches(patches: int) -> list[range]:
    """Numbers of the patches of each batch; all batches are whole, as each shape compiles anew."""
    return [range(k, k + BATCH) for k in range(0, max(patches, BATCH) // BATCH * BATCH, BATCH)]


def jpeg_rows(patches: int, photos: list[pathlib.Path]) -> dict[str, Agreement]:
    """Compression and back, by what the quantisation tables come from."""
    compress = jax.jit(compress_batch)
    rows = {name: Agreement() for name in SUBSAMPLINGS}
    rows |= {"random tables": Agreement()} | ({"cameras' tables": Agreement()} if photos else {})
    for numbers in batches(patches):
        images = np.stack([patch(k, SIZE, photos) for k in numbers])
        names, tables = zip(*(_tables(k, photos) for k in numbers), strict=True)
        subsampling = np.array([k // 4 % 3 for k in numbers])
        ours = np.asarray(compress(images, np.stack(tables), subsampling))
        for name, t, s, image, out in zip(names, tables, subsampling, images, ours, strict=True):
            buffer = io.BytesIO()
            qtables = [[int(step) for step in table] for table in t]
            Image.fromarray(image).save(buffer, "JPEG", qtables=qtables, subsampling=int(s))
            row = rows[name or SUBSAMPLINGS[s]]
            row.add(out, np.asarray(Image.open(buffer)))
    return rows


def _tables(number: int, photos: list[pathlib.Path]) -> tuple[str, np.ndarray]:
    """What patch `number` is compressed with: the row where it counts, "" for its subsampling's."""
    rng = np.random.default_rng([number, 1])
    if number % 4 == 3:
        return "random tables", rng.integers(1, rng.choice([8, 64, 256]), (2, 64))
    if photos and number % 4 == 2:
        with Image.open(photos[number % len(photos)]) as image:
            tables = list(image.quantization.values())  # type: ignore[reportAttributeAccessIssue]
        tables = np.array([tables[0], tables[min(1, len(tables) - 1)]])
        if tables.max() <= 255:
            return "cameras' tables", tables
    return "", quality_tables(number // 12 % 100 + 1)


def resample_row(patches: int, photos: list[pathlib.Path]) -> Agreement:
    """Resizing of squares by every factor and filter."""
    resize, row = jax.jit(resample), Agreement()
    for numbers in batches(patches):
        images = np.stack([patch(k, SQUARE, photos) for k in numbers])
        factors = [FACTORS[k % len(FACTORS)] for k in numbers]
        filters = [host.RESAMPLINGS[k // len(FACTORS) % 3] for k in numbers]
        before = [-(-SIDE_AFTER * 10 // round(10 * factor)) for factor in factors]
        after = [round(side * factor) for side, factor in zip(before, factors, strict=True)]
        each = [
            padded_weights(resize_weights(*sides), SIDE_AFTER + 8)
            for sides in zip(before, after, filters, strict=True)
        ]
        weights = Weights(*(np.stack(column) for column in zip(*each, strict=True)))
        ours = np.moveaxis(np.asarray(resize(np.moveaxis(images, 3, 1), weights, weights)), 1, 3)
        for image, out, b, a, name in zip(images, ours, before, after, filters, strict=True):
            square = Image.fromarray(image[:b, :b])
            row.add(out[:a, :a], np.asarray(square.resize((a, a), Image.Resampling[name.upper()])))
    return row


def filter_row(patches: int, photos: list[pathlib.Path]) -> Agreement:
    """Smoothing and sharpening."""
    apply, row = jax.jit(apply_filter), Agreement()
    for numbers in batches(patches):
        images = np.stack([patch(k, SIZE, photos) for k in numbers])
        names = [list(host.FILTERS)[k // 2 % len(host.FILTERS)] for k in numbers]
        each = [filter_numbers(host.FILTERS[name]) for name in names]
        stacked = FilterNumbers(*(np.stack(column) for column in zip(*each, strict=True)))
        sides = np.full((BATCH, 2), SIZE, np.int32)
        planes = np.moveaxis(images, 3, 1).astype(np.int32)
        ours = np.moveaxis(np.asarray(apply(planes, stacked, sides)), 1, 3)
        for image, out, name in zip(images, ours, names, strict=True):
            row.add(out, np.asarray(Image.fromarray(image).filter(host.FILTERS[name])))
    return row


def augmentation_row(patches: int, photos: list[pathlib.Path]) -> Agreement:
    """All steps but noise, as training draws them."""
    config = DataConfig("", rescale_prob=0.5, filter_prob=0.5, shrink_prob=0.5)
    side = 4 * (SIZE + 8)
    shapes = make_shapes(config, SIZE, side)
    augment, row = jax.jit(device_augment.augment, static_argnames="size"), Agreement()
    for numbers in batches(patches):
        regions, drawn, packed = [], [], []
        for k in numbers:
            rng = np.random.default_rng([k, 2])
            post = host.sample_post_processing(rng, 0.5, 0.3, 0.0)
            large = host.size_before_post_processing(SIZE, post)
            factor = host.min_rescale_factor(side, large)
            augmentation = host.sample_augmentation(rng, 0.5, 0.5, 0.5, 0.5, factor, post)
            regions.append(patch(k, side, photos))
            corner = host.sample_corner(
                (side, side), host.crop_size((side, side), SIZE, augmentation), rng
            )
            drawn.append((augmentation, corner))
            packed.append(pack(regions[-1], augmentation, corner, shapes))
        arrays = {name: np.stack([p[name] for p in packed]) for name in packed[0]}
        ours = augment(arrays.pop("region"), arrays, jax.random.key(0), size=SIZE)
        for region, (augmentation, corner), out in zip(
            regions, drawn, np.asarray(ours), strict=True
        ):
            row.add(out, host.augment(region, SIZE, augmentation, corner))
    return row


if __name__ == "__main__":
    main()
