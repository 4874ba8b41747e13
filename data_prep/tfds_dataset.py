"""The records as a tensorflow-datasets dataset. Needs `pip install 'exif-jax[tensorflow]'`.

A folder that `data_prep.photos` or `data_prep.build` wrote is one already:

    builder = tfds.builder_from_directory("records")
    dataset = builder.as_dataset(split="train")      # image uint8 [h, w, 3], exif (JSON), ...

and `import data_prep.tfds_dataset` lets tensorflow-datasets make them from a folder of photos:

    config = tfds.download.DownloadConfig(manual_dir="photos")
    dataset = tfds.load("exif_patches", download_and_prepare_kwargs={"download_config": config})
"""

import io
import json
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import photos
from data_prep.records import tfds_files
from exif_jax.data.records import RecordReader, decode_record


class WebpImage(tfds.features.Image):
    """A lossless WebP as pixels, uint8 [h, w, 3]; the library's own class knows no WebP."""

    def decode_example(self, example: Any) -> Any:
        """Decodes a scalar string to uint8 [h, w, 3], in a graph of TensorFlow."""
        import tensorflow as tf  # type: ignore[reportMissingImports]

        image = tf.io.decode_image(example, channels=3, expand_animations=False)
        image.set_shape(self.shape)
        return image

    def decode_example_np(self, example: bytes) -> np.ndarray:
        """Decodes the bytes of a file to uint8 [h, w, 3], without TensorFlow."""
        with Image.open(io.BytesIO(example), formats=["WEBP"]) as image:
            return np.array(image.convert("RGB"))


class ExifPatches(tfds.core.GeneratorBasedBuilder):
    """Regions of camera photos and their EXIF, of the photos in `manual_dir`."""

    VERSION = tfds.core.Version(tfds_files.VERSION)
    RELEASE_NOTES: ClassVar = {
        tfds_files.VERSION: "The fields of exif_jax.data.records, version 1."
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put camera photos into manual_dir; subfolders are searched."

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": WebpImage(shape=(None, None, 3), dtype=np.uint8),
                    "exif": text(doc="canonical tags as a JSON object"),
                    "photo_id": text(doc="SHA-256, equal for all regions of one photo"),
                    "region": tfds.features.Tensor(shape=(4,), dtype=np.int64, doc="y, x, h, w"),
                    "source": text(doc="the photo's path in the input folder"),
                    "version": tfds.features.Scalar(np.int64),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        records = os.path.join(dl_manager.download_dir, "exif_patches_records")
        line = ["--input", os.fspath(dl_manager.manual_dir), "--output", records, "--overwrite"]
        if photos.main(line) != 0:
            raise RuntimeError(f"{dl_manager.manual_dir}: no records; the message stands above")
        with open(os.path.join(records, "statistics.json"), encoding="utf-8") as file:
            splits = json.load(file)["splits"]
        return {
            split: self._generate_examples(records, split)
            for split, row in splits.items()
            if row["records"]
        }

    def _generate_examples(self, records: str, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        reader = RecordReader(records, split)
        for number in range(len(reader)):
            record = decode_record(reader[number])
            yield (
                number,
                {
                    "image": record.image,
                    "exif": json.dumps(record.exif),
                    "photo_id": record.photo_id,
                    "region": np.array(record.region, np.int64),
                    "source": record.source,
                    "version": 1,
                },
            )
