"""Records to patches and texts. A batch is a function of the step: no other place in the data.

There is no iterator state to save: a run resumed at step k reads what the killed run would have
read, and so does any number of processes, of which each makes its own rows of the same batch.
`records_folder.py` reads what lies beside the records, `input_pipeline.py` makes batches ahead of
the training loop.
"""

from __future__ import annotations

import functools
import hashlib
import math
import sys
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from exif_jax.data.augment import (
    PostProcessing,
    augment,
    crop_size,
    min_rescale_factor,
    sample_augmentation,
    sample_corner,
    sample_post_processing,
)
from exif_jax.data.config import DataConfig
from exif_jax.data.records import (
    Record,
    RecordError,
    decode_image,
    decode_record,
    records_by_photo,
)
from exif_jax.data.records_folder import DataError, chosen_tags, open_split
from exif_jax.data.sampler import photo_indices
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.data.wordpiece import WordPiece
from exif_jax.reading.exif import select_tags, to_text
from exif_jax.reading.pixels import BLOCK, gradient_energy

MOST_TOLD = 20  # damaged records named one by one; the others are counted
CANDIDATES = 8  # places of which `contrast` takes the one least like the text's first patch


class Region(NamedTuple):
    """A decoded record: uint8 [H, W, 3], the rest of the record, and `processing.roughness`."""

    pixels: np.ndarray
    record: Record
    rough: np.ndarray

    def log_gradient_energy(self, corner: tuple[int, int], side: int) -> float:
        """Of the window of `side` pixels at a corner."""
        y, x, n = corner[0] // BLOCK, corner[1] // BLOCK, max(1, side // BLOCK)
        return math.log(0.5 + float(self.rough[y : y + n, x : x + n].mean()))


