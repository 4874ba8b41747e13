"""The command that compares a photo's pixels with the EXIF in its file.

python -m exif_jax.verify photo.jpg
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from exif_jax.cli import batch, command, photo_command
from exif_jax.forensics.localization import LocalizeError, Settings, localize
from exif_jax.forensics.verification import (
    Verification,
    VerifyError,
    as_json,
    reference_set_of,
    verify_embeddings,
)
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import json_bytes, printable
from exif_jax.reading.photo import Photo
from exif_jax.reports import outputs

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model


def as_text(found: Verification) -> str:
    """The verification as a few lines for a terminal."""
    lines = [found.summary]
    if found.agreement is not None:
        lines.append(
            f"agreement {found.agreement:+.2f} nats; {found.rank} of the EXIF of "
            f"{found.bank_size} other photos fit the pixels better"
        )
    for f in found.tags:
        if f.says != "cannot tell":
            pixels = ", ".join(f"{value} {p:.0%}" for value, p in f.preferred)
            lines.append(f"  {f.tag}: {f.value} ({f.says}; pixels: {pixels})")
    if found.closest:
        lines.append("like " + ", ".join(f"{name} {p:.0%}" for name, p in found.closest))
    for f in found.looks_like:
        values = ", ".join(f"{value} {p:.0%}" for value, p in f.preferred)
        lines.append(f"  looks like {f.tag}: {values} (skill {f.skill:.2f})")
    return "\n".join(map(printable, lines))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "exif_jax.verify",
        "Compares a photo's pixels with the EXIF in its file: whether the camera "
        "settings and make it names fit the traces in the pixels, beside how pristine photos fit "
        "theirs. For a photo without EXIF it says what camera the pixels look like. Writes "
        "NAME.verify.json for each photo and a line in results.jsonl. A hint, never a proof: "
        "most false EXIF is not caught.",
        "examples:\n"
        "  python -m exif_jax.verify photo.jpg\n"
        "  python -m exif_jax.verify folder/ --output checks --resume\n\n"
        "exit codes: 0 all photos done, 1 some failed (the messages say which and why), "
        "2 wrong usage\n" + command.QUIET,
    )
    photo_command.add_arguments(parser)
    args = parser.parse_args(argv)
    settings = Settings()

    def work(photo: Photo, shown: str, name: str, model: Model, out: pathlib.Path):
        try:
            reference_set_of(model)  # refuses a model without one before the long part
            embedded = localize(photo.pixels, model, settings)
            found = verify_embeddings(embedded.embeddings, photo.exif, model, embedded.flat)
        except (LocalizeError, VerifyError) as e:
            raise batch.PhotoFailed(str(e)) from e
        facts = outputs.make_report(photo, shown, model.id, settings, embedded)
        facts |= {"exif": photo.exif, "verify": as_json(found)}
        write_bytes(out / f"{name}.verify.json", json_bytes(facts))
        told = {key: facts["verify"][key] for key in ("agreement", "p_value", "band", "summary")}
        return told, f"{shown}\n{as_text(found)}"

    return photo_command.run(args, work, settings, "verify", "verify.json")


def run() -> None:
    """The console script."""
    command.run(main, results_are_printed=False)


if __name__ == "__main__":
    run()
