"""What every command shares, before JAX is imported: its help, how it fails, stops and ends.

Exit codes: 0 done, 1 failed (the message names the file, the cause and the cure), 2 wrong usage,
130 interrupted. Results go to standard output and files; progress and messages to standard error.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from typing import NoReturn

QUIET = "TQDM_DISABLE=1 in the environment hides the progress bars."

# Modules that not every installation has, and the extra that brings them.
_EXTRAS = {
    "aiohttp": "download",
    "apache_beam": "beam",
    "array_record": "array_record",
    "flatbuffers": "export",
    "fsspec": "data",
    "google_crc32c": "data",
    "google": "data",
    "jax2onnx": "onnx",
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
# What a command needs in all, where the extra of the first missing module would not be enough.
_EXTRAS_OF_COMMANDS = {
    "data_prep.array_records": "array_record,data",
    "exif_jax.calibrate": "data,eval",
    "exif_jax.release": "train",
    "exif_jax.train": "train",
}


def parser(module: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """The parser of `python -m MODULE`; a paragraph is wrapped, and lines stay as they are."""
    return argparse.ArgumentParser(
        f"python -m {module}", description=description, epilog=epilog, formatter_class=_Help
    )


class _Help(argparse.HelpFormatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def fail(message: object, status: int = 1) -> int:
    """Says what went wrong; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return status


def stopped() -> int:
    """Says that a run goes on where Ctrl-C stopped it; returns the exit code."""
    print("stopped: give the same command again to go on", file=sys.stderr)
    return 130


def leave(status: int) -> NoReturn:
    """Ends the process; the interpreter's own way takes 0.4 s to take JAX apart, to no use."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def explain_missing() -> None:
    """In a process that starts as a command, a missing package is named with its extra.

    `import exif_jax` calls this; in other programs, which have their own ways, nothing changes.
    """
    program = _program()
    if program == "-m" or program.startswith("exif-"):  # python -m exif_jax.NAME, exif-NAME
        sys.excepthook = _explain


def _program() -> str:
    return pathlib.Path(sys.argv[0]).name if sys.argv else ""


def _command() -> str:
    """The module that runs as the command, like "exif_jax.train"."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)  # of `python -m`
    return spec.name if spec else _program().replace("exif-", "exif_jax.", 1)


def _explain(kind, error, traceback) -> None:
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if issubclass(kind, ModuleNotFoundError) and name in _EXTRAS:
        extras = _EXTRAS_OF_COMMANDS.get(_command(), _EXTRAS[name])
        fail(f"this command needs {name}; pip install 'exif-jax[{extras}]'")
    elif issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
