"""Where photos come from: folders and buckets with or without side-cars, and img2dataset's shards.

- A folder, or any URL of a folder that fsspec can list (gs://, s3://). Beside `photo.jpg` there may
  be `photo.jpg.json` or `photo.json`: the JSON of exiftool, of Flickr's getExif or of the paper's
  released preparation. A `manifest.jsonl` at the top, as `data_prep.download` writes it, may say of
  a "file" its "photo" (of which it is a crop), "exif", "owner" and "licence".
- Shards of img2dataset and LAION (https://github.com/rom1504/img2dataset): a pattern that ends in
  .tar. They are read as streams.

`list_chunks` finds out what there is; `read_chunk` reads, one photo at a time, on any machine.
"""

from __future__ import annotations

import fnmatch
import json
import os
import posixpath
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import FilesError, file_system, is_url
from exif_jax.reading.exif import checked, from_exiftool
from exif_jax.reading.exif_readers import from_exifread, from_flickr, from_released
from exif_jax.reading.photo import EXTENSIONS, MAX_BYTES, PhotoError, read_bytes

MAX_JSON_BYTES = 4 * 2**20
MANIFEST = "manifest.jsonl"


class SourceError(ExifJaxError):
    """A source that cannot be read at all; the message names it, the cause and the cure."""


class RawPhoto(NamedTuple):
    """A photo as its source has it.

    Attributes:
      id: unique within the source: a path relative to it, or the key of a shard.
      data: the file's bytes; empty where `problem` says why there are none.
      exif: canonical EXIF that the source keeps beside the file, for a file without its own.
      photo: the name of the photo that this is a crop of; "" for a photo of its own.
      owner: who took it, in any form that tells one from the other; "" where it is not known.
      licence: as the source names it; "" where it does not.
      problem: (reason, message) of a file that cannot be used.
    """

    id: str
    data: bytes
    exif: Mapping[str, str] | None = None
    photo: str = ""
    owner: str = ""
    licence: str = ""
    problem: tuple[str, str] | None = None


class PhotoFile(NamedTuple):
    """A file of a folder and what lies beside it; `facts` is the manifest's line, or b"".

    `stamp` changes when the file does; `size` is in bytes, -1 where it is not known.
    """

    file: str
    sidecar: str
    facts: bytes
    size: int
    stamp: str


class Chunk(NamedTuple):
    """Files of one folder, or one tar shard (`tar`), that are read by one worker."""

    root: str
    files: tuple[PhotoFile, ...]
    tar: bool = False


# --- folders --------------------------------------------------------------------------------------


def list_chunks(source: str, photos_per_chunk: int = 32) -> tuple[list[Chunk], int]:
    """What a source holds, in an order that no file system decides.

    Args:
      source: a folder, its URL, or a pattern of shards like "laion/*.tar".
      photos_per_chunk: of a folder; a tar shard is one chunk.

    Returns:
      The chunks, and the number of files that are no photos by their names.

    Raises:
      SourceError: it cannot be listed, or holds no photo.
    """
    if not is_url(source):
        source = os.path.abspath(source)  # wherever a worker runs
    if source.endswith(".tar"):
        root, shards = _list_shards(source)
        return [Chunk(root, (file,), True) for file in shards], 0
    files, others = _list_photos(source)
    if not files:
        raise SourceError(
            f"{source}: no photos ({others} files with other endings than "
            f"{' '.join(sorted(EXTENSIONS))}); give a folder of camera photos"
        )
    starts = range(0, len(files), photos_per_chunk)
    return [Chunk(source, tuple(files[k : k + photos_per_chunk])) for k in starts], others


