"""The stages of data preparation as an Apache Beam pipeline; `data_prep.build` is its command.

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

from data_prep.processing.settings import PrepSettings
from data_prep.records.chunks import chunk_path, process_chunk, read_results
from data_prep.records.counts import split_bounds
from data_prep.records.output_folder import work_folder
from data_prep.records.selection import (
    RULES,
    Candidate,
    Decision,
    apply_rule,
    make_candidate,
    mark_first,
)
from data_prep.records.shards import RecordLocation, apply_decisions, write_one_shard
from data_prep.records.split import Camera, validation_cameras
from data_prep.sources.raw_photo import Chunk
from exif_jax.io import jsonl
from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import join

REJECTS_PART = 4096  # chunks whose rejected files one worker sorts
_BUCKET_SHIFT = 64 - 12  # of the hashed order: the 2^12 buckets of records that a worker sorts


class _MakeChunk(beam.DoFn):
    """(number, chunk) -> (number, path), its records and results written."""

    def __init__(self, work: str, settings: PrepSettings):
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
            yield make_candidate(result, number)


class _ApplyRule(beam.DoFn):
    """(key, candidates) -> those that stay; as "rejects", (chunk, (file, decision)) of others."""

    def __init__(self, rule: int, settings: PrepSettings):
        self._rule, self._settings = rule, settings

    def process(self, element: tuple[Any, Iterable[Candidate]]) -> Iterator[Any]:
        rule = RULES[self._rule]
        group = list(element[1])
        chunks = {photo.file: photo.chunk for photo in group}
        kept, rejects = apply_rule(rule, group, self._settings)
        yield from kept
        for file, message in rejects.items():
            decision = Decision(rule.reason, message)
            yield beam.pvalue.TaggedOutput("rejects", (chunks[file], (file, decision)))


def _add_rule(number: int, photos: Any, settings: PrepSettings) -> tuple[Any, Any]:
    """One rule: the candidates that stay, and (chunk, (file, decision)) of the others."""
    rule = RULES[number]
    name = rule.reason
    without_key = photos | f"{name}: without key" >> beam.Filter(
        lambda photo: rule.key(photo, settings) is None
    )
    results = (
        photos
        | f"{name}: with key" >> beam.Filter(lambda photo: rule.key(photo, settings) is not None)
        | f"{name}: key" >> beam.Map(lambda photo: (repr(rule.key(photo, settings)), photo))
        | f"{name}: group" >> beam.GroupByKey()
        | f"{name}: apply"
        >> beam.ParDo(_ApplyRule(number, settings)).with_outputs("rejects", main="kept")
    )
    kept = (without_key, results["kept"]) | f"{name}: keep" >> beam.Flatten()
    return kept, results["rejects"]


def _mark_first(element: tuple[str, Iterable[Candidate]]) -> Iterator[Any]:
    """Candidates of one photo -> their decisions; as "camera" the photo's camera."""
    group = sorted(element[1])
    for photo, (file, decision) in zip(group, mark_first(group).items(), strict=True):
        yield photo.chunk, (file, decision)
    yield beam.pvalue.TaggedOutput("camera", group[0].camera)


