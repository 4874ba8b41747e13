"""HTML from the parts of page.html: whatever is put into one is escaped unless it is markup."""

from __future__ import annotations

import functools
import html
import pathlib
import re
import string
import unicodedata
from collections.abc import Iterable

_PAGE = pathlib.Path(__file__).with_name("page.html")


class Markup(str):
    """Text that is HTML already; all other text is escaped where it is put into a part."""


def visible(text: object, max_chars: int = 200) -> Markup:
    """Returns text of unknown origin as HTML: escaped, bounded, unseen characters spelled out."""
    text = str(text)
    spelled = "".join(
        c if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029" else f"⟨U+{ord(c):04X}⟩"
        for c in text[:max_chars]
    )
    rest = f"… ({len(text):,} characters)" if len(text) > max_chars else ""
    return Markup(html.escape(spelled, quote=True) + rest)


@functools.cache
def _parts() -> dict[str, string.Template]:
    """The parts of page.html by name."""
    pieces = re.split(r"<!-- part: (\S+) -->\n", _PAGE.read_text("utf-8"))
    return {
        name: string.Template(text.rstrip("\n"))
        for name, text in zip(pieces[1::2], pieces[2::2], strict=True)
    }


def fill(part: str, **values: object) -> Markup:
    """Puts values into a part of the page; what is not markup is escaped."""
    escaped = {
        name: value if isinstance(value, Markup) else html.escape(str(value), quote=True)
        for name, value in values.items()
    }
    return Markup(_parts()[part].substitute(escaped))


def join(pieces: Iterable[str], separator: str = "") -> Markup:
    """Puts markup one after another."""
    return Markup(separator.join(pieces))
