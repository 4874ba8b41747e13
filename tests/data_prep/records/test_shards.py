"""Chunks to a folder of records: every record once, every count by hand, rejects by name."""

import json

import pytest
from test_records import make_record

from data_prep.processing.photo import PhotoResult
from data_prep.records.chunks import ChunkError
from data_prep.records.metadata import write_rejects
from data_prep.records.selection import Decision
from data_prep.records.shards import apply_decisions, list_shards, write_one_shard
from exif_jax.data.records import (
    INDEX_SUFFIX,
    RecordError,
    decode_record,
    encode_record,
    shard_name,
    write_shard,
)
from exif_jax.io.tfrecord import read_payload

KEPT, CROP = Decision("", is_first=True), Decision("")
TRAIN, HELD_OUT = {"Make": "Canopus", "Model": "C1"}, {"Make": "Nadir", "Model": "N1"}


def result(name: str, records: int = 1, exif=TRAIN, **fields) -> PhotoResult:
    return PhotoResult(name, "", sha256=f"sha {name}", exif=exif, num_records=records, **fields)


@pytest.fixture
def chunk(tmp_path):
    """Four files: two regions and licence, one of a held-out camera, a copy, a damaged one."""
    results = [
        result("a.jpg", 2, licence="CC0", num_flat=3),
        PhotoResult("b.jpg", "unreadable", "b.jpg: no image"),
        result("c.jpg", 1, HELD_OUT, num_saturated=2),
        result("d.jpg", 2),
    ]
    path = str(tmp_path / "chunk.tfrecord")
    write_shard(path, [encode_record(make_record(seed)) for seed in range(5)])
    (tmp_path / "chunk.json").write_text(json.dumps([row._asdict() for row in results]))
    return path


def outcome(path: str, seed: int = 0, **decisions):
    every = {"a.jpg": KEPT, "c.jpg": KEPT, "d.jpg": Decision("duplicate", "the same as a.jpg")}
    every |= {f"{name}.jpg": decision for name, decision in decisions.items()}
    return apply_decisions(path, every, {("Nadir", "N1")}, seed)


def sources(places) -> list[str]:
    return [decode_record(read_payload(*place[1:])).source for place in places]


def test_a_photo_goes_with_all_its_records_to_the_split_of_its_camera(chunk):
    places = outcome(chunk).locations
    assert sources(places["train"]) == [make_record(seed).source for seed in (0, 1)]
    assert sources(places["validation"]) == [make_record(2).source]  # not those of rejected files
    assert sources(outcome(chunk, a=Decision("camera cap")).locations["train"]) == []


def test_the_seed_decides_the_order_of_records_and_nothing_else(chunk):
    one, other = outcome(chunk), outcome(chunk, seed=1)
    assert one == outcome(chunk) and one.counts == other.counts
    pairs = list(zip(one.locations["train"], other.locations["train"], strict=True))
    assert all(a[1:] == b[1:] and a.order != b.order for a, b in pairs) and len(pairs) == 2


def test_every_file_is_counted(chunk):
    result_of_all = outcome(chunk)
    sizes = {
        split: sum(place.length for place in places)
        for split, places in result_of_all.locations.items()
    }
    assert result_of_all.counts == {
        **{("records", "train"): 2, ("records", "validation"): 1},
        **{("bytes", split): size for split, size in sizes.items()},
        **{("photos", "train"): 1, ("photos", "validation"): 1},
        **{("camera", "train", "Canopus", "C1"): 1, ("camera", "validation", "Nadir", "N1"): 1},
        **{("tag", split, name): 1 for split in sizes for name in ("Make", "Model")},
        **{("value", *item): 1 for exif in (TRAIN, HELD_OUT) for item in exif.items()},
        **{("licence", "CC0"): 1, ("licence", ""): 1},
        **{("skipped tile", "flat"): 3, ("skipped tile", "saturated"): 2},
        **{("reject", "unreadable"): 1, ("reject", "duplicate"): 1},
    }


def test_another_crop_of_a_photo_gives_records_and_counts_as_no_photo(chunk):
    more = outcome(chunk, d=CROP).counts - outcome(chunk).counts
    assert {kind[0] for kind in more} == {"records", "bytes"} and more["records", "train"] == 2


def test_rejects_are_listed_in_the_files_order(chunk, tmp_path):
    rows = outcome(chunk).rejects
    assert rows == [
        {"file": "b.jpg", "reason": "unreadable", "message": "b.jpg: no image"},
        {"file": "d.jpg", "reason": "duplicate", "message": "the same as a.jpg"},
    ]
    write_rejects(str(tmp_path), [*rows, {"file": "ü\n\x1b"}])
    lines = (tmp_path / "rejects.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [*rows, {"file": "ü\n\x1b"}]
    assert len(lines) == 3 and b"\x1b" not in lines[2]


def test_a_damaged_chunk_is_an_error(chunk, tmp_path):
    shard = tmp_path / "chunk.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RecordError, match=chunk):
        outcome(chunk)
    write_shard(chunk, [encode_record(make_record(0))])  # fewer, and more, than the list says
    with pytest.raises(ChunkError, match="run again"):
        outcome(chunk)
    write_shard(chunk, [encode_record(make_record(0))] * 9)
    with pytest.raises(ChunkError, match="run again"):
        outcome(chunk)
    (tmp_path / "chunk.json").write_text("[")
    with pytest.raises(ChunkError, match="run again"):
        outcome(chunk)


def test_a_shard_holds_its_records_in_mixed_order_whatever_order_they_come_in(chunk, tmp_path):
    places = [p for rows in outcome(chunk, d=KEPT).locations.values() for p in rows]
    written = []
    for name, order in (("one", places), ("two", places[::-1])):
        (tmp_path / name).mkdir()
        assert write_one_shard(str(tmp_path / name), "train", 0, 2, iter(order)) == 5
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
    assert list_shards(str(tmp_path)) == [str(tmp_path / name) for name in sorted(ours)]
