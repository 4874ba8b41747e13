"""One photo's pixels and any encoder to a `Localization`: the map, the parts and the score.

No files are read or written here: arrays and a loaded model in, results out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from exif_jax.forensics import affinity, learned_map, patches, regions
from exif_jax.forensics.calibration import objection_to_score
from exif_jax.forensics.methods import (
    LEARNED,
    METHODS,
    LocalizationSettings,
    checked_image,
    finite_embeddings,
    flat_result,
    method_of_score,
    part_variation,
)
from exif_jax.forensics.patches import Encoder, Grid, PhotoFeatures
from exif_jax.forensics.score_calibration import Conditions
from exif_jax.forensics.suitability import FLAT, is_flat
from exif_jax.forensics.verdict import (
    CANNOT_TELL,
    NOT_JUDGED,
    Judgement,
    Picture,
    cannot_tell,
    judge,
)
from exif_jax.reading.quantization import quantization_step

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model


@dataclasses.dataclass(frozen=True, eq=False)
class Localization:
    """What `localize` makes of a photo of H x W pixels, P = grid.rows * grid.columns patches.

    Attributes:
        embed: gives `embeddings`.
        heatmap: float32 [H, W] in [0, 1]: 0 is one with most of the photo, 1 unrelated. Never
            stretched, and nothing is taken off for content; its highest places may mean nothing
            where the score is low.
        clusters: int32 [rows, columns]: the patches in two parts, 1 in the smaller. There are
            always two, in a pristine photo too.
        score: higher is less consistent. By the cut, 1 - cosine of the two parts' means, less what
            their content explains (`methods.content_adjusted_score`); by the learned map, the
            probability of its surest hundredth; by mean shift, as in the paper, the mean of
            1 - cosine over all pairs of patches.
        scored_by: the method that gave the score: with "auto", "cut" or in small pictures "map".
        grid: where the patches lie.
        flat: the photo shows no texture; map, clusters and score are zeros.
        share_of_map: of the learned map in the heatmap: 1 of it alone, 0 where it took no part.
        map_id: of the learned map's release file; "" where it took no part.
        gradient_energy_gap: how unlike the cut's parts are in texture
            (`methods.gradient_energy_gap`); 0 by other methods.
        quantization_step: how strongly it was last compressed, as far as its pixels show it
            (`exif_jax.reading.quantization`); 0 where they do not.
        threshold: what the heatmap exceeds in the mask: where it parts the photo's patches best
            (`regions.threshold_of`), and where the learned map took part its own values
            (`regions.otsu`).
        judgement: what the score means.
    """

    embed: Callable[[], np.ndarray]
    heatmap: np.ndarray
    clusters: np.ndarray
    score: float
    grid: Grid
    scored_by: str = "cut"
    flat: bool = False
    share_of_map: float = 0.0
    map_id: str = ""
    gradient_energy_gap: float = 0.0
    quantization_step: float = 0.0
    threshold: float = 1.0
    judgement: Judgement = NOT_JUDGED

    @functools.cached_property
    def embeddings(self) -> np.ndarray:
        """float32 [P, D], unit rows, row by row over the grid.

        Where the learned map alone judged the photo they are made when they are first asked for,
        and raise LocalizeError where the encoder fails it.
        """
        return self.embed()

    @functools.cached_property
    def affinity(self) -> np.ndarray:
        """float32 [P, P], cosines of the embeddings."""
        return np.asarray(affinity.affinity_matrix(self.embeddings))

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
        """What the meaning of the score depends on; of the learned map's, the file alone."""
        file = Conditions(math.log(self.grid.area), self.quantization_step)
        if self.scored_by == "map":
            return file
        return file._replace(
            gap=self.gradient_energy_gap,
            variation=float(part_variation(self.embeddings, self.clusters, self.grid)),
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
    image = checked_image(image, model.patch_size)
    share = share_of_map(settings, *image.shape[:2])
    area = image.shape[0] * image.shape[1] / model.patch_size**2
    if share == 1 and method_of_score(settings.method, area) == "map" and not is_flat(image):
        localization = _by_learned_map(image, model, settings)
    else:
        localization = localize_with_encoder(
            image,
            patches.image_encoder(model.config),
            model.params,
            model.patch_size,
            settings,
            patches.features_of_photo(model.config),
        )
        if share > 0 and not localization.flat:
            localization = _with_learned_map(localization, image, settings, share)
    method = localization.scored_by
    calibration = model.calibration.get("scores", {}).get(method, {})
    objection = objection or objection_to_score(
        model.calibration, localization.grid, method, localization.map_id
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


def share_of_map(settings: LocalizationSettings, height: int, width: int) -> float:
    """The learned map's share of the map of a photo of so many pixels, in [0, 1]."""
    if settings.method not in LEARNED:
        return 0.0
    return 1.0 if settings.method == "map" else learned_map.share_of_map(height, width)


def _by_learned_map(
    image: np.ndarray, model: Model, settings: LocalizationSettings
) -> Localization:
    """By the learned map alone; the patches are embedded when somebody asks for them."""
    grid = _photo_grid(image, model.patch_size, settings)
    map_model = learned_map.loaded_map(settings.map_model)
    logits = learned_map.block_logits(image, map_model)
    heatmap = learned_map.probability(learned_map.upsampled(logits, *image.shape[:2]))

    def embed() -> np.ndarray:
        encode = patches.image_encoder(model.config)
        features = patches.features_of_photo(model.config)
        return finite_embeddings(_embedded(image, encode, model.params, grid, settings, features))

    return Localization(
        embed=embed,
        heatmap=heatmap,
        clusters=learned_map.parts(heatmap, grid),
        score=learned_map.picture_score(logits),
        grid=grid,
        scored_by="map",
        share_of_map=1.0,
        map_id=map_model.id,
        quantization_step=float(quantization_step(image)),
        threshold=regions.otsu(heatmap),
    )


def _with_learned_map(
    localization: Localization, image: np.ndarray, settings: LocalizationSettings, share: float
) -> Localization:
    """A localisation by the cut in which the learned map takes its share."""
    height, width = image.shape[:2]
    model = learned_map.loaded_map(settings.map_model)
    logits = learned_map.block_logits(image, model)
    heatmap = learned_map.mixed(
        learned_map.upsampled(logits, height, width), localization.heatmap, share
    )
    localization = dataclasses.replace(
        localization,
        heatmap=heatmap,
        share_of_map=share,
        map_id=model.id,
        threshold=regions.otsu(heatmap),
    )
    if method_of_score(settings.method, localization.grid.area) != "map":
        return localization
    return dataclasses.replace(
        localization,
        clusters=learned_map.parts(heatmap, localization.grid),
        score=learned_map.picture_score(logits),
        scored_by="map",
    )


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
        photo_features: what overlapping patches can share, as `patches.embed_patches` takes it.

    Raises:
        LocalizeError: the array is no RGB image, smaller than a patch, or the encoder fails it.
    """
    settings = settings or LocalizationSettings()
    method = METHODS[settings.method]
    image = checked_image(image, patch)
    grid = _photo_grid(image, patch, settings)
    z_PxD = _embedded(image, encode, params, grid, settings, photo_features)
    # Nothing is waited for here: while the device encodes, the next steps are traced and loaded.
    flat = bool(is_flat(image))
    step = 0.0 if flat else float(quantization_step(image))
    result = flat_result(grid) if flat else method.analyze(z_PxD, image, grid)
    embeddings, heatmap = finite_embeddings(z_PxD), np.asarray(result.heatmap)
    return Localization(
        embed=lambda: embeddings,
        heatmap=heatmap,
        clusters=np.asarray(result.clusters).reshape(grid.rows, grid.columns),
        score=float(result.score),
        grid=grid,
        scored_by="cut" if settings.method in LEARNED else settings.method,
        flat=flat,
        gradient_energy_gap=float(result.gradient_energy_gap),
        quantization_step=step,
        threshold=regions.threshold_of(heatmap, embeddings, grid),
        judgement=cannot_tell(FLAT) if flat else NOT_JUDGED,
    )


def _photo_grid(image: np.ndarray, patch: int, settings: LocalizationSettings) -> Grid:
    height, width = image.shape[:2]
    return patches.patch_grid(
        height,
        width,
        patch,
        num_per_dim=settings.num_per_dim,
        max_patches=settings.max_patches,
        align=METHODS[settings.method].align or settings.align,
    )


def _embedded(
    image: np.ndarray,
    encode: Encoder,
    params: Any,
    grid: Grid,
    settings: LocalizationSettings,
    photo_features: PhotoFeatures | None,
) -> jax.Array:
    """Embeddings of a photo's patches, [P, D]; arguments as for `localize_with_encoder`."""
    method = METHODS[settings.method]
    return patches.embed_patches(
        encode,
        params,
        image if method.encoder_input is None else method.encoder_input(image),
        grid,
        settings.batch_size,
        photo_features,
    )
