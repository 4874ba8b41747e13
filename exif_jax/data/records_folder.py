"""A folder of records as training finds it: its splits, tag vocabulary and tokenizer."""

from __future__ import annotations

import json

from exif_jax.data.config import DataConfig
from exif_jax.data.records import RecordReader
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.io.errors import ExifJaxError
from exif_jax.io.files import FilesError, exists, join, read_file


class DataError(ExifJaxError):
    """The records cannot feed this training; the message says what is missing and how to get it."""


def open_split(records: str, split: str, more: str = "") -> RecordReader:
    """The reader of a split, of `more` records too; raises DataError where there are none."""
    folders = [_folder(records)]
    if more:
        folders.append(_folder(more, "more_records"))
    reader = RecordReader(folders[0], split, *folders[1:])
    if len(reader) == 0:
        raise DataError(f"{records}: the {split} split is empty; the records need more cameras")
    return reader


def _folder(records: str, field: str = "records") -> str:
    try:
        there = bool(records) and exists(records)
    except FilesError as e:
        raise DataError(str(e)) from e
    if not there:
        raise DataError(
            f"config.data.{field}={records!r}: no such folder; write one with "
            "`python -m data_prep.photos --input PHOTOS --output RECORDS` and pass "
            f"--config.data.{field}=RECORDS"
        )
    return records


def read_vocabulary(records: str) -> tuple[str, ...]:
    """The tags that training texts are made of: those that half of the photos carry.

    Raises:
        DataError: `tag_counts.json` is missing or damaged.
    """
    path = join(records, "tag_counts.json")
    try:
        vocabulary = json.loads(read_file(path))["vocabulary"]
        if not isinstance(vocabulary, list) or not all(isinstance(x, str) for x in vocabulary):
            raise ValueError("the vocabulary is no list of texts")
        return tuple(vocabulary)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(
            f"{path}: no tag vocabulary ({e}); run `python -m data_prep.photos` again"
        ) from e


def chosen_tags(config: DataConfig) -> tuple[str, ...]:
    """The vocabulary, or those of its tags that `config.tags` names.

    Args:
        config: the data section of a training config.

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
    """The tokenizer that lies with the records.

    Raises:
        DataError: there is none.
        exif_jax.data.tokenizer.TokenizerError: it is damaged.
    """
    path = join(_folder(records), "tokenizer.model")
    if not exists(path):
        raise DataError(
            f"{path}: no tokenizer; train one with "
            f"`python -m data_prep.train_tokenizer --records {records}`"
        )
    return Tokenizer.from_file(path)
