"""Chunks of photos processed in parallel, each kept on disk: what a killed run goes on from.

A chunk is named by the hash of its files and settings and counts once its `.json` is there, so a
rerun takes over exactly the chunks that it would make itself.
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
from pathlib import Path

from tqdm import tqdm

from data_prep.stages import PhotoFile, PhotoResult, Settings, process_photo
from exif_jax.atomic import write_bytes
from exif_jax.records import RECORD_VERSION, write_shard

CHUNK_FILES = 32  # a kill loses at most this many photos for each worker


class WorkError(Exception):
    """The work cannot go on; the message says why and what to do."""


def process_chunks(
    root: Path, items: Sequence[PhotoFile], settings: Settings, folder: Path, workers: int
) -> list[Path]:
    """Processes all files that no earlier run has processed.

    Args:
      root: Input folder.
      items: Files in it, in order.
      settings: See `Settings`.
      folder: Where chunks are kept; exists.
      workers: Processes; 1 stays in this one.

    Returns:
      The chunks' record files, in the files' order; `read_results` gives what lies beside each.

    Raises:
      OSError: If a chunk cannot be written.
      WorkError: If a worker process died.
    """
    chunks = [items[k : k + CHUNK_FILES] for k in range(0, len(items), CHUNK_FILES)]
    paths = [folder / f"{_chunk_key(root, chunk, settings)}.tfrecord" for chunk in chunks]
    todo = [
        (root, path, chunk, settings)
        for path, chunk in zip(paths, chunks, strict=True)
        if not path.with_suffix(".json").exists()
    ]
    left = sum(len(chunk) for _, _, chunk, _ in todo)
    with tqdm(total=len(items), initial=len(items) - left, unit="photo", desc="photos") as bar:
        for count in _run_all(todo, workers):
            bar.update(count)
    return paths


def read_results(path: Path) -> list[PhotoResult]:
    """Returns what became of each file of a chunk.

    Raises:
      WorkError: If the chunk's list is damaged.
    """
    try:
        rows = json.loads(path.with_suffix(".json").read_bytes())
        return [PhotoResult(**row) for row in rows]
    except (ValueError, TypeError) as error:
        raise WorkError(
            f"{path}: damaged; delete the folder {path.parent} and run again"
        ) from error


def _chunk_key(root: Path, chunk: Sequence[PhotoFile], settings: Settings) -> str:
    stamps = []
    for item in chunk:
        try:
            status = os.stat(root / item.file)
            stamps.append([*item, status.st_size, status.st_mtime_ns])
        except OSError:
            stamps.append([*item, None, None])
    text = json.dumps([RECORD_VERSION, asdict(settings), stamps])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _process_chunk(root: Path, path: Path, chunk: Sequence[PhotoFile], settings: Settings) -> int:
    results: list[PhotoResult] = []

    def records() -> Iterator[bytes]:
        for item in chunk:
            result, serialized = process_photo(root, item, settings)
            results.append(result)
            yield from serialized

    write_shard(path, records())
    rows = json.dumps([result._asdict() for result in results])
    write_bytes(path.with_suffix(".json"), rows.encode())
    return len(chunk)


def _run_all(todo: list[tuple], workers: int) -> Iterator[int]:
    if workers == 1 or len(todo) <= 1:
        for task in todo:
            yield _process_chunk(*task)
        return
    # spawn: a fork of a process with threads may hang, and behaves the same on every system.
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        futures = [pool.submit(_process_chunk, *task) for task in todo]
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
