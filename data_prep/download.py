"""Fetches photos politely: `python -m data_prep.download --urls list.jsonl --output photos`.

Every outcome is a line of `manifest.jsonl`; a photo's file is put in place before its line, so that
a killed run goes on where it was and fetches nothing twice. Hosts are asked slowly, told who asks,
and left alone for as long as they say.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from data_prep.downloading.fetch import (
    MAGIC,
    Again,
    Ended,
    FetchSettings,
    Host,
    PublicResolver,
    fetch,
    host_name,
)
from exif_jax.cli import command
from exif_jax.io.atomic import write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.exif_readers import from_yfcc

MANIFEST = "manifest.jsonl"
# Outcomes that another run would not change.
FINAL = frozenset(("done", "gone", "no photo", "placeholder", "too large", "refused", "licence"))


class DownloadError(ExifJaxError):
    """The run cannot go on; the message says why and what to do."""


# --- the manifest -------------------------------------------------------------------------------


def settled_photos(out: Path) -> set[str]:
    """The photos that another run would not change; line by line, as manifests grow large.

    A line that a killed run left unfinished is cut off, so that the next begins on its own.
    """
    settled = set()
    try:
        with open(out / MANIFEST, "r+b") as file:
            for row in file:
                if not row.endswith(b"\n"):
                    file.seek(-len(row), os.SEEK_END)
                    file.truncate()
                    break
                try:
                    line = json.loads(row)
                    if line["status"] in FINAL:
                        settled.add(str(line["id"]))
                except (ValueError, KeyError, TypeError):
                    continue
    except FileNotFoundError:
        pass
    return settled


def place(out: Path, photo_id: str, suffix: str) -> Path:
    """Where a photo lies: spread over 256 folders, under a name that is safe anywhere."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", photo_id)[:80]
    digest = hashlib.sha256(photo_id.encode("utf-8", "surrogatepass")).hexdigest()
    name = safe if safe == photo_id else f"{safe}-{digest[:8]}"
    return out / "photos" / digest[:2] / f"{name}{suffix}"


def _lying(out: Path, photo_id: str) -> Path | None:
    """The photo's file, where a run that was killed before its line had put it in place."""
    for suffix in sorted({suffix for _, suffix in MAGIC}):
        path = place(out, photo_id, suffix)
        if path.is_file():
            return path
    return None


# --- one photo ----------------------------------------------------------------------------------


async def _photo(
    session, item: dict[str, Any], out: Path, settings: FetchSettings, host: Host
) -> dict[str, Any]:
    """Fetches one photo; its line for the manifest."""
    line = {"id": item["id"], "url": item["url"]}
    line |= {k: item[k] for k in ("licence", "owner", "exif") if item.get(k)}
    generator = random.Random(f"{item['id']} {time.time()}")
    why = ""
    for attempt in range(1, settings.attempts + 1):
        try:
            async with host.slots:
                await host.turn()
                data, suffix = await fetch(session, item["url"], settings, host)
            path = place(out, item["id"], suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, data)
            return line | _facts(path, data, out) | {"status": "done", "attempts": attempt}
        except Ended as e:
            return line | {"status": e.status, "why": e.why, "attempts": attempt}
        except Again as e:
            why = e.why
            if e.wait is not None and e.wait > settings.longest_wait:
                why += f"; asked to wait {e.wait:.0f} s"
                break
            if attempt < settings.attempts and e.wait is None:
                pause = settings.backoff * 2 ** (attempt - 1) * generator.uniform(0.5, 1.0)
                await asyncio.sleep(min(pause, settings.longest_wait))
    return line | {"status": "failed", "why": why, "attempts": attempt}


def _facts(path: Path, data: bytes, out: Path) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"file": path.relative_to(out).as_posix(), "num_bytes": len(data), "sha256": digest}


def _licensed(item: dict[str, Any], settings: FetchSettings) -> bool:
    licence = str(item.get("licence", "")).lower()
    words = settings.licences
    return not words or any(word.lower() in licence for word in words)


# --- all photos ---------------------------------------------------------------------------------


