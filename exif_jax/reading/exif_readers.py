"""EXIF as other programs print it -> the canonical mapping of `exif_jax.reading.exif`. No JAX.

Each reader turns a program's names and words back into what `exiftool -n` would print, so that
every photo has one text whichever road it came by. Where a program prints less than the file held,
the tag is left out rather than guessed; `YFCC_LOSSY` lists them. Readers never raise: what cannot
be read is not there.

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

_BY_NAME = {tag.exiftool: tag for table in TAGS.values() for tag in table}
_MOST = 400  # characters of one value, and tags of one photo, that are looked at


def _codes(words: str, first: int = 0, **others: str) -> dict[str, int]:
    """Words of the codes `first`, `first` + 1, ... and, as _code=words, of codes apart."""
    found = {word: first + i for i, word in enumerate(words.split("|")) if word}
    return found | {word: int(code[1:]) for code, word in others.items()}


# --- exifread -----------------------------------------------------------------------------------

# exifread-nocycle 3.0.1, which img2dataset 1.47 comes with, prints values of the type UNDEFINED as
# nothing or as zeros, whatever the file says.
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
_EXIFREAD_WORDS = {
    "Orientation": _codes(
        "Horizontal (normal)|Mirrored horizontal|Rotated 180|Mirrored vertical|"
        "Mirrored horizontal then rotated 90 CCW|Rotated 90 CW|"
        "Mirrored horizontal then rotated 90 CW|Rotated 90 CCW",
        1,
    ),
    "ResolutionUnit": _codes("Not Absolute|Pixels/Inch|Pixels/Centimeter", 1),
    "YCbCrPositioning": _codes("Centered|Co-sited", 1),
    "ExposureProgram": _codes(
        "Unidentified|Manual|Program Normal|Aperture Priority|Shutter Priority|Program Creative|"
        "Program Action|Portrait Mode|Landscape Mode"
    ),
    "SensitivityType": _codes(
        "Unknown|Standard Output Sensitivity|Recommended Exposure Index|ISO Speed|"
        "Standard Output Sensitivity and Recommended Exposure Index|"
        "Standard Output Sensitivity and ISO Speed|Recommended Exposure Index and ISO Speed|"
        "Standard Output Sensitivity, Recommended Exposure Index and ISO Speed"
    ),
    "MeteringMode": _codes(
        "Unidentified|Average|CenterWeightedAverage|Spot|MultiSpot|Pattern|Partial", _255="other"
    ),
    "LightSource": _codes(
        "Unknown|Daylight|Fluorescent|Tungsten (incandescent light)|Flash|||||Fine weather|"
        "Cloudy weather|Shade|Daylight fluorescent (D 5700 - 7100K)|"
        "Day white fluorescent (N 4600 - 5400K)|Cool white fluorescent (W 3900 - 4500K)|"
        "White fluorescent (WW 3200 - 3700K)||Standard light A|Standard light B|Standard light C|"
        "D55|D65|D75|D50|ISO studio tungsten",
        _255="other light source",
    ),
    "Flash": _codes(
        "Flash did not fire|Flash fired",
        _5="Strobe return light not detected",
        _7="Strobe return light detected",
        _9="Flash fired, compulsory flash mode",
        _13="Flash fired, compulsory flash mode, return light not detected",
        _15="Flash fired, compulsory flash mode, return light detected",
        _16="Flash did not fire, compulsory flash mode",
        _24="Flash did not fire, auto mode",
        _25="Flash fired, auto mode",
        _29="Flash fired, auto mode, return light not detected",
        _31="Flash fired, auto mode, return light detected",
        _32="No flash function",
        _65="Flash fired, red-eye reduction mode",
        _69="Flash fired, red-eye reduction mode, return light not detected",
        _71="Flash fired, red-eye reduction mode, return light detected",
        _73="Flash fired, compulsory flash mode, red-eye reduction mode",
        _77="Flash fired, compulsory flash mode, red-eye reduction mode, return light not detected",
        _79="Flash fired, compulsory flash mode, red-eye reduction mode, return light detected",
        _89="Flash fired, auto mode, red-eye reduction mode",
        _93="Flash fired, auto mode, return light not detected, red-eye reduction mode",
        _95="Flash fired, auto mode, return light detected, red-eye reduction mode",
    ),
    "ColorSpace": _codes("sRGB|Adobe RGB", 1, _65535="Uncalibrated"),
    "SensingMethod": _codes(
        "Not defined|One-chip color area|Two-chip color area|Three-chip color area|"
        "Color sequential area||Trilinear|Color sequential linear",
        1,
    ),
    "FileSource": _codes("Film Scanner|Reflection Print Scanner|Digital Camera", 1),
    "SceneType": _codes("Directly Photographed", 1),
    "CustomRendered": _codes("Normal|Custom"),
    "ExposureMode": _codes("Auto Exposure|Manual Exposure|Auto Bracket"),
    "WhiteBalance": _codes("Auto|Manual"),
    "SceneCaptureType": _codes("Standard|Landscape|Portrait|Night"),
    "GainControl": _codes("None|Low gain up|High gain up|Low gain down|High gain down"),
    "Contrast": _codes("Normal|Soft|Hard"),
    "Saturation": _codes("Normal|Soft|Hard"),
    "Sharpness": _codes("Normal|Soft|Hard"),
}


def from_exifread(tags: Mapping[str, Any]) -> dict[str, str]:
    """{"Image Make": "Canon", "EXIF FNumber": "14/5", ...}, each value as exifread prints it."""
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
        code = _EXIFREAD_WORDS.get(tag.exiftool, {}).get(printed)
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
    """Numbers between commas; where the file held bytes, as these."""
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
_YFCC_WORDS = {
    "Orientation": _codes(
        "Top, left side (Horizontal / normal)|Top, right side (Mirror horizontal)|"
        "Bottom, right side (Rotate 180)|Bottom, left side (Mirror vertical)|"
        "Left side, top (Mirror horizontal and rotate 270 CW)|Right side, top (Rotate 90 CW)|"
        "Right side, bottom (Mirror horizontal and rotate 90 CW)|Left side, bottom (Rotate 270 CW)",
        1,
    ),
    "ResolutionUnit": _codes("(No unit)|Inch|cm", 1),
    "FocalPlaneResolutionUnit": _codes("(No unit)|Inches|cm", 1),
    "YCbCrPositioning": _codes("Center of pixel array|Datum point", 1),
    "ExposureProgram": _codes(
        "Manual control|Program normal|Aperture priority|Shutter priority|"
        "Program creative (slow program)|Program action (high-speed program)|Portrait mode|"
        "Landscape mode",
        1,
    ),
    "SensitivityType": _EXIFREAD_WORDS["SensitivityType"],
    "MeteringMode": _codes(
        "Unknown|Average|Center weighted average|Spot|Multi-spot|Multi-segment|Partial",
        _255="(Other)",
    ),
    # Spelt as that library spells them.
    "LightSource": _codes(
        "Unknown|Daylight|Florescent|Tungsten|Flash|||||Fine Weather|Cloudy|Shade|"
        "Daylight Flourescent|Day White Flourescent|Cool White Flourescent|White Flourescent|"
        "Warm White Flourescent|Standard light|Standard light (B)|Standard light (C)|D55|D65|D75|"
        "D50|Studio Tungsten",
        _255="(Other)",
    ),
    "ColorSpace": _codes("sRGB", 1, _65535="Undefined"),
    "SensingMethod": _codes(
        "(Not defined)|One-chip color area sensor|Two-chip color area sensor|"
        "Three-chip color area sensor|Color sequential area sensor||Trilinear sensor|"
        "Color sequential linear sensor",
        1,
    ),
    "FileSource": _codes("Film Scanner|Reflection Print Scanner|Digital Still Camera (DSC)", 1),
    "SceneType": _codes("Directly photographed image", 1),
    "CustomRendered": _codes("Normal process|Custom process"),
    "ExposureMode": _codes("Auto exposure|Manual exposure|Auto bracket"),
    "WhiteBalance": _codes("Auto white balance|Manual white balance"),
    "SceneCaptureType": _codes("Standard|Landscape|Portrait|Night scene"),
    # In that library's order, in which codes 2 and 3 have each other's words.
    "GainControl": _codes("None|Low gain up|Low gain down|High gain up|High gain down"),
    "Contrast": _codes("None|Soft|Hard"),
    "Saturation": _codes("None|Low saturation|High saturation"),
    "Sharpness": _codes("None|Low|Hard"),
    "SubjectDistanceRange": _codes("Unknown|Macro|Close view|Distant view"),
}
_UNKNOWN_CODE = re.compile(r"Unknown \((\d{1,9})\)")
_UNITS = re.compile(
    r" ?(pixels|dots per (?:inch|cm|unit)|sec|EV|bits?/pixel|metres|mm)$|^(?:f/|F)(?=\d)"
)


def from_yfcc(items: str) -> dict[str, str]:
    """ "Exif+IFD0.Make:Canon,Exif+SubIFD.Focal+Length:50.0+mm,..." as the file's second field."""
    found: dict[str, dict[str, str]] = {}
    for item in items[: 64 * _MOST].split(",")[:_MOST]:
        path, _, value = item.partition(":")
        directory, _, name = path.partition(".")
        where = _YFCC_DIRECTORIES.get(urllib.parse.unquote_plus(directory))
        if where:
            value = urllib.parse.unquote_plus(value)[:_MOST]
            found.setdefault(where, {})[urllib.parse.unquote_plus(name)] = value
    texts = {}
    for where, named in found.items():
        texts |= _extractor_texts(named, where)
    return canonical(texts)


def from_released(record: Mapping[str, Any]) -> dict[str, str]:
    """{"EXIF": {"Focal Length": "50.0 mm", ...}}: YFCC's names and values without directories.

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
        code = _YFCC_WORDS.get(tag.exiftool, {}).get(printed)
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
    """The JSON of `flickr.photos.getExif`: {"photo": {"exif": [{"tagspace", "tag", "raw"}]}}.

    Tags are named as exiftool names them, or, in older answers, by their decimal Exif number.
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
