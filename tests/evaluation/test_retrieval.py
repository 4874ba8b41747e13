"""Recall, tags and spread against counting by hand, with ties and collapsed models."""

import numpy as np
import pytest

from exif_jax.evaluation.retrieval import (
    alignment_and_uniformity,
    median_rank,
    recall,
    retrieval_metrics,
    tag_metrics,
    tag_questions,
)


def brute_force(z_query, z_target, k: int) -> float:
    """The share of random orders of ties, averaged, in which the own target is in the top k."""
    total = 0.0
    for i, query in enumerate(z_query):
        sims = [float(np.dot(query, target)) for target in z_target]
        better = sum(s > sims[i] for s in sims)
        tied = sum(s == sims[i] for s in sims)
        total += sum(better + place < k for place in range(tied)) / tied
    return total / len(z_query)


@pytest.mark.parametrize("seed", range(3))
def test_recall_equals_counting(seed):
    rng = np.random.default_rng(seed)
    # Small whole numbers: exact in float32, and full of ties.
    a, b = rng.integers(-1, 2, (2, 40, 3)).astype(np.float32)
    ks = (1, 2, 5, 40)
    assert recall(a, b, ks) == pytest.approx({k: brute_force(a, b, k) for k in ks})
    assert recall(a, b, ks)[40] == 1
    assert 0 < recall(a, b, ks)[1] < 1


def test_recall_tells_the_directions_apart():
    # Both queries are nearest to target 1; each target is nearest to its own query.
    a = np.array([[1, 0], [0.6, 0.8]], np.float32)
    b = np.array([[0.6, -0.8], [0.8, 0.6]], np.float32)
    metrics = retrieval_metrics(a, b)
    assert metrics["image_to_exif_r1"] == 0.5 and metrics["exif_to_image_r1"] == 1
    assert metrics["image_to_exif_r5"] == metrics["exif_to_image_r5"] == 1


def test_a_perfect_model():
    eye = np.eye(8, dtype=np.float32)
    assert retrieval_metrics(eye, eye) == {
        "image_to_exif_r1": 1,
        "image_to_exif_r5": 1,
        "image_to_exif_r10": 1,
        "image_to_exif_median_rank": 1,
        "exif_to_image_r1": 1,
        "exif_to_image_r5": 1,
        "exif_to_image_r10": 1,
        "exif_to_image_median_rank": 1,
        "chance_r1": 1 / 8,
    }


def test_a_collapsed_model_scores_chance():
    one = np.tile(np.array([[1, 0]], np.float32), (20, 1))
    assert retrieval_metrics(one, one) == pytest.approx(
        {
            "image_to_exif_r1": 0.05,
            "image_to_exif_r5": 0.25,
            "image_to_exif_r10": 0.5,
            "image_to_exif_median_rank": 10.5,
            "exif_to_image_r1": 0.05,
            "exif_to_image_r5": 0.25,
            "exif_to_image_r10": 0.5,
            "exif_to_image_median_rank": 10.5,
            "chance_r1": 0.05,
        }
    )


def test_embeddings_that_are_no_numbers_are_not_found():
    z_img = np.eye(4, dtype=np.float32)
    z_txt = z_img.copy()
    z_txt[2] = np.nan
    assert recall(z_img, z_txt, (1, 4)) == {1: 0.75, 4: 0.75}
    assert recall(np.full((3, 2), np.nan), np.full((3, 2), np.nan), (1,)) == {1: 0.0}


@pytest.mark.parametrize("seed", range(5))
def test_the_median_rank_against_sorting(seed):
    rng = np.random.default_rng(seed)
    z_img, z_txt = rng.normal(size=(2, 17, 3))
    order = np.argsort(-(z_img @ z_txt.T), axis=1)
    ranks = [1 + int(np.flatnonzero(row == k)[0]) for k, row in enumerate(order)]
    assert median_rank(z_img, z_txt) == np.median(ranks)
    assert median_rank(np.full((4, 2), np.nan), np.full((4, 2), np.nan)) == 4


def test_alignment_and_uniformity_by_their_definitions():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 9, 4))
    z_img, z_txt = (z / np.linalg.norm(z, axis=2, keepdims=True)).astype(np.float32)
    found = alignment_and_uniformity(z_img, z_txt)
    squared = [[np.sum((a - b) ** 2) for b in z_img] for a in z_img]
    pairs = [np.exp(-2 * squared[i][j]) for i in range(9) for j in range(i)]
    assert found["image_uniformity"] == pytest.approx(np.log(np.mean(pairs)), abs=1e-5)
    assert found["alignment"] == pytest.approx(np.mean(((z_img - z_txt) ** 2).sum(1)), rel=1e-5)
    one = np.tile(z_img[:1], (5, 1))
    assert alignment_and_uniformity(one, one) == pytest.approx(
        {"alignment": 0, "image_uniformity": 0, "text_uniformity": 0}, abs=1e-5
    )
    assert alignment_and_uniformity(z_img[:1], z_txt[:1])["image_uniformity"] == 0


PHOTOS = [
    {"Make": "Canon", "ISO": "100"},
    {"Make": "Canon", "ISO": "110"},
    {"Make": "NIKON", "ISO": "1600"},
    {"Make": "NIKON", "ISO": "1500"},
    {"Make": "NIKON", "Flash": "Fired"},
    {"Make": "Leica", "Flash": "Fired", "ISO": "100"},
]


def test_questions_are_asked_of_classes_that_several_photos_share():
    iso, make = tag_questions(PHOTOS)
    # Flash has one class only, Leica one photo; ISO counts by size.
    assert (iso.tag, make.tag) == ("ISO", "Make")
    assert make.values == ("Canon", "NIKON")
    assert make.class_of_photo.tolist() == [0, 0, 1, 1, 1, -1]
    assert iso.values == ("100", "110", "1500", "1600")
    assert iso.class_of_value.tolist() == [0, 0, 1, 1]
    assert iso.class_of_photo.tolist() == [0, 0, 1, 1, -1, 0]
    assert tag_questions([]) == [] and tag_questions([{"Make": "Canon"}] * 5) == []


def test_tags_are_told_by_the_nearest_class():
    asked = tag_questions(PHOTOS)
    a, b = np.eye(2, dtype=np.float32)
    z_values = np.stack([a, a, b, b, a, b])  # 100, 110, 1500, 1600; Canon, NIKON
    z_img = np.stack([a, a, b, b, a, b])  # photo 4 looks like a Canon, photo 5 like ISO 1600
    found = tag_metrics(z_img, z_values, asked)
    assert found["tag_accuracy/Make"] == 4 / 5 and found["tag_accuracy/ISO"] == 4 / 5
    assert found["tag_chance/Make"] == found["tag_chance/ISO"] == 3 / 5
    assert found["tag_accuracy"] == 4 / 5 and found["tag_prevalence/Make"] == 1 / 2
    # Canon: three tie at the top, two of them right; NIKON: two right ones, then two of three.
    assert found["tag_retrieval/Make"] == pytest.approx((2 / 3 + (2 * 1 + 3 / 5) / 3) / 2)
    chance = tag_metrics(np.tile(a, (6, 1)), z_values, asked)
    assert chance["tag_retrieval/Make"] == pytest.approx(chance["tag_prevalence/Make"])
    assert np.isfinite([*tag_metrics(z_img * np.nan, z_values, asked).values()]).all()
