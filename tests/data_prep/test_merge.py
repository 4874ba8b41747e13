"""Chunks to a folder of records: every record once, every count by hand, rejects by name."""

import json
from collections import Counter

import pytest
from test_records import make_record

from data_prep import merge
from data_prep.merge import settle_chunk
from data_prep.selection import Verdict
from data_prep.stages import PhotoResult, Settings
from data_prep.work import WorkError
from exif_jax.data.records import (
    INDEX_SUFFIX,
    RecordError,
    decode_record,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.io.tfrecord import read_payload

KEPT, CROP = Verdict("", first=True), Verdict("")
TRAIN, HELD_OUT = {"Make": "Canopus", "Model": "C1"}, {"Make": "Nadir", "Model": "N1"}


def result(name: str, records: int = 1, exif=TRAIN, **facts) -> PhotoResult:
    return PhotoResult(name, "", sha256=f"sha {name}", exif=exif, num_records=records, **facts)


@pytest.fixture
def chunk(tmp_path):
    """Four files: two regions and licence, one of a held-out camera, a copy, a damaged one."""
    results = [
        result("a.jpg", 2, licence="CC0", flat=3),
        PhotoResult("b.jpg", "unreadable", "b.jpg: no image"),
        result("c.jpg", 1, HELD_OUT, saturated=2),
        result("d.jpg", 2),
    ]
    path = str(tmp_path / "chunk.tfrecord")
    write_shard(path, [encode_record(make_record(seed)) for seed in range(5)])
    (tmp_path / "chunk.json").write_text(json.dumps([row._asdict() for row in results]))
    return path


def settled(path: str, seed: int = 0, **verdicts):
    found = {"a.jpg": KEPT, "c.jpg": KEPT, "d.jpg": Verdict("duplicate", "the same as a.jpg")}
    found |= {f"{name}.jpg": verdict for name, verdict in verdicts.items()}
    return settle_chunk(path, found, {("Nadir", "N1")}, seed)


def sources(places) -> list[str]:
    return [decode_record(read_payload(*place[1:])).source for place in places]


def test_a_photo_goes_with_all_its_records_to_the_split_of_its_camera(chunk):
    places = settled(chunk).places
    assert sources(places["train"]) == [make_record(seed).source for seed in (0, 1)]
    assert sources(places["validation"]) == [make_record(2).source]  # not those of rejected files
    assert sources(settled(chunk, a=Verdict("camera cap")).places["train"]) == []


def test_the_seed_decides_the_order_of_records_and_nothing_else(chunk):
    one, other = settled(chunk), settled(chunk, seed=1)
    assert one == settled(chunk) and one.counts == other.counts
    pairs = list(zip(one.places["train"], other.places["train"], strict=True))
    assert all(a[1:] == b[1:] and a.mix != b.mix for a, b in pairs) and len(pairs) == 2


def test_every_file_is_counted(chunk):
    found = settled(chunk)
    sizes = {split: sum(place.length for place in p) for split, p in found.places.items()}
    assert found.counts == {
        **{("records", "train"): 2, ("records", "validation"): 1},
        **{("bytes", split): size for split, size in sizes.items()},
        **{("photos", "train"): 1, ("photos", "validation"): 1},
        **{("camera", "train", "Canopus", "C1"): 1, ("camera", "validation", "Nadir", "N1"): 1},
        **{("tag", split, name): 1 for split in sizes for name in ("Make", "Model")},
        **{("value", *item): 1 for exif in (TRAIN, HELD_OUT) for item in exif.items()},
        **{("licence", "CC0"): 1, ("licence", ""): 1},
        **{("left out", "flat tile"): 3, ("left out", "saturated tile"): 2},
        **{("reject", "unreadable"): 1, ("reject", "duplicate"): 1},
    }


def test_another_crop_of_a_photo_gives_records_and_counts_as_no_photo(chunk):
    more = settled(chunk, d=CROP).counts - settled(chunk).counts
    assert {kind[0] for kind in more} == {"records", "bytes"} and more["records", "train"] == 2


def test_rejects_are_told_in_the_files_order(chunk):
    rows = settled(chunk).rejects
    assert rows == [
        {"file": "b.jpg", "reason": "unreadable", "message": "b.jpg: no image"},
        {"file": "d.jpg", "reason": "duplicate", "message": "the same as a.jpg"},
    ]
    assert [json.loads(line) for line in merge.reject_lines(rows)] == rows
    (line,) = merge.reject_lines([{"file": "ü\n\x1b"}])
    assert line.isascii() and line.count(b"\n") == 1 and line.endswith(b"\n")


def test_a_damaged_chunk_is_an_error(chunk, tmp_path):
    shard = tmp_path / "chunk.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match=chunk):
        settled(chunk)
    write_shard(chunk, [encode_record(make_record(0))])  # fewer, and more, than the list says
    with pytest.raises(WorkError, match="run again"):
        settled(chunk)
    write_shard(chunk, [encode_record(make_record(0))] * 9)
    with pytest.raises(WorkError, match="run again"):
        settled(chunk)
    (tmp_path / "chunk.json").write_text("[")
    with pytest.raises(WorkError, match="run again"):
        settled(chunk)


def test_a_shard_holds_its_records_in_mixed_order_whatever_order_they_come_in(chunk, tmp_path):
    places = [p for rows in settled(chunk, d=KEPT).places.values() for p in rows]
    written = []
    for name, order in (("one", places), ("two", places[::-1])):
        (tmp_path / name).mkdir()
        assert merge.write_one_shard(str(tmp_path / name), "train", 0, 2, iter(order)) == 5
        written.append((tmp_path / name / shard_name("train", 0, 2)).read_bytes())
    assert written[0] == written[1]
    starts = [written[0].index(read_payload(*place[1:])) for place in sorted(places)]
    assert starts == sorted(starts)


def test_shards_of_any_run_are_listed_and_no_other_file(tmp_path):
    ours = [shard_name(split, 0, 3) for split in ("train", "validation")]
    ours += [f"{name}{INDEX_SUFFIX}" for name in ours]
    others = ["train-notes.txt", "train-1.tfrecord", "test-00000-of-00001.tfrecord", "x.tfrecord"]
    for name in ours + others:
        (tmp_path / name).write_bytes(b"")
    assert merge.list_shards(str(tmp_path)) == [str(tmp_path / name) for name in sorted(ours)]


def test_statistics_are_in_the_same_order_whatever_is_counted_first():
    values = {("value", "ISO", f"{100 + k}"): 1 + (k == 9) for k in range(15)}
    counts = Counter({("value", "Make", "Canopus"): 16, ("records", "train"): 5, **values})
    counts |= {("reject", "b"): 1, ("reject", "a"): 2, ("licence", ""): 9, ("licence", "CC0"): 1}
    counts |= {("camera", "train", "N", "1"): 3, ("camera", "train", "C", "1"): 1}
    facts = merge.statistics(counts, {"seed": 7}, Settings(shards=2))
    back = Counter(dict(reversed(counts.items())))
    assert json.dumps(facts) == json.dumps(merge.statistics(back, {"seed": 7}, Settings(shards=2)))
    train, validation = facts["splits"].values()
    assert [camera["make"] for camera in train["cameras"]] == ["C", "N"]
    assert (train["records"], train["shards"], validation["shards"]) == (5, 2, 0)
    assert list(facts["rejects"].items()) == [("a", 2), ("b", 1)] and facts["seed"] == 7
    assert facts["licences"] == {"CC0": 1} and list(facts["tags"]) == ["Make", "ISO"]
    iso = facts["tags"]["ISO"]
    assert (iso["photos"], iso["values"], len(iso["most frequent"])) == (16, 15, merge.MOST_VALUES)
    assert list(iso["most frequent"])[:3] == ["109", "100", "101"]
