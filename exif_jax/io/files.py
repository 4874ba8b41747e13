"""Paths and URLs alike: a local path is the system's own, a URL goes through fsspec (gs://, s3://).

fsspec is only imported for URLs; what a bucket needs besides (gcsfs, s3fs) fsspec names itself.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from exif_jax.io.errors import ExifJaxError


class FilesError(ExifJaxError):
    """A URL that no installed file system knows; the message says what to install."""


def is_url(path: str | os.PathLike) -> bool:
    """Whether a path is a URL like gs://bucket/folder."""
    return "://" in os.fspath(path)


def file_system(path: str | os.PathLike) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path within it.

    Raises:
      FilesError: fsspec or the file system is not installed, or the name holds "::".
    """
    try:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem
    except ImportError as e:
        raise FilesError(f"{os.fspath(path)}: {e}; pip install 'exif-jax[data]'") from e
    if not is_url(path):
        return LocalFileSystem(), os.path.abspath(os.fspath(path))  # "::" is no chain here
    if "::" in os.fspath(path):  # fsspec would read, or remove, another file
        raise FilesError(f"{os.fspath(path)}: '::' in a URL is not supported; rename the file")
    try:
        return fsspec.core.url_to_fs(os.fspath(path))
    except (ImportError, ValueError) as e:
        raise FilesError(f"{os.fspath(path)}: {e}") from e


def join(folder: str | os.PathLike, name: str) -> str:
    """The path or URL of a name in a folder."""
    return f"{os.fspath(folder).rstrip('/')}/{name}"


def list_names(folder: str | os.PathLike) -> list[str]:
    """The names in a folder, sorted.

    Raises:
      OSError: there is no such folder, or it cannot be read.
    """
    if not is_url(folder):
        return sorted(os.listdir(folder))
    files, where = file_system(folder)
    return sorted(str(path).rstrip("/").rpartition("/")[2] for path in files.ls(where, False))


def exists(path: str | os.PathLike) -> bool:
    """Whether there is a file or folder."""
    if not is_url(path):
        return os.path.exists(path)
    files, where = file_system(path)
    return files.exists(where)


def size_of(path: str | os.PathLike) -> int:
    """Bytes of a file; OSError where there is none."""
    if not is_url(path):
        return os.stat(path).st_size
    files, where = file_system(path)
    return files.size(where)


def read_range(path: str | os.PathLike, start: int, length: int) -> bytes:
    """Up to `length` bytes of a file from `start` on; OSError where they cannot be read."""
    if not is_url(path):
        with open(path, "rb", buffering=0) as file:
            file.seek(start)  # and not os.pread, which Windows lacks
            return file.read(length)
    files, where = file_system(path)
    return files.cat_file(where, start=start, end=start + length)


def read_file(path: str | os.PathLike) -> bytes:
    """A whole file; OSError where it cannot be read."""
    if not is_url(path):
        with open(path, "rb") as file:
            return file.read()
    files, where = file_system(path)
    return files.cat_file(where)


def make_folder(path: str | os.PathLike) -> None:
    """A folder with its parents, unless it is there; a no-op in most buckets."""
    if not is_url(path):
        os.makedirs(path, exist_ok=True)
        return
    files, where = file_system(path)
    files.makedirs(where, exist_ok=True)


def remove(path: str | os.PathLike) -> None:
    """Removes a file or a folder with all in it, if it is there."""
    if is_url(path):
        files, where = file_system(path)
        if files.exists(where):
            files.rm(where, recursive=True)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
