"""What the commands on photos have in common: arguments, start, exit code, being a function too."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import pathlib
import platform
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax

from exif_jax.cli import batch, command
from exif_jax.io.text import printable
from exif_jax.reading.photo import EXTENSIONS, Photo
from exif_jax.reports import outputs

if TYPE_CHECKING:
    from exif_jax.forensics.localization import Settings
    from exif_jax.weights.release_file import Model

# (photo, shown name, output name, model, output folder) -> as `batch.run` wants it
Work = Callable[[Photo, str, str, "Model", pathlib.Path], tuple[batch.Facts, str]]


def positive(text: str) -> int:
    """An argument that counts something. Raises ValueError."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PHOTO..., --model, --output and --resume."""
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help="photos, folders of them, patterns; - reads names from standard input",
    )
    parser.add_argument("--model", metavar="PATH", help="release file (default: what ships)")
    parser.add_argument(
        "--output",
        default="results",
        metavar="DIR",
        help="folder for the results (default results)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"skip photos that {batch.JOURNAL} in DIR has as done under these settings",
    )


def run(args: argparse.Namespace, work: Work, settings: Settings, kind: str) -> int:
    """Works through the photos of the arguments; returns the exit code.

    Args:
        args: of `add_arguments`.
        work: what is done to each photo.
        settings: that the results depend on.
        kind: a photo's results are complete when NAME.kind is there.
    """
    out = pathlib.Path(args.output)
    paths = list(batch.find_photos(args.photos, out))
    if not paths:
        return command.fail(
            f"no photos in {', '.join(map(printable, args.photos))}; looked for files "
            f"that end in {', '.join(sorted(EXTENSIONS))}"
        )
    if problem := outputs.prepare_folder(out):
        return command.fail(problem)
    from exif_jax.weights.release_file import PRETRAINED, ReleaseError, load_model

    try:
        model = load_model(*filter(None, [args.model]))
    except ReleaseError as e:
        return command.fail(printable(e))
    keep_compiled()
    print(f"model {printable(args.model or PRETRAINED.stem)} ({model.id})", file=sys.stderr)
    # A CPU computes and decodes with the same cores; other devices wait for many decoders.
    ahead = 1 if jax.default_backend() == "cpu" else min(8, os.cpu_count() or 1)
    try:
        failed = batch.run(
            paths,
            out,
            lambda photo, shown, name: work(photo, shown, name, model, out),
            {"results": kind, "model": model.id, **dataclasses.asdict(settings)},
            kind,
            args.resume,
            ahead,
        )
    except OSError as e:
        return command.fail(
            f"{printable(out / batch.JOURNAL)}: {e.strerror}; choose another --output"
        )
    return int(failed > 0)


def keep_compiled() -> None:
    """Lets XLA keep what it compiles in the user's cache folder: the second start saves seconds.

    JAX_COMPILATION_CACHE_DIR names another place, or "" none. Machine code is kept apart by the
    processor's features, as homes are shared between machines.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]
    except OSError:
        flags = platform.processor()
    kind = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:12]
    top = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = top / "exif-jax" / kind
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