class _ApplyDecisions(beam.DoFn):
    """(number, path and decisions of a chunk) -> locations by bucket, counts, rejected files."""

    def __init__(self, settings: PrepSettings):
        self._seed = settings.seed

    def process(self, element: tuple[int, Any], held_out: list[Camera]) -> Iterator[Any]:
        number, joined = element
        (path,) = joined["path"]
        outcome = apply_decisions(path, dict(joined["decisions"]), set(held_out), self._seed)
        for split, locations in outcome.locations.items():
            for location in locations:
                yield (split, location.order >> _BUCKET_SHIFT), location
        for key, count in outcome.counts.items():
            yield beam.pvalue.TaggedOutput("counts", (key, count))
        if outcome.rejects:
            row = (number // REJECTS_PART, (number, outcome.rejects))
            yield beam.pvalue.TaggedOutput("rejects", row)


def _assign_shards(
    element: tuple[tuple[str, int], Iterable[RecordLocation]],
    sizes: dict[tuple[str, int], int],
    totals: dict[tuple[str, ...], int],
    settings: PrepSettings,
) -> Iterator[tuple[tuple[str, int, int], list[RecordLocation]]]:
    """A bucket's records -> (split, shard, shards) and the records that lie there."""
    (split, bucket), locations = element
    bounds = split_bounds(Counter(totals), split, settings)
    before = sum(size for (s, b), size in sizes.items() if s == split and b < bucket)
    numbered = enumerate(sorted(locations), start=before)
    for shard, group in itertools.groupby(numbered, lambda p: bisect.bisect(bounds, p[0]) - 1):
        yield (split, shard, len(bounds) - 1), [location for _, location in group]


class _WriteShard(beam.DoFn):
    """(split, shard, shards) and lists of locations -> the shard's file."""

    def __init__(self, output: str):
        self._output = output

    def process(self, element: tuple[tuple[str, int, int], Iterable[list[RecordLocation]]]):
        (split, shard, shards), lists = element
        locations = itertools.chain.from_iterable(lists)
        yield write_one_shard(self._output, split, shard, shards, locations)


def _write_rejects(element: tuple[int, Iterable[tuple[int, list[dict]]]], work: str) -> None:
    part, rows = element
    ordered = sorted(rows, key=lambda row: row[0])
    rejects = itertools.chain.from_iterable(rejects for _, rejects in ordered)
    jsonl.rewrite(join(work, f"rejects-{part:09d}.jsonl"), rejects)


def _write_counts(counts: dict[tuple[str, ...], int], work: str) -> None:
    rows = sorted([list(key), number] for key, number in counts.items())
    write_bytes(join(work, "counts.json"), json.dumps(rows).encode())


# --- pipeline -------------------------------------------------------------------------------------


def add_stages(
    pipeline: beam.Pipeline, chunks: Sequence[Chunk], output: str, settings: PrepSettings
) -> None:
    """Adds all steps to a pipeline: shards in `output`; counts and rejected files in its work.

    `write_metadata` and `rejects.jsonl` are the caller's, when the pipeline has ended.
    """
    work = work_folder(output)
    paths = (
        pipeline
        | beam.Create(list(enumerate(chunks)))
        # Without it one worker gets them all.
        | "spread" >> beam.Reshuffle()
        | "make chunks" >> beam.ParDo(_MakeChunk(work, settings))
        # What follows must not make the chunks again.
        | "chunks made" >> beam.Reshuffle()
    )
    photos = paths | "candidates" >> beam.FlatMap(_candidates)
    decisions = []
    for number in range(len(RULES)):
        photos, rejects = _add_rule(number, photos, settings)
        decisions.append(rejects)
    kept = (
        photos
        | "photo id" >> beam.Map(lambda photo: (photo.photo_id, photo))
        | "crops of a photo" >> beam.GroupByKey()
        | "first of a photo" >> beam.FlatMap(_mark_first).with_outputs("camera", main="decisions")
    )
    held_out = (
        kept["camera"]
        | "photos a camera" >> beam.combiners.Count.PerElement()
        | "all cameras" >> beam.combiners.ToDict()
        | "hold out" >> beam.Map(lambda cameras: sorted(validation_cameras(cameras, settings)))
    )
    all_decisions = (*decisions, kept["decisions"]) | "decisions" >> beam.Flatten()
    outcomes = (
        {"path": paths, "decisions": all_decisions}
        | "decisions to chunks" >> beam.CoGroupByKey()
        | "apply decisions"
        >> beam.ParDo(_ApplyDecisions(settings), beam.pvalue.AsSingleton(held_out)).with_outputs(
            "counts", "rejects", main="locations"
        )
    )
    counts = outcomes["counts"] | "add" >> beam.CombinePerKey(sum) | beam.combiners.ToDict()
    _ = counts | "keep counts" >> beam.Map(_write_counts, work)
    totals = counts | "totals" >> beam.Map(
        lambda total: {key: n for key, n in total.items() if key[0] in ("records", "bytes")}
    )
    _ = (
        outcomes["rejects"]
        | "rejects together" >> beam.GroupByKey()
        | "keep rejects" >> beam.Map(_write_rejects, work)
    )
    sizes = outcomes["locations"] | "bucket sizes" >> beam.combiners.Count.PerKey()
    _ = (
        outcomes["locations"]
        | "buckets" >> beam.GroupByKey()
        | "assign shards"
        >> beam.FlatMap(
            _assign_shards, beam.pvalue.AsDict(sizes), beam.pvalue.AsSingleton(totals), settings
        )
        | "shards" >> beam.GroupByKey()
        | "write shards" >> beam.ParDo(_WriteShard(output))
    )
