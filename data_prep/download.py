"""Fetches photos politely: `python -m data_prep.download --urls list.jsonl --output photos`.

Every outcome is a line of `manifest.jsonl`. Hosts are asked slowly, are told who asks, and are left
alone for as long as they say. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from exif_jax.cli import command

with command.imports(__name__):
    from data_prep.downloading.downloader import DownloadError, Item, download
    from data_prep.downloading.fetch import FetchSettings
    from data_prep.downloading.yfcc100m import read_items
    from exif_jax.io.errors import ExifJaxError
    from exif_jax.io.locks import hold
    from exif_jax.reading.exif_readers import from_yfcc


def read_urls(path: Path) -> Iterator[Item]:
    """The photos of a list: {"id", "url", ...} on each line.

    Raises:
      DownloadError: Naming a line that is something else.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                item = json.loads(line)
                yield {**item, "id": str(item["id"]), "url": str(item["url"])}
            except (ValueError, KeyError, TypeError) as e:
                raise DownloadError(f'{path}: line {number} is no {{"id", "url"}} ({e})') from e


def read_yfcc(
    dataset: Path, exif: Path | None, rejects: collections.Counter[str]
) -> Iterator[Item]:
    """The originals of a YFCC100M metadata file, with canonical EXIF."""
    for item in read_items(dataset, exif, rejects):
        if not item.original:
            rejects["original unknown"] += 1
            continue
        yield {
            "id": item.id,
            "url": item.url,
            "licence": item.licence,
            "owner": item.owner,
            "exif": from_yfcc(item.exif),
        }


# --- command --------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "data_prep.download",
        "Fetches photos politely and keeps a manifest of every outcome. Give the same "
        "command again to go on, and to try failed photos once more.",
        "exit codes: 0 every photo has a final outcome, 1 some failed or the run could not "
        "go on, 2 wrong usage. " + command.QUIET,
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--urls", type=Path, help='lines of JSON: {"id", "url", "licence"}')
    source.add_argument("--yfcc", type=Path, help="yfcc100m_dataset, .gz, .bz2 or .zst")
    add("--yfcc-exif", type=Path, help="yfcc100m_exif, likewise")
    add("--output", type=Path, required=True, help="folder for photos/ and manifest.jsonl")
    add("--contact", help="a mail or web address, told to the hosts that are asked")
    add(
        "--per-host",
        type=int,
        default=FetchSettings.per_host,
        help="most requests to a host at a time (default 4)",
    )
    add(
        "--interval",
        type=float,
        default=FetchSettings.interval,
        help="seconds between two requests to a host (default 0.1)",
    )
    add(
        "--attempts",
        type=int,
        default=FetchSettings.attempts,
        help="attempts at a photo before it counts as failed (default 6)",
    )
    add(
        "--backoff",
        type=float,
        default=FetchSettings.backoff,
        help="seconds before the second attempt, doubled each time (default 1)",
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
        help="the most that a photo may have (default 100)",
    )
    add(
        "--min-free-megabytes",
        type=float,
        default=FetchSettings.min_free / 2**20,
        help="space that stays free on the disk (default 2048)",
    )
    add("--licence", nargs="+", default=[], help="take only licences that hold one of these words")
    add("--num-photos", type=int, help="how many photos of the list to look at (default: all)")
    add("--private", action="store_true", help="also ask addresses inside the own network")
    return parser


def _settings_from_args(args: argparse.Namespace) -> FetchSettings:
    contact = args.contact or "no contact given"
    return FetchSettings(
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


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = _parser().parse_args(argv)
    rejects: collections.Counter[str] = collections.Counter()
    items = read_urls(args.urls) if args.urls else read_yfcc(args.yfcc, args.yfcc_exif, rejects)
    items = itertools.islice(items, args.num_photos)
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        with hold(args.output), tqdm(unit="photo") as bar:
            settings = _settings_from_args(args)
            counts = asyncio.run(download(items, args.output, settings, lambda _: bar.update()))
    except ExifJaxError as e:
        return command.fail(e)
    except OSError as e:
        return command.fail(f"{e.filename or args.output}: {e.strerror or e}")
    except KeyboardInterrupt:
        return command.stopped()
    for name, count in (counts + rejects).most_common():
        print(f"{count:10,}  {name}")
    return int(bool(counts["failed"]))


if __name__ == "__main__":
    command.run(main, results_are_printed=False)
