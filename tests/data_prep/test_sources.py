"""Photos from folders, buckets and shards: the same text by every road, and nothing hostile."""

import io
import json
import pathlib
import shutil
import subprocess
import tarfile

import fsspec
import pytest
from PIL.TiffImagePlugin import IFDRational as R
from test_exif import pillow_tags, write_photo

from data_prep import sources
from data_prep.sources import RawPhoto, SourceError, list_chunks, read_chunk, sidecar_exif
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


def read_all(source) -> list[RawPhoto]:
    chunks, _ = list_chunks(str(source), 5)
    return [photo for chunk in chunks for photo in read_chunk(chunk)]


def problems(photos: list[RawPhoto]) -> list[tuple[str, str]]:
    return [(photo.id, photo.problem[0]) for photo in photos if photo.problem]


def shard(path: pathlib.Path, members: list[tuple[str, bytes]]) -> pathlib.Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def img2dataset_json(path: pathlib.Path, key: str) -> bytes:
    exifread = pytest.importorskip("exifread")
    with open(path, "rb") as file:
        tags = exifread.process_file(file, details=False)
    told = json.dumps({name: str(value).strip() for name, value in tags.items()})
    facts = {"key": key, "status": "success", "url": "http://x", "exif": told, "license": "CC0"}
    return json.dumps(facts).encode()


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
        found = read_all(tmp_path / "*.tar")
        assert found[0].id == "00000/000000000" and found[0].licence == "CC0"
    elif road == "memory bucket":
        bucket = fsspec.filesystem("memory")
        for path in photos:
            bucket.pipe(f"/{tmp_path.name}/{path.name}", path.read_bytes())
        found = read_all(f"memory://{tmp_path.name}")
    else:
        for path in photos:
            if road == "file":
                shutil.copy(path, tmp_path)
                continue
            (tmp_path / path.name).write_bytes(without_exif(path))
            told = exiftool(path) if road == "exiftool" else flickr(path)
            name = f"{path.name}.json" if road == "exiftool" else f"{path.stem}.json"
            (tmp_path / name).write_text(json.dumps(told))
        found = read_all(tmp_path)
    assert not problems(found)
    assert len(found) == len(photos)
    for photo, path in zip(found, photos, strict=True):
        told = read_photo(photo.data).exif if photo.exif is None else photo.exif
        assert told == pillow_tags(path), path


