"""What the commands on photos have in common: their arguments, their start, their exit code."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import os
import pathlib
import platform
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax

from exif_jax.cli import batch, command, terminal
from exif_jax.cli.inputs import PhotoInput, find_inputs
from exif_jax.cli.journal import JOURNAL
from exif_jax.io.jsonl import Row
from exif_jax.io.text import printable
from exif_jax.reading.photo import EXTENSIONS, MAX_PIXELS, Photo
from exif_jax.reading.walk import WalkReport
from exif_jax.reports import outputs

if TYPE_CHECKING:
    from exif_jax.forensics.methods import LocalizationSettings
    from exif_jax.weights.release_file import Model

# (photo, how messages call it, name for its files, model, output folder) -> as `batch.Analyze`
Analyze = Callable[[Photo, str, str, "Model", pathlib.Path], tuple[Row, str]]


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
        help="photos, folders of them, patterns; - reads standard input: one photo's bytes, or "
        "the names of photos, one a line or parted by null characters",
    )
    parser.add_argument("--model", metavar="PATH", help="release file (default: what ships)")
    parser.add_argument(
        "--output",
        default="results",
        metavar="DIR",
        help="folder for the results (default results); what other photos have there stays",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"skip photos that {JOURNAL} in DIR has as done under these settings",
    )
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse photos of more pixels (default {MAX_PIXELS:,})",
    )


def run(
    args: argparse.Namespace, analyze: Analyze, settings: LocalizationSettings, name: str, kind: str
) -> int:
    """Works through the photos of the arguments; returns the exit code.

    Args:
      args: Of `add_arguments`.
      analyze: What is done to each photo.
      settings: What the results depend on.
      name: The command's, like "localize".
      kind: A photo's results are complete when its file NAME.kind is there.
    """
    with terminal.forgiving_streams():
        return _run(args, analyze, settings, name, kind)


def _run(
    args: argparse.Namespace, analyze: Analyze, settings: LocalizationSettings, name: str, kind: str
) -> int:
    report = WalkReport()
    photos = find_inputs(args.photos, report)
    try:
        status = _process(args, photos, analyze, settings, name, kind) if photos else 0
    except KeyboardInterrupt:
        return command.stopped("the same command with --resume goes on")
    if not photos:
        status = command.fail(
            f"no photos in {', '.join(map(printable, args.photos))}; looked for files "
            f"that end in {', '.join(sorted(EXTENSIONS))}"
        )
    # At the end, where it is read, and not before thousands of lines about photos.
    if skipped := report.summary():
        print(skipped, file=sys.stderr)
    for folder in report.unreadable:
        status = command.fail(f"{folder}; make the folder readable, or leave it out")
    return status


def _process(
    args: argparse.Namespace,
    photos: list[PhotoInput],
    analyze: Analyze,
    settings: LocalizationSettings,
    name: str,
    kind: str,
) -> int:
    """Loads the model and judges the photos; returns the exit code."""
    # A CPU computes and decodes with the same cores; other devices wait for many decoders. This
    # also fails where the environment names a device that is not there: before anything is made.
    ahead = 1 if jax.default_backend() == "cpu" else min(8, os.cpu_count() or 1)
    output = pathlib.Path(args.output)
    if problem := outputs.prepare_folder(output):
        return command.fail(problem)
    from exif_jax.api import resolve_model
    from exif_jax.forensics.learned_map import loaded_map
    from exif_jax.forensics.methods import LEARNED
    from exif_jax.weights.release_file import PRETRAINED, ReleaseError

    try:
        model = resolve_model(args.model)
        learned = loaded_map(settings.map_model).id if settings.method in LEARNED else ""
    except ReleaseError as e:
        return command.fail(printable(e))
    keep_compiled()
    results = f"{kind}, mask" if getattr(args, "mask", False) else kind
    print(f"model {printable(args.model or PRETRAINED.stem)} ({model.id})", file=sys.stderr)
    try:
        num_failed = batch.process_photos(
            photos,
            output,
            functools.partial(_analyze_with, analyze, model, output),
            {
                "results": results,
                "model": model.id,
                **dataclasses.asdict(settings),
                "map_model": learned,
            },
            command=name,
            last_file=kind,
            resume=args.resume,
            ahead=ahead,
            max_pixels=args.max_pixels,
        )
    except OSError as e:
        return command.fail(
            f"{printable(output / JOURNAL)}: {e.strerror}; make room or choose another --output"
        )
    return int(num_failed > 0)


def _analyze_with(
    analyze: Analyze, model: Model, output: pathlib.Path, photo: Photo, display_name: str, name: str
) -> tuple[Row, str]:
    return analyze(photo, display_name, name, model, output)


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
