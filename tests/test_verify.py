"""The command that verifies EXIF: its words and its files."""

import json

import pytest
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
    assert "agreement" in printed.out and "a.jpg" in printed.out
    record = json.loads((tmp_path / "out" / "a.verify.json").read_text())
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
    assert report["band"] is None and "too few patches" in report["note"]
