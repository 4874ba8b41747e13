"""The Python interface: a path or an array in, a result out.

    import exif_jax

    localization = exif_jax.localize_photo("photo.jpg")
    verification = exif_jax.verify_photo("photo.jpg")

Both take a loaded model (`exif_jax.load_model`), the path of a release file, or None for the
weights that ship.
"""

from __future__ import annotations

import functools
import os

import numpy as np

from exif_jax.forensics import verification
from exif_jax.forensics.localization import localize
from exif_jax.forensics.methods import LocalizationSettings
from exif_jax.forensics.result import Localization
from exif_jax.forensics.suitability import objection_to_kind
from exif_jax.forensics.verification import Verification
from exif_jax.io.fork import refuse_after_fork
from exif_jax.reading.photo import Photo, read_photo
from exif_jax.weights import release_file
from exif_jax.weights.release_file import Model


def localize_photo(
    photo: np.ndarray | Photo | str | os.PathLike,
    model: Model | str | os.PathLike | None = None,
    settings: LocalizationSettings | None = None,
) -> Localization:
    """Finds the parts of a photo that another camera seems to have made.

    Args:
        photo: uint8 [H, W, 3] at full resolution, never resized; a photo of `read_photo`; or the
            path of one.
        model: a loaded model, or the path of its release file; the weights that ship where None.
        settings: the defaults where None.

    Raises:
        LocalizeError: the array is no RGB image, or smaller than the model's patch.
        PhotoError: the file cannot be read as a photo.
        ReleaseError: the model cannot be read.
        ForkError: this process was forked after JAX had started.
    """
    model = resolve_model(model)
    if isinstance(photo, str | os.PathLike):
        photo = read_photo(photo)
    if not isinstance(photo, Photo):
        return localize(photo, model, settings)
    return localize(photo.pixels, model, settings, objection_to_kind(photo))


def verify_photo(
    photo: Photo | str | os.PathLike, model: Model | str | os.PathLike | None = None
) -> Verification:
    """Compares a photo's pixels with its own EXIF.

    Args:
        photo: as `read_photo` gives it, or a path.
        model: a loaded model, or the path of its release file; the weights that ship where None.

    Raises:
        VerifyError: what the model carries to compare with cannot be read.
        LocalizeError: the photo is smaller than a patch.
        PhotoError: the file cannot be read as a photo.
        ReleaseError: the model cannot be read.
        ForkError: this process was forked after JAX had started.
    """
    model = resolve_model(model)
    if isinstance(photo, str | os.PathLike):
        photo = read_photo(photo)
    return verification.verify(photo.pixels, photo.exif, model, photo.objection)


def resolve_model(model: Model | str | os.PathLike | None) -> Model:
    """Returns a loaded model as it is, one read from a path, or, of None, the one that ships.

    Raises:
        ForkError: this process was forked after JAX had started.
        ReleaseError: the path is empty, or its file cannot be read as a model.
    """
    refuse_after_fork()
    if model is None:
        return _shipped_model()
    if not isinstance(model, str | os.PathLike):
        return model
    return release_file.load_model(model)


@functools.cache
def _shipped_model() -> Model:
    return release_file.load_model()
