"""What the EXIF of known photos says a patch of pixels looks like: Bayes over a reference set.

The model was trained to pick, among EXIF texts, the one of a patch's own photo: softmax(scale *
cos) is its posterior over the texts it is shown. Shown the texts of a reference set, the posterior
of one tag's value is the mass on the photos that carry it. Its ratio to the share that the value
has in the set says what the pixels add. Numbers count as equal when they are near (`coarse_value`):
cameras of unknown models have exposure times that no photo of the set has to the last digit.

NumPy on small arrays. Shape letters: N photos of the reference set, D embedding width.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
        embeddings: float32 [N, D], unit rows: the photos' EXIF texts by the model.
    """

    photos: tuple[dict[str, str], ...]
    weights: np.ndarray
    embeddings: np.ndarray


def make_reference_set(photos: Sequence[dict[str, str]], embeddings: np.ndarray) -> ReferenceSet:
    """Weighs the photos by their cameras (`ReferenceSet.weights`)."""
    cameras = [camera_name(tags) for tags in photos]
    counts = collections.Counter(cameras)
    weights = np.array([counts[name] ** -0.5 for name in cameras])
    return ReferenceSet(tuple(photos), weights / weights.sum(), embeddings)


def to_json(reference_set: ReferenceSet) -> dict[str, Any]:
    """Returns the reference set as plain types, each value text once.

    The embeddings become the base64 of float16, which moves each number by 2**-11 of it at most.
    """
    tags = sorted({tag for photo in reference_set.photos for tag in photo})
    values = [sorted({p[tag] for p in reference_set.photos if tag in p}) for tag in tags]
    places = [{value: i for i, value in enumerate(tag_values)} for tag_values in values]
    rows = [
        [place.get(photo.get(tag, ""), -1) for tag, place in zip(tags, places, strict=True)]
        for photo in reference_set.photos
    ]
    packed = base64.b64encode(reference_set.embeddings.astype("<f2").tobytes()).decode()
    return {"tags": tags, "values": values, "photos": rows, "embeddings": packed}


def from_json(data: Any, embed_dim: int) -> ReferenceSet:
    """Undoes `to_json`.

    Args:
        data: what a release file holds; anyone may have written it.
        embed_dim: D of the model.

    Raises:
        ReferenceSetError: this is no reference set, or its embeddings are not finite or not [N, D].
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
        packed = base64.b64decode(data["embeddings"], validate=True)
        embeddings = np.frombuffer(packed, "<f2").reshape(len(photos), embed_dim)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
        raise ReferenceSetError(f"not a reference set of EXIF ({type(e).__name__}: {e})") from e
    if not np.isfinite(embeddings).all():
        raise ReferenceSetError("the embeddings of the reference set are not finite numbers")
    return make_reference_set(photos, embeddings.astype(np.float32))


def coarse_value(tag: str, value: str) -> str:
    """Returns the value as it counts for comparing.

    A number of a tag like ISO or Focal Length is rounded to the nearest of a geometric series, in
    about two digits ("~400"); everything else stays as it is.
    """
    if tag not in _SERIES:
        return value
    match = re.search(r"(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?", value)
    if not match:
        return value
    number = float(match[1]) / (float(match[2] or 1) or math.inf)
    if not 1e-6 < number < 1e9:
        return value
    base, step = _SERIES[tag]
    rounded = base * 2.0 ** (round(math.log2(number / base) / step) * step)
    return f"~1/{_two_digits(1 / rounded)}" if rounded < 0.45 else f"~{_two_digits(rounded)}"


def _two_digits(number: float) -> str:
    decimals = 1 - math.floor(math.log10(number))
    return f"{round(number, decimals):.{max(decimals, 0)}f}".removesuffix(".0")


def photo_posterior(
    image_embedding_D: np.ndarray, reference_set: ReferenceSet, scale: float
) -> np.ndarray:
    """Returns the posterior over the set's photos, float64 [N] with sum 1.

    Args:
        image_embedding_D: mean embedding of a photo's patches, of unit length.
        reference_set: the known photos.
        scale: 1 / temperature of the model.
    """
    cosines_N = reference_set.embeddings @ image_embedding_D
    logits_N = scale * np.asarray(cosines_N, np.float64)
    posterior_N = reference_set.weights * np.exp(logits_N - logits_N.max())
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


def agreement(posteriors: TagPosteriors, tags: Mapping[str, str]) -> float:
    """How much better the pixels fit these tags than those of any photo, in nats.

    The sum over tags of log(posterior / share in the set), as if tags were independent, which
    they are not: a number for comparing, not a probability. Tags and values that the reference
    set does not hold count nothing.
    """
    total = 0.0
    for tag, value in tags.items():
        posterior, share = posteriors.get(tag, {}).get(coarse_value(tag, value), (1.0, 1.0))
        total += math.log(posterior / share)
    return total
