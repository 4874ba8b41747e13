"""The evaluation of a folder, the baselines, and the command."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from stand_in import PATCH, FakeModel, roughness, spliced

from exif_jax import baselines
from exif_jax.evaluate import evaluate, main, table
from exif_jax.forensic_datasets import read_folder
from exif_jax.localization import localize_with
from exif_jax.splice_metrics import METRICS, pixel_metrics


def write_splices(root, count=2, pristine=True):
    for folder in ("images", "masks", "pristine"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image, mask = spliced(seed=i)
        Image.fromarray(image).save(root / "images" / f"{i}.png")
        Image.fromarray((mask * 255).astype(np.uint8)).save(root / "masks" / f"{i}.png")
        if pristine:
            whole = np.where(mask[..., None], image[:, ::-1], image)
            Image.fromarray(whole).save(root / "pristine" / f"{i}.png")
    return root


def by_roughness(image):
    return localize_with(image, roughness, {}, PATCH)


# --- the figures ------------------------------------------------------------------------------


def test_rows_means_and_detection(tmp_path):
    samples = read_folder(write_splices(tmp_path))
    problems = []
    result = evaluate(samples, by_roughness, problems.append)
    assert problems == []
    assert set(result) == {"mean", "detection_auc", "baselines", "images"}
    for row, sample in zip(result["images"], samples, strict=True):
        assert set(row) == {"image", *METRICS, "score", "pristine_score"}
        assert row["image"] == sample.name
        image, mask = spliced(seed=int(sample.image.stem))
        found = by_roughness(image)
        expected = pixel_metrics(found.consistency, mask) | {"score": found.score}
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["score"] > row["pristine_score"]
    for metric in METRICS:
        mean = np.mean([row[metric] for row in result["images"]])
        assert result["mean"][metric] == pytest.approx(mean)
    assert result["detection_auc"] == 1
    assert set(result["baselines"]) == set(baselines.BASELINES)
    share = spliced()[1].mean()
    assert result["baselines"]["constant"]["ap"] == pytest.approx(share)
    assert result["baselines"]["constant"]["auc"] == 0.5
    lines = table(result).splitlines()
    assert len(lines) == 2 + len(baselines.BASELINES) and lines[1].startswith("model")


def test_without_pristine_photos_there_is_no_detection(tmp_path):
    result = evaluate(read_folder(write_splices(tmp_path, 1, False)), by_roughness, print)
    assert result["detection_auc"] is None and result["images"][0]["pristine_score"] is None
    json.dumps(result, allow_nan=False)


def test_an_inverted_map_shows_in_all_but_p_map(tmp_path):
    def inverted(image):
        found = by_roughness(image)
        return dataclasses.replace(found, consistency=1 - found.consistency)

    samples = read_folder(write_splices(tmp_path, 1, False))
    good = evaluate(samples, by_roughness, print)["mean"]
    bad = evaluate(samples, inverted, print)["mean"]
    assert bad["auc"] == pytest.approx(1 - good["auc"], abs=1e-6)
    assert bad["ap"] < 0.2 < good["ap"] == good["p_map"]
    assert bad["p_map"] == pytest.approx(good["p_map"], abs=1e-3)


# --- baselines --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", baselines.BASELINES)
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (64, 48)])
def test_baselines_give_finite_maps_of_any_photo(name, size):
    for image in (
        np.full((*size, 3), 200, np.uint8),
        np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8),
    ):
        values = baselines.BASELINES[name](image)
        assert values.shape == size and values.dtype == np.float32
        assert np.isfinite(values).all()


def test_each_baseline_finds_what_it_looks_for():
    image, mask = spliced()
    assert pixel_metrics(baselines.error_level(image), mask)["auc"] > 0.9
    tinted = image.copy()
    tinted[mask] = tinted[mask] // 2 + np.array([100, 0, 20], np.uint8)
    assert pixel_metrics(baselines.colour_clusters(tinted), mask)["auc"] > 0.9
    # The smaller cluster counts, whichever colour it has.
    assert pixel_metrics(baselines.colour_clusters(255 - tinted), mask)["auc"] > 0.9
    middle = np.zeros((60, 80), bool)
    middle[20:40, 30:50] = True
    assert pixel_metrics(baselines.centre(np.zeros((60, 80, 3), np.uint8)), middle)["auc"] > 0.95


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setattr("exif_jax.release.load_model", lambda path: FakeModel)
    root = write_splices(tmp_path / "set", 3)
    target = tmp_path / "out.json"
    return root, target, ["--root", str(root), "--model", "m", "--json", str(target)]


def test_command_writes_json_overlays_and_a_table(command, tmp_path, capsys):
    _, target, arguments = command
    assert main([*arguments, "--overlays", str(tmp_path / "pictures")]) == 0
    result = json.loads(target.read_text())
    assert list(result) == ["model", "method", "mean", "detection_auc", "baselines", "images"]
    assert result["model"] == FakeModel.id and len(result["images"]) == 3
    assert sorted(p.name for p in (tmp_path / "pictures").glob("*.png")) == [
        f"{i}.overlay.png" for i in range(3)
    ]
    assert "error level" in capsys.readouterr().out


def test_bad_samples_are_named_and_skipped(command, capsys):
    root, target, arguments = command
    Image.new("L", (224, 160)).save(root / "masks" / "0.png")
    Image.new("L", (20, 20), 255).save(root / "masks" / "1.png")
    assert main(arguments) == 1
    errors = capsys.readouterr().err
    assert "0.png: the mask marks no pixel" in errors and "1.png: the mask is 20 x 20" in errors
    assert "2 of 3 images were skipped" in errors
    assert [row["image"] for row in json.loads(target.read_text())["images"]] == ["images/2.png"]


def test_nothing_usable_still_gives_strict_json(command, capsys):
    root, target, arguments = command
    for i in range(3):
        (root / "images" / f"{i}.png").write_bytes(b"no photo")
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


def test_real_splices_are_all_usable(real_photos):
    from exif_jax.forensic_datasets import read_mask

    samples = read_folder(real_photos / "splices")
    assert len(samples) == 24 and all(s.pristine and s.pristine.is_file() for s in samples)
    for sample in samples[:4]:
        with Image.open(sample.image) as image:
            mask = read_mask(sample.mask, (image.height, image.width))
        assert 0.02 < mask.mean() < 0.5
