"""The benchmark that sets apart the photos which developers looked at."""

import hashlib
import json
import sys

from benchmarks import dataset_parts


def test_a_third_is_looked_at_by_the_names_of_photos():
    names = [f"Tp/Sp_{number:04d}.jpg" for number in range(900)]
    looked_at = [name for name in names if dataset_parts.is_looked_at(name)]
    assert 240 < len(looked_at) < 360
    for name in names[:20]:
        digest = int(hashlib.md5(name[3:-4].encode()).hexdigest(), 16)
        assert dataset_parts.is_looked_at(name) == (digest % 3 == 0)
        assert dataset_parts.is_looked_at(name) == dataset_parts.is_looked_at(f"other/{name[3:]}")


def test_the_table_has_the_parts_and_the_whole(tmp_path, monkeypatch, capsys):
    path, figures = tmp_path / "rows.jsonl", {True: [], False: []}
    with path.open("w") as file:
        for number in range(60):
            row = {"dataset": "set", "image": f"{number}.jpg", "key": "k", "detector": "ours"}
            row |= {"kind": "splice", "tampered": number < 40, "score": number / 60, "seconds": 1}
            if number < 40:
                row["ap"] = number / 40
                figures[dataset_parts.is_looked_at(row["image"])].append(row["ap"])
            file.write(json.dumps(row if number < 40 else row | {"kind": "pristine"}) + "\n")
    monkeypatch.setattr(sys, "argv", ["dataset_parts", str(path), "--metric", "ap"])
    assert dataset_parts.main() == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| set,")]
    both = figures[True] + figures[False]
    for line, values in zip(lines, (both, figures[False], figures[True]), strict=True):
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[3].startswith(f"{len(values)}; {len(values)} v ")
        assert cells[4].startswith(f"{sum(values) / len(values):.3f} [")
    monkeypatch.setattr(sys, "argv", ["dataset_parts", str(tmp_path / "none.jsonl")])
    assert dataset_parts.main() == 1
    assert "there is no such file" in capsys.readouterr().err
    path.write_text("")
    monkeypatch.setattr(sys, "argv", ["dataset_parts", str(path)])
    assert dataset_parts.main() == 1
    assert "there are no rows in it" in capsys.readouterr().err
