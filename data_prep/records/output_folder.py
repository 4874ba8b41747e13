"""The folder that a run writes: whose it is, whether it is finished, what a run goes on from."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from data_prep.processing.settings import PrepSettings
from data_prep.records.shards import list_shards
from data_prep.sources.raw_photo import Chunk, count_files
from exif_jax.data.records import RECORD_VERSION, SPLITS, RecordError, RecordReader
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import exists, is_url, join, make_folder, read_file, remove
from exif_jax.io.locks import hold
from exif_jax.io.text import json_bytes

# The information goes first: without it the folder does not pass for complete.
_FILES = (
    "dataset_info.json",
    "statistics.json",
    "statistics.html",
    "features.json",
    "tag_counts.json",
    "rejects.jsonl",
    "tokenizer.model",
)


class UsageError(ExifJaxError):
    """The command asks for what cannot be done; the message says what to change."""


def work_folder(output: str) -> str:
    """Where unfinished work is kept."""
    return join(output, ".work")


def describe_run(chunks: Sequence[Chunk], settings: PrepSettings) -> dict[str, Any]:
    """What a folder of records is made of. Sizes stand for contents: rereading all is slow."""
    digest = hashlib.sha256()
    for chunk in chunks:
        for file in chunk.files:
            line = [file.file, file.sidecar, file.manifest_row.decode(), file.num_bytes]
            digest.update(json.dumps(line).encode() + b"\n")
    return {
        "version": RECORD_VERSION,
        "settings": asdict(settings),
        "input": {"files": count_files(chunks), "sha256": digest.hexdigest()},
    }


@contextlib.contextmanager
def held(output: str) -> Iterator[None]:
    """Makes the folder and keeps a second run out of it.

    Buckets know no locks: there nothing keeps two runs apart.

    Raises:
      FolderHeldError: If another run is writing there; the message says which.
      OSError: If the folder cannot be made or written to.
    """
    make_folder(output)
    with contextlib.nullcontext() if is_url(output) else hold(output):
        yield


def is_complete(output: str, run: dict[str, Any]) -> bool:
    """Whether a folder holds the finished records of this very run and no rest of its work.

    Raises:
      UsageError: If it holds finished records of another run.
      RecordError: If its records are finished and damaged.
    """
    if exists(work_folder(output)) or (statistics := _finished_statistics(output)) is None:
        return False
    _check_same_run(output, statistics, run)
    return True


def _finished_statistics(output: str) -> Any:
    """The content of `statistics.json`; None where the records are not finished."""
    statistics = _load_json(join(output, "statistics.json"))
    return statistics if exists(join(output, "dataset_info.json")) else None


def prepare_output(output: str, run: dict[str, Any], overwrite: bool) -> bool:
    """Readies the folder and its `.work`; True if it holds the finished records of this very run.

    Args:
      output: The folder, which exists.
      run: What `describe_run` gives.
      overwrite: Records of another run may be removed.

    Raises:
      UsageError: If it holds records of another run and `overwrite` is not set.
      RecordError: If its records are finished and damaged.
    """
    work = work_folder(output)
    statistics = _finished_statistics(output)
    if statistics is not None and not overwrite:
        _check_same_run(output, statistics, run)
        remove(work)
        return True
    started = _load_json(join(work, "run.json"))
    resumable = {key: run[key] for key in ("version", "settings")}
    if started != resumable:
        if not overwrite and (started is not None or list_shards(output)):
            raise _other_run(output)
        remove(work)
    if overwrite:
        for name in _FILES:
            remove(join(output, name))
        for path in list_shards(output):
            remove(path)
    make_folder(work)
    write_bytes(join(work, "run.json"), json_bytes(resumable))
    return False


def _load_json(path: str) -> Any:
    """Returns the file's content, None if there is no file or no JSON in it."""
    try:
        return json.loads(read_file(path))
    except (FileNotFoundError, ValueError):
        return None


def _other_run(output: str) -> UsageError:
    return UsageError(
        f"{output}: holds records of other photos or settings; choose another folder, or replace "
        "them with --overwrite"
    )


def _check_same_run(output: str, statistics: Any, run: dict[str, Any]) -> None:
    """Raises where finished records are of another run, or their shards are damaged."""
    if not isinstance(statistics, dict) or {key: statistics.get(key) for key in run} != run:
        raise _other_run(output)
    try:
        splits = [split for split in SPLITS if statistics["splits"][split]["records"]]
    except (KeyError, TypeError) as error:
        raise _other_run(output) from error
    try:
        for split in splits:
            RecordReader(output, split)
    except RecordError as error:
        raise RecordError(f"{error}; --overwrite makes them again") from error


def explain_os_error(error: OSError, output: str) -> str:
    """One line for a failed write or read: what failed, why, and what to do."""
    where = error.filename or output
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where}: {error.strerror}; records and work in progress need about twice the size "
            "of the records. Make room and give the same command again: it goes on where it was"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return f"{where}: {error.strerror}; choose an --output folder that can be written to"
    return f"{where}: {error.strerror or error}"
