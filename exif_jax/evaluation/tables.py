"""What an evaluation shows: tables for the terminal and for Markdown, CSV, a contact sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.io.text import printable
from exif_jax.reports.render import colorize

_DETECTION = (("auc", "detection AUC"), ("ap", "detection AP"))
HEADER = ("dataset", "detector", *METRICS, *(title for _, title in _DETECTION))
_SIDE = 288  # pixels of a panel of the contact sheet
_MARGIN, _CAPTION = 12, 34


def cells(summary: dict[str, Any], intervals: bool = True) -> tuple[str, ...]:
    """A summary (`evaluation.summarize`) as a row of the table under HEADER."""
    figures = [(summary["mean"].get(m), summary["interval"].get(m)) for m in METRICS]
    for name, _ in _DETECTION:
        pair = [summary[k] and summary[k][name] for k in ("detection", "detection_interval")]
        figures.append((pair[0], pair[1]))
    return (
        printable(summary["dataset"]),
        printable(summary["detector"]),
        *(_figure(value, interval if intervals else None) for value, interval in figures),
    )


def _figure(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "-"
    between = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return f"{value:.3f}{between}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as text, the first two columns to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at > 1 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]], command: str, photos: str) -> str:
    """The table with the command that makes it, ready for a README."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---|---|" + "---:|" * (len(rows[0]) - 2))
    note = (
        "Means over the spliced photos with 95 % bootstrap intervals; ap, f1 (best threshold) and "
        "auc of pixels are oriented, p_map takes the better of the map and its inverse."
    )
    return f"```sh\n{command}\n```\n\n" + "\n".join(lines) + f"\n\n{photos} {note}\n"


def csv_bytes(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows with one column for every key that any of them has, in order of appearance."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    # A spreadsheet would run what begins like a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def contact_sheet(cases: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> Image.Image:
    """Photo, mask and map side by side, one case below the other.

    Args:
        cases: caption, uint8 [H, W, 3], bool [H, W], float [H, W] in [0, 1] each; at least one.
            The map's colours are on the fixed scale from 0 to 1.
    """
    strips = [_strip(*case) for case in cases]
    height = sum(strip.height for strip in strips) + _MARGIN
    sheet = Image.new("RGB", (strips[0].width, height), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _strip(caption: str, pixels: np.ndarray, mask: np.ndarray, found: np.ndarray) -> Image.Image:
    white = np.repeat(np.uint8(255) * mask[..., None], 3, axis=2)
    panels = [Image.fromarray(np.ascontiguousarray(x)) for x in (pixels, white, colorize(found))]
    for panel in panels:
        panel.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    size = 3 * _SIDE + 4 * _MARGIN, panels[0].height + _CAPTION
    strip = Image.new("RGB", size, "white")
    font = ImageFont.load_default(16)
    ImageDraw.Draw(strip).text((_MARGIN, 10), printable(caption)[:110], "black", font)
    for at, panel in enumerate(panels):
        strip.paste(panel, (_MARGIN + at * (_SIDE + _MARGIN), _CAPTION))
    return strip


def best_median_worst(
    rows: Sequence[dict[str, Any]], each: int = 2
) -> list[tuple[str, dict[str, Any]]]:
    """The spliced rows to show, by their ap: the best, those in the middle, the worst."""
    ordered = sorted((row for row in rows if row["spliced"]), key=lambda row: -row["ap"])
    if len(ordered) <= 3 * each:
        return [("", row) for row in ordered]
    middle = (len(ordered) - each) // 2
    parts = (
        ("best", ordered[:each]),
        ("median", ordered[middle : middle + each]),
        ("worst", ordered[-each:]),
    )
    return [(name, row) for name, part in parts for row in part]
