"""EXIF tags in any reader's form -> one canonical mapping -> one text.

Every reader prints the same tag in its own way: Pillow gives a ratio, exiftool "1/60" or, with
``-n``, 0.01666666667. Here each form is parsed to one typed value and that value is formatted
once, so the same photo gives the same text whichever reader saw it. Where exiftool prints fewer
digits than the file holds, its precision is the canonical one.

The table ``TAGS`` is an allow-list. What it leaves out can never appear in a text:

* what tells who or where: GPS, serial numbers, owner, artist, copyright, host computer, unique
  identifiers, comments, descriptions, titles, XP* tags, ratings, maker notes, all dates and times;
* what readers cannot give alike: ImageWidth, ImageHeight, BitsPerSample, Compression and other
  layout tags (without groups exiftool gives those of the file or of the thumbnail under the same
  name), TransferFunction, SpatialFrequencyResponse, DeviceSettingDescription (binary);
* what describes the surroundings: temperature, pressure, humidity, water depth, acceleration.

Tags and codes: CIPA DC-008 (Exif 2.32), TIFF 6.0; names as exiftool's documentation lists them.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

MAX_CHARS = 40  # of one value
_MAX_RAW = 400  # characters looked at in one raw value
_POINTERS = {"ExifIFD": 0x8769, "InteropIFD": 0xA005}

# --- raw values -> text as `exiftool -n` prints it ----------------------------------------------


def _number_text(value: numbers.Real) -> str:
    if isinstance(value, numbers.Rational):
        numerator, denominator = int(value.numerator), int(value.denominator)
        if denominator == 0:
            return "inf" if numerator else "undef"
        if denominator == 1 and numerator.bit_length() < 64:
            return str(numerator)
        return f"{numerator / denominator:.10g}"  # exiftool keeps ten digits of a ratio
    return f"{float(value):.15g}"


def _raw_text(value: object) -> str:
    """One raw value of any reader as text; "" where it has none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value[:_MAX_RAW].split("\0")[0]
    if isinstance(value, bytes | bytearray):
        return bytes(value[:_MAX_RAW]).decode("latin-1").split("\0")[0]
    if isinstance(value, numbers.Real):
        try:
            return _number_text(value)
        except (ArithmeticError, TypeError, ValueError):
            return ""
    if isinstance(value, list | tuple):
        # One level only: a nested list is no EXIF value.
        return " ".join(_raw_text(v) for v in value[:16] if not isinstance(v, list | tuple))
    return ""


def _signed(value: object) -> object:
    """A ratio with its 32-bit parts read as signed."""
    if not isinstance(value, numbers.Rational) or isinstance(value, int):
        return value
    parts = (int(value.numerator), int(value.denominator))
    numerator, denominator = (p - 2**32 if 2**31 <= p < 2**32 else p for p in parts)
    return IFDRational(numerator, denominator)


def _byte_codes(value: object, tag: Tag) -> object:
    """Bytes that stand for small integers as a tuple of these; text tags keep theirs."""
    if not isinstance(value, bytes | bytearray) or tag.kind in (_text, _version, _interop_index):
        return value
    if tag.exiftool == "CFAPattern":  # two 16-bit sizes (of either byte order), then one byte each
        value = bytes(value[:8]).replace(b"\0\2\0\2", b"\2\2", 1).replace(b"\2\0\2\0", b"\2\2", 1)
    return tuple(value) if len(value) in (4, 6) else tuple(value[:1])


# --- text -> typed value ------------------------------------------------------------------------

_NUMBER = re.compile(
    r"([-+]?\d{1,30}(?:\.\d{0,30})?(?:e[-+]?\d{1,3})?)(?:/(\d{1,9}))?(?: m| mm)?", re.A
)


