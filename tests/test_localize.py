"""The command that localises photos: its files, and what it says under bad input."""

import dataclasses
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from planted_reference_set import planted_model, planted_regression
from small_disk import read_only
from stand_in import FakeModel, spliced

import exif_jax
from exif_jax.forensics import exif_regression
from exif_jax.localize import main
from exif_jax.reports import outputs


@pytest.fixture
def model_file(monkeypatch):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: FakeModel)
    return "model.safetensors"


def test_import_is_light():
    code = (
        "import sys, exif_jax.localize\n"
        "heavy = {'tensorflow', 'orbax', 'sklearn', 'matplotlib', 'torch'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_bad_files_are_reported_and_the_rest_go_on(tmp_path, model_file, capsys, monkeypatch):
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "sub").mkdir(parents=True)
    image, _ = spliced()
    Image.fromarray(image).save(photos / "é.png")
    Image.fromarray(image).save(photos / "sub" / "é.png")
    Image.fromarray(image[:20]).save(photos / "small.png")
    Image.fromarray(image).save(photos / "cut.jpg")
    (photos / "cut.jpg").write_bytes((photos / "cut.jpg").read_bytes()[:3000])
    (photos / "readme.txt").write_text("no photo")
    monkeypatch.chdir(photos)
    Image.fromarray(image).save("-o.png")
    command = [
        "--model",
        model_file,
        "--output",
        str(out),
        "--",
        str(photos),
        "missing.jpg",
        "-o.png",
    ]
    assert main(command) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = "\n".join(line for line in lines if "error:" in line)
    for words in ("small.png: too small", "cut.jpg", "missing.jpg", "3 of 7 photos failed"):
        assert words in errors
    assert "readme" not in errors
    made = {"é", "é-2", "_-o", "_-o-2"}
    suffixes = (".json", ".map.npy", ".overlay.png")
    files = {name + suffix for name in made for suffix in suffixes}
    assert set(os.listdir(out)) == files | {"results.jsonl"}

    def no_constants(text):
        raise ValueError(text)

    report = json.loads((out / "é.json").read_text("utf-8"), parse_constant=no_constants)
    assert report["version"] == 2 and report["model"] == FakeModel.id
    assert report["verdict"] == "cannot tell" and "not calibrated" in report["reason"]
    assert report["likelihood_ratio"] is None and report["region"]["type"] == "MultiPolygon"
    assert report["size"] == {"width": 224, "height": 160}
    assert report["p_value"] is None and report["band"] is None and len(report["sha256"]) == 64
    values = np.load(out / "é.map.npy", allow_pickle=False)
    assert values.dtype == np.float32 and values.shape == (160, 224)
    with Image.open(out / "é.overlay.png") as picture:
        assert picture.width > 2 * picture.height


def test_results_are_not_taken_for_photos(tmp_path, model_file, capsys):
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    command = [str(tmp_path), "--model", model_file, "--output", str(tmp_path / "out")]
    assert main(command) == 0
    before = set(os.listdir(tmp_path / "out"))
    assert main(command) == 0
    assert set(os.listdir(tmp_path / "out")) == before


