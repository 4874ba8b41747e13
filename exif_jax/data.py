"""TFRecords to batches. A batch is a function of the step, so the step is the place in the data.

There is no iterator state to save: a run resumed at step k reads what the killed run would have
read.
"""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import json
import pathlib
import queue
import threading
import zlib
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from exif_jax import exif
from exif_jax.processing import (
    GRID,
    Jpeg,
    draw_history,
    draw_jpeg,
    process,
    smallest_factor,
)
from exif_jax.records import Record, RecordReader, decode_image, decode_record
from exif_jax.tokenizer import Tokenizer


class DataError(Exception):
    """The records cannot feed this training; the message says what is missing and how to get it."""


class PatchData:
    """Patches and texts of one split of a records folder.

    A batch holds photos once each, `texts_per_photo` texts of each (the photo's EXIF and one
    processing history; see `processing.py`) and `patches_per_text` patches of each text. An epoch
    visits every photo once, in an order drawn from the seed and the epoch; the last photos that
    do not fill a batch wait for another epoch's order.
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
            batch_size: patches B, a multiple of `patches_per_photo`.

        Returns:
            image uint8 [B, S, S, 3], tokens int32 [G, L], token_mask bool [G, L],
            text_id uint32 [G], equal where the whole texts are; B/G patches to a text, in order.
        """
        c = self._config
        photos_per_batch = batch_size // patches_per_photo(c)
        steps_per_epoch = self.num_photos // photos_per_batch
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        start = step_in_epoch * photos_per_batch
        photos = self._epoch_order(epoch)[start : start + photos_per_batch]
        rng = np.random.default_rng([c.seed, step, 2])
        # All patches of a batch are saved alike, so that this says nothing about who belongs to
        # whom: what tells them apart is what survives it, as in a splice.
        saved = draw_jpeg(rng, lowest=70) if rng.random() < c.save else None
        numbers = range(step * photos_per_batch, (step + 1) * photos_per_batch)
        samples = _POOL.map(functools.partial(self._sample, saved), photos, numbers)
        parts = zip(*samples, strict=True)
        images, texts, ids = (list(itertools.chain(*lists)) for lists in parts)
        return self._collate(images, texts, ids)

    def eval_batch(self, photos: list[int]) -> dict[str, np.ndarray]:
        """The first region's central patch and full text of given photos, as in `batch`."""
        records = [self._record(self._records_of_photo[i][0]) for i in photos]
        images = [centre_crop(region, self._size) for region, _ in records]
        texts = [exif.to_text(select_tags(record.exif, self.tags)) for _, record in records]
        return self._collate(images, texts, texts)

    def _collate(self, images, texts, whole_texts) -> dict[str, np.ndarray]:
        tokens, token_mask = self._tokenizer.encode(texts, self._length)
        return {
            "image": np.stack(images),
            "tokens": tokens,
            "token_mask": token_mask,
            "text_id": np.array([zlib.crc32(text.encode()) for text in whole_texts], np.uint32),
        }

    def _epoch_order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._config.seed, epoch]).permutation(self.num_photos)

    def _sample(self, saved: Jpeg | None, photo: int, number: int):
        """Patches, shortened texts and whole texts of one photo, as lists."""
        # The extra 1 keeps these streams apart from those that order the epochs.
        rng = np.random.default_rng([self._config.seed, number, 1])
        c = self._config
        images, texts, whole_texts = [], [], []
        for _ in range(c.texts_per_photo):
            choice = rng.choice(self._records_of_photo[photo], c.patches_per_text)
            regions, records = zip(*map(self._record, choice), strict=True)
            side = min(min(region.shape[:2]) for region in regions)
            history = draw_history(
                *(rng, c.rescale, c.recompress, c.shift), smallest_factor(side, self._size), saved
            )
            images += [process(region, self._size, history, rng) for region in regions]
            tags = select_tags(records[0].exif, self.tags)
            names = [name for name in tags if rng.random() < c.keep_tag]
            if c.shuffle_tags:
                rng.shuffle(names)
            # What was done comes first: a text that is too long is cut at its end.
            texts.append(exif.to_text(history.tags() | {name: tags[name] for name in names}))
            whole_texts.append(exif.to_text(history.tags() | tags))
        return images, texts, whole_texts

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


def patches_per_photo(config: ConfigDict) -> int:
    """Patches that each photo of a training batch gives."""
    return config.texts_per_photo * config.patches_per_text


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
