"""Photos -> TFRecord shards of (region, EXIF) for training, on one machine.

Reads each photo once, takes a few regions of it without loss, splits by camera model and writes
shards, statistics and the list of rejected files. The same photos and seed give the same bytes
whatever the number of workers, and the same as `data_prep.build` on any number of machines; a run
that was stopped goes on where it was.
"""

import argparse
import os
from collections import Counter

from tqdm import tqdm

from exif_jax.cli import command

with command.imports(__name__):
    from data_prep.options import (
        INPUT_HELP,
        add_prep_options,
        check_prep_options,
        print_complete,
        print_report,
        print_summary,
        run_and_explain,
        settings_from_args,
    )
    from data_prep.processing.settings import PrepSettings
    from data_prep.records.chunks import process_chunks, read_results
    from data_prep.records.counts import Counts, count_photos, split_bounds
    from data_prep.records.metadata import write_metadata, write_rejects
    from data_prep.records.output_folder import (
        describe_run,
        held,
        is_complete,
        prepare_output,
        work_folder,
    )
    from data_prep.records.selection import Candidate, make_candidate, select
    from data_prep.records.shards import (
        RecordLocation,
        apply_decisions,
        list_shards,
        write_one_shard,
    )
    from data_prep.records.split import validation_cameras
    from data_prep.sources.listing import list_chunks
    from exif_jax.data.records import SPLITS
    from exif_jax.io.files import remove

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
    add("--input", required=True, help=INPUT_HELP)
    add("--output", required=True, help="folder for the records; made if missing")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    add_prep_options(parser)
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error("--workers must be at least 1")
    check_prep_options(parser, args)
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = _parse(argv)
    return run_and_explain(lambda: _run(args, settings_from_args(args)), args.output)


def _run(args: argparse.Namespace, settings: PrepSettings) -> int:
    output = args.output
    chunks, report = list_chunks(args.input)
    status = print_report(report)
    run = describe_run(chunks, settings)
    # Looked at before the folder is held: finished records may lie where nothing can be written.
    if not args.overwrite and is_complete(output, run):
        print_complete(output)
        return status
    with held(output):
        if prepare_output(output, run, args.overwrite):
            print_complete(output)
            return status
        work = work_folder(output)
        paths = process_chunks(chunks, settings, work, args.workers)
        counts, rejects = _write_shards(paths, output, settings)
        write_rejects(output, rejects)
        statistics = None
        if count_photos(counts):
            statistics = write_metadata(output, counts, run, settings)
        remove(work)
    return print_summary(output, statistics, counts, settings) or status


def _write_shards(
    paths: list[str], output: str, settings: PrepSettings
) -> tuple[Counts, list[dict[str, str]]]:
    """Decides what stays and writes the shards; returns all counts and the rejected files."""
    candidates: list[Candidate] = []
    for k, path in enumerate(paths):
        usable = [result for result in read_results(path) if not result.reason]
        candidates += [make_candidate(result, k) for result in usable]
    decisions = select(candidates, settings)
    photos = Counter(photo.camera for photo in candidates if decisions[photo.file].is_first)
    held_out = validation_cameras(photos, settings)
    counts = Counts()
    rejects: list[dict[str, str]] = []
    locations: dict[str, list[RecordLocation]] = {split: [] for split in SPLITS}
    for path in paths:
        outcome = apply_decisions(path, decisions, held_out, settings.seed)
        counts.update(outcome.counts)
        rejects += outcome.rejects
        for split in SPLITS:
            locations[split] += outcome.locations[split]
    for path in list_shards(output):
        remove(path)  # of a stopped run, whose number of shards may have been another
    for split in SPLITS:
        ordered = sorted(locations[split])
        bounds = split_bounds(counts, split, settings)
        with tqdm(total=len(ordered), unit="record", desc=split) as bar:
            for k in range(len(bounds) - 1):
                part = ordered[bounds[k] : bounds[k + 1]]
                bar.update(write_one_shard(output, split, k, len(bounds) - 1, part))
    return counts, rejects


if __name__ == "__main__":
    command.run(main, results_are_printed=False)
