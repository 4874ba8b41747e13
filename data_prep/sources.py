"""Where photos come from, one small reader each: bytes, EXIF kept beside them, id and licence.

- `folder`: any folder that fsspec can list (local, gs://, s3://), with or without side-cars: the
  JSON of exiftool, of Flickr's getExif or of the paper's released preparation, in `photo.jpg.json`
  or `photo.json`.
- `tars`: shards of img2dataset and LAION (https://github.com/rom1504/img2dataset), read as streams.

Readers hold one photo at a time. What cannot be used is counted by reason and the rest goes on.
"""

from __future__ import annotations

import collections
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple

import fsspec

from exif_jax.exif import from_exiftool
from exif_jax.exif_readers import from_exifread, from_flickr, from_released
from exif_jax.photo import EXTENSIONS

MAX_PHOTO_BYTES = 512 * 2**20
MAX_JSON_BYTES = 4 * 2**20
Rejects = collections.Counter[str]


class SourceError(Exception):
    """A source that cannot be read at all; the message names it, the cause and the cure."""


class RawPhoto(NamedTuple):
    """A photo as its source has it.

    Attributes:
      id: unique within the source: a path relative to it, or the key of a shard.
      data: the file's bytes.
      exif: canonical EXIF that the source keeps beside the file; None: it is in the file.
      licence: as the source names it; "" where it does not.
    """

    id: str
    data: bytes
    exif: dict[str, str] | None = None
    licence: str = ""


def sidecar_exif(content: bytes) -> dict[str, str] | None:
    """Canonical EXIF of a JSON side-car of any known form; None where it is none of them."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:  # exiftool lists one object a file
        value = value[0]
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("photo"), Mapping) or value.get("stat") == "fail":
        return from_flickr(value)
    if isinstance(value.get("EXIF", value.get("exif")), Mapping):
        return from_released(value)
    return from_exiftool(value) if "SourceFile" in value else None


def folder(url: str, rejects: Rejects) -> Iterator[RawPhoto]:
    """Every photo of a folder and its subfolders, in the order of their names.

    Args:
      url: a path, or a URL of any file system that fsspec knows.
      rejects: counts what is left out, by reason.

    Raises:
      SourceError: there is no such folder, or it holds no photo.
    """
    try:
        files, top = fsspec.core.url_to_fs(url)
        names = sorted(files.find(top))
    except (OSError, ValueError, ImportError) as e:
        raise SourceError(f"{url}: cannot be listed ({e})") from e
    known = set(names)
    photos = [name for name in names if posixpath.splitext(name)[1].lower() in EXTENSIONS]
    if not photos:
        raise SourceError(
            f"{url}: no photos; looked for names that end in {', '.join(sorted(EXTENSIONS))}"
        )
    for name in photos:
        relative = name[len(top) :].lstrip("/")
        try:
            if files.size(name) > MAX_PHOTO_BYTES:
                rejects["too large"] += 1
                continue
            data = files.cat_file(name)
            beside = (f"{name}.json", f"{posixpath.splitext(name)[0]}.json")
            sidecar = next((path for path in beside if path in known), None)
            exif = None
            if sidecar:
                small = files.size(sidecar) <= MAX_JSON_BYTES
                exif = sidecar_exif(files.cat_file(sidecar)) if small else None
                if exif is None:
                    rejects["side-car not understood"] += 1
        except OSError:
            rejects["cannot be read"] += 1
            continue
        yield RawPhoto(relative, data, exif)


# --- img2dataset ----------------------------------------------------------------------------------


def tars(pattern: str, rejects: Rejects) -> Iterator[RawPhoto]:
    """The photos of img2dataset's shards, shard by shard in the order of their names.

    Links, devices and names that lead elsewhere are refused one by one; a member larger than a
    photo may be ends its shard, which is not read through.

    Args:
      pattern: a path or URL with wildcards, like "laion/*.tar".
      rejects: counts what is left out, by reason.

    Raises:
      SourceError: no shard matches.
    """
    try:
        files, top = fsspec.core.url_to_fs(pattern)
        names = sorted(str(name) for name in files.glob(top))
    except (OSError, ValueError, ImportError) as e:
        raise SourceError(f"{pattern}: cannot be listed ({e})") from e
    if not names:
        raise SourceError(f"{pattern}: no shard has such a name")
    for name in names:
        try:
            with files.open(name, "rb") as stream:
                yield from _shard(stream, posixpath.basename(name), rejects)
        except OSError:
            rejects["shard cannot be read"] += 1


def _shard(stream: IO[bytes], name: str, rejects: Rejects) -> Iterator[RawPhoto]:
    """A shard's photos. Members of one key lie together."""
    key, parts = "", {}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isfile() or not _harmless(member.name):
                    rejects["member refused"] += not member.isdir()
                    continue
                stem, _, suffix = posixpath.basename(member.name).partition(".")
                suffix = f".{suffix.lower()}"
                if suffix not in EXTENSIONS and suffix != ".json":
                    continue
                if member.size > (MAX_JSON_BYTES if suffix == ".json" else MAX_PHOTO_BYTES):
                    rejects["member too large: shard left"] += 1
                    break
                if stem != key:
                    yield from _sample(name, key, parts, rejects)
                    key, parts = stem, {}
                file = archive.extractfile(member)
                data = file.read() if file else b""
                if len(data) != member.size:
                    rejects["shard cut short"] += 1
                    return
                parts[".json" if suffix == ".json" else "photo"] = data
    except (tarfile.TarError, EOFError):
        rejects["shard damaged"] += 1
    yield from _sample(name, key, parts, rejects)


def _harmless(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def _sample(shard: str, key: str, parts: dict[str, bytes], rejects: Rejects) -> Iterator[RawPhoto]:
    if not parts:
        return
    if "photo" not in parts:
        rejects["no photo beside the JSON"] += 1
        return
    exif: dict[str, str] | None = None
    licence = ""
    if ".json" in parts:
        try:
            facts = json.loads(parts[".json"])
            told = facts.get("exif")
            # img2dataset writes the tags as a JSON text inside the JSON, or null.
            exif = from_exifread(_mapping(json.loads(told))) if isinstance(told, str) else None
            licence = str(facts.get("license") or facts.get("licence") or "")[:200]
        except (ValueError, AttributeError, RecursionError):
            rejects["JSON not understood"] += 1
    stem = re.sub(r"\.tar$", "", shard)
    yield RawPhoto(f"{stem}/{key}", parts["photo"], exif or None, licence)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
