"""What an evaluation shows: CSV that is safe to open, and which photos go on the contact sheet."""

from exif_jax.evaluation import tables


def test_csv_cells_do_not_run_in_a_spreadsheet():
    rows = [{"image": "=cmd()|x", "ap": -0.5, "file": [1, 2]}, {"image": "a,b", "other": None}]
    lines = tables.csv_bytes(rows).decode().splitlines()
    assert lines == ["image,ap,file,other", "'=cmd()|x,-0.5,1 2,", '"a,b",,,']


def test_best_median_and_worst():
    rows = [{"spliced": True, "ap": k / 10, "image": k} for k in range(10)]
    shown = tables.best_median_worst([*rows, {"spliced": False}])
    assert [(name, row["image"]) for name, row in shown] == [
        *(("best", 9), ("best", 8), ("median", 5), ("median", 4), ("worst", 1), ("worst", 0))
    ]
