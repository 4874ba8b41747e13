"""What the EXIF of known photos says a photo's pixels look like: Bayes over a reference set.

`exif_regression` says how likely each EXIF of a reference set is for a photo's pixels, and that
makes a posterior over its photos. The posterior of one tag's value is the mass on the photos that
carry it; its ratio to the share that the value has in the set says what the pixels add. Numbers
count as equal when they are near (`coarse_value`): cameras of unknown models have exposure times
that no photo of the set has to the last digit.

NumPy on small arrays. Shape letter: N photos of the reference set.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from exif_jax.forensics.calibration import camera_weights
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.exif import camera_name

# Tags whose numbers count by size: they are rounded to a geometric series that holds the first
# number, and whose steps are powers of two to the second.
_SERIES = {
    "Aperture Value": (2.8, 0.5),
    "Digital Zoom Ratio": (1.0, 1.0),
    "Exif Image Height": (3000.0, 0.5),
    "Exif Image Width": (4000.0, 0.5),
    "Exposure Time": (1 / 60, 2.0),
    "F Number": (2.8, 0.5),
    "Focal Length": (50.0, 1.0),
    "Focal Length In 35mm Format": (50.0, 1.0),
    "ISO": (100.0, 1.0),
    "Max Aperture Value": (2.8, 0.5),
    "Shutter Speed Value": (1 / 60, 2.0),
    "X Resolution": (72.0, 1.0),
    "Y Resolution": (72.0, 1.0),
}
# This share of the posterior is the reference set's own: no value is ever impossible.
_PRIOR_SHARE = 0.1

# tag -> coarse value -> (posterior probability, share in the reference set)
TagPosteriors = Mapping[str, Mapping[str, tuple[float, float]]]


class ReferenceSetError(ExifJaxError, ValueError):
    """The description of a reference set is not one that this version can read."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceSet:
    """EXIF of known photos.

    Attributes:
        photos: N canonical mappings, tag -> value text.
        weights: float64 [N], sum 1: n photos of one camera weigh as much as sqrt(n) single ones.
    """

    photos: tuple[dict[str, str], ...]
    weights: np.ndarray


def make_reference_set(photos: Sequence[dict[str, str]]) -> ReferenceSet:
    """Weighs the photos by their cameras (`ReferenceSet.weights`)."""
    cameras = [camera_name(tags) for tags in photos]
    return ReferenceSet(tuple(photos), camera_weights(cameras))


def to_json(reference_set: ReferenceSet) -> dict[str, Any]:
    """Returns the reference set as plain types, each value text once."""
    tags = sorted({tag for photo in reference_set.photos for tag in photo})
    values = [sorted({p[tag] for p in reference_set.photos if tag in p}) for tag in tags]
    places = [{value: i for i, value in enumerate(tag_values)} for tag_values in values]
    rows = [
        [place.get(photo.get(tag, ""), -1) for tag, place in zip(tags, places, strict=True)]
        for photo in reference_set.photos
    ]
    return {"tags": tags, "values": values, "photos": rows}


def from_json(data: Any) -> ReferenceSet:
    """Undoes `to_json`.

    Args:
        data: what a release file holds; anyone may have written it.

    Raises:
        ReferenceSetError: this is no reference set.
    """
    try:
        tags, values = list(map(str, data["tags"])), [list(map(str, v)) for v in data["values"]]
        photos = [
            {
                tag: tag_values[i]
                for tag, tag_values, i in zip(tags, values, row, strict=True)
                if i >= 0
            }
            for row in data["photos"]
        ]
        if not photos:
            raise ValueError("no photos")
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
        raise ReferenceSetError(f"not a reference set of EXIF ({type(e).__name__}: {e})") from e
    return make_reference_set(photos)


def coarse_value(tag: str, value: str) -> str:
    """Returns the value as it counts for comparing.

    A number of a tag like ISO or Focal Length is rounded to the nearest of a geometric series, in
    about two digits ("~400"); everything else stays as it is.
    """
    if tag not in _SERIES:
        return value
    number = number_in(value)
    if number is None:
        return value
    base, step = _SERIES[tag]
    rounded = base * 2.0 ** (round(math.log2(number / base) / step) * step)
    return f"~1/{_two_digits(1 / rounded)}" if rounded < 0.45 else f"~{_two_digits(rounded)}"


def number_in(value: str) -> float | None:
    """Returns the first number or ratio of a text, where it lies between 1e-6 and 1e9."""
    match = re.search(r"(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?", value)
    if not match:
        return None
    number = float(match[1]) / (float(match[2] or 1) or math.inf)
    return number if 1e-6 < number < 1e9 else None


def _two_digits(number: float) -> str:
    decimals = 1 - math.floor(math.log10(number))
    return f"{round(number, decimals):.{max(decimals, 0)}f}".removesuffix(".0")


def photo_posterior(log_likelihood_N: np.ndarray, reference_set: ReferenceSet) -> np.ndarray:
    """Returns the posterior over the set's photos, float64 [N] with sum 1.

    Args:
        log_likelihood_N: of each photo's EXIF for some pixels; a constant may be missing.
        reference_set: the known photos, whose weights are the prior.
    """
    posterior_N = reference_set.weights * np.exp(log_likelihood_N - log_likelihood_N.max())
    return posterior_N / posterior_N.sum()


def tag_posteriors(
    posterior_N: np.ndarray, reference_set: ReferenceSet
) -> dict[str, dict[str, tuple[float, float]]]:
    """What the pixels say of every tag: {tag: {coarse value: (posterior, share in the set)}}.

    Both sum to 1 over a tag's values; photos without the tag do not count. A tenth of each
    posterior is the set's share, so that no value is impossible.
    """
    sums: dict[str, dict[str, list[float]]] = {}
    for photo, mass, weight in zip(
        reference_set.photos, posterior_N, reference_set.weights, strict=True
    ):
        for tag, value in photo.items():
            pair = sums.setdefault(tag, {}).setdefault(coarse_value(tag, value), [0.0, 0.0])
            pair[0] += float(mass)
            pair[1] += float(weight)
    posteriors = {}
    for tag, values in sums.items():
        total_mass = max(sum(mass for mass, _ in values.values()), 1e-300)
        total_weight = sum(weight for _, weight in values.values())
        posteriors[tag] = {}
        for value, (mass, weight) in values.items():
            share = weight / total_weight
            posterior = (1 - _PRIOR_SHARE) * mass / total_mass + _PRIOR_SHARE * share
            posteriors[tag][value] = (posterior, share)
    return posteriors