def test_output_folder_that_cannot_be_written(tmp_path, model_file, capsys):
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    command = [str(tmp_path / "a.png"), "--model", model_file, "--output"]
    assert main([*command, str(tmp_path / "file")]) == 1
    assert "cannot write to the output folder" in capsys.readouterr().err
    with read_only(tmp_path / "locked"):
        assert main([*command, str(tmp_path / "locked")]) == 1
        assert "cannot write to the output folder" in capsys.readouterr().err


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path, model_file, capsys, monkeypatch):
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    prepared = outputs.prepare_folder

    def fill_disk_after(out):
        def full(descriptor):
            raise OSError(28, "No space left on device")

        problem = prepared(out)
        monkeypatch.setattr(os, "fsync", full)
        return problem

    monkeypatch.setattr(outputs, "prepare_folder", fill_disk_after)
    out = tmp_path / "out"
    assert main([str(tmp_path / "a.png"), "--model", model_file, "--output", str(out)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert os.listdir(out) == []


def test_no_photos_no_model_and_wrong_usage(tmp_path, capsys):
    assert main([str(tmp_path), "--model", "m", "--output", str(tmp_path / "out")]) == 1
    assert "no photos" in capsys.readouterr().err
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    missing = str(tmp_path / "none.safetensors")
    assert main([str(tmp_path), "--model", missing, "--output", str(tmp_path / "out")]) == 1
    assert "none.safetensors" in capsys.readouterr().err
    with pytest.raises(SystemExit) as leave:
        main(["a.jpg", "--model", "m", "--output", "o", "--batch-size", "0"])
    assert leave.value.code == 2


def test_without_a_model_the_weights_that_ship_are_used_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(spliced()[0]).save("a.png")
    assert main(["a.png"]) == 0
    report = json.loads(pathlib.Path("results/a.json").read_text())
    assert f"model vit_ti_128 ({report['model']})" in capsys.readouterr().err
    localization = exif_jax.localize_photo("a.png")
    assert localization.grid.patch == 48 and localization.embeddings.shape[1] == 192
    assert localization.score == pytest.approx(report["score"], abs=1e-6)


def test_an_empty_model_path_is_refused(tmp_path, capsys):
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    assert main([str(tmp_path / "a.png"), "--model", "", "--output", str(tmp_path / "out")]) == 1
    assert "path of the model is empty" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*.png"))


def test_the_line_says_why_a_photo_is_not_judged(tmp_path, model_file, capsys):
    Image.new("RGB", (96, 96), "navy").save(tmp_path / "flat.png")
    Image.fromarray(spliced()[0]).save(tmp_path / "textured.png")
    command = [str(tmp_path), "--model", model_file, "--output", str(tmp_path / "out")]
    assert main(command) == 0
    flat, flat_note, textured, textured_note = capsys.readouterr().out.splitlines()
    assert flat.split()[:3] == ["0.000", "cannot", "tell"] and "flat.png" in flat
    assert "it shows no texture" in flat_note and "calibrated" not in flat_note
    assert "cannot tell" in textured and "the model is not calibrated" in textured_note


def test_damage_is_noted_wherever_a_photo_is_shown(tmp_path, monkeypatch, capsys):
    """In JSON, journal, overlay and page, and on the terminal; the band is never "strong"."""
    file = io.BytesIO()
    Image.fromarray(spliced()[0]).save(file, "JPEG", quality=90, progressive=True)
    data = file.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[: data.rindex(b"\xff\xda")] + b"\xff\xd9")
    subtitles = []
    overlay_image = outputs.overlay_image

    def record_subtitle(pixels, heatmap, name, subtitle, orientation, outline):
        subtitles.append(subtitle)
        assert not outline
        return overlay_image(pixels, heatmap, name, subtitle, orientation, outline)

    monkeypatch.setattr(outputs, "overlay_image", record_subtitle)
    out = tmp_path / "out"
    assert main([str(tmp_path / "a.jpg"), "--report", "--output", str(out)]) == 0
    (entry,) = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    report = json.loads((out / "a.json").read_text())
    for place in (report, entry):
        assert place["band"] is None and place["p_value"] is None
        assert "it may be damaged: scans" in place["note"]
    assert "the file may be damaged" in subtitles[0]
    assert "it may be damaged: scans" in (out / "a.html").read_text()
    assert "it may be damaged: scans" in capsys.readouterr().out


def test_the_report_of_any_method_verifies_the_photos_own_pixels(tmp_path, monkeypatch):
    """The official method shows the encoder a negative, whose embeddings say nothing of EXIF."""
    rng = np.random.default_rng(0)
    wide = dataclasses.replace(planted_regression(), gamma=1.0)
    calibration = planted_model().calibration
    calibration["exif_regression"] = exif_regression.to_json(wide)
    model = type("Model", (FakeModel,), {"calibration": calibration})
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: model)
    Image.fromarray(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    closest = {}
    for method in ("mean_shift", "official"):
        out = tmp_path / method
        command = [str(tmp_path / "a.png"), "--model", "m", "--output", str(out)]
        assert main([*command, "--method", method, "--report"]) == 0
        report = json.loads((out / "a.json").read_text())
        closest[method] = [c["probability"] for c in report["verify"]["closest"]]
    assert closest["official"] == pytest.approx(closest["mean_shift"], abs=1e-3)
    assert max(closest["official"]) > 0.3  # four cameras: the pixels decide
