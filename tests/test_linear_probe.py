"""The command: splices of a published set, radial distortion, and what it refuses."""

import json
import shutil
import types

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel

from exif_jax import linear_probe
from exif_jax.linear_probe import main


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.setattr(linear_probe, "load_model", lambda path: FakeModel)


def write_casia(root):
    """12 smooth authentic photos, 12 rough splices, 6 smooth copy-moves; no masks."""
    rng = np.random.default_rng(0)
    names = [f"Au/Au_ani_{k:04}.png" for k in range(12)]
    names += [f"Tp/Sp/Sp_D_CND_A_pla0005_pla0023_{k:04}.png" for k in range(12)]
    names += [f"Tp/CM/Sp_S_CND_A_pla0005_pla0005_{k:04}.png" for k in range(6)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        spread = 65 if "Sp_D" in name else 5
        pixels = rng.normal(128, spread, (240, 260, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / name)
    return root


def test_splices_command(tmp_path, shipped, capsys):
    root, output = write_casia(tmp_path / "casia1"), tmp_path / "probe"
    arguments = ["splices", "--dataset", "casia1", "--root", str(root), "--output", str(output)]
    assert main(arguments) == 1 and "instead of 921" in capsys.readouterr().err
    assert main([*arguments, "--partial", "--kind", "splice"]) == 0
    results = json.loads((output / "linear_probe.json").read_text())["results"]
    assert set(results) == {"resized", "cropped"} and results["cropped"]["accuracy"] > 0.9
    assert results["cropped"]["chance"] == 0.5  # the copy-moves are left out
    assert "cropped" in capsys.readouterr().out
    assert main([*arguments, "--partial"]) == 0
    results = json.loads((output / "linear_probe.json").read_text())["results"]
    assert results["cropped"]["chance"] == 18 / 30
    bad = root / "Tp/Sp/Sp_D_CND_A_pla0005_pla0023_0000.png"
    bad.write_bytes(b"no photo")
    capsys.readouterr()
    assert main([*arguments, "--partial"]) == 1
    assert capsys.readouterr().err.count(f"error: {bad}") == 1  # once, although read twice
    results = json.loads((output / "linear_probe.json").read_text())["results"]
    assert results["resized"]["chance"] == 17 / 29
    shutil.rmtree(root / "Au")
    assert main([*arguments, "--partial"]) == 1
    assert "needs tampered and pristine photos both" in capsys.readouterr().err


def test_results_that_cannot_be_written(tmp_path, shipped, capsys):
    root = write_casia(tmp_path / "casia1")
    (tmp_path / "linear_probe.json").mkdir()
    arguments = ["splices", "--dataset", "casia1", "--root", str(root), "--partial"]
    assert main([*arguments, "--output", str(tmp_path)]) == 1
    assert f"{tmp_path / 'linear_probe.json'}: cannot be written" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([*arguments, "--output", str(tmp_path / "file")]) == 1
    assert "cannot write to the output folder" in capsys.readouterr().err


def test_patches_larger_than_the_probes_pictures_are_refused(tmp_path, monkeypatch, capsys):
    large = types.SimpleNamespace(id="x", patch_size=linear_probe.SIDE + 1)
    monkeypatch.setattr(linear_probe, "load_model", lambda path: large)
    assert main(["radial", "--input", str(tmp_path)]) == 1
    assert "225 px do not fit into 224 px" in capsys.readouterr().err


def test_radial_command(tmp_path, shipped, capsys):
    rng = np.random.default_rng(0)
    photos, output = tmp_path / "photos", tmp_path / "probe"
    photos.mkdir()
    for k in range(6):
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(photos / f"{k}.png")
    arguments = ["radial", "--input", str(photos), "--output", str(output)]
    assert main([*arguments, "--per-photo", "4"]) == 0
    assert "radial" in json.loads((output / "linear_probe.json").read_text())["results"]
    out = capsys.readouterr().out
    assert "radial" in out and "chance" in out
    (photos / "0.png").write_bytes(b"no photo")
    assert main([*arguments, "--per-photo", "2"]) == 1  # done with the others
    assert "0.png" in capsys.readouterr().err
    assert main(["radial", "--input", str(tmp_path / "none"), "--output", str(output)]) == 1
    assert "0 photos" in capsys.readouterr().err
