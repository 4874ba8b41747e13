"""Rows, summaries, resuming: evaluation of a folder by stand-ins."""

import json

import numpy as np
import pytest
from PIL import Image
from stand_in import PATCH, roughness, spliced

from exif_jax.evaluation import baselines, results, runner
from exif_jax.evaluation.datasets import COPY_MOVE, SPLICE, Sample
from exif_jax.evaluation.detection_metrics import detection_metrics
from exif_jax.evaluation.detectors import Detector, Prediction, map_detector
from exif_jax.evaluation.folder_dataset import read_folder
from exif_jax.evaluation.row_files import row_key
from exif_jax.evaluation.splice_metrics import OF_ANY_MAP, pixel_metrics, soft_counts
from exif_jax.forensics.localization import localize_with_encoder
from exif_jax.forensics.methods import LocalizeError


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


def predict(pixels, file=None):
    localization = localize_with_encoder(pixels, roughness, {}, PATCH)
    return Prediction(localization.heatmap, localization.score)


ROUGH = Detector("rough", "rough 1", predict)


def test_rows_and_summary(tmp_path):
    samples = read_folder(write_splices(tmp_path)).samples
    problems = []
    centre = map_detector("centre", baselines.centre)
    rows = runner.evaluate(samples, "set", [ROUGH, centre], problems.append)
    assert problems == [] and len(rows) == 8
    json.dumps(rows, allow_nan=False)
    assert [r["image"] for r in rows[::2]] == [
        *("images/0.png", "images/1.png", "pristine/0.png", "pristine/1.png")
    ]
    for row, k in zip(rows[:4:2], range(2), strict=True):
        image, mask = spliced(seed=k)
        prediction = predict(image)
        expected = pixel_metrics(prediction.heatmap, mask) | {
            "score": prediction.score,
            "tampered_fraction": mask.mean(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert row["soft_counts"] == soft_counts(prediction.heatmap, mask)
    assert "ap" not in rows[4] and not rows[4]["tampered"]

    summary = runner.summarize([r for r in rows if r["detector"] == "rough"], "set", "rough")
    assert (summary["dataset"], summary["detector"]) == ("set", "rough")
    assert (summary["tampered"], summary["localized"], summary["pristine"]) == (2, 2, 2)
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
    samples = read_folder(write_splices(tmp_path, 1, False)).samples
    summary = runner.summarize(runner.evaluate(samples, "set", [ROUGH], print), "set", "rough")
    assert summary["detection"] is None and summary["interval"]["ap"] is None
    assert summary["pristine"] == 0
    assert runner.summarize([], "set", "rough")["mean"] == {}


def test_verdicts_are_counted():
    def row(tampered, p_value):
        return {"tampered": tampered, "seconds": 1, "score": 0.5, "p_value": p_value}

    rows = [row(True, 0.01), row(True, 0.05), row(True, None), row(False, 0.051), row(False, 0.05)]
    summary = runner.summarize(rows, "set\x1b", "ours")
    assert (summary["judged"], summary["called"]) == ([2, 2], [2, 1])
    (note,) = results.verdict_notes([summary, runner.summarize([row(True, None)], "none", "ours")])
    assert note == (
        "set?, ours: p-value of at most 0.05 for 2 of 3 tampered photos (2 judged) and "
        "1 of 2 pristine photos (2 judged)"
    )


def test_an_inverted_map_shows_in_all_that_is_oriented(tmp_path):
    inverted = Detector("inverse", "i", lambda pixels, _: Prediction(1 - predict(pixels).heatmap))
    samples = read_folder(write_splices(tmp_path, 1, False)).samples
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

    wrong = map_detector("wrong", lambda pixels: np.zeros((3, 3)))
    nan = map_detector("nan", lambda pixels: np.full(pixels.shape[:2], np.nan))
    samples = read_folder(write_splices(tmp_path, 2, False)).samples
    problems = []
    detectors = [Detector("picky", "p", picky), ROUGH, wrong, nan]
    rows = runner.evaluate(samples, "set", detectors, problems.append)
    assert [(row["image"][-5], row["detector"]) for row in rows] == [
        *(("0", "rough"), ("1", "picky"), ("1", "rough"))
    ]
    assert len(problems) == 5 and "0.png: not this one (picky)" in problems[0]
    assert "wrong gave a heat map of shape (3, 3)" in problems[1] and "not finite" in problems[2]


def test_known_rows_are_taken_while_the_files_are_the_same(tmp_path):
    samples = read_folder(write_splices(tmp_path)).samples
    rows = runner.evaluate(samples, "set", [ROUGH], print)
    known = {row_key(row): json.loads(json.dumps(row)) for row in rows}
    asked = []

    def watch(pixels, file):
        asked.append(file.name if file.parent.name == "images" else "pristine")
        return predict(pixels)

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


def test_a_missing_file_is_named_and_not_the_other(tmp_path):
    samples = read_folder(write_splices(tmp_path)).samples
    (tmp_path / "masks" / "0.png").unlink()
    (tmp_path / "images" / "1.png").unlink()
    problems = []
    rows = runner.evaluate(samples, "set", [ROUGH], problems.append)
    assert [row["image"] for row in rows] == ["pristine/0.png", "pristine/1.png"]
    mask, photo = tmp_path / "masks" / "0.png", tmp_path / "images" / "1.png"
    assert problems[0].startswith(f"{mask}: cannot be read (No such file")
    assert "it is the mask of" in problems[0] and "STEM_gt" in problems[0]
    assert problems[1] == f"{photo}: cannot be read (No such file or directory)"


def test_masks_of_0_and_1_count_and_are_noted(tmp_path):
    samples = read_folder(write_splices(tmp_path)).samples
    before = runner.evaluate(samples, "set", [ROUGH], print)
    mask = np.asarray(Image.open(tmp_path / "masks" / "0.png"))
    Image.fromarray(mask // 255).save(tmp_path / "masks" / "0.png")
    rows = runner.evaluate(samples, "set", [ROUGH], print)
    assert [row.get("note") for row in rows] == [
        *("mask values 0 and 1 taken as 0 and 255", None, None, None)
    ]
    assert rows[0]["ap"] == before[0]["ap"]


def test_a_tampered_photo_without_a_mask_counts_in_detection_only(tmp_path):
    first, second, *pristine = read_folder(write_splices(tmp_path)).samples
    samples = [first, Sample(second.name, second.image, SPLICE), *pristine]
    rows = runner.evaluate(samples, "set", [ROUGH], print)
    assert "ap" not in rows[1] and rows[1]["tampered"] and rows[1]["score"] > 0
    summary = runner.summarize(rows, "set", "rough")
    assert (summary["tampered"], summary["localized"], summary["pristine"]) == (2, 1, 2)
    assert summary["mean"]["ap"] == rows[0]["ap"]
    scores = np.array([row["score"] for row in rows])
    assert summary["detection"] == detection_metrics(scores[:2], scores[2:])


def test_kinds_of_tampering_stand_apart(tmp_path):
    first, second, *pristine = read_folder(write_splices(tmp_path)).samples
    samples = [
        Sample(first.name, first.image, SPLICE, first.mask),
        Sample(second.name, second.image, COPY_MOVE, second.mask),
        *pristine,
    ]
    rows = runner.evaluate(samples, "set", [ROUGH], print)
    assert [row["kind"] for row in rows] == [SPLICE, COPY_MOVE, "pristine", "pristine"]
    summaries = runner.summarize_kinds(rows, "set", "rough")
    assert [(s["dataset"], s["tampered"], s["pristine"]) for s in summaries] == [
        *(("set", 2, 2), ("set (splice)", 1, 2), ("set (copy-move)", 1, 2))
    ]
    assert summaries[0] == runner.summarize(rows, "set", "rough")
    assert summaries[2]["mean"]["ap"] == rows[1]["ap"]
    assert len(runner.summarize_kinds([rows[0], *rows[2:]], "set", "rough")) == 1


def test_photos_above_the_limit_of_pixels_are_skipped_unread(tmp_path):
    samples = read_folder(write_splices(tmp_path, 1)).samples
    problems = []
    limit = 160 * 224
    runner.evaluate(samples, "set", [ROUGH], problems.append, max_pixels=limit)
    assert not problems
    assert not runner.evaluate(samples, "set", [ROUGH], problems.append, max_pixels=limit - 1)
    assert len(problems) == 2 and "224 x 160 pixels, more than 35,839" in problems[0]
