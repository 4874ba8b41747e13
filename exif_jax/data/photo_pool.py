"""A pool of photos as plain pixels in one file, from which composites are cut.

Photos come from folders of files; each large one gives itself whole, shrunk as the web shrinks
photos, and pieces of it at full size, whose pixels are the camera's. POOL/pixels.bin is mapped into
memory, so that all worker processes share it; POOL/index.json says where each picture lies.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from exif_jax.io.atomic import replacing, write_bytes
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.photo import PhotoError, read_photo
from exif_jax.reading.pixels import BLOCK, gradient_energy

WHOLE, NATIVE = "whole", "native"
SHARES = {WHOLE: 0.65, NATIVE: 0.35}  # of what is drawn from a pool
_SUFFIXES = (".jpg", ".jpeg", ".png")
_LARGEST = 1000  # pixels: longer side up to which a photo is taken as it is
_SHRUNK = (420, 1600)  # longer side of whole photos
_PIECE = (1280, 960)  # width and height of a piece at full size
_PIECES = 2
_SHRINKING = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.HAMMING,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
_HELD_OUT = 12  # one photo in so many is for validation


class PoolError(ExifJaxError):
    """A pool cannot be made or read; the message names the folder and what to do."""


@dataclasses.dataclass(frozen=True)
class PoolEntry:
    """One picture of a pool.

    Attributes:
        photo: the stem of the file that it comes from.
        kind: WHOLE, or NATIVE for pixels as the camera wrote them.
        height, width: H and W.
        offset: of its first byte in pixels.bin.
        look: mean and standard deviation of R, G and B and the gradient energy, in levels of 255:
            what a donor is matched by.
    """

    photo: str
    kind: str
    height: int
    width: int
    offset: int
    look: tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class PhotoPool:
    """Pictures to cut composites from.

    Attributes:
        entries: of the pictures, N in all.
        pixels: uint8, flat, mapped from the file.
        looks: float32 [N, 7], those of the entries.
        of_kind: the numbers of the pictures of each kind; a kind without any is not in it.
        fingerprint: of what the pool holds: the sha256 of its index, hexadecimal.
    """

    entries: tuple[PoolEntry, ...]
    pixels: np.ndarray
    looks: np.ndarray
    of_kind: dict[str, np.ndarray]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.entries)

    def draw(self, rng: np.random.Generator, number: int, kind: str | None = None) -> np.ndarray:
        """So many pictures of one kind: their numbers, int64 [number].

        The kind is drawn by SHARES where it is not given or the pool has none of it.
        """
        if kind in self.of_kind:
            return rng.choice(self.of_kind[kind], size=number)
        kinds = [kind for kind in SHARES if kind in self.of_kind]
        shares = np.array([SHARES[kind] for kind in kinds])
        kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
        return rng.choice(self.of_kind[kind], size=number)

    def picture(self, number: int) -> np.ndarray:
        """uint8 [H, W, 3]: a view, not to be written."""
        e = self.entries[number]
        size = e.height * e.width * 3
        return self.pixels[e.offset : e.offset + size].reshape(e.height, e.width, 3)

    def part(self, validation: bool) -> PhotoPool:
        """The photos held out for validation, or all others; pieces stay with their photo."""
        entries = tuple(e for e in self.entries if _is_held_out(e.photo) == validation)
        return _pool(entries, self.pixels, self.fingerprint)


def make_pool(
    photos: Sequence[str | os.PathLike],
    pieces: Sequence[str | os.PathLike],
    output: str | os.PathLike,
) -> int:
    """Writes a pool of all photos that lie directly in some folders.

    How each photo is shrunk and cut depends on its name alone. A file that cannot be read is named
    on standard error and left out; of files of one name in several folders the first is taken.

    Args:
        photos: folders of whole photos, originals or shrunk ones.
        pieces: folders of pieces cut out of originals, whose pixels are the camera's.
        output: the pool's folder.

    Returns:
        The number of its pictures.

    Raises:
        PoolError: a folder is not there, or no photo can be read.
        OSError: the pool cannot be written.
    """
    paths = _photo_paths(photos, WHOLE) | _photo_paths(pieces, NATIVE)
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    entries: list[PoolEntry] = []
    with replacing(output / "pixels.bin") as file:
        for path, found in paths.items():
            try:
                image = read_photo(path).image
            except PhotoError as e:
                print(f"left out: {e}", file=sys.stderr)
                continue
            for kind, picture in _pictures(path.stem, image, found):
                height, width = picture.shape[:2]
                look = tuple(round(float(x), 2) for x in look_of(picture))
                entries.append(PoolEntry(path.stem, kind, height, width, file.tell(), look))
                file.write(picture.tobytes())
    if not entries:
        raise PoolError(f"{', '.join(map(str, [*photos, *pieces]))}: no photo could be read")
    rows = [dataclasses.asdict(entry) for entry in entries]
    write_bytes(output / "index.json", json.dumps(rows, indent=0).encode())
    return len(entries)


def load_pool(folder: str | os.PathLike) -> PhotoPool:
    """Maps a pool that `make_pool` wrote.

    Raises:
        PoolError: there is none, or its files do not belong together.
    """
    folder = pathlib.Path(folder)
    try:
        index = (folder / "index.json").read_bytes()
        rows = [PoolEntry(**row | {"look": tuple(row["look"])}) for row in json.loads(index)]
        pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
        last = rows[-1]
        if last.offset + last.height * last.width * 3 != len(pixels):
            raise ValueError("pixels.bin is of another size than index.json says")
    except (OSError, ValueError, TypeError, KeyError, IndexError) as e:
        raise PoolError(
            f"{folder}: no pool of photos ({e}); remove the folder to make it again"
        ) from e
    return _pool(tuple(rows), pixels, hashlib.sha256(index).hexdigest())


def _pool(entries: tuple[PoolEntry, ...], pixels: np.ndarray, fingerprint: str) -> PhotoPool:
    looks = np.array([entry.look for entry in entries], np.float32)
    kinds = np.array([entry.kind for entry in entries])
    of_kind = {str(kind): np.flatnonzero(kinds == kind) for kind in np.unique(kinds)}
    return PhotoPool(entries, pixels, looks, of_kind, fingerprint)


def look_of(picture: np.ndarray) -> np.ndarray:
    """Mean and deviation of the colours and the gradient energy: uint8 [H, W, 3] -> float32 [7]."""
    sample = picture[::4, ::4].reshape(-1, 3).astype(np.float32)
    energy = gradient_energy(picture[: len(picture) // BLOCK * BLOCK]).mean()
    return np.concatenate([sample.mean(0), sample.std(0), energy[None]]).astype(np.float32)


def _photo_paths(folders: Sequence[str | os.PathLike], kind: str) -> dict[pathlib.Path, str]:
    names: dict[str, pathlib.Path] = {}
    for folder in map(pathlib.Path, folders):
        if not folder.is_dir():
            raise PoolError(f"{folder}: no such folder; name folders of photos")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _SUFFIXES:
                names.setdefault(path.name, path)
    return dict.fromkeys(names.values(), kind)


def _pictures(stem: str, image: Image.Image, kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures that a file gives, with their kinds."""
    rng = np.random.default_rng(list(stem.encode()))
    longer = max(image.size)
    if kind == NATIVE or longer <= _LARGEST:
        yield kind, np.asarray(image)
        return
    factor = int(rng.integers(_SHRUNK[0], min(_SHRUNK[1], longer) + 1)) / longer
    size = (round(image.width * factor), round(image.height * factor))
    yield WHOLE, np.asarray(image.resize(size, _SHRINKING[rng.integers(len(_SHRINKING))]))
    width, height = min(_PIECE[0], image.width), min(_PIECE[1], image.height)
    for _ in range(_PIECES):
        left, top = (
            int(rng.integers((whole - part) // BLOCK + 1)) * BLOCK
            for whole, part in ((image.width, width), (image.height, height))
        )
        yield NATIVE, np.asarray(image.crop((left, top, left + width, top + height)))


@functools.cache
def _is_held_out(photo: str) -> bool:
    return int(hashlib.sha256(photo.split("_")[0].encode()).hexdigest(), 16) % _HELD_OUT == 0
