"""The calibration: skill against brute force, and the command on photos of made-up cameras."""

import dataclasses
import datetime
import itertools
import json
import math
import types

import numpy as np
import pytest
from PIL import Image
from small_disk import read_only

import exif_jax
from data_prep import photos, simulate, train_tokenizer
from exif_jax.calibrate import calibrated_scores, main
from exif_jax.data.tokenizer import Tokenizer
from exif_jax.evaluation import exif_calibration, score_measuring
from exif_jax.evaluation.exif_calibration import measure_skill
from exif_jax.evaluation.score_samples import FIGURES
from exif_jax.forensics import exif_regression, reference_set, score_calibration
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.io.jsonl import append_rows, read_rows
from exif_jax.weights.release_file import Model, load_model, save_model


def example(informative, cameras=12, seed=0):
    """One photo a camera; the pixels know its value, or nothing."""
    rng = np.random.default_rng(seed)
    exif = [
        {"Make": "M", "Model": str(i), "Flash": "On" if i % 2 else "Off"} for i in range(cameras)
    ]
    posteriors = []
    for tags in exif:
        on = 0.9 if tags["Flash"] == "On" else 0.1
        on = on if informative else float(rng.uniform(0.05, 0.95))
        posteriors.append({"Flash": {"On": (on, 0.5), "Off": (1 - on, 0.5)}})
    return posteriors, exif


def test_skill_of_pixels_that_know_is_one_and_of_noise_is_not_shown():
    skill = measure_skill(*example(True), "Flash")
    assert skill == {"auc": 1.0, "auc_low": 1.0, "num_photos": 12, "num_cameras": 12}
    noise = [measure_skill(*example(False, seed=s), "Flash") for s in range(8)]
    assert abs(np.mean([n["auc"] for n in noise]) - 0.5) < 0.15
    assert np.mean([n["auc_low"] > 0.5 for n in noise]) < 0.3


def test_skill_is_the_share_of_pairs_won():
    posteriors, exif = example(False, cameras=9, seed=3)
    own, other = [], []
    for i, j in itertools.product(range(9), repeat=2):
        value = exif[j]["Flash"]
        ratio = math.log(posteriors[i]["Flash"][value][0] / 0.5)
        if i == j:
            own.append(ratio)
        elif value != exif[i]["Flash"]:
            other.append(ratio)
    won = np.mean([(a > b) + 0.5 * (a == b) for a in own for b in other])
    # One photo a camera: a pair's weight is 1; each photo has nearly as many rivals as any other.
    assert measure_skill(posteriors, exif, "Flash")["auc"] == pytest.approx(won, abs=1e-3)


@pytest.mark.parametrize("cameras", [1, 2])
def test_too_few_cameras_show_nothing(cameras):
    assert measure_skill(*example(True, cameras), "Flash") is None


def test_one_value_shows_nothing():
    posteriors, exif = example(True)
    assert measure_skill(posteriors, [{**e, "Flash": "On"} for e in exif], "Flash") is None
    assert measure_skill(posteriors, exif, "Make") is None


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    simulate.main(["--output", f"{folder}/photos", "--num-photos", "24", "--size", "128"])
    photos.main(
        [
            *(f"--input={folder}/photos", f"--output={folder}/records", "--region-size=128"),
            *("--workers=1", "--validation-fraction=0.3"),
        ]
    )
    train_tokenizer.main([f"--records={folder}/records"])
    return folder / "records"


@pytest.fixture(scope="module")
def uncalibrated(records):
    from tiny_model import random_params, tiny_config

    tokenizer = Tokenizer.from_file(records / "tokenizer.model")
    config = tiny_config(
        image={"image_size": 32, "token_size": 16, "width": 8, "mlp_dim": 8},
        text={"vocab_size": tokenizer.vocab_size, "width": 8, "mlp_dim": 8, "max_length": 32},
        embed_dim=8,
    )
    model = Model(config, random_params(config), tokenizer, ("Make", "Model", "ISO"), {})
    save_model(model, records.parent / "m.safetensors", "float32")
    return records.parent / "m.safetensors"


@pytest.fixture(scope="module")
def many_cameras(tmp_path_factory):
    """Two photos of each of 26 cameras of three makers."""
    folder = tmp_path_factory.mktemp("cameras")
    for k in range(52):
        camera_file(folder / f"{k}.jpg", f"Model {k % 26}", k, maker="ABC"[k % 26 % 3], iso=100 * k)
    return folder


