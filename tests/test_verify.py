"""The command that verifies EXIF: its words and its files."""

import json

import pytest
from camera_file import camera_file, scene, thumbnail_of
from PIL import Image
from planted_reference_set import GRID, patches_of, planted_model
from stand_in import spliced

from exif_jax.forensics.verification import as_json, verify_embeddings
from exif_jax.verify import as_text, main


@pytest.fixture
def model():
    return planted_model()


def test_hostile_exif_is_text_in_json_and_terminal(model):
    exif = {"Make": "\x1b]0;pwned\x07<script>", "Model": "‮evil", "ISO": "100"}
    result = verify_embeddings(patches_of(0), GRID, exif, model)
    text = as_text(result)
    assert "\x1b" not in text and "‮" not in text and "\x07" not in text
    record = json.loads(json.dumps(as_json(result), allow_nan=False))
    assert record["tags"][0]["value"] == exif["Make"]
    assert {"agreement", "rank", "p_value", "band", "summary", "closest"} <= record.keys()
    assert set(record["looks_like"][0]) == {"tag", "skill", "values"}


def test_the_command_writes_a_record_and_goes_on(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: model)
    image = Image.fromarray(spliced()[0])
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON", "D1"
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    Image.fromarray(spliced()[0][:20]).save(tmp_path / "small.png")
    command = [str(tmp_path), "--model", "m", "--output", str(tmp_path / "out")]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert "small.png: too small" in printed.err
    assert "log-likelihood ratio" in printed.out and "a.jpg" in printed.out
    table = (tmp_path / "out" / "verification.csv").read_text().splitlines()
    assert table[0] == "file,p_value,strength,finding" and len(table) == 2
    assert str(tmp_path / "a.jpg") in table[1] and "a.jpg" in printed.out
    row = json.loads((tmp_path / "out" / "verification.jsonl").read_text())
    assert row["strength"] >= 0 and row["finding"]
    record = json.loads((tmp_path / "out" / "a.verify.json").read_text())
    assert record["statement"]["strength"] == row["strength"]
    assert {finding["verdict"] for finding in record["statement"]["findings"]} <= {
        *("fits", "contradicts", "silent")
    }
    assert record["exif"]["Make"] == "NIKON" and record["verify"]["reference_size"] == 8
    assert main([*command, "--resume"]) == 1  # the small one only
    assert "1 of 2 photos were done" in capsys.readouterr().err


def test_a_photo_of_one_patch_has_no_band_but_the_reason(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: model)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "NIKON", "D1"
    Image.fromarray(spliced()[0][60:92, 60:92]).save(tmp_path / "a.png", exif=exif)
    command = [str(tmp_path / "a.png"), "--model", "m", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "too few patches to compare" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "a.verify.json").read_text())
    assert report["verify"]["band"] is None and report["verify"]["p_value"] is None
    assert report["band"] is None and "too few patches" in report["reason"]


def test_a_thumbnail_of_another_photo_is_told_first(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: model)
    data = camera_file(scene(), "NIKON", "D1", thumbnail_of(scene(seed=5)))
    (tmp_path / "a.jpg").write_bytes(data)
    command = [str(tmp_path / "a.jpg"), "--model", "m", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "another picture" in lines[1] and lines[2].startswith("  AGAINST thumbnail's content")
    table = (tmp_path / "out" / "verification.csv").read_text()
    assert "thumbnail's content: the thumbnail shows another picture" in table


def test_a_table_that_cannot_be_written_is_said(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: model)
    (tmp_path / "a.jpg").write_bytes(camera_file(scene(), "NIKON", "D1"))
    (tmp_path / "out" / "verification.csv").mkdir(parents=True)
    command = [str(tmp_path / "a.jpg"), "--model", "m", "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "verification.csv" in capsys.readouterr().err
