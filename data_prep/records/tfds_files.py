"""The two files by which tensorflow-datasets reads a folder of records; written without it.

https://www.tensorflow.org/datasets/external_tfrecord describes them. The fields of a record are
those of `exif_jax.data.records.encode_record`.
"""

from collections.abc import Mapping

from exif_jax.io.atomic import write_bytes
from exif_jax.io.files import join
from exif_jax.io.text import json_bytes

NAME, VERSION = "exif_patches", "1.0.0"
_FEATURE = "tensorflow_datasets.core.features"


def features() -> dict:
    """The content of features.json: how each field decodes, the image by a class of ours."""
    text = {"pythonClassName": f"{_FEATURE}.text_feature.Text", "text": {}}
    number = {"dtype": "int64", "encoding": "none"}
    pixels = {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}}
    return {
        "pythonClassName": f"{_FEATURE}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "exif": text,
                "image": {
                    "pythonClassName": "data_prep.tfds_dataset.WebpImage",
                    "image": pixels,
                },
                "photo_id": text,
                "region": {
                    "pythonClassName": f"{_FEATURE}.tensor_feature.Tensor",
                    "tensor": number | {"shape": {"dimensions": ["4"]}},
                },
                "source": text,
                "version": {
                    "pythonClassName": f"{_FEATURE}.scalar.Scalar",
                    "tensor": number | {"shape": {}},
                },
            }
        },
    }


def dataset_info(
    lengths: Mapping[str, list[int]], num_bytes: Mapping[str, int], file_format: str
) -> dict:
    """The content of dataset_info.json, in the form that tensorflow-datasets prescribes."""
    return {
        "name": NAME,
        "version": VERSION,
        "description": "Regions of camera photos, without loss, and the canonical EXIF of each.",
        "citation": "EXIF as Language, Zheng, Shrivastava and Owens, CVPR 2023, arXiv 2301.04647",
        "fileFormat": file_format,
        "moduleName": "data_prep.tfds_dataset",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "shardLengths": [str(length) for length in lengths[split]],
                "numBytes": str(num_bytes[split]),
            }
            for split in lengths
            if lengths[split]
        ],
    }


def write_tfds_files(
    output: str,
    lengths: Mapping[str, list[int]],
    num_bytes: Mapping[str, int],
    file_format: str = "tfrecord",
) -> None:
    """Writes features.json and, last of all files, dataset_info.json.

    Args:
      output: The folder.
      lengths: Split -> records of each shard.
      num_bytes: Split -> bytes of all its records.
      file_format: "tfrecord" or "array_record", also the shards' ending.
    """
    for name, content in (
        ("features.json", features()),
        ("dataset_info.json", dataset_info(lengths, num_bytes, file_format)),
    ):
        write_bytes(join(output, name), json_bytes(content))
