"""Photos -> records with Apache Beam: `python -m data_prep.build --source S --output O`.

The stages are those of `data_prep.photos` and so are the bytes, on any runner and any number of
workers. Photos become chunks in `OUTPUT/.work`, each made once; what must know all photos (copies,
caps, the split by camera) then runs over slim rows, and shards gather their records from the
chunks, so that pixels are never shuffled between machines. A run that was stopped goes on: chunks
that are there are not made again.

Source and output must be seen by all workers: a folder on this machine for the DirectRunner, a
shared one or a bucket for clusters.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tqdm import tqdm

from data_prep.merge import (
    Counts,
    Place,
    finish,
    list_shards,
    reject_lines,
    settle_chunk,
    split_bounds,
    write_one_shard,
)
from data_prep.output_folder import (
    UsageError,
    describe_run,
    explain,
    locked,
    open_output,
    work_folder,
)
from data_prep.photos import SOURCE_HELP, add_settings, check_settings, settings_of, tell
from data_prep.selection import RULES, Candidate, Verdict, apply_rule, candidate, mark_first
from data_prep.sources import Chunk, SourceError, list_chunks
from data_prep.stages import Settings, validation_cameras
from data_prep.work import WorkError, chunk_path, process_chunk, read_results
from exif_jax.atomic import replacing, write_bytes
from exif_jax.files import FilesError, join, list_names, read_file, remove
from exif_jax.records import SPLITS, RecordError

REJECTS_PART = 4096  # chunks whose rejected files one worker sorts
BUCKETS = 4096  # of records, by their place in the mix, that one worker sorts
_BUCKET_SHIFT = 64 - 12


# --- steps ----------------------------------------------------------------------------------------


class _Make(beam.DoFn):
    """(number, chunk) -> (number, path), its records and results written."""

    def __init__(self, work: str, settings: Settings):
        self._work, self._settings = work, settings

    def process(self, element: tuple[int, Chunk]) -> Iterator[tuple[int, str]]:
        number, chunk = element
        path = chunk_path(self._work, chunk, self._settings)
        process_chunk(path, chunk, self._settings)
        yield number, path


def _candidates(element: tuple[int, str]) -> Iterator[Candidate]:
    number, path = element
    for result in read_results(path):
        if not result.reason:
            yield candidate(result, number)


class _Judge(beam.DoFn):
    """(key, candidates) -> those that stay, and by the output "out" chunk, file and verdict."""

    def __init__(self, rule: int, settings: Settings):
        self._rule, self._settings = rule, settings

    def process(self, element: tuple[Any, Iterable[Candidate]]) -> Iterator[Any]:
        group = list(element[1])
        chunks = {photo.file: photo.chunk for photo in group}
        kept, out = apply_rule(RULES[self._rule], group, self._settings)
        yield from kept
        for file, message in out.items():
            verdict = Verdict(RULES[self._rule].reason, message)
            yield beam.pvalue.TaggedOutput("out", (chunks[file], (file, verdict)))


def _apply(number: int, photos: Any, settings: Settings) -> tuple[Any, Any]:
    """One rule: the candidates that stay, and (chunk, (file, verdict)) of the others."""
    rule = RULES[number]
    name = rule.reason
    free = photos | f"{name}: free" >> beam.Filter(lambda c: rule.key(c, settings) is None)
    judged = (
        photos
        | f"{name}: bound" >> beam.Filter(lambda c: rule.key(c, settings) is not None)
        | f"{name}: key" >> beam.Map(lambda c: (repr(rule.key(c, settings)), c))
        | f"{name}: group" >> beam.GroupByKey()
        | f"{name}: judge" >> beam.ParDo(_Judge(number, settings)).with_outputs("out", main="in")
    )
    return (free, judged["in"]) | f"{name}: stay" >> beam.Flatten(), judged["out"]


def _first(element: tuple[str, Iterable[Candidate]]) -> Iterator[Any]:
    """Candidates of one photo -> their verdicts, and by "camera" the photo's camera."""
    group = sorted(element[1])
    for photo, (file, verdict) in zip(group, mark_first(group).items(), strict=True):
        yield photo.chunk, (file, verdict)
    yield beam.pvalue.TaggedOutput("camera", group[0].camera)


