"""Simulated photos and splices, for training and testing on a machine without any photos.

Twenty-four cameras of eight invented makes, and as many more as are asked for, photograph
procedural scenes or collages of photos; every file carries its camera's traces (lens, mosaic,
noise, processing, JPEG tables) and the EXIF that says so.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from exif_jax.cli import command

with command.imports(__name__):
    from data_prep.simulation import splices, suite
    from data_prep.simulation.camera_chart import draw_chart
    from data_prep.simulation.cameras import CAMERAS
    from data_prep.simulation.photo_files import Job, make_photo, open_scenes
    from data_prep.simulation.writing import OutputError, explain_os_error, make_folders, run_jobs
    from exif_jax.io import jsonl
    from exif_jax.io.atomic import write_bytes
    from exif_jax.io.errors import ExifJaxError


# --- writing files --------------------------------------------------------------------------------


def _numbered(job: Job, count: int) -> list[Job]:
    return [replace(job, index=index) for index in range(count)]


def write_photos(job: Job, count: int, workers: int) -> None:
    """Makes `count` photos, with a progress bar; raises OutputError."""
    make_folders(job.output)
    run_jobs(make_photo, _numbered(job, count), job.output, workers, unit="photo")


def write_splices(job: Job, count: int, workers: int) -> None:
    """Makes `count` splices and their manifest, with a progress bar; raises OutputError."""
    make_folders(job.output, *(job.output / name for name in splices.FOLDERS))
    rows = run_jobs(splices.make_splice, _numbered(job, count), job.output, workers, unit="splice")
    try:
        jsonl.rewrite(job.output / "manifest.jsonl", rows)
    except OSError as error:
        raise OutputError(explain_os_error(job.output, error)) from error


def write_chart(path: Path, seed: int) -> None:
    """Writes the chart of eight cameras as a PNG file; raises OutputError."""
    make_folders(path.parent)
    try:
        write_bytes(path, draw_chart(seed))
    except OSError as error:
        raise OutputError(explain_os_error(path, error)) from error


# --- command --------------------------------------------------------------------------------------

_EXAMPLES = f"""\
examples:
  python -m data_prep.simulate --output photos --num-photos 2000
  python -m data_prep.simulate --output splices --splices 40 --seed 1
  python -m data_prep.simulate --output more --num-photos 700 --cameras 500 \\
      --scenes records
  python -m data_prep.simulate --suite own --output own
  python -m data_prep.simulate --picture docs/simulated_cameras.png

exit codes: 0 done, 1 the output cannot be written or the records cannot be read, or a suite is
not as published, 2 wrong usage
{command.QUIET}
"""


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "data_prep.simulate",
        "Makes photos, or splices with masks, by simulated cameras of invented makes. "
        "The same seed makes the same bytes, whatever the number of workers.",
        _EXAMPLES,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--num-photos", type=_whole_number(1, 10_000_000), help="number of JPEG photos to make"
    )
    what.add_argument("--splices", type=_whole_number(1, 100_000), help="number of splices to make")
    what.add_argument(
        "--suite",
        choices=("own",),
        help="make the benchmarking dataset that exif_jax.evaluate --suite measures; of the other "
        "options it takes --workers",
    )
    what.add_argument(
        "--picture", type=Path, metavar="PNG", help="draw eight cameras on the same scene"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--size",
        type=_whole_number(64, 4096),
        default=512,
        help="side in pixels, even (default 512)",
    )
    parser.add_argument(
        "--seed",
        type=_whole_number(0, 2**63 - 1),
        default=0,
        help="decides scenes, settings and noise (default 0)",
    )
    parser.add_argument(
        "--cameras",
        type=_whole_number(2, 1_000_000),
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
        type=_whole_number(1, 256),
        default=os.cpu_count() or 1,
        help="processes (default: all cores)",
    )
    return parser


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    parse.__name__ = "whole number"  # argparse names it in its messages
    return parse


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.picture is None and args.output is None:
        parser.error("--num-photos, --splices and --suite need --output DIR")
    if args.size % 2:
        parser.error(f"--size {args.size} is odd; the colour filters come in pairs")
    try:
        if args.picture is not None:
            write_chart(args.picture, args.seed)
            return 0
        if args.suite:
            print(suite.report(suite.make_suite(args.output, args.workers)))
            return 0
        if args.scenes:  # refused here, before any worker starts
            open_scenes(args.scenes)
        job = Job(
            output=args.output,
            seed=args.seed,
            index=0,
            size=args.size,
            cameras=args.cameras,
            scenes=args.scenes,
        )
        if args.num_photos is not None:
            write_photos(job, args.num_photos, args.workers)
        else:
            write_splices(job, args.splices, args.workers)
    except ExifJaxError as error:
        return command.fail(error)
    except KeyboardInterrupt:
        return command.stopped("finished files are complete and kept")
    return 0


if __name__ == "__main__":
    command.run(main, results_are_printed=False)
