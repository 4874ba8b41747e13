"""The command that simulates photos and splices: same bytes, whole files, clear refusals."""

import json
import os

import numpy as np
import pytest
from PIL import ExifTags, Image
from small_disk import read_only

from data_prep import photos, simulate
from data_prep.simulation import splices
from data_prep.simulation.photo_files import Job, make_photo
from exif_jax.data.records import (
    Record,
    encode_image,
    encode_record,
    shard_name,
    write_shard,
)


def _command(*arguments):
    return simulate.main([str(a) for a in arguments])


def _contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_for_any_number_of_workers(tmp_path):
    for name, workers in (("one", 1), ("again", 1), ("two", 2)):
        out = tmp_path / name
        assert (
            _command("--output", out, "--num-photos", 10, "--size", 64, "--workers", workers) == 0
        )
    one = _contents(tmp_path / "one")
    assert sorted(one) == [f"sim{i:06d}.jpg" for i in range(10)]
    assert one == _contents(tmp_path / "again") == _contents(tmp_path / "two")
    assert (
        _command("--output", tmp_path / "few", "--num-photos", 3, "--size", 64, "--workers", 1) == 0
    )
    assert {k: one[k] for k in sorted(one)[:3]} == _contents(tmp_path / "few")
    other = ("--output", tmp_path / "seed", "--num-photos", 3, "--size", 64, "--workers", 1)
    assert _command(*other, "--seed", 1) == 0
    assert _contents(tmp_path / "seed")["sim000000.jpg"] != one["sim000000.jpg"]


def test_splices_have_their_layout_and_change_nothing_outside_the_mask(tmp_path):
    assert _command("--output", tmp_path, "--splices", 12, "--size", 128, "--workers", 1) == 0
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    lossless = 0
    for row in rows:
        assert row["host_model"] != row["donor_model"]
        with Image.open(tmp_path / row["mask"]) as image:
            mask = np.asarray(image)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.08 <= row["tampered_fraction"] <= 0.30
        assert row["tampered_fraction"] == pytest.approx((mask == 255).mean())
        with Image.open(tmp_path / row["image"]) as image:
            spliced = np.asarray(image)
            assert image.getexif()[ExifTags.Base.Model] == row["host_model"]
        with Image.open(tmp_path / row["pristine"]) as image:
            pristine = np.asarray(image)
        assert spliced.shape == pristine.shape == (128, 128, 3)
        inside = np.abs(spliced.astype(int) - pristine)[mask == 255]
        assert inside.mean() > 5
        if row["saved_as"] == "png":
            lossless += 1
            np.testing.assert_array_equal(spliced[mask == 0], pristine[mask == 0])
    assert 0 < lossless < 12


def test_scenes_of_records_and_cameras_drawn_by_chance(tmp_path):
    assert _command("--output", tmp_path / "photos", "--num-photos", 6, "--size", 128) == 0
    words = ["--input", tmp_path / "photos", "--output", tmp_path / "records", "--workers", 1]
    words += ["--region-size", 128, "--validation-fraction", 0, "--regions-per-photo", 1]
    assert photos.main([str(word) for word in words]) == 0
    more = ("--num-photos", 30, "--size", 96, "--cameras", 30, "--workers", 1)
    drawn, collages, again = (tmp_path / name for name in ("drawn", "collages", "again"))
    assert _command("--output", drawn, *more) == 0
    assert _command("--output", collages, *more, "--scenes", tmp_path / "records") == 0
    assert _command("--output", again, *more, "--scenes", tmp_path / "records") == 0
    assert _contents(collages) == _contents(again)
    assert _contents(drawn).keys() == _contents(collages).keys()
    models = set()
    for path in collages.iterdir():
        with Image.open(path) as image:
            models.add(image.getexif()[ExifTags.Base.Model])
    assert len(models) == 30


def test_scenes_without_records_are_refused(tmp_path, capsys):
    words = ("--output", tmp_path / "out", "--num-photos", 2, "--size", 64, "--scenes", tmp_path)
    assert _command(*words) == 1
    message = capsys.readouterr().err
    assert str(tmp_path) in message and "no train records" in message
    write_shard(tmp_path / shard_name("train", 0, 1), [])
    assert _command(*words) == 1
    assert "the train split is empty" in capsys.readouterr().err
    shard = tmp_path / shard_name("train", 0, 1)
    pixels = np.zeros((64, 64, 3), np.uint8)
    write_shard(
        shard, [encode_record(Record(encode_image(pixels), {}, "0" * 64, (0, 0, 64, 64), "a.jpg"))]
    )
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    assert _command(*words, "--num-photos", 20) == 1
    message = capsys.readouterr().err
    assert f"{shard}: wrong checksum" in message and "Traceback" not in message


def test_splices_and_photos_of_one_seed_show_different_scenes(tmp_path):
    job = Job(tmp_path, seed=0, index=0, size=64, cameras=24)
    for name in splices.FOLDERS:
        (tmp_path / name).mkdir()
    make_photo(job)
    row = splices.make_splice(job)
    with Image.open(tmp_path / "sim000000.jpg") as a, Image.open(tmp_path / row["pristine"]) as b:
        first, second = (np.asarray(i.convert("L"), float).ravel() for i in (a, b))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


@pytest.mark.parametrize("fraction", [0.09, 0.2, 0.29])
def test_blobs_cover_what_is_asked(fraction):
    low, high = splices.TAMPERED_FRACTION
    for seed in range(40):
        mask = np.asarray(splices.random_blob(np.random.default_rng(seed), 128, fraction))
        assert low <= (mask > 0).mean() <= high


def test_output_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert _command("--output", blocked / "photos", "--num-photos", 1, "--size", 64) == 1
    message = capsys.readouterr().err
    assert str(blocked / "photos") in message
    assert "choose another place" in message
    assert "Traceback" not in message
    assert _command("--picture", tmp_path) == 1  # a folder where a file should go
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [blocked]


def test_read_only_output_says_so(tmp_path, capsys):
    with read_only(tmp_path / "locked"):
        assert _command("--output", tmp_path / "locked", "--num-photos", 1, "--size", 64) == 1
        assert "make it writable" in capsys.readouterr().err


def test_full_disk_keeps_finished_files_and_leaves_no_half_file(tmp_path, capsys, monkeypatch):
    real = os.fsync
    calls = []

    def full_after_three(descriptor):
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_three)
    assert _command("--output", tmp_path, "--num-photos", 5, "--size", 64, "--workers", 1) == 1
    assert "free some space" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sim000000.jpg", "sim000001.jpg"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--num-photos", "3"),
        ("--num-photos", "0", "--output", "x"),
        ("--num-photos", "3", "--splices", "3", "--output", "x"),
        ("--num-photos", "3", "--output", "x", "--size", "65"),
        ("--num-photos", "3", "--output", "x", "--cameras", "1"),
        ("--num-photos", "three", "--output", "x"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        _command(*arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_picture_is_written_and_small(tmp_path):
    path = tmp_path / "docs" / "cameras.png"
    assert _command("--picture", path) == 0
    assert path.stat().st_size < 600_000
    with Image.open(path) as image:
        assert image.width > 1200
