"""What is counted of a folder of records, and how many shards follow from it.

The counts are a `Counter` of tuples, so that machines can count apart and be added:

    ("photos" | "records" | "bytes", split)   ("camera", split, make, model)   ("tag", split, name)
    ("value", name, value)   ("licence", name)   ("reject", reason)   ("skipped tile", why)
"""

from collections import Counter
from collections.abc import Sequence

from data_prep.processing.filters import camera_key
from data_prep.processing.photo import PhotoResult
from data_prep.processing.settings import PrepSettings
from exif_jax.data.records import SPLITS

Counts = Counter[tuple[str, ...]]


def count_photo(
    counts: Counts, split: str, photo: PhotoResult, record_bytes: Sequence[int], is_first: bool
) -> None:
    """Adds a photo of a split to the counts; a crop that is not its photo's first adds records.

    Args:
      counts: Grows by the photo.
      split: "train" or "validation".
      photo: A file whose records are taken.
      record_bytes: Bytes of each of its records.
      is_first: Whether the file is the first of its photo.
    """
    counts["records", split] += len(record_bytes)
    counts["bytes", split] += sum(record_bytes)
    for why, number in (("flat", photo.num_flat), ("saturated", photo.num_saturated)):
        if number:
            counts["skipped tile", why] += number
    if not is_first:
        return
    counts["photos", split] += 1
    counts["camera", split, *camera_key(photo.exif)] += 1
    counts["licence", photo.licence] += 1
    for name, value in photo.exif.items():
        counts["tag", split, name] += 1
        counts["value", name, value] += 1


def count_photos(counts: Counts) -> int:
    """Returns the number of photos in all splits."""
    return sum(counts["photos", split] for split in SPLITS)


def split_bounds(counts: Counts, split: str, settings: PrepSettings) -> list[int]:
    """Where the shards of a split begin and end; [0] for an empty split."""
    return shard_bounds(counts["records", split], counts["bytes", split], settings)


def shard_bounds(
    num_records: int, num_bytes: int, settings: PrepSettings, target_bytes: int = 2**28
) -> list[int]:
    """Cuts a row of records into shards of nearly equal count.

    Args:
      num_records: Their number.
      num_bytes: All their bytes.
      settings: `shards`; never more shards than records.
      target_bytes: Bytes a shard when the settings leave the number open.

    Returns:
      num_shards + 1 positions, from 0 to the number of records; [0] without records.
    """
    wanted = settings.shards or -(-num_bytes // target_bytes)
    shards = min(max(wanted, 1), num_records)
    return [num_records * k // shards for k in range(shards + 1)] if shards else [0]
