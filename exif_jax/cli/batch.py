"""Many photos, one after another: found, decoded ahead, journalled, resumed.

Each photo ends in one line of `results.jsonl` in the output folder, written when its other files
are in place. A bad photo is told and the rest go on. Memory is that of a few photos, whatever
their number.
"""

from __future__ import annotations

import collections
import concurrent.futures
import glob
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import printable
from exif_jax.reading.photo import EXTENSIONS, Photo, PhotoError, read_photo
from exif_jax.reports import outputs

JOURNAL = "results.jsonl"

Facts = dict[str, Any]


class PhotoFailed(ExifJaxError):
    """A photo that cannot be analysed; the message says why and what to do."""


def find_photos(sources: Iterable[str], out: pathlib.Path) -> Iterator[pathlib.Path]:
    """The photos that the words of a command line mean.

    Args:
        sources: files, as given; folders, for the photos in them, sorted; patterns like
            "shots/**/*.jpg"; or "-" for names on standard input, one a line, or parted by null
            characters as `find -print0` does.
        out: the output folder, in which nothing is looked for.
    """
    for source in sources:
        if source == "-":
            yield from map(pathlib.Path, _names(sys.stdin.buffer.read()))
        elif os.path.isdir(source):
            yield from _walk(source, out)
        elif not os.path.lexists(source) and glob.has_magic(source):
            matches = sorted(glob.iglob(source, recursive=True))
            for match in matches or [source]:
                yield from _walk(match, out) if os.path.isdir(match) else [pathlib.Path(match)]
        else:
            yield pathlib.Path(source)


def _names(listed: bytes) -> list[str]:
    names = listed.split(b"\0") if b"\0" in listed else listed.splitlines()
    return [os.fsdecode(name) for name in names if name]


def _walk(top: str, out: pathlib.Path) -> Iterator[pathlib.Path]:
    for folder, subfolders, files in os.walk(top):
        subfolders[:] = sorted(s for s in subfolders if not _same(folder, s, out))
        for file in sorted(files):
            if pathlib.Path(file).suffix.lower() in EXTENSIONS:
                yield pathlib.Path(folder, file)


def _same(folder: str, name: str, out: pathlib.Path) -> bool:
    return os.path.realpath(os.path.join(folder, name)) == os.path.realpath(out)


def decode_photos(
    paths: Iterable[pathlib.Path], ahead: int = 1
) -> Iterator[tuple[pathlib.Path, Photo | Exception]]:
    """Reads photos in order, the next ones in threads while the caller works on one.

    Args:
        paths: of the photos.
        ahead: how many photos are held beside the caller's.

    Yields:
        Each path with its photo, or with the exception that reading it raised.
    """

    def read(path):
        try:
            return read_photo(path)
        except (PhotoError, MemoryError) as e:
            return e

    rest = iter(paths)
    with concurrent.futures.ThreadPoolExecutor(ahead) as pool:
        waiting = collections.deque(
            (path, pool.submit(read, path)) for path in itertools.islice(rest, ahead)
        )
        while waiting:
            path, future = waiting.popleft()
            result = future.result()
            waiting.extend((p, pool.submit(read, p)) for p in itertools.islice(rest, 1))
            yield path, result
            del result, future  # or it would live on while the next one is waited for


def run(
    paths: Sequence[pathlib.Path],
    out: pathlib.Path,
    work: Callable[[Photo, str, str], tuple[Facts, str]],
    settings: Facts,
    kind: str,
    resume: bool = False,
    ahead: int = 1,
) -> int:
    """Works through photos and keeps the journal.

    Args:
        paths: the photos.
        out: the output folder, which exists.
        work: (photo, shown name, output name) -> (facts for the journal, a line for people). It
            writes the photo's other files. May raise Failed, OSError or MemoryError.
        settings: what the results depend on (model, options): a photo counts as done only under
            equal settings.
        kind: ending of the last file that `work` writes, like "json".
        resume: skip the photos that the journal has as done, are as they were, and whose last
            file is still there. Otherwise the journal starts anew.
        ahead: see `decode_photos`.

    Returns:
        The number of photos that failed. A line about each goes to standard error.

    Raises:
        OSError: the journal cannot be read or written.
    """
    journal = out / JOURNAL
    before = _read_journal(journal) if resume else {}
    known = {key: line["name"] for key, line in before.items()}
    known |= {str(path): known[_key(path)] for path in paths if _key(path) in known}
    names = outputs.output_names(paths, known)
    tasks = [
        (path, name)
        for path, name in zip(paths, names, strict=True)
        if not _is_done(before.get(_key(path)), path, settings, out / f"{name}.{kind}")
    ]
    # Whole lines only, each photo's last: what a killed run left behind is dropped here.
    write_bytes(journal, b"".join(_line_bytes(line) for line in before.values()))
    if len(tasks) < len(paths):
        tqdm.write(f"{len(paths) - len(tasks)} of {len(paths)} photos were done", file=sys.stderr)
    failed = 0
    with open(journal, "ab", buffering=0) as lines:
        photos = decode_photos((path for path, _ in tasks), ahead)
        progress = tqdm(photos, total=len(tasks), unit="photo", leave=bool(tasks))
        for (path, name), (_, photo) in zip(tasks, progress, strict=True):
            line = _stamp(path) | {"name": name, "settings": settings}
            shown = printable(path)
            try:
                if isinstance(photo, Exception):
                    raise photo
                facts, told = work(photo, shown, name)
                line |= {"status": "done", "sha256": photo.sha256, **facts}
                progress.write(told)
            except Exception as e:
                message = _explain(e, shown, printable(out))
                failed += 1
                line |= {"status": "failed", "error": message}
                progress.write(f"error: {message}", file=sys.stderr)
            del photo
            lines.write(_line_bytes(line))
    if failed:
        tqdm.write(f"error: {failed} of {len(tasks)} photos failed", file=sys.stderr)
    return failed


def _explain(error: Exception, shown: str, out: str) -> str:
    if isinstance(error, PhotoError):
        return printable(error)
    if isinstance(error, PhotoFailed):
        return f"{shown}: {printable(error)}"
    if isinstance(error, OSError):
        why = f"cannot write its results to {out} ({error.strerror})"
        return f"{shown}: {why}; make room or choose another --output"
    if isinstance(error, MemoryError):
        return f"{shown}: not enough memory; lower --max-patches, or use a machine with more"
    raise error


def _key(path: pathlib.Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _stamp(path: pathlib.Path) -> Facts:
    """What tells whether the file is still the same, without reading it."""
    try:
        status = os.stat(path)
        return {"file": _key(path), "num_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    except (OSError, ValueError):
        return {"file": _key(path), "num_bytes": None, "mtime_ns": None}


def _is_done(line: Facts | None, path: pathlib.Path, settings: Facts, last: pathlib.Path) -> bool:
    return (
        line is not None
        and line["status"] == "done"
        and line["settings"] == settings
        and _stamp(path).items() <= line.items()
        and last.is_file()
    )


def _read_journal(path: pathlib.Path) -> dict[str, Facts]:
    """The last line about each file; lines that are damaged or no facts are left out."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    found: dict[str, Facts] = {}
    for row in data.splitlines():
        try:
            line = json.loads(row)
            # A name that would lead out of the folder was not written by this module.
            safe = outputs.output_names([pathlib.Path(line["name"] + ".x")]) == [line["name"]]
            if safe and {"status", "settings"} <= line.keys() and isinstance(line["file"], str):
                found[line["file"]] = line
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found


def _line_bytes(line: Facts) -> bytes:
    text = json.dumps(line, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"
