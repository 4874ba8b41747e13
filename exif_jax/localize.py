"""The command that shows where a photo disagrees with itself.

python -m exif_jax.localize photo.jpg --model PATH --output DIR
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exif_jax.cli import batch, command, photo_command
from exif_jax.forensics import affinity
from exif_jax.forensics.localization import (
    METHOD_HELP,
    METHODS,
    Localization,
    LocalizeError,
    Settings,
    localize,
)
from exif_jax.forensics.verification import VerifyError, as_json, verify_embeddings
from exif_jax.reading.photo import Photo
from exif_jax.reports import outputs
from exif_jax.reports.html import make_html

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    settings = Settings(
        args.num_per_dim, args.max_patches, args.align, args.batch_size, args.method
    )

    def work(photo: Photo, shown: str, name: str, model: Model, out: pathlib.Path):
        told = localize_to(out, name, photo, shown, model, settings, args.report)
        band = told["band"] or "not calibrated"
        return told, f"{told['score']:.3f}  {band:11}  {shown} -> {out / name}.overlay.png"

    # With --report a photo is done when its page is there, without it when its JSON is.
    return photo_command.run(args, work, settings, "localize", "html" if args.report else "json")


def localize_to(
    out: pathlib.Path,
    name: str,
    photo: Photo,
    shown: str,
    model: Model,
    settings: Settings,
    page: bool,
) -> dict[str, Any]:
    """Localises one photo and writes NAME.overlay.png, NAME.map.npy and NAME.json into a folder.

    Args:
        out: an existing folder.
        name: a safe name, as `report.output_names` gives them.
        photo: the photo; `shown` is how it is called in the results.
        model, settings: as for `localize`.
        page: also write NAME.html.

    Returns:
        score, p_value, band and note.

    Raises:
        batch.PhotoFailed: the photo cannot be localised. OSError: nothing can be written.
    """
    try:
        found = localize(photo.pixels, model, settings)
    except LocalizeError as e:
        raise batch.PhotoFailed(str(e)) from e
    facts = outputs.make_report(photo, shown, model.id, settings, found)
    page_bytes = None
    if page:
        facts["verify"] = _verification(photo, found, model)
        colours = affinity.pca_colours(found.embeddings, found.grid)
        page_bytes = make_html(photo, found, facts, colours)
    outputs.write_outputs(out, name, photo, found, facts, page_bytes)
    return {key: facts[key] for key in ("score", "p_value", "band", "note")}


def _verification(photo: Photo, found: Localization, model: Model) -> dict[str, Any] | None:
    try:
        return as_json(verify_embeddings(found.embeddings, photo.exif, model, found.flat))
    except VerifyError:  # no bank: the page says so
        return None


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.localize",
        "Shows where a photo disagrees with itself: which parts another camera seems "
        "to have made. Reads pixels only; no EXIF is needed. Writes NAME.overlay.png (the photo "
        "beside its map), NAME.map.npy (float32, as many values as pixels, 0 consistent to "
        "1) and NAME.json (score, settings, checksums) for each photo, and a line about it in "
        "results.jsonl. A sign to look closer, never a proof.",
        "examples:\n"
        "  python -m exif_jax.localize photo.jpg --report\n"
        "  find . -name '*.jpg' -print0 | python -m exif_jax.localize - --resume\n"
        "  python -m exif_jax.localize folder/ --model model.safetensors --output results\n"
        "  python -m exif_jax.localize --model m.safetensors --output results -- -odd-name.jpg\n\n"
        "exit codes: 0 all photos done, 1 some failed (the messages say which and why), "
        "2 wrong usage\n" + command.QUIET,
    )
    photo_command.add_arguments(parser)
    parser.add_argument(
        "--report",
        action="store_true",
        help="also write NAME.html: the photo with its map, an explorer of what agrees with what, "
        "the EXIF beside what the pixels say, in one file that needs no network",
    )
    defaults = Settings()
    for option, text in (
        ("num_per_dim", "steps of the patch grid along the longer side"),
        ("max_patches", "most patches per photo; a coarser grid is used beyond"),
        ("align", "round the grid's stride to a multiple of this many pixels"),
        ("batch_size", "patches encoded at a time; changes speed and memory only"),
    ):
        parser.add_argument(
            "--" + option.replace("_", "-"),
            type=photo_command.positive,
            default=getattr(defaults, option),
            metavar="N",
            help=f"{text} (default {getattr(defaults, option) or 'as suits the device'})",
        )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=defaults.method,
        help=METHOD_HELP,
    )
    return parser


def run() -> None:
    """The console script."""
    command.run(main, results_are_printed=False)


if __name__ == "__main__":
    run()
