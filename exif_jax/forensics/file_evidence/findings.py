"""What one rule says of a file: a verdict, a sentence, what it rests on and how much it weighs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

FITS, CONTRADICTS, SILENT = "fits", "contradicts", "silent"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one rule says of a file.

    Attributes:
        rule: its name, as the tables of docs/file_evidence.md have it.
        group: what causes it: "picture" (thumbnail or preview show something else), "saved" (a
            program wrote the file anew), "camera" (what is said of the camera cannot be).
            Contradictions of one group have one cause more often than not.
        verdict: "fits", "contradicts" or "silent". "fits" proves nothing: whoever knows the rule
            can see to it.
        sentence: the fact, in words.
        source: what the rule rests on.
        strength: of a contradiction, -log10 of the share of camera files at which the rule at most
            goes off by mistake (the upper end of a 95 % interval); 0 of others.
    """

    rule: str
    group: str
    verdict: str
    sentence: str
    source: str
    strength: float = 0.0


def as_json(finding: Finding) -> dict[str, Any]:
    """Returns a finding as plain types."""
    return dataclasses.asdict(finding)


def strongest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Orders findings: contradictions, the strongest first; what fits; what is silent.

    Equals stay in the order in which they came.
    """
    order = {CONTRADICTS: 0, FITS: 1, SILENT: 2}
    return sorted(findings, key=lambda f: (order[f.verdict], -f.strength))


def total_strength(findings: Iterable[Finding]) -> float:
    """Returns the strength of all contradictions: the strongest of each group, added up.

    What fits takes nothing away: contradictions are never averaged.
    """
    strongest: dict[str, float] = {}
    for finding in findings:
        if finding.verdict == CONTRADICTS:
            strongest[finding.group] = max(strongest.get(finding.group, 0.0), finding.strength)
    return round(sum(strongest.values()), 3)
