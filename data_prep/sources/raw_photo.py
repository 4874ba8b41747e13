"""A photo as its source has it, and the chunks of files that one worker reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exif_jax.io.errors import ExifJaxError

MAX_JSON_BYTES = 4 * 2**20  # of a side-car


class SourceError(ExifJaxError):
    """A source that cannot be read at all; the message names it, the cause and the cure."""


class RawPhoto(NamedTuple):
    """A photo as its source has it.

    Attributes:
      id: Unique within the source: a path relative to it, or the key of a shard.
      data: The file's bytes; empty where `problem` says why there are none.
      exif: Canonical EXIF that the source keeps beside the file, for a file without its own.
      photo: The name of the photo that this is a crop of; "" for a photo of its own.
      owner: Who took it, in any form that tells one from the other; "" where it is not known.
      licence: As the source names it; "" where it does not.
      problem: (reason, message) of a file that cannot be used.
    """

    id: str
    data: bytes
    exif: Mapping[str, str] | None = None
    photo: str = ""
    owner: str = ""
    licence: str = ""
    problem: tuple[str, str] | None = None


class SourceFile(NamedTuple):
    """A photo file of a folder and what lies beside it, or a tar shard.

    Attributes:
      file: Its path relative to the chunk's root.
      sidecar: The path of its side-car, relative likewise; "" where there is none.
      manifest_row: What the folder's manifest says of it, as JSON; empty where it says nothing.
      num_bytes: Its size; -1 where it is not known.
      stamp: A text that changes when the file or its side-car does.
    """

    file: str
    sidecar: str
    manifest_row: bytes
    num_bytes: int
    stamp: str


class Chunk(NamedTuple):
    """Files that are read by one worker: photos of a folder, or one tar shard (`is_tar`)."""

    root: str
    files: tuple[SourceFile, ...]
    is_tar: bool = False


def count_files(chunks: Sequence[Chunk]) -> int:
    """Returns the number of files of all chunks: photos of folders, or shards."""
    return sum(len(chunk.files) for chunk in chunks)


def unusable(name: str, reason: str, message: str) -> RawPhoto:
    """A file that cannot be used, with the reason."""
    return RawPhoto(name, b"", problem=(reason, message))
