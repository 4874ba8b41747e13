"""Processed chunks -> the folder of records: split by camera, mixed shards, counts, rejects.

What is told of a folder is a `Counter` of tuples, so that machines can count apart and be added:

    ("photos" | "records" | "bytes", split)   ("camera", split, make, model)   ("tag", split, name)
    ("value", name, value)   ("licence", name)   ("reject", reason)   ("left out", why)
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from data_prep.selection import Verdict
from data_prep.stages import Settings, camera_key, seeded_hash, shard_bounds, tag_vocabulary
from data_prep.statistics import write_page
from data_prep.tfds_files import write_tfds_files
from data_prep.work import damaged, read_results
from exif_jax.data.records import INDEX_SUFFIX, SPLITS, read_index, shard_name, write_shard
from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.files import join, list_names
from exif_jax.io.tfrecord import read_payload
from exif_jax.reading.exif import TAGS

CANONICAL_ORDER = tuple(tag.name for table in TAGS.values() for tag in table)
MOST_VALUES = 12  # of a tag, in the statistics

Camera = tuple[str, str]  # make, model
Counts = Counter[tuple[str, ...]]


class Place(NamedTuple):
    """Where one record lies among the chunks; `mix` orders the records of the shards."""

    mix: int
    chunk: str
    offset: int
    length: int


class Settled(NamedTuple):
    """What a chunk gives: places of records by split, counts, and a row for each rejected file."""

    places: dict[str, list[Place]]
    counts: Counts
    rejects: list[dict[str, str]]


def settle_chunk(
    path: str, verdicts: Mapping[str, Verdict], held_out: set[Camera], seed: int
) -> Settled:
    """Applies what was decided with all photos in view.

    Args:
      path: A chunk's record file.
      verdicts: On every usable file of the chunk.
      held_out: Cameras of the validation split.
      seed: Decides the order of records.

    Raises:
      WorkError, RecordError: If the chunk is damaged.
    """
    places: dict[str, list[Place]] = {split: [] for split in SPLITS}
    counts: Counts = Counter()
    rejects = []
    spans = read_index(path)[:, :2].tolist()
    results = read_results(path)
    if len(spans) != sum(result.num_records for result in results):
        raise damaged(path)
    spans = iter(spans)
    for result in results:
        found = [
            Place(seeded_hash(seed, "mix", result.sha256, k), path, *next(spans))
            for k in range(result.num_records)
        ]
        verdict = verdicts.get(result.file) or Verdict(result.reason, result.message)
        if verdict.reason:
            rejects.append(
                {"file": result.file, "reason": verdict.reason, "message": verdict.message}
            )
            counts["reject", verdict.reason] += 1
            continue
        camera = camera_key(result.exif)
        split = "validation" if camera in held_out else "train"
        places[split] += found
        counts["records", split] += len(found)
        counts["bytes", split] += sum(place.length for place in found)
        for why, number in (("flat tile", result.flat), ("saturated tile", result.saturated)):
            if number:
                counts["left out", why] += number
        if verdict.first:
            counts["photos", split] += 1
            counts["camera", split, *camera] += 1
            counts["licence", result.licence] += 1
            for name, value in result.exif.items():
                counts["tag", split, name] += 1
                counts["value", name, value] += 1
    return Settled(places, counts, rejects)


def write_one_shard(output: str, split: str, k: int, shards: int, places: Iterable[Place]) -> int:
    """Writes shard k of a split, its records in their mixed order; returns their number."""
    ordered = sorted(places)
    payloads = (read_payload(place.chunk, place.offset, place.length) for place in ordered)
    return write_shard(join(output, shard_name(split, k, shards)), payloads)


def split_bounds(counts: Counts, split: str, settings: Settings) -> list[int]:
    """Where the shards of a split begin and end; [0] for an empty split."""
    return shard_bounds(counts["records", split], counts["bytes", split], settings)


def finish(output: str, counts: Counts, run: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Writes all but the shards and `rejects.jsonl`; returns the content of `statistics.json`.

    `dataset_info.json` comes last: a folder that has it is whole.
    """
    facts = statistics(counts, run, settings)
    photos = facts["splits"]["train"]["photos"]
    tags = {name: counts["tag", "train", name] for name in CANONICAL_ORDER}
    tags = {name: number for name, number in tags.items() if number}
    vocabulary = tag_vocabulary(tags, photos, list(tags))
    write_json(
        join(output, "tag_counts.json"),
        {"photos": photos, "counts": tags, "vocabulary": vocabulary},
    )
    write_json(join(output, "statistics.json"), facts)
    write_page(output, facts, vocabulary)
    write_tfds_files(
        output,
        {split: _lengths(split_bounds(counts, split, settings)) for split in SPLITS},
        {split: counts["bytes", split] for split in SPLITS},
    )
    return facts


def _lengths(bounds: list[int]) -> list[int]:
    return [end - start for start, end in itertools.pairwise(bounds)]


def statistics(counts: Counts, run: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What people and later runs want to know of a folder, in an order that is always the same."""

    def table(kind: str, split: str = "") -> list[tuple[tuple[str, ...], int]]:
        """Rows of one kind, most frequent first."""
        start = (kind, split) if split else (kind,)
        rows = [(k[len(start) :], n) for k, n in counts.items() if k[: len(start)] == start]
        return sorted(rows, key=lambda row: (-row[1], row[0]))

    splits = {}
    for split in SPLITS:
        cameras = sorted(table("camera", split))
        splits[split] = {
            **{name: counts[name, split] for name in ("photos", "records", "bytes")},
            "shards": len(split_bounds(counts, split, settings)) - 1,
            "cameras": [{"make": c[0], "model": c[1], "photos": n} for c, n in cameras],
        }
    values: dict[str, list[tuple[str, int]]] = {}
    for (name, value), number in table("value"):
        values.setdefault(name, []).append((value, number))
    return {
        **run,
        "splits": splits,
        "rejects": {reason: number for (reason,), number in sorted(table("reject"))},
        "left out": {why: number for (why,), number in sorted(table("left out"))},
        "licences": {name: number for (name,), number in table("licence") if name},
        "tags": {
            name: {
                "photos": sum(number for _, number in values[name]),
                "values": len(values[name]),
                "most frequent": dict(values[name][:MOST_VALUES]),
            }
            for name in CANONICAL_ORDER
            if name in values
        },
    }


def write_rejects(output: str, rows: Iterable[Mapping[str, str]]) -> None:
    """Writes `rejects.jsonl`: one object a file, in the files' order."""
    with replacing(join(output, "rejects.jsonl")) as file:
        file.writelines(reject_lines(rows))


def reject_lines(rows: Iterable[Mapping[str, str]]) -> Iterator[bytes]:
    """The lines of `rejects.jsonl`."""
    return (json.dumps(row).encode() + b"\n" for row in rows)


def write_json(path: str, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_bytes(path, json.dumps(content, indent=1).encode() + b"\n")


def list_shards(output: str) -> list[str]:
    """Returns the shards and indexes in a folder, of any run."""
    starts = tuple(f"{split}-" for split in SPLITS)
    ends = (".tfrecord", f".tfrecord{INDEX_SUFFIX}")
    names = [name for name in list_names(output) if name.startswith(starts) and "-of-" in name]
    return [join(output, name) for name in names if name.endswith(ends)]
