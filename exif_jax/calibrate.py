"""Gives a release file its calibration: what its scores mean, and what EXIF to compare with.

    python -m exif_jax.calibrate model.safetensors calibrated.safetensors --pristine originals
    python -m exif_jax.calibrate model.safetensors calibrated.safetensors --exif photos

`--pristine` measures what camera originals score, in the sizes and qualities that people bring, and
what splices of them do; an archive or a laboratory calibrates to its own cameras so. `--exif` fits
what `exif_jax.verify` needs: what the pixels of photos of many cameras say of their EXIF, and how
well photos of cameras that were left out of the fit agree with theirs.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from exif_jax.cli import command

with command.imports(__name__):
    from exif_jax.cli.photo_command import keep_compiled, positive
    from exif_jax.evaluation import score_fitting
    from exif_jax.evaluation.exif_calibration import (
        KnownPhoto,
        exif_calibration,
        grid_of,
        known_photos,
        without_old_keys,
    )
    from exif_jax.evaluation.folder_dataset import read_folder
    from exif_jax.evaluation.masks import DatasetError
    from exif_jax.evaluation.score_measuring import Row, measure, photos_by_camera
    from exif_jax.evaluation.tables import text_table
    from exif_jax.forensics.learned_map import SMALL, loaded_map
    from exif_jax.forensics.methods import (
        DEFAULT_METHOD,
        LEARNED,
        METHODS,
        LocalizationSettings,
    )
    from exif_jax.forensics.verification import has_skill
    from exif_jax.io.errors import ExifJaxError
    from exif_jax.io.text import printable
    from exif_jax.weights.release_file import Model, load_model, save_model


def calibrated_scores(
    model: Model, rows: Sequence[Row], settings: LocalizationSettings, date: datetime.date
) -> tuple[dict[str, Any], list[score_fitting.Judged]]:
    """The model's calibration with what a method's scores mean; other methods' parts stay.

    Args:
        model: a loaded model.
        rows: what pristine photos and splices scored (`score_measuring.measure`).
        settings: what they were localised with.
        date: of the calibration.

    Returns:
        The calibration, and the samples, each judged without its camera.

    Raises:
        DatasetError: the rows are of too few cameras.
    """
    try:
        judged = score_fitting.leave_one_out(rows)
        fitted = score_fitting.fit(judged, grid_of(settings), date)
        if settings.method in LEARNED:
            fitted |= {"map": loaded_map(settings.map_model).id}  # another one scores otherwise
        if settings.method == "map":
            fitted |= {"longest": SMALL}
    except ValueError as e:
        raise DatasetError(f"the scores cannot be calibrated: {e}") from e
    scores = model.calibration.get("scores", {}) | {settings.method: fitted}
    return model.calibration | {"scores": scores}, judged


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not (args.pristine or args.exif):
        parser.error("give --pristine, --exif or both")
    settings = LocalizationSettings(method=args.method, map_model=args.map_model)
    keep_compiled()
    judged = None
    try:
        model = without_old_keys(load_model(args.model))
        calibration = model.calibration
        if args.exif:
            calibration = calibration | exif_calibration(_known_photos(args, model))
        if args.pristine:
            rows = _measure(args, model, settings)
            model = dataclasses.replace(model, calibration=calibration)
            calibration, judged = calibrated_scores(model, rows, settings, datetime.date.today())
        save_model(dataclasses.replace(model, calibration=calibration, id=""), args.out)
    except ExifJaxError as e:
        return command.fail(printable(e))
    except OSError as e:
        return command.fail(f"{e.filename or args.out}: {e.strerror or e}; choose another OUT")
    if judged is not None:
        _show_scores(calibration, judged, settings.method)
    if args.exif:
        _show_exif(calibration)
    return 0


def _measure(args: argparse.Namespace, model: Model, settings: LocalizationSettings) -> list[Row]:
    return measure(
        photos_by_camera(args.pristine, _warn),
        read_folder(args.splices) if args.splices else None,
        model,
        settings,
        _journal(args),
        _warn,
        args.max_samples,
    )


def _known_photos(args: argparse.Namespace, model: Model) -> list[KnownPhoto]:
    return known_photos(photos_by_camera(args.exif, _warn), model, _journal(args), _warn)


def _journal(args: argparse.Namespace) -> pathlib.Path:
    return args.samples or args.out.with_suffix(".samples.jsonl")


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _show_scores(
    calibration: dict[str, Any], judged: Sequence[score_fitting.Judged], method: str
) -> None:
    about = calibration["scores"][method]["measured_on"]
    print(
        f"scores of {method}: {about['num_samples']} samples of {about['num_photos']} pristine "
        f"photos by {about['num_cameras']} cameras, {about['num_splices']} of splices; each "
        "judged without its camera:"
    )
    print(text_table(score_fitting.table(judged)))
    share, low, high = about["accused"]
    print(f"accused at 5 %: {share:.1%}, 95 % interval over cameras {low:.1%} to {high:.1%}")
    if "cllr" in about:
        print(f"Cllr of the likelihood ratio: {about['cllr']:.3f} (0 perfect, 1 says nothing)")


def _show_exif(calibration: dict[str, Any]) -> None:
    on = calibration["measured_on"]
    print(f"EXIF: {on['num_photos']} photos of {on['num_cameras']} cameras; skill by tag:")
    for tag, skill in sorted(calibration["tag_skill"].items(), key=lambda x: -x[1]["auc"]):
        print(
            f"  {tag:28} AUC {skill['auc']:.3f} (low {skill['auc_low']:.3f}) "
            f"{skill['num_cameras']:3} cameras {'used' if has_skill(skill) else ''}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.calibrate",
        "Writes a copy of a release file that can say what a score means (--pristine), and verify "
        "EXIF (--exif). Photos that the model was trained on are not pristine photos for "
        "this: it knows them too well. What OUT's model was calibrated for before and this run "
        "does not measure stays.",
        "exit codes: 0 written, 1 unreadable model or photos, or cannot write, 2 wrong "
        "usage. " + command.QUIET,
    )
    add = parser.add_argument
    add("model", help="release file to calibrate")
    add("out", type=pathlib.Path, help="release file to write")
    add(
        "--pristine",
        action="append",
        default=[],
        metavar="DIR",
        help="camera originals, or regions of them with their EXIF, of many cameras; subfolders "
        "are searched; again for more",
    )
    add(
        "--splices",
        metavar="DIR",
        help="with --pristine: splices with masks (images/ and masks/, or manifest.jsonl), beside "
        "those that are made of the pristine photos",
    )
    add(
        "--samples",
        type=pathlib.Path,
        metavar="FILE",
        help="where measured samples are kept; a run that was stopped goes on "
        "there (default: OUT with the ending .samples.jsonl)",
    )
    add(
        "--max-samples",
        type=positive,
        metavar="N",
        help="with --pristine: stop after so many samples; cameras, sizes and qualities are met "
        "about equally often from the beginning (default: three of each photo)",
    )
    add(
        "--method",
        choices=METHODS,
        default=DEFAULT_METHOD,
        help="whose scores: auto (the default), those of cut and learned map together; cut; map, "
        "the learned map's, of small pictures alone; mean_shift or official",
    )
    add(
        "--map-model",
        metavar="PATH",
        default="",
        help="with --method auto or map: the learned map's release file (default: what ships)",
    )
    add(
        "--exif",
        action="append",
        default=[],
        metavar="DIR",
        help="whole camera originals of many cameras, to fit the regression from pixels to EXIF; "
        "each is judged by a fit without its camera. Those that the model was trained on may be "
        "among them, most should not; subfolders are searched; again for more",
    )
    return parser


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
