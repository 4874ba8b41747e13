"""Chunks of photos, each kept on disk once it is done: what a killed run goes on from.

A chunk is named by the hash of its files and settings and counts once its `.json` is there, so a
rerun takes over exactly the chunks that it would make itself. Any machine that sees the folder may
make any chunk.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import NamedTuple

from tqdm import tqdm

from data_prep.processing.photo import PhotoResult, process_photo
from data_prep.processing.settings import PrepSettings
from data_prep.sources.listing import read_chunk
from data_prep.sources.raw_photo import Chunk, count_files
from exif_jax.data.records import RECORD_VERSION, write_shard
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import exists, join, read_file


class ChunkError(ExifJaxError):
    """A chunk that cannot be made or read; the message says why and what to do."""


def chunk_path(folder: str, chunk: Chunk, settings: PrepSettings) -> str:
    """Where a chunk's records are kept; the list of its results is named alike, as .json."""
    text = json.dumps([RECORD_VERSION, asdict(settings), repr(chunk)])
    return join(folder, f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.tfrecord")


def results_path(path: str) -> str:
    """The list of results that makes a chunk count."""
    return f"{path.removesuffix('.tfrecord')}.json"


def process_chunk(path: str, chunk: Chunk, settings: PrepSettings) -> int:
    """Makes a chunk unless it is there; returns the number of its files.

    Raises:
      OSError: If it cannot be written.
    """
    if exists(results_path(path)):
        return len(chunk.files)
    results: list[PhotoResult] = []
    write_shard(path, _process_photos(chunk, settings, results))
    rows = json.dumps([result._asdict() for result in results])
    write_bytes(results_path(path), rows.encode())
    return len(chunk.files)


def _process_photos(
    chunk: Chunk, settings: PrepSettings, results: list[PhotoResult]
) -> Iterator[bytes]:
    """The serialised records of a chunk, one photo at a time; `results` grows with them."""
    for raw in read_chunk(chunk):
        result, serialized = process_photo(raw, settings)
        results.append(result)
        yield from serialized


def read_results(path: str) -> list[PhotoResult]:
    """Returns what became of each file of a chunk.

    Raises:
      ChunkError: If the chunk's list is damaged.
    """
    try:
        rows = json.loads(read_file(results_path(path)))
        if not isinstance(rows, list):
            raise TypeError("no list")
        return [PhotoResult(**row) for row in rows]
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise damaged_chunk(path) from error


def damaged_chunk(path: str) -> ChunkError:
    """The error of a chunk that is not as it was written."""
    return ChunkError(f"{path}: damaged; delete the folder {os.path.dirname(path)} and run again")


class _Task(NamedTuple):
    """The arguments of `process_chunk`."""

    path: str
    chunk: Chunk
    settings: PrepSettings


def process_chunks(
    chunks: Sequence[Chunk], settings: PrepSettings, folder: str, workers: int
) -> list[str]:
    """Makes all chunks that no earlier run has made.

    Args:
      chunks: In order.
      settings: See `PrepSettings`.
      folder: Where chunks are kept; exists.
      workers: Processes; 1 stays in this one.

    Returns:
      The chunks' record files, in order; `read_results` gives what lies beside each.

    Raises:
      OSError: If a chunk cannot be written.
      ChunkError: If a worker process died.
    """
    tasks = [_Task(chunk_path(folder, chunk, settings), chunk, settings) for chunk in chunks]
    missing = [task for task in tasks if not exists(results_path(task.path))]
    total, left = count_files(chunks), count_files([task.chunk for task in missing])
    unit = "shard" if chunks and chunks[0].is_tar else "photo"
    with tqdm(total=total, initial=total - left, unit=unit, desc=f"{unit}s") as bar:
        for count in _run_tasks(missing, workers):
            bar.update(count)
    return [task.path for task in tasks]


def _run_tasks(tasks: Sequence[_Task], workers: int) -> Iterator[int]:
    """Makes chunks here or in processes; yields the number of files of each."""
    if workers == 1 or len(tasks) <= 1:
        for task in tasks:
            yield process_chunk(task.path, task.chunk, task.settings)
        return
    # spawn: a fork of a process with threads may hang, and behaves the same on every system.
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(tasks)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        futures = [
            pool.submit(process_chunk, task.path, task.chunk, task.settings) for task in tasks
        ]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise ChunkError(
            "a worker process died, most likely for want of memory: run the same command again "
            "with fewer --workers; finished photos are kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C goes to the whole group: only the main process reports it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # A killed parent cannot stop its workers: left alone, they would write beside the next run.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
