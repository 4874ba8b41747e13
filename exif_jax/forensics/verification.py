"""Whether the pixels agree with what the file says of them.

The patches' mean embedding is compared with the EXIF texts of a bank of photos that travels with
the model. That gives, for every tag, what the pixels look like ("about ISO 1600"), and, for the
file's own EXIF, how well it fits beside other photos' EXIF and beside what pristine photos of
unknown cameras show. Paper: section 4.4 asks the same of image and text, for splices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exif_jax.forensics import reference_set as banks
from exif_jax.forensics.calibration import agreement_band, agreement_p_value
from exif_jax.forensics.embed import embed_exif
from exif_jax.forensics.localization import localize
from exif_jax.io.errors import ExifJaxError

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

# A value is doubted where the pixels make it three times rarer than it is in the bank.
_DOUBTED = 1 / 3
NO_EXIF = "the file says nothing of the camera, so there is nothing to verify"
FLAT = "the photo is flat: it shows no texture, so its pixels say nothing of the camera"


class VerifyError(ExifJaxError, ValueError):
    """Pixels and EXIF cannot be compared; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class TagFinding:
    """What the pixels say of one tag.

    Attributes:
        tag: its name.
        value: as the file says it; "" where the file does not.
        says: "agrees", "disagrees" or "cannot tell".
        probability: of the file's value, by the pixels; None where the bank does not know it.
        preferred: the most probable values with their probabilities, best first. Numbers of tags
            like ISO are rounded to a geometric row and start with "~".
        skill: AUC on cameras that the model never saw: the chance that a photo's own value gets
            more from the pixels than another photo's. 0.5 is none.
    """

    tag: str
    value: str
    says: str
    probability: float | None
    preferred: tuple[tuple[str, float], ...]
    skill: float | None


@dataclasses.dataclass(frozen=True)
class Verification:
    """What the pixels say of a file's EXIF.

    Attributes:
        agreement: how much better the pixels fit the file's tags than tags in general, in nats;
            None where the file has no tag that the bank knows.
        rank: how many EXIF of the bank's `bank_size` photos the pixels fit better than the file's.
        p_value: how often a pristine photo agrees with its own EXIF this little.
        band: "no contradiction", "weak doubt", "strong doubt"; None where not calibrated.
        summary: all that in a sentence.
        tags: the file's tags, with what the pixels say of them.
        looks_like: tags on which the model has shown skill, with what the pixels look like.
        closest: cameras of the bank with their probabilities, best first.
    """

    agreement: float | None
    rank: int | None
    bank_size: int
    p_value: float | None
    band: str | None
    summary: str
    tags: tuple[TagFinding, ...]
    looks_like: tuple[TagFinding, ...]
    closest: tuple[tuple[str, float], ...]


def verify(pixels: np.ndarray, exif: Mapping[str, str], model: Model) -> Verification:
    """Compares a photo's pixels with its own EXIF.

    Args:
        pixels: uint8 [H, W, 3] at full resolution.
        exif: canonical tags of the file.
        model: a loaded model.

    Raises:
        VerifyError: the model carries no bank of EXIF texts.
        LocalizeError: the photo is smaller than a patch.
    """
    reference_set_of(model)  # refuses a model without one before the long part
    found = localize(pixels, model)
    return verify_embeddings(found.embeddings, exif, model, found.flat)


def verify_embeddings(
    z_PxD: np.ndarray, exif: Mapping[str, str], model: Model, flat: bool = False
) -> Verification:
    """`verify` where the patches are embedded already.

    Args:
        z_PxD: unit rows, float32.
        exif: canonical tags of the file.
        model: with a calibration.
        flat: the photo shows no texture: nothing is said of it.

    Raises:
        VerifyError: the model carries no bank of EXIF texts.
    """
    bank, texts_NxD = reference_set_of(model)
    calibration = model.calibration
    if flat:
        return Verification(None, None, len(bank.photos), None, None, FLAT, (), (), ())
    mean_D = z_PxD.mean(axis=0, dtype=np.float64)
    cosines_N = texts_NxD @ (mean_D / max(float(np.linalg.norm(mean_D)), 1e-12))
    posterior_N = banks.photo_posterior(cosines_N, bank, _scale(model))
    posteriors = banks.tag_posteriors(posterior_N, bank)
    skills = calibration.get("skill", {})

    def finding(tag: str) -> TagFinding:
        return _finding(tag, exif.get(tag, ""), posteriors[tag], skills.get(tag, {}))

    known = [tag for tag in exif if tag in posteriors]
    agreement = rank = p_value = None
    if known:
        agreement = banks.agreement(posteriors, exif)
        rank = sum(banks.agreement(posteriors, other) > agreement for other in bank.photos)
        p_value = agreement_p_value(calibration, agreement)
    telling = sorted(
        (t for t in posteriors if has_skill(skills.get(t))), key=lambda t: -skills[t]["auc"]
    )
    band = agreement_band(p_value)
    tags = tuple(map(finding, known))
    return Verification(
        agreement=agreement,
        rank=rank,
        bank_size=len(bank.photos),
        p_value=p_value,
        band=band,
        summary=_summary(band, p_value, tags) if known else NO_EXIF,
        tags=tags,
        looks_like=tuple(finding(tag) for tag in telling),
        closest=_closest(posterior_N, bank),
    )


