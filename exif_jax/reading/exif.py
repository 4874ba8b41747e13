"""EXIF tags in any reader's form -> one canonical mapping -> one text.

Every reader prints the same tag in its own way: Pillow gives a ratio, exiftool "1/60" or, with
`-n`, 0.01666666667. Here each form is parsed to one typed value and that value is formatted
once, so the same photo gives the same text whichever reader saw it. Where exiftool prints fewer
digits than the file holds, its precision is the canonical one.

The table `TAGS` is an allow-list. What it leaves out can never appear in a text:

* what identifies a person or a place: GPS, serial numbers, owner, artist, copyright, host
  computer, unique identifiers, comments, descriptions, titles, XP* tags, ratings, maker notes, all
  dates and times;
* what readers cannot give alike: ImageWidth, ImageHeight, BitsPerSample, Compression and other
  layout tags (without groups exiftool gives those of the file or of the thumbnail under the same
  name), TransferFunction, SpatialFrequencyResponse, DeviceSettingDescription (binary);
* what describes the surroundings: temperature, pressure, humidity, water depth, acceleration.

Tags and codes: CIPA DC-008 (Exif 2.32), TIFF 6.0; names as exiftool's documentation lists them.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL.TiffImagePlugin import IFDRational

from exif_jax.reading import exif_values as kinds

MAX_CHARS = kinds.MAX_CHARS  # of one value

# --- the table ----------------------------------------------------------------------------------


class Tag(NamedTuple):
    """One canonical tag.

    Attributes:
      id: Its number in Exif.
      exiftool: The name that exiftool gives it.
      kind: How its value is formatted.
      apex: Where not zero, files hold x and exiftool shows 2 ** (apex * x).
      signed: Whether it is a signed ratio, though some cameras write it as unsigned.
    """

    id: int
    exiftool: str
    kind: kinds.Kind
    apex: float = 0.0
    signed: bool = False

    @property
    def name(self) -> str:
        """exiftool's name with spaces: "FNumber" -> "F Number"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z\d])|(?<=[A-Z])(?=[A-Z][a-z])", " ", self.exiftool)


