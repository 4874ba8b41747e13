"""TFRecords to batches. A batch is a function of the step, so the step is the place in the data.

There is no iterator state to save: a run resumed at step k reads what the killed run would have
read.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import pathlib
import queue
import threading
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from exif_jax import exif
from exif_jax.processing import GRID, process
from exif_jax.records import Record, RecordReader, decode_image, decode_record
from exif_jax.tokenizer import Tokenizer


class DataError(Exception):
    """The records cannot feed this training; the message says what is missing and how to get it."""


class PatchData:
    """Patches and texts of one split of a records folder.

    A sample is a photo, a random region of it, a random patch of that. An epoch visits every
    photo once, in an order drawn from the seed and the epoch; the last photos that do not fill
    a batch wait for another epoch's order, so no batch holds a photo twice.
    """

    def __init__(
        self, config: ConfigDict, split: str, tokenizer: Tokenizer, patch_size: int, length: int
    ):
        self._config = config
        self._tokenizer = tokenizer
        self._size = patch_size
        self._length = length
        self._reader = open_split(config.records, split)
        self.tags = tag_vocabulary(config.records)
        photo_ids = self._reader.photo_ids
        order = np.argsort(photo_ids, kind="stable")
        _, starts = np.unique(photo_ids[order], return_index=True)
        self._records_of_photo = np.split(order, starts[1:])
        self._record = functools.lru_cache(config.cache_regions)(self._read)

    @property
    def num_photos(self) -> int:
        return len(self._records_of_photo)

    def batch(self, step: int, batch_size: int) -> dict[str, np.ndarray]:
        """The training batch of a step.

        Args:
            step: 0, 1, ...
            batch_size: rows B, at most `num_photos`.

        Returns:
            image uint8 [B, S, S, 3], tokens int32 [B, L], token_mask bool [B, L],
            photo_id uint32 [B].
        """
        steps_per_epoch = self.num_photos // batch_size
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        start = step_in_epoch * batch_size
        photos = self._epoch_order(epoch)[start : start + batch_size]
        numbers = range(step * batch_size, (step + 1) * batch_size)
        # Processed patches come in bit by bit: with all of them from the first step a small model
        # was still at chance after 80 steps. One trial without any, and it had left by step 40.
        share = min(1.0, step / self._config.ramp_steps)
        sample = functools.partial(self._sample, share)
        images, texts = zip(*_POOL.map(sample, photos, numbers), strict=True)
        return self._collate(images, texts, photos)

    def eval_batch(self, photos: list[int]) -> dict[str, np.ndarray]:
        """The first region's central patch and full text of given photos, as in `batch`."""
        records = [self._record(self._records_of_photo[i][0]) for i in photos]
        images = [centre_crop(region, self._size) for region, _ in records]
        texts = [exif.to_text(select_tags(record.exif, self.tags)) for _, record in records]
        return self._collate(images, texts, np.asarray(photos))

    def _collate(self, images, texts, photos) -> dict[str, np.ndarray]:
        tokens, token_mask = self._tokenizer.encode(texts, self._length)
        return {
            "image": np.stack(images),
            "tokens": tokens,
            "token_mask": token_mask,
            "photo_id": np.asarray(photos, np.uint32),
        }

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._config.seed, epoch]).permutation(self.num_photos)

    def _sample(self, share: float, photo: int, number: int) -> tuple[np.ndarray, str]:
        # The extra 1 keeps these streams apart from those that order the epochs.
        rng = np.random.default_rng([self._config.seed, number, 1])
        region, record = self._record(rng.choice(self._records_of_photo[photo]))
        c = self._config
        shares = (share * c.rescale, share * c.recompress, share * c.shift)
        image, done = process(region, self._size, rng, *shares)
        tags = select_tags(record.exif, self.tags)
        names = [name for name in tags if rng.random() < self._config.keep_tag]
        if self._config.shuffle_tags:
            rng.shuffle(names)
        # What was done comes first: a text that is too long is cut at its end.
        return image, exif.to_text(done | {name: tags[name] for name in names})

    def _read(self, number: int) -> tuple[np.ndarray, Record]:
        record = decode_record(self._reader[int(number)])
        region = decode_image(record)
        if min(region.shape[:2]) < self._size:
            raise DataError(
                f"{self._config.records}: region {record.source} is {region.shape[1]} x "
                f"{region.shape[0]} px, smaller than the model's patch of {self._size} px; "
                "write the records with a larger --region-size or train on smaller patches"
            )
        return region, record._replace(image=b"")


_POOL = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="exif-jax-data")


def open_split(records: str, split: str) -> RecordReader:
    """The reader of a split; raises DataError where the folder holds none."""
    reader = RecordReader(_folder(records), split)
    if len(reader) == 0:
        raise DataError(f"{records}: the {split} split is empty; the records need more cameras")
    return reader


def _folder(records: str) -> pathlib.Path:
    if not records or not pathlib.Path(records).is_dir():
        raise DataError(
            f"config.data.records={records!r}: no such folder; write one with "
            "`python -m data_prep.photos --input PHOTOS --output RECORDS` and pass "
            "--config.data.records=RECORDS"
        )
    return pathlib.Path(records)


def tag_vocabulary(records: str) -> tuple[str, ...]:
    """The tags that training texts are made of: those that half of the photos carry."""
    path = pathlib.Path(records, "tag_counts.json")
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))["vocabulary"]
        if not isinstance(vocabulary, list) or not all(isinstance(x, str) for x in vocabulary):
            raise ValueError("the vocabulary is no list of texts")
        return tuple(vocabulary)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"{path}: no tag vocabulary ({e}); run `python -m data_prep.photos` again"
        ) from e


def load_tokenizer(records: str) -> Tokenizer:
    """The tokenizer that lies with the records."""
    path = _folder(records) / "tokenizer.model"
    if not path.is_file():
        raise DataError(
            f"{path}: no tokenizer; train one with "
            f"`python -m data_prep.train_tokenizer --records {records}`"
        )
    return Tokenizer.from_file(path)


def select_tags(tags: dict[str, str], vocabulary: tuple[str, ...]) -> dict[str, str]:
    """The tags of a photo that belong to the vocabulary, in its order."""
    return {name: tags[name] for name in vocabulary if name in tags}


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The [size, size, 3] nearest the centre of [H, W, 3] that begins on the JPEG grid."""
    y, x = ((side - size) // 2 // GRID * GRID for side in image.shape[:2])
    return image[y : y + size, x : x + size]


def prefetch(batch_of_step, first_step: int, num_steps: int, depth: int = 2) -> Iterator[dict]:
    """batch_of_step(k) for k = first_step .. num_steps - 1, made by a thread `depth` ahead.

    What the thread raises is raised here.
    """
    ready: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def put(item) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        for step in range(first_step, num_steps):
            try:
                item = (batch_of_step(step), None)
            except Exception as e:
                item = (None, e)
            if not put(item) or item[1] is not None:
                return

    thread = threading.Thread(target=work, daemon=True, name="exif-jax-prefetch")
    thread.start()
    try:
        for _ in range(first_step, num_steps):
            batch, error = ready.get()
            if error is not None:
                raise error
            yield batch
    finally:
        stop.set()
        thread.join()
