"""Processed chunks -> shards: every record goes to the split of its camera, in a mixed order.

What a chunk adds to the folder is counted (`counts.py`), so that machines can count apart and be
added.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from data_prep.processing.filters import camera_key
from data_prep.processing.settings import seeded_hash
from data_prep.records.chunks import damaged_chunk, read_results
from data_prep.records.counts import Counts, count_photo
from data_prep.records.selection import Decision
from data_prep.records.split import Camera
from exif_jax.data.records import INDEX_SUFFIX, SPLITS, read_index, shard_name, write_shard
from exif_jax.io.files import join, list_names
from exif_jax.io.tfrecord import read_payload


class RecordLocation(NamedTuple):
    """Where one record lies among the chunks; `order` is its hashed place among all records."""

    order: int
    chunk: str
    offset: int
    length: int


class ChunkOutcome(NamedTuple):
    """What a chunk gives: locations of records by split, counts, and a row for each reject."""

    locations: dict[str, list[RecordLocation]]
    counts: Counts
    rejects: list[dict[str, str]]


def apply_decisions(
    path: str, decisions: Mapping[str, Decision], held_out: set[Camera], seed: int
) -> ChunkOutcome:
    """Applies to a chunk what was decided with all photos in view.

    Args:
      path: A chunk's record file.
      decisions: On every usable file of the chunk.
      held_out: Cameras of the validation split.
      seed: Decides the order of records.

    Raises:
      ChunkError, RecordError: If the chunk is damaged.
    """
    outcome = ChunkOutcome({split: [] for split in SPLITS}, Counts(), [])
    index = read_index(path)[:, :2].tolist()
    results = read_results(path)
    if len(index) != sum(result.num_records for result in results):
        raise damaged_chunk(path)
    spans = iter(index)
    for result in results:
        locations = []
        for k in range(result.num_records):
            offset, length = next(spans)
            order = seeded_hash(seed, "mix", result.sha256, k)
            locations.append(RecordLocation(order, path, offset, length))
        decision = decisions.get(result.file) or Decision(result.reason, result.message)
        if decision.reason:
            row = {"file": result.file, "reason": decision.reason, "message": decision.message}
            outcome.rejects.append(row)
            outcome.counts["reject", decision.reason] += 1
            continue
        split = "validation" if camera_key(result.exif) in held_out else "train"
        outcome.locations[split].extend(locations)
        num_bytes = [location.length for location in locations]
        count_photo(outcome.counts, split, result, num_bytes, decision.is_first)
    return outcome


def write_one_shard(
    output: str, split: str, k: int, shards: int, locations: Iterable[RecordLocation]
) -> int:
    """Writes shard k of a split, its records in their hashed order; returns their number."""
    ordered = sorted(locations)
    payloads = (
        read_payload(location.chunk, location.offset, location.length) for location in ordered
    )
    return write_shard(join(output, shard_name(split, k, shards)), payloads)


def list_shards(output: str) -> list[str]:
    """Returns the shards and indexes in a folder, of any run."""
    starts = tuple(f"{split}-" for split in SPLITS)
    ends = (".tfrecord", f".tfrecord{INDEX_SUFFIX}")
    names = [name for name in list_names(output) if name.startswith(starts) and "-of-" in name]
    return [join(output, name) for name in names if name.endswith(ends)]