def _finding(
    tag: str,
    value: str,
    values: Mapping[str, tuple[float, float]],
    skill: Mapping[str, Any],
) -> TagFinding:
    ordered = sorted(values.items(), key=lambda item: -item[1][0])
    preferred = tuple((name, round(p, 4)) for name, (p, _) in ordered[:3])
    own = values.get(banks.coarse_value(tag, value))
    says = "cannot tell"
    if own is not None and has_skill(skill):
        ratio = own[0] / own[1]
        says = "disagrees" if ratio < _DOUBTED else "agrees" if ratio >= 1 else "cannot tell"
    probability = None if own is None else round(own[0], 4)
    return TagFinding(tag, value, says, probability, preferred, skill.get("auc"))


def has_skill(skill: Mapping[str, Any] | None) -> bool:
    """Whether a tag's measured skill is enough to speak of it."""
    # The lower end of the interval, not the best guess: a tag counts once it has shown it.
    return bool(skill) and skill["low"] > 0.5


def _summary(band: str | None, p_value: float | None, tags: Sequence[TagFinding]) -> str:
    doubted = [
        f"{t.tag} {t.value} (pixels: {t.preferred[0][0]})" for t in tags if t.says == "disagrees"
    ]
    if band is None:
        words = "how well the pixels fit the EXIF cannot be judged: the model is not calibrated"
    elif band == "no contradiction":
        words = "the pixels do not contradict the EXIF; that does not prove it"
    else:
        words = (
            f"the pixels fit this EXIF badly ({band}): of pristine photos of unknown cameras "
            f"about {100 * (p_value or 0):.0f} in 100 fit theirs as badly"
        )
    return words + (f". Least fitting: {'; '.join(doubted[:3])}" if doubted else "")


def _closest(posterior_N: np.ndarray, bank: banks.ReferenceSet) -> tuple[tuple[str, float], ...]:
    sums: dict[str, float] = {}
    for photo, mass in zip(bank.photos, posterior_N, strict=True):
        name = banks.camera_name(photo)
        sums[name] = sums.get(name, 0.0) + float(mass)
    best = sorted(sums.items(), key=lambda item: -item[1])[:5]
    return tuple((name, round(mass, 4)) for name, mass in best if name)


def model_tag_posteriors(cosines_N: np.ndarray, bank: banks.ReferenceSet, model: Model):
    """`bank.tag_posteriors` of a photo whose mean embedding has these cosines to the bank's."""
    return banks.tag_posteriors(banks.photo_posterior(cosines_N, bank, _scale(model)), bank)


def _scale(model: Model) -> float:
    return float(np.exp(model.params["log_scale"]))


def reference_set_of(model: Model) -> tuple[banks.ReferenceSet, np.ndarray]:
    """The model's bank and its texts' embeddings, float32 [N, D]; read once per model.

    Raises:
        VerifyError: it carries no bank, or none that can be read.
    """
    if model.id not in _REFERENCE_SETS or not model.id:
        if "bank" not in model.calibration:
            raise VerifyError(
                "the model carries no bank of EXIF texts; add one with python -m exif_jax.calibrate"
            )
        try:
            bank = banks.from_json(model.calibration["bank"])
            packed = model.calibration["bank"].get("embeddings")  # files of the first version: none
            _REFERENCE_SETS[model.id] = (
                bank,
                banks.decode_embeddings(packed, len(bank.photos), model.config.embed_dim)
                if packed
                else embed_exif(bank.photos, model),
            )
        except banks.ReferenceSetError as e:
            raise VerifyError(str(e)) from e
    return _REFERENCE_SETS[model.id]


_REFERENCE_SETS: dict[str, tuple[banks.ReferenceSet, np.ndarray]] = {}


def as_json(found: Verification) -> dict[str, Any]:
    """The verification as plain types, for the JSON record and the report."""

    def tag(finding: TagFinding) -> dict[str, Any]:
        values = [{"value": value, "probability": p} for value, p in finding.preferred]
        return dataclasses.asdict(finding) | {"preferred": values}

    return dataclasses.asdict(found) | {
        "tags": [tag(f) for f in found.tags],
        "looks_like": [
            {"tag": f.tag, "skill": f.skill, "values": tag(f)["preferred"]}
            for f in found.looks_like
        ],
        "closest": [{"camera": name, "probability": p} for name, p in found.closest],
    }
