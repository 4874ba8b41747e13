"""Printing that decides nothing: a terminal that takes no more words fails no run.

A reader that has gone (`| head -1`) or a full disk behind the output ends the printing; letters
that the terminal's encoding lacks are escaped.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class ForgivingStream:
    """A text stream that stops printing, once and for all, when nothing can be printed.

    Attributes:
      error: What ended the printing; None while it goes on.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Prints a text, as far as that is possible; returns its length."""
        if self.error is None:
            try:
                self._write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hands over what is buffered, as far as that is possible."""
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def _give_up(self, error: OSError) -> None:
        self.error = error
        # What is still in the buffer would fail again, and be complained of, at the very end.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def forgiving_streams() -> Iterator[None]:
    """Standard output and standard error forgive; blocks may lie within each other."""
    before = sys.stdout, sys.stderr
    try:
        sys.stdout, sys.stderr = map(_forgiving, before)
        yield
    finally:
        sys.stdout, sys.stderr = before


def printing_error() -> OSError | None:
    """Returns what ended the printing of results on standard output.

    None also where a reader had all that it wanted and closed its pipe.
    """
    error = getattr(sys.stdout, "error", None)
    return None if isinstance(error, BrokenPipeError) else error


def _forgiving(stream: Any) -> Any:
    # Programs without a terminal may have None.
    return (
        stream if stream is None or isinstance(stream, ForgivingStream) else ForgivingStream(stream)
    )
