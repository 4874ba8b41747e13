"""Photos in img2dataset's tar shards: in order, each once, and nothing hostile."""

import io
import tarfile

import pytest
from photo_folders import close_folders
from source_folders import problems, read_all, shard

from data_prep.sources.listing import list_chunks
from data_prep.sources.raw_photo import SourceError


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
    read = read_all(path)
    photos = [(p.id, p.data) for p in read if not p.problem]
    assert photos == [("0/000", b"first"), ("0/003", b"last")]
    assert [reason for _, reason in problems(read)] == ["member refused"] * 6
    assert {p.name for p in tmp_path.iterdir()} == {"0.tar"}


def test_names_that_come_twice_do_not_hide_each_other(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    members = [("x/0.jpg", b"1"), ("y/0.jpg", b"2"), ("x/0.jpg", b"3"), ("x/1.jpg", b"4")]
    shard(tmp_path / "a" / "0.tar", members)
    shard(tmp_path / "b" / "0.tar", [("0.jpg", b"5")])
    read = read_all(tmp_path / "*" / "0.tar")
    assert {p.id: p.data for p in read if not p.problem} == {
        **{"a/0/x/0": b"1", "a/0/y/0": b"2", "a/0/x/1": b"4"},
        "b/0/0": b"5",
    }
    assert problems(read) == [("a/0/x/0.jpg", "member refused")]
    assert len(read_all(tmp_path / "*" / "*.tar")) == len(read)
    with pytest.raises(SourceError):
        list_chunks(str(tmp_path / "*.tar"))  # none at the top


def test_a_member_of_ten_gigabytes_is_not_read_through(tmp_path):
    info = tarfile.TarInfo("big.jpg")
    info.size = 10 << 30
    head = info.tobuf(tarfile.GNU_FORMAT)
    small = shard(tmp_path / "s.tar", [("000.jpg", b"first")]).read_bytes()[:1024]
    (tmp_path / "1.tar").write_bytes(small + head + b"x" * 5000)
    read = read_all(tmp_path / "1.tar")
    assert [p.data for p in read if not p.problem] == [b"first"]
    assert problems(read) == [("1/big.jpg", "member too large"), ("1", "shard cut short")]


@pytest.mark.parametrize("keep", [100, 600, 1100, 1536, 2000])
def test_shards_cut_short(tmp_path, keep):
    members = [("000.jpg", b"a" * 700), ("000.json", b'{"exif": null}'), ("001.jpg", b"b" * 700)]
    path = shard(tmp_path / "0.tar", members)
    path.write_bytes(path.read_bytes()[:keep])
    read = read_all(path)
    assert {photo.data for photo in read} <= {b"a" * 700, b""}
    assert ("0", "shard cut short") in problems(read)


def test_json_of_img2dataset_that_says_nothing(tmp_path):
    odd = ["null", '{"exif": "[1]"}', '{"exif": "no json"}', "[]", '{"exif": {"a": 1}}', "{"]
    members = [
        m for i, text in enumerate(odd) for m in ((f"{i}.jpg", b"x"), (f"{i}.json", text.encode()))
    ]
    members += [("lonely.json", b"{}")]
    read = read_all(shard(tmp_path / "0.tar", members))
    assert [p.exif for p in read] == [None] * 7
    assert problems(read) == [("0/lonely", "no photo beside the JSON")]


def test_pictures_of_a_format_that_is_not_read_are_named(tmp_path):
    members = [("0.jpg", b"x"), ("1.dng", b"raw"), ("2.gif", b"g"), ("2.txt", b"a caption")]
    read = read_all(shard(tmp_path / "0.tar", members))
    assert [p.id for p in read if not p.problem] == ["0/0"]
    assert problems(read) == [("0/1.dng", "format not read"), ("0/2.gif", "format not read")]


def test_a_folder_of_a_pattern_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    for name in ("a", "closed"):
        (tmp_path / name).mkdir()
        shard(tmp_path / name / "0.tar", [("0.jpg", b"x")])
    close_folders(monkeypatch, "closed")
    chunks, report = list_chunks(str(tmp_path / "*" / "*.tar"))
    assert [chunk.files[0].file for chunk in chunks] == ["a/0.tar"]
    assert report.unreadable == [f"{tmp_path / 'closed'}: Permission denied"]
