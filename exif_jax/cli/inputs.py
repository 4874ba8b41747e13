"""The photos that the words of a command line mean: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import hashlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from exif_jax.reading import walk
from exif_jax.reading.photo import MAX_BYTES
from exif_jax.reading.walk import WalkReport

STANDARD_INPUT = "-"
_PHOTO_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
_HEAD_BYTES = 4096


class PhotoInput(NamedTuple):
    """A photo to read.

    Attributes:
      path: Where it lies; for one that came through standard input, what it is called.
      data: The file's bytes where they are at hand already.
    """

    path: pathlib.Path
    data: bytes | None = None


def find_inputs(sources: Iterable[str], report: WalkReport) -> list[PhotoInput]:
    """Lists the photos that the words of a command line mean, each once.

    Args:
      sources: Files, as given; folders, for the photos below them; patterns like
        "shots/**/*.jpg"; or "-" for standard input: a photo's own bytes, or the names of photos,
        one a line, or parted by null characters as `find -print0` does.
      report: Receives what is passed over: in folders what `exif_jax.reading.walk` says, and
        everywhere the pictures that this project made itself.
    """
    return list(dict.fromkeys(_expand(sources, report)))


def _expand(sources: Iterable[str], report: WalkReport) -> Iterator[PhotoInput]:
    for source in sources:
        if source == STANDARD_INPUT:
            yield from _from_standard_input(sys.stdin.buffer.read(MAX_BYTES + 1), report)
        elif not os.path.lexists(source) and glob.has_magic(source):
            for match in sorted(glob.iglob(source, recursive=True)) or [source]:
                yield from _from_path(match, report)
        else:
            yield from _from_path(source, report)


def _from_path(source: str, report: WalkReport) -> Iterator[PhotoInput]:
    if os.path.isdir(source):
        yield from map(PhotoInput, walk.find_photos(source, report))
    elif walk.is_own_picture(source):
        report.own_files += 1
    else:
        yield PhotoInput(pathlib.Path(source))


def _from_standard_input(data: bytes, report: WalkReport) -> Iterator[PhotoInput]:
    if looks_like_photo(data):
        yield PhotoInput(pathlib.Path("stdin"), data)
        return
    names = data.split(b"\0") if b"\0" in data else data.splitlines()
    for name in filter(None, names):
        path = os.fsdecode(name)
        if walk.is_own_picture(path):
            report.own_files += 1
        else:
            yield PhotoInput(pathlib.Path(path))


def looks_like_photo(data: bytes) -> bool:
    """Whether bytes are those of a file and no list of names.

    Names hold no control characters but the line feeds and null characters between them; files of
    any picture format hold some among their first bytes.
    """
    head = data[:_HEAD_BYTES]
    return head.startswith(_PHOTO_STARTS) or any(
        byte < 32 and byte not in b"\0\t\n\r" for byte in head
    )


def path_as_text(path: pathlib.Path) -> str:
    """A path as JSON can hold it: undecodable bytes are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def photo_identity(photo: PhotoInput) -> str:
    """Returns 16 hexadecimal digits that tell a photo from all others of the same name.

    They stand for the path as given and for the folder that it was given in, which they do not
    disclose; for a photo of standard input, for its bytes.
    """
    digest = hashlib.sha256(os.fsencode(photo.path) + b"\0")
    if photo.data is not None:
        digest.update(photo.data)
    else:
        try:
            digest.update(os.fsencode(os.path.abspath(photo.path)))
        except OSError:  # the working folder was removed
            digest.update(os.fsencode(photo.path))
    return digest.hexdigest()[:16]
