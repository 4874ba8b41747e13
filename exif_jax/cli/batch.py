"""Many photos, one after another: decoded ahead, judged, journalled, resumed.

Each photo ends in one row of the output folder's journal, written when its other files are in
place and before anything is printed of it. A bad photo has its message and the rest go on. Memory
is that of a few photos, whatever their number.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import itertools
import pathlib
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from tqdm import tqdm

from exif_jax.cli import terminal
from exif_jax.cli.command import in_options
from exif_jax.cli.inputs import PhotoInput
from exif_jax.cli.journal import Journal, file_stamp
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.jsonl import Row
from exif_jax.io.text import printable
from exif_jax.reading.photo import MAX_PIXELS, Photo, PhotoError, read_photo

# (photo, how messages call it, name for its files) -> (its row in the journal, lines to print).
# It writes the photo's files, and may raise PhotoFailed, OSError or MemoryError.
Analyze = Callable[[Photo, str, str], tuple[Row, str]]


class PhotoFailed(ExifJaxError):
    """A photo that cannot be analysed; the message says why and what to do."""


def decode_photos(
    photos: Iterable[PhotoInput], ahead: int = 1, max_pixels: int = MAX_PIXELS
) -> Generator[Photo | PhotoError | MemoryError, None, None]:
    """Reads photos in order, the next ones in threads while the caller works on one.

    Args:
      photos: The photos.
      ahead: How many photos are held beside the caller's.
      max_pixels: A photo may have at most as many.

    Yields:
      Each photo, or the exception that reading it raised.
    """
    read = functools.partial(_read, max_pixels=max_pixels)
    rest = iter(photos)
    with concurrent.futures.ThreadPoolExecutor(ahead) as pool:
        waiting = collections.deque(
            pool.submit(read, photo) for photo in itertools.islice(rest, ahead)
        )
        while waiting:
            future = waiting.popleft()
            result = future.result()
            waiting.extend(pool.submit(read, photo) for photo in itertools.islice(rest, 1))
            yield result
            del result, future  # or it would live on while the next one is waited for


def _read(photo: PhotoInput, max_pixels: int) -> Photo | PhotoError | MemoryError:
    source = photo.path if photo.data is None else photo.data
    name = None if photo.data is None else str(photo.path)
    try:
        return read_photo(source, name=name, max_pixels=max_pixels)
    except (PhotoError, MemoryError) as error:
        return error


def process_photos(
    photos: Sequence[PhotoInput],
    output: pathlib.Path,
    analyze: Analyze,
    settings: dict[str, Any],
    *,
    command: str,
    last_file: str,
    resume: bool = False,
    ahead: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> int:
    """Works through photos and keeps the journal.

    Results of other photos in the folder stay as they are; a photo that was judged before has its
    own results replaced.

    Args:
      photos: The photos, each once.
      output: The output folder, which exists. Other runs may work in it too.
      analyze: What is done to each photo.
      settings: What the results depend on (model, options): a photo counts as done only under
        equal settings.
      command: Whose results these are, like "localize".
      last_file: Ending of the last file that `analyze` writes, like "json".
      resume: Skip the photos that the journal has as done, that are as they were, and whose last
        file is still there.
      ahead: How many photos are decoded ahead.
      max_pixels: A photo may have at most as many.

    Returns:
      The number of photos that failed. A line about each goes to standard error.

    Raises:
      OSError: The journal cannot be read or written.
    """
    journal = Journal(output, command, photos)
    indices = [
        index
        for index, (photo, name, row) in enumerate(
            zip(photos, journal.names, journal.former_rows, strict=True)
        )
        if not (resume and _is_done(row, photo, settings, output / f"{name}.{last_file}"))
    ]
    num_failed = 0
    with terminal.forgiving_streams():
        if len(indices) < len(photos):
            tqdm.write(
                f"{len(photos) - len(indices)} of {len(photos)} photos were done", sys.stderr
            )
        decoded = decode_photos((photos[index] for index in indices), ahead, max_pixels)
        progress = tqdm(decoded, total=len(indices), unit="photo", leave=bool(indices))
        try:
            for index, photo in zip(indices, progress, strict=True):
                path, name = photos[index].path, journal.names[index]
                with journal.working_on(name):
                    row, words = _judge(photo, path, name, output, analyze)
                    journal.add(index, photos[index], row | {"settings": settings})
                del photo
                if _replaced_other_results(journal.former_rows[index], row):
                    note = (
                        f"{printable(path)}: changed since its former results, which are replaced"
                    )
                    progress.write(note, sys.stderr)
                failed = row["status"] == "failed"
                num_failed += failed
                progress.write(words, sys.stderr if failed else sys.stdout)
        finally:
            progress.close()
            # Here and now: left to the garbage collector, the generator may end its pool in the
            # middle of another thread's start, which then waits for ever.
            decoded.close()
            journal.close()
        if num_failed:
            tqdm.write(f"error: {num_failed} of {len(indices)} photos failed", sys.stderr)
    return num_failed


def _judge(
    photo: Photo | PhotoError | MemoryError,
    path: pathlib.Path,
    name: str,
    output: pathlib.Path,
    analyze: Analyze,
) -> tuple[Row, str]:
    """Returns a photo's row and what to print."""
    display_name = printable(path)
    try:
        if isinstance(photo, Exception):
            raise photo
        row, words = analyze(photo, display_name, name)
        return {"status": "done", "sha256": photo.sha256, **row}, words
    except (PhotoError, PhotoFailed, OSError, MemoryError) as error:
        message = _explain(error, display_name, printable(output))
        return {"status": "failed", "error": message}, f"error: {message}"


def _explain(error: Exception, display_name: str, output: str) -> str:
    if isinstance(error, PhotoError):
        return in_options(printable(error))
    if isinstance(error, PhotoFailed):
        return f"{display_name}: {printable(error)}"
    if isinstance(error, OSError):
        why = f"cannot write its results to {output} ({error.strerror})"
        return f"{display_name}: {why}; make room or choose another --output"
    return f"{display_name}: not enough memory; lower --max-patches, or use a machine with more"


def _is_done(
    row: Row | None, photo: PhotoInput, settings: dict[str, Any], last_file: pathlib.Path
) -> bool:
    return (
        row is not None
        and row["status"] == "done"
        and row.get("settings") == settings
        and file_stamp(photo).items() <= row.items()
        and last_file.is_file()
    )


def _replaced_other_results(former: Row | None, row: Row) -> bool:
    """Whether the results of another content of the same file were written over."""
    return (
        former is not None
        and former["status"] == row["status"] == "done"
        and former.get("sha256") != row["sha256"]
    )
