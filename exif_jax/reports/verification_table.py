"""The table of a folder's verifications: verification.csv and .jsonl, the most doubtful first."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from exif_jax.io import jsonl
from exif_jax.io.atomic import write_bytes
from exif_jax.io.text import printable

CSV, JSONL = "verification.csv", "verification.jsonl"
COLUMNS = ("file", "p_value", "strength", "finding")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_table(folder: pathlib.Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes both files, each whole or not at all.

    Args:
        folder: the output folder.
        rows: of the journal; those that are not done verifications are left out.

    Raises:
        OSError: they cannot be written.
    """
    kept = [
        {key: row[key] for key in COLUMNS}
        for row in rows
        if row.get("command") == "verify" and row.get("status") == "done" and _is_whole(row)
    ]
    kept.sort(key=lambda row: (-row["strength"], row["file"]))
    jsonl.rewrite(folder / JSONL, kept)
    write_bytes(folder / CSV, csv_bytes(kept))


def _is_whole(row: Mapping[str, Any]) -> bool:
    return (
        all(key in row for key in COLUMNS)
        and isinstance(row["strength"], int | float)
        and isinstance(row["p_value"], int | float | None)
    )


def csv_bytes(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Returns rows as CSV in UTF-8; a text that a spreadsheet would take for a formula is quoted.

    A p-value that there is none of is empty.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        p = row["p_value"]
        writer.writerow(
            (
                _plain(row["file"]),
                "" if p is None else f"{p:.4g}",
                f"{row['strength']:.3f}",
                _plain(row["finding"]),
            )
        )
    return stream.getvalue().encode("utf-8", "replace")


def _plain(text: object) -> str:
    shown = printable(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
