"""The downloader's folder: where photos lie, and the manifest that has each one's outcome."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from data_prep.downloading.fetch import MAGIC
from exif_jax.io import jsonl

MANIFEST = "manifest.jsonl"
# Outcomes that another run would not change.
FINAL = frozenset(("done", "gone", "no photo", "placeholder", "too large", "refused", "licence"))


def finished_photos(output: Path) -> set[str]:
    """The ids of the photos that another run would not change; read line by line."""
    return {
        str(row["id"])
        for row in jsonl.read_rows(output / MANIFEST)
        if "id" in row and row.get("status") in FINAL
    }


def photo_path(output: Path, photo_id: str, suffix: str) -> Path:
    """Where a photo lies: spread over 256 folders, under a name that is safe anywhere."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", photo_id)[:80]
    digest = hashlib.sha256(photo_id.encode("utf-8", "surrogatepass")).hexdigest()
    name = safe if safe == photo_id else f"{safe}-{digest[:8]}"
    return output / "photos" / digest[:2] / f"{name}{suffix}"


def find_photo(output: Path, photo_id: str) -> Path | None:
    """The photo's file, where a run that was killed before its line had put it in place."""
    for suffix in sorted({suffix for _, suffix in MAGIC}):
        path = photo_path(output, photo_id, suffix)
        if path.is_file():
            return path
    return None


def describe_file(path: Path, data: bytes, output: Path) -> dict[str, Any]:
    """What a manifest line says of a photo's file."""
    digest = hashlib.sha256(data).hexdigest()
    return {"file": path.relative_to(output).as_posix(), "num_bytes": len(data), "sha256": digest}