def _parse_number(text: str) -> float | None:
    """ "0.5", "1/60", "+1/3", "50.0 mm", "0.086 m" -> float; None where there is none."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        return None
    denominator = int(match[2] or 1)
    value = float(match[1]) / denominator if denominator else math.inf
    return value if abs(value) < 1e9 else None


def _parse_numbers(text: str) -> tuple[float, ...] | None:
    values = tuple(_parse_number(part) for part in text.replace(",", " ").split())
    return None if None in values or not values else tuple(v for v in values if v is not None)


def _word_key(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.lower())


# --- kinds: text of any reader -> canonical value text, None where it says nothing --------------

Kind = Callable[[str], str | None]


def _clean(text: str) -> str:
    """Printable ASCII on one line, no commas, at most MAX_CHARS.

    A run of anything else becomes one "?": readers disagree on how to decode such bytes.
    """
    text = re.sub(r"\s+", " ", text, flags=re.ASCII).replace(",", ";")
    return re.sub(r"[^\x20-\x7e]+|\?+", "?", text).strip()[:MAX_CHARS].strip()


def _text(text: str) -> str | None:
    # JSON turns "1.10" into a number and "True" into a boolean: give all readers that form.
    stripped = text.strip(" \t\r\n")
    if re.fullmatch(r"-?(\d|[1-9]\d{1,14})(\.\d{1,16})?(e[-+]?\d{1,3})?", stripped, re.I | re.A):
        whole = stripped.lstrip("-").isdigit()
        stripped = str(int(stripped)) if whole else f"{float(stripped) + 0.0:.15g}"
    elif stripped.lower() in ("true", "false"):
        stripped = stripped.lower()
    return _clean(stripped) or None


def _decimal(places: int, unit: str = "", zero: bool = False, prefix: str = "") -> Kind:
    """A number at fixed precision; zero (mostly "unknown") is left out unless asked for."""

    def kind(text: str) -> str | None:
        value = _parse_number(text)
        if value is None:
            return None
        value = round(value, places) + 0.0  # + 0.0: no "-0.0"
        return f"{prefix}{value:.{places}f}{unit}" if value or zero else None

    return kind


def _seconds(text: str) -> str | None:
    value = _parse_number(text)
    if value is None or value < 1e-6:
        return None
    return f"1/{int(0.5 + 1 / value)} s" if value < 0.25001 else f"{value:.1f} s"


def _f_number(text: str) -> str | None:
    value = _parse_number(text)
    if value is None or value < 0.05:
        return None
    value = float(f"{value:.2f}") if value < 1 else value
    return f"f/{value:.2f}" if value < 1 else f"f/{value:.1f}"


def _aperture(text: str) -> str | None:
    # exiftool shows an undefined APEX value as f/1.0.
    value = _parse_number(text)
    return f"f/{value:.1f}" if value is not None and value > 1.05 else None


def _exposure_bias(text: str) -> str | None:
    """Exposure steps, snapped to whole, half or third stops as exiftool snaps them."""
    # exiftool without -n shows 0/0 as 0.
    value = 0.0 if text == "undef" else _parse_number(text)
    if value is None:
        return None
    nudged = value * 1.00001
    for parts in (1, 2, 3):
        steps = int(nudged * parts)
        if nudged and steps / (nudged * parts) > 0.999:
            return f"{steps / parts:+.2f} EV"
    snapped = float(f"{nudged:.3g}")
    return f"{snapped:+.2f} EV" if abs(snapped) >= 0.005 else "0 EV"


def _first_integer(text: str) -> str | None:
    values = _parse_numbers(text)
    return f"{values[0]:.0f}" if values and values[0] >= 0.5 else None


def _number_list(text: str) -> str | None:
    values = _parse_numbers(text)
    return " ".join(f"{v:.4g}" for v in values)[:MAX_CHARS] if values else None


def _version(text: str) -> str | None:
    digits = text.strip()
    return f"{int(digits[:2])}.{digits[2:]}" if re.fullmatch("[0-9]{4}", digits) else None


def _interop_index(text: str) -> str | None:
    return text[:3] if text[:3] in ("R98", "R03", "THM") else None


def _components(text: str) -> str | None:
    names = ("", "Y", "Cb", "Cr", "R", "G", "B")
    if re.fullmatch(r"[0-6]( [0-6]){3}", text.strip()):
        parts = [names[int(code)] for code in text.split()]
    else:
        parts = [part for part in re.split("[, -]+", text) if part in names]
    return " ".join(part for part in parts if part) or None


def _cfa_pattern(text: str) -> str | None:
    names = ("Red", "Green", "Blue", "Cyan", "Magenta", "Yellow", "White")
    if re.fullmatch(r"2 2( [0-6]){4}", text.strip()):
        colors = [names[int(code)] for code in text.split()[2:]]
    else:
        colors = re.findall(r"[A-Z][a-z]+", text)
    if len(colors) != 4 or not set(colors) <= set(names):
        return None
    return "{} {} / {} {}".format(*colors)


def _lens_range(text: str) -> str | None:
    """Shortest and longest focal length, largest aperture at either."""
    match = re.fullmatch(r"([\d.?]+)(?:-([\d.?]+))?mm f/([\d.?]+)(?:-([\d.?]+))?", text.strip())
    parts = match.groups() if match else text.split()
    if len(parts) != 4:
        return None
    near, far, wide, narrow = (round(_parse_number(part or "") or 0.0, 1) for part in parts)
    if near <= 0:
        return None
    focal = f"{near:.1f} mm" if far in (0, near) else f"{near:.1f}-{far:.1f} mm"
    if wide <= 0:
        return focal[:MAX_CHARS]
    stop = f"f/{wide:.1f}" if narrow in (0, wide) else f"f/{wide:.1f}-{narrow:.1f}"
    return f"{focal} {stop}"[:MAX_CHARS]


_SHORTER = (
    ("Standard Output Sensitivity", "SOS"),
    ("Recommended Exposure Index", "REI"),
    ("Red-eye reduction", "Red-eye"),
    ("Return not detected", "No return"),
    ("Return detected", "Return"),
)


def _words(words: str, **numbered: str) -> Kind:
    """An enumeration: words of codes 0, 1, ... and, as ``_code=words``, of codes apart."""
    by_code = dict(enumerate(words.split("|"))) | {int(k[1:], 0): v for k, v in numbered.items()}
    code_of = {_word_key(v): k for k, v in by_code.items() if v}

    def kind(text: str) -> str | None:
        text = text.strip()
        unknown = re.fullmatch(r"Unknown \((0x[0-9a-f]{1,8}|[0-9]{1,10})\)", text)
        number = unknown[1] if unknown else text if re.fullmatch("[0-9]{1,10}", text) else None
        code = int(number, 16 if "x" in number else 10) if number else code_of.get(_word_key(text))
        if code is None:
            return None
        said = by_code.get(code) or f"Unknown ({code})"
        for long, short in _SHORTER:
            said = said.replace(long, short)
        return _clean(said)

    return kind


# Words as exiftool prints them, so that they can be read back.
_ORIENTATION = _words(
    "|Horizontal (normal)|Mirror horizontal|Rotate 180|Mirror vertical|"
    "Mirror horizontal and rotate 270 CW|Rotate 90 CW|Mirror horizontal and rotate 90 CW|"
    "Rotate 270 CW"
)
_PROGRAM = _words(
    "Not Defined|Manual|Program AE|Aperture-priority AE|Shutter speed priority AE|"
    "Creative (Slow speed)|Action (High speed)|Portrait|Landscape|Bulb"
)
_SENSITIVITY = _words(
    "Unknown|Standard Output Sensitivity|Recommended Exposure Index|ISO Speed|"
    "Standard Output Sensitivity and Recommended Exposure Index|"
    "Standard Output Sensitivity and ISO Speed|Recommended Exposure Index and ISO Speed|"
    "Standard Output Sensitivity, Recommended Exposure Index and ISO Speed"
)
_METERING = _words(
    "Unknown|Average|Center-weighted average|Spot|Multi-spot|Multi-segment|Partial", _255="Other"
)
_LIGHT = _words(
    "Unknown|Daylight|Fluorescent|Tungsten (Incandescent)|Flash|||||Fine Weather|Cloudy|Shade|"
    "Daylight Fluorescent|Day White Fluorescent|Cool White Fluorescent|White Fluorescent|"
    "Warm White Fluorescent|Standard Light A|Standard Light B|Standard Light C|D55|D65|D75|D50|"
    "ISO Studio Tungsten",
    _255="Other",
)
_FLASH = _words(
    "No Flash|Fired||||Fired, Return not detected||Fired, Return detected|On, Did not fire|"
    "On, Fired||||On, Return not detected||On, Return detected|Off, Did not fire||||"
    "Off, Did not fire, Return not detected||||Auto, Did not fire|Auto, Fired||||"
    "Auto, Fired, Return not detected||Auto, Fired, Return detected|No flash function",
    _0x30="Off, No flash function",
    _0x41="Fired, Red-eye reduction",
    _0x45="Fired, Red-eye reduction, Return not detected",
    _0x47="Fired, Red-eye reduction, Return detected",
    _0x49="On, Red-eye reduction",
    _0x4D="On, Red-eye reduction, Return not detected",
    _0x4F="On, Red-eye reduction, Return detected",
    _0x50="Off, Red-eye reduction",
    _0x58="Auto, Did not fire, Red-eye reduction",
    _0x59="Auto, Fired, Red-eye reduction",
    _0x5D="Auto, Fired, Red-eye reduction, Return not detected",
    _0x5F="Auto, Fired, Red-eye reduction, Return detected",
)
_COLOR_SPACE = _words(
    "|sRGB|Adobe RGB",
    _0xFFFD="Wide Gamut RGB",
    _0xFFFE="ICC Profile",
    _0xFFFF="Uncalibrated",
)
_SENSING = _words(
    "|Not defined|One-chip color area|Two-chip color area|Three-chip color area|"
    "Color sequential area||Trilinear|Color sequential linear"
)
_RENDERED = _words(
    "Normal|Custom|HDR (no original saved)|HDR (original saved)|Original (for HDR)||"
    "Panorama|Portrait HDR|Portrait"
)
_COMPOSITE = _words(
    "Unknown|Not a Composite Image|General Composite Image|Composite Image Captured While Shooting"
)
_SOURCE = _words("|Film Scanner|Reflection Print Scanner|Digital Camera")
_GAIN = _words("None|Low gain up|High gain up|Low gain down|High gain down")
_CAPTURE = _words("Standard|Landscape|Portrait|Night|Other")
_DISTANCE_RANGE = _words("Unknown|Macro|Close|Distant")
_LEVELS = _words("Normal|Low|High")
_UNIT = _words("|None|inches|cm|mm|um")


# --- the table ----------------------------------------------------------------------------------


class Tag(NamedTuple):
    """One canonical tag: Exif tag id, exiftool's name, how its value is said."""

    id: int
    exiftool: str
    kind: Kind
    apex: float = 0.0  # where set, files hold x and exiftool shows 2 ** (apex * x)
    signed: bool = False  # a signed ratio, though some cameras write it as unsigned

    @property
    def name(self) -> str:
        """exiftool's name with spaces: "FNumber" -> "F Number"."""
        return re.sub(r"(?<=[a-z])(?=[A-Z\d])|(?<=[A-Z])(?=[A-Z][a-z])", " ", self.exiftool)


