"""Photos in a folder, or in any URL of a folder that fsspec can list (gs://, s3://).

Beside `photo.jpg` there may be `photo.jpg.json` or `photo.json`: the JSON of exiftool, of Flickr's
getExif or of the paper's released preparation. A `manifest.jsonl` at the top, as
`data_prep.download` writes it, may say of a "file" its "photo" (of which it is a crop), "exif",
"owner" and "licence".
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.sources.file_listing import ending, list_files, size, stamp
from data_prep.sources.raw_photo import (
    MAX_JSON_BYTES,
    Chunk,
    RawPhoto,
    SourceError,
    SourceFile,
    unusable,
)
from data_prep.sources.sidecars import as_mapping, sidecar_exif
from exif_jax.io.files import file_system, is_url
from exif_jax.reading.exif import checked
from exif_jax.reading.photo import EXTENSIONS, MAX_BYTES, PhotoError, read_bytes
from exif_jax.reading.walk import WalkReport

MANIFEST = "manifest.jsonl"
_MANIFEST_FIELDS = ("photo", "exif", "owner", "licence")


def list_photos(source: str, report: WalkReport) -> list[SourceFile]:
    """The photos below a folder, sorted by their paths' bytes.

    Args:
      source: A folder or its URL.
      report: Receives what is passed over: all but photos, the manifest and side-cars.

    Raises:
      SourceError: If the folder cannot be listed, or its manifest cannot be read.
    """
    listing = list_files(source, report)
    names = [name for name in listing if ending(name) in EXTENSIONS]
    rows = _read_manifest(source) if MANIFEST in listing else {}
    sidecars = {name: _find_sidecar(name, listing) for name in names}
    used = {MANIFEST, *names, *sidecars.values()}
    report.endings.update(ending(name) for name in listing if name not in used)
    photos = []
    for name in sorted(names, key=os.fsencode):
        info, sidecar = listing[name], sidecars[name]
        photos.append(
            SourceFile(
                file=name,
                sidecar=sidecar,
                manifest_row=rows.get(name, b""),
                num_bytes=size(info),
                stamp=stamp(info, listing.get(sidecar, {})),
            )
        )
    return photos


def _find_sidecar(name: str, listing: Mapping[str, Any]) -> str:
    """The path of a photo's side-car; "" where there is none."""
    candidates = (f"{name}.json", f"{posixpath.splitext(name)[0]}.json")
    return next((path for path in candidates if path in listing), "")


def _read_manifest(source: str) -> dict[str, bytes]:
    """File -> the part of its line that matters here, as JSON."""
    files, top = file_system(source)
    path = f"{top.rstrip('/')}/{MANIFEST}"
    rows: dict[str, bytes] = {}
    number = 0
    try:
        with files.open(path, "rb") as lines:
            for line in lines:
                number += 1
                row = json.loads(line) if line.strip() else {}
                if isinstance(row.get("file"), str):
                    kept = {k: row[k] for k in _MANIFEST_FIELDS if row.get(k)}
                    rows[row["file"]] = json.dumps(kept).encode() if kept else b""
    except OSError as e:
        raise SourceError(f"{path}: {e.strerror or e}; make it readable or move it away") from e
    except (ValueError, AttributeError, RecursionError) as e:
        raise SourceError(
            f"{path}, line {number}: no JSON object; mend the line or move the file away"
        ) from e
    return rows


def read_photos(chunk: Chunk) -> Iterator[RawPhoto]:
    """The photos of a chunk of a folder, in order; what cannot be read comes with its `problem`."""
    files, top = file_system(chunk.root)
    remote = is_url(chunk.root)
    for file in chunk.files:
        try:
            data = _read(files, f"{top.rstrip('/')}/{file.file}", remote, MAX_BYTES)
        except (PhotoError, OSError) as e:
            cause = e.cause if isinstance(e, PhotoError) else str(e.strerror or e)
            yield unusable(file.file, "unreadable", cause)
            continue
        row = as_mapping(json.loads(file.manifest_row)) if file.manifest_row else {}
        exif = checked(row.get("exif")) or None
        if file.sidecar:
            try:
                sidecar = f"{top.rstrip('/')}/{file.sidecar}"
                exif = sidecar_exif(_read(files, sidecar, remote, MAX_JSON_BYTES))
            except (PhotoError, OSError):
                exif = None
        yield RawPhoto(
            id=file.file,
            data=data,
            exif=exif,
            photo=_text(row.get("photo")),
            owner=_text(row.get("owner")),
            licence=_text(row.get("licence")),
        )


def _text(value: Any) -> str:
    return str(value or "")[:200]


def _read(files: Any, path: str, remote: bool, max_bytes: int) -> bytes:
    if not remote:
        return read_bytes(path, max_bytes)
    size = files.size(path)
    if size is not None and size > max_bytes:
        raise OSError(f"{size:,} bytes, more than {max_bytes:,}")
    return files.cat_file(path)
