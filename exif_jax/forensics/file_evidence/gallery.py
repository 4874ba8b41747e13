"""What camera files look like, counted by make and model: it travels with the weights.

It holds numbers alone: tables, segments, sizes and the like, and how many photos have each. A
photo that was counted is known by its hash and judged without itself and its source.
"""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from exif_jax.io.errors import ExifJaxError

SHIPPED = pathlib.Path(__file__).parents[2] / "weights" / "pretrained" / "camera_files.json"
VERSION = 1


class GalleryError(ExifJaxError, ValueError):
    """A gallery that cannot be read; the message says why and what to do."""


class Record(NamedTuple):
    """What is counted of one file.

    Attributes:
      make: As `make_key` has it.
      model: As `model_key` has it.
      values: Field -> value as text; fields that the file does not show are left out.
      tables: Luma and chroma table, row by row.
      member: The first 16 digits of the file's SHA-256.
    """

    make: str
    model: str
    values: Mapping[str, str]
    tables: tuple[tuple[int, ...], ...]
    member: str


class Tally:
    """How many photos have which value, and from how many sources they came.

    Photos of one source are one camera's with one firmware, or went through one pair of hands:
    what all of them have says little of other photos by the model.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]] | None = None):
        self.counts = counts or {}  # value -> source -> photos

    def __getitem__(self, value: str) -> int:
        return sum(self.counts.get(value, {}).values())

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def total(self) -> int:
        """Photos."""
        return sum(map(self.__getitem__, self.counts))

    def num_sources(self) -> int:
        """Sources."""
        return len({source for sources in self.counts.values() for source in sources})

    def seen_in_one_source(self) -> int:
        """Values that came from one source alone."""
        return sum(len(sources) == 1 for sources in self.counts.values())

    def without(self, source: str) -> Tally:
        """The tally less all photos of a source."""
        kept = {
            value: {s: n for s, n in sources.items() if s != source}
            for value, sources in self.counts.items()
        }
        return Tally({value: sources for value, sources in kept.items() if sources})


NOTHING = Tally()
Counts = Mapping[str, Tally]  # by field


class Known(NamedTuple):
    """What the gallery knows of the camera that a file claims, without the file's own source.

    Attributes:
      model: Counts of the model.
      make: Counts of all models of the make.
      num_models: How many models of the make there are.
      others: Make -> photos that have the file's own tables, of other makes.
      other_sources: From how many sources those photos came.
      other_programs: Programs that the EXIF of cameras names which have the file's own tables, of
        other makes.
      tables: Of the model, each with how many photos have it, the most frequent first.
    """

    model: Counts
    make: Counts
    num_models: int
    others: Mapping[str, int]
    other_sources: int
    other_programs: frozenset[str]
    tables: tuple[tuple[tuple[tuple[int, ...], ...], int], ...]


class Gallery(NamedTuple):
    """Counts of camera files.

    Attributes:
      cameras: (make, model) -> counts.
      tables: Identifier of a set of tables -> the tables.
      members: Of the photos that were counted -> source.
      false_alarms: Rule -> at how many of how many camera files it went off, each judged without
        its own source; {} where that was not measured.
    """

    cameras: Mapping[tuple[str, str], Counts]
    tables: Mapping[str, tuple[tuple[int, ...], ...]]
    members: Mapping[str, str]
    false_alarms: Mapping[str, tuple[int, int]]

    def known(self, record: Record) -> Known:
        """What is known of the camera that a record claims.

        A photo that was counted is judged without itself and without all others of its source.
        """
        source = self.members.get(record.member, "")
        model = _without(self.cameras.get((record.make, record.model), {}), source)
        parts, others = [], {}
        sources: set[str] = set()
        programs: set[str] = set()
        own = record.values.get("tables", "")
        for (make, _), counts in self.cameras.items():
            if make == record.make:
                parts.append(_without(counts, source))
            elif n := (theirs := counts.get("tables", NOTHING).without(source))[own]:
                others[make] = others.get(make, 0) + n
                sources |= theirs.counts[own].keys()
                programs |= counts.get("program", NOTHING).without(source).counts.keys()
        counted = model.get("tables", NOTHING)
        order = sorted(counted, key=lambda name: -counted[name])
        return Known(
            model,
            _sum(parts),
            sum(1 for part in parts if part.get("tables", NOTHING).total()),
            others,
            len(sources),
            frozenset(programs),
            tuple((self.tables[name], counted[name]) for name in order),
        )


def _without(counts: Counts, source: str) -> Counts:
    return {field: tally.without(source) for field, tally in counts.items()} if source else counts


def _sum(parts: Iterable[Counts]) -> Counts:
    total: dict[str, dict[str, dict[str, int]]] = {}
    for counts in parts:
        for field, tally in counts.items():
            values = total.setdefault(field, {})
            for value, sources in tally.counts.items():
                mine = values.setdefault(value, {})
                for source, n in sources.items():
                    mine[source] = mine.get(source, 0) + n
    return {field: Tally(values) for field, values in total.items()}


# --- names ----------------------------------------------------------------------------------------


def make_key(make: str) -> str:
    """A maker as makes are compared: "NIKON CORPORATION" and "Nikon" are one."""
    words = re.findall(r"[a-z0-9]+", make.lower())
    return words[0] if words else ""


def model_key(make: str, model: str) -> str:
    """A model as models are compared: without its maker's name, in small letters."""
    words = re.findall(r"[a-z0-9+]+", model.lower())
    return " ".join(words[1:] if len(words) > 1 and words[0] == make_key(make) else words)


