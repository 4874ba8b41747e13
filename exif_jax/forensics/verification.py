"""Whether the pixels of a photo agree with the EXIF in its file.

The patches' mean embedding is compared with the EXIF texts of a reference set of photos that
travels with the model. That gives, for every tag, what the pixels look like ("about ISO 1600"),
and, for the file's own EXIF, how well it fits beside other photos' EXIF and beside what pristine
photos of unknown cameras show. Paper: section 4.4 compares image and text likewise, for splices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exif_jax.forensics import reference_set as reference_sets
from exif_jax.forensics.calibration import (
    NOT_CALIBRATED,
    agreement_band,
    agreement_p_value,
    objection_to_grid,
)
from exif_jax.forensics.localization import Localization, LocalizationSettings, localize
from exif_jax.forensics.patches import Grid
from exif_jax.forensics.reference_set import ReferenceSet, ReferenceSetError
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.exif import camera_name

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

# A value is doubted where the pixels make it three times rarer than it is in the reference set.
_DOUBTED_RATIO = 1 / 3
NO_EXIF = "no EXIF was found, so there is nothing to verify"
NO_KNOWN_EXIF = "no EXIF was found that the model knows, so there is nothing to verify"
FLAT = "the photo is flat: it shows no texture, so its pixels carry no trace of a camera"


class VerifyError(ExifJaxError, ValueError):
    """Pixels and EXIF cannot be compared; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class TagFinding:
    """What the pixels say of one tag.

    Attributes:
        tag: its name.
        value: as the file says it; "" where the file does not.
        verdict: "agrees", "disagrees" or "cannot tell".
        probability: of the file's value, by the pixels; None where the reference set does not hold
            the value.
        preferred: the most probable values with their probabilities, best first. Numbers of tags
            like ISO are rounded to a geometric series and start with "~".
        skill: AUC on cameras that the model never saw: the chance that a photo's own value gets
            more from the pixels than another photo's. 0.5 is none.
    """

    tag: str
    value: str
    verdict: str
    probability: float | None
    preferred: tuple[tuple[str, float], ...]
    skill: float | None


@dataclasses.dataclass(frozen=True)
class Verification:
    """What the pixels say of a file's EXIF.

    Attributes:
        agreement: how much better the pixels fit the file's tags than tags in general, in nats;
            None where the file has no tag that the reference set holds.
        rank: how many EXIF of the reference set's photos the pixels fit better than the file's.
        reference_size: number of the reference set's photos.
        p_value: how often a pristine photo agrees with its own EXIF this little.
        band: "no contradiction", "weak doubt", "strong doubt"; None without a p-value, and then the
            summary says why.
        summary: all that in a sentence.
        tags: the file's tags, with what the pixels say of them.
        looks_like: tags on which the model has shown skill, with what the pixels look like.
        closest: cameras of the reference set with their probabilities, best first.
    """

    agreement: float | None
    rank: int | None
    reference_size: int
    p_value: float | None
    band: str | None
    summary: str
    tags: tuple[TagFinding, ...]
    looks_like: tuple[TagFinding, ...]
    closest: tuple[tuple[str, float], ...]


def verify(
    pixels: np.ndarray, exif: Mapping[str, str], model: Model, objection: str = ""
) -> Verification:
    """Compares a photo's pixels with its own EXIF.

    Args:
        pixels: uint8 [H, W, 3] at full resolution.
        exif: canonical tags of the file.
        model: a loaded model.
        objection: as for `localization.localize`.

    Raises:
        VerifyError: the model carries no reference set of EXIF.
        LocalizeError: the photo is smaller than a patch.
    """
    reference_set_of(model)  # refuses a model without one before the long part
    localization = localize(pixels, model, LocalizationSettings(method="cut"))
    return verify_localization(localization, exif, model, objection)


def verify_localization(
    localization: Localization, exif: Mapping[str, str], model: Model, objection: str = ""
) -> Verification:
    """`verify` of a photo that was localised from its own pixels; arguments and errors likewise."""
    return verify_embeddings(
        localization.embeddings, localization.grid, exif, model, localization.flat, objection
    )


def verify_embeddings(
    z_PxD: np.ndarray,
    grid: Grid,
    exif: Mapping[str, str],
    model: Model,
    flat: bool = False,
    objection: str = "",
) -> Verification:
    """`verify` where the patches are embedded already.

    Args:
        z_PxD: float32 [P, D], unit rows: embeddings of the photo's own pixels.
        grid: where the patches lie.
        exif: canonical tags of the file.
        model: a loaded model.
        flat: the photo shows no texture; then nothing is compared.
        objection: as for `localization.localize`.

    Raises:
        VerifyError: the model carries no reference set of EXIF.
    """
    reference_set = reference_set_of(model)
    if flat:
        return _not_compared(reference_set, FLAT)
    mean_D = z_PxD.mean(axis=0, dtype=np.float64)
    mean_D = mean_D / max(float(np.linalg.norm(mean_D)), 1e-12)
    posterior_N = reference_sets.photo_posterior(mean_D, reference_set, logit_scale(model))
    posteriors = reference_sets.tag_posteriors(posterior_N, reference_set)
    calibration = model.calibration
    objection = objection or objection_to_grid(calibration, grid)
    # The skill too was measured on photos of the calibrated grid.
    skills = {} if objection else calibration.get("tag_skill", {})
    findings = {
        tag: _tag_finding(tag, exif.get(tag, ""), values, skills.get(tag, {}))
        for tag, values in posteriors.items()
    }
    skilled_tags = [tag for tag in findings if has_skill(skills.get(tag))]
    known_tags = [tag for tag in exif if tag in findings]
    agreement = rank = p_value = None
    if known_tags:
        agreement = reference_sets.agreement(posteriors, exif)
        rank = sum(
            reference_sets.agreement(posteriors, other) > agreement
            for other in reference_set.photos
        )
        if not objection and "agreement_null" in calibration:
            p_value = agreement_p_value(calibration["agreement_null"], agreement)
    tags = tuple(findings[tag] for tag in known_tags)
    if known_tags:
        summary = _summary(p_value, objection or NOT_CALIBRATED, tags)
    else:
        summary = NO_KNOWN_EXIF if exif else NO_EXIF
    return Verification(
        agreement=agreement,
        rank=rank,
        reference_size=len(reference_set.photos),
        p_value=p_value,
        band=agreement_band(p_value),
        summary=summary,
        tags=tags,
        looks_like=tuple(
            findings[tag] for tag in sorted(skilled_tags, key=lambda tag: -skills[tag]["auc"])
        ),
        closest=_closest_cameras(posterior_N, reference_set),
    )


