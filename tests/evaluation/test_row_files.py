"""Rows on disk: they survive a kill, other lines and other processes, and stay out of memory."""

import json
import tracemalloc

import pytest

from exif_jax.evaluation.row_files import RowFiles, Shard, open_rows, row_paths, shard

ROW = {"dataset": "set", "image": "a", "key": "k", "ap": 1}


def test_rows_survive_a_kill_and_other_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    with open_rows(path) as rows:
        assert rows == {} and path.read_bytes() == b""
        rows.add(ROW | {"ap": 0})
        rows.add(ROW)
        assert rows == {("set", "a", "k"): ROW}
    lines = b'{"image": "a"}\n[1]\n{"dataset": [1], "image": "b", "key": "k"}\n{"dataset": "s'
    path.write_bytes(path.read_bytes() + lines)
    with open_rows(path) as rows:
        assert rows == {("set", "a", "k"): ROW}
        rows.add(ROW | {"image": "b"})
        assert rows["set", "b", "k"] == ROW | {"image": "b"}
    assert [json.loads(line)["image"] for line in path.read_bytes().splitlines()] == ["a", "b"]


def test_a_last_row_without_its_line_feed_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(ROW).encode())
    with open_rows(path) as rows:
        rows.add(ROW | {"image": "b"})
        assert [rows[key]["image"] for key in rows] == ["a", "b"]
    with open_rows(path) as rows:
        assert [rows[key]["image"] for key in rows] == ["a", "b"]


def test_rows_of_other_processes_are_read_and_left_alone(tmp_path):
    for number, image in ((1, "a"), (2, "b")):
        with open_rows(*row_paths(tmp_path, Shard(number, 2))) as rows:
            rows.add(ROW | {"image": image, "ap": number})
            assert len(rows) == 1  # not those of the other
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in before} == {"rows.1-of-2.jsonl", "rows.2-of-2.jsonl"}
    with open_rows(*row_paths(tmp_path)) as rows:
        assert [row["ap"] for row in rows.values()] == [1, 2]
        rows.add(ROW | {"image": "b", "ap": 3})
        assert rows["set", "b", "k"]["ap"] == 3
    with open_rows(*row_paths(tmp_path)) as rows:
        assert [row["ap"] for row in rows.values()] == [1, 3]
    assert {path: path.read_bytes() for path in before} == before


def test_memory_holds_places_and_no_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    count, size = 2000, 2000
    long = {"text": "x" * size}
    path.write_text(
        "".join(f"{json.dumps(ROW | long | {'image': str(n)})}\n" for n in range(count))
    )
    tracemalloc.start()
    rows = RowFiles(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == count and rows["set", "1999", "k"]["text"] == long["text"]
    assert held < count * size / 4
    rows.close()


def test_shards(tmp_path):
    assert shard("2/8") == Shard(2, 8) and str(shard("2/8")) == "2/8"
    for text in ("0/2", "3/2", "1", "1/2/3", "a/b", "-1/2"):
        with pytest.raises(ValueError):
            shard(text)
