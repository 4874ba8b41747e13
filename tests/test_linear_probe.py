"""Linear probing: distortion against a known mapping, the probe, the command."""

import json
import shutil
import types

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel

from exif_jax import linear_probe
from exif_jax.linear_probe import cropped, distorted, main, probe, resized


def test_resized_and_cropped():
    pixels = np.arange(300 * 260 * 3, dtype=np.uint64).reshape(300, 260, 3).astype(np.uint8)
    assert resized(pixels).shape == (224, 224, 3)
    np.testing.assert_array_equal(cropped(pixels), pixels[38:262, 18:242])
    small = cropped(pixels[:100])
    assert small.shape == (224, 224, 3) and not small[:62].any() and not small[162:].any()
    np.testing.assert_array_equal(small[62:162], pixels[:100, 18:242])


def test_distortion_moves_points_as_the_formula_says():
    # The photo's values are its coordinates, so the result tells where each came from.
    side = 336
    at = np.linspace(-1, 1, side)
    y, x = np.meshgrid(at, at, indexing="ij")
    pixels = np.stack([(y + 1) * 127.5, (x + 1) * 127.5, 0 * x], axis=-1).astype(np.uint8)
    for k1 in (-0.3, 0.0, 0.25):
        found = distorted(pixels, k1)
        assert found.shape == (224, 224, 3)
        where = (np.arange(224) - 111.5) / 167.5
        yy, xx = np.meshgrid(where, where, indexing="ij")
        stretch = 1 + k1 * (yy**2 + xx**2)
        expected = np.stack([(yy * stretch + 1) * 127.5, (xx * stretch + 1) * 127.5], axis=-1)
        assert np.abs(found[..., :2] - expected).max() < 2
    assert distorted(pixels[:, :200], 0.1).shape == (224, 224, 3)


def test_the_probe_finds_what_is_linear_and_no_more():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 6))
    labels = (features[:, 2] > 0).astype(int)
    found = probe(features, labels, np.arange(300))
    assert found["accuracy"] > 0.93 and found["auc"] > 0.97 and found["balanced_accuracy"] > 0.93
    assert found["chance"] == pytest.approx(max(labels.mean(), 1 - labels.mean()))
    noise = probe(features, rng.integers(0, 2, 300), np.arange(300))
    assert abs(noise["accuracy"] - 0.5) < 0.12


def test_photos_of_a_group_are_on_one_side():
    # Features are the group's number: only a leak across the split could tell random labels.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    features = np.eye(60)[groups]
    labels = rng.integers(0, 4, 60)[groups]
    assert probe(features, labels, groups)["accuracy"] < 0.5


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.setattr(linear_probe, "load_model", lambda path: FakeModel)


def test_splices_command(tmp_path, shipped, capsys):
    rng = np.random.default_rng(0)
    for kind, folder in ((1, "Tp/Sp"), (0, "Au")):
        (tmp_path / folder).mkdir(parents=True)
        for k in range(12):
            pixels = rng.normal(128, 5 + 60 * kind, (240, 260, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{k}.png")
    truth = tmp_path / "CASIA 1.0 groundtruth" / "Sp"
    truth.mkdir(parents=True)
    for k in range(12):
        Image.new("L", (260, 240), 255).save(truth / f"{k}_gt.png")
    arguments = ["splices", "--dataset", "casia1", "--root", str(tmp_path)]
    assert main(arguments) == 1 and "instead of 921" in capsys.readouterr().err
    out = tmp_path / "out.json"
    assert main([*arguments, "--partial", "--json", str(out)]) == 0
    results = json.loads(out.read_text())["results"]
    assert set(results) == {"resized", "cropped"} and results["cropped"]["accuracy"] > 0.9
    assert "cropped" in capsys.readouterr().out
    (tmp_path / "Tp/Sp/0.png").write_bytes(b"no photo")
    assert main([*arguments, "--partial", "--json", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "0.png" in errors and f"{tmp_path}: cannot be written" in errors
    shutil.rmtree(tmp_path / "Au")
    assert main([*arguments, "--partial"]) == 1
    assert "needs spliced and pristine photos both" in capsys.readouterr().err


def test_patches_larger_than_the_probes_pictures_are_refused(tmp_path, monkeypatch, capsys):
    large = types.SimpleNamespace(id="x", patch_size=linear_probe.SIDE + 1)
    monkeypatch.setattr(linear_probe, "load_model", lambda path: large)
    assert main(["radial", "--input", str(tmp_path)]) == 1
    assert "225 px do not fit into 224 px" in capsys.readouterr().err


def test_radial_command(tmp_path, shipped, capsys):
    rng = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(tmp_path / f"{k}.png")
    assert main(["radial", "--input", str(tmp_path), "--per-photo", "4"]) == 0
    out = capsys.readouterr().out
    assert "radial" in out and "chance" in out
    (tmp_path / "0.png").write_bytes(b"no photo")
    assert main(["radial", "--input", str(tmp_path), "--per-photo", "2"]) == 0
    assert "0.png" in capsys.readouterr().err
    assert main(["radial", "--input", str(tmp_path / "none")]) == 1
    assert "0 photos" in capsys.readouterr().err
