"""All rules on one photo's file, and how far each of them is to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from exif_jax.forensics.file_evidence import (
    exif_facts,
    jpeg_tables,
    pictures,
    segments,
    traces,
)
from exif_jax.forensics.file_evidence.facts import Facts, gather
from exif_jax.forensics.file_evidence.findings import (
    CONTRADICTS,
    SILENT,
    Finding,
    strongest_first,
)
from exif_jax.forensics.file_evidence.gallery import Gallery, Known, shipped
from exif_jax.reading.photo import Photo

# A rule that goes off at more camera files than this is silent.
MAX_FALSE_ALARMS = 0.01
_Z = 1.96

_GALLERY = "files of cameras, counted by make and model"
_EXIF = "Exif 3.0"
_PICTURES = "the file's own pictures"


class Rule(NamedTuple):
    """A rule: its name, the cause of its contradictions, what it rests on, and the rule itself."""

    name: str
    group: str
    source: str
    judge: Callable[[Facts, Known], tuple[str, str]]


# In the order in which equally strong ones are told.
RULES = (
    Rule("thumbnail's shape", "picture", _PICTURES, pictures.thumbnail_shape),
    Rule("thumbnail's content", "picture", _PICTURES, pictures.thumbnail_content),
    Rule("thumbnail turned", "picture", _PICTURES, pictures.thumbnail_turn),
    Rule("thumbnail's places", "picture", _PICTURES, pictures.thumbnail_places),
    Rule("previews", "picture", _PICTURES, pictures.previews),
    Rule("tables of the model", "saved", _GALLERY, jpeg_tables.tables_of_the_model),
    Rule("tables of another maker", "saved", _GALLERY, jpeg_tables.tables_of_another_maker),
    Rule("chroma sampling", "saved", _GALLERY, jpeg_tables.sampling_of_the_model),
    Rule("standard tables", "saved", "ITU T.81 annex K; " + _GALLERY, jpeg_tables.standard_tables),
    Rule("Photoshop's tables", "saved", "exiftool's digests", jpeg_tables.photoshop_tables),
    Rule("segment order", "saved", _GALLERY, segments.segment_order),
    Rule("coding order", "saved", _GALLERY, segments.coding_order),
    Rule("JFIF segment", "saved", _GALLERY, segments.jfif_segment),
    Rule("editor's segments", "saved", "Photoshop's file format", segments.program_segments),
    Rule("editor named", "saved", "EXIF and XMP", segments.editor_named),
    Rule("colour profile", "saved", _GALLERY, segments.colour_profile),
    Rule("content credentials", "saved", "C2PA 2.1", segments.content_credentials),
    Rule("other contents", "saved", "MPF, ISO 21496-1, XMP", segments.other_contents),
    Rule("EXIF size", "saved", _EXIF, exif_facts.exif_size),
    Rule("related size", "saved", _EXIF, exif_facts.related_size),
    Rule("maker note size", "saved", "exiftool's tag tables", exif_facts.maker_note_size),
    Rule("missing parts", "saved", _GALLERY, exif_facts.missing_parts),
    Rule("changed later", "saved", _EXIF, exif_facts.changed_later),
    Rule("compressed before", "saved", "Bianchi and Piva 2012", traces.compressed_before),
    Rule("resampled", "saved", "Gallagher 2005", traces.resampled),
    Rule("aperture", "camera", _EXIF, exif_facts.aperture),
    Rule("lens range", "camera", _EXIF, exif_facts.lens_range),
    Rule("exposure twice", "camera", _EXIF, exif_facts.exposure_twice),
    Rule("crop factor", "camera", _GALLERY, exif_facts.crop_factor),
    Rule("order of times", "camera", _EXIF, exif_facts.times),
)


class FileEvidence(NamedTuple):
    """What the file says of itself, held against what it is.

    Attributes:
      findings: Of all rules, the strongest contradiction first.
      facts: What they were taken from, pictures included.
      known: What the gallery knows of the claimed camera.
    """

    findings: tuple[Finding, ...]
    facts: Facts
    known: Known


def examine(photo: Photo, gallery: Gallery | None = None) -> FileEvidence:
    """Applies all rules to a photo's file; never raises for what the file holds.

    Args:
      photo: As read, with the bytes of its file.
      gallery: What camera files look like; what ships where None.

    Raises:
      GalleryError: The gallery that ships is damaged.
    """
    gallery = shipped() if gallery is None else gallery
    facts = gather(photo, gallery)
    known = gallery.known(facts.record)
    return FileEvidence(tuple(judge(facts, known, gallery.false_alarms)), facts, known)


def judge(facts: Facts, known: Known, false_alarms: Mapping[str, Sequence[int]]) -> list[Finding]:
    """Applies all rules to what was taken from a photo.

    Args:
      facts: Of `gather`.
      known: Of the gallery, without the photo.
      false_alarms: Rule -> at how many of how many camera files it went off by mistake. A rule
        that was not measured, or that goes off at more than `MAX_FALSE_ALARMS`, is silent.
    """
    findings = []
    for rule in RULES:
        verdict, sentence = rule.judge(facts, known)
        strength = 0.0
        if verdict == CONTRADICTS:
            alarms, judged = false_alarms.get(rule.name, (0, 0))
            if not judged or alarms / judged > MAX_FALSE_ALARMS:
                verdict = SILENT
                sentence += f" (not counted: so do {alarms} of {judged} files of cameras)"
            else:
                strength = round(-math.log10(wilson(alarms, judged)[1]), 3)
        findings.append(Finding(rule.name, rule.group, verdict, sentence, rule.source, strength))
    return strongest_first(findings)


def measure(files: Sequence[tuple[Facts, Known]]) -> dict[str, list[int]]:
    """Counts at how many of how many camera files each rule goes off.

    Args:
      files: Of camera originals, each with what is known of its camera without it.

    Returns:
      Rule -> [contradictions, files].
    """
    return {
        rule.name: [sum(rule.judge(*file)[0] == CONTRADICTS for file in files), len(files)]
        for rule in RULES
    }


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's method; (0, 1) of nothing."""
    if not total:
        return 0.0, 1.0
    p, z2 = count / total, _Z * _Z
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)
