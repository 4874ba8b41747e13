"""Where a photo disagrees with itself: the function `exif_jax.localize(image, model)`, the command.

python -m exif_jax.localize photo.jpg --model PATH --out DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exif_jax import affinity, batch, cli, command, html_report, report
from exif_jax.affinity import Encoder, Share
from exif_jax.calibration import score_band, score_p_value
from exif_jax.localization import (
    METHOD_HELP,
    METHODS,
    Localization,
    LocalizeError,
    Settings,
    localize_with,
)
from exif_jax.photo import Photo, read_photo

if TYPE_CHECKING:
    from exif_jax.release import Model


def localize(
    image: np.ndarray | str | os.PathLike,
    model: Model | str | os.PathLike | None = None,
    settings: Settings | None = None,
) -> Localization:
    """Finds the parts of a photo that another camera seems to have made.

    Args:
        image: uint8 [H, W, 3] at full resolution, never resized; or the path of a photo.
        model: a loaded model, or the path of its release file; the weights that ship where None.
        settings: the defaults where None.

    Raises:
        LocalizeError: the array is no RGB image, or smaller than the model's patch.
        exif_jax.photo.PhotoError: the file cannot be read as a photo.
        exif_jax.release.ReleaseError: the model cannot be read.
    """
    settings = settings or Settings()
    model = resolve_model(model)
    if isinstance(image, str | os.PathLike):
        image = read_photo(image).pixels
    encode, share = _encoder(model.config)
    found = localize_with(image, encode, model.params, model.patch_size, settings, share)
    if found.flat:
        return found
    areas = found.consistency.size / model.patch_size**2
    p_value = score_p_value(
        model.calibration, found.score, settings.method, areas, found.roughness_gap
    )
    return dataclasses.replace(found, p_value=p_value, band=score_band(p_value))


def resolve_model(model: Model | str | os.PathLike | None) -> Model:
    """A model as it is, read from a path, or, of None, the one that ships. Raises ReleaseError."""
    from exif_jax.release import load_model

    if model is None:
        return _shipped()
    return load_model(model) if isinstance(model, str | os.PathLike) else model


@functools.cache
def _shipped() -> Model:
    from exif_jax.release import load_model

    return load_model()


@functools.lru_cache
def _encoder(config) -> tuple[Encoder, Share | None]:
    # One function object per configuration: JAX compiles once per object.
    from exif_jax.models.dual_encoder import embed_images, photo_features

    shares = getattr(config.image, "features", "") == "spectrum"
    return functools.partial(embed_images, config), photo_features if shares else None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    settings = Settings(args.num_per_dim, args.max_patches, args.align, args.batch, args.method)

    def work(photo: Photo, shown: str, name: str, model: Model, out: pathlib.Path):
        told = localize_to(out, name, photo, shown, model, settings, args.report)
        band = told["band"] or "not calibrated"
        return told, f"{told['score']:.3f}  {band:11}  {shown} -> {out / name}.overlay.png"

    # With --report a photo is done when its page is there, without it when its JSON is.
    return command.run(args, work, settings, "html" if args.report else "json")


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
        batch.Failed: the photo cannot be localised. OSError: nothing can be written.
    """
    try:
        found = localize(photo.pixels, model, settings)
    except LocalizeError as e:
        raise batch.Failed(str(e)) from e
    facts = report.make_report(photo, shown, model.id, settings, found)
    html = None
    if page:
        facts["verify"] = _verification(photo, found, model)
        colours = affinity.pca_colours(found.embeddings, found.grid)
        html = html_report.make_html(photo, found, facts, colours)
    report.write_outputs(out, name, photo, found, facts, html)
    return {key: facts[key] for key in ("score", "p_value", "band", "note")}


def _verification(photo: Photo, found: Localization, model: Model) -> dict[str, Any] | None:
    from exif_jax import verify

    try:
        return verify.as_json(
            verify.verify_embeddings(found.embeddings, photo.exif, model, found.flat)
        )
    except verify.VerifyError:  # no bank: the page says so
        return None


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "exif_jax.localize",
        "Shows where a photo disagrees with itself: which parts another camera seems "
        "to have made. Reads pixels only; no EXIF is needed. Writes NAME.overlay.png (the photo "
        "beside its map), NAME.map.npy (float32, as many values as pixels, 0 consistent to "
        "1) and NAME.json (score, settings, checksums) for each photo, and a line about it in "
        "results.jsonl. A sign to look closer, never a proof.",
        "examples:\n"
        "  python -m exif_jax.localize photo.jpg --report\n"
        "  find . -name '*.jpg' -print0 | python -m exif_jax.localize - --resume\n"
        "  python -m exif_jax.localize folder/ --model model.safetensors --out results\n"
        "  python -m exif_jax.localize --model m.safetensors --out results -- -odd-name.jpg\n\n"
        "exit codes: 0 all photos done, 1 some failed (the messages say which and why), "
        "2 wrong usage\n" + cli.QUIET,
    )
    command.add_arguments(parser)
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
        ("batch", "patches encoded at a time; changes speed and memory only"),
    ):
        parser.add_argument(
            "--" + option.replace("_", "-"),
            type=command.positive,
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


command.make_callable(__name__, localize)

if __name__ == "__main__":
    cli.leave(main())
