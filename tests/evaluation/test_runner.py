"""Rows, summaries, resuming: evaluation of a folder by stand-ins."""

import json

import numpy as np
import pytest
from PIL import Image
from stand_in import PATCH, roughness, spliced

from exif_jax.evaluation import baselines, runner
from exif_jax.evaluation.datasets import read_folder
from exif_jax.evaluation.detection_metrics import detection_metrics
from exif_jax.evaluation.runner import Detector, Prediction
from exif_jax.evaluation.splice_metrics import OF_ANY_MAP, pixel_metrics, soft_counts
from exif_jax.forensics.localization import LocalizeError, localize_with_encoder


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


def find(pixels, _=None):
    found = localize_with_encoder(pixels, roughness, {}, PATCH)
    return Prediction(found.heatmap, found.score)


ROUGH = Detector("rough", "rough 1", find)


def test_rows_and_summary(tmp_path):
    samples = read_folder(write_splices(tmp_path))
    problems = []
    centre = runner.map_detector("centre", baselines.centre)
    rows = runner.evaluate(samples, "set", [ROUGH, centre], problems.append)
    assert problems == [] and len(rows) == 8
    json.dumps(rows, allow_nan=False)
    assert [r["image"] for r in rows[::2]] == [
        *("images/0.png", "images/1.png", "pristine/0.png", "pristine/1.png")
    ]
    for row, k in zip(rows[:4:2], range(2), strict=True):
        image, mask = spliced(seed=k)
        found = find(image)
        expected = pixel_metrics(found.map, mask) | {
            "score": found.score,
            "tampered_fraction": mask.mean(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["soft_counts"] == soft_counts(found.map, mask)
    assert "ap" not in rows[4] and not rows[4]["spliced"]

    summary = runner.summarize([r for r in rows if r["detector"] == "rough"], "set", "rough")
    assert (summary["dataset"], summary["detector"]) == ("set", "rough")
    assert (summary["spliced"], summary["pristine"]) == (2, 2)
    for name, mean in summary["mean"].items():
        assert mean == pytest.approx(np.mean([rows[0][name], rows[2][name]]))
        assert summary["interval"][name][0] <= mean <= summary["interval"][name][1]
    scores = [row["score"] for row in rows[::2]]
    assert summary["detection"] == detection_metrics(np.array(scores[:2]), np.array(scores[2:]))
    assert summary["detection"]["auc"] == 1
    assert set(summary["pooled_weighted"]) == {"f1", "iou", "mcc"}
    json.dumps(summary, allow_nan=False)

    trivial = runner.summarize([r for r in rows if r["detector"] == "centre"], "set", "centre")
    assert set(trivial["mean"]) == set(OF_ANY_MAP)  # it is no map of probabilities
    assert trivial["detection"] is trivial["pooled_weighted"] is None


def test_without_pristine_photos_there_is_no_detection(tmp_path):
    samples = read_folder(write_splices(tmp_path, 1, False))
    summary = runner.summarize(runner.evaluate(samples, "set", [ROUGH], print), "set", "rough")
    assert summary["detection"] is None and summary["interval"]["ap"] is None
    assert summary["pristine"] == 0
    assert runner.summarize([], "set", "rough")["mean"] == {}


def test_an_inverted_map_shows_in_all_that_is_oriented(tmp_path):
    inverted = Detector("inverse", "i", lambda pixels, _: Prediction(1 - find(pixels).map))
    samples = read_folder(write_splices(tmp_path, 1, False))
    good, bad = runner.evaluate(samples, "set", [ROUGH, inverted], print)
    assert bad["auc"] == pytest.approx(1 - good["auc"], abs=1e-6)
    assert bad["ap"] < 0.2 < good["ap"] == good["p_map"]
    assert bad["p_map"] == pytest.approx(good["p_map"], abs=1e-3)


def test_a_detector_that_fails_on_a_photo_fails_alone(tmp_path):
    def picky(pixels, file):
        assert file is not None
        if file.name == "0.png":
            raise LocalizeError("not this one")
        return Prediction(np.zeros(pixels.shape[:2]))

    wrong = runner.map_detector("wrong", lambda pixels: np.zeros((3, 3)))
    nan = runner.map_detector("nan", lambda pixels: np.full(pixels.shape[:2], np.nan))
    samples = read_folder(write_splices(tmp_path, 2, False))
    problems = []
    detectors = [Detector("picky", "p", picky), ROUGH, wrong, nan]
    rows = runner.evaluate(samples, "set", detectors, problems.append)
    assert [(row["image"][-5], row["detector"]) for row in rows] == [
        *(("0", "rough"), ("1", "picky"), ("1", "rough"))
    ]
    assert len(problems) == 5 and "0.png: not this one (picky)" in problems[0]
    assert "wrong gave a map of shape (3, 3)" in problems[1] and "not finite" in problems[2]


def test_known_rows_are_taken_while_the_files_are_the_same(tmp_path):
    samples = read_folder(write_splices(tmp_path))
    rows = runner.evaluate(samples, "set", [ROUGH], print)
    known = {runner.row_key(row): json.loads(json.dumps(row)) for row in rows}
    asked = []

    def watch(pixels, file):
        asked.append(file.name if file.parent.name == "images" else "pristine")
        return find(pixels)

    again, written = Detector("renamed", "rough 1", watch), []
    same = runner.evaluate(samples, "set", [again], print, known, written.append)
    assert not asked and not written and {row["detector"] for row in same} == {"renamed"}
    (tmp_path / "masks" / "1.png").write_bytes((tmp_path / "masks" / "0.png").read_bytes())
    Image.fromarray(spliced(seed=9)[0]).save(tmp_path / "images" / "0.png")
    assert len(runner.evaluate(samples, "set", [again], print, known, written.append)) == 4
    assert asked == ["0.png", "1.png"] and len(written) == 2
    runner.evaluate(samples, "other", [again], print, known)
    runner.evaluate(samples, "set", [Detector("rough", "rough 2", watch)], print, known)
    assert len(asked) == 2 + 8


def test_text_sets_patches_against_the_files_own_exif(tmp_path, monkeypatch):
    from types import SimpleNamespace

    image, _ = spliced()
    exif = Image.Exif()
    exif[271] = "Canopus"
    Image.fromarray(image).save(tmp_path / "said.jpg", exif=exif, quality=98)
    Image.fromarray(image).save(tmp_path / "silent.png")
    z = np.array([0.6, 0.8], np.float32)
    monkeypatch.setattr(
        runner, "localize", lambda p, _: localize_with_encoder(p, roughness, {}, PATCH)
    )
    asked = []
    monkeypatch.setattr(runner, "embed_exif", lambda exif, _: asked.extend(exif) or z[None])
    model = SimpleNamespace(id="m", tags=("Make", "Model"))
    detector = runner.text_detector(model, "text")
    found = detector.find(image, tmp_path / "said.jpg")
    assert asked == [{"Make": "Canopus"}]
    reference = localize_with_encoder(image, roughness, {}, PATCH)
    apart = (1 - reference.embeddings @ z) / 2
    assert found.score == pytest.approx(apart.mean())
    assert found.map.shape == image.shape[:2]
    assert apart.min() - 1e-6 <= found.map.min() <= found.map.max() <= apart.max() + 1e-6
    for file in (tmp_path / "silent.png", None):
        with pytest.raises(LocalizeError, match="says nothing of the camera"):
            detector.find(image, file)
