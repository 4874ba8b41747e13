"""The changes and counts of the benchmark on file evidence."""

import io
import json

import exifread
import numpy as np
import pytest
from camera_file import camera_file, scene
from planted import acme, planted_gallery

from benchmarks import file_evidence
from benchmarks.file_changes import CHANGES, exif_block, swap_exif, swap_names
from exif_jax.forensics.file_evidence import gallery
from exif_jax.reading.photo import read_photo

MINE, THEIRS = acme(seed=1), camera_file(scene(seed=2), "Other Corporation", "Uno 2")


def test_names_are_swapped_and_all_else_stays():
    photo = read_photo(swap_names(MINE, THEIRS))
    assert (photo.exif["Make"], photo.exif["Model"]) == ("Other Corporation", "Uno 2")
    own = read_photo(MINE)
    assert {**photo.exif, "Make": 0, "Model": 0} == {**own.exif, "Make": 0, "Model": 0}
    np.testing.assert_array_equal(photo.pixels, own.pixels)
    thumbnails = [
        exifread.process_file(io.BytesIO(data))["JPEGThumbnail"]
        for data in (MINE, swap_names(MINE, THEIRS))
    ]
    assert thumbnails[0] == thumbnails[1]


def test_a_whole_block_is_swapped():
    changed = swap_exif(MINE, THEIRS)
    assert exif_block(changed) == exif_block(THEIRS)
    np.testing.assert_array_equal(read_photo(changed).pixels, read_photo(MINE).pixels)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_each_change_is_a_photo_with_exif_and_not_the_file(change):
    changed = change.apply(MINE, THEIRS)
    if changed is None:
        assert change.needs
        pytest.skip(f"{change.needs} is not installed")
    assert changed != MINE and "Make" in read_photo(changed).exif


def test_the_command_counts_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "shipped", planted_gallery)
    monkeypatch.setattr("exif_jax.forensics.file_evidence.examine.shipped", planted_gallery)
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(3):
        (folder / f"{k}.jpg").write_bytes(acme(seed=50 + k))
    (folder / "x.jpg").write_bytes(camera_file(scene(seed=9), "Acme", "One", quality=80))
    out = tmp_path / "out.json"
    words = ["--originals", str(folder), "--changed", "2", "--output", str(out)]
    monkeypatch.setattr(file_evidence, "CHANGES", CHANGES[:3])
    assert file_evidence.main(words) == 0
    results = json.loads(out.read_text())
    alarms = {row["rule"]: row for row in results["false_alarms"]}
    assert alarms["any rule"]["contradicts"] == 1 and alarms["any rule"]["files"] == 4
    assert alarms["standard tables"]["low"] < 0.25 < alarms["standard tables"]["high"]
    assert [row["change"] for row in results["catches"]] == [c.name for c in CHANGES[:3]]
    assert results["catches"][2]["caught"] == 2
    assert "| any rule | 1 | 25.0% |" in capsys.readouterr().out


def test_nothing_to_measure(tmp_path, capsys):
    words = ["--originals", str(tmp_path), "--output", str(tmp_path / "a.json")]
    assert file_evidence.main(words) == 1
    assert "no JPEG files" in capsys.readouterr().err
