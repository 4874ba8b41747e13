"""Text for terminals and files."""

from __future__ import annotations

import json
from typing import Any


def printable(text: object) -> str:
    """Text safe for a terminal: control characters and undecodable bytes become '?'."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def json_bytes(report: dict[str, Any]) -> bytes:
    """Strict JSON in UTF-8, indented; a value that is not finite raises ValueError."""
    # Undecodable bytes of a file name reach Python as lone surrogates, which are no UTF-8.
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"
