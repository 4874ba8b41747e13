"""What the page keeps of a photo: the files in its folder, and a summary for the list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

RESULT_NAME = "result"  # of the files that `localize` writes


class ResultFile(NamedTuple):
    """A file in a photo's folder.

    Attributes:
      path: its name in the folder.
      media_type: of the answer that carries it.
      ending: of its name where it is saved or zipped, behind the photo's; "" of what only the
        page shows.
    """

    path: str
    media_type: str
    ending: str


# By their names in addresses. The order is that of the archive.
FILES: dict[str, ResultFile] = {
    "report.html": ResultFile("result.html", "text/html; charset=utf-8", ".html"),
    "result.json": ResultFile("result.json", "application/json", ".json"),
    "mask.png": ResultFile("mask.png", "image/png", ".mask.png"),
    "overlay.png": ResultFile("result.overlay.png", "image/png", ".overlay.png"),
    "photo.jpg": ResultFile("photo.jpg", "image/jpeg", ""),
    "map.png": ResultFile("map.png", "image/png", ""),
}

_MAX_WORDS = 1000


def summary_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the list says of a photo, of the JSON report of `localize`.

    Reports of later versions may hold more, and other bands: what is known is taken.

    Returns:
        score, p_value, band; verdict, reason (of the verdict), support (of a likelihood ratio) and
        note in words; width and height as seen; exif: the band of the comparison of pixels and
        EXIF; file: what the file says against what it is. Words are "" where there are none.
    """
    size = report.get("size") or {}
    width, height = size.get("width"), size.get("height")
    if report.get("orientation") in (5, 6, 7, 8):
        width, height = height, width
    verify = report.get("verify") or {}
    statement = report.get("statement") or {}
    return {
        "score": _number(report.get("score")),
        "p_value": _number(report.get("p_value")),
        "band": _words(report.get("band")) or None,
        "verdict": _words(report.get("verdict")),
        "support": _words(report.get("support")),
        "note": _words(report.get("note")),
        "reason": _words(report.get("reason")),
        "width": width,
        "height": height,
        "exif": _words(verify.get("band")),
        "file": _words(statement.get("sentence")),
    }


def _words(value: object) -> str:
    return value[:_MAX_WORDS] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
