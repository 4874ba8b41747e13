"""What the distortions do, and the command on two small photos."""

import json

import numpy as np
import pytest
from PIL import Image
from stand_in import FakeModel, spliced
from test_runner import write_splices

from exif_jax import robustness
from exif_jax.robustness import DISTORTIONS, main


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda d: f"{d.kind} {d.label}")
def test_pixels_and_mask_stay_together(distortion):
    image, mask = spliced()
    pixels, moved = distortion.change(image, mask)
    assert pixels.dtype == np.uint8 and moved.dtype == bool
    assert pixels.shape == (*moved.shape, 3)
    again, none = distortion.change(image, None)
    assert none is None
    np.testing.assert_array_equal(again, pixels)  # no chance in it, and the same for both kinds
    # The rough rectangle is still where the mask says, wherever any roughness is left.
    rough = np.abs(np.diff(pixels.astype(int), axis=1)).mean(axis=2)
    assert rough[moved[:, :-1]].mean() > 1.5 * rough[~moved[:, :-1]].mean()


def test_sizes_and_strengths():
    image, mask = spliced()  # 160 x 224
    changes = {f"{d.kind} {d.label}": d.change for d in DISTORTIONS}
    assert changes["rescaling 0.5"](image, mask)[0].shape == (80, 112, 3)
    assert changes["social network 2048 px, q 85"](image, mask)[0].shape == image.shape
    wide = np.zeros((100, 1440, 3), np.uint8)
    assert changes["social network 720 px, q 70"](wide, None)[0].shape == (50, 720, 3)
    assert changes["screenshot x 0.75, q 90"](image, mask)[0].shape == (115, 165, 3)
    spread = changes["noise, levels 10"](np.full((200, 200, 3), 128, np.uint8), None)[0].std()
    assert spread == pytest.approx(10, rel=0.02)


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
