"""The command: datasets and detectors in, JSON, rows, tables and a contact sheet out."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel, spliced
from test_runner import write_splices

from exif_jax.evaluate import main
from exif_jax.evaluation.baselines import BASELINES
from exif_jax.evaluation.datasets import read_folder, read_mask
from exif_jax.evaluation.splice_metrics import METRICS


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: FakeModel)
    root = write_splices(tmp_path / "set", 3)
    target = tmp_path / "out.json"
    return root, target, ["--root", str(root), "--model", "m.safetensors", "--json", str(target)]


def test_json_and_table(command, capsys):
    _, target, arguments = command
    assert main(arguments) == 0
    result = json.loads(target.read_text())
    assert list(result) == [
        *("schema", "model", "method", "mean", "detection_auc", "baselines", "results", "images")
    ]
    assert result["model"] == FakeModel.id and result["method"] == "cut"
    assert len(result["results"]) == 1 + len(BASELINES)
    first = result["results"][0]
    assert (first["dataset"], first["detector"], first["pristine"]) == ("set", "m", 3)
    assert first["mean"] == result["mean"] and set(result["baselines"]) == set(BASELINES)
    assert first["detection"]["auc"] == result["detection_auc"]
    share = spliced()[1].mean()
    assert result["baselines"]["constant"]["ap"] == pytest.approx(share)
    assert len(result["images"]) == 6 * 5
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "set: 3 spliced photos, 3 pristine" and out[1] == f"model {FakeModel.id}"
    assert len(out) == 3 + 5 and out[3].startswith("set")


def test_output_folder(command, tmp_path, capsys):
    _, _, arguments = command
    out = tmp_path / "results"
    assert main([*arguments[:4], "--output", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("rows.csv", "rows.jsonl", "set.sheet.png", "table.md")
    ]
    rows = list(csv.DictReader(io.StringIO((out / "rows.csv").read_text())))
    assert len(rows) == 30 and float(rows[0]["ap"]) > 0 and rows[-1]["ap"] == ""
    text = (out / "table.md").read_text()
    assert "python -m exif_jax.evaluate --root" in text and text.count("| set |") == 5
    with Image.open(out / "set.sheet.png") as sheet:
        assert sheet.height == 3 * (160 + 34) + 12  # three cases, one below the other
        assert len(np.unique(np.asarray(sheet))) > 50


def test_a_killed_run_goes_on(command, tmp_path, capsys, monkeypatch):
    _, target, arguments = command
    out = tmp_path / "results"
    assert main([*arguments, "--output", str(out)]) == 0
    whole = json.loads(target.read_text())
    lines = (out / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (out / "rows.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:40])  # killed while writing
    done = []
    from exif_jax.evaluation import runner

    real = runner.score_photo
    monkeypatch.setattr(runner, "score_photo", lambda *a: done.append(1) or real(*a))
    assert main([*arguments, "--output", str(out)]) == 0
    assert len(done) == 30 - 7
    again = json.loads(target.read_text())
    assert [{**r, "seconds": 0} for r in again["images"]] == [
        {**r, "seconds": 0} for r in whole["images"]
    ]
    assert len((out / "rows.jsonl").read_bytes().splitlines()) == 30


def test_several_datasets_and_methods(command, tmp_path, capsys):
    _, target, arguments = command
    other = write_splices(tmp_path / "other", 1)
    more = ["--dataset", "folder", "--dataset", "folder", "--root", str(other)]
    assert main([*arguments, *more, "--method", "cut", "--method", "mean_shift"]) == 0
    results = json.loads(target.read_text())["results"]
    assert [(r["dataset"], r["detector"]) for r in results][:2] == [
        *(("set", "m"), ("set", "m, mean_shift"))
    ]
    assert len(results) == 12 and results[6]["dataset"] == "other"
    twin = write_splices(tmp_path / "twin" / "set", 1)
    more = ["--dataset", "folder", "--dataset", "folder", "--root", str(twin)]
    assert main([*arguments, *more]) == 0
    results = json.loads(target.read_text())["results"]
    assert [(r["dataset"], r["spliced"]) for r in results[::5]] == [("set 1", 3), ("set 2", 1)]
    with pytest.raises(SystemExit):
        main([*arguments, "--dataset", "folder", "--dataset", "dso-1"])
    assert "2 --dataset need as many --root" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(arguments[:4])
    assert "nowhere to write" in capsys.readouterr().err


def test_bad_samples_are_named_and_skipped(command, capsys):
    root, target, arguments = command
    Image.new("L", (224, 160)).save(root / "masks" / "0.png")
    Image.new("L", (20, 20), 255).save(root / "masks" / "1.png")
    (root / "pristine" / "2.png").unlink()
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert "0.png: the mask marks no pixel" in errors and "1.png: the mask is 20 x 20" in errors
    assert "2 failures on 5 photos" in errors
    rows = json.loads(target.read_text())["images"]
    assert {r["image"] for r in rows} == {"images/2.png", "pristine/0.png", "pristine/1.png"}


def test_nothing_usable_still_gives_strict_json(command, capsys):
    root, target, arguments = command
    for path in (*(root / "images").iterdir(), *(root / "pristine").iterdir()):
        path.write_bytes(b"no photo")
    assert main(arguments) == 1
    assert json.loads(target.read_text())["mean"] == dict.fromkeys(METRICS)


def test_bad_targets_and_roots(command, tmp_path, capsys):
    root, _, arguments = command
    assert main([*arguments[:-1], str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
    assert main([*arguments[:-1], str(root / "images" / "0.png" / "x.json")]) == 1
    assert "cannot write to the output folder" in capsys.readouterr().err
    assert main(["--root", str(tmp_path / "none"), *arguments[2:]]) == 1
    assert "neither manifest.jsonl" in capsys.readouterr().err
    assert main([*arguments, "--dataset", "columbia"]) == 1
    assert "a whole copy of columbia holds" in capsys.readouterr().err
    assert main([*arguments, "--photoholmes", "splicebuster"]) == 1
    assert "splicebuster needs PhotoHolmes" in capsys.readouterr().err


def test_help_names_every_dataset():
    done = subprocess.run(
        [sys.executable, "-m", "exif_jax.evaluate", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for name in ("columbia", "dso-1", "osn-nist-wechat", "trace-cfa-grid-endo", "--partial"):
        assert name in done.stdout


def test_real_splices_are_all_usable(real_photos):
    samples = read_folder(real_photos / "splices")
    spliced = [sample for sample in samples if sample.mask]
    assert len(spliced) == len(samples) - len(spliced) == 24
    for sample in spliced[:4]:
        with Image.open(sample.image) as image:
            mask = read_mask(sample.mask, (image.height, image.width))
        assert 0.02 < mask.mean() < 0.5
