"""What a source holds, in chunks; and their photos, one at a time, on any machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

from data_prep.sources import folders, tar_shards
from data_prep.sources.raw_photo import Chunk, RawPhoto, SourceError
from exif_jax.io.files import is_url
from exif_jax.reading.photo import EXTENSIONS


def list_chunks(source: str, photos_per_chunk: int = 32) -> tuple[list[Chunk], int]:
    """What a source holds, in an order that no file system decides.

    Args:
      source: A folder, its URL, or a pattern of shards like "laion/*.tar".
      photos_per_chunk: Of a folder; a tar shard is one chunk.

    Returns:
      The chunks, and the number of files that are no photos by their names.

    Raises:
      SourceError: If it cannot be listed, or holds no photo.
    """
    if not is_url(source):
        source = os.path.abspath(source)  # wherever a worker runs
    if source.endswith(".tar"):
        root, shards = tar_shards.list_shards(source)
        return [Chunk(root, (shard,), is_tar=True) for shard in shards], 0
    files, num_others = folders.list_photos(source)
    if not files:
        raise SourceError(
            f"{source}: no photos ({num_others} files with other endings than "
            f"{' '.join(sorted(EXTENSIONS))}); give a folder of camera photos"
        )
    starts = range(0, len(files), photos_per_chunk)
    return [Chunk(source, tuple(files[k : k + photos_per_chunk])) for k in starts], num_others


def read_chunk(chunk: Chunk) -> Iterator[RawPhoto]:
    """The photos of a chunk, in order; what cannot be read comes with its `problem`."""
    return tar_shards.read_shards(chunk) if chunk.is_tar else folders.read_photos(chunk)
