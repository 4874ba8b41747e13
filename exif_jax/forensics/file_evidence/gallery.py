"""What camera files look like, counted by make and model: it travels with the weights.

It holds numbers alone: tables, segments, sizes and the like, and how many photos have each. A
photo that was counted is known by its hash and judged without itself.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from exif_jax.io.errors import ExifJaxError

Counter = collections.Counter
SHIPPED = pathlib.Path(__file__).parents[2] / "weights" / "pretrained" / "camera_files.json"
VERSION = 1
# What is counted of each file, by name -> value as text. Crops have the first two only.
FIELDS = (
    *("tables", "sampling", "order", "jfif", "adobe", "icc", "thumbnail", "maker note"),
    *("size", "crop factor", "standard"),
)


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


class Known(NamedTuple):
    """What the gallery knows of the camera that a file claims, without that file.

    Attributes:
      model: Field -> how many photos of the model have which value.
      make: The same of all models of the make.
      num_models: How many models of the make there are.
      everything: The same of all cameras.
      tables: Of the model, each with how many photos have it, the most frequent first.
    """

    model: Mapping[str, Counter[str]]
    make: Mapping[str, Counter[str]]
    num_models: int
    everything: Mapping[str, Counter[str]]
    tables: tuple[tuple[tuple[tuple[int, ...], ...], int], ...]


Counts = Mapping[str, Counter[str]]  # field -> value -> number of photos


class Gallery(NamedTuple):
    """Counts of camera files.

    Attributes:
      cameras: (make, model) -> counts.
      total: Counts of all cameras together.
      tables: Identifier of a set of tables -> the tables.
      members: Of the photos that were counted.
      false_alarms: Rule -> at how many of how many camera files it went off, each judged without
        itself; {} where that was not measured.
    """

    cameras: Mapping[tuple[str, str], Counts]
    total: Counts
    tables: Mapping[str, tuple[tuple[int, ...], ...]]
    members: frozenset[str]
    false_alarms: Mapping[str, tuple[int, int]]

    def known(self, record: Record) -> Known:
        """What is known of the camera that a record claims; without the record if it is in."""
        own = record.values if record.member in self.members else {}
        model = _without(self.cameras.get((record.make, record.model), {}), own)
        keys = [key for key in self.cameras if key[0] == record.make and key[1] != record.model]
        counted = model.get("tables", Counter())
        return Known(
            model,
            _sum([model, *(self.cameras[key] for key in keys)]),
            len(keys) + bool(counted),
            _without(self.total, own),
            tuple((self.tables[name], n) for name, n in counted.most_common() if n > 0),
        )


def _sum(parts: Iterable[Counts]) -> dict[str, Counter[str]]:
    total = {field: Counter() for field in FIELDS}
    for counts in parts:
        for field, values in counts.items():
            total[field].update(values)
    return total


def _without(counts: Counts, own: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Counts less one photo's."""
    return {
        field: values - Counter([own[field]] if field in own else [])
        for field, values in counts.items()
    }


# --- names ----------------------------------------------------------------------------------------


def make_key(make: str) -> str:
    """A maker as makes are compared: "NIKON CORPORATION" and "Nikon" are one."""
    words = re.findall(r"[a-z0-9]+", make.lower())
    return words[0] if words else ""


def model_key(make: str, model: str) -> str:
    """A model as models are compared: without its maker's name, in small letters."""
    words = re.findall(r"[a-z0-9+]+", model.lower())
    return " ".join(words[1:] if len(words) > 1 and words[0] == make_key(make) else words)


def tables_id(tables: Iterable[Iterable[int]]) -> str:
    """A short name for a set of tables: a hash of their numbers."""
    text = ";".join(" ".join(map(str, table)) for table in tables)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- files ----------------------------------------------------------------------------------------


def count(records: Iterable[Record]) -> Gallery:
    """Counts records, each file once."""
    cameras: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    tables, members = {}, set()
    for record in records:
        if record.member in members or not record.make or not record.model:
            continue
        members.add(record.member)
        camera = cameras.setdefault((record.make, record.model), {})
        for field, value in record.values.items():
            camera.setdefault(field, Counter())[value] += 1
        if "tables" in record.values:
            tables[record.values["tables"]] = record.tables
    return Gallery(cameras, _sum(cameras.values()), tables, frozenset(members), {})


def to_json(gallery: Gallery) -> bytes:
    """Returns a gallery as JSON, a line for each camera and each set of tables."""
    cameras = [
        {"make": make, "model": model, "counts": {f: dict(sorted(c.items())) for f, c in v.items()}}
        for (make, model), v in sorted(gallery.cameras.items())
    ]
    lines = [",\n".join(json.dumps(camera) for camera in cameras)]
    tables = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(list(map(list, numbers)))}"
        for name, numbers in sorted(gallery.tables.items())
    )
    members = json.dumps(sorted(gallery.members))
    text = (
        f'{{"version": {VERSION},\n"cameras": [\n{lines[0]}\n],\n'
        f'"tables": {{\n{tables}\n}},\n"members": {members},\n'
        f'"false_alarms": {json.dumps({k: list(v) for k, v in gallery.false_alarms.items()})}}}\n'
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
                field: Counter({str(v): int(n) for v, n in row["counts"][field].items()})
                for field in FIELDS
                if field in row["counts"]
            }
            for row in content["cameras"]
        }
        tables = {
            str(k): tuple(tuple(int(x) for x in table) for table in v)
            for k, v in content["tables"].items()
        }
        if any(len(table) != 64 for v in tables.values() for table in v):
            raise ValueError("a table without 64 numbers")
        if any(name not in tables for c in cameras.values() for name in c.get("tables", ())):
            raise ValueError("tables that are not listed")
        members = frozenset(map(str, content["members"]))
        alarms = {str(k): (int(a), int(n)) for k, (a, n) in content["false_alarms"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise GalleryError(
            f"{name}: no gallery of camera files ({type(e).__name__}: {e}); "
            "make one with python -m exif_jax.camera_files"
        ) from None
    return Gallery(cameras, _sum(cameras.values()), tables, members, alarms)


@functools.cache
def shipped() -> Gallery:
    """The gallery that ships. Raises GalleryError where it is damaged."""
    try:
        return from_json(SHIPPED.read_bytes(), str(SHIPPED))
    except OSError as e:
        raise GalleryError(f"{SHIPPED}: {e.strerror}; install the package anew") from None
