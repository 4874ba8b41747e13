"""Text for terminals and files."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any


def printable(text: object) -> str:
    """Text safe for a terminal: control characters and undecodable bytes become '?'."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def json_bytes(report: dict[str, Any]) -> bytes:
    """Strict JSON in UTF-8, indented; a value that is not finite raises ValueError."""
    # Undecodable bytes of a file name reach Python as lone surrogates, which are no UTF-8.
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean 'NAME'?" with the known name most like this one, or "" if none is."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
