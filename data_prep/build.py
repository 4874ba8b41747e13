"""Photos -> records with Apache Beam: `python -m data_prep.build --input S --output O`.

The stages are those of `data_prep.photos` and so are the bytes, on any runner and any number of
workers; `records/beam_pipeline.py` has the pipeline. A run that was stopped goes on: chunks of
photos that are in `OUTPUT/.work` are not made again.

Input and output must be seen by all workers: a folder on this machine for the DirectRunner, a
shared one or a bucket for clusters.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
from collections import Counter

from exif_jax.cli import command

with command.imports(__name__):
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tqdm import tqdm

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
    from data_prep.records.beam_pipeline import add_stages
    from data_prep.records.counts import Counts, count_photos
    from data_prep.records.metadata import write_metadata
    from data_prep.records.output_folder import (
        describe_run,
        held,
        is_complete,
        prepare_output,
        work_folder,
    )
    from data_prep.records.shards import list_shards
    from data_prep.sources.listing import list_chunks
    from exif_jax.io.atomic import replacing
    from exif_jax.io.files import join, list_names, read_file, remove


def _join_rejects(output: str) -> None:
    """The parts, which follow each other, in one file."""
    work = work_folder(output)
    parts = [name for name in list_names(work) if name.startswith("rejects-")]
    with replacing(join(output, "rejects.jsonl")) as file:
        for name in sorted(name for name in parts if name.endswith(".jsonl")):
            file.write(read_file(join(work, name)))


def _read_counts(work: str) -> Counts:
    rows = json.loads(read_file(join(work, "counts.json")))
    return Counter({tuple(key): number for key, number in rows})


# --- command --------------------------------------------------------------------------------------

_EXAMPLES = f"""\
All other flags go to Beam: --runner (default: DirectRunner, on this machine), --project, --region,
--temp_location, --flink_master, ... data_prep/README.md has whole commands for clusters.

examples:
  python -m data_prep.build --input photos --output records --workers 8
  python -m data_prep.build --input gs://bucket/photos --output gs://bucket/records \\
      --runner DataflowRunner --project P --region R --temp_location gs://bucket/tmp

exit codes: 0 records are there, rejected files are listed in rejects.jsonl;
            1 no photo was usable, or the pipeline failed; 2 wrong usage, or no photos
A stopped run goes on where it was when the same command is given again.
{command.QUIET}
"""


def _beam_options(rest: list[str], workers: int) -> PipelineOptions:
    """Beam's flags; several processes of this machine where they name no runner."""
    if not any(flag.startswith("--runner") for flag in rest):
        rest = ["--runner=DirectRunner", *rest]
        if workers > 1:
            rest += [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
        rest += ["--default_sdk_harness_log_level=WARNING"]
    return PipelineOptions(rest)


class _Progress(threading.Thread):
    """A bar that counts the chunks in the work folder, whichever machines make them."""

    def __init__(self, work: str, chunks: int):
        super().__init__(daemon=True)
        self._work, self._chunks, self._ended = work, chunks, threading.Event()

    def __enter__(self) -> _Progress:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        with tqdm(total=self._chunks, unit="chunk", desc="chunks") as bar:
            while True:
                last = self._ended.wait(2)
                try:
                    names = list_names(self._work)
                except OSError:
                    names = []
                made = sum(name.endswith(".json") and len(name) == 37 for name in names)
                bar.update(min(made, self._chunks) - bar.n)
                if last:
                    return


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = command.parser(
        "data_prep.build",
        "Makes TFRecord shards for training from camera photos, with Apache Beam.",
        _EXAMPLES,
    )
    parser.add_argument("--input", required=True, help=INPUT_HELP)
    parser.add_argument("--output", required=True, help="folder or URL; made if missing")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes of this machine, without --runner (default: all cores)",
    )
    add_prep_options(parser)
    args, rest = parser.parse_known_args(argv)
    if args.workers < 1:
        parser.error("--workers must be at least 1")
    check_prep_options(parser, args)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # its warnings bury our own
    try:
        return run_and_explain(
            lambda: _run(args, settings_from_args(args), _beam_options(rest, args.workers)),
            args.output,
        )
    except Exception as error:  # a runner's errors are its own; the last lines say most
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        kept = "finished photos are kept: give the same command again to go on"
        return command.fail(f"{lines[-1] if lines else repr(error)}\n{kept}")


def _run(args: argparse.Namespace, settings: PrepSettings, options: PipelineOptions) -> int:
    chunks, report = list_chunks(args.input)
    status = print_report(report)
    run = describe_run(chunks, settings)
    output = args.output
    if not args.overwrite and is_complete(output, run):
        print_complete(output)
        return status
    with held(output):
        if prepare_output(output, run, args.overwrite):
            print_complete(output)
            return status
        for path in list_shards(output):
            remove(path)  # of a stopped run, whose number of shards may have been another
        work = work_folder(output)
        for name in list_names(work):
            if name.startswith(("rejects-", "counts")):
                remove(join(work, name))
        with _Progress(work, len(chunks)), beam.Pipeline(options=options) as pipeline:
            add_stages(pipeline, chunks, output, settings)
        counts = _read_counts(work)
        _join_rejects(output)
        statistics = None
        if count_photos(counts):
            statistics = write_metadata(output, counts, run, settings)
        remove(work)
    return print_summary(output, statistics, counts, settings) or status


if __name__ == "__main__":
    command.run(main, results_are_printed=False)
