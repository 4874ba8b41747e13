"""Counts what camera files look like, for the rules of `exif_jax.forensics.file_evidence`.

python -m exif_jax.camera_files GALLERY.json --photos FOLDER [FOLDER ...] [--crops FOLDER]

Each photo is counted once, then judged by all rules without itself: the share at which a rule goes
off stands in the gallery, and is what its contradictions weigh by. A gallery holds no pictures.
"""

from __future__ import annotations

import hashlib
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from tqdm import tqdm

from exif_jax.cli import command
from exif_jax.forensics.file_evidence import examine, gallery
from exif_jax.forensics.file_evidence.facts import Facts, gather, record_of
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


def read_records(
    photos: Sequence[pathlib.Path], crops: Sequence[pathlib.Path]
) -> Iterator[tuple[pathlib.Path, Record]]:
    """Yields the records of whole files and of lossless crops, each photo once.

    A file is left out where one of the same name was whole before, and a crop where its photo was
    counted: by the name or the SHA-1 of its photo, as the manifest beside the crops has it.

    Args:
        photos: whole files as cameras wrote them.
        crops: of which only the tables count.
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
        yield path, record
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
        yield path, record._replace(values=values)


def judge_all(
    paths: Iterable[pathlib.Path], counted: Gallery
) -> Iterator[tuple[Facts, gallery.Known]]:
    """Yields what the rules look at, of each whole file without itself."""
    for path in paths:
        try:
            photo = read_photo(path)
        except PhotoError as e:
            print(f"left out: {printable(e)}", file=sys.stderr)
            continue
        facts = gather(photo, counted)
        yield facts, counted.known(facts.record)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command.parser(
        "exif_jax.camera_files", __doc__, "exit codes: 0 done, 1 failed, 2 wrong usage"
    )
    add = parser.add_argument
    add("gallery", metavar="GALLERY.json", help="file to write")
    add("--photos", nargs="+", required=True, metavar="FOLDER",
        help="folders of whole JPEG files as cameras wrote them")  # fmt: skip
    add("--crops", nargs="*", default=[], metavar="FOLDER",
        help="folders of crops cut without loss, of which the tables count")  # fmt: skip
    args = parser.parse_args(argv)
    photos, crops = (
        [path for folder in folders for path in sorted(pathlib.Path(folder).glob("*.jp*g"))]
        for folders in (args.photos, args.crops)
    )
    if not photos:
        return command.fail(f"no JPEG files in {', '.join(map(printable, args.photos))}")
    found = list(read_records(photos, crops))
    counted = gallery.count(record for _, record in found)
    whole = [path for path, record in found if "order" in record.values]
    files = list(tqdm(judge_all(whole, counted), total=len(whole), unit="photo"))
    alarms = {name: (k, n) for name, (k, n) in examine.measure(files).items()}
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
