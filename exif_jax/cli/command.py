"""What every command shares, before JAX is imported: its help, how it starts, fails and ends.

Exit codes: 0 done, 1 failed (the message names the file, the cause and the cure), 2 wrong usage,
130 interrupted. Results go to standard output and files; progress and messages to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

from exif_jax.cli import terminal

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
    "starlette": "serve",
    "tensorboardX": "train",
    "tensorflow": "tensorflow",
    "tensorflow_datasets": "tensorflow",
    "uvicorn": "serve",
    "zstandard": "download",
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


def in_options(message: object) -> str:
    """Returns a message about a photo with the option in place of the function's argument.

    For commands that have the option --max-pixels.
    """
    return str(message).replace("max_pixels", "--max-pixels")


def stopped(how: str = "give the same command again to go on") -> int:
    """Says how a run goes on that Ctrl-C stopped; returns the exit code."""
    print(f"stopped: {how}", file=sys.stderr)
    return 130


@contextlib.contextmanager
def imports(module: str, extras: str = "") -> Iterator[None]:
    """The imports of a command: what is not installed is named, where the command runs.

        with command.imports(__name__, "train"):
            import optax

    Where the module is imported by another program, nothing changes.

    Args:
      module: The importing module's `__name__`.
      extras: The extras with all that the command needs, like "data,eval"; by default the one
        that brings the missing package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        advice = _advice(error, extras)
        if not advice or not _runs_as_command(module):
            raise
        sys.exit(fail(advice))
    except KeyboardInterrupt:
        if not _runs_as_command(module):
            raise
        sys.exit(_interrupted())


def run(
    main: Callable[[], int | None], *, results_are_printed: bool = True, quick: bool = True
) -> NoReturn:
    """Runs a command and ends the process.

    Ctrl-C, a package that is missing when it is first used and a device that JAX does not find are
    one line each; printing that fails stops nothing.

    Args:
      main: Returns the exit code, or ends with SystemExit.
      results_are_printed: Whether standard output holds what no file does: a full disk behind it
        is then a failure.
      quick: End at once. The interpreter's own way takes 0.4 s to take JAX apart, to no use but
        for those who have something to do at exit.
    """
    with terminal.forgiving_streams():
        status = _run(main)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        error = terminal.printing_error()
        if results_are_printed and error is not None and status == 0:
            status = fail(f"standard output: {error.strerror}; make room and run it again")
        if quick:
            os._exit(status)
        sys.exit(status)


def _run(main: Callable[[], int | None]) -> int:
    try:
        return main() or 0
    except SystemExit as error:
        return _status(error)
    except KeyboardInterrupt:
        return _interrupted()
    except ModuleNotFoundError as error:
        if not (advice := _advice(error, "")):
            raise
        return fail(advice)
    except Exception:
        if not (problem := _device_problem()):
            raise
        return fail(problem)


def _status(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return 130


def _advice(error: ModuleNotFoundError, extras: str) -> str:
    """What to install; "" for a package that no extra brings."""
    name = (error.name or "").partition(".")[0]
    if name not in _EXTRAS:
        return ""
    return f"this command needs {name}; pip install 'exif-jax[{extras or _EXTRAS[name]}]'"


def _runs_as_command(module: str) -> bool:
    """Whether it is the module of `python -m` or of a console script like exif-train."""
    program = pathlib.Path(sys.argv[0]).stem.removesuffix("-script") if sys.argv else ""
    return module == "__main__" or program == "exif-" + module.rpartition(".")[2].replace("_", "-")


def _device_problem() -> str:
    """Why JAX finds no device of the kind that the environment names; "" where it does."""
    kind = os.environ.get("JAX_PLATFORMS")
    jax = sys.modules.get("jax")
    if not kind or jax is None:
        return ""
    try:
        jax.devices()
    except Exception as error:  # of its plugins each has its own
        why = " ".join(str(error).split())[:300]
        return (
            f"JAX_PLATFORMS={kind}: JAX finds no such device here{f' ({why})' if why else ''}; "
            "unset JAX_PLATFORMS to use what is there, or install JAX for that device"
        )
    return ""
