"""Journals: files of one JSON object a line, which grow while a run works and outlive its death.

A killed process or a full disk can leave the last line unfinished. Readers pass over such a line,
and the next row that is appended takes its place.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from exif_jax.io.atomic import replacing

Row = dict[str, Any]

_BLOCK_BYTES = 1 << 12


def encode_row(row: Mapping[str, Any]) -> bytes:
    """Returns a row as one line of strict JSON in UTF-8.

    Raises:
      ValueError: If a number is not finite.
    """
    text = json.dumps(row, allow_nan=False, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # undecodable bytes of a file name, which only escapes can hold
        return json.dumps(row, allow_nan=False).encode() + b"\n"


def read_rows(path: str | os.PathLike) -> Iterator[Row]:
    """Yields the rows of a journal, and nothing where there is no such file.

    A line that is unfinished, damaged or no JSON object is passed over.

    Raises:
      OSError: If the file is there and cannot be read.
    """
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        for line in file:
            row = _parse(line)
            if row is not None:
                yield row


def append_rows(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows to a journal, which is made where it is missing: all of them or none.

    What an earlier process left of an unfinished last line is removed first; a whole last row
    that lacks only its line feed, as an editor leaves it, is kept.

    Raises:
      OSError: If the rows cannot be written; the journal then ends with the row before them.
      ValueError: If a number is not finite.
    """
    data = b"".join(map(encode_row, rows))
    # Appending, so that writers who keep no lock at least never write over each other's rows.
    with open(path, "a+b", buffering=0) as file:
        _mend_end(file)
        size = file.seek(0, os.SEEK_END)
        try:
            _write_all(file, data)
        except OSError:
            file.truncate(size)
            raise


def rewrite(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces a journal, of which a reader sees the old or the new one and nothing between.

    Raises:
      OSError: If it cannot be written; the old one is left as it was.
      ValueError: If a number is not finite.
    """
    with replacing(path) as file:
        for row in rows:
            file.write(encode_row(row))


def _parse(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _mend_end(file: io.FileIO) -> None:
    """Cuts off an unfinished last line, or ends a whole one."""
    end = file.seek(0, os.SEEK_END)
    last_line = b""
    start = end
    while start > 0 and b"\n" not in last_line:
        block = min(_BLOCK_BYTES, start)
        start -= block
        file.seek(start)
        last_line = file.read(block) + last_line
        if last_line.endswith(b"\n"):
            return
    last_line = last_line.rpartition(b"\n")[2]
    if not last_line:
        return
    if _parse(last_line) is not None:
        _write_all(file, b"\n")
    else:
        file.truncate(end - len(last_line))


def _write_all(file: io.FileIO, data: bytes) -> None:
    """Writes all of the data, which an unbuffered file may take in parts."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
