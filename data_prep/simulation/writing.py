"""Writing many simulated files: folders, processes, a progress bar, and what failed in words."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError


class OutputError(ExifJaxError):
    """The output cannot be written; the message names it, the cause and the cure."""


J = TypeVar("J")
R = TypeVar("R")


def make_folders(output: Path, *subfolders: Path) -> None:
    """Makes the output folder and sees that it can be written to; raises OutputError."""
    try:
        for folder in (output, *subfolders):
            folder.mkdir(parents=True, exist_ok=True)
        write_bytes(output / ".writable", b"")
        (output / ".writable").unlink()
    except OSError as error:
        raise OutputError(explain_os_error(output, error)) from error


def run_jobs(
    make: Callable[[J], R], jobs: Sequence[J], output: Path, workers: int, unit: str
) -> list[R]:
    """What `make` gives of each job, in their order, with a progress bar.

    Args:
      make: Writes one file or several below `output`; a function of a module.
      jobs: What it needs; a few hundred bytes each.
      output: The folder, for messages.
      workers: Processes; 1 is this one.
      unit: What a job makes, for the progress bar.

    Raises:
      OutputError: A file cannot be written, or a worker was killed.
    """
    rows: list[R] = []
    try:
        with tqdm(total=len(jobs), unit=unit, file=sys.stderr) as bar:
            for row in _map_jobs(make, jobs, min(workers, len(jobs))):
                rows.append(row)
                bar.update()
    except OSError as error:
        raise OutputError(explain_os_error(output, error)) from error
    except BrokenProcessPool as error:
        raise OutputError(
            "a worker was killed, most likely for lack of memory; use fewer --workers"
        ) from error
    return rows


def _map_jobs(make: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[R]:
    """What `make` gives in order of the jobs, made here or by `workers` processes."""
    if workers == 1:
        yield from map(make, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(make, jobs, chunksize=8)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def explain_os_error(output: Path, error: OSError) -> str:
    """One line for a failure to write: what failed, why, and what to do."""
    cure = "choose another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cure = "free some space or ask for fewer files; finished files are complete and kept"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        cure = "make it writable or choose another place"
    return f"cannot write to {output}: {error.strerror or error}; {cure}"
