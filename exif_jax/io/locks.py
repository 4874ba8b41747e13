"""Locks between processes: a folder that one run holds, and files that runs take turns at.

The operating system lifts a lock when its process ends, however it ends, so that no lock is ever
stale. A lock is taken on a small file of its own, which is removed with the lock; one that a
killed process leaves behind locks nothing. On a file system that knows no locks (some network
mounts) nothing keeps two runs apart.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from exif_jax.io.errors import ExifJaxError
from exif_jax.io.text import printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

LOCK_NAME = ".exif-jax.lock"

_SECONDS_BETWEEN_TRIES = 0.02
# Windows locks bytes, and no other process can read a locked one: this lies behind the content.
_LOCKED_BYTE = 1 << 30
_HELD_BY_ANOTHER = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


class FolderHeldError(ExifJaxError):
    """Another run holds the folder; the message says which one and what to do."""


@contextlib.contextmanager
def hold(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps every other run that asks for it out of a folder.

    Args:
      folder: Exists on this machine; no URL.

    Raises:
      FolderHeldError: If another run holds it; the message names its process, machine and start.
      OSError: If nothing can be written in the folder.
    """
    path = pathlib.Path(folder, LOCK_NAME)
    descriptor = _try_to_lock(path)
    if descriptor is None:
        raise FolderHeldError(
            f"{printable(folder)}: {_describe_holder(path)}; wait until it ends, or choose another "
            "folder"
        )
    with _release_at_the_end(descriptor, path):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _own_description())
        yield


@contextlib.contextmanager
def take_turns(path: str | os.PathLike) -> Iterator[None]:
    """Waits until no other process is in a block of the same lock file.

    Args:
      path: The lock's own file, in a folder that exists; never one that holds anything.

    Raises:
      OSError: If the file cannot be made.
    """
    path = pathlib.Path(path)
    while (descriptor := _try_to_lock(path)) is None:
        time.sleep(_SECONDS_BETWEEN_TRIES)
    with _release_at_the_end(descriptor, path):
        yield


@contextlib.contextmanager
def _release_at_the_end(descriptor: int, path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file: it is left there
            path.unlink()
        os.close(descriptor)


def _try_to_lock(path: pathlib.Path) -> int | None:
    """Returns the descriptor of the locked file, or None where another process has the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock_descriptor(descriptor):
                os.close(descriptor)
                return None
            if _is_same_file(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Its last holder removed this very file between our opening and locking it: once more.
        os.close(descriptor)


def _lock_descriptor(descriptor: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[reportAttributeAccessIssue]
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in _HELD_BY_ANOTHER:
            return False
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True


def _is_same_file(descriptor: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _own_description() -> bytes:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(holder).encode()


def _describe_holder(path: pathlib.Path) -> str:
    try:
        holder = json.loads(path.read_bytes())
        return printable(
            f"held by process {holder['pid']} on {holder['host']} since {holder['since']}"
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "held by another run"
