"""Photos -> TFRecord shards of (region, EXIF) for training, on one machine.

Reads each photo once, takes a few regions of it without loss, splits by camera model and writes
shards, statistics and the list of rejected files. The same photos and seed give the same bytes
whatever the number of workers, and the same as `data_prep.build` on any number of machines; a run
that was stopped goes on where it was.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from data_prep.merge import (
    Counts,
    Place,
    finish,
    list_shards,
    settle_chunk,
    split_bounds,
    write_one_shard,
    write_rejects,
)
from data_prep.output_folder import (
    UsageError,
    describe_run,
    explain,
    locked,
    open_output,
    work_folder,
)
from data_prep.selection import Candidate, candidate, select
from data_prep.sources import SourceError, list_chunks
from data_prep.stages import MIN_SIDE, Settings, validation_cameras
from data_prep.work import WorkError, process_chunks, read_results
from exif_jax.cli import command
from exif_jax.data.records import SPLITS, RecordError
from exif_jax.io.files import FilesError, remove

# --- command ----------------------------------------------------------------------------------

_EXAMPLES = f"""\
examples:
  python -m data_prep.photos --input ~/Pictures --output records
  python -m data_prep.photos --input photos --output records --workers 16 --region-size 512

exit codes: 0 records are there, rejected files are listed in rejects.jsonl;
            1 no photo was usable, or reading or writing failed; 2 wrong usage, or no photos
A stopped run goes on where it was when the same command is given again.
{command.QUIET}
"""


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = command.parser(
        "data_prep.photos",
        "Makes TFRecord shards for training from camera photos.",
        _EXAMPLES,
    )
    add = parser.add_argument
    add("--input", required=True, help=SOURCE_HELP)
    add("--output", required=True, help="folder for the records; made if missing")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    add_settings(parser)
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error("--workers must be at least 1")
    check_settings(parser, args)
    return args


SOURCE_HELP = (
    "folder of photos, searched with its subfolders; or a bucket's URL (gs://, s3://); or "
    "img2dataset's shards as a pattern in quotes, like 'laion/*.tar'"
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that decide what the records are; those of every driver."""
    add = parser.add_argument
    add("--seed", type=int, default=0, help="for regions, split and order (default 0)")
    add("--region-size", type=int, default=448, help="pixels a side, multiple of 16 (default 448)")
    add("--regions-per-photo", type=int, default=4, help="at most (default 4)")
    add(
        "--validation-fraction",
        type=float,
        default=0.15,
        help="share of photos whose cameras are held out (default 0.15)",
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
    add("--max-per-camera", type=int, default=0, help="photos of one camera (default: all)")
    add("--max-per-photographer", type=int, default=0, help="where known (default: all)")
    add("--shards", type=int, default=0, help="shards a split (default: about 256 MiB each)")
    add("--overwrite", action="store_true", help="replace records of another run in --output")


def check_settings(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
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
    if args.shards < 0 or args.shards > 99_999:
        parser.error("--shards must be between 1 and 99999")


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options of `add_settings` ask for."""
    return Settings(
        seed=args.seed,
        region_size=args.region_size,
        regions_per_photo=args.regions_per_photo,
        validation_fraction=args.validation_fraction,
        min_tags=args.min_tags,
        shards=args.shards,
        keep_edited=args.keep_edited,
        max_hamming_distance=args.max_hamming_distance,
        camera_photos=args.max_per_camera,
        owner_photos=args.max_per_photographer,
    )


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = _parse(argv)
    settings = settings_of(args)
    return guarded(
        lambda: _run(args.input, args.output, settings, args.workers, args.overwrite), args.output
    )


def guarded(run: Callable[[], int], output: str) -> int:
    """The exit code of a driver's run; what goes wrong is told."""
    try:
        return run()
    except (UsageError, SourceError, FilesError) as error:
        return command.fail(error, 2)
    except (WorkError, RecordError) as error:
        return command.fail(error)
    except OSError as error:
        return command.fail(explain(error, output))
    except KeyboardInterrupt:
        return command.stopped()


def _run(source: str, output: str, settings: Settings, workers: int, overwrite: bool) -> int:
    chunks, _ = list_chunks(source)
    run = describe_run(chunks, settings)
    with locked(output):
        if open_output(output, run, overwrite):
            print(f"{output}: complete already, made by this command of these photos")
            return 0
        work = work_folder(output)
        paths = process_chunks(chunks, settings, work, workers)
        counts, rejects = _merge(paths, output, settings)
        write_rejects(output, rejects)
        facts = finish(output, counts, run, settings) if _photos(counts) else None
        remove(work)
    return tell(output, facts, counts, settings)


def _merge(
    paths: list[str], output: str, settings: Settings
) -> tuple[Counts, list[dict[str, str]]]:
    """Decides what stays and writes the shards; returns all counts and the rejected files."""
    candidates: list[Candidate] = []
    for k, path in enumerate(paths):
        candidates += [candidate(result, k) for result in read_results(path) if not result.reason]
    verdicts = select(candidates, settings)
    cameras = Counter(c.camera for c in candidates if verdicts[c.file].first)
    held_out = validation_cameras(cameras, settings)
    counts: Counts = Counter()
    rejects: list[dict[str, str]] = []
    places: dict[str, list[Place]] = {split: [] for split in SPLITS}
    for path in paths:
        settled = settle_chunk(path, verdicts, held_out, settings.seed)
        counts.update(settled.counts)
        rejects += settled.rejects
        for split in SPLITS:
            places[split] += settled.places[split]
    for path in list_shards(output):
        remove(path)  # of a stopped run, whose number of shards may have been another
    for split in SPLITS:
        ordered = sorted(places[split])
        bounds = split_bounds(counts, split, settings)
        with tqdm(total=len(ordered), unit="record", desc=split) as bar:
            for k in range(len(bounds) - 1):
                part = ordered[bounds[k] : bounds[k + 1]]
                bar.update(write_one_shard(output, split, k, len(bounds) - 1, part))
    return counts, rejects


def _photos(counts: Counts) -> int:
    return sum(counts["photos", split] for split in SPLITS)


def tell(output: str, facts: dict[str, Any] | None, counts: Counts, settings: Settings) -> int:
    """Prints what became of the photos; returns the exit code. `facts`: of `statistics.json`."""
    lines = [f"{'split':<12}{'cameras':>9}{'photos':>9}{'records':>9}{'shards':>9}"]
    for split, row in (facts["splits"] if facts else {}).items():
        numbers = (len(row["cameras"]), row["photos"], row["records"], row["shards"])
        lines.append(f"{split:<12}" + "".join(f"{number:>9}" for number in numbers))
    rejects = sorted((key[1], number) for key, number in counts.items() if key[0] == "reject")
    if rejects:
        lines.append(f"{'rejected because':<30}{'files':>9}")
        lines += [f"  {reason:<28}{n:>9}" for reason, n in rejects]
    print("\n".join(lines))
    if facts is None:
        return command.fail(f"no photo is usable; see {output}/rejects.jsonl")
    if not facts["splits"]["validation"]["records"] and settings.validation_fraction:
        print("note: no validation split: that takes photos of at least two cameras")
    print(f"look at {output}/statistics.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