def test_folders_are_walked_in_order_and_bad_files_named(tmp_path, monkeypatch):
    for name in ("b/2.jpg", "a/1.JPG", "c.png", "d.txt", "e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"photo " + name.encode())
    (tmp_path / "e.jpg.json").write_text("[[[[")
    (tmp_path / "c.json").write_text(json.dumps({"EXIF": {"Make": "Canon"}}))
    monkeypatch.setattr(sources, "MAX_BYTES", 12)
    found = read_all(tmp_path)
    told = {p.id: (p.data, p.exif) for p in found if not p.problem}
    assert told == {"c.png": (b"photo c.png", {"Make": "Canon"}), "e.jpg": (b"photo e.jpg", None)}
    assert [p.id for p in found] == ["a/1.JPG", "b/2.jpg", "c.png", "e.jpg"]
    assert problems(found) == [("a/1.JPG", "unreadable"), ("b/2.jpg", "unreadable")]
    assert list_chunks(str(tmp_path))[1] == 3  # the text and the side-cars


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


def test_patterns_match_shards_in_folders(tmp_path):
    for name in ("a/1.tar", "a/2.tar", "b/1.tar", "b/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shard(tmp_path / name, [(f"{name[0]}.jpg", name.encode())])
    for pattern, count in (("a/*.tar", 2), ("*/1.tar", 2), ("[ab]/*.tar", 3), ("b/1.tar", 1)):
        assert len(read_all(tmp_path / pattern)) == count, pattern


def test_hostile_shards(tmp_path):
    good = [("000.jpg", b"first"), ("000.json", b"{}"), ("003.png", b"last")]
    path = shard(tmp_path / "0.tar", good[:2])
    with tarfile.open(path, "a") as archive:
        for name, kind, link in (
            *(("../../etc/cron.d/x.jpg", tarfile.REGTYPE, ""), ("/abs.jpg", tarfile.REGTYPE, "")),
            *(("001.jpg", tarfile.SYMTYPE, "/etc/passwd"), ("002.jpg", tarfile.LNKTYPE, "000.jpg")),
            *(("dev.jpg", tarfile.CHRTYPE, ""), ("fifo.jpg", tarfile.FIFOTYPE, "")),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            archive.addfile(info)
        info = tarfile.TarInfo(good[2][0])
        info.size = 4
        archive.addfile(info, io.BytesIO(b"last"))
    found = read_all(path)
    told = [(p.id, p.data) for p in found if not p.problem]
    assert told == [("0/000", b"first"), ("0/003", b"last")]
    assert [reason for _, reason in problems(found)] == ["member refused"] * 6
    assert {p.name for p in tmp_path.iterdir()} == {"0.tar"}


def test_names_that_come_twice_do_not_hide_each_other(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    members = [("x/0.jpg", b"1"), ("y/0.jpg", b"2"), ("x/0.jpg", b"3"), ("x/1.jpg", b"4")]
    shard(tmp_path / "a" / "0.tar", members)
    shard(tmp_path / "b" / "0.tar", [("0.jpg", b"5")])
    found = read_all(tmp_path / "*" / "0.tar")
    assert {p.id: p.data for p in found if not p.problem} == {
        **{"a/0/x/0": b"1", "a/0/y/0": b"2", "a/0/x/1": b"4"},
        "b/0/0": b"5",
    }
    assert problems(found) == [("a/0/x/0.jpg", "member refused")]
    assert len(read_all(tmp_path / "*" / "*.tar")) == len(found)
    with pytest.raises(SourceError):
        list_chunks(str(tmp_path / "*.tar"))  # none at the top


def test_a_member_of_ten_gigabytes_is_not_read_through(tmp_path):
    info = tarfile.TarInfo("big.jpg")
    info.size = 10 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)
    small = shard(tmp_path / "s.tar", [("000.jpg", b"first")]).read_bytes()[:1024]
    (tmp_path / "1.tar").write_bytes(small + head + b"x" * 5000)
    found = read_all(tmp_path / "1.tar")
    assert [p.data for p in found if not p.problem] == [b"first"]
    assert problems(found) == [("1/big.jpg", "member too large"), ("1", "shard cut short")]


@pytest.mark.parametrize("keep", [100, 600, 1100, 1536, 2000])
def test_shards_cut_short(tmp_path, keep):
    members = [("000.jpg", b"a" * 700), ("000.json", b'{"exif": null}'), ("001.jpg", b"b" * 700)]
    path = shard(tmp_path / "0.tar", members)
    path.write_bytes(path.read_bytes()[:keep])
    found = read_all(path)
    assert {photo.data for photo in found} <= {b"a" * 700, b""}
    assert ("0", "shard cut short") in problems(found)


def test_json_of_img2dataset_that_says_nothing(tmp_path):
    odd = ["null", '{"exif": "[1]"}', '{"exif": "no json"}', "[]", '{"exif": {"a": 1}}', "{"]
    members = [
        m for i, text in enumerate(odd) for m in ((f"{i}.jpg", b"x"), (f"{i}.json", text.encode()))
    ]
    members += [("lonely.json", b"{}")]
    found = read_all(shard(tmp_path / "0.tar", members))
    assert [p.exif for p in found] == [None] * 7
    assert problems(found) == [("0/lonely", "no photo beside the JSON")]


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 10**5, b'{"a": 1}'])
def test_side_cars_that_are_none(content):
    assert sidecar_exif(content) is None


def test_flickrs_refusal_means_no_exif():
    assert sidecar_exif(b'{"stat": "fail", "code": 2, "message": "Permission denied"}') == {}