def program_key(software: str) -> str:
    """The program that EXIF's Software names, as programs are compared: "HDR+ 1.0.5" is "hdr+".

    "" where it has no name but a version alone ("Ver.1.00"), as cameras' own programs have it.
    """
    name = " ".join(re.findall(r"[a-z+]+", re.split(r"[0-9]", software.lower())[0]))
    named = len(name) >= 4 and not re.match(r"(ver|version|firmware)\b", name)
    return name[:40] if named else ""


def tables_id(tables: Iterable[Iterable[int]]) -> str:
    """A short name for a set of tables: a hash of their numbers."""
    text = ";".join(" ".join(map(str, table)) for table in tables)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- files ----------------------------------------------------------------------------------------


def count(records: Iterable[tuple[Record, str]]) -> Gallery:
    """Counts records, each with its source; each file once."""
    cameras: dict[tuple[str, str], dict[str, dict[str, dict[str, int]]]] = {}
    tables, members = {}, {}
    for record, source in records:
        if record.member in members or not record.make or not record.model:
            continue
        members[record.member] = source
        camera = cameras.setdefault((record.make, record.model), {})
        for field, value in record.values.items():
            sources = camera.setdefault(field, {}).setdefault(value, {})
            sources[source] = sources.get(source, 0) + 1
        if "tables" in record.values:
            tables[record.values["tables"]] = record.tables
    tallied = {
        key: {field: Tally(values) for field, values in camera.items()}
        for key, camera in cameras.items()
    }
    return Gallery(tallied, tables, members, {})


def to_json(gallery: Gallery) -> bytes:
    """Returns a gallery as JSON, a line for each camera and each set of tables."""
    cameras = ",\n".join(
        json.dumps(
            {
                "make": make,
                "model": model,
                "counts": {field: dict(sorted(t.counts.items())) for field, t in counts.items()},
            }
        )
        for (make, model), counts in sorted(gallery.cameras.items())
    )
    tables = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(list(map(list, numbers)))}"
        for name, numbers in sorted(gallery.tables.items())
    )
    members = json.dumps(dict(sorted(gallery.members.items())))
    alarms = json.dumps({rule: list(counts) for rule, counts in gallery.false_alarms.items()})
    text = (
        f'{{"version": {VERSION},\n"cameras": [\n{cameras}\n],\n"tables": {{\n{tables}\n}},\n'
        f'"members": {members},\n"false_alarms": {alarms}}}\n'
    )
    return text.encode()


def from_json(data: bytes, name: str) -> Gallery:
    """Reads what `to_json` wrote.

    Args:
      data: The bytes.
      name: How messages call them.

    Raises:
      GalleryError: They are no gallery.
    """
    try:
        content = json.loads(data)
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}")
        cameras = {
            (str(row["make"]), str(row["model"])): {
                str(field): Tally(
                    {
                        str(value): {str(source): int(n) for source, n in sources.items()}
                        for value, sources in values.items()
                    }
                )
                for field, values in row["counts"].items()
            }
            for row in content["cameras"]
        }
        tables = {
            str(k): tuple(tuple(int(x) for x in table) for table in v)
            for k, v in content["tables"].items()
        }
        if any(len(table) != 64 for v in tables.values() for table in v):
            raise ValueError("a table without 64 numbers")
        if any(name not in tables for c in cameras.values() for name in c.get("tables", NOTHING)):
            raise ValueError("tables that are not listed")
        members = {str(k): str(v) for k, v in content["members"].items()}
        alarms = {str(k): (int(a), int(n)) for k, (a, n) in content["false_alarms"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise GalleryError(
            f"{name}: no gallery of camera files ({type(e).__name__}: {e}); "
            "make one with python -m exif_jax.camera_files"
        ) from None
    return Gallery(cameras, tables, members, alarms)


@functools.cache
def shipped() -> Gallery:
    """The gallery that ships. Raises GalleryError where it is damaged."""
    try:
        return from_json(SHIPPED.read_bytes(), str(SHIPPED))
    except OSError as e:
        raise GalleryError(f"{SHIPPED}: {e.strerror}; install the package anew") from None
