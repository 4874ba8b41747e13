"""Folders of photos for the tests of data_prep.photos, and what the tests read back."""

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

from exif_jax.data.records import RecordReader, decode_record

SECRETS = (b"SN-4711-SECRET", b"Erika Muster", b"do not tell", b"1999:12:31", b"MyHost")


def save_photo(path: Path, seed: int, make: str = "Canopus", model: str = "", **changes) -> Path:
    """A noisy JPEG with ten tags of a camera and everything private that EXIF can hold."""
    rng = np.random.default_rng(seed)
    height, width = changes.get("size", (160, 320))
    pixels = changes.get("pixels", rng.integers(0, 256, (height, width, 3), np.uint8))
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = make, model or f"C{seed % 6}"
    exif[0x011A], exif[0x011B], exif[0x0128] = 72.0, 72.0, 2
    exif[0x013B], exif[0x010E], exif[0x013C] = "Erika Muster", "do not tell", "MyHost"
    exif[0x0132] = "1999:12:31 23:59:59"
    exif[0x9C9C] = "do not tell".encode("utf-16-le")
    camera = exif.get_ifd(0x8769)
    camera[0x829A], camera[0x829D], camera[0x8827] = 1 / 60, 2.8, 100 + seed
    camera[0x920A], camera[0xA001] = 50.0, 1
    camera[0xA431], camera[0x9003] = "SN-4711-SECRET", "1999:12:31 23:59:58"
    camera[0x9286], camera[0x927C] = b"ASCII\0\0\0do not tell", b"SN-4711-SECRET maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 15.0), 29: "1999:12:31"})
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(
        path, "JPEG", quality=92, exif=exif if changes.get("exif", True) else b""
    )
    return path


def command(root: Path, output: Path, *more: str) -> list[str]:
    return [
        *("--input", str(root), "--output", str(output), "--workers", "1"),
        *("--region-size", "128", "--validation-fraction", "0.3", "--shards", "2", *more),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of records; a folder left inside would be a fault."""
    assert all(path.is_file() for path in folder.iterdir())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def all_records(folder: Path):
    readers = {split: RecordReader(folder, split) for split in ("train", "validation")}
    return {
        split: [decode_record(reader[i]) for i in range(len(reader))]
        for split, reader in readers.items()
    }


def rejects(folder: Path) -> dict[str, str]:
    rows = map(json.loads, (folder / "rejects.jsonl").read_text().splitlines())
    return {row["file"]: row["reason"] for row in rows}


def make_folder(folder: Path) -> Path:
    """36 photos of 6 cameras in two folders: two chunks of work."""
    for seed in range(36):
        save_photo(folder / ("a" if seed % 2 else "b/c") / f"{seed:02d}.JPG", seed)
    (folder / "notes.txt").write_text("no photo")
    return folder


def close_folders(monkeypatch, name: str) -> None:
    """Lets no folder of that name be listed, for root as well, who may read any."""
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith(f"{os.sep}{name}"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
