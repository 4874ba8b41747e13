"""EXIF as other programs print it -> the canonical mapping of `exif_jax.reading.exif`. No JAX.

Each reader turns a program's names and words back into what `exiftool -n` would print, so that
every photo has one text whichever program printed it. Where a program prints less than the file
held, the tag is left out rather than guessed; `YFCC_LOSSY` lists them. Readers never raise; what
they cannot read they leave out.

- `from_exifread`: names and strings of the exifread library, as img2dataset keeps them.
- `from_yfcc`: an item list of `yfcc100m_exif`, which metadata-extractor wrote.
- `from_flickr`: the answer of Flickr's `photos.getExif`, whose values are exiftool's.
- `from_released`: the {"EXIF": {...}} of the paper's released preparation.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from exif_jax.reading import exif_values as kinds
from exif_jax.reading.exif import TAGS, Tag, canonical, file_text
from exif_jax.reading.exif_words import EXIFREAD_WORDS, YFCC_WORDS

_BY_NAME = {tag.exiftool: tag for table in TAGS.values() for tag in table}
_MOST = 400  # characters of one value, and tags of one photo, that are looked at


# --- exifread -----------------------------------------------------------------------------------

# exifread-nocycle 3.0.1, which img2dataset 1.47 comes with, prints values of the type UNDEFINED as
# nothing or as zeros, whatever the file holds.
_EXIFREAD_LOST = {"FileSource", "SceneType", "CFAPattern"}
_EXIFREAD_DIRECTORIES = {"Image": "IFD0", "EXIF": "ExifIFD", "Interoperability": "InteropIFD"}
_EXIFREAD_NAMES = {
    "ISOSpeedRatings": "ISO",
    "PhotographicSensitivity": "ISO",
    "ExposureBiasValue": "ExposureCompensation",
    "ExifImageLength": "ExifImageHeight",
    "FlashPixVersion": "FlashpixVersion",
    "CVAPattern": "CFAPattern",
    "FocalLengthIn35mmFilm": "FocalLengthIn35mmFormat",
    "LensSpecification": "LensInfo",
    "InteroperabilityIndex": "InteropIndex",
    "InteroperabilityVersion": "InteropVersion",
    "RelatedImageLength": "RelatedImageHeight",
}


def from_exifread(tags: Mapping[str, Any]) -> dict[str, str]:
    """Returns the canonical mapping of what exifread prints.

    Args:
      tags: {"Image Make": "Canon", "EXIF FNumber": "14/5", ...}.
    """
    texts = {}
    for key, value in list(tags.items())[:_MOST]:
        directory, _, name = str(key).partition(" ")
        table = TAGS.get(_EXIFREAD_DIRECTORIES.get(directory, ""), ())
        wanted = _EXIFREAD_NAMES.get(name, name)
        # Tags that it has no name for are called "Tag 0xA460".
        tag = next((t for t in table if wanted in (t.exiftool, f"Tag 0x{t.id:04X}")), None)
        if tag is None:
            continue
        printed = str(value).strip()[:_MOST]
        if tag.exiftool in _EXIFREAD_LOST and not printed.strip("[]0, "):
            continue
        code = EXIFREAD_WORDS.get(tag.exiftool, {}).get(printed)
        if code is not None:
            texts[tag.exiftool] = str(code)
        elif tag.exiftool == "ComponentsConfiguration":
            texts[tag.exiftool] = _components(printed)
        elif match := re.fullmatch(r"\[([-\d/., ]*)\]", printed):
            texts[tag.exiftool] = _list_text(tag, match[1])
        else:
            texts[tag.exiftool] = file_text(tag, printed)
    return canonical(texts)


def _list_text(tag: Tag, listed: str) -> str:
    """The text of numbers between commas; where the file held bytes, as these."""
    parts = [part.strip() for part in listed.split(",")]
    of_bytes = tag.exiftool == "CFAPattern" or tag.kind is kinds.version
    if of_bytes and all(re.fullmatch(r"\d{1,3}", part) for part in parts):
        values = [int(part) for part in parts]
        return file_text(tag, bytes(values)) if max(values) < 256 else ""
    return " ".join(parts)


def _components(printed: str) -> str:
    for word, letter in (("Red", "R"), ("Green", "G"), ("Blue", "B")):
        printed = printed.replace(word, letter)
    return ", ".join(re.findall("Cb|Cr|Y|R|G|B", printed))


# --- metadata-extractor, which wrote yfcc100m_exif ------------------------------------------------

# What it prints of these tags is rounded, or the same for different values.
YFCC_LOSSY = frozenset(
    (
        *("ShutterSpeedValue", "Flash", "FocalPlaneXResolution", "FocalPlaneYResolution"),
        *("CFAPattern", "LensInfo", "SubjectArea", "BrightnessValue", "Gamma"),
        *("WhitePoint", "PrimaryChromaticities", "YCbCrCoefficients", "ReferenceBlackWhite"),
    )
)
_YFCC_DIRECTORIES = {
    "Exif IFD0": "IFD0",
    "Exif SubIFD": "ExifIFD",
    "Interoperability": "InteropIFD",
}
_YFCC_NAMES = {
    "X Resolution": "XResolution",
    "F-Number": "FNumber",
    "ISO Speed Ratings": "ISO",
    "Exposure Bias Value": "ExposureCompensation",
    "White Balance": "LightSource",
    "White Balance Mode": "WhiteBalance",
    "FlashPix Version": "FlashpixVersion",
    "Focal Length 35": "FocalLengthIn35mmFormat",
    "Compressed Bits Per Pixel": "CompressedBitsPerPixel",
    "Interoperability Index": "InteropIndex",
    "Interoperability Version": "InteropVersion",
}
_UNKNOWN_CODE = re.compile(r"Unknown \((\d{1,9})\)")
_UNITS = re.compile(
    r" ?(pixels|dots per (?:inch|cm|unit)|sec|EV|bits?/pixel|metres|mm)$|^(?:f/|F)(?=\d)"
)


def from_yfcc(items: str) -> dict[str, str]:
    """Returns the canonical mapping of an item list.

    Args:
      items: "Exif+IFD0.Make:Canon,Exif+SubIFD.Focal+Length:50.0+mm,...", the file's second field.
    """
    printed: dict[str, dict[str, str]] = {}  # directory -> name -> value
    for item in items[: 64 * _MOST].split(",")[:_MOST]:
        path, _, value = item.partition(":")
        directory, _, name = path.partition(".")
        where = _YFCC_DIRECTORIES.get(urllib.parse.unquote_plus(directory))
        if where:
            value = urllib.parse.unquote_plus(value)[:_MOST]
            printed.setdefault(where, {})[urllib.parse.unquote_plus(name)] = value
    texts = {}
    for where, named in printed.items():
        texts |= _extractor_texts(named, where)
    return canonical(texts)


def from_released(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the canonical mapping of YFCC's names and values without directories.

    The released preparation cut values at a second colon and dropped all but letters, digits and
    ",./-" from them, so that "Canon EOS 5D" became "CanonEOS5D": texts differ where it did.
    """
    tags = record.get("EXIF", record.get("exif"))
    if not isinstance(tags, Mapping):
        return {}
    named = {str(k): str(v)[:_MOST] for k, v in list(tags.items())[:_MOST]}
    texts = {}
    for where in TAGS:
        texts |= _extractor_texts({k: v for k, v in named.items() if v != "Unknown"}, where)
    return canonical(texts)


