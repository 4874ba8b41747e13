"""The rows of an evaluation on disk: memory holds where each lies, so that it bears any number."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from exif_jax.io import jsonl
from exif_jax.io.atomic import replacing

ROWS = "rows.jsonl"
Row = dict[str, Any]
RowKey = tuple[str, str, str]


class Shard(NamedTuple):
    """Every `count`-th photo, from the `number`-th on; both from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard(text: str) -> Shard:
    """The shard called "K/N". Raises ValueError: it is not, or K is not from 1 to N."""
    number, count = map(int, text.split("/"))
    if not 1 <= number <= count:
        raise ValueError(f"{text}: the first number must be from 1 to the second")
    return Shard(number, count)


def row_paths(
    output: pathlib.Path, part: Shard | None = None
) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """Where the rows of a run are written in its folder, and which files of rows are read too."""
    if part:
        return output / f"rows.{part.number}-of-{part.count}.jsonl", []
    return output / ROWS, sorted(output.glob("rows.*-of-*.jsonl"))


def row_key(row: Row) -> RowKey:
    """What tells a row from all others."""
    return row["dataset"], row["image"], row["key"]


class RowFiles(Mapping[RowKey, Row]):
    """Rows by `row_key`, in one journal that grows and in others that are only read.

    Of several rows with one key in a file the last counts, and the growing journal's before those
    of other files. Opening it takes damaged and outdated lines out of the growing journal.

    Args:
        path: the journal that `add` appends to; made where it is missing.
        others: journals of other processes, which have ended.

    Raises:
        OSError: a file cannot be read or written.
    """

    def __init__(self, path: pathlib.Path, others: Sequence[pathlib.Path] = ()):
        # By dataset and detector, then by photo: a key of its own for each row takes more memory.
        self._places: dict[tuple[str, str], dict[str, int]] = {}
        self._paths = [path, *others]
        for number, each in enumerate(others, 1):
            self._index(number, each)
        if not path.exists():
            jsonl.append_rows(path, [])
        own: dict[RowKey, int] = {}
        lines = 0
        for key, offset in _row_places(path):
            lines += 1
            if key:
                own.pop(key, None)  # so that the order is that of the rows that count
                own[key] = offset
        if lines != len(own):
            with path.open("rb") as old, replacing(path) as new:
                for offset in own.values():
                    old.seek(offset)
                    new.write(old.readline().rstrip(b"\n") + b"\n")
        del own
        self._index(0, path)
        self._files = [each.open("rb") for each in self._paths]

    def add(self, row: Row) -> None:
        """Appends a row. Raises OSError."""
        jsonl.append_rows(self._paths[0], [row])
        end = os.path.getsize(self._paths[0])
        self._note(row_key(row), 0, end - len(jsonl.encode_row(row)))

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            file.close()

    def __getitem__(self, key: RowKey) -> Row:
        dataset, image, detector = key
        place = self._places[dataset, detector][image]
        file = self._files[place % len(self._paths)]
        file.seek(place // len(self._paths))
        return json.loads(file.readline())

    def __iter__(self) -> Iterator[RowKey]:
        for (dataset, detector), images in self._places.items():
            yield from ((dataset, image, detector) for image in images)

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def _index(self, number: int, path: pathlib.Path) -> None:
        for key, offset in _row_places(path):
            if key:
                self._note(key, number, offset)

    def _note(self, key: RowKey, number: int, offset: int) -> None:
        dataset, image, detector = key
        images = self._places.setdefault((dataset, detector), {})
        images[image] = offset * len(self._paths) + number


def _row_places(path: pathlib.Path) -> Iterator[tuple[RowKey | None, int]]:
    """The key of each line of a journal, None of one that is no row, and where it begins."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            key = None
            with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
                names = row_key(json.loads(line))
                key = names if all(isinstance(name, str) for name in names) else None
            yield key, offset
            offset += len(line)


@contextlib.contextmanager
def open_rows(path: pathlib.Path, others: Sequence[pathlib.Path] = ()) -> Iterator[RowFiles]:
    """`RowFiles`, closed at the end."""
    rows = RowFiles(path, others)
    try:
        yield rows
    finally:
        rows.close()
