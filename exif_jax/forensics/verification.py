"""Whether the pixels of a photo agree with the EXIF in its file.

A regression that travels with the model (`exif_regression`) says how likely the file's EXIF is for
these pixels, beside how likely it is for any; how well pristine photos of cameras that the
regression did not see fit theirs makes a p-value of that. The EXIF of a reference set of photos,
weighed likewise, says of every tag what the pixels look like ("about ISO 1600").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exif_jax.forensics import exif_regression
from exif_jax.forensics import reference_set as reference_sets
from exif_jax.forensics.calibration import (
    NOT_CALIBRATED,
    WEAK,
    agreement_band,
    agreement_p_value,
    objection_to_grid,
)
from exif_jax.forensics.exif_regression import ExifRegression, RegressionError
from exif_jax.forensics.localization import localize_by_own_patches
from exif_jax.forensics.patches import Grid
from exif_jax.forensics.reference_set import ReferenceSet, ReferenceSetError
from exif_jax.forensics.result import Localization
from exif_jax.forensics.verdict import in_hundred
from exif_jax.io.errors import ExifJaxError
from exif_jax.reading.exif import camera_name

if TYPE_CHECKING:
    from exif_jax.weights.release_file import Model

# A value is doubted where the pixels make it three times rarer than it is in the reference set.
_DOUBTED_RATIO = 1 / 3
_MOST_LOOKS = 6  # tags of which it is said what the pixels look like
# A tag is spoken of where this many cameras showed this skill; not the best guess of it, but the
# lower end of its interval.
_SKILL_CAMERAS, _SKILL = 50, 0.6
NO_EXIF = "no EXIF was found, so there is nothing to verify"
NO_KNOWN_EXIF = "no EXIF was found that the model knows, so there is nothing to verify"
NOT_FITTED = (
    "pixels and EXIF cannot be compared: the model carries no regression from pixels to EXIF "
    "(python -m exif_jax.calibrate MODEL OUT --exif DIR fits one)"
)
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
        agreement: log of how much more likely the file's EXIF is for these pixels than for any,
            in nats; None where the file has no tag that the regression knows, or the model no
            regression.
        rank: how many EXIF of the reference set's photos have a higher one.
        reference_size: number of the reference set's photos.
        p_value: how often a pristine photo agrees with its own EXIF this little.
        band: "no contradiction", "weak doubt", "strong doubt"; None without a p-value, and then the
            summary says why.
        summary: all that in a sentence.
        tags: the file's tags, with what the pixels say of them.
        looks_like: the tags on which the model has shown most skill, with what the pixels look
            like.
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
        VerifyError: what the model carries to compare with cannot be read.
        LocalizeError: the photo is smaller than a patch.
    """
    localization = localize_by_own_patches(pixels, model)
    return verify_localization(localization, pixels, exif, model, objection)


