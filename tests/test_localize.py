"""The localisation of one photo, its files, and the command under bad input."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from small_disk import read_only
from stand_in import PATCH, FakeModel, roughness, spliced

import exif_jax
from exif_jax.evaluation.splice_metrics import pixel_metrics
from exif_jax.forensics.localization import METHODS, LocalizeError, Settings, localize_with_encoder
from exif_jax.localize import main
from exif_jax.reports import outputs


@pytest.fixture
def model_file(monkeypatch):
    monkeypatch.setattr("exif_jax.weights.release_file.load_model", lambda path: FakeModel)
    return "model.safetensors"


# --- the function -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_pasted_part(method):
    image, mask = spliced()
    found = localize_with_encoder(image, roughness, {}, PATCH, Settings(method=method))
    metrics = pixel_metrics(found.heatmap, mask)
    assert metrics["auc"] > 0.95 and metrics["ap"] > 0.8  # oriented: high is tampered
    P = found.grid.num_patches
    assert found.embeddings.shape == (P, 2) and found.affinity.shape == (P, P)
    assert found.heatmap.shape == image.shape[:2] and found.heatmap.dtype == np.float32
    assert found.heatmap.min() >= 0 and found.heatmap.max() <= 1
    assert found.clusters.shape == (found.grid.rows, found.grid.columns)
    inside = np.array([mask[y : y + PATCH, x : x + PATCH].mean() for y, x in found.grid.origins()])
    agree = (found.clusters.ravel() == (inside > 0.5)).mean()
    assert agree > 0.9
    if method == "mean_shift":  # the paper's score; the cut's is between the means of its parts
        expected = (1 - found.affinity).mean()
    elif method == "official":  # the mean over cells, of which those at the border have fewer votes
        assert abs(found.score - (1 - found.affinity).mean()) < 0.05
        return
    else:
        part = found.clusters.ravel() == 1
        a, b = (found.embeddings[members].mean(axis=0) for members in (part, ~part))
        height = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        # The noise is 30 against 2, and some patches lie across the edge.
        assert 0.6 * np.log(15) < found.gradient_energy_gap < np.log(15)
        odds = height / (1 - height) * np.exp(-found.gradient_energy_gap)
        expected = odds / (1 + odds)
        assert found.heatmap.max() > 0.7 * height  # the map keeps what the score loses
    assert found.score == pytest.approx(expected, abs=1e-4)
    assert found.note == ""


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="'median', not one of cut, mean_shift, official"):
        Settings(method="median")


def test_an_pristine_photo_keeps_a_low_map_and_score():
    image = spliced()[0][:, :110]
    found = localize_with_encoder(image, roughness, {}, PATCH)
    assert found.heatmap.max() < 0.05
    assert found.score < 0.05


@pytest.mark.parametrize("level", [0, 93, 255])
def test_a_flat_photo_gives_zeros_and_says_so(level):
    found = localize_with_encoder(np.full((64, 80, 3), level, np.uint8), roughness, {}, PATCH)
    assert not found.heatmap.any() and not found.clusters.any()
    assert found.score == 0 and "flat" in found.note
    assert np.isfinite(found.affinity).all()


def test_a_photo_of_one_patch():
    found = localize_with_encoder(spliced()[0][:PATCH, :PATCH], roughness, {}, PATCH)
    assert found.clusters.shape == (1, 1)
    assert found.heatmap == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.zeros((31, 99, 3), np.uint8), "too small: 99 x 31"),
        (np.zeros((0, 9, 3), np.uint8), "too small"),
        (np.zeros((99, 99), np.uint8), "no uint8 array"),
        (np.zeros((99, 99, 4), np.uint8), "no uint8 array"),
        (np.zeros((99, 99, 3), np.float32), "no uint8 array"),
    ],
)
def test_refuses(image, why):
    with pytest.raises(LocalizeError, match=why):
        localize_with_encoder(image, roughness, {}, PATCH)


def test_weights_that_give_no_numbers_are_named():
    def broken(params, images):
        return roughness(params, images) * jnp.nan

    with pytest.raises(LocalizeError, match="not finite"):
        localize_with_encoder(spliced()[0], broken, {}, PATCH)


def test_batch_changes_nothing_and_the_cap_holds():
    image, _ = spliced()
    one = localize_with_encoder(
        image, roughness, {}, PATCH, Settings(max_patches=100, batch_size=7)
    )
    other = localize_with_encoder(
        image, roughness, {}, PATCH, Settings(max_patches=100, batch_size=64)
    )
    np.testing.assert_allclose(one.heatmap, other.heatmap, atol=1e-5)
    assert one.grid.num_patches <= 100


def test_module_is_callable_and_takes_arrays_and_paths(tmp_path, model_file):
    image, _ = spliced()
    Image.fromarray(image).save(tmp_path / "photo.png")
    from_array = exif_jax.localize_photo(image, FakeModel)
    from_path = exif_jax.localize_photo(tmp_path / "photo.png", model_file)
    np.testing.assert_array_equal(from_array.heatmap, from_path.heatmap)
    np.testing.assert_allclose(np.linalg.norm(from_array.embeddings, axis=1), 1, atol=1e-4)


def test_import_is_light():
    code = (
        "import sys, exif_jax.localize\n"
        "heavy = {'tensorflow', 'orbax', 'sklearn', 'matplotlib', 'torch'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


# --- the command ------------------------------------------------------------------------------


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

    facts = json.loads((out / "é.json").read_text("utf-8"), parse_constant=no_constants)
    assert facts["version"] == 1 and facts["model"] == FakeModel.id
    assert facts["size"] == {"width": 224, "height": 160}
    assert facts["p_value"] is None and facts["band"] is None and len(facts["sha256"]) == 64
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
    facts = json.loads(pathlib.Path("results/a.json").read_text())
    assert f"model vit_ti_128 ({facts['model']})" in capsys.readouterr().err
    found = exif_jax.localize_photo("a.png")
    assert found.grid.patch == 128 and found.embeddings.shape[1] == 192
    assert found.score == pytest.approx(facts["score"], abs=1e-6)


@pytest.mark.parametrize("align", [8, 1])
def test_overlapping_patches_share_their_blocks_and_nothing_is_lost(monkeypatch, align):
    """The shipped model on a photo whose patches overlap, with and without sharing."""
    from exif_jax.models import dual_encoder

    model = exif_jax.load_model()
    image = np.random.default_rng(0).integers(0, 256, (250, 331, 3), dtype=np.uint8)
    shared = []

    def features(photo):
        shared.append(photo.shape)
        return photo_features(photo)

    photo_features = dual_encoder.photo_features
    encode = functools.partial(dual_encoder.embed_images, model.config)
    arguments = (image, encode, model.params, 128, Settings(num_per_dim=6, align=align))
    found, apart = localize_with_encoder(*arguments, features), localize_with_encoder(*arguments)
    assert found.grid.stride % 8 == (0 if align == 8 else 1)
    assert bool(shared) == (align == 8)
    np.testing.assert_allclose(found.embeddings, apart.embeddings, atol=1e-5)
