"""What the two drivers, `data_prep.photos` and `data_prep.build`, share as commands."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from data_prep.processing.settings import MIN_SIDE, PrepSettings
from data_prep.records.counts import Counts
from data_prep.records.output_folder import UsageError, explain_os_error
from data_prep.sources.raw_photo import SourceError
from exif_jax.cli import command
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import FilesError
from exif_jax.reading.photo import MAX_PIXELS
from exif_jax.reading.walk import WalkReport

INPUT_HELP = (
    "folder of photos, searched with its subfolders; or a bucket's URL (gs://, s3://); or "
    "img2dataset's shards as a pattern in quotes, like 'laion/*.tar'"
)
_USAGE_ERRORS = (UsageError, SourceError, FilesError)


def add_prep_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that decide what the records are."""
    add = parser.add_argument
    add(
        "--seed",
        type=int,
        default=0,
        help="decides regions, split and order: another seed gives others (default 0)",
    )
    add(
        "--region-size",
        type=int,
        default=448,
        help="side of a region in pixels, a multiple of 16 (default 448)",
    )
    add("--regions-per-photo", type=int, default=4, help="most regions of a photo (default 4)")
    add(
        "--validation-fraction",
        type=float,
        default=0.15,
        help="fraction of the photos whose cameras are held out (default 0.15)",
    )
    add("--min-tags", type=int, default=5, help="reject photos with fewer tags (default 5)")
    add(
        "--keep-edited",
        action="store_true",
        help="also take photos that, by their EXIF, a program edited or resized",
    )
    add(
        "--max-hamming-distance",
        type=int,
        default=6,
        metavar="0..31",
        help="photos of a camera are near duplicates if no more of the 64 bits of their "
        "fingerprints differ (default 6; -1 keeps all)",
    )
    add(
        "--max-per-camera",
        type=int,
        default=0,
        help="most photos of one camera model (default: all)",
    )
    add(
        "--max-per-photographer",
        type=int,
        default=0,
        help="most photos of one photographer, where the source names them (default: all)",
    )
    add(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"reject photos of more pixels, undecoded (default {MAX_PIXELS:,})",
    )
    add("--shards", type=int, default=0, help="shards of a split (default: about 256 MiB each)")
    add("--overwrite", action="store_true", help="replace records of another run in --output")


def check_prep_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with a message where an option is out of its range."""
    if args.region_size < MIN_SIDE or args.region_size % 16:
        parser.error(f"--region-size must be a multiple of 16 and at least {MIN_SIDE}")
    if not 0 <= args.validation_fraction < 1:
        parser.error("--validation-fraction must be at least 0 and below 1")
    if args.regions_per_photo < 1:
        parser.error("--regions-per-photo must be at least 1")
    if not -1 <= args.max_hamming_distance <= 31:
        parser.error("--max-hamming-distance must be between -1 and 31")
    if args.max_per_camera < 0 or args.max_per_photographer < 0:
        parser.error("--max-per-camera and --max-per-photographer must not be negative")
    if args.max_pixels < 1:
        parser.error("--max-pixels must be at least 1")
    if not 0 <= args.shards <= 99_999:
        parser.error("--shards must be between 1 and 99999")


def settings_from_args(args: argparse.Namespace) -> PrepSettings:
    """The settings that the options of `add_prep_options` ask for."""
    return PrepSettings(
        seed=args.seed,
        region_size=args.region_size,
        regions_per_photo=args.regions_per_photo,
        validation_fraction=args.validation_fraction,
        min_tags=args.min_tags,
        shards=args.shards,
        keep_edited=args.keep_edited,
        max_hamming_distance=args.max_hamming_distance,
        max_per_camera=args.max_per_camera,
        max_per_photographer=args.max_per_photographer,
        max_pixels=args.max_pixels,
    )


def run_and_explain(run: Callable[[], int], output: str) -> int:
    """Runs a driver; returns its exit code. An expected failure is printed as one line."""
    try:
        return run()
    except _USAGE_ERRORS as error:
        return command.fail(error, 2)
    except ExifJaxError as error:
        return command.fail(error)
    except OSError as error:
        return command.fail(explain_os_error(error, output))
    except KeyboardInterrupt:
        return command.stopped()


def print_report(report: WalkReport) -> int:
    """Prints which files are passed over and which folders cannot be read.

    Returns:
      The exit code that this alone leads to: 1 where a folder cannot be read.
    """
    if summary := report.summary():
        print(summary, file=sys.stderr)
    for message in report.unreadable:
        command.fail(
            f"{message}; its photos are missing from the records: make it readable, then run this "
            "again with --overwrite"
        )
    return 1 if report.unreadable else 0


def print_complete(output: str) -> None:
    """Prints that there is nothing to do."""
    print(f"{output}: complete already, made by this command of these photos")


def print_summary(
    output: str, statistics: dict[str, Any] | None, counts: Counts, settings: PrepSettings
) -> int:
    """Prints what became of the photos.

    Args:
      output: The folder of records.
      statistics: The content of `statistics.json`; None where no photo is usable.
      counts: Of all chunks.
      settings: Of the run.

    Returns:
      The exit code.
    """
    lines = [f"{'split':<12}{'cameras':>9}{'photos':>9}{'records':>9}{'shards':>9}"]
    for split, row in (statistics["splits"] if statistics else {}).items():
        numbers = (len(row["cameras"]), row["photos"], row["records"], row["shards"])
        lines.append(f"{split:<12}" + "".join(f"{number:>9}" for number in numbers))
    rejects = sorted((key[1], number) for key, number in counts.items() if key[0] == "reject")
    if rejects:
        lines.append(f"{'rejected because':<30}{'files':>9}")
        lines += [f"  {reason:<28}{number:>9}" for reason, number in rejects]
    print("\n".join(lines))
    if statistics is None:
        return command.fail(f"no photo is usable; see {output}/rejects.jsonl")
    if not statistics["splits"]["validation"]["records"] and settings.validation_fraction:
        print("note: no validation split: that takes photos of at least two cameras")
    print(f"look at {output}/statistics.html")
    return 0
