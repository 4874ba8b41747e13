"""Files that appear whole or not at all, whatever kills the process or fills the disk."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from exif_jax.io.files import file_system, is_url


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at the end; an error leaves `path` alone.

    It is written as .NAME.tmp beside `path`. What a killed process leaves under that name is
    replaced the next time. For a URL it is written on this machine, then uploaded: an object
    appears in its bucket when all of it is there.

    Raises:
        OSError: as the system says (full disk, no permission); nothing is left behind.
    """
    if is_url(path):
        with tempfile.NamedTemporaryFile() as file:
            yield cast(BinaryIO, file)
            file.flush()
            files, where = file_system(path)
            files.put_file(file.name, where)
        return
    path = pathlib.Path(path)
    aside = path.with_name(f".{path.name}.tmp")
    try:
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:  # "x": a link that somebody put there is not followed
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        # The system names no file when a disk is full, and the hidden one in other cases.
        if isinstance(e, OSError) and e.errno and e.filename in (None, str(aside)):
            e.filename = str(path)
        raise


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """`replacing`, for bytes at hand."""
    with replacing(path) as file:
        file.write(data)
