"""YFCC100M's files: both releases, every packing, lines that lack and lines that lie."""

import bz2
import collections
import gzip
import json
import tracemalloc

import pytest

from data_prep import download
from data_prep.downloading import yfcc100m
from data_prep.downloading.yfcc100m import MetadataError, read_items

EXIF = "Exif+IFD0.Make:Canon,Exif+SubIFD.Focal+Length:50.0+mm,GPS.GPS+Latitude:52"


def row(number, columns=25, **changes) -> str:
    """A line of yfcc100m_dataset, made up."""
    fields = {
        **{"line": "0", "id": str(number), "hash": "ab12", "user": "12@N00", "nick": "Jo+Doe"},
        **{"taken": "2010-01-01", "uploaded": "1300000000", "device": "Canon", "title": "A+walk"},
        **{"description": "", "tags": "", "machine": "", "lon": "", "lat": "", "accuracy": ""},
        **{"page": f"http://www.flickr.com/photos/12@N00/{number}/"},
        **{"url": f"http://farm3.staticflickr.com/2/{number}_0a1b2c.jpg"},
        **{"licence": "Attribution+License", "licence_url": "http://x", "server": "2684"},
        **{"farm": "3", "secret": "0a1b2c", "original": "09f8e7d6", "extension": "jpg"},
        **{"marker": "0"},
    } | changes  # fmt: skip
    values = list(fields.values())
    return "\t".join(values if columns == 25 else values[1:2] + values[3:])


@pytest.mark.parametrize("columns", [23, 25])
def test_a_line_of_either_release(tmp_path, columns):
    (tmp_path / "d").write_text(row(4321, columns) + "\n")
    (item,) = read_items(tmp_path / "d")
    assert item.id == "4321"
    assert item.url == "https://live.staticflickr.com/2684/4321_09f8e7d6_o.jpg"
    assert item.original
    assert item.licence == "Attribution License"
    assert len(item.owner) == 16 and "12@N00" not in str(item) and "Doe" not in str(item)


def packed(path, text):
    if path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        path.write_bytes(zstandard.compress(text.encode()))
    else:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
        path.write_bytes(pack(text.encode()))
    return path


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".zst"])
def test_both_files_are_joined_in_any_packing(tmp_path, suffix):
    numbers = [9, 3, 7, 1]
    dataset = packed(tmp_path / f"d{suffix}", "".join(row(n) + "\n" for n in numbers))
    exif = packed(tmp_path / f"e{suffix}", f"9\t{EXIF}\n3\t\n7\t{EXIF}\n1\t{EXIF}\n")
    items = list(read_items(dataset, exif))
    assert [item.id for item in items] == ["9", "3", "7", "1"]
    assert [bool(item.exif) for item in items] == [True, False, True, True]


def test_lines_that_one_file_lacks(tmp_path):
    dataset = packed(tmp_path / "d", "".join(row(n) + "\n" for n in range(50)))
    lines = [f"{n}\t{EXIF}{n}\n" for n in range(50) if n not in (5, 17)]
    lines[30:33] = lines[30:33][::-1]  # a little out of order
    rejects = collections.Counter()
    items = list(read_items(dataset, packed(tmp_path / "e", "".join(lines)), rejects))
    for item in items:
        assert item.exif == ("" if item.id in ("5", "17") else f"{EXIF}{item.id}")
    assert rejects == {"no EXIF line": 2}


def test_memory_does_not_grow_with_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(yfcc100m, "WINDOW", 100)
    count = 20_000
    dataset = packed(tmp_path / "d", "".join(row(n) + "\n" for n in range(count)))
    # Every second photo has no line, which is the worst for the lines that wait.
    exif = packed(tmp_path / "e", "".join(f"{n}\t{EXIF}\n" for n in range(0, count, 2)))
    tracemalloc.start()
    has_exif = [bool(item.exif) for item in read_items(dataset, exif)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert has_exif == [n % 2 == 0 for n in range(count)]
    assert peak < 1 << 20


def test_lines_of_photos_that_the_dataset_lacks_do_not_clog(tmp_path, monkeypatch):
    monkeypatch.setattr(yfcc100m, "WINDOW", 50)
    kept = [n for n in range(3000) if n % 7]
    dataset = packed(tmp_path / "d", "".join(row(n) + "\n" for n in kept))
    exif = packed(tmp_path / "e", "".join(f"{n}\t{EXIF}\n" for n in range(3000) if n % 11))
    has_exif = [bool(item.exif) for item in read_items(dataset, exif)]
    assert has_exif == [n % 11 != 0 for n in kept]


def test_lines_that_are_left_out_are_counted(tmp_path):
    lines = [row(1), "too\tfew", row(2, marker="1"), row("x"), row(3, original=""), ""]
    lines += [row(4, original="../../x"), row(5, url="javascript:alert(1)", original="")]
    rejects = collections.Counter()
    items = list(read_items(packed(tmp_path / "d", "\n".join(lines)), None, rejects))
    assert [(item.id, item.original) for item in items] == [("1", True), ("3", False), ("4", False)]
    assert items[1].url == "http://farm3.staticflickr.com/2/3_0a1b2c.jpg"
    assert rejects == {
        "2 columns, not 23 or 25": 1,
        "1 columns, not 23 or 25": 1,
        "a video": 1,
        "no photo id": 1,
        "no address": 1,
    }


def test_files_that_are_none(tmp_path):
    with pytest.raises(MetadataError, match="nowhere"):
        list(read_items(tmp_path / "nowhere"))
    with pytest.raises(MetadataError, match=r"d\.gz: cannot be read beyond line 0"):
        (tmp_path / "d.gz").write_bytes(b"no gzip")
        list(read_items(tmp_path / "d.gz"))
    whole = gzip.compress((row(1) + "\n").encode() * 3000)
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MetadataError, match=r"cut\.gz: cannot be read beyond line \d+"):
        list(read_items(tmp_path / "cut.gz"))
    (tmp_path / "long").write_bytes(b"x" * (2 << 20))
    with pytest.raises(MetadataError, match="longer than"):
        list(read_items(tmp_path / "long"))
    (tmp_path / "other").write_text("a,b,c\n" * 2000)
    with pytest.raises(MetadataError, match="no photo in its first 1000 lines: 1 columns"):
        list(read_items(tmp_path / "other"))


def test_the_downloader_asks_for_originals_with_their_exif(tmp_path):
    dataset = packed(tmp_path / "d", row(1) + "\n" + row(2, original="") + "\n")
    exif = packed(tmp_path / "e", f"1\t{EXIF}\n2\t{EXIF}\n")
    rejects = collections.Counter()
    (item,) = download.read_yfcc(dataset, exif, rejects)
    assert item["url"].endswith("1_09f8e7d6_o.jpg")
    assert item["exif"] == {"Make": "Canon", "Focal Length": "50.0 mm"}
    assert rejects == {"original unknown": 1}
    assert "Latitude" not in json.dumps(item)
