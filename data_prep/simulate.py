"""Simulated photos and splices, for training and testing on a machine without any photos.

Twenty-four cameras of eight invented makes, and as many more as are asked for, photograph
procedural scenes or collages of photos; every file carries its camera's traces (lens, mosaic,
noise, processing, JPEG tables) and the EXIF that says so.
"""

from __future__ import annotations

import argparse
import errno
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from tqdm import tqdm

from data_prep.simulation.camera_chart import chart
from data_prep.simulation.cameras import CAMERAS, Camera
from data_prep.simulation.exposure import ShotSettings, choose_shot_settings
from data_prep.simulation.random_cameras import random_camera
from data_prep.simulation.scenes import collage, scene
from data_prep.simulation.shooting import encode_jpeg, shoot
from exif_jax.cli import command
from exif_jax.data.records import RecordError, RecordReader, decode_image, decode_record
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError

SHARE = (0.08, 0.30)  # of a splice that is tampered
_PHOTO, _SPLICE = 0, 1  # streams of random numbers, so that splices show scenes of their own
_SAVES = ("png", "png", "jpg98", "jpg95", "jpg90", "jpg85")
_PROCEDURAL = 0.25  # share of the scenes that are drawn where there are photos to make others of
_MARGIN = 32  # a donor is larger than the host, so that its JPEG grid falls anywhere


@dataclass(frozen=True)
class Job:
    """What a worker needs to make file number `index`; the file depends on nothing else.

    Attributes:
        output: folder to write to.
        seed: of everything.
        index: of the file.
        size: side in pixels.
        cameras: how many there are, of `random_cameras.random_camera`.
        scenes: folder of records whose training photos scenes are made of; "" draws all scenes.
    """

    output: Path
    seed: int
    index: int
    size: int
    cameras: int
    scenes: str = ""


class OutputError(ExifJaxError):
    """The output cannot be written; the message names it, the cause and the cure."""


def take_photo(camera: Camera, size: int, rng: np.random.Generator, scenes: str = ""):
    """Photograph a scene of its own with settings of its own; `scenes` as in `Job`.

    Returns:
        (JPEG bytes, pixels before JPEG uint8 [size, size, 3], PIL Exif, Settings).
    """
    view = _view(rng, size, scenes)
    settings: ShotSettings = choose_shot_settings(camera, rng)
    pixels, exif = shoot(camera, view, settings, rng)
    return encode_jpeg(pixels, exif, camera, settings.fine), pixels, exif, settings


def _view(rng: np.random.Generator, size: int, scenes: str):
    if not scenes or rng.random() < _PROCEDURAL:
        return scene(rng, size)
    reader = _reader(scenes)

    def picture(number: int) -> Image.Image:
        return Image.fromarray(decode_image(decode_record(reader[number])))

    return collage(picture, len(reader), rng, size)


@functools.cache
def _reader(records: str) -> RecordReader:
    """Of the training split: held-out photos stay unseen, even shrunk."""
    reader = RecordReader(records, "train")
    if not len(reader):
        raise RecordError(f"{records}: the train split is empty; make records of more photos")
    return reader


def make_photo(job: Job) -> dict:
    """Write photo number `job.index` and return its manifest row."""
    rng = np.random.default_rng([job.seed, _PHOTO, job.index])
    camera = random_camera(job.index % job.cameras)
    data, *_ = take_photo(camera, job.size, rng, job.scenes)
    name = f"sim{job.index:06d}.jpg"
    write_bytes(job.output / name, data)
    return {"image": name}


