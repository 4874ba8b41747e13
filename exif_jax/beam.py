"""Localising an archive on a cluster: an Apache Beam transform, and the pipeline around it.

    python -m exif_jax.beam --input 'gs://archive/**.jpg' --output gs://results/run1 \\
        --runner DataflowRunner --project P --region R --temp_location gs://...

Every worker process loads the model once. What is written for a photo is what
`python -m exif_jax.localize` writes; the lines of the journal come as results-*.jsonl. Needs
`pip install 'exif-jax[beam]'`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from exif_jax.api import resolve_model
from exif_jax.cli import batch, command, photo_command
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.io.text import printable
from exif_jax.localize import localize_to
from exif_jax.reading.photo import EXTENSIONS, PhotoError, read_photo
from exif_jax.reports import outputs

with command.imports(__name__, "beam"):
    import apache_beam as beam
    from apache_beam.io import fileio
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

MAX_BYTES = 512 * 2**20


class LocalizePhotos(beam.PTransform):
    """Paths of photos, local or in a bucket, to one dict of results for each.

    A photo that cannot be read or localised gives {"status": "failed", "error": ...} and stops
    nothing. An output that cannot be written raises, and the runner tries again.

    Args:
        output: folder for the photos' files, local or in a bucket.
        model: path of a release file that every worker can read; the weights that ship where None.
        settings: how they are localised; the defaults where None.
        pages: also write an HTML report for each photo.
    """

    def __init__(
        self,
        output: str,
        model: str | None = None,
        settings: LocalizationSettings | None = None,
        pages: bool = False,
    ):
        super().__init__()
        self._work = _Localize(output, model, settings or LocalizationSettings(), pages)

    def expand(self, input_or_inputs: beam.PCollection[str]) -> beam.PCollection[dict[str, Any]]:
        """The transform's steps, as Beam asks for them."""
        # Photos of one folder are often read in order: without this one worker gets them all.
        return input_or_inputs | beam.Reshuffle() | beam.ParDo(self._work)


class _Localize(beam.DoFn):
    def __init__(self, output: str, model: str | None, settings: LocalizationSettings, pages: bool):
        self._output, self._path, self._settings, self._pages = output, model, settings, pages

    def setup(self):
        photo_command.keep_compiled()
        self._model = resolve_model(self._path)

    def process(self, element: str) -> Iterator[dict[str, Any]]:
        settings = {"model": self._model.id, **dataclasses.asdict(self._settings)}
        line = {"file": element, "name": output_name(element), "settings": settings}
        shown = printable(element)
        try:
            photo = read_photo(_read(element), name=shown)
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder)
                _, entry = localize_to(
                    out, line["name"], photo, shown, self._model, self._settings, self._pages
                )
                for path in sorted(out.iterdir()):
                    _put(path, FileSystems.join(self._output, path.name))
        except PhotoError as e:
            yield line | {"status": "failed", "error": str(e)}
        except batch.PhotoFailed as e:
            yield line | {"status": "failed", "error": f"{shown}: {printable(e)}"}
        else:
            yield line | {"status": "done", "sha256": photo.sha256, **entry}


def output_name(path: str) -> str:
    """The photo's stem and eight digits of its path's hash: no two workers choose the same."""
    (stem,) = outputs.output_names([pathlib.PurePosixPath(path)])
    return f"{stem}-{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _read(path: str) -> bytes:
    try:
        with FileSystems.open(path, compression_type="uncompressed") as file:
            data = file.read(MAX_BYTES + 1)
    except Exception as e:  # each file system has errors of its own
        raise batch.PhotoFailed(f"cannot be read ({e}); check the path and its permissions") from e
    if len(data) > MAX_BYTES:
        raise batch.PhotoFailed(f"more than {MAX_BYTES:,} bytes; look whether it is a photo")
    return data


def _put(path: pathlib.Path, target: str) -> None:
    """Copies a file; under its name it appears whole."""
    aside = f"{target}.part-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    with FileSystems.create(aside, compression_type="uncompressed") as file:
        file.write(path.read_bytes())
    if FileSystems.exists(target):
        FileSystems.delete([target])
    FileSystems.rename([aside], [target])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline; returns the exit code."""
    parser = command.parser(
        "exif_jax.beam",
        "Localises all photos that patterns name, on the machines of a Beam runner.",
        "All other flags go to Beam: --runner, --direct_num_workers, "
        "--direct_running_mode, --project, ... Exit codes: 0 the pipeline ran (the results say "
        "which photos failed), 1 it did not, 2 wrong usage.",
    )
    parser.add_argument("--input", nargs="+", required=True, help="patterns like gs://b/**.jpg")
    parser.add_argument("--output", required=True, help="folder, local or in a bucket")
    parser.add_argument("--model", help="release file (default: what ships)")
    parser.add_argument("--report", action="store_true", help="also write NAME.html")
    args, rest = parser.parse_known_args(argv)
    try:
        if not FileSystems.exists(args.output):
            FileSystems.mkdirs(args.output)
        with beam.Pipeline(options=PipelineOptions(rest)) as pipeline:
            _ = (
                pipeline
                | beam.Create(args.input)
                | fileio.MatchAll()
                | beam.Map(lambda match: match.path)
                | beam.Filter(is_photo)
                | LocalizePhotos(args.output, args.model, pages=args.report)
                | beam.Map(json.dumps)
                | beam.io.WriteToText(FileSystems.join(args.output, "results"), ".jsonl")
            )
    except Exception as e:  # a runner's errors are its own; the last line says most
        return command.fail(f"{printable(e)[-2000:]}")
    return 0


def is_photo(path: str) -> bool:
    """Whether the name ends as photos' names do."""
    return pathlib.PurePosixPath(path).suffix.lower() in EXTENSIONS


if __name__ == "__main__":
    command.run(main, quick=False)