def _not_compared(reference_set: ReferenceSet, summary: str) -> Verification:
    return Verification(
        agreement=None,
        rank=None,
        reference_size=len(reference_set.photos),
        p_value=None,
        band=None,
        summary=summary,
        tags=(),
        looks_like=(),
        closest=(),
    )


def _tag_finding(
    tag: str,
    value: str,
    values: Mapping[str, tuple[float, float]],
    skill: Mapping[str, Any],
) -> TagFinding:
    """What the pixels say of a tag.

    Args:
        tag: its name.
        value: of the file, or "".
        values: of the tag, as `reference_set.tag_posteriors` gives them.
        skill: as the calibration has it; {} where it has none.
    """
    ordered = sorted(values.items(), key=lambda item: -item[1][0])
    preferred = tuple((name, round(p, 4)) for name, (p, _) in ordered[:3])
    probability, verdict = None, "cannot tell"
    own = values.get(reference_sets.coarse_value(tag, value))
    if own is not None:
        posterior, share = own
        probability = round(posterior, 4)
        if has_skill(skill) and posterior / share < _DOUBTED_RATIO:
            verdict = "disagrees"
        elif has_skill(skill) and posterior / share >= 1:
            verdict = "agrees"
    return TagFinding(tag, value, verdict, probability, preferred, skill.get("auc"))


def has_skill(skill: Mapping[str, Any] | None) -> bool:
    """Whether a tag's measured skill is enough to speak of it."""
    # The lower end of the interval, not the best guess: a tag counts once it has shown it.
    return bool(skill) and skill["auc_low"] > 0.5


def _summary(p_value: float | None, objection: str, tags: Sequence[TagFinding]) -> str:
    """The verification in a sentence; `objection` is why there is no p-value."""
    band = agreement_band(p_value)
    if p_value is None:
        sentence = f"how well the pixels fit the EXIF cannot be judged: {objection}"
    elif band == "no contradiction":
        sentence = "the pixels do not contradict the EXIF; that does not prove it"
    else:
        sentence = (
            f"the pixels fit this EXIF badly ({band}): of pristine photos of unknown cameras "
            f"about {100 * p_value:.0f} in 100 fit theirs as badly"
        )
    doubted = [
        f"{finding.tag} {finding.value} (pixels: {finding.preferred[0][0]})"
        for finding in tags
        if finding.verdict == "disagrees"
    ]
    return sentence + (f". Least fitting: {'; '.join(doubted[:3])}" if doubted else "")


def _closest_cameras(
    posterior_N: np.ndarray, reference_set: ReferenceSet
) -> tuple[tuple[str, float], ...]:
    masses: dict[str, float] = {}
    for photo, mass in zip(reference_set.photos, posterior_N, strict=True):
        name = camera_name(photo)
        masses[name] = masses.get(name, 0.0) + float(mass)
    best = sorted(masses.items(), key=lambda item: -item[1])[:5]
    return tuple((name, round(mass, 4)) for name, mass in best if name)


def logit_scale(model: Model) -> float:
    """Returns the model's 1 / temperature between patches and texts."""
    return float(np.exp(model.params["log_scale"]))


def reference_set_of(model: Model) -> ReferenceSet:
    """Returns the reference set that the model carries.

    Raises:
        VerifyError: it carries none, or none that can be read.
    """
    if "reference_set" not in model.calibration:
        raise VerifyError(
            "the model carries no reference set of EXIF; add one with python -m exif_jax.calibrate"
        )
    try:
        return reference_sets.from_json(model.calibration["reference_set"], model.config.embed_dim)
    except ReferenceSetError as e:
        raise VerifyError(str(e)) from e


def as_json(verification: Verification) -> dict[str, Any]:
    """Returns the verification as plain types, for the JSON record and the report."""
    return dataclasses.asdict(verification) | {
        "tags": [
            dataclasses.asdict(finding) | {"preferred": _values_as_json(finding)}
            for finding in verification.tags
        ],
        "looks_like": [
            {"tag": finding.tag, "skill": finding.skill, "values": _values_as_json(finding)}
            for finding in verification.looks_like
        ],
        "closest": [
            {"camera": name, "probability": probability}
            for name, probability in verification.closest
        ],
    }


def _values_as_json(finding: TagFinding) -> list[dict[str, Any]]:
    return [
        {"value": value, "probability": probability} for value, probability in finding.preferred
    ]
