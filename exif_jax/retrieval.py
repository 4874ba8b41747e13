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
    """Recall at 1 and 5 both ways, and what guessing would give at 1."""
    image_to_text, text_to_image = recall(z_img, z_txt, (1, 5)), recall(z_txt, z_img, (1, 5))
    return {
        "image_to_exif_r1": image_to_text[1],
        "image_to_exif_r5": image_to_text[5],
        "exif_to_image_r1": text_to_image[1],
        "exif_to_image_r5": text_to_image[5],
        "chance_r1": 1.0 / len(z_img),
    }
