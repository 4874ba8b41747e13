"""Photos from folders, buckets and shards: the same text by every road, and nothing hostile."""

import io
import json
import pathlib
import shutil
import subprocess

import fsspec
import pytest
from PIL.TiffImagePlugin import IFDRational as R
from source_folders import problems, read_all, shard
from test_exif import pillow_tags, write_photo

from data_prep.sources import folders
from data_prep.sources.listing import list_chunks, read_chunk
from data_prep.sources.raw_photo import RawPhoto, SourceError
from exif_jax.io.files import FilesError
from exif_jax.reading.photo import read_photo

CAMERA = {0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0112: 1}
SETTINGS = {0x829A: R(1, 250), 0x829D: R(28, 10), 0x8827: 400, 0x920A: R(50), 0x9209: 16}


@pytest.fixture(params=["written", "real"])
def photos(request, tmp_path_factory) -> list[pathlib.Path]:
    """A written photo, or real ones of many cameras."""
    folder = tmp_path_factory.mktemp("photos")
    if request.param == "written":
        write_photo(folder / "written.jpg", CAMERA, SETTINGS)
    else:
        real = request.getfixturevalue("real_photos") / "train"
        for path in sorted(real.glob("*_0.jpg"))[::29]:
            shutil.copy(path, folder)
    return sorted(folder.iterdir())


def img2dataset_json(path: pathlib.Path, key: str) -> bytes:
    exifread = pytest.importorskip("exifread")
    with open(path, "rb") as file:
        tags = exifread.process_file(file, details=False)
    exif = json.dumps({name: str(value).strip() for name, value in tags.items()})
    row = {"key": key, "status": "success", "url": "http://x", "exif": exif, "license": "CC0"}
    return json.dumps(row).encode()


def exiftool(path: pathlib.Path) -> list:
    if not shutil.which("exiftool"):
        pytest.skip("no exiftool")
    command = ["exiftool", "-q", "-json", "-G1", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def flickr(path: pathlib.Path) -> dict:
    entries = [
        {
            "tagspace": key.partition(":")[0],
            "tag": key.partition(":")[2],
            "raw": {"_content": value},
        }
        for key, value in exiftool(path)[0].items()
    ]
    return {"photo": {"id": "1", "exif": entries}, "stat": "ok"}


def without_exif(path: pathlib.Path) -> bytes:
    """As Flickr sometimes serves it: the side-car is all there is."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("road", ["file", "exiftool", "flickr", "img2dataset", "memory bucket"])
def test_the_same_photo_has_the_same_text_by_every_road(photos, tmp_path, road):
    if road == "img2dataset":
        members = []
        for i, path in enumerate(photos):
            key = f"{i:09}"
            members += [(f"{key}.jpg", without_exif(path)), (f"{key}.txt", b"a caption")]
            members += [(f"{key}.json", img2dataset_json(path, key))]
        shard(tmp_path / "00000.tar", members)
        read = read_all(tmp_path / "*.tar")
        assert read[0].id == "00000/000000000" and read[0].licence == "CC0"
    elif road == "memory bucket":
        bucket = fsspec.filesystem("memory")
        for path in photos:
            bucket.pipe(f"/{tmp_path.name}/{path.name}", path.read_bytes())
        read = read_all(f"memory://{tmp_path.name}")
    else:
        for path in photos:
            if road == "file":
                shutil.copy(path, tmp_path)
                continue
            (tmp_path / path.name).write_bytes(without_exif(path))
            metadata = exiftool(path) if road == "exiftool" else flickr(path)
            name = f"{path.name}.json" if road == "exiftool" else f"{path.stem}.json"
            (tmp_path / name).write_text(json.dumps(metadata))
        read = read_all(tmp_path)
    assert not problems(read)
    assert len(read) == len(photos)
    for photo, path in zip(read, photos, strict=True):
        exif = read_photo(photo.data).exif if photo.exif is None else photo.exif
        assert exif == pillow_tags(path), path


def test_folders_are_walked_in_order_and_bad_files_named(tmp_path, monkeypatch):
    for name in ("b/2.jpg", "a/1.JPG", "c.png", "d.txt", "e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"photo " + name.encode())
    (tmp_path / "e.jpg.json").write_text("[[[[")
    (tmp_path / "c.json").write_text(json.dumps({"EXIF": {"Make": "Canon"}}))
    monkeypatch.setattr(folders, "MAX_BYTES", 12)
    read = read_all(tmp_path)
    photos = {p.id: (p.data, p.exif) for p in read if not p.problem}
    assert photos == {"c.png": (b"photo c.png", {"Make": "Canon"}), "e.jpg": (b"photo e.jpg", None)}
    assert [p.id for p in read] == ["a/1.JPG", "b/2.jpg", "c.png", "e.jpg"]
    assert problems(read) == [("a/1.JPG", "unreadable"), ("b/2.jpg", "unreadable")]
    assert list_chunks(str(tmp_path)).report.endings == {".txt": 1}  # side-cars are used


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_the_downloaders_manifest_is_read(tmp_path, place):
    rows = [
        {"id": "1", "file": "a/1.jpg", "owner": "ab12", "licence": "CC BY", "exif": {"Make": "X"}},
        {"id": "2", "file": "2.jpg", "photo": "whole", "exif": {"GPS Latitude": "52"}},
        {"id": "3", "status": "gone"},
    ]
    url = str(tmp_path) if place == "folder" else f"memory://{tmp_path.name}"
    files = fsspec.filesystem("file" if place == "folder" else "memory")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name, data in {"a/1.jpg": b"1", "2.jpg": b"2", "manifest.jsonl": lines.encode()}.items():
        files.makedirs(f"{url}/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe(f"{url}/{name}", data)
    assert read_all(url) == [
        RawPhoto("2.jpg", b"2", None, photo="whole"),
        RawPhoto("a/1.jpg", b"1", {"Make": "X"}, owner="ab12", licence="CC BY"),
    ]


def test_a_file_that_goes_away_or_changes(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"photo")
    (chunk,), _ = list_chunks(str(tmp_path))
    (tmp_path / "1.jpg").unlink()
    assert problems(list(read_chunk(chunk))) == [("1.jpg", "unreadable")]
    (tmp_path / "1.jpg").write_bytes(b"photo")
    (tmp_path / "2.json").write_text('{"EXIF": {"Make": "Canon"}}')
    seen = [chunk]
    for name, data in (("2.jpg", b"other"), ("2.json", b"longer " * 9)):
        (tmp_path / name).write_bytes(data)
        (now,), _ = list_chunks(str(tmp_path))
        assert now not in seen  # so that a rerun reads it anew
        seen.append(now)


def test_sources_that_are_none(tmp_path):
    for url in (str(tmp_path), f"{tmp_path}/nowhere", "nosuch://bucket"):
        with pytest.raises((SourceError, FilesError), match=url):
            list_chunks(url)
    for pattern in (f"{tmp_path}/*.tar", "nosuch://bucket/*.tar"):
        with pytest.raises((SourceError, FilesError), match=r"bucket|no shard"):
            list_chunks(pattern)
