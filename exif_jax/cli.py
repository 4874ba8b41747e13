"""What every command shares, before JAX is imported: how it fails, stops and ends.

Exit codes: 0 done, 1 failed (the message names the file, the cause and the cure), 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import NoReturn

# Modules that not every installation has, and the extra that brings them.
_EXTRAS = {
    "aiohttp": "download",
    "apache_beam": "beam",
    "array_record": "array_record",
    "flatbuffers": "export",
    "fsspec": "data",
    "google_crc32c": "data",
    "google": "data",
    "matplotlib": "eval",
    "optax": "train",
    "orbax": "train",
    "pillow_heif": "heif",
    "scipy": "eval",
    "sklearn": "eval",
    "tensorboardX": "train",
    "tensorflow": "tensorflow",
    "tensorflow_datasets": "tensorflow",
    "zstandard": "download",
}


def fail(message: object, status: int = 1) -> int:
    """Says what went wrong; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return status


def leave(status: int) -> NoReturn:
    """Ends the process; the interpreter's own way takes 0.4 s to take JAX apart, to no use."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def explain_missing() -> None:
    """In a process that starts as a command, a missing package is named with its extra.

    `import exif_jax` calls this; in other programs, which have their own ways, nothing changes.
    """
    program = pathlib.Path(sys.argv[0]).name if sys.argv else ""
    if program == "-m" or program.startswith("exif-"):  # python -m exif_jax.NAME, exif-NAME
        sys.excepthook = _explain


def _explain(kind, error, traceback) -> None:
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if issubclass(kind, ModuleNotFoundError) and name in _EXTRAS:
        fail(f"this command needs {name}; pip install 'exif-jax[{_EXTRAS[name]}]'")
    elif issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
