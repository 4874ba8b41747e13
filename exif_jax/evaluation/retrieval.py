"""What the shared space knows, from embeddings alone: retrieval, tags, and how it is spread out.

NumPy on small arrays. Shape letters: N photos, D embedding width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from exif_jax.evaluation.splice_metrics import average_precision
from exif_jax.forensics.reference_set import coarse_value


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
    metrics = {}
    for name, query, target in (
        ("image_to_exif", z_img, z_txt),
        ("exif_to_image", z_txt, z_img),
    ):
        metrics |= {f"{name}_r{k}": share for k, share in recall(query, target, (1, 5, 10)).items()}
        metrics[f"{name}_median_rank"] = median_rank(query, target)
    return metrics | {"chance_r1": 1.0 / len(z_img)}


def median_rank(z_query: np.ndarray, z_target: np.ndarray) -> float:
    """The median place of the queries' own targets, 1 is best; ties count by their middle."""
    sims_NxN = z_query @ z_target.T
    own_N = np.diagonal(sims_NxN)[:, None]
    better_N = (sims_NxN > own_N).sum(axis=1)
    tied_N = (sims_NxN == own_N).sum(axis=1)
    rank_N = np.where(tied_N > 0, better_N + (tied_N + 1) / 2, len(sims_NxN))
    return float(np.median(rank_N))


def alignment_and_uniformity(z_img: np.ndarray, z_txt: np.ndarray) -> dict[str, float]:
    """How near pairs lie and how evenly all lie on the sphere (Wang and Isola, ICML 2020).

    Args:
        z_img, z_txt: float32 [N, D], unit rows, pairs by row.

    Returns:
        alignment: mean squared distance of pairs, 0 (together) to 4. image_uniformity and
        text_uniformity: log mean exp(-2 squared distance) over distinct rows, 0 (all in one place)
        down to about -4; 0 of a single row.
    """

    def uniformity(z: np.ndarray) -> float:
        squared = np.clip(2.0 - 2.0 * (z @ z.T).astype(np.float64), 0.0, 4.0)
        pairs = squared[np.triu_indices(len(z), 1)]
        return float(np.log(np.exp(-2.0 * pairs).mean())) if pairs.size else 0.0

    return {
        "alignment": float(np.square(z_img - z_txt).sum(axis=1).mean()),
        "image_uniformity": uniformity(z_img),
        "text_uniformity": uniformity(z_txt),
    }


# --- one tag at a time ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TagQuestion:
    """What one tag asks of N photos.

    Attributes:
        tag: its name.
        values: V value texts as photos have them, of C classes.
        class_of_value: int [V].
        class_of_photo: int [N], -1 where a photo lacks the tag.
    """

    tag: str
    values: tuple[str, ...]
    class_of_value: np.ndarray
    class_of_photo: np.ndarray


def tag_questions(photos: Sequence[Mapping[str, str]], least: int = 2) -> list[TagQuestion]:
    """A question for each tag that has at least two classes, by name.

    Numbers like ISO and Focal Length are classes by size (`coarse_value`); a class with fewer than
    `least` photos is not asked for.
    """
    questions = []
    for tag in sorted({tag for photo in photos for tag in photo}):
        classes = [coarse_value(tag, photo[tag]) if tag in photo else None for photo in photos]
        known = sorted({c for c in classes if c is not None and classes.count(c) >= least})
        if len(known) < 2:
            continue
        number = {name: k for k, name in enumerate(known)}
        class_of = {
            photo[tag]: number[name]
            for photo, name in zip(photos, classes, strict=True)
            if name in number
        }
        values = tuple(sorted(class_of))
        questions.append(
            TagQuestion(
                tag,
                values,
                np.array([class_of[value] for value in values]),
                np.array([-1 if name is None else number.get(name, -1) for name in classes]),
            )
        )
    return questions


def tag_metrics(
    z_img: np.ndarray, z_values: np.ndarray, questions: Sequence[TagQuestion]
) -> dict[str, float]:
    """Which value does a patch have, and which patches have a value?

    A class is the mean of the embeddings of its values' texts ("Make: Canon").

    Args:
        z_img: float32 [N, D], unit rows.
        z_values: float32 [sum of V, D], the values' texts, question by question.
        questions: of these N photos.

    Returns:
        By tag, and their means over tags under the bare name: tag_accuracy, how often a patch's
        nearest class is its own (zero-shot classification); tag_chance, the share of the most
        frequent class; tag_retrieval, the mean over classes of the average precision with which
        patches are found for one; tag_prevalence, what that is for a random order, nearly.
    """
    metrics: dict[str, float] = {}
    start = 0
    for question in questions:
        z = z_values[start : start + len(question.values)]
        start += len(question.values)
        classes = question.class_of_value.max() + 1
        z_classes = np.stack([z[question.class_of_value == c].mean(axis=0) for c in range(classes)])
        z_classes /= np.maximum(np.linalg.norm(z_classes, axis=1, keepdims=True), 1e-12)
        has_tag = question.class_of_photo >= 0
        own = question.class_of_photo[has_tag]
        sims = np.nan_to_num(z_img[has_tag] @ z_classes.T)  # of a model that is no number: chance
        shares = np.bincount(own, minlength=classes) / len(own)
        precisions = [average_precision(sims[:, c], own == c) for c in range(classes)]
        metrics[f"tag_accuracy/{question.tag}"] = float((sims.argmax(axis=1) == own).mean())
        metrics[f"tag_chance/{question.tag}"] = float(shares.max())
        metrics[f"tag_retrieval/{question.tag}"] = float(np.mean(precisions))
        metrics[f"tag_prevalence/{question.tag}"] = float(shares.mean())
    for kind in ("tag_accuracy", "tag_chance", "tag_retrieval", "tag_prevalence"):
        values = [value for name, value in metrics.items() if name.startswith(f"{kind}/")]
        if values:
            metrics[kind] = float(np.mean(values))
    return metrics
