"""data_prep.photos: from a folder of photos to records, bad files among them."""

import json
import os
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pytest
from photo_folders import (
    SECRETS,
    all_records,
    close_folders,
    command,
    contents,
    make_folder,
    rejects,
    save_photo,
)

from data_prep.photos import main
from data_prep.processing.regions import GRID
from data_prep.sources.listing import list_chunks
from data_prep.train_tokenizer import main as train_tokenizer
from exif_jax.data.records import decode_image
from exif_jax.reading.photo import EXTENSIONS, read_photo

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def made(root, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("made") / "records"
    assert main(command(root, output)) == 0
    return output


# --- what is written --------------------------------------------------------------------------


def test_records_hold_the_decoded_pixels_bit_for_bit(root, made):
    records = [record for split in all_records(made).values() for record in split]
    assert len(records) == 72  # 160 x 320 holds two tiles of 128
    for record in records:
        photo = read_photo(root / record.source)
        y, x, h, w = record.region
        np.testing.assert_array_equal(decode_image(record), photo.pixels[y : y + h, x : x + w])
        assert (h, w, y % GRID, x % GRID) == (128, 128, 0, 0)
        assert record.photo_id == photo.sha256
        assert record.exif == photo.exif


def test_no_camera_is_in_both_splits_and_shards_mix_cameras(made):
    splits = all_records(made)
    cameras = {s: {r.exif["Model"] for r in records} for s, records in splits.items()}
    assert not cameras["train"] & cameras["validation"]
    assert len(cameras["train"] | cameras["validation"]) == 6
    info = json.loads((made / "statistics.json").read_text())
    for split, records in splits.items():
        row = info["splits"][split]
        assert row["records"] == len(records) and row["shards"] == 2
        assert row["photos"] == len({record.photo_id for record in records})
        assert {camera["model"] for camera in row["cameras"]} == cameras[split]
        half = records[: len(records) // 2]
        assert {record.exif["Model"] for record in half} == cameras[split]
    share = info["splits"]["validation"]["photos"] / 36
    assert 0.2 <= share <= 0.4


def test_tag_counts_are_of_train_photos(made):
    counts = json.loads((made / "tag_counts.json").read_text())
    train = all_records(made)["train"]
    assert counts["photos"] == len({record.photo_id for record in train})
    assert counts["counts"]["Make"] == counts["photos"]
    assert counts["vocabulary"] == list(train[0].exif)


def test_nothing_private_reaches_any_file(root, made, tmp_path):
    assert any(secret in path.read_bytes() for path in root.rglob("*.JPG") for secret in SECRETS)
    (tmp_path / "made").mkdir()
    for name, data in contents(made).items():
        (tmp_path / "made" / name).write_bytes(data)
    assert train_tokenizer(["--records", str(tmp_path / "made")]) == 0
    for name, data in contents(tmp_path / "made").items():
        for secret in SECRETS:
            for form in (secret, secret.decode().encode("utf-16-le")):
                assert form not in data, name
    for record in all_records(made)["train"]:
        assert record.image[12:16] == b"VP8L"  # pixels only: no metadata chunk can follow
        assert len(record.image) - 20 - int.from_bytes(record.image[16:20], "little") in (0, 1)


def test_workers_and_runs_give_the_same_bytes(root, made, tmp_path):
    line = [sys.executable, "-m", "data_prep.photos", *command(root, tmp_path / "out")]
    line += ["--workers", "2"]
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cameras" in done.stdout and "photos: 100%" in done.stderr
    assert not any(secret.decode() in done.stdout + done.stderr for secret in SECRETS)
    assert contents(tmp_path / "out") == contents(made)


def test_another_seed_gives_another_choice(root, made, tmp_path):
    assert main(command(root, tmp_path / "out", "--seed", "1")) == 0
    ours, theirs = (
        {(r.source, r.region) for r in all_records(f)["train"]} for f in (tmp_path / "out", made)
    )
    assert ours != theirs


def test_crops_of_one_photo_share_its_id_and_camera(tmp_path):
    rows = []
    for seed in range(9):
        file = save_photo(tmp_path / "in" / f"{seed}.jpg", seed, model=f"M{seed // 3}").name
        rows.append({"file": file, "photo": f"photo {seed // 3}", "other": 1})
    save_photo(tmp_path / "in" / "stray.jpg", 9, model="M9")
    rows.append({"file": "stray.jpg", "photo": "photo 0"})
    manifest = tmp_path / "in" / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)) + '\n\n{"image": "another tool"}\n')
    assert main(command(tmp_path / "in", tmp_path / "out")) == 0
    records = [r for split in all_records(tmp_path / "out").values() for r in split]
    assert len({record.photo_id for record in records}) == 3
    assert rejects(tmp_path / "out") == {"stray.jpg": "two cameras"}
    info = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert sum(split["photos"] for split in info["splits"].values()) == 3