TAGS: Mapping[str, tuple[Tag, ...]] = {
    "IFD0": (
        Tag(0x010F, "Make", _text),
        Tag(0x0110, "Model", _text),
        Tag(0x0131, "Software", _text),
        Tag(0x000B, "ProcessingSoftware", _text),
        Tag(0x0112, "Orientation", _ORIENTATION),
        Tag(0x011A, "XResolution", _decimal(0)),
        Tag(0x011B, "YResolution", _decimal(0)),
        Tag(0x0128, "ResolutionUnit", _UNIT),
        Tag(0x013E, "WhitePoint", _number_list),
        Tag(0x013F, "PrimaryChromaticities", _number_list),
        Tag(0x0211, "YCbCrCoefficients", _number_list),
        Tag(0x0213, "YCbCrPositioning", _words("|Centered|Co-sited")),
        Tag(0x0214, "ReferenceBlackWhite", _number_list),
    ),
    "ExifIFD": (
        Tag(0x829A, "ExposureTime", _seconds),
        Tag(0x829D, "FNumber", _f_number),
        Tag(0x8822, "ExposureProgram", _PROGRAM),
        Tag(0x8827, "ISO", _first_integer),
        Tag(0x8830, "SensitivityType", _SENSITIVITY),
        Tag(0x8831, "StandardOutputSensitivity", _first_integer),
        Tag(0x8832, "RecommendedExposureIndex", _first_integer),
        Tag(0x8833, "ISOSpeed", _first_integer),
        Tag(0x8834, "ISOSpeedLatitudeyyy", _first_integer),
        Tag(0x8835, "ISOSpeedLatitudezzz", _first_integer),
        Tag(0x9000, "ExifVersion", _version),
        Tag(0x9101, "ComponentsConfiguration", _components),
        Tag(0x9102, "CompressedBitsPerPixel", _decimal(2)),
        Tag(0x9201, "ShutterSpeedValue", _seconds, apex=-1.0, signed=True),
        Tag(0x9202, "ApertureValue", _aperture, apex=0.5),
        Tag(0x9203, "BrightnessValue", _decimal(2, " EV", zero=True)),
        Tag(0x9204, "ExposureCompensation", _exposure_bias, signed=True),
        Tag(0x9205, "MaxApertureValue", _aperture, apex=0.5),
        Tag(0x9206, "SubjectDistance", _decimal(2, " m")),
        Tag(0x9207, "MeteringMode", _METERING),
        Tag(0x9208, "LightSource", _LIGHT),
        Tag(0x9209, "Flash", _FLASH),
        Tag(0x920A, "FocalLength", _decimal(1, " mm")),
        Tag(0x9214, "SubjectArea", _number_list),
        Tag(0xA000, "FlashpixVersion", _version),
        Tag(0xA001, "ColorSpace", _COLOR_SPACE),
        Tag(0xA002, "ExifImageWidth", _first_integer),
        Tag(0xA003, "ExifImageHeight", _first_integer),
        Tag(0xA20B, "FlashEnergy", _decimal(0)),
        Tag(0xA20E, "FocalPlaneXResolution", _decimal(1)),
        Tag(0xA20F, "FocalPlaneYResolution", _decimal(1)),
        Tag(0xA210, "FocalPlaneResolutionUnit", _UNIT),
        Tag(0xA215, "ExposureIndex", _decimal(0)),
        Tag(0xA217, "SensingMethod", _SENSING),
        Tag(0xA300, "FileSource", _SOURCE),
        Tag(0xA301, "SceneType", _words("|Directly photographed")),
        Tag(0xA302, "CFAPattern", _cfa_pattern),
        Tag(0xA401, "CustomRendered", _RENDERED),
        Tag(0xA402, "ExposureMode", _words("Auto|Manual|Auto bracket")),
        Tag(0xA403, "WhiteBalance", _words("Auto|Manual")),
        Tag(0xA404, "DigitalZoomRatio", _decimal(2, zero=True)),
        Tag(0xA405, "FocalLengthIn35mmFormat", _decimal(0, " mm")),
        Tag(0xA406, "SceneCaptureType", _CAPTURE),
        Tag(0xA407, "GainControl", _GAIN),
        Tag(0xA408, "Contrast", _LEVELS),
        Tag(0xA409, "Saturation", _LEVELS),
        Tag(0xA40A, "Sharpness", _words("Normal|Soft|Hard")),
        Tag(0xA40C, "SubjectDistanceRange", _DISTANCE_RANGE),
        Tag(0xA432, "LensInfo", _lens_range),
        Tag(0xA433, "LensMake", _text),
        Tag(0xA434, "LensModel", _text),
        Tag(0xA460, "CompositeImage", _COMPOSITE),
        Tag(0xA500, "Gamma", _decimal(2)),
    ),
    "InteropIFD": (
        Tag(0x0001, "InteropIndex", _interop_index),
        Tag(0x0002, "InteropVersion", _version),
        Tag(0x1001, "RelatedImageWidth", _first_integer),
        Tag(0x1002, "RelatedImageHeight", _first_integer),
    ),
}

