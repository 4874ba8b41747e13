"""The methods that turn the embeddings of a photo's patches into its map, its parts and its score.

`METHODS` is the table of them. All have one signature; those that are traced may be called inside
`jax.jit` too, as `exif_jax.export` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from exif_jax.forensics import affinity, clustering
from exif_jax.forensics.content import (
    USUAL_VARIATION,
    content_adjusted_score,
    gradient_energy_gap,
    part_variation,
)
from exif_jax.forensics.patches import Grid
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.pixels import gradient_energy


class LocalizeError(ExifJaxError, ValueError):
    """A photo cannot be localised; the message says why and what to do."""


class MethodResult(NamedTuple):
    """What a method makes of a photo; arrays and scalars of NumPy or of JAX.

    Attributes:
        heatmap: float32 [H, W] in [0, 1], high where a cell differs from most of the photo.
        clusters: int32, P in all, row by row over the grid: 1 in the smaller part, 0 elsewhere.
        score: of the whole photo; higher is less consistent.
        gradient_energy_gap: how unlike the parts are in texture; 0 of methods that do not use it.
        variation: how unlike its neighbours a patch of the smaller part is; what counts nothing
            of methods that do not use it.
    """

    heatmap: Any
    clusters: Any
    score: Any
    gradient_energy_gap: Any = 0.0
    variation: Any = USUAL_VARIATION


class Method(NamedTuple):
    """One way from patches to a map.

    Attributes:
        analyze: (unit embeddings [P, D], the photo uint8 [H, W, 3], its grid) -> result.
        encoder_input: what the encoder sees of the photo, uint8 [H, W, 3] -> uint8 [H, W, 3]; None:
            the photo as it is.
        align: that the grid has, whatever the settings say; None: as the settings say.
    """

    analyze: Callable[[jax.Array, Any, Grid], MethodResult]
    encoder_input: Callable[[np.ndarray], np.ndarray] | None = None
    align: int | None = None


def spatial_cut(z_PxD: jax.Array, photo: Any, grid: Grid) -> MethodResult:
    """Ours: a cut that knows where the patches lie, and what its parts' content explains."""
    energy = gradient_energy(photo)  # of an array of NumPy on the host, while the device encodes
    xp = energy.__array_namespace__()
    cells, clusters_P, distance = clustering.spatial_cut(z_PxD, grid)
    heatmap = affinity.upsample(cells, grid)
    gap = gradient_energy_gap(energy, clusters_P, grid)
    variation = part_variation(xp.asarray(z_PxD), clusters_P, grid)
    score = content_adjusted_score(xp.asarray(distance, gap.dtype), gap, variation)
    return MethodResult(heatmap, clusters_P, score, gap, variation)


def mean_shift(z_PxD: jax.Array, photo: Any, grid: Grid) -> MethodResult:
    """The paper's: the distance from the dominant mode, and the normalised cut."""
    cells = affinity.inconsistency(z_PxD, grid)
    return MethodResult(
        heatmap=affinity.upsample(cells, grid),
        clusters=clustering.normalized_cut(z_PxD),
        score=affinity.splice_score(z_PxD),
    )


def released_code(z_PxD: jax.Array, photo: Any, grid: Grid) -> MethodResult:
    """The procedure of the paper's released code, fault for fault (`forensics.official`)."""
    official = _official_module()
    response_maps = official.response_maps(finite_embeddings(z_PxD), grid)
    cells = official.mean_shift(response_maps)
    clusters = official.spectral_cut(response_maps)
    # A patch's part is that of the cell at its middle.
    top, left = (clusters.shape[0] - grid.rows) // 2, (clusters.shape[1] - grid.columns) // 2
    heatmap = official.resize_bilinear(cells, grid.height, grid.width)
    return MethodResult(
        heatmap=np.clip(heatmap, 0, 1),
        clusters=clusters[top : top + grid.rows, left : left + grid.columns],
        score=response_maps.mean(),
    )


def _negative(photo: np.ndarray) -> np.ndarray:
    return _official_module().negative(photo)


def _official_module() -> ModuleType:
    """Imported where it is used, as the other methods do not need SciPy."""
    try:
        from exif_jax.forensics import official
    except ModuleNotFoundError as e:
        raise LocalizeError(f"this method needs {e.name}; pip install 'exif-jax[eval]'") from e
    return official


METHODS = {
    # The learned map, which needs no patches, joins these two in `localization.localize`.
    "auto": Method(spatial_cut),
    "map": Method(spatial_cut),
    "cut": Method(spatial_cut),
    "mean_shift": Method(mean_shift),
    "official": Method(released_code, encoder_input=_negative, align=1),
}
LEARNED = ("auto", "map")  # methods that the learned map takes part in


DEFAULT_METHOD = "auto"
METHOD_HELP = (
    "how the map is made: map, a network that learned from composites; cut, from the patches' "
    "embeddings alone, by a cut that knows where they lie; auto, both, each by how sure it is; "
    "mean_shift, the paper's; or official, the released code's procedure, faults included, for "
    "comparing with published numbers "
    f"(default {DEFAULT_METHOD})"
)


@dataclasses.dataclass(frozen=True)
class LocalizationSettings:
    """How a photo is localised.

    Attributes:
        num_per_dim: steps of the patch grid along the longer side (the paper: 30).
        max_patches: the stride grows until the grid holds no more; memory grows as its square.
        align: the stride is rounded to a multiple of this many pixels; 8 keeps all patches at
            the same place on the JPEG grid, 1 is the paper's rule (and always official's).
        batch_size: patches per call of the encoder; changes speed and memory only. None: as suits
            the device.
        method: a name of `METHODS`: "auto", "map" (the learned map),
            "cut", "mean_shift" (the paper's) or "official" (the paper's released code). Another
            name raises ValueError.
        map_model: path of the learned map's release file; "" for the one that ships.
    """

    num_per_dim: int = 30
    max_patches: int = 4096
    align: int = 8
    batch_size: int | None = None
    method: str = DEFAULT_METHOD
    map_model: str = ""

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, not one of {', '.join(METHODS)}")


def flat_result(grid: Grid) -> MethodResult:
    """The result of a photo without texture: zeros."""
    return MethodResult(
        heatmap=np.zeros((grid.height, grid.width), np.float32),
        clusters=np.zeros(grid.num_patches, np.int32),
        score=0.0,
    )


def checked_image(image: Any, patch: int) -> np.ndarray:
    """A photo's pixels as an array, uint8 [H, W, 3]; raises LocalizeError where they are not."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise LocalizeError(
            f"an image of shape {image.shape} and type {image.dtype} is no uint8 array "
            "[height, width, 3]; pass the photo's own RGB pixels"
        )
    height, width = image.shape[:2]
    if min(height, width) < patch:
        raise LocalizeError(
            f"too small: {width} x {height} pixels hold no patch of {patch} x {patch}; use the "
            "original photo at full size (enlarging a small one does not help)"
        )
    return image


def finite_embeddings(z_PxD: jax.Array) -> np.ndarray:
    """Returns the embeddings on the host; raises LocalizeError where they are no numbers."""
    embeddings = np.asarray(z_PxD)
    if not np.isfinite(embeddings).all():
        raise LocalizeError("the model's embeddings are not finite numbers; its weights are unfit")
    return embeddings
