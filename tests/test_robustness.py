"""The command on two small photos: curves, figures, going on, failures."""

import json

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel
from test_runner import write_splices

from exif_jax import robustness
from exif_jax.evaluation.distortions import DISTORTIONS
from exif_jax.reading.walk import is_own_picture
from exif_jax.robustness import main


def test_the_command_draws_and_resumes(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: FakeModel)
    monkeypatch.setattr(robustness, "DISTORTIONS", DISTORTIONS[:2] + DISTORTIONS[-1:])
    root, out = write_splices(tmp_path / "set", 2), tmp_path / "out"
    arguments = ["--root", str(root), "--model", "m", "--output", str(out)]
    assert main(arguments) == 0
    result = json.loads((out / "robustness.json").read_text())
    assert [r["dataset"] for r in result["results"][::2]] == [
        *("as it is", "JPEG quality 100", "JPEG quality 90", "screenshot x 0.6, q 80")
    ]
    assert all(r["detection"] for r in result["results"][::2])
    assert is_own_picture(out / "robustness.png")  # and no photo to localise
    with Image.open(out / "robustness.png") as picture:
        assert picture.width > 400 and len(np.unique(np.asarray(picture))) > 20
    from exif_jax.evaluation import runner

    monkeypatch.setattr(runner, "score_photo", None)  # nothing is left to do
    assert main(arguments) == 0
    assert json.loads((out / "robustness.json").read_text()) == result
    (root / "images" / "0.png").write_bytes(b"")
    assert main(arguments) == 1 and "0.png" in capsys.readouterr().err
    assert main([*arguments[:-1], str(root / "images" / "1.png")]) == 1  # no folder
    (out / "robustness.json").unlink()
    (out / "robustness.json").mkdir()
    assert main(arguments) == 1 and "cannot write the results" in capsys.readouterr().err
    assert main(["--root", str(tmp_path / "none"), "--output", str(out)]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
