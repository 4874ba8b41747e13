"""The head of the report: the verdict in words, its figures, and the outline of its region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exif_jax.forensics.regions import turned
from exif_jax.forensics.verdict import NO_EVIDENCE, SIGNS, SLIGHT, STRONG, WEAK
from exif_jax.reports.markup import Markup, fill, join, visible

_CANNOT_TELL = ("unknown", "Cannot tell whether parts of this photo come from different cameras")
_VERDICTS: Mapping[str | None, tuple[str, str]] = {
    STRONG: ("strong", "Strong evidence that parts of this photo come from different cameras"),
    WEAK: ("weak", "Weak evidence that parts of this photo come from different cameras"),
    SLIGHT: ("slight", "Slight signs that parts of this photo come from different cameras"),
    NO_EVIDENCE: ("none", "No evidence that parts of this photo come from different cameras"),
}
_NEXT: Mapping[str | None, str] = {
    STRONG: "Look inside the outline, and whether that part could have been pasted. Ask for "
    "the original file, and compare with other tools before saying anything in public.",
    WEAK: "One pristine photo in twenty looks like this or worse. Look inside the outline, "
    "and treat it as a reason to look closer, not as a finding.",
    SLIGHT: "Many pristine photos look like this. Look inside the outline: if that part stands out "
    "for another reason too, look closer; by itself this is no finding.",
    NO_EVIDENCE: "The map always has a highest place; with a score like this it "
    "is no reason for suspicion. This is no proof "
    "that the photo is pristine: see what the method cannot see.",
    None: "The map shows which parts differ, but not whether pristine photos differ as much.",
}


def verdict_section(report: Mapping[str, Any], name: str) -> Markup:
    """The headline and what it rests on; keys that are missing are left out or said to be unknown.

    Args:
        report: of `outputs.make_report`.
        name: of the file.
    """
    band, p_value, note = report.get("band"), report.get("p_value"), report.get("note", "")
    kind, headline = _VERDICTS.get(band, _CANNOT_TELL)
    share = (report.get("region") or {}).get("share")
    numbers = [
        ("score, 0 to 1", f"{report['score']:.3f}"),
        ("chance for a pristine photo", "unknown" if p_value is None else f"{p_value:.3f}"),
    ]
    if report.get("likelihood_ratio") is not None:
        numbers.append(("likelihood ratio", f"{report['likelihood_ratio']:.2g}"))
    if band in SIGNS and share is not None:
        numbers.append(("singled out", f"{share:.0%} of the photo"))
    verify = report.get("verify") or {}
    if verify.get("band"):
        numbers.append(("pixels against EXIF", verify["band"]))
    reason = str(report.get("reason") or "")
    return fill(
        "verdict",
        file=visible(name),
        kind=kind,
        headline=headline,
        reason=_sentence(reason) if reason else "",
        advice=_NEXT.get(band, _NEXT[None]),
        note=fill("note", note=visible(note, 1000)) if note else "",
        numbers=join(fill("number", name=name, value=value) for name, value in numbers),
        support=_support(report),
        calibration=_calibration(report.get("calibration") or {}),
    )


def _sentence(words: str) -> Markup:
    return fill("paragraph", content=visible(f"{words[:1].upper()}{words[1:]}.", 600))


def _support(report: Mapping[str, Any]) -> Markup | str:
    ratio = report.get("likelihood_ratio")
    if ratio is None or not report.get("support"):
        return ""
    times = f"{'' if ratio >= 1 else 'only '}{ratio:.2g} times as often as"
    return fill("support", times=times, support=visible(report["support"], 200))


def _calibration(about: Mapping[str, Any]) -> Markup | str:
    if not about:
        return ""
    share, low, high = about["accused"]
    return fill(
        "calibration",
        photos=about["num_photos"],
        cameras=about["num_cameras"],
        date=visible(str(about["date"]), 20),
        share=f"{share:.1%}",
        interval=f"{low:.1%} to {high:.1%}",
    )


def outline_of(report: Mapping[str, Any], turn: int, width: int, height: int) -> Markup | str:
    """The region's polygons over the upright photo; "" where nothing speaks of a splice.

    Args:
        report: of `outputs.make_report`.
        turn: the EXIF orientation.
        width, height: of the photo as stored.
    """
    region = report.get("region")
    if not region or report.get("band") not in SIGNS:
        return ""
    rings = [ring for rings in turned(region["coordinates"], turn, width, height) for ring in rings]
    path = " ".join(
        "M" + " ".join(f"{x:.0f},{y:.0f}" for x, y in ring[:-1]) + "Z" for ring in rings
    )
    across, down = (height, width) if turn in (5, 6, 7, 8) else (width, height)
    return fill("outline", width=across, height=down, path=path)