TAGS: Mapping[str, tuple[Tag, ...]] = {
    "IFD0": (
        Tag(0x010F, "Make", kinds.plain_text),
        Tag(0x0110, "Model", kinds.plain_text),
        Tag(0x0131, "Software", kinds.plain_text),
        Tag(0x000B, "ProcessingSoftware", kinds.plain_text),
        Tag(0x0112, "Orientation", kinds.ORIENTATION),
        Tag(0x011A, "XResolution", kinds.decimal(0)),
        Tag(0x011B, "YResolution", kinds.decimal(0)),
        Tag(0x0128, "ResolutionUnit", kinds.UNIT),
        Tag(0x013E, "WhitePoint", kinds.number_list),
        Tag(0x013F, "PrimaryChromaticities", kinds.number_list),
        Tag(0x0211, "YCbCrCoefficients", kinds.number_list),
        Tag(0x0213, "YCbCrPositioning", kinds.enumeration("|Centered|Co-sited")),
        Tag(0x0214, "ReferenceBlackWhite", kinds.number_list),
    ),
    "ExifIFD": (
        Tag(0x829A, "ExposureTime", kinds.seconds),
        Tag(0x829D, "FNumber", kinds.f_number),
        Tag(0x8822, "ExposureProgram", kinds.PROGRAM),
        Tag(0x8827, "ISO", kinds.first_integer),
        Tag(0x8830, "SensitivityType", kinds.SENSITIVITY),
        Tag(0x8831, "StandardOutputSensitivity", kinds.first_integer),
        Tag(0x8832, "RecommendedExposureIndex", kinds.first_integer),
        Tag(0x8833, "ISOSpeed", kinds.first_integer),
        Tag(0x8834, "ISOSpeedLatitudeyyy", kinds.first_integer),
        Tag(0x8835, "ISOSpeedLatitudezzz", kinds.first_integer),
        Tag(0x9000, "ExifVersion", kinds.version),
        Tag(0x9101, "ComponentsConfiguration", kinds.components),
        Tag(0x9102, "CompressedBitsPerPixel", kinds.decimal(2)),
        Tag(0x9201, "ShutterSpeedValue", kinds.seconds, apex=-1.0, signed=True),
        Tag(0x9202, "ApertureValue", kinds.aperture, apex=0.5),
        Tag(0x9203, "BrightnessValue", kinds.decimal(2, " EV", zero=True)),
        Tag(0x9204, "ExposureCompensation", kinds.exposure_bias, signed=True),
        Tag(0x9205, "MaxApertureValue", kinds.aperture, apex=0.5),
        Tag(0x9206, "SubjectDistance", kinds.decimal(2, " m")),
        Tag(0x9207, "MeteringMode", kinds.METERING),
        Tag(0x9208, "LightSource", kinds.LIGHT),
        Tag(0x9209, "Flash", kinds.FLASH),
        Tag(0x920A, "FocalLength", kinds.decimal(1, " mm")),
        Tag(0x9214, "SubjectArea", kinds.number_list),
        Tag(0xA000, "FlashpixVersion", kinds.version),
        Tag(0xA001, "ColorSpace", kinds.COLOR_SPACE),
        Tag(0xA002, "ExifImageWidth", kinds.first_integer),
        Tag(0xA003, "ExifImageHeight", kinds.first_integer),
        Tag(0xA20B, "FlashEnergy", kinds.decimal(0)),
        Tag(0xA20E, "FocalPlaneXResolution", kinds.decimal(1)),
        Tag(0xA20F, "FocalPlaneYResolution", kinds.decimal(1)),
        Tag(0xA210, "FocalPlaneResolutionUnit", kinds.UNIT),
        Tag(0xA215, "ExposureIndex", kinds.decimal(0)),
        Tag(0xA217, "SensingMethod", kinds.SENSING),
        Tag(0xA300, "FileSource", kinds.SOURCE),
        Tag(0xA301, "SceneType", kinds.enumeration("|Directly photographed")),
        Tag(0xA302, "CFAPattern", kinds.cfa_pattern),
        Tag(0xA401, "CustomRendered", kinds.RENDERED),
        Tag(0xA402, "ExposureMode", kinds.enumeration("Auto|Manual|Auto bracket")),
        Tag(0xA403, "WhiteBalance", kinds.enumeration("Auto|Manual")),
        Tag(0xA404, "DigitalZoomRatio", kinds.decimal(2, zero=True)),
        Tag(0xA405, "FocalLengthIn35mmFormat", kinds.decimal(0, " mm")),
        Tag(0xA406, "SceneCaptureType", kinds.CAPTURE),
        Tag(0xA407, "GainControl", kinds.GAIN),
        Tag(0xA408, "Contrast", kinds.LEVELS),
        Tag(0xA409, "Saturation", kinds.LEVELS),
        Tag(0xA40A, "Sharpness", kinds.enumeration("Normal|Soft|Hard")),
        Tag(0xA40C, "SubjectDistanceRange", kinds.DISTANCE_RANGE),
        Tag(0xA432, "LensInfo", kinds.lens_range),
        Tag(0xA433, "LensMake", kinds.plain_text),
        Tag(0xA434, "LensModel", kinds.plain_text),
        Tag(0xA460, "CompositeImage", kinds.COMPOSITE),
        Tag(0xA500, "Gamma", kinds.decimal(2)),
    ),
    "InteropIFD": (
        Tag(0x0001, "InteropIndex", kinds.interop_index),
        Tag(0x0002, "InteropVersion", kinds.version),
        Tag(0x1001, "RelatedImageWidth", kinds.first_integer),
        Tag(0x1002, "RelatedImageHeight", kinds.first_integer),
    ),
}

# --- readers ------------------------------------------------------------------------------------


def canonical(texts: Mapping[str, str]) -> dict[str, str]:
    """Returns the canonical mapping, in the order of the table, from exiftool's names and texts."""
    tags = {}
    for tag in (tag for table in TAGS.values() for tag in table):
        value = tag.kind(texts[tag.exiftool]) if texts.get(tag.exiftool) else None
        if value:
            tags[tag.name] = value
    return tags