def _extractor_texts(named: Mapping[str, str], where: str) -> dict[str, str]:
    texts = {}
    for name, printed in named.items():
        tag = _BY_NAME.get(_YFCC_NAMES.get(name, name.replace(" ", "")))
        if tag is None or tag not in TAGS[where] or tag.exiftool in YFCC_LOSSY:
            continue
        code = YFCC_WORDS.get(tag.exiftool, {}).get(printed)
        if code is None and (unknown := _UNKNOWN_CODE.fullmatch(printed)):
            code = int(unknown[1])
        if code is not None:
            texts[tag.exiftool] = str(code)
        elif tag.kind is kinds.version:
            whole, _, rest = printed.partition(".")
            texts[tag.exiftool] = f"{whole:0>2}{rest}"
        elif tag.exiftool == "InteropIndex":
            texts[tag.exiftool] = (re.findall(r"\(Exif(\w{3})\)", printed) or [printed])[0]
        elif tag.exiftool == "ComponentsConfiguration":
            texts[tag.exiftool] = _components(printed)
        elif tag.exiftool == "DigitalZoomRatio" and printed.startswith("Digital zoom not used"):
            texts[tag.exiftool] = "0"
        elif tag.kind is kinds.plain_text:
            texts[tag.exiftool] = printed
        else:
            texts[tag.exiftool] = _UNITS.sub("", printed)
    return texts


# --- Flickr ---------------------------------------------------------------------------------------

_FLICKR_SPACES = {"IFD0", "ExifIFD", "InteropIFD", "TIFF", "EXIF"}


def from_flickr(answer: Mapping[str, Any]) -> dict[str, str]:
    """Returns the canonical mapping of Flickr's answer.

    Args:
      answer: The JSON of `flickr.photos.getExif`:
        {"photo": {"exif": [{"tagspace", "tag", "raw"}]}}. Tags are named as exiftool names
        them, or, in older answers, by their decimal Exif number.
    """
    photo = answer.get("photo")
    listed = photo.get("exif") if isinstance(photo, Mapping) else None
    by_number = {str(tag.id): tag for tag in _BY_NAME.values() if tag.id != 1 and tag.id != 2}
    texts = {}
    for entry in listed[:_MOST] if isinstance(listed, list) else ():
        if not isinstance(entry, Mapping) or entry.get("tagspace") not in _FLICKR_SPACES:
            continue
        raw = entry.get("raw")
        value = raw.get("_content") if isinstance(raw, Mapping) else raw
        name = str(entry.get("tag"))
        tag = _BY_NAME.get(name) or by_number.get(name)
        if tag is not None and isinstance(value, str | int | float):
            text = kinds.raw_text(value).strip()
            # "0.004 sec (1/250)": the ratio is exact.
            exact = re.fullmatch(r"[\d.]+ sec \((\d+/\d+)\)", text)
            text = exact[1] if exact else text
            texts[tag.exiftool] = file_text(tag, text) if name.isdigit() else text
    return canonical(texts)
