"""A folder of photos -> TFRecord shards of (region, EXIF) for training.

Walks the folder, decodes each photo once, takes a few regions of it without loss, splits by camera
model and writes shards, tag counts and the list of rejected files. The same photos and seed give
the same bytes whatever the number of workers; a run that was stopped goes on where it was.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.merge import (
    Census,
    count_reasons,
    list_shards,
    take_census,
    write_json,
    write_outputs,
    write_rejects,
)
from data_prep.stages import MIN_SIDE, PhotoFile, Settings
from data_prep.work import WorkError, process_chunks
from exif_jax.exif import checked
from exif_jax.photo import EXTENSIONS
from exif_jax.records import RECORD_VERSION, SPLITS, RecordError, RecordReader


class UsageError(Exception):
    """The command asks for what cannot be done; the message says what to change."""


# --- input ------------------------------------------------------------------------------------


def list_photos(root: Path) -> tuple[list[PhotoFile], int]:
    """Finds the photos in a folder tree, in an order that no file system decides.

    A `manifest.jsonl` in the folder may say, by "file": "photo", of which photo it is a crop, so
    that crops of one share a photo id; and "exif", the canonical tags of a file that lost its own,
    as `data_prep.download` keeps them.

    Args:
      root: Input folder.

    Returns:
      The files with a photo's ending, sorted by path, and the number of other files.

    Raises:
      UsageError: If the folder or its manifest cannot be read.
    """

    def tell(error: OSError) -> None:
        if error.filename == os.fspath(root):
            raise UsageError(f"--input {root}: {error.strerror}; give a folder of photos")
        print(f"left out: {error.filename!a}: {error.strerror}", file=sys.stderr)

    rows = _read_manifest(root / "manifest.jsonl")
    files, others = [], 0
    for folder, _, names in os.walk(root, onerror=tell):
        for name in names:
            if Path(name).suffix.lower() in EXTENSIONS:
                files.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                others += 1
    files.sort(key=os.fsencode)
    return [rows.get(file) or PhotoFile(file, None) for file in files], others


def _read_manifest(path: Path) -> dict[str, PhotoFile]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; make it readable or move it away") from error
    rows = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else {}
            photo, exif = row.get("photo"), checked(row.get("exif"))
            if isinstance(row["file"], str) and (isinstance(photo, str) or exif):
                photo = photo if isinstance(photo, str) else None
                rows[row["file"]] = PhotoFile(row["file"], photo, exif or None)
        except KeyError:
            continue  # another tool's manifest
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"{path}, line {number}: no JSON object; mend the line or move the file away"
            ) from error
    return rows


def _describe_run(root: Path, items: list[PhotoFile], settings: Settings) -> dict[str, Any]:
    """What a folder of records was made of. Sizes stand for contents: rereading all is slow."""
    digest = hashlib.sha256()
    for item in items:
        try:
            size = os.stat(root / item.file).st_size
        except OSError:
            size = None
        digest.update(json.dumps([*item, size]).encode() + b"\n")
    return {
        "version": RECORD_VERSION,
        "settings": asdict(settings),
        "input": {"files": len(items), "sha256": digest.hexdigest()},
    }


# --- output folder ----------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Keeps a second run out of the folder; the system lifts the lock when the process ends."""
    descriptor = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UsageError(
            f"{output}: another run is writing here; wait for it or stop it"
        ) from error
    finally:
        os.close(descriptor)


def _load_json(path: Path) -> Any:
    """Returns the file's content, None if there is no file or no JSON in it."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _open_output(output: Path, run: dict[str, Any], overwrite: bool) -> bool:
    """Readies the folder and its `.work`; True if it holds the finished records of this very run.

    Raises:
      UsageError: If it holds records of another run and `overwrite` is not set.
    """
    info = _load_json(output / "dataset_info.json")
    work = output / ".work"
    started = _load_json(work / "run.json")
    resumable = started is not None and started == {k: run[k] for k in ("version", "settings")}
    other = UsageError(
        f"{output}: holds records of other photos or settings; choose another folder, or replace "
        "them with --overwrite"
    )
    if info is not None and not overwrite:
        if not isinstance(info, dict) or {key: info.get(key) for key in run} != run:
            raise other
        _check_records(output, info, other)
        shutil.rmtree(work, ignore_errors=True)
        return True
    if not resumable:
        if not overwrite and (started is not None or list_shards(output)):
            raise other
        shutil.rmtree(work, ignore_errors=True)
    if overwrite:
        # The information goes first: without it the folder does not pass for complete.
        for name in ("dataset_info.json", "tag_counts.json", "rejects.jsonl", "tokenizer.model"):
            (output / name).unlink(missing_ok=True)
        for path in list_shards(output):
            path.unlink()
    work.mkdir(exist_ok=True)
    write_json(work / "run.json", {key: run[key] for key in ("version", "settings")})
    return False


def _check_records(output: Path, info: dict[str, Any], other: UsageError) -> None:
    try:
        filled = [split for split in SPLITS if info["splits"][split]["records"]]
    except (KeyError, TypeError) as error:
        raise other from error
    try:
        for split in filled:
            RecordReader(output, split)
    except RecordError as error:
        raise RecordError(f"{error}; --overwrite makes them again") from error


# --- command ----------------------------------------------------------------------------------

_EXAMPLES = """\
examples:
  python -m data_prep.photos --input ~/Pictures --output records
  python -m data_prep.photos --input photos --output records --workers 16 --region-size 512