# --- readers ------------------------------------------------------------------------------------


def _canonical(texts: Mapping[str, str]) -> dict[str, str]:
    """exiftool name -> raw text, to human name -> value text in the order of the table."""
    tags = {}
    for tag in (tag for table in TAGS.values() for tag in table):
        value = tag.kind(texts[tag.exiftool]) if texts.get(tag.exiftool) else None
        if value:
            tags[tag.name] = value
    return tags


def _file_text(tag: Tag, value: object) -> str:
    """The value as it stands in the file -> the text that `exiftool -n` gives."""
    text = _raw_text(_signed(value) if tag.signed else _byte_codes(value, tag))
    if tag.apex:
        stops = _parse_number(text)
        text = f"{2 ** (tag.apex * stops):.15g}" if stops is not None and abs(stops) < 100 else ""
    return text


def from_values(directories: Mapping[str, Mapping[int, object]]) -> dict[str, str]:
    """Values as they stand in the file -> the canonical mapping. Never raises.

    Args:
      directories: "IFD0", "ExifIFD", "InteropIFD" -> tag id -> value: int, float, str, bytes, a
        rational number (zero denominators allowed) or a tuple of these. Others are left out.

    Returns:
      Tag name -> value text, in the order of ``TAGS``; see ``to_text``.
    """
    texts = {}
    for ifd, table in TAGS.items():
        values = directories.get(ifd) or {}
        texts |= {tag.exiftool: _file_text(tag, values.get(tag.id)) for tag in table}
    return _canonical(texts)


