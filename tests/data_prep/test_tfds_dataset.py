"""The records as a tensorflow-datasets dataset, read and made by the library itself."""

import json
import pathlib

import numpy as np
import pytest
from photo_folders import all_records, command, make_folder

from data_prep.photos import main
from data_prep.records.tfds_files import features
from exif_jax.data.records import decode_image

pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

pytestmark = [pytest.mark.filterwarnings("ignore")]  # TensorFlow's own, by the dozen


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def made(root, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp("made") / "records"
    assert main(command(root, output)) == 0
    return output


def assert_same(example, record):
    np.testing.assert_array_equal(example["image"], decode_image(record))
    assert json.loads(example["exif"]) == record.exif
    assert tuple(example["region"]) == record.region
    assert example["photo_id"].decode() == record.photo_id
    assert example["source"].decode() == record.source
    assert example["version"] == 1


def test_builder_from_directory_reads_what_we_wrote(made):
    builder = tfds.builder_from_directory(str(made))
    for split, records in all_records(made).items():
        assert builder.info.splits[split].num_examples == len(records)
        assert builder.info.splits[split].num_shards == 2
        order = tfds.ReadConfig(interleave_cycle_length=1)
        dataset = builder.as_dataset(split=split, shuffle_files=False, read_config=order)
        for example, record in zip(tfds.as_numpy(dataset), records, strict=True):
            assert_same(example, record)


def test_tfds_load_makes_the_same_records_of_a_folder_of_photos(root, made, tmp_path):
    import data_prep.tfds_dataset  # noqa: F401  # the name is known from here on

    config = tfds.download.DownloadConfig(manual_dir=str(root))
    dataset = tfds.load(
        "exif_patches",
        data_dir=str(tmp_path / "data"),
        download_and_prepare_kwargs={
            "download_config": config,
            "download_dir": str(tmp_path / "downloads"),
        },
    )
    # Its own defaults: larger regions and another share held out than `made` has.
    assert main(["--input", str(root), "--output", str(tmp_path / "plain"), "--workers", "1"]) == 0
    for split, records in all_records(tmp_path / "plain").items():
        ours = {(record.photo_id, record.region): record for record in records}
        examples = list(tfds.as_numpy(dataset[split]))
        assert len(examples) == len(ours) > 0
        for example in examples:
            assert_same(example, ours[example["photo_id"].decode(), tuple(example["region"])])


def test_our_feature_file_is_the_one_the_library_writes(tmp_path):
    from data_prep.tfds_dataset import ExifPatches

    theirs = ExifPatches(data_dir=str(tmp_path)).info.features
    theirs.save_config(str(tmp_path))

    def plain(value):
        """Without the descriptions of fields, which the file on disk does not need."""
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items() if k != "description" and v not in ({},)}
        return value

    assert plain(json.loads((tmp_path / "features.json").read_text())) == plain(features())


def test_array_record_gives_random_access_to_the_same_records(made, tmp_path):
    pytest.importorskip("array_record")
    from data_prep import array_records

    line = ["--records", str(made), "--output", str(tmp_path / "out")]
    assert array_records.main(line) == 0
    builder = tfds.builder_from_directory(str(tmp_path / "out"))
    for split, records in all_records(made).items():
        source = builder.as_data_source(split=split)
        assert len(source) == len(records)
        for k in (len(records) - 1, 0, len(records) // 2):
            np.testing.assert_array_equal(source[k]["image"], decode_image(records[k]))
    with pytest.raises(SystemExit):
        array_records.main(["--records", str(made), "--output", str(made)])
    shard = next(made.glob("train-*.tfrecord"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9])
    try:
        assert array_records.main(line) == 1
    finally:
        shard.write_bytes(whole)
