"""A list of parts within so many minutes, each in a process of its own, and one JSON for all.

A part that fails, crashes or takes too long costs no more than itself: what it had written by then
is kept, the report says what happened, and the next part begins. The report is written after each
part, so that a run that is cut off leaves what it had.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from exif_jax.io.atomic import write_bytes

TAIL = 1500  # characters of a failed part's last words that the report keeps
LEAST_SECONDS = 5.0  # with less time left no part is begun
STOP_SECONDS = 5.0  # between asking a process to end and ending it


class Part(NamedTuple):
    """One part of a run.

    Attributes:
        name: its key in the report.
        words: `python -m` these words; "{output}" becomes the path of the JSON that it writes.
        most_seconds: that it may take.
        keep: makes of that JSON what the report holds.
    """

    name: str
    words: Sequence[str]
    most_seconds: float
    keep: Callable[[Any], Any] = lambda figures: figures


class Clock:
    """The time that is left of so many minutes."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._start = now()
        self._seconds = 60 * minutes

    def left(self) -> float:
        """Returns the seconds that are left; below 0 when it is over."""
        return self._seconds - self.spent()

    def spent(self) -> float:
        """Returns the seconds since the start."""
        return self._now() - self._start


def run_parts(
    parts: Sequence[Part],
    clock: Clock,
    report_path: pathlib.Path,
    scratch: pathlib.Path,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Runs the parts in order while there is time; returns the report, which lies in a file too.

    Args:
        parts: the most useful first.
        clock: of the whole run.
        report_path: of the JSON: `facts`; under a part's name what it gave; "seconds" of each
            part; "failed", what went wrong where; "left_out", for want of time.
        scratch: folder for the parts' own files.
        facts: what the report begins with.
    """
    report: dict[str, Any] = {**facts, "seconds": {}, "failed": {}, "left_out": []}
    save(report_path, report)
    for part in parts:
        seconds = min(part.most_seconds, clock.left())
        if seconds < LEAST_SECONDS:
            report["left_out"].append(part.name)
            save(report_path, report)
            continue
        print(f"{part.name}: at most {seconds:.0f} s", flush=True)
        output = scratch / f"{part.name}.json"
        started = clock.spent()
        failure = run_words([word.format(output=output) for word in part.words], seconds)
        report["seconds"][part.name] = round(clock.spent() - started, 1)
        try:
            figures = part.keep(json.loads(output.read_text()))
        except (OSError, ValueError, LookupError, TypeError) as error:
            failure = failure or f"no figures: {error!r}"
        else:
            report = {part.name: figures} | report
            report = {name: report[name] for name in _order(report, parts)}
        if failure:
            report["failed"][part.name] = failure
            print(f"{part.name}: {failure.splitlines()[-1]}", flush=True)
        save(report_path, report)
    return report


def _order(report: Mapping[str, Any], parts: Sequence[Part]) -> list[str]:
    """The figures of the parts first, in their order, then the rest."""
    names = [part.name for part in parts if part.name in report]
    return names + [name for name in report if name not in names]


def run_words(words: Sequence[str], seconds: float) -> str:
    """Runs `python -m` these words for at most so long; returns what went wrong, or ""."""
    argv = [sys.executable, "-m", *words]
    # A session of its own, so that what it started ends with it.
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        said = _stop(process)
        return f"stopped after {seconds:.0f} s\n{said[-TAIL:]}".strip()
    except BaseException:  # this process itself is to end
        _stop(process)
        raise
    return f"ended with {process.returncode}\n{said[-TAIL:]}" if process.returncode else ""


def _stop(process: subprocess.Popen) -> str:
    """Ends a process and what it started; returns what it said."""
    for end in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, end)
        try:
            return process.communicate(timeout=STOP_SECONDS)[0]
        except subprocess.TimeoutExpired:
            continue
    return ""


def save(path: pathlib.Path, report: Mapping[str, Any]) -> None:
    """Writes a report, whole or not at all."""
    write_bytes(path, (json.dumps(report, indent=1) + "\n").encode())
