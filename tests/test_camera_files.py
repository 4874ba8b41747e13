"""The command that counts camera files: each photo once, by source, judged without its own."""

import json

import pytest
from camera_file import camera_file, scene
from planted import ACME_TABLES, acme

from exif_jax import camera_files
from exif_jax.forensics.file_evidence import gallery
from exif_jax.reading.photo import read_photo


@pytest.fixture
def folders(tmp_path):
    """Six whole files of three repositories, crops of one and of a seventh; and the list."""
    photos, crops = tmp_path / "photos", tmp_path / "crops"
    photos.mkdir()
    crops.mkdir()
    listed = []
    for k in range(6):
        data = acme(seed=k)
        sha1 = camera_files.hashlib.sha1(data).hexdigest()
        (photos / f"{sha1[:12]}.jpg").write_bytes(data)
        listed.append({"sha1": sha1, "repository": f"some/where{k % 3}"})
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    rows = []
    for k, photo in enumerate((listed[0]["sha1"][:12], "seventh", "seventh")):
        crop = camera_file(scene(64, 64, k), "Acme", "Two", b"", qtables=ACME_TABLES)
        (crops / f"{k}.jpg").write_bytes(crop)
        rows.append({"file": f"{k}.jpg", "photo": photo})
    (crops / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    return tmp_path


def test_files_and_crops_are_counted_once_and_by_source(folders, capsys):
    out = folders / "gallery.json"
    words = [str(out), "--photos", str(folders / "photos"), "--crops", str(folders / "crops")]
    assert camera_files.main([*words, "--sources", str(folders / "list.jsonl")]) == 0
    printed = capsys.readouterr()
    assert "broken.jpg" in printed.err and "7 photos of 2 cameras" in printed.out
    counted = gallery.from_json(out.read_bytes(), "it")
    one, two = counted.cameras["acme", "one"], counted.cameras["acme", "two"]
    assert one["tables"].total() == 6 and one["tables"].num_sources() == 3
    assert one["resampled"].total() == 6
    assert set(two) == {"tables", "sampling", "standard"} and two["tables"].total() == 1
    assert counted.false_alarms["EXIF size"] == (0, 6)
    photo = next((folders / "photos").glob("[0-9a-f]*.jpg"))
    member = read_photo(photo).sha256[:16]
    assert counted.known(gallery.Record("acme", "one", {}, (), member)).model["tables"].total() == 4


def test_nothing_to_count_and_nowhere_to_write(tmp_path, capsys):
    assert camera_files.main([str(tmp_path / "g.json"), "--photos", str(tmp_path)]) == 1
    assert "no JPEG files" in capsys.readouterr().err
    (tmp_path / "a.jpg").write_bytes(acme())
    (tmp_path / "g.json").mkdir()
    assert camera_files.main([str(tmp_path / "g.json"), "--photos", str(tmp_path)]) == 1
    assert "cannot be written" in capsys.readouterr().err
