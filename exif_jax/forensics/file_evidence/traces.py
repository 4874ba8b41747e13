"""Rules on traces in the coefficients and pixels: compressed before, resampled."""

from __future__ import annotations

from exif_jax.forensics.file_evidence.facts import Facts, number
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT
from exif_jax.forensics.file_evidence.gallery import NOTHING, Known
from exif_jax.forensics.file_evidence.jpeg_tables import Answer, unseen
from exif_jax.forensics.file_evidence.recompression import MIN_PEAK

_MIN_GAIN = 0.0125


def compressed_before(facts: Facts, known: Known) -> Answer:
    """Whether the coefficients show an earlier compression."""
    found = facts.recompression
    if found is None:
        return SILENT, "no JPEG file, or no luma in it"
    if found.gain < _MIN_GAIN:
        return SILENT, "no earlier compression is seen; a finer one would leave no trace"
    said = f"it was compressed before, with about the tables of {found.name}"
    if "camera" in found.name:
        said = "it was compressed before, with tables that this camera writes, and saved again"
    return (CONTRADICTS, said) if facts.claims_camera else (SILENT, said)


def resampled(facts: Facts, known: Known) -> Answer:
    """Whether the pixels show a resampling."""
    peak, frequency = facts.resampling
    zoom = number(facts.tags.get("Digital Zoom Ratio")) or 0
    if peak < MIN_PEAK:
        return SILENT, "no resampling is seen; making a photo smaller leaves little trace"
    said = f"a period of {1 / frequency:.2f} pixels, as resampling leaves it"
    seen = known.model.get("resampled", NOTHING)
    if zoom > 1:
        return FITS, f"{said}; EXIF says that the camera zoomed digitally"
    if seen["yes"]:
        return FITS, f"{said}, like {seen['yes']} of {seen.total()} photos by {facts.camera}"
    # Some cameras resample each photo: without others by the model nothing can be said.
    if facts.claims_camera and unseen(seen, "yes"):
        return CONTRADICTS, f"{said}; none of {seen.total()} photos by {facts.camera} has one"
    return SILENT, f"{said}; some cameras leave it, too"
