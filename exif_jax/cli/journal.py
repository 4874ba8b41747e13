"""The journal of an output folder: which photo has which results there, whoever wrote them.

`results.jsonl` has one row for each photo and command. Runs that share a folder take turns at it,
and a photo's results have a name of their own: those of another photo are never written over.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Sequence

from exif_jax.cli.inputs import PhotoInput, path_as_text, photo_identity
from exif_jax.io import jsonl
from exif_jax.io.jsonl import Row
from exif_jax.io.locks import take_turns
from exif_jax.reports import outputs

JOURNAL = "results.jsonl"
# Names that runs at work have chosen, so that two runs choose different ones. A killed run leaves
# them to the next one, which goes on under the same names.
_RESERVED = ".exif-jax-names.jsonl"
_LOCK = ".exif-jax-journal.lock"


class Journal:
    """The rows about a run's photos, in a folder that other runs may share.

    Args:
      folder: The output folder, which exists.
      command: Whose results the run writes, like "localize".
      photos: The run's photos.

    Attributes:
      names: One name for each photo's results.
      former_rows: Of each photo the row of an earlier run of this command, or None.

    Raises:
      OSError: The journal cannot be read or written.
    """

    def __init__(self, folder: pathlib.Path, command: str, photos: Sequence[PhotoInput]):
        self._folder, self._command = folder, command
        self._identities = [photo_identity(photo) for photo in photos]
        with take_turns(folder / _LOCK):
            rows = list(_latest_rows(folder).values())
            # Whole rows only, each photo's last; this also shows whether the disk takes any.
            jsonl.rewrite(folder / JOURNAL, rows)
            self.names, new_names = self._choose_names(photos, rows)
            if new_names:
                jsonl.append_rows(folder / _RESERVED, new_names)
        matches = _Matches([row for row in rows if row["command"] == command])
        self.former_rows = [
            matches.row_of(photo, identity)
            for photo, identity in zip(photos, self._identities, strict=True)
        ]
        for index, row in enumerate(self.former_rows):
            if row is not None:  # a moved photo's row is replaced, not doubled
                self._identities[index] = row["photo"]

    def _choose_names(
        self, photos: Sequence[PhotoInput], rows: Sequence[Row]
    ) -> tuple[list[str], list[Row]]:
        """Returns the photos' names, and the rows that reserve those that are new."""
        matches = _Matches(rows)
        reserved = {
            row["photo"]: row["name"]
            for row in jsonl.read_rows(self._folder / _RESERVED)
            if _has_safe_name(row) and isinstance(row.get("photo"), str)
        }
        known: list[str | None] = []
        for photo, identity in zip(photos, self._identities, strict=True):
            row = matches.row_of(photo, identity)
            known.append(row["name"] if row else reserved.get(identity))
        taken = {row["name"].casefold() for row in rows}
        taken |= {name.casefold() for name in reserved.values()}
        taken |= outputs.names_in(self._folder)
        unnamed = [photo.path for photo, name in zip(photos, known, strict=True) if name is None]
        chosen = iter(outputs.output_names(unnamed, taken))
        names = [name if name is not None else next(chosen) for name in known]
        new_names = [
            {"photo": identity, "name": name}
            for identity, name, former in zip(self._identities, names, known, strict=True)
            if former is None
        ]
        return names, new_names

    @contextlib.contextmanager
    def working_on(self, name: str):
        """Keeps other runs off the files of one photo while this run writes them."""
        with take_turns(self._folder / f".exif-jax-{name}.lock"):
            yield

    def add(self, index: int, photo: PhotoInput, row: Row) -> None:
        """Appends what became of a photo.

        Args:
          index: The photo's place in the run.
          photo: The photo.
          row: What to say besides its file, name and command.

        Raises:
          OSError: The journal cannot be written.
        """
        whole = file_stamp(photo) | {"photo": self._identities[index], "command": self._command}
        whole |= {"name": self.names[index]} | row
        with take_turns(self._folder / _LOCK):
            jsonl.append_rows(self._folder / JOURNAL, [whole])

    def close(self) -> None:
        """Drops rows that later ones replace, and reservations of names that rows hold by now."""
        # On a full disk all of that may stay: of several rows the last counts anyway.
        with contextlib.suppress(OSError), take_turns(self._folder / _LOCK):
            latest = _latest_rows(self._folder)
            if len(latest) < sum(1 for _ in jsonl.read_rows(self._folder / JOURNAL)):
                jsonl.rewrite(self._folder / JOURNAL, latest.values())
            journalled = {row["photo"] for row in latest.values()}
            reserved = list(jsonl.read_rows(self._folder / _RESERVED))
            rest = [row for row in reserved if row.get("photo") not in journalled]
            if not rest:
                (self._folder / _RESERVED).unlink(missing_ok=True)
            elif len(rest) < len(reserved):
                jsonl.rewrite(self._folder / _RESERVED, rest)


class _Matches:
    """Tells which row is about a photo.

    That is the row of its identity or, where photos were moved to another place together with
    their results, the row of a file of the same given path, size and time.
    """

    def __init__(self, rows: Sequence[Row]):
        self._by_identity = {row["photo"]: row for row in rows}
        self._by_stamp = {_stamp_key(row): row for row in rows if row.get("mtime_ns") is not None}

    def row_of(self, photo: PhotoInput, identity: str) -> Row | None:
        if identity in self._by_identity:
            return self._by_identity[identity]
        return self._by_stamp.get(_stamp_key(file_stamp(photo)))


def file_stamp(photo: PhotoInput) -> Row:
    """What tells, without reading it, whether a file is still the same."""
    stamp: Row = {"file": path_as_text(photo.path), "num_bytes": None, "mtime_ns": None}
    if photo.data is not None:
        return stamp | {"num_bytes": len(photo.data)}
    try:
        status = os.stat(photo.path)
    except (OSError, ValueError):
        return stamp
    return stamp | {"num_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _stamp_key(row: Row) -> tuple:
    return row["file"], row.get("num_bytes"), row["mtime_ns"]


def _latest_rows(folder: pathlib.Path) -> dict[tuple[str, str], Row]:
    """The last row about each photo and command; what is no such row is left out."""
    rows: dict[tuple[str, str], Row] = {}
    for row in jsonl.read_rows(folder / JOURNAL):
        texts = (row.get(key) for key in ("file", "photo", "command", "status"))
        if all(isinstance(text, str) for text in texts) and _has_safe_name(row):
            rows.pop((row["photo"], row["command"]), None)  # the last row comes last
            rows[row["photo"], row["command"]] = row
    return rows


def _has_safe_name(row: Row) -> bool:
    """A name that would lead out of the folder was not written by this module."""
    name = row.get("name")
    return isinstance(name, str) and outputs.output_names([pathlib.PurePath(f"{name}.x")]) == [name]
