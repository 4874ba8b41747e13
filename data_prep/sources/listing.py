"""What a source holds, in chunks; and their photos, one at a time, on any machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from data_prep.sources import folders, tar_shards
from data_prep.sources.raw_photo import Chunk, RawPhoto, SourceError
from exif_jax.io.files import is_url
from exif_jax.reading.photo import EXTENSIONS
from exif_jax.reading.walk import WalkReport


class Listing(NamedTuple):
    """The chunks of a source, and what was passed over or could not be read on the way."""

    chunks: list[Chunk]
    report: WalkReport


def list_chunks(source: str, photos_per_chunk: int = 32) -> Listing:
    """What a source holds, in an order that no file system decides.

    Args:
      source: A folder, its URL, or a pattern of shards like "laion/*.tar".
      photos_per_chunk: Of a folder; a tar shard is one chunk.

    Raises:
      SourceError: If it cannot be listed, or holds no photo.
    """
    if not is_url(source):
        source = os.path.abspath(source)  # wherever a worker runs
    report = WalkReport()
    if source.endswith(".tar"):
        root, shards = tar_shards.list_shards(source, report)
        return Listing([Chunk(root, (shard,), is_tar=True) for shard in shards], report)
    files = folders.list_photos(source, report)
    if not files:
        causes = "; ".join(text for text in (*report.unreadable, report.summary()) if text)
        raise SourceError(
            f"{source}: no photos ({causes or 'it is empty'}); give a folder of camera photos: "
            f"{' '.join(sorted(EXTENSIONS))}"
        )
    starts = range(0, len(files), photos_per_chunk)
    chunks = [Chunk(source, tuple(files[k : k + photos_per_chunk])) for k in starts]
    return Listing(chunks, report)


def read_chunk(chunk: Chunk) -> Iterator[RawPhoto]:
    """The photos of a chunk, in order; what cannot be read comes with its `problem`."""
    return tar_shards.read_shards(chunk) if chunk.is_tar else folders.read_photos(chunk)