class _Settle(beam.DoFn):
    """(number, path and verdicts of a chunk) -> places by bucket, counts, rejected files."""

    def __init__(self, settings: Settings):
        self._seed = settings.seed

    def process(self, element: tuple[int, Any], held_out: list) -> Iterator[Any]:
        number, found = element
        (path,) = found["path"]
        settled = settle_chunk(path, dict(found["verdicts"]), set(held_out), self._seed)
        for split, places in settled.places.items():
            for place in places:
                yield (split, place.mix >> _BUCKET_SHIFT), place
        for key, count in settled.counts.items():
            yield beam.pvalue.TaggedOutput("counts", (key, count))
        if settled.rejects:
            row = (number // REJECTS_PART, (number, settled.rejects))
            yield beam.pvalue.TaggedOutput("rejects", row)


def _number_places(
    element: tuple[tuple[str, int], Iterable[Place]],
    sizes: dict[tuple[str, int], int],
    totals: dict[tuple[str, ...], int],
    settings: Settings,
) -> Iterator[tuple[tuple[str, int, int], list[Place]]]:
    """A bucket's records -> (split, shard, shards) and the records that lie there."""
    (split, bucket), places = element
    bounds = split_bounds(Counter(totals), split, settings)
    before = sum(size for (s, b), size in sizes.items() if s == split and b < bucket)
    numbered = enumerate(sorted(places), start=before)
    for shard, group in itertools.groupby(numbered, lambda p: bisect.bisect(bounds, p[0]) - 1):
        yield (split, shard, len(bounds) - 1), [place for _, place in group]


class _Write(beam.DoFn):
    """(split, shard, shards) and lists of places -> the shard's file."""

    def __init__(self, output: str):
        self._output = output

    def process(self, element: tuple[tuple[str, int, int], Iterable[list[Place]]]):
        (split, shard, shards), lists = element
        places = itertools.chain.from_iterable(lists)
        yield write_one_shard(self._output, split, shard, shards, places)


def _write_rejects(element: tuple[int, Iterable[tuple[int, list[dict]]]], work: str) -> None:
    part, rows = element
    with replacing(join(work, f"rejects-{part:09d}.jsonl")) as file:
        for _, rejects in sorted(rows, key=lambda row: row[0]):
            file.writelines(reject_lines(rejects))


def _write_counts(counts: dict[tuple[str, ...], int], work: str) -> None:
    rows = sorted([list(key), number] for key, number in counts.items())
    write_bytes(join(work, "counts.json"), json.dumps(rows).encode())


# --- pipeline -------------------------------------------------------------------------------------


def build(
    pipeline: beam.Pipeline, chunks: Sequence[Chunk], output: str, settings: Settings
) -> None:
    """Adds all steps to a pipeline: shards in `output`; counts and rejected files in its work.

    `finish` and `rejects.jsonl` are the caller's, when the pipeline has ended.
    """
    work = work_folder(output)
    paths = (
        pipeline
        | beam.Create(list(enumerate(chunks)))
        # Without it one worker gets them all.
        | "spread" >> beam.Reshuffle()
        | "make chunks" >> beam.ParDo(_Make(work, settings))
        # What follows must not make the chunks again.
        | "chunks made" >> beam.Reshuffle()
    )
    photos = paths | "candidates" >> beam.FlatMap(_candidates)
    verdicts = []
    for number in range(len(RULES)):
        photos, out = _apply(number, photos, settings)
        verdicts.append(out)
    kept = (
        photos
        | "photo id" >> beam.Map(lambda c: (c.photo_id, c))
        | "crops of a photo" >> beam.GroupByKey()
        | "first of a photo" >> beam.FlatMap(_first).with_outputs("camera", main="verdicts")
    )
    held_out = (
        kept["camera"]
        | "photos a camera" >> beam.combiners.Count.PerElement()
        | "all cameras" >> beam.combiners.ToDict()
        | "hold out" >> beam.Map(lambda cameras: sorted(validation_cameras(cameras, settings)))
    )
    all_verdicts = (*verdicts, kept["verdicts"]) | "verdicts" >> beam.Flatten()
    settled = (
        {"path": paths, "verdicts": all_verdicts}
        | "verdicts to chunks" >> beam.CoGroupByKey()
        | "settle"
        >> beam.ParDo(_Settle(settings), beam.pvalue.AsSingleton(held_out)).with_outputs(
            "counts", "rejects", main="places"
        )
    )
    counts = settled["counts"] | "add" >> beam.CombinePerKey(sum) | beam.combiners.ToDict()
    _ = counts | "keep counts" >> beam.Map(_write_counts, work)
    totals = counts | "totals" >> beam.Map(
        lambda found: {key: n for key, n in found.items() if key[0] in ("records", "bytes")}
    )
    _ = (
        settled["rejects"]
        | "rejects together" >> beam.GroupByKey()
        | "keep rejects" >> beam.Map(_write_rejects, work)
    )
    sizes = settled["places"] | "bucket sizes" >> beam.combiners.Count.PerKey()
    _ = (
        settled["places"]
        | "buckets" >> beam.GroupByKey()
        | "number"
        >> beam.FlatMap(
            _number_places, beam.pvalue.AsDict(sizes), beam.pvalue.AsSingleton(totals), settings
        )
        | "shards" >> beam.GroupByKey()
        | "write shards" >> beam.ParDo(_Write(output))
    )


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

_EXAMPLES = """\
All other flags go to Beam: --runner (default: DirectRunner, on this machine), --project, --region,
--temp_location, --flink_master, ... data_prep/README.md has whole commands for clusters.

examples:
  python -m data_prep.build --source photos --output records --workers 8
  python -m data_prep.build --source gs://bucket/photos --output gs://bucket/records \\
      --runner DataflowRunner --project P --region R --temp_location gs://bucket/tmp

exit codes: 0 records are there, rejected files are listed in rejects.jsonl;
            1 no photo was usable, or the pipeline failed; 2 wrong usage, or no photos
A stopped run goes on where it was when the same command is given again.
"""


def _options(rest: list[str], workers: int) -> PipelineOptions:
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
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build",
        description="Makes TFRecord shards for training from camera photos, with Apache Beam.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, help=SOURCE_HELP)
    parser.add_argument("--output", required=True, help="folder or URL; made if missing")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes of this machine, without --runner (default: all cores)",
    )
    add_settings(parser)
    args, rest = parser.parse_known_args(argv)
    check_settings(parser, args)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # its warnings bury our own
    try:
        return _run(args, settings_of(args), _options(rest, args.workers))
    except (UsageError, SourceError, FilesError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WorkError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {explain(error, args.output)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: give the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:  # a runner's errors are its own; the last lines say most
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        print(f"error: {lines[-1] if lines else error!r}", file=sys.stderr)
        print("finished photos are kept: give the same command again to go on", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace, settings: Settings, options: PipelineOptions) -> int:
    chunks, _ = list_chunks(args.source)
    run = describe_run(chunks, settings)
    output = args.output
    with locked(output):
        if open_output(output, run, args.overwrite):
            print(f"{output}: complete already, made by this command of these photos")
            return 0
        for path in list_shards(output):
            remove(path)  # of a stopped run, whose number of shards may have been another
        work = work_folder(output)
        for name in list_names(work):
            if name.startswith(("rejects-", "counts")):
                remove(join(work, name))
        with _Progress(work, len(chunks)), beam.Pipeline(options=options) as pipeline:
            build(pipeline, chunks, output, settings)
        counts = _read_counts(work)
        _join_rejects(output)
        usable = any(counts["photos", split] for split in SPLITS)
        facts = finish(output, counts, run, settings) if usable else None
        remove(work)
    return tell(output, facts, counts, settings)


if __name__ == "__main__":
    sys.exit(main())
