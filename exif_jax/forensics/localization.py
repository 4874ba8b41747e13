"""One photo's pixels and any encoder to a `Localization`: the map, the parts and the score.

No files are read or written here: arrays and a loaded model in, results out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from exif_jax.forensics import affinity, clustering, learned_map, patches, regions
from exif_jax.forensics.calibration import objection_to_score
from exif_jax.forensics.methods import (
    LEARNED,
    METHODS,
    LocalizationSettings,
    checked_image,
    finite_embeddings,
    flat_result,
)
from exif_jax.forensics.patches import Encoder, Grid, PhotoFeatures
from exif_jax.forensics.result import Localization
from exif_jax.forensics.suitability import FLAT, is_flat
from exif_jax.forensics.verdict import (
    NOT_JUDGED,
    Judgement,
    Picture,
    cannot_tell,
    judge,
)
from exif_jax.reading.quantization import quantization_step

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model


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
    height, width = image.shape[:2]
    if settings.method == "map" and not is_flat(image):
        localization = _by_learned_map(image, model, settings)
    else:
        *finer, patch = sides_of_patches(height, width, model, settings.method)
        localization = localize_with_encoder(
            image,
            patches.image_encoder(model.config),
            model.params,
            patch,
            settings,
            patches.features_of_photo(model.config),
            finer,
        )
        if settings.method == "auto" and not localization.flat:
            localization = _with_learned_map(localization, image, settings)
    area = localization.grid.area * (localization.grid.patch / model.patch_size) ** 2
    localization = dataclasses.replace(localization, area=area)
    method = localization.scored_by
    calibration = model.calibration.get("scores", {}).get(method, {})
    objection = objection or objection_to_score(
        model.calibration, localization.grid, area, method, localization.map_id
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


def localize_by_own_patches(image: np.ndarray, model: Model) -> Localization:
    """By the cut, with patches of the side that the model was trained for; without a p-value."""
    return localize_with_encoder(
        image,
        patches.image_encoder(model.config),
        model.params,
        model.patch_size,
        LocalizationSettings(method="cut"),
        patches.features_of_photo(model.config),
    )


def sides_of_patches(height: int, width: int, model: Model, method: str) -> tuple[int, ...]:
    """Sides of the patches that a photo of so many pixels is localised by (`patches.patch_sides`).

    The paper's method and the released code's have the model's own patch alone.
    """
    positions = getattr(model.config.image, "positions", "learned")
    if method not in (*LEARNED, "cut"):
        positions = "learned"
    return patches.patch_sides(height, width, model.patch_size, positions)


def _by_learned_map(
    image: np.ndarray, model: Model, settings: LocalizationSettings
) -> Localization:
    """By the learned map alone; the patches are embedded when somebody asks for them."""
    height, width = image.shape[:2]
    side = sides_of_patches(height, width, model, settings.method)[-1]
    grid = _photo_grid(image, side, settings)
    map_model = learned_map.loaded_map(settings.map_model)
    logits, places = learned_map.logits_of(image, map_model)
    heatmap = learned_map.probability(learned_map.upsampled(logits, places))

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
        area=grid.area,
        scored_by="map",
        share_of_map=1.0,
        map_id=map_model.id,
        quantization_step=float(quantization_step(image)),
        threshold=regions.otsu(heatmap),
    )


def _with_learned_map(
    localization: Localization, image: np.ndarray, settings: LocalizationSettings
) -> Localization:
    """A localisation by the cut in which the learned map takes its share."""
    longer = max(image.shape[:2])
    model = learned_map.loaded_map(settings.map_model)
    logits, places = learned_map.logits_of(image, model)
    map_score = learned_map.picture_score(logits)
    gain = learned_map.gain_of_cut(longer, localization.quantization_step)
    share = learned_map.share_of_map(map_score, localization.score, gain)
    heatmap = learned_map.mixed(learned_map.upsampled(logits, places), localization.heatmap, share)
    small = longer <= learned_map.SMALL
    score = learned_map.joint_score(map_score, localization.score, localization.variation, small)
    return dataclasses.replace(
        localization,
        heatmap=heatmap,
        score=score,
        scored_by="auto",
        share_of_map=share,
        map_id=model.id,
        threshold=regions.otsu(heatmap),
    )


def localize_with_encoder(
    image: np.ndarray,
    encode: Encoder,
    params: Any,
    patch: int,
    settings: LocalizationSettings | None = None,
    photo_features: PhotoFeatures | None = None,
    finer: Sequence[int] = (),
) -> Localization:
    """`localize` with any encoder, without a p-value.

    Args:
        image: uint8 [H, W, 3].
        encode: (params, uint8 [B, S, S, 3]) -> [B, D], pure; compiled once per function object.
        params: any pytree.
        patch: side S of the patches, in pixels.
        settings: the defaults where None.
        photo_features: what overlapping patches can share, as `patches.embed_patches` takes it.
        finer: sides of smaller patches, by which the photo is mapped too; the heatmap is the mean.

    Raises:
        LocalizeError: the array is no RGB image, smaller than a patch, or the encoder fails it.
    """
    settings = settings or LocalizationSettings()
    method = METHODS[settings.method]
    image = checked_image(image, patch)
    grid = _photo_grid(image, patch, settings)
    z_PxD = _embedded(image, encode, params, grid, settings, photo_features)

    def finer_map(side: int) -> np.ndarray:
        finer_grid = _photo_grid(image, side, settings)
        z = _embedded(image, encode, params, finer_grid, settings, photo_features)
        finite_embeddings(z)
        return np.asarray(affinity.upsample(clustering.spatial_cut(z, finer_grid)[0], finer_grid))

    # Nothing is waited for here: while the device encodes, the next steps are traced and loaded.
    flat = bool(is_flat(image))
    step = 0.0 if flat else float(quantization_step(image))
    result = flat_result(grid) if flat else method.analyze(z_PxD, image, grid)
    embeddings, heatmap = finite_embeddings(z_PxD), np.asarray(result.heatmap)
    result = result._replace(heatmap=None)  # of 100 megapixels it takes 400 MB
    for side in () if flat else finer:
        heatmap = heatmap + finer_map(side)
    if finer and not flat:
        heatmap /= 1 + len(finer)
    return Localization(
        embed=lambda: embeddings,
        heatmap=heatmap,
        clusters=np.asarray(result.clusters).reshape(grid.rows, grid.columns),
        score=float(result.score),
        grid=grid,
        area=grid.area,
        scored_by="cut" if settings.method in LEARNED else settings.method,
        flat=flat,
        gradient_energy_gap=float(result.gradient_energy_gap),
        variation=float(result.variation),
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
