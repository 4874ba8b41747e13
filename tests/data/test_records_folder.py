"""What lies beside records: each thing that is missing or damaged is named with its cure."""

import json

import numpy as np
import pytest

from exif_jax.data.config import DataConfig
from exif_jax.data.records import (
    Record,
    decode_record,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.data.records_folder import (
    DataError,
    chosen_tags,
    load_tokenizer,
    open_split,
    read_vocabulary,
)


@pytest.mark.parametrize("name", ["", "/no/such/folder"])
def test_a_missing_folder_is_explained(name):
    with pytest.raises(DataError, match=r"no such folder; write one with .*data_prep\.photos"):
        open_split(name, "train")


def test_more_records_follow_and_a_missing_folder_is_named(tmp_path):
    for name, photos in (("first", "ab"), ("second", "c")):
        (tmp_path / name).mkdir()
        records = [
            encode_record(
                Record(b"-", {"Make": photo}, f"{ord(photo):064x}"[::-1], (0, 0, 8, 8), photo)
            )
            for photo in photos
        ]
        write_shard(tmp_path / name / shard_name("train", 0, 1), records)
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    reader = open_split(first, "train", second)
    assert [decode_record(reader[i]).source for i in range(len(reader))] == ["a", "b", "c"]
    assert len(np.unique(reader.photo_ids)) == 3
    assert len(open_split(first, "train")) == 2
    with pytest.raises(DataError, match=r"config\.data\.more_records='/no/such'"):
        open_split(first, "train", "/no/such")


def test_an_empty_split_is_explained(tmp_path):
    write_shard(tmp_path / shard_name("train", 0, 1), [])
    with pytest.raises(DataError, match="the train split is empty"):
        open_split(str(tmp_path), "train")


def test_a_missing_tokenizer_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"tokenizer\.model: no tokenizer; .*train_tokenizer"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"vocabulary": null}',
        b'{"vocabulary": "Make"}',
    ],
)
def test_a_missing_vocabulary_is_explained(tmp_path, content):
    if content is not None:
        (tmp_path / "tag_counts.json").write_bytes(content)
    with pytest.raises(DataError, match=r"tag_counts\.json: no tag vocabulary .*data_prep\.photos"):
        read_vocabulary(str(tmp_path))


def test_the_vocabulary_is_cut_to_the_tags_that_the_config_names(tmp_path):
    vocabulary = {"vocabulary": ["Make", "Model", "Flash"]}
    (tmp_path / "tag_counts.json").write_text(json.dumps(vocabulary))

    def chosen(*tags):
        return chosen_tags(DataConfig(records=str(tmp_path), tags=tags))

    assert chosen() == ("Make", "Model", "Flash")
    assert chosen("Flash", "Make") == ("Make", "Flash")
    with pytest.raises(DataError, match="names Lens, which the texts"):
        chosen("Make", "Lens")
