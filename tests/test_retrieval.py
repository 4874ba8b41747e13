"""Recall against counting by hand, ties, collapsed models, and a last batch that is not full."""

import types

import numpy as np
import pytest

from exif_jax.retrieval import embed_all, median_rank, recall, retrieval_metrics


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


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 11, 64])
def test_every_photo_is_embedded_once_whatever_the_batch(batch_size):
    seen = []

    def embed(photos):
        assert len(photos) == batch_size  # one shape, so one compilation
        seen.extend(photos)
        rows = np.asarray(photos, np.float32)[:, None]
        return rows, -rows

    data = types.SimpleNamespace(num_photos=10, eval_batch=lambda photos: photos, unreadable=set())
    z_img, z_txt = embed_all(embed, data, batch_size)
    np.testing.assert_array_equal(z_img[:, 0], np.arange(10))
    np.testing.assert_array_equal(z_txt[:, 0], -np.arange(10))
    assert set(seen) == set(range(10))


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
