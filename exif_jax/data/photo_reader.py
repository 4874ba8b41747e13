"""The photos of one split of a records folder: their decoded regions, and what is damaged."""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from exif_jax.data.config import DataConfig
from exif_jax.data.records import (
    Record,
    RecordError,
    decode_image,
    decode_record,
    records_by_photo,
)
from exif_jax.data.records_folder import DataError, open_split
from exif_jax.reading.pixels import BLOCK, gradient_energy

SIDE_SAMPLES = 16  # records whose crops tell how large the regions are
MAX_NAMED = 20  # damaged records that are named one by one; the others are only counted


class Region(NamedTuple):
    """A decoded record.

    Attributes:
        number: the record's.
        pixels: uint8 [H, W, 3].
        record: the rest of the record, without its compressed image.
        gradient_energy: float32 [H // 8, W // 8], of each block (`reading.pixels`).
    """

    number: int
    pixels: np.ndarray
    record: Record
    gradient_energy: np.ndarray

    def log_gradient_energy(self, corner: tuple[int, int], side: int) -> float:
        """Returns the log of the mean gradient energy in a square of `side` pixels at a corner."""
        y, x, blocks = corner[0] // BLOCK, corner[1] // BLOCK, max(1, side // BLOCK)
        energy = self.gradient_energy[y : y + blocks, x : x + blocks].mean()
        return math.log(0.5 + float(energy))


class PhotoReader:
    """Reads the regions of photos, which are numbered in the order of their ids.

    A damaged record is passed over for the next record of its photo. It is named on stderr and
    counted; more of them than `max_corrupt_fraction` stop the run. Safe to share between threads.

    Attributes:
        corrupt: number of a record -> what is wrong with it, of those read so far.
        unreadable: photos that turned out to have no readable record.
    """

    def __init__(self, config: DataConfig, split: str, min_side: int):
        """Opens a split; no record is read yet.

        Args:
            config: which records, and how many of them may be damaged.
            split: "train", which `more_records` join, or "validation".
            min_side: regions smaller than this raise DataError when they are read.

        Raises:
            DataError, RecordError: there are no records, or a shard or its index is damaged.
        """
        more = config.more_records if split == "train" else ""
        self._records, self._min_side = config.records, min_side
        self._max_corrupt_fraction = config.max_corrupt_fraction
        self._reader = open_split(config.records, split, more)
        self._numbers, self._bounds = records_by_photo(self._reader.photo_ids)
        read: Callable[[int], Region] = functools.lru_cache(config.cache_regions)(self._read_region)
        self._cached_region = read
        self.corrupt: dict[int, str] = {}
        self.unreadable: set[int] = set()

    def __len__(self) -> int:
        """The number of photos."""
        return len(self._bounds) - 1

    def record_numbers(self, photo: int) -> np.ndarray:
        """Returns the numbers of a photo's records, damaged ones included: int64 [N]."""
        return self._numbers[self._bounds[photo] : self._bounds[photo + 1]]

    def region(self, photo: int, start: int) -> Region | None:
        """Returns region `start` of a photo, or the next one whose record is not damaged.

        Returns:
            The region; None where no record of the photo is readable.

        Raises:
            DataError: too many records are damaged, or the region is too small.
        """
        numbers = self.record_numbers(photo)
        for k in range(len(numbers)):
            number = int(numbers[(start + k) % len(numbers)])
            if number not in self.corrupt:
                try:
                    return self._cached_region(number)
                except RecordError as error:
                    self._pass_over(number, str(error))
        self.unreadable.add(photo)
        return None

    def region_side(self) -> int:
        """Returns the shorter side of the largest of SIDE_SAMPLES regions, in pixels.

        Raises:
            DataError: none of them is readable.
        """
        numbers = np.linspace(0, len(self._reader) - 1, SIDE_SAMPLES).astype(int)
        sides, damage = [], ""
        for number in dict.fromkeys(numbers.tolist()):
            try:
                sides.append(min(decode_record(self._reader[number]).region[2:]))
            except RecordError as error:
                damage = str(error)
        if not sides:
            raise DataError(f"{self._records}: no record is readable; the last one: {damage}")
        return max(sides)

    def check_room(self, side: int, room: int) -> None:
        """Raises DataError where all regions of `side` px take more than `room` bytes."""
        number = len(self._reader)
        size = number * side * side * 3
        if size > room:
            raise DataError(
                f"{self._records}: {number} regions of {side} px take {size} bytes, more than the "
                f"{room} of --config.data.device_cache: allow as much, if each device has it "
                "beside the model's own, or 0 to send squares with every batch"
            )

    def load(self, side: int) -> np.ndarray:
        """Decodes all regions now; from then on `region` reads none.

        Args:
            side: side S of the square of each region that is kept, in pixels.

        Returns:
            uint8 [N, S, S, 3], by the records' numbers: their upper left corners, black where a
            region is smaller or its record damaged.

        Raises:
            DataError: a region is smaller than a patch, or too many are damaged.
        """
        pixels, kept = np.zeros((len(self._reader), side, side, 3), np.uint8), {}

        def read(number: int) -> str:
            try:
                region = self._read_region(number)
            except RecordError as error:
                return str(error)
            square = region.pixels[:side, :side]
            pixels[number, : square.shape[0], : square.shape[1]] = square
            view = pixels[number, : square.shape[0], : square.shape[1]]
            kept[number] = region._replace(pixels=view)
            return ""

        with concurrent.futures.ThreadPoolExecutor(None, "exif-jax-data") as pool:
            for number, damage in enumerate(pool.map(read, range(len(pixels)))):
                if damage:
                    self._pass_over(number, damage)
        self._cached_region = kept.__getitem__
        return pixels

    def fingerprint(self) -> dict[str, int | str]:
        """Returns what distinguishes these records from others, wherever and however they lie.

        Returns:
            The numbers of photos and records, and a SHA-256 of the records' photo ids and lengths
            in the order in which batches take them.
        """
        rows = np.stack([self._reader.photo_ids, self._reader.lengths])[:, self._numbers]
        digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        return {"photos": len(self), "records": len(self._reader), "sha256": digest}

    def _pass_over(self, number: int, message: str) -> None:
        self.corrupt[number] = message
        total = len(self._reader)
        if len(self.corrupt) <= MAX_NAMED:
            print(f"record passed over: {message}", file=sys.stderr)
        if len(self.corrupt) > self._max_corrupt_fraction * total:
            raise DataError(
                f"{self._records}: {len(self.corrupt)} of {total} records are damaged, more than "
                f"the fraction {self._max_corrupt_fraction} that "
                "--config.data.max_corrupt_fraction allows: copy the records again or write them "
                f"anew. The last one: {message}"
            )

    def _read_region(self, number: int) -> Region:
        record = decode_record(self._reader[number])
        pixels = decode_image(record)
        if min(pixels.shape[:2]) < self._min_side:
            raise DataError(
                f"{self._records}: region {record.source} is {pixels.shape[1]} x "
                f"{pixels.shape[0]} px, smaller than the model's patch of {self._min_side} px; "
                "write the records with a larger --region-size or train on smaller patches"
            )
        return Region(number, pixels, record._replace(image=b""), gradient_energy(pixels))
