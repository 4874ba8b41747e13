"""One photo's pixels and any encoder to a `Localization`: the map, the parts and the score.

No files are read or written here, and no release file: the encoder is any function.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from exif_jax.forensics import affinity, clustering
from exif_jax.forensics.affinity import Encoder, Grid, Share
from exif_jax.forensics.calibration import score_band, score_p_value
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.pixels import BLOCK, gradient_energy

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

FLAT_NOTE = "the photo is flat: it shows no texture, so there is nothing to compare"

# Times that the patches must cover the photo for sharing to pay: it needs memory.
_OVERLAP = 2

# Below this standard deviation of its values, in levels of 255, a photo is a plain colour.
_FLAT_STD = 0.5


class LocalizeError(ExifJaxError, ValueError):
    """A photo cannot be localised; the message says why and what to do."""


METHODS = ("cut", "mean_shift", "official")
METHOD_HELP = (
    "how patches become a map: a cut that knows where they lie; the paper's mean shift; or the "
    "released code's procedure, faults included, for comparing with published numbers (default cut)"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the localisation.

    Attributes:
        num_per_dim: steps of the patch grid along the longer side (the paper: 30).
        max_patches: the stride grows until the grid holds no more; memory grows as its square.
        align: the stride is rounded to a multiple of this many pixels; 8 keeps all patches at
            the same place on the JPEG grid, 1 is the paper's rule (and always official's).
        batch_size: patches per call of the encoder; changes speed and memory only. None: as suits
            the device.
        method: "cut", `cut.spatial_cut`; "mean_shift", the paper's dominant mode and normalised
            cut; or "official", as the released code has them (`exif_jax.forensics.official`). Another name
            raises ValueError.
    """

    num_per_dim: int = 30
    max_patches: int = 4096
    align: int = 8
    batch_size: int | None = None
    method: str = METHODS[0]

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, not one of {', '.join(METHODS)}")


@dataclasses.dataclass(frozen=True)
class Localization:
    """What `localize` finds in a photo of H x W pixels, P = grid.rows * grid.columns patches.

    Attributes:
        embeddings: float32 [P, D], unit rows, row by row over the grid.
        affinity: float32 [P, P], cosines.
        heatmap: float32 [H, W] in [0, 1]: 0 is one with most of the photo, 1 unrelated. Never
            stretched, and nothing is taken off for content; its highest places may mean nothing
            where the score is low.
        clusters: int32 [rows, columns]: the patches in two parts, 1 in the smaller. There are
            always two, in a pristine photo too.
        score: higher is less consistent. By the cut, 1 - cosine of the two parts' means, less what
            their content explains (`content_adjusted_score`); by mean shift, as in the paper, the mean of
            1 - cosine over all pairs of patches.
        grid: where the patches lie.
        flat: the photo shows no texture; map, clusters and score are zeros.
        gradient_energy_gap: how unlike the cut's parts are in roughness (the function of that name);
            0 by other methods.
        p_value: how often a pristine photo scores this high; None where the model carries no
            calibration for the method.
        band: the p-value in words: "no evidence", "weak" or "strong".
        note: what to know about this photo, in words; "" where there is nothing.
    """

    embeddings: np.ndarray
    affinity: np.ndarray
    heatmap: np.ndarray
    clusters: np.ndarray
    score: float
    grid: Grid
    flat: bool = False
    gradient_energy_gap: float = 0.0
    p_value: float | None = None
    band: str | None = None
    note: str = ""


def localize(image: np.ndarray, model: Model, settings: Settings | None = None) -> Localization:
    """Localises with a loaded model and, where it is calibrated, gives the score's p-value.

    Args:
        image: uint8 [H, W, 3] at full resolution, never resized.
        model: a loaded model.
        settings: the defaults where None.

    Raises:
        LocalizeError: the array is no RGB image, or smaller than the model's patch.
    """
    settings = settings or Settings()
    encode, share = _encoder(model.config)
    found = localize_with_encoder(image, encode, model.params, model.patch_size, settings, share)
    if found.flat:
        return found
    areas = found.heatmap.size / model.patch_size**2
    p_value = score_p_value(
        model.calibration, found.score, settings.method, areas, found.gradient_energy_gap
    )
    return dataclasses.replace(found, p_value=p_value, band=score_band(p_value))


@functools.lru_cache
def _encoder(config) -> tuple[Encoder, Share | None]:
    # One function object per configuration: JAX compiles once per object.
    from exif_jax.models.dual_encoder import embed_images, photo_features

    shares = getattr(config.image, "features", "") == "spectrum"
    return functools.partial(embed_images, config), photo_features if shares else None