def make_splice(job: Job) -> dict:
    """Write splice number `job.index`, its mask and its pristine host; return its manifest row.

    The tampered region comes from a photo of another camera model and another scene, at its own
    scale or resized, with a hard or a soft edge. Both photos are taken from their JPEG files, as
    a forger has them, and the host's EXIF is kept.
    """
    rng = np.random.default_rng([job.seed, _SPLICE, job.index])
    first, second = rng.choice(job.cameras, 2, replace=False)
    host, donor = random_camera(int(first)), random_camera(int(second))
    size = job.size
    scale = float(rng.choice([1.0, 1.0, 1.0, 0.8, 1.25]))
    data, _, exif, _ = take_photo(host, size, rng, job.scenes)
    pristine = _decode(data)
    side = int(np.ceil((size + _MARGIN) / scale / 2)) * 2
    other = _decode(take_photo(donor, side, rng, job.scenes)[0])
    if scale != 1.0:
        resized = round(side * scale)
        other = other.resize((resized, resized), Image.Resampling.BICUBIC)
    x, y = (int(v) for v in rng.integers(0, other.width - size + 1, 2))
    other = other.crop((x, y, x + size, y + size))
    mask = blob(rng, size, float(rng.uniform(SHARE[0] + 0.01, SHARE[1] - 0.01)))
    spliced = Image.composite(other, pristine, _soften(mask) if rng.random() < 0.5 else mask)
    save = str(rng.choice(_SAVES))
    stem = f"{job.index:03d}"
    name = f"{stem}.{save[:3]}"
    write_bytes(job.output / "images" / name, _encode(spliced, save, exif))
    write_bytes(job.output / "pristine" / name, _encode(pristine, save, exif))
    write_bytes(job.output / "masks" / f"{stem}.png", _encode(mask, "png", None))
    return {
        "image": f"images/{name}",
        "mask": f"masks/{stem}.png",
        "pristine": f"pristine/{name}",
        "host_model": host.model,
        "donor_model": donor.model,
        "scale": scale,
        "save": save,
        "share": float((np.asarray(mask) > 0).mean()),
    }


