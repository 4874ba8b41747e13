"""Photos from folders, buckets and shards: the same text by every road, and nothing hostile."""

import collections
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
from data_prep.sources import SourceError, sidecar_exif
from exif_jax.photo import read_photo

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
    rejects: collections.Counter = collections.Counter()
    if road == "img2dataset":
        members = []
        for i, path in enumerate(photos):
            key = f"{i:09}"
            members += [(f"{key}.jpg", without_exif(path)), (f"{key}.txt", b"a caption")]
            members += [(f"{key}.json", img2dataset_json(path, key))]
        shard(tmp_path / "00000.tar", members)
        found = list(sources.tars(f"{tmp_path}/*.tar", rejects))
        assert found[0].id == "00000/000000000" and found[0].licence == "CC0"
    elif road == "memory bucket":
        bucket = fsspec.filesystem("memory")
        for path in photos:
            bucket.pipe(f"/{tmp_path.name}/{path.name}", path.read_bytes())
        found = list(sources.folder(f"memory://{tmp_path.name}", rejects))
    else:
        for path in photos:
            if road == "file":
                shutil.copy(path, tmp_path)
                continue
            (tmp_path / path.name).write_bytes(without_exif(path))
            told = exiftool(path) if road == "exiftool" else flickr(path)
            name = f"{path.name}.json" if road == "exiftool" else f"{path.stem}.json"
            (tmp_path / name).write_text(json.dumps(told))
        found = list(sources.folder(str(tmp_path), rejects))
    assert not rejects
    assert len(found) == len(photos)
    for photo, path in zip(found, photos, strict=True):
        told = read_photo(photo.data).exif if photo.exif is None else photo.exif
        assert told == pillow_tags(path), path


def test_folders_are_walked_in_order_and_bad_files_are_counted(tmp_path, monkeypatch):
    for name in ("b/2.jpg", "a/1.JPG", "c.png", "d.txt", "e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"photo " + name.encode())
    (tmp_path / "e.jpg.json").write_text("[[[[")
    (tmp_path / "c.json").write_text(json.dumps({"EXIF": {"Make": "Canon"}}))
    monkeypatch.setattr(sources, "MAX_PHOTO_BYTES", 12)
    rejects: collections.Counter = collections.Counter()
    found = {p.id: (p.data, p.exif) for p in sources.folder(str(tmp_path), rejects)}
    assert found == {"c.png": (b"photo c.png", {"Make": "Canon"}), "e.jpg": (b"photo e.jpg", None)}
    assert list(found) == sorted(found)
    assert rejects == {"too large": 2, "side-car not understood": 1}


def test_sources_that_are_none(tmp_path):
    rejects: collections.Counter = collections.Counter()
    for url in (str(tmp_path), f"{tmp_path}/nowhere", "nosuch://bucket"):
        with pytest.raises(SourceError, match=url):
            list(sources.folder(url, rejects))
    for pattern in (f"{tmp_path}/*.tar", "nosuch://bucket/*.tar"):
        with pytest.raises(SourceError, match=r"bucket|no shard"):
            list(sources.tars(pattern, rejects))


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
    rejects: collections.Counter = collections.Counter()
    found = list(sources.tars(str(path), rejects))
    assert [(p.id, p.data) for p in found] == [("0/000", b"first"), ("0/003", b"last")]
    assert rejects == {"member refused": 6}
    assert {p.name for p in tmp_path.iterdir()} == {"0.tar"}


def test_a_member_of_ten_gigabytes_is_not_read_through(tmp_path):
    info = tarfile.TarInfo("big.jpg")
    info.size = 10 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)
    small = shard(tmp_path / "s.tar", [("000.jpg", b"first")]).read_bytes()[:1024]
    (tmp_path / "1.tar").write_bytes(small + head + b"x" * 5000)
    rejects: collections.Counter = collections.Counter()
    assert [p.data for p in sources.tars(f"{tmp_path}/1.tar", rejects)] == [b"first"]
    assert rejects == {"member too large: shard left": 1}


@pytest.mark.parametrize("keep", [100, 600, 1100, 1536, 2000])
def test_shards_cut_short(tmp_path, keep):
    members = [("000.jpg", b"a" * 700), ("000.json", b'{"exif": null}'), ("001.jpg", b"b" * 700)]
    path = shard(tmp_path / "0.tar", members)
    path.write_bytes(path.read_bytes()[:keep])
    rejects: collections.Counter = collections.Counter()
    for photo in sources.tars(str(path), rejects):
        assert photo.data == b"a" * 700


def test_json_of_img2dataset_that_says_nothing(tmp_path):
    odd = ["null", '{"exif": "[1]"}', '{"exif": "no json"}', "[]", '{"exif": {"a": 1}}', "{"]
    members = [
        m for i, text in enumerate(odd) for m in ((f"{i}.jpg", b"x"), (f"{i}.json", text.encode()))
    ]
    members += [("lonely.json", b"{}")]
    rejects: collections.Counter = collections.Counter()
    found = list(sources.tars(str(shard(tmp_path / "0.tar", members)), rejects))
    assert [p.exif for p in found] == [None] * 6
    assert rejects["no photo beside the JSON"] == 1
    assert rejects["JSON not understood"] == 4


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 10**5, b'{"a": 1}'])
def test_side_cars_that_are_none(content):
    assert sidecar_exif(content) is None


def test_flickrs_refusal_means_no_exif():
    assert sidecar_exif(b'{"stat": "fail", "code": 2, "message": "Permission denied"}') == {}