async def download(
    items: Iterable[dict[str, Any]], out: Path, settings: FetchSettings, progress=None
) -> collections.Counter[str]:
    """Fetches what the manifest does not have yet.

    Args:
      items: {"id", "url"} and optionally "licence", "owner" and "exif" (canonical tags).
      out: the output folder, made where it is missing.
      settings: see `ShotSettings`.
      progress: called with each line of the manifest.

    Returns:
      How many photos of this run came to which outcome; "before" were settled by earlier runs.

    Raises:
      DownloadError: the disk is full.
      OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    settled = settled_photos(out)
    hosts: dict[str, Host] = {}
    counts: collections.Counter[str] = collections.Counter()
    timeout = aiohttp.ClientTimeout(total=None, connect=settings.stall, sock_read=settings.stall)
    headers = {"User-Agent": settings.agent, "Accept": "image/*"}
    waiting: set[asyncio.Task] = set()
    with open(out / MANIFEST, "ab", buffering=0) as manifest:

        def record(line: dict[str, Any]) -> None:
            manifest.write(json.dumps(line, sort_keys=True).encode() + b"\n")
            counts[line["status"]] += 1
            if progress:
                progress(line)

        async def one(item: dict[str, Any]) -> None:
            host = hosts.setdefault(host_name(item["url"]), Host(settings))
            record(await _photo(session, item, out, settings, host))

        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=settings.per_host,
            resolver=None if settings.private else PublicResolver(),
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, auto_decompress=False
        ) as session:
            try:
                for item in items:
                    if item["id"] in settled:
                        counts["before"] += 1
                        continue
                    settled.add(item["id"])  # a list may name a photo twice
                    if not _licensed(item, settings):
                        record({"id": item["id"], "url": item["url"], "status": "licence"})
                        continue
                    if path := _lying(out, item["id"]):
                        line = {"id": item["id"], "url": item["url"], "status": "done"}
                        record(line | _facts(path, path.read_bytes(), out))
                        continue
                    if shutil.disk_usage(out).free < settings.min_free:
                        raise DownloadError(
                            f"{out}: less than {settings.min_free >> 20:,} MiB are free; make room "
                            "and run the same command again"
                        )
                    waiting.add(asyncio.create_task(one(item)))
                    if len(waiting) >= 64 * settings.per_host:  # memory, not politeness
                        waiting = await _some(waiting)
                while waiting:
                    waiting = await _some(waiting)
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
    return counts


async def _some(tasks: set[asyncio.Task]) -> set[asyncio.Task]:
    """Waits until some are done; raises what they raised."""
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


# --- the command --------------------------------------------------------------------------------


def read_urls(path: Path) -> Iterator[dict[str, Any]]:
    """{"id", "url", ...} a line.

    Raises:
      DownloadError: naming the line that is none.
    """
    with open(path, encoding="utf-8") as file:
        for number, row in enumerate(file, 1):
            try:
                item = json.loads(row)
                yield {**item, "id": str(item["id"]), "url": str(item["url"])}
            except (ValueError, KeyError, TypeError) as e:
                raise DownloadError(f'{path}: line {number} is no {{"id", "url"}} ({e})') from e


def read_yfcc(
    dataset: Path, exif: Path | None, rejects: collections.Counter[str]
) -> Iterator[dict[str, Any]]:
    """The originals of a YFCC100M metadata file, with canonical EXIF."""
    from data_prep.downloading.yfcc100m import read_items

    for item in read_items(dataset, exif, rejects):
        if not item.original:
            rejects["original unknown"] += 1
            continue
        yield {
            **{"id": item.id, "url": item.url, "licence": item.licence, "owner": item.owner},
            "exif": from_yfcc(item.exif),
        }


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    from tqdm import tqdm

    from data_prep.downloading.yfcc100m import MetadataError

    parser = command.parser(
        "data_prep.download",
        "Fetches photos politely and keeps a manifest of every outcome. Run the same "
        "command again to go on, and to try failed photos once more.",
        "exit codes: 0 every photo has a final outcome, 1 some failed or the run could not "
        "go on, 2 wrong usage. " + command.QUIET,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--urls", type=Path, help='lines of JSON: {"id", "url", "licence"}')
    source.add_argument("--yfcc", type=Path, help="yfcc100m_dataset, .gz, .bz2 or .zst")
    parser.add_argument("--yfcc-exif", type=Path, help="yfcc100m_exif, likewise")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for photos/ and manifest.jsonl"
    )
    parser.add_argument("--contact", help="a mail or web address, told to the hosts that are asked")
    add = parser.add_argument
    add(
        "--per-host",
        type=int,
        default=FetchSettings.per_host,
        help="requests at a time (default 4)",
    )
    add(
        "--interval",
        type=float,
        default=FetchSettings.interval,
        help="seconds between two requests to a host (default 0.1)",
    )
    add("--attempts", type=int, default=FetchSettings.attempts, help="tries of a photo (default 6)")
    add(
        "--backoff",
        type=float,
        default=FetchSettings.backoff,
        help="seconds before the second try, doubled each time (default 1)",
    )
    add(
        "--stall",
        type=float,
        default=FetchSettings.stall,
        help="seconds without a byte after which a connection is given up (default 30)",
    )
    add(
        "--max-megabytes",
        type=float,
        default=FetchSettings.max_bytes / 2**20,
        help="of one photo (default 100)",
    )
    add(
        "--min-free-megabytes",
        type=float,
        default=FetchSettings.min_free / 2**20,
        help="that stay free on the disk (default 2048)",
    )
    parser.add_argument(
        "--licence", nargs="+", default=[], help="take only licences that hold one of these words"
    )
    parser.add_argument("--limit", type=int, help="most photos of the list that are looked at")
    parser.add_argument(
        "--private", action="store_true", help="also ask addresses inside the own network"
    )
    args = parser.parse_args(argv)
    contact = args.contact or "no contact given"
    settings = FetchSettings(
        agent=f"exif-jax-download/0.1 (research; {contact})",
        per_host=args.per_host,
        interval=args.interval,
        attempts=args.attempts,
        backoff=args.backoff,
        stall=args.stall,
        max_bytes=int(args.max_megabytes * 2**20),
        min_free=int(args.min_free_megabytes * 2**20),
        licences=tuple(args.licence),
        private=args.private,
    )
    rejects: collections.Counter[str] = collections.Counter()
    items = read_urls(args.urls) if args.urls else read_yfcc(args.yfcc, args.yfcc_exif, rejects)
    if args.limit is not None:
        import itertools

        items = itertools.islice(items, args.limit)
    try:
        with tqdm(unit="photo") as bar:
            counts = asyncio.run(download(items, args.output, settings, lambda _: bar.update()))
    except (DownloadError, MetadataError) as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{e.filename or args.output}: {e.strerror or e}")
    except KeyboardInterrupt:
        return command.stopped()
    for name, count in (counts + rejects).most_common():
        print(f"{count:10,}  {name}")
    return int(bool(counts["failed"]))


if __name__ == "__main__":
    sys.exit(main())
