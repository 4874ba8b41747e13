"""Many results as one zip file, made while it is sent: neither memory nor disk holds it whole."""

from __future__ import annotations

import io
import pathlib
import time
import zipfile
from collections.abc import Iterable, Iterator

_PIECE = 1 << 20


class _Sink(io.RawIOBase):
    """What is written can be taken out again, once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self.pieces = self.pieces, []
        return b"".join(pieces)


def zip_stream(members: Iterable[tuple[str, pathlib.Path]]) -> Iterator[bytes]:
    """Yields a zip file in pieces.

    Args:
        members: name in the archive and file, each; a file that is gone by then is left out.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in members:
            try:
                file = path.open("rb")
            except OSError:
                continue
            with file, archive.open(zipfile.ZipInfo(name, _date(path)), "w") as member:
                while piece := file.read(_PIECE):
                    member.write(piece)
                    if sink.pieces:
                        yield sink.take()
    yield sink.take()


def _date(path: pathlib.Path) -> tuple[int, int, int, int, int, int]:
    return time.localtime(path.stat().st_mtime)[:6]
