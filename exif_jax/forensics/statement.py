"""One statement on a photo: what its file and its pixels say against what is said of it.

Each contradiction stands for itself, the strongest first, with what it rests on. None is averaged
away by what fits, and what fits is never called proof.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from exif_jax.forensics.file_evidence.examine import FileEvidence
from exif_jax.forensics.file_evidence.findings import (
    CONTRADICTS,
    FITS,
    SILENT,
    Finding,
    as_json,
    strongest_first,
    total_strength,
)
from exif_jax.forensics.verification import Verification

PIXELS = "pixels against EXIF"
# A p-value at or below this counts as a contradiction.
_DOUBT = 0.05
_MOST_SENTENCES = 3


@dataclasses.dataclass(frozen=True)
class Statement:
    """What file and pixels say together.

    Attributes:
        sentence: the contradictions, the strongest first, or that there are none.
        strength: the higher, the more strongly the photo contradicts what is said of it. The
            strongest contradiction of each kind (pictures in the file, saved anew, camera), and
            -log10 of the pixels' p-value, added up; 0 where nothing speaks against it.
        p_value: of the pixels against the EXIF, as `Verification.p_value`.
        findings: of file and pixels, the strongest contradiction first.
    """

    sentence: str
    strength: float
    p_value: float | None
    findings: tuple[Finding, ...]

    @property
    def contradictions(self) -> tuple[Finding, ...]:
        """Those of the findings that contradict, the strongest first."""
        return tuple(f for f in self.findings if f.verdict == CONTRADICTS)

    @property
    def headline(self) -> str:
        """The strongest finding in a few words, for a table."""
        found = self.contradictions
        return f"{found[0].rule}: {found[0].sentence}" if found else self.sentence


def state(evidence: FileEvidence, verification: Verification | None) -> Statement:
    """Joins what the file and what the pixels say; None where the pixels were not compared."""
    pixels = [_pixel_finding(verification)] if verification else []
    findings = strongest_first([*evidence.findings, *pixels])
    p = verification.p_value if verification else None
    strength = total_strength(evidence.findings) + (-math.log10(p) if p else 0.0)
    return Statement(_sentence(findings), round(strength, 3), p, tuple(findings))


def _pixel_finding(verification: Verification) -> Finding:
    p = verification.p_value
    verdict = SILENT if p is None else CONTRADICTS if p <= _DOUBT else FITS
    strength = round(-math.log10(p), 3) if p and verdict == CONTRADICTS else 0.0
    source = "the model, and photos of cameras that it never saw"
    return Finding(PIXELS, "pixels", verdict, verification.summary, source, strength)


def _sentence(findings: list[Finding]) -> str:
    against = [f for f in findings if f.verdict == CONTRADICTS]
    if not against:
        fits = sum(f.verdict == FITS for f in findings)
        if not fits:
            return "nothing could be compared"
        many = "one rule finds" if fits == 1 else f"{fits} rules find"
        return f"nothing contradicts what the file says; {many} it in order, which proves nothing"
    words = "; ".join(f.sentence for f in against[:_MOST_SENTENCES])
    more = len(against) - _MOST_SENTENCES
    return words + (f"; and {more} more" if more > 0 else "")


def statement_as_json(statement: Statement) -> dict[str, Any]:
    """Returns a statement as plain types."""
    return {
        "sentence": statement.sentence,
        "strength": statement.strength,
        "p_value": statement.p_value,
        "findings": [as_json(finding) for finding in statement.findings],
    }
