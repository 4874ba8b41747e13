"""What an evaluation shows: tables for the terminal and for Markdown, CSV, a contact sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from exif_jax.evaluation.splice_metrics import METRICS
from exif_jax.io.text import printable
from exif_jax.reports.render import colorize

_DETECTION = (("auc", "detection AUC"), ("ap", "detection AP"))
_SIDE = 288  # pixels of a panel of the contact sheet
_MARGIN, _CAPTION = 12, 34
_EXPLANATION = (
    "Means over the tampered photos that have a mask, with 95 % bootstrap intervals. A name "
    "without prefix is oriented: high in the heat map must mean tampered; best over all thresholds "
    "(f1, iou, ciou, mcc), at 0.5 (_fixed) or at the threshold that the detector chose (_mask). p_ "
    "takes the better of the heat map and its inverse, photo by photo."
)


def header(metrics: Sequence[str] = METRICS) -> tuple[str, ...]:
    """The first row of a table: of `cells` of the same metrics."""
    return ("dataset", "detector", *metrics, *(title for _, title in _DETECTION))


def cells(
    summary: dict[str, Any], metrics: Sequence[str] = METRICS, intervals: bool = True
) -> tuple[str, ...]:
    """A summary (`runner.summarize`) as a row of the table under `header`."""
    figures = [(summary["mean"].get(name), summary["interval"].get(name)) for name in metrics]
    detection, between = summary["detection"], summary["detection_interval"]
    for name, _ in _DETECTION:
        figures.append((detection and detection[name], between and between[name]))
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


def markdown(rows: Sequence[Sequence[str]], command: str, notes: Sequence[str]) -> str:
    """The table with the command that makes it and notes below it, ready for a README."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|---|---|" + "---:|" * (len(rows[0]) - 2))
    paragraphs = [f"```sh\n{command}\n```", "\n".join(lines), *notes, _EXPLANATION]
    return "\n\n".join(paragraphs) + "\n"


def csv_lines(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Rows with one column for every key that any of them has, in order of appearance.

    The rows are gone through twice, first for their keys.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    yield _csv_line(names)
    for row in rows:
        yield _csv_line([_cell(row.get(name)) for name in names])


def _csv_line(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    # A spreadsheet would run what begins like a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


class Case(NamedTuple):
    """One photo of a contact sheet.

    Attributes:
        caption: above it.
        pixels: uint8 [H, W, 3].
        mask: bool [H, W].
        heatmap: float [H, W] in [0, 1], shown in colours on that fixed scale.
    """

    caption: str
    pixels: np.ndarray
    mask: np.ndarray
    heatmap: np.ndarray


def contact_sheet(cases: Sequence[Case]) -> Image.Image:
    """Photo, mask and heat map side by side, one case below the other; at least one case."""
    strips = [_strip(case) for case in cases]
    height = sum(strip.height for strip in strips) + _MARGIN
    sheet = Image.new("RGB", (strips[0].width, height), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _strip(case: Case) -> Image.Image:
    white = np.repeat(np.uint8(255) * case.mask[..., None], 3, axis=2)
    pictures = (case.pixels, white, colorize(case.heatmap))
    panels = [Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures]
    for panel in panels:
        panel.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    size = 3 * _SIDE + 4 * _MARGIN, panels[0].height + _CAPTION
    strip = Image.new("RGB", size, "white")
    font = ImageFont.load_default(16)
    ImageDraw.Draw(strip).text((_MARGIN, 10), printable(case.caption)[:110], "black", font)
    for at, panel in enumerate(panels):
        strip.paste(panel, (_MARGIN + at * (_SIDE + _MARGIN), _CAPTION))
    return strip


def best_median_worst(
    rows: Sequence[dict[str, Any]], each: int = 2
) -> list[tuple[str, dict[str, Any]]]:
    """The rows to show, by their ap: the best, those in the middle, the worst."""
    ordered = sorted((row for row in rows if "ap" in row), key=lambda row: -row["ap"])
    if len(ordered) <= 3 * each:
        return [("", row) for row in ordered]
    middle = (len(ordered) - each) // 2
    parts = (
        ("best", ordered[:each]),
        ("median", ordered[middle : middle + each]),
        ("worst", ordered[-each:]),
    )
    return [(name, row) for name, part in parts for row in part]
