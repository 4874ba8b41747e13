"""How long devices had nothing to do because the next batch was not there."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Iterator
from typing import Any

import jax


class InputWait:
    """Takes batches from an iterator and counts the time that this leaves the devices idle.

    The host runs ahead of the devices: while it waits for a batch they mostly compute the steps
    before. Only what passes after the last of these ended is lost.

    Attributes:
        seconds: idle so far; set it to 0 to count anew.
    """

    def __init__(self, batches: Iterator[Any]):
        self.seconds = 0.0
        self._batches = batches
        self._watcher = concurrent.futures.ThreadPoolExecutor(1, "exif-jax-input-wait")
        self._ended: concurrent.futures.Future[float] | None = None

    def next_batch(self) -> Any:
        """The next batch. Raises what the iterator raises."""
        start = time.monotonic()
        batch = next(self._batches)
        now = time.monotonic()
        if self._ended is None:  # nothing has been computed yet
            self.seconds += now - start
        elif self._ended.done():
            self.seconds += max(0.0, now - max(start, self._ended.result()))
        return batch

    def computing(self, results: Any) -> None:
        """Says what the step that was just started will give: arrays that nobody donates."""
        self._ended = self._watcher.submit(_end_of, results)

    def close(self) -> None:
        self._watcher.shutdown()


def _end_of(results: Any) -> float:
    jax.block_until_ready(results)
    return time.monotonic()
