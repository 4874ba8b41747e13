"""Which cameras are held out for validation: no camera model is in both splits."""

from collections.abc import Mapping

from data_prep.processing.settings import PrepSettings, seeded_hash

Camera = tuple[str, str]  # make, model


def validation_cameras(photos: Mapping[Camera, int], settings: PrepSettings) -> set[Camera]:
    """Chooses the cameras to hold out.

    Cameras are taken in hashed order, each if it brings the held-out photos nearer to the fraction
    asked for. With two or more cameras and a fraction above 0, both splits have at least one.

    Args:
      photos: Camera -> number of photos.
      settings: `validation_fraction` and `seed`.

    Returns:
      The cameras of the validation split.
    """
    order = sorted(
        photos, key=lambda camera: (seeded_hash(settings.seed, "camera", *camera), camera)
    )
    target = settings.validation_fraction * sum(photos.values())
    chosen: set[Camera] = set()
    total = 0
    for camera in order:
        if abs(total + photos[camera] - target) < abs(total - target):
            chosen.add(camera)
            total += photos[camera]
    if not chosen and target > 0 and len(order) > 1:
        chosen = {min(order, key=lambda camera: photos[camera])}
    if chosen and len(chosen) == len(order):
        chosen.remove(max(order, key=lambda camera: photos[camera]))
    return chosen
