"""The folder that a run writes: whose it is, whether it is finished, what a run goes on from."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from data_prep.merge import list_shards, write_json
from data_prep.sources import Chunk, count_files
from data_prep.stages import Settings
from exif_jax.data.records import RECORD_VERSION, SPLITS, RecordError, RecordReader
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import exists, is_url, join, make_folder, read_file, remove

# The information goes first: without it the folder does not pass for complete.
_FILES = (
    *("dataset_info.json", "statistics.json", "statistics.html", "features.json"),
    *("tag_counts.json", "rejects.jsonl", "tokenizer.model"),
)


class UsageError(ExifJaxError):
    """The command asks for what cannot be done; the message says what to change."""


def work_folder(output: str) -> str:
    """Where unfinished work is kept."""
    return join(output, ".work")


def describe_run(chunks: Sequence[Chunk], settings: Settings) -> dict[str, Any]:
    """What a folder of records is made of. Sizes stand for contents: rereading all is slow."""
    digest = hashlib.sha256()
    for chunk in chunks:
        for file in chunk.files:
            line = [file.file, file.sidecar, file.facts.decode(), file.size]
            digest.update(json.dumps(line).encode() + b"\n")
    return {
        "version": RECORD_VERSION,
        "settings": asdict(settings),
        "input": {"files": count_files(chunks), "sha256": digest.hexdigest()},
    }


@contextlib.contextmanager
def locked(output: str) -> Iterator[None]:
    """Makes the folder and keeps a second run out of it; the system lifts the lock at the end.

    Buckets know no locks: there nothing keeps two runs apart.

    Raises:
      UsageError: If another run is writing there.
      OSError: If it cannot be made.
    """
    make_folder(output)
    if is_url(output):
        yield
        return
    descriptor = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(
            f"{output}: another run is writing here; wait for it or stop it"
        ) from error
    finally:
        os.close(descriptor)


def open_output(output: str, run: dict[str, Any], overwrite: bool) -> bool:
    """Readies the folder and its `.work`; True if it holds the finished records of this very run.

    Args:
      output: The folder, which exists.
      run: What `describe_run` says.
      overwrite: Records of another run may be removed.

    Raises:
      UsageError: If it holds records of another run and `overwrite` is not set.
      RecordError: If its records are finished and damaged.
    """
    work = work_folder(output)
    facts = _load_json(join(output, "statistics.json"))
    finished = facts is not None and exists(join(output, "dataset_info.json"))
    started = _load_json(join(work, "run.json"))
    resumable = started is not None and started == {k: run[k] for k in ("version", "settings")}
    other = UsageError(
        f"{output}: holds records of other photos or settings; choose another folder, or replace "
        "them with --overwrite"
    )
    if finished and not overwrite:
        if not isinstance(facts, dict) or {key: facts.get(key) for key in run} != run:
            raise other
        _check_records(output, facts, other)
        remove(work)
        return True
    if not resumable:
        if not overwrite and (started is not None or list_shards(output)):
            raise other
        remove(work)
    if overwrite:
        for name in _FILES:
            remove(join(output, name))
        for path in list_shards(output):
            remove(path)
    make_folder(work)
    write_json(join(work, "run.json"), {key: run[key] for key in ("version", "settings")})
    return False


def _load_json(path: str) -> Any:
    """Returns the file's content, None if there is no file or no JSON in it."""
    try:
        return json.loads(read_file(path))
    except (FileNotFoundError, ValueError):
        return None


def _check_records(output: str, facts: dict[str, Any], other: UsageError) -> None:
    try:
        filled = [split for split in SPLITS if facts["splits"][split]["records"]]
    except (KeyError, TypeError) as error:
        raise other from error
    try:
        for split in filled:
            RecordReader(output, split)
    except RecordError as error:
        raise RecordError(f"{error}; --overwrite makes them again") from error


def explain(error: OSError, output: str) -> str:
    """A failed write or read in words, with what to do."""
    where = error.filename or output
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where}: {error.strerror}; records and work in progress need about twice the size "
            "of the records. Make room and give the same command again: it goes on where it was"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return f"{where}: {error.strerror}; choose an --output folder that can be written to"
    return f"{where}: {error.strerror or error}"
