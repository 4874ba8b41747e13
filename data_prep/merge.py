"""Processed chunks -> the folder of records: split by camera, mixed shards, counts, rejects."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from data_prep.stages import (
    Settings,
    camera_of,
    seeded_hash,
    shard_bounds,
    tag_vocabulary,
    validation_cameras,
)
from data_prep.work import read_results
from exif_jax.atomic import replacing, write_bytes
from exif_jax.exif import TAGS
from exif_jax.records import INDEX_SUFFIX, SPLITS, read_index, shard_name, write_shard
from exif_jax.tfrecord import read_payload

CANONICAL_ORDER = tuple(tag.name for table in TAGS.values() for tag in table)

Camera = tuple[str, str]  # make, model


class RecordPlace(NamedTuple):
    """Where one record lies among the chunks; `mix` orders the records of the shards."""

    mix: int
    chunk: Path
    offset: int
    length: int


@dataclass
class Census:
    """All that the chunks hold, by camera: the split is decided when all photos are known."""

    records: dict[Camera, list[RecordPlace]] = field(default_factory=lambda: defaultdict(list))
    photos: Counter[Camera] = field(default_factory=Counter)
    tags: dict[Camera, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rejects: list[dict[str, str]] = field(default_factory=list)


def take_census(chunks: list[Path], seed: int) -> Census:
    """Goes over the chunks in order; rejects what only shows with all files in view.

    A file with the bytes of an earlier one is a duplicate; a crop whose camera differs from that
    of its photo's first crop would put one photo into both splits.

    Raises:
      WorkError, RecordError: If a chunk is damaged.
    """
    census = Census()
    first_file: dict[str, str] = {}
    camera_of_photo: dict[str, Camera] = {}
    for chunk in chunks:
        spans = iter(read_index(chunk)[:, :2].tolist())
        for result in read_results(chunk):
            reason, message = result.reason, result.message
            places = [
                RecordPlace(seeded_hash(seed, "mix", result.sha256, k), chunk, *next(spans))
                for k in range(result.num_records)
            ]
            camera = camera_of(result.exif)
            if not reason and result.sha256 in first_file:
                reason, message = "duplicate", f"the same bytes as {first_file[result.sha256]}"
            elif not reason and camera_of_photo.get(result.photo_id, camera) != camera:
                reason, message = "two cameras", "another crop of this photo names another camera"
            if reason:
                census.rejects.append(dict(file=result.file, reason=reason, message=message))
                continue
            first_file[result.sha256] = result.file
            census.records[camera].extend(places)
            if result.photo_id not in camera_of_photo:
                camera_of_photo[result.photo_id] = camera
                census.photos[camera] += 1
                census.tags[camera].update(result.exif.keys())
    return census


def write_outputs(output: Path, census: Census, run: dict[str, Any], settings: Settings) -> dict:
    """Writes shards, tag counts, rejects and, last, `dataset_info.json`; returns its content."""
    held_out = validation_cameras(census.photos, settings)
    for path in list_shards(output):
        path.unlink()  # of a stopped run, whose number of shards may have been another
    splits = {}
    for split in SPLITS:
        cameras = sorted(c for c in census.photos if (c in held_out) == (split == "validation"))
        places = sorted(place for camera in cameras for place in census.records[camera])
        bounds = shard_bounds((place.length for place in places), settings)
        with tqdm(total=len(places), unit="record", desc=split) as bar:
            for k in range(len(bounds) - 1):
                path = output / shard_name(split, k, len(bounds) - 1)
                write_shard(path, _payloads(places[bounds[k] : bounds[k + 1]], bar))
        splits[split] = {
            "photos": sum(census.photos[camera] for camera in cameras),
            "records": len(places),
            "shards": len(bounds) - 1,
            "cameras": [dict(make=c[0], model=c[1], photos=census.photos[c]) for c in cameras],
        }
    photos = splits["train"]["photos"]
    counts = sum((census.tags[c] for c in census.photos if c not in held_out), Counter())
    order = [tag for tag in CANONICAL_ORDER if tag in counts]
    tag_counts = {
        "photos": photos,
        "counts": {tag: counts[tag] for tag in order},
        "vocabulary": tag_vocabulary(counts, photos, order),
    }
    write_json(output / "tag_counts.json", tag_counts)
    write_rejects(output, census)
    info = {**run, "splits": splits, "rejects": count_reasons(census)}
    write_json(output / "dataset_info.json", info)
    return info


def _payloads(places: list[RecordPlace], bar: tqdm) -> Iterator[bytes]:
    for place in places:
        yield read_payload(place.chunk, place.offset, place.length)
        bar.update()


def write_rejects(output: Path, census: Census) -> None:
    """Writes `rejects.jsonl`: one object a file, in the files' order."""
    rows = (json.dumps(row).encode() + b"\n" for row in census.rejects)
    with replacing(output / "rejects.jsonl") as file:
        file.writelines(rows)


def count_reasons(census: Census) -> dict[str, int]:
    """Returns reason -> rejected files, sorted by name."""
    return dict(sorted(Counter(row["reason"] for row in census.rejects).items()))


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_bytes(path, json.dumps(content, indent=1).encode() + b"\n")


def list_shards(output: Path) -> list[Path]:
    """Returns the shards and indexes in a folder, of any run."""
    return [
        path
        for split in SPLITS
        for suffix in ("", INDEX_SUFFIX)
        for path in output.glob(f"{split}-*-of-*.tfrecord{suffix}")
    ]
