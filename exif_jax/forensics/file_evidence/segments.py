"""Rules on the file's segments: their order, marks of programs, profile, claims, what is behind.

Sources: the gallery for what cameras write; Exif 3.0 (4.7: EXIF follows the start of the file);
Adobe XMP part 2 (CreatorTool, History); C2PA 2.1.
"""

from __future__ import annotations

import re

from exif_jax.forensics.file_evidence.facts import Facts
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT
from exif_jax.forensics.file_evidence.gallery import NOTHING, Known
from exif_jax.forensics.file_evidence.jpeg_tables import Answer, never_in_make, unseen

# Programs that write photos anew; what cameras themselves write as their software is left out.
_EDITORS = re.compile(
    r"photoshop|lightroom|gimp|paint\.net|affinity|capture ?one|darktable|rawtherapee|snapseed|"
    r"picasa|photoscape|imagemagick|graphicsmagick|irfanview|xnview|acdsee|pixelmator|canva|"
    r"paintshop|corel|faststone|photofiltre|vsco|facetune|picsart|meitu|luminar|dxo|digikam|"
    r"shotwell|gthumb|microsoft (?:windows )?photo|windows photo|adobe (?:camera raw|bridge)|"
    r"photo ?editor|instagram|stable diffusion|midjourney|dall|firefly|comfyui|exiftool|aperture",
    re.I,
)
# What libjpeg writes by itself, and with it most programs.
_PROGRAMS_ORDER = "DQT DQT SOF0 DHT DHT DHT DHT SOS"
_CREATOR = re.compile(r"xmp:CreatorTool(?:=\"|>)\s*([^\"<]{1,120})", re.I)
_AGENT = re.compile(r"stEvt:softwareAgent(?:=\"|>)\s*([^\"<]{1,120})", re.I)
_AI = ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia")
_EDITS = frozenset(("c2pa.edited", "c2pa.cropped", "c2pa.resized", "c2pa.placed", "c2pa.filtered"))


def segment_order(facts: Facts, known: Known) -> Answer:
    """Whether photos by the claimed model have their segments in this order."""
    counts, own = known.model.get("order", NOTHING), facts.record.values.get("order")
    if own is None or not facts.claims_camera or not counts.total():
        return SILENT, "no other whole file by this camera is known"
    if counts[own]:
        said = f"{counts[own]} of {counts.total()} files by {facts.camera} have its segments"
        return FITS, f"{said} in this order"
    if unseen(counts, own):
        return (
            CONTRADICTS,
            f"none of {counts.total()} files by {facts.camera} has its segments in this order "
            f"({own})",
        )
    return SILENT, "the files of this camera differ in their segments"


def coding_order(facts: Facts, known: Known) -> Answer:
    """Whether tables, frame and scan stand as programs write them, where this maker's do not."""
    own = facts.record.values.get("coding")
    if own != _PROGRAMS_ORDER or not facts.claims_camera:
        return SILENT, "tables, frame and scan stand in another order than most programs write"
    make = known.make.get("coding", NOTHING)
    if make[own]:
        return FITS, f"tables and frame stand as in {make[own]} files by cameras of this maker"
    if never_in_make(known, "coding", own):
        return (
            CONTRADICTS,
            f"tables and frame stand as programs write them; in none of {make.total()} files by "
            "cameras of this maker",
        )
    return SILENT, "too few files by cameras of this maker are known"


def jfif_segment(facts: Facts, known: Known) -> Answer:
    """Whether a JFIF segment stands where this maker's cameras write none."""
    own, counts = facts.record.values.get("jfif"), known.model.get("jfif", NOTHING)
    if own != "yes" or not facts.claims_camera:
        return SILENT, "no JFIF segment"
    if counts["yes"]:
        return FITS, f"{counts['yes']} of {counts.total()} files by {facts.camera} have JFIF, too"
    if unseen(counts, "yes") or never_in_make(known, "jfif", "yes"):
        many = counts.total() if unseen(counts, "yes") else known.make["jfif"].total()
        whose = facts.camera if unseen(counts, "yes") else "cameras of this maker"
        return (
            CONTRADICTS,
            f"a JFIF segment, as programs write it; none of {many} files by {whose} has one",
        )
    return SILENT, "a JFIF segment, as programs and some cameras write it"


def program_segments(facts: Facts, known: Known) -> Answer:
    """Whether there are segments that Photoshop and its like write."""
    if facts.record.values.get("adobe") != "yes":
        return SILENT, "no segment of an editor"
    said = "segments that Photoshop and other editors write"
    if not facts.claims_camera or known.model.get("adobe", NOTHING)["yes"]:
        return SILENT, said
    return CONTRADICTS, f"{said}, though it names a camera"


def editor_named(facts: Facts, known: Known) -> Answer:
    """Whether EXIF or XMP names a program that edits photos."""
    names = [facts.tags.get("Software", ""), facts.tags.get("Processing Software", "")]
    names += _CREATOR.findall(facts.parts.xmp) + _AGENT.findall(facts.parts.xmp)
    found = [name for name in dict.fromkeys(names) if _EDITORS.search(name)]
    if not found:
        return SILENT, "no editor is named"
    said = f"it names {', '.join(found[:3])[:160]}, which edits photos"
    return (CONTRADICTS, said) if facts.claims_camera else (SILENT, said)


def colour_profile(facts: Facts, known: Known) -> Answer:
    """Whether the colour profile is one that files by the claimed model have."""
    counts, own = known.model.get("icc", NOTHING), facts.record.values.get("icc")
    if own is None or not facts.claims_camera or not counts.total():
        return SILENT, f"colour profile: {own or 'none'}"
    shown = "no colour profile" if own == "none" else f"the colour profile {own}"
    if counts[own]:
        return FITS, f"{shown}, like {counts[own]} of {counts.total()} files by {facts.camera}"
    if unseen(counts, own):
        return CONTRADICTS, f"{shown}; none of {counts.total()} files by {facts.camera} is so"
    return SILENT, shown


def content_credentials(facts: Facts, known: Known) -> Answer:
    """What Content Credentials in the file claim; they are not checked, and never trusted."""
    manifest = facts.parts.manifest
    if manifest is None:
        return SILENT, "no Content Credentials"
    said = f"Content Credentials of {manifest.generator or 'an unnamed program'} (not checked)"
    if claims := [*manifest.actions, *manifest.source_types]:
        said += f" claim {', '.join(claims)[:200]}"
    edited = _EDITS & set(manifest.actions) or set(_AI) & set(manifest.source_types)
    return (CONTRADICTS, said) if edited and facts.claims_camera else (SILENT, said)


def other_contents(facts: Facts, known: Known) -> Answer:
    """What else the file holds: views, gain maps, the video of a motion photo."""
    parts, found = facts.parts, []
    if "APP2 MPF" in parts.segments:
        found.append("several pictures (MPF)")
    if "APP2 gain map" in parts.segments or "hdrgm:" in parts.xmp:
        found.append("a gain map")
    if re.search(r"MotionPhoto|MicroVideo", parts.xmp[:100_000]):
        found.append("a motion photo by its XMP")
    if parts.trailer:
        found.append(f"{parts.trailer_bytes:,} bytes behind the picture ({parts.trailer})")
    return SILENT, f"it holds {', '.join(found)}" if found else "nothing behind the picture"
