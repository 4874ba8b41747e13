"""The command that shows where a photo disagrees with itself.

python -m exif_jax.localize photo.jpg --model PATH --output DIR
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exif_jax.cli import command

with command.imports(__name__):  # JAX takes a second to import
    from exif_jax.cli import batch, photo_command
    from exif_jax.forensics import affinity
    from exif_jax.forensics.file_evidence.examine import examine
    from exif_jax.forensics.file_evidence.gallery import GalleryError
    from exif_jax.forensics.localization import localize
    from exif_jax.forensics.methods import METHOD_HELP, METHODS, LocalizationSettings, LocalizeError
    from exif_jax.forensics.result import Localization
    from exif_jax.forensics.statement import state, statement_as_json
    from exif_jax.forensics.suitability import objection_to_kind
    from exif_jax.forensics.verification import (
        Verification,
        VerifyError,
        as_json,
        verify,
        verify_localization,
    )
    from exif_jax.io.text import printable
    from exif_jax.reading.photo import Photo
    from exif_jax.reports import outputs
    from exif_jax.reports.html import make_html

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model


_JOURNALLED = ("score", "p_value", "likelihood_ratio", "verdict", "band", "reason", "note")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    settings = LocalizationSettings(
        num_per_dim=args.num_per_dim,
        max_patches=args.max_patches,
        align=args.align,
        batch_size=args.batch_size,
        method=args.method,
        map_model=args.map_model,
    )

    def work(photo: Photo, shown: str, name: str, model: Model, out: pathlib.Path):
        localization, entry = localize_to(
            out, name, photo, shown, model, settings, args.report, args.mask
        )
        line = (
            f"{localization.score:.3f}  {localization.verdict:12}  {shown} -> "
            f"{out / name}.overlay.png"
        )
        for what, words in (("reason", localization.reason), ("note", entry["note"])):
            line += f"\n  {what}: {printable(words)}" if words else ""
        return entry, line

    # With --report a photo is done when its page is there, without it when its JSON is.
    return photo_command.run(args, work, settings, "localize", "html" if args.report else "json")


def localize_to(
    out: pathlib.Path,
    name: str,
    photo: Photo,
    shown: str,
    model: Model,
    settings: LocalizationSettings,
    page: bool,
    mask: bool = False,
) -> tuple[Localization, dict[str, Any]]:
    """Localises one photo and writes NAME.overlay.png, NAME.map.npy and NAME.json into a folder.

    Args:
        out: an existing folder.
        name: a safe name, as `outputs.output_names` gives them.
        photo: the photo; `shown` is how it is called in the results.
        model, settings: as for `localize`.
        page: also write NAME.html.
        mask: also write NAME.mask.png.

    Returns:
        The localisation, and what the journal says of it: score, p_value, likelihood_ratio,
        verdict, band, reason and note.

    Raises:
        batch.PhotoFailed: the photo cannot be localised. OSError: nothing can be written.
    """
    try:
        localization = localize(photo.pixels, model, settings, objection_to_kind(photo))
        page_parts = None
        if page:
            colours = affinity.pca_colours(localization.embeddings, localization.grid)
            page_parts = examine(photo), colours
    except (LocalizeError, GalleryError) as e:
        raise batch.PhotoFailed(str(e)) from e
    report = outputs.make_report(photo, shown, model.id, settings, localization, model.calibration)
    page_bytes = None
    if page_parts is not None:
        evidence, colours = page_parts
        verification = _verification(photo, localization, model, settings)
        report["verify"] = verification and as_json(verification)
        statement = state(evidence, verification)
        report["statement"] = statement_as_json(statement)
        page_bytes = make_html(photo, localization, report, colours, (evidence, statement))
    outputs.write_outputs(out, name, photo, localization, report, page_bytes, mask)
    return localization, {key: report[key] for key in _JOURNALLED}


def _verification(
    photo: Photo, localization: Localization, model: Model, settings: LocalizationSettings
) -> Verification | None:
    """The EXIF against the pixels, for the page; None where what the model carries is damaged."""
    try:
        if METHODS[settings.method].encoder_input is not None:
            # The method's embeddings are not those of the photo's own pixels.
            return verify(photo.pixels, photo.exif, model, photo.objection)
        return verify_localization(localization, photo.pixels, photo.exif, model, photo.objection)
    except VerifyError:  # the page says so
        return None


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.localize",
        "Shows where a photo disagrees with itself: which parts another camera seems "
        "to have made. Reads pixels only; no EXIF is needed. Writes NAME.overlay.png (the photo "
        "beside its map), NAME.map.npy (float32, as many values as pixels, 0 consistent to "
        "1) and NAME.json (verdict, region, settings, checksums) for each photo, and a line about "
        "it in results.jsonl. A sign to look closer, never a proof.",
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
    parser.add_argument(
        "--mask",
        action="store_true",
        help="also write NAME.mask.png: 255 where the map singles the photo out, whatever the "
        "verdict, as many pixels as the photo has",
    )
    defaults = LocalizationSettings()
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
    parser.add_argument(
        "--map-model",
        default="",
        metavar="PATH",
        help="the learned map's release file (default: what ships)",
    )
    return parser


def run() -> None:
    """The console script."""
    command.run(main, results_are_printed=False)


if __name__ == "__main__":
    run()