class PatchDataset:
    """Patches and texts of one split of a records folder.

    A batch holds photos once each, `texts_per_photo` texts of each (the photo's EXIF and one
    processing history; see `processing.py`) and `patches_per_text` patches of each text.
    `photo_indices` says which photos.

    A damaged record is passed over for the next of its photo, and a photo without any other for
    one of the next batch, always the same one. Each is named on stderr and counted.

    Attributes:
        config: how patches and texts are drawn.
        tags: the vocabulary that texts are made of.
        tokenizer: makes tokens of them.
        corrupt: number of a record -> what is wrong with it, of those met so far.
        unreadable: photos met so far without a readable record.
    """

    def __init__(
        self,
        config: DataConfig,
        split: str,
        tokenizer: Tokenizer | WordPiece,
        patch_size: int,
        length: int,
    ):
        self.config = config
        self.tokenizer = tokenizer
        self._size = patch_size
        self._length = length
        more = config.more_records if split == "train" else ""
        self._reader = open_split(config.records, split, more)
        self.tags = chosen_tags(config)
        self.corrupt: dict[int, str] = {}
        self.unreadable: set[int] = set()
        self._order, self._bounds = records_by_photo(self._reader.photo_ids)
        self._record = functools.lru_cache(config.cache_regions)(self._read)

    @property
    def num_photos(self) -> int:
        """Of the split."""
        return len(self._bounds) - 1

    def fingerprint(self) -> dict[str, int | str]:
        """What tells these records from others, wherever they lie and however they are sharded.

        Returns:
            The numbers of photos and records, and a SHA-256 of the records' photo ids and lengths
            in the order in which batches take them.
        """
        rows = np.stack([self._reader.photo_ids, self._reader.lengths])[:, self._order]
        digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        return {"photos": self.num_photos, "records": len(self._reader), "sha256": digest}

    def photos_per_batch(self, batch_size: int) -> int:
        """Photos of a global batch of so many patches."""
        return batch_size // self.config.patches_per_photo

    def sample(self, step: int, slot: int, batch_size: int) -> dict[str, np.ndarray]:
        """What one photo gives to the batch of a step.

        Args:
            step: 0, 1, ...
            slot: 0 .. photos_per_batch - 1, the photo's place in the batch.
            batch_size: patches B of the global batch.

        Returns:
            image uint8 [T x P, S, S, 3], tokens int32 [T, L], token_mask bool [T, L], text_id and
            photo_id uint32 [T] of T texts with P patches each.

        Raises:
            DataError: more records are damaged than the config allows.
        """
        per_batch = self.photos_per_batch(batch_size)
        c = self.config
        photos = photo_indices(self.num_photos, per_batch, c.seed, step)
        # All patches of a batch are saved alike, so that this says nothing about who belongs to
        # whom: what tells them apart is what survives it, as in a splice.
        rng = np.random.default_rng([c.seed, step, 2])
        saved = sample_post_processing(rng, c.save_prob, c.shrink_prob, c.noise_prob)
        photo = int(photos[slot])
        for later in range(step + 1, step + 2 + 2 * (self.num_photos // per_batch)):
            # The extra 1 keeps these streams apart from those that order the epochs.
            found = self._draw(
                photo, saved, np.random.default_rng([c.seed, step * per_batch + slot, 1])
            )
            if found is not None:
                return self._collate(*found, [photo] * c.texts_per_photo)
            others = photo_indices(self.num_photos, per_batch, c.seed, later)
            photo = int(others[slot]) if others[slot] not in photos else photo
        raise DataError(f"{c.records}: no photo is readable: {[*self.corrupt.values()][:1]}")

    def blank_sample(self) -> dict[str, np.ndarray]:
        """Zeros in the shapes of a sample."""
        texts = self.config.texts_per_photo
        patches = texts * self.config.patches_per_text
        return {
            "image": np.zeros((patches, self._size, self._size, 3), np.uint8),
            "tokens": np.zeros((texts, self._length), np.int32),
            "token_mask": np.zeros((texts, self._length), bool),
            "text_id": np.zeros(texts, np.uint32),
            "photo_id": np.zeros(texts, np.uint32),
        }

    def batch(
        self, step: int, batch_size: int, process: int = 0, processes: int = 1
    ) -> dict[str, np.ndarray]:
        """The training batch of a step, or the rows of one process.

        Args:
            step: 0, 1, ...
            batch_size: patches B of the global batch, a multiple of `DataConfig.patches_per_photo`.
            process, processes: this process and their number, which divides the batch's photos.

        Returns:
            image uint8 [b, S, S, 3], tokens int32 [g, L], token_mask bool [g, L], text_id uint32
            [g], equal where the whole texts are, and photo_id uint32 [g]; b/g patches to a text,
            in order. All processes' rows, one after the other, are the rows of a single process.
        """
        slots = process_slots(self.photos_per_batch(batch_size), process, processes)
        return concatenate([self.sample(step, slot, batch_size) for slot in slots])

    def eval_batch(self, photos: Sequence[int]) -> dict[str, np.ndarray]:
        """The first region's central patch and full text of given photos, as in `batch`.

        A photo without a readable record gives zeros, and is in `unreadable` from then on.
        """
        images, texts = [], []
        for photo in photos:
            found = self._readable(photo, 0)
            if found is None:
                images.append(np.zeros((self._size, self._size, 3), np.uint8))
                texts.append("")
                continue
            images.append(centre_crop(found.pixels, self._size))
            texts.append(self._text(select_tags(found.record.exif, self.tags)))
        return self._collate(images, texts, texts, photos)

    def exif_of(self, photo: int) -> dict[str, str]:
        """The tags of the vocabulary that a photo has; {} where none of its records is readable."""
        found = self._readable(photo, 0)
        return select_tags(found.record.exif, self.tags) if found else {}

    def _text(self, tags: dict[str, str]) -> str:
        return to_text(tags, self.config.tag_names)

    def _collate(self, images, texts, whole_texts, photos) -> dict[str, np.ndarray]:
        tokens, token_mask = self.tokenizer.encode(texts, self._length)
        return {
            "image": np.stack(images),
            "tokens": tokens,
            "token_mask": token_mask,
            "text_id": np.array([zlib.crc32(text.encode()) for text in whole_texts], np.uint32),
            "photo_id": np.array(photos, np.uint32),
        }

    def _draw(self, photo: int, saved: PostProcessing, rng: np.random.Generator):
        """Patches, shortened texts and whole texts of one photo, as lists; None if unreadable."""
        c = self.config
        images, texts, whole_texts = [], [], []
        number = int(self._bounds[photo + 1] - self._bounds[photo])
        for _ in range(c.texts_per_photo):
            choice = rng.choice(number, c.patches_per_text)
            found = [self._readable(photo, int(k)) for k in choice]
            if found[0] is None:
                return None
            regions = [region for region in found if region is not None]
            side = min(min(region.pixels.shape[:2]) for region in regions)
            too_small = side * saved.factor < self._size
            last = saved._replace(factor=1.0) if too_small else saved
            smallest = min_rescale_factor(side, math.ceil(self._size / last.factor))
            history = sample_augmentation(
                rng,
                c.rescale_prob,
                c.recompress_prob,
                c.shift_prob,
                filter_prob=c.filter_prob,
                min_factor=smallest,
                post_processing=last,
            )
            contrast = c.contrast_prob > 0 and rng.random() < c.contrast_prob
            first = 0.0
            for k, region in enumerate(regions):
                wanted = crop_size(region.pixels.shape, self._size, history)
                tries = CANDIDATES if contrast and k else 1
                corners = [sample_corner(region.pixels.shape, wanted, rng) for _ in range(tries)]
                rough = np.array([region.log_gradient_energy(corner, wanted) for corner in corners])
                if k == 0:
                    first = rough[0]
                corner = corners[int(np.abs(rough - first).argmax())]
                images.append(augment(region.pixels, self._size, history, corner))
            tags = select_tags(regions[0].record.exif, self.tags)
            names = [name for name in tags if rng.random() < c.keep_tag_prob]
            if c.shuffle_tags:
                rng.shuffle(names)
            # What was done comes first: a text that is too long is cut at its end.
            texts.append(self._text(history.tags() | {name: tags[name] for name in names}))
            whole_texts.append(to_text(history.tags() | tags))
        return images, texts, whole_texts

    def _readable(self, photo: int, start: int) -> Region | None:
        """Record `start` of a photo, or the next of its records that is not damaged."""
        numbers = self._order[self._bounds[photo] : self._bounds[photo + 1]]
        for k in range(len(numbers)):
            number = int(numbers[(start + k) % len(numbers)])
            if number not in self.corrupt:
                try:
                    return self._record(number)
                except RecordError as error:
                    self._note(number, str(error))
        self.unreadable.add(photo)
        return None

    def _note(self, number: int, message: str) -> None:
        self.corrupt[number] = message
        share, total = self.config.max_corrupt_fraction, len(self._reader)
        if len(self.corrupt) <= MOST_TOLD:
            print(f"record passed over: {message}", file=sys.stderr)
        if len(self.corrupt) > share * total:
            raise DataError(
                f"{self.config.records}: {len(self.corrupt)} of {total} records are damaged, more "
                f"than the share {share} that --config.data.max_corrupt_fraction allows: copy the "
                f"records again or write them anew. The last one: {message}"
            )

    def _read(self, number: int) -> Region:
        record = decode_record(self._reader[number])
        region = decode_image(record)
        if min(region.shape[:2]) < self._size:
            raise DataError(
                f"{self.config.records}: region {record.source} is {region.shape[1]} x "
                f"{region.shape[0]} px, smaller than the model's patch of {self._size} px; "
                "write the records with a larger --region-size or train on smaller patches"
            )
        return Region(region, record._replace(image=b""), gradient_energy(region))


def process_slots(per_batch: int, process: int, processes: int) -> range:
    """The places in a batch of `per_batch` photos that a process fills."""
    if per_batch % processes:
        raise DataError(
            f"a batch of {per_batch} photos does not divide over {processes} processes; choose "
            "another --config.train.batch_size"
        )
    share = per_batch // processes
    return range(process * share, (process + 1) * share)


def concatenate(samples: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Samples of photos to one batch."""
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The [size, size, 3] nearest the centre of [H, W, 3] that begins on the JPEG grid."""
    y, x = ((side - size) // 2 // BLOCK * BLOCK for side in image.shape[:2])
    return image[y : y + size, x : x + size]
