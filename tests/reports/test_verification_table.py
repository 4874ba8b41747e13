"""The table of verifications: columns, order, formulas, rows that are none."""

import csv
import json

from exif_jax.reports.verification_table import COLUMNS, write_table


def row(file, strength=0.0, p_value=0.5, **more):
    done = {"command": "verify", "status": "done", "file": file, "finding": "f"}
    return done | {"strength": strength, "p_value": p_value} | more


def read(folder):
    with open(folder / "verification.csv", newline="") as file:
        return list(csv.reader(file))


def test_the_most_doubtful_come_first(tmp_path):
    rows = [row("a.jpg", 0.1), row("b.jpg", 4.25, 0.01), row("c.jpg", 0.1, None)]
    write_table(tmp_path, rows)
    assert read(tmp_path) == [
        list(COLUMNS),
        ["b.jpg", "0.01", "4.250", "f"],
        ["a.jpg", "0.5", "0.100", "f"],
        ["c.jpg", "", "0.100", "f"],
    ]
    lines = (tmp_path / "verification.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["b.jpg", "a.jpg", "c.jpg"]
    assert set(json.loads(lines[0])) == set(COLUMNS)


def test_what_is_no_verification_is_left_out(tmp_path):
    rows = [
        row("a.jpg", command="localize"),
        row("b.jpg", status="failed"),
        {"command": "verify", "status": "done", "file": "old.jpg", "p_value": 0.1},
        row("d.jpg", strength="x"),
        row("e.jpg"),
    ]
    write_table(tmp_path, rows)
    assert [line[0] for line in read(tmp_path)[1:]] == ["e.jpg"]


def test_names_are_no_formulas_and_no_controls(tmp_path):
    names = ["=cmd()", "+1", "-1", "@x", 'a,"b"', "\x1b[31m", "\u202e", "\udcff"]
    write_table(tmp_path, [row(name, 9 - k) for k, name in enumerate(names)])
    shown = [line[0] for line in read(tmp_path)[1:]]
    assert shown == ["'=cmd()", "'+1", "'-1", "'@x", 'a,"b"', "?[31m", "?", "?"]


def test_an_empty_table_has_its_columns(tmp_path):
    write_table(tmp_path, [])
    assert read(tmp_path) == [list(COLUMNS)]