def _walk(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every file below a folder: its path relative to it, and what fsspec says of it."""

    def tell(error: OSError) -> None:
        where = str(error.filename or "")
        if not where or where.rstrip("/") == top.rstrip("/"):
            raise error
        print(f"left out: {where!a}: {error.strerror}", file=sys.stderr)

    try:
        files, top = file_system(source)
        if not is_url(source) and not os.path.isdir(source):
            os.listdir(source)  # for the system's own words
        for folder, _, found in files.walk(top, detail=True, on_error=tell):
            for name, info in found.items():
                if name:
                    yield f"{folder}/{name}"[len(top) :].lstrip("/"), info
    except (OSError, ValueError, FilesError) as e:
        why = getattr(e, "strerror", None) or e
        raise SourceError(f"{source}: {why}; give a folder of photos that can be read") from e


_MARKS = ("size", "etag", "ETag", "md5Hash", "crc32c", "mtime", "LastModified")


def _stamp(file: str, info: Mapping[str, Any], *beside: Mapping[str, Any]) -> PhotoFile:
    size = info.get("size")
    marks = [[facts.get(k) for k in _MARKS] for facts in (info, *beside)]
    return PhotoFile(file, "", b"", size if isinstance(size, int) else -1, str(marks))


def _list_photos(source: str) -> tuple[list[PhotoFile], int]:
    found = dict(_walk(source))
    photos = [name for name in found if posixpath.splitext(name)[1].lower() in EXTENSIONS]
    rows = _read_manifest(source) if MANIFEST in found else {}
    files = []
    for name in sorted(photos, key=os.fsencode):
        beside = (f"{name}.json", f"{posixpath.splitext(name)[0]}.json")
        sidecar = next((path for path in beside if path in found), "")
        stamp = _stamp(name, found[name], found.get(sidecar, {}))
        files.append(stamp._replace(sidecar=sidecar, facts=rows.get(name, b"")))
    return files, len(found) - len(photos)


def _read_manifest(source: str) -> dict[str, bytes]:
    """File -> the part of its line that matters here, as JSON."""
    files, top = file_system(source)
    where = f"{top.rstrip('/')}/{MANIFEST}"
    rows: dict[str, bytes] = {}
    number = 0
    try:
        with files.open(where, "rb") as lines:
            for line in lines:
                number += 1
                row = json.loads(line) if line.strip() else {}
                if isinstance(row.get("file"), str):
                    kept = {k: row[k] for k in ("photo", "exif", "owner", "licence") if row.get(k)}
                    rows[row["file"]] = json.dumps(kept).encode() if kept else b""
    except OSError as e:
        raise SourceError(f"{where}: {e.strerror or e}; make it readable or move it away") from e
    except (ValueError, AttributeError, RecursionError) as e:
        raise SourceError(
            f"{where}, line {number}: no JSON object; mend the line or move the file away"
        ) from e
    return rows


def read_chunk(chunk: Chunk) -> Iterator[RawPhoto]:
    """The photos of a chunk, in order; what cannot be read comes with its `problem`."""
    files, top = file_system(chunk.root)
    for file in chunk.files:
        path = f"{top.rstrip('/')}/{file.file}"
        if chunk.tar:
            name = file.file.removesuffix(".tar")
            try:
                with files.open(path, "rb") as stream:
                    yield from _shard(stream, name)
                # A shard that ends between two members reads like a whole one.
                if any(files.cat_file(path, start=-512)):
                    yield _problem(name, "shard cut short", "the mark of its end is missing")
            except OSError as e:
                yield _problem(name, "shard cannot be read", str(e.strerror or e))
            continue
        try:
            data = _read(files, path, is_url(chunk.root), MAX_BYTES)
        except (PhotoError, OSError) as e:
            cause = e.cause if isinstance(e, PhotoError) else str(e.strerror or e)
            yield _problem(file.file, "unreadable", cause)
            continue
        facts = _mapping(json.loads(file.facts)) if file.facts else {}
        exif: Mapping[str, str] | None = checked(facts.get("exif")) or None
        if file.sidecar:
            try:
                beside = f"{top.rstrip('/')}/{file.sidecar}"
                exif = sidecar_exif(_read(files, beside, is_url(chunk.root), MAX_JSON_BYTES))
            except (PhotoError, OSError):
                exif = None
        told = {k: str(facts.get(k) or "")[:200] for k in ("photo", "owner", "licence")}
        yield RawPhoto(file.file, data, exif, told["photo"], told["owner"], told["licence"])


def _problem(name: str, reason: str, message: str) -> RawPhoto:
    return RawPhoto(name, b"", problem=(reason, message))


def _read(files: Any, path: str, remote: bool, most: int) -> bytes:
    if not remote:
        return read_bytes(path, most)
    size = files.size(path)
    if size is not None and size > most:
        raise OSError(f"{size:,} bytes, more than {most:,}")
    return files.cat_file(path)


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


# --- img2dataset ----------------------------------------------------------------------------------


def _pattern(source: str) -> str:
    """The part of a pattern from the folder with the first wildcard on."""
    folder, _, name = source.rpartition("/")
    while re.search(r"[*?\[]", folder):
        folder, _, part = folder.rpartition("/")
        name = f"{part}/{name}"
    return name


def _list_shards(source: str) -> tuple[str, list[PhotoFile]]:
    """The folder above the first wildcard, and the shards by their paths in it."""
    pattern = _pattern(source)
    root = source[: -len(pattern)]
    matches = re.compile(fnmatch.translate(pattern)).match
    found = [
        _stamp(name, info)
        for name, info in _walk(root)
        if matches(name) and name.count("/") == pattern.count("/")
    ]
    if not found:
        raise SourceError(f"{source}: no shard has such a name")
    return root, sorted(found)


def _shard(stream: IO[bytes], shard: str) -> Iterator[RawPhoto]:
    """A shard's photos; members of one key lie together.

    Links, devices and names that lead elsewhere are refused one by one; a member larger than a
    photo may be ends its shard, which is not read through.
    """
    key, parts, told = "", {}, f"{shard}/"
    keys: set[str] = set()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                told = f"{shard}/{member.name[:200]}"
                if not member.isfile() or not _harmless(member.name):
                    if not member.isdir():
                        yield _problem(told, "member refused", "no file, or a name outside")
                    continue
                folder, name = posixpath.split(member.name)
                stem, _, suffix = name.partition(".")
                stem, suffix = posixpath.join(folder, stem), f".{suffix.lower()}"
                if suffix not in EXTENSIONS and suffix != ".json":
                    continue
                if member.size > (MAX_JSON_BYTES if suffix == ".json" else MAX_BYTES):
                    why = f"{member.size:,} bytes; the rest of the shard is not read"
                    yield _problem(told, "member too large", why)
                    break
                if stem != key:
                    yield from _sample(shard, key, parts)
                    key, parts = stem, {}
                    if stem in keys:
                        yield _problem(told, "member refused", "a name that was there before")
                        key = ""
                        continue
                    keys.add(stem)
                file = archive.extractfile(member)
                data = file.read() if file else b""
                if len(data) != member.size:
                    return  # what is there of the last member is not used
                parts[".json" if suffix == ".json" else "photo"] = data
    except (tarfile.TarError, EOFError) as e:
        yield _problem(told, "shard damaged", str(e))
    yield from _sample(shard, key, parts)


def _harmless(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def _sample(shard: str, key: str, parts: dict[str, bytes]) -> Iterator[RawPhoto]:
    if not parts:
        return
    name = f"{shard}/{key}"
    if "photo" not in parts:
        yield _problem(name, "no photo beside the JSON", "a .json without an image of its name")
        return
    exif: dict[str, str] | None = None
    licence = ""
    try:
        facts = _mapping(json.loads(parts.get(".json", b"{}")))
        told = facts.get("exif")
        # img2dataset writes the tags as a JSON text inside the JSON, or null.
        exif = from_exifread(_mapping(json.loads(told))) if isinstance(told, str) else None
        licence = str(facts.get("license") or facts.get("licence") or "")[:200]
    except (ValueError, RecursionError):
        pass  # the file itself may still say what its camera was
    yield RawPhoto(name, parts["photo"], exif or None, licence=licence)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def count_files(chunks: Sequence[Chunk]) -> int:
    """The files of all chunks: photos of folders, or shards."""
    return sum(len(chunk.files) for chunk in chunks)