def test_photos_of_many_cameras_let_exif_be_verified(many_cameras, uncalibrated, tmp_path, capsys):
    out = tmp_path / "c.safetensors"
    (many_cameras / "flat.png").write_bytes((many_cameras / "0.jpg").read_bytes()[:300])
    command = [str(uncalibrated), str(out), "--exif", str(many_cameras)]
    assert main(command) == 0
    assert "EXIF: 52 photos of 26 cameras" in capsys.readouterr().out
    before, after = load_model(uncalibrated), load_model(out)
    calibration = after.calibration
    assert before.calibration == {} and before.id != after.id
    assert set(calibration) == {
        *("exif_regression", "reference_set", "agreement_null", "tag_skill", "grid", "measured_on")
    }
    assert calibration["grid"] == {"num_per_dim": 30, "max_patches": 4096, "align": 8}
    assert calibration["measured_on"] == {"num_photos": 52, "num_cameras": 26}
    assert len(calibration["agreement_null"]["values"]) == 52
    regression = exif_regression.from_json(calibration["exif_regression"], 8)
    assert ("Make", "a") in regression.columns and regression.points_TxJ.shape[0] == 52
    known = reference_set.from_json(calibration["reference_set"])
    assert {photo["Make"] for photo in known.photos} == {"A", "B", "C"} and len(known.photos) == 52
    again = tmp_path / "again.safetensors"
    assert main([*command[:1], str(again), *command[2:]]) == 0
    assert again.read_bytes() == out.read_bytes()
    result = exif_jax.verify_photo(many_cameras / "1.jpg", out)
    assert 0 < result.p_value <= 1 and result.reference_size == 52 and result.closest


def test_a_run_that_was_stopped_goes_on(many_cameras, uncalibrated, tmp_path, monkeypatch):
    out, journal = tmp_path / "c.safetensors", tmp_path / "j.jsonl"
    command = [str(uncalibrated), str(out), "--exif", str(many_cameras), "--samples", str(journal)]
    assert main(command) == 0
    whole, rows = out.read_bytes(), list(read_rows(journal))
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows[:40]))
    asked = []
    embed = exif_calibration.embedded_features
    monkeypatch.setattr(
        exif_calibration, "embedded_features", lambda *a: asked.append(1) or embed(*a)
    )
    assert main(command) == 0
    assert len(asked) == 12 and out.read_bytes() == whole


def test_bad_input_ends_in_one_line(originals, uncalibrated, tmp_path, capsys):
    out = str(tmp_path / "c.safetensors")
    assert main(["none.safetensors", out, "--exif", str(originals)]) == 1
    assert main([str(uncalibrated), out, "--exif", str(tmp_path / "none")]) == 1
    assert main([str(uncalibrated), out, "--exif", str(originals)]) == 1
    with read_only(tmp_path / "locked"):
        locked = f"{tmp_path}/locked/c"
        assert main([str(uncalibrated), locked, "--exif", str(originals)]) == 1
    messages = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(messages) == 4 and "none.safetensors" in messages[0] and "locked" in messages[3]
    assert "6 photos of 4 cameras; at least 24 cameras are needed" in messages[2]
    assert not (tmp_path / "c.safetensors").exists()


