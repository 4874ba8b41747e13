"""Counts what camera files look like, for the rules of `exif_jax.forensics.file_evidence`.

python -m exif_jax.camera_files GALLERY.json --photos FOLDER [FOLDER ...] [--crops FOLDER]

Each photo is counted once, then judged by all rules without itself and all others of its source
(a line of LIST.jsonl tells a photo's source): the share at which a rule goes off stands in the
gallery, and is what its contradictions weigh by. A gallery holds no pictures.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.forensics.file_evidence import examine, gallery
from exif_jax.forensics.file_evidence.facts import Facts, gather, record_of, without_pictures
from exif_jax.forensics.file_evidence.gallery import Gallery, Record
from exif_jax.io.atomic import write_bytes
from exif_jax.io.jsonl import read_rows
from exif_jax.io.text import printable
from exif_jax.reading import jpeg_scan
from exif_jax.reading.containers import jpeg_metadata
from exif_jax.reading.exif_block import read_exif
from exif_jax.reading.file_parts import jpeg_parts
from exif_jax.reading.photo import PhotoError, read_bytes, read_photo
from exif_jax.reading.refusal import Refusal

_OF_CROPS = ("tables", "sampling", "standard")


def read_record(path: pathlib.Path) -> tuple[Record, str]:
    """Returns what is counted of a JPEG file, whose pixels are not decoded, and its SHA-1.

    Raises:
        PhotoError, Refusal: it cannot be read, or is no JPEG file.
    """
    data = read_bytes(path)
    jpeg = jpeg_scan.split(data)
    block, _ = jpeg_metadata(jpeg)
    tags = read_exif(block).tags if block else {}
    parts = jpeg_parts(data, (jpeg.frame.width, jpeg.frame.height))
    record = record_of(parts, tags, hashlib.sha256(data).hexdigest())
    return record, hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Counted(NamedTuple):
    """A file of the gallery: where it lies, what is counted of it, and its source."""

    path: pathlib.Path
    record: Record
    source: str


def read_records(
    photos: Sequence[pathlib.Path], crops: Sequence[pathlib.Path], sources: Mapping[str, str]
) -> Iterator[Counted]:
    """Yields the records of whole files and of lossless crops, each photo once.

    A file is left out where one of the same name was whole before, and a crop where its photo was
    counted: by the name or the SHA-1 of its photo, as the manifest beside the crops has it.

    Args:
        photos: whole files as cameras wrote them.
        crops: of which only the tables count.
        sources: the first 12 digits of a photo's SHA-1, or its name -> its source.
    """
    seen: set[str] = set()
    for path in tqdm(photos, unit="file"):
        try:
            record, sha1 = read_record(path)
        except (PhotoError, Refusal) as e:
            print(f"{printable(path)}: left out: {printable(e)}", file=sys.stderr)
            continue
        if path.stem in seen:
            continue
        seen |= {path.stem, sha1[:12]}
        yield Counted(path, record, sources.get(sha1[:12], sources.get(path.stem, "unknown")))
    photo_of = {}
    for folder in {path.parent for path in crops}:
        for row in read_rows(folder / "manifest.jsonl"):
            photo_of[folder / str(row.get("file"))] = str(row.get("photo"))
    for path in tqdm(crops, unit="crop"):
        if (photo := photo_of.get(path, path.stem)) in seen:
            continue
        seen.add(photo)
        record, _ = read_record(path)
        values = {field: record.values[field] for field in _OF_CROPS if field in record.values}
        yield Counted(path, record._replace(values=values), sources.get(photo, "unknown"))


def read_sources(path: str | None) -> dict[str, str]:
    """The first 12 digits of each listed photo's SHA-1 -> a number for its repository."""
    rows = list(read_rows(path)) if path else []
    names = sorted({str(row.get("repository")) for row in rows})
    number = {name: str(k) for k, name in enumerate(names)}
    return {str(row.get("sha1"))[:12]: number[str(row.get("repository"))] for row in rows}


def _gather_all(files: Iterable[Counted], counted: Gallery) -> Iterator[tuple[Facts, str]]:
    """What the rules look at of each file, without its pictures, and its source."""
    for file in files:
        try:
            photo = read_photo(file.path)
        except PhotoError as e:
            print(f"left out: {printable(e)}", file=sys.stderr)
            continue
        yield without_pictures(gather(photo, counted)), file.source


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "exif_jax.camera_files", __doc__ or "", "exit codes: 0 done, 1 failed, 2 wrong usage"
    )
    add = parser.add_argument
    add("gallery", metavar="GALLERY.json", help="file to write")
    add("--photos", nargs="+", required=True, metavar="FOLDER",
        help="folders of whole JPEG files as cameras wrote them")  # fmt: skip
    add("--crops", nargs="*", default=[], metavar="FOLDER",
        help="folders of crops cut without loss, of which the tables count")  # fmt: skip
    add("--sources", metavar="LIST.jsonl",
        help="a line of sha1 and repository for each photo: photos of one repository are one "
        "source")  # fmt: skip
    args = parser.parse_args(argv)
    photos, crops = (
        [path for folder in folders for path in sorted(pathlib.Path(folder).glob("*.jp*g"))]
        for folders in (args.photos, args.crops)
    )
    if not photos:
        return command.fail(f"no JPEG files in {', '.join(map(printable, args.photos))}")
    found = list(read_records(photos, crops, read_sources(args.sources)))
    first = gallery.count((c.record, c.source) for c in found)
    # Once more, with what only the pixels of whole files tell.
    whole = [c for c in found if "order" in c.record.values]
    crops_only = [(c.record, c.source) for c in found if "order" not in c.record.values]
    facts = list(tqdm(_gather_all(whole, first), total=len(whole), unit="photo"))
    counted = gallery.count([*((f.record, source) for f, source in facts), *crops_only])
    judged = [(f, counted.known(f.record)) for f, _ in facts]
    alarms = {name: (k, n) for name, (k, n) in examine.measure(judged).items()}
    try:
        write_bytes(args.gallery, gallery.to_json(counted._replace(false_alarms=alarms)))
    except OSError as e:
        return command.fail(f"{printable(args.gallery)}: cannot be written ({e.strerror})")
    print(f"{len(found)} photos of {len(counted.cameras)} cameras, {len(counted.tables)} tables")
    print("contradicts | share | rule")
    for name, (k, n) in sorted(alarms.items(), key=lambda item: -item[1][0]):
        print(f"{k:5} of {n:4} | {k / n:5.1%} | {name}")
    return 0


if __name__ == "__main__":
    command.run(main)
