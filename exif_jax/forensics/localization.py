"""One photo's pixels and any encoder to a `Localization`: the map, the parts and the score.

No files are read or written here: arrays and a loaded model in, results out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from exif_jax.forensics import affinity, patches, regions
from exif_jax.forensics.calibration import objection_to_score
from exif_jax.forensics.methods import (
    DEFAULT_METHOD,
    METHODS,
    LocalizeError,
    MethodResult,
    finite_embeddings,
)
from exif_jax.forensics.patches import Encoder, Grid, PhotoFeatures
from exif_jax.forensics.score_calibration import Conditions
from exif_jax.forensics.verdict import (
    CANNOT_TELL,
    NOT_JUDGED,
    Judgement,
    Picture,
    cannot_tell,
    judge,
)
from exif_jax.reading.pixels import BLOCK
from exif_jax.reading.quantization import quantization_step

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

FLAT = "the photo is flat: it shows no texture, so there is nothing to compare"

# The share of a map's maximum above which a pixel is in the mask, where no calibration says it.
_MASK_SHARE = 0.5

# Times that the patches must cover the photo for shared features to pay: they need memory.
_MIN_OVERLAP = 2

# Below this standard deviation of its values, in levels of 255, a photo is a plain colour.
_FLAT_STD = 0.5


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
        method: a name of `exif_jax.forensics.methods.METHODS`: "cut", "mean_shift" (the paper's) or
            "official" (the paper's released code). Another name raises ValueError.
    """

    num_per_dim: int = 30
    max_patches: int = 4096
    align: int = 8
    batch_size: int | None = None
    method: str = DEFAULT_METHOD

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method is {self.method!r}, not one of {', '.join(METHODS)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Localization:
    """What `localize` makes of a photo of H x W pixels, P = grid.rows * grid.columns patches.

    Attributes:
        embeddings: float32 [P, D], unit rows, row by row over the grid.
        affinity: float32 [P, P], cosines.
        heatmap: float32 [H, W] in [0, 1]: 0 is one with most of the photo, 1 unrelated. Never
            stretched, and nothing is taken off for content; its highest places may mean nothing
            where the score is low.
        clusters: int32 [rows, columns]: the patches in two parts, 1 in the smaller. There are
            always two, in a pristine photo too.
        score: higher is less consistent. By the cut, 1 - cosine of the two parts' means, less what
            their content explains (`methods.content_adjusted_score`); by mean shift, as in the
            paper, the mean of 1 - cosine over all pairs of patches.
        grid: where the patches lie.
        flat: the photo shows no texture; map, clusters and score are zeros.
        gradient_energy_gap: how unlike the cut's parts are in texture
            (`methods.gradient_energy_gap`); 0 by other methods.
        texture: how rough the photo is (`methods.mean_texture`); 0 by other methods.
        quantization_step: how strongly it was last compressed, as far as its pixels show it
            (`exif_jax.reading.quantization`); 0 where they do not.
        threshold: what the heatmap exceeds in the mask: a share of its maximum that was chosen
            by calibration.
        judgement: what the score means.
    """

    embeddings: np.ndarray
    affinity: np.ndarray
    heatmap: np.ndarray
    clusters: np.ndarray
    score: float
    grid: Grid
    flat: bool = False
    gradient_energy_gap: float = 0.0
    texture: float = 0.0
    quantization_step: float = 0.0
    threshold: float = 1.0
    judgement: Judgement = NOT_JUDGED

    @property
    def p_value(self) -> float | None:
        """How often a pristine photo scores so; None where the photo cannot be judged."""
        return self.judgement.p_value

    @property
    def likelihood_ratio(self) -> float | None:
        """How much more often splices than pristine photos score so; None where unknown."""
        return self.judgement.likelihood_ratio

    @property
    def band(self) -> str | None:
        """One of `verdict.BANDS`; None where the photo cannot be judged."""
        return self.judgement.band

    @property
    def verdict(self) -> str:
        """The band, or "cannot tell"."""
        return self.judgement.band or CANNOT_TELL

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return self.judgement.reason

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W]: what the map singles out, whatever the verdict."""
        return regions.mask_of(self.heatmap, self.threshold)

    @property
    def conditions(self) -> Conditions:
        """What the meaning of the score depends on."""
        return Conditions(
            math.log(self.grid.area),
            self.gradient_energy_gap,
            self.texture,
            self.quantization_step,
        )


def localize(
    image: np.ndarray,
    model: Model,
    settings: LocalizationSettings | None = None,
    objection: str = "",
) -> Localization:
    """Localises with a loaded model and gives the score's p-value where the calibration holds.

    Args:
        image: uint8 [H, W, 3] at full resolution, never resized.
        model: a loaded model.
        settings: the defaults where None.
        objection: why this photo must not be judged, in words (`Photo.objection`); it then gets
            no p-value and no band. "" where nothing speaks against it.

    Raises:
        LocalizeError: the array is no RGB image, or smaller than the model's patch.
    """
    settings = settings or LocalizationSettings()
    localization = localize_with_encoder(
        image,
        image_encoder(model.config),
        model.params,
        model.patch_size,
        settings,
        _photo_features(model.config),
    )
    calibration = model.calibration.get("scores", {}).get(settings.method, {})
    share = calibration.get("mask_share", _MASK_SHARE)
    threshold = share * float(localization.heatmap.max())
    localization = dataclasses.replace(localization, threshold=threshold)
    objection = objection or objection_to_score(
        model.calibration, localization.grid, settings.method
    )
    return dataclasses.replace(
        localization, judgement=_judgement(localization, calibration, objection)
    )


def _judgement(
    localization: Localization, calibration: Mapping[str, Any], objection: str
) -> Judgement:
    if localization.flat:
        return cannot_tell(FLAT)
    if objection:
        return cannot_tell(objection)
    picture = Picture(regions.compactness(localization.clusters), float(localization.mask.mean()))
    return judge(calibration, localization.score, localization.conditions, picture)


# Flax is imported with the first photo: it takes a quarter of a second, which `--help` spares.


@functools.lru_cache
def image_encoder(config: Any) -> Encoder:
    """Returns the one encoder of a configuration: JAX compiles once per function object."""
    from exif_jax.models.dual_encoder import embed_images

    return functools.partial(embed_images, config)


def _photo_features(config: Any) -> PhotoFeatures | None:
    from exif_jax.models.dual_encoder import photo_features

    return photo_features if getattr(config.image, "features", "") == "spectrum" else None


def localize_with_encoder(
    image: np.ndarray,
    encode: Encoder,
    params: Any,
    patch: int,
    settings: LocalizationSettings | None = None,
    photo_features: PhotoFeatures | None = None,
) -> Localization:
    """`localize` with any encoder, without a p-value.

    Args:
        image: uint8 [H, W, 3].
        encode: (params, uint8 [B, S, S, 3]) -> [B, D], pure; compiled once per function object.
        params: any pytree.
        patch: side S of the patches, in pixels.
        settings: the defaults where None.
        photo_features: what overlapping patches can share, as `patches.embed_patches` takes it;
            used where the patches' corners lie on the photo's 8 x 8 blocks.

    Raises:
        LocalizeError: the array is no RGB image, smaller than a patch, or the encoder fails it.
    """
    settings = settings or LocalizationSettings()
    method = METHODS[settings.method]
    image = _checked_image(image, patch)
    height, width = image.shape[:2]
    grid = patches.patch_grid(
        height,
        width,
        patch,
        num_per_dim=settings.num_per_dim,
        max_patches=settings.max_patches,
        align=method.align or settings.align,
    )
    overlap = grid.num_patches / grid.area
    shared = overlap >= _MIN_OVERLAP and grid.stride % BLOCK == 0
    # On a CPU a small batch stays in the cache (`benchmarks/localize.py --batch-size` compares).
    batch_size = settings.batch_size or (32 if jax.default_backend() == "cpu" else 128)
    z_PxD = patches.embed_patches(
        encode,
        params,
        image if method.encoder_input is None else method.encoder_input(image),
        grid,
        batch_size,
        photo_features if shared else None,
    )
    # Nothing is waited for here: while the device encodes, the next steps are traced and loaded.
    flat = bool(is_flat(image))
    step = 0.0 if flat else float(quantization_step(image))
    result = _flat_result(grid) if flat else method.analyze(z_PxD, image, grid)
    affinities = affinity.affinity_matrix(z_PxD)
    return Localization(
        embeddings=finite_embeddings(z_PxD),
        affinity=np.asarray(affinities),
        heatmap=np.asarray(result.heatmap),
        clusters=np.asarray(result.clusters).reshape(grid.rows, grid.columns),
        score=float(result.score),
        grid=grid,
        flat=flat,
        gradient_energy_gap=float(result.gradient_energy_gap),
        texture=float(result.texture),
        quantization_step=step,
        threshold=_MASK_SHARE * float(result.heatmap.max()),
        judgement=cannot_tell(FLAT) if flat else NOT_JUDGED,
    )


def _checked_image(image: np.ndarray, patch: int) -> np.ndarray:
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


def _flat_result(grid: Grid) -> MethodResult:
    return MethodResult(
        heatmap=np.zeros((grid.height, grid.width), np.float32),
        clusters=np.zeros(grid.num_patches, np.int32),
        score=0.0,
    )


def is_flat(image: Any) -> Any:
    """Whether uint8 [H, W, 3], of NumPy or of JAX, is a plain colour: a bool scalar."""
    step = max(1, math.isqrt(image.size >> 20))  # about a million samples of a large photo
    return (image[::step, ::step].std(axis=(0, 1)) < _FLAT_STD).all()