def camera_file(path, camera, seed, size=(420, 300), maker="Maker", iso=0):
    """A smooth photo with the noise of its camera, and EXIF that names it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 200, (9, 12, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(float)
    pixels += rng.normal(0, 2 + 6 * (hash_of(camera) % 5), pixels.shape)
    exif = Image.Exif()
    exif[271], exif[272] = maker, camera
    if iso:
        exif.get_ifd(0x8769)[0x8827] = iso
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=95, exif=exif)


def hash_of(text):
    return sum(map(ord, text))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for k in range(6):
        camera_file(folder / f"{k}.jpg", f"Model {k % 4}", k)
    Image.new("RGB", (400, 300)).save(folder / "no-camera.png")
    return folder


def test_any_folder_of_camera_originals_calibrates(originals, uncalibrated, tmp_path, capsys):
    out = tmp_path / "c.safetensors"
    command = [str(uncalibrated), str(out), "--pristine", str(originals), "--method", "cut"]
    assert main([*command, "--max-samples", "9"]) == 0
    first = capsys.readouterr()
    assert "no-camera.png: left out, as its EXIF names no camera" in first.err
    journal = tmp_path / "c.samples.jsonl"
    first_row, *rows = read_rows(journal)
    assert len(rows) == 8
    former = {key: value for key, value in first_row.items() if key != "variation"}
    journal.unlink()
    append_rows(journal, [former, *rows])
    assert main(command) == 0  # goes on with what was measured, but for a former version's row
    _, *more = read_rows(journal)
    assert more[:8] == rows and first_row in more[8:]
    assert len({row["key"] for row in more}) == len(more) == 18
    printed = capsys.readouterr().out
    assert "of 6 pristine photos by 4 cameras, 6 of splices" in printed
    score = load_model(out).calibration["scores"]["cut"]
    p = [score_calibration.survival(score["null"], x).value for x in np.linspace(-9, 9, 50)]
    assert p == sorted(p, reverse=True) and 0.99 < p[0] <= 1 and p[-1] < 0.2
    assert score["measured_on"]["num_photos"] == 6 and score["measured_on"]["num_cameras"] == 4
    of_cut = LocalizationSettings(method="cut")
    localization = exif_jax.localize_photo(originals / "0.jpg", out, of_cut)
    assert 0 < localization.p_value <= 1 and localization.band
    assert localization.likelihood_ratio is None  # six splices are too few to speak of


@pytest.mark.parametrize(
    ("method", "whole", "medium", "longest"),
    [("auto", True, True, None), ("map", False, True, 600), ("cut", True, False, None)],
)
def test_samples_are_of_the_sizes_that_a_method_scores(
    originals, uncalibrated, tmp_path, monkeypatch, method, whole, medium, longest
):
    model, random = load_model(uncalibrated), np.random.default_rng(0)
    settings = LocalizationSettings(method=method)
    found = types.SimpleNamespace(heatmap=None, mask=None)
    monkeypatch.setattr(score_measuring, "localize", lambda *_: found)
    monkeypatch.setattr(score_measuring, "mask_figures", lambda *_: {})
    monkeypatch.setattr(
        score_measuring, "figures", lambda _: {name: random.uniform(0.1, 0.9) for name in FIGURES}
    )
    photos = score_measuring.photos_by_camera([originals], print)
    rows = score_measuring.measure(photos, None, model, settings, tmp_path / "j.jsonl", print)
    sizes = {row["size"] for row in rows}
    assert (("whole" in sizes), ("medium" in sizes)) == (whole, medium)
    rows = [row | {"area": 6.0} for row in rows]
    calibration, _ = calibrated_scores(model, rows, settings, datetime.date(2026, 11, 30))
    scores = calibration["scores"][method]
    assert scores.get("longest") == longest and ("map" in scores) == (method != "cut")


def test_other_methods_and_the_exif_stay(originals, uncalibrated, tmp_path):
    model = load_model(uncalibrated)
    former = {"tag_skill": {"Make": 1}, "scores": {"mean_shift": {"x": 2}}, "score_null": {}}
    save_model(dataclasses.replace(model, calibration=former), tmp_path / "m", "float32")
    out = tmp_path / "c.safetensors"
    command = [str(tmp_path / "m"), str(out), "--pristine", str(originals), "--method", "cut"]
    assert main([*command, "--max-samples", "8"]) == 0
    calibration = load_model(out).calibration
    assert calibration["tag_skill"] == {"Make": 1} and "score_null" not in calibration
    assert calibration["scores"]["mean_shift"] == {"x": 2} and calibration["scores"]["cut"]["null"]


def test_too_few_cameras_are_named(uncalibrated, tmp_path, capsys):
    folder = tmp_path / "one"
    folder.mkdir()
    camera_file(folder / "a.jpg", "Model 1", 0)
    out = tmp_path / "c.safetensors"
    assert main([str(uncalibrated), str(out), "--pristine", str(folder)]) == 1
    assert "at least two cameras are needed" in capsys.readouterr().err
    assert main([str(uncalibrated), str(out), "--pristine", str(tmp_path / "none")]) == 1
    assert "no photos whose EXIF names a camera" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(SystemExit):
        main([str(uncalibrated), str(out)])
