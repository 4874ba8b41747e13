"""Fetches a list of photos politely and keeps a manifest of every outcome.

A photo's file is put in place before its line in the manifest, so that a killed run goes on where
it was and fetches nothing twice.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp

from data_prep.downloading.fetch import (
    CutShortError,
    FetchSettings,
    FinalOutcome,
    Host,
    PublicResolver,
    RetryableError,
    fetch,
    host_name,
)
from data_prep.downloading.manifest import (
    MANIFEST,
    describe_file,
    find_photo,
    finished_photos,
    photo_path,
)
from exif_jax.io import jsonl
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.photo import PhotoError, read_photo

Item = dict[str, Any]
_TASKS_PER_SLOT = 64  # of those that wait: bounds the memory


class DownloadError(ExifJaxError):
    """The run cannot go on; the message says why and what to do."""


async def download(
    items: Iterable[Item],
    output: Path,
    settings: FetchSettings,
    progress: Callable[[Item], object] | None = None,
) -> collections.Counter[str]:
    """Fetches what the manifest does not have yet.

    Args:
      items: {"id", "url"} and optionally "licence", "owner" and "exif" (canonical tags).
      output: The output folder, made where it is missing.
      settings: See `FetchSettings`.
      progress: Called with each line of the manifest.

    Returns:
      How many photos of this run came to which outcome; "before" had one from an earlier run.

    Raises:
      DownloadError: If the disk is full.
      OSError: If the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    async with _open_session(settings) as session:
        run = _Run(output, settings, session, progress)
        await run.fetch_all(items)
    return run.counts


@contextlib.asynccontextmanager
async def _open_session(settings: FetchSettings) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(
        limit=0,
        limit_per_host=settings.per_host,
        resolver=None if settings.private else PublicResolver(),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, connect=settings.stall, sock_read=settings.stall),
        headers={"User-Agent": settings.agent, "Accept": "image/*"},
        auto_decompress=False,
    ) as session:
        yield session


class _Run:
    """One run over a list of photos: its hosts, its counts and its manifest."""

    def __init__(
        self,
        output: Path,
        settings: FetchSettings,
        session: aiohttp.ClientSession,
        progress: Callable[[Item], object] | None,
    ):
        self.counts: collections.Counter[str] = collections.Counter()
        self._output = output
        self._settings = settings
        self._session = session
        self._progress = progress
        self._hosts: dict[str, Host] = {}
        self._known = finished_photos(output)

    async def fetch_all(self, items: Iterable[Item]) -> None:
        """Fetches the photos of a list, many at a time."""
        tasks: set[asyncio.Task] = set()
        try:
            for item in items:
                if not self._needs_fetching(item):
                    continue
                self._check_free_space()
                tasks.add(asyncio.create_task(self._fetch_and_record(item)))
                if len(tasks) >= _TASKS_PER_SLOT * self._settings.per_host:
                    tasks = await _wait_for_some(tasks)
            while tasks:
                tasks = await _wait_for_some(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _needs_fetching(self, item: Item) -> bool:
        """False for a photo whose outcome is known without asking; it is recorded if it is new."""
        if item["id"] in self._known:
            self.counts["before"] += 1
            return False
        self._known.add(item["id"])  # a list may name a photo twice
        row = {"id": item["id"], "url": item["url"]}
        if not _is_licensed(item, self._settings):
            self._record(row | {"status": "licence"})
            return False
        if path := find_photo(self._output, item["id"]):
            file = describe_file(path, path.read_bytes(), self._output)
            self._record(row | file | {"status": "done"})
            return False
        return True

    def _check_free_space(self) -> None:
        min_free = self._settings.min_free
        if shutil.disk_usage(self._output).free < min_free:
            raise DownloadError(
                f"{self._output}: less than {min_free >> 20:,} MiB are free; make room and run the "
                "same command again"
            )

    async def _fetch_and_record(self, item: Item) -> None:
        host = self._hosts.setdefault(host_name(item["url"]), Host(self._settings))
        row = await _fetch_photo(self._session, item, self._output, self._settings, host)
        self._record(row)

    def _record(self, row: Item) -> None:
        jsonl.append_rows(self._output / MANIFEST, [row])
        self.counts[row["status"]] += 1
        if self._progress:
            self._progress(row)


async def _fetch_photo(
    session: aiohttp.ClientSession,
    item: Item,
    output: Path,
    settings: FetchSettings,
    host: Host,
) -> Item:
    """Fetches one photo, in several attempts; returns its line for the manifest."""
    row = {"id": item["id"], "url": item["url"]}
    row |= {k: item[k] for k in ("licence", "owner", "exif") if item.get(k)}
    rng = random.Random(f"{item['id']} {time.time()}")
    why, attempt, cut_short = "", 0, b""
    for attempt in range(1, settings.attempts + 1):
        try:
            async with host.slots:
                await host.turn()
                data, suffix = await fetch(session, item["url"], settings, host)
            file = _save_photo(output, item, data, suffix)
            return row | file | {"status": "done", "attempts": attempt}
        except FinalOutcome as e:
            return row | {"status": e.status, "why": e.why, "attempts": attempt}
        except RetryableError as e:
            if isinstance(e, CutShortError):
                if e.data == cut_short and _is_whole(e.data):  # some cameras write no end marker
                    file = _save_photo(output, item, e.data, ".jpg")
                    return row | file | {"status": "done", "attempts": attempt}
                cut_short = e.data
            why = e.why
            if e.wait is not None and e.wait > settings.longest_wait:
                why += f"; asked to wait {e.wait:.0f} s"
                break
            if attempt < settings.attempts and e.wait is None:
                pause = settings.backoff * 2 ** (attempt - 1) * rng.uniform(0.5, 1.0)
                await asyncio.sleep(min(pause, settings.longest_wait))
    return row | {"status": "failed", "why": why, "attempts": attempt}


def _is_whole(data: bytes) -> bool:
    """Whether a file is a photo with all its pixels."""
    try:
        return not read_photo(data).may_be_damaged
    except PhotoError:
        return False


def _save_photo(output: Path, item: Item, data: bytes, suffix: str) -> Item:
    """Writes a photo's file; returns what its line in the manifest says of it."""
    path = photo_path(output, item["id"], suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    return describe_file(path, data, output)


def _is_licensed(item: Item, settings: FetchSettings) -> bool:
    licence = str(item.get("licence", "")).lower()
    words = settings.licences
    return not words or any(word.lower() in licence for word in words)


async def _wait_for_some(tasks: set[asyncio.Task]) -> set[asyncio.Task]:
    """Waits until some are done and returns the others; raises what they raised."""
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return pending