def verify_localization(
    localization: Localization,
    pixels: np.ndarray,
    exif: Mapping[str, str],
    model: Model,
    objection: str = "",
) -> Verification:
    """`verify` of a photo that was localised from its own pixels; arguments and errors likewise."""
    if localization.grid.patch != model.patch_size:  # of which the regression knows nothing
        localization = localize_by_own_patches(pixels, model)
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
        VerifyError: what the model carries to compare with cannot be read.
    """
    fitted = fitted_of(model)
    if fitted is None:
        return _not_compared(0, NOT_FITTED)
    regression, reference_set = fitted
    if flat:
        return _not_compared(len(reference_set.photos), FLAT)
    ratio, ratio_N = _log_ratios(z_PxD, exif, regression, reference_set)
    posterior_N = reference_sets.photo_posterior(ratio_N, reference_set)
    posteriors = reference_sets.tag_posteriors(posterior_N, reference_set)
    calibration = model.calibration
    # The skill too was measured on photos of the calibrated grid.
    no_skill = objection or objection_to_grid(calibration, grid)
    skills = {} if no_skill else calibration.get("tag_skill", {})
    known_tags = exif_regression.known_tags(exif, regression.columns)
    agreement = rank = p_value = None
    if known_tags:
        agreement, rank = ratio, int((ratio_N > ratio).sum())
        objection = no_skill or _too_few_tags(known_tags, regression)
        if not objection and "agreement_null" in calibration:
            p_value = agreement_p_value(calibration["agreement_null"], agreement)
    findings = {
        tag: _tag_finding(tag, exif.get(tag, ""), values, skills.get(tag, {}), p_value)
        for tag, values in posteriors.items()
    }
    skilled_tags = [tag for tag in findings if has_skill(skills.get(tag))]
    skilled_tags.sort(key=lambda tag: -skills[tag]["auc"])
    tags = tuple(findings[tag] for tag in exif if tag in findings)
    nothing = NO_KNOWN_EXIF if exif else NO_EXIF
    summary = _summary(p_value, objection or NOT_CALIBRATED, tags) if known_tags else nothing
    return Verification(
        agreement=agreement,
        rank=rank,
        reference_size=len(reference_set.photos),
        p_value=p_value,
        band=agreement_band(p_value),
        summary=summary,
        tags=tags,
        looks_like=tuple(findings[tag] for tag in skilled_tags[:_MOST_LOOKS]),
        closest=_closest_cameras(posterior_N, reference_set),
    )


def _log_ratios(
    z_PxD: np.ndarray,
    exif: Mapping[str, str],
    regression: ExifRegression,
    reference_set: ReferenceSet,
) -> tuple[float, np.ndarray]:
    """The log-likelihood ratios of a photo's own EXIF and of the reference set's."""
    features_D = exif_regression.photo_features(z_PxD)
    table = exif_regression.exif_table([exif, *reference_set.photos], regression.columns)
    predicted_1xK = exif_regression.predict(features_D[None], regression)
    (ratios,) = exif_regression.log_likelihood_ratio(
        predicted_1xK, regression.exif(table), regression
    )
    return float(ratios[0]), ratios[1:]


def _too_few_tags(known_tags: Sequence[str], regression: ExifRegression) -> str:
    if len(known_tags) >= regression.min_tags:
        return ""
    return (
        f"it has {len(known_tags)} of the tags that are compared, and of 100 camera files 99 have "
        f"{regression.min_tags} or more: some seem to have been taken away"
    )


def _not_compared(reference_size: int, summary: str) -> Verification:
    return Verification(
        agreement=None,
        rank=None,
        reference_size=reference_size,
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
    p_value: float | None = None,
) -> TagFinding:
    """What the pixels say of a tag.

    Args:
        tag: its name.
        value: of the file, or "".
        values: of the tag, as `reference_set.tag_posteriors` gives them.
        skill: as the calibration has it; {} where it has none.
        p_value: of the file's EXIF as a whole. A tag is doubted only where that is, too.
    """
    ordered = sorted(values.items(), key=lambda item: -item[1][0])
    preferred = tuple((name, round(p, 4)) for name, (p, _) in ordered[:3])
    probability, verdict = None, "cannot tell"
    own = values.get(reference_sets.coarse_value(tag, value))
    if own is not None:
        posterior, share = own
        probability = round(posterior, 4)
        doubted = p_value is not None and p_value <= WEAK
        if has_skill(skill) and posterior / share < _DOUBTED_RATIO and doubted:
            verdict = "disagrees"
        elif has_skill(skill) and posterior / share >= 1:
            verdict = "agrees"
    return TagFinding(tag, value, verdict, probability, preferred, skill.get("auc"))


def has_skill(skill: Mapping[str, Any] | None) -> bool:
    """Whether a tag's measured skill is enough to speak of it."""
    return bool(skill) and skill["auc_low"] > _SKILL and skill["num_cameras"] >= _SKILL_CAMERAS


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
            f"{in_hundred(p_value)} fit theirs as badly"
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


def fitted_of(model: Model) -> tuple[ExifRegression, ReferenceSet] | None:
    """Returns the regression and the reference set that the model carries; None without them.

    Raises:
        VerifyError: they cannot be read.
    """
    calibration = model.calibration
    if not {"exif_regression", "reference_set"} <= calibration.keys():
        return None
    try:
        regression, width = calibration["exif_regression"], model.config.embed_dim
        reference_set = reference_sets.from_json(calibration["reference_set"])
        return exif_regression.from_json(regression, width), reference_set
    except (ReferenceSetError, RegressionError) as e:
        raise VerifyError(f"the model cannot verify EXIF: {e}; fit it again") from e


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
        "closest": [{"camera": name, "probability": p} for name, p in verification.closest],
    }


def _values_as_json(finding: TagFinding) -> list[dict[str, Any]]:
    return [
        {"value": value, "probability": probability} for value, probability in finding.preferred
    ]