def blob(rng: np.random.Generator, size: int, share: float) -> Image.Image:
    """An irregular region of about `share` of the picture, PIL "L" [size, size], 0 and 255."""
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    outline = np.ones_like(angle)
    for wave in range(2, 7):
        outline += rng.normal(0, 0.3 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    outline = np.maximum(outline, 0.4)
    stretch = float(np.exp(rng.uniform(-0.3, 0.3)))
    centre = rng.uniform(0.3, 0.7, 2) * size
    radius = size * np.sqrt(share / np.pi)
    mask = Image.new("L", (size, size))
    for _ in range(12):  # what lies outside the picture is lost, so grow or shrink until it fits
        x = centre[0] + radius * outline * np.cos(angle) * stretch
        y = centre[1] + radius * outline * np.sin(angle) / stretch
        mask = Image.new("L", (size, size), 0)
        ImageDraw.Draw(mask).polygon(np.stack([x, y], -1).ravel().tolist(), fill=255)
        found = np.count_nonzero(np.asarray(mask)) / size**2
        if abs(found - share) < 0.005:
            break
        radius *= np.sqrt(share / max(found, 1e-3))
    return mask


def _soften(mask: Image.Image) -> Image.Image:
    """Opacity that rises from 0 at the edge of the mask inwards; nothing outside changes."""
    soft = mask.filter(ImageFilter.GaussianBlur(2)).point([max(0, 2 * v - 255) for v in range(256)])
    return ImageChops.darker(soft, mask)  # in a bay of the outline the blur reaches outside


def _decode(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _encode(image: Image.Image, save: str, exif: Image.Exif | None) -> bytes:
    """Bytes of an image saved as "png" or "jpgQUALITY"."""
    stream = io.BytesIO()
    extra = {} if exif is None else {"exif": exif}
    if save == "png":
        image.save(stream, "PNG", **extra)
    else:
        image.save(stream, "JPEG", quality=int(save[3:]), **extra)
    return stream.getvalue()


def run(make: Callable[[Job], dict], jobs: list[Job], workers: int) -> Iterator[dict]:
    """Manifest rows in order of the jobs, made here or by `workers` processes."""
    if workers == 1:
        yield from map(make, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(make, jobs, chunksize=8)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def prepare(output: Path, folders: tuple[str, ...]) -> None:
    """Make the output folder and see that it can be written to.

    Raises:
        OutputError: it cannot.
    """
    try:
        for folder in (output, *(output / name for name in folders)):
            folder.mkdir(parents=True, exist_ok=True)
        write_bytes(output / ".writable", b"")
        (output / ".writable").unlink()
    except OSError as error:
        raise OutputError(explain(output, error)) from error


def explain(output: Path, error: OSError) -> str:
    """One line for a failure to write: what, why, and what to do."""
    cure = "choose another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cure = "free some space or ask for fewer files; finished files are complete and kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        cure = "make it writable or choose another place"
    return f"cannot write to {output}: {error.strerror or error}; {cure}"


def simulate(make: Callable[[Job], dict], options: argparse.Namespace, count: int) -> None:
    """Make `count` photos or splices into `options.output`, with a progress bar."""
    output = options.output
    splices = make is make_splice
    prepare(output, ("images", "masks", "pristine") if splices else ())
    job = Job(output, options.seed, 0, options.size, options.cameras, options.scenes)
    jobs = [replace(job, index=i) for i in range(count)]
    workers = min(options.workers, count)
    bar = tqdm(total=count, unit="splice" if splices else "photo", file=sys.stderr)
    rows = []
    try:
        with bar:
            for row in run(make, jobs, workers):
                rows.append(row)
                bar.update()
        if splices:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            write_bytes(output / "manifest.jsonl", lines.encode())
    except OSError as error:
        raise OutputError(explain(output, error)) from error
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker was killed, most likely for lack of memory; use fewer --workers"
        ) from error


def draw(path: Path, seed: int) -> None:
    """Write the chart of eight cameras as a PNG file."""
    prepare(path.parent, ())
    try:
        write_bytes(path, chart(seed))
    except OSError as error:
        raise OutputError(explain(path, error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "data_prep.simulate",
        "Make photos, or splices with masks, by simulated cameras of invented makes. "
        "The same seed makes the same bytes, whatever the number of workers.",
        "examples:\n"
        "  python -m data_prep.simulate --output photos --num-photos 2000\n"
        "  python -m data_prep.simulate --output splices --splices 40 --seed 1\n"
        "  python -m data_prep.simulate --output more --num-photos 700 --cameras 500 --scenes records\n"
        "  python -m data_prep.simulate --picture docs/simulated_cameras.png\n\n"
        "exit codes: 0 done, 1 the output cannot be written or the records cannot be read, "
        "2 wrong usage\n" + command.QUIET,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--num-photos", type=_whole(1, 10_000_000), help="number of JPEG photos to make"
    )
    what.add_argument("--splices", type=_whole(1, 100_000), help="number of splices to make")
    what.add_argument(
        "--picture", type=Path, metavar="PNG", help="draw eight cameras on the same scene"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--size", type=_whole(64, 4096), default=512, help="side in pixels, even (default 512)"
    )
    parser.add_argument(
        "--seed", type=_whole(0, 2**63 - 1), default=0, help="of everything (default 0)"
    )
    parser.add_argument(
        "--cameras",
        type=_whole(2, 1_000_000),
        default=len(CAMERAS),
        help=f"use the first N cameras (default {len(CAMERAS)}): eight makes by turns, and beyond "
        f"{len(CAMERAS)} makes and models drawn by chance",
    )
    parser.add_argument(
        "--scenes",
        default="",
        metavar="RECORDS",
        help="make three of four scenes of the training photos in this folder of data_prep.photos, "
        "shrunk to half or less, which leaves little of their own cameras' traces (default: draw "
        "all scenes)",
    )
    parser.add_argument(
        "--workers",
        type=_whole(1, 256),
        default=os.cpu_count() or 1,
        help="processes (default: all cores)",
    )
    return parser


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    parse.__name__ = "whole number"  # argparse names it in its messages
    return parse


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.picture is None and options.output is None:
        parser.error("--num-photos and --splices need --output DIR")
    if options.size % 2:
        parser.error(f"--size {options.size} is odd; the colour filters come in pairs")
    try:
        if options.scenes:  # refused here, before any worker starts
            _reader(options.scenes)
        if options.picture is not None:
            draw(options.picture, options.seed)
        elif options.photos is not None:
            simulate(make_photo, options, options.photos)
        else:
            simulate(make_splice, options, options.splices)
    except (OutputError, RecordError) as error:
        return command.fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
