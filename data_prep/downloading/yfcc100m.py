"""YFCC100M's metadata -> photos to fetch, with their EXIF: read as streams, joined by a merge.

The files are `yfcc100m_dataset` (25 tab-separated fields, or 23 in the older release, which lacks
line number and hash) and `yfcc100m_exif` (id, tab, items), plain or packed as .gz, .bz2 or .zst.
Both list the photos in one order, so neither is held in memory. Fields and their meaning: the
dataset's own README.
"""

from __future__ import annotations

import bz2
import collections
import gzip
import hashlib
import io
import os
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from exif_jax.io.errors import ExifJaxError

# Lines that the files may be apart where one of them lacks some.
WINDOW = 10_000
_MAX_LINE = 1 << 20


class MetadataError(ExifJaxError):
    """A metadata file that cannot be read; the message names it, the line and the cause."""


class Item(NamedTuple):
    """A photo to fetch.

    Attributes:
      id: The photo's number, digits.
      url: Of the original where its secret is known, of the 500-pixel copy otherwise.
      original: Whether it is the original's; camera traces survive in no other.
      licence: Its name as the file has it, such as "Attribution License".
      owner: 16 hex digits that stand for the photographer, for caps; never the name.
      exif: The tags as `yfcc100m_exif` has them, "" where there are none.
    """

    id: str
    url: str
    original: bool
    licence: str
    owner: str
    exif: str = ""


def open_lines(path: str | os.PathLike) -> Iterator[str]:
    """The lines of a text file, packed or not.

    Raises:
      MetadataError: It cannot be read, is damaged or holds a line of more than a megabyte.
    """
    number = 0
    try:
        with _open(Path(path)) as file:
            while line := file.readline(_MAX_LINE):
                number += 1
                if len(line) == _MAX_LINE:
                    raise MetadataError(f"{path}: line {number} is longer than {_MAX_LINE:,}")
                yield line.rstrip("\r\n")
    except (OSError, EOFError, ValueError) as e:
        raise MetadataError(f"{path}: cannot be read beyond line {number} ({e})") from e


def _open(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open_bytes(path), encoding="utf-8", errors="replace", newline="\n")


def _open_bytes(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    if path.suffix == ".bz2":
        return cast("IO[bytes]", bz2.open(path))
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError as e:
            raise MetadataError(
                f"{path}: .zst needs `pip install 'exif-jax[download]'`, or unpack it"
            ) from e
        return zstandard.open(path)
    return open(path, "rb")


def parse_line(line: str) -> Item | str:
    """One line of `yfcc100m_dataset`; a photo, or in a few words why it is none."""
    fields = line.split("\t")
    if len(fields) == 25:
        fields = fields[1:2] + fields[3:]  # as in the older release
    if len(fields) != 23:
        return f"{len(fields)} columns, not 23 or 25"
    number, owner, url, licence = (fields[i] for i in (0, 1, 14, 15))
    server, secret, extension, marker = (fields[i] for i in (17, 20, 21, 22))
    if not re.fullmatch(r"\d{1,20}", number):
        return "no photo id"
    if marker != "0":
        return "a video"
    # https://www.flickr.com/services/api/misc.urls.html
    known = re.fullmatch(r"\d{1,9}", server) and re.fullmatch(r"[0-9a-f]{6,20}", secret)
    original = bool(known and extension in ("jpg", "png", "gif"))
    if original:
        url = f"https://live.staticflickr.com/{server}/{number}_{secret}_o.{extension}"
    if not url.startswith(("https://", "http://")):
        return "no address"
    anonymous = hashlib.sha256(owner.encode()).hexdigest()[:16]
    return Item(number, url, original, urllib.parse.unquote_plus(licence), anonymous)


def read_items(
    dataset: str | os.PathLike,
    exif: str | os.PathLike | None = None,
    rejects: collections.Counter[str] | None = None,
) -> Iterator[Item]:
    """The photos of a metadata file, in its order.

    Args:
      dataset: `yfcc100m_dataset`, of either release.
      exif: `yfcc100m_exif`; without it no photo has EXIF.
      rejects: Counts the lines left out, by reason; also photos whose EXIF line is not there.

    Raises:
      MetadataError: A file cannot be read, or the first line shows it is another kind of file.
    """
    rejects = rejects if rejects is not None else collections.Counter()
    has_photos = False
    exif_lines = _ExifLines(exif) if exif else None
    for number, line in enumerate(open_lines(dataset), 1):
        item = parse_line(line)
        if isinstance(item, str):
            rejects[item] += 1
            if number == 1000 and not has_photos:
                raise MetadataError(f"{dataset}: no photo in its first {number} lines: {item}")
            continue
        has_photos = True
        if exif_lines:
            tags = exif_lines.find(item.id)
            if tags is None:
                rejects["no EXIF line"] += 1
            item = item._replace(exif=tags or "")
        yield item


class _ExifLines:
    """The lines of `yfcc100m_exif`, asked for in nearly their own order."""

    def __init__(self, path: str | os.PathLike):
        self._lines = enumerate(open_lines(path))
        # Lines that were met while another was looked for: tags and the line's number.
        self._ahead: collections.OrderedDict[str, tuple[str, int]] = collections.OrderedDict()

    def find(self, photo_id: str) -> str | None:
        """The tags of a photo, None where no line within WINDOW is its own."""
        tags, line_number = self._ahead.pop(photo_id, (None, -1))
        while tags is None and len(self._ahead) < WINDOW:
            line_number, line = next(self._lines, (-1, None))
            if line is None:
                return None
            key, _, rest = line.partition("\t")
            if key == photo_id:
                tags = rest
            else:
                self._ahead[key] = rest, line_number
        if tags is not None:
            # Lines far before this one belong to photos that the other file lacks.
            while self._ahead and self._oldest_line() < line_number - WINDOW // 10:
                self._ahead.popitem(last=False)
        return tags

    def _oldest_line(self) -> int:
        return next(iter(self._ahead.values()))[1]