def localize_with_encoder(
    image: np.ndarray,
    encode: Encoder,
    params: Any,
    patch: int,
    settings: Settings | None = None,
    share: Share | None = None,
) -> Localization:
    """`localize` with any encoder.

    Args:
        image: uint8 [H, W, 3].
        encode: (params, uint8 [B, S, S, 3]) -> [B, D], pure; compiled once per function object.
        params: any pytree.
        patch: side S of the patches, in pixels.
        settings: the defaults where None.
        share: what overlapping patches can share, as `affinity.embed_patches` takes it, where
            their corners lie on the photo's 8 x 8 blocks.

    Raises:
        LocalizeError: the array is no RGB image, smaller than a patch, or the encoder fails it.
    """
    settings = settings or Settings()
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
    grid = affinity.patch_grid(
        height,
        width,
        patch,
        settings.num_per_dim,
        settings.max_patches,
        1 if settings.method == "official" else settings.align,
    )
    seen = image
    if settings.method == "official":
        from exif_jax.forensics import official

        seen = official.negative(image)
    # On a CPU a small batch stays in the cache (`benchmarks/localize.py --batch-size` compares).
    at_once = settings.batch_size or (32 if jax.default_backend() == "cpu" else 128)
    overlap = grid.num_patches * patch**2 / (height * width)
    if overlap < _OVERLAP or grid.stride % BLOCK:
        share = None
    z_PxD = affinity.embed_patches(encode, params, seen, grid, at_once, share)
    flat, gap = bool(is_flat(image)), 0.0
    rough = gradient_energy(image) if settings.method == "cut" else np.zeros((0, 0))
    # Nothing is waited for here: while the device encodes, the next steps are traced and loaded.
    if flat:
        clusters, score = np.zeros(grid.num_patches, np.int32), 0.0
        heatmap = np.zeros((height, width), np.float32)
    elif settings.method == "official":
        maps = official.response_maps(_finite(z_PxD), grid)
        clusters, score = _cells_to_patches(official.spectral_cut(maps), grid), maps.mean()
        heatmap = np.clip(official.resize_bilinear(official.mean_shift(maps), height, width), 0, 1)
    else:
        if settings.method == "cut":
            cells, clusters, distance = clustering.spatial_cut(z_PxD, grid)
            gap = float(gradient_energy_gap(rough, np.asarray(clusters), grid))
            score = content_adjusted_score(float(distance), gap)
        else:
            cells, clusters = affinity.inconsistency(z_PxD, grid), clustering.normalized_cut(z_PxD)
            score = affinity.splice_score(z_PxD)
        heatmap = affinity.upsample(cells, grid)
    affinities = affinity.affinity_matrix(z_PxD)
    return Localization(
        embeddings=_finite(z_PxD),
        affinity=np.asarray(affinities),
        heatmap=np.asarray(heatmap),
        clusters=np.asarray(clusters).reshape(grid.rows, grid.columns),
        score=float(score),
        grid=grid,
        flat=flat,
        gradient_energy_gap=gap,
        note=FLAT_NOTE if flat else "",
    )


def gradient_energy_gap(rough: np.ndarray, clusters: np.ndarray, grid: Grid) -> np.ndarray:
    """How unlike in roughness the two parts of a photo are: content alone makes such parts differ.

    Args:
        rough: of the photo, `processing.roughness`; of NumPy or of JAX.
        clusters: int [P] or [rows, columns], 0 and 1.
        grid: of the patches.

    Returns:
        The difference of the parts' mean log roughness (half a level added, by patches), a scalar,
        not negative; 0 where there is one part.
    """
    xp = rough.__array_namespace__()
    down = _blocks_of_patches(grid.rows, len(rough), grid)
    across = _blocks_of_patches(grid.columns, rough.shape[1], grid)
    log_P = xp.log(0.5 + down @ rough @ across.T).ravel()
    part_P = clusters.ravel() != 0
    inside, outside = part_P.sum(), (~part_P).sum()
    mean_inside = xp.where(part_P, log_P, 0.0).sum() / xp.maximum(inside, 1)
    mean_outside = xp.where(part_P, 0.0, log_P).sum() / xp.maximum(outside, 1)
    return xp.where((inside > 0) & (outside > 0), abs(mean_inside - mean_outside), 0.0)


def _blocks_of_patches(patches: int, blocks: int, grid: Grid) -> np.ndarray:
    """float32 [patches, blocks] along one side: the mean over the 8-pixel blocks of each patch."""
    side = max(1, grid.patch // BLOCK)
    first = np.clip(np.arange(patches) * grid.stride // BLOCK, 0, max(0, blocks - side))[:, None]
    block = np.arange(blocks)[None]
    inside = ((block >= first) & (block < first + side)).astype(np.float32)
    return inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)


def content_adjusted_score(distance: Any, gap: Any) -> Any:
    """What is left of the distance between two parts beside what their content explains.

    Args:
        distance: 1 - cosine of the parts' means, in [0, 1]; a number or a scalar of JAX.
        gap: `gradient_energy_gap`, at least 0; each unit divides the odds by e.

    In pristine photos smooth and rough parts lie apart too, though one camera made them. That the
    odds fall by e and not by another number was chosen on the development splices; splices of
    other cameras agree (docs/experiments.md).
    """
    kept = distance * math.e**-gap  # not math.exp, which takes no arrays of JAX
    return kept / (1 - distance + kept)


def _finite(z_PxD: jax.Array) -> np.ndarray:
    embeddings = np.asarray(z_PxD)
    if not np.isfinite(embeddings).all():
        raise LocalizeError("the model's embeddings are not finite numbers; its weights are unfit")
    return embeddings


def _cells_to_patches(cells: np.ndarray, grid: Grid) -> np.ndarray:
    """A patch's part is that of the cell at its middle: [h, w] -> [rows, columns]."""
    down, across = (
        (n - m) // 2 for n, m in zip(cells.shape, (grid.rows, grid.columns), strict=True)
    )
    return cells[down : down + grid.rows, across : across + grid.columns]


def is_flat(image: np.ndarray) -> np.ndarray:
    """Whether uint8 [H, W, 3], of NumPy or of JAX, is a plain colour: a scalar."""
    step = max(1, math.isqrt(image.size >> 20))  # about a million samples of a large photo
    return (image[::step, ::step].std(axis=(0, 1)) < _FLAT_STD).all()
