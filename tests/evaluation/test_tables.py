"""What an evaluation shows: CSV that is safe to open, and which photos go on the contact sheet."""

from exif_jax.evaluation import tables


def test_csv_cells_do_not_run_in_a_spreadsheet():
    rows = [{"image": "=cmd()|x", "ap": -0.5, "file": [1, 2]}, {"image": "a,b", "other": None}]
    lines = b"".join(tables.csv_lines(rows)).decode().splitlines()
    assert lines == ["image,ap,file,other", "'=cmd()|x,-0.5,1 2,", '"a,b",,,']


def test_best_median_and_worst():
    rows = [{"ap": k / 10, "image": k} for k in range(10)]
    shown = tables.best_median_worst([*rows, {"image": "pristine"}])
    assert [(name, row["image"]) for name, row in shown] == [
        *(("best", 9), ("best", 8), ("median", 5), ("median", 4), ("worst", 1), ("worst", 0))
    ]


def test_columns_are_the_metrics_that_are_asked_for():
    summary = {
        "dataset": "set (splice)",
        "detector": "a|b",
        "mean": {"ap": 0.5, "ciou": 0.25},
        "interval": {"ap": (0.4, 0.6), "ciou": None},
        "detection": {"auc": 0.9, "ap": 0.8},
        "detection_interval": {"auc": (0.7, 1.0), "ap": (0.6, 0.9)},
    }
    metrics = ("ciou", "ap", "f1_fixed")
    assert tables.header(metrics)[2:5] == metrics
    row = tables.cells(summary, metrics)
    assert row == ("set (splice)", "a|b", "0.250", "0.500 [0.40, 0.60]", "-",
                   "0.900 [0.70, 1.00]", "0.800 [0.60, 0.90]")  # fmt: skip
    text = tables.markdown([tables.header(metrics), row], "command", ["One note."])
    assert "a\\|b" in text and "```sh\ncommand\n```" in text and "\n\nOne note.\n\n" in text
    nothing = {**summary, "mean": {}, "interval": {}, "detection": None,
               "detection_interval": None}  # fmt: skip
    assert tables.cells(nothing, metrics, intervals=False)[2:] == ("-",) * 5