exit codes: 0 records are there, rejected files are listed in rejects.jsonl;
            1 no photo was usable, or reading or writing failed; 2 wrong usage
A stopped run goes on where it was when the same command is given again.
"""


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.photos",
        description="Makes TFRecord shards for training from a folder of camera photos.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--input", type=Path, required=True, help="folder of photos, searched with its subfolders")
    add("--output", type=Path, required=True, help="folder for the records; made if missing")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    add("--seed", type=int, default=0, help="for regions, split and order (default 0)")
    add("--region-size", type=int, default=448, help="pixels a side, multiple of 16 (default 448)")
    add("--regions-per-photo", type=int, default=4, help="at most (default 4)")
    add(
        "--validation-share",
        type=float,
        default=0.15,
        help="share of photos whose cameras are held out (default 0.15)",
    )
    add("--min-tags", type=int, default=5, help="reject photos with fewer tags (default 5)")
    add(
        "--keep-edited",
        action="store_true",
        help="also take photos that, by their EXIF, a program edited or resized",
    )
    add("--shards", type=int, default=0, help="shards a split (default: about 256 MiB each)")
    add("--overwrite", action="store_true", help="replace records of another run in --output")
    args = parser.parse_args(argv)
    if args.region_size < MIN_SIDE or args.region_size % 16:
        parser.error(f"--region-size must be a multiple of 16 and at least {MIN_SIDE}")
    if not 0 <= args.validation_share < 1:
        parser.error("--validation-share must be at least 0 and below 1")
    if args.workers < 1 or args.regions_per_photo < 1:
        parser.error("--workers and --regions-per-photo must be at least 1")
    if args.shards < 0 or args.shards > 99_999:
        parser.error("--shards must be between 1 and 99999")
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = _parse(argv)
    settings = Settings(
        seed=args.seed,
        region_size=args.region_size,
        regions_per_photo=args.regions_per_photo,
        validation_share=args.validation_share,
        min_tags=args.min_tags,
        shards=args.shards,
        keep_edited=args.keep_edited,
    )
    try:
        return _run(args.input, args.output, settings, args.workers, args.overwrite)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WorkError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {_explain(error, args.output)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: give the same command again to go on", file=sys.stderr)
        return 130


def _run(root: Path, output: Path, settings: Settings, workers: int, overwrite: bool) -> int:
    items, others = list_photos(root)
    if not items:
        print(
            f"error: {root}: no photos ({others} files with other endings than "
            f"{' '.join(sorted(EXTENSIONS))}); give a folder of camera photos",
            file=sys.stderr,
        )
        return 1
    output.mkdir(parents=True, exist_ok=True)
    run = _describe_run(root, items, settings)
    with _locked(output):
        if _open_output(output, run, overwrite):
            print(f"{output}: complete already, made by this command of these photos")
            return 0
        work = output / ".work"
        census = take_census(process_chunks(root, items, settings, work, workers), settings.seed)
        info = write_outputs(output, census, run, settings) if census.photos else None
        if info is None:
            write_rejects(output, census)
        shutil.rmtree(work)
    print(_table(census, info))
    if info is None:
        print(f"error: none of {len(items)} photos is usable; see {output}/rejects.jsonl")
        return 1
    if not info["splits"]["validation"]["records"] and settings.validation_share:
        print("note: no validation split: that takes photos of at least two cameras")
    return 0


def _table(census: Census, info: dict[str, Any] | None) -> str:
    lines = [f"{'split':<12}{'cameras':>9}{'photos':>9}{'records':>9}{'shards':>9}"]
    for split, row in (info["splits"] if info else {}).items():
        numbers = (len(row["cameras"]), row["photos"], row["records"], row["shards"])
        lines.append(f"{split:<12}" + "".join(f"{number:>9}" for number in numbers))
    if census.rejects:
        lines.append(f"{'rejected because':<30}{'files':>9}")
        lines += [f"  {reason:<28}{n:>9}" for reason, n in count_reasons(census).items()]
    return "\n".join(lines)


def _explain(error: OSError, output: Path) -> str:
    where = error.filename or output
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{where}: {error.strerror}; records and work in progress need about twice the size "
            "of the records. Make room and give the same command again: it goes on where it was"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return f"{where}: {error.strerror}; choose an --output folder that can be written to"
    return f"{where}: {error.strerror or error}"


if __name__ == "__main__":
    sys.exit(main())
