"""Records to patches and texts. A batch is a function of the step, so data has no other state.

There is no iterator state to save: a run resumed at step k reads what the killed run would have
read, and so does any number of processes, of which each makes its own rows of the same batch.
`photo_reader.py` reads the photos, and `input_pipeline.py` makes batches ahead of the training
loop.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from exif_jax.data.augment import (
    Augmentation,
    PostProcessing,
    augment,
    crop_size,
    min_rescale_factor,
    sample_augmentation,
    sample_corner,
    sample_post_processing,
    size_before_post_processing,
)
from exif_jax.data.config import DataConfig
from exif_jax.data.packing import make_shapes, pack
from exif_jax.data.photo_reader import PhotoReader, Region
from exif_jax.data.records_folder import DataError, chosen_tags
from exif_jax.data.sampler import photo_indices, process_slots
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.data.wordpiece import WordPiece
from exif_jax.reading.exif import select_tags, to_text
from exif_jax.reading.pixels import centre_crop

# Places of which a contrasting patch takes the one least like the text's first patch.
CONTRAST_CANDIDATES = 8


class TextSample(NamedTuple):
    """One text of a photo, and its patches.

    Attributes:
        patches: of each its arrays: image uint8 [S, S, 3], or what makes it on the device.
        text: what the model reads: some of the tags, perhaps shuffled.
        whole_text: all tags in order: texts are the same where their whole texts are.
    """

    patches: list[dict[str, np.ndarray]]
    text: str
    whole_text: str


class PatchDataset:
    """Patches and texts of one split of a records folder.

    A batch holds photos once each, `texts_per_photo` texts of each (the photo's EXIF and one
    augmentation; see `augment.py`) and `patches_per_text` patches of each text. `photo_indices`
    decides which photos. In the place of a photo without a readable record, a batch takes one of
    a later batch, always the same one.

    Attributes:
        config: how patches and texts are drawn.
        patch_sizes: sides of patches, of which each batch has one.
        photos: the photos of the split, and which records are damaged.
        tags: the vocabulary that texts are made of.
        tokenizer: makes tokens of them.
    """

    def __init__(
        self,
        config: DataConfig,
        split: str,
        tokenizer: Tokenizer | WordPiece,
        patch_size: int,
        length: int,
    ):
        """Opens a split; no image is read yet.

        Args:
            config: how patches and texts are drawn.
            split: "train" or "validation".
            tokenizer: makes tokens of texts.
            patch_size: side S of a patch in pixels, where config.patch_sizes names no others; and
                of those that a run is validated by.
            length: tokens L of a text.

        Raises:
            DataError, RecordError: the records are missing, damaged or do not have the tags.
            AugmentError: patches of that size cannot be augmented on the device.
        """
        self.config = config
        self.tokenizer = tokenizer
        self.patch_sizes = config.patch_sizes or (patch_size,)
        self.photos = PhotoReader(config, split, min_side=max(patch_size, *self.patch_sizes))
        self.tags = chosen_tags(config)
        self._size = patch_size
        self._length = length
        # Regions that are larger than nearly all are used as if they were as large as those.
        self._max_side = self.photos.region_side() if config.augment_on == "device" else None
        sizes = self.patch_sizes if self._max_side else ()
        self._shapes = {size: make_shapes(config, size, self._max_side or 0) for size in sizes}

    def patch_size(self, step: int) -> int:
        """Side S of the patches of a step's batch, in pixels: one of `patch_sizes`."""
        rng = np.random.default_rng([self.config.seed, step, 3])  # 3: apart from other streams
        return int(rng.choice(self.patch_sizes))

    def square(self, size: int) -> int:
        """Side of the squares of which the device makes patches of a size; 0: the host does."""
        return self._shapes[size].square if self._shapes else 0

    def check_device_cache(self) -> None:
        """Raises DataError where regions are to lie on the device and take more than they may."""
        if self._max_side and self.config.device_cache:
            self.photos.check_room(self._max_side, self.config.device_cache)

    def load_regions(self) -> np.ndarray:
        """Decodes all regions for the device: uint8 [N, H, H, 3], by the records' numbers.

        Raises:
            DataError: a region is smaller than a patch, or too many are damaged.
        """
        assert self._max_side
        return self.photos.load(self._max_side)

    @property
    def num_photos(self) -> int:
        """The number of photos of the split."""
        return len(self.photos)

    def photos_per_batch(self, batch_size: int) -> int:
        """Returns the number of photos in a global batch of so many patches."""
        return batch_size // self.config.patches_per_photo

    def sample(self, step: int, slot: int, batch_size: int) -> dict[str, np.ndarray]:
        """Returns what one photo contributes to the batch of a step.

        Args:
            step: 0, 1, ...
            slot: 0 .. photos_per_batch - 1, the photo's place in the batch.
            batch_size: patches B of the global batch.

        Returns:
            image uint8 [T x P, S, S, 3], tokens int32 [T, L], token_mask bool [T, L], text_id and
            photo_id uint32 [T] of T texts with P patches each. With config.augment_on "device" in
            the place of image region uint8 [T x P, R, R, 3], row uint32 [T x P] and the other
            arrays of `packing.pack`; with config.device_cache record and corner in the
            place of region.

        Raises:
            DataError: more records are damaged than the config allows.
        """
        per_batch = self.photos_per_batch(batch_size)
        c = self.config
        photos = photo_indices(self.num_photos, per_batch, c.seed, step)
        # All patches of a batch are post-processed alike, so that this does not tell which belong
        # together: what does is what survives it, as in a splice.
        size = self.patch_size(step)
        rng = np.random.default_rng([c.seed, step, 2])
        post_processing = sample_post_processing(rng, c.save_prob, c.shrink_prob, c.noise_prob)
        photo = int(photos[slot])
        for later in range(step + 1, step + 2 + 2 * (self.num_photos // per_batch)):
            # The extra 1 keeps these streams apart from those that order the epochs.
            rng = np.random.default_rng([c.seed, step * per_batch + slot, 1])
            samples = self._sample_texts(photo, size, post_processing, rng)
            if samples is not None:
                batch = self._collate(samples, [photo] * c.texts_per_photo)
                if self._shapes:
                    first = slot * c.patches_per_photo
                    batch["row"] = np.arange(first, first + c.patches_per_photo, dtype=np.uint32)
                return batch
            others = photo_indices(self.num_photos, per_batch, c.seed, later)
            photo = int(others[slot]) if others[slot] not in photos else photo
        first_message = next(iter(self.photos.corrupt.values()), "")
        raise DataError(f"{c.records}: no photo is readable: {first_message}")

    def blank_sample(self, step: int) -> dict[str, np.ndarray]:
        """Returns zeros in the shapes of a step's samples."""
        T, P = self.config.texts_per_photo, self.config.patches_per_text
        size = self.patch_size(step)
        pixels = np.zeros((*[self._max_side or size] * 2, 3), np.uint8)
        patch = self._make_patch(pixels, size, Augmentation(), (0, 0), 0)
        batch = self._collate([TextSample([patch] * P, "", "")] * T, [0] * T)
        if self._shapes:
            batch["row"] = np.zeros(T * P, np.uint32)
        return {name: np.zeros_like(x) for name, x in batch.items()}

    def batch(
        self, step: int, batch_size: int, process: int = 0, processes: int = 1
    ) -> dict[str, np.ndarray]:
        """Returns the training batch of a step, or the rows of one process.

        Args:
            step: 0, 1, ...
            batch_size: patches B of the global batch, a multiple of `DataConfig.patches_per_photo`.
            process, processes: this process and their number, which divides the batch's photos.

        Returns:
            image uint8 [b, S, S, 3] (or what makes it on the device), tokens int32 [g, L],
            token_mask bool [g, L], text_id uint32 [g], equal where the whole texts are, and
            photo_id uint32 [g]; b/g patches to a text, in order. All processes' rows, one after
            the other, are the rows of a single process.

        Raises:
            DataError: more records are damaged than the config allows, or the processes do not
                divide the batch.
        """
        slots = process_slots(self.photos_per_batch(batch_size), process, processes)
        return concatenate([self.sample(step, slot, batch_size) for slot in slots])

    def eval_batch(self, photos: Sequence[int]) -> dict[str, np.ndarray]:
        """Returns the central patch of the first region and the full text of given photos.

        Args:
            photos: numbers of the photos.

        Returns:
            The arrays of `batch`, one row for each photo. A photo without a readable record gives
            zeros, and is in `photos.unreadable` from then on.
        """
        samples = []
        for photo in photos:
            region = self.photos.region(photo, 0)
            if region is None:
                patch, text = np.zeros((self._size, self._size, 3), np.uint8), ""
            else:
                patch = centre_crop(region.pixels, self._size)
                text = self._text(select_tags(region.record.exif, self.tags))
            samples.append(TextSample([{"image": patch}], text, text))
        return self._collate(samples, photos)

    def exif_of(self, photo: int) -> dict[str, str]:
        """Returns a photo's tags of the vocabulary; {} where none of its records is readable."""
        region = self.photos.region(photo, 0)
        return select_tags(region.record.exif, self.tags) if region else {}

    def _text(self, tags: dict[str, str]) -> str:
        return to_text(tags, self.config.tag_names)

    def _collate(
        self, samples: Sequence[TextSample], photos: Sequence[int]
    ) -> dict[str, np.ndarray]:
        tokens, token_mask = self.tokenizer.encode([s.text for s in samples], self._length)
        text_ids = [zlib.crc32(s.whole_text.encode()) for s in samples]
        patches = [patch for s in samples for patch in s.patches]
        return {
            **{name: np.stack([patch[name] for patch in patches]) for name in patches[0]},
            "tokens": tokens,
            "token_mask": token_mask,
            "text_id": np.array(text_ids, np.uint32),
            "photo_id": np.array(photos, np.uint32),
        }

    def _sample_texts(
        self, photo: int, size: int, post_processing: PostProcessing, rng: np.random.Generator
    ) -> list[TextSample] | None:
        """Draws the texts of a photo and their patches; None where it has no readable record."""
        samples = []
        for _ in range(self.config.texts_per_photo):
            num_records = len(self.photos.record_numbers(photo))
            choice = rng.choice(num_records, self.config.patches_per_text)
            chosen = [self.photos.region(photo, int(k)) for k in choice]
            regions = [region for region in chosen if region is not None]
            if not regions:
                return None
            augmentation = self._sample_augmentation(regions, size, post_processing, rng)
            patches = self._sample_patches(regions, size, augmentation, rng)
            tags = select_tags(regions[0].record.exif, self.tags)
            # What was done comes first: a text that is too long is cut at its end.
            text = self._text(augmentation.tags() | self._sample_tags(tags, rng))
            samples.append(TextSample(patches, text, to_text(augmentation.tags() | tags)))
        return samples

    def _sample_augmentation(
        self,
        regions: Sequence[Region],
        size: int,
        post_processing: PostProcessing,
        rng: np.random.Generator,
    ) -> Augmentation:
        """Draws an augmentation that the smallest of these regions allows."""
        c = self.config
        side = min(min(self._pixels(region).shape[:2]) for region in regions)
        if side * post_processing.factor < size:  # too small to be shrunk
            post_processing = post_processing._replace(factor=1.0)
        large_size = size_before_post_processing(size, post_processing)
        return sample_augmentation(
            rng,
            c.rescale_prob,
            c.recompress_prob,
            c.shift_prob,
            filter_prob=c.filter_prob,
            min_factor=min_rescale_factor(side, large_size),
            post_processing=post_processing,
        )

    def _sample_patches(
        self,
        regions: Sequence[Region],
        size: int,
        augmentation: Augmentation,
        rng: np.random.Generator,
    ) -> list[dict[str, np.ndarray]]:
        """Cuts a patch out of each region, somewhere or, to contrast, unlike the first one."""
        c = self.config
        contrast = c.contrast_prob > 0 and rng.random() < c.contrast_prob
        patches, first_energy = [], 0.0
        for k, region in enumerate(regions):
            pixels = self._pixels(region)
            side = crop_size(pixels.shape, size, augmentation)
            num_candidates = CONTRAST_CANDIDATES if contrast and k else 1
            corners = [sample_corner(pixels.shape, side, rng) for _ in range(num_candidates)]
            energies = np.array([region.log_gradient_energy(corner, side) for corner in corners])
            if k == 0:
                first_energy = energies[0]
            corner = corners[int(np.abs(energies - first_energy).argmax())]
            patches.append(self._make_patch(pixels, size, augmentation, corner, region.number))
        return patches

    def _make_patch(
        self,
        pixels: np.ndarray,
        size: int,
        augmentation: Augmentation,
        corner: tuple[int, int],
        number: int,
    ) -> dict[str, np.ndarray]:
        """The arrays of a patch: itself, or what the device makes it of."""
        if not self._shapes:
            return {"image": augment(pixels, size, augmentation, corner)}
        record = number if self.config.device_cache else None
        return pack(pixels, augmentation, corner, self._shapes[size], record)

    def _pixels(self, region: Region) -> np.ndarray:
        return region.pixels[: self._max_side, : self._max_side]

    def _sample_tags(self, tags: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
        """Draws the tags that stay in a text, and their order."""
        names = [name for name in tags if rng.random() < self.config.keep_tag_prob]
        if self.config.shuffle_tags:
            rng.shuffle(names)
        return {name: tags[name] for name in names}


def concatenate(samples: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the samples of photos to one batch."""
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
