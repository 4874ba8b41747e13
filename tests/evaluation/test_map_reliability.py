"""Reliability of maps: its figures against scikit-learn, and one run on real composites."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve

from benchmarks import map_reliability
from exif_jax.data.photo_pool import make_pool


def test_figures_are_those_of_scikit_learn(monkeypatch):
    rng = np.random.default_rng(0)
    probability = rng.random(5000) ** 3
    truth = (rng.random(5000) < 0.3 + 0.4 * probability).astype(float)
    monkeypatch.setattr(map_reliability, "EDGES", np.linspace(0, 1, 11))
    curve = map_reliability.reliability(probability, truth)
    true, said = calibration_curve(truth, probability, n_bins=10)
    np.testing.assert_allclose(curve["true"], true)
    np.testing.assert_allclose(curve["said"], said)
    assert sum(curve["blocks"]) == pytest.approx(1)
    assert curve["error"] == pytest.approx(np.dot(curve["blocks"], np.abs(true - said)))


def test_what_comes_true_as_often_as_it_is_said_has_no_error():
    probability = np.repeat([0.0, 0.25, 1.0], 400)
    truth = np.concatenate([np.zeros(400), np.arange(400) % 4 == 0, np.ones(400)])
    curve = map_reliability.reliability(probability, truth)
    assert curve["error"] == 0
    assert len(map_reliability.rows(curve)) == 1 + 3  # steps without blocks are left out


def test_the_command_measures_three_maps(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for k in range(40):
        values = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(values).resize((400, 300), Image.Resampling.BICUBIC)
        image.save(tmp_path / "photos" / f"{k}.png")
    make_pool([tmp_path / "photos"], [], tmp_path / "pool")
    words = [str(tmp_path / "pool"), "--count", "2", "--output", str(tmp_path / "figures.json")]
    monkeypatch.setattr("sys.argv", ["map_reliability", *words])
    map_reliability.main()
    assert capsys.readouterr().out.count("expected calibration error") == 3
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["curves"].keys() == {"network", "learned map", "default"}
    for curve in figures["curves"].values():
        assert sum(curve["blocks"]) == pytest.approx(1) and 0 <= curve["error"] <= 1
