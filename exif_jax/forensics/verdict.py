"""What is said of a photo: a band, its probability, its likelihood ratio, and the reason in words.

Bands rest on the p-value alone, but for one: a map that singles out one compact region strongly is
not called "no evidence", as people see it, unless the likelihood ratio speaks for a pristine photo:
skies are singled out so too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from exif_jax.forensics import likelihood, score_calibration
from exif_jax.forensics.score_calibration import Conditions
from exif_jax.reading.quantization import quality_of_step

NO_EVIDENCE, SLIGHT, WEAK, STRONG = "no evidence", "slight signs", "weak", "strong"
BANDS = (NO_EVIDENCE, SLIGHT, WEAK, STRONG)
SIGNS = BANDS[1:]
"""The bands that speak of a splice."""
CANNOT_TELL = "cannot tell"
"""The verdict where there is no band."""

# p-values at or below these: of slight signs, weak and strong evidence.
LEVELS = (0.15, 0.05, 0.02)
# Where fewer splices than this share are found at p <= LEVELS[1], the method is blind.
MIN_POWER = 0.15


class Judgement(NamedTuple):
    """What a score means.

    Attributes:
        p_value: how often a pristine photo of the same size and compression stands out
            as much; None where that is not known.
        extrapolated: whether that is rarer than the photos measured can show.
        likelihood_ratio: how much more often splices than pristine photos score so; None where that
            is not known.
        band: one of BANDS; None without a p-value.
        reason: why, in a sentence.
    """

    p_value: float | None = None
    extrapolated: bool = False
    likelihood_ratio: float | None = None
    band: str | None = None
    reason: str = ""


NOT_JUDGED = Judgement()


class Picture(NamedTuple):
    """What the map looks like, beside its score.

    Attributes:
        compactness: of its part (`regions.compactness`).
        share: of the photo that is singled out.
    """

    compactness: float
    share: float


def cannot_tell(reason: str) -> Judgement:
    """The judgement that there is none."""
    return Judgement(reason=reason)


def judge(
    calibration: Mapping[str, Any], score: float, conditions: Conditions, picture: Picture
) -> Judgement:
    """Judges a photo whose score may be judged.

    Args:
        calibration: of the method that made the score.
        score: in [0, 1].
        conditions: of the photo.
        picture: of its map.
    """
    if "splices" in calibration:
        power = score_calibration.power(calibration, LEVELS[1], conditions)
        if power < MIN_POWER:
            return cannot_tell(_blindness(power, conditions))
    p, extrapolated = score_calibration.p_value(calibration, score, conditions)
    band = band_of(p)
    ratio = score_calibration.ratio(calibration, score, conditions)
    stands_out = (
        band == NO_EVIDENCE
        and (ratio is None or ratio >= 1)
        and _stands_out(calibration, score_calibration.contrast(score, conditions), picture)
    )
    return Judgement(
        p,
        extrapolated,
        ratio,
        SLIGHT if stands_out else band,
        _reason(p, extrapolated, band, stands_out, picture.share),
    )


def band_of(p_value: float) -> str:
    """The band of a p-value."""
    return BANDS[sum(p_value <= level for level in LEVELS)]


def _stands_out(calibration: Mapping[str, Any], contrast: float, picture: Picture) -> bool:
    limits = calibration.get("stands_out")
    return bool(limits) and (
        contrast >= limits["contrast"] and picture.compactness >= limits["compactness"]
    )


def in_hundred(p_value: float) -> str:
    """A probability as people count: "about 3 in 100"."""
    if p_value < 0.01:
        return "fewer than 1 in 100"
    return f"about {100 * p_value:.0f} in 100"


def _reason(p: float, extrapolated: bool, band: str, stands_out: bool, share: float) -> str:
    pristine = f"{in_hundred(p)} pristine photos"
    beyond = ", which is rarer than the photos measured can show" if extrapolated else ""
    region = f"the map singles out a region of {max(1, round(100 * share))} % of the photo"
    if stands_out:
        return f"{region}, compact and strong, although {pristine} stand out as much"
    if band == NO_EVIDENCE:
        return (
            f"{pristine} stand out as much: where the map is brightest is no reason for suspicion"
        )
    return f"{region}; {pristine} do so as clearly{beyond}"


def _blindness(power: float, conditions: Conditions) -> str:
    quality = quality_of_step(float(conditions.step))
    compressed = f" and compressed to about quality {quality}" if quality else ""
    return (
        f"of splices this small{compressed} the method finds only {round(100 * power)} in 100, "
        f"so that a low score would say nothing"
    )


def support(ratio: float | None) -> str:
    """A likelihood ratio in the words of the verbal scale; "" where there is none."""
    return "" if ratio is None else likelihood.support(ratio)
