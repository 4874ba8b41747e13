"""The files below a folder or a bucket, in an order that no file system decides."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.sources.raw_photo import SourceError, SourceFile
from exif_jax.io.files import FilesError, file_system, is_url

# What fsspec's file systems say of a file that changes with its content.
_CHANGING = ("size", "etag", "ETag", "md5Hash", "crc32c", "mtime", "LastModified")


def walk_files(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every file below a folder: its path relative to it, and what fsspec says of it.

    Raises:
      SourceError: If the folder cannot be listed.
    """

    def report_error(error: OSError) -> None:
        where = str(error.filename or "")
        if not where or where.rstrip("/") == top.rstrip("/"):
            raise error
        print(f"left out: {where!a}: {error.strerror}", file=sys.stderr)

    try:
        files, top = file_system(source)
        if not is_url(source) and not os.path.isdir(source):
            os.listdir(source)  # for the system's own words
        for folder, _, names in files.walk(top, detail=True, on_error=report_error):
            for name, info in names.items():
                if name:
                    yield f"{folder}/{name}"[len(top) :].lstrip("/"), info
    except (OSError, ValueError, FilesError) as e:
        why = getattr(e, "strerror", None) or e
        raise SourceError(f"{source}: {why}; give a folder of photos that can be read") from e


def source_file(
    file: str,
    info: Mapping[str, Any],
    sidecar: str = "",
    sidecar_info: Mapping[str, Any] | None = None,
    manifest_row: bytes = b"",
) -> SourceFile:
    """A file as listed, with its size and stamp."""
    size = info.get("size")
    stamps = [[entry.get(k) for k in _CHANGING] for entry in (info, sidecar_info or {})]
    num_bytes = size if isinstance(size, int) else -1
    return SourceFile(file, sidecar, manifest_row, num_bytes, str(stamps))
