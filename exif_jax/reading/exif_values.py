"""Raw EXIF values -> text -> the words of the canonical mapping.

A raw value of any reader becomes text as `exiftool -n` prints it (`raw_text`). A *kind* takes
that text, or what exiftool prints without `-n`, and returns the canonical value text: printable
ASCII without commas, at most `MAX_CHARS`; None where the value carries no information ("unknown",
0/0, damaged). Kinds never raise. Which tag is of which kind stands in `exif_jax.reading.exif.TAGS`.

Codes and their words: CIPA DC-008 (Exif 2.32), in the words that exiftool's documentation lists,
so that what exiftool prints can be read back.
"""

import math
import numbers
import re
from collections.abc import Callable

MAX_CHARS = 40  # of one value
_MAX_RAW = 400  # characters looked at in one raw value

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


def raw_text(value: object) -> str:
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
        return " ".join(raw_text(v) for v in value[:16] if not isinstance(v, list | tuple))
    return ""


# --- text -> typed value ------------------------------------------------------------------------

_NUMBER = re.compile(
    r"([-+]?\d{1,30}(?:\.\d{0,30})?(?:e[-+]?\d{1,3})?)(?:/(\d{1,10}))?(?: m| mm)?", re.A
)


def parse_number(text: str) -> float | None:
    """ "0.5", "1/60", "+1/3", "50.0 mm", "0.086 m" -> float; None where there is none."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        return None
    denominator = int(match[2] or 1)
    value = float(match[1]) / denominator if denominator else math.inf
    return value if abs(value) < 1e9 else None


def _parse_numbers(text: str) -> tuple[float, ...] | None:
    values = tuple(parse_number(part) for part in text.replace(",", " ").split())
    return None if None in values or not values else tuple(v for v in values if v is not None)


def _word_key(words: str) -> str:
    return re.sub(r"[^a-z0-9]", "", words.lower())


# --- kinds: text of any reader -> canonical value text, None where there is no information ------

Kind = Callable[[str], str | None]


def _clean(text: str) -> str:
    """Printable ASCII on one line, no commas, at most MAX_CHARS.

    A run of anything else becomes one "?": readers disagree on how to decode such bytes.
    """
    text = re.sub(r"\s+", " ", text, flags=re.ASCII).replace(",", ";")
    return re.sub(r"(?:[^\x20-\x7e]|\?)+", "?", text).strip()[:MAX_CHARS].strip()


def plain_text(text: str) -> str | None:
    """Text such as a maker's name, in the form it has after JSON."""
    # JSON turns "1.10" into a number and "True" into a boolean: give all readers that form.
    stripped = text.strip(" \t\r\n")
    if re.fullmatch(r"-?(\d|[1-9]\d{1,14})(\.\d{1,16})?(e[-+]?\d{1,3})?", stripped, re.I | re.A):
        whole = stripped.lstrip("-").isdigit()
        stripped = str(int(stripped)) if whole else f"{float(stripped) + 0.0:.15g}"
    elif stripped.lower() in ("true", "false"):
        stripped = stripped.lower()
    return _clean(stripped) or None


def decimal(places: int, unit: str = "", zero: bool = False) -> Kind:
    """A number at fixed precision; zero (mostly "unknown") is left out unless asked for."""

    def kind(text: str) -> str | None:
        value = parse_number(text)
        if value is None:
            return None
        value = round(value, places) + 0.0  # + 0.0: no "-0.0"
        return f"{value:.{places}f}{unit}" if value or zero else None

    return kind


def seconds(text: str) -> str | None:
    """ "0.0166667" -> "1/60 s", "2" -> "2.0 s"; none below a microsecond."""
    value = parse_number(text)
    if value is None or value < 1e-6:
        return None
    return f"1/{int(0.5 + 1 / value)} s" if value < 0.25001 else f"{value:.1f} s"


def f_number(text: str) -> str | None:
    """ "2.8" -> "f/2.8"; a second decimal below f/1; none below 0.05."""
    value = parse_number(text)
    if value is None or value < 0.05:
        return None
    value = float(f"{value:.2f}") if value < 1 else value
    return f"f/{value:.2f}" if value < 1 else f"f/{value:.1f}"


def aperture(text: str) -> str | None:
    """ "2.8" -> "f/2.8"; none at or below f/1.05."""
    # exiftool shows an undefined APEX value as f/1.0.
    value = parse_number(text)
    return f"f/{value:.1f}" if value is not None and value > 1.05 else None


def exposure_bias(text: str) -> str | None:
    """Exposure steps, snapped to whole, half or third stops as exiftool snaps them."""
    # exiftool without -n shows 0/0 as 0.
    value = 0.0 if text == "undef" else parse_number(text)
    if value is None:
        return None
    nudged = value * 1.00001
    for parts in (1, 2, 3):
        steps = int(nudged * parts)
        if nudged and steps / (nudged * parts) > 0.999:
            return f"{steps / parts:+.2f} EV"
    snapped = float(f"{nudged:.3g}")
    return f"{snapped:+.2f} EV" if abs(snapped) >= 0.005 else "0 EV"


def first_integer(text: str) -> str | None:
    """ "400 0" -> "400"; none below one half."""
    values = _parse_numbers(text)
    return str(int(values[0] + 0.5)) if values and values[0] >= 0.5 else None


def number_list(text: str) -> str | None:
    """ "0.299, 0.587" -> "0.299 0.587", four digits of each; as many as MAX_CHARS hold."""
    values = _parse_numbers(text)
    words = " ".join(f"{v:.4g}" for v in values or ())
    return (words if len(words) <= MAX_CHARS else words[: MAX_CHARS + 1].rpartition(" ")[0]) or None


