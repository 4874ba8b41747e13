"""Rules on EXIF alone: what it says of sizes, lens, exposure and times, held against itself.

Sources: Exif 3.0 (APEX values, sizes, times); the gallery for what models write.
"""

from __future__ import annotations

import datetime
import math

from exif_jax.forensics.file_evidence.facts import Facts, number
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT
from exif_jax.forensics.file_evidence.gallery import NOTHING, Known
from exif_jax.forensics.file_evidence.jpeg_tables import Answer, unseen

_TIME_FORM = "%Y:%m:%d %H:%M:%S"
_MAX_STOPS_APART = 0.6  # rounded twice, a third of a stop
_FIRST_YEAR = 1995  # of a camera that writes EXIF


def exif_size(facts: Facts, known: Known) -> Answer:
    """The size in EXIF against that of the pixels."""
    told = tuple(facts.tags.get(f"Exif Image {side}", "") for side in ("Width", "Height"))
    return _size("EXIF", told, facts.parts.size)


def related_size(facts: Facts, known: Known) -> Answer:
    """The size in the interoperability directory against that of the pixels."""
    told = tuple(facts.tags.get(f"Related Image {side}", "") for side in ("Width", "Height"))
    return _size("EXIF's interoperability directory", told, facts.parts.size)


def maker_note_size(facts: Facts, known: Known) -> Answer:
    """The size in the maker note against that of the pixels."""
    sizes = facts.parts.exif.note_sizes
    told = tuple(map(str, sizes[0])) if sizes else ("", "")
    return _size("the maker note", told, facts.parts.size)


def _size(whose: str, told: tuple[str, ...], size: tuple[int, int]) -> Answer:
    if not all(text.isdigit() and int(text) for text in told):
        return SILENT, f"{whose} gives no size"
    width, height = map(int, told)
    if (width, height) == size:
        return FITS, f"{whose} gives the size of the pixels"
    said = f"{whose} gives {width} x {height} pixels and the photo has {size[0]} x {size[1]}"
    if (height, width) == size:
        return CONTRADICTS, f"{said}: it was turned"
    return CONTRADICTS, said


def aperture(facts: Facts, known: Known) -> Answer:
    """The f-number against the widest that EXIF allows the lens."""
    f = number(facts.tags.get("F Number"))
    widest = number(facts.tags.get("Max Aperture Value"))
    if not f or not widest or widest < 0.7:
        return SILENT, "EXIF does not give both an f-number and how wide the lens opens"
    if f < 0.85 * widest:
        return CONTRADICTS, f"f/{f:g}, though EXIF says that the lens opens to f/{widest:g}"
    return FITS, f"f/{f:g} is possible with a lens of f/{widest:g}"


def lens_range(facts: Facts, known: Known) -> Answer:
    """The focal length against the lens's range in EXIF."""
    focal = number(facts.tags.get("Focal Length"))
    text = facts.tags.get("Lens Info", "").partition("mm")[0]
    ends = [number(part) for part in text.split("-")]
    if not focal or not all(ends) or len(ends) > 2:
        return SILENT, "EXIF gives no focal length or no range of the lens"
    low, high = float(ends[0] or 0), float(ends[-1] or 0)
    if 0.9 * low <= focal <= 1.1 * high:
        return FITS, f"{focal:g} mm lies in the lens's range"
    return CONTRADICTS, f"{focal:g} mm, though EXIF says that the lens has {low:g} to {high:g} mm"


def exposure_twice(facts: Facts, known: Known) -> Answer:
    """Exposure time and f-number against the same facts in EXIF's other units (APEX)."""
    pairs = (
        ("exposure time", "Exposure Time", "Shutter Speed Value", 1.0),
        ("f-number", "F Number", "Aperture Value", 2.0),
    )
    compared, tags = False, facts.tags
    for name, one, other, stops in pairs:
        a, b = number(tags.get(one)), number(tags.get(other))
        # With an APEX value of 0 (1 s), or one beyond all lenses, cameras say that they know none.
        if not a or not b or a <= 0 or not 0 < b < 100 or tags[other] == "1.0 s":
            continue
        compared = True
        if abs(math.log2(a / b)) * stops > _MAX_STOPS_APART:
            return (
                CONTRADICTS,
                f"EXIF gives the {name} twice, and differently: {tags[one]} and {tags[other]}",
            )
    if compared:
        return FITS, "EXIF gives exposure time or f-number twice, and alike"
    return SILENT, "EXIF gives exposure time and f-number once"


def crop_factor(facts: Facts, known: Known) -> Answer:
    """Focal length against its 35 mm equivalent, by what other photos by the model have."""
    counts, own = known.model.get("crop factor", NOTHING), facts.record.values.get("crop factor")
    if own is None or not facts.claims_camera or not counts.total():
        return SILENT, "no equivalent focal length that can be compared"
    near = [v for v in counts if abs(math.log(float(v) / float(own))) < 0.12]
    if near:
        return FITS, f"a 35 mm equivalent of {own} times the focal length, as others by it"
    zoom = number(facts.tags.get("Digital Zoom Ratio")) or 0
    if unseen(counts, own) and zoom <= 1:
        return (
            CONTRADICTS,
            f"a 35 mm equivalent of {own} times the focal length; {counts.total()} photos by "
            f"{facts.camera} have {', '.join(sorted(counts)[:4])}",
        )
    return SILENT, "the equivalent focal length is one that was not seen"


def times(facts: Facts, known: Known) -> Answer:
    """Whether the file was changed before it was taken, or times cannot be."""
    parsed = {}
    for name, text in facts.times.items():
        try:
            parsed[name] = datetime.datetime.strptime(text, _TIME_FORM)
        except ValueError:
            continue
    taken = parsed.get("DateTimeOriginal")
    changed, digitized = parsed.get("DateTime"), parsed.get("DateTimeDigitized")
    others = [moment for moment in (changed, digitized) if moment is not None]
    if taken is None or not others or taken.year < _FIRST_YEAR:
        return SILENT, "EXIF gives no two times"
    if any((taken - moment).total_seconds() > 5 for moment in others):
        return CONTRADICTS, "by EXIF it was changed or digitised before it was taken"
    return FITS, "the times in EXIF follow each other"


def changed_later(facts: Facts, known: Known) -> Answer:
    """Whether EXIF says that the file was changed long after it was taken."""
    moments = []
    for name in ("DateTimeOriginal", "DateTime"):
        try:
            moments.append(datetime.datetime.strptime(facts.times.get(name, ""), _TIME_FORM))
        except ValueError:
            return SILENT, "EXIF gives no two times"
    days = (moments[1] - moments[0]).total_seconds() / 86400
    if days > 1 and moments[0].year >= _FIRST_YEAR and facts.claims_camera:
        return CONTRADICTS, f"by EXIF it was changed {days:,.0f} days after it was taken"
    return FITS, "by EXIF it was not changed after it was taken"


def missing_parts(facts: Facts, known: Known) -> Answer:
    """Whether a maker note or thumbnail is missing that all files by the model have."""
    if not facts.claims_camera or not facts.record.values.get("order"):
        return SILENT, "no JPEG file of a named camera"
    compared, missing = 0, []
    for field in ("maker note", "thumbnail"):
        counts = known.model.get(field, NOTHING)
        compared += counts.total()
        if facts.record.values.get(field) == "no" and unseen(counts, "no"):
            missing.append(f"no {field}; all {counts.total()} files by {facts.camera} have one")
    if missing:
        return CONTRADICTS, "; ".join(missing)
    return (FITS, "nothing is missing") if compared else (SILENT, "no other file by it is known")
