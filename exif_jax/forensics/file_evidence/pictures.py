"""Rules on the pictures that the file holds beside the photo: do they show what it shows?"""

from __future__ import annotations

from exif_jax.forensics.file_evidence.facts import Facts
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT
from exif_jax.forensics.file_evidence.gallery import Known
from exif_jax.forensics.file_evidence.jpeg_tables import Answer
from exif_jax.forensics.file_evidence.thumbnail import BARRED, MIDDLE, Comparison

_MIN_CORRELATION = 0.45
_MIN_TURN_GAIN = 0.2
_MAX_ASPECT = 1.05
_MAX_DIFFERENCE = 28.0
_NONE = (SILENT, "no thumbnail that can be decoded")


def thumbnail_shape(facts: Facts, known: Known) -> Answer:
    """The shape of the thumbnail against that of the photo; no contradiction, as cameras differ."""
    seen = facts.thumbnail
    if seen is None:
        return _NONE
    if _is_turned(seen):
        return SILENT, "the thumbnail shows the photo turned"
    if seen.aspect < 0 or max(seen.aspect, 1 / seen.aspect) > _MAX_ASPECT:
        return SILENT, "the thumbnail has another shape than the photo, as some cameras write it"
    if seen.shows == BARRED:
        return FITS, "between its black bars the thumbnail has the photo's shape"
    if seen.shows == MIDDLE:
        return SILENT, "the thumbnail shows the photo's middle alone, in another shape"
    return FITS, "the thumbnail has the photo's shape"


def thumbnail_content(facts: Facts, known: Known) -> Answer:
    """What the thumbnail shows against what the photo shows."""
    seen = facts.thumbnail
    if seen is None:
        return _NONE
    if _is_turned(seen):
        return SILENT, "the thumbnail shows the photo turned"
    if seen.correlation < _MIN_CORRELATION:
        return (
            CONTRADICTS,
            f"the thumbnail shows another picture (correlation {seen.correlation:.2f})",
        )
    return FITS, f"the thumbnail shows the photo (correlation {seen.correlation:.2f})"


def thumbnail_turn(facts: Facts, known: Known) -> Answer:
    """Whether the thumbnail shows the photo turned or mirrored."""
    seen = facts.thumbnail
    if seen is None:
        return _NONE
    if _is_turned(seen):
        return CONTRADICTS, f"the thumbnail fits the photo {seen.turn}: it was turned since"
    return FITS, "the thumbnail is turned like the photo"


def _is_turned(seen: Comparison) -> bool:
    return (
        seen.turned_correlation > 0.8
        and seen.turned_correlation > seen.correlation + _MIN_TURN_GAIN
    )


def thumbnail_places(facts: Facts, known: Known) -> Answer:
    """Whether the thumbnail differs from the photo in some place."""
    seen = facts.thumbnail
    if seen is None or seen.correlation < 0.7 or abs(abs(seen.aspect) - 1) > 0.03:
        return SILENT, "no thumbnail that can be compared place by place"
    if seen.difference > _MAX_DIFFERENCE:
        return (
            CONTRADICTS,
            f"a part of the photo looks different in the thumbnail ({seen.difference:.0f} times "
            "the usual deviation)",
        )
    return FITS, "no part of the photo looks different in the thumbnail"


def previews(facts: Facts, known: Known) -> Answer:
    """Other pictures in the file against the photo."""
    if not facts.previews:
        return SILENT, "no preview that can be decoded"
    for place, seen in facts.previews:
        if seen.correlation < _MIN_CORRELATION and not _is_turned(seen):
            return (
                CONTRADICTS,
                f"its {place} shows another picture (correlation {seen.correlation:.2f})",
            )
        if seen.correlation > 0.7 and seen.difference > _MAX_DIFFERENCE:
            return CONTRADICTS, f"a part of the photo looks different in its {place}"
    return FITS, "its previews show the photo"
