"""Chunks of work: made once, named by what decides them, and errors that say what to do."""

import json
import os
import pathlib

import pytest
from photo_folders import save_photo

from data_prep.processing.settings import PrepSettings
from data_prep.records import chunks as chunks_module
from data_prep.records.chunks import (
    ChunkError,
    chunk_path,
    process_chunk,
    process_chunks,
    read_results,
    results_path,
)
from data_prep.sources.listing import list_chunks
from exif_jax.data.records import read_index

SETTINGS = PrepSettings(region_size=128)


@pytest.fixture
def chunks(tmp_path):
    """Two chunks: two photos, and a photo beside a file that is none."""
    for seed in range(3):
        save_photo(tmp_path / "in" / f"{seed}.jpg", seed, size=(128, 256))
    (tmp_path / "in" / "3.jpg").write_bytes(b"no photo")
    (tmp_path / "work").mkdir()
    return list_chunks(str(tmp_path / "in"), 2)[0]


def snapshot(folder: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_a_chunk_is_named_by_its_files_and_settings(chunks):
    one, other = chunks
    names = [chunk_path("f", one, SETTINGS), chunk_path("f", other, SETTINGS)]
    names += [chunk_path("f", one, PrepSettings(**changes)) for changes in ({}, {"seed": 1})]
    names.append(chunk_path("f", one._replace(files=one.files[:1]), SETTINGS))
    stamped = (one.files[0]._replace(stamp="later"), *one.files[1:])
    names.append(chunk_path("f", one._replace(files=stamped), SETTINGS))
    assert len(set(names)) == len(names)
    assert chunk_path("f", list_chunks(one.root, 2)[0][0], SETTINGS) == names[0]
    assert names[0].startswith("f/") and results_path("f/a.tfrecord") == "f/a.json"


def test_what_became_of_each_file_lies_beside_the_records(chunks, tmp_path):
    paths = process_chunks(chunks, SETTINGS, str(tmp_path / "work"), 1)
    assert paths == [chunk_path(str(tmp_path / "work"), chunk, SETTINGS) for chunk in chunks]
    results = [read_results(path) for path in paths]
    assert [[r.file for r in rows] for rows in results] == [["0.jpg", "1.jpg"], ["2.jpg", "3.jpg"]]
    assert [r.reason for rows in results for r in rows] == ["", "", "", "unreadable"]
    assert [len(read_index(path)) for path in paths] == [4, 2]  # two tiles of each photo


def test_a_done_chunk_is_not_made_again(chunks, tmp_path, monkeypatch):
    folder = str(tmp_path / "work")
    process_chunks(chunks[:1], SETTINGS, folder, 1)
    before = snapshot(tmp_path / "work")
    process_chunks(chunks, SETTINGS, folder, 1)
    after = snapshot(tmp_path / "work")
    assert len(before) == 3 and len(after) == 6 and before.items() <= after.items()
    monkeypatch.setattr(chunks_module, "read_chunk", None)  # any work would fail
    assert process_chunks(chunks, SETTINGS, folder, 1) == [
        chunk_path(folder, chunk, SETTINGS) for chunk in chunks
    ]
    assert process_chunk(chunk_path(folder, chunks[0], SETTINGS), chunks[0], SETTINGS) == 2


def test_a_chunk_counts_only_once_its_list_is_there(chunks, tmp_path):
    (path,) = process_chunks(chunks[:1], SETTINGS, str(tmp_path / "work"), 1)
    before = snapshot(tmp_path / "work")
    os.remove(results_path(path))
    process_chunks(chunks[:1], SETTINGS, str(tmp_path / "work"), 1)
    after = snapshot(tmp_path / "work")
    assert {n: data for n, (data, _) in after.items()} == {n: d for n, (d, _) in before.items()}


ROW = {"file": "a.jpg", "reason": ""}


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "[", "3", "[3]", "[[1]]", "\udcff", json.dumps([{"file": "a.jpg"}])),
        *(json.dumps([ROW | {"unknown": 1}]), json.dumps([ROW])[:-2], json.dumps({"a": 1})),
        *("{}", "[" * 10**6),
    ],
)
def test_a_damaged_list_is_named_with_its_cure(tmp_path, text):
    path = tmp_path / "a.tfrecord"
    if text is not None:
        (tmp_path / "a.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ChunkError) as caught:
        read_results(str(path))
    assert str(caught.value) == f"{path}: damaged; delete the folder {tmp_path} and run again"


@pytest.mark.parametrize("workers", [1, 2])
def test_no_chunks_are_no_work(tmp_path, workers):
    assert process_chunks([], SETTINGS, str(tmp_path), workers) == []
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_that_cannot_be_written_is_the_systems_error(chunks, tmp_path):
    with pytest.raises(OSError):
        process_chunks(chunks, SETTINGS, str(tmp_path / "nowhere"), 1)


def _die(*_):
    os._exit(1)


def test_a_worker_that_dies_is_named_with_its_cure(chunks, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks_module, "process_chunk", _die)
    with pytest.raises(ChunkError, match="run the same command again with fewer --workers"):
        process_chunks(chunks, SETTINGS, str(tmp_path / "work"), 2)
