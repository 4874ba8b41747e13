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

from tqdm import tqdm

from data_prep.sources import Chunk, count_files, read_chunk
from data_prep.stages import PhotoResult, Settings, process_photo
from exif_jax.data.records import RECORD_VERSION, write_shard
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import exists, join, read_file


class WorkError(ExifJaxError):
    """The work cannot go on; the message says why and what to do."""


def chunk_path(folder: str, chunk: Chunk, settings: Settings) -> str:
    """Where a chunk's records are kept; the list of its results is named alike, as .json."""
    text = json.dumps([RECORD_VERSION, asdict(settings), repr(chunk)])
    return join(folder, f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.tfrecord")


def results_path(path: str) -> str:
    """The list of results that makes a chunk count."""
    return f"{path.removesuffix('.tfrecord')}.json"


def process_chunk(path: str, chunk: Chunk, settings: Settings) -> int:
    """Makes a chunk unless it is there; returns the number of its files.

    Raises:
      OSError: If it cannot be written.
    """
    if exists(results_path(path)):
        return len(chunk.files)
    results: list[PhotoResult] = []

    def records() -> Iterator[bytes]:
        for raw in read_chunk(chunk):
            result, serialized = process_photo(raw, settings)
            results.append(result)
            yield from serialized

    write_shard(path, records())
    rows = json.dumps([result._asdict() for result in results])
    write_bytes(results_path(path), rows.encode())
    return len(chunk.files)


def read_results(path: str) -> list[PhotoResult]:
    """Returns what became of each file of a chunk.

    Raises:
      WorkError: If the chunk's list is damaged.
    """
    try:
        rows = json.loads(read_file(results_path(path)))
        if not isinstance(rows, list):
            raise TypeError("no list")
        return [PhotoResult(**row) for row in rows]
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise damaged(path) from error


def damaged(path: str) -> WorkError:
    """What to say of a chunk that is not as it was written."""
    return WorkError(f"{path}: damaged; delete the folder {os.path.dirname(path)} and run again")


def process_chunks(
    chunks: Sequence[Chunk], settings: Settings, folder: str, workers: int
) -> list[str]:
    """Makes all chunks that no earlier run has made.

    Args:
      chunks: In order.
      settings: See `Settings`.
      folder: Where chunks are kept; exists.
      workers: Processes; 1 stays in this one.

    Returns:
      The chunks' record files, in order; `read_results` gives what lies beside each.

    Raises:
      OSError: If a chunk cannot be written.
      WorkError: If a worker process died.
    """
    paths = [chunk_path(folder, chunk, settings) for chunk in chunks]
    todo = [
        (path, chunk, settings)
        for path, chunk in zip(paths, chunks, strict=True)
        if not exists(results_path(path))
    ]
    total, left = count_files(chunks), count_files([chunk for _, chunk, _ in todo])
    unit = "shard" if chunks and chunks[0].tar else "photo"
    with tqdm(total=total, initial=total - left, unit=unit, desc=f"{unit}s") as bar:
        for count in _run_all(todo, workers):
            bar.update(count)
    return paths


def _run_all(todo: list[tuple], workers: int) -> Iterator[int]:
    if workers == 1 or len(todo) <= 1:
        for task in todo:
            yield process_chunk(*task)
        return
    # spawn: a fork of a process with threads may hang, and behaves the same on every system.
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        futures = [pool.submit(process_chunk, *task) for task in todo]
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise WorkError(
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
