"""Retrieval between patches and EXIF texts: does the right text rank first among all?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def embed_all(embed: Callable, data, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeds one patch and the full text of every photo of a split.

    Args:
        embed: batch -> (z_img, z_txt), each [batch_size, D], of numbered rows.
        data: a `data.PatchData`.
        batch_size: rows a call; the last batch is filled up with its first photo again.

    Returns:
        z_img and z_txt, float32 [N, D], N = data.num_photos less those that are unreadable.
    """
    z_img, z_txt = [], []
    for start in range(0, data.num_photos, batch_size):
        real = min(batch_size, data.num_photos - start)
        photos = [start + i if i < real else start for i in range(batch_size)]
        a, b = embed(data.eval_batch(photos))
        read = [i for i in range(real) if photos[i] not in data.unreadable]
        z_img.append(np.asarray(a)[read])
        z_txt.append(np.asarray(b)[read])
    return np.concatenate(z_img), np.concatenate(z_txt)


def recall(z_query: np.ndarray, z_target: np.ndarray, ks: tuple[int, ...]) -> dict[int, float]:
    """Share of queries whose own target (same row) is among the k nearest.

    A tie counts by its expected place, so a collapsed model scores chance and not 1.

    Args:
        z_query, z_target: float32 [N, D], unit rows.
        ks: sizes of the list, each at least 1.

    Returns:
        k -> recall at k in [0, 1].
    """
    sims_NxN = z_query @ z_target.T
    own_N = np.diagonal(sims_NxN)[:, None]
    better_N = (sims_NxN > own_N).sum(axis=1)
    tied_N = (sims_NxN == own_N).sum(axis=1)  # itself included; 0 where it is no number
    places_N = {k: np.clip((k - better_N) / np.maximum(tied_N, 1), 0.0, 1.0) for k in ks}
    return {k: float(np.where(tied_N > 0, places_N[k], 0.0).mean()) for k in ks}


def retrieval_metrics(z_img: np.ndarray, z_txt: np.ndarray) -> dict[str, float]:
    """Recall at 1, 5 and 10 and the median rank both ways, and what guessing would give at 1."""
    found = {}
    for name, query, target in (
        ("image_to_exif", z_img, z_txt),
        ("exif_to_image", z_txt, z_img),
    ):
        found |= {f"{name}_r{k}": share for k, share in recall(query, target, (1, 5, 10)).items()}
        found[f"{name}_median_rank"] = median_rank(query, target)
    return found | {"chance_r1": 1.0 / len(z_img)}


def median_rank(z_query: np.ndarray, z_target: np.ndarray) -> float:
    """The median place of the queries' own targets, 1 is best; ties count by their middle."""
    sims_NxN = z_query @ z_target.T
    own_N = np.diagonal(sims_NxN)[:, None]
    better_N = (sims_NxN > own_N).sum(axis=1)
    tied_N = (sims_NxN == own_N).sum(axis=1)
    rank_N = np.where(tied_N > 0, better_N + (tied_N + 1) / 2, len(sims_NxN))
    return float(np.median(rank_N))