def from_pillow(exif: Image.Exif) -> dict[str, str]:
    """What ``PIL.Image.Image.getexif()`` returns -> the canonical mapping. Never raises.

    A directory that Pillow cannot read counts as empty.
    """
    directories: dict[str, dict[int, object]] = {}
    for ifd, table in TAGS.items():
        values = directories.setdefault(ifd, {})
        # Pillow decodes lazily: a broken file fails here, with any kind of exception.
        try:
            source = exif if ifd == "IFD0" else exif.get_ifd(_POINTERS[ifd])
        except Exception:
            continue
        for tag in table:
            try:
                values[tag.id] = source.get(tag.id)
            except Exception:
                continue
    return from_values(directories)


def from_exiftool(tags: Mapping[str, object]) -> dict[str, str]:
    """One object of ``exiftool -json`` -> the canonical mapping. Never raises.

    Works with and without ``-n``. Prefer ``-G1``: without groups exiftool fills tags that the
    EXIF block lacks from maker notes, XMP or the file, and nothing tells them apart.
    """
    texts = {}
    grouped = any(isinstance(key, str) and ":" in key for key in tags)
    for key, value in tags.items():
        if not isinstance(key, str):
            continue
        *groups, name = key.split(":")
        if grouped == bool(groups) and set(groups) <= {"EXIF", *TAGS}:
            texts[name] = _raw_text(value)
    return _canonical(texts)


def to_text(tags: Mapping[str, str]) -> str:
    """The canonical mapping as one line: "Make: Canon, Model: Canon EOS 5D, ..."."""
    return ", ".join(f"{name}: {value}" for name, value in tags.items())
