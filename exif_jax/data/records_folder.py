"""A folder of records as training finds it: its splits, tag vocabulary and tokenizer."""

from __future__ import annotations

import json

from exif_jax.data.config import DataConfig
from exif_jax.data.records import RecordReader
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import FilesError, exists, join, read_file


class DataError(ExifJaxError):
    """Training cannot read the records; the message says what is missing and how to get it."""


def open_split(records: str, split: str, more: str = "") -> RecordReader:
    """Opens a split of a records folder.

    Args:
        records: the folder, or its URL.
        split: "train" or "validation".
        more: another folder, whose records of the split follow; "" for none.

    Raises:
        DataError: a folder is missing, or the split is empty.
        RecordError: the shards are missing or damaged.
    """
    _check_folder(records, "records")
    if more:
        _check_folder(more, "more_records")
    reader = RecordReader(records, split, *([more] if more else []))
    if len(reader) == 0:
        raise DataError(f"{records}: the {split} split is empty; the records need more cameras")
    return reader


def _check_folder(records: str, field: str) -> None:
    try:
        is_there = bool(records) and exists(records)
    except FilesError as e:
        raise DataError(str(e)) from e
    if not is_there:
        raise DataError(
            f"config.data.{field}={records!r}: no such folder; write one with "
            "`python -m data_prep.photos --input PHOTOS --output RECORDS` and pass "
            f"--config.data.{field}=RECORDS"
        )


def read_vocabulary(records: str) -> tuple[str, ...]:
    """Reads the tags that training texts are made of: those that half of the photos carry.

    Raises:
        DataError: `tag_counts.json` is missing or damaged.
    """
    path = join(records, "tag_counts.json")
    try:
        vocabulary = json.loads(read_file(path))["vocabulary"]
        if not isinstance(vocabulary, list) or not all(isinstance(x, str) for x in vocabulary):
            raise ValueError("the vocabulary is not a list of texts")
        return tuple(vocabulary)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"{path}: no tag vocabulary ({e}); run `python -m data_prep.photos` again"
        ) from e


def chosen_tags(config: DataConfig) -> tuple[str, ...]:
    """Returns the vocabulary, or those of its tags that `config.tags` names.

    Raises:
        DataError: there is no vocabulary, or it lacks a tag that is named.
    """
    vocabulary = read_vocabulary(config.records)
    unknown = sorted(set(config.tags) - set(vocabulary))
    if unknown:
        raise DataError(
            f"config.data.tags names {', '.join(unknown)}, which the texts of {config.records} do "
            f"not have; they have {', '.join(vocabulary)}"
        )
    return tuple(tag for tag in vocabulary if tag in config.tags) if config.tags else vocabulary


def load_tokenizer(records: str) -> Tokenizer:
    """Loads the tokenizer that lies with the records.

    Raises:
        DataError: there is none.
        TokenizerError: it is damaged.
    """
    _check_folder(records, "records")
    path = join(records, "tokenizer.model")
    if not exists(path):
        raise DataError(
            f"{path}: no tokenizer; train one with "
            f"`python -m data_prep.train_tokenizer --records {records}`"
        )
    return Tokenizer.from_file(path)
