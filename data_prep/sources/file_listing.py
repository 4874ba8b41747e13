"""The files below a folder or a bucket, and what was passed over on the way to them."""

from __future__ import annotations

import collections
import fnmatch
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.sources.raw_photo import SourceError
from exif_jax.io.files import FilesError, file_system, is_url
from exif_jax.io.text import printable
from exif_jax.reading.walk import WalkReport, is_left_by_a_system, is_own_result, walk_files

# What fsspec's file systems say of a file that changes with its content.
_CHANGING = ("size", "etag", "ETag", "md5Hash", "crc32c", "mtime", "LastModified")

FileInfo = Mapping[str, Any]  # "size" in bytes and what changes when the file does


def list_files(source: str, report: WalkReport) -> dict[str, FileInfo]:
    """Every file below a folder that no system and no run of ours has left there.

    Args:
      source: A folder or its URL.
      report: Receives what is passed over and the folders that cannot be read.

    Returns:
      Path relative to the folder -> size and what else tells one content from another.

    Raises:
      SourceError: If the folder itself cannot be listed.
    """
    try:
        if is_url(source):
            return dict(_walk_bucket(source, report))
        os.listdir(source)  # for the system's own words
        return dict(_walk_folder(source, report))
    except (OSError, ValueError, FilesError) as error:
        raise _cannot_be_listed(source, error) from error


def _cannot_be_listed(source: str, error: Exception) -> SourceError:
    cause = getattr(error, "strerror", None) or error
    return SourceError(f"{source}: {cause}; give a folder of photos that can be read")


def _walk_folder(source: str, report: WalkReport) -> Iterator[tuple[str, FileInfo]]:
    for path in walk_files(source, report):
        if is_own_result(path):
            report.own_files += 1
            continue
        try:
            status = os.stat(path)
            info = {"size": status.st_size, "mtime": status.st_mtime_ns}
        except OSError:  # a broken link, say: whoever reads it says so
            info = {}
        yield path.relative_to(source).as_posix(), info


def _walk_bucket(source: str, report: WalkReport) -> Iterator[tuple[str, FileInfo]]:
    """The files of a URL. fsspec's own walk passes over subfolders that it cannot list."""
    files, top = file_system(source)
    pending = collections.deque([top])
    while pending:
        folder = pending.popleft()
        try:
            entries = files.ls(folder, detail=True)
        except OSError as error:
            if folder == top:
                raise
            report.unreadable.append(f"{printable(folder)}: {error.strerror or error}")
            continue
        for entry in sorted(entries, key=lambda entry: str(entry["name"])):
            path = str(entry["name"]).rstrip("/")
            name = path.rpartition("/")[2]
            is_folder = entry.get("type") == "directory"
            if path == folder.rstrip("/"):  # the mark of an empty folder in a bucket
                continue
            if is_left_by_a_system(name, is_folder):
                report.system_files += 1
            elif is_folder:
                pending.append(path)
            else:
                yield path[len(top) :].lstrip("/"), entry


def match_files(source: str, pattern: str, report: WalkReport) -> dict[str, FileInfo]:
    """The files below a folder whose paths match a pattern, part by part.

    Args:
      source: A folder or its URL.
      pattern: A relative path with *, ? and [...], none of which matches a slash.
      report: Receives the folders that cannot be read.

    Returns:
      As `list_files`.

    Raises:
      SourceError: If the folder itself cannot be listed.
    """
    try:
        files, top = file_system(source)
        files.ls(top, detail=True)
    except (OSError, ValueError, FilesError) as error:
        raise _cannot_be_listed(source, error) from error
    folders = [top]
    *parts, last = pattern.split("/")
    for part in parts:
        entries = _match_names(files, folders, part, report)
        folders = [path for path in entries if files.isdir(path)]
    matches = _match_names(files, folders, last, report)
    return {path[len(top) :].lstrip("/"): info for path, info in matches.items()}


def _match_names(
    files: Any, folders: list[str], pattern: str, report: WalkReport
) -> dict[str, FileInfo]:
    """Path -> info of the entries of some folders whose names match a pattern."""
    matches: dict[str, FileInfo] = {}
    for folder in folders:
        try:
            entries = files.ls(folder, detail=True)
        except OSError as error:
            report.unreadable.append(f"{printable(folder)}: {error.strerror or error}")
            continue
        for entry in entries:
            path = str(entry["name"]).rstrip("/")
            if fnmatch.fnmatchcase(path.rpartition("/")[2], pattern):
                matches[path] = entry
    return matches


def stamp(*infos: FileInfo) -> str:
    """A text that changes when one of some files does."""
    return str([[info.get(key) for key in _CHANGING] for info in infos])


def size(info: FileInfo) -> int:
    """The size of a file in bytes, -1 where it is not known."""
    num_bytes = info.get("size")
    return num_bytes if isinstance(num_bytes, int) else -1


def ending(path: str) -> str:
    """The ending of a file's name in lower case, like ".jpg"."""
    return pathlib.PurePosixPath(path).suffix.lower()
