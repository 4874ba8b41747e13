"""A linear probe: what a linear classifier reads off frozen embeddings, and its pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 224
SPLITS, HELD_OUT = 5, 0.2


def resize(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The whole photo by the bicubic filter, uint8 [side, side, 3], whatever its shape was."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def crop(pixels: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The middle, as it is; black where the photo is smaller (as torchvision's CenterCrop)."""
    pads = [max(0, side - n) for n in pixels.shape[:2]]
    pixels = np.pad(pixels, (*((p // 2, p - p // 2) for p in pads), (0, 0)))
    y, x = ((n - side) // 2 for n in pixels.shape[:2])
    return pixels[y : y + side, x : x + side]


def distort(pixels: np.ndarray, k1: float, side: int = SIDE) -> np.ndarray:
    """The middle of a photo as a lens of radial distortion k1 would draw it.

    Args:
        pixels: uint8 [H, W, 3]; the central square is first resized to 1.5 x `side`.
        k1: a point at radius r of the result is taken from r (1 + k1 r^2), r in half sides of the
            square; below 0 it is pincushion, above 0 barrel distortion.
        side: of the result, its middle.

    Returns:
        uint8 [side, side, 3], bilinear; what lies outside the square is its edge.
    """
    from scipy.ndimage import map_coordinates

    short = min(pixels.shape[:2])
    square = resize(crop(pixels, short), round(1.5 * side)).astype(np.float32)
    half = (len(square) - 1) / 2
    at = (np.arange(side) - (side - 1) / 2) / half
    y, x = np.meshgrid(at, at, indexing="ij")
    stretch = 1 + k1 * (y**2 + x**2)
    place = np.stack([y * stretch, x * stretch]) * half + half
    channels = [map_coordinates(square[..., c], place, order=1, mode="nearest") for c in range(3)]
    return np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)


def probe(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """Accuracy of logistic regression on standardised features, over five random splits.

    Args:
        features: float [N, F].
        labels: int [N].
        groups: int [N]; those of one group are all in the training or all in the test part.
        seed: of the splits, a fifth held out in each.

    Returns:
        accuracy, deviation (of the splits' accuracies) and chance: the share of the most frequent
        label. Of two labels also balanced_accuracy and auc.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    figures: dict[str, list[float]] = {"accuracy": [], "balanced_accuracy": [], "auc": []}
    splits = GroupShuffleSplit(SPLITS, test_size=HELD_OUT, random_state=seed)
    for train, test in splits.split(features, labels, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1))
        model.fit(features[train], labels[train])
        predicted = model.predict(features[test])
        figures["accuracy"].append(float((predicted == labels[test]).mean()))
        if len(np.unique(labels)) == 2 and len(np.unique(labels[test])) == 2:
            figures["balanced_accuracy"].append(balanced_accuracy_score(labels[test], predicted))
            probability = model.predict_proba(features[test])[:, 1]
            figures["auc"].append(roc_auc_score(labels[test], probability))
    result = {name: float(np.mean(values)) for name, values in figures.items() if values}
    result["deviation"] = float(np.std(figures["accuracy"]))
    result["chance"] = float(np.bincount(labels).max() / len(labels))
    return result
