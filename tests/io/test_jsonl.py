"""Journals: whole lines only, whatever a killed run, a full disk or an editor leaves behind."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exif_jax.io.jsonl import append_rows, encode_row, read_rows, rewrite

ROWS = [{"a": 1}, {"b": "ü"}]


def test_rows_come_back_in_order(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert list(read_rows(path)) == []
    append_rows(path, ROWS[:1])
    append_rows(path, ROWS[1:])
    append_rows(path, [])
    assert list(read_rows(path)) == ROWS
    assert path.read_bytes() == b'{"a": 1}\n{"b": "\xc3\xbc"}\n'


def test_undecodable_names_come_back(tmp_path):
    row = {"file": "\udcff.jpg", "id": "\ud800"}
    append_rows(tmp_path / "rows.jsonl", [row])
    assert list(read_rows(tmp_path / "rows.jsonl")) == [row]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_refused_and_nothing_is_written(tmp_path, value):
    path = tmp_path / "rows.jsonl"
    for write in (append_rows, rewrite):
        with pytest.raises(ValueError):
            write(path, [{"a": 1}, {"a": value}])
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"file": "x', b"\xff\xfe", b"[1]", b"3", b"[" * 5000, b"", b'{"a": "\xff"}'),
        b"\0" * 300,  # what some file systems leave after a crash
    ],
)
def test_damaged_lines_are_passed_over(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encode_row(ROWS[0]) + line + b"\n" + encode_row(ROWS[1]))
    assert list(read_rows(path)) == ROWS
    path.write_bytes(encode_row(ROWS[0]) + line)  # as the last line, without an end
    assert list(read_rows(path)) == ROWS[:1]
    append_rows(path, ROWS[1:])
    assert path.read_bytes() == b"".join(map(encode_row, ROWS))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cut=st.integers(0, 40), long=st.booleans())
def test_a_row_cut_anywhere_gives_way_to_the_next(tmp_path_factory, cut, long):
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    second = {"b": "x" * (20_000 if long else 20)}  # longer than the blocks that are read
    data = encode_row(ROWS[0]) + encode_row(second)
    path.write_bytes(data[: len(data) - cut])
    kept = list(read_rows(path))
    append_rows(path, [{"c": 3}])
    assert list(read_rows(path)) == [*kept, {"c": 3}]
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_whole_last_row_without_a_line_feed_is_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(encode_row(ROWS[0]).rstrip())
    append_rows(path, ROWS[1:])
    assert list(read_rows(path)) == ROWS


def test_a_full_disk_takes_all_rows_or_none(tmp_path):
    """The system's own limit on a file's size stands for the full disk."""
    resource = pytest.importorskip("resource", reason="limits on file sizes are POSIX's")
    assert resource
    code = (
        "import resource, signal, sys\n"
        "from exif_jax.io.jsonl import append_rows\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "append_rows(sys.argv[1], [{'a': 'x' * 900}])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: append_rows(sys.argv[1], [{'b': 1}, {'b': 'y' * 500}])\n"
        "except OSError: sys.exit(7)\n"
    )
    path = tmp_path / "rows.jsonl"
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 7
    assert path.read_bytes() == encode_row({"a": "x" * 900})


def test_a_journal_is_rewritten_as_a_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_rows(path, ROWS)

    def rows():
        yield ROWS[1]
        assert list(read_rows(path)) == ROWS  # the old one, until all of the new one is there

    rewrite(path, rows())
    assert list(read_rows(path)) == ROWS[1:]
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_missing_folder_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        append_rows(tmp_path / "none" / "rows.jsonl", ROWS)
    with pytest.raises(OSError):
        list(read_rows(tmp_path))  # a folder
