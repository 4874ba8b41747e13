"""A model whose regression is planted: an embedding names the photo that it comes from."""

import dataclasses

import numpy as np
from stand_in import CONFIG, FakeModel

from exif_jax.data.wordpiece import WordPiece
from exif_jax.forensics import exif_regression, reference_set
from exif_jax.forensics.calibration import null_distribution
from exif_jax.forensics.exif_regression import NUMBERS, Components, ExifRegression, exif_table
from exif_jax.forensics.patches import patch_grid
from exif_jax.weights.release_file import Model

CAMERAS = [("Canon", "Canon 1"), ("NIKON", "D1"), ("SONY", "S1"), ("Apple", "iPhone 1")]
PHOTOS = [
    {"Make": make, "Model": model, "ISO": iso} for make, model in CAMERAS for iso in ("100", "1600")
]
SKILL = {
    "Make": {"auc": 0.9, "auc_low": 0.8, "num_cameras": 50},
    "ISO": {"auc": 0.7, "auc_low": 0.6, "num_cameras": 50},
    "Model": {"auc": 0.9, "auc_low": 0.8, "num_cameras": 49},
}
GRID_SETTINGS = {"num_per_dim": 30, "max_patches": 4096, "align": 8}
GRID = patch_grid(160, 224, FakeModel.patch_size, **GRID_SETTINGS)


COLUMNS = (
    ("Make", "*"),
    *(("Make", make.lower()) for make, _ in CAMERAS),
    ("ISO", "~100"),
    ("ISO", "~1600"),
)


def identity(mean_F: np.ndarray) -> Components:
    """Components that are the columns, less a mean that stands for missing ones, too."""
    width = len(mean_F)
    return Components(mean_F, mean_F, np.ones(width), np.zeros(width), np.eye(width))


def planted_regression() -> ExifRegression:
    """Pixels in the direction of a photo are predicted to have its EXIF."""
    table = exif_table(PHOTOS, COLUMNS)
    means = np.nan_to_num(table.mean(axis=0))
    exif, width = identity(means), len(COLUMNS) + len(NUMBERS)
    return ExifRegression(
        columns=COLUMNS,
        pixels=identity(np.zeros(8)),
        exif=exif,
        gamma=10.0,
        points_TxJ=np.eye(8),
        dual_TxK=exif(table),
        residual_KxK=0.05 * np.eye(width),
        total_KxK=np.eye(width),
        min_tags=1,
    )


def planted_model() -> Model:
    """Every photo of the reference set has a direction of its own."""
    known = reference_set.make_reference_set(PHOTOS)
    calibration = {
        "exif_regression": exif_regression.to_json(planted_regression()),
        "reference_set": reference_set.to_json(known),
        "tag_skill": SKILL,
        "agreement_null": null_distribution(np.linspace(0, 4, 60), [str(i) for i in range(60)]),
        "grid": GRID_SETTINGS,
        "scores": {"none": {}},
    }
    params = FakeModel.params | {"log_scale": np.float32(3.0)}
    model = Model(CONFIG, params, WordPiece(b""), (), {}, calibration)
    return dataclasses.replace(model, id="m")


def patches_of(photo: int, count: int = 5) -> np.ndarray:
    """Embeddings of patches that all come from one photo of the reference set."""
    return np.tile(np.eye(8, dtype=np.float32)[photo], (count, 1))
