"""The command that holds what a photo's file says against what file and pixels are.

python -m exif_jax.verify photo.jpg
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exif_jax.cli import command

with command.imports(__name__):  # JAX takes a second to import
    from exif_jax.cli import batch, photo_command
    from exif_jax.cli.journal import JOURNAL
    from exif_jax.forensics.file_evidence.examine import examine
    from exif_jax.forensics.file_evidence.findings import CONTRADICTS, SILENT
    from exif_jax.forensics.file_evidence.gallery import GalleryError
    from exif_jax.forensics.localization import localize
    from exif_jax.forensics.methods import LocalizationSettings, LocalizeError
    from exif_jax.forensics.statement import PIXELS, Statement, state, statement_as_json
    from exif_jax.forensics.suitability import objection_to_kind
    from exif_jax.forensics.verification import (
        TagFinding,
        Verification,
        VerifyError,
        as_json,
        verify_localization,
    )
    from exif_jax.io import jsonl
    from exif_jax.io.atomic import write_bytes
    from exif_jax.io.text import json_bytes, printable
    from exif_jax.reading.photo import Photo
    from exif_jax.reports import outputs, verification_table

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model


def statement_as_text(statement: Statement) -> str:
    """Returns what file and pixels say together as a few lines for a terminal."""
    lines = [f"strength {statement.strength:.2f}: {statement.sentence}"]
    for finding in statement.findings:
        if finding.rule == PIXELS or finding.verdict == SILENT:
            continue
        mark = "AGAINST" if finding.verdict == CONTRADICTS else "fits"
        weight = f" [{finding.strength:.1f}]" if finding.strength else ""
        lines.append(f"  {mark:7} {finding.rule}: {finding.sentence}{weight}")
    return "\n".join(map(printable, lines))


def as_text(verification: Verification) -> str:
    """Returns the verification of the pixels as a few lines for a terminal."""
    lines = [verification.summary]
    if verification.agreement is not None:
        lines.append(
            f"log-likelihood ratio {verification.agreement:+.2f} nats; {verification.rank} of the "
            f"EXIF of {verification.reference_size} other photos fit the pixels better"
        )
    for finding in verification.tags:
        if finding.verdict == "disagrees":
            preferred = _preferred_values(finding)
            lines.append(f"  {finding.tag}: {finding.value} (disagrees; pixels: {preferred})")
    if agreeing := [finding.tag for finding in verification.tags if finding.verdict == "agrees"]:
        lines.append(f"  not doubted: {', '.join(agreeing)}")
    if verification.closest:
        cameras = ", ".join(f"{name} {p:.0%}" for name, p in verification.closest)
        lines.append(f"like {cameras}")
    for finding in verification.looks_like:
        lines.append(
            f"  looks like {finding.tag}: {_preferred_values(finding)} (skill {finding.skill:.2f})"
        )
    return "\n".join(map(printable, lines))


def _preferred_values(finding: TagFinding) -> str:
    return ", ".join(f"{value} {p:.0%}" for value, p in finding.preferred)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "exif_jax.verify",
        "Holds what a photo's file says of it against what it is. The file itself: tables, "
        "thumbnail, sizes, segments, marks of programs, traces of an earlier compression, each by "
        "a rule whose false alarms were measured. And the pixels: whether the camera settings and "
        "make that EXIF names fit their traces, beside how pristine photos fit theirs. For a photo "
        "without EXIF it says what camera the pixels look like. Writes NAME.verify.json for each "
        "photo, a line in results.jsonl, and verification.csv and .jsonl, the most doubtful first. "
        "A contradiction says that the file is not as the camera wrote it, not why; what fits "
        "proves nothing.",
        "examples:\n"
        "  python -m exif_jax.verify photo.jpg\n"
        "  python -m exif_jax.verify folder/ --output checks --resume\n\n"
        "exit codes: 0 all photos done, 1 some failed (the messages say which and why), "
        "2 wrong usage\n" + command.QUIET,
    )
    photo_command.add_arguments(parser)
    args = parser.parse_args(argv)
    settings = LocalizationSettings(method="cut")

    def work(photo: Photo, shown: str, name: str, model: Model, out: pathlib.Path):
        try:
            localization = localize(photo.pixels, model, settings, objection_to_kind(photo))
            verification = verify_localization(
                localization, photo.pixels, photo.exif, model, photo.objection
            )
            evidence = examine(photo)
        except (LocalizeError, VerifyError, GalleryError) as e:
            raise batch.PhotoFailed(str(e)) from e
        statement = state(evidence, verification)
        report = outputs.make_report(
            photo, shown, model.id, settings, localization, model.calibration
        )
        report |= {"exif": photo.exif, "verify": as_json(verification)}
        report["statement"] = statement_as_json(statement)
        write_bytes(out / f"{name}.verify.json", json_bytes(report))
        entry = {key: report["verify"][key] for key in ("agreement", "p_value", "band", "summary")}
        entry |= {"strength": statement.strength, "finding": statement.headline}
        return entry, f"{shown}\n{statement_as_text(statement)}\n{as_text(verification)}"

    status = photo_command.run(args, work, settings, "verify", "verify.json")
    return _write_table(pathlib.Path(args.output)) or status


def _write_table(output: pathlib.Path) -> int:
    """Writes the table of all verifications in the output folder; returns the exit code."""
    if not (output / JOURNAL).is_file():
        return 0
    try:
        verification_table.write_table(output, jsonl.read_rows(output / JOURNAL))
    except OSError as e:
        where = printable(e.filename or output)
        return command.fail(f"{where}: {e.strerror}; make room or choose another --output")
    return 0


def run() -> None:
    """The console script."""
    command.run(main, results_are_printed=False)


if __name__ == "__main__":
    run()
