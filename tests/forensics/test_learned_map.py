"""The learned map of a photo: any size, by cells of a large one, its share beside the cut."""

import dataclasses
import itertools
import json
import math

import jax
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image
from stand_in import tiny_release

from exif_jax import localize as command
from exif_jax.data.histories import encode
from exif_jax.forensics import learned_map, regions, score_calibration
from exif_jax.forensics.content import content_adjusted_score
from exif_jax.forensics.learned_map import (
    LARGE,
    LIFT,
    SMALL,
    block_logits,
    gain_of_cut,
    joint_score,
    logits_of,
    mixed,
    parts,
    picture_score,
    probability,
    share_of_map,
    upsampled,
)
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.forensics.patches import Grid, patch_grid
from exif_jax.forensics.score_calibration import SCORE_VERSION
from exif_jax.models import tampering_map
from exif_jax.models.tampering_map import TamperingMapConfig, init_map_params
from exif_jax.reading.quantization import quantization_step
from exif_jax.weights.map_file import MapModel, load_map, save_map
from exif_jax.weights.release_file import ReleaseError, load_model

map_logits = jax.jit(tampering_map.map_logits, static_argnums=0)
TINY = TamperingMapConfig(
    block_width=4, width=4, hidden=4, radii=(3,), fine_radii=(3,), references=2
)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray(x) + rng.normal(0, 0.2, x.shape).astype(np.float32),
        jax.jit(init_map_params, static_argnums=0)(TINY, jax.random.key(0)),
    )
    return MapModel(TINY, params, {})