def _signed(value: object) -> object:
    """A ratio with its 32-bit parts read as signed."""
    if not isinstance(value, numbers.Rational) or isinstance(value, int):
        return value
    parts = (int(value.numerator), int(value.denominator))
    numerator, denominator = (p - 2**32 if 2**31 <= p < 2**32 else p for p in parts)
    return IFDRational(numerator, denominator)


def _byte_codes(value: object, tag: Tag) -> object:
    """Bytes that stand for small integers as a tuple of these; text tags keep theirs."""
    text_kinds = (kinds.plain_text, kinds.version, kinds.interop_index)
    if not isinstance(value, bytes | bytearray) or tag.kind in text_kinds:
        return value
    if tag.exiftool == "CFAPattern":  # two 16-bit sizes (of either byte order), then one byte each
        value = bytes(value[:8]).replace(b"\0\2\0\2", b"\2\2", 1).replace(b"\2\0\2\0", b"\2\2", 1)
    return tuple(value) if len(value) in (4, 6) else tuple(value[:1])


def file_text(tag: Tag, value: object) -> str:
    """Returns the text that `exiftool -n` gives for a value as it stands in the file."""
    text = kinds.raw_text(_signed(value) if tag.signed else _byte_codes(value, tag))
    if tag.apex:
        stops = kinds.parse_number(text)
        text = f"{2 ** (tag.apex * stops):.15g}" if stops is not None and abs(stops) < 100 else ""
    return text


def from_values(directories: Mapping[str, Mapping[int, object]]) -> dict[str, str]:
    """Returns the canonical mapping of values as they stand in the file; never raises.

    Args:
      directories: "IFD0", "ExifIFD", "InteropIFD" -> tag id -> value: int, float, str, bytes, a
        rational number (zero denominators allowed) or a tuple of these. Others are left out.

    Returns:
      Tag name -> value text, in the order of `TAGS`; see `to_text`.
    """
    texts = {}
    for ifd, table in TAGS.items():
        values = directories.get(ifd) or {}
        texts |= {tag.exiftool: file_text(tag, values.get(tag.id)) for tag in table}
    return canonical(texts)


def from_exiftool(tags: Mapping[str, object]) -> dict[str, str]:
    """Returns the canonical mapping of one object of `exiftool -json`; never raises.

    Works with and without `-n`. Prefer `-G1`: without groups exiftool fills tags that the EXIF
    block lacks from maker notes, XMP or the file, and they cannot be distinguished.
    """
    texts = {}
    grouped = any(isinstance(key, str) and ":" in key for key in tags)
    for key, value in tags.items():
        if not isinstance(key, str):
            continue
        *groups, name = key.split(":")
        if grouped == bool(groups) and set(groups) <= {"EXIF", *TAGS}:
            texts[name] = kinds.raw_text(value)
    return canonical(texts)


def checked(tags: object) -> dict[str, str]:
    """Returns the canonical part of a mapping from a file that anyone may have written."""
    if not isinstance(tags, Mapping):
        return {}
    names = [tag.name for table in TAGS.values() for tag in table]
    return {
        name: tags[name]
        for name in names
        if isinstance(tags.get(name), str)
        and re.fullmatch(rf"[\x20-\x7e]{{1,{MAX_CHARS}}}", tags[name])
        and "," not in tags[name]
    }


def select_tags(tags: Mapping[str, str], vocabulary: Sequence[str]) -> dict[str, str]:
    """Returns the tags of a photo that belong to a vocabulary, in its order."""
    return {name: tags[name] for name in vocabulary if name in tags}


def to_text(tags: Mapping[str, str], names: bool = True) -> str:
    """Returns the canonical mapping as one line.

    With names it reads "Make: Canon, Model: Canon EOS 5D, ..."; without "Canon, Canon EOS 5D, ...".
    """
    return ", ".join(f"{name}: {value}" if names else value for name, value in tags.items())


def camera_name(tags: Mapping[str, str]) -> str:
    """Returns make and model in one line, as most people would write them; "" without both."""
    make, model = tags.get("Make", ""), tags.get("Model", "")
    return model if make and model.lower().startswith(make.lower()) else f"{make} {model}".strip()