def test_real_photos_go_through(tmp_path, real_photos):
    folder = real_photos
    (tmp_path / "in").mkdir()
    for path in sorted(Path(folder, "train").iterdir())[:300:10]:
        (tmp_path / "in" / path.name).symlink_to(path)
    (tmp_path / "in" / "manifest.jsonl").symlink_to(Path(folder, "train", "manifest.jsonl"))
    assert (
        main(["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--workers", "1"])
        == 0
    )
    for record in all_records(tmp_path / "out")["train"]:
        y, x, h, w = record.region
        pixels = read_photo(tmp_path / "in" / record.source).pixels
        np.testing.assert_array_equal(decode_image(record), pixels[y : y + h, x : x + w])


# --- bad input --------------------------------------------------------------------------------


def png_bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def test_bad_files_are_counted_and_listed_and_the_good_ones_kept(tmp_path, capsys):
    root = tmp_path / "in"
    for seed in range(4):
        save_photo(root / f"good{seed}.jpg", seed)
    good = (root / "good1.jpg").read_bytes()
    (root / "copy.jpg").write_bytes(good)
    (root / "cut.jpg").write_bytes(good[: len(good) // 2])
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.tiff").write_text("no image")
    (root / "bomb.png").write_bytes(png_bomb())
    os.mkfifo(root / "pipe.jpg")
    save_photo(root / "plain.jpg", 5, exif=False)
    save_photo(root / "nameless.jpg", 6, make=" ")
    save_photo(root / "small.jpg", 7, size=(100, 300))
    save_photo(root / "flat.jpg", 8, pixels=np.full((160, 320, 3), 255, np.uint8))
    save_photo(
        root / "script.jpg", 9, make="<script>\x1b]0;owned\x07\x1b[31m", model="\u202eM\n\r9"
    )
    strange = os.fsdecode(b"-rf \xff\x1b[2J\n.jpg")
    save_photo(root / strange, 10)
    assert main(command(root, tmp_path / "out")) == 0
    expected = {
        "bomb.png": "unreadable",
        "cut.jpg": "damaged",
        "empty.jpg": "damaged",
        "flat.jpg": "no detail",
        "good1.jpg": "duplicate",  # "copy.jpg" comes first
        "nameless.jpg": "no camera named",
        "pipe.jpg": "unreadable",
        "plain.jpg": "no EXIF",
        "small.jpg": "too small",
        "text.tiff": "unreadable",
    }
    assert rejects(tmp_path / "out") == expected
    info = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert (
        info["rejects"]["unreadable"] == 3
        and info["rejects"]["damaged"] == 2
        and info["rejects"]["duplicate"] == 1
    )
    printed = capsys.readouterr()
    assert "unreadable" in printed.out and "duplicate" in printed.out
    records = [r for split in all_records(tmp_path / "out").values() for r in split]
    makes = {r.exif["Make"] for r in records}
    assert any("<script>" in make for make in makes)
    assert any("\\xff" in record.source for record in records)
    for text in (
        printed.out,
        printed.err.replace("\r", ""),
        *(json.dumps(r.exif) for r in records),
    ):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    for name in ("statistics.json", "statistics.html", "rejects.jsonl", "tag_counts.json"):
        assert b"\x1b" not in (tmp_path / "out" / name).read_bytes()


def test_every_malformed_file_is_named_or_used(tmp_path):
    """Cycles in EXIF, comments of 64 kB, bombs: among two good photos."""
    root = tmp_path / "in"
    for path in (REPOSITORY / "tests" / "hostile").iterdir():
        if path.suffix != ".py":
            (root / path.name).parent.mkdir(exist_ok=True)
            (root / path.name).write_bytes(path.read_bytes())
    hostile = {path.name for path in root.iterdir() if path.suffix in EXTENSIONS}
    for seed in range(2):
        save_photo(root / f"good{seed}.jpg", seed)
    assert main(command(root, tmp_path / "out")) == 0
    assert rejects(tmp_path / "out").keys() == hostile  # each is too small at best
    assert len([r for rows in all_records(tmp_path / "out").values() for r in rows]) == 4


def test_tar_shards_and_buckets_are_inputs_too(root, made, tmp_path):
    bucket = fsspec.filesystem("memory")
    for path in root.rglob("*.JPG"):
        bucket.pipe(f"/{tmp_path.name}/{path.relative_to(root).as_posix()}", path.read_bytes())
    assert main(command(f"memory://{tmp_path.name}", tmp_path / "bucket")) == 0
    assert contents(tmp_path / "bucket").keys() == contents(made).keys()
    for name, data in contents(made).items():
        if not name.startswith("statistics"):  # names the input by its number of files
            assert (tmp_path / "bucket" / name).read_bytes() == data
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for path in sorted(root.rglob("*.JPG")):
            archive.add(path, path.name.lower())
    assert main(command(tmp_path / "*.tar", tmp_path / "tar")) == 0
    pixels = [
        {r.image for rows in all_records(f).values() for r in rows}
        for f in (made, tmp_path / "tar")
    ]
    assert pixels[0] == pixels[1]


def test_what_is_passed_over_is_said_and_a_folder_that_cannot_be_read_ends_in_1(
    tmp_path, capsys, monkeypatch
):
    for seed, name in enumerate(("0.jpg", "1.jpg", "closed/2.jpg", "._0.jpg", "raw.dng")):
        save_photo(tmp_path / "in" / name, seed)
    close_folders(monkeypatch, "closed")
    for last_words in ("statistics.html", "complete already"):
        assert main(command(tmp_path / "in", tmp_path / "out")) == 1
        printed = capsys.readouterr()
        assert last_words in printed.out
        assert "skipped 1 .dng (raw files are not read" in printed.err
        assert "1 of operating systems" in printed.err
        assert f"error: {tmp_path / 'in' / 'closed'}: Permission denied; its photos" in printed.err
    records = [r for split in all_records(tmp_path / "out").values() for r in split]
    assert {record.source for record in records} == {"0.jpg", "1.jpg"}


def test_few_tags_are_rejected(tmp_path):
    for seed in range(2):
        save_photo(tmp_path / "in" / f"{seed}.jpg", seed)
    line = command(tmp_path / "in", tmp_path / "out", "--min-tags", "60")
    assert main(line) == 1
    assert set(rejects(tmp_path / "out").values()) == {"too few tags"}
    assert set(contents(tmp_path / "out")) == {"rejects.jsonl"}
    assert main(line) == 1  # and again, not "complete already"


def test_a_folder_without_photos_leaves_no_output(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    assert main(command(tmp_path / "in", tmp_path / "out")) == 2
    assert "no photos (skipped 1 .txt); give a folder of camera photos" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(command(tmp_path / "absent", tmp_path / "out")) == 2
    assert "absent: No such file" in capsys.readouterr().err


def test_one_camera_alone_is_all_train(tmp_path, capsys):
    for seed in range(2):
        save_photo(tmp_path / "in" / f"{seed}.jpg", seed, model="Only")
    assert main(command(tmp_path / "in", tmp_path / "out")) == 0
    assert "no validation split" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("validation*"))


def test_a_broken_manifest_names_its_line(tmp_path, capsys):
    save_photo(tmp_path / "in" / "0.jpg", 0)
    for broken in ("{}\n{broken", "{}\n[1, 2]", '{}\n"text"'):
        (tmp_path / "in" / "manifest.jsonl").write_text(broken)
        assert main(command(tmp_path / "in", tmp_path / "out")) == 2
        assert "manifest.jsonl, line 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        ("--region-size", "100"),
        ("--region-size", "112"),
        ("--validation-fraction", "1"),
        ("--validation-fraction", "nan"),
        ("--workers", "0"),
        ("--regions-per-photo", "0"),
        ("--shards", "-1"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path, more):
    with pytest.raises(SystemExit) as stop:
        main([*command(tmp_path, tmp_path / "out"), *more])
    assert stop.value.code == 2


def test_listing_is_sorted_and_takes_any_case(root):
    chunks, report = list_chunks(str(root))
    names = [item.file for chunk in chunks for item in chunk.files]
    assert len(names) == 36 and report.endings == {".txt": 1}
    assert names == sorted(names) and names[0] == "a/01.JPG"


def test_photos_without_exif_take_what_the_manifest_has(tmp_path):
    """The folder of the downloader as input: hosts often strip what the photo said."""
    photos, records = tmp_path / "photos", tmp_path / "records"
    tags = {"Make": "Canon", "Model": "EOS 5D", "F Number": "f/2.8", "ISO": "400", "Flash": "Fired"}
    rows = []
    for i in range(3):
        save_photo(photos / "ab" / f"{i}.jpg", seed=i, make="Kept", exif=i == 2)
        exif = tags | {"GPS Latitude": "52", "Artist": "me", "Software": "a,b\n"}
        rows.append({"id": str(i), "file": f"ab/{i}.jpg", "exif": exif, "status": "done"})
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, {"id": "9", "status": "gone"}])
    (photos / "manifest.jsonl").write_text(lines)
    assert main(command(photos, records)) == 0
    exif_of = {r.source: r.exif for split in all_records(records).values() for r in split}
    assert exif_of["ab/0.jpg"] == exif_of["ab/1.jpg"] == tags
    assert exif_of["ab/2.jpg"]["Make"] == "Kept"
    assert not any(b"Latitude" in data for data in contents(records).values())
