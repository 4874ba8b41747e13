"""What lies beside records: each thing that is missing or damaged is named with its cure."""

import json

import pytest
from ml_collections import ConfigDict

from exif_jax.records import shard_name, write_shard
from exif_jax.records_folder import (
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
        return chosen_tags(ConfigDict({"records": str(tmp_path), "tags": tags}))

    assert chosen() == ("Make", "Model", "Flash")
    assert chosen("Flash", "Make") == ("Make", "Flash")
    with pytest.raises(DataError, match="names Lens, which the texts"):
        chosen("Make", "Lens")
