"""What people and later runs want to know of a folder of records."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.processing.settings import PrepSettings
from data_prep.records.counts import Counts, split_bounds
from exif_jax.data.records import SPLITS
from exif_jax.reading.exif import TAGS

CANONICAL_ORDER = tuple(tag.name for table in TAGS.values() for tag in table)
MAX_LISTED_VALUES = 12  # of a tag


def tag_vocabulary(
    counts: Mapping[str, int], num_photos: int, canonical_order: Sequence[str]
) -> list[str]:
    """Returns the tags that at least half of the photos have, in canonical order."""
    return [tag for tag in canonical_order if 2 * counts.get(tag, 0) >= num_photos > 0]


def make_statistics(counts: Counts, run: dict[str, Any], settings: PrepSettings) -> dict[str, Any]:
    """The content of `statistics.json`, in an order that is always the same.

    Args:
      counts: Of all chunks.
      run: What `output_folder.describe_run` gives; the statistics begin with it.
      settings: Decides the number of shards.

    Returns:
      Also "splits" (of each: photos, records, bytes, shards, cameras), "rejects" by reason,
      "skipped_tiles" by reason, "licences" and "tags" (of each: photos, values, most_frequent).
    """
    values: dict[str, list[tuple[str, int]]] = {}
    for (name, value), number in _count_table(counts, "value"):
        values.setdefault(name, []).append((value, number))
    return {
        **run,
        "splits": {split: _split_statistics(counts, split, settings) for split in SPLITS},
        "rejects": {reason: n for (reason,), n in sorted(_count_table(counts, "reject"))},
        "skipped_tiles": {why: n for (why,), n in sorted(_count_table(counts, "skipped tile"))},
        "licences": {name: n for (name,), n in _count_table(counts, "licence") if name},
        "tags": {name: _tag_statistics(values[name]) for name in CANONICAL_ORDER if name in values},
    }


def _split_statistics(counts: Counts, split: str, settings: PrepSettings) -> dict[str, Any]:
    cameras = sorted(_count_table(counts, "camera", split))
    return {
        "photos": counts["photos", split],
        "records": counts["records", split],
        "bytes": counts["bytes", split],
        "shards": len(split_bounds(counts, split, settings)) - 1,
        "cameras": [
            {"make": make, "model": model, "photos": photos} for (make, model), photos in cameras
        ],
    }


def _tag_statistics(values: list[tuple[str, int]]) -> dict[str, Any]:
    """Of a tag's values and how many photos have each, most frequent first."""
    return {
        "photos": sum(number for _, number in values),
        "values": len(values),
        "most_frequent": dict(values[:MAX_LISTED_VALUES]),
    }


def _count_table(counts: Counts, *start: str) -> list[tuple[tuple[str, ...], int]]:
    """The rest of each key that begins like this, and its number, the most frequent first."""
    n = len(start)
    rows = [(key[n:], number) for key, number in counts.items() if key[:n] == start]
    return sorted(rows, key=lambda row: (-row[1], row[0]))
