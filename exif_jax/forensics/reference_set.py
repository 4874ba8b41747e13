"""What the EXIF of known photos says a patch of pixels looks like: Bayes over a bank of texts.

The model was trained to pick, among EXIF texts, the one of a patch's own photo: softmax(scale *
cos) is its posterior over the texts it is shown. Shown a bank of photos' texts, the posterior of
one tag's value is the mass on the photos that carry it. Its ratio to the share the value has in
the bank says what the pixels add. Numbers count as equal when they are near (`coarse_value`): cameras
of unknown models have exposure times that no photo of the bank has to the last digit.

NumPy on small arrays. Shape letters: N photos of the bank, D embedding width.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from exif_jax.io.errors import ExifJaxError

# Tags whose numbers count by size: the row they are rounded to holds the first number, and its
# steps are powers of two to the second.
_ROWS = {
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
# The share of the posterior that is the bank's own: no value is ever impossible.
_DOUBT = 0.1


class ReferenceSetError(ExifJaxError, ValueError):
    """The description of a bank is not one that this version can read."""


@dataclasses.dataclass(frozen=True)
class ReferenceSet:
    """EXIF of known photos.

    Attributes:
        photos: N canonical mappings, tag -> value text.
        weights: float64 [N], sum 1: a camera with many photos counts for less than their number.
    """

    photos: tuple[dict[str, str], ...]
    weights: np.ndarray


def make_reference_set(photos: list[dict[str, str]]) -> ReferenceSet:
    """A bank in which n photos of one camera weigh as much as sqrt(n) single ones."""
    cameras = [camera_name(tags) for tags in photos]
    counts = {name: cameras.count(name) for name in set(cameras)}
    weights = np.array([counts[name] ** -0.5 for name in cameras])
    return ReferenceSet(tuple(photos), weights / weights.sum())


def camera_name(tags: Mapping[str, str]) -> str:
    """Make and model in one line, as most people would write them."""
    make, model = tags.get("Make", ""), tags.get("Model", "")
    return model if make and model.lower().startswith(make.lower()) else f"{make} {model}".strip()


def to_json(bank: ReferenceSet) -> dict[str, Any]:
    """The bank as plain types, each value text once."""
    tags = sorted({tag for photo in bank.photos for tag in photo})
    values = [sorted({p[tag] for p in bank.photos if tag in p}) for tag in tags]
    places = [{value: i for i, value in enumerate(of_tag)} for of_tag in values]
    rows = [
        [place.get(photo.get(tag, ""), -1) for tag, place in zip(tags, places, strict=True)]
        for photo in bank.photos
    ]
    return {"tags": tags, "values": values, "photos": rows}


def from_json(data: Any) -> ReferenceSet:
    """Undoes `to_json`.

    Raises:
        BankError: this is no bank.
    """
    try:
        tags, values = list(map(str, data["tags"])), [list(map(str, v)) for v in data["values"]]
        photos = [
            {t: of[i] for t, of, i in zip(tags, values, row, strict=True) if i >= 0}
            for row in data["photos"]
        ]
        if not photos:
            raise ValueError("no photos")
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
        raise ReferenceSetError(f"not a bank of EXIF texts ({type(e).__name__}: {e})") from e
    return make_reference_set(photos)


def encode_embeddings(z_NxD: np.ndarray) -> str:
    """Embeddings of the bank's texts as text: base64 of float16, 2**-11 of each off at most."""
    return base64.b64encode(z_NxD.astype("<f2").tobytes()).decode()


def decode_embeddings(packed: Any, rows: int, columns: int) -> np.ndarray:
    """Undoes `encode_embeddings`: float32 [rows, columns].

    Raises:
        BankError: these are no so many finite numbers.
    """
    try:
        z = np.frombuffer(base64.b64decode(packed, validate=True), "<f2").reshape(rows, columns)
    except (TypeError, ValueError) as e:
        raise ReferenceSetError(
            f"not the embeddings of {rows} texts ({type(e).__name__}: {e})"
        ) from e
    if not np.isfinite(z).all():
        raise ReferenceSetError("the embeddings of the bank's texts are not finite numbers")
    return z.astype(np.float32)


def coarse_value(tag: str, value: str) -> str:
    """The value as it counts for comparing: a number of a tag like ISO or Focal Length rounded to
    the nearest of a geometric row, in about two digits ("~400"); everything else as it is."""
    if tag not in _ROWS:
        return value
    found = re.search(r"(\d+(?:\.\d+)?)(?:/(\d+(?:\.\d+)?))?", value)
    if not found:
        return value
    number = float(found[1]) / (float(found[2] or 1) or math.inf)
    if not 1e-6 < number < 1e9:
        return value
    base, step = _ROWS[tag]
    rounded = base * 2.0 ** (round(math.log2(number / base) / step) * step)
    return f"~1/{_two_digits(1 / rounded)}" if rounded < 0.45 else f"~{_two_digits(rounded)}"


def _two_digits(number: float) -> str:
    decimals = 1 - math.floor(math.log10(number))
    return f"{round(number, decimals):.{max(decimals, 0)}f}".removesuffix(".0")


def photo_posterior(cosines_N: np.ndarray, bank: ReferenceSet, scale: float) -> np.ndarray:
    """Posterior over the bank's photos, float64 [N] with sum 1.

    Args:
        cosines_N: between the patches' mean embedding and the photos' texts.
        bank: of these photos.
        scale: 1 / temperature of the model.
    """
    logits = scale * np.asarray(cosines_N, np.float64)
    posterior = bank.weights * np.exp(logits - logits.max())
    return posterior / posterior.sum()


def tag_posteriors(
    posterior_N: np.ndarray, bank: ReferenceSet
) -> dict[str, dict[str, tuple[float, float]]]:
    """What the pixels say of every tag: {tag: {coarse value: (posterior, share in the bank)}}.

    Both sum to 1 over a tag's values; photos without the tag do not count. A tenth of each
    posterior is the bank's share, so that no value is impossible.
    """
    masses: dict[str, dict[str, list[float]]] = {}
    for photo, mass, weight in zip(bank.photos, posterior_N, bank.weights, strict=True):
        for tag, value in photo.items():
            sums = masses.setdefault(tag, {}).setdefault(coarse_value(tag, value), [0.0, 0.0])
            sums[0] += float(mass)
            sums[1] += float(weight)
    found = {}
    for tag, values in masses.items():
        total, weight = (sum(v[i] for v in values.values()) for i in (0, 1))
        shares = {value: w / weight for value, (_, w) in values.items()}
        found[tag] = {
            value: ((1 - _DOUBT) * m / max(total, 1e-300) + _DOUBT * shares[value], shares[value])
            for value, (m, _) in values.items()
        }
    return found


def agreement(
    posteriors: Mapping[str, Mapping[str, tuple[float, float]]], tags: Mapping[str, str]
) -> float:
    """How much better the pixels fit these tags than those of any photo, in nats.

    The sum over tags of log(posterior / share in the bank), as if tags were independent, which
    they are not: a number for comparing, not a probability. Tags and values that the bank does
    not know count nothing.
    """
    total = 0.0
    for tag, value in tags.items():
        posterior, share = posteriors.get(tag, {}).get(coarse_value(tag, value), (1.0, 1.0))
        total += math.log(posterior / share)
    return total
