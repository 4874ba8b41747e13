"""The stages of data preparation as an Apache Beam pipeline; `build.py` is its command.

Photos become chunks in the work folder, each made once; what must know all photos (copies, caps,
the split by camera) then runs over slim rows, and shards gather their records from the chunks, so
that pixels are never shuffled between machines.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from data_prep.merge import (
    Place,
    reject_lines,
    settle_chunk,
    split_bounds,
    write_one_shard,
)
from data_prep.output_folder import work_folder
from data_prep.selection import RULES, Candidate, Verdict, apply_rule, candidate, mark_first
from data_prep.sources import Chunk
from data_prep.stages import Settings, validation_cameras
from data_prep.work import chunk_path, process_chunk, read_results
from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.files import join

REJECTS_PART = 4096  # chunks whose rejected files one worker sorts
_BUCKET_SHIFT = 64 - 12  # of a place in the mix: the 2^12 buckets of records that a worker sorts


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
