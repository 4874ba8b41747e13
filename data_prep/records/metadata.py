"""The files of a folder of records beside its shards."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from data_prep.processing.settings import PrepSettings
from data_prep.records.counts import Counts, split_bounds
from data_prep.records.statistics import CANONICAL_ORDER, make_statistics, tag_vocabulary
from data_prep.records.statistics_page import write_page
from data_prep.records.tfds_files import write_tfds_files
from exif_jax.data.records import SPLITS
from exif_jax.io import jsonl
from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import join
from exif_jax.io.text import json_bytes


def write_metadata(
    output: str, counts: Counts, run: dict[str, Any], settings: PrepSettings
) -> dict[str, Any]:
    """Writes all but the shards and `rejects.jsonl`; returns the content of `statistics.json`.

    `dataset_info.json` comes last: a folder that has it is whole.
    """
    statistics = make_statistics(counts, run, settings)
    num_photos = statistics["splits"]["train"]["photos"]
    tags = {name: counts["tag", "train", name] for name in CANONICAL_ORDER}
    tags = {name: number for name, number in tags.items() if number}
    vocabulary = tag_vocabulary(tags, num_photos, list(tags))
    tag_counts = {"photos": num_photos, "counts": tags, "vocabulary": vocabulary}
    write_bytes(join(output, "tag_counts.json"), json_bytes(tag_counts))
    write_bytes(join(output, "statistics.json"), json_bytes(statistics))
    write_page(output, statistics, vocabulary)
    write_tfds_files(
        output,
        {split: _shard_lengths(split_bounds(counts, split, settings)) for split in SPLITS},
        {split: counts["bytes", split] for split in SPLITS},
    )
    return statistics


def _shard_lengths(bounds: list[int]) -> list[int]:
    return [end - start for start, end in itertools.pairwise(bounds)]


def write_rejects(output: str, rows: Iterable[Mapping[str, str]]) -> None:
    """Writes `rejects.jsonl`: one object a file, in the files' order."""
    jsonl.rewrite(join(output, "rejects.jsonl"), rows)
