"""What leaves as StableHLO gives, in a process without this package, what the package gives."""

import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from exif_jax import export
from exif_jax.forensics.localization import localize, localize_by_own_patches
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.weights.release_file import load_model

WIDTH, HEIGHT = 512, 384

RUN = """
import sys
import jax, numpy as np
from jax import export
folder = sys.argv[1]
inputs = np.load(folder + "/inputs.npz")
run = lambda name, x: export.deserialize(open(f"{folder}/{name}", "rb").read()).call(x)
outputs = run("map_512x384.stablehlo", inputs["photos"])
outputs |= run("embedder.stablehlo", inputs["patches"])
np.savez(folder + "/outputs.npz", **outputs)
assert not any(name.startswith("exif_jax") for name in sys.modules)
"""


def snippets() -> list[str]:
    """The Python blocks of docs/export.md."""
    page = (pathlib.Path(__file__).parents[1] / "docs/export.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def photos() -> np.ndarray:
    """Three of noise over a gradient, of which the second is half smooth, and a plain one."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 180, WIDTH)[None, None, :, None]
    noisy = ramp + rng.normal(0, 12, (4, HEIGHT, WIDTH, 3))
    noisy[1, :, : WIDTH // 2] = ramp[0, :, : WIDTH // 2]
    noisy[3] = 90
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    assert export.main([str(folder), "--size", f"{WIDTH}x{HEIGHT}"]) == 0
    patches = photos()[:2, :128, :128]
    np.savez(folder / "inputs.npz", photos=photos(), patches=patches)
    subprocess.run([sys.executable, "-c", RUN, str(folder)], check=True, cwd=folder)
    return np.load(folder / "outputs.npz")


def test_embeddings_agree(outputs):
    expected = [
        localize_by_own_patches(patch, load_model()).embeddings[0]
        for patch in photos()[:2, :128, :128]
    ]
    assert np.abs(outputs["embeddings"] - np.stack(expected)).max() < 1e-4


def test_onnx_agrees_in_a_process_without_jax(tmp_path):
    """Read by onnxruntime; the snippet is that of docs/export.md, with patches of the test."""
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    command = [sys.executable, "-m", "exif_jax.export", "exported", "--onnx"]
    subprocess.run(command, check=True, cwd=tmp_path)  # its packages warn of deprecations
    np.save(tmp_path / "patches.npy", photos()[:3, 100:228, 100:228])
    (snippet,) = [b for b in snippets() if "onnxruntime" in b]
    check = "import sys; assert not {'jax', 'exif_jax'} & set(sys.modules); np.save('z.npy', z)"
    subprocess.run([sys.executable, "-c", snippet + check], check=True, cwd=tmp_path)
    expected = export.patch_embedder(load_model())(photos()[:3, 100:228, 100:228])["embeddings"]
    assert np.abs(np.load(tmp_path / "z.npy") - np.asarray(expected)).max() < 1e-4


@pytest.mark.parametrize("k", range(4))
def test_map_score_and_p_value_agree(outputs, k):
    expected = localize(photos()[k], load_model(), LocalizationSettings(method="cut"))
    assert np.abs(outputs["map"][k] - expected.heatmap).max() < 1e-3
    assert outputs["score"][k] == pytest.approx(expected.score, abs=1e-3)
    assert outputs["gradient_energy_gap"][k] == pytest.approx(
        expected.gradient_energy_gap, abs=1e-3
    )
    if not expected.flat:
        assert outputs["p_value"][k] == pytest.approx(expected.p_value, abs=2e-3)


@pytest.mark.parametrize("size", ["0x5", "axb", "1024", "-3x4"])
def test_a_wrong_size_is_wrong_usage(size, tmp_path):
    with pytest.raises(SystemExit) as stop:
        export.main([str(tmp_path), f"--size={size}"])
    assert stop.value.code == 2


def test_a_size_without_a_patch_is_refused(tmp_path, capsys):
    assert export.main([str(tmp_path), "--size", "100x600"]) == 1
    assert "100x600" in capsys.readouterr().err


def test_what_cannot_be_written_or_read_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "_files", lambda *_: [("embedder.stablehlo", lambda: b"x")])
    (tmp_path / "embedder.stablehlo").mkdir()
    assert export.main([str(tmp_path)]) == 1
    assert f"{tmp_path}: Is a directory; make room" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert export.main([str(tmp_path / "file")]) == 1
    assert export.main([str(tmp_path), "--model", "none.safetensors"]) == 1
    assert "none.safetensors" in capsys.readouterr().err


def test_an_empty_model_path_is_refused(tmp_path, capsys):
    assert export.main([str(tmp_path / "out"), "--model", ""]) == 1
    assert "path of the model is empty" in capsys.readouterr().err


def test_a_size_of_too_few_patches_has_no_p_value():
    photos = jax.ShapeDtypeStruct((1, 200, 200, 3), np.uint8)
    outputs = jax.eval_shape(export.photo_to_map(load_model(), 200, 200), photos)
    assert set(outputs) == {"map", "score", "gradient_energy_gap"}
