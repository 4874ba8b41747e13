"""Rules on the quantisation tables: whose they are, and what they say of the last compression.

Sources: ITU T.81 annex K with the scaling of the Independent JPEG Group's library, asked through
Pillow; digests of Photoshop's tables as exiftool lists them; the gallery for what cameras write.
"""

from __future__ import annotations

import hashlib

from exif_jax.forensics.file_evidence.facts import Facts
from exif_jax.forensics.file_evidence.findings import CONTRADICTS, FITS, SILENT
from exif_jax.forensics.file_evidence.gallery import NOTHING, Known, Tally
from exif_jax.forensics.file_evidence.recompression import ijg_quality, nearest_quality
from exif_jax.reading.file_parts import ZIGZAG

Answer = tuple[str, str]  # verdict, sentence

# MD5 of the tables as the file holds them, a zero byte between two -> quality 0 to 12.
_PHOTOSHOP = {
    "683506a889c78d9bc230a0c7ee5f62f3": 0,
    "bc490651af6592cd1dbbbc4fa2cfa1fb": 1,
    "ce4286d9f07999524c3c7472b065c5ab": 2,
    "cbfbfef12aead8841585ef605c789b9f": 3,
    "a0772e73dec2bdc4057c27da47bff376": 4,
    "7ef06dbde538346b8b01c6b538ca70c6": 5,
    "0ff225f58a214f79d1d85d78f6f5dab8": 6,
    "8a8603650fa5ae5fdcf4b2eaf0b23638": 7,
    "44f583ed6b65cb8ba915ec5df051616c": 8,
    "de94c5591bafc7456ccaef430271b907": 9,
    "a6841b35e9ffefa5d83a0445dddd2621": 10,
    "6e3f6a3a5a1eae6155331d42d6f968dd": 11,
    "5379e0133d4439b6f7c7039fc7f7734f": 12,
}
# How much must be known of a model or make before what none of its photos has counts.
_MIN_PHOTOS, _MIN_SOURCES = 5, 3
_MIN_OTHERS = 8  # photos of other makers' cameras, from as many sources as a model's
_MIN_MAKE_PHOTOS, _MIN_MAKE_SOURCES, _MIN_MAKE_MODELS = 20, 6, 3


def unseen(tally: Tally, value: str) -> bool:
    """Whether a value is new where new values are rare.

    Of sources seen one by one, as many bring a value that none before had as there are values seen
    in one source alone, about (Good and Turing): new is rare where all came from several.
    """
    enough = tally.total() >= _MIN_PHOTOS and tally.num_sources() >= _MIN_SOURCES
    return enough and tally[value] == 0 and tally.seen_in_one_source() == 0


def never_in_make(known: Known, field: str, value: str) -> bool:
    """Whether no photo of a make that is well represented has a value."""
    tally = known.make.get(field, NOTHING)
    enough = tally.total() >= _MIN_MAKE_PHOTOS and tally.num_sources() >= _MIN_MAKE_SOURCES
    return enough and known.num_models >= _MIN_MAKE_MODELS and tally[value] == 0


def tables_of_the_model(facts: Facts, known: Known) -> Answer:
    """Whether photos by the claimed model have these tables."""
    counts = known.model.get("tables", NOTHING)
    own = facts.record.values.get("tables")
    if own is None or not facts.claims_camera:
        return SILENT, "no JPEG tables of a named camera"
    if not counts.total():
        return SILENT, f"no other photo by {facts.camera} is known"
    if counts[own]:
        return FITS, f"{counts[own]} of {counts.total()} photos by {facts.camera} have its tables"
    if unseen(counts, own):
        return (
            CONTRADICTS,
            f"none of {counts.total()} photos by {facts.camera} has these JPEG tables",
        )
    return SILENT, f"{facts.camera} writes tables that change from photo to photo"


def tables_of_another_maker(facts: Facts, known: Known) -> Answer:
    """Whether cameras of other makers write these tables, and none of the claimed one's.

    A phone runs camera programs of other makers, too, and tables are the program's.
    """
    own, others = facts.record.values.get("tables"), known.others
    if own is None or not facts.claims_camera or not others:
        return SILENT, "no other maker's camera is known to write these JPEG tables"
    if known.make.get("tables", NOTHING)[own]:
        return FITS, "other cameras of this maker write these JPEG tables"
    program = facts.record.values.get("program")
    if program in known.other_programs:
        return FITS, f"the program that EXIF names ({program}) writes these JPEG tables elsewhere"
    many = sum(others.values()) >= _MIN_OTHERS and known.other_sources >= _MIN_SOURCES
    is_standard = facts.record.values.get("standard") != "no"
    if is_standard or not many or not never_in_make(known, "tables", own):
        return SILENT, "other makers' cameras write these JPEG tables, too"
    makes = ", ".join(sorted(others, key=lambda make: -others[make])[:3])
    return (
        CONTRADICTS,
        f"cameras by {makes} write these JPEG tables; none of {known.make['tables'].total()} "
        f"photos by {facts.camera}'s maker has them",
    )


def sampling_of_the_model(facts: Facts, known: Known) -> Answer:
    """Whether photos by the claimed model have this chroma subsampling."""
    counts = known.model.get("sampling", NOTHING)
    own = facts.record.values.get("sampling")
    if own is None or not facts.claims_camera or not counts.total():
        return SILENT, "no other photo by this camera is known"
    if counts[own]:
        return FITS, f"{counts[own]} of {counts.total()} photos by {facts.camera} sample colour so"
    if unseen(counts, own):
        return (
            CONTRADICTS,
            f"none of {counts.total()} photos by {facts.camera} samples colour like this ({own})",
        )
    return SILENT, "too few photos by this camera are known"


def standard_tables(facts: Facts, known: Known) -> Answer:
    """Whether programs' standard tables stand where this maker's cameras write their own."""
    tables = facts.parts.tables
    quality = ijg_quality(tables) if tables else None
    if not tables:
        return SILENT, "no JPEG tables"
    if quality is None:
        return SILENT, f"tables of its own, about as strong as quality {nearest_quality(tables[0])}"
    said = f"last saved with the standard tables of programs, at quality {quality}"
    if not facts.claims_camera:
        return SILENT, said
    own, make = known.model.get("standard", NOTHING), known.make.get("standard", NOTHING)
    if own[str(quality)]:
        many = f"{own[str(quality)]} of {own.total()}"
        return FITS, f"{said}, like {many} photos by {facts.camera}"
    if unseen(own, str(quality)) and own["no"] == own.total():
        return CONTRADICTS, f"{said}; none of {own.total()} photos by {facts.camera} was"
    if make["no"] == make.total() and never_in_make(known, "standard", str(quality)):
        return CONTRADICTS, f"{said}; none of {make.total()} photos by this maker's cameras was"
    return SILENT, said


def photoshop_tables(facts: Facts, known: Known) -> Answer:
    """Whether the tables are Photoshop's."""
    tables = facts.parts.tables
    raw = b"\0".join(bytes(min(t[k], 255) for k in ZIGZAG) for t in tables)
    quality = _PHOTOSHOP.get(hashlib.md5(raw, usedforsecurity=False).hexdigest())
    if quality is None:
        return SILENT, "not Photoshop's tables"
    said = f"last saved by Photoshop, at its quality {quality}"
    own = known.model.get("tables", NOTHING)[facts.record.values.get("tables", "")]
    if not facts.claims_camera or own:
        return SILENT, said
    return CONTRADICTS, f"{said}, though it names a camera"
