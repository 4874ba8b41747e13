"""The localisation of one photo: where it finds a splice, what it refuses, when it is judged."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from stand_in import PATCH, FakeModel, roughness, spliced

import exif_jax
from exif_jax.evaluation.splice_metrics import pixel_metrics
from exif_jax.forensics import patches
from exif_jax.forensics.localization import localize, localize_with_encoder
from exif_jax.forensics.methods import METHODS, LocalizationSettings, LocalizeError
from exif_jax.models import dual_encoder


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_pasted_part(method):
    image, mask = spliced()
    result = localize_with_encoder(image, roughness, {}, PATCH, LocalizationSettings(method=method))
    metrics = pixel_metrics(result.heatmap, mask)
    assert metrics["auc"] > 0.95 and metrics["ap"] > 0.8  # oriented: high is tampered
    P = result.grid.num_patches
    assert result.embeddings.shape == (P, 2) and result.affinity.shape == (P, P)
    assert result.heatmap.shape == image.shape[:2] and result.heatmap.dtype == np.float32
    assert result.heatmap.min() >= 0 and result.heatmap.max() <= 1
    assert result.clusters.shape == (result.grid.rows, result.grid.columns)
    inside = np.array([mask[y : y + PATCH, x : x + PATCH].mean() for y, x in result.grid.origins()])
    agree = (result.clusters.ravel() == (inside > 0.5)).mean()
    assert agree > 0.9
    if method == "mean_shift":  # the paper's score; the cut's is between the means of its parts
        expected = (1 - result.affinity).mean()
    elif method == "official":  # the mean over cells, of which those at the border have fewer votes
        assert abs(result.score - (1 - result.affinity).mean()) < 0.05
        return
    else:
        part = result.clusters.ravel() == 1
        a, b = (result.embeddings[members].mean(axis=0) for members in (part, ~part))
        height = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        # The noise is 30 against 2, and some patches lie across the edge.
        assert 0.6 * np.log(15) < result.gradient_energy_gap < np.log(15)
        odds = height / (1 - height) * np.exp(-result.gradient_energy_gap)
        assert 0 < result.variation < 0.5
        odds *= (result.variation / (1 - result.variation) * 0.95 / 0.05) ** 3
        expected = odds / (1 + odds)
        assert result.heatmap.max() > 0.7 * height  # the map keeps what the score loses
    assert result.score == pytest.approx(expected, abs=1e-4)
    assert result.reason == ""  # an encoder without a calibration


def test_an_unknown_method_is_refused():
    with pytest.raises(
        ValueError, match="'median', not one of auto, map, cut, mean_shift, official"
    ):
        LocalizationSettings(method="median")


def test_a_pristine_photo_keeps_a_low_map_and_score():
    image = spliced()[0][:, :110]
    result = localize_with_encoder(image, roughness, {}, PATCH)
    assert result.heatmap.max() < 0.05
    assert result.score < 0.05


@pytest.mark.parametrize("level", [0, 93, 255])
def test_a_flat_photo_gives_zeros_and_says_so(level):
    result = localize_with_encoder(np.full((64, 80, 3), level, np.uint8), roughness, {}, PATCH)
    assert not result.heatmap.any() and not result.clusters.any()
    assert result.score == 0 and "flat" in result.reason
    assert np.isfinite(result.affinity).all()


def test_a_photo_of_one_patch():
    result = localize_with_encoder(spliced()[0][:PATCH, :PATCH], roughness, {}, PATCH)
    assert result.clusters.shape == (1, 1)
    assert result.heatmap == pytest.approx(0, abs=1e-5)


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
        image, roughness, {}, PATCH, LocalizationSettings(max_patches=100, batch_size=7)
    )
    other = localize_with_encoder(
        image, roughness, {}, PATCH, LocalizationSettings(max_patches=100, batch_size=64)
    )
    np.testing.assert_allclose(one.heatmap, other.heatmap, atol=1e-5)
    assert one.grid.num_patches <= 100


# --- when there is a p-value --------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return exif_jax.load_model()


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_photo_of_the_calibrated_grid_is_judged(shipped):
    result = localize(noise(512, 512), shipped, LocalizationSettings(method="cut"))
    assert 0 < result.p_value <= 1
    assert result.verdict == result.band and result.reason
    assert result.mask.shape == (512, 512) and result.mask.dtype == bool
    assert result.mask.any() and not result.mask.all()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_per_dim": 60},
        {"num_per_dim": 5},
        {"align": 1},
        {"max_patches": 100},
        {"method": "mean_shift"},
    ],
)
def test_other_settings_than_the_calibrated_ones_give_no_p_value_and_say_why(shipped, changes):
    result = localize(noise(384, 512), shipped, LocalizationSettings(**{"method": "cut"} | changes))
    assert result.p_value is None and result.band is None and result.verdict == "cannot tell"
    assert result.reason.startswith("the model is calibrated for ")
    assert result.likelihood_ratio is None and result.mask.shape == (384, 512)


@pytest.mark.parametrize("size", [(128, 128), (136, 128), (255, 256)])
def test_too_few_patches_give_no_p_value_and_say_why(shipped, size):
    result = localize(noise(*size), shipped, LocalizationSettings(method="cut"))
    assert result.p_value is None and result.verdict == "cannot tell"
    assert "too few patches to compare" in result.reason


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((256, 384), (48,)),
        ((500, 671), (48,)),
        ((500, 672), (64,)),
        ((1023, 640), (64,)),
        ((1024, 640), (64, 128)),
        ((3000, 4000), (64, 128)),
    ],
)
def test_smaller_pictures_are_compared_by_smaller_patches(shipped, size, sides):
    assert patches.patch_sides(*size, shipped.patch_size, "none") == sides
    assert patches.patch_sides(*size, shipped.patch_size, "learned") == (128,)
    assert patches.patch_sides(*size, 124, "none") == (124,)


def test_the_grid_is_of_the_pictures_patches_and_the_papers_of_the_models(shipped):
    image = noise(256, 384)
    small, papers = (
        localize(image, shipped, LocalizationSettings(method=name))
        for name in ("cut", "mean_shift")
    )
    assert small.grid.patch == 48 and papers.grid.patch == 128
    assert small.area == papers.area == papers.grid.area == 6.0


def test_a_large_photo_is_mapped_by_patches_of_two_sizes(shipped):
    image = noise(640, 1024)
    settings = LocalizationSettings(method="cut")
    both = localize(image, shipped, settings)
    encode, features = (
        patches.image_encoder(shipped.config),
        patches.features_of_photo(shipped.config),
    )
    coarse, fine = (
        localize_with_encoder(image, encode, shipped.params, side, settings, features)
        for side in (128, 64)
    )
    np.testing.assert_allclose(both.heatmap, (coarse.heatmap + fine.heatmap) / 2, atol=1e-6)
    assert both.grid == coarse.grid and both.score == coarse.score
    np.testing.assert_array_equal(both.embeddings, coarse.embeddings)


def test_a_small_picture_is_judged_without_its_patches(shipped, monkeypatch):
    """What the map alone judges is embedded where somebody asks, and refused only then."""
    embedded = []

    def broken(encode, params, image, grid, *_):
        embedded.append(grid)
        return jnp.full((grid.num_patches, 4), jnp.nan)

    monkeypatch.setattr(patches, "embed_patches", broken)
    result = localize(noise(256, 384), shipped, LocalizationSettings(method="map"))
    assert result.scored_by == "map" and result.share_of_map == 1 and not embedded
    assert result.clusters.shape == (result.grid.rows, result.grid.columns)
    with pytest.raises(LocalizeError, match="not finite"):
        _ = result.affinity
    assert embedded == [result.grid]
    with pytest.raises(LocalizeError, match="not finite"):
        localize(noise(512, 512), shipped)  # its score is the cut's


def test_a_flat_photo_is_flat_and_not_uncalibrated(shipped):
    result = localize(np.full((300, 300, 3), 90, np.uint8), shipped)
    assert result.verdict == "cannot tell" and result.p_value is None
    assert "flat" in result.reason and "calibrated" not in result.reason
    assert not result.mask.any()


def test_a_photo_that_may_be_damaged_gives_no_p_value_and_says_why(shipped):
    result = localize(noise(256, 256), shipped, objection="the file may be damaged")
    assert result.p_value is None and result.band is None and result.verdict == "cannot tell"
    assert result.reason == "the file may be damaged"


def test_an_uncalibrated_model_gives_no_p_value_and_says_so():
    result = localize(spliced()[0], FakeModel, LocalizationSettings(method="cut"))
    assert result.p_value is None and "the model is not calibrated" in result.reason


@pytest.mark.parametrize("align", [8, 1])
def test_overlapping_patches_share_their_blocks_and_nothing_is_lost(monkeypatch, align):
    """The shipped model on a photo whose patches overlap, with and without sharing."""
    model = exif_jax.load_model()
    image = np.random.default_rng(0).integers(0, 256, (250, 331, 3), dtype=np.uint8)
    shared = []

    def features(photo):
        shared.append(photo.shape)
        return photo_features(photo)

    photo_features = dual_encoder.photo_features
    encode = functools.partial(dual_encoder.embed_images, model.config)
    arguments = (image, encode, model.params, 128, LocalizationSettings(num_per_dim=6, align=align))
    together, apart = localize_with_encoder(*arguments, features), localize_with_encoder(*arguments)
    assert together.grid.stride % 8 == (0 if align == 8 else 1)
    assert bool(shared) == (align == 8)
    np.testing.assert_allclose(together.embeddings, apart.embeddings, atol=1e-5)
