"""The command: datasets and detectors in, JSON, rows, tables and a contact sheet out."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel, spliced
from test_runner import write_splices

from data_prep.simulation import suite
from exif_jax.evaluate import main
from exif_jax.evaluation import runner
from exif_jax.evaluation.baselines import BASELINES
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.masks import read_mask
from exif_jax.evaluation.splice_metrics import METRICS


@pytest.fixture
def command(tmp_path, monkeypatch):
    """A dataset folder, the output folder, and arguments with both."""
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: FakeModel)
    root = write_splices(tmp_path / "set", 3)
    output = tmp_path / "results"
    return root, output, ["--root", str(root), "--model", "m.safetensors", "--output", str(output)]


def read_results(output):
    return json.loads((output / "evaluation.json").read_text())


def test_json_and_table(command, capsys):
    _, output, arguments = command
    assert main(arguments) == 0
    result = read_results(output)
    assert list(result) == [
        *("schema", "model", "method", "mean", "detection_auc", "baselines", "datasets"),
        *("results", "images"),
    ]
    assert result["model"] == FakeModel.id and result["method"] == "auto"
    assert result["datasets"] == {
        "set": {"photos": "3 tampered photos; 3 pristine photos", "notes": [], "errors": []}
    }
    assert len(result["results"]) == 1 + len(BASELINES)
    first = result["results"][0]
    assert (first["dataset"], first["detector"], first["pristine"]) == ("set", "m", 3)
    assert first["mean"] == result["mean"] and set(result["baselines"]) == set(BASELINES)
    assert first["detection"]["auc"] == result["detection_auc"]
    share = spliced()[1].mean()
    assert result["baselines"]["constant"]["ap"] == pytest.approx(share)
    assert len(result["images"]) == 6 * 5
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "set: 3 tampered photos; 3 pristine photos"
    assert out[1] == f"model {FakeModel.id}"
    assert len(out) == 3 + 5 and out[3].startswith("set")


def test_output_folder(command):
    _, output, arguments = command
    assert main(arguments) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        *("evaluation.json", "rows.csv", "rows.jsonl", "set.sheet.png", "table.md")
    ]
    rows = list(csv.DictReader(io.StringIO((output / "rows.csv").read_text())))
    assert len(rows) == 30 and float(rows[0]["ap"]) > 0 and rows[-1]["ap"] == ""
    text = (output / "table.md").read_text()
    assert "python -m exif_jax.evaluate --root" in text and text.count("| set |") == 5
    assert "set: 3 tampered photos; 3 pristine photos." in text
    with Image.open(output / "set.sheet.png") as sheet:
        assert sheet.height == 3 * (160 + 34) + 12  # three cases, one below the other
        assert len(np.unique(np.asarray(sheet))) > 50


def test_without_output_the_folder_is_called_evaluation(command, tmp_path, monkeypatch):
    _, _, arguments = command
    monkeypatch.chdir(tmp_path)
    assert main(arguments[:4]) == 0
    assert (tmp_path / "evaluation" / "evaluation.json").is_file()


def test_a_killed_run_goes_on(command, monkeypatch):
    _, output, arguments = command
    assert main(arguments) == 0
    whole = read_results(output)
    lines = (output / "rows.jsonl").read_bytes().splitlines(keepends=True)
    # Killed while writing.
    (output / "rows.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:40])
    done = []
    real = runner.score_photo
    monkeypatch.setattr(runner, "score_photo", lambda *a: done.append(1) or real(*a))
    assert main(arguments) == 0
    assert len(done) == 30 - 7
    again = read_results(output)
    assert [{**r, "seconds": 0} for r in again["images"]] == [
        {**r, "seconds": 0} for r in whole["images"]
    ]
    assert len((output / "rows.jsonl").read_bytes().splitlines()) == 30


def test_several_datasets_and_methods(command, tmp_path, capsys):
    _, output, arguments = command
    other = write_splices(tmp_path / "other", 1)
    more = ["--dataset", "folder", "--dataset", "folder", "--root", str(other)]
    assert main([*arguments, *more, "--method", "cut", "--method", "mean_shift"]) == 0
    results = read_results(output)["results"]
    assert [(r["dataset"], r["detector"]) for r in results][:2] == [
        *(("set", "m, cut"), ("set", "m, mean_shift"))
    ]
    assert len(results) == 12 and results[6]["dataset"] == "other"
    twin = write_splices(tmp_path / "twin" / "set", 1)
    more = ["--dataset", "folder", "--dataset", "folder", "--root", str(twin)]
    assert main([*arguments, *more]) == 0
    results = read_results(output)["results"]
    assert [(r["dataset"], r["tampered"]) for r in results[::5]] == [("set 1", 3), ("set 2", 1)]
    with pytest.raises(SystemExit):
        main([*arguments, "--dataset", "folder", "--dataset", "dso-1"])
    assert "2 --dataset need as many --root" in capsys.readouterr().err


def test_one_command_sets_splices_and_copy_moves_apart(tmp_path, command, capsys):
    """CASIA v1 in its layout: a table with all metrics, both kinds, and detection over all."""
    _, output, _ = command
    root = tmp_path / "casia1"
    truth = root / "CASIA 1.0 groundtruth"
    photos = root / "CASIA 1.0 dataset" / "Modified Tp" / "Tp"
    pristine = root / "CASIA 1.0 dataset" / "Au"
    stems = ("Sp_D_CND_A_pla0005_pla0023_0281", "Sp_S_CND_A_pla0016_pla0016_0196",
             "Sp_D_NRN_A_sce0011_cha0011_0542")  # fmt: skip
    for number, stem in enumerate(stems):
        image, mask = spliced(seed=number)
        kind = "CM" if stem.startswith("Sp_S") else "Sp"
        for folder in (photos / kind, truth / kind, pristine):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(photos / kind / f"{stem}.jpg", quality=98)
        Image.fromarray(image[:, ::-1]).save(pristine / f"Au_ani_000{number}.jpg", quality=98)
        if number < 2:
            Image.fromarray(np.uint8(255) * mask).save(truth / kind / f"{stem}_gt.png")
    metrics = ["p_map", "ap", "ciou", "f1_fixed", "f1", "iou", "mcc"]
    arguments = ["--dataset", "casia1", "--root", str(root), "--partial", "--output", str(output)]
    assert main([*arguments, *(word for name in metrics for word in ("--metric", name))]) == 0
    results = read_results(output)["results"]
    rows = [row for row in results if row["detector"] == results[0]["detector"]]
    assert len({row["dataset"] for row in results[: 1 + len(BASELINES)]}) == 1
    assert [(r["dataset"], r["tampered"], r["localized"], r["pristine"]) for r in rows] == [
        *(("casia1", 3, 2, 3), ("casia1 (splice)", 2, 1, 3), ("casia1 (copy-move)", 1, 1, 3))
    ]
    assert all(r["detection"] for r in rows)
    captured = capsys.readouterr()
    assert "note: casia1: splices published without a mask" in captured.err
    header = captured.out.splitlines()[2].split()
    assert header[2:9] == metrics
    table = (output / "table.md").read_text()
    assert "| casia1 (copy-move) |" in table and "splices published without a mask" in table
    assert main([*arguments, "--kind", "copy-move"]) == 0
    rows = read_results(output)["results"]
    assert {(r["dataset"], r["tampered"]) for r in rows} == {("casia1", 1)}
    assert main([*arguments, "--kind", "removal"]) == 1
    assert "the dataset has" in capsys.readouterr().err


CHEAP = ["--method", "none", "--baseline", "constant", "--baseline", "centre"]


def without_seconds(rows):
    return [{**row, "seconds": 0} for row in rows]


def test_shards_make_the_same_rows_as_one_process(command, tmp_path, capsys):
    root, output, _ = command
    (root / "masks" / "1.png").write_bytes(b"no mask")
    arguments = ["--root", str(root), *CHEAP, "--output"]
    assert main([*arguments, str(output)]) == 1
    whole = read_results(output)
    assert whole["model"] is None and set(whole["baselines"]) == {"constant", "centre"}
    assert not list(output.glob("*.png"))  # no sheet of trivial maps
    parts = tmp_path / "parts"
    codes = [main([*arguments, str(parts), "--shard", f"{k}/3"]) for k in (1, 2, 3)]
    assert sorted(codes) == [0, 0, 1]  # the shard with the broken mask says so
    out = capsys.readouterr()
    assert out.out.count("shard ") == 3 and out.err.count("1.png: the mask cannot be read") == 2
    assert "1 failures on 2 photos" in out.err
    assert sorted(path.name for path in parts.iterdir()) == [
        f"rows.{k}-of-3.jsonl" for k in (1, 2, 3)
    ]
    # Killed while writing: the shard goes on, and only what is missing is made again.
    lines = (parts / "rows.1-of-3.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    (parts / "rows.1-of-3.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:30])
    main([*arguments, str(parts), "--shard", "1/3"])
    assert len((parts / "rows.1-of-3.jsonl").read_bytes().splitlines()) == 4
    assert main([*arguments, str(parts)]) == 1
    merged = read_results(parts)
    assert without_seconds(merged["images"]) == without_seconds(whole["images"])
    assert (parts / "rows.jsonl").read_bytes() == b""  # nothing had to be made again
    for one, other in zip(merged["results"], whole["results"], strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--shard", "3/2"],
        ["--shard", "2"],
        ["--method", "none", "--method", "cut"],
        ["--method", "none"],  # with a --model
        ["--suite", "own", "--dataset", "folder"],
        ["--suite", "own", "--root", "another"],
    ],
)
def test_wrong_usage_ends_with_2(command, wrong, capsys):
    *_, arguments = command
    with pytest.raises(SystemExit) as stop:
        main([*arguments, *wrong])
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])  # neither --root nor --suite


def test_the_suite_is_made_measured_and_checked(tmp_path, monkeypatch, capsys):
    made = []

    def make_suite(root, workers):
        made.append(root)
        for part in suite.PARTS:
            if not (root / part).exists():
                write_splices(root / part, 1)
        return "0" * 64

    monkeypatch.setattr(suite, "make_suite", make_suite)
    arguments = ["--suite", "own", *CHEAP, "--output", str(tmp_path / "results")]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "sha256 " + "0" * 64 in captured.err and "compare with no others" in captured.err
    results = read_results(tmp_path / "results")["results"]
    assert [row["dataset"] for row in results[::2]] == [f"own {part}" for part in suite.PARTS]
    monkeypatch.setattr(suite, "SHA256", "0" * 64)
    assert main([*arguments, "--root", str(tmp_path / "elsewhere")]) == 0
    assert "as published" in capsys.readouterr().err
    assert made == [tmp_path / "results" / "own", tmp_path / "elsewhere"]


def test_bad_samples_are_named_and_skipped(command, capsys):
    root, output, arguments = command
    Image.new("L", (224, 160)).save(root / "masks" / "0.png")
    Image.new("L", (20, 20), 255).save(root / "masks" / "1.png")
    (root / "pristine" / "2.png").unlink()
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert "0.png: the mask marks no pixel" in errors and "1.png: the mask is 20 x 20" in errors
    assert "2 failures on 5 photos" in errors
    rows = read_results(output)["images"]
    assert {r["image"] for r in rows} == {"images/2.png", "pristine/0.png", "pristine/1.png"}


def test_a_missing_mask_is_named_and_not_its_photo(command, capsys):
    root, _, arguments = command
    (root / "masks" / "1.png").unlink()
    assert main(arguments) == 1
    assert f"error: {root / 'masks' / '1.png'}: cannot be read (No such" in capsys.readouterr().err


def test_masks_of_0_and_1_and_of_other_names_and_formats(command, capsys):
    root, output, arguments = command
    assert main(arguments) == 0
    before = read_results(output)["mean"]
    capsys.readouterr()
    for number, name in enumerate(("0_gt.TIF", "1_mask.bmp.png", "2.webp")):
        path = root / "masks" / f"{number}.png"
        mask = np.asarray(Image.open(path))
        path.unlink()
        if number == 0:
            Image.fromarray(mask // 255).save(root / "masks" / name)
        elif number == 1:
            Image.fromarray(mask).save(root / "masks" / "1_mask.png")
        else:
            Image.fromarray(mask).save(root / "masks" / name, lossless=True)
    assert main(arguments) == 0
    assert read_results(output)["mean"] == before
    note = "mask values 0 and 1 taken as 0 and 255 (1 photos)"
    assert f"note: {note}" in capsys.readouterr().out
    assert f"{note}." in (output / "table.md").read_text()


def test_what_is_left_out_and_what_is_closed_is_said(command, capsys, monkeypatch):
    root, output, arguments = command
    (root / "images" / "notes.txt").write_text("")
    assert main(arguments) == 0
    assert "note: set: skipped 1 .txt" in capsys.readouterr().err
    (root / "pristine" / "closed").mkdir()
    scandir = os.scandir

    def refuse(folder):  # root may read any folder
        if pathlib.Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert f"error: {root / 'pristine' / 'closed'}: Permission denied" in errors
    assert "0 failures on 6 photos" in errors and "1 folders cannot be read" in errors
    assert len(read_results(output)["images"]) == 30


def test_the_limit_of_pixels(command, capsys):
    _, output, arguments = command
    assert main([*arguments, "--max-pixels", "35839"]) == 1
    assert "224 x 160 pixels, more than 35,839" in capsys.readouterr().err
    assert read_results(output)["images"] == []
    assert main([*arguments, "--max-pixels", "35840"]) == 0


def test_nothing_usable_still_gives_strict_json(command):
    root, output, arguments = command
    for path in (*(root / "images").iterdir(), *(root / "pristine").iterdir()):
        path.write_bytes(b"no photo")
    assert main(arguments) == 1
    assert read_results(output)["mean"] == dict.fromkeys(METRICS)


def test_bad_targets_and_roots(command, tmp_path, capsys):
    root, _, arguments = command
    assert main([*arguments[:-1], str(root / "images" / "0.png")]) == 1
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
    samples = read_folder(real_photos / "splices").samples
    tampered = [sample for sample in samples if sample.mask]
    assert len(tampered) == len(samples) - len(tampered) == 24
    for sample in tampered[:4]:
        with Image.open(sample.image) as image:
            mask = read_mask(sample.mask, (image.height, image.width)).tampered
        assert 0.02 < mask.mean() < 0.5