def photo(height, width, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (130, 145), (256, 384)])
def test_any_size_gives_the_networks_own_logits(model, height, width):
    image = photo(height, width)
    cut = image[: height // 16 * 16, : width // 16 * 16]
    expected = np.asarray(map_logits(TINY, model.params, cut[None]))[0]
    np.testing.assert_allclose(block_logits(image, model) - LIFT, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns", "stride"),
    [
        (768, 1024, 48, 64, 16),
        (100, 1040, 6, 65, 16),
        (16, 1024, 1, 64, 16),
        (1500, 2000, 47, 63, 32),
        (16, 200_000, 1, 3125, 64),
    ],
)
def test_a_large_photo_is_judged_by_cells_spread_over_it(
    model, height, width, rows, columns, stride
):
    logits, grid = logits_of(photo(height, width), model)
    assert logits.shape == (rows, columns) == (grid.rows, grid.columns) and logits.size <= 4096
    assert grid.stride == stride and np.isfinite(logits).all()
    assert upsampled(logits, grid).shape == (height, width)


@pytest.mark.parametrize(("height", "width"), [(200, 1100), (1500, 2000)])
def test_every_second_of_these_cells_is_judged_beside_every_second(model, height, width):
    """Against the network on a photo that is put together of a quarter of the cells alone."""
    flat = photo(1, 1, 3)[0, 0]  # no cell sees its neighbours where the photo is of plain cells
    image = np.full((height, width, 3), flat, np.uint8)
    noise = photo(height, width)
    centre = np.indices((height, width)) % 16
    inside = ((centre >= 2) & (centre < 14)).all(0)
    image[inside] = noise[inside]
    logits, grid = logits_of(image, model)
    step = grid.stride // 16
    cells = image[: height // 16 * 16, : width // 16 * 16]
    cells = cells.reshape(height // 16, 16, width // 16, 16, 3)
    y, x = (
        np.minimum(np.arange(n) * step + step // 2, m // 16 - 1)
        for n, m in zip(logits.shape, (height, width), strict=True)
    )
    plain = np.zeros_like(logits)
    for down, across in itertools.product((0, 1), (0, 1)):
        part = cells[y[down::2]][:, :, x[across::2]]
        together = part.reshape(part.shape[0] * 16, part.shape[2] * 16, 3)
        expected = np.asarray(map_logits(TINY, model.params, together[None]))[0]
        expected = expected.reshape(part.shape[0], 2, part.shape[2], 2).mean((1, 3))
        plain[down::2, across::2] = expected
    smooth = scipy.ndimage.convolve(plain, np.outer([1, 2, 1], [1, 2, 1]) / 16, mode="nearest")
    np.testing.assert_allclose(logits - LIFT, smooth, atol=1e-3)


def test_a_photo_is_large_from_its_longer_side_on(model):
    for height, width, stride in ((64, LARGE - 1, 8), (64, LARGE, 16), (LARGE, 64, 16)):
        assert logits_of(photo(height, width), model)[1].stride == stride


def test_upsampling_keeps_a_constant_and_the_size():
    grid = Grid(35, 50, 8, 8, 4, 6)
    found = upsampled(np.full((4, 6), 2.5, np.float32), grid)
    assert np.array_equal(found, np.full((35, 50), 2.5))


def test_a_bright_cell_is_shown_where_it_lies(model, monkeypatch):
    """The cells lie in the middle of what they stand for."""
    seen = []
    monkeypatch.setattr(
        learned_map,
        "_cell_program",
        lambda config: lambda params, w, valid: seen.append(w) or w.mean((3, 4, 5)),
    )
    image = np.zeros((3000, 4000, 3), np.uint8)
    image[1488:1520, 1960:1992] = 255
    logits, grid = logits_of(image, model)
    assert grid.stride == 64 and len(seen) == 1
    high = upsampled(logits, grid)
    y, x = np.unravel_index(high.argmax(), high.shape)
    assert abs(y - 1504) <= 40 and abs(x - 1976) <= 40


def test_probability_against_numpy():
    x = np.linspace(-40, 40, 41)
    np.testing.assert_allclose(probability(x), 1 / (1 + np.exp(-x)), atol=1e-6)


def test_score_is_the_mean_of_the_surest_hundredth():
    logits = np.arange(2000.0).reshape(40, 50) / 1000
    assert picture_score(logits) == pytest.approx(1 / (1 + np.exp(-1.9895)), abs=1e-12)
    assert picture_score(np.arange(100.0) - 97) == pytest.approx(1 / (1 + np.exp(1.5)), abs=1e-12)


def test_the_share_goes_by_the_odds_of_both_scores():
    assert share_of_map(0.5, 0.5) == pytest.approx(0.5)
    assert share_of_map(0.5, 0.8) == pytest.approx(0.2)
    assert share_of_map(0.9, 0.5) == pytest.approx(0.9)
    assert share_of_map(0.99, 0.2) > 0.99 > share_of_map(0.9, 0.5) > share_of_map(0.2, 0.5)
    assert share_of_map(0.5, 0.5, 3.5) == pytest.approx(1 / (1 + math.e**3.5))
    assert 0 <= share_of_map(0.0, 1.0) < 1e-4 and 1 - 1e-4 < share_of_map(1.0, 0.0) <= 1


def test_the_cut_gains_in_large_photos_and_loses_in_small_compressed_ones():
    assert gain_of_cut(LARGE, 0.0) == gain_of_cut(4000, 1.0) == 3.5
    assert gain_of_cut(LARGE - 1, 1.0) == gain_of_cut(SMALL + 1, 1.0) == gain_of_cut(384, 0.0) == 0
    assert gain_of_cut(SMALL, 0.4) == gain_of_cut(SMALL, 2.0) == -1.0
    assert gain_of_cut(SMALL, 0.2) == pytest.approx(-0.5)


def test_a_mixture_weighs_what_both_maps_say():
    logits = np.random.default_rng(0).normal(-2, 1.5, (20, 30)).astype(np.float32)
    cut = np.random.default_rng(1).uniform(0, 0.5, (20, 30)).astype(np.float32)
    np.testing.assert_allclose(mixed(logits, cut, 1.0), probability(logits - LIFT), atol=1e-6)
    by_cut = probability(learned_map._USUAL + 16 * (cut - np.median(cut)))
    np.testing.assert_allclose(mixed(logits, cut, 0.0), by_cut, atol=1e-6)
    assert np.array_equal(np.argsort(by_cut, axis=None), np.argsort(cut, axis=None))
    quarter = 0.25 * (logits - LIFT) + 0.75 * np.log(by_cut / (1 - by_cut))
    np.testing.assert_allclose(mixed(logits, cut, 0.25), probability(quarter), atol=1e-5)


def test_a_large_photo_is_mixed_in_parts():
    logits = np.random.default_rng(0).normal(-2, 1.5, (1100, 30)).astype(np.float32)
    cut = np.random.default_rng(1).uniform(0, 0.5, (1100, 30)).astype(np.float32)
    by_cut = learned_map._USUAL + 16 * (cut - np.median(cut))
    expected = probability(0.25 * (logits - LIFT) + 0.75 * by_cut)
    np.testing.assert_allclose(mixed(logits, cut, 0.25), expected, atol=1e-5)


def log_odds(p):
    return math.log(p / (1 - p))


def test_the_joint_score_adds_log_odds():
    for a, b in ((0.2, 0.7), (0.5, 0.5), (0.999, 0.03)):
        expected = log_odds(b) + log_odds(a) / 2
        assert log_odds(joint_score(a, b, 0.3, small=False)) == pytest.approx(expected)
    # Both are cut to what can be said.
    assert joint_score(1.0, 0.0, 0.1, small=False) == pytest.approx(0.0307, abs=1e-4)


def test_the_joint_score_of_small_pictures_has_the_usual_variation():
    for distance, variation in ((0.3, 0.05), (0.3, 0.4), (0.6, 0.18)):
        cut_score = content_adjusted_score(distance, 0.7, variation)
        usual = content_adjusted_score(distance, 0.7, learned_map._VARIATION_IN_SMALL)
        joint = joint_score(0.2, cut_score, variation, small=True)
        assert log_odds(joint) == pytest.approx(log_odds(usual) + log_odds(0.2))


def test_parts_are_told_by_the_map():
    grid = patch_grid(256, 384, 64, num_per_dim=8, align=8)
    heatmap = np.zeros((256, 384), np.float32)
    heatmap[:128, :128] = 1
    found = parts(heatmap, grid)
    assert found.shape == (grid.rows, grid.columns) and found[0, 0] == 1 and found[-1, -1] == 0
    assert np.array_equal(parts(1 - heatmap, grid), found)  # 1 is in the smaller part


# --- beside the cut, with a whole model -----------------------------------------------------------


@pytest.fixture(scope="module")
def map_path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.safetensors"
    save_map(model, path)
    return str(path)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    return load_model(tiny_release(tmp_path_factory.mktemp("encoders") / "tiny.safetensors"))


def test_the_learned_map_judges_a_small_picture(encoders, map_path):
    image = photo(96, 96)
    found = localize(image, encoders, LocalizationSettings(method="map", map_model=map_path))
    logits, grid = logits_of(image, load_map(map_path))
    assert np.array_equal(found.heatmap, probability(upsampled(logits, grid)))
    assert found.share_of_map == 1 and found.map_id == load_map(map_path).id
    assert found.score == picture_score(logits)
    assert found.p_value is None and "not calibrated" in found.reason


def test_both_have_a_share_in_a_large_photo_and_score_it(encoders, map_path):
    image = photo(64, LARGE)
    auto, cut = (
        localize(image, encoders, LocalizationSettings(method=method, map_model=map_path))
        for method in ("auto", "cut")
    )
    logits, grid = logits_of(image, load_map(map_path))
    map_score = picture_score(logits)
    share = share_of_map(map_score, cut.score, gain_of_cut(LARGE, 0.0))
    expected = mixed(upsampled(logits, grid), cut.heatmap, share)
    np.testing.assert_allclose(auto.heatmap, expected, atol=1e-6)
    assert auto.share_of_map == pytest.approx(share) and auto.map_id
    total = score_calibration.logit(cut.score) + score_calibration.logit(map_score) / 2
    assert auto.score == pytest.approx(1 / (1 + math.exp(-total))) and auto.scored_by == "auto"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("width", [400, SMALL, SMALL + 1, LARGE - 1])
def test_both_have_a_share_in_a_smaller_one_and_score_it(encoders, map_path, width, saved):
    image = photo(64, width) // 4 + 96  # what JPEG does not clip
    image = encode(image, 80, 0) if saved else image
    assert (quantization_step(image) > 0.2) == saved
    found, cut, learned = (
        localize(image, encoders, LocalizationSettings(method=method, map_model=map_path))
        for method in ("auto", "cut", "map")
    )
    assert found.scored_by == "auto"
    joint = joint_score(learned.score, cut.score, cut.variation, small=width <= SMALL)
    assert found.score == pytest.approx(joint, rel=1e-4)
    share = share_of_map(learned.score, cut.score, gain_of_cut(width, quantization_step(image)))
    assert found.share_of_map == pytest.approx(share, rel=1e-6)
    assert 0 < found.share_of_map < 1 and learned.share_of_map == 1
    logits = upsampled(*logits_of(image, load_map(map_path)))
    expected = mixed(logits, cut.heatmap, found.share_of_map)
    np.testing.assert_allclose(found.heatmap, expected, atol=1e-6)
    assert np.array_equal(found.clusters, cut.clusters) and found.map_id
    assert found.threshold == regions.otsu(found.heatmap)


def test_a_small_picture_gets_the_p_value_of_the_maps_own_calibration(encoders, map_path):
    image = photo(96, 96)
    settings = LocalizationSettings(method="map", map_model=map_path)
    names = ("num_per_dim", "max_patches", "align")
    scores = {
        "grid": {name: getattr(settings, name) for name in names},
        "slopes": {"intercept": 0.0, "log_area": 0.0, "step": 0.0},
        "null": {"excess": [-9.0, 9.0], "p": [1.0, 0.5], "tail": 1.0, "cameras": 9},
        "score_version": SCORE_VERSION,
        "map": load_map(map_path).id,
        "longest": 600,
    }
    calibrated = dataclasses.replace(encoders, calibration={"scores": {"map": scores}})
    found = localize(image, calibrated, settings)
    evidence = math.log(found.score / (1 - found.score))  # nothing of the cut's parts
    assert found.p_value == pytest.approx(1 - (evidence + 9) / 36, abs=1e-4)
    other = calibrated.calibration["scores"]["map"] | {"map": "another"}
    other = dataclasses.replace(calibrated, calibration={"scores": {"map": other}})
    assert "another learned map" in localize(image, other, settings).reason


def test_a_plain_picture_stays_empty(encoders, map_path):
    found = localize(
        np.full((96, 128, 3), 90, np.uint8),
        encoders,
        LocalizationSettings(method="auto", map_model=map_path),
    )
    assert found.flat and found.heatmap.max() == 0


def test_the_command_says_whose_map_it_is(map_path, tmp_path):
    Image.fromarray(photo(96, 128)).save(tmp_path / "small.png")
    tiny_release(tmp_path / "tiny.safetensors")
    words = [str(tmp_path / "small.png"), "--output", str(tmp_path / "out")]
    words += ["--model", str(tmp_path / "tiny.safetensors"), "--method", "auto"]
    words += ["--map-model", map_path, "--report"]
    assert command.main(words) == 0
    report = json.loads((tmp_path / "out" / "small.json").read_text())
    assert 0 < report["share_of_map"] < 1 and report["scored_by"] == "auto"
    assert report["settings"]["map_model"] == load_map(map_path).id
    assert report["p_value"] is None and "not calibrated" in report["reason"]


def test_a_missing_map_is_one_error(tmp_path, capsys):
    Image.fromarray(photo(96, 128)).save(tmp_path / "small.png")
    words = [str(tmp_path / "small.png"), "--output", str(tmp_path / "out")]
    assert command.main([*words, "--method", "map", "--map-model", str(tmp_path / "none")]) == 1
    assert "none: cannot read" in capsys.readouterr().err
    with pytest.raises(ReleaseError):
        learned_map.loaded_map(str(tmp_path / "none"))