def version(text: str) -> str | None:
    """ "0232" -> "2.32"."""
    digits = text.strip()
    return f"{int(digits[:2])}.{digits[2:]}" if re.fullmatch("[0-9]{4}", digits) else None


def interop_index(text: str) -> str | None:
    """One of the three indices that are defined."""
    return text[:3] if text[:3] in ("R98", "R03", "THM") else None


def components(text: str) -> str | None:
    """ "1 2 3 0" or "Y, Cb, Cr, -" -> "Y Cb Cr"."""
    names = ("", "Y", "Cb", "Cr", "R", "G", "B")
    if re.fullmatch(r"[0-6]( [0-6]){3}", text.strip()):
        parts = [names[int(code)] for code in text.split()]
    else:
        parts = [part for part in re.split("[, -]+", text) if part in names]
    return " ".join(part for part in parts if part) or None


def cfa_pattern(text: str) -> str | None:
    """ "2 2 1 0 2 1" or "[Green,Red][Blue,Green]" -> "Green Red / Blue Green"."""
    names = ("Red", "Green", "Blue", "Cyan", "Magenta", "Yellow", "White")
    if re.fullmatch(r"2 2( [0-6]){4}", text.strip()):
        colors = [names[int(code)] for code in text.split()[2:]]
    else:
        colors = re.findall(r"[A-Z][a-z]+", text)
    if len(colors) != 4 or not set(colors) <= set(names):
        return None
    return "{} {} / {} {}".format(*colors)


def lens_range(text: str) -> str | None:
    """Shortest and longest focal length, largest aperture at either."""
    match = re.fullmatch(r"([\d.?]+)(?:-([\d.?]+))?mm f/([\d.?]+)(?:-([\d.?]+))?", text.strip())
    parts = match.groups() if match else text.split()
    if len(parts) != 4:
        return None
    near, far, wide, narrow = (round(parse_number(part or "") or 0.0, 1) for part in parts)
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


def enumeration(words: str, **numbered: str) -> Kind:
    """Returns a kind that names codes.

    Args:
      words: Of the codes 0, 1, ..., separated by "|".
      **numbered: Words of codes apart, as `_code=words`.
    """
    by_code = dict(enumerate(words.split("|"))) | {int(k[1:], 0): v for k, v in numbered.items()}
    code_of = {_word_key(v): k for k, v in by_code.items() if v}

    def kind(text: str) -> str | None:
        text = text.strip()
        unknown = re.fullmatch(r"Unknown \((0x[0-9a-f]{1,8}|[0-9]{1,10})\)", text)
        number = unknown[1] if unknown else text if re.fullmatch("[0-9]{1,10}", text) else None
        code = int(number, 16 if "x" in number else 10) if number else code_of.get(_word_key(text))
        if code is None:
            return None
        name = by_code.get(code) or f"Unknown ({code})"
        for long, short in _SHORTER:
            name = name.replace(long, short)
        return _clean(name)

    return kind


# Words as exiftool prints them, so that they can be read back.
ORIENTATION = enumeration(
    "|Horizontal (normal)|Mirror horizontal|Rotate 180|Mirror vertical|"
    "Mirror horizontal and rotate 270 CW|Rotate 90 CW|Mirror horizontal and rotate 90 CW|"
    "Rotate 270 CW"
)
PROGRAM = enumeration(
    "Not Defined|Manual|Program AE|Aperture-priority AE|Shutter speed priority AE|"
    "Creative (Slow speed)|Action (High speed)|Portrait|Landscape|Bulb"
)
SENSITIVITY = enumeration(
    "Unknown|Standard Output Sensitivity|Recommended Exposure Index|ISO Speed|"
    "Standard Output Sensitivity and Recommended Exposure Index|"
    "Standard Output Sensitivity and ISO Speed|Recommended Exposure Index and ISO Speed|"
    "Standard Output Sensitivity, Recommended Exposure Index and ISO Speed"
)
METERING = enumeration(
    "Unknown|Average|Center-weighted average|Spot|Multi-spot|Multi-segment|Partial", _255="Other"
)
LIGHT = enumeration(
    "Unknown|Daylight|Fluorescent|Tungsten (Incandescent)|Flash|||||Fine Weather|Cloudy|Shade|"
    "Daylight Fluorescent|Day White Fluorescent|Cool White Fluorescent|White Fluorescent|"
    "Warm White Fluorescent|Standard Light A|Standard Light B|Standard Light C|D55|D65|D75|D50|"
    "ISO Studio Tungsten",
    _255="Other",
)
FLASH = enumeration(
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
COLOR_SPACE = enumeration(
    "|sRGB|Adobe RGB",
    _0xFFFD="Wide Gamut RGB",
    _0xFFFE="ICC Profile",
    _0xFFFF="Uncalibrated",
)
SENSING = enumeration(
    "|Not defined|One-chip color area|Two-chip color area|Three-chip color area|"
    "Color sequential area||Trilinear|Color sequential linear"
)
RENDERED = enumeration(
    "Normal|Custom|HDR (no original saved)|HDR (original saved)|Original (for HDR)||"
    "Panorama|Portrait HDR|Portrait"
)
COMPOSITE = enumeration(
    "Unknown|Not a Composite Image|General Composite Image|Composite Image Captured While Shooting"
)
SOURCE = enumeration("|Film Scanner|Reflection Print Scanner|Digital Camera")
GAIN = enumeration("None|Low gain up|High gain up|Low gain down|High gain down")
CAPTURE = enumeration("Standard|Landscape|Portrait|Night|Other")
DISTANCE_RANGE = enumeration("Unknown|Macro|Close|Distant")
LEVELS = enumeration("Normal|Low|High")
UNIT = enumeration("|None|inches|cm|mm|um")
