"""`make demo`: what it shows first, and the figures that it writes."""

import json
import re

import pytest

from benchmarks import demo

KEYS = {
    "p_map_trained", "p_map_untrained", "p_map_baselines", "retrieval_at_1", "retrieval_chance",
}  # fmt: skip


@pytest.mark.slow
def test_the_first_picture_comes_before_any_training(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(demo, "FIRST_SIZE", 512)
    demo.show_first_picture(tmp_path)
    printed = capfd.readouterr().out
    shown = re.findall(r"(\S+\.(?:overlay\.png|html))$|(\S+\.overlay\.png) ", printed, re.MULTILINE)
    paths = {path for pair in shown for path in pair if path.startswith(str(tmp_path / "first"))}
    assert {path.rpartition("/")[2] for path in paths} == {
        "000.overlay.png", "000.html", "000-2.overlay.png", "000-2.html",
    }  # fmt: skip
    results = tmp_path / "first" / "results"
    for path in paths:
        assert (results / path.rpartition("/")[2]).stat().st_size
    splice, host = (json.loads((results / f"{n}.json").read_bytes()) for n in ("000", "000-2"))
    assert splice["score"] > host["score"]


def test_the_summary_keeps_its_keys(tmp_path):
    for name in ("model", "untrained"):
        (tmp_path / f"evaluation_{name}").mkdir()
        (tmp_path / f"evaluation_{name}" / "evaluation.json").write_text(
            json.dumps({"mean": {"p_map": 0.5}, "baselines": {"constant": {"p_map": 0.1}}})
        )
    (tmp_path / "run").mkdir()
    row = {"validation/chance_r1": 0.1, "validation/image_to_exif_r1": 0.3}
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    summary = demo.read_summary(tmp_path)
    assert set(summary) == KEYS
    text = demo.summary_table(summary | {"seconds": 400, "seconds_to_first_picture": 61})
    assert "400 seconds in all, 61 to the first picture" in text
