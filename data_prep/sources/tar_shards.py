"""Shards of img2dataset and LAION (https://github.com/rom1504/img2dataset), read as streams.

They are named by a pattern that ends in .tar.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterator
from typing import IO

from data_prep.sources.file_listing import match_files, size, stamp
from data_prep.sources.raw_photo import (
    MAX_JSON_BYTES,
    Chunk,
    RawPhoto,
    SourceError,
    SourceFile,
    unusable,
)
from data_prep.sources.sidecars import img2dataset_metadata
from exif_jax.io.files import file_system
from exif_jax.reading.photo import EXTENSIONS, MAX_BYTES
from exif_jax.reading.walk import CURES, WalkReport

# Of pictures that are not read, or only with a package that may be missing. Other members of a
# shard, such as captions, are no photos, and their number says nothing.
_OTHER_PICTURES = frozenset((*CURES, ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jxl"))


def list_shards(source: str, report: WalkReport) -> tuple[str, list[SourceFile]]:
    """The folder above the first wildcard of a pattern, and the shards by their paths in it.

    Args:
      source: A pattern like "laion/*.tar", or a URL with one.
      report: Receives the folders that cannot be read.

    Raises:
      SourceError: If the folder cannot be listed, or no shard has such a name.
    """
    pattern = _from_first_wildcard(source)
    root = source[: -len(pattern)]
    shards = [
        SourceFile(name, "", b"", size(info), stamp(info))
        for name, info in match_files(root, pattern, report).items()
    ]
    if not shards:
        raise SourceError(f"{source}: no shard has such a name")
    return root, sorted(shards)


def _from_first_wildcard(source: str) -> str:
    """The part of a pattern from the folder with the first wildcard on."""
    folder, _, name = source.rpartition("/")
    while re.search(r"[*?\[]", folder):
        folder, _, part = folder.rpartition("/")
        name = f"{part}/{name}"
    return name


def read_shards(chunk: Chunk) -> Iterator[RawPhoto]:
    """The photos of a chunk of shards, in order; what is refused comes with its `problem`."""
    files, top = file_system(chunk.root)
    for file in chunk.files:
        path = f"{top.rstrip('/')}/{file.file}"
        name = file.file.removesuffix(".tar")
        try:
            with files.open(path, "rb") as stream:
                yield from _read_members(stream, name)
            # A shard that ends between two members reads like a whole one.
            if any(files.cat_file(path, start=-512)):
                yield unusable(name, "shard cut short", "the mark of its end is missing")
        except OSError as e:
            yield unusable(name, "shard cannot be read", str(e.strerror or e))


def _read_members(stream: IO[bytes], shard: str) -> Iterator[RawPhoto]:
    """A shard's photos; members of one key lie together.

    Links, devices and names that lead elsewhere are refused one by one; a member larger than a
    photo may be ends its shard, which is not read through.
    """
    key, parts, name = "", {}, f"{shard}/"
    keys: set[str] = set()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = f"{shard}/{member.name[:200]}"
                if not member.isfile() or not _stays_inside(member.name):
                    if not member.isdir():
                        yield unusable(name, "member refused", "no file, or a name outside")
                    continue
                member_key, suffix = _key_and_suffix(member.name)
                if suffix not in EXTENSIONS and suffix != ".json":
                    if suffix in _OTHER_PICTURES:
                        yield unusable(name, "format not read", CURES.get(suffix, suffix))
                    continue
                if member.size > (MAX_JSON_BYTES if suffix == ".json" else MAX_BYTES):
                    why = f"{member.size:,} bytes; the rest of the shard is not read"
                    yield unusable(name, "member too large", why)
                    break
                if member_key != key:
                    yield from _sample(shard, key, parts)
                    key, parts = member_key, {}
                    if key in keys:
                        yield unusable(name, "member refused", "a name that was there before")
                        key = ""
                        continue
                    keys.add(key)
                file = archive.extractfile(member)
                data = file.read() if file else b""
                if len(data) != member.size:
                    return  # what is there of the last member is not used
                parts[".json" if suffix == ".json" else "photo"] = data
    except (tarfile.TarError, EOFError) as e:
        yield unusable(name, "shard damaged", str(e))
    yield from _sample(shard, key, parts)


def _key_and_suffix(name: str) -> tuple[str, str]:
    """What members of one sample share, and the rest of the name from the first dot on."""
    folder, file = posixpath.split(name)
    stem, _, suffix = file.partition(".")
    return posixpath.join(folder, stem), f".{suffix.lower()}"


def _stays_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def _sample(shard: str, key: str, parts: dict[str, bytes]) -> Iterator[RawPhoto]:
    """The photo of one key, if its members hold one."""
    if not parts:
        return
    name = f"{shard}/{key}"
    if "photo" not in parts:
        yield unusable(name, "no photo beside the JSON", "a .json without an image of its name")
        return
    exif, licence = img2dataset_metadata(parts.get(".json", b"{}"))
    yield RawPhoto(name, parts["photo"], exif, licence=licence)
